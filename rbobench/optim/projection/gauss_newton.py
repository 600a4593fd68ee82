"""Gauss–Newton on the distance: the graph taken as the plane that touches it at the best point."""

from __future__ import annotations

import torch
from torch import Tensor

from rbobench.optim.footpoint import FootpointProblem
from rbobench.optim.projection.outcome import Outcome
from rbobench.optim.projection.safeguarded import Best, Shortened, descend, preconditioned, scaled


def project_by_gauss_newton(
    problem: FootpointProblem, *, steps: int, lr: float, tolerance: float | None = None
) -> Outcome:
    """Take steps −(I + λ²ggᵀ)⁻¹r, shortened until they come nearer to the center.

    The first trial is θ_t − ηg_t whatever the radius. It converges at a rate of about ρ · curvature.

    Args:
        problem: The footpoint problem; its parameters are moved in place.
        steps: Evaluations, the one at θ_t included.
        lr: Not used.
        tolerance: Stop where ‖r‖ is at most this share of ‖r‖ at θ_t.
    """
    best = Best(problem, tolerance)
    descend(best, GaussNewton(problem), steps - 1)
    return best.outcome(steps)


class GaussNewton(Shortened):
    """Directions −(I + λ²ggᵀ)⁻¹r.

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
