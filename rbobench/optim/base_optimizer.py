"""The optimizer inside another one, by its registered name."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import torch

from rbobench.errors import UsageError
from rbobench.registry import OptimizerInfo, get_optimizer

BaseOptimizer = Callable[[Any], torch.optim.Optimizer]
"""Builds the base optimizer on parameters."""


def base_info(name: str, *, evaluates_once: bool = False) -> OptimizerInfo:
    """What is declared about a base optimizer.

    Args:
        name: Registered name.
        evaluates_once: Whether the optimizer around it hands it gradients instead of the closure.

    Raises:
        UsageError: If the name is unknown, or what the optimizer declares would be lost inside another one.
    """
    info = get_optimizer(name)
    reason = ""
    if info.wraps is not None:
        reason = "it has a base itself, whose hyperparameters could not be told apart"
    elif info.resamples:
        reason = "every one of its evaluations needs a fresh batch"
    elif info.randomized:
        reason = "it needs a seed of its own"
    elif info.stopping is not None:
        reason = "it stops by a rule of its own"
    elif evaluates_once and info.gradient_evaluations != 1:
        reason = "it evaluates the loss itself, and here the gradient is given"
    if reason:
        raise UsageError(f"{info.name!r} cannot be a base optimizer: {reason}")
    return info


def named_base(
    name: str, hyperparameters: Mapping[str, Any], *, evaluates_once: bool = False
) -> BaseOptimizer:
    """Builds the registered optimizer `name` with `hyperparameters`; arguments and errors of `base_info`."""
    info = base_info(name, evaluates_once=evaluates_once)
    return lambda params: info.create(params, hyperparameters)


def cost_of_base(hyperparameters: Mapping[str, Any]) -> float:
    """Gradient evaluations of one step of the base, from resolved hyperparameters of what is around it."""
    return base_info(hyperparameters["base_optimizer"]).cost(hyperparameters)


def gradient_base(name: str, hyperparameters: Mapping[str, Any], batch_dims: int = 0) -> BaseOptimizer:
    """Builds a registered optimizer that is handed gradients, for a batch of problems if there is one.

    Raises:
        UsageError: As `base_info`.
        ValueError: If there is a batch of problems, and the base takes none.
    """
    if batch_dims == 0:
        return named_base(name, hyperparameters, evaluates_once=True)
    if not base_info(name, evaluates_once=True).batched:
        raise ValueError(f"batch_dims needs sgd as base optimizer, not {name}")
    return named_base(name, {**hyperparameters, "batch_dims": batch_dims}, evaluates_once=True)
