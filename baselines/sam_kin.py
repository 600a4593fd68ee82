"""SAM's kin of two gradients a step: other ascents, or other uses of the two gradients."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import torch
from torch import Tensor

from baselines.perturbed_descent import times
from baselines.sam import SAM
from rbobench import OptimizerInfo, register_optimizer
from rbobench.optim.base_optimizer import BaseOptimizer, gradient_base
from rbobench.optim.groups import check_range
from rbobench.optim.tensors import freeze_diverged, inner_product
from rbobench.registry import Reduction

_MOMENTUM = "friendly_momentum"
"""The key of the moving average in a parameter's state."""


class UnifiedSAM(SAM):
    """SAM and its unnormalized form as the two ends of one method (arXiv 2503.02225, Algorithm 1).

    The ascent is e = ρ(1 − α + α/‖g‖)g: α = 1 is SAM, α = 0 the unnormalized e = ρg. (The paper writes λ.)

    Args:
        params: Parameters or parameter groups.
        base_optimizer: Builds the optimizer that descends, on `params`.
        rho: ρ, as in `SAM`.
        alpha: α, from 0 to 1.
        batch_dims: As in `SAM`.

    Raises:
        ValueError: If a value is out of range, or the base takes no such batch of problems.
    """

    shared: ClassVar[tuple[str, ...]] = ("rho", "alpha")

    def __init__(
        self,
        params: Any,
        base_optimizer: BaseOptimizer,
        rho: float | Tensor = 0.05,
        alpha: float = 0.5,
        batch_dims: int = 0,
    ) -> None:
        super().__init__(params, base_optimizer, rho, batch_dims, alpha=alpha)

    def _check(self, settings: Mapping[str, Any]) -> None:
        super()._check(settings)
        if not 0.0 <= settings["alpha"] <= 1.0:
            raise ValueError(f"alpha must be from 0 to 1, not {settings['alpha']}")

    def _length(self, norm: Tensor | float, settings: Mapping[str, Any]) -> Tensor | float:
        alpha: float = settings["alpha"]
        return settings["rho"] * (1.0 - alpha) + alpha * super()._length(norm, settings)


class GSAM(SAM):
    """Surrogate gap guided SAM (arXiv 2203.08065, Algorithm 1).

    With g the gradient at w and p the one at w + ρg/‖g‖, the base descends by p − α g⊥, where
    g⊥ = g − (⟨g, p⟩/‖p‖²)p is what is orthogonal to p in g: up along it, the surrogate gap between the two
    losses shrinks while the perturbed one stays as it is, to first order. α = 0 is SAM.

    The paper also lets ρ fall with the learning rate, ρ_t = ρ_min + (ρ_max − ρ_min)(lr_t − lr_min)/(lr_max −
    lr_min). That is left out: give ρ and the learning rate one schedule instead.

    Args:
        params: Parameters or parameter groups.
        base_optimizer: Builds the optimizer that descends, on `params`.
        rho: ρ, as in `SAM`.
        alpha: α, at least 0.
        batch_dims: As in `SAM`.

    Raises:
        ValueError: If a value is out of range, or the base takes no such batch of problems.
    """

    shared: ClassVar[tuple[str, ...]] = ("rho", "alpha")
    keeps_gradients: ClassVar[bool] = True
    looks_around: ClassVar[bool] = False

    def __init__(
        self,
        params: Any,
        base_optimizer: BaseOptimizer,
        rho: float | Tensor = 0.05,
        alpha: float = 0.4,
        batch_dims: int = 0,
    ) -> None:
        super().__init__(params, base_optimizer, rho, batch_dims, alpha=alpha)

    def _check(self, settings: Mapping[str, Any]) -> None:
        super()._check(settings)
        check_range(settings, "alpha")

    def _descend(self, parameters: Sequence[Tensor], gradients: Sequence[Tensor], loss: Tensor) -> None:
        moved, at_start, perturbed = _both(parameters, gradients)
        if moved:
            dims, alpha = self._batch_dims, self.param_groups[0]["alpha"]
            squared = inner_product(perturbed, perturbed, dims)
            # The ratio is exactly 1 where the two gradients are one, and nothing is orthogonal then.
            along = torch.where(squared > 0.0, inner_product(at_start, perturbed, dims) / squared, 1.0)
            for parameter, gradient, there in zip(moved, at_start, perturbed, strict=True):
                parameter.grad = there - alpha * (gradient - times(there, along, dims))
        super()._descend(parameters, gradients, loss)


class WSAM(SAM):
    """Sharpness as a weighted regularizer, decoupled from the base's step (arXiv 2305.15817, Algorithm 1).

    The loss is L + γ/(1−γ) · (L(w+e) − L(w)) with SAM's ascent e. The base steps by the gradient g at w, its
    momentum included; then w ← w − lr · γ/(1−γ) · (p − g), with p the gradient at w + e, and nothing of that
    enters the base's state. γ = 0 is the base; γ = ½ weighs the two as SAM does, and around SGD without
    momentum it is SAM, but for rounding; beyond ½ sharpness weighs more.

    Args:
        params: Parameters or parameter groups.
        base_optimizer: Builds the optimizer that descends, on `params`.
        rho: ρ, as in `SAM`.
        gamma: γ, from 0 to below 1.
        batch_dims: As in `SAM`.

    Raises:
        ValueError: If a value is out of range, or the base takes no such batch of problems.
    """

    shared: ClassVar[tuple[str, ...]] = ("rho", "gamma")
    keeps_gradients: ClassVar[bool] = True
    looks_around: ClassVar[bool] = False

    def __init__(
        self,
        params: Any,
        base_optimizer: BaseOptimizer,
        rho: float | Tensor = 0.05,
        gamma: float = 0.9,
        batch_dims: int = 0,
    ) -> None:
        super().__init__(params, base_optimizer, rho, batch_dims, gamma=gamma)

    def _check(self, settings: Mapping[str, Any]) -> None:
        super()._check(settings)
        if not 0.0 <= settings["gamma"] < 1.0:
            raise ValueError(f"gamma must be at least 0 and below 1, not {settings['gamma']}")

    def _descend(self, parameters: Sequence[Tensor], gradients: Sequence[Tensor], loss: Tensor) -> None:
        moved, at_start, perturbed = _both(parameters, gradients)
        dims, before = self._batch_dims, [each.clone() for each in moved] if self._batch_dims else []
        sharpness = {}
        for parameter, gradient, there in zip(moved, at_start, perturbed, strict=True):
            sharpness[parameter] = there - gradient
            parameter.grad = gradient
        super()._descend(parameters, gradients, loss)
        for group in self.param_groups:
            factor = group["lr"] * (group["gamma"] / (1.0 - group["gamma"]))
            for parameter in group["params"]:
                if parameter in sharpness:
                    parameter.sub_(times(sharpness[parameter], factor, dims))
        if before:
            freeze_diverged(moved, before, loss, dims)


class FriendlySAM(SAM):
    """SAM without what its ascent has in common with the batches before (arXiv 2403.12350, Algorithm 1).

    The ascent goes along d = g − σm instead of g, with the moving average m ← λm + (1−λ)g of gradients at w,
    which estimates the whole data's gradient; what is left is the batch's own. σ = 0 is SAM. The average
    begins as the first gradient, and the first ascent goes along it, as in the authors' code. (That code
    subtracts the average of before, d = g − σm_{t−1}. At σ = 1, the value of the paper's experiments, the two
    directions are one.)

    Args:
        params: Parameters or parameter groups.
        base_optimizer: Builds the optimizer that descends, on `params`.
        rho: ρ, as in `SAM`.
        sigma: σ, at least 0.
        decay: λ, from 0 to below 1; above 0 if σ is 1, or there is no ascent.
        batch_dims: As in `SAM`.

    Raises:
        ValueError: If a value is out of range, or the base takes no such batch of problems.
    """

    shared: ClassVar[tuple[str, ...]] = ("rho", "sigma", "decay")
    keeps_gradients: ClassVar[bool] = True

    def __init__(
        self,
        params: Any,
        base_optimizer: BaseOptimizer,
        rho: float | Tensor = 0.05,
        sigma: float = 1.0,
        decay: float = 0.9,
        batch_dims: int = 0,
    ) -> None:
        super().__init__(params, base_optimizer, rho, batch_dims, sigma=sigma, decay=decay)

    def _check(self, settings: Mapping[str, Any]) -> None:
        super()._check(settings)
        check_range(settings, "sigma")
        if not 0.0 <= settings["decay"] < 1.0:
            raise ValueError(f"decay must be at least 0 and below 1, not {settings['decay']}")

    def _ascent(
        self, parameters: Sequence[Tensor], gradients: Sequence[Tensor], settings: Mapping[str, Any]
    ) -> tuple[list[Tensor], Tensor | float]:
        sigma, decay = settings["sigma"], settings["decay"]
        directions = []
        for parameter, gradient in zip(parameters, gradients, strict=True):
            before = self.state.get(parameter, {}).get(_MOMENTUM)
            if before is None:
                directions.append(gradient)
            else:
                directions.append(gradient - sigma * torch.lerp(gradient, before, decay))
        return super()._ascent(parameters, directions, settings)

    def _descend(self, parameters: Sequence[Tensor], gradients: Sequence[Tensor], loss: Tensor) -> None:
        super()._descend(parameters, gradients, loss)
        decay = self.param_groups[0]["decay"]
        for parameter, gradient, _ in zip(*_both(parameters, gradients), strict=True):
            state = self.state[parameter]
            if _MOMENTUM in state:
                state[_MOMENTUM].lerp_(gradient, 1.0 - decay)
            else:
                state[_MOMENTUM] = gradient.clone()


def _both(
    parameters: Sequence[Tensor], gradients: Sequence[Tensor]
) -> tuple[list[Tensor], list[Tensor], list[Tensor]]:
    """The parameters that have a gradient at w + e too, with those at w and at w + e."""
    moved, at_start, perturbed = [], [], []
    for parameter, gradient in zip(parameters, gradients, strict=True):
        if parameter.grad is not None:
            moved.append(parameter)
            at_start.append(gradient)
            perturbed.append(parameter.grad)
    return moved, at_start, perturbed


def unified_sam(
    params: Any,
    rho: float | Tensor = 0.05,
    alpha: float = 0.5,
    base_optimizer: str = "sgd",
    batch_dims: int = 0,
    **base: Any,
) -> UnifiedSAM:
    """Unified SAM around a registered optimizer, whose hyperparameters are `base`."""
    return UnifiedSAM(params, gradient_base(base_optimizer, base, batch_dims), rho, alpha, batch_dims)


def gsam(
    params: Any,
    rho: float | Tensor = 0.05,
    alpha: float = 0.4,
    base_optimizer: str = "sgd",
    batch_dims: int = 0,
    **base: Any,
) -> GSAM:
    """GSAM around a registered optimizer, whose hyperparameters are `base`."""
    return GSAM(params, gradient_base(base_optimizer, base, batch_dims), rho, alpha, batch_dims)


def wsam(
    params: Any,
    rho: float | Tensor = 0.05,
    gamma: float = 0.9,
    base_optimizer: str = "sgd",
    batch_dims: int = 0,
    **base: Any,
) -> WSAM:
    """WSAM around a registered optimizer, whose hyperparameters are `base`."""
    return WSAM(params, gradient_base(base_optimizer, base, batch_dims), rho, gamma, batch_dims)


def friendly_sam(
    params: Any,
    rho: float | Tensor = 0.05,
    sigma: float = 1.0,
    decay: float = 0.9,
    base_optimizer: str = "sgd",
    batch_dims: int = 0,
    **base: Any,
) -> FriendlySAM:
    """Friendly SAM around a registered optimizer, whose hyperparameters are `base`."""
    return FriendlySAM(params, gradient_base(base_optimizer, base, batch_dims), rho, sigma, decay, batch_dims)


def register() -> None:
    """Register SAM's kin of two gradients."""
    common: dict[str, Any] = {
        "gradient_evaluations": 2,
        "wraps": "base_optimizer",
        "controls": ("sam-null", "sam-random"),
        "batched": True,
    }
    space = {"lr": ("log", 1e-3, 1.0), "rho": ("log", 0.01, 1.0)}
    nothing = Reduction({"rho": 0.0}, "sgd")
    register_optimizer(
        OptimizerInfo(
            name="unified-sam",
            factory=unified_sam,
            description="between SAM and its unnormalized form",
            reference="arXiv 2503.02225",
            looks_around=True,
            search_space={**space, "alpha": [0.0, 0.5, 1.0]},
            parameter_copies=1.0,
            reductions=(nothing, Reduction({"alpha": 1.0}, "sam")),
            **common,
        )
    )
    register_optimizer(
        OptimizerInfo(
            name="gsam",
            factory=gsam,
            description="SAM that also shrinks the gap between the perturbed loss and the loss",
            reference="arXiv 2203.08065",
            search_space={**space, "alpha": [0.1, 0.2, 0.4]},
            parameter_copies=1.0,
            reductions=(nothing, Reduction({"alpha": 0.0}, "sam")),
            **common,
        )
    )
    register_optimizer(
        OptimizerInfo(
            name="wsam",
            factory=wsam,
            description="sharpness as a weighted regularizer, apart from the base's step",
            reference="arXiv 2305.15817",
            search_space={**space, "gamma": [0.5, 0.8, 0.9, 0.95]},
            parameter_copies=1.0,
            reductions=(nothing, Reduction({"gamma": 0.0}, "sgd")),
            **common,
        )
    )
    register_optimizer(
        OptimizerInfo(
            name="friendly-sam",
            factory=friendly_sam,
            description="SAM along the part of the gradient that is the batch's own",
            reference="arXiv 2403.12350",
            looks_around=True,
            search_space={**space, "decay": [0.6, 0.9, 0.95]},
            parameter_copies=2.0,
            reductions=(nothing, Reduction({"sigma": 0.0}, "sam")),
            **common,
        )
    )
