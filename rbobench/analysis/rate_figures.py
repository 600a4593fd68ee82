"""Figures of corrupted data: accuracy and attack success against the rate, and against one another."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from rbobench.analysis.charts import LABELS, Chart, Frames, Style, drawn, legend_of, panels
from rbobench.analysis.statistics import mean_sd, t_interval

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

FEWEST_RATES = 3
"""Below, there is no course to see."""

_GEOMETRIC = 5
"""Ratio of the largest poison rate to the smallest from which on they stand on a log axis."""

_PANEL = ["setting", "corruption_kind", "rung"]
_APART, _TOGETHER = 0.015, 0.5
"""How far the marks of two optimizers at one rate are shifted apart, of the axis, and how far those of all
optimizers at most, of the way to the next rate."""


def _select_rates(frames: Frames) -> pd.DataFrame:
    """Mean and interval at each rate, of tasks that differ in nothing else."""
    results = frames.finished
    courses = [
        *_courses(results, "label_noise_rate", "poison_rate", "test_accuracy"),
        *_courses(results, "poison_rate", "label_noise_rate", "attack_success"),
    ]
    return pd.concat(courses, ignore_index=True) if courses else pd.DataFrame()


def _courses(results: pd.DataFrame, rate: str, other: str, metric: str) -> list[pd.DataFrame]:
    """Along one rate, the other being zero: one frame for each panel."""
    chosen, last = f"{metric}_chosen", f"{metric}_last"
    if chosen not in results:
        return []
    rows = results[(results[other] == 0) & results[[chosen, rate]].notna().all(axis=1)]
    rows = rows.assign(rate=rows[rate], metric=metric)
    courses: list[pd.DataFrame] = []
    for _, corrupted in rows[rows["rate"] > 0].groupby(_PANEL):
        setting, kind, rung = corrupted[_PANEL].iloc[0]
        clean = rows[(rows["rate"] == 0) & (rows["setting"] == setting) & (rows["rung"] == rung)]
        own: pd.DataFrame = pd.concat([clean.assign(corruption_kind=kind), corrupted])
        if _on_log_axis(own):
            own = own[own["rate"] > 0]
        # Where two tasks have one rate, they differ in something else, and results do not say in what.
        own = own[own.groupby("rate")["task"].transform("nunique") == 1]
        if own["rate"].nunique() < FEWEST_RATES:
            continue
        groups = own.groupby([*_PANEL, "task_name", "metric", "rate", "task", "optimizer"], sort=True)
        courses.append(
            groups.agg(
                seeds=("seed", "size"),
                mean=(chosen, "mean"),
                low=(chosen, lambda values: t_interval(values)[0]),
                high=(chosen, lambda values: t_interval(values)[1]),
                mean_at_last_step=(last, "mean"),
            ).reset_index()
        )
    return courses


def _geometric(rates: pd.Series[float]) -> bool:
    positive = rates[rates > 0]
    return bool(positive.max() >= _GEOMETRIC * positive.min())


def _draw_rates(shown: pd.DataFrame, looks: dict[str, Style]) -> Figure:
    courses = [rows for _, rows in shown.groupby([*_PANEL, "metric"], sort=False)]
    several = shown["rung"].nunique() > 1
    figure, grid = panels(len(courses), height=2.1 if len(courses) > 1 else 2.6, narrow=True)
    labeled = ""
    for axes, rows in zip(grid, courses, strict=False):
        first = rows.iloc[0]
        for name, shift in _shifts(rows, list(drawn(rows, looks))).items():
            own, look = rows[rows["optimizer"] == name].sort_values("rate"), looks[name]
            rate, mean = 100 * own["rate"], 100 * own["mean"]
            rate = rate * np.exp(shift) if _on_log_axis(rows) else rate + shift
            # An interval without width may lie beside its mean by a rounding error.
            beyond = [np.maximum(mean - 100 * own["low"], 0), np.maximum(100 * own["high"] - mean, 0)]
            axes.plot(rate, 100 * own["mean_at_last_step"], **look.line | {"linewidth": 0.6})
            axes.plot(rate, mean, **look.line)
            axes.errorbar(
                rate,
                mean,
                yerr=beyond,
                **look.points,
                markersize=3,
                elinewidth=0.7,
                zorder=3,
            )
        same = (shown["setting"] == first["setting"]) & (shown["metric"] == first["metric"])
        _limit_to_means(axes, shown[same])
        _place_rates(axes, rows)
        rung = f", {first['rung']:g}× budget" if several else ""
        axes.set_title(f"{first['task_name']}{rung}\n{first['corruption_kind']}")
        metric = str(first["metric"])
        axes.set_xlabel("nominal noise rate (%)" if metric == "test_accuracy" else "poisoned images (%)")
        cell = axes.get_subplotspec()
        if metric != labeled or cell is None or cell.is_first_col():
            axes.set_ylabel(LABELS[metric])
        labeled = metric
    legend_of(
        figure,
        shown,
        looks,
        title="thick: mean and 95 % t interval over seeds, chosen step; thin: mean, last step",
    )
    return figure


def _shifts(rows: pd.DataFrame, names: list[str]) -> dict[str, float]:
    """How far each optimizer's marks are moved sideways, so that none hides another, in the axis's units."""
    rates = np.sort(100 * rows["rate"].unique())
    scaled = np.log(rates) if _on_log_axis(rows) else rates
    apart = min(_APART * np.ptp(scaled), _TOGETHER * np.diff(scaled).min() / len(names))
    return {name: apart * (place - (len(names) - 1) / 2) for place, name in enumerate(names)}


def _on_log_axis(rows: pd.DataFrame) -> bool:
    return rows["metric"].iloc[0] == "attack_success" and _geometric(rows["rate"])


def _place_rates(axes: Axes, rows: pd.DataFrame) -> None:
    """Each rate a tick, and room beside the outermost for what is shifted."""
    rates = 100 * np.sort(rows["rate"].unique())
    if _on_log_axis(rows):
        axes.set_xscale("log")
        room = (rates[-1] / rates[0]) ** 0.1
        axes.set_xlim(rates[0] / room, rates[-1] * room)
    else:
        room = 0.1 * (rates[-1] - rates[0])
        axes.set_xlim(rates[0] - room, rates[-1] + room)
    axes.set_xticks(rates, [f"{rate:g}" for rate in rates])
    axes.set_xticks([], minor=True)


def _limit_to_means(axes: Axes, rows: pd.DataFrame) -> None:
    """Let the means fill the panel: with three seeds an interval may be many times as wide."""
    values = 100 * rows[["mean", "mean_at_last_step"]].to_numpy(dtype=float)
    low, high = float(np.nanmin(values)), float(np.nanmax(values))
    margin = 0.08 * max(high - low, 1.0)
    axes.set_ylim(max(low - margin, -4), min(high + margin, 104))


def _select_attacks(frames: Frames) -> pd.DataFrame:
    """Mean and spread of clean accuracy and attack success, of tasks with an attack."""
    rows, metrics = frames.finished, ("test_accuracy_chosen", "attack_success_chosen")
    if metrics[1] not in rows:
        return rows.iloc[:0]
    groups = rows.dropna(subset=list(metrics)).groupby(["task", "optimizer"], sort=False)
    spreads = {f"{name}_sd": (name, lambda values: mean_sd(values)[1]) for name in metrics}
    means = {name: (name, "mean") for name in metrics}
    return groups.agg(seeds=("seed", "size"), **means, **spreads).reset_index()


def _draw_attacks(shown: pd.DataFrame, looks: dict[str, Style]) -> Figure:
    tasks = list(shown["task"].unique())
    figure, grid = panels(len(tasks), height=2.0, narrow=True)
    for axes, task in zip(grid, tasks, strict=False):
        rows = shown[shown["task"] == task].set_index("optimizer")
        for name in drawn(rows.reset_index(), looks):
            row, look = rows.loc[name], looks[name]
            axes.errorbar(
                100 * row["test_accuracy_chosen"],
                100 * row["attack_success_chosen"],
                xerr=100 * np.nan_to_num(row["test_accuracy_chosen_sd"]),
                yerr=100 * np.nan_to_num(row["attack_success_chosen_sd"]),
                **look.points,
                markersize=5,
                elinewidth=0.8,
            )
        axes.set_title(task)
        axes.set_xlabel("clean test accuracy (%)")
    grid[0].set_ylabel(LABELS["attack_success"])
    legend_of(figure, shown, looks, line=False, title="mean ± sd over seeds, chosen step")
    return figure


ACCURACY_VS_RATE = Chart(_select_rates, _draw_rates)
"""Test accuracy against the rate of label noise, attack success against that of poisoning."""
CLEAN_VS_ATTACK = Chart(_select_attacks, _draw_attacks)
"""Attack success against clean test accuracy."""
