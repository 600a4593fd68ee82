"""Slower or more robust: test accuracy where as many flipped labels are memorized, and along budgets.

A method that merely moves less has memorized less when the budget ends, and scores better for it; so does
SGD of a smaller budget. What it has not done is to learn more from as much memorization. So optimizers are
compared at equal memorization: a robust one lies higher there, a slow copy of SGD on the same curve. A slow
copy whose learning rate falls with the budget gets there at a lower rate than SGD did, and may lie higher for
that alone. So a gain is shown over the method's control, which has the same schedule and as many steps,
though it too may be there earlier.
"""

from __future__ import annotations

import textwrap
from collections.abc import Iterator, Sequence
from itertools import zip_longest
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from rbobench.analysis.leaderboard import ALPHA, FEWEST_SEEDS, Verdict, leaderboard
from rbobench.analysis.results import finished
from rbobench.analysis.statistics import PairedDifference, paired_t
from rbobench.analysis.tables import WIDTH
from rbobench.errors import UsageError

LEVELS = (0.2, 0.3, 0.5, 0.7, 0.9)
"""Shares of the flipped labels at which optimizers are compared: well above the tenth that an untrained
network gives back by chance where there are ten classes."""

MEMORIZED = 0.9
"""The share of the flipped labels that makes a budget the base of a ladder, once plain SGD has it."""

_METRIC = "test_accuracy_at_level"
_TRIAL = ("task", "optimizer", "seed")
_COLUMNS = (
    "task",
    "optimizer",
    "level",
    "mean",
    "sd",
    "n",
    "control",
    "pairs",
    "gain",
    "gain_low",
    "gain_high",
    "gain_p",
    "detectable",
    "over_sgd",
    "over_sgd_low",
    "over_sgd_high",
    "over_sgd_p",
    "over_sgd_pairs",
)
_WON = (Verdict.BETTER, Verdict.BETTER_WHERE_IT_FINISHED)
_JUDGED = (
    *_WON,
    Verdict.WORSE,
    Verdict.NO_DIFFERENCE,
    Verdict.SLOWER_NOT_MORE_ROBUST,
    Verdict.SLOWER_NOT_BETTER,
)


def accuracy_at_memorization(curves: pd.DataFrame, levels: Sequence[float] = LEVELS) -> pd.DataFrame:
    """Test accuracy where the course of each training first crosses a share of memorized flipped labels.

    The course is the polygon through the points of the curves; both are interpolated linearly. A crossing
    comes from below: an untrained model starts at chance, 1/classes, and unlearns that first.

    Args:
        curves: What `load_curves` gave; trials without `memorization` and `test_accuracy` are left out.
        levels: Shares in (0, 1]; those near chance tell little.

    Returns:
        Columns `task`, `optimizer`, `seed`, `level`, `test_accuracy`: NaN where the level was never reached,
        or was passed before the first point.

    Raises:
        UsageError: If a level is out of range.
    """
    return _accuracies(curves, levels).drop(columns="key")


def budget_of_memorization(curves: pd.DataFrame, level: float = MEMORIZED) -> pd.DataFrame:
    """Gradient evaluations at which each trial first memorizes a share of the flipped labels.

    The base of a budget ladder is that of plain SGD. Learning-rate schedules depend on the share of the
    budget spent, so it holds for a budget near the one of the trials.

    Args:
        curves: What `load_curves` gave; trials without `memorization` are left out.
        level: Share in (0, 1], well above chance.

    Returns:
        Columns `task`, `optimizer`, `seed`, `gradient_evaluations`: interpolated linearly; the first point's,
        an upper bound, where the level is reached there; NaN where it never is.

    Raises:
        UsageError: If the level is out of range.
    """
    _check_levels([level])
    rows = []
    for trial, points in _courses(curves, ("memorization",)):
        memorization, spent = (points[name].to_numpy() for name in ("memorization", "gradient_evaluations"))
        at = float(spent[0]) if memorization[0] >= level else _value_at(spent, memorization, level)
        rows.append({**{name: trial[name] for name in _TRIAL}, "gradient_evaluations": at})
    return pd.DataFrame(rows, columns=[*_TRIAL, "gradient_evaluations"])


def equal_memorization(
    results: pd.DataFrame, curves: pd.DataFrame, levels: Sequence[float] = LEVELS
) -> pd.DataFrame:
    """Every optimizer beside its best control and plain SGD where each has memorized as many flipped labels.

    As on the leaderboard: only trials that `finished` count, the control is the one with the best mean, here
    at the level, of those that take as many steps, and differences are paired by seed, with Student's t.

    Args:
        results: What `load_results` gave.
        curves: What `load_curves` gave for the same folders.
        levels: Shares in (0, 1].

    Returns:
        One row for each optimizer of a task with flipped labels and each level: `task`, `optimizer`, `level`;
        `mean` and `sd` of the test accuracy over the `n` seeds that cross the level; `control` and, over the
        `pairs` of seeds where both do, `gain`, positive where the optimizer is better, its 95 % interval
        `gain_low` to `gain_high`, `gain_p`, and the `detectable` gain that the pairs would have shown at 80 %
        power; and `over_sgd` with `_low`, `_high`, `_p` and `_pairs` against plain SGD.

    Raises:
        UsageError: If a level is out of range, or one label and seed has two results.
    """
    kept = curves[curves["key"].isin(results.loc[finished(results), "key"])]
    accuracies = _accuracies(kept, levels)
    names = results[["task", "optimizer"]].drop_duplicates()
    names = names[names["task"].isin(accuracies["task"])]
    frames = []
    for level in levels:
        values = accuracies[accuracies["level"] == level].set_index("key")["test_accuracy"]
        scored = results.assign(**{_METRIC: results["key"].map(values).astype("float64")})
        frames.append(_compared(scored, names).assign(level=level))
    frame = pd.concat(frames) if frames else pd.DataFrame(columns=list(_COLUMNS))
    for name in ("n", "pairs", "over_sgd_pairs"):
        frame[name] = frame[name].fillna(0).astype("int64")
    return frame.sort_values(["task", "optimizer", "level"], ignore_index=True)[list(_COLUMNS)]


def ladder_verdicts(board: pd.DataFrame, equal: pd.DataFrame | None = None) -> pd.DataFrame:
    """Call slower what beats its control at one budget of a ladder alone.

    A win at one rung, of two or more where the seeds could judge, is that of a method for which the budget
    ended at the right time. It stands where the method is better at equal memorization as well: at that rung,
    at half or more of the levels that its seeds can judge, with p < `ALPHA` each. Where there is no gain this
    happens with a chance of at most `ALPHA`, however levels depend on each other (Rüger's test).

    Args:
        board: A leaderboard with columns `task`, `ladder`, `rung`, `optimizer`, `verdict`. If it has a column
            `noisy`, ladders without noisy labels, where it is false, have nothing to be robust against. Tasks
            without a ladder are left alone.
        equal: What `equal_memorization` gave for the same trials; without it the ladder decides alone.

    Returns:
        A copy of `board` in which such verdicts are `Verdict.SLOWER_NOT_MORE_ROBUST`, or
        `Verdict.SLOWER_NOT_BETTER` on clean data.
    """
    methods = [board["ladder"], board["optimizer"]]
    won = board["verdict"].isin(_WON)
    judged = board["rung"].where(board["verdict"].isin(_JUDGED)).groupby(methods).transform("nunique")
    wins = board["rung"].where(won).groupby(methods).transform("nunique")
    robust = [] if equal is None else _better_at_equal_memorization(equal)
    stands = pd.MultiIndex.from_frame(board[["task", "optimizer"]]).isin(robust)
    slower = won & (judged >= 2) & (wins == 1) & ~stands
    noisy = board["noisy"].astype(bool) if "noisy" in board else True
    verdicts = board["verdict"].mask(slower & noisy, Verdict.SLOWER_NOT_MORE_ROBUST)
    return board.assign(verdict=verdicts.mask(slower & ~np.asarray(noisy), Verdict.SLOWER_NOT_BETTER))


def render_equal_memorization(frame: pd.DataFrame) -> str:
    """What `equal_memorization` gave as text for a terminal, at most `tables.WIDTH` columns wide.

    Of levels that do not fit, those in the middle are left out, as a note says.
    """
    if frame.empty:
        return "Nothing to compare: no trial with flipped labels finished.\n"
    blocks = []
    left_out: set[float] = set()
    for task, rows in frame.groupby("task"):
        levels = sorted(rows["level"].unique())
        table = _table(rows, levels)
        while max(map(len, table)) > WIDTH and len(levels) > 1:
            left_out.add(levels.pop(len(levels) // 2))
            table = _table(rows, levels)
        seeds = int(rows["n"].max())
        title = f"{task}: test accuracy in % at equal memorization, {seeds} seed{'' if seeds == 1 else 's'}"
        notes = [
            textwrap.fill(note, WIDTH, initial_indent="  ", subsequent_indent="  ") for note in _notes(rows)
        ]
        blocks.append("\n".join([title, *table, *notes]))
    notes = [
        "Test accuracy where a course of training first crosses that share of memorized flipped labels; "
        "empty where it never does. Gain: over the best control there, paired by seed, ± half the 95 % t "
        "interval.",
        f"*: better than plain sgd there (paired t over {FEWEST_SEEDS} seeds or more, p < {ALPHA}, "
        "uncorrected), which under a schedule that falls with the budget may be there at a higher rate.",
    ]
    if left_out:
        shares = ", ".join(map(_percent, sorted(left_out)))
        notes.append(f"Left out for the width: {shares}; the frame has everything.")
    return "\n\n".join([*blocks, "\n".join(textwrap.fill(note, WIDTH) for note in notes)]) + "\n"


def _accuracies(curves: pd.DataFrame, levels: Sequence[float]) -> pd.DataFrame:
    """`accuracy_at_memorization` with the trials' keys."""
    _check_levels(levels)
    rows = []
    for trial, points in _courses(curves, ("memorization", "test_accuracy")):
        memorization, accuracy = (points[name].to_numpy() for name in ("memorization", "test_accuracy"))
        for level in levels:
            at = _value_at(accuracy, memorization, level)
            rows.append({**trial, "level": level, "test_accuracy": at})
    return pd.DataFrame(rows, columns=["key", *_TRIAL, "level", "test_accuracy"])


def _check_levels(levels: Sequence[float]) -> None:
    for level in levels:
        if not 0.0 < level <= 1.0:
            raise UsageError(f"a level of memorization must be in (0, 1], not {level}")


def _courses(curves: pd.DataFrame, metrics: tuple[str, ...]) -> Iterator[tuple[dict[str, Any], pd.DataFrame]]:
    """Each trial that has these metrics, and its points in the order of training where all are known."""
    rows = curves[curves["metric"].isin(metrics)]
    for trial, points in rows.groupby(["key", *_TRIAL], sort=False):
        numbered = points.assign(point=points.groupby("metric").cumcount())
        wide = numbered.pivot(index=["point", "gradient_evaluations"], columns="metric", values="value")
        if set(metrics) <= set(wide) and not (known := wide.dropna()).empty:
            yield dict(zip(("key", *_TRIAL), trial, strict=True)), known.reset_index()


def _value_at(values: NDArray[np.float64], memorization: NDArray[np.float64], level: float) -> float:
    """On the polygon through the points, where memorization first rises to the level; NaN where never."""
    if memorization[0] == level:
        return float(values[0])
    reached = memorization >= level
    rising = np.flatnonzero(~reached[:-1] & reached[1:])
    if not rising.size:
        return float("nan")
    before = rising[0]
    low, high = memorization[before : before + 2]
    weight = (level - low) / (high - low)
    return float((1 - weight) * values[before] + weight * values[before + 1])


def _compared(scored: pd.DataFrame, names: pd.DataFrame) -> pd.DataFrame:
    """One level's rows of `equal_memorization`, for every one of `names`."""
    if not scored[_METRIC].notna().any():
        return names.reindex(columns=list(_COLUMNS)).astype({"mean": "float64"})
    board = leaderboard(scored, _METRIC)
    compared = names.merge(board[[name for name in _COLUMNS if name in board]], how="left")
    rows = []
    for task, block in compared.groupby("task", sort=False):
        trials = scored[scored["task"] == task]
        scores = trials.pivot(index="optimizer", columns="seed", values=_METRIC)
        sgd = scores.loc[trials.loc[trials["optimizer_name"] == "sgd", "optimizer"].unique()].mean(axis=1)
        for row in block.to_dict("records"):
            optimizer, control = row["optimizer"], row["control"]
            if not pd.isna(control):
                row["pairs"] = _paired(scores, optimizer, control).n
            plain = sgd.drop(optimizer, errors="ignore").dropna()
            if not plain.empty:
                over = _paired(scores, optimizer, str(plain.idxmax()))
                row |= {
                    "over_sgd": over.difference,
                    "over_sgd_low": over.low,
                    "over_sgd_high": over.high,
                    "over_sgd_p": over.p,
                    "over_sgd_pairs": over.n,
                }
            rows.append(row)
    return pd.DataFrame(rows, columns=list(_COLUMNS))


def _paired(scores: pd.DataFrame, optimizer: str, other: str) -> PairedDifference:
    """Over the seeds that both have."""
    pairs = scores.loc[[optimizer, other]].dropna(axis="columns").to_numpy(dtype=np.float64)
    return paired_t(*pairs)


def _better_at_equal_memorization(equal: pd.DataFrame) -> list[tuple[str, str]]:
    """Task and optimizer where at least half of the levels that can be judged say so."""
    judged = equal[(equal["pairs"] >= FEWEST_SEEDS) & equal["gain_p"].notna()]
    better = (judged["gain_p"] < ALPHA) & (judged["gain"] > 0)
    shares = better.groupby([judged["task"], judged["optimizer"]]).mean()
    return list(shares[shares >= 0.5].index)


def _table(rows: pd.DataFrame, levels: Sequence[float]) -> list[str]:
    """Header, rule and one line for each optimizer."""
    optimizers = list(rows["optimizer"].unique())
    columns: list[tuple[str, list[str]]] = [("\noptimizer", optimizers)]
    for level in levels:
        at = rows[rows["level"] == level].set_index("optimizer").loc[optimizers].to_dict("records")
        columns.append((f"at {_percent(level)}\naccuracy", [_accuracy(row) for row in at]))
        gains = [_gain(row) for row in at]
        if any(gains):
            columns.append(("\ngain", gains))
    widths = [max(map(len, (*header.split("\n"), *cells))) for header, cells in columns]

    def line(cells: Sequence[str]) -> str:
        first, *rest = (
            cell.rjust(width) if number else cell.ljust(width)
            for number, (cell, width) in enumerate(zip(cells, widths, strict=True))
        )
        return "  ".join([first, *rest]).rstrip()

    heads = zip_longest(*(header.split("\n") for header, _ in columns), fillvalue="")
    body = zip(*(cells for _, cells in columns), strict=True)
    rule = "─" * (sum(widths) + 2 * (len(widths) - 1))
    return [*(line(head) for head in heads), rule, *(line(cells) for cells in body)]


def _accuracy(row: dict[Any, Any]) -> str:
    if pd.isna(row["mean"]):
        return ""
    over_sgd = row["over_sgd_pairs"] >= FEWEST_SEEDS and row["over_sgd_p"] < ALPHA and row["over_sgd"] > 0
    return f"{100 * row['mean']:.1f}{'*' if over_sgd else ' '}"


def _gain(row: dict[Any, Any]) -> str:
    if pd.isna(row["gain"]):
        return ""
    text = f"{100 * row['gain']:+.1f}".replace("-", "−")
    if pd.isna(row["gain_low"]):
        return text
    return f"{text} ± {50 * (row['gain_high'] - row['gain_low']):.1f}"


def _notes(rows: pd.DataFrame) -> list[str]:
    """Which control was the best where."""
    told = []
    for optimizer, own in rows[rows["pairs"] > 0].groupby("optimizer"):
        levels = own.groupby("control")["level"].apply(list)
        if len(levels) == 1:
            told.append(f"{optimizer} against {levels.index[0]}")
        else:
            against = [f"{control} ({', '.join(map(_percent, at))})" for control, at in levels.items()]
            told.append(f"{optimizer} against {' and '.join(against)}")
    return [f"Best controls: {'; '.join(told)}."] if told else []


def _percent(share: float) -> str:
    return f"{100 * share:g} %"


__all__ = [
    "LEVELS",
    "MEMORIZED",
    "accuracy_at_memorization",
    "budget_of_memorization",
    "equal_memorization",
    "ladder_verdicts",
    "render_equal_memorization",
]
