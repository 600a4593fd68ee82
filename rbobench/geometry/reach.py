"""Which points a ball can touch, and the three radii that the paper calls the reach."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from rbobench.geometry.curvature import principal_curvatures
from rbobench.geometry.footpoint import distance
from rbobench.geometry.graph import (
    Array,
    Graph,
    as_points,
    ball_centers,
    grid_points,
    normals,
    positive_radius,
)
from rbobench.geometry.newton import minimize

_ROUNDS = 24
"""Of zooming in by half: 2⁻²⁴ of a cell, whose square is below machine precision."""


@dataclass(frozen=True)
class CriticalRadii:
    """Three radii that coincide for sin θ and differ in general.

    Attributes:
        two_sided: The reach of Γ (Federer): below it every point within ρ of Γ, on either side, has one
            footpoint.
        upper: The same from above alone: below it a ball from above touches every point of Γ.
        touching_minimum: The largest radius that still touches the global minimum from above. Here the
            plateau of Δ(ρ) ends.
        minimum: Parameters of the global minimum over the box, of shape `(d,)`.

    They are infinite where nothing ever stops the ball.
    """

    two_sided: float
    upper: float
    touching_minimum: float
    minimum: Array


def contact_radius(graph: Graph, points: ArrayLike, *, above: bool = True) -> Array:
    """The largest radius whose ball touches Γ at each point and nowhere crosses it.

    R(p) = inf over q of ‖q−p‖² / (2⟨q−p, ν(p)⟩) where positive; q → p gives the inverse of the largest upward
    curvature.

    Args:
        graph: Γ over a box; q is sought in it.
        points: Parameters of p, of shape `(m, d)`.
        above: Whether the ball lies above Γ, on the side of ν, or below it.

    Returns:
        Of shape `(m,)`; infinite where no point of the box stops the ball.
    """
    points = as_points(points, graph.dimension)
    side = 1.0 if above else -1.0
    values, gradients = graph.evaluate(points)
    upward = side * normals(gradients)
    bend = side * principal_curvatures(graph, points)
    with np.errstate(divide="ignore"):
        local = np.where(bend.max(axis=-1) > 0.0, 1.0 / np.maximum(bend.max(axis=-1), 0.0), np.inf)

    def bound(here: int, others: Array, heights: Array) -> Array:
        along, rise = others - points[here], heights - values[here]
        across = along @ upward[here, :-1] + rise * upward[here, -1]
        squared = np.square(along).sum(axis=-1) + np.square(rise)
        # Beside p the quotient is rounding noise: there the curvature speaks.
        told = across > 1e-9 * (1.0 + np.abs(values[here]))
        return np.where(told, squared / (2.0 * np.where(told, across, 1.0)), np.inf)

    shape = np.stack(list(np.ndindex((3,) * graph.dimension))) - 1.0
    best = np.empty((len(points), graph.dimension))
    radii = np.empty(len(points))
    for here in range(len(points)):
        bounds = bound(here, graph.points, graph.values)
        best[here], radii[here] = graph.points[bounds.argmin()], bounds.min()
    step = graph.spacing
    for _ in range(_ROUNDS):
        step *= 0.5
        around = np.clip(best[:, None, :] + step * shape, graph.low, graph.high)
        heights = graph.evaluate(around.reshape(-1, graph.dimension))[0].reshape(around.shape[:-1])
        for here in range(len(points)):
            bounds = bound(here, around[here], heights[here])
            if bounds.min() < radii[here]:
                best[here], radii[here] = around[here, bounds.argmin()], bounds.min()
    return np.minimum(radii, local)


def reachable(
    graph: Graph, points: ArrayLike, radius: float, *, above: bool = True, tolerance: float = 1e-9
) -> Array:
    """Whether a ball of `radius` can touch each point, by rolling it there: is the ball at p ± ρν empty?

    It asks for the distance of the ball's center from Γ, and knows nothing of `contact_radius`. Definition 1
    calls a point reachable if it is so from above *or from below*.

    Args:
        graph: Γ over a box that holds the balls.
        points: Parameters of p, of shape `(m, d)`.
        radius: ρ > 0.
        above: Whether the ball lies above Γ or below it.
        tolerance: Of the distance, relative to ρ.

    Returns:
        Booleans of shape `(m,)`.

    Raises:
        UsageError: If there is no ball.
    """
    radius = positive_radius(radius)
    points = as_points(points, graph.dimension)
    balls = ball_centers(graph, points, radius if above else -radius)
    return np.asarray(distance(graph, balls) >= radius * (1.0 - tolerance))


def critical_radii(graph: Graph, *, points: int = 2000) -> CriticalRadii:
    """The three radii over the graph's box.

    Args:
        graph: Γ over a box; contacts and obstacles are sought in it.
        points: About how many contacts to begin with; the best is refined.
    """
    per_dimension = max(2, round(points ** (1.0 / graph.dimension)))
    axis = np.linspace(graph.low, graph.high, per_dimension)
    grid = grid_points(axis, graph.dimension)
    shape = np.stack(list(np.ndindex((3,) * graph.dimension))) - 1.0

    def smallest(above: bool) -> float:
        radii = contact_radius(graph, grid, above=above)
        best, place, step = float(radii.min()), grid[radii.argmin()], axis[1] - axis[0]
        for _ in range(_ROUNDS):
            step *= 0.5
            around = np.clip(place + step * shape, graph.low, graph.high)
            radii = contact_radius(graph, around, above=above)
            if radii.min() < best:
                best, place = float(radii.min()), around[radii.argmin()]
        return best

    upper = smallest(above=True)
    minimum = _minimum(graph)
    return CriticalRadii(
        two_sided=min(upper, smallest(above=False)),
        upper=upper,
        touching_minimum=float(contact_radius(graph, minimum[None])[0]),
        minimum=minimum,
    )


def _minimum(graph: Graph) -> Array:
    """Where f is lowest over the box."""
    start = graph.points[graph.values.argmin()][None]

    def itself(points: Array, _: Array) -> tuple[Array, Array, Array]:
        return (*graph.evaluate(points), graph.hessian(points))

    return minimize(itself, start, longest_step=graph.spacing, low=graph.low, high=graph.high)[0]
