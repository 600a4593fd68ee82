"""Measures at the weights of trials: the same right after training as later from what was kept."""

from __future__ import annotations

import dataclasses
import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from safetensors.torch import load_file, save_file

from rbobench.analysis.results import load_measures, load_memorization, load_results
from rbobench.errors import UsageError
from rbobench.measures.catalog import GROUPS, MEASURES, expand
from rbobench.runner.execution import run_suite
from rbobench.runner.measuring import measure_records
from rbobench.runner.record import read_record, record_files, write_json
from rbobench.runner.schema import Suite

NOISY = {"train_images": 300, "batch_size": 32, "label_noise": {"kind": "symmetric", "rate": 0.4}}


def suite(**changes: Any) -> Suite:
    content = {
        "name": "measured",
        "seeds": 1,
        "budget": {"gradient_evaluations": 20},
        "evaluations": 4,
        "optimizers": {"sgd": {"lr": 0.1}},
        "tasks": {"digits": {"model": "mlp", **NOISY}},
        "save_weights": True,
    }
    return Suite.model_validate({**content, **changes})


@pytest.fixture
def run(tmp_path: Path) -> Callable[..., Path]:
    def run(out: str = "out", **changes: Any) -> Path:
        return run_suite(suite(**changes), tmp_path / out, device="cpu").out

    return run


def only_record(folder: Path) -> dict[str, Any]:
    (path,) = record_files(folder)
    return read_record(path)


def without_seconds(taken: dict[str, Any]) -> dict[str, Any]:
    return {
        name: {field: value for field, value in result.items() if field != "seconds"}
        for name, result in taken.items()
    }


@pytest.mark.parametrize("model", ["mlp", "resnet6"])
def test_measuring_later_gives_what_measuring_at_once_does(run, model: str) -> None:
    tasks = {"digits": {"model": model, **NOISY}}
    names = ["sam_gap", "worst_case_l2", "membership", "slice_1d"]
    at_once = only_record(run("at once", tasks=tasks, measures=names))
    folder = run("later", tasks=tasks, measures=["sam_gap"])
    assert measure_records(folder, names, device="cpu").added == 1
    later = only_record(folder)
    assert later["key"] == at_once["key"]
    assert without_seconds(later["measures"]) == without_seconds(at_once["measures"])
    for name in names:
        assert later["metrics"][name] == later["measures"][name]["value"]
        assert later["measures"][name]["cost"].keys() == {
            "gradient_evaluations",
            "forward_evaluations",
            "hessian_vector_products",
        }
    assert later["measures"]["sam_gap"]["cost"]["gradient_evaluations"] == 1
    assert ("sam_gap_reestimated" in later["measures"]) == (model == "resnet6")
    assert "membership_reestimated" not in later["measures"]
    again = measure_records(folder, names, device="cpu")
    assert (again.added, again.found, again.passed_over) == (0, 1, 0)


def test_a_suite_that_asks_for_more_measures_takes_them_from_the_weights(run) -> None:
    folder = run(measures=["sam_gap"])
    before = only_record(folder)
    measure_records(folder, ["membership"], device="cpu")
    after = only_record(run(measures=["sam_gap", "slice_1d"]))
    assert list(after["measures"]) == ["sam_gap", "membership", "slice_1d"]
    assert after["cost"] == before["cost"], "it was trained again"


def test_without_weights_a_finished_trial_stays_as_it_is(tmp_path: Path) -> None:
    for measures in ([], ["sam_gap"]):
        small = suite(save_weights=False, measures=measures)
        summary = run_suite(small, tmp_path, device="cpu")
    assert (summary.ran, summary.found, summary.unmeasured) == (0, 1, 1)
    assert only_record(tmp_path)["measures"] == {}


def test_a_measure_that_fails_loses_no_training(run, monkeypatch: pytest.MonkeyPatch) -> None:
    def fails(problem: Any, generator: Any) -> Any:
        raise RuntimeError("out of luck")

    working = MEASURES["sam_gap"]
    monkeypatch.setitem(MEASURES, "sam_gap", dataclasses.replace(working, take=fails))
    folder = run(measures=["sam_gap", "membership"])
    record = only_record(folder)
    assert record["status"] == "ok"
    assert record["measures"]["sam_gap"] == {"error": "RuntimeError: out of luck"}
    assert "sam_gap" not in record["metrics"]
    assert record["metrics"]["membership"] > 0
    assert load_measures(folder)["measure"].tolist() == ["membership"]
    failed = measure_records(folder, ["sam_gap"], device="cpu")
    assert failed.errors == ("digits/sgd/0: sam_gap: RuntimeError: out of luck",)
    monkeypatch.setitem(MEASURES, "sam_gap", working)
    assert measure_records(folder, ["sam_gap"], device="cpu").errors == ()
    assert only_record(folder)["metrics"]["sam_gap"] > 0


def test_landscapes_have_nothing_to_measure(run) -> None:
    folder = run(tasks={"eq14": {}}, optimizers={"sgd": {"lr": 0.01}}, measures=["core"])
    assert set(only_record(folder)["measures"].values()) == {None}
    done = measure_records(folder, ["trace"], device="cpu")
    assert (done.added, done.found, done.passed_over) == (0, 0, 1)
    assert load_measures(folder).empty


def test_measures_and_first_memorizations_become_frames(run) -> None:
    folder = run(budget={"gradient_evaluations": 400}, measures=["sam_gap"])
    measures = load_measures(folder)
    assert measures["measure"].tolist() == ["sam_gap"]
    assert measures["result"][0]["value"] == load_results(folder)["sam_gap"][0]
    memorized = load_memorization(folder)
    record = only_record(folder)
    (manifest,) = (json.loads(path.read_text()) for path in (folder / "manifests").glob("*.json"))
    assert set(memorized["position"]) <= set(manifest["indices"])
    points = record["curves"]["gradient_evaluations"]
    assert set(memorized["gradient_evaluations"].dropna()) <= set(points)
    # Whatever is memorized in the end was memorized for a first time by then.
    assert memorized["gradient_evaluations"].notna().mean() >= record["metrics"]["memorization_last"]
    first = (memorized["gradient_evaluations"] == points[0]).mean()
    assert first == pytest.approx(record["curves"]["memorization"][0])


@pytest.mark.parametrize(
    ("model", "options"),
    [
        ("resnet6", {}),
        (
            "vit_tiny_patch16_224",
            {"img_size": 8, "patch_size": 4, "depth": 1, "embed_dim": 16, "num_heads": 2},
        ),
    ],
)
def test_every_measure_is_json_with_a_value_an_uncertainty_and_its_cost(run, model: str, options) -> None:
    data = {"train_images": 60, "batch_size": 32}
    tasks = {"digits": {"model": model, "model_options": options, **data}}
    taken = only_record(run(tasks=tasks, measures=list(MEASURES)))["measures"]
    assert set(MEASURES) <= taken.keys()
    for name, result in taken.items():
        assert {"value", "uncertainty", "cost", "seconds", "device"} <= result.keys(), (name, result)
        assert math.isfinite(result["value"]), name
        assert sum(result["cost"].values()) > 0, name


def test_groups_stand_for_their_measures() -> None:
    assert expand(["core", "membership", "sam_gap"]) == (*GROUPS["core"], "membership")
    assert set(GROUPS["core"]) < set(GROUPS["full"])


def drop_weights(folder: Path) -> None:
    next(folder.glob("*.safetensors")).unlink()


def spoil_weights(folder: Path) -> None:
    next(folder.glob("*.safetensors")).write_bytes(b"not weights")


def forget_digest(folder: Path) -> None:
    """As in records of before there was one."""
    record = only_record(folder)
    record["weights"] = None
    write_json(folder / f"{record['key']}.json", record)


def spoil_old_weights(folder: Path) -> None:
    forget_digest(folder)
    spoil_weights(folder)


def damage(folder: Path) -> None:
    record = only_record(folder)
    del record["labels"]
    write_json(folder / f"{record['key']}.json", record)


def other_weights(folder: Path) -> None:
    forget_digest(folder)
    path = next(folder.glob("*.safetensors"))
    state = load_file(path)
    state.pop(next(iter(state)))
    save_file(state, path)


def other_manifest(folder: Path) -> None:
    record = only_record(folder)
    record["corruption"][0]["hash"] = "0" * 64
    write_json(folder / f"{record['key']}.json", record)


def other_data(folder: Path) -> None:
    record = only_record(folder)
    record["trial"]["task"]["data"] = "sha256:0"
    write_json(folder / f"{record['key']}.json", record)


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (
            drop_weights,
            r"1 of 1 trials in .* have no saved weights, digits/sgd/0 for one; a suite keeps them",
        ),
        (spoil_weights, r"digits/sgd/0: .*safetensors is not the file of weights that the trial wrote"),
        (spoil_old_weights, r"digits/sgd/0: .*safetensors has no weights of its model"),
        (other_weights, r"digits/sgd/0: .*safetensors has no weights of its model: .*Missing key"),
        (damage, r"is a damaged record: KeyError: 'labels'"),
        (other_manifest, r"digits/sgd/0: its manifests do not match what its corruption does"),
        (other_data, r"digits/sgd/0: the data under data are not those of the trial"),
    ],
)
def test_what_cannot_be_measured_is_refused_in_one_line(run, spoil, message: str) -> None:
    folder = run(measures=[])
    spoil(folder)
    before = only_record(folder)
    with pytest.raises(UsageError, match=message):
        measure_records(folder, ["sam_gap"], device="cpu")
    assert only_record(folder) == before


def test_an_unknown_measure_and_an_empty_folder_are_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="unknown measure 'sam-gap'; did you mean 'sam_gap'"):
        measure_records(tmp_path, ["sam-gap"])
    with pytest.raises(UsageError, match="no records in"):
        measure_records(tmp_path, ["sam_gap"])
    with pytest.raises(UsageError, match="there is no folder"):
        measure_records(tmp_path / "none", ["sam_gap"])


def test_trials_side_by_side_give_the_same_records(tmp_path: Path) -> None:
    small = suite(seeds=2, measures=["sam_gap"])
    results = [
        load_results(run_suite(small, tmp_path / str(jobs), device="cpu", jobs=jobs).out) for jobs in (1, 2)
    ]
    exact = [
        frame.drop(columns=[name for name in frame if "seconds" in name or name == "overhead_share"])
        for frame in results
    ]
    assert exact[0].equals(exact[1])


def test_a_ladder_runs_each_task_at_each_multiple(tmp_path: Path) -> None:
    climbing = suite(ladder=[0.5, 1, 2], save_weights=False, measures=[])
    frame = load_results(run_suite(climbing, tmp_path, device="cpu").out)
    assert frame["task"].tolist() == ["digits 0.5x", "digits 1x", "digits 2x"]
    assert frame["ladder"].tolist() == ["digits"] * 3
    assert frame["rung"].tolist() == [0.5, 1.0, 2.0]
    assert frame["gradient_evaluations"].tolist() == [10, 20, 40]
    assert (frame["label_noise_rate"] == 0.4).all()


@pytest.mark.parametrize(
    ("ladder", "message"),
    [
        ([2, 1], "multiples of the budget must ascend"),
        ([1, 1], "multiples of the budget must ascend"),
        ([], "must be a list of multiples"),
        (2, "must be a list of multiples"),
        ([0], "are numbers above 0"),
        (["two"], "are numbers above 0"),
    ],
)
def test_a_bad_ladder_is_refused(ladder: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        suite(ladder=ladder)
