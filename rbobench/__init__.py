"""rbobench: what is the Rolling Ball Optimizer worth?

Public names load on first use, so that `import rbobench` is light.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rbobench.analysis.leaderboard import leaderboard as leaderboard
    from rbobench.analysis.results import load_curves as load_curves
    from rbobench.analysis.results import load_results as load_results
    from rbobench.errors import UsageError as UsageError
    from rbobench.geometry.landscape import LandscapeClosure as LandscapeClosure
    from rbobench.optim.center import CenterRBO as CenterRBO
    from rbobench.optim.rolling_ball import RBO as RBO
    from rbobench.optim.schedule import Schedules as Schedules
    from rbobench.registry import Family as Family
    from rbobench.registry import OptimizerInfo as OptimizerInfo
    from rbobench.registry import TaskInfo as TaskInfo
    from rbobench.registry import create_optimizer as create_optimizer
    from rbobench.registry import list_optimizers as list_optimizers
    from rbobench.registry import list_tasks as list_tasks
    from rbobench.registry import register_optimizer as register_optimizer
    from rbobench.registry import register_optimizer_family as register_optimizer_family
    from rbobench.registry import register_task as register_task
    from rbobench.registry import register_task_family as register_task_family
    from rbobench.runner.execution import run_suite as run_suite
    from rbobench.runner.suite import load_suite as load_suite

__version__ = "0.1.0"

_HOMES = {
    "CenterRBO": "rbobench.optim.center",
    "LandscapeClosure": "rbobench.geometry.landscape",
    "RBO": "rbobench.optim.rolling_ball",
    "Schedules": "rbobench.optim.schedule",
    "UsageError": "rbobench.errors",
    "leaderboard": "rbobench.analysis.leaderboard",
    "load_curves": "rbobench.analysis.results",
    "load_results": "rbobench.analysis.results",
    "load_suite": "rbobench.runner.suite",
    "run_suite": "rbobench.runner.execution",
    **dict.fromkeys(
        (
            "Family",
            "OptimizerInfo",
            "TaskInfo",
            "create_optimizer",
            "list_optimizers",
            "list_tasks",
            "register_optimizer",
            "register_optimizer_family",
            "register_task",
            "register_task_family",
        ),
        "rbobench.registry",
    ),
}

__all__ = ["__version__", *_HOMES]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(importlib.import_module(_HOMES[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted(__all__)
