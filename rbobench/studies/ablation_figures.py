"""Figures of the ablation."""

from __future__ import annotations

from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from rbobench.analysis.style import WIDTH, paper_style, save

FORMATS = ("pdf", "png")
_COLORS = ("#9ecae1", "#4292c6", "#08306b")
_HEAT_MAPS = (
    "rbo sgd, P = 20",
    "rbo auto, P = 5",
    "search",
    "search, 1/16",
    "previous",
    "mirrored",
    "lagged",
    "sam",
)


def draw(out: Path, summary: pd.DataFrame, levels: pd.DataFrame, rows: pd.DataFrame) -> list[Path]:
    """Draw and store all of them.

    Args:
        out: Folder.
        summary: As `ablation.compare` gives it.
        levels: As `ablation.at_equal_memorization` gives it.
        rows: As `ablation.at_budgets` gives them.

    Returns:
        The files, CSVs included.
    """
    files = []
    noisy = summary[summary["noise"] == summary["noise"].max()]
    budget = rows["budget"].max()
    grid = rows[(rows["noise"] == rows["noise"].max()) & (rows["budget"] == budget)]
    grid = grid.groupby(["method", "lr", "radius"], as_index=False)["test_last"].mean()
    grid = grid[grid["method"].isin(_HEAT_MAPS)]
    with paper_style():
        for name, figure, shown in (
            ("budgets", accuracies(noisy), noisy),
            ("memorization", equal_memorization(levels), levels),
            ("grid", heat_maps(grid, int(budget)), grid),
        ):
            files += [*save(figure, shown, out / name, FORMATS), out / f"{name}.csv"]
            plt.close(figure)
    return files


def accuracies(noisy: pd.DataFrame) -> Figure:
    """Test accuracy at the last step of each budget, beside the control's."""
    names = list(dict.fromkeys(noisy["method"]))
    budgets = sorted(noisy["budget"].unique())
    figure, axes = _dot_plots(names, len(budgets))
    least = float(noisy["test_last"].quantile(0.05)) - 0.03
    for axis, budget, color in zip(axes, budgets, _COLORS, strict=False):
        at = noisy[noisy["budget"] == budget].set_index("method").reindex(names)
        places = np.arange(len(names))
        axis.errorbar(
            at["test_last"],
            places,
            xerr=at["half_width"],
            fmt="o",
            ms=3.5,
            lw=0.8,
            color=color,
            label="method",
        )
        if "control_test" in at:
            axis.plot(at["control_test"], places, "|", ms=6, mew=1.2, color="#d94801", label="its control")
        for place in places[(at["test_last"] < least).to_numpy()]:
            text = f"← {at['test_last'].iloc[place]:.2f}"
            axis.text(0.02, place, text, transform=axis.get_yaxis_transform(), va="center", size=6)
        axis.set_xlim(least, min(1.0, noisy["test_last"].max() + 0.03))
        axis.set_title(f"{budget:,} gradient evaluations")
        axis.set_xlabel("test accuracy, last step")
    figure.legend(*axes[0].get_legend_handles_labels(), loc="outside lower center", ncols=2)
    return figure


def equal_memorization(levels: pd.DataFrame) -> Figure:
    """Test accuracy where as many flipped labels have been memorized."""
    names = list(dict.fromkeys(levels["method"]))
    shares = sorted(levels["level"].unique())
    figure, axes = _dot_plots(names, len(shares))
    for axis, share, color in zip(axes, shares, _COLORS, strict=False):
        at = levels[levels["level"] == share].set_index("method").reindex(names)
        places = np.arange(len(names))
        if "test_accuracy" in at:
            axis.errorbar(
                at["test_accuracy"], places, xerr=at["half_width"], fmt="o", ms=3.5, lw=0.8, color=color
            )
            never = at["test_accuracy"].isna().to_numpy()
            for place in places[never]:
                axis.text(0.02, place, "never", transform=axis.get_yaxis_transform(), va="center", size=6)
        axis.set_title(f"{share:.0%} memorized")
        axis.set_xlabel("test accuracy")
    return figure


def _dot_plots(names: list[str], count: int) -> tuple[Figure, list[Axes]]:
    """Panels side by side with one line for each name, the first on top."""
    figure, axes = plt.subplots(
        1,
        count,
        figsize=(WIDTH, 0.16 * len(names) + 0.7),
        sharey=True,
        sharex=True,
        layout="constrained",
        squeeze=False,
    )
    axes[0, 0].set_yticks(range(len(names)), names)
    axes[0, 0].invert_yaxis()
    return figure, list(axes[0])


def heat_maps(grid: pd.DataFrame, budget: int) -> Figure:
    """Mean test accuracy at the last step over learning rate and radius."""
    names = [name for name in _HEAT_MAPS if name in set(grid["method"])]
    columns = min(4, len(names))
    lines = -(-len(names) // columns)
    figure, axes = plt.subplots(
        lines, columns, figsize=(WIDTH, 1.65 * lines + 0.3), layout="constrained", squeeze=False
    )
    low, high = grid["test_last"].min(), grid["test_last"].max()
    for axis in axes.flat[len(names) :]:
        axis.set_visible(False)
    for axis, name in zip(axes.flat, names, strict=False):
        table = grid[grid["method"] == name].pivot(index="radius", columns="lr", values="test_last")
        image = axis.imshow(table, origin="lower", aspect="auto", vmin=low, vmax=high, cmap="viridis")
        for (row, column), value in np.ndenumerate(table.to_numpy()):
            shade = "black" if value > (low + high) / 2 else "white"
            axis.text(
                column, row, f"{value:.2f}".lstrip("0"), ha="center", va="center", color=shade, size=6.5
            )
        axis.set_xticks(range(len(table.columns)), [f"{rate:g}" for rate in table.columns])
        axis.set_yticks(range(len(table.index)), [f"{radius:g}" for radius in table.index])
        axis.set_title(name)
        axis.grid(False)
        axis.set_xlabel("learning rate")
        axis.set_ylabel("radius")
    figure.colorbar(image, ax=axes, shrink=0.6, label=f"test accuracy at {budget:,} gradients")
    return figure
