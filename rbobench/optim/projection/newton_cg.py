"""Newton's method on the distance by conjugate gradients: the reference in high dimension."""

from __future__ import annotations

import torch
from torch import Tensor

from rbobench.optim.footpoint import FootpointProblem, take_gradients
from rbobench.optim.projection.outcome import Outcome
from rbobench.optim.projection.safeguarded import (
    Best,
    evaluated,
    keep,
    preconditioned,
    scaled,
)
from rbobench.optim.tensors import add_scaled, clones, evaluate, global_norm, inner_product, spread

_TRIALS = 2
"""Of each Newton step: the whole, and a fifth of it where that was rejected."""

_MOST = 12
"""Hessian-vector products of a Newton step; the first ones take fewer."""


def project_by_newton_cg(
    problem: FootpointProblem, *, steps: int, lr: float, tolerance: float | None = None
) -> Outcome:
    """Newton steps from the Hessian I + λ²ggᵀ + (c−κ)∇²f, solved by preconditioned conjugate gradients.

    Products with ∇²f are differences of gradients, and count as evaluations: any closure will do. Where
    curvature along a search direction is not positive, the solution stands as it is there.

    Args:
        problem: The footpoint problem; its parameters are moved in place.
        steps: Evaluations, the one at θ_t and Hessian-vector products included.
        lr: Not used.
        tolerance: Stop where ‖r‖ is at most this share of ‖r‖ at θ_t.
    """
    best, dims = Best(problem, tolerance), problem.batch_dims
    gradient = clones(problem.start_gradient)
    residual = scaled(problem.start_gradient, problem.start_slope, dims)
    curving = problem.curving(torch.zeros_like(best.growth))
    left, products = steps - 1, 1
    while left > 0:
        count = max(0, min(products, left - 1))
        direction = _newton_direction(problem, best.point, gradient, residual, curving, count)
        left -= count
        best.spend(count)
        length = torch.ones_like(best.growth)
        for _ in range(min(_TRIALS, left)):
            torch._foreach_copy_(problem.parameters, best.point)
            add_scaled(problem.parameters, direction, length, batch_dims=dims)
            left -= 1
            growth, new_gradient, new_residual, rise = evaluated(problem)
            nearer = best.offer(growth, global_norm(new_residual, dims))
            keep(nearer, new_gradient, gradient, dims)
            keep(nearer, new_residual, residual, dims)
            curving = torch.where(nearer, problem.curving(rise), curving)
            plain = preconditioned(problem, new_gradient, new_residual)
            keep(nearer, list(torch._foreach_neg(plain)), direction, dims)
            length = torch.where(nearer, 1.0, 0.2 * length)
            del new_gradient, new_residual, plain  # free before the next evaluation
            if best.finished():
                return best.outcome(steps)
        products = min(products + 2, _MOST)
    return best.outcome(steps)


def _newton_direction(
    problem: FootpointProblem,
    point: list[Tensor],
    gradient: list[Tensor],
    residual: list[Tensor],
    curving: Tensor,
    count: int,
) -> list[Tensor]:
    """`count` conjugate gradient steps on H p = −r, preconditioned by (I + λ²ggᵀ)⁻¹."""
    dims = problem.batch_dims
    left = list(torch._foreach_neg(residual))
    search = preconditioned(problem, gradient, clones(left))
    if count == 0:
        return search
    solution = [torch.zeros_like(each) for each in search]
    along = inner_product(left, search, dims)
    going = along > 0.0
    for step in range(count):
        product = _hessian_product(problem, point, gradient, curving, search)
        curvature = inner_product(search, product, dims)
        going = going & (curvature > 0.0)
        length = torch.where(going, along / torch.where(going, curvature, 1.0), 0.0)
        if step == 0:
            # Negative curvature at once: the preconditioned gradient itself.
            length = torch.where(going | ~(along > 0.0), length, 1.0)
        add_scaled(solution, search, length, batch_dims=dims)
        add_scaled(left, product, torch.where(going, length, 0.0), batch_dims=dims, scale=-1.0)
        if step == count - 1:
            break
        better = preconditioned(problem, gradient, clones(left))
        ahead = inner_product(left, better, dims)
        ratio = torch.where(going, ahead / torch.where(going, along, 1.0), 0.0)
        torch._foreach_copy_(search, torch._foreach_add(better, scaled(search, ratio, dims)))
        along = ahead
    return solution


def _hessian_product(
    problem: FootpointProblem,
    point: list[Tensor],
    gradient: list[Tensor],
    curving: Tensor,
    vectors: list[Tensor],
) -> list[Tensor]:
    """(I + λ²ggᵀ + (c−κ)∇²f) times `vectors`, ∇²f by a difference of gradients."""
    dims = problem.batch_dims
    size = global_norm(vectors, dims)
    step = (
        torch.finfo(size.dtype).eps ** 0.5
        * (1.0 + global_norm(point, dims))
        / torch.where(size > 0.0, size, 1.0)
    )
    torch._foreach_copy_(problem.parameters, point)
    add_scaled(problem.parameters, vectors, step, batch_dims=dims)
    evaluate(problem.closure)
    difference = take_gradients(problem.parameters, problem.decays)
    torch._foreach_sub_(difference, gradient)
    product = clones(vectors)
    share = problem.loss_scale**2 * inner_product(gradient, vectors, dims)
    add_scaled(product, gradient, share, batch_dims=dims)
    add_scaled(product, difference, curving / step, batch_dims=dims)
    finite = torch.isfinite(inner_product(product, product, dims))
    return [torch.where(spread(finite, each, dims), each, 0.0) for each in product]
