"""Figures of trainings: how well they end, what that costs, and how they go."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from rbobench.analysis.charts import (
    LABELS,
    Chart,
    Frames,
    Style,
    drawn,
    legend,
    legend_of,
    lines,
    mark_end,
    panels,
    plain_ticks,
)
from rbobench.analysis.statistics import mean_sd, t_interval

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure


def _select_accuracy(frames: Frames) -> pd.DataFrame:
    """Each seed's accuracy at the chosen step, beside their mean and interval, and the mean at the last."""
    metric = "test_accuracy_chosen"
    rows = frames.finished.dropna(subset=[metric])
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
    figure, grid = panels(len(tasks), height=height, share_y=True)
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
    legend(
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


def _select_curves(frames: Frames) -> pd.DataFrame:
    shown = _with_means(_of(frames, tuple(LABELS)))
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
    figure, flat = panels(depth * len(tasks), height=1.75, columns=len(tasks), most_columns=len(tasks))
    grid = np.asarray(flat).reshape(depth, len(tasks))
    for column, task in enumerate(tasks):
        metrics = ["test_accuracy", harm[task]][:depth]
        for row, metric in enumerate(metrics):
            axes: Axes = grid[row, column]
            if metric is None:
                axes.set_axis_off()
                continue
            lines(axes, shown[(shown["task"] == task) & (shown["metric"] == metric)], looks, 100)
            axes.set_xlim(0, 1)
            axes.set_xticks([0, 0.5, 1], ["0", "0.5", "1"])
            if column == 0 or metrics[row] != (["test_accuracy", harm[tasks[column - 1]]])[row]:
                axes.set_ylabel(LABELS[metric])
            if row == 0:
                axes.set_title(task)
            if row == depth - 1 or harm[task] is None:
                axes.set_xlabel("share of the budget")
    legend_of(figure, shown, looks)
    return figure


def _select_trajectories(frames: Frames) -> pd.DataFrame:
    """Test accuracy and memorized share at the same points, by seed and on the mean."""
    rows = _of(frames, ("test_accuracy", "memorization"))
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
    figure, grid = panels(len(tasks), height=2.6, most_columns=3, narrow=True)
    for axes, task in zip(grid, tasks, strict=False):
        rows = shown[shown["task"] == task]
        for name in drawn(rows, looks):
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
            mark_end(axes, x, y, look)
        axes.set_title(task)
        axes.set_xlabel("flipped labels memorized (%)")
    grid[0].set_ylabel("test accuracy (%)")
    legend_of(figure, shown, looks, title="line: course of training; marker: its end")
    return figure


def _select_cost(frames: Frames) -> pd.DataFrame:
    metric = "test_accuracy_chosen"
    rows = frames.finished.dropna(subset=[metric, "train_seconds"])
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
    figure, grid = panels(len(tasks), height=1.9)
    for axes, task in zip(grid, tasks, strict=False):
        rows = shown[shown["task"] == task].set_index("optimizer")
        for name in drawn(rows.reset_index(), looks):
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
        plain_ticks(axes)
        axes.set_title(task)
        axes.set_xlabel("training time (s)")
    grid[0].set_ylabel("test accuracy (%)")
    legend_of(figure, shown, looks, line=False, title="mean ± sd over seeds, chosen step")
    return figure


def _select_landscapes(frames: Frames) -> pd.DataFrame:
    landscapes = frames.results.loc[frames.results["loss_last"].notna(), "key"]
    own = frames.curves[frames.curves["key"].isin(landscapes)]
    return _with_means(_of(replace(frames, curves=own), ("loss",)))


def _draw_landscapes(shown: pd.DataFrame, looks: dict[str, Style]) -> Figure:
    tasks = list(shown["task"].unique())
    figure, grid = panels(len(tasks), height=2.0)
    for axes, task in zip(grid, tasks, strict=False):
        rows = shown[shown["task"] == task]
        lines(axes, rows, looks, 1, x="gradient_evaluations")
        least, most = rows["value"].min(), rows["value"].max()
        if least > 0 and most / least > 100:
            axes.set_yscale("log")
        axes.set_xlim(left=0)
        axes.set_title(task)
        axes.set_xlabel("gradient evaluations")
    grid[0].set_ylabel("loss")
    legend_of(figure, shown, looks)
    return figure


def _of(frames: Frames, metrics: Sequence[str]) -> pd.DataFrame:
    """Curves of these metrics of the trials that finished, their points counted."""
    kept = frames.curves["key"].isin(frames.finished["key"])
    rows = frames.curves[kept & frames.curves["metric"].isin(metrics)]
    columns = ["task", "optimizer", "seed", "metric", "gradient_evaluations", "fraction", "value"]
    return rows.assign(point=rows.groupby(["key", "metric"]).cumcount())[[*columns, "point"]]


def _with_means(rows: pd.DataFrame) -> pd.DataFrame:
    groups = rows.groupby(["task", "optimizer", "metric", "point"])
    return rows.assign(
        mean=groups["value"].transform("mean"),
        mean_fraction=groups["fraction"].transform("mean"),
        mean_gradient_evaluations=groups["gradient_evaluations"].transform("mean"),
    )


ACCURACY = Chart(_select_accuracy, _draw_accuracy)
"""Test accuracy at the chosen step: seeds, mean and interval."""
CURVES = Chart(_select_curves, _draw_curves)
"""Test accuracy, and what the corruption achieved, along the budget."""
ACCURACY_VS_MEMORIZATION = Chart(_select_trajectories, _draw_trajectories)
"""Test accuracy against the share of flipped labels that is memorized, along training."""
COST = Chart(_select_cost, _draw_cost)
"""Test accuracy against training time."""
LANDSCAPES = Chart(_select_landscapes, _draw_landscapes)
"""Loss along the budget, of tasks that are landscapes."""
