"""Sharpness-aware minimization (arXiv 2010.01412), its adaptive kin and their controls."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

from torch import Tensor

from baselines.perturbed_descent import TINY, PerturbedDescent
from rbobench import OptimizerInfo, register_optimizer
from rbobench.optim.base_optimizer import BaseOptimizer, gradient_base
from rbobench.optim.groups import check_range
from rbobench.optim.observed import observed
from rbobench.optim.perturbation import perturbed
from rbobench.optim.tensors import Closure, active, at_hand, evaluate, global_norm, require_closure, taken
from rbobench.randomness import normal_like
from rbobench.registry import Reduction


class SAM(PerturbedDescent):
    """Descend by the gradient at w + ρg/‖g‖ instead of the one at w.

    The weights are restored by copy before the base optimizer steps. The norm is one over all parameters, or
    one for each problem of a batch.

    Args:
        params: Parameters or parameter groups.
        base_optimizer: Builds the optimizer that descends, on `params`.
        rho: ρ, the radius of the ascent, at least 0; a number, or a tensor with one for each problem. The
            groups must agree on it.
        batch_dims: How many leading dimensions of every parameter number independent problems; needs
            `rbobench.optim.sgd.SGD` as base, with the same `batch_dims`.
        **settings: Of the kin, written into the groups.

    Raises:
        ValueError: If a value is out of range, or the base takes no such batch of problems.
    """

    keeps_gradients: ClassVar[bool] = False
    """Whether the gradients at w are still needed once the ascent is known."""

    looks_around: ClassVar[bool] = True
    """Whether the gradients at w serve the ascent alone, so that part of the batch may do for them."""

    def __init__(
        self,
        params: Any,
        base_optimizer: BaseOptimizer,
        rho: float | Tensor = 0.05,
        batch_dims: int = 0,
        **settings: Any,
    ) -> None:
        super().__init__(params, base_optimizer, {"rho": rho, **settings}, batch_dims)

    @observed
    def step(self, closure: Closure | None = None, contact_closure: Closure | None = None) -> Any:
        """Take one step, of two evaluations.

        Args:
            closure: Clears the gradients, evaluates the loss, calls backward and returns the loss.
            contact_closure: The same on a part of the same batch: the ascent then takes its gradient from it,
                and only the descent from `closure`, which is called once. Of rbobench's `Objective` that call
                is the one that moves BatchNorm statistics, so that they are those at w + e.

        Returns:
            The loss at w, detached; with a contact closure the one at w + e, for the loss at w is then not
            known on the whole batch.

        Raises:
            TypeError: If there is no closure.
            ValueError: If a setting is out of range, groups disagree, or a contact closure is of no use.
        """
        closure = require_closure(self, closure)
        if contact_closure is not None and not self.looks_around:
            raise ValueError(
                f"{type(self).__name__} descends by the gradient at w too; it takes no contact_closure"
            )
        settings = self._agreed()
        loss = evaluate(closure if contact_closure is None else contact_closure)
        parameters = active(self.param_groups)
        gradients = taken(parameters)
        if parameters:
            with perturbed(parameters, *self._ascent(parameters, gradients, settings), self._batch_dims):
                if not self.keeps_gradients:
                    gradients.clear()  # their memory is free while the closure evaluates
                there = evaluate(closure)
            if contact_closure is not None:
                loss = there
        self._descend(parameters, gradients, loss)
        return loss

    def _ascent(
        self, parameters: Sequence[Tensor], gradients: Sequence[Tensor], settings: Mapping[str, Any]
    ) -> tuple[list[Tensor], Tensor | float]:
        """The ascent e = ρT²g / ‖Tg‖, T being 1 but for the adaptive kin: T²g, and the factor of it."""
        scales = self._scales(parameters)
        if scales is None:
            return list(gradients), self._length(at_hand(global_norm(gradients, self._batch_dims)), settings)
        scaled = [
            gradient if scale is None else scale * gradient
            for scale, gradient in zip(scales, gradients, strict=True)
        ]
        length = self._length(at_hand(global_norm(scaled, self._batch_dims)), settings)
        directions = [
            each if scale is None else scale * each for scale, each in zip(scales, scaled, strict=True)
        ]
        return directions, length

    def _scales(self, parameters: Sequence[Tensor]) -> list[Tensor | None] | None:
        """T for each parameter; `None` for 1."""
        return None

    def _length(self, norm: Tensor | float, settings: Mapping[str, Any]) -> Tensor | float:
        """What the gradient is multiplied by, from its norm."""
        length: Tensor | float = settings["rho"] / (norm + TINY)
        return length

    def _descend(self, parameters: Sequence[Tensor], gradients: Sequence[Tensor], loss: Tensor) -> None:
        """Move `parameters`, which hold the gradients at w + e.

        Args:
            parameters: Those that had a gradient at w.
            gradients: Theirs at w, if `keeps_gradients`.
            loss: Tells which problems of a batch have diverged.
        """
        self._base_step(loss)


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
        super().__init__(params, base_optimizer, rho, seed=seed, random_steps=0)

    def _ascent(
        self, parameters: Sequence[Tensor], gradients: Sequence[Tensor], settings: Mapping[str, Any]
    ) -> tuple[list[Tensor], Tensor | float]:
        drawn = normal_like(parameters, settings["seed"], settings["random_steps"])
        for group in self.param_groups:
            group["random_steps"] += 1
        return drawn, self._factor(drawn, settings["rho"])


def sam(
    params: Any, rho: float | Tensor = 0.05, base_optimizer: str = "sgd", batch_dims: int = 0, **base: Any
) -> SAM:
    """SAM around a registered optimizer, whose hyperparameters are `base`."""
    return SAM(params, gradient_base(base_optimizer, base, batch_dims), rho, batch_dims)


def sam_null(params: Any, base_optimizer: str = "sgd", batch_dims: int = 0, **base: Any) -> SAM:
    """SAM at ρ = 0: two evaluations at one point, and no ascent."""
    return sam(params, 0.0, base_optimizer, batch_dims, **base)


def sam_random(
    params: Any, rho: float = 0.05, base_optimizer: str = "sgd", seed: int = 0, **base: Any
) -> RandomSAM:
    """SAM in random directions around a registered optimizer, whose hyperparameters are `base`."""
    return RandomSAM(params, gradient_base(base_optimizer, base), rho, seed)


def asam(params: Any, rho: float = 0.5, eta: float = 0.01, base_optimizer: str = "sgd", **base: Any) -> ASAM:
    """The authors' adaptive SAM around a registered optimizer, whose hyperparameters are `base`."""
    return ASAM(params, gradient_base(base_optimizer, base), rho, eta)


def asam_w2(params: Any, rho: float = 2.0, base_optimizer: str = "sgd", **base: Any) -> ASAMSquared:
    """Adaptive SAM with T = |w| around a registered optimizer, whose hyperparameters are `base`."""
    return ASAMSquared(params, gradient_base(base_optimizer, base), rho)


def register() -> None:
    """Register SAM, the two adaptive ones and the controls."""
    common: dict[str, Any] = {
        "gradient_evaluations": 2,
        "looks_around": True,
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
