from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest

from rbobench.analysis.figures import FIGURES, FORMATS, save_figures, styles
from rbobench.analysis.results import load_curves, load_measures, load_results
from rbobench.errors import UsageError

Write = Callable[..., Path]


def test_every_figure_has_its_csv(suite_folder: Path, sweep_folder: Path) -> None:
    for record in sweep_folder.glob("*.json"):
        record.rename(suite_folder / record.name)
    paths = save_figures(suite_folder)
    assert [path.name for path in paths] == [f"{name}.png" for name in FIGURES]
    frames = load_results(suite_folder), load_curves(suite_folder), load_measures(suite_folder)
    for path in paths:
        assert path.parent == suite_folder / "figures"
        assert path.stat().st_size > 1000
        stored, shown = pd.read_csv(path.with_suffix(".csv")), FIGURES[path.stem].select(*frames)
        pd.testing.assert_frame_equal(stored, shown.reset_index(drop=True), check_dtype=False)
    assert not plt.get_fignums()


@pytest.mark.parametrize("format", FORMATS)
def test_every_format(accuracies: Write, format: str) -> None:
    paths = save_figures(accuracies({"rbo": (0.9, 0.8), "sgd": (0.7, 0.6)}), format)
    assert [path.name for path in paths] == [f"accuracy.{format}", f"cost.{format}"]
    for path in paths:
        assert path.stat().st_size > 1000
        assert not pd.read_csv(path.with_suffix(".csv")).empty


def test_text_in_vector_figures_stays_text(suite_folder: Path, tmp_path: Path) -> None:
    first = [path.read_bytes() for path in save_figures(suite_folder, "svg", tmp_path / "a")]
    assert all(b"sgd-short" in content and b"<text" in content for content in first)
    again = [path.read_bytes() for path in save_figures(suite_folder, "svg", tmp_path / "b")]
    assert first == again


def test_the_csv_is_what_is_drawn(suite_folder: Path) -> None:
    results, curves = load_results(suite_folder), load_curves(suite_folder)
    chart = FIGURES["landscapes"]
    shown = chart.select(results, curves)
    figure = chart(results, curves)
    assert figure is not None
    drawn = {tuple(np.asarray(line.get_ydata(), dtype=float)) for axes in figure.axes for line in axes.lines}
    for _, seed in shown.groupby(["task", "optimizer", "seed"]):
        assert tuple(seed["value"]) in drawn


def test_only_what_applies_is_drawn(accuracies: Write) -> None:
    folder = accuracies({"rbo": (0.9, 0.8), "sgd": (0.7, 0.6)})
    assert [path.stem for path in save_figures(folder)] == ["accuracy", "cost"]
    results, curves = load_results(folder), load_curves(folder)
    assert FIGURES["landscapes"](results, curves) is None


def test_diverged_trials_are_not_drawn(suite_folder: Path) -> None:
    results, curves = load_results(suite_folder), load_curves(suite_folder)
    for name in ("accuracy", "curves"):
        shown = FIGURES[name].select(results, curves)
        assert set(shown.query("task == 'digits' and optimizer == 'adamw'")["seed"]) == {0, 2}


def test_one_seed_is_enough(accuracies: Write) -> None:
    assert save_figures(accuracies({"rbo": (0.9,)}))


def test_a_control_looks_like_its_method(suite_folder: Path) -> None:
    looks = styles(load_results(suite_folder))
    assert list(looks) == ["adamw", "entropy-sgd", "rbo", "rbo-null", "sgd-short", "sam", "sgd"]
    assert looks["rbo"].color == looks["rbo-null"].color == looks["sgd-short"].color
    assert looks["rbo-null"].hollow
    assert not looks["rbo"].hollow
    assert len({(look.color, look.dashes, look.marker) for look in looks.values()}) == len(looks)


def test_bad_input(write: Write, tmp_path: Path) -> None:
    folder = write(status="failed")
    with pytest.raises(UsageError, match="unknown format 'jpg'"):
        save_figures(folder, "jpg")
    with pytest.raises(UsageError, match="finished, so there is nothing to plot"):
        save_figures(folder)
    write(metrics={"test_accuracy_chosen": 0.5})
    (tmp_path / "taken").write_text("")
    with pytest.raises(UsageError, match="cannot write figures to"):
        save_figures(folder, out=tmp_path / "taken")
