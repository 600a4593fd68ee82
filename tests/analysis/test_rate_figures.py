from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from rbobench.analysis.figures import FIGURES
from rbobench.analysis.results import load_curves, load_results
from rbobench.analysis.statistics import t_interval

Write = Callable[..., Path]
NOISE = "symmetric label noise"


def shown_of(name: str, folder: Path) -> pd.DataFrame:
    return FIGURES[name].select(load_results(folder), load_curves(folder))


def noisy(write: Write, rate: float, seed: int = 0, chosen: float = 0.8, **arguments: object) -> Path:
    metrics = {"test_accuracy_chosen": chosen, "test_accuracy_last": chosen - 0.2, "collapsed": False}
    arguments = {"task": f"at {rate}", "corruption": (NOISE, rate) if rate else None} | arguments
    return write(seed=seed, metrics=metrics, **arguments)


def poisoned(write: Write, rate: float, *, success: float = 0.5, seed: int = 0, **arguments: object) -> Path:
    metrics = {
        "test_accuracy_chosen": 0.9,
        "test_accuracy_last": 0.9,
        "attack_success_chosen": success,
        "attack_success_last": success,
        "collapsed": False,
    }
    return write(task=f"at {rate}", corruption=("BadNets", rate), metrics=metrics, seed=seed, **arguments)


def test_a_point_is_the_mean_of_its_seeds(write: Write) -> None:
    for rate, scores in ((0.0, (0.95, 0.96, 0.97)), (0.2, (0.9, 0.8, 0.85)), (0.4, (0.5, 0.7, 0.75))):
        for seed, score in enumerate(scores):
            folder = noisy(write, rate, seed, score)
    shown = shown_of("accuracy_vs_rate", folder).set_index("rate")
    assert list(shown.index) == [0, 0.2, 0.4]
    assert set(shown["corruption_kind"]) == {NOISE}
    assert (shown["seeds"] == 3).all()
    assert shown.loc[0.4, "mean"] == pytest.approx(0.65)
    assert shown.loc[0.4, "mean_at_last_step"] == pytest.approx(0.45)
    assert shown.loc[0.4, ["low", "high"]].tolist() == pytest.approx(t_interval([0.5, 0.7, 0.75]))


def test_one_panel_for_each_corruption_of_a_task_and_rung(write: Write) -> None:
    for rung in (1.0, 2.0):
        noisy(write, 0.0, rung=rung, task=f"clean {rung:g}x")
        for kind in (NOISE, "pair-flip label noise"):
            for rate in (0.2, 0.4):
                folder = noisy(
                    write, rate, rung=rung, task=f"{kind} {rate} {rung:g}x", corruption=(kind, rate)
                )
    shown = shown_of("accuracy_vs_rate", folder)
    groups = shown.groupby(["task_name", "rung", "corruption_kind"])["rate"].apply(list)
    assert len(groups) == 4
    assert all(rates == [0, 0.2, 0.4] for rates in groups)
    assert set(shown.query("rung == 2 and rate == 0")["task"]) == {"clean 2x"}
    figure = FIGURES["accuracy_vs_rate"](load_results(folder), load_curves(folder))
    assert figure is not None
    titles = {axes.get_title() for axes in figure.axes if axes.axison}
    assert f"digits, 2× budget\n{NOISE}" in titles
    assert len(titles) == 4


def test_marks_of_one_rate_stay_nearer_to_it_than_to_the_next(write: Write) -> None:
    for name in "abcdefghij":
        for rate in (0.0, 0.1, 0.2, 0.8):
            folder = noisy(write, rate, optimizer=name)
        for rate in (0.001, 0.005, 0.01):
            poisoned(write, rate, optimizer=name)
    figure = FIGURES["accuracy_vs_rate"](load_results(folder), load_curves(folder))
    assert figure is not None
    for axes, least in zip(figure.axes, (10, np.log(2)), strict=True):
        rates = np.asarray(axes.get_xticks())
        scale = np.log if axes.get_xscale() == "log" else np.asarray
        marks = [line.get_xdata() for line in axes.lines if line.get_marker() == "o"]
        offsets = scale(np.array(marks, dtype=float)) - scale(rates)
        assert len(np.unique(offsets[:, 0].round(9))) == 10
        assert np.abs(offsets).max() < least / 3
        assert offsets.mean() == pytest.approx(0, abs=1e-9)


def test_two_rates_are_no_course(write: Write) -> None:
    noisy(write, 0.0)
    assert shown_of("accuracy_vs_rate", noisy(write, 0.4)).empty
    assert not shown_of("accuracy_vs_rate", noisy(write, 0.6)).empty


def test_a_rate_that_two_tasks_share_is_left_out(write: Write) -> None:
    for rate in (0.0, 0.2, 0.4, 0.6):
        noisy(write, rate)
    folder = noisy(write, 0.4, task="another model at 0.4")
    assert list(shown_of("accuracy_vs_rate", folder)["rate"]) == [0, 0.2, 0.6]


def test_only_one_corruption_at_a_time(write: Write, record_maker: Callable[..., dict]) -> None:
    folder = Path()
    for rate in (0.0, 0.2, 0.4):
        folder = noisy(write, rate)
    results, curves = load_results(folder), load_curves(folder)
    both = results.assign(poison_rate=np.where(results["label_noise_rate"] == 0.2, 0.1, 0.0))
    assert FIGURES["accuracy_vs_rate"].select(both, curves).empty


def test_an_attack_is_shown_by_its_success_without_its_base_rate(write: Write) -> None:
    for rate, success in ((0.0, 0.01), (0.001, 0.1), (0.005, 0.6), (0.02, 0.95)):
        folder = poisoned(write, rate, success=success)
    shown = shown_of("accuracy_vs_rate", folder)
    assert list(shown["rate"]) == [0.001, 0.005, 0.02]
    assert list(shown["mean"]) == [0.1, 0.6, 0.95]
    assert set(shown["metric"]) == {"attack_success"}
    figure = FIGURES["accuracy_vs_rate"](load_results(folder), load_curves(folder))
    assert figure is not None
    assert figure.axes[0].get_xscale() == "log"
    assert [tick.get_text() for tick in figure.axes[0].get_xticklabels()] == ["0.1", "0.5", "2"]


def test_rates_that_lie_close_keep_the_base_rate(write: Write) -> None:
    for rate in (0.0, 0.01, 0.02):
        folder = poisoned(write, rate)
    assert list(shown_of("accuracy_vs_rate", folder)["rate"]) == [0, 0.01, 0.02]
    figure = FIGURES["accuracy_vs_rate"](load_results(folder), load_curves(folder))
    assert figure is not None
    assert figure.axes[0].get_xscale() == "linear"


def test_trials_that_did_not_finish_are_left_out(write: Write) -> None:
    for rate in (0.0, 0.2, 0.4):
        noisy(write, rate)
        noisy(write, rate, seed=1, chosen=0.1, status="diverged")
        folder = poisoned(write, 0.05 + rate)
        poisoned(write, 0.05 + rate, seed=1, success=0.9, status="diverged")
    rates = shown_of("accuracy_vs_rate", folder)
    assert (rates["seeds"] == 1).all()
    assert (rates.query("metric == 'test_accuracy'")["mean"] == 0.8).all()
    attacks = shown_of("clean_vs_attack", folder)
    assert (attacks["seeds"] == 1).all()
    assert (attacks["attack_success_chosen"] == 0.5).all()


def test_what_is_drawn_is_selected(sweep_folder: Path) -> None:
    results, curves = load_results(sweep_folder), load_curves(sweep_folder)
    shown = FIGURES["accuracy_vs_rate"].select(results, curves)
    figure = FIGURES["accuracy_vs_rate"](results, curves)
    assert figure is not None
    drawn = {tuple(np.asarray(line.get_ydata(), dtype=float)) for axes in figure.axes for line in axes.lines}
    for _, own in shown.groupby(["corruption_kind", "optimizer"]):
        assert tuple(100 * own["mean"]) in drawn
        assert tuple(100 * own["mean_at_last_step"]) in drawn


def test_seeds_that_agree_have_an_interval_without_width(write: Write) -> None:
    for index, rate in enumerate((0.0, 0.2, 0.4)):
        for seed in range(7):
            folder = noisy(write, rate, seed, chosen=(0.7, 0.8461, 0.9 / 1.1)[index])
    assert FIGURES["accuracy_vs_rate"](load_results(folder), load_curves(folder)) is not None


def test_clean_versus_attack(write: Write) -> None:
    write(task="clean", metrics={"test_accuracy_chosen": 0.97})
    for seed, success in enumerate((0.4, 0.5, 0.9)):
        folder = poisoned(write, 0.01, success=success, seed=seed)
    (row,) = shown_of("clean_vs_attack", folder).to_dict("records")
    assert row["task"] == "at 0.01"
    assert row["attack_success_chosen"] == pytest.approx(0.6)
    assert row["attack_success_chosen_sd"] == pytest.approx(np.std([0.4, 0.5, 0.9], ddof=1))
    assert row["test_accuracy_chosen_sd"] == 0


def test_one_marker_for_each_optimizer_controls_hollow(sweep_folder: Path) -> None:
    figure = FIGURES["clean_vs_attack"](load_results(sweep_folder), load_curves(sweep_folder))
    assert figure is not None
    assert [axes.get_title() for axes in figure.axes if axes.axison] == [
        "swept-badnets-0.25",
        "swept-badnets-1",
        "swept-badnets-2",
    ]
    for axes in figure.axes:
        marks = [line for line in axes.lines if line.get_marker() not in ("|", "_", "None")]
        assert len(marks) == 5
        assert sum(line.get_markerfacecolor() == "white" for line in marks) == 1


def test_nothing_without_corruption(accuracies: Write) -> None:
    folder = accuracies({"rbo": (0.9, 0.8), "sgd": (0.7, 0.6)})
    for name in ("accuracy_vs_rate", "clean_vs_attack"):
        assert shown_of(name, folder).empty
