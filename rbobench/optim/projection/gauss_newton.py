"""Gauss–Newton on the distance: the graph taken as the plane that touches it at the best point."""

from __future__ import annotations

import torch
from torch import Tensor

from rbobench.optim.footpoint import FootpointProblem
from rbobench.optim.projection.safeguarded import Shortened, preconditioned, scaled


class GaussNewton(Shortened):
    """Directions −(I + λ²ggᵀ)⁻¹r. They converge at a rate of about ρ · curvature.

    The first trial is θ_t − ηg_t whatever the radius.

    Args:
        problem: The footpoint problem.
    """

    def __init__(self, problem: FootpointProblem) -> None:
        self._problem = problem

    def first(self) -> list[Tensor]:
        """At θ_t, −ηg_t."""
        return first_direction(self._problem)

    def at(self, gradient: list[Tensor], residual: list[Tensor], nearer: Tensor) -> list[Tensor]:
        """As `Directions.at`."""
        direction = preconditioned(self._problem, gradient, residual)
        torch._foreach_neg_(direction)
        return direction


def first_direction(problem: FootpointProblem) -> list[Tensor]:
    """−(I + λ²ggᵀ)⁻¹r at θ_t, where r = ηs²g: it is −ηg."""
    lr = problem.start_slope / (1.0 + problem.loss_scale**2 * problem.start_squared)
    return scaled(problem.start_gradient, -lr, problem.batch_dims)
