"""The loss on a line and on a plane through the weights."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, get_args

import torch
from torch import Tensor

from rbobench.errors import UsageError
from rbobench.measures.eigenvalues import top_eigenpairs
from rbobench.measures.surface import Cost, LossSurface

Directions = Literal["filter-normalized", "eigenvectors"]


@dataclass(frozen=True)
class Slice1D:
    """f(θ + t d) along one direction.

    Attributes:
        value: The largest rise of the loss over its value at θ, in loss units.
        uncertainty: Of that rise, its standard error over the parts; NaN below two parts.
        cost: What it took.
        directions: How d was chosen.
        offsets: t, ascending; the middle one is 0.
        losses: f at each.
    """

    value: float
    uncertainty: float
    cost: Cost
    directions: str
    offsets: tuple[float, ...]
    losses: tuple[float, ...]


@dataclass(frozen=True)
class Slice2D:
    """f(θ + s d + t e) on a plane.

    Attributes:
        value: The largest rise of the loss over its value at θ, in loss units.
        uncertainty: Of that rise, its standard error over the parts; NaN below two parts.
        cost: What it took.
        directions: How d and e were chosen.
        offsets: s and t, ascending; the middle one is 0.
        losses: f; `losses[i][j]` is at s = `offsets[i]`, t = `offsets[j]`.
    """

    value: float
    uncertainty: float
    cost: Cost
    directions: str
    offsets: tuple[float, ...]
    losses: tuple[tuple[float, ...], ...]


def slice_1d(
    surface: LossSurface,
    generator: torch.Generator,
    directions: Directions = "filter-normalized",
    radius: float = 1.0,
    points: int = 41,
) -> Slice1D:
    """The loss along a random direction, normalized by filters, or along the Hessian's top eigenvector.

    Filter normalization (Li et al., arXiv 1712.09913, Section 4): each filter of a random direction, and
    each row of a linear layer, gets the norm of the weights' own; biases and BatchNorm stay put. An offset of
    1 then moves as far as the weights are long, whatever their scale. Where no parameter has two dimensions,
    each is taken for one filter. An eigenvector has norm 1, and offsets are in parameter units; its sign is
    arbitrary.

    Args:
        surface: f and θ.
        generator: Draws the direction, or the starting vector for the eigenvector.
        directions: "filter-normalized" or "eigenvectors".
        radius: The largest offset.
        points: Offsets, odd, at least 3.

    Raises:
        UsageError: If an argument is out of its range, or `directions` is unknown.
    """
    before = surface.cost
    offsets = _offsets(radius, points)
    (direction,) = _directions(surface, generator, directions, 1)
    parts = torch.stack([_parts(surface, [(offset, direction)]) for offset in offsets])
    value, uncertainty = _rise(surface, parts, points // 2)
    losses = tuple(parts.sum(dim=1).tolist())
    return Slice1D(value, uncertainty, surface.cost - before, directions, offsets, losses)


def slice_2d(
    surface: LossSurface,
    generator: torch.Generator,
    directions: Directions = "filter-normalized",
    radius: float = 1.0,
    points: int = 15,
) -> Slice2D:
    """The loss on the plane of two such directions as `slice_1d` has one, on a square grid.

    Args:
        surface: f and θ.
        generator: Draws the directions, or the starting vector for the eigenvectors.
        directions: "filter-normalized" (independent draws, as in the paper) or "eigenvectors" (the top two).
        radius: The largest offset along each.
        points: Offsets along each, odd, at least 3.

    Raises:
        UsageError: If an argument is out of its range, or `directions` is unknown.
    """
    before = surface.cost
    offsets = _offsets(radius, points)
    first, second = _directions(surface, generator, directions, 2)
    parts = torch.stack([_parts(surface, [(s, first), (t, second)]) for s in offsets for t in offsets])
    value, uncertainty = _rise(surface, parts, points**2 // 2)
    losses = tuple(map(tuple, parts.sum(dim=1).reshape(points, points).tolist()))
    return Slice2D(value, uncertainty, surface.cost - before, directions, offsets, losses)


def filter_normalized(parameters: Sequence[Tensor], generator: torch.Generator) -> list[Tensor]:
    """A random direction, each filter as long as the parameters' own (arXiv 1712.09913, Eq. 1).

    Args:
        parameters: Those of two dimensions or more have one filter for each first index; the others get zeros
            (where all have less, each is one filter).
        generator: Draws normal numbers, where it lives.

    Returns:
        One tensor of the same shape for each.
    """
    flat = all(parameter.ndim < 2 for parameter in parameters)
    direction = []
    for parameter in parameters:
        drawn = torch.randn(
            parameter.shape, generator=generator, dtype=torch.float64, device=generator.device
        ).to(parameter)
        filters, own = (each.detach().reshape(1 if flat else len(each), -1) for each in (drawn, parameter))
        if not flat and parameter.ndim < 2:
            direction.append(torch.zeros_like(parameter))
            continue
        scale = own.norm(dim=1, keepdim=True) / filters.norm(dim=1, keepdim=True)
        direction.append((filters * scale).reshape(parameter.shape))
    return direction


def _offsets(radius: float, points: int) -> tuple[float, ...]:
    if not 0.0 < radius < float("inf"):
        raise UsageError(f"a slice's radius must be positive, not {radius}")
    if points < 3 or points % 2 == 0:
        raise UsageError(f"a slice takes an odd number of points from 3 on, so that one is θ, not {points}")
    half = points // 2
    return tuple(radius * index / half for index in range(-half, half + 1))


def _directions(
    surface: LossSurface, generator: torch.Generator, directions: Directions, count: int
) -> list[list[Tensor]]:
    if directions == "eigenvectors":
        return top_eigenpairs(surface, count, generator)[1]
    if directions == "filter-normalized":
        return [filter_normalized(surface.parameters, generator) for _ in range(count)]
    raise UsageError(
        f"unknown directions {directions!r} of a slice; known: {', '.join(get_args(Directions))}"
    )


def _parts(surface: LossSurface, moves: Sequence[tuple[float, Sequence[Tensor]]]) -> Tensor:
    """The parts of f at the sum of the moves, of shape (parts,)."""
    scaled = ([factor * each for each in direction] for factor, direction in moves)
    with surface.displaced([torch.stack(each).sum(dim=0) for each in zip(*scaled, strict=True)]):
        return surface.values()


def _rise(surface: LossSurface, parts: Tensor, center: int) -> tuple[float, float]:
    """The largest rise over the center and its standard error, from the parts of shape (points, parts)."""
    rises = parts - parts[center]
    highest = rises[rises.sum(dim=1).argmax()]
    return float(highest.sum()), surface.standard_error(highest)
