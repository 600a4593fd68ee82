"""What only a GPU can show: the contract on it, and suites from their file to the leaderboard.

Budgets are the smallest that show it; all of this takes a minute or two on one GPU.
"""

from __future__ import annotations

import gc
import itertools
import math
import shutil
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
import torch
from contract_expectations import EXPECTED_TO_FAIL, OWN, SKIPPED

from rbobench import load_results
from rbobench.cli import main
from rbobench.measures.catalog import GROUPS
from rbobench.optim.projection import PROJECTIONS
from rbobench.optim.rolling_ball import RBO
from rbobench.processes import full_precision, threads
from rbobench.registry import get_optimizer, get_task
from rbobench.runner.execution import RunSummary, run_suite
from rbobench.runner.measuring import measure_records, take_measures
from rbobench.runner.record import read_record, record_files, weights_path, write_record
from rbobench.runner.schema import Suite
from rbobench.tasks.task import Settings
from rbobench.testing import CHECKS, TASK_CHECKS, CheckResult, Subject, check_optimizer, check_task

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs CUDA")

DEVICE = "cuda"
WATCHED = "never_waits_for_the_device"

NOISE = {"kind": "symmetric", "rate": 0.4}
SMALL_VIT = {"img_size": 8, "patch_size": 4, "depth": 1, "embed_dim": 32, "num_heads": 2}
MLP = {"task": "digits", "batch_size": 64, "augmentation": "crop-flip", "label_noise": NOISE}
RESNET = {**MLP, "model": "resnet8"}
VIT = {**MLP, "model": "vit_tiny_patch16_224", "model_options": SMALL_VIT}
BALL = {"lr": 0.5, "radius": 1.0, "projection_steps": 4, "projection_lr": 0.05}
OPTIMIZERS = {
    "sgd": {"lr": 0.05, "momentum": 0.9},
    "rbo": BALL,
    "rbo-center": {"lr": 0.05, "momentum": 0.9, "radius": 1.0},
    "sam": {"lr": 0.05, "momentum": 0.9},
}


def suite(**changes: Any) -> Suite:
    content = {
        "name": "small",
        "seeds": 1,
        "budget": {"gradient_evaluations": 24},
        "evaluations": 24,
        "optimizers": OPTIMIZERS,
        "tasks": {"mlp": MLP},
    }
    return Suite.model_validate({**content, **changes})


def records(summary: RunSummary) -> dict[str, dict[str, Any]]:
    """The records of a run by task and optimizer, all of which must have gone well."""
    found = {}
    for path in record_files(summary.out):
        record = read_record(path)
        name = f"{record['labels']['task']}/{record['labels']['optimizer']}"
        assert (record["status"], record["error"]) == ("ok", None), name
        found[name] = record
    return found


def apart(one: Mapping[str, list[float]], two: Mapping[str, list[float]]) -> dict[str, float]:
    """The curves of two records that differ anywhere, each with the largest difference."""
    assert one.keys() == two.keys()
    gaps = {name: max(map(abs, map(float.__sub__, one[name], two[name]))) for name in one}
    return {name: gap for name, gap in gaps.items() if gap != 0.0}


def details(results: list[CheckResult], status: str) -> dict[str, str]:
    return {result.name: result.detail for result in results if result.status == status}


@pytest.mark.parametrize("name", OWN)
def test_optimizers_meet_the_contract(name: str) -> None:
    results = check_optimizer(get_optimizer(name), device=DEVICE)
    assert [result.name for result in results] == list(CHECKS)
    assert details(results, "failed") == {}
    assert details(results, "expected failure") == EXPECTED_TO_FAIL.get(name, {})
    assert details(results, "skipped") == SKIPPED[name]


@pytest.mark.parametrize("solver", sorted(set(PROJECTIONS) - {"exact"}))
def test_no_projection_waits_for_the_device(solver: str) -> None:
    subject = Subject(
        solver,
        lambda params: RBO(params, 0.05, 1.0, projection=solver, projection_steps=13),
        cost=13,
    )
    results = check_optimizer(
        subject, [WATCHED, "lr_zero_moves_nothing", "resume_is_bit_equal"], device=DEVICE
    )
    assert [(result.name, result.detail) for result in results if result.status != "passed"] == []


class Looks(torch.optim.SGD):
    """SGD that looks at the loss in some of its steps, counted from 1."""

    looks: frozenset[int]

    def __init__(self, params: Any) -> None:
        super().__init__(params, 0.05)
        self.steps = itertools.count(1)

    def step(self, closure=None):
        loss = super().step(closure)
        if next(self.steps) in self.looks:
            loss.item()
        return loss


@pytest.mark.parametrize(
    ("steps", "status", "text"),
    [
        ({1, 2}, "passed", ""),
        ({3}, "failed", "step 3 on Regression: called a synchronizing CUDA operation (test_cuda.py:"),
        ({6}, "failed", "step 6 on Regression: called a synchronizing CUDA operation (test_cuda.py:"),
    ],
)
def test_a_step_that_waits_is_found(steps: set[int], status: str, text: str) -> None:
    kind = type("LooksAtSome", (Looks,), {"looks": frozenset(steps)})
    before = torch.cuda.get_sync_debug_mode()
    (result,) = check_optimizer(kind, [WATCHED], device=DEVICE)
    assert (result.status, result.detail[: len(text)]) == (status, text)
    assert torch.cuda.get_sync_debug_mode() == before


def test_what_draws_from_the_devices_own_generator_is_found() -> None:
    class DrawsGlobally(torch.optim.SGD):
        def __init__(self, params: Any) -> None:
            super().__init__(params, 0.05)

        def step(self, closure=None):
            loss = super().step(closure)
            torch.rand(1, device=DEVICE)
            return loss

    (result,) = check_optimizer(DrawsGlobally, ["leaves_the_global_random_stream_alone"], device=DEVICE)
    assert (result.status, result.detail) == ("failed", "drew from torch's default generator")


def test_check_on_the_command_line(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["check", "torch.optim:Adam", "--device", "auto"]) == 0
    rows = [line.split() for line in capsys.readouterr().out.splitlines()]
    assert [WATCHED, "passed"] in rows


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("digits", {"label_noise": NOISE, "backdoor": {"kind": "badnets", "rate": 0.02}}),
        ("digits", {"model": VIT["model"], "model_options": {**SMALL_VIT, "proj_drop_rate": 0.2}}),
        ("eq14", {}),
    ],
    ids=["digits", "dropout", "eq14"],
)
def test_tasks_meet_the_contract(name: str, options: dict[str, Any]) -> None:
    with full_precision():
        results = check_task(get_task(name), options, device=DEVICE)
    assert [result.name for result in results] == list(TASK_CHECKS)
    assert details(results, "failed") == {}


SUITE = """
name: small
seeds: 1
budget: {gradient_evaluations: 40}
schedules: {lr: cosine}
evaluations: 4
save_weights: true
measures: [core, membership]
optimizers:
  sgd: {lr: 0.05, momentum: 0.9}
  rbo: {lr: 0.5, radius: 1.0, projection_steps: 4, projection_lr: 0.05}
  rbo-center: {lr: 0.05, momentum: 0.9, radius: 1.0}
  sam: {lr: 0.05, momentum: 0.9}
tasks:
  mlp: {task: digits, batch_size: 64, train_images: 300, label_noise: {kind: symmetric, rate: 0.4}}
  resnet8:
    task: digits
    model: resnet8
    augmentation: crop-flip
    batch_size: 64
    train_images: 300
    label_noise: {kind: symmetric, rate: 0.4}
"""


def rbobench(*arguments: str | Path) -> str:
    done = subprocess.run(
        [sys.executable, "-m", "rbobench.cli", *map(str, arguments)], capture_output=True, text=True
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def suite_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("suite") / "small.yaml"
    path.write_text(SUITE)
    return path


@pytest.fixture(scope="module")
def ran(suite_file: Path) -> tuple[Path, str]:
    """A folder of records that a GPU has written, and what the command line said."""
    out = suite_file.with_name("out")
    return out, rbobench("run", suite_file, "--out", out, "--device", DEVICE)


def test_a_suite_runs_to_its_leaderboard(ran: tuple[Path, str], suite_file: Path) -> None:
    out, said = ran
    assert "of all 8: 8 ok" in said
    found = [read_record(path) for path in record_files(out)]
    assert [record["status"] for record in found] == ["ok"] * 8
    name = torch.cuda.get_device_name()
    for record in found:
        assert record["environment"]["device"] == f"{DEVICE} ({name})"
        cost = record["cost"]
        assert cost["peak_memory_bytes"] > 0
        assert cost["train_seconds"] > 0
        assert cost["gradient_seconds"] is None
        assert {taken["device"] for taken in record["measures"].values()} == {f"{DEVICE}:0"}
        assert [name for name, taken in record["measures"].items() if "error" in taken] == []
    assert sorted(load_results(out)["optimizer"].unique()) == sorted(OPTIMIZERS)
    assert "rbo-center" in rbobench("leaderboard", out)
    again = rbobench("run", suite_file, "--out", out, "--device", DEVICE)
    assert again.startswith(f"nothing to run: all 8 trials have their records in {out}\n")


def test_weights_of_a_gpu_are_measured_on_the_cpu(ran: tuple[Path, str], tmp_path: Path) -> None:
    out, _ = ran
    taken = {}
    for path in record_files(out):
        record = read_record(path)
        if (record["labels"]["task"], record["labels"]["optimizer"]) == ("resnet8", "rbo"):
            taken = record["measures"]
            shutil.copy(weights_path(out, record["key"]), tmp_path)
            write_record(tmp_path, {**record, "measures": {}, "metrics": {}})
    assert measure_records(tmp_path, ["core", "membership"], device="cpu").added == 1
    (record,) = (read_record(path) for path in record_files(tmp_path))
    assert record["measures"].keys() == taken.keys()
    for name, result in record["measures"].items():
        assert result["device"] == "cpu"
        assert result["value"] == pytest.approx(taken[name]["value"], rel=1e-2), name


def test_the_cost_of_a_suite_is_predicted(suite_file: Path, tmp_path: Path) -> None:
    said = rbobench("cost", suite_file, "--out", tmp_path, "--device", DEVICE, "--only", "mlp/*")
    assert "\n4 trials, about " in said


@pytest.mark.parametrize(
    ("task", "numerics", "tolerance"),
    [
        (RESNET, {"channels_last": True}, 1e-4),
        (RESNET, {"precision": "bf16"}, 0.05),
        (MLP, {"compile": True}, 1e-4),
        (RESNET, {"compile": True}, 1e-4),
        (RESNET, {"precision": "bf16", "channels_last": True, "compile": True}, 0.05),
    ],
    ids=["channels_last", "bf16", "compile-mlp", "compile-resnet8", "all"],
)
def test_numerics_change_the_loss_by_rounding_alone(
    task: dict[str, Any], numerics: dict[str, Any], tolerance: float, tmp_path: Path
) -> None:
    ends = []
    for given in ({}, numerics):
        small = suite(
            optimizers={"sgd": {"lr": 0.05}, "rbo": BALL},
            tasks={"digits": task},
            budget={"gradient_evaluations": 12},
            evaluations=12,
            numerics=given,
        )
        ends.append(records(run_suite(small, tmp_path / f"{len(ends)}", device=DEVICE)))
    usual, other = ends
    for name, record in usual.items():
        loss = other[name]["curves"]["loss"]
        assert loss[0] == pytest.approx(record["curves"]["loss"][0], rel=tolerance), name
        assert all(map(math.isfinite, loss)), name


def test_a_trial_repeats_itself_bit_for_bit_alone_or_side_by_side(tmp_path: Path) -> None:
    small = suite(optimizers={**OPTIMIZERS, "entropy-sgd": {"lr": 1.0, "inner_steps": 4}})
    one, two, beside = (
        records(run_suite(small, tmp_path / f"{number}", device=DEVICE, jobs=jobs))
        for number, jobs in enumerate((1, 1, 2))
    )
    for name, record in one.items():
        assert apart(record["curves"], two[name]["curves"]) == {}, name
        assert apart(record["curves"], beside[name]["curves"]) == {}, name
        assert record["test_correct"] == two[name]["test_correct"] == beside[name]["test_correct"], name


@pytest.mark.parametrize(
    ("task", "tolerance"),
    [(MLP, 1e-4), (RESNET, 1e-4), (VIT, 1e-4), ({"task": "eq14", "optimizers": {"sam": False}}, 1e-9)],
    ids=["mlp", "resnet8", "vit", "eq14"],
)
def test_a_trial_begins_on_the_gpu_as_on_the_cpu(
    task: dict[str, Any], tolerance: float, tmp_path: Path
) -> None:
    optimizers = {
        "sgd": {"lr": 0.01},
        "rbo": {**BALL, "lr": 0.01, "projection_lr": 1e-3},
        "sam": {"lr": 0.01},
    }
    small = suite(optimizers=optimizers, tasks={"same": task})
    here, there = (records(run_suite(small, tmp_path / device, device=device)) for device in ("cpu", DEVICE))
    assert here.keys() == there.keys()
    for name, record in here.items():
        assert record["key"] == there[name]["key"]
        assert record["pairing"] == there[name]["pairing"], name
        assert record["corruption"] == there[name]["corruption"], name
        losses = record["curves"]["loss"][:5]
        assert there[name]["curves"]["loss"][:5] == pytest.approx(losses, rel=tolerance), name


MEMORY = 256 * 2**20
WIDE = 6500
"""Two layers so wide have weights that fit `MEMORY`, and gradients that do not fit beside them."""


@pytest.fixture
def little_memory() -> Iterator[None]:
    gc.collect()
    torch.cuda.empty_cache()
    torch.cuda.set_per_process_memory_fraction(MEMORY / torch.cuda.get_device_properties(0).total_memory)
    yield
    torch.cuda.set_per_process_memory_fraction(1.0)
    gc.collect()
    torch.cuda.empty_cache()


@pytest.mark.usefixtures("little_memory")
def test_want_of_memory_is_a_record_and_the_suite_goes_on(tmp_path: Path) -> None:
    tasks = {"wide": {**MLP, "model_options": {"hidden": [WIDE, WIDE]}}, "narrow": MLP}
    summary = run_suite(suite(tasks=tasks, optimizers={"sgd": {}}), tmp_path, device=DEVICE)
    assert summary.statuses == {"out_of_memory": 1, "ok": 1}
    ended = {record["labels"]["task"]: record for record in map(read_record, record_files(tmp_path))}
    assert ended["wide"]["status"] == "out_of_memory"
    assert "CUDA out of memory" in ended["wide"]["error"]
    # Nothing of the wide model was there any more.
    assert ended["narrow"]["cost"]["peak_memory_bytes"] < 4 * WIDE**2


@pytest.mark.parametrize(
    ("task", "names"),
    [
        ({"model": "resnet6"}, GROUPS["full"]),
        ({"model": VIT["model"], "model_options": SMALL_VIT}, GROUPS["core"]),
    ],
    ids=["resnet6", "vit"],
)
def test_measures_agree_with_the_cpu(task: dict[str, Any], names: tuple[str, ...]) -> None:
    info = get_task("digits")
    made = info.create(info.resolve({**task, "batch_size": 32, "train_images": 100}))
    here = made.problem(0, Settings())
    optimizer = torch.optim.SGD(here.parameters(), 0.05, momentum=0.9)
    for _ in range(40):
        here.objective.next_step()
        optimizer.step(here.objective)
    there = made.problem(0, Settings(device=torch.device(DEVICE)))
    there.module.load_state_dict(here.module.state_dict())
    with threads(1), full_precision():
        one, two = take_measures(here, names, 0), take_measures(there, names, 0)
    assert one.keys() == two.keys()
    errors = {name: taken["error"] for name, taken in two.items() if "error" in taken}
    assert errors == {}
    values = {name: (taken["value"], two[name]["value"]) for name, taken in one.items()}
    # As approx would, but telling all of them at once.
    assert {name: pair for name, pair in values.items() if not math.isclose(*pair, rel_tol=1e-2)} == {}
