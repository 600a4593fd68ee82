"""Schedules: factors on a group's value that depend on the fraction of the budget spent alone.

Never on a step count, so that methods with cheap and with dear steps can be compared at equal cost.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any

from rbobench.errors import UsageError, unknown
from rbobench.hyperparameters import coerce, resolve

if TYPE_CHECKING:
    from torch.optim import Optimizer

Factor = Callable[[float], float]
"""From the fraction spent, in [0, 1], to the factor."""

Spelling = str | Mapping[str, Any]
"""A schedule as users write it: `"cosine"`, or `{"name": "cosine", "final": 0.1}`."""


@dataclass(frozen=True)
class Range:
    """The range of an option: from 0, which may be left out, to `most`.

    Args:
        most: The end, included unless it is infinite.
        above: Whether 0 itself is out of range.
    """

    most: float = math.inf
    above: bool = False

    def __call__(self, what: str, value: Any) -> float:
        """The number that `value` is; the error for one out of range begins with `what`."""
        number: float = coerce(what, value, float)
        if number > self.most or number < 0 or (self.above and number == 0):
            raise UsageError(f"{what} must be {self}, not {value!r}")
        return number

    def __str__(self) -> str:
        least = "above 0" if self.above else "at least 0"
        return least if math.isinf(self.most) else f"{least} and at most {self.most:g}"


def constant() -> Factor:
    """1 throughout."""
    return lambda fraction: 1.0


def linear(final: Annotated[float, Range()] = 0.0) -> Factor:
    """From 1 to `final` in a straight line."""
    return lambda fraction: final + (1.0 - final) * (1.0 - fraction)


def cosine(final: Annotated[float, Range()] = 0.0) -> Factor:
    """From 1 to `final` along half a cosine (arXiv 1608.03983, without restarts)."""
    return lambda fraction: final + (1.0 - final) * (0.5 * (1.0 + math.cos(math.pi * fraction)))


def exponential(final: Annotated[float, Range(most=1.0, above=True)] = 0.01) -> Factor:
    """From 1 down to `final`, by equal ratios over equal parts of the budget."""
    return lambda fraction: final**fraction


def switch(at: Annotated[float, Range(most=1.0)] = 0.5, final: Annotated[float, Range()] = 0.1) -> Factor:
    """Explore, then exploit: 1 before the fraction `at`, `final` from there on."""
    return lambda fraction: 1.0 if fraction < at else final


SCHEDULES: dict[str, Callable[..., Factor]] = {
    schedule.__name__: schedule for schedule in (constant, linear, cosine, exponential, switch)
}


def canonical(spelling: Spelling) -> Spelling:
    """The one spelling of a schedule: its name where every option has its default, else name and all options.

    Raises:
        UsageError: If nobody knows the schedule or an option, or a value is out of range.
    """
    name, options = _resolved(spelling)
    return name if options == _resolved(name)[1] else {"name": name, **options}


def _resolved(spelling: Spelling) -> tuple[str, dict[str, float]]:
    if not isinstance(spelling, str | Mapping):
        raise UsageError(f"a schedule is a name, or a mapping of its name and options, not {spelling!r}")
    given: dict[str, Any] = {"name": spelling} if isinstance(spelling, str) else dict(spelling)
    if "name" not in given:
        raise UsageError(f"a schedule needs its name, one of {', '.join(SCHEDULES)}")
    name = given.pop("name")
    if not isinstance(name, str) or name not in SCHEDULES:
        raise unknown("schedule", str(name), SCHEDULES)
    return name, resolve(f"schedule {name!r}", SCHEDULES[name], given, kind="option")


class Schedules:
    """Writes scheduled values into an optimizer's parameter groups.

    Where the groups have a key `progress`, the fraction itself is written there, for optimizers with a
    schedule of their own.

    Args:
        optimizer: Its groups' present values are the initial ones, which the factors multiply: numbers, or
            tensors with one for each problem. Load a checkpoint afterwards, since its values are scheduled.
        schedules: Group key to a schedule: a name of `SCHEDULES`, or a mapping of its name and options.

    Raises:
        UsageError: If no group has the key, nobody knows the schedule or an option, or a value is out of
            range.

    Example:
        >>> schedules = Schedules(optimizer, {"radius": {"name": "switch", "at": 0.3}})  # doctest: +SKIP
        >>> for step in range(steps):  # doctest: +SKIP
        ...     schedules.apply(step / steps)
        ...     optimizer.step(closure)
    """

    def __init__(self, optimizer: Optimizer, schedules: Mapping[str, Spelling]) -> None:
        self._optimizer = optimizer
        self._entries: list[tuple[str, Factor, Any, list[int]]] = []
        groups = optimizer.param_groups
        for key, spelling in schedules.items():
            name, options = _resolved(spelling)
            # Groups that hold one tensor go on holding one: RBO's groups must agree on it.
            holders: dict[int, list[int]] = {}
            for index, group in enumerate(groups):
                if key in group:
                    holders.setdefault(id(group[key]), []).append(index)
            if not holders:
                raise unknown("group key", key, {key for group in groups for key in group} - {"params"})
            factor = SCHEDULES[name](**options)
            self._entries += [(key, factor, groups[indices[0]][key], indices) for indices in holders.values()]

    def apply(self, fraction: float) -> None:
        """Set every scheduled value for the step that starts at `fraction` of the budget.

        Raises:
            UsageError: If `fraction` is not in [0, 1].
        """
        if not 0.0 <= fraction <= 1.0:
            raise UsageError(f"the fraction of the budget spent must be in [0, 1], not {fraction}")
        groups = self._optimizer.param_groups  # anew, since loading a checkpoint replaces them
        for key, factor, initial, indices in self._entries:
            value = initial * factor(fraction)
            for index in indices:
                groups[index][key] = value
        for group in groups:
            if "progress" in group:
                group["progress"] = fraction
