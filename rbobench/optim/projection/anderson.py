"""Anderson acceleration of the Gauss–Newton fixed point (Walker and Ni, SIAM J. Numer. Anal. 49, 2011)."""

from __future__ import annotations

import torch
from torch import Tensor

from rbobench.optim.footpoint import FootpointProblem
from rbobench.optim.projection.gauss_newton import first_direction
from rbobench.optim.projection.safeguarded import Shortened, keep, only, preconditioned
from rbobench.optim.tensors import add_scaled, clones, inner_product

DEPTH = 3
"""Differences that are kept."""


class Anderson(Shortened):
    """Directions p − Σγ(Δθ + Δp), with p the Gauss–Newton step and γ the least squares fit of p by the Δp.

    Args:
        problem: The footpoint problem.
    """

    def __init__(self, problem: FootpointProblem) -> None:
        self._problem = problem
        self._plain = first_direction(problem)
        self._point = clones(problem.start)
        self._moves: list[list[Tensor]] = []
        self._changes: list[list[Tensor]] = []
        # Whether the next trial is an accelerated one, and whether the last was one and came no nearer.
        self._fast = torch.zeros_like(problem.start_residual, dtype=torch.bool)
        self._rejected_fast = self._fast

    def first(self) -> list[Tensor]:
        """At θ_t, −ηg_t."""
        return clones(self._plain)

    def at(self, gradient: list[Tensor], residual: list[Tensor], nearer: Tensor) -> list[Tensor]:
        """As `Directions.at`."""
        dims = self._problem.batch_dims
        plain = preconditioned(self._problem, gradient, residual)
        torch._foreach_neg_(plain)
        move = torch._foreach_sub(self._problem.parameters, self._point)
        change = torch._foreach_sub(plain, self._plain)
        # Where the point was rejected nothing is learnt: a column of zeros.
        self._moves = [*self._moves, only(nearer, move, dims)][-DEPTH:]
        self._changes = [*self._changes, only(nearer, change, dims)][-DEPTH:]
        keep(nearer, self._problem.parameters, self._point, dims)
        keep(nearer, plain, self._plain, dims)
        direction = plain
        for weight, moved, changed in zip(self._weights(plain), self._moves, self._changes, strict=True):
            add_scaled(direction, moved, weight, batch_dims=dims, scale=-1.0)
            add_scaled(direction, changed, weight, batch_dims=dims, scale=-1.0)
        self._rejected_fast, self._fast = self._fast & ~nearer, nearer
        return direction

    def after_rejection(self, direction: list[Tensor], length: Tensor) -> tuple[list[Tensor], Tensor]:
        """The plain step after an accelerated one, then ever shorter."""
        plain = clones(self._plain)
        _, shorter = super().after_rejection(direction, length)
        return plain, torch.where(self._rejected_fast, 1.0, shorter)

    def _weights(self, plain: list[Tensor]) -> list[Tensor]:
        dims = self._problem.batch_dims
        size = len(self._changes)
        products = [[inner_product(a, b, dims) for b in self._changes] for a in self._changes]
        matrix = torch.stack([torch.stack(row, dim=-1) for row in products], dim=-2).double()
        wanted = torch.stack([inner_product(each, plain, dims) for each in self._changes], dim=-1).double()
        ridge = 1e-10 * matrix.diagonal(dim1=-2, dim2=-1).sum(dim=-1) + 1e-300
        matrix = matrix + ridge[..., None, None] * torch.eye(size, dtype=matrix.dtype, device=matrix.device)
        weights, _ = torch.linalg.solve_ex(matrix, wanted.unsqueeze(-1))
        weights = torch.nan_to_num(weights.squeeze(-1), nan=0.0, posinf=0.0, neginf=0.0)
        return list(weights.to(plain[0].dtype).unbind(dim=-1))
