"""A trial: everything that decides its result, and the key made from it."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

from rbobench.optim.schedule import Spelling
from rbobench.runner.budget import Unit, fitting_steps
from rbobench.tasks.datasets import FOLDER

PROTOCOL = 1
"""Raised when the meaning of a trial changes, so that old records are not taken for new ones."""


@dataclass(frozen=True)
class Trial:
    """What decides a trial's result: resolved, so that two ways of writing one trial are equal.

    Args:
        task: Registered name.
        options: The task's options, resolved.
        optimizer: Registered name.
        hyperparameters: The optimizer's, resolved.
        budget: One of `gradient_evaluations`, `epochs` and `seconds`, with its limit.
        seed: Of all random streams.
        schedules: Group key to schedule in its canonical spelling, for the keys that the optimizer has and
            that do not stay constant.
        evaluations: Points on the curves.
        numerics: `precision`, `channels_last`, `compile`, `threads`.
        data: Digest of the data's content; `None` until it is known, and for tasks without data.
    """

    task: str
    options: Mapping[str, Any]
    optimizer: str
    hyperparameters: Mapping[str, Any]
    budget: Mapping[Unit, float]
    seed: int
    schedules: Mapping[str, Spelling] = field(default_factory=dict)
    evaluations: int = 20
    numerics: Mapping[str, Any] = field(default_factory=dict)
    data: str | None = None

    def as_dict(self) -> dict[str, Any]:
        """The trial as a record holds it: JSON-able, the protocol's version included."""
        content: dict[str, Any] = plain(
            {
                "protocol": PROTOCOL,
                "task": {"name": self._task_name, "options": self.options, "data": self.data},
                "optimizer": {"name": self.optimizer, "hyperparameters": self.hyperparameters},
                "budget": self.budget,
                "schedules": self.schedules,
                "evaluations": self.evaluations,
                "numerics": self.numerics,
                "seed": self.seed,
            }
        )
        return content

    @property
    def _task_name(self) -> str:
        """The task's name; of an image folder not the place, once its digest tells which it is."""
        return FOLDER if self.task.startswith(FOLDER) and self.data is not None else self.task

    @cached_property
    def key(self) -> str:
        """SHA-256 over the canonical JSON of the trial, in hexadecimal."""
        return digest(self.as_dict())


@dataclass(frozen=True)
class PlannedTrial:
    """A trial, and what a suite says about it that does not decide its result.

    Args:
        trial: The trial.
        task_label: The task's name in the suite.
        optimizer_label: The optimizer's name in the suite.
        controls: Registered names of the optimizer's controls.
        step_cost: Gradient evaluations of one step.
        budget_share: The part of the budget that the optimizer may spend.
        ladder: The task's name in the suite without the rung; `None` where budgets have no ladder.
        rung: The budget as a multiple of the one that the suite states.
    """

    trial: Trial
    task_label: str
    optimizer_label: str
    controls: tuple[str, ...] = ()
    step_cost: float = 1
    budget_share: float = 1.0
    ladder: str | None = None
    rung: float = 1.0

    @property
    def name(self) -> str:
        """`task/optimizer/seed`, by the suite's labels."""
        return f"{self.task_label}/{self.optimizer_label}/{self.trial.seed}"

    @property
    def labels(self) -> dict[str, Any]:
        """The labels as a record holds them, and the task's name: of an image folder the trial has none."""
        labels = {
            "task": self.task_label,
            "optimizer": self.optimizer_label,
            "controls": list(self.controls),
            "task_name": self.trial.task,
        }
        return labels if self.ladder is None else {**labels, "ladder": self.ladder, "rung": self.rung}

    @property
    def gradient_evaluations(self) -> float | None:
        """What the trial will cost in gradient evaluations; `None` where only running it can tell."""
        limit = self.trial.budget.get("gradient_evaluations")
        if limit is None:
            return None
        return fitting_steps(limit, self.budget_share, self.step_cost) * self.step_cost


def plain(value: Any) -> Any:
    """`value` in JSON's own types: tuples as lists, paths as text, infinities as `"inf"` and `"-inf"`.

    Raises:
        ValueError: If there is a NaN, which equals nothing and so can be part of no key.
        TypeError: If JSON cannot hold it.
    """
    if isinstance(value, Mapping):
        return {str(name): plain(entry) for name, entry in value.items()}
    if isinstance(value, list | tuple):
        return [plain(entry) for entry in value]
    if isinstance(value, Path):
        return str(value)
    if isinstance(value, float):
        if math.isnan(value):
            raise ValueError("a NaN cannot be part of a trial")
        return str(value) if math.isinf(value) else value + 0.0  # -0.0 becomes 0.0
    if value is None or isinstance(value, bool | int | str):
        return value
    raise TypeError(f"{type(value).__name__} cannot be part of a trial")


def canonical_json(value: Any) -> str:
    """JSON with one spelling for each value: sorted keys, no spaces, shortest floats that read back equal."""
    return json.dumps(plain(value), sort_keys=True, separators=(",", ":"), allow_nan=False)


def digest(value: Any) -> str:
    """SHA-256 of the canonical JSON, in hexadecimal."""
    return hashlib.sha256(canonical_json(value).encode()).hexdigest()
