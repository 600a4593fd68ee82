from __future__ import annotations

import functools
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from rbobench.paper import figure4
from rbobench.paper.claim import Numbers, Ruling
from rbobench.paper.claims import exploration
from rbobench.paper.trajectories import trajectories

CLAIMS = {claim.name: claim for claim in exploration.CLAIMS}
LARGE = ("ρ = 4", "ρ = 5", "ρ = 6", "ρ = 8")
SMALL = ("ρ = 0.1", "ρ = 1", "ρ = 3")


@pytest.fixture(scope="module")
def short() -> dict[str, Numbers]:
    """Every claim measured with twenty steps of two projection steps."""

    def cut(make: Any, landscape: Any, first: Tensor, steps: int, **options: Any) -> Tensor:
        return trajectories(make, landscape, first, min(steps, 20), **options)

    with pytest.MonkeyPatch.context() as patch:
        figure = figure4.measure(steps=20, projection_steps=2)
        patch.setattr(exploration, "_figure", lambda: figure)
        patch.setattr(exploration, "trajectories", cut)
        patch.setattr(figure4, "PROJECTION_STEPS", 2)
        return {name: claim.measure() for name, claim in CLAIMS.items()}


def ruling(name: str, numbers: Numbers, changes: dict[str, float]) -> Ruling:
    """Of the numbers with every quantity whose name begins with a key of `changes` changed, in order."""
    changed = dict(numbers)
    for beginning, value in changes.items():
        names = [quantity for quantity in changed if quantity.startswith(beginning)]
        assert names, beginning
        changed |= dict.fromkeys(names, value)
    finding = CLAIMS[name].judge(changed)
    assert finding.value
    assert finding.uncertainty
    return finding.ruling


FREE = {f"escaped, {name}": 1.0 for name in LARGE}
TRAPPED = {"escaped": 0.0}
BETTER = {
    f"switch − {rival}{end}": number
    for rival in ("ρ = 5", "ρ = 0.1")
    for end, number in (("", -1.0), (", low", -2.0), (", high", -0.5))
}
EXPONENTIAL = {name.replace("switch", "exponential"): number for name, number in BETTER.items()}
LEVEL = {
    f"{schedule} − {rival}{end}": number
    for schedule in ("switch", "exponential")
    for rival in ("ρ = 5", "ρ = 0.1", "best control")
    for end, number in (("", 0.0), (", low", -1.0), (", high", 1.0))
}
BEST = "switch − best control"


@pytest.mark.parametrize(
    ("name", "changes", "expected"),
    [
        ("escape", TRAPPED | FREE, Ruling.HOLDS),
        ("escape", TRAPPED | FREE | {"escaped, ρ = 4": 0.4}, Ruling.HOLDS_WHEN),
        ("escape", TRAPPED | FREE | {"escaped elsewhere, ρ = 3": 0.6}, Ruling.HOLDS_WHEN),
        ("escape", TRAPPED | FREE | {"escaped, ρ = 3": 0.6}, Ruling.REFUTED),
        ("escape", TRAPPED | FREE | {"escaped, SGD": 1.0}, Ruling.REFUTED),
        ("escape", TRAPPED, Ruling.NOT_REPRODUCED),
        ("point-like", {"ball": 1.0, "SGD": 0.0, "radius 0": 0.0}, Ruling.HOLDS),
        ("point-like", {"ball": 0.9, "SGD": 0.0, "radius 0": 0.0, "SGD, η = 0.05": 1.0}, Ruling.REFUTED),
        ("point-like", {"ball": 0.9, "SGD": 0.0, "radius 0": 0.0, "SGD, η = 0.05": 0.4}, Ruling.HOLDS_WHEN),
        ("point-like", {"ball": 0.9, "SGD": 0.0, "radius 0": 0.5}, Ruling.HOLDS_WHEN),
        ("point-like", {"ball": 0.1, "SGD": 0.0, "radius 0": 0.0}, Ruling.NOT_REPRODUCED),
        ("global-basin", {"ends in": 1.0, "passes": 1.0}, Ruling.HOLDS),
        ("global-basin", {"ends in": 0.0, "passes": 0.8}, Ruling.HOLDS_WHEN),
        ("global-basin", {"ends in": 0.0, "passes": 0.2}, Ruling.NOT_REPRODUCED),
        ("chaos", {"median": 0.2}, Ruling.HOLDS),
        ("chaos", {"median": -0.2}, Ruling.REFUTED),
        ("chaos", {"median": 0.2, "median exponent, ρ = 4": -0.1}, Ruling.HOLDS_WHEN),
        ("explore-then-exploit", LEVEL, Ruling.NOT_REPRODUCED),
        ("explore-then-exploit", LEVEL | BETTER, Ruling.HOLDS),
        ("explore-then-exploit", LEVEL | EXPONENTIAL, Ruling.HOLDS_WHEN),
        (
            "explore-then-exploit",
            LEVEL | BETTER | {BEST: 1.0, f"{BEST}, low": 0.5, f"{BEST}, high": 2.0},
            Ruling.HOLDS_WHEN,
        ),
        ("explore-then-exploit", LEVEL | {"switch − ρ = 5, low": 0.1}, Ruling.REFUTED),
    ],
)
def test_the_numbers_decide(
    short: dict[str, Numbers], name: str, changes: dict[str, float], expected: Ruling
) -> None:
    assert ruling(name, short[name], changes) == expected


@pytest.mark.parametrize("name", CLAIMS)
def test_numbers_are_finite(short: dict[str, Numbers], name: str) -> None:
    assert all(np.isfinite(float(number)) for number in short[name].values())
    assert len(CLAIMS[name].judge(short[name]).value) <= 190


def test_rivals_are_named_where_they_do_as_well(short: dict[str, Numbers]) -> None:
    chaos = {**short["chaos"], **{name: 0.2 for name in short["chaos"] if name.startswith("median")}}
    calm = {name: -0.2 for name in chaos if "SGD" in name or any(name.endswith(radius) for radius in SMALL)}
    assert exploration.judge_chaos(chaos | calm).reason == ""
    calm = {name: -0.2 for name in calm if name.endswith(("η = 0.01", *SMALL))}
    assert "SGD" in exploration.judge_chaos(chaos | calm).reason
    schedule = {**short["explore-then-exploit"], **LEVEL, **BETTER}
    assert "SGD" in exploration.judge_schedule(schedule).reason
    assert exploration.judge_schedule({**schedule, f"{BEST}, high": -0.1}).reason == ""


def test_points_escape_at_twice_the_rate() -> None:
    rates = (0.01, 0.02, 0.05)
    first = torch.from_numpy(figure4.starts())
    visited = exploration._descents(exploration._each(rates, 10), first.repeat(3, 1))
    shares = [exploration.escaped(visited[:, 10 * index : 10 * index + 10]) for index in range(3)]
    assert shares == [0.0, 1.0, 1.0]


def test_farthest_is_not_the_end() -> None:
    visited = torch.tensor([[[1.0, 1.0]], [[4.0, 5.0]], [[1.0, 1.0]]], dtype=torch.float64)
    assert exploration.farthest(visited).tolist() == [5.0]
    assert exploration.escaped(visited) == 1.0


def test_paths_of_the_figure(monkeypatch: pytest.MonkeyPatch) -> None:
    figure = figure4.measure(steps=2, projection_steps=3)
    monkeypatch.setattr(exploration, "_figure", lambda: figure.sample(frac=1.0, random_state=0))
    for radius in (np.nan, 5.0):
        np.testing.assert_array_equal(exploration.paths(radius)[0], figure4.starts())
    balls = exploration._balls(exploration._each((5.0,), 10), torch.from_numpy(figure4.starts()), 2)
    monkeypatch.setattr(figure4, "PROJECTION_STEPS", 3)
    short = exploration._balls(exploration._each((5.0,), 10), torch.from_numpy(figure4.starts()), 2)
    torch.testing.assert_close(short, exploration.paths(5.0), rtol=0.0, atol=1e-14)
    assert not torch.allclose(balls, short)


def test_global_minimum() -> None:
    minimum, lowest = exploration.global_minimum()
    landscape = exploration.EQ14
    value, gradient = landscape.value_and_grad(minimum[None])
    assert value.item() == lowest
    assert gradient.norm().item() < 1e-9
    assert torch.linalg.eigvalsh(landscape.hessian(minimum)).min().item() > 0.0
    points = torch.from_numpy(np.random.default_rng(0).uniform(-3.0, 3.0, (20_000, 2)))
    assert landscape.value_and_grad(points)[0].min().item() > lowest
    # No well is deeper than the sum of its neighbors', and ‖θ‖² is at least 0: no minimum lies outside.
    assert lowest < -3.0


def test_global_basin() -> None:
    minimum, _ = exploration.global_minimum()
    offsets = torch.tensor([[0.0, 0.0], [0.03, 0.0], [0.0, -0.03], [2.4, 0.0]], dtype=torch.float64)
    assert exploration.in_global_basin(minimum + offsets).tolist() == [True, True, True, False]


@pytest.mark.parametrize("growth", [0.3, -0.3, 0.02])
def test_exponents_of_a_known_growth(growth: float) -> None:
    steps = torch.arange(151, dtype=torch.float64)[:, None, None]
    visited = torch.zeros(151, 1, 2, dtype=torch.float64)
    apart = 1e-12 * torch.exp(growth * steps) * torch.tensor([0.6, 0.8], dtype=torch.float64)
    # As two trajectories do, they stop parting once they are far apart.
    found = exploration.exponents(visited, visited + apart.clamp(max=1.0))
    assert found == pytest.approx([growth], rel=1e-6)


def test_trajectories_that_meet_have_a_negative_exponent() -> None:
    visited = torch.zeros(6, 1, 2, dtype=torch.float64)
    twins = visited.clone()
    twins[0, 0, 0] = 1e-12
    assert exploration.exponents(visited, twins)[0] < -1.0


def test_sgd_is_chaotic_at_a_large_rate_alone() -> None:
    first = torch.from_numpy(figure4.starts())
    shift = torch.tensor([1e-12, 0.0], dtype=torch.float64)
    run = functools.partial(exploration._descents, first=torch.cat([first, first + shift]), steps=100)
    for rate, sign in ((0.01, -1.0), (0.05, 1.0)):
        found = exploration.exponents(*run(torch.tensor(rate, dtype=torch.float64)).chunk(2, dim=1))
        assert (np.sign(found) == sign).all()


def test_schedules_reach_the_optimizer() -> None:
    seen = []

    def run(initial: Tensor, first: Tensor, before_step: Any) -> Tensor:
        group = {"radius": initial}
        optimizer = type("Optimizer", (), {"param_groups": [group]})()
        for fraction in (0.0, 0.49, 0.5, 0.99):
            before_step(optimizer, fraction)
            seen.append(group["radius"].reshape(-1, len(first) // 4)[:, 0].tolist())
        return first

    schedules = list(exploration._BALL_SCHEDULES.values())
    exploration._scheduled(run, "radius", schedules)
    constant, small, switched, exponential = (list(values) for values in zip(*seen, strict=True))
    assert constant == [5.0] * 4
    assert small == [0.1] * 4
    assert switched == pytest.approx([5.0, 5.0, 0.1, 0.1])
    assert exponential == pytest.approx([5.0 * 0.02**fraction for fraction in (0.0, 0.49, 0.5, 0.99)])


def test_the_first_starts_are_the_papers() -> None:
    starts = exploration._MORE_STARTS.numpy()
    np.testing.assert_array_equal(starts[:10], figure4.starts())
    assert len(np.unique(starts, axis=0)) == len(starts) == 20
    assert np.abs(starts - [2.0, 0.0]).max() <= 0.1


@pytest.mark.slow
def test_whole_measurements() -> None:
    escape = exploration.measure_escape()
    for name in ("SGD", *SMALL):
        assert escape[f"escaped, {name}"] == 0.0
    for name, median in (("SGD", 0.19), ("ρ = 0.1", 0.16), ("ρ = 1", 0.18)):
        assert escape[f"median farthest, {name}"] == pytest.approx(median, abs=0.01)
    assert escape["escaped, ρ = 8"] >= 0.8
    assert escape["escaped elsewhere, ρ = 3"] > 0.1
    assert exploration.judge_escape(escape).ruling == Ruling.HOLDS_WHEN
    expected = {
        "point-like": Ruling.REFUTED,
        "global-basin": Ruling.NOT_REPRODUCED,
        "chaos": Ruling.HOLDS,
        "explore-then-exploit": Ruling.HOLDS,
    }
    for name, known in expected.items():
        assert CLAIMS[name].judge(CLAIMS[name].measure()).ruling == known
