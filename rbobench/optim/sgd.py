"""SGD on one problem, as torch has it, or on a batch of problems."""

from __future__ import annotations

from collections.abc import MutableMapping, Sequence
from typing import Any

import torch
from torch import Tensor

from rbobench.optim.blocks import in_blocks
from rbobench.optim.observed import observed
from rbobench.optim.tensors import (
    Closure,
    active,
    evaluate,
    freeze_diverged,
    require_closure,
    spread,
    with_gradients,
)


class SGD(torch.optim.SGD):
    """`torch.optim.SGD` that can also carry a batch of problems.

    With `batch_dims = 0` it *is* `torch.optim.SGD`. Otherwise `lr` may hold one value for each problem, and a
    problem that leaves the finite numbers stays where it was.

    Args:
        params: Parameters or parameter groups.
        lr: The step size; a number, or a tensor with one for each problem of a batch.
        momentum: Of the heavy ball; 0 for none.
        dampening: Of the momentum.
        weight_decay: Adds `weight_decay` · θ to the gradient.
        nesterov: Nesterov's momentum.
        batch_dims: How many leading dimensions of every parameter number independent problems.

    Raises:
        ValueError: If a value is out of range.
    """

    def __init__(
        self,
        params: Any,
        lr: float | Tensor = 0.1,
        momentum: float = 0.0,
        dampening: float = 0.0,
        weight_decay: float = 0.0,
        nesterov: bool = False,
        batch_dims: int = 0,
    ) -> None:
        if batch_dims < 0:
            raise ValueError(f"batch_dims must be at least 0, not {batch_dims}")
        # torch takes only one-element tensors; the problems' own rates go into the groups afterwards.
        scalar = lr if not isinstance(lr, Tensor) or lr.numel() == 1 else 0.0
        super().__init__(params, scalar, momentum, dampening, weight_decay, nesterov, foreach=None)
        self.defaults.update(lr=lr, batch_dims=batch_dims)
        for group in self.param_groups:
            group.setdefault("batch_dims", batch_dims)
            if group["lr"] is scalar:
                group["lr"] = lr

    @observed
    def step(self, closure: Closure | None = None) -> Any:
        """Take one step.

        Args:
            closure: Evaluates the loss and its gradient; may be left out where the gradients are there and
                `batch_dims` is 0.

        Returns:
            The loss, or `None` without a closure.
        """
        if self.param_groups[0]["batch_dims"] == 0:
            return self._step_one(closure)
        closure = require_closure(self, closure)
        losses = evaluate(closure)
        self.step_batch(losses)
        return losses

    def _step_one(self, closure: Closure | None) -> Any:
        if not self.is_plain:
            step = torch.optim.SGD.step
            if getattr(step, "hooked", False):
                step = step.__wrapped__  # type: ignore[attr-defined]  # the hooks are around this step already
            return step(self, closure)
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        self.descend()
        return loss

    @property
    def is_plain(self) -> bool:
        """Whether a step is what `descend` does: of numbers as step sizes, without torch's special modes."""
        for group in self.param_groups:
            if group["maximize"] or group["differentiable"] or group["fused"]:
                return False
            if isinstance(group["lr"], Tensor):
                return False
        return True

    def descend(self) -> None:
        """Take one step of one problem by the gradients that are there, bit for bit `torch.optim.SGD`'s.

        Without what torch does around a step, its hooks and its profiler's record. Only where `is_plain`, and
        under `torch.no_grad()`, as within any step.
        """
        for group in self.param_groups:
            parameters, directions = with_gradients((group,))
            if not parameters:
                continue
            directions = descent_directions(directions, parameters, group, self.state)
            torch._foreach_add_(parameters, directions, alpha=-group["lr"])

    @torch.no_grad()
    def step_batch(self, losses: Tensor) -> None:
        """Take one step of a batch of problems by the gradients that are there.

        Args:
            losses: The problems' losses, of the batch's shape; one that is not finite stays where it was.
        """
        moved, before = [], []
        dims = self.param_groups[0]["batch_dims"]
        for group in self.param_groups:
            for parameter in active([group]):
                moved.append(parameter)
                before.append(parameter.clone())
                assert parameter.grad is not None
                (direction,) = descent_directions([parameter.grad], [parameter], group, self.state)
                lr = group["lr"]
                if isinstance(lr, Tensor):
                    lr = spread(lr, parameter, dims)
                parameter.sub_(lr * direction)
        freeze_diverged(moved, before, losses, dims)


def descent_directions(
    gradients: list[Tensor],
    parameters: Sequence[Tensor],
    group: dict[str, Any],
    state: MutableMapping[Tensor, dict[str, Any]],
    at: list[Tensor] | None = None,
) -> list[Tensor]:
    """Where SGD goes from parameters, as torch has it: weight decay, then momentum, plain or Nesterov's.

    Args:
        gradients: Left alone.
        parameters: Of the same shapes.
        group: Has `weight_decay`, `momentum`, `nesterov` and, perhaps, `dampening`.
        state: The optimizer's; each parameter's momentum is kept in it.
        at: Where the parameters are, if not where they stand.
    """
    directions = gradients
    if group["weight_decay"] != 0.0:
        decayed = list(parameters) if at is None else at
        directions = list(torch._foreach_add(directions, decayed, alpha=group["weight_decay"]))
    if group["momentum"] == 0.0:
        return directions
    states = [state[parameter] for parameter in parameters]
    going = [index for index, own in enumerate(states) if own.get("momentum_buffer") is not None]
    if going:
        known = [states[index]["momentum_buffer"] for index in going]
        for kept, new in in_blocks(known, [directions[index] for index in going]):
            torch._foreach_mul_(kept, group["momentum"])
            torch._foreach_add_(kept, new, alpha=1.0 - group.get("dampening", 0.0))
    for own, direction in zip(states, directions, strict=True):
        if own.get("momentum_buffer") is None:
            own["momentum_buffer"] = direction.clone()
    buffers: list[Tensor] = [own["momentum_buffer"] for own in states]
    if group["nesterov"]:
        return list(torch._foreach_add(directions, buffers, alpha=group["momentum"]))
    return buffers
