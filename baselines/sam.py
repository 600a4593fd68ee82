"""Sharpness-aware minimization (arXiv 2010.01412), its adaptive kin and their controls."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from baselines.base_optimizer import BaseOptimizer, base_info, named_base
from rbobench import OptimizerInfo, register_optimizer
from rbobench.optim.groups import check_agreement, check_range
from rbobench.optim.perturbation import perturbed
from rbobench.optim.sgd import SGD
from rbobench.optim.tensors import Closure, active, evaluate, global_norm, require_closure, spread
from rbobench.optim.wrapper import OptimizerWrapper
from rbobench.randomness import normal_like
from rbobench.registry import Reduction

_TINY = 1e-12
"""Keeps a vanishing gradient from being divided by zero, as in the authors' code."""


class SAM(OptimizerWrapper):
    """Descend by the gradient at w + ρg/‖g‖ instead of the one at w.

    The weights are restored by copy before the base optimizer steps. The norm is one over all parameters, or
    one for each problem of a batch.

    Args:
        params: Parameters or parameter groups.
        base_optimizer: Builds the optimizer that descends, on `params`.
        rho: ρ, the radius of the ascent, at least 0; the groups must agree on it.
        batch_dims: How many leading dimensions of every parameter number independent problems; needs
            `rbobench.optim.sgd.SGD` as base, with the same `batch_dims`.

    Raises:
        ValueError: If ρ is out of range, or the base takes no such batch of problems.
    """

    def __init__(
        self, params: Any, base_optimizer: BaseOptimizer, rho: float = 0.05, batch_dims: int = 0
    ) -> None:
        check_range({"rho": rho}, "rho")
        super().__init__(base_optimizer(params), {"rho": rho})
        for group in self.param_groups:
            check_range(group, "rho")
        if batch_dims != 0 and not isinstance(self.base, SGD):
            raise ValueError(f"batch_dims needs sgd as base optimizer, not {type(self.base).__name__}")
        of_base = self.base.defaults.get("batch_dims", 0)
        if of_base != batch_dims:
            raise ValueError(f"batch_dims is {batch_dims}, but {of_base} in the base optimizer")
        self._batch_dims = batch_dims

    @torch.no_grad()
    def step(self, closure: Closure | None = None) -> Any:
        """Take one step, of two evaluations.

        Args:
            closure: Clears the gradients, evaluates the loss, calls backward and returns the loss.

        Returns:
            The loss at w, detached.

        Raises:
            TypeError: If there is no closure.
            ValueError: If ρ is out of range, or groups disagree on it.
        """
        closure = require_closure(self, closure)
        rho = self.param_groups[0]["rho"]
        for group in self.param_groups:
            check_range(group, "rho")
            check_agreement("SAM has one rho", ("rho",), self.param_groups[0], group)
        loss = evaluate(closure)
        parameters = active(self.param_groups)
        if parameters:
            with perturbed(parameters, self._offsets(parameters, rho)), torch.enable_grad():
                closure()
        if self._batch_dims > 0:
            assert isinstance(self.base, SGD)
            self.base.step_batch(loss)
        else:
            self.base.step()
        return loss

    def _offsets(self, parameters: Sequence[Tensor], rho: float) -> list[Tensor]:
        """The ascent e = ρT²g / ‖Tg‖, where T is 1 but for the adaptive kin."""
        scales = self._scales(parameters)
        gradients = [parameter.grad for parameter in parameters if parameter.grad is not None]
        scaled = [
            gradient if scale is None else scale * gradient
            for scale, gradient in zip(scales, gradients, strict=True)
        ]
        dims = self._batch_dims
        length = rho / (global_norm(scaled, dims) + _TINY)
        return [
            (each if scale is None else scale * each) * spread(length, each, dims)
            for scale, each in zip(scales, scaled, strict=True)
        ]

    def _scales(self, parameters: Sequence[Tensor]) -> list[Tensor | None]:
        """T for each parameter; `None` for 1."""
        return [None] * len(parameters)


class ASAM(SAM):
    """Adaptive SAM as its authors wrote it (arXiv 2102.11600): T = |w| + η on weights, 1 elsewhere.

    Weights are the parameters with "weight" in their name, which the groups know where the optimizer was
    given `named_parameters()`; where they do not, those with more than one dimension.

    Args:
        params: Parameters or parameter groups.
        base_optimizer: Builds the optimizer that descends, on `params`.
        rho: ρ, at least 0.
        eta: η, at least 0.

    Raises:
        ValueError: If ρ or η is out of range.
    """

    def __init__(
        self, params: Any, base_optimizer: BaseOptimizer, rho: float = 0.5, eta: float = 0.01
    ) -> None:
        check_range({"eta": eta}, "eta")
        super().__init__(params, base_optimizer, rho)
        self._eta = eta

    def _scales(self, parameters: Sequence[Tensor]) -> list[Tensor | None]:
        weights = {
            id(parameter)
            for group in self.param_groups
            for parameter, name in zip(
                group["params"], group.get("param_names") or [None] * len(group["params"]), strict=True
            )
            if (parameter.ndim > 1 if name is None else "weight" in name)
        }
        return [parameter.abs() + self._eta if id(parameter) in weights else None for parameter in parameters]


class ASAMSquared(SAM):
    """Adaptive SAM with T = |w| on every parameter, the form that most code follows."""

    def _scales(self, parameters: Sequence[Tensor]) -> list[Tensor | None]:
        return [parameter.abs() for parameter in parameters]


class RandomSAM(SAM):
    """SAM's control: a direction drawn from the sphere takes the place of the gradient's.

    Args:
        params: Parameters or parameter groups.
        base_optimizer: Builds the optimizer that descends, on `params`.
        rho: ρ, at least 0.
        seed: The direction is a function of it and of the number of steps taken.
    """

    def __init__(self, params: Any, base_optimizer: BaseOptimizer, rho: float = 0.05, seed: int = 0) -> None:
        super().__init__(params, base_optimizer, rho)
        self._settings.update({"seed": seed, "random_steps": 0})
        self._link()

    def _offsets(self, parameters: Sequence[Tensor], rho: float) -> list[Tensor]:
        drawn = normal_like(parameters, self.param_groups[0]["seed"], self.param_groups[0]["random_steps"])
        for group in self.param_groups:
            group["random_steps"] += 1
        length = rho / (global_norm(drawn) + _TINY)
        return [each * length for each in drawn]


def _base(name: str, hyperparameters: dict[str, Any]) -> BaseOptimizer:
    return named_base(name, hyperparameters, evaluates_once=True)


def sam(params: Any, rho: float = 0.05, base_optimizer: str = "sgd", batch_dims: int = 0, **base: Any) -> SAM:
    """SAM around a registered optimizer, whose hyperparameters are `base`."""
    if batch_dims != 0:
        if not base_info(base_optimizer, evaluates_once=True).batched:
            raise ValueError(f"batch_dims needs sgd as base optimizer, not {base_optimizer}")
        base["batch_dims"] = batch_dims
    return SAM(params, _base(base_optimizer, base), rho, batch_dims)


def sam_null(params: Any, base_optimizer: str = "sgd", batch_dims: int = 0, **base: Any) -> SAM:
    """SAM at ρ = 0: two evaluations at one point, and no ascent."""
    return sam(params, 0.0, base_optimizer, batch_dims, **base)


def sam_random(
    params: Any, rho: float = 0.05, base_optimizer: str = "sgd", seed: int = 0, **base: Any
) -> RandomSAM:
    """SAM in random directions around a registered optimizer, whose hyperparameters are `base`."""
    return RandomSAM(params, _base(base_optimizer, base), rho, seed)


def asam(params: Any, rho: float = 0.5, eta: float = 0.01, base_optimizer: str = "sgd", **base: Any) -> ASAM:
    """The authors' adaptive SAM around a registered optimizer, whose hyperparameters are `base`."""
    return ASAM(params, _base(base_optimizer, base), rho, eta)


def asam_w2(params: Any, rho: float = 2.0, base_optimizer: str = "sgd", **base: Any) -> ASAMSquared:
    """Adaptive SAM with T = |w| around a registered optimizer, whose hyperparameters are `base`."""
    return ASAMSquared(params, _base(base_optimizer, base), rho)


def register() -> None:
    """Register SAM, the two adaptive ones and the controls."""
    common: dict[str, Any] = {
        "gradient_evaluations": 2,
        "wraps": "base_optimizer",
        "parameter_copies": 1.0,
    }
    controls = ("sam-null", "sam-random")
    lr = {"lr": ("log", 1e-3, 1.0)}
    register_optimizer(
        OptimizerInfo(
            name="sam",
            factory=sam,
            description="descends by the gradient at the worst nearby point, to first order",
            reference="arXiv 2010.01412",
            search_space={**lr, "rho": ("log", 0.01, 1.0)},
            controls=controls,
            batched=True,
            reductions=(Reduction({"rho": 0.0}, "sgd"), Reduction({"rho": 0.0}, "sam-null")),
            **common,
        )
    )
    register_optimizer(
        OptimizerInfo(
            name="asam",
            named=True,
            factory=asam,
            description="adaptive SAM as its authors wrote it: scaled by |w| + η on weights alone",
            reference="arXiv 2102.11600",
            search_space={**lr, "rho": ("log", 0.1, 5.0)},
            controls=controls,
            reductions=(Reduction({"rho": 0.0}, "sgd"),),
            **common,
        )
    )
    register_optimizer(
        OptimizerInfo(
            name="asam-w2",
            factory=asam_w2,
            description="adaptive SAM with the scale |w| on every parameter",
            reference="arXiv 2102.11600",
            search_space={**lr, "rho": ("log", 0.1, 10.0)},
            controls=controls,
            reductions=(Reduction({"rho": 0.0}, "sgd"),),
            **common,
        )
    )
    register_optimizer(
        OptimizerInfo(
            name="sam-null",
            factory=sam_null,
            description="control: SAM without its ascent, at the same cost",
            reference="arXiv 2010.01412",
            search_space=lr,
            batched=True,
            reductions=(Reduction({}, "sgd"),),
            **common,
        )
    )
    register_optimizer(
        OptimizerInfo(
            name="sam-random",
            factory=sam_random,
            description="control: SAM in random directions, at the same cost",
            reference="arXiv 2010.01412",
            search_space={**lr, "rho": ("log", 0.01, 1.0)},
            randomized=True,
            reductions=(Reduction({"rho": 0.0}, "sgd"),),
            **common,
        )
    )
