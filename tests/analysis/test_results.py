from __future__ import annotations

import json
import math
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from rbobench.analysis.results import finished, load_curves, load_results, status
from rbobench.errors import UsageError

Write = Callable[..., Path]


def test_one_row_for_each_trial_in_order(write: Write) -> None:
    for optimizer, seed in (("sgd", 1), ("rbo", 0), ("sgd", 0)):
        folder = write(optimizer=optimizer, seed=seed, metrics={"test_accuracy_last": 0.9, "extra": None})
    frame = load_results(folder)
    assert list(zip(frame["optimizer"], frame["seed"], strict=True)) == [("rbo", 0), ("sgd", 0), ("sgd", 1)]
    assert frame["key"].str.fullmatch("[0-9a-f]{64}").all()
    assert frame["controls"].iloc[0] == ("rbo-null", "sgd-short", "sgd-repeat")
    assert (frame["budget"] == 3000).all()
    assert (frame["hp_lr"] == 0.1).all()
    assert frame["extra"].isna().all()
    assert frame["corruption_hash"].isna().all()


def test_columns_that_are_always_there(write: Write) -> None:
    frame = load_results(write(status="failed"))
    for name in (
        "test_accuracy_last",
        "test_accuracy_chosen",
        "loss_last",
        "gradient_evaluations",
        "train_seconds",
    ):
        assert frame[name].dtype == "float64"
        assert frame[name].isna().all()


def test_other_files_are_passed_over(write: Write) -> None:
    folder = write()
    (folder / "notes.json").write_text("nothing")
    (folder / "manifests").mkdir()
    (folder / "manifests" / f"{'a' * 64}.json").write_text("{}")
    assert len(load_results(folder)) == 1


def test_a_trial_found_twice_counts_once(
    tmp_path: Path, write: Write, record_maker: Callable[..., dict[str, Any]]
) -> None:
    from rbobench.runner.record import write_record

    folder = write()
    (tmp_path / "more").mkdir()
    for seed in (0, 1):
        write_record(tmp_path / "more", record_maker(seed=seed))
    assert list(load_results(folder, tmp_path / "more")["seed"]) == [0, 1]


def test_an_edited_suite_does_not_mix_its_results(write: Write) -> None:
    for radius in (1.0, 5.0):
        folder = write(optimizer="rbo", hyperparameters={"lr": 1.0, "radius": radius})
    write(optimizer="sgd")
    assert list(load_results(folder)["optimizer"]) == ["rbo [radius=1.0]", "rbo [radius=5.0]", "sgd"]
    write(optimizer="sgd", options={"label_noise": {"kind": "clean", "rate": 0.2}})
    tasks = set(load_results(folder)["task"])
    assert tasks == {"clean [label_noise.rate=none]", "clean [label_noise.rate=0.2]"}


def test_schedules_are_told_apart(tmp_path: Path, record_maker: Callable[..., dict[str, Any]]) -> None:
    from rbobench.runner.record import write_record
    from rbobench.runner.trial import digest

    for radius in ("exponential", {"name": "switch", "at": 0.3, "final": 0.1}):
        record = record_maker(optimizer="rbo")
        record["trial"]["schedules"]["radius"] = radius
        write_record(tmp_path, {**record, "key": digest(record["trial"])})
    assert list(load_results(tmp_path)["optimizer"]) == [
        "rbo [schedules.radius=exponential]",
        "rbo [schedules.radius=switch(at=0.3, final=0.1)]",
    ]


def test_curves_are_long(write: Write) -> None:
    curves = {
        "gradient_evaluations": [10, 20],
        "fraction": [0.5, 1.0],
        "loss": [2, None],
        "test_accuracy": [0.1, 0.2],
    }
    frame = load_curves(write(curves=curves, seed=3))
    columns = ["key", "task", "optimizer", "seed", "gradient_evaluations", "fraction", "metric", "value"]
    assert list(frame.columns) == columns
    assert len(frame) == 4
    assert frame.query("metric == 'test_accuracy'")["value"].tolist() == [0.1, 0.2]
    assert frame["value"].isna().sum() == 1


def test_curves_of_trials_without_any(write: Write) -> None:
    assert load_curves(write(status="failed")).empty


def test_status_counts(write: Write) -> None:
    for seed, end in enumerate(("ok", "ok", "diverged", "out_of_memory")):
        folder = write(seed=seed, status=end)
    (row,) = status(folder).to_dict("records")
    assert math.isnan(row.pop("overhead"))
    assert row == {
        "task": "clean",
        "optimizer": "sgd",
        "trials": 4,
        "ok": 2,
        "diverged": 1,
        "failed": 0,
        "timeout": 0,
        "out_of_memory": 1,
    }


def test_status_tells_overhead_by_time(write: Write) -> None:
    write(seed=0, cost={"seconds": 10.0, "overhead_share": 0.1})
    write(seed=1, cost={"seconds": 30.0, "overhead_share": 0.5})
    (row,) = status(write(seed=2)).to_dict("records")  # an older record, which does not tell
    assert row["overhead"] == pytest.approx((1.0 + 15.0) / 40.0)


def test_what_finished(write: Write) -> None:
    for seed, collapsed in enumerate((True, False, None)):
        folder = write(seed=seed, metrics={"collapsed": collapsed})
    write(seed=3, status="diverged", metrics={"collapsed": False})
    assert finished(load_results(folder)).tolist() == [False, True, True, False]


def test_a_folder_without_records(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="no records in"):
        load_results(tmp_path)
    with pytest.raises(UsageError, match="there is no folder"):
        load_results(tmp_path / "absent")


DAMAGES: dict[str, Callable[[dict[str, Any]], Any]] = {
    "no trial": lambda record: record.pop("trial"),
    "no labels": lambda record: record.pop("labels"),
    "controls no list": lambda record: record["labels"].update(controls="rbo"),
    "no budget": lambda record: record["trial"].update(budget={}),
    "unknown status": lambda record: record.update(status="fine"),
    "metrics a list": lambda record: record.update(metrics=[]),
    "a metric a text": lambda record: record.update(metrics={"loss_last": "low"}),
    "ragged curves": lambda record: record.update(curves={"fraction": [1], "gradient_evaluations": [1, 2]}),
    "curves without axes": lambda record: record.update(curves={"loss": [1]}),
    "unknown version": lambda record: record.update(record_version=99),
    "another's key": lambda record: record.update(key="0" * 64),
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_record_is_named(write: Write, damage: str) -> None:
    folder = write()
    (path,) = folder.glob("*.json")
    record = json.loads(path.read_text())
    DAMAGES[damage](record)
    path.write_text(json.dumps(record))
    with pytest.raises(UsageError, match=path.name) as caught:
        load_results(folder)
    assert "\n" not in str(caught.value)


def test_half_a_record_is_named(write: Write) -> None:
    folder = write()
    (path,) = folder.glob("*.json")
    path.write_text(path.read_text()[:100])
    with pytest.raises(UsageError, match=path.name):
        load_curves(folder)


def test_imports_stay_light() -> None:
    code = (
        "import sys, rbobench.analysis.leaderboard, rbobench.analysis.tables, rbobench.analysis.figures;"
        "assert not {'torch', 'matplotlib', 'seaborn', 'scipy.stats'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
