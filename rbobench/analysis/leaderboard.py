"""The leaderboard: how every optimizer did on every task, beside its controls."""

from __future__ import annotations

import math
from collections.abc import Sequence
from enum import StrEnum
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from rbobench.analysis.results import finished, load_curves, load_results
from rbobench.analysis.statistics import (
    PairedDifference,
    best_by_seeds,
    detectable_difference,
    mean_sd,
    paired_t,
)
from rbobench.errors import UsageError, unknown

HEADLINES = ("test_accuracy_chosen", "test_accuracy_last", "loss_last")
"""What a task is ranked by: the first of these that it has."""

SECONDARY = (
    "test_accuracy_chosen",
    "test_accuracy_last",
    "memorization_last",
    "recovery_last",
    "attack_success_last",
    "attack_success_chosen",
    "robust_accuracy_last",
    "membership",
    "sam_gap",
    "train_seconds",
    "gradient_evaluations",
)
"""What stands beside the score, as mean and standard deviation."""

ALPHA = 0.05
"""Level of every test."""

FEWEST_SEEDS = 3
"""Below, nothing is called better, worse or best: one degree of freedom hangs on a single difference."""

MATCHED_STEPS = 0.1
"""A control takes as many steps as its method, within this share; SGD shortened to another count is none."""

_LOWER_IS_BETTER = (
    "loss",
    "distance",
    "gradient_norm",
    "memorization",
    "attack_success",
    "calibration",
    "membership",
    "sam_gap",
    "worst_case",
    "average_case",
    "lambda_max",
    "eigenvalues",
    "trace",
    "spectral_density",
    "slice",
    "uncertainty",
    "seconds",
    "evaluations",
)
_NO_DIFFERENCE = PairedDifference(0, math.nan, math.nan, math.nan, math.nan, math.nan)


class Verdict(StrEnum):
    """What the seeds say about an optimizer and its best control."""

    BETTER = "better than its control"
    BETTER_WHERE_IT_FINISHED = "better than its control where it finished"
    WORSE = "worse than its control"
    SLOWER_NOT_MORE_ROBUST = "slower, not more robust"
    SLOWER_NOT_BETTER = "slower, not better"
    NO_DIFFERENCE = "no difference seen"
    TOO_FEW_SEEDS = "too few seeds to tell"
    NO_SPREAD = "no spread to judge by"
    CONTROL_DID_NOT_FINISH = "its control did not finish"
    DID_NOT_FINISH = "did not finish"
    NO_CONTROL_RUN = "no control run"
    CONTROL = "control"
    NONE = "—"


def lower_is_better(metric: str) -> bool:
    """Whether less of a metric is more success."""
    return any(word in metric for word in _LOWER_IS_BETTER)


def leaderboard(
    results: pd.DataFrame | str | Path, metric: str | None = None, *, curves: pd.DataFrame | None = None
) -> pd.DataFrame:
    """One row for each task and optimizer, best first within a task.

    A task is ranked by its test accuracy at the step chosen on validation data as noisy as the training data,
    or by its last loss where it is a landscape. Only trials that `finished` enter a mean; the others are
    counted. Differences are paired by seed, with Student's t. Where tasks are rungs of a ladder of budgets, a
    method that beats its control at one rung alone is called slower, unless it is better at equal
    memorization.

    Args:
        results: What `load_results` gave, or a folder of records.
        metric: Rank by this instead; tasks without it are left out.
        curves: What `load_curves` gave, to compare rungs of a ladder at equal memorization; read where
            `results` is a folder. Without curves the ladder decides alone.

    Returns:
        Columns `task`, `optimizer`, `optimizer_name`, `is_control`; `metric`, `rank`, `mean` and `sd` of the
        score; `n`, `n_diverged`, `n_failed`, `n_collapsed` seeds; against the best of its controls
        (`control`) the paired `gain`, positive where the optimizer is better, its 95 % interval `gain_low` to
        `gain_high`, its `gain_p`, and the `detectable` difference that the seeds would have shown at 80 %
        power; `marked_best`, where it beats every other; `verdict`, a `Verdict`; `ladder`, `rung` and
        `noisy`, of the task; and `<metric>_mean`,
        `<metric>_sd` of whatever `SECONDARY` was measured. On tasks with a backdoor, `attack_success_gain`
        with `_low`, `_high` and `_p` says against the same control how many fewer triggered images succeed.

    Raises:
        UsageError: If no trial has the metric, it is the oracle's, or one label and seed has two results.
    """
    frame = results if isinstance(results, pd.DataFrame) else load_results(results)
    _check_metric(frame, metric)
    frame = frame.assign(finished=finished(frame))
    tasks: list[pd.DataFrame] = []
    for task, rows in frame.groupby("task", sort=True):
        _check_unique(str(task), rows)
        score = metric or _headline(rows)
        if metric is None or rows[metric].notna().any():
            tasks.append(_Comparison(rows, score).board())
    # Images before landscapes, then by name: groupby and sort are both stable.
    tasks.sort(key=lambda board: HEADLINES.index(m) if (m := board["metric"].iloc[0]) in HEADLINES else 0)
    board = pd.concat(tasks, ignore_index=True).astype({"rank": "Int64"})
    if metric is not None or (board["ladder"] == board["task"]).all():
        return board
    from rbobench.analysis.memorization import equal_memorization, ladder_verdicts  # which builds on this

    if curves is None and not isinstance(results, pd.DataFrame):
        curves = load_curves(results)
    return ladder_verdicts(board, None if curves is None else equal_memorization(frame, curves))


class _Comparison:
    """The optimizers of one task."""

    def __init__(self, rows: pd.DataFrame, metric: str) -> None:
        self._rows = rows
        self._metric = metric
        self._names: dict[str, str] = dict(zip(rows["optimizer"], rows["optimizer_name"], strict=True))
        self._controls: dict[str, tuple[str, ...]] = dict(
            zip(rows["optimizer"], rows["controls"], strict=True)
        )
        self._steps = (
            rows[rows["status"] == "ok"].groupby("optimizer")["steps"].mean().reindex(list(self._names))
        )
        # What a backdoor does is not seen in clean accuracy, so that nothing is said of robustness to it.
        self._noisy = bool(rows["corruption_kind"].fillna("").str.contains("label noise").any())
        self._scores = self._by_seed(metric)
        self._means = self._scores.mean(axis=1)

    def board(self) -> pd.DataFrame:
        marked = self._marked()
        ranks = self._means.rank(ascending=False, method="min")
        board = pd.DataFrame(
            [self._row(optimizer) | {"rank": ranks[optimizer]} for optimizer in self._scores.index]
        )
        board["marked_best"] = board["optimizer"] == marked
        board = board.sort_values(["rank", "optimizer"], na_position="last", kind="stable")
        return board[[*_COLUMNS, *(name for name in board.columns if name not in _COLUMNS)]]

    def _by_seed(self, metric: str) -> pd.DataFrame:
        """Optimizers × seeds, higher is better, missing where a trial did not finish."""
        values = self._rows[metric].where(self._rows["finished"])
        table = self._rows.assign(value=-values if lower_is_better(metric) else values)
        return table.pivot(index="optimizer", columns="seed", values="value")

    def _row(self, optimizer: str) -> dict[str, Any]:
        rows = self._rows[self._rows["optimizer"] == optimizer]
        kept = rows[rows["finished"]]
        control = self._best_of(self._controls[optimizer], but=optimizer, matched=True)
        gain = self._difference(self._scores, optimizer, control)
        mean, sd = mean_sd(kept[self._metric].dropna())
        row = {
            "task": rows["task"].iloc[0],
            "optimizer": optimizer,
            "optimizer_name": self._names[optimizer],
            "is_control": self._is_control(optimizer),
            "metric": self._metric,
            "mean": mean,
            "sd": sd,
            "n": int(kept[self._metric].notna().sum()),
            "n_diverged": int((rows["status"] == "diverged").sum()),
            "n_failed": int((~rows["status"].isin(["ok", "diverged"])).sum()),
            "n_collapsed": int((rows["status"] == "ok").sum()) - len(kept),
            "control": control,
            "gain": gain.difference,
            "gain_low": gain.low,
            "gain_high": gain.high,
            "gain_p": gain.p,
            "detectable": detectable_difference(gain.n, gain.sd),
            "ladder": rows["ladder"].iloc[0],
            "rung": rows["rung"].iloc[0],
            "noisy": self._noisy,
        }
        row["verdict"] = self._verdict(
            optimizer, control, gain, unstable=row["n_diverged"] + row["n_collapsed"] > 0
        )
        for name in SECONDARY:
            if self._rows.get(name, pd.Series(dtype=float)).notna().any():
                row[f"{name}_mean"], row[f"{name}_sd"] = mean_sd(kept[name].dropna())
        if "attack_success_last_mean" in row:
            attack = self._difference(self._by_seed("attack_success_last"), optimizer, control)
            row |= {
                "attack_success_gain": attack.difference,
                "attack_success_gain_low": attack.low,
                "attack_success_gain_high": attack.high,
                "attack_success_gain_p": attack.p,
            }
        return row

    def _verdict(
        self, optimizer: str, control: str | None, gain: PairedDifference, *, unstable: bool
    ) -> Verdict:
        registered = self._controls[optimizer]
        here = [
            label
            for label, name in self._names.items()
            if name in registered and label != optimizer and self._is_matched(label, optimizer)
        ]
        if not here:
            if self._is_control(optimizer):
                return Verdict.CONTROL
            return Verdict.NO_CONTROL_RUN if registered else Verdict.NONE
        if math.isnan(self._means[optimizer]):
            return Verdict.DID_NOT_FINISH
        if control is None:
            return Verdict.CONTROL_DID_NOT_FINISH
        if gain.n < FEWEST_SEEDS:
            return Verdict.TOO_FEW_SEEDS
        if math.isnan(gain.p):
            return Verdict.NO_SPREAD
        if gain.p < ALPHA and gain.difference < 0:
            return Verdict.WORSE
        if gain.p < ALPHA:
            return Verdict.BETTER_WHERE_IT_FINISHED if unstable else Verdict.BETTER
        if self._beats_sgd(optimizer) and self._beats_sgd(control):
            return Verdict.SLOWER_NOT_MORE_ROBUST if self._noisy else Verdict.SLOWER_NOT_BETTER
        return Verdict.NO_DIFFERENCE

    def _beats_sgd(self, optimizer: str) -> bool:
        over_sgd = self._difference(self._scores, optimizer, self._best_of(("sgd",), but=optimizer))
        return over_sgd.p < ALPHA and over_sgd.difference > 0

    def _best_of(self, names: Sequence[str], but: str, *, matched: bool = False) -> str | None:
        """The label with the best mean among the registered `names`, of as many steps if `matched`.

        One with too few seeds to judge by is taken where there is no other.
        """
        labels = [
            label
            for label, name in self._names.items()
            if name in names and label != but and (not matched or self._is_matched(label, but))
        ]
        means = self._means[labels].dropna()
        if means.empty:
            return None
        enough = self._scores.loc[means.index].notna().sum(axis="columns") >= FEWEST_SEEDS
        return str((means[enough] if enough.any() else means).idxmax())

    def _is_matched(self, control: str, optimizer: str) -> bool:
        """Whether a control takes about as many steps as the optimizer; where nobody counted, it does."""
        if self._steps[[control, optimizer]].isna().any():
            return True
        return abs(self._steps[control] / self._steps[optimizer] - 1.0) <= MATCHED_STEPS

    def _difference(self, scores: pd.DataFrame, optimizer: str, other: str | None) -> PairedDifference:
        if other is None:
            return _NO_DIFFERENCE
        pairs = scores.loc[[optimizer, other]].dropna(axis="columns").to_numpy(dtype=np.float64)
        return paired_t(*pairs)

    def _is_control(self, optimizer: str) -> bool:
        return any(self._names[optimizer] in controls for controls in self._controls.values())

    def _marked(self) -> str | None:
        """The optimizer that beats every other; one that lost a seed on the way is not it."""
        seeds = self._scores.notna().sum(axis="columns").max()
        if seeds < FEWEST_SEEDS:
            return None
        best = best_by_seeds(self._scores.to_numpy(dtype=np.float64), ALPHA)
        if best is None:
            return None
        optimizer = str(self._scores.index[best])
        rows = self._rows[self._rows["optimizer"] == optimizer]
        return optimizer if rows["finished"].all() else None


_COLUMNS = (
    "task",
    "optimizer",
    "optimizer_name",
    "is_control",
    "metric",
    "rank",
    "mean",
    "sd",
    "n",
    "n_diverged",
    "n_failed",
    "n_collapsed",
    "control",
    "gain",
    "gain_low",
    "gain_high",
    "gain_p",
    "detectable",
    "marked_best",
    "verdict",
    "ladder",
    "rung",
    "noisy",
)


def _headline(rows: pd.DataFrame) -> str:
    """The task's own; that of images for a task of which no trial got so far as to tell."""
    return next((name for name in HEADLINES if rows[name].notna().any()), HEADLINES[0])


def _check_metric(frame: pd.DataFrame, metric: str | None) -> None:
    if metric is None:
        return
    if metric.endswith("_oracle"):
        raise UsageError(f"{metric} was chosen on the test set, and never ranks")
    ranked = [
        name
        for name in frame.select_dtypes("float64").columns
        if not name.endswith("_oracle") and frame[name].notna().any()
    ]
    if metric not in ranked:
        raise unknown("metric", metric, ranked)


def _check_unique(task: str, rows: pd.DataFrame) -> None:
    twice = rows[rows.duplicated(["optimizer", "seed"])]
    if not twice.empty:
        optimizer, seed = twice["optimizer"].iloc[0], twice["seed"].iloc[0]
        raise UsageError(f"two results for task {task!r}, optimizer {optimizer!r}, seed {seed}")


__all__ = ["ALPHA", "HEADLINES", "SECONDARY", "Verdict", "leaderboard", "lower_is_better"]
