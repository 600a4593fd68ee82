"""Figure 4 of the paper: exploration against exploitation on Eq. 14, by SGD and by balls of seven radii.

The paper states neither the wells' width and draw nor the starts; `Eq14` and `starts` give what it shows.
From ρ = 4 on a single trajectory is chaotic: another order of summation moves it by 1 within 100 steps, and
only what the starts have in common is reproduced.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from rbobench.analysis.style import WIDTH, paper_style
from rbobench.errors import UsageError
from rbobench.geometry.landscape import Landscape
from rbobench.optim.rolling_ball import RBO
from rbobench.optim.sgd import SGD
from rbobench.paper.trajectories import trajectories
from rbobench.tasks.landscapes import Eq14

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

RADII = (0.1, 1.0, 3.0, 4.0, 5.0, 6.0, 8.0)
STEPS = 300
PROJECTION_STEPS = 100
LR = 0.01
PROJECTION_LR = 0.001

Window = tuple[float, float, float, float]
"""Left, right, bottom and top."""

_MARKS: dict[str, dict[str, Any]] = {
    "start": {"marker": "o", "color": "white", "markersize": 2, "mec": "black", "mew": 0.4},
    "end": {"marker": "o", "color": "black", "markersize": 2, "mew": 0},
}
# The default cycle, but its seventh is gray, as the loss is.
_COLORS: dict[Any, str] = {**{start: f"C{start}" for start in range(10)}, 7: "black"}
_TRAJECTORY = ["optimizer", "radius", "start"]


def starts() -> np.ndarray:
    """The ten starting points, of shape `(10, 2)`: up to 0.1 around (2, 0) in each coordinate."""
    # The legacy generator on purpose: its stream is frozen, and this draw is the definition.
    return np.array([2.0, 0.0]) + np.random.RandomState(1).uniform(-0.1, 0.1, (10, 2))


def measure(
    steps: int = STEPS, projection_steps: int = PROJECTION_STEPS, radii: Sequence[float] = RADII
) -> pd.DataFrame:
    """Roll all trajectories of the figure, in float64 on the CPU.

    Args:
        steps: Of each trajectory.
        projection_steps: P, of each of the ball's steps.
        radii: ρ of the balls.

    Returns:
        One row for each trajectory and step, the start included: `optimizer`, `radius` (NaN for SGD), `start`
        (0 to 9), `step`, `x`, `y`, `loss`, and the ball's center above the plane, `center_x` and `center_y`
        (NaN for SGD).

    Raises:
        UsageError: If `steps` is less than 1.
        ValueError: If a radius is negative or not finite, or `projection_steps` is less than 1.
    """
    if steps < 1:
        raise UsageError(f"steps must be at least 1, not {steps}")
    landscape, radius = Eq14(), _radius_of_each(radii)
    points = roll(landscape, steps, projection_steps, radii)
    losses, gradients = landscape.value_and_grad(points)
    # Eq. 6, without its height.
    normals = gradients / (1.0 + gradients.square().sum(dim=-1, keepdim=True)).sqrt()
    centers = points - radius.unsqueeze(-1) * normals
    moments, trajectories = losses.shape
    return pd.DataFrame(
        {
            "optimizer": np.tile(np.where(radius.isnan(), "sgd", "rbo"), moments),
            "radius": np.tile(radius, moments),
            "start": np.tile(np.arange(trajectories) % len(starts()), moments),
            "step": np.repeat(np.arange(moments), trajectories),
            "x": points[..., 0].flatten(),
            "y": points[..., 1].flatten(),
            "loss": losses.flatten(),
            "center_x": centers[..., 0].flatten(),
            "center_y": centers[..., 1].flatten(),
        }
    )


def roll(
    landscape: Landscape,
    steps: int,
    projection_steps: int,
    radii: Sequence[float],
    *,
    compiled: bool = False,
) -> Tensor:
    """Every trajectory, all balls as one batch: SGD's first, then each radius's, in the order of `starts`.

    Args:
        landscape: f.
        steps: Of each trajectory.
        projection_steps: P, of each of the ball's steps.
        radii: ρ of the balls.
        compiled: Whether the balls' projection goes through `torch.compile`, which pays for long runs.

    Returns:
        Points of shape `(steps + 1, 10 + 10 · len(radii), 2)`.
    """
    first = torch.from_numpy(starts())
    sgd = functools.partial(SGD, lr=LR, batch_dims=1)
    rbo = functools.partial(
        RBO,
        lr=LR,
        radius=_radius_of_each(radii)[len(first) :],
        projection_steps=projection_steps,
        projection_lr=PROJECTION_LR,
        batch_dims=1,
    )
    points = trajectories(sgd, landscape, first, steps)
    balls = trajectories(rbo, landscape, first.repeat(len(radii), 1), steps, compiled=compiled)
    return torch.cat([points, balls], dim=1)


def _radius_of_each(radii: Sequence[float]) -> Tensor:
    """One radius for each trajectory of `roll`, NaN for SGD."""
    return torch.tensor([np.nan, *radii], dtype=torch.float64).repeat_interleave(len(starts()))


def farthest(frame: pd.DataFrame) -> pd.DataFrame:
    """How far each trajectory gets from its start.

    Args:
        frame: What `measure` gave.

    Returns:
        One row for each trajectory: `optimizer`, `radius`, `start` and `farthest`, the largest distance.
    """
    ordered = frame.sort_values("step", kind="stable")
    groups = ordered.groupby(_TRAJECTORY, dropna=False, sort=False)
    x = ordered["x"] - groups["x"].transform("first")
    y = ordered["y"] - groups["y"].transform("first")
    distances = ordered.assign(farthest=np.hypot(x, y))
    return distances.groupby(_TRAJECTORY, dropna=False, sort=False)["farthest"].max().reset_index()


def draw(frame: pd.DataFrame) -> Figure:
    """Draw the trajectories over Eq. 14, one panel for SGD and for each radius; short ones are magnified.

    Args:
        frame: What `measure` gave.

    Returns:
        A figure of paper size; each title has the median over the starts of the farthest distance.
    """
    from matplotlib.colors import ListedColormap, Normalize
    from matplotlib.figure import Figure
    from matplotlib.lines import Line2D

    panels = list(frame.groupby(["optimizer", "radius"], dropna=False, sort=False))
    columns = min(4, len(panels))
    rows = math.ceil(len(panels) / columns)
    window = _window(frame)
    losses = _losses(window)
    # Only light grays, so that lines of any color stand out.
    shades = ListedColormap([str(gray) for gray in np.linspace(0.4, 1.0, 256)])
    look = {"cmap": shades, "norm": Normalize(losses.min(), losses.max()), "origin": "lower"}
    with paper_style():
        figure = Figure(figsize=(WIDTH, 0.7 + 1.8 * rows), layout="constrained")
        grid = figure.subplots(rows, columns, squeeze=False, sharex=True, sharey=True)
        for axes in grid.flat[len(panels) :]:
            axes.set_axis_off()
        for axes, ((optimizer, radius), panel) in zip(grid.flat, panels, strict=False):
            image = axes.imshow(losses, extent=window, **look)
            _draw_trajectories(axes, panel)
            near = _window(panel)
            if near[1] - near[0] < 0.3 * (window[1] - window[0]):
                inset = axes.inset_axes((0.05, 0.05, 0.5, 0.5), xticks=[], yticks=[])
                inset.imshow(_losses(near), extent=near, **look)
                _draw_trajectories(inset, panel)
                axes.indicate_inset_zoom(inset, edgecolor="black", linewidth=0.5, alpha=1.0)
            name = "SGD" if optimizer == "sgd" else f"RBO, ρ = {radius:g}"
            axes.set_title(f"{name} ({farthest(panel)['farthest'].median():.2f})")
        for axes in grid[-1]:
            axes.set_xlabel("$θ_1$")
        for axes in grid[:, 0]:
            axes.set_ylabel("$θ_2$", rotation=0)
        figure.colorbar(image, ax=grid, label="loss", aspect=40, pad=0.01)
        figure.legend(
            handles=[Line2D([], [], linestyle="none", label=label, **mark) for label, mark in _MARKS.items()],
            loc="outside lower center",
            ncols=2,
            title="in parentheses: farthest distance from the start, median over the starts",
            title_fontsize=7.5,
        )
    return figure


def _draw_trajectories(axes: Axes, panel: pd.DataFrame) -> None:
    axes.grid(visible=False)
    axes.spines[:].set_visible(True)
    for start, path in panel.groupby("start"):
        axes.plot(path["x"], path["y"], color=_COLORS[start], linewidth=0.6)
    for label, step in (("start", 0), ("end", panel["step"].max())):
        there = panel[panel["step"] == step]
        axes.plot(there["x"], there["y"], linestyle="none", **_MARKS[label])


def _window(frame: pd.DataFrame) -> Window:
    """The square around all trajectories."""
    low, high = frame[["x", "y"]].min(), frame[["x", "y"]].max()
    (x, y), half = (low + high) / 2, 0.54 * (high - low).max()
    return x - half, x + half, y - half, y + half


def _losses(window: Window) -> np.ndarray:
    """Eq. 14 on a grid of 300 by 300, bottom row first."""
    left, right, bottom, top = window
    x = torch.linspace(left, right, 300, dtype=torch.float64)
    # Row by row: the whole grid at once would take 100 MB for each intermediate result.
    rows = [
        Eq14().value_and_grad(torch.stack([x, y.expand_as(x)], dim=-1))[0]
        for y in torch.linspace(bottom, top, 300, dtype=torch.float64)
    ]
    return torch.stack(rows).numpy()
