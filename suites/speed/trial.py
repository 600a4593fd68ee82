"""One whole tiny trial."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

from .commit import offered
from .paired import one_thread

SUITE = """\
name: tiny
description: One trial of a moment
seeds: 1
budget: {gradient_evaluations: 100}
evaluations: 2
numerics: {threads: 1}
optimizers:
  sgd: {lr: 0.1}
tasks:
  digits: {task: digits, model: mlp, batch_size: 64}
"""


def require_suites() -> Callable[..., Any]:
    """What runs a suite.

    Raises:
        NotImplementedError: If the commit cannot run suites on digits.
    """
    offered("rbobench.tasks.datasets")
    offered("rbobench.tasks.models")
    run_suite: Callable[..., Any] = offered("rbobench.runner.execution", "run_suite")
    return run_suite


def run_tiny_suite(folder: Path) -> Path:
    """Run `SUITE`.

    Returns:
        The folder of its one record.

    Raises:
        NotImplementedError: If the commit cannot run suites on digits.
    """
    run_suite = require_suites()
    suite = folder / "tiny.yaml"
    suite.write_text(SUITE, encoding="utf-8")
    out = Path(tempfile.mkdtemp(dir=folder))
    run_suite(suite, out, device="cpu")
    return out


class Trial:
    """From a suite file to a record: data, network, training, evaluation."""

    version = "1"
    timeout = 300
    rounds = 2
    number = 1
    repeat = (3, 5, 5.0)
    warmup_time = 0.1

    def setup(self) -> None:
        """Skip on commits that cannot run it."""
        one_thread()
        require_suites()
        self._folder = Path(tempfile.mkdtemp())

    def time_trial(self) -> None:
        """Run it, to the last result."""
        import torch

        run_tiny_suite(self._folder)
        if torch.accelerator.is_available():
            torch.accelerator.synchronize()

    def teardown(self) -> None:
        """Remove the records."""
        shutil.rmtree(self._folder, ignore_errors=True)
