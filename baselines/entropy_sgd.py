"""Entropy-SGD (arXiv 1611.01838): descent on a smoothed loss, its gradient estimated by an inner loop.

The authors published two programs that differ; both are here as presets. The inner loop starts at x' = μ = x
and repeats `inner_steps` times, each on a fresh batch:

    d ← Nesterov momentum on ∇f(x'),  d ← d − γ(x − x') + ε/√(η'/2) · noise,  x' ← x' − η'd,  μ ← ¾μ + ¼x'

with γ = γ₀(1+γ₁)^t over t outer steps. (The paper's text has ¼ and ¾ exchanged; this is the code's.) Then x
is restored and moves towards μ. An uncapped γ passes 2/η', where the inner loop diverges: at γ₀ = 0.03 and
the other defaults after some 6,500 outer steps.
"""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor

from rbobench import OptimizerInfo, register_optimizer
from rbobench.optim.groups import check_agreement, check_range
from rbobench.optim.observed import observed
from rbobench.optim.sgd import descent_directions
from rbobench.optim.tensors import Closure, active, clones, evaluate, require_closure
from rbobench.randomness import normal_like
from rbobench.registry import Reduction

AVERAGING = 0.75
"""Weight of μ's past."""

Members = list[tuple[Tensor, dict[str, Any]]]
"""Parameters that have a gradient, each with its group."""

_ONE = "EntropySGD has one inner loop"
_INNER = ("inner_steps", "inner_lr", "noise", "scope", "scoping", "momentum", "nesterov")


class EntropySGD(torch.optim.Optimizer):
    """Entropy-SGD as the authors' Lua code has it, which made the paper's figures.

    The outer step is x ← x − lr(x − μ), without momentum and weight decay; the inner loop has both, the decay
    behind the momentum. With `inner_steps = 0` it is SGD.

    Args:
        params: Parameters or parameter groups.
        lr: Of the outer step; 1 goes all the way to μ.
        inner_steps: L, at least 0.
        inner_lr: η', above 0.
        noise: ε, the scale of the Langevin noise, at least 0.
        scope: γ₀, at least 0; the paper has 0.03 on CIFAR and 1e-4 on MNIST.
        scoping: γ₁, at least 0.
        momentum: Of the inner loop, or of SGD where there is none.
        nesterov: Whether it is Nesterov's.
        weight_decay: At least 0.
        seed: The noise is a function of it and of the steps taken.

    Raises:
        ValueError: If a value is out of range, or groups disagree on the inner loop.
    """

    first_step = 1
    """t at the first outer step: the Lua code counts before it computes γ."""

    def __init__(
        self,
        params: Any,
        lr: float = 1.0,
        inner_steps: int = 20,
        inner_lr: float = 0.1,
        noise: float = 1e-4,
        scope: float = 0.03,
        scoping: float = 1e-3,
        momentum: float = 0.9,
        nesterov: bool = True,
        weight_decay: float = 0.0,
        seed: int = 0,
    ) -> None:
        defaults = {
            "lr": lr,
            "inner_steps": inner_steps,
            "inner_lr": inner_lr,
            "noise": noise,
            "scope": scope,
            "scoping": scoping,
            "momentum": momentum,
            "nesterov": nesterov,
            "weight_decay": weight_decay,
            "seed": seed,
            "outer_steps": 0,
        }
        super().__init__(params, defaults)

    def add_param_group(self, param_group: dict[str, Any]) -> None:
        """Add parameters.

        Raises:
            ValueError: If a value is out of range, or disagrees with the groups that are there.
        """
        settings = {**self.defaults, **param_group}
        _check(settings)
        for group in self.param_groups:
            check_agreement(_ONE, _INNER, group, settings)
        super().add_param_group(param_group)

    @observed
    def step(self, closure: Closure | None = None) -> Tensor:  # type: ignore[override]
        """Take one outer step, of `inner_steps` + 1 evaluations.

        Args:
            closure: Clears the gradients, evaluates the loss on a fresh batch, calls backward and returns the
                loss.

        Returns:
            The loss at x, detached.

        Raises:
            TypeError: If there is no closure.
            ValueError: If groups disagree on the inner loop.
        """
        closure = require_closure(self, closure)
        for group in self.param_groups[1:]:
            check_agreement(_ONE, _INNER, self.param_groups[0], group)
        loss = evaluate(closure)
        members = [(parameter, group) for group in self.param_groups for parameter in active([group])]
        parameters = [parameter for parameter, _ in members]
        if self.param_groups[0]["inner_steps"] == 0:
            self._descend(members, _gradients(parameters))
        elif parameters:
            self._begin(members)
            start = clones(parameters)
            mean = self._explore(closure, members, start)
            torch._foreach_copy_(parameters, start)
            torch._foreach_sub_(start, mean)
            self._move_along(members, start)
        for group in self.param_groups:
            group["outer_steps"] += 1
        return loss

    def _begin(self, members: Members) -> None:
        """What the gradients at x are for; the Lua code has no use for them."""

    def _explore(self, closure: Closure, members: Members, start: list[Tensor]) -> list[Tensor]:
        """The inner loop: μ, the mean of where Langevin steps around `start` lead."""
        inner = self.param_groups[0]
        step = inner["outer_steps"]
        scope = inner["scope"] * (1.0 + inner["scoping"]) ** (step + self.first_step)
        spread = inner["noise"] / math.sqrt(0.5 * inner["inner_lr"])
        parameters = [parameter for parameter, _ in members]
        mean = clones(start)
        buffers = [torch.zeros_like(parameter) for parameter in parameters]
        for inner_step in range(inner["inner_steps"]):
            with torch.enable_grad():
                closure()
            direction = self._direction(members, buffers)
            torch._foreach_add_(direction, torch._foreach_sub(parameters, start), alpha=scope)
            if spread > 0.0:
                noise = normal_like(parameters, inner["seed"], step, inner_step)
                torch._foreach_add_(direction, noise, alpha=spread)
            torch._foreach_add_(parameters, direction, alpha=-inner["inner_lr"])
            torch._foreach_lerp_(mean, parameters, 1.0 - AVERAGING)
        return mean

    def _direction(self, members: Members, buffers: list[Tensor]) -> list[Tensor]:
        """Momentum on the gradients, the weight decay behind it."""
        gradients = _gradients([parameter for parameter, _ in members])
        return _decayed(self._with_momentum(gradients, buffers), members)

    def _with_momentum(self, gradients: list[Tensor], buffers: list[Tensor]) -> list[Tensor]:
        momentum, nesterov = self.param_groups[0]["momentum"], self.param_groups[0]["nesterov"]
        if momentum == 0.0:
            return gradients
        torch._foreach_mul_(buffers, momentum)
        torch._foreach_add_(buffers, gradients)
        if nesterov:
            return list(torch._foreach_add(gradients, buffers, alpha=momentum))
        return clones(buffers)

    def _move_along(self, members: Members, directions: list[Tensor]) -> None:
        """Take the outer step along x − μ."""
        for (parameter, group), direction in zip(members, directions, strict=True):
            parameter.add_(direction, alpha=-group["lr"])

    def _descend(self, members: Members, directions: list[Tensor]) -> None:
        """One step of SGD with momentum and weight decay along `directions`, its momentum kept."""
        for (parameter, group), direction in zip(members, directions, strict=True):
            (step,) = descent_directions([direction], [parameter], group, self.state)
            parameter.add_(step, alpha=-group["lr"])


class EntropySGDPyTorch(EntropySGD):
    """Entropy-SGD as the authors' PyTorch code has it.

    The inner loop puts the weight decay before the momentum, and the outer step takes x − μ for a gradient:
    weight decay and Nesterov's momentum apply to it, and the momentum begins as the first gradient at x. That
    code never advances t; here it is counted, from 0.
    """

    first_step = 0

    def _begin(self, members: Members) -> None:
        for parameter, group in members:
            if group["momentum"] != 0.0 and "momentum_buffer" not in self.state[parameter]:
                assert parameter.grad is not None
                self.state[parameter]["momentum_buffer"] = parameter.grad.clone()

    def _direction(self, members: Members, buffers: list[Tensor]) -> list[Tensor]:
        gradients = _gradients([parameter for parameter, _ in members])
        return self._with_momentum(_decayed(gradients, members), buffers)

    def _move_along(self, members: Members, directions: list[Tensor]) -> None:
        self._descend(members, directions)


def _gradients(parameters: list[Tensor]) -> list[Tensor]:
    """The gradients, as tensors of one's own; zeros where a batch left none."""
    gradients = []
    for parameter in parameters:
        gradients.append(torch.zeros_like(parameter) if parameter.grad is None else parameter.grad)
        parameter.grad = None
    return gradients


def _decayed(directions: list[Tensor], members: Members) -> list[Tensor]:
    """Add the groups' weight decay to `directions`, in place."""
    for direction, (parameter, group) in zip(directions, members, strict=True):
        if group["weight_decay"] != 0.0:
            direction.add_(parameter, alpha=group["weight_decay"])
    return directions


def _check(settings: dict[str, Any]) -> None:
    if settings["inner_steps"] < 0 or settings["inner_steps"] != int(settings["inner_steps"]):
        raise ValueError(f"inner_steps must be a whole number from 0, not {settings['inner_steps']}")
    check_range(settings, "inner_lr", above=True)
    check_range(settings, "lr", "noise", "scope", "scoping", "momentum", "weight_decay")


def register() -> None:
    """Register both presets."""
    common: dict[str, Any] = {
        "reference": "arXiv 1611.01838",
        "gradient_evaluations": lambda hyperparameters: hyperparameters["inner_steps"] + 1,
        "search_space": {"lr": [0.1, 0.5, 1.0], "scope": ("log", 1e-4, 0.1), "inner_lr": ("log", 0.01, 0.5)},
        "controls": ("sgd-short",),
        "batch_norm": "re-estimated",
        "resamples": True,
        "randomized": True,
        "parameter_copies": 1.0,
    }
    sgd = {"lr": 0.05, "momentum": 0.9, "nesterov": True}
    register_optimizer(
        OptimizerInfo(
            name="entropy-sgd",
            factory=EntropySGD,
            description="descent on a locally smoothed loss; the authors' Lua code, which the paper ran",
            reductions=(Reduction({"inner_steps": 0, "lr": 0.05}, "sgd", sgd),),
            **common,
        )
    )
    register_optimizer(
        OptimizerInfo(
            name="entropy-sgd-pytorch",
            factory=EntropySGDPyTorch,
            description="descent on a locally smoothed loss; the authors' PyTorch code, its step counted",
            reductions=(Reduction({"inner_steps": 0, "lr": 0.05}, "sgd", sgd),),
            **common,
        )
    )
