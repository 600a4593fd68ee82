"""Descent by gradients that are taken away from the weights: what SAM and its kin have in common."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import torch
from torch import Tensor

from rbobench.optim.base_optimizer import BaseOptimizer
from rbobench.optim.center import TINY
from rbobench.optim.groups import check_agreement, check_range
from rbobench.optim.tensors import at_hand, global_norm, spread
from rbobench.optim.wrapper import OptimizerWrapper
from rbobench.randomness import normal_like


class PerturbedDescent(OptimizerWrapper):
    """A base optimizer with settings that are one for all parameters, the width of a perturbation among them.

    Args:
        params: Parameters or parameter groups.
        base_optimizer: Builds the optimizer that descends, on `params`.
        settings: Written into the groups.
        batch_dims: How many leading dimensions of every parameter number independent problems; needs
            `rbobench.optim.sgd.SGD` as base, with the same `batch_dims`.

    Raises:
        ValueError: If a setting is out of range or is the base's own too, or the base takes no such batch.
    """

    width: ClassVar[str] = "rho"
    """The group key of the width: at least 0; a number, or a tensor with one for each problem."""

    shared: ClassVar[tuple[str, ...]] = ("rho",)
    """Group keys on which the groups must agree."""

    def __init__(
        self, params: Any, base_optimizer: BaseOptimizer, settings: Mapping[str, Any], batch_dims: int = 0
    ) -> None:
        self._check(settings)
        super().__init__(base_optimizer(params), settings, batch_dims)
        for group in self.param_groups:
            self._check(group)
            check_range(group, self.width)
            if isinstance(group[self.width], Tensor) and group[self.width].ndim not in (0, batch_dims):
                raise ValueError(f"{self.width} is one for each problem, but batch_dims is {batch_dims}")

    def _check(self, settings: Mapping[str, Any]) -> None:
        """Refuse values out of range.

        Entries of tensors are looked at once, when built: at a step it would make the host wait.
        """
        if not isinstance(settings[self.width], Tensor):
            check_range(settings, self.width)

    def _agreed(self) -> dict[str, Any]:
        """The settings of this step, in range, on which all groups agree.

        Raises:
            ValueError: If they do not.
        """
        for group in self.param_groups:
            self._check(group)
            for name in self.shared:
                check_agreement(f"{type(self).__name__} has one {name}", (name,), self.param_groups[0], group)
        return self.param_groups[0]

    def _factor(self, directions: Sequence[Tensor], length: float | Tensor) -> Tensor | float:
        """What gives `directions` as one vector for each problem the length, to multiply them by."""
        factor: Tensor | float = length / (at_hand(global_norm(directions, self._batch_dims)) + TINY)
        return factor


def times(tensor: Tensor, value: float | Tensor, batch_dims: int) -> Tensor:
    """`tensor` times a number, or times one for each problem."""
    return tensor * (spread(value, tensor, batch_dims) if isinstance(value, Tensor) else value)


def normal_draws(
    parameters: Sequence[Tensor], seed: int | Sequence[int], *keys: int, batch_dims: int = 0
) -> list[Tensor]:
    """Standard normal tensors of the parameters' shapes, for each problem of a batch those it draws alone.

    Args:
        parameters: Of shapes `(*batch, ...)`.
        seed: One for all problems, which then share their draws; or, with one batch dimension, one for each.
        *keys: The draws are a function of them too: the steps taken, say.
        batch_dims: How many leading dimensions number the problems.

    Raises:
        ValueError: If there are several seeds, but not one for each problem.
    """
    if batch_dims == 0 and isinstance(seed, int):
        return normal_like(parameters, seed, *keys)
    alone = [parameter[(0,) * batch_dims] for parameter in parameters]
    if isinstance(seed, int):
        drawn = normal_like(alone, seed, *keys)
        return [each.expand_as(parameter) for each, parameter in zip(drawn, parameters, strict=True)]
    if batch_dims != 1 or any(len(seed) != len(parameter) for parameter in parameters):
        raise ValueError("several seeds need batch_dims = 1, and one for each problem")
    by_seed = {each: normal_like(alone, each, *keys) for each in seed}
    return [torch.stack([by_seed[each][index] for each in seed]) for index in range(len(parameters))]
