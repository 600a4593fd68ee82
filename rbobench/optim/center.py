"""The rolling ball in center form: gradient descent on the offset graph, without a projection.

The center of a ball that rolls on the graph of λf lies above the offset graph

    f_ρ(c) = max over ‖s‖ ≤ ρ of λf(c+s) + √(ρ²−‖s‖²),

and by the envelope theorem ∇f_ρ(c) = λ∇f(c+s*) at the contact c+s*. So the ball descends by

    c ← c − η∇f(c+s),    s = φ(∇f(c+s)),    φ(g) = ρg/√(λ⁻²+‖g‖²),

where the second equation is Eq. 6 of arXiv 2505.19527 read at the contact. docs/center-form.md derives it.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor

from rbobench.errors import UsageError
from rbobench.optim.groups import check_agreement, check_range
from rbobench.optim.observed import observed
from rbobench.optim.perturbation import perturbed
from rbobench.optim.remembered import RememberedGradients
from rbobench.optim.sgd import SGD, descent_directions
from rbobench.optim.tensors import (
    Closure,
    add_scaled,
    at_hand,
    clones,
    evaluate,
    global_norm,
    require_closure,
    spread,
    taken,
    with_gradients,
)
from rbobench.optim.wrapper import OptimizerWrapper, descends_alone

CONTACTS = ("search", "previous", "mirrored", "lagged")
"""Where the contact is taken from."""

_LAST, _OLDER = "contact_gradient", "older_contact_gradient"
"""Where g_{t−1} and g_{t−2} are in a parameter's part of `state_dict`."""

_BALL = ("radius", "contact", "contact_steps", "loss_scale", "safeguard")
_ONE = "CenterRBO rolls one ball over all parameters"

TINY = 1e-12
"""Keeps a vanishing gradient from being divided by zero, as in the code of SAM's authors."""


def contact_length(norm: Tensor | float, radius: float | Tensor, loss_scale: float) -> Tensor | float:
    """The factor ρ/√(λ⁻²+‖g‖²) by which φ multiplies g.

    Args:
        norm: ‖g‖, a number or of the batch's shape.
        radius: ρ, a number or one for each problem.
        loss_scale: λ; infinite is SAM's ρ/‖g‖.
    """
    if math.isinf(loss_scale):
        return radius / (norm + TINY)
    if isinstance(norm, Tensor):
        return radius / torch.hypot(norm, torch.full_like(norm, 1.0 / loss_scale))
    return radius / math.hypot(norm, 1.0 / loss_scale)


class CenterRBO(OptimizerWrapper):
    """Roll a ball whose center is what is trained: descend by the gradient at its contact with the surface.

    One step is c ← c − η∇f(c+s). The contact s is found in one of four ways:

    - `"search"`: `contact_steps` fixed-point steps s ← φ(∇f(c+s)) from s = 0, 1 + `contact_steps` gradients
      a step. It follows `RBO` with exact footpoints to O(η) where ρ · curvature stays below 1.
    - `"previous"`: s = +φ(g_{t−1}), with g_t = ∇f(c_t+s_t) the gradients of descent; 1 gradient a step.
    - `"mirrored"`: s = −φ(g_{t−1}); 1 gradient.
    - `"lagged"`: s = +φ(g_{t−2}); 1 gradient.

    The last three begin at s = 0 until the gradient that they ask for exists. `loss_scale = math.inf` is SAM
    (search), S²-SAM (previous).

    The parameters are the center's. That is where to evaluate; `contact_parameters()` offers the contact.
    Weight decay and momentum act in the base optimizer's step alone, not in the contact: unlike in `RBO`, the
    decay is not part of the surface that the ball rolls on.

    Args:
        params: Parameters or parameter groups.
        lr: η, the step of the center, ≥ 0; a number, or a tensor with one for each problem of a batch.
        radius: ρ, the radius, ≥ 0; a number, or a tensor with one for each problem. 0 takes the ball out.
        contact: Where the contact is taken from.
        contact_steps: k, the fixed-point steps of `"search"`, ≥ 0.
        loss_scale: λ > 0, which may be infinite: the ball rolls on the graph of λf.
        momentum: Of the default SGD.
        nesterov: Of the default SGD.
        weight_decay: Of the default SGD.
        batch_dims: How many leading dimensions of every parameter number independent problems; the base must
            be `rbobench.optim.sgd.SGD`, as the default is.
        safeguard: Let `"search"` descend by the best of its contacts, by ψ(s) = λf(c+s) + √(ρ²−‖s‖²), s = 0
            included, instead of by the last one. It costs no evaluation, and one more parameter copy.
        base_optimizer: Builds another optimizer to descend, from `params`; `lr` then takes the place of its
            default.

    Attributes:
        tracks_residual: Whether steps compute `residual`; on a small network that costs as much as the rest
            of the update. False unless set.
        residual: ‖s − φ(∇f(c+s))‖ of the last step that computed it: 0 where s is a contact of the ball;
            `None` before.

    Raises:
        ValueError: If a value is out of range, groups disagree on the ball, or the base takes no such batch.

    Example:
        >>> optimizer = CenterRBO(model.parameters(), lr=0.1, radius=1.0, momentum=0.9)  # doctest: +SKIP
        >>> loss = optimizer.step(closure)  # doctest: +SKIP
    """

    def __init__(
        self,
        params: Any,
        lr: float | Tensor,
        radius: float | Tensor,
        contact: str = "search",
        contact_steps: int = 1,
        loss_scale: float = 1.0,
        momentum: float = 0.0,
        nesterov: bool = False,
        weight_decay: float = 0.0,
        batch_dims: int = 0,
        safeguard: bool = False,
        base_optimizer: Callable[[Any], torch.optim.Optimizer] | None = None,
    ) -> None:
        ball = {
            "radius": radius,
            "contact": contact,
            "contact_steps": contact_steps,
            "loss_scale": loss_scale,
            "safeguard": safeguard,
        }
        _check(ball)
        check_range({"lr": lr}, "lr")
        if base_optimizer is None:
            base: torch.optim.Optimizer = SGD(
                params, lr, momentum, weight_decay=weight_decay, nesterov=nesterov, batch_dims=batch_dims
            )
        else:
            for name, value in (
                ("momentum", momentum),
                ("weight_decay", weight_decay),
                ("nesterov", nesterov),
            ):
                if value:
                    raise ValueError(f"{name} is the default SGD's; give it to base_optimizer instead")
            base = base_optimizer(params)
            for group in base.param_groups:
                if group["lr"] == base.defaults["lr"]:  # not one of the group's own
                    group["lr"] = lr
            base.defaults["lr"] = lr
        super().__init__(base, ball, batch_dims)
        for group in self.param_groups:
            _check(group)
            check_agreement(_ONE, _BALL, self.param_groups[0], group)
        self._contact: tuple[Tensor | float, Tensor | float] | None = None  # ‖g‖ and what it is multiplied by
        self._memories: dict[str, RememberedGradients] = {}
        self._members: list[Any] = []  # what the groups had for parameters at the last step
        self.tracks_residual = False
        self.residual: Tensor | None = None

    @observed
    def step(  # type: ignore[override]
        self, closure: Closure | None = None, contact_closure: Closure | None = None
    ) -> Tensor:
        """Roll the ball once.

        Args:
            closure: Clears the gradients, evaluates the loss, calls backward and returns the loss.
            contact_closure: The same on a part of the same batch: `"search"` then takes its gradients from
                it, and only the descent from `closure`.

        Returns:
            The loss, detached: at the center for `"search"` without a contact closure, else at the contact.

        Raises:
            TypeError: If there is no closure.
            ValueError: If groups disagree on the ball, or a contact closure is given where it is of no use.
        """
        closure = require_closure(self, closure)
        ball = self.param_groups[0]
        for group in self.param_groups[1:]:
            check_agreement(_ONE, _BALL, ball, group)
        if ball["contact"] == "search":
            return self._search(ball, closure, contact_closure)
        if contact_closure is not None:
            raise ValueError(f"contact {ball['contact']!r} searches for nothing; it takes no contact_closure")
        return self._remember(ball, closure)

    @property
    def contact_radius(self) -> Tensor | None:
        """‖s‖ of the last step, of the batch's shape; `None` before it."""
        if self._contact is None:
            return None
        norm, length = self._contact
        return _as_tensor(length * norm, self._parameters()[0])

    def _search(self, ball: dict[str, Any], closure: Closure, contact_closure: Closure | None) -> Tensor:
        """Find the contact by fixed-point steps from s = 0, and descend by the gradient there."""
        if contact_closure is not None and ball["safeguard"]:
            raise ValueError("safeguard compares losses of one closure; it takes no contact_closure")
        steps, dims = ball["contact_steps"], self._batch_dims
        if contact_closure is not None and steps == 0:
            raise ValueError("contact_steps = 0 searches for nothing; it takes no contact_closure")
        look = closure if contact_closure is None else contact_closure
        loss = last = evaluate(look)
        parameters, gradients = with_gradients(self.param_groups)
        if not parameters:
            return loss
        norm, length = self._phi(at_hand(global_norm(gradients, dims)))
        del gradients  # their memory is free once they are taken
        tracked = self.tracks_residual or ball["safeguard"]  # which looks whether it is finite
        best = _Best(ball, dims) if ball["safeguard"] else None
        residual: Tensor | float = length * norm if tracked else 0.0
        if steps == 0 or best is not None:
            self._contact = _nowhere(parameters[0], dims)
        for step in range(steps):
            if best is not None:
                best.offer(self.contact_radius, residual, last, parameters)
            self._contact, is_last = (norm, length), step == steps - 1
            with perturbed(parameters, taken(parameters), length, dims) as center:
                last = evaluate(closure if is_last else look)
                if tracked or not is_last:
                    norm, length = self._phi(at_hand(global_norm(_gradients(parameters), dims)))
                if tracked and (is_last or best is not None):
                    residual = _residual(parameters, center, length, dims)
            del center
        if best is not None:
            best.offer(self.contact_radius, residual, last, parameters)
            (radius, residual), last = best.keep(parameters), best.loss
            self._contact = radius, 1.0
        if tracked:
            self.residual = _as_tensor(residual, parameters[0])
        self._base_step(last)
        return loss if look is closure else last

    def _remember(self, ball: dict[str, Any], closure: Closure) -> Tensor:
        """Take the contact from an earlier gradient, and descend by the gradient there."""
        dims, contact = self._batch_dims, ball["contact"]
        members = [_kind(group["params"]) for group in self.param_groups]
        if members != self._members:
            self._members = members
            self._forget_strangers()
        memory = self._memories.pop(_OLDER if contact == "lagged" else _LAST, None)
        if memory is not None:
            self._contact = norm, length = self._phi(memory.norm(dims))
            memory.displace(-length if contact == "mirrored" else length, dims)
        try:
            loss = evaluate(closure)
            parameters, gradients = with_gradients(self.param_groups)
            if parameters and memory is None:
                self._contact = _nowhere(parameters[0], dims)
            if parameters and self.tracks_residual:
                norm, length = self._phi(at_hand(global_norm(gradients, dims)))
                if memory is None:
                    self.residual = _as_tensor(length * norm, parameters[0])
                else:
                    self.residual = _residual(memory.parameters, memory.gradients, length, dims)
            if parameters and dims > 0:
                # Of a problem whose gradient is not finite, 0: its next contact is the center.
                finite = torch.isfinite(global_norm(gradients, dims))
                gradients = [torch.where(spread(finite, each, dims), each, 0.0) for each in gradients]
        except BaseException:
            if memory is not None:
                memory.restore()
            raise
        if contact == "lagged" and _LAST in self._memories:
            self._memories[_OLDER] = self._memories.pop(_LAST)
        if memory is not None and memory.is_of(parameters):
            self._memories[_LAST] = memory
            if dims == 0 and len(self.param_groups) == 1 and descends_alone(self.base):
                # In one pass, which on a large network spares a third of the update's time.
                directions = descent_directions(gradients, parameters, ball, self.state, memory.gradients)
                memory.restore_and_keep(gradients, directions, -ball["lr"])
                return loss
            memory.restore()
            memory.keep(gradients)
        else:
            if memory is not None:
                memory.restore()
            if parameters:
                self._memories[_LAST] = RememberedGradients.holding(parameters, gradients)
        self._base_step(loss)
        return loss

    def _forget_strangers(self) -> None:
        """Forget the gradients of parameters that have left, or have another type or device than they had."""
        memories = {name: memory.of_those(self._parameters()) for name, memory in self._memories.items()}
        self._memories = {name: memory for name, memory in memories.items() if memory is not None}

    def _phi(self, norm: Tensor | float) -> tuple[Tensor | float, Tensor | float]:
        """‖g‖, and the factor by which φ multiplies g."""
        ball = self.param_groups[0]
        return norm, contact_length(norm, ball["radius"], ball["loss_scale"])

    def state_dict(self) -> dict[str, Any]:
        """The state of both: beside what the base keeps, the gradients that contacts will be taken from."""
        found = super().state_dict()
        indices = {each: index for index, each in enumerate(self._parameters())}
        state = {index: dict(own) for index, own in found["state"].items()}
        for name, memory in self._memories.items():
            for each, gradient in zip(memory.parameters, memory.gradients, strict=True):
                if each in indices:
                    state.setdefault(indices[each], {})[name] = gradient
        return {**found, "state": state}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Restore both."""
        super().load_state_dict(state_dict)
        self._memories = {}
        for name in (_LAST, _OLDER):
            known = [each for each in self._parameters() if name in self.state.get(each, {})]
            if known:
                gradients = [self.state[each].pop(name) for each in known]
                self._memories[name] = RememberedGradients.holding(known, gradients)

    @contextmanager
    def contact_parameters(self) -> Iterator[None]:
        """Put the parameters at the contact, where the ball touches the surface, inside the block.

        It is c + s with the s that the gradients at hand give: those of the last step, or for `"lagged"` of
        the one before.

        Raises:
            UsageError: If there is no such gradient.
        """
        contact = self.param_groups[0]["contact"]
        if contact == "search":
            parameters, gradients = with_gradients(self.param_groups)
        else:
            memory = self._memories.get(_OLDER if contact == "lagged" else _LAST)
            parameters, gradients = ([], []) if memory is None else (memory.parameters, memory.gradients)
        if not parameters:
            raise UsageError("there is no contact before the gradients of the first steps")
        _, length = self._phi(at_hand(global_norm(gradients, self._batch_dims)))
        factor = -length if contact == "mirrored" else length
        with perturbed(parameters, gradients, factor, self._batch_dims):
            yield

    def add_param_group(self, param_group: dict[str, Any]) -> None:
        """Add parameters to the ball.

        Raises:
            ValueError: If a value is out of range, or disagrees with the groups that are there.
        """
        if all(param_group is not group for group in self.base.param_groups):
            settings = {**self._settings, **param_group}
            _check(settings)
            check_agreement(_ONE, _BALL, self.param_groups[0], settings)
        super().add_param_group(param_group)


class _Best:
    """Of the contacts that a search has seen, the one of the largest ψ(s)/λ = f(c+s) + √(ρ²−‖s‖²)/λ.

    One that is not finite is never better.

    Attributes:
        loss: f there, of the batch's shape.
    """

    def __init__(self, ball: dict[str, Any], batch_dims: int) -> None:
        self._radius, self._scale = ball["radius"], ball["loss_scale"]
        self._dims = batch_dims
        self._value: Tensor | None = None
        self.loss: Tensor
        self._gradients: list[Tensor] = []
        self._found: tuple[Tensor, Tensor]

    def offer(
        self,
        radius: Tensor | None,
        residual: Tensor | float,
        loss: Tensor,
        parameters: Sequence[Tensor],
    ) -> None:
        """Take the contact (radius, residual) with the gradients that are there, if it is better."""
        assert radius is not None
        residual = _as_tensor(residual, parameters[0])
        gap = (self._radius**2 - radius.square()).clamp(min=0.0).sqrt()
        value = loss + gap / self._scale
        if self._value is None:
            self._value, self._found, self.loss = value, (radius, residual), loss
            self._gradients = clones(_gradients(parameters))
            return
        better = (value > self._value) & torch.isfinite(value) & torch.isfinite(residual)
        self._value = torch.where(better, value, self._value)
        self.loss = torch.where(better, loss, self.loss)
        old_radius, old_residual = self._found
        self._found = torch.where(better, radius, old_radius), torch.where(better, residual, old_residual)
        for kept, new in zip(self._gradients, _gradients(parameters), strict=True):
            kept.copy_(torch.where(spread(better, kept, self._dims), new, kept))

    def keep(self, parameters: Sequence[Tensor]) -> tuple[Tensor, Tensor]:
        """Put the best contact's gradients into the parameters; its (radius, residual)."""
        for parameter, gradient in zip(parameters, self._gradients, strict=True):
            parameter.grad = gradient
        return self._found


def _gradients(parameters: Sequence[Tensor]) -> list[Tensor]:
    return [parameter.grad for parameter in parameters if parameter.grad is not None]


def _kind(parameters: list[Tensor]) -> tuple[Any, ...]:
    """How many parameters, and of which type on which device; of these one tells for all."""
    if not parameters:
        return ()
    first = parameters[0]
    return len(parameters), first.dtype, first.get_device()


def _nowhere(parameter: Tensor, batch_dims: int) -> tuple[Tensor, float]:
    """The contact s = 0: a norm of the batch's shape, and what it is multiplied by."""
    return parameter.new_zeros(parameter.shape[:batch_dims]), 0.0


def _as_tensor(value: Tensor | float, like: Tensor) -> Tensor:
    return value if isinstance(value, Tensor) else like.new_tensor(value)


def _residual(
    parameters: Sequence[Tensor], center: Sequence[Tensor], length: Tensor | float, batch_dims: int
) -> Tensor:
    """‖s − φ(∇f(c+s))‖ where the parameters hold c + s; overwrites them."""
    there = [(p, c) for p, c in zip(parameters, center, strict=True) if p.grad is not None]
    if not there:
        return parameters[0].new_zeros(parameters[0].shape[:batch_dims])
    moved, center = [p for p, _ in there], [c for _, c in there]
    torch._foreach_sub_(moved, center)
    add_scaled(moved, _gradients(moved), length, batch_dims=batch_dims, scale=-1.0)
    return global_norm(moved, batch_dims)


def _check(ball: dict[str, Any]) -> None:
    """Refuse values out of range, by name."""
    check_range(ball, "radius")
    if ball["contact"] not in CONTACTS:
        raise ValueError(f"contact must be one of {', '.join(CONTACTS)}, not {ball['contact']!r}")
    steps = ball["contact_steps"]
    if steps < 0 or steps != int(steps):
        raise ValueError(f"contact_steps must be a whole number from 0, not {steps}")
    if not ball["loss_scale"] > 0.0:
        raise ValueError(f"loss_scale must be above 0, not {ball['loss_scale']}")
    if ball["safeguard"] and ball["contact"] != "search":
        raise ValueError(f"safeguard is for contact 'search', not {ball['contact']!r}")
