"""The README keeps its word: its examples run, its commands are the ones that exist."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import typer

from rbobench import RBO
from rbobench.cli import app

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")
SUITE = """
name: readme
seeds: 1
budget: {gradient_evaluations: 60}
schedules: {lr: cosine}
evaluations: 2
optimizers:
  sign-descent: {lr: 0.01}
  rbo: {lr: 0.1, radius: 1.0, projection_lr: 0.005}
tasks:
  diabetes: {}
"""


def _block(language: str, containing: str) -> str:
    blocks = re.findall(rf"```{language}\n(.*?)```", README, flags=re.DOTALL)
    (block,) = (block for block in blocks if containing in block)
    return block


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the README's named examples in it."""
    folder = tmp_path_factory.mktemp("readme")
    examples = re.findall(r"<!-- example: (\S+) -->\n```python\n(.*?)```", README, flags=re.DOTALL)
    assert [name for name, _ in examples] == ["sign_descent.py", "diabetes.py"]
    for name, code in examples:
        (folder / name).write_text(code, encoding="utf-8")
    (folder / "readme.yaml").write_text(SUITE, encoding="utf-8")
    return folder


def _python(folder: Path, *arguments: str) -> str:
    done = subprocess.run([sys.executable, *arguments], cwd=folder, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_own_loop() -> None:
    names: dict[str, object] = {}
    exec(_block("python", "for inputs, targets in batches"), names)
    assert isinstance(names["optimizer"], RBO)
    assert float(names["loss"]) > 0  # type: ignore[arg-type]
    exec(_block("python", "schedules.apply"), names)
    assert names["optimizer"].param_groups[0]["radius"] == pytest.approx(0.1)


def test_geometry_example() -> None:
    names: dict[str, Any] = {}
    exec(_block("python", "critical_radii(graph)"), names)
    centers = np.column_stack([np.linspace(-3, 3, 7), names["heights"]])
    assert names["footpoint"](names["graph"], centers).distances == pytest.approx(np.ones(7), abs=1e-9)
    assert names["closure"].calls == 100
    assert names["point"].item() < 1.0  # downhill


def test_optimizer_example_meets_the_contract(folder: Path) -> None:
    command = re.search(r"^rbobench (check .*)$", README, flags=re.MULTILINE)
    assert command is not None
    assert "passed" in _python(folder, "-m", "rbobench.cli", *command[1].split())


def test_task_example_meets_the_contract(folder: Path) -> None:
    code = "from diabetes import DiabetesTask as Task; from rbobench.testing import check_task as check;"
    code += "print([result.status for result in check(Task())])"
    assert "failed" not in _python(folder, "-c", code)


def test_examples_run_in_a_suite(folder: Path) -> None:
    code = """
import diabetes, sign_descent
from rbobench import load_results, run_suite
diabetes.register(), sign_descent.register()
summary = run_suite("readme.yaml")
results = load_results(summary.out)
assert summary.statuses == {"ok": 2}, results["error"].tolist()
assert results["loss_last"].max() < 1.5, results["loss_last"]
print("ran", summary.ran)
"""
    assert "ran 2" in _python(folder, "-c", code)


def test_every_command_is_told() -> None:
    names = set(typer.main.get_command(app).commands)  # type: ignore[attr-defined]
    assert names == set(re.findall(r"^\| `rbobench (\w+)", README, flags=re.MULTILINE))


def test_test_command_is_the_one_of_the_checks() -> None:
    assert "\n.venv/bin/pytest -n 2\n" in README
    assert (ROOT / ".ci" / "run").read_text().rstrip().endswith("\npytest -n 2")


def test_links_lead_somewhere() -> None:
    targets = re.findall(r"\]\((?!https?:)([^)#]+)\)", README)
    assert targets
    assert [target for target in targets if not (ROOT / target).exists()] == []
