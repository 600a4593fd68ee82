"""The projection of the paper: gradient descent on the distance, started at θ_t."""

from __future__ import annotations

import torch

from rbobench.optim.footpoint import FootpointProblem
from rbobench.optim.projection.outcome import Outcome
from rbobench.optim.tensors import add_scaled, spread


def project_by_sgd(
    problem: FootpointProblem, *, steps: int, lr: float, tolerance: float | None = None
) -> Outcome:
    """Take `steps` steps θ ← θ − γr from θ_t (Algorithm 1, arXiv 2505.19527).

    It is stable only while γ(1+λ²‖g‖²) < 2, and far from converged at the settings of the paper. The outcome
    is that of the last point evaluated, one step before the point returned.

    Args:
        problem: The footpoint problem; its parameters are moved in place.
        steps: P, the projection steps; they cost P − 1 evaluations beyond the one at θ_t.
        lr: γ, the step size.
        tolerance: Stay where ‖r‖ is at most this share of ‖r‖ at θ_t; the host then looks at every one.
    """
    if tolerance is not None:
        return _project_until(problem, steps=steps, lr=lr, tolerance=tolerance)
    parameters, dims = problem.parameters, problem.batch_dims
    add_scaled(parameters, problem.start_gradient, problem.start_slope, batch_dims=dims, scale=-lr)
    growth, residual = torch.zeros_like(problem.start_residual), problem.start_residual
    for step in range(1, steps):
        r = problem.gradient()
        if step == steps - 1:
            growth, residual = problem.growth(r.rise), problem.residual_norm(r)
        # Four passes over the parameters; adding θ_t−θ first keeps lr = 0 exact, bit for bit.
        torch._foreach_lerp_(parameters, problem.start, lr)
        add_scaled(parameters, problem.start_gradient, r.start_coefficient, batch_dims=dims, scale=-lr)
        add_scaled(parameters, r.difference, r.difference_coefficient, batch_dims=dims, scale=-lr)
        del r  # its gradients must be free before the next evaluation
    return Outcome(steps, problem.distance(growth), residual, residual == 0.0)


def _project_until(problem: FootpointProblem, *, steps: int, lr: float, tolerance: float) -> Outcome:
    """The same steps, but each problem stays where it has converged."""
    parameters, dims = problem.parameters, problem.batch_dims
    limit = tolerance * problem.start_residual
    growth, residual = torch.zeros_like(limit), problem.start_residual
    evaluations = torch.ones_like(limit, dtype=torch.int64)
    going = residual > limit  # not where r is 0 at θ_t
    add_scaled(parameters, problem.start_gradient, problem.start_slope * going, batch_dims=dims, scale=-lr)
    for _ in range(steps - 1):
        if not going.any():
            break
        r = problem.gradient()
        evaluations = evaluations + going
        growth = torch.where(going, problem.growth(r.rise), growth)
        residual = torch.where(going, problem.residual_norm(r), residual)
        going = going & (residual > limit)
        weight = lr * going.to(residual.dtype)
        torch._foreach_lerp_(parameters, problem.start, [spread(weight, p, dims) for p in parameters])
        for tensors, coefficient in (
            (problem.start_gradient, r.start_coefficient),
            (r.difference, r.difference_coefficient),
        ):
            add_scaled(parameters, tensors, torch.where(going, coefficient, 0.0), batch_dims=dims, scale=-lr)
        del r  # its gradients must be free before the next evaluation
    return Outcome(evaluations, problem.distance(growth), residual, residual <= limit)
