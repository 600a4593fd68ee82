"""What a trial may spend, in gradient evaluations, epochs or seconds."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from rbobench.errors import UsageError

if TYPE_CHECKING:
    from rbobench.runner.clock import Clock
    from rbobench.tasks.task import Problem

Unit = Literal["gradient_evaluations", "epochs", "seconds"]

_ROUNDING = 1.0 + 1e-9  # 49 · (1/49) < 1 in floating point


@dataclass
class Budget:
    """A limit and what has been spent of it.

    Args:
        unit: What is counted. An epoch is as many samples drawn as the training data have.
        limit: Of the whole budget, in `unit`.
        share: The part of it that may be spent, in (0, 1].
        spent: So far, in `unit`.
    """

    unit: Unit
    limit: float
    share: float = 1.0
    spent: float = 0.0

    def fits(self, cost: float) -> bool:
        """Whether a step of this cost may still start."""
        if self.unit == "seconds":
            # What a step will take is not known: the one during which the time runs out is the last.
            return self.spent < self.share * self.limit
        return self.spent + cost <= self.share * self.limit * _ROUNDING

    def fraction(self) -> float:
        """The part that is spent of what may be spent, in [0, 1]: where schedules stand."""
        return min(1.0, self.spent / (self.share * self.limit))

    @property
    def unspent(self) -> float:
        """What is left of the whole budget."""
        return max(0.0, self.limit - self.spent)


def fitting_steps(limit: float, share: float, cost: float) -> int:
    """How many steps of equal cost fit into a share of a limit."""
    return math.floor(share * limit * _ROUNDING / cost)


def step_cost(unit: Unit, problem: Problem, gradient_evaluations: float, resamples: bool) -> float:
    """The declared cost of one step in `unit`; 0 for seconds, where it is not known.

    Args:
        unit: What is counted.
        problem: Says how many samples a batch and an epoch have.
        gradient_evaluations: Of one step.
        resamples: Whether each of them draws a batch of its own.

    Raises:
        UsageError: If epochs are counted and the task has none.
    """
    if unit == "gradient_evaluations":
        return gradient_evaluations
    if unit == "seconds":
        return 0.0
    batches = gradient_evaluations if resamples else 1
    return batches * problem.samples_per_batch / _samples_per_epoch(problem)


def spent(unit: Unit, problem: Problem, clock: Clock) -> float:
    """What training has spent so far, in `unit`."""
    if unit == "gradient_evaluations":
        return problem.objective.gradient_evaluations
    if unit == "epochs":
        return problem.objective.samples_drawn / _samples_per_epoch(problem)
    return clock.elapsed("training")


def _samples_per_epoch(problem: Problem) -> int:
    if problem.samples_per_epoch is None:
        raise UsageError("an epoch budget needs a task with data; give gradient_evaluations or seconds")
    return problem.samples_per_epoch
