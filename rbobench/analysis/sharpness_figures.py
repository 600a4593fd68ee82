"""Figures of sharpness: whether flat minima generalize, and the spectrum of the Hessian."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from rbobench.analysis.charts import Chart, Frames, Style, drawn, legend_of, panels, plain_ticks
from rbobench.analysis.rank_correlation import rank_correlation

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_MEASURES = {
    "sam_gap": "SAM gap",
    "worst_case_l2": "worst case, ℓ2",
    "worst_case_l2_adaptive": "worst case, ℓ2 adaptive",
    "lambda_max": "λmax",
}
FEWEST_TRIALS = 3
"""Of a task, below which there is no order to compare."""
FEWEST_OPTIMIZERS = 4
"""Of a task, from which on their means are correlated, too."""

_DEPTH = 1e-6
"""Of the lowest peak: below, there are no nodes, only the feet of their Gaussians."""


def _select_sharpness(frames: Frames) -> pd.DataFrame:
    """Each trial's sharpness and gap, beside the rank correlations of its task."""
    rows = frames.finished
    if "train_accuracy_last" not in rows:
        return rows.iloc[:0]
    rows = rows.assign(gap=rows["train_accuracy_last"] - rows["test_accuracy_last"])
    parts = []
    for _, trials in rows.groupby("task", sort=False):
        for measure in [name for name in _MEASURES if name in trials]:
            own = trials.assign(measure=measure, sharpness=trials[measure])
            own = own.dropna(subset=["sharpness", "gap"])
            if len(own) >= FEWEST_TRIALS:
                columns = own[["task", "measure", "optimizer", "seed", "sharpness", "gap"]]
                parts.append(columns.assign(**_correlations(own)))
    return pd.concat(parts, ignore_index=True) if parts else rows.iloc[:0]


def _correlations(trials: pd.DataFrame) -> dict[str, float]:
    """Of the trials, and of the optimizers' means: trials of one optimizer are not independent."""
    over_trials = asdict(rank_correlation(trials["sharpness"], trials["gap"]))
    means = trials.groupby("optimizer")[["sharpness", "gap"]].mean()
    over_means = asdict(rank_correlation(means["sharpness"], means["gap"]))
    if len(means) < FEWEST_OPTIMIZERS:
        over_means |= {name: np.nan for name in over_means if name != "n"}
    return {f"trials_{name}": value for name, value in over_trials.items()} | {
        f"means_{name}": value for name, value in over_means.items()
    }


def _draw_sharpness(shown: pd.DataFrame, looks: dict[str, Style]) -> Figure:
    """A row of panels for each task, a column for each measure."""
    tasks = list(shown["task"].unique())
    measures = [measure for measure in _MEASURES if measure in set(shown["measure"])]
    figure, grid = panels(
        len(tasks) * len(measures),
        height=2.2,
        columns=len(measures),
        narrow=True,
        share_y=True,
    )
    cells = iter(grid)
    for task in tasks:
        for measure in measures:
            axes = next(cells)
            rows = shown[(shown["task"] == task) & (shown["measure"] == measure)]
            if rows.empty:
                axes.set_axis_off()
                continue
            for name in drawn(rows, looks):
                own = rows[rows["optimizer"] == name]
                axes.plot(own["sharpness"], 100 * own["gap"], **looks[name].points, markersize=3.6, alpha=0.9)
            if (rows["sharpness"] > 0).all():
                axes.set_xscale("log")
                plain_ticks(axes)
            axes.set_title(
                _correlation_text(rows.iloc[0].to_dict()), fontsize=6.5, loc="left", linespacing=1.3
            )
            axes.set_xlabel(_MEASURES[measure])
            if measure == measures[0]:
                axes.set_ylabel(f"{task}\ngeneralization gap (points)")
    legend_of(
        figure,
        shown,
        looks,
        line=False,
        title="last step: Kendall's τ, Spearman's ρ with its 95 % interval; τ of the optimizers' means\n"
        "p and interval over trials take them for independent, which those of one optimizer are not",
    )
    return figure


def _correlation_text(row: dict[Any, Any]) -> str:
    """`27 trials: τ = 0.31 (p = 0.04)`, then ρ, then the same of the means."""
    if np.isnan(row["trials_tau"]):
        return f"{row['trials_n']} trials without an order"
    interval = f" [{row['trials_rho_low']:.2f}, {row['trials_rho_high']:.2f}]"
    lines = [
        f"{row['trials_n']} trials: {_tau_text(row['trials_tau'], row['trials_tau_p'])}",
        f"ρ = {row['trials_rho']:.2f}" + ("" if np.isnan(row["trials_rho_low"]) else interval),
    ]
    if not np.isnan(row["means_tau"]):
        lines.append(f"{row['means_n']} means: {_tau_text(row['means_tau'], row['means_tau_p'])}")
    return "\n".join(lines).replace("-", "−")


def _tau_text(tau: float, p: float) -> str:
    if p < 0.001:
        return f"τ = {tau:.2f} (p < 0.001)"
    return f"τ = {tau:.2f} (p = {p:.{3 if p < 0.1 else 2}f})"


def _select_density(frames: Frames) -> pd.DataFrame:
    """The density of each optimizer's first seed that has one."""
    rows, finished = frames.measures, set(frames.finished["key"])
    rows = rows[(rows["measure"] == "spectral_density") & rows["key"].isin(finished)]
    firsts = rows.sort_values("seed").drop_duplicates(["task", "optimizer"]).sort_index()
    densities = [
        pd.DataFrame(
            {
                "task": row["task"],
                "optimizer": row["optimizer"],
                "seed": row["seed"],
                "eigenvalue": row["result"]["grid"],
                "density": row["result"]["density"],
            }
        )
        for row in firsts.to_dict("records")
    ]
    return pd.concat(densities, ignore_index=True) if densities else rows


def _draw_density(shown: pd.DataFrame, looks: dict[str, Style]) -> Figure:
    tasks = list(shown["task"].unique())
    figure, grid = panels(len(tasks), height=2.2, most_columns=3, narrow=True)
    for axes, task in zip(grid, tasks, strict=False):
        rows = shown[shown["task"] == task]
        for name in drawn(rows, looks):
            own = rows[rows["optimizer"] == name]
            axes.plot(own["eigenvalue"], own["density"], **looks[name].line | {"linewidth": 1})
        peaks = rows.groupby("optimizer")["density"].max()
        axes.set_yscale("log")
        axes.set_ylim(_DEPTH * peaks.min(), 3 * peaks.max())
        axes.set_title(task)
        axes.set_xlabel("eigenvalue of the Hessian")
    grid[0].set_ylabel("density")
    seeds = ", ".join(str(seed) for seed in sorted(shown["seed"].unique()))
    legend_of(
        figure,
        shown,
        looks,
        markers=False,
        title=f"one trial of each, seed {seeds}; smoothed in proportion to the width of its own spectrum",
    )
    return figure


SHARPNESS_VS_GAP = Chart(_select_sharpness, _draw_sharpness)
"""Train minus test accuracy against sharpness, with rank correlations."""
SPECTRAL_DENSITY = Chart(_select_density, _draw_density)
"""Density of the Hessian's eigenvalues."""
