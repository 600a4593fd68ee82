"""Figures for a paper, each with a CSV of exactly what it shows.

A `Chart` selects from the results and curves what it shows, as a data frame, and draws that frame. Only
trials that `finished` are shown. Colors belong to methods: a control has its method's color, hollow or
dashed.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from rbobench.analysis.results import finished, load_curves, load_results
from rbobench.analysis.statistics import mean_sd, t_interval
from rbobench.analysis.style import FORMATS, WIDTH, paper_style, save
from rbobench.errors import UsageError, unknown

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_CONTROL_DASHES = ((3, 1.2), (1, 1), (5, 1, 1, 1), (2, 2))
_CONTROL_MARKERS = ("s", "^", "D", "v")
_LABELS = {
    "test_accuracy": "test accuracy (%)",
    "memorization": "flipped labels\nmemorized (%)",
    "attack_success": "attack success (%)",
}


@dataclass(frozen=True)
class Style:
    """How an optimizer looks in every figure.

    Attributes:
        color: Of its method.
        dashes: Lengths of dash and gap; empty for a solid line.
        marker: As matplotlib names it.
        hollow: Whether markers are filled with white: controls.
    """

    color: tuple[float, float, float]
    dashes: tuple[float, ...]
    marker: str
    hollow: bool

    @property
    def line(self) -> dict[str, Any]:
        """Arguments of `plot` for a line."""
        return {"color": self.color, "linestyle": (0, self.dashes) if self.dashes else "-"}

    @property
    def points(self) -> dict[str, Any]:
        """Arguments of `plot` for markers without a line."""
        return {
            "linestyle": "none",
            "marker": self.marker,
            "color": self.color,
            "markerfacecolor": "white" if self.hollow else self.color,
        }


@dataclass(frozen=True)
class Chart:
    """A figure.

    Attributes:
        select: From results and curves to what is shown; empty where they do not apply.
        draw: From what is shown and the optimizers' styles to the figure.
    """

    select: Callable[[pd.DataFrame, pd.DataFrame], pd.DataFrame]
    draw: Callable[[pd.DataFrame, dict[str, Style]], Figure]

    def __call__(self, results: pd.DataFrame, curves: pd.DataFrame) -> Figure | None:
        """Draw what `load_results` and `load_curves` gave; `None` where there is nothing to show."""
        shown = self.select(results, curves)
        if shown.empty:
            return None
        with paper_style():
            return self.draw(shown, styles(results))


def save_figures(folder: str | Path, format: str = "png", out: str | Path | None = None) -> list[Path]:
    """Draw every figure that a folder of records has the data for.

    Args:
        folder: Of records.
        format: One of `FORMATS`.
        out: Folder for the figures; `figures` inside `folder` by default.

    Returns:
        The figures' files; beside each is a CSV of what it shows.

    Raises:
        UsageError: If the format is unknown, there are no records, none has anything to show, or `out` cannot
            be written.
    """
    if format not in FORMATS:
        raise unknown("format", format, FORMATS)
    results, curves = load_results(folder), load_curves(folder)
    if not finished(results).any():
        raise UsageError(f"no trial in {folder} finished, so there is nothing to plot")
    looks = styles(results)
    target = Path(folder) / "figures" if out is None else Path(out)
    paths = []
    try:
        target.mkdir(parents=True, exist_ok=True)
        for name, chart in FIGURES.items():
            shown = chart.select(results, curves)
            if shown.empty:
                continue
            with paper_style():
                paths += save(chart.draw(shown, looks), shown, target / name, [format])
    except OSError as error:
        raise UsageError(f"cannot write figures to {target}: {error.strerror or error}") from None
    return paths


def styles(results: pd.DataFrame) -> dict[str, Style]:
    """Label to style: each method a color of its own, each control that of the method it serves, or gray.

    Methods stand in alphabetical order, each before its controls; so do the keys. A control that serves
    several methods is gray, and comes after them all.
    """
    import seaborn as sns

    registered = dict(zip(results["optimizer"], results["optimizer_name"], strict=True))
    controls = dict(zip(results["optimizer"], results["controls"], strict=True))
    serves: dict[str, list[str]] = {}
    for method in sorted(registered):
        for label in sorted(registered):
            if registered[label] in controls[method] and label != method:
                serves.setdefault(label, []).append(method)
    methods = [label for label in sorted(registered) if label not in serves]
    # Beyond the palette for the color-blind there is only telling hues apart.
    palette = sns.color_palette("colorblind" if len(methods) <= 10 else "husl", len(methods))
    looks: dict[str, Style] = {}
    for method, color in zip(methods, palette, strict=True):
        looks[method] = Style(color, (), "o", hollow=False)
        served = [label for label, served in serves.items() if served == [method]]
        for index, label in enumerate(served):
            turn = index % len(_CONTROL_DASHES)
            looks[label] = Style(color, _CONTROL_DASHES[turn], _CONTROL_MARKERS[turn], hollow=True)
    for index, label in enumerate(sorted(set(registered) - set(looks))):
        turn = index % len(_CONTROL_DASHES)
        looks[label] = Style((0.45, 0.45, 0.45), _CONTROL_DASHES[turn], _CONTROL_MARKERS[turn], hollow=True)
    return looks


def _select_accuracy(results: pd.DataFrame, curves: pd.DataFrame) -> pd.DataFrame:
    """Each seed's accuracy at the chosen step, beside their mean and interval, and the mean at the last."""
    metric = "test_accuracy_chosen"
    rows = _finished(results).dropna(subset=[metric])
    groups = rows.groupby(["task", "optimizer"], sort=False)
    return rows.assign(
        mean=groups[metric].transform("mean"),
        low=groups[metric].transform(lambda values: t_interval(values)[0]),
        high=groups[metric].transform(lambda values: t_interval(values)[1]),
        mean_at_last_step=groups["test_accuracy_last"].transform("mean"),
    )[["task", "optimizer", "seed", metric, "mean", "low", "high", "mean_at_last_step"]]


def _draw_accuracy(shown: pd.DataFrame, looks: dict[str, Style]) -> Figure:
    order = [name for name in looks if name in set(shown["optimizer"])]
    place = {name: row for row, name in enumerate(order)}
    tasks = list(shown["task"].unique())
    height = 0.5 + 0.19 * len(order)
    figure, grid = _panels(len(tasks), height=height, share_y=True)
    for axes, task in zip(grid, tasks, strict=False):
        for name, rows in shown[shown["task"] == task].groupby("optimizer"):
            look, y, first = looks[str(name)], place[str(name)], rows.iloc[0]
            axes.plot(
                100 * rows["test_accuracy_chosen"],
                [y + 0.26] * len(rows),
                linestyle="none",
                marker="o",
                markersize=2.2,
                color=look.color,
                alpha=0.6,
                markeredgewidth=0,
            )
            # What the panel's edge cuts off of an interval goes on beyond it.
            axes.plot([100 * first["low"], 100 * first["high"]], [y, y], color=look.color, linewidth=1)
            axes.plot(
                100 * first["mean_at_last_step"], y, "|", color="0.45", markersize=6, markeredgewidth=1.2
            )
            axes.plot(100 * first["mean"], y, **look.points, markersize=4.5, markeredgewidth=1)
        axes.set_title(task)
        axes.grid(visible=False, axis="y")
        axes.set_yticks(range(len(order)), order)
        axes.set_ylim(len(order) - 0.4, -0.6)
        axes.set_xlabel("test accuracy (%)")
        _limit_to_points(axes, shown[shown["task"] == task])
    _legend(
        figure,
        [
            (
                {"marker": "o", "linestyle": "-", "color": "0.3", "markersize": 4.5},
                "mean and 95 % t interval, chosen step",
            ),
            ({"marker": "o", "linestyle": "none", "color": "0.3", "markersize": 2.2}, "seeds"),
            ({"marker": "|", "linestyle": "none", "color": "0.45", "markersize": 6}, "mean, last step"),
            (
                {
                    "marker": "s",
                    "linestyle": "none",
                    "color": "0.3",
                    "markerfacecolor": "white",
                    "markersize": 4,
                },
                "control (hollow)",
            ),
        ],
    )
    return figure


def _limit_to_points(axes: Axes, shown: pd.DataFrame) -> None:
    """Let the points fill the panel: with three seeds an interval may be many times as wide."""
    values = 100 * shown[["test_accuracy_chosen", "mean_at_last_step"]].to_numpy(dtype=float)
    low, high = float(np.nanmin(values)), float(np.nanmax(values))
    margin = 0.08 * max(high - low, 1.0)
    axes.set_xlim(max(low - margin, -1), min(high + margin, 100.5))


def _select_curves(results: pd.DataFrame, curves: pd.DataFrame) -> pd.DataFrame:
    shown = _with_means(_of(curves, results, tuple(_LABELS)))
    images = shown.loc[shown["metric"] == "test_accuracy", "task"].unique()
    return shown[shown["task"].isin(images)]


def _draw_curves(shown: pd.DataFrame, looks: dict[str, Style]) -> Figure:
    """Tasks side by side: test accuracy above, what the corruption achieved below."""
    tasks = list(shown["task"].unique())
    harm = {
        task: next((name for name in ("memorization", "attack_success") if name in set(rows["metric"])), None)
        for task, rows in shown.groupby("task")
    }
    depth = 2 if any(harm.values()) else 1
    figure, flat = _panels(depth * len(tasks), height=1.75, columns=len(tasks), most_columns=len(tasks))
    grid = np.asarray(flat).reshape(depth, len(tasks))
    for column, task in enumerate(tasks):
        metrics = ["test_accuracy", harm[task]][:depth]
        for row, metric in enumerate(metrics):
            axes: Axes = grid[row, column]
            if metric is None:
                axes.set_axis_off()
                continue
            _lines(axes, shown[(shown["task"] == task) & (shown["metric"] == metric)], looks, 100)
            axes.set_xlim(0, 1)
            axes.set_xticks([0, 0.5, 1], ["0", "0.5", "1"])
            if column == 0 or metrics[row] != (["test_accuracy", harm[tasks[column - 1]]])[row]:
                axes.set_ylabel(_LABELS[metric])
            if row == 0:
                axes.set_title(task)
            if row == depth - 1 or harm[task] is None:
                axes.set_xlabel("share of the budget")
    _legend_of(figure, shown, looks)
    return figure


def _select_trajectories(results: pd.DataFrame, curves: pd.DataFrame) -> pd.DataFrame:
    """Test accuracy and memorized share at the same points, by seed and on the mean."""
    rows = _of(curves, results, ("test_accuracy", "memorization"))
    if rows.empty:
        return rows
    index = ["task", "optimizer", "seed", "point", "fraction"]
    wide = rows.pivot(index=index, columns="metric", values="value").reset_index().rename_axis(columns=None)
    if "memorization" not in wide:
        return wide.iloc[:0]
    wide = wide.dropna(subset=["memorization", "test_accuracy"])
    groups = wide.groupby(["task", "optimizer", "point"])
    return wide.assign(
        mean_memorization=groups["memorization"].transform("mean"),
        mean_test_accuracy=groups["test_accuracy"].transform("mean"),
    )


def _draw_trajectories(shown: pd.DataFrame, looks: dict[str, Style]) -> Figure:
    """Robust methods lie higher at equal memorization; slow ones only end further left."""
    tasks = list(shown["task"].unique())
    figure, grid = _panels(len(tasks), height=2.6, most_columns=3, narrow=True)
    for axes, task in zip(grid, tasks, strict=False):
        rows = shown[shown["task"] == task]
        for name in _drawn(rows, looks):
            own, look = rows[rows["optimizer"] == name], looks[name]
            for _, seed in own.groupby("seed"):
                axes.plot(
                    100 * seed["memorization"],
                    100 * seed["test_accuracy"],
                    color=look.color,
                    linewidth=0.5,
                    alpha=0.3,
                )
            mean = own.drop_duplicates("point")
            x, y = 100 * mean["mean_memorization"], 100 * mean["mean_test_accuracy"]
            axes.plot(x, y, **look.line)
            _mark_end(axes, x, y, look)
        axes.set_title(task)
        axes.set_xlabel("flipped labels memorized (%)")
    grid[0].set_ylabel("test accuracy (%)")
    _legend_of(figure, shown, looks, title="line: course of training; marker: its end")
    return figure


def _select_cost(results: pd.DataFrame, curves: pd.DataFrame) -> pd.DataFrame:
    metric = "test_accuracy_chosen"
    rows = _finished(results).dropna(subset=[metric, "train_seconds"])
    groups = rows.groupby(["task", "optimizer"], sort=False)
    return (
        groups.agg(
            seeds=("seed", "size"),
            train_seconds=("train_seconds", "mean"),
            test_accuracy_chosen=(metric, "mean"),
            test_accuracy_chosen_sd=(metric, lambda values: mean_sd(values)[1]),
        )
        .reset_index()
        .query("train_seconds > 0")
    )


def _draw_cost(shown: pd.DataFrame, looks: dict[str, Style]) -> Figure:
    tasks = list(shown["task"].unique())
    figure, grid = _panels(len(tasks), height=1.9)
    for axes, task in zip(grid, tasks, strict=False):
        rows = shown[shown["task"] == task].set_index("optimizer")
        for name in _drawn(rows.reset_index(), looks):
            row, look = rows.loc[name], looks[name]
            axes.errorbar(
                row["train_seconds"],
                100 * row["test_accuracy_chosen"],
                yerr=100 * np.nan_to_num(row["test_accuracy_chosen_sd"]),
                **look.points,
                markersize=5,
                elinewidth=0.8,
            )
        axes.set_xscale("log")
        _plain_ticks(axes)
        axes.set_title(task)
        axes.set_xlabel("training time (s)")
    grid[0].set_ylabel("test accuracy (%)")
    _legend_of(figure, shown, looks, markers=True, title="mean ± sd over seeds, chosen step")
    return figure


def _plain_ticks(axes: Axes) -> None:
    """Seconds as 0.3, 1, 3: a log axis of little more than a decade has too few powers of ten."""
    from matplotlib.ticker import FuncFormatter, LogLocator, NullLocator

    low, high = axes.get_xlim()
    subs = (1, 2, 5) if high / low < 20 else (1, 3) if high / low < 200 else (1,)
    axes.xaxis.set_major_locator(LogLocator(subs=subs, numticks=12))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axes.xaxis.set_minor_locator(NullLocator())


def _select_landscapes(results: pd.DataFrame, curves: pd.DataFrame) -> pd.DataFrame:
    landscapes = results.loc[results["loss_last"].notna(), "key"]
    return _with_means(_of(curves[curves["key"].isin(landscapes)], results, ("loss",)))


def _draw_landscapes(shown: pd.DataFrame, looks: dict[str, Style]) -> Figure:
    tasks = list(shown["task"].unique())
    figure, grid = _panels(len(tasks), height=2.0)
    for axes, task in zip(grid, tasks, strict=False):
        rows = shown[shown["task"] == task]
        _lines(axes, rows, looks, 1, x="gradient_evaluations")
        least, most = rows["value"].min(), rows["value"].max()
        if least > 0 and most / least > 100:
            axes.set_yscale("log")
        axes.set_xlim(left=0)
        axes.set_title(task)
        axes.set_xlabel("gradient evaluations")
    grid[0].set_ylabel("loss")
    _legend_of(figure, shown, looks)
    return figure


def _lines(
    axes: Axes, rows: pd.DataFrame, looks: dict[str, Style], scale: float, x: str = "fraction"
) -> None:
    """Seeds thin, their mean thick, its end marked: some end before the budget does."""
    for name in _drawn(rows, looks):
        own, look = rows[rows["optimizer"] == name], looks[name]
        if own["seed"].nunique() > 1:
            for _, seed in own.groupby("seed"):
                axes.plot(seed[x], scale * seed["value"], color=look.color, linewidth=0.5, alpha=0.3)
        mean = own.drop_duplicates("point")
        axes.plot(mean[f"mean_{x}"], scale * mean["mean"], **look.line)
        _mark_end(axes, mean[f"mean_{x}"], scale * mean["mean"], look)


def _mark_end(axes: Axes, x: pd.Series[float], y: pd.Series[float], look: Style) -> None:
    axes.plot(x.iloc[-1:], y.iloc[-1:], **look.points, markersize=4, zorder=3, clip_on=False)


def _finished(results: pd.DataFrame) -> pd.DataFrame:
    return results[finished(results)]


def _of(curves: pd.DataFrame, results: pd.DataFrame, metrics: Sequence[str]) -> pd.DataFrame:
    """Curves of these metrics of the trials that finished, their points counted."""
    kept = curves["key"].isin(_finished(results)["key"])
    rows = curves[kept & curves["metric"].isin(metrics)]
    columns = ["task", "optimizer", "seed", "metric", "gradient_evaluations", "fraction", "value"]
    return rows.assign(point=rows.groupby(["key", "metric"]).cumcount())[[*columns, "point"]]


def _with_means(rows: pd.DataFrame) -> pd.DataFrame:
    groups = rows.groupby(["task", "optimizer", "metric", "point"])
    return rows.assign(
        mean=groups["value"].transform("mean"),
        mean_fraction=groups["fraction"].transform("mean"),
        mean_gradient_evaluations=groups["gradient_evaluations"].transform("mean"),
    )


def _drawn(rows: pd.DataFrame, looks: dict[str, Style]) -> Iterator[str]:
    """The optimizers that are there, in the order of their styles."""
    present = set(rows["optimizer"])
    return (name for name in looks if name in present)


def _panels(
    count: int,
    *,
    height: float,
    columns: int | None = None,
    most_columns: int = 4,
    share_y: bool = False,
    narrow: bool = False,
) -> tuple[Figure, list[Axes]]:
    """A figure with one panel for each task, evenly filled rows, room for a legend below.

    Args:
        count: Panels.
        height: Of a row, in inches.
        columns: How many; as many as fit by default.
        most_columns: That fit.
        share_y: Whether panels of a row have one y axis.
        narrow: Whether few panels make a narrow figure rather than wide panels.
    """
    from matplotlib.figure import Figure

    rows = math.ceil(count / (columns or most_columns))
    columns = columns or math.ceil(count / rows)
    width = min(WIDTH, 3.4 * columns) if narrow or columns == 1 else max(WIDTH, 1.6 * columns)
    figure = Figure(figsize=(width, rows * height + 0.4), layout="constrained")
    grid = figure.subplots(rows, columns, squeeze=False, sharey="row" if share_y else False)
    panels: list[Axes] = list(grid.flat)
    for spare in panels[count:]:
        spare.set_axis_off()
    return figure, panels


def _legend_of(
    figure: Figure,
    shown: pd.DataFrame,
    looks: dict[str, Style],
    *,
    markers: bool = False,
    title: str | None = None,
) -> None:
    entries = [
        ({**looks[name].points, **({} if markers else looks[name].line), "markersize": 5}, name)
        for name in _drawn(shown, looks)
    ]
    _legend(figure, entries, title)


def _legend(figure: Figure, entries: list[tuple[dict[str, Any], str]], title: str | None = None) -> None:
    """Below the panels, where it covers nothing."""
    from matplotlib.lines import Line2D

    figure.legend(
        handles=[Line2D([], [], label=label, **look) for look, label in entries],
        loc="outside lower center",
        ncols=max(1, min(len(entries), int(figure.get_figwidth() * 1.05))),
        title=title,
        title_fontsize=7.5,
        handlelength=2.4,
        columnspacing=1.4,
    )


FIGURES: dict[str, Chart] = {
    "accuracy": Chart(_select_accuracy, _draw_accuracy),
    "curves": Chart(_select_curves, _draw_curves),
    "accuracy_vs_memorization": Chart(_select_trajectories, _draw_trajectories),
    "cost": Chart(_select_cost, _draw_cost),
    "landscapes": Chart(_select_landscapes, _draw_landscapes),
}
"""Name to figure: called with results and curves, each gives a matplotlib `Figure` or `None`."""

__all__ = ["FIGURES", "FORMATS", "Chart", "Style", "save_figures", "styles"]
