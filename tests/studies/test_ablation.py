"""The ablation: cells are chosen without the test set, controls take as many steps, and the command runs."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from rbobench.registry import get_optimizer
from rbobench.studies.ablation import at_budgets, at_equal_memorization, choose, compare
from rbobench.studies.ablation_images import METHODS as IMAGE_METHODS
from rbobench.studies.ablation_images import image_suite, label
from rbobench.studies.ablation_methods import BY_NAME, METHODS
from rbobench.studies.ablation_training import train_grid


def curve(
    method: str, lr: float, radius: float, *, validation: float, test: list[float], cost: float = 1.0, **more
):
    """Two seeds of one validation accuracy at every point; on the test set seed 1 is better by 0.02."""
    return pd.DataFrame(
        [
            {
                "noise": 0.4,
                "method": method,
                "lr": lr,
                "radius": radius,
                "seed": seed,
                "gradients": 100 * (point + 1),
                "steps": int(100 * (point + 1) / cost),
                "diverged": False,
                "validation_accuracy": validation,
                "test_accuracy": accuracy + 0.02 * seed,
                "memorization": 0.1 * point,
                **more,
            }
            for seed in (0, 1)
            for point, accuracy in enumerate(test)
        ]
    )


CURVES = pd.concat(
    [
        curve("sgd", 0.1, 0.0, validation=0.5, test=[0.7, 0.6, 0.5, 0.4]),
        curve("sgd", 0.3, 0.0, validation=0.4, test=[0.9, 0.9, 0.9, 0.9]),  # better on the test set alone
        curve("search", 0.1, 1.0, validation=0.5, test=[0.7, 0.7, 0.7, 0.65], cost=2),
        curve("search", 0.3, 3.0, validation=0.9, test=[0.9, 0.9, 0.9, 0.9], cost=2, diverged=True),
    ],
    ignore_index=True,
)


def test_the_cell_is_chosen_by_validation_among_those_that_did_not_diverge() -> None:
    chosen = choose(at_budgets(CURVES, (200, 400)))
    cells = chosen.groupby("method")[["lr", "radius"]].agg(["min", "max"])
    assert (cells["lr"] == 0.1).all().all()
    assert set(cells["radius"].loc["search"]) == {1.0}
    edges = chosen.drop_duplicates("method").set_index("method")["at_edge"]
    assert edges["sgd"] == "lr"
    assert edges["search"] == "lr, radius"


def test_a_control_is_looked_at_where_it_has_taken_as_many_steps() -> None:
    summary = compare(choose(at_budgets(CURVES, (200, 400))), CURVES).set_index(["method", "budget"])
    search = summary.loc[("search", 400)]
    assert search["test_last"] == pytest.approx(0.66)
    assert search["control"] == "sgd"
    # 400 gradients are 200 steps of the search; after 200 steps SGD is at 0.6, and not at 0.4.
    assert search["control_test"] == pytest.approx(0.61)
    assert search["gain"] == pytest.approx(0.05)
    assert np.isnan(summary.loc[("sgd", 400)]["gain"])


def test_a_budget_is_the_beginning_of_a_larger_one() -> None:
    rows = (
        at_budgets(CURVES, (200, 400))
        .query("method == 'sgd' and lr == 0.1 and seed == 0")
        .set_index("budget")
    )
    assert rows["test_last"].to_dict() == {200: 0.6, 400: 0.4}
    assert rows["test_chosen"].to_dict() == {200: 0.7, 400: 0.7}  # the first of equal validation accuracies


def test_equal_memorization_takes_the_first_crossing_and_says_never() -> None:
    levels = at_equal_memorization(CURVES, (0.15, 0.9)).set_index(["level", "method"])
    assert levels.loc[(0.15, "sgd")]["gradients"] == 300
    assert levels.loc[(0.15, "sgd")]["test_accuracy"] == pytest.approx(0.51)
    assert levels.loc[0.9]["test_accuracy"].isna().all()


def test_every_method_is_registered_with_a_control_of_the_same_cost_or_sgd() -> None:
    for method in METHODS:
        assert method.cost >= 0.25
        assert (method.radius is None) == (method.radii == (0.0,))
        if method.control is not None:
            control = BY_NAME[method.control]
            assert control.cost == method.cost or control.name == "sgd"
    assert {BY_NAME[f"search, 1/{part}"].cost for part in (2, 4, 8, 16)} == {1.5, 1.25, 1.125, 1.0625}


@pytest.mark.parametrize("name", ["sam, 1/4", "rwp", "adamw", "sgd, batch 16"])
def test_a_grid_is_trained_to_its_budget(name: str) -> None:
    method = BY_NAME[name]
    frame = train_grid(method, 0.4, (0, 1), budget=20, every=10)
    cells = len(method.rates) * len(method.radii)
    assert len(frame) == 2 * 2 * cells
    assert set(frame["steps"]) == {int(10 / method.cost), int(20 / method.cost)}
    last = frame[frame["gradients"] == 20]
    assert last.groupby("seed")["test_accuracy"].nunique().min() > 1  # the cells are not one


def test_the_best_cells_are_a_suite_on_images(tmp_path: Path) -> None:
    summary = compare(choose(at_budgets(CURVES, (200, 400))), CURVES)
    suite = image_suite(summary, tmp_path)
    assert set(suite.optimizers) == {"sgd", "search", "null, 1 of the batch"}
    search = suite.optimizers["search"]
    assert search.optimizer == "rbo-center"
    resolved = get_optimizer("rbo-center").resolve(search.hyperparameters)
    assert (resolved["lr"], resolved["radius"], resolved["contact_fraction"]) == (0.1, 1.0, 1.0)


def test_every_method_has_a_label_that_a_suite_takes(tmp_path: Path) -> None:
    cells = [
        {"noise": 0.4, "budget": 100, "method": method.name, "lr": method.rates[0], "radius": method.radii[0]}
        for method in METHODS
    ]
    suite = image_suite(pd.DataFrame(cells), tmp_path)
    assert {label(name) for name in IMAGE_METHODS} < set(suite.optimizers)
    for entry in suite.optimizers.values():
        get_optimizer(entry.optimizer).resolve(entry.hyperparameters)
    fractions = {entry.hyperparameters.get("contact_fraction") for entry in suite.optimizers.values()}
    assert {1.0, 0.25, 0.0625} <= fractions


def test_a_method_whose_cells_all_diverged_has_no_row(tmp_path: Path) -> None:
    gone = CURVES.assign(diverged=CURVES["method"] == "sgd")
    summary = compare(choose(at_budgets(gone, (400,))), gone)
    assert set(summary["method"]) == {"search"}
    assert "gain" not in summary or summary["gain"].isna().all()


def test_the_command(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "rbobench.cli", "study", "ablation", "--small", "--out", str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    summary = pd.read_csv(tmp_path / "summary.csv")
    assert set(summary["noise"]) == {0.0, 0.4}
    assert set(summary["method"]) == {"sgd", "search", "rbo sgd, P = 5", "null of rbo sgd, P = 5"}
    for name in ("budgets.png", "memorization.pdf", "grid.csv", "summary.md", "equal_memorization.md"):
        assert (tmp_path / name).stat().st_size > 0
    again = subprocess.run(command, capture_output=True, text=True)
    assert again.stderr == ""  # nothing is trained twice
    pd.testing.assert_frame_equal(summary, pd.read_csv(tmp_path / "summary.csv"))
