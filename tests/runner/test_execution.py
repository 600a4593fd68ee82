"""Suites run: every trial once, failures as records, mistakes before anything is written."""

from __future__ import annotations

import base64
import copy
import gc
import json
import weakref
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from rbobench import registry
from rbobench.errors import UsageError
from rbobench.geometry.landscape import LandscapeClosure
from rbobench.optim.rolling_ball import RBO
from rbobench.registry import OptimizerInfo, get_task
from rbobench.runner.execution import RunSummary, plan, run_suite
from rbobench.runner.record import read_record, record_files
from rbobench.runner.schema import Suite
from rbobench.runner.suite import load_suite
from rbobench.tasks.landscapes import Sine
from rbobench.tasks.task import Settings


def suite(**changes: Any) -> Suite:
    content = {
        "name": "small",
        "seeds": 2,
        "budget": {"gradient_evaluations": 24},
        "evaluations": 4,
        "optimizers": {"fake-sgd": {}, "fake-costly": {}},
        "tasks": {"fake-blobs": {}, "bowl": {"task": "fake-bowl"}},
    }
    return Suite.model_validate({**content, **changes})


BLOBS = {"fake-blobs": {}}


@pytest.fixture
def run(tmp_path: Path, data_root: Path) -> Callable[..., RunSummary]:
    def run(suite: Suite, out: str = "out", **options: Any) -> RunSummary:
        options = {"data_root": data_root, "device": "cpu", **options}
        return run_suite(suite, tmp_path / out, **options)

    return run


def records(summary: RunSummary) -> dict[str, dict[str, Any]]:
    found = {}
    for path in record_files(summary.out):
        record = read_record(path)
        labels = record["labels"]
        found[f"{labels['task']}/{labels['optimizer']}/{record['trial']['seed']}"] = record
    return found


class Listener:
    def __init__(self) -> None:
        self.told: list[Any] = []

    def start(self, total: int, done: int) -> None:
        self.told.append((total, done))

    def trial_started(self, planned) -> None:
        self.told.append(planned.name)

    def trial_finished(self, planned, record) -> None:
        self.told.append(record["status"])


def test_a_suite_becomes_records(run) -> None:
    summary = run(suite())
    assert (summary.ran, summary.found, summary.statuses) == (8, 0, {"ok": 8})
    found = records(summary)
    assert len(found) == 8
    record = found["fake-blobs/fake-sgd/1"]
    assert set(record) == {
        "key", "record_version", "suite", "status", "error", "trial", "labels", "metrics", "curves", "cost",
        "test_correct", "corruption", "pairing", "environment", "measures", "memorized_at", "weights",
    }  # fmt: skip
    assert record["suite"] == "small"
    assert record["labels"] == {
        "task": "fake-blobs",
        "optimizer": "fake-sgd",
        "controls": ["fake-short"],
        "task_name": "fake-blobs",
    }
    assert record["trial"]["task"]["data"].startswith("sha256:")
    assert record["trial"]["budget"] == {"gradient_evaluations": 24}
    assert record["metrics"]["test_accuracy_last"] == record["curves"]["test_accuracy"][-1]
    assert record["metrics"]["collapsed"] is False
    assert record["cost"]["gradient_evaluations"] == record["cost"]["steps"] == 24
    assert record["cost"]["unspent"] == 0
    assert found["fake-blobs/fake-costly/1"]["cost"]["steps"] == 6
    assert found["bowl/fake-sgd/0"]["metrics"].keys() == {"loss_last", "loss_best"}
    assert found["bowl/fake-sgd/0"]["test_correct"] is None


def test_a_radius_schedule_of_a_suite_file_reaches_the_ball(run, suite_file) -> None:
    def rolled(name: str, schedules: str) -> torch.Tensor:
        summary = run(
            load_suite(
                suite_file(f"""\
name: {name}
seeds: 1
budget: {{gradient_evaluations: 50}}
save_weights: true
schedules: {schedules}
optimizers:
  rbo: {{lr: 0.1, radius: 2.0, projection_steps: 5, projection_lr: 0.01}}
tasks:
  sine:
""")
            ),
            out=name,
        )
        assert summary.statuses == {"ok": 1}
        (weights,) = summary.out.glob("*.safetensors")
        return load_file(weights)["point"]

    (point,) = get_task("sine").create({}).problem(0, Settings()).parameters()
    ball = RBO([point], 0.1, 2.0, projection_steps=5, projection_lr=0.01)
    for step in range(10):
        ball.param_groups[0]["radius"] = 2.0 if step < 3 else 0.1 * 2.0
        ball.step(LandscapeClosure(Sine(), point))
    assert torch.equal(rolled("switched", "{radius: {name: switch, at: 0.3, final: 0.1}}"), point)
    assert not torch.equal(rolled("unscheduled", "{}"), point)


def test_the_test_images_that_were_right_are_kept_as_bits(run, blobs) -> None:
    record = records(run(suite(), only="fake-blobs/fake-sgd/0"))["fake-blobs/fake-sgd/0"]
    packed = record["test_correct"]
    bits = np.unpackbits(np.frombuffer(base64.b64decode(packed["bits"]), np.uint8), count=packed["count"])
    assert bits.mean() == record["metrics"]["test_accuracy_last"]


def test_a_second_run_runs_nothing(run) -> None:
    summary = run(suite())
    before = {path: path.stat().st_mtime_ns for path in summary.out.rglob("*")}
    listener = Listener()
    again = run(suite(), progress=listener)
    assert (again.ran, again.found, again.statuses) == (0, 8, {"ok": 8})
    assert listener.told == [(8, 8)]
    assert {path: path.stat().st_mtime_ns for path in again.out.rglob("*")} == before


def test_only_what_is_missing_is_run(run) -> None:
    run(suite(seeds=1))
    listener = Listener()
    assert (run(suite(), progress=listener)).ran == 4
    assert listener.told[:3] == [(8, 4), "fake-blobs/fake-sgd/1", "ok"]


def test_renamed_labels_reach_the_records_that_are_there(run) -> None:
    run(suite(tasks=BLOBS))
    renamed = run(suite(tasks={"points": {"task": "fake-blobs"}}))
    assert (renamed.ran, renamed.found) == (0, 4)
    assert {name.split("/")[0] for name in records(renamed)} == {"points"}


TIMES = (
    "seconds",
    "train_seconds",
    "warm_up_seconds",
    "evaluation_seconds",
    "gradient_seconds",
    "overhead_share",
)


def without_times(record: dict[str, Any]) -> dict[str, Any]:
    record = copy.deepcopy(record)
    for name in TIMES:
        del record["cost"][name]
    return record


def test_two_runs_are_equal_but_for_times(run) -> None:
    first, second = (records(run(suite(), out)) for out in ("first", "second"))
    assert {k: without_times(r) for k, r in first.items()} == {k: without_times(r) for k, r in second.items()}


def test_times_add_up(run) -> None:
    for record in records(run(suite())).values():
        cost = record["cost"]
        assert all(cost[name] > 0.0 for name in TIMES)
        assert cost["gradient_seconds"] < cost["train_seconds"]
        phases = cost["train_seconds"] + cost["warm_up_seconds"] + cost["evaluation_seconds"]
        assert phases < cost["seconds"]
        rest = cost["seconds"] - cost["gradient_seconds"] - cost["evaluation_seconds"]
        assert cost["overhead_share"] == pytest.approx(rest / cost["seconds"])


def test_a_trial_does_not_depend_on_those_before_it(run) -> None:
    alone = records(run(suite(), "alone", only="fake-blobs/fake-costly/1"))
    whole = records(run(suite(), "whole"))
    for name, record in alone.items():
        assert without_times(record) == without_times(whole[name])


def test_optimizers_under_one_seed_are_paired(run) -> None:
    found = records(run(suite(tasks=BLOBS)))
    for seed in (0, 1):
        first, second = (found[f"fake-blobs/{name}/{seed}"] for name in ("fake-sgd", "fake-costly"))
        assert first["pairing"] == second["pairing"]
        assert first["corruption"] == second["corruption"]
        assert None not in first["pairing"].values()
    assert found["fake-blobs/fake-sgd/0"]["pairing"] != found["fake-blobs/fake-sgd/1"]["pairing"]


def test_manifests_are_stored_by_their_hash(run) -> None:
    summary = run(suite(tasks=BLOBS))
    stored = {path.stem: json.loads(path.read_text()) for path in (summary.out / "manifests").iterdir()}
    assert len(stored) == 2, "one for each seed"
    for record in records(summary).values():
        (entry,) = record["corruption"]
        assert entry["changed"] == len(stored[entry["hash"]]["indices"])
        assert entry["kind"] == "label noise"


def test_a_diverging_trial_is_a_record_and_the_suite_goes_on(run) -> None:
    optimizers = {"wild": {"optimizer": "fake-sgd", "lr": 1e30}, "fake-sgd": {}}
    summary = run(suite(optimizers=optimizers))
    assert summary.statuses == {"diverged": 4, "ok": 4}
    record = records(summary)["bowl/wild/0"]
    assert record["status"] == "diverged"
    assert record["error"] is None
    assert record["curves"]["loss"][-1] is None
    assert run(suite(optimizers=optimizers)).ran == 0


@pytest.fixture
def moody() -> Iterator[type]:
    kind = registry.get_optimizer("fake-moody").factory
    yield kind
    kind.mood = None


@pytest.mark.parametrize(
    ("mood", "status", "text"),
    [
        (RuntimeError("no\nluck"), "failed", "RuntimeError: no luck (conftest.py:"),
        (MemoryError(), "out_of_memory", "MemoryError: no message"),
        (torch.OutOfMemoryError("CUDA out of memory"), "out_of_memory", "CUDA out of memory"),
        (RuntimeError("DefaultCPUAllocator: can't allocate memory"), "out_of_memory", "can't allocate"),
    ],
)
def test_a_failed_trial_is_a_record_and_is_tried_again(run, moody, mood, status: str, text: str) -> None:
    moody.mood = mood
    both = suite(optimizers={"fake-moody": {}, "fake-sgd": {}}, tasks=BLOBS)
    summary = run(both)
    assert summary.statuses == {status: 2, "ok": 2}
    record = records(summary)["fake-blobs/fake-moody/0"]
    assert text in record["error"]
    assert "\n" not in record["error"]
    moody.mood = None
    again = run(both)
    assert (again.ran, again.found, again.statuses) == (2, 2, {"ok": 4})
    assert records(again)["fake-blobs/fake-moody/0"]["error"] is None


def test_a_trial_out_of_memory_leaves_none_of_it_behind(run, moody, monkeypatch: pytest.MonkeyPatch) -> None:
    kind, problems = get_task("fake-blobs").factory, []
    build = kind.problem

    def tracked(self, seed: int, settings: Settings) -> Any:
        problem = build(self, seed, settings)
        problems.append(weakref.ref(problem))
        return problem

    monkeypatch.setattr(kind, "problem", tracked)
    moody.mood = MemoryError  # a class: an exception that is kept keeps its traceback
    gc.disable()
    try:
        summary = run(suite(optimizers={"fake-moody": {}}, tasks=BLOBS, seeds=1))
    finally:
        gc.enable()
    assert summary.statuses == {"out_of_memory": 1}
    assert problems
    assert [problem() for problem in problems] == [None] * len(problems)


def test_an_interrupted_run_goes_on_where_it_was(run, moody, tmp_path: Path) -> None:
    moody.mood = KeyboardInterrupt()
    both = suite(optimizers={"fake-sgd": {}, "fake-moody": {}}, tasks=BLOBS, save_weights=True)
    with pytest.raises(KeyboardInterrupt):
        run(both)
    assert len(record_files(tmp_path / "out")) == 1
    assert not list((tmp_path / "out").glob("*.part"))
    moody.mood = None
    assert run(both).ran == 3


def test_weights_are_kept_when_asked(run, blobs) -> None:
    summary = run(suite(tasks=BLOBS, save_weights=True, optimizers={"fake-averaged": {}}))
    for record in records(summary).values():
        weights = load_file(summary.out / f"{record['key']}.safetensors")
        problem = blobs()
        problem.module.load_state_dict(weights)
        assert problem.evaluate()["test_accuracy"] == record["metrics"]["test_accuracy_last"]
    assert not list(run(suite(tasks=BLOBS), "without").out.glob("*.safetensors"))


def test_early_stopping_restores_the_best(run) -> None:
    summary = run(
        suite(
            optimizers={"fake-early": {"lr": 0.5}},
            tasks=BLOBS,
            budget={"gradient_evaluations": 600},
            evaluations=60,
            save_weights=True,
        )
    )
    for record in records(summary).values():
        metrics, curve = record["metrics"], record["curves"]["validation_accuracy"]
        assert len(curve) < 60
        assert record["cost"]["unspent"] == 600 - 10 * len(curve)
        assert metrics["validation_accuracy_last"] == metrics["validation_accuracy_chosen"] == max(curve)
        packed = record["test_correct"]
        bits = np.unpackbits(np.frombuffer(base64.b64decode(packed["bits"]), np.uint8), count=packed["count"])
        assert bits.mean() == metrics["test_accuracy_last"]


def test_a_short_control_stops_at_its_share(run) -> None:
    found = records(run(suite(optimizers={"fake-short": {"matched": 4}, "fake-costly": {"evaluations": 4}})))
    short, costly = found["fake-blobs/fake-short/0"], found["fake-blobs/fake-costly/0"]
    assert short["cost"]["steps"] == costly["cost"]["steps"] == 6
    assert short["cost"]["unspent"] == 18
    assert short["curves"]["fraction"][-1] == 0.25


def test_threads_are_those_of_the_suite_and_are_put_back(run) -> None:
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        found = records(run(suite(numerics={"threads": 1}, tasks=BLOBS)))
        assert {record["environment"]["threads"] for record in found.values()} == {1}
        assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(before)


def test_results_go_to_the_suites_own_folder(data_root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(data_root.parent)
    summary = run_suite(suite(seeds=1), device="cpu", data_root="data")
    assert summary.out == Path("results/runs/small")
    assert len(record_files(data_root.parent / "results" / "runs" / "small")) == 4


@pytest.mark.parametrize(
    ("only", "count"),
    [("bowl", 4), ("fake-costly", 4), ("*/fake-sgd/0", 2), ("*/1", 4), ("BOWL/*/0", 2), ("*", 8)],
)
def test_a_plan_can_be_narrowed(only: str, count: int) -> None:
    assert len(plan(suite(), only=only)) == count


def test_seeds_can_be_given() -> None:
    assert {planned.trial.seed for planned in plan(suite(), seeds=3)} == {0, 1, 2}
    assert {planned.trial.seed for planned in plan(suite(), seeds=[7, 5])} == {5, 7}


def test_weights_that_are_asked_for_later_are_made(run) -> None:
    assert run(suite(tasks=BLOBS)).ran > 0
    again = run(suite(tasks=BLOBS, save_weights=True))
    assert again.found == 0
    assert len(list(again.out.glob("*.safetensors"))) == again.ran
    assert run(suite(tasks=BLOBS, save_weights=True)).ran == 0


def test_an_optimizer_that_goes_by_names_is_given_them(run, monkeypatch: pytest.MonkeyPatch) -> None:
    given = {}
    create = OptimizerInfo.create

    def spy(self, params, hyperparameters, **options):
        built = create(self, params, hyperparameters, **options)
        given[self.name] = built.param_groups[0].get("param_names")
        return built

    monkeypatch.setattr(OptimizerInfo, "create", spy)
    run(suite(optimizers={"asam": {"lr": 0.1}, "sam": {"lr": 0.1}}))
    assert given["asam"] == ["point"]
    assert given["sam"] is None


def test_a_problem_that_cannot_be_built_is_a_record_and_the_suite_goes_on(
    run, monkeypatch: pytest.MonkeyPatch
) -> None:
    bowl = get_task("fake-bowl").create({"dims": 2, "curvature": 1.0})

    def broken(*arguments):
        raise RuntimeError("boom")

    monkeypatch.setattr(type(bowl), "problem", broken)
    summary = run(suite(tasks={"fake-bowl": {}, "fake-blobs": {}}))
    assert summary.statuses["failed"] > 0
    assert summary.statuses["ok"] > 0


@pytest.mark.parametrize(
    ("changes", "options", "message"),
    [
        ({}, {"only": "nothing"}, "no trial of suite 'small' matches 'nothing'"),
        ({}, {"seeds": 0}, "seeds must be at least 1, not 0"),
        ({}, {"device": "abacus"}, "unknown device 'abacus'"),
        ({}, {"data_root": "elsewhere"}, "no blobs: put them at elsewhere/blobs.txt"),
        ({"optimizers": {"fake-quantum": {}}}, {}, "'fake-quantum' cannot run on cpu: it requires qubits"),
        ({"budget": {"epochs": 2}}, {}, "task 'bowl': an epoch budget needs a task with data"),
        (
            {"budget": {"epochs": 0.1}, "tasks": BLOBS},
            {},
            "optimizer 'fake-sgd' on task 'fake-blobs': the budget does not buy one step",
        ),
        ({"tasks": {"fake-blobs": {"noise": 1e-9}}}, {}, "the noise would change nothing"),
        (
            {"optimizers": {"fake-early": {}}},
            {},
            "'fake-early' on task 'bowl' stops early, and there is no validation split",
        ),
        ({"optimizers": {"fake-sdg": {}}}, {}, "optimizers.fake-sdg: unknown optimizer 'fake-sdg'"),
    ],
)
def test_mistakes_are_found_before_anything_is_written(
    run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, changes: dict, options: dict, message: str
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UsageError) as caught:
        run(suite(**changes), **options)
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)
    assert [path.name for path in tmp_path.iterdir()] == ["data"]


def test_an_output_folder_that_cannot_be_written_is_told(run, tmp_path: Path, moody) -> None:
    moody.mood = AssertionError("it ran")
    file = tmp_path / "file"
    file.write_text("")
    with pytest.raises(UsageError, match=r"the output folder .*file is a file"):
        run(suite(optimizers={"fake-moody": {}}), "file")
    with pytest.raises(UsageError, match=r"cannot write to the output folder .*file/below: Not a directory"):
        run(suite(optimizers={"fake-moody": {}}), "file/below")
