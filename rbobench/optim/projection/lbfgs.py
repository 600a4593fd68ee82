"""L-BFGS on the distance (Nocedal, Math. Comp. 35, 1980), begun from the Gauss–Newton matrix."""

from __future__ import annotations

import torch
from torch import Tensor

from rbobench.optim.footpoint import FootpointProblem
from rbobench.optim.projection.gauss_newton import first_direction
from rbobench.optim.projection.safeguarded import Shortened, keep, only, preconditioned, scaled
from rbobench.optim.tensors import add_scaled, clones, inner_product

DEPTH = 3
"""Pairs that are kept."""


class LBFGS(Shortened):
    """Directions −Br, B the L-BFGS matrix of the last pairs with positive curvature.

    Args:
        problem: The footpoint problem.
        point: Where to begin; θ_t by default.
        gradient: g there; overwritten.
        residual: r there; kept.
    """

    def __init__(
        self,
        problem: FootpointProblem,
        point: list[Tensor] | None = None,
        gradient: list[Tensor] | None = None,
        residual: list[Tensor] | None = None,
    ) -> None:
        self._problem = problem
        self._point = clones(problem.start if point is None else point)
        self._gradient = gradient
        if residual is None:
            residual = scaled(problem.start_gradient, problem.start_slope, problem.batch_dims)
        self._residual = residual
        self._pairs: list[tuple[list[Tensor], list[Tensor], Tensor]] = []

    def first(self) -> list[Tensor]:
        """The Gauss–Newton step."""
        if self._gradient is None:
            return first_direction(self._problem)
        gradient, self._gradient = self._gradient, None
        return self._direction(gradient, clones(self._residual))

    def at(self, gradient: list[Tensor], residual: list[Tensor], nearer: Tensor) -> list[Tensor]:
        """As `Directions.at`."""
        dims = self._problem.batch_dims
        move = list(torch._foreach_sub(self._problem.parameters, self._point))
        change = list(torch._foreach_sub(residual, self._residual))
        along = inner_product(move, change, dims)
        lengths = inner_product(move, move, dims) * inner_product(change, change, dims)
        # A pair of curvature that is not positive, or of a point that was rejected, weighs nothing.
        sound = nearer & (along > 1e-8 * lengths.sqrt()) & torch.isfinite(lengths)
        weight = torch.where(sound, 1.0 / torch.where(sound, along, 1.0), 0.0)
        pair = only(sound, move, dims), only(sound, change, dims), weight
        self._pairs = [*self._pairs, pair][-DEPTH:]
        keep(nearer, self._problem.parameters, self._point, dims)
        keep(nearer, residual, self._residual, dims)
        return self._direction(gradient, residual)

    def _direction(self, gradient: list[Tensor], residual: list[Tensor]) -> list[Tensor]:
        """The two loops of L-BFGS, in the memory of `residual`."""
        dims, direction = self._problem.batch_dims, residual
        shares = []
        for move, change, weight in reversed(self._pairs):
            share = weight * inner_product(move, direction, dims)
            add_scaled(direction, change, share, batch_dims=dims, scale=-1.0)
            shares.append(share)
        direction = preconditioned(self._problem, gradient, direction)
        for (move, change, weight), share in zip(self._pairs, reversed(shares), strict=True):
            back = weight * inner_product(change, direction, dims)
            add_scaled(direction, move, share - back, batch_dims=dims)
        torch._foreach_neg_(direction)
        return direction
