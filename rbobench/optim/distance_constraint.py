"""The rolling ball under a distance constraint (arXiv 2505.19527, Section 3.2): the center is the state."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Any, ClassVar, Protocol

import torch
from torch import Tensor

from rbobench.errors import UsageError
from rbobench.optim.footpoint import Decay, decay_difference, take_gradients
from rbobench.optim.projection.exact import project_exactly
from rbobench.optim.rolling_ball import RBO
from rbobench.optim.tensors import (
    Closure,
    add_scaled,
    clones,
    evaluate,
    freeze_diverged,
    global_norm,
    inner_product,
    spread,
)


class Center:
    """The ball's center (a, b), seen from the contact p = (θ, λf(θ)).

    Args:
        offset: a − θ, one tensor for each parameter, moved in place.
        height: b − λf(θ), of the batch's shape.
        loss_scale: λ.
        batch_dims: How many leading dimensions number the problems.
    """

    def __init__(
        self, offset: Sequence[Tensor], height: Tensor, *, loss_scale: float, batch_dims: int = 0
    ) -> None:
        self.offset = list(offset)
        self.height = height
        self.loss_scale = loss_scale
        self.batch_dims = batch_dims

    def lift(self, gradients: Sequence[Tensor], squared: Tensor, distance: float | Tensor) -> None:
        """Move it by `distance` along the upward normal ν = (−λg, 1)/s at the contact (Eq. 1).

        Args:
            gradients: g, one tensor for each parameter.
            squared: ‖g‖², of the batch's shape.
            distance: A number, or one for each problem.
        """
        rise = distance / (1.0 + self.loss_scale**2 * squared).sqrt()
        self.height = self.height + rise
        add_scaled(self.offset, gradients, self.loss_scale * rise, batch_dims=self.batch_dims, scale=-1.0)

    def descend(self, gradients: Sequence[Tensor], squared: Tensor, lr: float | Tensor) -> None:
        """Move it by δ = δ̃ − ⟨u, δ̃⟩u with δ̃ = −η(g, λ‖g‖²) and u = (c−p)/‖c−p‖ (Eq. 10 to 12).

        Where the center is the contact there is no u, and nothing is subtracted.

        Args:
            gradients: g, one tensor for each parameter.
            squared: ‖g‖², of the batch's shape.
            lr: η, a number or one for each problem.
        """
        dims = self.batch_dims
        climb = self.loss_scale * squared
        along = inner_product(self.offset, gradients, dims) + self.height * climb
        distance = global_norm(self.offset, dims).square() + self.height.square()
        # Nearer than the step's own rounding, u is noise.
        apart = distance > torch.finfo(distance.dtype).eps * lr**2 * (squared + climb**2)
        share = torch.where(apart, lr * along / torch.where(apart, distance, 1.0), 0.0)
        add_scaled(self.offset, self.offset, share, batch_dims=dims)
        add_scaled(self.offset, gradients, lr + torch.zeros_like(share), batch_dims=dims, scale=-1.0)
        self.height = self.height + share * self.height - lr * climb


class CenterProblem:
    """Find the point of the graph of λf nearest to a given center (a, b).

    Written in displacements from θ_t, minus the gradient of ½‖θ−a‖² + ½(λf(θ)−b)² at θ is

        −r = (θ_t−θ) + pull,    pull = (a−θ_t) + λ(b−λf(θ)) g(θ).

    Args:
        parameters: θ, which the solver moves; they hold θ_t now.
        closure: Evaluates f and its gradient at θ.
        value: f at θ_t without weight decay's share, of the batch's shape.
        gradients: g_t, weight decay included; overwritten.
        center: (a, b), seen from the contact at θ_t; left alone.
        decays: Weight decay, which belongs to f.
        domain: The box of parameters to which a search of the whole graph keeps.

    Attributes:
        start: A copy of θ_t.
    """

    def __init__(
        self,
        parameters: list[Tensor],
        closure: Closure,
        value: Tensor,
        gradients: list[Tensor],
        center: Center,
        *,
        decays: Sequence[Decay] = (),
        domain: tuple[float, float] | None = None,
    ) -> None:
        self.parameters = parameters
        self.start = clones(self.parameters)
        self.closure = closure
        self.loss_scale = center.loss_scale
        self.domain = domain
        self.batch_dims = center.batch_dims
        self._center = center
        self._value = value
        self._start_gradients: list[Tensor] | None = gradients
        self._decays = decays

    def center(self) -> tuple[list[Tensor], Tensor]:
        """The center (a, b): one tensor for each parameter, and the batch's shape."""
        a = list(torch._foreach_add(self.start, self._center.offset))
        return a, self.loss_scale * self._value + self._center.height

    def pull(self) -> list[Tensor]:
        """Evaluate once at the present θ: what the center adds to (θ_t−θ); the solver may overwrite it.

        The first call must come at θ_t, and costs no evaluation.
        """
        scale, height = self.loss_scale, self._center.height
        if self._start_gradients is not None:
            gradients, self._start_gradients = self._start_gradients, None
        else:
            value = evaluate(self.closure)
            gradients = take_gradients(self.parameters, self._decays)
            height = height - scale * (value - self._value + self.decay_difference())
        # A product, then a sum: fused, two terms that cancel would leave their rounding.
        coefficient = scale * height
        torch._foreach_mul_(gradients, [spread(coefficient, each, self.batch_dims) for each in gradients])
        torch._foreach_add_(gradients, self._center.offset)
        return gradients

    def decay_difference(self) -> Tensor | float:
        """What weight decay adds to f at the present θ, less what it adds at θ_t."""
        return decay_difference(self.parameters, self.start, self._decays, self.batch_dims)


class CenterProjection(Protocol):
    """Moves the parameters of `problem` towards the footpoint of its center."""

    def __call__(self, problem: CenterProblem, *, steps: int, lr: float) -> object:
        """Project within `steps` evaluations, the one at θ_t included."""
        ...


def project_center_by_sgd(problem: CenterProblem, *, steps: int, lr: float) -> None:
    """Take `steps` steps θ ← θ − γr from θ_t; stable only while γ(1+λ²‖g‖²) < 2.

    Args:
        problem: The footpoint problem; its parameters are moved in place.
        steps: P, the projection steps; they cost P − 1 evaluations beyond the one at θ_t.
        lr: γ, the step size.
    """
    for _ in range(steps):
        pull = problem.pull()
        torch._foreach_lerp_(problem.parameters, problem.start, lr)
        torch._foreach_add_(problem.parameters, pull, alpha=lr)
        del pull  # it must be free before the next evaluation


CENTER_PROJECTIONS: dict[str, CenterProjection] = {
    "exact": project_exactly,
    "sgd": project_center_by_sgd,
}


class DistanceConstraintRBO(RBO):
    """Roll a ball whose center is the state, kept at its distance from the surface (Eq. 9 to 12).

    `RBO` sets the center anew at every step, from the contact. Here it goes on from where it was, and the
    contact, which is what is trained and evaluated, follows as the center's footpoint p = (θ, λf(θ)):

        u = (c−p) / ‖c−p‖ = ∇d_Γ(c),    δ̃ = −η(g, λ‖g‖²),    c ← c + δ̃ − ⟨u, δ̃⟩u,    θ ← footpoint of c.

    u is the distance's gradient only as far as the projection has converged; then it is the normal at p, δ̃
    is orthogonal to it, and nothing is subtracted. The first step is `RBO`'s. A step costs exactly
    `projection_steps` gradient evaluations.

    The center stands still in between, so that where the batch changes, the surface moves under the ball, and
    the contact with it even at lr = 0; on a fixed function lr = 0 moves nothing, bit for bit.

    The ball begins as a point on the surface. Whenever the radius changes, by its first value or by a
    schedule, the center moves by the change along the normal at the contact, c ← c + (ρ−ρ_last)ν. At radius 0
    the center still goes its own way, a distance of the order of η from the contact: this is not `rbo-null`.

    Args:
        params: Parameters or parameter groups.
        lr: η, the step of the center, ≥ 0; a number, or a tensor with one for each problem of a batch.
        radius: ρ, the radius, ≥ 0; a number, or a tensor with one for each problem.
        projection: The solver of the footpoint problem: `"sgd"`, the paper's, or `"exact"` (see `RBO`).
        projection_steps: P, the projection steps and the gradient evaluations of a step, ≥ 1.
        projection_lr: γ, the step size of the projection, > 0.
        projection_domain: The box (low, high) that `"exact"` searches.
        loss_scale: λ > 0: the ball rolls on the graph of λf. It weighs loss units against parameter units.
        weight_decay: wd ≥ 0: ½wd‖θ‖² is part of f, in its value and in its gradient.
        batch_dims: How many leading dimensions of every parameter number independent problems; the closure
            then returns one loss for each. A problem that leaves the finite numbers stays where it was, and
            its center too.

    Raises:
        ValueError: If a value is out of range, or groups disagree on the ball.
    """

    projections: ClassVar[Collection[str]] = CENTER_PROJECTIONS.keys()

    def add_param_group(self, param_group: dict[str, Any]) -> None:
        """Add parameters to the ball.

        Raises:
            ValueError: As `RBO`'s, or if a tolerance is given, which no projection here knows.
        """
        if {**self.defaults, **param_group}["projection_tolerance"] is not None:
            raise ValueError("the ball under a distance constraint takes no projection_tolerance")
        super().add_param_group(param_group)

    def _roll(self, ball: dict[str, Any], parameters: list[Tensor], closure: Closure, loss: Tensor) -> None:
        """Move the center once, and the contact after it."""
        dims, scale, radius = ball["batch_dims"], ball["loss_scale"], ball["radius"]
        if dims > 0 or isinstance(radius, Tensor):
            radius = radius + torch.zeros_like(loss)  # one for each problem, and no other's to change
        decays = self._decays()
        gradients = take_gradients(parameters, decays)
        squared = global_norm(gradients, dims).square()
        state = self._ball()
        state.setdefault("value", loss.clone())
        state.setdefault("height", torch.zeros_like(loss))
        state.setdefault("radius", radius * 0.0)
        offset = [self._offset_of(parameter) for parameter in parameters]
        before = clones(offset) if dims > 0 else []

        height = state["height"] - scale * (loss - state["value"])
        center = Center(offset, height, loss_scale=scale, batch_dims=dims)
        growth = radius - state["radius"]
        if isinstance(growth, Tensor) or growth != 0.0:
            center.lift(gradients, squared, growth)
        center.descend(gradients, squared, ball["lr"])

        problem = CenterProblem(
            parameters, closure, loss, gradients, center, decays=decays, domain=ball["projection_domain"]
        )
        del gradients  # the problem drops them before it evaluates
        project = CENTER_PROJECTIONS[ball["projection"]]
        project(problem, steps=ball["projection_steps"], lr=ball["projection_lr"])

        height = center.height - scale * problem.decay_difference()
        after = {"value": loss.clone(), "height": height, "radius": radius}
        if dims > 0:
            freeze_diverged(
                [*parameters, *offset, *after.values()],
                [*problem.start, *before, *(state[name] for name in after)],
                loss,
                dims,
            )
        state.update(after)
        # The center stands where the contact has moved; θ_t−θ first, which is exact where they are near.
        torch._foreach_sub_(problem.start, parameters)
        torch._foreach_add_(offset, problem.start)

    def center(self) -> tuple[Tensor, Tensor]:
        """The ball's center (a, b), where there is one parameter tensor.

        Returns:
            a, of the parameter's shape, and b, of the batch's shape, in units of λf.

        Raises:
            UsageError: If there are several tensors, or no step has been taken.
        """
        parameters = [parameter for group in self.param_groups for parameter in group["params"]]
        if len(parameters) != 1:
            raise UsageError(f"center() is for one parameter tensor, not {len(parameters)}")
        group, parameter, ball = self.param_groups[0], parameters[0].detach(), self._ball()
        if "offset" not in ball:
            raise UsageError("there is no center before the first step")
        decay = 0.5 * group["weight_decay"] * global_norm([parameter], group["batch_dims"]).square()
        return parameter + ball["offset"], ball["height"] + group["loss_scale"] * (ball["value"] + decay)

    def _ball(self) -> dict[str, Any]:
        """What is kept for the whole ball, in the first parameter's state, so that loading casts it."""
        state: dict[str, Any] = self.state[self.param_groups[0]["params"][0]]
        return state

    def _offset_of(self, parameter: Tensor) -> Tensor:
        state = self.state[parameter]
        if "offset" not in state:
            state["offset"] = torch.zeros_like(parameter)
        offset: Tensor = state["offset"]
        return offset
