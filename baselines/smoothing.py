"""Descent on the loss smoothed by a Gaussian, whose width is to shrink: Gaussian continuation."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import torch
from torch import Tensor

from baselines.one_gradient_sam import ELSEWHERE
from baselines.perturbed_descent import PerturbedDescent, normal_draws
from rbobench import OptimizerInfo, register_optimizer
from rbobench.optim.base_optimizer import BaseOptimizer, gradient_base
from rbobench.optim.observed import observed
from rbobench.optim.perturbation import perturbed
from rbobench.optim.tensors import Closure, evaluate, require_closure
from rbobench.registry import Reduction


class GaussianSmoothing(PerturbedDescent):
    """Descend by an estimate of the gradient of f_σ(w) = E f(w + σu), u ~ N(0, I).

    ∇f_σ(w) = E ∇f(w + σu) is estimated by the mean of `samples` gradients at w + σu and w − σu in turn
    (antithetic, so that a linear ∇f is estimated exactly), each of a fresh pair's u: `samples` evaluations a
    step. From wide to narrow this is Gaussian continuation (Mobahi and Fisher, AAAI 2015; arXiv 1103.4296 for
    randomized smoothing at one width): have σ shrink by a schedule of the group key `sigma`, say
    `{"sigma": "linear"}`.

    BatchNorm statistics are those at the first of the points that are evaluated.

    Args:
        params: Parameters or parameter groups.
        base_optimizer: Builds the optimizer that descends, on `params`.
        sigma: σ, the standard deviation in every coordinate, at least 0; a number, or a tensor with one for
            each problem. The groups must agree on it. 0 takes the smoothing out.
        samples: Gradients a step, at least 1; an odd last one has no mirror image.
        seed: The draws are a function of it and of the number of steps taken. The problems of a batch share
            their draws, as runs of one seed do, unless there is a sequence with a seed for each.
        batch_dims: How many leading dimensions of every parameter number independent problems; needs
            `rbobench.optim.sgd.SGD` as base, with the same `batch_dims`.

    Raises:
        ValueError: If a value is out of range, or the base takes no such batch of problems.
    """

    width: ClassVar[str] = "sigma"
    shared: ClassVar[tuple[str, ...]] = ("sigma", "samples")

    def __init__(
        self,
        params: Any,
        base_optimizer: BaseOptimizer,
        sigma: float | Tensor = 0.1,
        samples: int = 2,
        seed: int | Sequence[int] = 0,
        batch_dims: int = 0,
    ) -> None:
        settings = {"sigma": sigma, "samples": samples, "seed": seed, "random_steps": 0}
        super().__init__(params, base_optimizer, settings, batch_dims)

    def _check(self, settings: Mapping[str, Any]) -> None:
        super()._check(settings)
        samples = settings["samples"]
        if samples < 1 or samples != int(samples):
            raise ValueError(f"samples must be a whole number from 1, not {samples}")

    @observed
    def step(self, closure: Closure | None = None) -> Any:
        """Take one step, of `samples` evaluations.

        Args:
            closure: Clears the gradients, evaluates the loss, calls backward and returns the loss.

        Returns:
            The mean of the losses at the points that were evaluated, detached: an estimate of f_σ(w).

        Raises:
            TypeError: If there is no closure.
            ValueError: If a setting is out of range, or groups disagree.
        """
        closure = require_closure(self, closure)
        settings, dims = self._agreed(), self._batch_dims
        parameters = [each for group in self.param_groups for each in group["params"] if each.requires_grad]
        means: dict[Tensor, Tensor] = {}
        loss = torch.zeros(())
        for sample in range(settings["samples"]):
            pair, mirrored = divmod(sample, 2)
            if not mirrored:
                drawn = normal_draws(
                    parameters, settings["seed"], settings["random_steps"], pair, batch_dims=dims
                )
            width = -settings["sigma"] if mirrored else settings["sigma"]
            with perturbed(parameters, drawn, width, dims):
                there = evaluate(closure)
            # Running means, so that equal gradients have exactly that mean.
            loss = there if sample == 0 else loss + (there - loss) / (sample + 1)
            for parameter in parameters:
                if parameter.grad is None:
                    continue
                gradient, parameter.grad = parameter.grad, None
                if sample == 0:
                    means[parameter] = gradient
                else:
                    mean = means.get(parameter, torch.zeros_like(gradient))
                    means[parameter] = mean + (gradient - mean) / (sample + 1)
        for parameter, mean in means.items():
            parameter.grad = mean
        for group in self.param_groups:
            group["random_steps"] += 1
        self._base_step(loss)
        return loss


def gaussian_smoothing(
    params: Any,
    sigma: float | Tensor = 0.1,
    samples: int = 2,
    base_optimizer: str = "sgd",
    seed: int | Sequence[int] = 0,
    batch_dims: int = 0,
    **base: Any,
) -> GaussianSmoothing:
    """Gaussian smoothing around a registered optimizer, whose hyperparameters are `base`."""
    return GaussianSmoothing(
        params, gradient_base(base_optimizer, base, batch_dims), sigma, samples, seed, batch_dims
    )


def register() -> None:
    """Register Gaussian smoothing."""
    register_optimizer(
        OptimizerInfo(
            name="gaussian-smoothing",
            factory=gaussian_smoothing,
            description="descends on the loss smoothed by a Gaussian, for a width that shrinks",
            reference="Mobahi and Fisher, AAAI 2015",
            gradient_evaluations=lambda hyperparameters: hyperparameters["samples"],
            search_space={"lr": ("log", 1e-3, 1.0), "sigma": ("log", 0.01, 1.0), "samples": [2, 8]},
            wraps="base_optimizer",
            controls=("sgd-short",),
            batched=True,
            randomized=True,
            parameter_copies=1.0,
            reductions=(Reduction({"sigma": 0.0}, "sgd"),),
            exceptions=ELSEWHERE,
        )
    )
