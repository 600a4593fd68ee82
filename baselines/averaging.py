"""Averages of weights: stochastic weight averaging from torch, Lookahead from timm."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from timm.optim import Lookahead
from torch import Tensor
from torch.optim.swa_utils import get_swa_multi_avg_fn

from rbobench import OptimizerInfo, register_optimizer
from rbobench.optim.base_optimizer import BaseOptimizer, cost_of_base, named_base
from rbobench.optim.observed import observed
from rbobench.optim.tensors import Closure
from rbobench.optim.wrapper import OptimizerWrapper


class SWA(OptimizerWrapper):
    """Train with a base optimizer, and evaluate at the mean of the weights it visits late.

    The group key `progress`, the fraction of training that is done, says when the averaging starts. The
    runner writes it before every step; elsewhere it is 1, and averaging starts at once, unless the loop
    writes it.

    Args:
        params: Parameters or parameter groups.
        base_optimizer: Builds the optimizer that trains, on `params`.
        start: Where averaging starts, from 0 to 1.
        period: Steps from one average to the next, at least 1.

    Raises:
        ValueError: If a value is out of range.
    """

    def __init__(
        self,
        params: Any,
        base_optimizer: BaseOptimizer,
        start: float = 0.75,
        period: int = 1,
    ) -> None:
        if not 0.0 <= start <= 1.0:
            raise ValueError(f"start must be from 0 to 1, not {start}")
        if period < 1:
            raise ValueError(f"period must be at least 1, not {period}")
        settings = {
            "progress": 1.0,
            "swa_start": start,
            "swa_period": period,
            "swa_steps": 0,
            "swa_averaged": 0,
        }
        super().__init__(base_optimizer(params), settings)

    @observed
    def step(self, closure: Closure | None = None) -> Any:
        """Take a step of the base optimizer, and average where it is time.

        Returns:
            What the base optimizer returned.
        """
        with self._alone_hidden():
            loss = self.base.step(closure)
        for group in self.param_groups:
            if group["progress"] < group["swa_start"]:
                continue
            group["swa_steps"] += 1
            if group["swa_steps"] % group["swa_period"] == 0:
                self._average(group)
        return loss

    @contextmanager
    def evaluation_parameters(self) -> Iterator[None]:
        """Put the averages in the parameters' place inside the block, and restore the parameters by copy."""
        averaged = [
            parameter
            for group in self.param_groups
            for parameter in group["params"]
            if "swa_average" in self.state.get(parameter, {})
        ]
        with torch.no_grad():
            trained = [parameter.clone() for parameter in averaged]
            for parameter in averaged:
                parameter.copy_(self.state[parameter]["swa_average"])
        try:
            yield
        finally:
            with torch.no_grad():
                for parameter, weights in zip(averaged, trained, strict=True):
                    parameter.copy_(weights)

    @contextmanager
    def _alone_hidden(self) -> Iterator[None]:
        """Take averages out of the state where nothing of the base's is beside them.

        A parameter may get its first gradient late, and bases like Adam take an empty state for that.
        """
        alone = {
            parameter: state for parameter, state in self.state.items() if state.keys() == {"swa_average"}
        }
        for parameter in alone:
            del self.state[parameter]
        try:
            yield
        finally:
            for parameter, state in alone.items():
                self.state[parameter].update(state)

    def _average(self, group: dict[str, Any]) -> None:
        parameters: list[Tensor] = group["params"]
        if group["swa_averaged"] == 0:
            for parameter in parameters:
                self.state[parameter]["swa_average"] = parameter.clone()
        else:
            averages = [self.state[parameter]["swa_average"] for parameter in parameters]
            get_swa_multi_avg_fn()(averages, parameters, group["swa_averaged"])
        group["swa_averaged"] += 1


def swa(params: Any, start: float = 0.75, period: int = 1, base_optimizer: str = "sgd", **base: Any) -> SWA:
    """SWA around a registered optimizer, whose hyperparameters are `base`."""
    return SWA(params, named_base(base_optimizer, base), start, period)


def lookahead(
    params: Any, alpha: float = 0.5, period: int = 6, base_optimizer: str = "sgd", **base: Any
) -> Lookahead:
    """Lookahead, timm's, around a registered optimizer, whose hyperparameters are `base`.

    The slow weights are those of the first `period`-th step; before, there is nothing to look ahead from.
    """
    return Lookahead(named_base(base_optimizer, base)(params), alpha=alpha, k=period)


def register() -> None:
    """Register `swa` and `lookahead`."""
    lr = {"lr": ("log", 1e-3, 1.0)}
    register_optimizer(
        OptimizerInfo(
            name="swa",
            factory=swa,
            description="stochastic weight averaging over the last part of training",
            reference="arXiv 1803.05407",
            search_space={**lr, "start": [0.5, 0.75]},
            gradient_evaluations=cost_of_base,
            batch_norm="re-estimated",
            wraps="base_optimizer",
            parameter_copies=2.0,
        )
    )
    register_optimizer(
        OptimizerInfo(
            name="lookahead",
            factory=lookahead,
            description="slow weights that follow fast ones every few steps",
            reference="arXiv 1907.08610",
            search_space={**lr, "alpha": [0.5, 0.8], "period": [5, 10]},
            gradient_evaluations=cost_of_base,
            wraps="base_optimizer",
            parameter_copies=2.0,
            exceptions={
                "a_copy_goes_on_as_the_original": "torch copies an optimizer's own fields, and drops its base"
            },
        )
    )
