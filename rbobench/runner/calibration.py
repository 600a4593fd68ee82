"""Times the pieces that trials are made of, each in blocks that a busy machine interrupts as it does a trial.

Optimizers step on copies of a problem's parameters; no folder of records is written to.
"""

from __future__ import annotations

import dataclasses
import math
import statistics
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from rbobench.errors import UsageError
from rbobench.objective import Objective
from rbobench.optim.schedule import Spelling
from rbobench.randomness import Streams
from rbobench.registry import CONTACT_FRACTION, OptimizerInfo, get_optimizer, get_task
from rbobench.runner.budget import Budget
from rbobench.runner.clock import Clock
from rbobench.runner.record import RECORD_VERSION, write_record
from rbobench.runner.training import train
from rbobench.runner.trial import PlannedTrial, Trial, canonical_json
from rbobench.runner.trial_run import run_trial
from rbobench.tasks.task import Manifest, Problem, Settings, Task

BLOCK_SECONDS = 0.02
"""So many calls are timed at once that they take about this long."""
STEP_BLOCK_SECONDS = 0.03
"""The same for whole steps, of which trials are mostly made."""
CALIBRATION_SECONDS = 15.0
"""Another round of whole steps is begun only if it should end before this."""
MOST_ROUNDS = 5
_MOST_CALLS = 2000

Gauge = Callable[[int], float]
"""Does something so many times and says how many seconds that took."""


@dataclass(frozen=True)
class BatchTimes:
    """Seconds that depend on the batch.

    Args:
        batch: Samples in it.
        gradient: Of one gradient evaluation by the problem's own objective.
        draw: Of the next batch.
    """

    batch: int
    gradient: float
    draw: float


@dataclass(frozen=True)
class TaskTimes:
    """Seconds that the pieces of a task's trials take, whatever the optimizer.

    Args:
        whole: At the task's batch.
        half: At half of it; `None` where the task has no batch size to halve.
        samples_per_epoch: Of the training data; `None` where there are none.
        parameters: How many numbers are trained.
        point: Of one point of the curves.
        reestimation: Of BatchNorm statistics, which some optimizers want at every measurement.
        loop: Of a step of the training loop, without optimizer and objective.
        set_up: Of building problem and optimizer, and of writing the record, a trial.
        warm_up: Before the first step, a trial.
        final: Of what is measured once at the end, a trial.
    """

    whole: BatchTimes
    half: BatchTimes | None
    samples_per_epoch: int | None
    parameters: int
    point: float
    reestimation: float
    loop: float
    set_up: float
    warm_up: float
    final: float


@dataclass(frozen=True)
class UpdateTimes:
    """Seconds of an optimizer's step beyond its gradient evaluations: parameter traffic and Python.

    Args:
        step: As the suite has it.
        twice_evaluations: With the hyperparameter doubled that sets how many evaluations a step makes; `None`
            where there is none.
        twice_parameters: With every parameter twice as long; `None` where that cannot be.
    """

    step: float
    twice_evaluations: float | None = None
    twice_parameters: float | None = None


@dataclass(frozen=True)
class StepTimes:
    """Seconds of an optimizer's step on a task.

    Args:
        whole: In the training loop, on the problem itself, all its pieces together.
        update: What it takes beyond its gradient evaluations.
    """

    whole: float
    update: UpdateTimes


Times = tuple[TaskTimes, list[StepTimes | str]]
"""A task's, and for each of its optimizers those of a step, or why they could not be taken."""


def calibrate(
    tasks: Mapping[str, tuple[Task, Sequence[PlannedTrial]]],
    settings: Settings,
    measures: Sequence[str] = (),
    say: Callable[[str], None] = lambda _: None,
) -> dict[str, Times]:
    """Time tasks and the steps of their optimizers.

    Each piece is timed by itself once, and whole steps in rounds through all tasks, since a machine's load
    drifts; the median over rounds counts.

    Args:
        tasks: Label to the task and to one trial for each optimizer.
        settings: Device, numerics and data.
        measures: Names of what is measured at a trial's end.
        say: Is told what is timed.

    Returns:
        Label to times.

    Raises:
        UsageError: If a problem cannot be built, or no optimizer gets through one step of it.
    """
    began = time.perf_counter()
    pieces, timer = {}, _Pieces(settings, measures)
    for label, (task, entries) in tasks.items():
        say(f"calibrating {label}: {len(entries)} optimizer{'s' if len(entries) > 1 else ''}")
        pieces[label] = timer.times(task, entries)
    rounds: list[dict[str, list[float | str]]] = []
    rounds_began = now = time.perf_counter()
    while len(rounds) < MOST_ROUNDS:
        each = (now - rounds_began) / len(rounds) if rounds else 0.0
        if now + each - began > CALIBRATION_SECONDS and rounds:
            break
        say(f"calibrating whole steps, round {len(rounds) + 1}")
        rounds.append({label: _whole_steps(*tasks[label], settings) for label in tasks})
        now = time.perf_counter()
    return {
        label: (
            times,
            [_step(update, [each[label][index] for each in rounds]) for index, update in enumerate(updates)],
        )
        for label, (times, updates) in pieces.items()
    }


def _step(update: UpdateTimes | str, wholes: Sequence[float | str]) -> StepTimes | str:
    for failure in (update, *wholes):
        if isinstance(failure, str):
            return failure
    assert isinstance(update, UpdateTimes)
    return StepTimes(statistics.median(whole for whole in wholes if isinstance(whole, float)), update)


def _whole_steps(task: Task, entries: Sequence[PlannedTrial], settings: Settings) -> list[float | str]:
    """Seconds of a step of each optimizer, or why it has none."""
    problems: dict[bool, Problem] = {}
    wholes: list[float | str] = []
    for entry in entries:
        trial, info = entry.trial, get_optimizer(entry.trial.optimizer)
        if info.resamples not in problems:
            chosen = dataclasses.replace(settings, resamples=info.resamples)
            problems[info.resamples] = task.problem(trial.seed, chosen)
        try:
            steps = StepTimer.of(problems[info.resamples])
            wholes.append(seconds_per_call(steps.gauge_of(trial, trial.hyperparameters), STEP_BLOCK_SECONDS))
            steps.reset()
        except Exception as error:  # the trial's own failure, which its record will tell
            wholes.append(_why(error))
    return wholes


def _why(error: Exception) -> str:
    return f"its step could not be timed: {' '.join(str(error).split())}"


class _Pieces:
    """Times pieces by themselves; equal updates of parameters of equal shapes for one task alone."""

    def __init__(self, settings: Settings, measures: Sequence[str]) -> None:
        self._settings = settings
        self._measures = measures
        self._updates: dict[str, UpdateTimes] = {}

    def times(self, task: Task, entries: Sequence[PlannedTrial]) -> tuple[TaskTimes, list[UpdateTimes | str]]:
        trial = entries[0].trial
        problem = task.problem(trial.seed, self._settings)
        whole = self._batch_times(problem)
        point, reestimation = seconds_per_call(_calls(problem.evaluate)), 0.0
        if any(_reestimates(entry) for entry in entries):
            reestimation = seconds_per_call(_calls(problem.reestimate_batch_norm))
        set_up, warm_up, final = self._one_step(task, entries, point, reestimation)
        replays = {length: StepTimer.replaying(problem, length=length) for length in (1, 2)}
        still = _Still(replays[1].parameters(), trial.schedules)
        returned = {"loop": seconds_per_call(replays[1].gauge(still, trial.schedules))}
        for length, replay in replays.items():
            returned[f"closure {length}"] = seconds_per_call(_calls(replay.objective))
        times = TaskTimes(
            whole=whole,
            half=self._half(trial),
            samples_per_epoch=problem.samples_per_epoch,
            parameters=sum(parameter.numel() for parameter in problem.parameters()),
            point=point,
            reestimation=reestimation,
            loop=max(0.0, returned["loop"] - returned["closure 1"]),
            set_up=set_up,
            warm_up=warm_up,
            final=final,
        )
        updates: list[UpdateTimes | str] = []
        for entry in entries:
            try:
                updates.append(self._update(entry.trial, problem, returned, times.loop))
            except Exception as error:  # as above
                updates.append(_why(error))
        return times, updates

    def _batch_times(self, problem: Problem) -> BatchTimes:
        objective = problem.objective
        objective.warm_up()
        objective.next_step()
        gradient = seconds_per_call(_calls(objective))
        return BatchTimes(problem.samples_per_batch, gradient, seconds_per_call(_calls(objective.next_step)))

    def _half(self, trial: Trial) -> BatchTimes | None:
        batch = trial.options.get("batch_size")
        if not isinstance(batch, int) or batch < 2:
            return None
        smaller = get_task(trial.task).create({**trial.options, "batch_size": batch // 2})
        return self._batch_times(smaller.problem(trial.seed, self._settings))

    def _one_step(
        self, task: Task, entries: Sequence[PlannedTrial], point: float, reestimation: float
    ) -> tuple[float, float, float]:
        """What a trial takes that has neither steps nor points: set-up, warm-up, last measurements."""
        reason = ""
        for entry in entries:
            measured = point + (2 * reestimation if _reestimates(entry) else 0.0)
            seconds, record = _one_step_trial(entry, task, self._settings, self._measures)
            if record["status"] != "ok":
                reason = record["error"] or record["status"]
                continue
            warm_up, evaluation = (record["cost"][f"{name}_seconds"] for name in ("warm_up", "evaluation"))
            inside = record["cost"]["train_seconds"] + warm_up + evaluation
            return seconds - inside, warm_up, max(0.0, evaluation - measured)
        raise UsageError(f"task {entries[0].task_label!r}: no optimizer gets through one step: {reason}")

    def _update(
        self, trial: Trial, problem: Problem, closures: Mapping[str, float], loop: float
    ) -> UpdateTimes:
        info, given = get_optimizer(trial.optimizer), trial.hyperparameters
        shapes = [f"{parameter.dtype} {tuple(parameter.shape)}" for parameter in problem.parameters()]
        name = canonical_json([trial.optimizer, given, trial.schedules, shapes])
        if name in self._updates:
            return self._updates[name]
        more = twice_evaluations(info, given)
        seconds = {}
        for piece, hyperparameters, length in (
            ("step", given, 1),
            ("twice_evaluations", more, 1),
            ("twice_parameters", given, 2),
        ):
            if hyperparameters is None:
                continue
            try:
                replay = StepTimer.replaying(problem, length=length, resamples=info.resamples)
                step = seconds_per_call(replay.gauge_of(trial, hyperparameters))
            except Exception:
                if piece == "twice_parameters":  # a method that searches a landscape of its own dimension
                    continue
                raise
            calls = closure_calls(info, hyperparameters)
            seconds[piece] = max(0.0, step - calls * closures[f"closure {length}"] - loop)
        self._updates[name] = UpdateTimes(**seconds)
        return self._updates[name]


class StepTimer:
    """A problem that is trained and never evaluated, by the runner's own loop.

    Args:
        module: Holds all weights.
        named: The parameters to train, with their names.
        objective: The closure.
        problem: What it is made from.
    """

    has_validation = False

    def __init__(
        self,
        module: nn.Module,
        named: Sequence[tuple[str, nn.Parameter]],
        objective: Objective,
        problem: Problem,
    ) -> None:
        self.module = module
        self.objective = objective
        self.samples_per_batch = problem.samples_per_batch
        self.samples_per_epoch = problem.samples_per_epoch
        self._named = list(named)
        self._weights = list(module.state_dict().values())
        self._start = [tensor.clone() for tensor in self._weights]

    @classmethod
    def of(cls, problem: Problem) -> StepTimer:
        """Steps on the problem itself; `reset` puts its weights back."""
        names = {id(parameter): name for name, parameter in problem.module.named_parameters()}
        named = [(names[id(parameter)], parameter) for parameter in problem.parameters()]
        return cls(problem.module, named, problem.objective, problem)

    @classmethod
    def replaying(cls, problem: Problem, *, length: int = 1, resamples: bool = False) -> StepTimer:
        """Steps on copies of the parameters, whose closure puts one stored gradient back.

        What they take is parameter traffic and Python.

        Args:
            problem: Its objective is evaluated once, on a batch that has been drawn.
            length: How many copies of each parameter stand one after another along its first dimension.
            resamples: As of `Objective`.
        """
        loss = problem.objective()
        module, named = nn.Module(), []
        gradients: list[Tensor | None] = []
        for index, (name, parameter) in enumerate(cls.of(problem).named_parameters()):
            copy = nn.Parameter(_repeated(parameter.detach(), length))
            named.append((name, copy))
            module.register_parameter(str(index), copy)
            gradients.append(None if parameter.grad is None else _repeated(parameter.grad, length))
        stored = [gradient for gradient in gradients if gradient is not None]
        # An optimizer may change the gradient that it is given, so each evaluation copies it anew.
        given = [None if gradient is None else gradient.clone() for gradient in gradients]
        targets = [gradient for gradient in given if gradient is not None]

        def value_and_grad(_: object) -> tuple[Tensor, Sequence[Any]]:
            torch._foreach_copy_(targets, stored)
            return loss, given

        objective = Objective(
            [parameter for _, parameter in named],
            draw=lambda: None,
            loss=lambda _: loss,
            value_and_grad=value_and_grad,
            landscape=problem.objective.landscape,
            resamples=resamples,
            device=loss.device,
        )
        return cls(module, named, objective, problem)

    def parameters(self) -> list[nn.Parameter]:
        """What is trained."""
        return [parameter for _, parameter in self._named]

    def named_parameters(self) -> list[tuple[str, nn.Parameter]]:
        """What is trained, with its names."""
        return self._named

    def reset(self) -> None:
        """Put the weights back to what they were."""
        with torch.no_grad():
            torch._foreach_copy_(self._weights, self._start)
        self.objective.gradient_evaluations = 0.0

    def gauge_of(self, trial: Trial, hyperparameters: Mapping[str, Any]) -> Gauge:
        """Times steps of a trial's optimizer with other hyperparameters."""
        info = get_optimizer(trial.optimizer)
        params: Any = self.named_parameters() if info.named else self.parameters()
        optimizer = info.create(params, hyperparameters, seed=Streams(trial.seed).seed("optimizer"))
        fraction = hyperparameters.get(CONTACT_FRACTION, 1.0) if info.looks_around else 1.0
        return self.gauge(optimizer, trial.schedules, info.cost(hyperparameters), fraction)

    def gauge(
        self,
        optimizer: torch.optim.Optimizer,
        schedules: Mapping[str, Spelling],
        cost: float = 1.0,
        contact_fraction: float = 1.0,
    ) -> Gauge:
        """Times steps; each block starts from the same weights, and its schedules anew.

        Args:
            optimizer: On the parameters.
            schedules: Of its trial.
            cost: Gradient evaluations of a step.
            contact_fraction: As of `train`.
        """
        groups = [{key: group[key] for key in schedules if key in group} for group in optimizer.param_groups]

        def steps(count: int) -> float:
            self.reset()
            for group, before in zip(optimizer.param_groups, groups, strict=True):
                group.update(before)
            clock = Clock(self._start[0].device)
            training = train(
                self,
                optimizer,
                Budget("gradient_evaluations", count * cost),
                clock,
                step_cost=cost,
                schedules=schedules,
                evaluations=1,
                contact_fraction=contact_fraction,
            )
            return clock.elapsed("training") * count / training.steps

        return steps

    def evaluate(self) -> dict[str, float]:
        """Nothing."""
        return {}

    def final(self) -> dict[str, Any]:
        """Nothing."""
        return {}

    def test_correct(self) -> Tensor | None:
        """`None`."""
        return None

    def reestimate_batch_norm(self) -> None:
        """Nothing."""

    def manifests(self) -> list[Manifest]:
        """Nothing."""
        return []

    def batch_order(self) -> Tensor | None:
        """`None`."""
        return None


class _Still(torch.optim.Optimizer):
    """Evaluates once a step and moves nothing: what is left is the training loop."""

    def __init__(self, params: Any, schedules: Mapping[str, Spelling]) -> None:
        super().__init__(params, dict.fromkeys(schedules, 1.0))

    def step(self, closure: Any = None) -> Any:
        return closure()


def seconds_per_call(gauge: Gauge, block: float = BLOCK_SECONDS) -> float:
    """Seconds of one call, from one block of many.

    Args:
        gauge: What to time; called once before.
        block: Seconds that the block should take at least.
    """
    gauge(1)
    once = gauge(1)
    if once >= block:
        return once
    count = min(_MOST_CALLS, math.ceil(block / max(once, 1e-9)))
    return gauge(count) / count


def closure_calls(info: OptimizerInfo, hyperparameters: Mapping[str, Any]) -> float:
    """How often a step asks for a gradient, be it on a part of the batch."""
    if not info.looks_around:
        return info.cost(hyperparameters)
    return info.cost({**hyperparameters, CONTACT_FRACTION: 1.0})


def twice_evaluations(info: OptimizerInfo, hyperparameters: Mapping[str, Any]) -> dict[str, Any] | None:
    """The hyperparameters with the one doubled that sets the evaluations of a step; `None` without one.

    It is the whole number by which the declared cost of a step grows most.
    """
    cost = info.cost(hyperparameters)
    grown = {}
    for name, value in hyperparameters.items():
        if isinstance(value, int) and not isinstance(value, bool) and value > 0:
            more = {**hyperparameters, name: 2 * value}
            try:
                grown[info.cost(more)] = more
            except Exception:
                continue
    most = max(grown, default=cost)
    return grown[most] if most > cost else None


def _calls(call: Callable[[], object]) -> Gauge:
    """Times plain calls; the device's work is waited for."""

    def gauge(count: int) -> float:
        _wait()
        begin = time.perf_counter()
        for _ in range(count):
            call()
        _wait()
        return time.perf_counter() - begin

    return gauge


def _wait() -> None:
    if torch.accelerator.is_available():
        torch.accelerator.synchronize()


def _one_step_trial(
    entry: PlannedTrial, task: Task, settings: Settings, measures: Sequence[str]
) -> tuple[float, dict[str, Any]]:
    """A whole trial of one step and one point, its record written to a folder that is thrown away."""
    begin = time.perf_counter()
    limit = entry.step_cost / entry.budget_share
    trial = dataclasses.replace(entry.trial, budget={"gradient_evaluations": limit}, evaluations=1)
    short = dataclasses.replace(entry, trial=trial)
    with tempfile.TemporaryDirectory() as folder:
        record = {
            "key": trial.key,
            "record_version": RECORD_VERSION,
            "labels": entry.labels,
            "trial": trial.as_dict(),
            **run_trial(short, task, settings, Path(folder), measures=measures),
        }
        write_record(Path(folder), record)
        return time.perf_counter() - begin, record


def _reestimates(entry: PlannedTrial) -> bool:
    return get_optimizer(entry.trial.optimizer).batch_norm == "re-estimated"


def _repeated(tensor: Tensor, length: int) -> Tensor:
    return tensor.clone() if length == 1 or tensor.ndim == 0 else torch.cat([tensor] * length)
