"""A task by the name that a suite gives it, or that it is registered under."""

from __future__ import annotations

from pathlib import Path

from rbobench.errors import UsageError, unknown
from rbobench.registry import get_task
from rbobench.runner.suite import load_suite
from rbobench.runner.yaml_reader import parse_yaml
from rbobench.tasks.datasets import FOLDER
from rbobench.tasks.task import Task


def named_task(name: str, options: str = "") -> Task:
    """Make a task.

    Args:
        name: `suite/task`, the task by its label in a suite (a file or a shipped one), or a registered name.
        options: Of the task, over those of the suite: a YAML mapping, `backdoor: {kind: badnets, rate: 0.1}`.

    Raises:
        UsageError: If there is no such suite, task or option.
    """
    given = parse_yaml(options, Path("options")).data if options.strip() else {}
    suite_name, slash, label = name.rpartition("/")
    if not slash or name.lower().startswith(FOLDER):
        info = get_task(name)
        return info.create(info.resolve(given))
    tasks = load_suite(suite_name).tasks
    if label not in tasks:
        raise UsageError(f"suite {suite_name!r}: {unknown('task', label, tasks)}")
    entry = tasks[label]
    info = get_task(entry.task or label)
    return info.create(info.resolve({**entry.options, **given}))
