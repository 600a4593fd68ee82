"""Figure 3 of the paper: the trajectory of the ball's center on Eq. 13, for five radii.

Three times: by the published code, which is not Algorithm 1; by Algorithm 1 with the projection of the paper,
which is unstable here, for the slope reaches 100; and by Algorithm 1 with exact footpoints.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import torch
from numpy.typing import ArrayLike
from scipy.optimize import minimize_scalar
from torch import Tensor

from rbobench.analysis.style import WIDTH, paper_style
from rbobench.errors import UsageError
from rbobench.geometry.graph import Graph, graph_of
from rbobench.geometry.landscape import Domain
from rbobench.geometry.offset import offset_graph
from rbobench.optim.rolling_ball import RBO
from rbobench.paper.published import (
    LR,
    PROJECTION_LR,
    PROJECTION_STEPS,
    RADII,
    START,
    STEPS,
    published_trajectory,
)
from rbobench.paper.trajectories import trajectories
from rbobench.tasks.landscapes import Eq13

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.collections import PathCollection
    from matplotlib.figure import Figure

Array = np.ndarray

ROWS = {
    "published": "published code",
    "sgd": "Algorithm 1,\nSGD projection",
    "exact": "Algorithm 1,\nexact footpoint",
}
DOMAIN: Domain = (-4.0, 6.0)
"""Where footpoints are sought; a period of Eq. 13, 2π, and the balls around it fit into it."""

LEARNING_RATES = tuple(float(lr) for lr in np.geomspace(1e-3, 4e-3, 7))

_WINDOW = (-1.6, 2.4)
_HEIGHTS = (-2.3, 2.4)
_CURVE_POINTS = 400  # of a panel that is 1.2 inches wide

_ENDS: dict[str, dict[str, Any]] = {
    "first center": {"marker": "o", "markersize": 4, "color": "none", "mec": "black", "mew": 0.7},
    "last center": {"marker": "x", "markersize": 4, "color": "black", "mew": 0.9},
}
_PAPER = {"facecolor": "white", "edgecolor": "none", "alpha": 0.8, "pad": 1.0}


def measure(
    steps: int = STEPS,
    radii: Sequence[float] = RADII,
    learning_rates: Sequence[float] = LEARNING_RATES,
    curve_points: int = _CURVE_POINTS,
) -> pd.DataFrame:
    """Roll all balls of the figure, in float64 on the CPU.

    Args:
        steps: Of each trajectory.
        radii: ρ.
        learning_rates: η with which the largest ball descends by exact footpoints, for the last panel.
        curve_points: Of the curves behind the trajectories.

    Returns:
        One row for each mark. `row` is `published`, `sgd` or `exact` for the trajectories, with `radius`,
        `lr`, `step`, `theta` and `loss` of the contact, `center_theta` and `center_y`; `loss` for the
        landscape, with `theta` and `loss`; `offset_graph` for f_ρ, with `radius`, `center_theta` and
        `center_y`; `descent` and `valley` for the last panel, as `descent` gives them.

    Raises:
        UsageError: If `steps` is less than 1.
        ValueError: If a radius or learning rate is out of range.
    """
    if steps < 1:
        raise UsageError(f"steps must be at least 1, not {steps}")
    landscape = Eq13()
    published = published_trajectory(radii, steps)
    parts = [_trajectories("published", radii, published.points, published.centers)]
    for projection in ("sgd", "exact"):
        points = roll(radii, [LR] * len(radii), steps, projection)
        parts.append(_trajectories(projection, radii, points, centers(points, radii)))
    positions = np.linspace(*_WINDOW, curve_points)
    graph = graph_of(landscape, DOMAIN)
    values, _ = graph.evaluate(positions[:, None])
    parts.append(pd.DataFrame({"row": "loss", "theta": positions, "loss": values}))
    for radius in radii:
        heights = offset_graph(graph, positions, radius).values
        curve = {"row": "offset_graph", "radius": radius, "center_theta": positions, "center_y": heights}
        parts.append(pd.DataFrame(curve))
    parts.append(descent(learning_rates, steps, max(radii)))
    frame = pd.concat(parts, ignore_index=True)
    return frame[["row", "radius", "lr", "step", "theta", "center_theta", "center_y", "loss"]]


def roll(
    radii: Sequence[float],
    learning_rates: Sequence[float],
    steps: int,
    projection: str,
    *,
    nudge: float = 0.0,
) -> Array:
    """Contacts of balls on Eq. 13 by Algorithm 1, as one batch, each with its radius and learning rate.

    Args:
        radii: ρ of each.
        learning_rates: η of each.
        steps: Of each.
        projection: `"sgd"`, at the settings of the paper, or `"exact"`.
        nudge: How far beyond the paper's start to begin.

    Returns:
        θ of shape `(steps + 1, balls)`.
    """
    make = functools.partial(
        RBO,
        lr=_tensor(learning_rates),
        radius=_tensor(radii),
        projection=projection,
        projection_steps=PROJECTION_STEPS,
        projection_lr=PROJECTION_LR,
        projection_domain=DOMAIN,
        batch_dims=1,
    )
    starts = _tensor([START + nudge] * len(radii))[:, None]
    return trajectories(make, Eq13(), starts, steps)[..., 0].numpy()


def centers(points: Array, radii: Sequence[float]) -> Array:
    """Centers (Eq. 6), of shape `(..., balls, 2)`, above contacts on Eq. 13 of shape `(..., balls)`."""
    value, gradient = Eq13().value_and_grad(torch.from_numpy(points)[..., None])
    slope = gradient[..., 0]
    reach = _tensor(radii) / (1.0 + slope.square()).sqrt()
    return np.stack([points - (reach * slope).numpy(), (value + reach).numpy()], axis=-1)


def valley_below(
    graph: Graph, position: float, radius: float, *, positions: int = 401
) -> tuple[float, float]:
    """The local minimum of f_ρ into which one descends from `position`, and its height.

    Args:
        graph: Γ of Eq. 13 over a box that holds a period, and a ball around it.
        position: Where the descent begins.
        radius: ρ.
        positions: Samples of f_ρ, enough to tell its valleys apart; the minimum is refined.
    """
    axis = np.linspace(graph.low + radius, graph.high - radius, positions)
    heights = offset_graph(graph, axis, radius).values
    here = int(np.abs(axis - position).argmin())
    while (
        lower := min(max(here - 1, 0), here, min(here + 1, positions - 1), key=heights.__getitem__)
    ) != here:
        here = lower
    found = minimize_scalar(
        lambda place: float(offset_graph(graph, [place], radius).values[0]),
        bounds=(axis[max(here - 1, 0)], axis[min(here + 1, positions - 1)]),
        method="bounded",
        options={"xatol": 1e-9},
    )
    return float(found.x), float(found.fun)


def descent(
    learning_rates: Sequence[float] = LEARNING_RATES, steps: int = STEPS, radius: float = 1.0
) -> pd.DataFrame:
    """Where the exact ball's center is after `steps` steps, by learning rate.

    Args:
        learning_rates: η.
        steps: Of each trajectory.
        radius: ρ.

    Returns:
        One row `descent` for each learning rate: `radius`, `lr`, `step` (the last), and the center's
        `center_theta` and `center_y`; and one row `valley`, the minimum of f_ρ below the first center.
    """
    radii = [radius] * len(learning_rates)
    points = roll(radii, learning_rates, steps, "exact")
    ends = centers(points[[0, -1]], radii)
    where, height = valley_below(graph_of(Eq13(), DOMAIN), float(ends[0, 0, 0]), radius)
    rows = pd.DataFrame(
        {
            "row": "descent",
            "radius": radius,
            "lr": list(learning_rates),
            "step": steps,
            "center_theta": ends[1, :, 0],
            "center_y": ends[1, :, 1],
        }
    )
    valley = {"row": "valley", "radius": radius, "center_theta": where, "center_y": height}
    return pd.concat([rows, pd.DataFrame([valley])], ignore_index=True)


def completing_learning_rate(ends: pd.DataFrame, tolerance: float = 0.05) -> float:
    """The smallest learning rate from which on the center ends in the valley.

    Args:
        ends: What `descent` gave; other rows are not looked at.
        tolerance: How far from the minimum of f_ρ still counts as in the valley.

    Returns:
        η, or NaN where the largest does not end there.
    """
    (valley,) = ends.loc[ends["row"] == "valley", "center_theta"]
    rows = ends[ends["row"] == "descent"].sort_values("lr", ascending=False)
    there = ((rows["center_theta"] - valley).abs() <= tolerance).cummin()
    return float(rows.loc[there, "lr"].min())


def draw(frame: pd.DataFrame) -> Figure:
    """Draw the trajectories over the loss and over what a ball of that radius can tell of it.

    Args:
        frame: What `measure` gave.

    Returns:
        A figure of paper size. Axes are cut, and each panel says how many centers lie beyond them.
    """
    from matplotlib.figure import Figure
    from matplotlib.lines import Line2D

    loss = frame[frame["row"] == "loss"]
    offsets: dict[Any, pd.DataFrame] = dict(list(frame[frame["row"] == "offset_graph"].groupby("radius")))
    with paper_style():
        figure = Figure(figsize=(WIDTH, 6.9), layout="constrained")
        parts: Any = figure.subfigures(2, 1, height_ratios=(4.0, 1.0))
        upper, lower = parts
        grid = upper.subplots(len(ROWS), len(offsets), squeeze=False, sharex=True, sharey=True)
        for line, (row, label) in zip(grid, ROWS.items(), strict=True):
            line[0].set_ylabel(label)
            for axes, (radius, offset) in zip(line, offsets.items(), strict=True):
                axes.plot(loss["theta"], loss["loss"], color="0.6", linewidth=0.5)
                axes.plot(offset["center_theta"], offset["center_y"], color="C1", linewidth=0.8)
                trajectory = frame[(frame["row"] == row) & (frame["radius"] == radius)]
                marks = _draw_centers(axes, trajectory)
                if row == next(iter(ROWS)):
                    axes.set_title(f"ρ = {radius:.3g}")
        grid[0, 0].set(xlim=_WINDOW, ylim=_HEIGHTS)
        for axes in grid[-1]:
            axes.set_xlabel("θ")
        upper.colorbar(marks, ax=grid, label="step", aspect=50, pad=0.01)
        upper.legend(
            handles=[
                Line2D([], [], color="0.6", linewidth=0.8, label="loss (Eq. 13)"),
                Line2D([], [], color="C1", linewidth=1.0, label="offset graph $f_ρ$"),
                Line2D([], [], linestyle="none", marker="o", markersize=3, color="C0", label="ball's center"),
                *(Line2D([], [], linestyle="none", label=label, **mark) for label, mark in _ENDS.items()),
            ],
            loc="outside upper center",
            ncols=5,
        )
        _draw_descent(lower.subplots(), frame)
    return figure


def _draw_centers(axes: Axes, trajectory: pd.DataFrame) -> PathCollection:
    x, y = trajectory["center_theta"], trajectory["center_y"]
    look: dict[str, Any] = {"s": 3, "linewidths": 0, "cmap": "viridis", "rasterized": True, "zorder": 3}
    marks = axes.scatter(x, y, c=trajectory["step"], **look)
    for mark, step in zip(_ENDS.values(), (0, -1), strict=True):
        axes.plot(x.iloc[[step]], y.iloc[[step]], linestyle="none", zorder=4, **mark)
    beyond = int((~(x.between(*_WINDOW) & y.between(*_HEIGHTS))).sum())
    if beyond:
        text = f"{beyond} of {len(x)} beyond,\nθ in [{x.min():.1f}, {x.max():.1f}]"
        axes.text(0.97, 0.03, text, transform=axes.transAxes, fontsize=6.5, ha="right", zorder=5, bbox=_PAPER)
    return marks


def _draw_descent(axes: Axes, frame: pd.DataFrame) -> None:
    ends = frame[frame["row"] == "descent"]
    (valley,) = frame.loc[frame["row"] == "valley", "center_theta"]
    axes.axhline(valley, color="C1", linewidth=0.8, label="minimum of $f_ρ$")
    axes.axvline(LR, color="0.4", linewidth=0.8, linestyle="--", label="η of the paper")
    axes.plot(ends["lr"], ends["center_theta"], "o-", color="C0", markersize=4, linewidth=0.8)
    axes.set(xlabel="learning rate η", ylabel="center, θ")
    axes.margins(y=0.15)
    axes.legend(loc="upper right")
    completing, steps = completing_learning_rate(frame), int(ends["step"].iloc[0])
    complete = "nowhere complete" if np.isnan(completing) else f"complete from η = {completing:.2g}"
    axes.set_title(
        f"exact footpoint, ρ = {ends['radius'].iloc[0]:g}: the center after {steps} steps; descent {complete}"
    )


def _trajectories(row: str, radii: Sequence[float], points: Array, center: Array) -> pd.DataFrame:
    moments, balls = points.shape
    return pd.DataFrame(
        {
            "row": row,
            "radius": np.tile(radii, moments),
            "lr": LR,
            "step": np.repeat(np.arange(moments), balls),
            "theta": points.ravel(),
            "center_theta": center[..., 0].ravel(),
            "center_y": center[..., 1].ravel(),
            "loss": Eq13().value_and_grad(torch.from_numpy(points.reshape(-1, 1)))[0].numpy(),
        }
    )


def _tensor(numbers: ArrayLike) -> Tensor:
    return torch.tensor(np.asarray(numbers, dtype=float))
