"""From a suite to its trials: names looked up, hyperparameters resolved, values tried out."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Callable, Iterable, Mapping
from typing import Any, Protocol

import torch
from torch.optim import Optimizer

from rbobench.errors import UsageError, unknown
from rbobench.optim.schedule import Spelling, canonical
from rbobench.registry import OptimizerInfo, StoppingRule, TaskInfo, get_optimizer, get_task
from rbobench.runner.budget import fitting_steps
from rbobench.runner.schema import Budget, Suite, TaskEntry
from rbobench.runner.trial import PlannedTrial, Trial, canonical_json

Place = tuple[str | int, ...]


class ErrorAt(Protocol):
    """Makes the error for a place in a suite; a file adds its name, line and column."""

    def __call__(self, place: Place, message: str, *, at_key: bool = False) -> UsageError:
        """The error to raise."""
        ...


def plain_error(place: Place, message: str, *, at_key: bool = False) -> UsageError:
    """The error for a suite that was not read from a file."""
    return UsageError(f"{'.'.join(map(str, place))}: {message}")


def expand(suite: Suite, seeds: Iterable[int], error_at: ErrorAt = plain_error) -> list[PlannedTrial]:
    """Every trial of a suite, task by task, seed by seed; the data are not asked for.

    Every optimizer and task is built once, on a parameter of no importance, so that a value out of range is
    found before anything runs.

    Args:
        suite: The suite.
        seeds: Seeds instead of the suite's.
        error_at: Makes errors that name the place.

    Raises:
        UsageError: If a name or a value is not right, or two labels mean one trial.
    """
    return _Expansion(suite, tuple(seeds), error_at).trials()


@dataclasses.dataclass(frozen=True)
class _Method:
    """An optimizer with its hyperparameters, as one task uses it."""

    info: OptimizerInfo
    hyperparameters: Mapping[str, Any]
    step_cost: float
    stopping: StoppingRule
    schedules: Mapping[str, Spelling]


class _Expansion:
    def __init__(self, suite: Suite, seeds: tuple[int, ...], error_at: ErrorAt) -> None:
        self._suite = suite
        self._seeds = seeds
        self._error_at = error_at
        self._group_keys: set[str] = set()
        self._schedules = {key: self._schedule(key, spelling) for key, spelling in suite.schedules.items()}

    def trials(self) -> list[PlannedTrial]:
        planned = []
        for task_label, task in self._suite.tasks.items():
            for label in task.optimizers:
                if label not in self._suite.optimizers:
                    place = ("tasks", task_label, "optimizers", label)
                    error = unknown("optimizer label", label, self._suite.optimizers)
                    raise self._error_at(
                        place, f"{error} (a task changes what the suite's optimizers declare)", at_key=True
                    )
            info, options = self._task(task_label, task)
            methods = [
                (label, self._method(label, task_label, task))
                for label in self._suite.optimizers
                if task.optimizers.get(label) is not False
            ]
            budget = task.budget or self._suite.budget
            rungs = self._rungs(task_label, budget)
            for label, method in methods:
                self._affordable(task_label, label, budget, min(rungs), method)
            planned += [
                PlannedTrial(
                    trial=Trial(
                        task=info.name,
                        options=options,
                        optimizer=method.info.name,
                        hyperparameters=method.hyperparameters,
                        budget={budget.unit: limit},
                        seed=seed,
                        schedules=method.schedules,
                        # As far apart on every rung, so that courses of training can be compared.
                        evaluations=max(1, round(self._suite.evaluations * limit / budget.limit)),
                        numerics=self._suite.numerics.model_dump(),
                    ),
                    task_label=name,
                    optimizer_label=label,
                    controls=method.info.controls,
                    step_cost=method.step_cost,
                    budget_share=method.stopping.budget_share,
                    ladder=task_label if len(rungs) > 1 else None,
                    rung=limit / budget.limit,
                )
                for limit, name in rungs.items()
                for seed in self._seeds
                for label, method in methods
            ]
        for key in self._suite.schedules:
            if key not in self._group_keys:
                message = f"no optimizer of the suite has it; {unknown('group key', key, self._group_keys)}"
                raise self._error_at(("schedules", key), message, at_key=True)
        self._distinct(planned)
        return planned

    def _rungs(self, task_label: str, budget: Budget) -> dict[float, str]:
        """Limits of the budget to the task's name at each: `noise 2x`, its label where there is one."""
        ladder = self._suite.ladder
        whole = budget.unit == "gradient_evaluations"
        limits = [round(rung * budget.limit) if whole else rung * budget.limit for rung in ladder]
        if len(set(limits)) < len(limits) or min(limits) <= 0:
            raise self._error_at(("ladder",), f"{budget.limit} {budget.unit} have no such multiples")
        if len(ladder) == 1:
            return {limits[0]: task_label}
        return {limit: f"{task_label} {rung:g}x" for limit, rung in zip(limits, ladder, strict=True)}

    def _schedule(self, key: str, spelling: Spelling) -> Spelling:
        place: Place = ("schedules", key)
        try:
            return canonical(spelling)
        except UsageError as error:
            message = str(error)
            if not isinstance(spelling, Mapping):
                raise self._error_at(place, message) from None
            culprit = _named_in(message, spelling) or "name"
            raise self._error_at((*place, culprit), message, at_key="unknown option" in message) from None

    def _task(self, label: str, entry: TaskEntry) -> tuple[TaskInfo, dict[str, Any]]:
        place: Place = ("tasks", label)
        try:
            info = get_task(entry.task or label)
        except UsageError as error:
            raise self._unknown_name(place, "task", entry.task, error) from None
        options = entry.options

        def build(given: Mapping[str, Any]) -> dict[str, Any]:
            resolved = info.resolve(given)
            canonical_json(resolved)
            info.create(resolved)
            return resolved

        try:
            return info, build(options)
        except Exception as error:
            raise self._refused(
                error, build, options, {name: (*place, name) for name in options}, place
            ) from error

    def _method(self, label: str, task_label: str, task: TaskEntry) -> _Method:
        entry = self._suite.optimizers[label]
        place: Place = ("optimizers", label)
        try:
            info = get_optimizer(entry.optimizer or label)
        except UsageError as error:
            raise self._unknown_name(place, "optimizer", entry.optimizer, error) from None
        override = task.optimizers.get(label) or {}
        given = {**entry.hyperparameters, **override}
        places: dict[str, Place] = {
            name: ("tasks", task_label, "optimizers", label, name) if name in override else (*place, name)
            for name in given
        }

        def build(given: Mapping[str, Any]) -> _Method:
            resolved = info.resolve(given)
            canonical_json(resolved)
            if resolved.get("batch_dims", 0) != 0:
                raise UsageError("batch_dims is for one's own batches of problems; a trial has one problem")
            optimizer = _try_out(info, resolved)
            keys = set() if optimizer is None else {key for group in optimizer.param_groups for key in group}
            self._group_keys |= keys
            return _Method(
                info,
                resolved,
                info.cost(resolved),
                info.stopping(resolved) if info.stopping else StoppingRule(),
                {
                    key: schedule
                    for key, schedule in self._schedules.items()
                    if key in keys and schedule != "constant"
                },
            )

        try:
            return build(given)
        except Exception as error:
            raise self._refused(error, build, given, places, place) from error

    def _unknown_name(self, place: Place, key: str, named: str | None, error: UsageError) -> UsageError:
        if named is not None:
            return self._error_at((*place, key), str(error))
        return self._error_at(place, f"{error} (a label of your own needs `{key}:`)", at_key=True)

    def _refused(
        self,
        error: Exception,
        build: Callable[[Mapping[str, Any]], Any],
        given: Mapping[str, Any],
        places: Mapping[str, Place],
        around: Place,
    ) -> UsageError:
        """The error of `build(given)`, at the entry that is to blame as far as one can tell."""
        message = str(error) if isinstance(error, UsageError) else f"{type(error).__name__}: {error}"
        culprit = _named_in(message, given) or _needed_for(build, given)
        if culprit is None:
            return self._error_at(around, message, at_key=True)
        return self._error_at(places[culprit], message, at_key="unknown " in message)

    def _affordable(self, task_label: str, label: str, budget: Budget, limit: float, method: _Method) -> None:
        if budget.unit != "gradient_evaluations":
            return
        share = method.stopping.budget_share
        if fitting_steps(limit, share, method.step_cost) < 1:
            own = self._suite.tasks[task_label].budget is not None
            place = ("tasks", task_label, "budget", budget.unit) if own else ("budget", budget.unit)
            part = "" if share == 1.0 else f", of which it may spend {share:.3g}"
            raise self._error_at(
                place,
                f"{limit} gradient evaluations{part} do not buy one step of {label!r}, "
                f"which costs {method.step_cost}",
            )

    def _distinct(self, planned: list[PlannedTrial]) -> None:
        first: dict[str, PlannedTrial] = {}
        for entry in planned:
            other = first.setdefault(entry.trial.key, entry)
            if other is not entry:
                same_task = other.task_label == entry.task_label
                label = entry.ladder or entry.task_label
                place = ("optimizers", entry.optimizer_label) if same_task else ("tasks", label)
                raise self._error_at(
                    place,
                    f"{entry.name!r} and {other.name!r} are the same trial under two names",
                    at_key=True,
                )


def _try_out(info: OptimizerInfo, hyperparameters: Mapping[str, Any]) -> Optimizer | None:
    """Build the optimizer once; `None` where it cannot be built on this machine, for a stated reason."""
    params = [torch.nn.Parameter(torch.zeros(2, 2)), torch.nn.Parameter(torch.zeros(2))]
    try:
        return info.create(params, hyperparameters)
    except UsageError:
        raise
    except Exception:
        if info.requires:
            return None
        raise


def _named_in(message: str, names: Iterable[str]) -> str | None:
    """The name that a message mentions first, in quotation marks before anything else."""
    for pattern in (r"'{}'", r"\b{}\b"):
        found = {
            name: match.start()
            for name in names
            if (match := re.search(pattern.format(re.escape(name)), message))
        }
        if found:
            return min(found, key=lambda name: found[name])
    return None


def _needed_for(build: Callable[[Mapping[str, Any]], Any], given: Mapping[str, Any]) -> str | None:
    """The entry without which there would be no error."""
    for name in given:
        try:
            build({other: value for other, value in given.items() if other != name})
        except Exception:
            continue
        return name
    return None
