"""Runs a suite: its trials one after another, each into a record, none twice."""

from __future__ import annotations

import dataclasses
import fnmatch
import itertools
import tempfile
import time
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, wait
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import torch

from rbobench.errors import UsageError
from rbobench.processes import full_precision, process_pool, threads
from rbobench.registry import get_optimizer, get_task
from rbobench.runner.environment import choose_device, describe
from rbobench.runner.measuring import measure_record, missing_measures
from rbobench.runner.planning import expand
from rbobench.runner.record import (
    FINAL,
    RECORD_VERSION,
    read_record,
    record_path,
    weights_path,
    write_record,
)
from rbobench.runner.suite import Suite, load_suite
from rbobench.runner.trial import PlannedTrial, Trial, canonical_json
from rbobench.runner.trial_run import run_trial, stopping_rule, trial_budget, trial_step_cost
from rbobench.tasks.task import DataLocation, Problem, Settings, Task

RESULTS = Path("results/runs")
"""Where results go, by the suite's name, unless told otherwise."""


class Progress(Protocol):
    """What is told while a suite runs."""

    def start(self, total: int, done: int) -> None:
        """Before the first trial: how many there are, and how many have their records already."""
        ...

    def trial_started(self, planned: PlannedTrial) -> None:
        """Before a trial."""
        ...

    def trial_finished(self, planned: PlannedTrial, record: dict[str, Any]) -> None:
        """After a trial, its record written."""
        ...


@dataclass(frozen=True)
class RunSummary:
    """What became of a run.

    Attributes:
        out: Folder of the records.
        ran: Trials that were run.
        found: Trials that had their records already.
        statuses: How many of all these trials ended how.
        seconds: What the run took.
        unmeasured: Of the trials that had their records, those that lack a measure of the suite and the
            weights to take it at.
    """

    out: Path
    ran: int
    found: int
    statuses: dict[str, int]
    seconds: float
    unmeasured: int = 0


def plan(
    suite: Suite | str | Path, *, seeds: int | Sequence[int] | None = None, only: str | None = None
) -> list[PlannedTrial]:
    """The trials of a suite; their data are not asked for, so `trial.data` is `None`.

    Args:
        suite: A suite, or its file or name.
        seeds: Instead of the suite's: how many, counted from 0, or which.
        only: Shell pattern that a trial's `task/optimizer/seed` must match, or either of its labels.

    Raises:
        UsageError: If the suite is not right, or nothing matches `only`.
    """
    suite = suite if isinstance(suite, Suite) else load_suite(suite)
    planned = expand(suite, _chosen_seeds(suite, seeds))
    if only is None:
        return planned
    matching = [entry for entry in planned if _matches(entry, only)]
    if not matching:
        raise UsageError(
            f"no trial of suite {suite.name!r} matches {only!r}; they are called task/optimizer/seed, "
            f"{planned[0].name!r} for one"
        )
    return matching


def run_suite(
    suite: Suite | str | Path,
    out: str | Path | None = None,
    *,
    device: str = "auto",
    seeds: int | Sequence[int] | None = None,
    only: str | None = None,
    data_root: str | Path = "data",
    download: bool = False,
    jobs: int = 1,
    progress: Progress | None = None,
) -> RunSummary:
    """Run every trial of a suite that has no record yet.

    A trial that ended `ok` or `diverged` is not run again; one that failed is. Whatever is wrong with the
    suite, the data or the folder is found before the first trial runs and before anything is written.

    Args:
        suite: A suite, or its file or name.
        out: Folder for the records; `results/runs/<suite>` by default.
        device: `"auto"` for CUDA, else MPS, else the CPU; or a device as torch names it.
        seeds: Instead of the suite's: how many, counted from 0, or which.
        only: Shell pattern that a trial's `task/optimizer/seed` must match, or either of its labels.
        data_root: Folder of the data sets.
        download: Whether a missing data set may be fetched.
        jobs: Trials side by side, each in a process of its own. Results are the same; their seconds are not.
        progress: Is told how it goes.

    Raises:
        UsageError: If the suite, the device, the data or the folder are not right.
    """
    began = time.perf_counter()
    with prepared(
        suite, out, device=device, seeds=seeds, only=only, data_root=data_root, download=download
    ) as ready:
        pending = [entry for entry in ready.planned if entry.trial.key not in ready.found]
        ready.try_problems(pending)
        folder = ready.folder
        if pending:
            _check_writable(folder)
        _relabel(folder, ready.suite.name, ready.planned, ready.found)
        unmeasured = _add_measures(ready)
        statuses = Counter(record["status"] for record in ready.found.values())

        environment = {**describe(ready.settings.device), "jobs": jobs}
        if progress is not None:
            progress.start(len(ready.planned), len(ready.found))
        for entry, outcome in _outcomes(ready, pending, jobs, progress):
            record = {
                "key": entry.trial.key,
                "record_version": RECORD_VERSION,
                "suite": ready.suite.name,
                "labels": entry.labels,
                "trial": entry.trial.as_dict(),
                "environment": environment,
                **outcome,
            }
            write_record(folder, record)
            statuses[record["status"]] += 1
            if progress is not None:
                progress.trial_finished(entry, record)
    seconds = time.perf_counter() - began
    return RunSummary(folder, len(pending), len(ready.found), dict(statuses), seconds, unmeasured)


def _outcomes(
    ready: Prepared, pending: Sequence[PlannedTrial], jobs: int, progress: Progress | None
) -> Iterator[tuple[PlannedTrial, dict[str, Any]]]:
    """Run trials, so many side by side, and give what their records say of each as it ends."""
    suite, settings, folder = ready.suite, ready.settings, ready.folder
    if jobs == 1:
        for entry in pending:
            if progress is not None:
                progress.trial_started(entry)
            yield entry, _run(entry, ready.tasks.get(entry.trial), settings, folder, suite)
        return
    waiting = iter(pending)
    running: dict[Future[dict[str, Any]], PlannedTrial] = {}
    with process_pool(jobs) as pool:
        try:
            while True:
                for entry in itertools.islice(waiting, jobs - len(running)):
                    if progress is not None:
                        progress.trial_started(entry)
                    running[pool.submit(_run_alone, entry, settings, folder, suite)] = entry
                if not running:
                    return
                done = wait(running, return_when=FIRST_COMPLETED).done
                # A killed process fails what runs beside it, not what has ended: that comes first.
                for future in sorted(done, key=lambda future: future.exception() is not None):
                    yield running.pop(future), future.result()
        except BrokenProcessPool:
            raise UsageError(
                "a process that ran a trial was killed, most often for want of memory; with fewer than "
                f"{jobs} jobs the same command goes on from here"
            ) from None
        finally:
            pool.shutdown(wait=False, cancel_futures=True)


def _run_alone(entry: PlannedTrial, settings: Settings, folder: Path, suite: Suite) -> dict[str, Any]:
    """Run a trial in a process of its own, which keeps the data sets that it has read."""
    with threads(suite.numerics.threads), full_precision():
        return _run(entry, Tasks().get(entry.trial), settings, folder, suite)


def _run(entry: PlannedTrial, task: Task, settings: Settings, folder: Path, suite: Suite) -> dict[str, Any]:
    """Run a trial as the suite says."""
    return run_trial(entry, task, settings, folder, save_weights=suite.save_weights, measures=suite.measures)


@dataclass(frozen=True)
class Prepared:
    """What a run knows before its first trial.

    Attributes:
        suite: What is run.
        folder: Of the records.
        settings: Device, numerics and data.
        tasks: The tasks, each made once.
        planned: All trials, with the digests of their data.
        found: Records of trials that need no further run, by key.
    """

    suite: Suite
    folder: Path
    settings: Settings
    tasks: Tasks
    planned: list[PlannedTrial]
    found: dict[str, dict[str, Any]]

    def try_problems(self, planned: Iterable[PlannedTrial]) -> None:
        """Build each task's problem once, at its first seed; see that every optimizer can spend its budget.

        Raises:
            UsageError: If a corruption would change nothing, a budget does not fit the task, and so on.
        """
        problems: dict[str, Problem] = {}
        seen: set[tuple[str, str]] = set()
        for entry in planned:
            trial, names = entry.trial, (entry.task_label, entry.optimizer_label)
            if names in seen:
                continue
            seen.add(names)
            if entry.task_label not in problems:
                try:
                    problems = {entry.task_label: self.tasks.get(trial).problem(trial.seed, self.settings)}
                except UsageError as error:
                    raise UsageError(f"task {entry.task_label!r}: {error}") from None
                except Exception:  # the trial's own failure, which its record will tell
                    continue
            problem, info = problems[entry.task_label], get_optimizer(trial.optimizer)
            rule = stopping_rule(info, trial)
            try:
                cost = trial_step_cost(trial, info, problem)
            except UsageError as error:
                raise UsageError(f"task {entry.task_label!r}: {error}") from None
            where = f"optimizer {entry.optimizer_label!r} on task {entry.task_label!r}"
            if not trial_budget(trial, rule).fits(cost):
                raise UsageError(f"{where}: the budget does not buy one step")
            if rule.patience is not None and not problem.has_validation:
                raise UsageError(
                    f"{where} stops early, and there is no validation split; leave it out there by "
                    f"`optimizers: {{{entry.optimizer_label}: false}}`"
                )


@contextmanager
def prepared(
    suite: Suite | str | Path,
    out: str | Path | None = None,
    *,
    device: str = "auto",
    seeds: int | Sequence[int] | None = None,
    only: str | None = None,
    data_root: str | Path = "data",
    download: bool = False,
) -> Iterator[Prepared]:
    """Plan the trials of a suite and read its data; inside the block the suite's numerics hold.

    Nothing is written. The arguments and errors are those of `run_suite`.
    """
    suite = suite if isinstance(suite, Suite) else load_suite(suite)
    planned = plan(suite, seeds=seeds, only=only)
    target = choose_device(device)
    _check_requirements(planned, target)
    location = DataLocation(Path(data_root), download)
    folder = RESULTS / suite.name if out is None else _output_folder(out)
    with threads(suite.numerics.threads), full_precision():
        tasks = Tasks()
        planned = [
            dataclasses.replace(
                entry, trial=dataclasses.replace(entry.trial, data=tasks.data_digest(entry, location))
            )
            for entry in planned
        ]
        settings = Settings(
            device=target,
            precision=suite.numerics.precision,
            channels_last=suite.numerics.channels_last,
            compile=suite.numerics.compile,
            location=location,
        )
        found = _found(folder, planned, suite)
        yield Prepared(suite, folder, settings, tasks, planned, found)


class Tasks:
    """The tasks of a run, each made once, so that trials share its data."""

    def __init__(self) -> None:
        self._tasks: dict[str, Task] = {}
        self._digests: dict[str, str | None] = {}

    def get(self, trial: Trial) -> Task:
        """The task of a trial."""
        name = self._name(trial)
        if name not in self._tasks:
            self._tasks[name] = get_task(trial.task).create(trial.options)
        return self._tasks[name]

    def data_digest(self, entry: PlannedTrial, location: DataLocation) -> str | None:
        """The digest of a trial's data; `None` where it has none."""
        name = self._name(entry.trial)
        if name not in self._digests:
            try:
                self._digests[name] = self.get(entry.trial).data_digest(location)
            except UsageError as error:
                raise UsageError(f"task {entry.task_label!r}: {error}") from None
        return self._digests[name]

    def _name(self, trial: Trial) -> str:
        return canonical_json([trial.task, trial.options])


def _chosen_seeds(suite: Suite, seeds: int | Sequence[int] | None) -> Sequence[int]:
    if seeds is None:
        return suite.seeds
    chosen = range(seeds) if isinstance(seeds, int) else seeds
    if not chosen:
        raise UsageError(f"seeds must be at least 1, not {seeds}")
    return chosen


def _matches(planned: PlannedTrial, pattern: str) -> bool:
    names = (planned.name, planned.task_label, planned.optimizer_label)
    return any(fnmatch.fnmatchcase(name, pattern.lower()) for name in names)


def _check_requirements(planned: Iterable[PlannedTrial], device: torch.device) -> None:
    for entry in planned:
        missing = [need for need in get_optimizer(entry.trial.optimizer).requires if need != device.type]
        if missing:
            raise UsageError(
                f"optimizer {entry.optimizer_label!r} cannot run on {device}: "
                f"it requires {', '.join(missing)}"
            )


def _found(folder: Path, planned: Iterable[PlannedTrial], suite: Suite) -> dict[str, dict[str, Any]]:
    """Records of trials that need no further run, by key; where weights are kept, those that have them."""
    found = {}
    for entry in planned:
        path = record_path(folder, entry.trial.key)
        if not path.exists() or (suite.save_weights and not weights_path(folder, entry.trial.key).exists()):
            continue
        record = read_record(path)
        if record["status"] in FINAL:
            found[record["key"]] = record
    return found


def _add_measures(ready: Prepared) -> int:
    """Take what the suite measures and records lack, where weights were kept; returns how many lack both."""
    unmeasured = 0
    for record in ready.found.values():
        missing = missing_measures(record, ready.suite.measures)
        if missing and weights_path(ready.folder, record["key"]).exists():
            measure_record(ready.folder, record, missing, ready.settings)
        elif missing:
            unmeasured += 1
    return unmeasured


def _relabel(
    folder: Path, suite: str, planned: Iterable[PlannedTrial], found: dict[str, dict[str, Any]]
) -> None:
    """Let records that are there already carry the names that the suite has now."""
    for entry in planned:
        record = found.get(entry.trial.key)
        if record is not None and (record["labels"], record["suite"]) != (entry.labels, suite):
            write_record(folder, {**record, "labels": entry.labels, "suite": suite})


def _output_folder(out: str | Path) -> Path:
    folder = Path(out)
    try:
        is_other = folder.exists() and not folder.is_dir()
    except OSError as error:
        raise UsageError(f"cannot write to the output folder {folder}: {error.strerror or error}") from None
    if is_other:
        raise UsageError(f"the output folder {folder} is a file")
    return folder


def _check_writable(folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as error:
        raise UsageError(f"cannot write to the output folder {folder}: {error.strerror or error}") from None


__all__ = ["RESULTS", "Prepared", "Progress", "RunSummary", "Tasks", "plan", "prepared", "run_suite"]
