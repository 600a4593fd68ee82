"""Schedules: factors on a hyperparameter that depend on the fraction of the budget spent alone.

Never on a step count, so that methods with cheap and with dear steps can be compared at equal cost.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

from rbobench.errors import unknown

if TYPE_CHECKING:
    from torch.optim import Optimizer


def constant(fraction: float) -> float:
    """1 throughout."""
    return 1.0


def linear(fraction: float) -> float:
    """From 1 down to 0 in a straight line."""
    return 1.0 - fraction


def cosine(fraction: float) -> float:
    """From 1 down to 0 along half a cosine (arXiv 1608.03983, without restarts)."""
    return 0.5 * (1.0 + math.cos(math.pi * fraction))


SCHEDULES: dict[str, Callable[[float], float]] = {
    "constant": constant,
    "linear": linear,
    "cosine": cosine,
}


class Schedules:
    """Writes scheduled values into an optimizer's parameter groups.

    Where the groups have a key `progress`, the fraction itself is written there, for optimizers with a
    schedule of their own.

    Args:
        optimizer: Its groups' present values are the initial ones, which the factors multiply.
        schedules: Group key to the name of a schedule.

    Raises:
        UsageError: If no group has the key, or nobody knows the schedule.
    """

    def __init__(self, optimizer: Optimizer, schedules: Mapping[str, str]) -> None:
        self._entries = []
        for key, name in schedules.items():
            if name not in SCHEDULES:
                raise unknown("schedule", name, SCHEDULES)
            groups = [group for group in optimizer.param_groups if key in group]
            if not groups:
                keys = {key for group in optimizer.param_groups for key in group} - {"params"}
                raise unknown("group key", key, keys)
            self._entries += [(group, key, group[key], SCHEDULES[name]) for group in groups]
        self._progress = [group for group in optimizer.param_groups if "progress" in group]

    def apply(self, fraction: float) -> None:
        """Set every scheduled value for the step that starts at `fraction` of the budget."""
        for group, key, initial, schedule in self._entries:
            group[key] = initial * schedule(fraction)
        for group in self._progress:
            group["progress"] = fraction
