"""The recorded speeds as a data frame, where they changed and by which commit, and as a figure."""

from __future__ import annotations

import ast
import itertools
import json
import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd

from rbobench.analysis.style import WIDTH, paper_style
from rbobench.errors import UsageError
from rbobench.perf.asv_runs import result_files
from rbobench.perf.checkout import Checkout

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

SMALLEST_STEP = 0.05
"""The smallest relative change that is marked, as in asv's own search for regressions."""

_ENVIRONMENT = ("machine", "python", "torch")
_FIRST = (*_ENVIRONMENT, "commit", "date", "benchmark")
_LAST = ("value", "low", "high", "unit")
_SHOWN = ("relative", "changed")
_SHORT = 8
_NAMED = 6
_HELD = 2


def history(folder: Path) -> pd.DataFrame:
    """Every recorded value, in the order of the commits.

    What was skipped, and what an older version of a benchmark measured, is left out.

    Args:
        folder: `results/asv`.

    Returns:
        Columns `machine`, `python`, `torch`, `commit`, `date`, `benchmark`, one for each parameter of any
        benchmark (missing where it has none of that name), `value` (missing where the benchmark failed),
        `low` and `high`, its 99 % interval within that run (the value itself where it is exact), and `unit`.
        Smaller is better.

    Raises:
        UsageError: If nothing is recorded there, or a file is damaged.
    """
    known = folder / "benchmarks.json"
    files = result_files(folder)
    if not files or not known.is_file():
        raise UsageError(f"nothing is recorded in {folder}; `rbobench perf run` does")
    benchmarks = _read(known)
    rows: list[dict[str, Any]] = []
    for path in files:
        try:
            rows += _rows(_read(path), benchmarks)
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise UsageError(f"{path} is a damaged result file: {type(error).__name__}: {error}") from None
    names = dict.fromkeys(name for row in rows for name in row if name not in (*_FIRST, *_LAST))
    frame = pd.DataFrame(rows, columns=[*_FIRST, *names, *_LAST])
    frame["date"] = pd.to_datetime(frame["date"], unit="ms", utc=True)
    frame = frame.astype(dict.fromkeys(("value", "low", "high"), "float64"))
    places = {commit: place for place, commit in enumerate(_in_order(folder, frame))}
    return frame.sort_values("commit", key=lambda each: each.map(places), kind="stable", ignore_index=True)


def changes(frame: pd.DataFrame) -> pd.DataFrame:
    """Where a value stepped up or down for good, found by asv's search for steps.

    That search takes any wiggle of a short series for a step. Here a level counts where two commits in a row
    hold it, and a step between two levels if their intervals are apart and it is three times as high as the
    values of either level scatter. Exact values, copies of parameters, need none of this. A change of torch,
    Python or the machine begins a series of its own and is no commit's doing.

    Args:
        frame: What `history` gave.

    Returns:
        One row for each step of at least `SMALLEST_STEP`: the series' columns, then `previous`, the last
        commit measured before it, `commit`, the first after it, the levels `before` and `after`, and `ratio`.

    Raises:
        UsageError: If asv is missing.
    """
    columns = _series_columns(frame)
    rows = []
    for key, series in _series(frame):
        commits = series["commit"].tolist()
        for before, after in itertools.pairwise(_levels(series)):
            ratio = after.value / before.value if before.value else math.inf
            if abs(ratio - 1.0) >= SMALLEST_STEP and _apart(before, after):
                last, first = _moment(series["value"].tolist(), before, after)
                rows.append(
                    {
                        **dict(zip(columns, key, strict=True)),
                        "previous": commits[last],
                        "commit": commits[first],
                        "before": before.value,
                        "after": after.value,
                        "ratio": ratio,
                    }
                )
    return pd.DataFrame(rows, columns=[*columns, "previous", "commit", "before", "after", "ratio"])


@dataclass(frozen=True)
class _Level:
    """A stretch of a series, from `begin` to before `end`, that stays about one value."""

    begin: int
    end: int
    value: float
    scatter: float
    low: float
    high: float


def _levels(series: pd.DataFrame) -> list[_Level]:
    """The levels of a series, but for those that a single commit would make of noise."""
    try:
        from asv.step_detect import detect_steps  # type: ignore[import-untyped]
    except ImportError:
        raise UsageError("finding steps needs asv: pip install 'rbobench[perf]'") from None
    exact = bool((series["low"] == series["high"]).all())
    levels = []
    for begin, end, value, _, scatter in detect_steps(series["value"].tolist()):
        part = series.iloc[begin:end].dropna(subset="value")
        if exact or len(part) >= _HELD:
            low, high = float(part["low"].median()), float(part["high"].median())
            levels.append(_Level(begin, end, value, scatter, low, high))
    return levels


def _moment(values: list[float], before: _Level, after: _Level) -> tuple[int, int]:
    """The last place that has the one level, and the first after it that has the other."""
    between = range(before.end, after.begin)
    last = max(
        (place for place in between if before.low <= values[place] <= before.high), default=before.end - 1
    )
    held = (place for place in between if place > last and after.low <= values[place] <= after.high)
    return last, min(held, default=after.begin)


def _apart(before: _Level, after: _Level) -> bool:
    separate = before.high < after.low or after.high < before.low
    return separate and abs(after.value - before.value) > 3.0 * max(before.scatter, after.scatter)


def shown(frame: pd.DataFrame) -> pd.DataFrame:
    """What `plot` shows: `history`, with `relative`, the value in units of the first of its series.

    `changed` says at which commits a step begins.
    """
    result = frame.assign(relative=math.nan, changed=False)
    for _, series in _series(frame):
        first = series["value"].dropna()
        if len(first) and first.iloc[0]:
            result.loc[series.index, "relative"] = series["value"] / first.iloc[0]
    columns = [*_series_columns(frame), "commit"]
    stepped = {tuple(row) for row in _hashable(changes(frame)[columns])}
    result["changed"] = [tuple(row) in stepped for row in _hashable(result[columns])]
    return result


def plot(frame: pd.DataFrame) -> Figure:
    """Draw each benchmark's series over the commits, relative to the first; steps carry the commit's hash.

    Series that stepped are colored and named, the others are gray.

    Args:
        frame: What `history` gave.

    Returns:
        A figure of paper size.

    Raises:
        UsageError: If asv is missing.
    """
    from matplotlib.figure import Figure

    drawn = shown(frame).dropna(subset="relative")
    commits = list(dict.fromkeys(frame["commit"]))
    panels = list(_panels(drawn))
    columns = min(3, len(panels))
    rows = math.ceil(len(panels) / columns)
    with paper_style():
        figure = Figure(figsize=(WIDTH, 0.8 + 1.6 * rows), layout="constrained")
        grid = figure.subplots(rows, columns, squeeze=False, sharex=True)
        for axes in grid.flat[len(panels) :]:
            axes.set_axis_off()
        for axes, (title, panel, lines) in zip(grid.flat, panels, strict=False):
            axes.set_title(title)
            _draw(axes, panel, lines, commits)
        for column in range(columns):
            last = [axes for axes in grid[:, column] if axes.axison][-1]
            last.tick_params(labelbottom=True)
            _label_commits(last, commits)
        figure.supylabel("cost, relative to the first recorded", fontsize=8)
    return figure


def _read(path: Path) -> dict[str, Any]:
    try:
        content: Any = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise UsageError(f"{path} is no readable result file: {error}") from None
    if not isinstance(content, dict):
        raise UsageError(f"{path} is no result file")
    return content


def _rows(content: dict[str, Any], benchmarks: dict[str, Any]) -> Iterator[dict[str, Any]]:
    environment = content["params"]
    for name, cells in content["results"].items():
        # asv leaves empty columns at the end out.
        entry = dict(zip(content["result_columns"], cells, strict=False))
        benchmark = benchmarks.get(name)
        if benchmark is None or entry.get("version") != benchmark["version"]:
            continue
        points = list(itertools.product(*entry["params"]))
        values = entry["result"] if entry["result"] is not None else [None] * len(points)
        lows, highs = (entry.get(f"stats_ci_99_{end}") or [None] * len(points) for end in "ab")
        for point, value, low, high in zip(points, values, lows, highs, strict=True):
            if value is not None and math.isnan(value):
                continue
            yield {
                **{column: environment.get(column) for column in _ENVIRONMENT},
                "commit": content["commit_hash"],
                "date": content["date"],
                "benchmark": name,
                **dict(zip(benchmark["param_names"], map(_parameter, point), strict=True)),
                "value": value,
                "low": value if low is None else low,
                "high": value if high is None else high,
                "unit": benchmark["unit"],
            }


def _parameter(spelled: str) -> Any:
    """What asv stores as Python would spell it."""
    try:
        return ast.literal_eval(spelled)
    except (ValueError, SyntaxError):
        return spelled


def _in_order(folder: Path, frame: pd.DataFrame) -> list[str]:
    """The commits as git orders them; those it does not know, as after a rebase, by date before them."""
    dates = frame.groupby("commit")["date"].first().sort_values(kind="stable")
    by_date = [str(commit) for commit in dates.index]
    try:
        known = Checkout.find(folder).ordered(by_date)
    except UsageError:
        known = []
    return [commit for commit in by_date if commit not in known] + known


def _series_columns(frame: pd.DataFrame) -> list[str]:
    return [name for name in frame.columns if name not in ("commit", "date", *_LAST, *_SHOWN)]


def _series(frame: pd.DataFrame) -> Iterable[tuple[tuple[Any, ...], pd.DataFrame]]:
    return frame.groupby(_series_columns(frame), dropna=False, sort=False)


def _hashable(frame: pd.DataFrame) -> Iterator[list[str]]:
    # Missing values do not equal themselves.
    return ([str(cell) for cell in row] for row in frame.itertuples(index=False))


def _panels(drawn: pd.DataFrame) -> Iterator[tuple[str, pd.DataFrame, str | None]]:
    """Title, rows, and what tells the lines apart; of two parameters, the shorter is told apart by panels."""
    several = drawn["machine"].nunique() > 1
    for (machine, benchmark), part in drawn.groupby(["machine", "benchmark"], sort=False):
        name = str(benchmark).split(".")[-2]
        name = f"{machine}: {name}" if several else name
        fixed = {*_FIRST, *_LAST, *_SHOWN}
        own = [column for column in part.columns if column not in fixed and part[column].notna().any()]
        own.sort(key=lambda column: part[column].nunique())
        if len(own) < 2:
            yield name, part, (own[0] if own else None)
        else:
            for value, inner in part.groupby(own[0], sort=False):
                yield f"{name}, {value}", inner, own[-1]


def _draw(axes: Axes, panel: pd.DataFrame, lines: str | None, commits: list[str]) -> None:
    places = {commit: place for place, commit in enumerate(commits)}
    groups = [part for _, part in _series(panel)]
    changed = [part for part in groups if part["changed"].any()]
    changed.sort(key=lambda part: -abs(math.log(max(part["relative"].iloc[-1], 1e-9))))
    # What changed most is named; series that another torch has begun carry the name of the first.
    named = list(dict.fromkeys(str(part[lines].iloc[0]) for part in changed if lines))[:_NAMED]
    told = set()
    for part in groups:
        name = str(part[lines].iloc[0]) if lines else ""
        look: dict[str, Any] = {"color": "0.7", "zorder": 2}
        if name in named:
            look = {"color": f"C{named.index(name)}", "zorder": 3, "label": None if name in told else name}
            told.add(name)
        elif part["changed"].any():
            look = {"color": "black", "zorder": 3}
        places_of = [places[commit] for commit in part["commit"]]
        axes.plot(places_of, part["relative"], marker="o", markersize=2, linewidth=1.0, **look)
    for commit in panel.loc[panel["changed"], "commit"].unique():
        place = places[commit]
        axes.axvline(place, color="black", linewidth=0.5, linestyle=":")
        axes.annotate(
            commit[:_SHORT],
            (place, 1.0),
            (-2, -2),
            xycoords=axes.get_xaxis_transform(),
            textcoords="offset points",
            rotation=90,
            fontsize=5.5,
            va="top",
            ha="right",
        )
    if named:
        axes.legend(fontsize=5.5, handlelength=1.0, loc="best")
    low, high = axes.get_ylim()
    axes.set_ylim(min(low, 0.9), max(high, 1.1))
    axes.set_xlim(-0.5, len(commits) - 0.5)


def _label_commits(axes: Axes, commits: list[str]) -> None:
    every = math.ceil(len(commits) / 12)
    axes.set_xticks(
        range(0, len(commits), every), [commit[:_SHORT] for commit in commits[::every]], rotation=90
    )
