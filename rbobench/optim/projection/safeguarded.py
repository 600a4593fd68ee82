"""What the safeguarded solvers share: they return the nearest point that they have evaluated.

A solver proposes a direction at the best point so far. A trial that is nearer to the center becomes the best
point; one that is not shortens the next trial along the same direction. Choices are made by `torch.where`,
each problem of a batch for itself, so that the host never waits, unless a tolerance asks it to.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Protocol

import torch
from torch import Tensor

from rbobench.optim.footpoint import FootpointProblem
from rbobench.optim.projection.outcome import Outcome
from rbobench.optim.tensors import add_scaled, clones, global_norm, inner_product, spread

_SHORTER = 0.3
"""By which a rejected step is shortened."""


class Best:
    """The nearest point that a solver has evaluated, θ_t to begin with.

    Where ‖r‖ is 0 at θ_t, as at η = 0, nothing is accepted.

    Args:
        problem: The footpoint problem.
        tolerance: Share of ‖r‖ at θ_t within which a point has converged; `None` for none.

    Attributes:
        point: θ, one tensor for each parameter.
        growth: Its ½ distance² less that of θ_t, of the batch's shape, as are the other two.
        residual: ‖r‖ there.
        evaluations: Of each problem until it converged.
    """

    def __init__(self, problem: FootpointProblem, tolerance: float | None) -> None:
        self.problem = problem
        self.point = clones(problem.start)
        self.growth = torch.zeros_like(problem.start_residual)
        self.residual = problem.start_residual
        self.evaluations = torch.ones_like(self.residual, dtype=torch.int64)
        self._tolerance = tolerance
        self._limit = 0.0 if tolerance is None else tolerance * problem.start_residual
        self._going = self.residual > 0.0

    def offer(self, growth: Tensor, residual: Tensor) -> Tensor:
        """Compare the parameters' present point; whether it is nearer, for each problem."""
        self.evaluations = self.evaluations + self._going
        nearer = (growth < self.growth) & torch.isfinite(residual) & self._going
        keep(nearer, self.problem.parameters, self.point, self.problem.batch_dims)
        self.growth = torch.where(nearer, growth, self.growth)
        self.residual = torch.where(nearer, residual, self.residual)
        if self._tolerance is not None:
            self._going = self._going & (self.residual > self._limit)
        return nearer

    def spend(self, evaluations: int) -> None:
        """Count evaluations that were no trials."""
        self.evaluations = self.evaluations + evaluations * self._going

    def finished(self) -> bool:
        """Whether all problems have converged; looked at by the host where there is a tolerance alone."""
        return self._tolerance is not None and not bool(self._going.any())

    def outcome(self, steps: int) -> Outcome:
        """Put the best point into the parameters; how the projection ended."""
        torch._foreach_copy_(self.problem.parameters, self.point)
        return Outcome(
            steps if self._tolerance is None else self.evaluations,
            self.problem.distance(self.growth),
            self.residual,
            self.residual <= self._limit,
        )


class Directions(Protocol):
    """Proposes directions from the best point."""

    def first(self) -> list[Tensor]:
        """The direction at θ_t; the caller may overwrite it."""
        ...

    def at(self, gradient: list[Tensor], residual: list[Tensor], nearer: Tensor) -> list[Tensor]:
        """The direction at the point just evaluated; taken where it is `nearer`, and may be overwritten.

        Args:
            gradient: g there; may be overwritten.
            residual: r there; may be overwritten.
            nearer: For which problems the point is the best so far.
        """
        ...

    def after_rejection(self, direction: list[Tensor], length: Tensor) -> tuple[list[Tensor], Tensor]:
        """The direction and length of the next trial from the best point, where the last one was rejected."""
        ...


class Shortened:
    """After a rejection: the same direction, shorter."""

    def after_rejection(self, direction: list[Tensor], length: Tensor) -> tuple[list[Tensor], Tensor]:
        """As `Directions.after_rejection`."""
        return direction, _SHORTER * length


def descend(best: Best, directions: Directions, trials: int) -> None:
    """Make `trials` trials along proposed directions.

    Args:
        best: Moved to the nearest point.
        directions: Where to go.
        trials: Evaluations to spend.
    """
    problem, dims = best.problem, best.problem.batch_dims
    direction = directions.first()
    length = torch.ones_like(best.growth)
    for trial in range(trials):
        torch._foreach_copy_(problem.parameters, best.point)
        add_scaled(problem.parameters, direction, length, batch_dims=dims)
        growth, gradient, residual, _ = evaluated(problem)
        nearer = best.offer(growth, global_norm(residual, dims))
        if trial == trials - 1 or best.finished():
            return
        proposed = directions.at(gradient, residual, nearer)
        direction, shortened = directions.after_rejection(direction, length)
        keep(nearer, proposed, direction, dims)
        length = torch.where(nearer, 1.0, shortened)
        del gradient, residual, proposed  # free before the next evaluation


def projection_along(directions: Callable[[FootpointProblem], Directions]) -> Callable[..., Outcome]:
    """The projection that spends its budget on trials along the directions of one kind."""

    def project(
        problem: FootpointProblem, *, steps: int, lr: float, tolerance: float | None = None
    ) -> Outcome:
        best = Best(problem, tolerance)
        descend(best, directions(problem), steps - 1)
        return best.outcome(steps)

    return project


def evaluated(problem: FootpointProblem) -> tuple[Tensor, list[Tensor], list[Tensor], Tensor]:
    """Evaluate at the present θ: the growth of ½ distance², g, r, and f less f(θ_t)."""
    dims = problem.batch_dims
    r = problem.gradient()
    growth = problem.growth(r.rise)
    residual = list(torch._foreach_sub(problem.parameters, problem.start))
    add_scaled(residual, problem.start_gradient, r.start_coefficient, batch_dims=dims)
    add_scaled(residual, r.difference, r.difference_coefficient, batch_dims=dims)
    gradient = r.difference
    torch._foreach_add_(gradient, problem.start_gradient)
    return growth, gradient, residual, r.rise


def preconditioned(
    problem: FootpointProblem, gradient: Sequence[Tensor], vectors: list[Tensor]
) -> list[Tensor]:
    """(I + λ²ggᵀ)⁻¹ times `vectors`, in place: by Sherman and Morrison v − λ²g⟨g, v⟩/(1+λ²‖g‖²)."""
    dims, squared_scale = problem.batch_dims, problem.loss_scale**2
    along = inner_product(gradient, vectors, dims)
    squared = inner_product(gradient, gradient, dims)
    share = squared_scale * along / (1.0 + squared_scale * squared)
    add_scaled(vectors, gradient, share, batch_dims=dims, scale=-1.0)
    return vectors


def keep(where: Tensor, new: Sequence[Tensor], old: Sequence[Tensor], batch_dims: int) -> None:
    """Overwrite `old` with `new` for the problems of `where`."""
    for one, other in zip(new, old, strict=True):
        other.copy_(torch.where(spread(where, other, batch_dims), one, other))


def only(where: Tensor, tensors: Sequence[Tensor], batch_dims: int) -> list[Tensor]:
    """`tensors` for the problems of `where`, zeros for the others."""
    return [torch.where(spread(where, each, batch_dims), each, 0.0) for each in tensors]


def scaled(tensors: Sequence[Tensor], factor: Tensor, batch_dims: int) -> list[Tensor]:
    """`tensors` times one number for each problem."""
    return [each * spread(factor, each, batch_dims) for each in tensors]
