"""SAM's kin of one gradient a step, taken away from the weights: the perturbation costs no evaluation."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from typing import Any

from torch import Tensor

from baselines.perturbed_descent import PerturbedDescent, normal_draws
from rbobench import OptimizerInfo, register_optimizer
from rbobench.optim.base_optimizer import BaseOptimizer, gradient_base
from rbobench.optim.observed import observed
from rbobench.optim.perturbation import perturbed
from rbobench.optim.tensors import Closure, evaluate, require_closure
from rbobench.registry import Reduction

_LAST = "last_gradient"
"""The key in a parameter's state of the gradient that the last step descended by."""

_MOMENTA = ("momentum_buffer", "exp_avg")
"""Where bases keep their momentum: SGD and its kin, Adam and its."""


Offsets = tuple[list[Tensor], list[Tensor], Tensor | float]


class OneGradientSAM(PerturbedDescent, ABC):
    """Descend by the gradient at w + e, where e is known before anything is evaluated.

    BatchNorm statistics are those at w + e, the only point that is evaluated.

    Args:
        params: Parameters or parameter groups.
        base_optimizer: Builds the optimizer that descends, on `params`.
        rho: ρ, the length of e, at least 0; a number, or a tensor with one for each problem. The groups must
            agree on it.
        batch_dims: How many leading dimensions of every parameter number independent problems; needs
            `rbobench.optim.sgd.SGD` as base, with the same `batch_dims`.
        **settings: Of the kin, written into the groups.

    Raises:
        ValueError: If a value is out of range, or the base takes no such batch of problems.
    """

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
    def step(self, closure: Closure | None = None) -> Any:
        """Take one step, of one evaluation.

        Args:
            closure: Clears the gradients, evaluates the loss, calls backward and returns the loss.

        Returns:
            The loss at w + e, detached.

        Raises:
            TypeError: If there is no closure.
            ValueError: If ρ is out of range, or groups disagree on it.
        """
        closure = require_closure(self, closure)
        moved, directions, factor = self._offsets(self._agreed())
        around = perturbed(moved, directions, factor, self._batch_dims) if moved else nullcontext()
        del directions  # their memory is free while the closure evaluates
        with around:
            loss = evaluate(closure)
        self._base_step(loss)
        self._remember()
        return loss

    @abstractmethod
    def _offsets(self, settings: Mapping[str, Any]) -> Offsets:
        """The parameters that move, and e as directions and what they are multiplied by."""

    def _remember(self) -> None:
        """Keep what the next step needs, after the base's step: it may take an empty state for its first."""


class S2SAM(OneGradientSAM):
    """Single-step SAM (S²-SAM, NeurIPS 2024): e_t = ρ g_{t−1}/‖g_{t−1}‖ with the last perturbed gradient.

    g_t is the gradient at w_t + e_t, by which the base descends; e is 0 until there is one.
    """

    def _offsets(self, settings: Mapping[str, Any]) -> Offsets:
        moved = [each for each in self._parameters() if _LAST in self.state.get(each, {})]
        if not moved:
            return [], [], 0.0
        directions = [self.state[each][_LAST] for each in moved]
        return moved, directions, self._factor(directions, settings["rho"])

    def _remember(self) -> None:
        for parameter in self._parameters():
            if parameter.grad is not None:
                self.state[parameter][_LAST] = parameter.grad.clone()


class MomentumSAM(OneGradientSAM):
    """Momentum-SAM (arXiv 2401.12033, Algorithm 1): e_t = −ρ v/‖v‖ with the momentum v, the descent's side.

    v is what the base keeps: SGD's buffer v ← μv + g (weight decay included), or Adam's first moment. Where
    it keeps none, as SGD without momentum, v is the last gradient, which is that recursion at μ = 0; the
    paper has μ = 0.9. e is 0 until there is a momentum. Between steps the parameters are w, where the
    authors' code leaves them perturbed.
    """

    def _offsets(self, settings: Mapping[str, Any]) -> Offsets:
        known = {each: _momentum(self.state.get(each, {}), (*_MOMENTA, _LAST)) for each in self._parameters()}
        momenta = {each: momentum for each, momentum in known.items() if momentum is not None}
        if not momenta:
            return [], [], 0.0
        directions = list(momenta.values())
        return list(momenta), directions, self._factor(directions, -settings["rho"])

    def _remember(self) -> None:
        for parameter in self._parameters():
            if parameter.grad is not None:
                state = self.state[parameter]
                if _momentum(state, _MOMENTA) is None:
                    state[_LAST] = parameter.grad.clone()


class RandomWeightPerturbation(OneGradientSAM):
    """Descent on the loss at randomly perturbed weights (RWP, arXiv 2211.11489): e ~ N(0, ρ²/d · I).

    d is the number of weights, so that ‖e‖ is about ρ, as SAM's is. This is the plain, isotropic form. Left
    out are the paper's scale ‖w‖ for each filter, and its second gradient, at w, that is mixed in.

    Args:
        params: Parameters or parameter groups.
        base_optimizer: Builds the optimizer that descends, on `params`.
        rho: ρ, at least 0; a number, or a tensor with one for each problem.
        seed: The draws are a function of it and of the number of steps taken. The problems of a batch share
            their draws, as runs of one seed do, unless there is a sequence with a seed for each.
        batch_dims: As in `OneGradientSAM`.

    Raises:
        ValueError: If ρ is out of range, or the base takes no such batch of problems.
    """

    def __init__(
        self,
        params: Any,
        base_optimizer: BaseOptimizer,
        rho: float | Tensor = 0.05,
        seed: int | Sequence[int] = 0,
        batch_dims: int = 0,
    ) -> None:
        super().__init__(params, base_optimizer, rho, batch_dims, seed=seed, random_steps=0)

    def _offsets(self, settings: Mapping[str, Any]) -> Offsets:
        dims = self._batch_dims
        moved = [each for each in self._parameters() if each.requires_grad]
        if not moved:
            return [], [], 0.0
        drawn = normal_draws(moved, settings["seed"], settings["random_steps"], batch_dims=dims)
        for group in self.param_groups:
            group["random_steps"] += 1
        deviation = settings["rho"] / math.sqrt(sum(math.prod(each.shape[dims:]) for each in moved))
        return moved, drawn, deviation


def _momentum(state: Mapping[str, Any], names: Sequence[str]) -> Tensor | None:
    return next((state[name] for name in names if state.get(name) is not None), None)


def s2_sam(
    params: Any, rho: float | Tensor = 0.05, base_optimizer: str = "sgd", batch_dims: int = 0, **base: Any
) -> S2SAM:
    """S²-SAM around a registered optimizer, whose hyperparameters are `base`."""
    return S2SAM(params, gradient_base(base_optimizer, base, batch_dims), rho, batch_dims)


def momentum_sam(
    params: Any, rho: float | Tensor = 0.3, base_optimizer: str = "sgd", batch_dims: int = 0, **base: Any
) -> MomentumSAM:
    """Momentum-SAM around a registered optimizer, whose hyperparameters are `base`."""
    return MomentumSAM(params, gradient_base(base_optimizer, base, batch_dims), rho, batch_dims)


def rwp(
    params: Any,
    rho: float | Tensor = 0.05,
    base_optimizer: str = "sgd",
    seed: int | Sequence[int] = 0,
    batch_dims: int = 0,
    **base: Any,
) -> RandomWeightPerturbation:
    """RWP around a registered optimizer, whose hyperparameters are `base`."""
    return RandomWeightPerturbation(
        params, gradient_base(base_optimizer, base, batch_dims), rho, seed, batch_dims
    )


ELSEWHERE: Mapping[str, str] = {
    "returns_the_loss_at_the_start": "evaluates away from the weights alone, and returns that loss"
}
"""The check of the contract that one evaluation elsewhere must fail, and why."""


def register() -> None:
    """Register SAM's kin of one gradient."""
    common: dict[str, Any] = {
        "wraps": "base_optimizer",
        "controls": ("sgd",),
        "batched": True,
        "reductions": (Reduction({"rho": 0.0}, "sgd"),),
        "exceptions": ELSEWHERE,
    }
    lr = {"lr": ("log", 1e-3, 1.0)}
    register_optimizer(
        OptimizerInfo(
            name="s2-sam",
            factory=s2_sam,
            description="SAM that ascends along the last perturbed gradient, at one gradient a step",
            reference="S²-SAM, NeurIPS 2024",
            search_space={**lr, "rho": ("log", 0.01, 1.0)},
            parameter_copies=2.0,
            **common,
        )
    )
    register_optimizer(
        OptimizerInfo(
            name="momentum-sam",
            factory=momentum_sam,
            description="SAM that goes along the base's momentum, at one gradient a step",
            reference="arXiv 2401.12033",
            search_space={**lr, "rho": ("log", 0.03, 3.0)},
            parameter_copies=1.0,
            **common,
        )
    )
    register_optimizer(
        OptimizerInfo(
            name="rwp",
            factory=rwp,
            description="descends by the gradient at randomly perturbed weights",
            reference="arXiv 2211.11489",
            search_space={**lr, "rho": ("log", 0.01, 10.0)},
            randomized=True,
            parameter_copies=1.0,
            **common,
        )
    )
