"""The speed study: that the plain loops are the same algorithms, and what its table says."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from torch import Tensor, nn

from rbobench.paper import figure4
from rbobench.registry import create_optimizer
from rbobench.studies import plain_loops, speed
from rbobench.tasks.images import ImageTask
from rbobench.tasks.landscapes import Eq14
from rbobench.tasks.task import DataLocation

LR, RADIUS, MOMENTUM = 0.05, 0.3, 0.9

PLAIN: dict[str, tuple[dict[str, Any], Callable[[list[Tensor]], Any]]] = {
    "rbo": (
        {"radius": RADIUS, "projection_steps": 7, "projection_lr": 0.02},
        lambda ps: plain_loops.PlainRBO(ps, LR, RADIUS, 7, 0.02),
    ),
    "rbo-center": (
        {"radius": RADIUS, "contact_steps": 2, "momentum": MOMENTUM},
        lambda ps: plain_loops.PlainSearch(ps, LR, RADIUS, 2, MOMENTUM),
    ),
    "rbo-previous": (
        {"radius": RADIUS, "momentum": MOMENTUM},
        lambda ps: plain_loops.PlainRemembered(ps, LR, RADIUS, "previous", MOMENTUM),
    ),
    "rbo-mirrored": (
        {"radius": RADIUS, "momentum": MOMENTUM},
        lambda ps: plain_loops.PlainRemembered(ps, LR, RADIUS, "mirrored", MOMENTUM),
    ),
    "rbo-lagged": (
        {"radius": RADIUS, "momentum": MOMENTUM},
        lambda ps: plain_loops.PlainRemembered(ps, LR, RADIUS, "lagged", MOMENTUM),
    ),
    "sgd": ({"momentum": MOMENTUM}, lambda ps: plain_loops.PlainSGD(ps, LR, MOMENTUM)),
}


def network() -> tuple[nn.Module, Callable[[], Tensor]]:
    generator = torch.Generator().manual_seed(3)

    def drawn(*shape: int) -> Tensor:
        return torch.randn(*shape, generator=generator, dtype=torch.float64)

    model = nn.Sequential(nn.Linear(5, 8), nn.Tanh(), nn.Linear(8, 3)).double()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.copy_(drawn(*parameter.shape))
    inputs, labels = drawn(20, 5), torch.randint(3, (20,), generator=generator)
    return model, speed.bare_evaluation(model, inputs, labels)


@pytest.mark.parametrize("name", PLAIN)
def test_a_plain_loop_is_the_same_algorithm(name: str) -> None:
    given, build = PLAIN[name]
    ours, closure = network()
    theirs, plain_closure = network()
    start = [parameter.detach().clone() for parameter in ours.parameters()]
    optimizer = create_optimizer(name, ours.parameters(), lr=LR, **given)
    plain = build(list(theirs.parameters()))
    for _ in range(6):
        loss, plain_loss = optimizer.step(closure), plain.step(plain_closure)  # type: ignore[arg-type]
        assert float(loss.detach()) == pytest.approx(float(plain_loss.detach()), rel=1e-10)
    moved = 0.0
    for mine, other, before in zip(ours.parameters(), theirs.parameters(), start, strict=True):
        torch.testing.assert_close(mine, other, rtol=1e-10, atol=1e-10)
        moved = max(moved, float((mine - before).detach().abs().max()))
    assert moved > 1e-2


def test_the_plain_forms_differ() -> None:
    """So that none of the equalities above holds for a wrong contact."""
    ends = []
    for contact in ("previous", "mirrored", "lagged"):
        model, closure = network()
        plain = plain_loops.PlainRemembered(list(model.parameters()), LR, RADIUS, contact)
        for _ in range(4):
            plain.step(closure)
        ends.append(torch.cat([parameter.detach().flatten() for parameter in model.parameters()]))
    assert min(float((a - b).abs().max()) for a, b in ((ends[0], ends[1]), (ends[1], ends[2]))) > 1e-3


def test_plain_eq14_is_the_landscapes() -> None:
    landscape, centers = Eq14(), np.random.RandomState(0).uniform(-3.0, 3.0, (1000, 2))
    for theta in figure4.starts():
        value, gradient = plain_loops.eq14(theta, centers, Eq14.sigma)
        expected, slope = landscape.value_and_grad(torch.from_numpy(theta))
        assert value == pytest.approx(float(expected), rel=1e-12)
        np.testing.assert_allclose(gradient, slope.numpy(), rtol=1e-12, atol=1e-12)


def test_the_plain_numpy_loop_rolls_figure_4() -> None:
    radii = (0.1, 1.0)
    plain = speed.roll_by_plain_numpy(2, 5, radii)
    batch = figure4.roll(Eq14(), 2, 5, radii).numpy()
    np.testing.assert_allclose(plain, batch, rtol=1e-10, atol=1e-10)
    assert np.abs(plain[-1] - plain[0]).max() > 1e-3


@pytest.mark.parametrize("augmentation", ["none", "crop-flip"])
def test_the_loop_by_hand_trains_the_same_weights(augmentation: Any) -> None:
    if augmentation == "none":
        task = ImageTask("digits", "mlp", 700)
        data = task.data(DataLocation())
    else:
        task = ImageTask("noise", "resnet6", 8, augmentation=augmentation)
        data = speed.random_images(20)
    pair = speed.LoopPair.build(task, data)
    for steps in (2, 3):  # several epochs
        pair.run_trial(steps)
        pair.by_hand.train(steps)
    assert len(pair.training_seconds) == 2
    assert len(pair.by_hand.losses) == 5
    mine, by_hand = pair.problem.module.state_dict(), pair.by_hand.model.state_dict()
    for name, tensor in mine.items():
        torch.testing.assert_close(tensor, by_hand[name], rtol=1e-5, atol=1e-6)


def test_steps_are_compared_with_as_many_evaluations() -> None:
    costs = {name: speed.gradient_evaluations(name, speed.hyperparameters(name)) for name in speed.STEPPING}
    assert costs == {
        "sam": 2,
        "rbo-center": 2,
        "rbo-previous": 1,
        "rbo-mirrored": 1,
        "rbo-lagged": 1,
        "sgd": 1,
        "rbo": speed.PROJECTION_STEPS,
    }


def test_a_bar_is_met_by_the_median() -> None:
    comparison = speed.Comparison("step", "a", "b", 1.05, (1.0, 1.0, 1.04, 1.2, 1.3))
    assert comparison.row() == {
        "part": "step",
        "what": "a",
        "against": "b",
        "bar": 1.05,
        "ratio": 1.04,
        "low": 1.0,
        "high": 1.2,
        "rounds": 5,
        "met": True,
    }
    assert not speed.Comparison("step", "a", "b", 1.03, comparison.ratios).row()["met"]
    assert speed.Comparison("step", "a", "b", None, comparison.ratios).row()["met"] is None


def test_the_report_names_what_misses_its_bar() -> None:
    comparisons = [
        speed.Comparison("step", "slow", "bare", 1.0, (1.5,)),
        speed.Comparison("step", "fast", "bare", 1.0, (0.9,)),
        speed.Comparison("step", "unasked", "bare", None, (2.0,)),
    ]
    text = speed.report(pd.DataFrame([each.row() for each in comparisons], columns=list(speed.COLUMNS)))
    assert "Of 2 bars, 1 are met." in text
    assert "- slow: 1.500 of bare, above 1.000." in text
    assert "- fast" not in text
    assert "- unasked" not in text


def test_the_study_times_every_bar_of_the_issue(tmp_path: Path) -> None:
    threads = torch.get_num_threads()
    said: list[str] = []
    files = speed.run(tmp_path, small=True, say=said.append)
    assert torch.get_num_threads() == threads
    assert [path.name for path in files] == ["speed.csv", "speed.md"]
    table = pd.read_csv(files[0])
    assert tuple(table.columns) == speed.COLUMNS
    assert len(said) == len(table)
    assert (table[["ratio", "low", "high"]] > 0.0).all(axis=None)
    assert ((table["low"] <= table["ratio"]) & (table["ratio"] <= table["high"])).all()
    asked = table[table["bar"].notna()]
    assert asked["met"].tolist() == (asked["ratio"] <= asked["bar"]).tolist()
    counts = table.groupby("part").size().to_dict()
    assert counts == {"step": 3 * len(speed.STEPPING), "plain loop": 6, "Figure 4": 2, "trial loop": 2}
    text = files[1].read_text(encoding="utf-8")
    assert all(what in text for what in table["what"])
    assert sum(line.startswith("| ") for line in text.splitlines()) == len(table) + 2
