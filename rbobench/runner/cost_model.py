"""How long a suite will take here, and how that grows: a sum of pieces that a short calibration has timed.

A trial takes

    set-up + warm-up + steps · c · (draws + gradients + update + loop) + points · evaluation + final,

where c is how much longer a whole step takes than its pieces, each timed by itself in a hot loop: in a step
they push each other out of the caches. So a suite as it is rests on whole steps, and its growth on the
pieces. A suite takes its trials one after another, and what it does before the first of them.
"""

from __future__ import annotations

import dataclasses
import math
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import pandas as pd

from rbobench.errors import UsageError
from rbobench.randomness import seeded_default_generators
from rbobench.registry import CONTACT_FRACTION, get_optimizer
from rbobench.runner.budget import Unit, fitting_steps
from rbobench.runner.calibration import (
    StepTimes,
    TaskTimes,
    UpdateTimes,
    calibrate,
    closure_calls,
    twice_evaluations,
)
from rbobench.runner.environment import choose_device
from rbobench.runner.execution import prepared
from rbobench.runner.record import FINAL, read_record, record_path
from rbobench.runner.suite import Suite
from rbobench.runner.trial import PlannedTrial
from rbobench.runner.trial_run import stopping_rule

TOTAL = "total"
"""What the last row of `side_by_side` is called."""


@dataclass(frozen=True)
class Evaluations:
    """What a step asks of the objective.

    Args:
        cost: Gradient evaluations; one on part of the batch counts by its share.
        calls: How often a gradient is asked for.
    """

    cost: float
    calls: float


@dataclass(frozen=True)
class Group:
    """The trials of one optimizer on one task, which differ by their seeds alone.

    Args:
        task: The task's name in the suite.
        optimizer: The optimizer's.
        keys: Of the trials.
        done: Which of them have their records already.
        unit: What the budget counts.
        limit: Of the budget of one trial.
        evaluated: What a step asks of the objective.
        times: The task's.
        step: Seconds of the optimizer's step; `None` where it could not be timed, and the update counts as
            nothing.
        share: The part of the budget that may be spent.
        points: Of the curves.
        twice: As `evaluated`, with the hyperparameter doubled that sets it; `None` where there is none.
        contact_fraction: The part of the batch on which all evaluations of a step but one are made.
        resamples: Whether each evaluation draws a batch of its own.
        reestimates: Whether BatchNorm statistics are taken anew before a measurement.
        note: What one should know about the prediction.
    """

    task: str
    optimizer: str
    keys: tuple[str, ...]
    done: frozenset[str]
    unit: Unit
    limit: float
    evaluated: Evaluations
    times: TaskTimes
    step: StepTimes | None
    share: float = 1.0
    points: int = 20
    twice: Evaluations | None = None
    contact_fraction: float = 1.0
    resamples: bool = False
    reestimates: bool = False
    note: str = ""

    @property
    def left(self) -> int:
        """How many trials have no record yet."""
        return len(self.keys) - len(self.done)


@dataclass(frozen=True)
class Scale:
    """A suite made larger, each factor 1 where it stays as it is.

    Args:
        budget: On the budget of every trial.
        evaluations: On the hyperparameter that sets the evaluations of a step, where there is one.
        batch: On the batch.
        parameters: On the number of parameters.
        equal_steps: Whether as many steps are made as at a scale of 1, whatever they cost.
    """

    budget: float = 1.0
    evaluations: float = 1.0
    batch: float = 1.0
    parameters: float = 1.0
    equal_steps: bool = False


AS_IS = Scale()


@dataclass(frozen=True)
class Seconds:
    """What one trial is predicted to take, by where it goes.

    Args:
        gradient: Gradient evaluations.
        update: The optimizer's own work.
        draw: Batches.
        loop: The training loop.
        evaluation: Points of the curves and what is measured at the end.
        warm_up: Before the first step.
        set_up: Building problem and optimizer, writing the record.
    """

    gradient: float
    update: float
    draw: float
    loop: float
    evaluation: float
    warm_up: float
    set_up: float

    @property
    def training(self) -> float:
        """The steps."""
        return self.gradient + self.update + self.draw + self.loop

    @property
    def clocked(self) -> float:
        """What a record's clock counts: all but set-up."""
        return self.training + self.evaluation + self.warm_up

    @property
    def total(self) -> float:
        """All of it."""
        return self.clocked + self.set_up


@dataclass(frozen=True)
class Prediction:
    """What a suite is predicted to take on this machine.

    Args:
        suite: Its name.
        device: Where it was calibrated.
        groups: Its trials, by task and optimizer, in the suite's order.
        start_up: Seconds before the first trial.
        calibration: Seconds that the calibration took.
        waited: The share of them in which other programs had the processor, which makes the prediction about
            as much too long for a machine that is free; `None` where that cannot be told.
    """

    suite: str
    device: str
    groups: tuple[Group, ...]
    start_up: float = 0.0
    calibration: float = 0.0
    waited: float | None = None

    @property
    def trials(self) -> int:
        """How many there are."""
        return sum(len(group.keys) for group in self.groups)

    @property
    def seconds(self) -> float:
        """Of the whole suite, if nothing of it were done."""
        return suite_seconds(self)

    @property
    def left(self) -> float:
        """Seconds of the trials that have no record yet; nothing where all have one."""
        seconds = sum(group.left * trial_seconds(group).total for group in self.groups)
        return self.start_up + seconds if seconds else 0.0


def gradient_seconds(times: TaskTimes, *, batch: float = 1.0, parameters: float = 1.0) -> float:
    """Of one gradient evaluation on a multiple of the task's batch, with a multiple of its parameters.

    What half a batch saves grows with batch and parameters, the rest with neither. Without a time at half the
    batch all of it is taken to grow with the parameters and, where there are batches, with the batch.
    """
    fixed, growing = _split(times, "gradient")
    return fixed + growing * parameters * (batch if times.whole.batch > 1 else 1.0)


def draw_seconds(times: TaskTimes, *, batch: float = 1.0) -> float:
    """Of one draw of a multiple of the task's batch."""
    fixed, growing = _split(times, "draw")
    return fixed + growing * (batch if times.whole.batch > 1 else 1.0)


def update_seconds(update: UpdateTimes, *, evaluations: float = 1.0, parameters: float = 1.0) -> float:
    """Of an optimizer's step beyond its evaluations: linear in their number and in the parameters."""
    by_evaluations = (
        0.0 if update.twice_evaluations is None else max(0.0, update.twice_evaluations - update.step)
    )
    twice = 2.0 * update.step if update.twice_parameters is None else update.twice_parameters
    by_parameters = max(0.0, twice - update.step)
    return update.step + (evaluations - 1.0) * by_evaluations + (parameters - 1.0) * by_parameters


def evaluated(group: Group, scale: Scale) -> Evaluations:
    """What a step asks of the objective at a scale; the same where no hyperparameter sets it."""
    once, twice, by = group.evaluated, group.twice, scale.evaluations - 1.0
    if twice is None:
        return once
    return Evaluations(
        once.cost + by * (twice.cost - once.cost), once.calls + by * (twice.calls - once.calls)
    )


def step_seconds(group: Group, scale: Scale = AS_IS) -> Seconds:
    """Of one step; nothing of it is outside the training loop."""
    factor, pieces = together(group), _pieces(group, scale)
    return dataclasses.replace(
        pieces, **{name: factor * getattr(pieces, name) for name in ("gradient", "update", "draw", "loop")}
    )


def together(group: Group) -> float:
    """How much longer a whole step takes than its pieces by themselves; 1 where none was timed."""
    return 1.0 if group.step is None else group.step.whole / _pieces(group, AS_IS).training


def _pieces(group: Group, scale: Scale) -> Seconds:
    times, calls = group.times, evaluated(group, scale).calls
    batch, parameters = scale.batch, scale.parameters
    part = gradient_seconds(times, batch=batch * group.contact_fraction, parameters=parameters)
    whole = gradient_seconds(times, batch=batch, parameters=parameters)
    return Seconds(
        gradient=whole + (calls - 1.0) * part,
        update=0.0
        if group.step is None
        else update_seconds(group.step.update, evaluations=scale.evaluations, parameters=parameters),
        draw=(calls if group.resamples else 1.0) * draw_seconds(times, batch=batch),
        loop=times.loop,
        evaluation=0.0,
        warm_up=0.0,
        set_up=0.0,
    )


def steps(group: Group, scale: Scale = AS_IS) -> int:
    """How many fit the budget; of a budget in seconds, how many are predicted to."""
    if scale.equal_steps:
        return steps(group)
    if group.unit == "seconds":
        limit = group.share * group.limit * scale.budget
        return max(1, math.ceil(limit / step_seconds(group, scale).training))
    return fitting_steps(group.limit * scale.budget, group.share, _spent_by_step(group, scale))


def points(group: Group, count: int, scale: Scale = AS_IS) -> int:
    """How many points the curves get in so many steps: evenly spread ones, and one where the steps end."""
    if group.unit == "seconds" or scale.equal_steps:
        return min(count, group.points)
    apart = group.points * _spent_by_step(group, scale) / (group.share * group.limit * scale.budget)
    if apart >= 1.0:
        return count
    reached, before = (math.floor(apart * number + 1e-9) for number in (count, count - 1))
    return reached + (reached == before)


def trial_seconds(group: Group, scale: Scale = AS_IS) -> Seconds:
    """Of one trial of a group."""
    times, count, each = group.times, steps(group, scale), step_seconds(group, scale)
    if group.unit == "seconds" and not scale.equal_steps:
        # The budget itself, however the steps were mispredicted.
        number = group.share * group.limit * scale.budget / each.training
    else:
        number = float(count)
    reestimation = times.reestimation if group.reestimates else 0.0
    measured = points(group, count, scale) * (times.point + reestimation) + times.final + reestimation
    return Seconds(
        gradient=number * each.gradient,
        update=number * each.update,
        draw=number * each.draw,
        loop=number * each.loop,
        evaluation=measured * scale.parameters,
        warm_up=times.warm_up * scale.parameters * scale.batch,
        set_up=times.set_up,
    )


def suite_seconds(prediction: Prediction, scale: Scale = AS_IS) -> float:
    """Of all trials of a suite, done or not, and of what comes before them."""
    trials = sum(len(group.keys) * trial_seconds(group, scale).total for group in prediction.groups)
    return prediction.start_up + trials


def table(prediction: Prediction) -> pd.DataFrame:
    """One row for each task and optimizer.

    Returns:
        Columns `task`, `optimizer`, `trials`, `left` (without a record), `steps` and `gradients`
        (evaluations) of a trial, `seconds` of all its trials; `gradient`, `update`, `evaluation` and `rest`,
        their shares of the time, which add up to 1; `together`, how much longer a whole step takes than its
        pieces by themselves; and `note`.
    """
    rows = []
    for group in prediction.groups:
        each, count = trial_seconds(group), steps(group)
        total = each.total
        shares = {name: getattr(each, name) / total for name in ("gradient", "update", "evaluation")}
        rows.append(
            {
                "task": group.task,
                "optimizer": group.optimizer,
                "trials": len(group.keys),
                "left": group.left,
                "steps": count,
                "gradients": count * group.evaluated.cost,
                "seconds": len(group.keys) * total,
                **shares,
                "rest": 1.0 - sum(shares.values()),
                "together": together(group),
                "note": group.note,
            }
        )
    return pd.DataFrame(rows)


def growth(prediction: Prediction) -> pd.DataFrame:
    """How a suite's time grows as one thing doubles.

    Returns:
        Columns `doubled`, `seconds` of the whole suite, `ratio` to the suite as it is, and `basis`: what was
        measured for it and what is assumed.
    """
    groups = prediction.groups
    halved = sum(group.times.half is not None for group in groups)
    batches = sum(group.times.whole.batch > 1 for group in groups)
    set_by = sum(group.twice is not None for group in groups)
    longer = sum(
        group.step is not None and group.step.update.twice_parameters is not None for group in groups
    )
    by_batch = f"measured at half the batch in {halved} of the {batches} rows that have one"
    if halved < batches:
        by_batch += "; in the others a gradient is assumed proportional to it"
    by_evaluations = f"updates measured at twice; {set_by} of {len(groups)} rows have a hyperparameter for it"
    changes = (
        ("nothing", Scale(), "calibrated"),
        ("budget T", Scale(budget=2.0), "as many points on the curves"),
        ("evaluations P, equal steps", Scale(evaluations=2.0, equal_steps=True), by_evaluations),
        ("evaluations P, equal budget", Scale(evaluations=2.0), by_evaluations),
        ("batch", Scale(batch=2.0), by_batch),
        (
            "parameters",
            Scale(parameters=2.0),
            f"updates measured at twice in {longer} of {len(groups)} rows; assumed: what a gradient takes "
            "for its samples and all of an evaluation are proportional to them",
        ),
    )
    before = suite_seconds(prediction)
    rows = []
    for doubled, scale, basis in changes:
        seconds = suite_seconds(prediction, scale)
        rows.append({"doubled": doubled, "seconds": seconds, "ratio": seconds / before, "basis": basis})
    return pd.DataFrame(rows)


def side_by_side(prediction: Prediction, folder: str | Path) -> pd.DataFrame:
    """Predicted and measured, for the trials that have their records in a folder.

    A record that knows the seconds of its whole trial is held against all that was predicted; an older one
    against what its clock counted: training, warm-up and evaluation.

    Returns:
        One row for each task and optimizer, and a last one called `total`. Columns `task`, `optimizer`,
        `trials` (that are compared), `predicted` and `measured` seconds, `ratio` (measured to predicted), and
        `predicted_training`, `measured_training`, `predicted_gradient`, `measured_gradient`, the last missing
        where records do not know it.

    Raises:
        UsageError: If the folder has no finished trial of the suite, or a record is damaged.
    """
    rows = []
    for group in prediction.groups:
        each = trial_seconds(group)
        costs = _costs(Path(folder), group.keys)
        if not costs:
            continue
        whole = [cost.get("seconds") for cost in costs]
        gradients = [cost.get("gradient_seconds") for cost in costs]
        rows.append(
            {
                "task": group.task,
                "optimizer": group.optimizer,
                "trials": len(costs),
                "predicted": sum(each.clocked if seconds is None else each.total for seconds in whole),
                "measured": sum(
                    _clocked(cost) if seconds is None else seconds
                    for cost, seconds in zip(costs, whole, strict=True)
                ),
                "predicted_training": len(costs) * each.training,
                "measured_training": sum(cost["train_seconds"] for cost in costs),
                "predicted_gradient": len(costs) * each.gradient,
                "measured_gradient": math.nan
                if None in gradients
                else sum(seconds for seconds in gradients if seconds is not None),
            }
        )
    if not rows:
        raise UsageError(f"{folder} has no finished trial of suite {prediction.suite!r}")
    frame = pd.DataFrame(rows)
    total = {"task": TOTAL, "optimizer": "", **frame.drop(columns=["task", "optimizer"]).sum(skipna=False)}
    frame = pd.concat([frame, pd.DataFrame([total])], ignore_index=True).astype({"trials": int})
    frame.insert(5, "ratio", frame["measured"] / frame["predicted"])
    return frame


def predict(
    suite: Suite | str | Path,
    out: str | Path | None = None,
    *,
    device: str = "auto",
    seeds: int | Sequence[int] | None = None,
    only: str | None = None,
    data_root: str | Path = "data",
    download: bool = False,
    before: float = 0.0,
    say: Callable[[str], None] = lambda _: None,
) -> Prediction:
    """Calibrate on this machine and predict what `run_suite` with the same arguments will take.

    Nothing is written to the folder; of the caller's random state and threads nothing is changed.

    Args:
        suite: A suite, or its file or name.
        out: Folder in which trials may have their records already; `results/runs/<suite>` by default.
        device: As of `run_suite`.
        seeds: As of `run_suite`.
        only: As of `run_suite`.
        data_root: As of `run_suite`.
        download: As of `run_suite`.
        before: Processor seconds that this process took until here, for imports say, which a run takes too.
        say: Is told what is calibrated.

    Raises:
        UsageError: If the suite, the device or the data are not right, as `run_suite`.
    """
    began = time.perf_counter()
    run = prepared(suite, out, device=device, seeds=seeds, only=only, data_root=data_root, download=download)
    with run as known, seeded_default_generators(0, choose_device(device)):
        known.try_problems(known.planned)
        target, tasks = known.settings.device, known.tasks
        ready, computed = time.perf_counter(), time.process_time()
        groups = {
            label: list(_by(entries, lambda entry: entry.optimizer_label).values())
            for label, entries in _by(known.planned, lambda entry: entry.task_label).items()
        }
        calibrated = calibrate(
            {
                label: (tasks.get(same[0][0].trial), [entries[0] for entries in same])
                for label, same in groups.items()
            },
            known.settings,
            known.suite.measures,
            say,
        )
        calibration = time.perf_counter() - ready
        # With one thread, what is not spent computing is spent waiting.
        alone = target.type == "cpu" and known.suite.numerics.threads == 1
        waited = max(0.0, 1.0 - (time.process_time() - computed) / calibration) if alone else None
    done = frozenset(known.found)
    predicted = tuple(
        _group(entries, calibrated[label][0], step, done)
        for label, same in groups.items()
        for entries, step in zip(same, calibrated[label][1], strict=True)
    )
    return Prediction(
        known.suite.name,
        str(target),
        predicted,
        start_up=before + ready - began,
        calibration=calibration,
        waited=waited,
    )


def _split(times: TaskTimes, piece: Literal["gradient", "draw"]) -> tuple[float, float]:
    """The seconds of a piece that a larger batch leaves alone, and those that it multiplies."""
    whole: float = getattr(times.whole, piece)
    if times.half is None:
        return 0.0, whole
    saved: float = whole - getattr(times.half, piece)
    growing = saved * times.whole.batch / (times.whole.batch - times.half.batch)
    growing = min(whole, max(0.0, growing))
    return whole - growing, growing


def _spent_by_step(group: Group, scale: Scale) -> float:
    """What a step takes of a budget in gradient evaluations or epochs."""
    cost = evaluated(group, scale).cost
    if group.unit == "gradient_evaluations":
        return cost
    assert group.times.samples_per_epoch is not None
    batches = cost if group.resamples else 1.0
    return batches * group.times.whole.batch * scale.batch / group.times.samples_per_epoch


def _group(
    entries: Sequence[PlannedTrial], times: TaskTimes, step: StepTimes | str, found: frozenset[str]
) -> Group:
    trial = entries[0].trial
    info, given = get_optimizer(trial.optimizer), trial.hyperparameters
    rule = stopping_rule(info, trial)
    more = twice_evaluations(info, given)
    notes = [
        *(["at most: stops early"] if rule.patience is not None else []),
        *([step] if isinstance(step, str) else []),
    ]
    keys = tuple(entry.trial.key for entry in entries)
    unit, limit = next(iter(trial.budget.items()))
    return Group(
        task=entries[0].task_label,
        optimizer=entries[0].optimizer_label,
        keys=keys,
        done=found & frozenset(keys),
        unit=unit,
        limit=limit,
        evaluated=Evaluations(info.cost(given), closure_calls(info, given)),
        times=times,
        step=None if isinstance(step, str) else step,
        share=rule.budget_share,
        points=trial.evaluations,
        twice=None if more is None else Evaluations(info.cost(more), closure_calls(info, more)),
        contact_fraction=given.get(CONTACT_FRACTION, 1.0) if info.looks_around else 1.0,
        resamples=info.resamples,
        reestimates=info.batch_norm == "re-estimated",
        note="; ".join(notes),
    )


def _by(
    entries: Iterable[PlannedTrial], label: Callable[[PlannedTrial], str]
) -> dict[str, list[PlannedTrial]]:
    groups: dict[str, list[PlannedTrial]] = {}
    for entry in entries:
        groups.setdefault(label(entry), []).append(entry)
    return groups


def _costs(folder: Path, keys: Iterable[str]) -> list[dict[str, Any]]:
    """What the finished trials of these keys cost."""
    records = [read_record(path) for key in keys if (path := record_path(folder, key)).exists()]
    return [record["cost"] for record in records if record["status"] in FINAL]


def _clocked(cost: Mapping[str, Any]) -> float:
    seconds: float = cost["train_seconds"] + cost["warm_up_seconds"] + cost["evaluation_seconds"]
    return seconds
