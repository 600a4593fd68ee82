"""The exact footpoint: the nearest points of a graph, by search of the whole of it (Eq. 3, 8)."""

from __future__ import annotations

import itertools
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from rbobench.geometry.graph import Array, Graph, as_points
from rbobench.geometry.newton import minimize

TIE = 1e-9
"""Points whose distances differ by less, relatively, are both nearest."""


@dataclass(frozen=True)
class Footpoints:
    """The nearest points of Γ to some centers.

    Attributes:
        points: Parameters of the nearest point, of shape `(m, d)`; of equals the first in lexical order. NaN
            where the center is not finite, or too far to square.
        values: f there, of shape `(m,)`.
        distances: d_Γ of the centers, of shape `(m,)`.
        nearest: Parameters of *all* nearest points of each center, up to `TIE`, each of shape `(k, d)`; more
            than one on the medial axis (Section 2.2), if the grid tells them apart.
        certain: Whether the box is known to hold the nearest point of the whole graph: nothing outside the
            box is as near.
    """

    points: Array
    values: Array
    distances: Array
    nearest: list[Array]
    certain: Array


def footpoint(graph: Graph, centers: ArrayLike) -> Footpoints:
    """Project points of the ambient space onto Γ.

    A tree over the samples bounds the distance; Newton's method starts from every grid-local minimum of the
    distance that the bound leaves.

    Args:
        graph: Γ over a box.
        centers: Points (θ, y) of the ambient space, of shape `(m, d + 1)`.

    Raises:
        UsageError: If the shape does not fit.
    """
    centers = as_points(centers, graph.dimension + 1)
    with np.errstate(over="ignore"):
        finite = np.isfinite(np.square(centers).sum(axis=-1))
    owners, starts = _starts(graph, centers[finite])
    targets = centers[finite][owners]

    def half_squared_distance(points: Array, problems: Array) -> tuple[Array, Array, Array]:
        value, gradient = graph.evaluate(points)
        along, rise = points - targets[problems, :-1], value - targets[problems, -1]
        curvature = np.eye(graph.dimension) + gradient[:, :, None] * gradient[:, None, :]
        curvature = curvature + rise[:, None, None] * graph.hessian(points)
        distance = 0.5 * (np.square(along).sum(axis=-1) + np.square(rise))
        return distance, along + rise[:, None] * gradient, curvature

    found = minimize(
        half_squared_distance, starts, longest_step=2.0 * graph.spacing, low=graph.low, high=graph.high
    )
    values, _ = graph.evaluate(found)
    distances = np.linalg.norm(np.column_stack([found, values]) - targets, axis=-1)
    return _collect(graph, centers, np.flatnonzero(finite)[owners], found, values, distances)


def distance(graph: Graph, centers: ArrayLike) -> Array:
    """d_Γ (Eq. 3) of points of the ambient space of shape `(m, d + 1)`, of shape `(m,)`."""
    return footpoint(graph, centers).distances


def _starts(graph: Graph, centers: Array) -> tuple[Array, Array]:
    """Grid-local minima of the distance that may lead to a nearest point, and whose they are."""
    if not len(centers):
        return np.empty(0, dtype=int), np.empty((0, graph.dimension))
    nearest, first = graph.tree.query(centers)
    found = [_local_minima(graph, *pair) for pair in zip(centers, np.atleast_1d(nearest), strict=True)]
    owners = np.repeat(np.arange(len(centers)), [len(starts) for starts in found])
    return np.concatenate([owners, np.arange(len(centers))]), np.concatenate([*found, graph.points[first]])


def _local_minima(graph: Graph, center: Array, nearest: float) -> Array:
    """Samples nearer than their neighbors, in the box around `center` that holds its footpoint."""
    window, along = graph.around(center[:-1], nearest + graph.spacing)
    squared = along + np.square(graph.values.reshape(graph.shape)[window] - center[-1])
    kept = squared <= np.square(nearest + graph.covering.reshape(graph.shape)[window])
    for shift in np.ndindex((3,) * graph.dimension):
        here = tuple(
            slice(max(0, 1 - s), n - max(0, s - 1)) for s, n in zip(shift, squared.shape, strict=True)
        )
        there = tuple(
            slice(max(0, s - 1), n - max(0, 1 - s)) for s, n in zip(shift, squared.shape, strict=True)
        )
        kept[here] &= squared[here] <= squared[there]
    where = np.nonzero(kept)
    return np.stack([graph.axis[part][index] for part, index in zip(window, where, strict=True)], axis=-1)


def _collect(
    graph: Graph, centers: Array, owners: Array, found: Array, values: Array, distances: Array
) -> Footpoints:
    """The nearest of each center's local minima, with its equals."""
    shortest = np.full(len(centers), np.nan)
    np.fmin.at(shortest, owners, distances)
    among = distances <= shortest[owners] * (1.0 + TIE) + TIE * graph.spacing
    owners, found, values, distances = owners[among], found[among], values[among], distances[among]
    first = _distinct(owners, found, 1e-3 * graph.spacing)
    owners, found, values, distances = owners[first], found[first], values[first], distances[first]
    ends = np.searchsorted(owners, np.arange(len(centers) + 1))
    nearest = [found[begin:end] for begin, end in itertools.pairwise(ends)]
    points = np.full((len(centers), graph.dimension), np.nan)
    height = np.full(len(centers), np.nan)
    # From the farthest to the nearest, of equals the first last: the last one written stays.
    order = np.lexsort((-np.arange(len(owners)), -distances))
    points[owners[order]], height[owners[order]] = found[order], values[order]
    return Footpoints(points, height, shortest, nearest, graph.contains(centers[:, :-1], shortest))


def _distinct(owners: Array, found: Array, closeness: float) -> Array:
    """One of the starts that ran into each minimum; by owner, then in lexical order of the minima."""
    groups = owners
    for coordinate in found.T:
        # Coordinate by coordinate: rounding in the first must not part equals from each other.
        order = np.lexsort((coordinate, groups))
        new = (np.diff(groups[order]) > 0) | (np.diff(coordinate[order]) > closeness)
        groups = np.empty(len(order), dtype=int)
        groups[order] = np.cumsum(np.r_[True, new][: len(order)])
    return np.unique(groups, return_index=True)[1]
