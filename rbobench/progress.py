"""What a person sees while a suite runs: a bar in a terminal, a line for each trial anywhere else."""

from __future__ import annotations

import math
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Protocol

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn

from rbobench.runner.execution import Progress as RunProgress
from rbobench.runner.trial import PlannedTrial


class Display(RunProgress, Protocol):
    """Is told how a run goes, and can say something of its own."""

    def say(self, message: str) -> None:
        """Show a line."""
        ...


@contextmanager
def progress_on_stderr() -> Iterator[Display]:
    """A display on stderr, which leaves stdout to the results."""
    console = Console(stderr=True, highlight=False)
    if not console.is_terminal:
        yield Lines(console)
        return
    columns = (BarColumn(), MofNCompleteColumn(), TextColumn("{task.fields[left]} {task.description}"))
    with Progress(*columns, console=console, transient=True) as progress:
        yield Bar(progress)


class TimeLeft:
    """Foretells what is left from the pace so far.

    Args:
        total: How many trials there are.
        done: How many need no running.
    """

    def __init__(self, total: int, done: int) -> None:
        self.total, self.done = total, done
        self._ran, self._began = 0, time.monotonic()

    def finish_one(self) -> None:
        """Count a trial that has been run."""
        self.done += 1
        self._ran += 1

    def __str__(self) -> str:
        if self._ran == 0 or self.done == self.total:
            return ""
        seconds = (time.monotonic() - self._began) / self._ran * (self.total - self.done)
        return f"about {spell_seconds(seconds)} left"


class Lines:
    """One line for each trial.

    Args:
        console: Where they go.
    """

    def __init__(self, console: Console) -> None:
        self._console = console
        self._left = TimeLeft(0, 0)

    def start(self, total: int, done: int) -> None:
        """Begin to count."""
        self._left = TimeLeft(total, done)

    def trial_started(self, planned: PlannedTrial) -> None:
        """Nothing: a trial has its line when it ends."""

    def trial_finished(self, planned: PlannedTrial, record: dict[str, Any]) -> None:
        """Write the trial's line."""
        self._left.finish_one()
        rest = f"; {self._left}" if str(self._left) else ""
        self.say(f"[{self._left.done}/{self._left.total}] {outcome(planned, record)}{rest}")

    def say(self, message: str) -> None:
        """Show a line."""
        self._console.print(message, markup=False, soft_wrap=True)


class Bar:
    """A bar, the time left and the current trial; a line above it for each trial that did not end well.

    Args:
        progress: rich's display, started.
    """

    def __init__(self, progress: Progress) -> None:
        self._progress = progress
        self._bar: TaskID | None = None
        self._left = TimeLeft(0, 0)

    def start(self, total: int, done: int) -> None:
        """Show the bar, where there is something to run."""
        self._left = TimeLeft(total, done)
        if done < total:
            self._bar = self._progress.add_task("", total=total, completed=done, left="")

    def trial_started(self, planned: PlannedTrial) -> None:
        """Name the trial beside the bar."""
        self._update(description=planned.name)

    def trial_finished(self, planned: PlannedTrial, record: dict[str, Any]) -> None:
        """Move the bar."""
        self._left.finish_one()
        self._update(completed=self._left.done, left=str(self._left))
        if record["status"] != "ok":
            self.say(outcome(planned, record))

    def say(self, message: str) -> None:
        """Show a line above the bar."""
        self._progress.console.print(message, markup=False, soft_wrap=True)

    def _update(self, **changes: Any) -> None:
        if self._bar is not None:
            self._progress.update(self._bar, **changes)


def outcome(planned: PlannedTrial, record: dict[str, Any]) -> str:
    """How a trial ended, in a line."""
    text = f"{planned.name}: {record['status']}"
    for metric, spelled in (("test_accuracy_last", "test accuracy"), ("loss_last", "loss")):
        value = record["metrics"].get(metric)
        if value is not None and math.isfinite(value) and record["status"] == "ok":
            text += f", {spelled} {value:.4g}"
    seconds = record["cost"].get("train_seconds")
    if seconds is not None:
        text += f", {seconds:.1f} s"
    return f"{text}: {record['error']}" if record["error"] else text


def spell_seconds(seconds: float) -> str:
    """Seconds as a person says them."""
    if seconds < 60:
        return f"{seconds:.0f} s"
    if seconds < 3600:
        return f"{seconds / 60:.0f} min"
    return f"{seconds / 3600:.1f} h"
