from __future__ import annotations

import functools

import numpy as np
import pytest
import torch

from rbobench.optim.rolling_ball import RBO
from rbobench.optim.sgd import SGD
from rbobench.paper import figure4
from rbobench.paper.claim import Numbers, Ruling
from rbobench.paper.claims import limits
from rbobench.tasks.landscapes import Eq14, Sine

CLAIMS = {claim.name: claim for claim in limits.CLAIMS}

WHERE = [f"{of}, {name}" for of in ("step", "path") for name in ("sin", "Eq. 14")]
ZERO_RADIUS = {
    **{f"largest η, {name}": 0.1 for name in ("sin", "Eq. 14")},
    **{f"order in ρ, {where}": 1.0 for where in WHERE},
    **{f"gap at ρ = 0, {where}": 0.01 for where in WHERE},
    **{f"order in η at ρ = 0, {where}": 1.0 for where in WHERE},
}
DIGITS = {
    "batches": 4.0,
    **{
        f"{what}, ρ = {radius}, γ = {lr}": 0.6
        for what in ("lowest cosine", "highest cosine", "mean cosine", "mean cosine with one gradient")
        for radius in ("1", "10")
        for lr in ("0.001", "0.05")
    },
}


@functools.cache
def measured(name: str) -> Numbers:
    """What a claim's test measures; hand-made where that takes long."""
    return {"zero-radius": ZERO_RADIUS, "projection-as-descent": DIGITS}.get(name) or CLAIMS[name].measure()


def ruling(name: str, changes: dict[str, float]) -> Ruling:
    """Of the numbers with every quantity whose name begins with a key of `changes` changed."""
    numbers = dict(measured(name))
    for beginning, value in changes.items():
        names = [quantity for quantity in numbers if quantity.startswith(beginning)]
        assert names, beginning
        numbers |= dict.fromkeys(names, value)
    finding = CLAIMS[name].judge(numbers)
    assert finding.value
    assert finding.uncertainty
    assert len(finding.value) <= 170
    assert len(finding.reason) <= 170
    return finding.ruling


@pytest.mark.parametrize(
    ("name", "changes", "expected"),
    [
        ("zero-radius", {}, Ruling.HOLDS_WHEN),
        ("zero-radius", {"gap at": 0.0}, Ruling.HOLDS),
        ("zero-radius", {"order in ρ, path, sin": 0.0}, Ruling.REFUTED),
        ("zero-radius", {"order in η at ρ = 0, step, Eq. 14": 0.0}, Ruling.REFUTED),
        ("zero-radius-projected", {}, Ruling.HOLDS_WHEN),
        ("zero-radius-projected", {"rate": 1.0}, Ruling.HOLDS),
        ("zero-radius-projected", {"error": 0.1}, Ruling.REFUTED),
        ("loss-units", {}, Ruling.HOLDS_WHEN),
        ("loss-units", {"ρ": 0.0}, Ruling.HOLDS),
        ("loss-units", {"(8 f": 1e-3}, Ruling.REFUTED),
        ("loss-units", {"ρ = 3, η / 10, λ / 10": 0.1}, Ruling.REFUTED),
        ("sharp-minima", {}, Ruling.REFUTED),
        ("sharp-minima", {"sharp": 0.0}, Ruling.HOLDS),
        ("sharp-minima", {"sharp": 6.0, "sharp, ρ = 1": 0.0}, Ruling.HOLDS_WHEN),
        ("sharp-minima", {"sharp": 6.0}, Ruling.REFUTED),
        ("edge-of-stability", {}, Ruling.HOLDS),
        ("edge-of-stability", {"ball, η = 0.5, ρ = 1": 4.0}, Ruling.REFUTED),
        ("edge-of-stability", {"ball, η = 0.5, ρ = 1": 0.9}, Ruling.REFUTED),
        ("edge-of-stability-projected", {}, Ruling.HOLDS),
        ("edge-of-stability-projected", {"ball": 1e-3}, Ruling.HOLDS),
        ("edge-of-stability-projected", {"ball, η 0.01, ρ 5": 1e5}, Ruling.HOLDS_WHEN),
        ("edge-of-stability-projected", {"ball": 1e5}, Ruling.REFUTED),
        ("projection-as-descent", {}, Ruling.REFUTED),
        ("projection-as-descent", {"lowest cosine": 0.99}, Ruling.HOLDS),
        ("projection-as-descent", {"lowest cosine, ρ = 1, γ = 0.001": 0.99}, Ruling.HOLDS_WHEN),
    ],
)
def test_the_numbers_decide(name: str, changes: dict[str, float], expected: Ruling) -> None:
    assert ruling(name, changes) == expected


@pytest.mark.parametrize(
    "name", [name for name in CLAIMS if name not in ("zero-radius", "projection-as-descent")]
)
def test_numbers_are_finite(name: str) -> None:
    numbers = measured(name)
    assert all(np.isfinite(float(number)) for number in numbers.values()), numbers


def test_reasons_name_what_refutes() -> None:
    finding = CLAIMS["edge-of-stability"].judge(
        {**measured("edge-of-stability"), "ball, η = 0.5, ρ = 1": 4.321}
    )
    assert "4.32" in finding.reason
    rate = dict(measured("zero-radius-projected"))
    assert "flat within a step: on Eq. 14" in CLAIMS["zero-radius-projected"].judge(rate).reason
    rate["gap to descent at the effective rate, Eq. 14"] = 0.0
    assert "within a step" not in CLAIMS["zero-radius-projected"].judge(rate).reason


def test_rivals_are_named_where_they_do_as_well() -> None:
    numbers = dict(measured("edge-of-stability"))
    assert "η + 2ρ" in CLAIMS["edge-of-stability"].judge(numbers).reason
    numbers |= {name: 99.0 for name in numbers if name.startswith("descent at η + 2ρ")}
    assert "η + 2ρ" not in CLAIMS["edge-of-stability"].judge(numbers).reason
    projected = dict(measured("edge-of-stability-projected"))
    judge = CLAIMS["edge-of-stability-projected"].judge
    assert "η 1, ρ 1, γ 0.001, P 100" in judge(projected).reason
    assert judge(projected | {n: 1e-3 for n in projected if n.startswith("ball, η 1,")}).reason == ""
    valleys = {**measured("sharp-minima"), **{n: 0.0 for n in measured("sharp-minima") if "sharp, ρ" in n}}
    assert CLAIMS["sharp-minima"].judge(valleys).reason == ""
    valleys |= {name: 0.0 for name in valleys if name.startswith("sharp")}
    assert "so does" in CLAIMS["sharp-minima"].judge(valleys).reason
    small = {"lowest cosine, ρ = 1, γ = 0.001": 0.99}
    assert "one gradient" in CLAIMS["projection-as-descent"].judge(DIGITS | small).reason
    off = {name: 0.1 for name in DIGITS if "one gradient" in name}
    assert "one gradient" not in CLAIMS["projection-as-descent"].judge(DIGITS | small | off).reason


def test_zero_radius_on_sine(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "_LIMITS", limits._LIMITS[:1])
    numbers = limits.measure_zero_radius()
    for of in ("step", "path"):
        assert numbers[f"order in ρ, {of}, sin"] == pytest.approx(1.0, abs=0.05)
        assert numbers[f"order in η at ρ = 0, {of}, sin"] == pytest.approx(1.0, abs=0.05)
    # The tangent leaves the graph by ½η²g²f″; the footpoint is then off by ½η|f″|g²/(1+g²) of a step.
    theta = limits._SINE_STARTS.numpy()
    slope = np.cos(theta) ** 2
    expected = 0.5 * 0.1 * np.abs(np.sin(theta)) * slope / (1.0 + slope)
    assert numbers["gap at ρ = 0, step, sin"] == pytest.approx(expected.max(), rel=0.05)
    assert limits.judge_zero_radius(numbers).ruling == Ruling.HOLDS_WHEN


def test_rate_of_the_projected_ball() -> None:
    numbers = measured("zero-radius-projected")
    for name, factor, count in (("Fig. 4", 1e-3, 100), ("Fig. 3", 0.05, 20)):
        for slope in (0.01, 1.0, 4.0):
            expected = 1.0 - (1.0 - factor * (1.0 + slope**2)) ** count
            assert numbers[f"rate / η on slope {slope:g}, {name}"] == pytest.approx(expected, abs=1e-12)


def test_units_by_hand() -> None:
    numbers = measured("loss-units")
    assert numbers["(8 f, λ / 8, η / 8)"] == 0.0
    assert numbers["(f(θ/4), 4 ρ, 4 λ, 16 η)"] == 0.0
    assert numbers["SGD, η / 10"] < 1e-12
    for radius in ("0.5", "3"):
        assert numbers[f"ρ = {radius}, η / 10, λ / 10"] < 1e-12
        assert numbers[f"ρ = {radius}, η / 10"] > 0.1
        assert (
            0.01
            < numbers[f"ρ = {radius}, η / 10, best other radius"]
            <= numbers[f"ρ = {radius}, η / 10"] + 0.1
        )


def test_edge_of_the_exact_ball() -> None:
    numbers = measured("edge-of-stability")
    for lr, radius in limits._BALLS:
        name = f"η = {lr:g}, ρ = {radius:g}"
        assert numbers[f"ball, {name}"] == pytest.approx(2.0 / (lr + 2.0 * radius), rel=1e-3)
        assert numbers[f"descent at η, {name}"] == pytest.approx(2.0 / lr, rel=1e-3)
        assert numbers[f"descent at η + 2ρ, {name}"] == pytest.approx(2.0 / (lr + 2.0 * radius), rel=1e-3)


def test_balls_over_two_valleys() -> None:
    numbers = measured("sharp-minima")
    # The slope of 0.3 tips a ball of radius 1 out of what is narrower than about 0.3, however deep.
    for curvature in limits._SHARP:
        assert numbers[f"flatter, ρ = 1, depth 0.3, κ = {curvature:g}"] >= 5.0
        assert numbers[f"sharp, ρ = 1, width 0.2, κ = {curvature:g}"] >= 3.0
        assert numbers[f"sharp, ρ = 0.1, width 0.2, κ = {curvature:g}"] == 6.0
        assert numbers[f"sharp, descent at η + 2ρ, width 0.2, κ = {curvature:g}"] == 0.0
    assert numbers["flatter, descent at η, depth 0.3, κ = 20"] == 0.0


@pytest.mark.parametrize("size", limits._SIZES)
def test_curvature_of_the_sharp_well(size: str) -> None:
    depth, width = limits._SIZES[size](80.0)
    at_well = torch.tensor([[limits._PLACE]], dtype=torch.float64)
    assert limits.two_valleys(depth, width).hessian(at_well).item() == pytest.approx(80.2)


def test_edge_of_the_projected_ball() -> None:
    numbers = measured("edge-of-stability-projected")
    for settings in limits._EVALUATED:
        assert numbers[f"ball, {settings}"] == pytest.approx(numbers[f"predicted, {settings}"], rel=1e-3)
        null = 2.0 / limits.effective_rate(settings, 0.0)
        assert numbers[f"radius 0, {settings}"] == pytest.approx(null, rel=1e-3)
        assert numbers[f"ball, {settings}"] > 1.5 * numbers[f"exact, {settings}"]


def test_many_projection_steps_make_the_edge_exact() -> None:
    settings = limits.Settings(0.1, 0.1, 0.05, 5000)
    assert limits.projected_edge(settings) == pytest.approx(2.0 / 0.3, rel=1e-6)


def test_projection_as_descent_on_one_batch(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "_SEEDS", (0,))
    monkeypatch.setattr(limits, "_STAGES", (20,))
    numbers = limits.measure_projection_as_descent()
    assert numbers["lowest cosine, ρ = 1, γ = 0.001"] > 0.98
    assert 0.5 < numbers["lowest cosine, ρ = 10, γ = 0.001"] < 0.97
    assert numbers["lowest cosine, ρ = 10, γ = 0.05"] < 0.8
    assert numbers["mean cosine with one gradient, ρ = 1, γ = 0.001"] > 0.98
    assert limits.judge_projection_as_descent(numbers).ruling == Ruling.HOLDS_WHEN


def test_digits_leave_the_global_random_state_alone() -> None:
    state = torch.random.get_rng_state()
    one, other = (limits._DigitsBatch(1, 2) for _ in range(2))
    torch.testing.assert_close(torch.random.get_rng_state(), state)
    make = functools.partial(SGD, lr=0.3)
    moved = one.displacement(make)
    assert torch.equal(moved, other.displacement(make))
    assert torch.equal(moved, one.displacement(make))


def test_exact_rescaling_needs_all_of_its_parts() -> None:
    first = torch.from_numpy(figure4.starts())[:2]
    there, without = (
        limits.trajectories(
            functools.partial(RBO, lr=0.01 / k, radius=1.0, projection_lr=1e-3, batch_dims=1),
            limits.Scaled(Eq14(), k),
            first,
            3,
        )
        for k in (1.0, 8.0)
    )
    assert limits.gap(there, without) > 1e-4


def test_stretched_landscape() -> None:
    wide = limits._Stretched(Sine(), 4.0)
    points = torch.tensor([[0.3], [2.0]], dtype=torch.float64)
    value, gradient = wide.value_and_grad(points)
    torch.testing.assert_close(value, (points[:, 0] / 4.0).sin())
    torch.testing.assert_close(gradient, (points / 4.0).cos() / 4.0)
    torch.testing.assert_close(wide.value(points), value)


def test_well_is_sharpest_at_its_minimum() -> None:
    points = torch.tensor([[0.0], [0.5], [-2.0]], dtype=torch.float64)
    curvature = limits.well(3.0).hessian(points)[:, 0, 0]
    assert curvature[0].item() == pytest.approx(3.0)
    assert (curvature[1:] < 3.0).all()


@pytest.mark.slow
@pytest.mark.parametrize("name", ["zero-radius", "projection-as-descent"])
def test_whole_measurement(name: str) -> None:
    assert CLAIMS[name].judge(CLAIMS[name].measure()).ruling == Ruling.HOLDS_WHEN
