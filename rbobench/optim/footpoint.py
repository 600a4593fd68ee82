"""The footpoint problem of one rolling-ball step, in displacement form.

Algorithm 1 projects the candidate center (a, b) onto the graph: it minimizes ½‖θ−a‖² + ½(λf(θ)−b)² (Eq. 8,
arXiv 2505.19527). Computed from stored a and b, the gradient at θ_t is rounding noise that the projection
amplifies. Written in displacements from θ_t it is exact: with s = √(1+λ²‖g_t‖²), κ = ρλ/s and d = g − g_t,

    r = (θ−θ_t) + (η+c) g_t + (c−κ) d,    c = λ²(f − f_t + η‖g_t‖²),

which at θ_t is ηs²g_t, so that nothing moves where η = 0 and the first step costs no evaluation. Distances
are compared in the same form: with u = θ−θ_t, ½ distance² is above its value at θ_t, ½(ρ²+η²s²‖g_t‖²), by

    ½‖u‖² + η⟨u, g_t⟩ + ηλ²‖g_t‖²(f−f_t) + ½λ²(f−f_t)² − κ(f − f_t − ⟨g_t, u⟩).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from rbobench.optim.tensors import Closure, add_scaled, clones, evaluate, global_norm, inner_product


@dataclass(frozen=True)
class Decay:
    """Weight decay of some parameters: ½ · `weight` · ‖θ‖² belongs to f."""

    parameters: slice
    weight: float


class Memory(NamedTuple):
    """Where a parameter's θ_t and g_t are kept during a step.

    Held from step to step: allocating them anew costs a CPU more in page faults than copying into them, and
    the peak is the same.
    """

    start: Tensor
    gradient: Tensor

    @classmethod
    def like(cls, parameter: Tensor) -> Memory:
        """Memory for one parameter."""
        return cls(torch.empty_like(parameter), torch.empty_like(parameter))

    def fits(self, parameter: Tensor) -> bool:
        """Whether it still has the parameter's shape, type and device."""
        start = self.start
        return (start.shape, start.dtype, start.device) == (
            parameter.shape,
            parameter.dtype,
            parameter.device,
        )


class DistanceGradient(NamedTuple):
    """r = (θ−θ_t) + `start_coefficient` · g_t + `difference_coefficient` · `difference`.

    Args:
        rise: f(θ) − f(θ_t), of the batch's shape.
        difference: g(θ) − g_t, one tensor for each parameter; the solver may overwrite it.
        start_coefficient: η + c, of the batch's shape.
        difference_coefficient: c − κ, of the batch's shape.
    """

    rise: Tensor
    difference: list[Tensor]
    start_coefficient: Tensor
    difference_coefficient: Tensor


class FootpointProblem:
    """Find the point of the graph nearest to where the ball's center has moved.

    Args:
        parameters: θ, which the solver moves; they hold θ_t now, and its gradient in `grad`.
        closure: Evaluates f and its gradient at θ.
        value: f at θ_t, of the batch's shape.
        memory: Where to keep θ_t and g_t, one for each parameter.
        lr: η, a number or one for each problem.
        radius: ρ, a number or one for each problem.
        loss_scale: λ.
        decays: Weight decay, which belongs to f.
        domain: The box of parameters to which a search of the whole graph keeps.
        batch_dims: How many leading dimensions number the problems.
        compiled: Whether the solver may compile what it does between evaluations.
        tracked: Whether the solver says how it ended even where that takes more than the projection needs.

    Attributes:
        start: A copy of θ_t.
        start_gradient: g_t, weight decay included.
        start_slope: ηs², so that r = ηs²g_t at θ_t.
        pull: κ, of the batch's shape.
        start_squared: ‖g_t‖², of the batch's shape.
        start_residual: ‖r‖ at θ_t, of the batch's shape.
    """

    def __init__(
        self,
        parameters: Sequence[Tensor],
        closure: Closure,
        value: Tensor,
        memory: Sequence[Memory],
        *,
        lr: float | Tensor,
        radius: float | Tensor,
        loss_scale: float,
        decays: Sequence[Decay] = (),
        domain: tuple[float, float] | None = None,
        batch_dims: int = 0,
        compiled: bool = False,
        tracked: bool = True,
    ) -> None:
        self.parameters = list(parameters)
        self.closure = closure
        self.compiled = compiled
        self.tracked = tracked
        self.loss_scale = loss_scale
        self.domain = domain
        self.batch_dims = batch_dims
        self.decays = decays
        self._start_value = value
        self.start = [kept.start for kept in memory]
        self.start_gradient = [kept.gradient for kept in memory]
        torch._foreach_copy_(self.start, self.parameters)
        torch._foreach_copy_(self.start_gradient, take_gradients(self.parameters, decays))
        squared = global_norm(self.start_gradient, batch_dims).square()
        if not isinstance(lr, Tensor):
            # A number costs more than a tensor where it meets one, and a compiler takes it for a constant, to
            # compile anew whenever a schedule changes it.
            lr = squared.new_full((), lr)
        self._lr = lr
        squared_length = 1.0 + loss_scale**2 * squared
        self._ascent = lr * squared
        self.pull = radius * loss_scale / squared_length.sqrt()
        self.start_slope = lr * squared_length
        self.start_squared = squared
        self.start_residual = self.start_slope * squared.sqrt()
        self._radius = radius

    def gradient(self) -> DistanceGradient:
        """Evaluate once at the present θ: the gradient of ½ distance², as coefficients of known vectors."""
        return self.gradient_from(*self.evaluated())

    def evaluated(self) -> tuple[Tensor, list[Tensor]]:
        """Evaluate once at the present θ: f without weight decay's share, and g with it."""
        value = evaluate(self.closure)
        return value, take_gradients(self.parameters, self.decays)

    def gradient_from(self, value: Tensor, gradients: list[Tensor]) -> DistanceGradient:
        """The gradient of ½ distance² at the present θ from what `evaluated` gave there.

        Args:
            value: f without weight decay's share, of the batch's shape.
            gradients: g, one tensor for each parameter; overwritten.
        """
        torch._foreach_sub_(gradients, self.start_gradient)
        rise, start_coefficient, difference_coefficient = self.coefficients(value)
        return DistanceGradient(rise, gradients, start_coefficient, difference_coefficient)

    def coefficients(self, value: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """`rise`, `start_coefficient` and `difference_coefficient` of a `DistanceGradient` at the present θ.

        Args:
            value: f without weight decay's share, of the batch's shape.
        """
        rise = value - self._start_value
        # In this order: the paper's projection keeps its trajectories bit for bit.
        coefficient = rise + self._ascent
        if self.decays:
            decay = decay_difference(self.parameters, self.start, self.decays, self.batch_dims)
            rise, coefficient = rise + decay, coefficient + decay
        if self.loss_scale != 1.0:
            coefficient = self.loss_scale**2 * coefficient
        return rise, coefficient + self._lr, coefficient - self.pull

    def growth(self, rise: Tensor) -> Tensor:
        """½ distance² at the present θ less its value at θ_t, without cancellation; of the batch's shape.

        Args:
            rise: f(θ) − f(θ_t).
        """
        along, squared = torch.zeros_like(rise), torch.zeros_like(rise)
        # One tensor at a time: all at once would take another copy of the parameters.
        for here, before, slope in zip(self.parameters, self.start, self.start_gradient, strict=True):
            moved = [here - before]
            along = along + inner_product(moved, [slope], self.batch_dims)
            squared = squared + inner_product(moved, moved, self.batch_dims)
        climb = self.loss_scale**2 * rise
        straight = 0.5 * squared + self._lr * along + climb * (self._ascent + 0.5 * rise)
        return straight - self.pull * (rise - along)

    def curving(self, rise: Tensor) -> Tensor:
        """The factor c − κ of ∇²f in the Hessian of ½ distance², I + λ²ggᵀ + (c−κ)∇²f.

        Args:
            rise: f there, less f(θ_t).
        """
        return self.loss_scale**2 * (rise + self._ascent) - self.pull

    def distance(self, growth: Tensor) -> Tensor:
        """The distance where ½ distance² is `growth` above its value at θ_t."""
        start = self._radius**2 + self._ascent * self.start_slope
        return (start + 2.0 * growth).clamp(min=0.0).sqrt()

    def residual_norm(self, r: DistanceGradient) -> Tensor:
        """‖r‖ at the present θ, of the batch's shape."""
        total = torch.zeros_like(r.rise)
        for here, before, slope, difference in zip(
            self.parameters, self.start, self.start_gradient, r.difference, strict=True
        ):
            part = [here - before]
            add_scaled(part, [slope], r.start_coefficient, batch_dims=self.batch_dims)
            add_scaled(part, [difference], r.difference_coefficient, batch_dims=self.batch_dims)
            total = total + inner_product(part, part, self.batch_dims)
        return total.sqrt()

    def center(self) -> tuple[list[Tensor], Tensor]:
        """The candidate center (a, b) of Eq. 7: one tensor for each parameter, and the batch's shape."""
        a = clones(self.start)
        away = self.pull + self._lr
        add_scaled(a, self.start_gradient, away, batch_dims=self.batch_dims, scale=-1.0)
        height = self.pull / self.loss_scale - self.loss_scale * self._ascent
        return a, self.loss_scale * self._start_value + height


def take_gradients(parameters: list[Tensor], decays: Sequence[Decay]) -> list[Tensor]:
    """Move the gradients out of the parameters, so that the next evaluation finds their memory free.

    Args:
        parameters: Their `grad` is taken.
        decays: Weight decay, which is added.
    """
    gradients = []
    for parameter in parameters:
        if parameter.grad is None:
            raise RuntimeError("a parameter lost its gradient within one step of the ball")
        gradients.append(parameter.grad)
        parameter.grad = None
    for decay in decays:
        torch._foreach_add_(gradients[decay.parameters], parameters[decay.parameters], alpha=decay.weight)
    return gradients


def decay_difference(
    parameters: Sequence[Tensor], start: Sequence[Tensor], decays: Sequence[Decay], batch_dims: int
) -> Tensor | float:
    """½wd(‖θ‖² − ‖θ_t‖²) as wd(⟨θ_t, δ⟩ + ½‖δ‖²) with δ = θ−θ_t, which does not cancel.

    Args:
        parameters: θ.
        start: θ_t.
        decays: Whose weight decay.
        batch_dims: How many leading dimensions number the problems.

    Returns:
        Of the batch's shape; 0 where nothing decays.
    """
    total: Tensor | float = 0.0
    for decay in decays:
        # One tensor at a time: all at once would take another copy of the parameters.
        for here, before in zip(parameters[decay.parameters], start[decay.parameters], strict=True):
            moved = [here - before]
            along = inner_product([before], moved, batch_dims)
            total = total + decay.weight * (along + 0.5 * inner_product(moved, moved, batch_dims))
    return total
