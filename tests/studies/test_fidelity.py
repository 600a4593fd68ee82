"""The fidelity study: its distances against direct ones, its bars on frames made by hand, a small run."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch

from rbobench.optim.footpoint import FootpointProblem
from rbobench.optim.projection import PROJECTIONS, Outcome, ProjectionInfo
from rbobench.optim.projection.sgd import project_by_sgd
from rbobench.optim.rolling_ball import RBO
from rbobench.studies import fidelity
from rbobench.studies.fidelity_cells import CONTACT_STEPS, MovedCenter, Part, measure
from rbobench.studies.fidelity_problems import PROBLEMS, LandscapeProblem, Step, flat
from rbobench.testing.problems import Regression


def moved_center(step: Step, radius: float, lr: float) -> tuple[torch.Tensor, float]:
    """(a, b) as Algorithm 1 writes them."""
    g = step.flat_gradient
    s = math.sqrt(1.0 + float(g @ g))
    return step.flat_start - radius * g / s - lr * g, float(step.value) + radius / s - lr * float(g @ g)


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
@pytest.mark.parametrize(("radius", "lr"), [(0.5, 0.1), (10.0, 1.0)])
def test_distance_residual_and_height_are_the_direct_ones(
    dtype: torch.dtype, radius: float, lr: float
) -> None:
    problem = Regression(dtype)
    step = Step(problem.parameters[:3], problem)
    a, b = moved_center(step, radius, lr)
    generator = torch.Generator().manual_seed(3)
    displacement = torch.randn(a.shape, generator=generator, dtype=torch.float64)
    step.move_to(displacement)
    f = float(problem().detach())
    theta, g = flat(step.parameters), flat(step.take_gradients())
    center = MovedCenter(step.flat_gradient, radius, lr)
    measured = center.measure(step, f)
    normal = torch.cat([-g, torch.ones(1, dtype=torch.float64)]) / math.sqrt(1.0 + float(g @ g))
    ball = torch.cat([theta, torch.tensor([f], dtype=torch.float64)]) + radius * normal
    assert measured.distance == pytest.approx(math.hypot(float((theta - a).norm()), f - b), rel=1e-9)
    assert measured.residual == pytest.approx(float((theta - a + (f - b) * g).norm()), rel=1e-6)
    assert measured.value == pytest.approx(float(ball[-1]), rel=1e-12)
    assert torch.allclose(measured.position, ball[:-1], rtol=1e-12, atol=1e-12)


def test_a_point_that_is_not_finite_is_infinitely_far() -> None:
    problem = Regression(torch.float64)
    step = Step(problem.parameters[:3], problem)
    step.move_to(torch.full_like(step.flat_start, math.nan))
    problem()
    measured = MovedCenter(step.flat_gradient, 1.0, 0.1).measure(step, math.nan)
    assert math.isinf(measured.distance)
    assert measured.position.isnan().all()


def test_moving_back_is_exact_bit_for_bit() -> None:
    problem = Regression()
    step = Step(problem.parameters[:3], problem)
    before = [parameter.clone() for parameter in step.parameters]
    step.move_to(torch.ones_like(step.flat_start))
    assert not torch.equal(step.parameters[0], before[0])
    step.move_to()
    assert all(map(torch.equal, step.parameters, before))


@pytest.fixture(scope="module")
def mlp() -> pd.DataFrame:
    return measure(Part("digits MLP", 0, (0,), 1, (1.0,), (0.1,)))


@pytest.fixture(scope="module")
def eq13() -> pd.DataFrame:
    return measure(Part("Eq. 13", 0, (0,), 2, (0.5, 3.0), (0.1, 1.0)))


def test_no_solver_beats_the_exact_footpoint(eq13: pd.DataFrame) -> None:
    assert eq13["excess"].min() >= -1e-9
    assert (eq13.loc[eq13["solver"] == "exact", "excess"] == 0.0).all()
    assert eq13.loc[eq13["solver"] == "exact", "residual"].max() < 1e-3


def test_the_offset_graph_is_at_or_above_the_ball_that_rests_on_a_contact(eq13: pd.DataFrame) -> None:
    assert eq13["offset_value"].notna().all()
    assert (eq13["offset_value"] - eq13["value"]).min() > -1e-9
    # At one of the footpoints the whole ball fits.
    exact = eq13[eq13["solver"] == "exact"]
    assert (exact["offset_value"] - exact["value"]).min() == pytest.approx(0.0, abs=1e-9)


def test_the_papers_solver_is_read_where_shorter_runs_of_it_end(mlp: pd.DataFrame) -> None:
    (step,) = PROBLEMS["digits MLP"].steps(0, 0, 1, None)
    a, b = moved_center(step, 1.0, 0.1)
    for steps in (5, 20, 100):
        step.move_to()
        ball = RBO(step.parameters, 0.1, 1.0, projection_steps=steps, projection_lr=1e-2)
        ball.step(step.closure)
        direct = math.hypot(float((flat(step.parameters) - a).norm()), float(step.closure()) - b)
        row = mlp[(mlp["solver"] == "sgd") & (mlp["gamma"] == 1e-2) & (mlp["budget"] == steps)]
        assert row["distance"].item() == pytest.approx(direct, rel=1e-5)
        assert row["evaluations"].item() == steps


def test_without_an_exact_footpoint_the_excess_is_over_the_nearest_found(mlp: pd.DataFrame) -> None:
    assert mlp["excess"].min() == 0.0
    assert mlp["excess"].to_numpy() == pytest.approx(mlp["distance"] / mlp["distance"].min() - 1.0)
    assert mlp["offset_value"].isna().all()
    assert (mlp["evaluations"] <= mlp["budget"]).all()


def test_the_center_form_is_read_after_each_number_of_contact_steps(eq13: pd.DataFrame) -> None:
    problem = PROBLEMS["Eq. 13"]
    assert isinstance(problem, LandscapeProblem)
    step = next(problem.steps(0, 0, 1, None))
    a, b = moved_center(step, 3.0, 0.1)
    s = torch.zeros_like(a)
    rows = eq13[(eq13["step"] == 0) & (eq13["radius"] == 3.0) & (eq13["lr"] == 0.1)]
    rows = rows[rows["solver"] == "center"].set_index("evaluations")
    assert list(rows.index) == [1 + steps for steps in CONTACT_STEPS]
    for steps in range(3):  # later ones are chaotic on this graph
        f, g = problem.ground.landscape.value_and_grad(a + s)
        row = rows.loc[1 + steps]
        assert row["distance"] == pytest.approx(math.hypot(float(s.norm()), float(f) - b), rel=1e-6)
        assert row["value"] == pytest.approx(float(f) + math.sqrt(9.0 - float(s @ s)), rel=1e-6)
        s = 3.0 * g / math.sqrt(1.0 + float(g @ g))


def test_every_registered_solver_is_measured_at_the_budgets_that_let_it_move(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def two_gradients(problem: FootpointProblem, *, steps: int, **_: object) -> Outcome:
        return project_by_sgd(problem, steps=2, lr=1e-3)

    info = ProjectionInfo(two_gradients, parameter_copies=2.0, least_steps=3)
    monkeypatch.setitem(PROJECTIONS, "new", info)
    rows = measure(Part("digits MLP", 0, (0,), 1, (1.0,), (0.1,)))
    new = rows[rows["solver"] == "new"]
    assert list(new["budget"]) == [3, 5, 10, 20]
    assert (new["evaluations"] == 2).all()
    assert new["distance"].nunique() == 1


def test_the_exact_footpoint_is_found_a_period_away() -> None:
    ground = PROBLEMS["Eq. 13"].ground
    assert ground is not None
    center = np.array([0.4, -50.0])
    near, far = ground.footpoint(center), ground.footpoint(center - [34.0 * math.pi, 0.0])
    assert far + 34.0 * math.pi == pytest.approx(near, abs=1e-9)


def frame(ratios: list[tuple[float, float]]) -> pd.DataFrame:
    """Cells in which `auto` with 5 and 10 evaluations ends as many times as far as the paper's solver."""
    rows = []
    for cell, (five, ten) in enumerate(ratios):
        for seed, noise in enumerate((0.9, 1.0, 1.1)):
            for solver, gamma, budget, distance in (
                ("sgd", 1e-3, 100, 3.0),
                ("sgd", 5e-2, 100, math.inf),
                ("sgd", 1e-2, 100, 2.0),
                ("auto", math.nan, 5, 2.0 * five),
                ("auto", math.nan, 10, 2.0 * ten),
            ):
                rows.append(
                    {
                        "problem": "net", "data": "", "stage": f"{cell} steps", "seed": seed, "step": 0,
                        "radius": 1.0, "lr": 0.1, "solver": solver, "gamma": gamma, "budget": budget,
                        "evaluations": budget, "distance": noise * distance, "excess": 0.0, "residual": 0.0,
                        "value": 0.0, "offset_value": math.nan,
                    }
                )  # fmt: skip
    return pd.DataFrame(rows)


def test_bars_pass_at_their_shares_and_ties_are_within_them() -> None:
    reached = fidelity.bars(frame([(1.0009, 1.009)] * 4 + [(1.002, 0.5)] + [(1.2, 1.02)]))
    assert list(reached["cells"]) == [6, 6]
    assert list(reached["reached"]) == [4, 5]
    assert list(reached["passed"]) == [True, True]
    five, ten = reached["missing"]
    assert [cell.split()[1] for cell in five.split("; ")] == ["4", "5"]
    assert ten == "net 5 steps ρ=1 η=0.1: +2 %"


def test_bars_fail_below_their_shares() -> None:
    reached = fidelity.bars(frame([(1.0, 1.0)] * 3 + [(1.0011, 1.011)] * 3))
    assert list(reached["reached"]) == [3, 3]
    assert list(reached["passed"]) == [False, False]


def test_a_cell_that_was_not_measured_is_missing() -> None:
    whole = frame([(1.0, 1.0)] * 6)
    gone = whole[(whole["solver"] != "auto") | (whole["stage"].isin(["0 steps", "1 steps", "2 steps"]))]
    reached = fidelity.bars(gone)
    assert list(reached["reached"]) == [3, 3]
    assert "net 3 steps ρ=1 η=0.1: not measured" in reached["missing"][0]
    assert not reached["passed"].any()


def test_the_papers_solver_has_the_gamma_that_is_best_in_the_cell() -> None:
    cells = fidelity.medians(frame([(1.5, 1.0)]))
    paper = cells[cells["solver"] == "sgd"]
    assert list(paper["gamma"]) == [1e-2]
    assert list(paper["distance"]) == [2.0]
    assert list(cells.loc[cells["solver"] == "auto", "ratio"]) == pytest.approx([1.5, 1.0])


def test_a_small_run_writes_its_tables_and_its_figure(tmp_path: Path) -> None:
    said: list[str] = []
    files = fidelity.run(tmp_path / "study", small=True, say=said.append)
    assert sorted(path.name for path in files) == sorted(path.name for path in (tmp_path / "study").iterdir())
    assert len(said) == 2
    raw = pd.read_csv(tmp_path / "study" / "fidelity.csv.gz")
    assert set(raw["problem"]) == {"digits MLP", "Eq. 13"}
    assert set(raw.loc[raw["problem"] == "digits MLP", "data"]) == {"digits"}
    cells = pd.read_csv(tmp_path / "study" / "fidelity-cells.csv")
    pd.testing.assert_frame_equal(cells, fidelity.medians(raw), check_dtype=False, rtol=1e-4)
    text = (tmp_path / "study" / "fidelity.md").read_text()
    assert "| auto with 5 evaluations, no farther | 4 |" in text
