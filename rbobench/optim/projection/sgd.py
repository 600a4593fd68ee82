"""The projection of the paper: gradient descent on the distance, started at θ_t."""

from __future__ import annotations

import torch

from rbobench.optim.footpoint import FootpointProblem
from rbobench.optim.tensors import add_scaled


def project_by_sgd(problem: FootpointProblem, *, steps: int, lr: float) -> None:
    """Take `steps` steps θ ← θ − γr from θ_t (Algorithm 1, arXiv 2505.19527).

    It is stable only while γ(1+λ²‖g‖²) < 2, and far from converged at the settings of the paper.

    Args:
        problem: The footpoint problem; its parameters are moved in place.
        steps: P, the projection steps; they cost P − 1 evaluations beyond the one at θ_t.
        lr: γ, the step size.
    """
    parameters, dims = problem.parameters, problem.batch_dims
    add_scaled(parameters, problem.start_gradient, problem.start_slope, batch_dims=dims, scale=-lr)
    for _ in range(steps - 1):
        r = problem.gradient()
        # Four passes over the parameters; adding θ_t−θ first keeps lr = 0 exact, bit for bit.
        torch._foreach_lerp_(parameters, problem.start, lr)
        add_scaled(parameters, problem.start_gradient, r.start_coefficient, batch_dims=dims, scale=-lr)
        add_scaled(parameters, r.difference, r.difference_coefficient, batch_dims=dims, scale=-lr)
        del r  # its gradients must be free before the next evaluation
