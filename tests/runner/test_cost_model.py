"""The cost model against closed forms, against the training loop, and on suites from end to end."""

from __future__ import annotations

import dataclasses
import json
import math
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from rbobench.errors import UsageError
from rbobench.registry import get_optimizer
from rbobench.runner import calibration
from rbobench.runner.budget import Budget, step_cost
from rbobench.runner.calibration import BatchTimes, StepTimes, TaskTimes, UpdateTimes
from rbobench.runner.clock import Clock
from rbobench.runner.cost_model import (
    TOTAL,
    Evaluations,
    Group,
    Prediction,
    Scale,
    draw_seconds,
    gradient_seconds,
    growth,
    points,
    predict,
    side_by_side,
    step_seconds,
    steps,
    suite_seconds,
    table,
    together,
    trial_seconds,
    update_seconds,
)
from rbobench.runner.execution import run_suite
from rbobench.runner.record import read_record, record_files, write_record
from rbobench.runner.schema import Suite
from rbobench.runner.training import train

TIMES = TaskTimes(
    whole=BatchTimes(batch=64, gradient=3.0, draw=1.0),
    half=BatchTimes(batch=32, gradient=2.0, draw=0.6),
    samples_per_epoch=640,
    parameters=1000,
    point=7.0,
    reestimation=11.0,
    loop=0.25,
    set_up=13.0,
    warm_up=17.0,
    final=19.0,
)
LANDSCAPE = dataclasses.replace(TIMES, whole=BatchTimes(1, 3.0, 1.0), half=None, samples_per_epoch=None)


def group(**changes: Any) -> Group:
    content: dict[str, Any] = {
        "task": "task",
        "optimizer": "ball",
        "keys": ("a", "b"),
        "done": frozenset(),
        "unit": "gradient_evaluations",
        "limit": 105,
        "evaluated": Evaluations(cost=10, calls=10),
        "twice": Evaluations(cost=19, calls=19),
        "times": TIMES,
        "step": StepTimes(36.25, UpdateTimes(step=5.0, twice_evaluations=9.0, twice_parameters=6.0)),
        "points": 5,
    }
    return Group(**{**content, **changes})


def test_a_trial_is_the_sum_of_its_pieces() -> None:
    seconds = trial_seconds(group())
    assert steps(group()) == 10
    assert seconds.gradient == 10 * 10 * 3.0
    assert seconds.update == 10 * 5.0
    assert seconds.draw == 10 * 1.0
    assert seconds.loop == 10 * 0.25
    assert seconds.evaluation == 5 * 7.0 + 19.0  # 100 of 105: the fifth point is where the steps end
    assert seconds.training == 362.5
    assert seconds.clocked == 362.5 + 54.0 + 17.0
    assert seconds.total == seconds.clocked + 13.0


def test_statistics_taken_anew_cost_at_every_measurement_and_at_the_last() -> None:
    plain, anew = trial_seconds(group()), trial_seconds(group(reestimates=True))
    assert anew.evaluation - plain.evaluation == (5 + 1) * 11.0


def test_every_evaluation_that_resamples_draws() -> None:
    assert step_seconds(group(resamples=True, step=None)).draw == 10.0


def test_part_of_a_batch_saves_what_grows_with_the_batch() -> None:
    looking = group(evaluated=Evaluations(cost=5.5, calls=10), contact_fraction=0.5, step=None)
    assert step_seconds(looking).gradient == 3.0 + 9 * 2.0
    assert steps(looking) == 19


def test_a_share_of_the_budget_is_all_that_is_spent() -> None:
    short = group(share=0.5)
    assert steps(short) == 5
    assert trial_seconds(short).training == 5 * step_seconds(short).training


@pytest.mark.parametrize(("resamples", "count"), [(False, 25), (True, 2)])
def test_epochs_buy_batches(resamples: bool, count: int) -> None:
    by_epochs = group(unit="epochs", limit=2.5, resamples=resamples)
    assert steps(by_epochs) == count
    assert steps(by_epochs, Scale(batch=0.5)) == (2 * count if not resamples else 5)


def test_a_budget_in_seconds_is_what_training_takes() -> None:
    by_seconds = group(unit="seconds", limit=400.0, share=0.5)
    assert trial_seconds(by_seconds).training == pytest.approx(200.0)
    assert trial_seconds(by_seconds, Scale(budget=3.0)).training == pytest.approx(600.0)
    assert trial_seconds(by_seconds, Scale(evaluations=2.0)).training == pytest.approx(200.0)
    assert steps(by_seconds) == math.ceil(200.0 / 36.25)


def test_what_could_not_be_timed_counts_as_nothing() -> None:
    failing = trial_seconds(group(step=None))
    assert failing.update == 0.0
    assert failing.gradient == trial_seconds(group()).gradient


def test_pieces_take_longer_together() -> None:
    slower = group(step=StepTimes(2 * 36.25, UpdateTimes(5.0, 9.0, 6.0)))
    assert (together(group()), together(slower)) == (1.0, 2.0)
    for scale in (Scale(), Scale(evaluations=2.0), Scale(batch=2.0, parameters=3.0)):
        one, other = step_seconds(group(), scale), step_seconds(slower, scale)
        assert other.training == pytest.approx(2 * one.training)
    assert trial_seconds(slower).evaluation == trial_seconds(group()).evaluation


def test_pieces_are_linear_in_what_they_grow_with() -> None:
    assert [gradient_seconds(TIMES, batch=batch) for batch in (0.5, 1.0, 2.0, 3.0)] == [2.0, 3.0, 5.0, 7.0]
    assert gradient_seconds(TIMES, batch=2.0, parameters=3.0) == 1.0 + 6.0 * 2.0
    assert draw_seconds(TIMES, batch=2.0) == pytest.approx(1.8)
    update = UpdateTimes(5.0, twice_evaluations=9.0, twice_parameters=6.0)
    assert update_seconds(update, evaluations=3.0) == 13.0
    assert update_seconds(update, parameters=3.0) == 7.0


def test_without_a_second_time_all_is_proportional() -> None:
    whole = dataclasses.replace(TIMES, half=None)
    assert gradient_seconds(whole, batch=2.0) == 6.0
    assert gradient_seconds(whole, parameters=2.0) == 6.0
    assert gradient_seconds(LANDSCAPE, batch=2.0) == 3.0  # there is no batch
    assert update_seconds(UpdateTimes(5.0), parameters=3.0) == 15.0
    assert update_seconds(UpdateTimes(5.0), evaluations=3.0) == 5.0


@pytest.mark.parametrize("half", [2.9, 4.0, 0.1])
def test_noise_makes_no_piece_shrink_as_a_batch_grows(half: float) -> None:
    noisy = dataclasses.replace(TIMES, half=BatchTimes(32, half, 0.5))
    assert 3.0 <= gradient_seconds(noisy, batch=2.0) <= 6.0
    assert gradient_seconds(noisy) == pytest.approx(3.0)
    shrinking = UpdateTimes(5.0, twice_evaluations=4.0, twice_parameters=4.0)
    assert update_seconds(shrinking, evaluations=2.0, parameters=2.0) == 5.0


@pytest.mark.parametrize(
    ("name", "evaluations", "unit", "limit", "share", "count"),
    [
        ("fake-sgd", 1, "gradient_evaluations", 40, 1.0, 5),
        ("fake-sgd", 1, "gradient_evaluations", 7, 1.0, 5),
        ("fake-sgd", 1, "gradient_evaluations", 3, 1.0, 20),
        ("fake-costly", 3, "gradient_evaluations", 10, 1.0, 5),
        ("fake-costly", 7, "gradient_evaluations", 100, 1.0, 20),
        ("fake-costly", 7, "gradient_evaluations", 100, 0.3, 3),
        ("fake-costly", 4, "gradient_evaluations", 49, 1.0, 1),
        ("fake-fresh", 4, "epochs", 2.0, 1.0, 3),
        ("fake-sgd", 1, "epochs", 1.7, 1.0, 4),
    ],
)
def test_steps_and_points_are_those_of_the_training_loop(
    blobs, name: str, evaluations: int, unit: Any, limit: float, share: float, count: int
) -> None:
    info = get_optimizer(name)
    given = info.resolve({"evaluations": evaluations} if "costly" in name or "fresh" in name else {})
    problem = blobs(resamples=info.resamples)
    training = train(
        problem,
        info.create(problem.parameters(), given),
        Budget(unit, limit, share),
        Clock(torch.device("cpu")),
        step_cost=step_cost(unit, problem, info.cost(given), info.resamples),
        evaluations=count,
    )
    times = dataclasses.replace(
        TIMES, whole=BatchTimes(problem.samples_per_batch, 3.0, 1.0), half=None, samples_per_epoch=48
    )
    predicted = group(
        unit=unit,
        limit=limit,
        share=share,
        points=count,
        evaluated=Evaluations(evaluations, evaluations),
        times=times,
        resamples=info.resamples,
    )
    assert steps(predicted) == training.steps
    assert points(predicted, training.steps) == len(training.curves["fraction"])


def test_growth_of_a_closed_form() -> None:
    plain = group(
        keys=("a",),
        limit=100,
        points=1,
        step=StepTimes(36.0, UpdateTimes(step=5.0, twice_evaluations=9.0, twice_parameters=6.0)),
        times=dataclasses.replace(TIMES, point=0.0, loop=0.0, set_up=0.0, warm_up=0.0, final=0.0),
    )
    prediction = Prediction("small", "cpu", (plain,))
    frame = growth(prediction).set_index("doubled")
    step = 10 * 3.0 + 5.0 + 1.0
    twice = 19 * 3.0 + 9.0 + 1.0
    assert frame.loc["nothing", "seconds"] == 10 * step
    assert frame.loc["nothing", "ratio"] == 1.0
    assert frame.loc["budget T", "seconds"] == 20 * step
    assert frame.loc["evaluations P, equal steps", "seconds"] == 10 * twice
    assert frame.loc["evaluations P, equal budget", "seconds"] == 5 * twice  # 5 · 19 of 100
    assert frame.loc["batch", "seconds"] == pytest.approx(10 * (10 * 5.0 + 5.0 + 1.8))
    assert frame.loc["parameters", "seconds"] == pytest.approx(10 * (10 * 5.0 + 6.0 + 1.0))
    assert "1 of the 1" in frame.loc["batch", "basis"]
    assert "assumed" not in frame.loc["batch", "basis"]
    without = Prediction("small", "cpu", (group(times=dataclasses.replace(TIMES, half=None)),))
    assert "assumed" in growth(without).set_index("doubled").loc["batch", "basis"]


def test_an_optimizer_without_such_a_hyperparameter_does_not_grow_with_it() -> None:
    prediction = Prediction("small", "cpu", (group(twice=None, step=StepTimes(40.0, UpdateTimes(5.0))),))
    assert suite_seconds(prediction, Scale(evaluations=2.0)) == suite_seconds(prediction)


def test_a_suite_is_its_trials_and_its_start() -> None:
    half_done = group(done=frozenset({"a"}))
    prediction = Prediction("small", "cpu", (group(), half_done), start_up=100.0)
    each = trial_seconds(group()).total
    assert prediction.seconds == pytest.approx(100.0 + 4 * each)
    assert prediction.left == pytest.approx(100.0 + 3 * each)
    assert prediction.trials == 4
    all_done = group(done=frozenset({"a", "b"}))
    assert Prediction("small", "cpu", (all_done,), start_up=100.0).left == 0.0
    frame = table(prediction)
    assert frame["left"].tolist() == [2, 1]
    assert frame["seconds"].sum() == pytest.approx(4 * each)
    assert frame[["gradient", "update", "evaluation", "rest"]].sum(axis=1).tolist() == pytest.approx(
        [1.0, 1.0]
    )


def record(folder: Path, key: str, status: str = "ok", **cost: float) -> None:
    spent = {"train_seconds": 300.0, "warm_up_seconds": 20.0, "evaluation_seconds": 50.0, **cost}
    write_record(folder, {"key": key, "record_version": 1, "status": status, "cost": spent})


def test_predicted_and_measured_side_by_side(tmp_path: Path) -> None:
    keys = [digit * 64 for digit in "0123456"]
    old, new = group(keys=tuple(keys[:3])), group(optimizer="other", keys=tuple(keys[3:6]))
    unseen = group(optimizer="unseen", keys=(keys[6],))
    prediction = Prediction("small", "cpu", (old, new, unseen))
    record(tmp_path, keys[0])
    record(tmp_path, keys[1], "diverged")
    record(tmp_path, keys[2], "failed")
    record(tmp_path, keys[3], seconds=1000.0, gradient_seconds=250.0)
    record(tmp_path, "f" * 64, seconds=1e9)  # of another suite
    frame = side_by_side(prediction, tmp_path)
    each = trial_seconds(old)
    assert frame["optimizer"].tolist() == ["ball", "other", ""]
    assert frame["trials"].tolist() == [2, 1, 3]
    assert frame["measured"].tolist() == [740.0, 1000.0, 1740.0]
    assert frame["predicted"].tolist() == pytest.approx(
        [2 * each.clocked, each.total, 2 * each.clocked + each.total]
    )
    assert frame["ratio"].tolist() == pytest.approx((frame["measured"] / frame["predicted"]).tolist())
    assert frame["measured_training"].tolist() == [600.0, 300.0, 900.0]
    assert frame["measured_gradient"].isna().tolist() == [True, False, True]
    assert frame["task"].iloc[-1] == TOTAL


def test_nothing_to_compare_is_told(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="no finished trial of suite 'small'"):
        side_by_side(Prediction("small", "cpu", (group(),)), tmp_path)


def digits(**changes: Any) -> Suite:
    content = {
        "name": "small",
        "seeds": 2,
        "budget": {"gradient_evaluations": 40},
        "evaluations": 2,
        "schedules": {"lr": "cosine"},
        "optimizers": {
            "sgd-early": {"lr": 0.1, "momentum": 0.9},
            "rbo": {"lr": 1.0, "radius": 1.0, "projection_steps": 5, "projection_lr": 0.05},
        },
        "tasks": {"digits": {"model": "mlp", "batch_size": 64}, "sine": {"optimizers": {"sgd-early": False}}},
    }
    return Suite.model_validate({**content, **changes})


@pytest.fixture(autouse=True)
def one_round(monkeypatch) -> None:
    monkeypatch.setattr(calibration, "MOST_ROUNDS", 1)


def test_a_suite_from_end_to_end(tmp_path: Path) -> None:
    out, said = tmp_path / "out", []
    before = torch.get_num_threads()
    prediction = predict(digits(), out, device="cpu", before=1.0, say=said.append)
    assert not out.exists()
    assert torch.get_num_threads() == before
    assert said == [
        "calibrating digits: 2 optimizers",
        "calibrating sine: 1 optimizer",
        "calibrating whole steps, round 1",
    ]
    assert (prediction.suite, prediction.device, prediction.trials) == ("small", "cpu", 6)
    assert prediction.start_up > 1.0
    assert prediction.waited is not None
    assert 0.0 <= prediction.waited < 1.0
    assert prediction.left == pytest.approx(prediction.seconds)
    frame = table(prediction)
    assert frame[["task", "optimizer"]].agg("/".join, axis=1).tolist() == [
        "digits/sgd-early", "digits/rbo", "sine/rbo",
    ]  # fmt: skip
    assert frame["note"].tolist() == ["at most: stops early", "", ""]
    assert np.isfinite(frame["seconds"]).all()
    assert (frame["seconds"] > 0).all()
    assert (growth(prediction)["seconds"] > 0).all()
    for each in prediction.groups:
        assert (each.times.half is not None) == (each.task == "digits")
        assert each.times.whole.gradient > 0
        assert (each.twice is not None) == (each.optimizer == "rbo")

    run_suite(digits(), out, device="cpu", seeds=1)
    listing = sorted(path.name for path in out.iterdir())
    states = (torch.get_rng_state(), np.random.get_state()[1].tolist(), random.getstate())  # noqa: NPY002
    later = predict(digits(), out, device="cpu")
    assert torch.equal(torch.get_rng_state(), states[0])
    assert np.random.get_state()[1].tolist() == states[1]  # noqa: NPY002
    assert random.getstate() == states[2]
    assert sorted(path.name for path in out.iterdir()) == listing
    assert table(later)["left"].tolist() == [1, 1, 1]
    assert later.left < later.seconds
    compared = side_by_side(later, out)
    assert compared["trials"].tolist() == [1, 1, 1, 3]
    assert np.isfinite(compared["ratio"]).all()
    costs = [read_record(path) for path in record_files(out)]
    for group_, row in zip(later.groups, table(later).itertuples(), strict=True):
        (own,) = [each["cost"] for each in costs if each["key"] in group_.keys]
        assert own["steps"] == row.steps
        assert own["gradient_evaluations"] == row.gradients


def test_an_optimizer_that_fails_is_told_and_the_others_are_predicted(data_root, monkeypatch) -> None:
    moody = get_optimizer("fake-moody").factory
    monkeypatch.setattr(moody, "mood", RuntimeError("not today"))
    suite = digits(optimizers={"fake-moody": {}, "fake-sgd": {}}, tasks={"fake-blobs": {}})
    failing, fine = predict(suite, device="cpu", data_root=data_root).groups
    assert "not today" in failing.note
    assert failing.step is None
    assert fine.note == ""
    only = digits(optimizers={"fake-moody": {}}, tasks={"fake-blobs": {}})
    with pytest.raises(UsageError, match=r"no optimizer gets through one step.*not today"):
        predict(only, device="cpu", data_root=data_root)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"suite": "qick"}, "quick"),
        ({"device": "abacus"}, "abacus"),
        ({"only": "nothing*"}, "matches"),
        ({"seeds": 0}, "seeds"),
        ({"suite": digits(tasks={"fake-blobs": {}}), "data_root": "nowhere"}, "no blobs"),
        ({"suite": digits(optimizers={"fake-quantum": {}}, tasks={"fake-bowl": {}})}, "requires qubits"),
        ({"out": __file__}, "is a file"),
    ],
)
def test_mistakes_are_those_of_a_run(arguments: dict[str, Any], message: str) -> None:
    arguments = {"suite": digits(schedules={}), "device": "cpu", **arguments}
    told = []
    call: Callable[..., Any]
    for call in (predict, run_suite):
        with pytest.raises(UsageError, match=message) as caught:
            call(**{"out": "nowhere/out", **arguments})
        told.append(str(caught.value))
    assert told[0] == told[1]
    assert json.dumps(told[0])
    assert not Path("nowhere").exists()
