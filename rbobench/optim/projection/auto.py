"""The best that we have found for each budget: a model of the loss first, quasi-Newton steps after it."""

from __future__ import annotations

import torch
from torch import Tensor

from rbobench.optim.footpoint import FootpointProblem
from rbobench.optim.projection.lbfgs import LBFGS
from rbobench.optim.projection.outcome import Outcome
from rbobench.optim.projection.safeguarded import Best, descend, evaluated
from rbobench.optim.projection.surrogate import Ground, footpoint_of_model
from rbobench.optim.tensors import add_scaled, global_norm, inner_product, spread

MODELED = 10
"""Evaluations whose gradients span the space of the model; what is left of the budget goes to L-BFGS."""

# One rule for every problem; found on most of the cells of the fidelity study.
_SHARE_OF_RADIUS = 0.3
_SHARE_OF_PULL = 0.3


def project_automatically(
    problem: FootpointProblem, *, steps: int, lr: float, tolerance: float | None = None
) -> Outcome:
    """Interpolate the loss on the span of the gradients seen, and try the footpoint of that model.

    Args:
        problem: The footpoint problem; its parameters are moved in place.
        steps: Evaluations, the one at θ_t included.
        lr: Not used.
        tolerance: Stop where ‖r‖ is at most this share of ‖r‖ at θ_t.
    """
    best = Best(problem, tolerance)
    span = _Span(problem, best)
    span.search(min(steps, MODELED) - 1)
    if steps > MODELED and not best.finished():
        gradient, residual = span.gradients_at_best()
        del span  # the basis is most of the memory
        descend(best, LBFGS(problem, best.point, gradient, residual), steps - MODELED)
    return best.outcome(steps)


class _Span:
    """The gradients seen, as an orthonormal basis, and points, values and gradients in its coordinates."""

    def __init__(self, problem: FootpointProblem, best: Best) -> None:
        self._problem, self._best = problem, best
        self._dims = problem.batch_dims
        self._basis: list[list[Tensor]] = []
        steep = (problem.loss_scale * problem.start_squared.sqrt()).double()
        self._extend([each.clone() for each in problem.start_gradient])
        self._points = torch.zeros_like(steep)[..., None, None]
        self._values = torch.zeros_like(steep)[..., None]
        self._gradients = steep[..., None, None]
        self._growths = torch.zeros_like(steep)[..., None]
        scale = problem.loss_scale
        length = (1.0 + steep.square()).sqrt()
        self._lr = (problem.start_slope / length.square()).double() / scale
        self._pull = problem.pull.double() / scale
        # The first trial: beyond the Gauss–Newton step, for that one is blind to the radius.
        reach = _SHARE_OF_PULL * self._pull * steep + self._lr * steep
        self._next = -(reach + _SHARE_OF_RADIUS * self._pull * length)[..., None]

    def search(self, trials: int) -> None:
        """Make `trials` trials."""
        for trial in range(trials):
            self._move(self._next)
            growth, gradient, residual, rise = evaluated(self._problem)
            self._best.offer(growth, global_norm(residual, self._dims))
            del residual
            self._add(gradient, rise, growth)
            del gradient  # the basis holds it now
            if trial == trials - 1 or self._best.finished():
                return
            scale = self._problem.loss_scale
            ground = Ground(self._gradients[..., 0, :], self._lr, self._pull)
            self._next = footpoint_of_model(
                ground, self._points, scale * self._values, self._gradients, self._growths.argmin(dim=-1)
            )

    def gradients_at_best(self) -> tuple[list[Tensor], list[Tensor]]:
        """G and r at the best point, from their coordinates."""
        problem, dims = self._problem, self._dims
        index = self._growths.argmin(dim=-1)[..., None]
        rise = self._values.gather(-1, index)[..., 0].to(problem.pull.dtype)
        rows = index[..., None].expand(*index.shape, self._gradients.shape[-1])
        coordinates = self._gradients.gather(-2, rows)[..., 0, :] / problem.loss_scale
        gradient = [torch.zeros_like(each) for each in problem.start]
        for vector, coordinate in zip(self._basis, coordinates.unbind(dim=-1), strict=True):
            add_scaled(gradient, vector, coordinate.to(vector[0].dtype), batch_dims=dims)
        residual = list(torch._foreach_sub(self._best.point, problem.start))
        bend = problem.curving(rise)
        add_scaled(residual, gradient, bend, batch_dims=dims)
        # r = u + (η+c)g_t + (c−κ)(g−g_t)
        lr = problem.start_slope / (1.0 + problem.loss_scale**2 * problem.start_squared)
        add_scaled(residual, problem.start_gradient, lr + problem.pull, batch_dims=dims)
        return gradient, residual

    def _move(self, coordinates: Tensor) -> None:
        torch._foreach_copy_(self._problem.parameters, self._problem.start)
        for vector, coordinate in zip(self._basis, coordinates.unbind(dim=-1), strict=True):
            add_scaled(
                self._problem.parameters, vector, coordinate.to(vector[0].dtype), batch_dims=self._dims
            )

    def _add(self, gradient: list[Tensor], rise: Tensor, growth: Tensor) -> None:
        """Take an evaluation into the model; one that is not finite as a copy of the start."""
        finite = torch.isfinite(growth) & torch.isfinite(inner_product(gradient, gradient, self._dims))
        for each, start in zip(gradient, self._problem.start_gradient, strict=True):
            each.copy_(torch.where(spread(finite, each, self._dims), each, start))
        inside = self._extend(gradient)
        gradients = self._problem.loss_scale * inside
        points = torch.where(finite[..., None], self._next, 0.0)
        self._points = _grown(self._points, points, len(self._basis))
        self._gradients = _grown(self._gradients, gradients, len(self._basis))
        self._values = torch.cat([self._values, torch.where(finite, rise, 0.0).double()[..., None]], dim=-1)
        worst = torch.finfo(torch.float64).max
        compared = torch.where(finite, growth.double(), worst)
        self._growths = torch.cat([self._growths, compared[..., None]], dim=-1)

    def _extend(self, vector: list[Tensor]) -> Tensor:
        """Make the rest of a vector, in its own memory, a member of the basis; the vector's coordinates."""
        whole = global_norm(vector, self._dims)
        coordinates = [torch.zeros_like(whole) for _ in self._basis]
        for _ in range(2):  # once more, for what rounding has left
            for index, member in enumerate(self._basis):
                along = inner_product(vector, member, self._dims)
                add_scaled(vector, member, along, batch_dims=self._dims, scale=-1.0)
                coordinates[index] = coordinates[index] + along
        rest = global_norm(vector, self._dims)
        # What is left is rounding where the vector lies in the span; such a member is 0, and moves nothing.
        apart = rest > 1e2 * torch.finfo(rest.dtype).eps * whole
        inverse = torch.where(apart, 1.0 / torch.where(apart, rest, 1.0), 0.0)
        for each in vector:
            each.mul_(spread(inverse, each, self._dims))
        self._basis.append(vector)
        return torch.stack([*coordinates, torch.where(apart, rest, 0.0)], dim=-1).double()


def _grown(rows: Tensor, row: Tensor, columns: int) -> Tensor:
    """`rows`, of shape `(*batch, n, k)`, with a row more and `columns` columns, filled up by zeros."""
    row = torch.cat([row, row.new_zeros((*row.shape[:-1], columns - row.shape[-1]))], dim=-1)
    rows = torch.cat([rows, rows.new_zeros((*rows.shape[:-1], columns - rows.shape[-1]))], dim=-1)
    return torch.cat([rows, row[..., None, :]], dim=-2)
