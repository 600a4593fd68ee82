"""The graph of a landscape over a box, sampled for searches of the whole of it."""

from __future__ import annotations

import functools
import math
from collections.abc import Iterator

import numpy as np
import torch
from numpy.typing import ArrayLike
from scipy.spatial import KDTree

from rbobench.errors import UsageError
from rbobench.geometry.landscape import Domain, Landscape, Scaled

Array = np.ndarray

MOST_SAMPLES = 20_000_000
"""A grid of more would not fit: three such arrays and a tree are held."""

_CHUNK = 1 << 15


class Graph:
    """Γ = {(θ, f(θ))} over a box (arXiv 2505.19527, Section 2), with samples on a regular grid.

    Searches start from the samples and refine them, so they are as global as the grid is fine: `spacing`
    must resolve f's finest features.

    Args:
        landscape: f, of one or two parameters.
        domain: The box [low, high] in every coordinate; the landscape's own by default.
        spacing: Of the grid; the landscape's own by default.

    Attributes:
        axis: Coordinates of the grid along each dimension, of shape `(n,)`.
        points: Every grid point, of shape `(n ** d, d)`.
        values: f there.
        gradients: ∇f there, of shape `(n ** d, d)`.

    Raises:
        UsageError: If f has more than two parameters, there is no bounded domain or no spacing, the grid
            would not fit into memory, or f is not finite on it or has values of another shape.
    """

    def __init__(
        self, landscape: Landscape, domain: Domain | None = None, spacing: float | None = None
    ) -> None:
        owner, dimension = f"landscape {landscape.name!r}", landscape.dimension
        if dimension > 2:
            raise UsageError(f"{owner}: its graph can be searched in 1 or 2 dimensions, not in {dimension}")
        domain = landscape.domain if domain is None else domain
        if domain is None or len(domain) != 2 or not all(map(math.isfinite, domain)):
            raise UsageError(f"{owner} has no bounded search domain; give one as (low, high)")
        low, high = map(float, domain)
        if not low < high:
            raise UsageError(f"{owner}: the search domain's low end must be below its high end, not {domain}")
        spacing = landscape.spacing if spacing is None else spacing
        if spacing is None:
            raise UsageError(f"{owner} has no grid spacing that resolves it; give one")
        if not 0.0 < spacing < math.inf:
            raise UsageError(f"{owner}: the grid's spacing must be finite and above 0, not {spacing}")
        count = math.ceil((high - low) / spacing) + 1
        if count**dimension > MOST_SAMPLES:
            raise UsageError(
                f"{owner}: a grid of {spacing:g} over ({low:g}, {high:g}) has {count**dimension:,} points; "
                f"narrow the domain or widen the spacing to at most {MOST_SAMPLES:,}"
            )
        self.landscape = landscape
        self.dimension = dimension
        self.low, self.high = low, high
        self.axis = np.linspace(low, high, count)
        self.spacing = float(self.axis[1] - self.axis[0])
        self.shape = (count,) * dimension
        self.points = grid_points(self.axis, dimension)
        self.values, self.gradients = self.evaluate(self.points)
        if self.values.shape != self.points.shape[:1]:
            raise UsageError(
                f"{owner} must have one value a point, of shape {self.points.shape[:1]}, "
                f"not {self.values.shape}"
            )
        finite = np.isfinite(np.column_stack([self.values, self.gradients])).all(axis=-1)
        if not finite.all():
            where = self.points[finite.argmin()].tolist()
            raise UsageError(f"{owner}: its value or its slope is not finite at {where}; narrow the domain")

    def evaluate(self, points: ArrayLike) -> tuple[Array, Array]:
        """Values and gradients of f at `points` of shape `(m, d)`, of shape `(m,)` and `(m, d)`."""
        parts = [self.landscape.value_and_grad(part) for part in _tensors(points)]
        return (
            torch.cat([value for value, _ in parts]).numpy(),
            torch.cat([gradient for _, gradient in parts]).numpy(),
        )

    def hessian(self, points: ArrayLike) -> Array:
        """∇²f at `points` of shape `(m, d)`, of shape `(m, d, d)`."""
        return torch.cat([self.landscape.hessian(part) for part in _tensors(points)]).numpy()

    def around(self, position: Array, reach: float) -> tuple[tuple[slice, ...], Array]:
        """The part of the grid that is within `reach` of a position in every coordinate.

        Args:
            position: Parameters θ, of shape `(d,)`.
            reach: In units of parameters.

        Returns:
            The part, as slices of an array of the grid's shape, and ‖q−θ‖² at each of its points q.
        """
        first = np.searchsorted(self.axis, position - reach)
        past = np.searchsorted(self.axis, position + reach, side="right")
        window = tuple(slice(begin, end) for begin, end in zip(first, past, strict=True))
        along = np.meshgrid(
            *(np.square(self.axis[part] - place) for part, place in zip(window, position, strict=True)),
            indexing="ij",
            sparse=True,
        )
        return window, functools.reduce(np.add, along)

    def contains(self, points: Array, margin: Array | float = 0.0) -> Array:
        """Which of `points` of shape `(m, d)` lie in the box, and `margin` away from its edge."""
        inside = np.minimum(points - self.low, self.high - points).min(axis=-1)
        # A margin of the box's own width is meant to fit, whatever the last digit says.
        tolerance = 1e-12 * (self.high - self.low)
        return np.asarray(inside >= np.asarray(margin) - tolerance)

    @functools.cached_property
    def tree(self) -> KDTree:
        """The samples (θ, f(θ)), for nearest neighbors in the ambient space."""
        return KDTree(np.column_stack([self.points, self.values]), balanced_tree=False)

    @functools.cached_property
    def covering(self) -> Array:
        """How far from each sample Γ may be in its part of the grid, in the ambient space; `(n ** d,)`."""
        field = self.gradients.reshape(*self.shape, self.dimension)
        turn = max(float(np.abs(np.diff(field, axis=axis)).max()) for axis in range(self.dimension))
        steepest = np.linalg.norm(self.gradients, axis=-1) + turn
        return 0.5 * math.sqrt(self.dimension) * self.spacing * np.hypot(1.0, steepest)


@functools.lru_cache(maxsize=4)
def graph_of(landscape: Landscape, domain: Domain | None = None, *, scale: float = 1.0) -> Graph:
    """The `Graph` of scale · f, kept for the next call with the same arguments: sampling is what costs."""
    return Graph(landscape if scale == 1.0 else Scaled(landscape, scale), domain)


def grid_points(axis: Array, dimension: int) -> Array:
    """Every point of the grid with `axis` along each dimension, of shape `(n ** dimension, dimension)`."""
    grid = np.meshgrid(*[axis] * dimension, indexing="ij")
    return np.stack([coordinate.ravel() for coordinate in grid], axis=-1)


def ball_centers(graph: Graph, points: Array, radius: float) -> Array:
    """Centers p + ρν (Eq. 6) of balls that touch Γ at points of shape `(m, d)`, of shape `(m, d + 1)`.

    A negative radius is a ball below Γ.
    """
    values, gradients = graph.evaluate(points)
    return np.column_stack([points, values]) + radius * normals(gradients)


def normals(gradients: Array) -> Array:
    """Upward unit normals (−g, 1)/s (Eq. 1) for gradients of shape `(m, d)`, of shape `(m, d + 1)`."""
    upward = np.concatenate([-gradients, np.ones((len(gradients), 1))], axis=-1)
    return upward / np.linalg.norm(upward, axis=-1, keepdims=True)


def as_points(points: ArrayLike, dimension: int) -> Array:
    """`points` as an array of shape `(m, dimension)`; a flat one is one coordinate each where that is all.

    Raises:
        UsageError: If the shape does not fit.
    """
    array = np.asarray(points, dtype=float)
    if dimension == 1 and array.ndim <= 1:
        array = array.reshape(-1, 1)
    if array.ndim != 2 or array.shape[1] != dimension:
        raise UsageError(f"points must have shape (m, {dimension}), not {array.shape}")
    return array


def positive_radius(radius: float) -> float:
    """`radius`, refused unless there is a ball.

    Raises:
        UsageError: If it is not a finite number above 0.
    """
    if not (math.isfinite(radius) and radius > 0.0):
        raise UsageError(f"the ball's radius must be finite and above 0, not {radius}")
    return float(radius)


def _tensors(points: ArrayLike) -> Iterator[torch.Tensor]:
    yield from torch.from_numpy(np.ascontiguousarray(points, dtype=float)).split(_CHUNK)
