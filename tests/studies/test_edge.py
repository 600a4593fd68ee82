"""The edge study: what it measures against closed forms, and what it calls an edge."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from torch import nn

from rbobench.geometry import stability
from rbobench.studies import edge, edge_training


def tiny() -> nn.Module:
    return nn.Sequential(nn.Flatten(), nn.Linear(64, 1), nn.Tanh(), nn.Linear(1, 10))


def test_a_batch_of_problems_is_its_networks_side_by_side() -> None:
    both = edge_training.DigitsBatch(
        edge_training.tanh_convolutional_net, (3, 5), samples=6, dtype=torch.float64
    )
    losses = both().detach()
    for place, seed in enumerate((3, 5)):
        alone = edge_training.DigitsBatch(
            edge_training.tanh_convolutional_net, (seed,), samples=6, dtype=torch.float64
        )
        assert float(alone().detach()[0]) == pytest.approx(float(losses[place]), rel=1e-12)
        for mine, theirs in zip(both.gradients(), alone.gradients(), strict=True):
            torch.testing.assert_close(mine[place], theirs[0], rtol=1e-9, atol=1e-12)
        assert float(both.norms[0][place]) == pytest.approx(float(alone.norms[0][0]), rel=1e-9)
    assert float(losses[0]) != float(losses[1])


def test_the_loss_is_half_the_squared_error() -> None:
    problems = edge_training.DigitsBatch(tiny, (0,), samples=5)
    zeros = [torch.zeros_like(each) for each in problems.parameters]
    assert float(problems.losses(zeros).detach()[0]) == pytest.approx(0.5)


def test_curvature_is_that_of_the_dense_hessian() -> None:
    problems = edge_training.DigitsBatch(tiny, (0, 1), samples=20, dtype=torch.float64)
    count = sum(each[0].numel() for each in problems.parameters)
    direction = torch.randn(2, count, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    found = edge_training.curvature(problems.losses, problems.parameters, direction, steps=40)
    sizes = [each[0].numel() for each in problems.parameters]
    for place in (0, 1):

        def loss(flat: torch.Tensor, place: int = place) -> torch.Tensor:
            parts = [
                part.reshape(each.shape[1:]).expand(each.shape)
                for part, each in zip(flat.split(sizes), problems.parameters, strict=True)
            ]
            return problems.losses(parts)[place]

        flat = torch.cat([each[place].detach().flatten() for each in problems.parameters])
        hessian = torch.autograd.functional.hessian(loss, flat)
        values = torch.linalg.eigvalsh(hessian)
        unit = direction[place] / direction[place].norm()
        assert float(found.largest[place]) == pytest.approx(float(values[-1]), rel=1e-8)
        assert float(found.along[place]) == pytest.approx(float(unit @ hessian @ unit), rel=1e-8)
        assert int(found.crowd[place]) == int((values >= 0.95 * values[-1]).sum())


def test_on_a_quadratic_every_method_with_a_steady_oscillation_is_at_its_predicted_edge() -> None:
    """`gradient descent` at η = 2/κ keeps oscillating; what is measured there is κ."""
    lr = 0.15
    values = dict.fromkeys(("r", "loss", "gradient_norm"), np.full(4, 0.1))
    values |= {name: np.full(4, 2.0 / lr) for name in ("largest", "along")}
    values |= {"oscillation": np.full(4, 0.9), "crowd": np.ones(4)}
    row = edge_training.row("quadratic", edge_training.METHODS["gradient descent"], (lr, 0.0, 0), values)
    assert row["ratio"] == pytest.approx(1.0)
    assert row["ratio_along"] == pytest.approx(1.0)
    assert row["at_edge"]


@pytest.mark.parametrize(
    ("change", "at_edge"),
    [
        ({}, True),
        ({"largest": np.full(4, 3.0)}, True),  # far from the prediction, but there all the same
        ({"oscillation": np.full(4, 0.01)}, False),
        ({"largest": np.array([9.0, 9.5, 10.0, 10.5])}, False),
        ({"loss": np.array([1.0, 1.0, math.inf, math.inf])}, False),
    ],
)
def test_the_rule_looks_at_oscillation_and_drift_and_not_at_the_prediction(
    change: dict[str, np.ndarray], at_edge: bool
) -> None:
    values = {name: np.full(4, 0.1) for name in ("r", "loss", "gradient_norm")}
    values |= {name: np.full(4, 10.0) for name in ("largest", "along", "crowd")}
    values |= {"oscillation": np.full(4, 0.5), **change}
    row = edge_training.row("model", edge_training.METHODS["mirrored"], (0.1, 0.1, 0), values)
    assert row["at_edge"] == at_edge
    assert math.isnan(float(str(row["predicted"]))) == (not np.isfinite(values["loss"]).all())


def runs() -> pd.DataFrame:
    common = {"model": "MLP", "lr": 0.1, "radius": 0.1, "seed": 0, "crowd": 3.0, "ratio_along": 1.001}
    rows = [
        {**common, "method": "lagged", "ratio": 1.01, "at_edge": True},
        {**common, "method": "lagged", "ratio": 0.94, "at_edge": True},
        {**common, "method": "lagged", "ratio": 0.5, "at_edge": False},
        {**common, "method": "SAM", "ratio": 0.7, "at_edge": False},
    ]
    return pd.DataFrame(rows)


def test_the_summary_names_the_farthest_run_at_the_edge() -> None:
    summary = edge.summarize(runs())
    lagged, sam = summary.to_dict("records")
    assert (lagged["runs"], lagged["at_edge"], lagged["within"]) == (3, 2, 1)
    assert lagged["worst_ratio"] == 0.94
    assert lagged["median_ratio"] == pytest.approx(0.975)
    assert lagged["highest_elsewhere"] == 0.5
    assert sam["at_edge"] == 0
    assert math.isnan(sam["worst_ratio"])


def test_the_report_lists_what_leaves_the_tolerance() -> None:
    text = edge.report(runs(), edge.summarize(runs()))
    assert "Of 2 runs at the edge, 1 are within 3%" in text
    assert "- MLP, lagged, lr 0.1, radius 0.1, seed 0: ratio 0.940" in text
    better = runs().assign(ratio=1.0)
    assert "- MLP" not in edge.report(better, edge.summarize(better))


def test_a_run_is_predicted_from_its_own_numbers() -> None:
    """For SAM r is the mean of ρ/‖g‖, not less than ρ over the mean of ‖g‖."""
    setting = replace(
        edge_training.SETTINGS["MLP"],
        lrs=(0.1,),
        radii=(0.1,),
        seeds=(0,),
        samples=20,
        steps={"SAM": 60},
        measurements=2,
        every=20,
    )
    row = edge_training.train("MLP", edge_training.METHODS["SAM"], setting).iloc[0]
    assert row["radius"] == pytest.approx(0.01)
    assert row["r"] >= 0.01 / row["gradient_norm"]
    assert row["predicted"] == pytest.approx(stability.search(0.1, row["r"]), rel=1e-9)
    assert row["ratio"] == pytest.approx(row["measured"] / row["predicted"])


def test_a_small_run_writes_everything(tmp_path: Path) -> None:
    told: list[str] = []
    files = edge.run(tmp_path, small=True, say=told.append)
    assert {file.name for file in files} == {"edge.pdf", "edge.png", "edge.csv", "summary.csv", "summary.md"}
    assert all(file.stat().st_size for file in files)
    found = pd.read_csv(tmp_path / "edge.csv")
    assert set(found["method"]) == {"lagged", "gradient descent"}
    assert len(told) == 2
    assert (found["measured"] > 0.0).all()
