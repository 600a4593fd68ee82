from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from rbobench.analysis.figures import FIGURES
from rbobench.analysis.rank_correlation import rank_correlation
from rbobench.analysis.results import load_curves, load_measures, load_results

Write = Callable[..., Path]


def shown_of(name: str, folder: Path) -> pd.DataFrame:
    return FIGURES[name].select(load_results(folder), load_curves(folder), load_measures(folder))


def sharp(
    write: Write, optimizer: str, sharpness: float, gap: float, seed: int = 0, **arguments: object
) -> Path:
    metrics = {
        "test_accuracy_last": 0.9 - gap,
        "train_accuracy_last": 0.9,
        "lambda_max": sharpness,
        "collapsed": False,
    }
    return write(optimizer=optimizer, seed=seed, metrics=metrics, **arguments)


def spectrum(values: list[float]) -> dict[str, object]:
    return {
        "spectral_density": {"value": 0.0, "uncertainty": 0.0, "grid": [-1.0, 0.0, 1.0], "density": values}
    }


def test_gap_and_correlations_of_each_task(write: Write) -> None:
    points = [(1.0, 0.01), (3.0, 0.05), (2.0, 0.06), (5.0, 0.04), (4.0, 0.2)]
    for seed, (sharpness, gap) in enumerate(points):
        sharp(write, "sgd", sharpness, gap, seed)
        folder = sharp(write, "sgd", sharpness, 1 - gap, seed, task="another")
    shown = shown_of("sharpness_vs_gap", folder)
    assert set(shown["measure"]) == {"lambda_max"}
    own = shown[shown["task"] == "clean"]
    assert list(own["gap"]) == pytest.approx([gap for _, gap in points])
    expected = rank_correlation(*zip(*points, strict=True))
    assert expected.tau == pytest.approx(0.2)
    assert own["trials_tau"].tolist() == pytest.approx([expected.tau] * 5)
    assert own["trials_tau_p"].tolist() == pytest.approx([expected.tau_p] * 5)
    assert shown.loc[shown["task"] == "another", "trials_tau"].tolist() == pytest.approx([-expected.tau] * 5)


def test_means_of_optimizers_may_say_the_opposite(write: Write) -> None:
    # Within each optimizer, the sharper the worse; between them, the other way round.
    for index, optimizer in enumerate(("a", "b", "c", "d")):
        for seed in range(4):
            folder = sharp(write, optimizer, 10 * index + seed + 1, 0.5 - 0.1 * index + 0.02 * seed, seed)
    shown = shown_of("sharpness_vs_gap", folder).iloc[0]
    assert (shown["trials_n"], shown["means_n"]) == (16, 4)
    assert shown["means_tau"] == -1
    assert shown["means_tau_p"] == pytest.approx(2 / 24)
    assert shown["trials_tau_p"] < 0.05
    figure = FIGURES["sharpness_vs_gap"](load_results(folder), load_curves(folder))
    assert figure is not None
    title = figure.axes[0].get_title(loc="left")
    assert "16 trials: τ = " in title
    assert "4 means: τ = −1.00 (p = 0.083)" in title


def test_three_optimizers_have_no_correlation_of_means(write: Write) -> None:
    for index, optimizer in enumerate(("a", "b", "c")):
        folder = sharp(write, optimizer, index + 1, 0.1 * index)
    shown = shown_of("sharpness_vs_gap", folder)
    assert shown["means_tau"].isna().all()
    figure = FIGURES["sharpness_vs_gap"](load_results(folder), load_curves(folder))
    assert figure is not None
    assert "means" not in figure.axes[0].get_title(loc="left")


def test_too_few_trials_or_none_that_finished(write: Write) -> None:
    for seed in range(2):
        folder = sharp(write, "sgd", 1.0 + seed, 0.1, seed)
    sharp(write, "sgd", 9.0, 0.9, 2, status="diverged")
    assert shown_of("sharpness_vs_gap", folder).empty
    assert len(shown_of("sharpness_vs_gap", sharp(write, "sgd", 7.0, 0.3, 3))) == 3


@pytest.mark.parametrize(("least", "scale"), [(1.0, "log"), (-1.0, "linear"), (0.0, "linear")])
def test_a_log_axis_where_all_is_positive(write: Write, least: float, scale: str) -> None:
    for seed, sharpness in enumerate((least, 5.0, 30.0)):
        folder = sharp(write, "sgd", sharpness, 0.1 * seed, seed)
    figure = FIGURES["sharpness_vs_gap"](load_results(folder), load_curves(folder))
    assert figure is not None
    assert figure.axes[0].get_xscale() == scale


def test_equal_gaps_have_no_order(write: Write) -> None:
    for seed in range(3):
        folder = sharp(write, "sgd", 1.0 + seed, 0.25, seed)
    figure = FIGURES["sharpness_vs_gap"](load_results(folder), load_curves(folder))
    assert figure is not None
    assert figure.axes[0].get_title(loc="left") == "3 trials without an order"


def test_every_trial_is_a_point(sweep_folder: Path) -> None:
    shown = shown_of("sharpness_vs_gap", sweep_folder)
    figure = FIGURES["sharpness_vs_gap"](load_results(sweep_folder), load_curves(sweep_folder))
    assert figure is not None
    marked = {
        point
        for axes in figure.axes
        for line in axes.lines
        for point in map(tuple, line.get_xydata().tolist())
    }
    assert marked == set(zip(shown["sharpness"], 100 * shown["gap"], strict=True))
    assert len(marked) == 3 * 5 * 3 * 2


def test_the_density_of_the_first_seed_that_has_one(write: Write) -> None:
    metrics = {"test_accuracy_last": 0.9, "collapsed": False}
    write(seed=0, metrics=metrics, measures=spectrum([9, 9, 9]), status="diverged")
    write(seed=1, metrics=metrics)
    write(seed=3, metrics=metrics, measures=spectrum([7, 7, 7]))
    folder = write(seed=2, metrics=metrics, measures=spectrum([0.1, 0.8, 0.1]))
    shown = shown_of("spectral_density", folder)
    assert list(shown["density"]) == [0.1, 0.8, 0.1]
    assert list(shown["eigenvalue"]) == [-1, 0, 1]
    assert set(shown["seed"]) == {2}


def test_densities_are_drawn_on_a_log_axis_as_they_are(sweep_folder: Path) -> None:
    shown = shown_of("spectral_density", sweep_folder)
    figure = FIGURES["spectral_density"](
        load_results(sweep_folder), load_curves(sweep_folder), load_measures(sweep_folder)
    )
    assert figure is not None
    axes = figure.axes[0]
    assert (axes.get_xscale(), axes.get_yscale()) == ("linear", "log")
    assert len(axes.lines) == 5
    own = shown[(shown["task"] == axes.get_title()) & (shown["optimizer"] == "rbo")]
    drawn = [np.asarray(line.get_ydata(), dtype=float) for line in axes.lines]
    assert any(np.array_equal(own["density"], values) for values in drawn)
    assert len(shown) == 3 * 5 * 128


def test_nothing_without_measures(accuracies: Write) -> None:
    folder = accuracies({"rbo": (0.9, 0.8), "sgd": (0.7, 0.6)})
    for name in ("sharpness_vs_gap", "spectral_density"):
        assert shown_of(name, folder).empty
        assert FIGURES[name](load_results(folder), load_curves(folder)) is None
