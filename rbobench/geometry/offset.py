"""The offset graph f_ρ: where the center of a ball rolling on Γ from above can be (Section 2.1, Lemma 2)."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike
from scipy.ndimage import grey_dilation

from rbobench.errors import UsageError
from rbobench.geometry.footpoint import footpoint
from rbobench.geometry.graph import Array, Graph, as_points, grid_points, positive_radius
from rbobench.geometry.landscape import Domain

_MOST_LIFTS = 200
_STARTS = 3
_ROUNDS = 24
"""Of zooming in to 3/8: 10⁻¹⁰ of a step."""


@dataclass(frozen=True)
class OffsetGraph:
    """f_ρ at some positions of the center.

    Attributes:
        values: f_ρ, of shape `(m,)`.
        contacts: Parameters θ + s of all points of Γ that the ball touches, each of shape `(k, d)`. Where
            there is one, ∇f there is ∇f_ρ; where there are more, f_ρ has a kink.
    """

    values: Array
    contacts: list[Array]


@dataclass(frozen=True)
class Ironing:
    """How flat the offset graph is over a box.

    Attributes:
        lowest: inf f_ρ.
        highest: sup f_ρ.
        valley: Where it is lowest, of shape `(d,)`.
        peak: Where it is highest, of shape `(d,)`.
    """

    lowest: float
    highest: float
    valley: Array
    peak: Array

    @property
    def delta(self) -> float:
        """Δ(ρ) = sup f_ρ − inf f_ρ (Lemma 2)."""
        return self.highest - self.lowest


def offset_graph(graph: Graph, positions: ArrayLike, radius: float) -> OffsetGraph:
    """f_ρ(θ) = max over ‖s‖ ≤ ρ of f(θ+s) + √(ρ²−‖s‖²), to machine precision.

    The ball starts too low, resting on the samples alone, and is lifted onto the nearest point of Γ, the
    deepest inside it, until none is inside: a rising sequence of lower bounds, the last certified by d_Γ = ρ.

    Args:
        graph: Γ over a box that holds the ball around every position.
        positions: The center's parameters θ, of shape `(m, d)`.
        radius: ρ > 0.

    Raises:
        UsageError: If there is no ball, or it leaves the box.
    """
    radius = positive_radius(radius)
    positions = as_points(positions, graph.dimension)
    inside = graph.contains(positions, radius)
    if not inside.all():
        outside = np.array2string(positions[~inside][0], precision=6)
        raise UsageError(
            f"a ball of radius {radius:g} around {outside} leaves the search domain "
            f"({graph.low:g}, {graph.high:g}); widen it"
        )
    resting = np.array([_resting_on_samples(graph, position, radius) for position in positions])
    heights = np.maximum(resting.reshape(-1), graph.evaluate(positions)[0] + radius)
    contacts = [position[None] for position in positions]
    going = np.arange(len(positions))
    for _ in range(_MOST_LIFTS):
        found = footpoint(graph, np.column_stack([positions[going], heights[going]]))
        for place, nearest in zip(going, found.nearest, strict=True):
            contacts[place] = nearest
        s = found.points - positions[going]
        lifted = found.values + np.sqrt(np.maximum(radius**2 - np.square(s).sum(axis=-1), 0.0))
        rising = lifted > heights[going] + 1e-14 * (radius + np.abs(heights[going]))
        going = going[rising]
        if not len(going):
            return OffsetGraph(heights, contacts)
        heights[going] = lifted[rising]
    raise RuntimeError(f"a ball of radius {radius:g} was not lifted free of {graph.landscape.name!r}")


def _resting_on_samples(graph: Graph, position: Array, radius: float) -> float:
    """The height of a ball's center over `position` that rests on samples; −∞ where there is none below."""
    window, along = graph.around(position, radius)
    squared = radius**2 - along
    heights = graph.values.reshape(graph.shape)[window] + np.sqrt(np.maximum(squared, 0.0))
    return float(np.max(heights, where=squared >= 0.0, initial=-np.inf))


def dilation(graph: Graph, radius: float) -> Array:
    """f_ρ on the whole grid at once, by grey dilation with a ball (the rolling ball of image processing).

    Contacts are sought among the samples alone: the values are lower bounds, by O(`spacing`²) where Γ bends
    less than the ball. Near the edge of the box they know only of what is inside.

    Args:
        graph: Γ over a box.
        radius: ρ > 0.

    Returns:
        An array of the grid's shape.

    Raises:
        UsageError: If there is no ball.
    """
    radius = positive_radius(radius)
    reach = int(radius / graph.spacing)
    steps = np.arange(-reach, reach + 1) * graph.spacing
    squared = radius**2 - sum(np.square(step) for step in np.meshgrid(*[steps] * graph.dimension))
    ball = np.sqrt(np.maximum(squared, 0.0))
    values = graph.values.reshape(graph.shape)
    return np.asarray(
        grey_dilation(values, footprint=squared >= 0.0, structure=ball, mode="constant", cval=-np.inf)
    )


def ironing(graph: Graph, radius: float, between: Domain, *, positions: int = 201) -> Ironing:
    """The extrema of f_ρ over a box, and so Δ(ρ) (Lemma 2).

    Args:
        graph: Γ over a box that is `radius` larger than `between` on every side: f goes on beyond.
        radius: ρ > 0.
        between: The box of centers.
        positions: Per dimension, from which the extrema are refined; enough to tell f_ρ's valleys apart.

    Raises:
        UsageError: If `between` is not (low, high), there are fewer than two positions, or as `offset_graph`.
    """
    if len(between) != 2 or not between[0] < between[1]:
        raise UsageError(f"the box of centers must be (low, high) with low < high, not {between}")
    if positions < 2:
        raise UsageError(f"there must be at least 2 positions, not {positions}")
    axis = np.linspace(*between, positions)
    places = grid_points(axis, graph.dimension)
    values = offset_graph(graph, places, radius).values
    shape = (np.stack(list(np.ndindex((9,) * graph.dimension))) - 4.0) / 4.0

    def extremum(sign: float) -> tuple[float, Array]:
        best = places[np.argsort(sign * values, kind="stable")[:_STARTS]]
        width = axis[1] - axis[0]
        for _ in range(_ROUNDS):
            # Without derivatives: f_ρ has kinks where contacts change.
            around = np.clip(best[:, None] + width * shape, *between)
            heights = sign * offset_graph(graph, around.reshape(-1, graph.dimension), radius).values
            heights = heights.reshape(len(best), -1)
            best, width = around[np.arange(len(best)), heights.argmin(axis=-1)], 0.375 * width
        first = heights.min(axis=-1).argmin()
        return sign * float(heights[first].min()), best[first]

    (lowest, valley), (highest, peak) = extremum(1.0), extremum(-1.0)
    return Ironing(lowest, highest, valley, peak)
