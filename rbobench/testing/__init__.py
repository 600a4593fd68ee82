"""The public contract: checks that our own tests run over the whole registry, for anyone's optimizer or task.

>>> from rbobench.testing import check_optimizer
>>> results = check_optimizer("my_package:MyOptimizer")  # doctest: +SKIP
"""

from __future__ import annotations

from rbobench.testing.checks import CHECKS, CheckResult, check_optimizer
from rbobench.testing.subject import Subject
from rbobench.testing.task_checks import TASK_CHECKS, check_task

__all__ = ["CHECKS", "TASK_CHECKS", "CheckResult", "Subject", "check_optimizer", "check_task"]
