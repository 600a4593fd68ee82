"""The landscapes of the paper, and of the literature on global optimization."""

from __future__ import annotations

import functools
import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import ClassVar, TypeVar

import numpy as np
import torch
from torch import Tensor

from rbobench.errors import UsageError
from rbobench.geometry.landscape import Landscape

PAPER = "arXiv 2505.19527"

# Eq. 14's square in cells, as in molecular dynamics.
_CELL = 0.1
_CELLS = 60
_REACH = 0.63  # of a well: its slope there, 126 exp(−40), is below double precision

_Constant = TypeVar("_Constant")


class Sine(Landscape):
    """sin θ, whose offset graph and reach are known in closed form."""

    name = "sine"
    description = "sin θ on the line"
    reference = f"{PAPER}, Section 5.1"
    minimum = -1.0
    dimension = 1
    start = (1.0,)
    spacing = 1e-2

    def value(self, points: Tensor) -> Tensor:
        """The function at `points` of shape `(..., 1)`."""
        return points[..., 0].sin()

    @torch.no_grad()
    def value_and_grad(self, points: Tensor) -> tuple[Tensor, Tensor]:
        """The function and its gradient at `points` of shape `(..., 1)`, both detached."""
        return points[..., 0].sin(), points.cos()


class Eq13(Landscape):
    """The paper's wrinkled line, Σ_{k=1}^{100} sin(k²θ)/k² (Eq. 13); its slope reaches 100."""

    name = "eq13"
    description = "Σ sin(k²θ)/k² over k = 1..100, wrinkled at every scale"
    reference = f"{PAPER}, Eq. 13 and Figure 3"
    dimension = 1
    start = (2.0,)
    spacing = 2e-5  # 31 to the finest wave

    def value(self, points: Tensor) -> Tensor:
        """The function at `points` of shape `(..., 1)`."""
        squares = _squares(100, points.dtype, points.device)
        return ((points * squares).sin() / squares).sum(dim=-1)

    @torch.no_grad()
    def value_and_grad(self, points: Tensor) -> tuple[Tensor, Tensor]:
        """The function and its gradient Σ cos(k²θ) at `points` of shape `(..., 1)`, both detached."""
        squares = _squares(100, points.dtype, points.device)
        angles = points * squares
        return (angles.sin() / squares).sum(dim=-1), angles.cos().sum(dim=-1, keepdim=True)


class Eq14(Landscape):
    """The paper's plane of wells, ‖θ‖² − Σ_{k=1}^{1000} exp(−‖θ−θ_k‖²/σ²) (Eq. 14).

    The paper states neither σ nor the draw of the centers. Here σ = 0.1 and the centers are
    `numpy.random.RandomState(0).uniform(-3, 3, (1000, 2))`, which gives its Figure 4.
    """

    name = "eq14"
    description = "‖θ‖² with a thousand narrow wells in the plane"
    reference = f"{PAPER}, Eq. 14 and Figure 4"
    dimension = 2
    start = (2.0, 0.0)
    domain = (-4.0, 4.0)
    spacing = 1e-2
    sigma: ClassVar[float] = 0.1

    def value(self, points: Tensor) -> Tensor:
        """The function at `points` of shape `(..., 2)`, summed over all wells."""
        _, wells = self._wells(points, _centers(points.dtype, points.device))
        return points.square().sum(dim=-1) - wells.sum(dim=-1)

    @torch.no_grad()
    def value_and_grad(self, points: Tensor) -> tuple[Tensor, Tensor]:
        """The function and its gradient at `points` of shape `(..., 2)`, both detached.

        Only the wells near a point are summed; the others are below double precision.
        """
        offsets, wells = self._wells(points, _centers_near(points))
        value = points.square().sum(dim=-1) - wells.sum(dim=-1)
        # A product and a sum, not a matrix product: each point's bits do not depend on the batch's size.
        pull = (wells.unsqueeze(-2) * offsets).sum(dim=-1)
        return value, torch.add(2.0 * points, pull, alpha=2.0 / self.sigma**2)

    def _wells(self, points: Tensor, centers: Tensor) -> tuple[Tensor, Tensor]:
        """θ − θ_k of shape `(..., 2, k)`, and each well's depth at θ of shape `(..., k)`."""
        offsets = points.unsqueeze(-1) - centers
        # Expanding ‖θ−θ_k‖² would lose digits near a center; a sum over dim -2 is slower than this.
        x, y = offsets.unbind(dim=-2)
        return offsets, x.square().add_(y.square()).div_(-(self.sigma**2)).exp_()


@dataclass(frozen=True)
class _OfAnyDimension(Landscape):
    """A landscape that is defined in every dimension from `smallest_dimension` on.

    Raises:
        UsageError: If `dimension` is smaller.
    """

    smallest_dimension: ClassVar[int] = 1
    start_coordinates: ClassVar[tuple[float, ...]]

    dimension: int = 2

    def __post_init__(self) -> None:
        if self.dimension < self.smallest_dimension:
            raise UsageError(
                f"landscape {self.name!r}: dimension must be at least {self.smallest_dimension}, "
                f"not {self.dimension}"
            )

    @property
    def start(self) -> tuple[float, ...]:
        """The default starting point: `start_coordinates`, over and over."""
        repeats = math.ceil(self.dimension / len(self.start_coordinates))
        return (self.start_coordinates * repeats)[: self.dimension]


class Weierstrass(_OfAnyDimension):
    """Σ_i Σ_{k=0}^{20} aᵏ (1 − cos(2π bᵏ x_i)) with a = ½ and b = 3: almost nowhere smooth.

    Usually written as Σ_i Σ_k aᵏ cos(2π bᵏ (x_i + ½)) − d Σ_k aᵏ cos(π bᵏ); as b is odd, this is the same
    without the cancellation. Wrinkles finer than the dtype resolves, 3⁻¹⁴ in float32, are noise.
    """

    name = "weierstrass"
    description = "Weierstrass's function: almost nowhere smooth, minimum 0 at the integers"
    reference = "Suganthan et al., Problem definitions for the CEC 2005 special session, 2005, F11"
    minimum = 0.0
    start_coordinates = (0.3,)

    def value(self, points: Tensor) -> Tensor:
        """The function at `points` of shape `(..., d)`."""
        amplitudes, frequencies = _weierstrass_series(points.dtype, points.device)
        waves = (math.pi * frequencies * points.unsqueeze(-1)).sin().square()  # 1 − cos 2u = 2 sin²u
        return 2.0 * (amplitudes * waves).sum(dim=(-2, -1))


class Whitley(_OfAnyDimension):
    """Σ_i Σ_j [y²/4000 − cos y + 1] with y = 100(x_i² − x_j)² + (1 − x_j)²."""

    name = "whitley"
    description = "Whitley's function: every pair of coordinates, minimum 0 at (1, ..., 1)"
    reference = "Whitley, Rana, Dzubera, Mathias, Evaluating evolutionary algorithms, Artif. Intell. 85, 1996"
    minimum = 0.0
    domain = (-10.24, 10.24)
    start_coordinates = (-0.5,)

    def value(self, points: Tensor) -> Tensor:
        """The function at `points` of shape `(..., d)`; memory grows with d²."""
        left, right = points.unsqueeze(-1), points.unsqueeze(-2)
        y = 100.0 * (left.square() - right).square() + (1.0 - right).square()
        return (y.square() / 4000.0 - y.cos() + 1.0).sum(dim=(-2, -1))


class Rastrigin(_OfAnyDimension):
    """10d + Σ_i (x_i² − 10 cos 2πx_i): a bowl with a valley near every integer point."""

    name = "rastrigin"
    description = "Rastrigin's function: a bowl of equal valleys, minimum 0 at the origin"
    reference = "Rastrigin 1974; in d dimensions Mühlenbein, Schomisch, Born, Parallel Comput. 17, 1991"
    minimum = 0.0
    domain = (-5.12, 5.12)
    spacing = 1e-2
    start_coordinates = (2.0,)

    def value(self, points: Tensor) -> Tensor:
        """The function at `points` of shape `(..., d)`."""
        return (points.square() + 10.0 - 10.0 * (2.0 * math.pi * points).cos()).sum(dim=-1)


class Rosenbrock(_OfAnyDimension):
    """Σ_{i<d} 100(x_{i+1} − x_i²)² + (1 − x_i)²: a curved, narrow, smooth valley."""

    name = "rosenbrock"
    description = "Rosenbrock's valley: curved and narrow, minimum 0 at (1, ..., 1)"
    reference = "Rosenbrock, Computer J. 3, 1960; start as in Moré, Garbow, Hillstrom, TOMS 7, 1981"
    minimum = 0.0
    domain = (-2.5, 2.5)
    spacing = 5e-3
    smallest_dimension = 2
    start_coordinates = (-1.2, 1.0)

    def value(self, points: Tensor) -> Tensor:
        """The function at `points` of shape `(..., d)`, d at least 2."""
        head, tail = points[..., :-1], points[..., 1:]
        return (100.0 * (tail - head.square()).square() + (1.0 - head).square()).sum(dim=-1)


def _constant_to_compilers(make: Callable[..., _Constant]) -> Callable[..., _Constant]:
    """A cache whose results `torch.compile` takes for constants, instead of tracing into it."""
    cached = functools.cache(make)

    @torch.compiler.assume_constant_result
    @functools.wraps(make)
    def constant(*arguments: object) -> _Constant:
        return cached(*arguments)

    return constant


@_constant_to_compilers
def _squares(count: int, dtype: torch.dtype, device: torch.device) -> Tensor:
    """k² for k = 1..count."""
    return _constant(np.arange(1, count + 1) ** 2, dtype, device)


@_constant_to_compilers
def _centers(dtype: torch.dtype, device: torch.device) -> Tensor:
    """The centers of Eq. 14's wells, of shape `(2, 1000)`."""
    # The legacy generator on purpose: its stream is frozen, and this draw is the definition.
    centers = np.random.RandomState(0).uniform(-3.0, 3.0, (1000, 2))
    return _constant(centers.T, dtype, device)


def _centers_near(points: Tensor) -> Tensor:
    """For each of `points`, of shape `(..., 2)`, the centers that reach it and a few more: `(..., 2, k)`."""
    # Clamped as integers, so that no point, not even NaN, is out of range. A point beyond the square is no
    # nearer to any center than the cell it is clamped to.
    column, row = ((points + 3.0) / _CELL).long().clamp(0, _CELLS - 1).unbind(dim=-1)
    cells = _cells(points.dtype, points.device)
    # Indexing would read a single point's cell on the host.
    near = cells.index_select(0, torch.add(row, column, alpha=_CELLS).flatten())
    return near.reshape(*points.shape, cells.shape[-1])


@_constant_to_compilers
def _cells(dtype: torch.dtype, device: torch.device) -> Tensor:
    """Each cell's nearest centers, of shape `(3600, 2, k)`, k the most that are within reach of any cell."""
    centers = _centers(torch.float64, torch.device("cpu")).numpy()
    edges = np.linspace(-3.0, 3.0, _CELLS + 1)[:, None]
    gaps = np.maximum(np.maximum(edges[:-1] - centers[:, None], centers[:, None] - edges[1:]), 0.0)
    distances = np.hypot(gaps[0][:, None], gaps[1])
    most = (distances < _REACH).sum(axis=-1).max()
    nearest = np.argsort(distances, axis=-1, kind="stable")[..., :most]
    near = np.stack([axis[nearest] for axis in centers], axis=-2)
    return _constant(near.reshape(_CELLS**2, 2, most), dtype, device)


@_constant_to_compilers
def _weierstrass_series(dtype: torch.dtype, device: torch.device) -> tuple[Tensor, Tensor]:
    """Amplitudes 2⁻ᵏ and frequencies 3ᵏ for k = 0..20."""
    k = np.arange(21)
    return _constant(0.5**k, dtype, device), _constant(3.0**k, dtype, device)


def _constant(array: np.ndarray, dtype: torch.dtype, device: torch.device) -> Tensor:
    # Cached for later calls, so it must not become an inference tensor by who happens to call first.
    with torch.inference_mode(False):
        return torch.tensor(array, dtype=dtype, device=device)
