"""The projection of the paper: gradient descent on the distance, started at θ_t."""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from rbobench.geometry.landscape import LandscapeClosure
from rbobench.optim.blocks import in_blocks
from rbobench.optim.footpoint import FootpointProblem
from rbobench.optim.projection.outcome import Outcome
from rbobench.optim.tensors import add_scaled, spread


def project_by_sgd(
    problem: FootpointProblem, *, steps: int, lr: float, tolerance: float | None = None
) -> Outcome | None:
    """Take `steps` steps θ ← θ − γr from θ_t (Algorithm 1, arXiv 2505.19527).

    It is stable only while γ(1+λ²‖g‖²) < 2, and far from converged at the settings of the paper. The outcome
    is that of the last point evaluated, one step before the point returned; it takes twice the passes over
    the parameters of a projection step. Without a tolerance it is left out where the problem is not tracked.

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
    advance = _compiled(problem.closure) if problem.compiled else _advance
    for _ in range(steps - 2 if problem.tracked else steps - 1):
        advance(problem, lr)
    if not problem.tracked:
        return None
    growth, residual = torch.zeros_like(problem.start_residual), problem.start_residual
    if steps > 1:
        r = problem.gradient()
        growth, residual = problem.growth(r.rise), problem.residual_norm(r)
        coefficients = r.start_coefficient, r.difference_coefficient
        _descend(parameters, problem.start, problem.start_gradient, r.difference, coefficients, dims, lr)
    return Outcome(steps, problem.distance(growth), residual, residual == 0.0)


def _advance(problem: FootpointProblem, lr: float) -> None:
    """Evaluate, and take one step θ ← θ − γr."""
    _update(problem, *problem.evaluated(), lr)


def _update(problem: FootpointProblem, value: Tensor, gradients: list[Tensor], lr: float) -> None:
    """Take one step θ ← θ − γr from f and g at θ; overwrites g."""
    _, *coefficients = problem.coefficients(value)
    parts = problem.parameters, problem.start, problem.start_gradient, gradients
    # A compiler makes one pass of it anyhow.
    pieces = (parts,) if problem.compiled else in_blocks(*parts, cut=value.ndim == 0)
    for here, start, slope, gradient in pieces:
        torch._foreach_sub_(gradient, slope)
        _descend(here, start, slope, gradient, coefficients, problem.batch_dims, lr)


def _descend(
    parameters: list[Tensor],
    start: list[Tensor],
    slope: list[Tensor],
    difference: list[Tensor],
    coefficients: Sequence[Tensor],
    batch_dims: int,
    lr: float,
) -> None:
    """θ ← θ − γr; adding θ_t−θ first keeps lr = 0 exact, bit for bit."""
    torch._foreach_lerp_(parameters, start, lr)
    for tensors, coefficient in zip((slope, difference), coefficients, strict=True):
        add_scaled(parameters, tensors, coefficient, batch_dims=batch_dims, scale=-lr)


def _compiled(closure: object) -> Callable[[FootpointProblem, float], None]:
    """`_advance` compiled: with its evaluation on a landscape, around the evaluation elsewhere."""
    if isinstance(closure, LandscapeClosure):
        return _compiler(_advance)

    def advance(problem: FootpointProblem, lr: float) -> None:
        _compiler(_update)(problem, *problem.evaluated(), lr)

    return advance


@functools.cache
def _compiler(function: Callable[..., None]) -> Callable[..., None]:
    return torch.compile(function)


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
