"""Claims on strong ironing: other numbers give other verdicts, and the code finds the known facts again."""

from __future__ import annotations

import functools
from collections.abc import Mapping

import numpy as np
import pytest

from rbobench.geometry.landscape import Formula
from rbobench.paper.claim import Claim, Ruling
from rbobench.paper.claims import ironing, strong_ironing
from rbobench.paper.claims.strong_ironing import CLAIMS

BY_NAME = {claim.name: claim for claim in CLAIMS}


@functools.cache
def measured(name: str) -> Mapping[str, float]:
    return BY_NAME[name].measure()


STRONG = {
    "sine_0": 0.6,
    "sine_10": 0.09,
    "sine_200": 0.006,
    "sine_exponent": -1.0,
    "bump_100": 1.0,
    "bump_1000": 1.0,
}
METRIC = {"steepest_10": 0.7, "steepest_100": 0.15, "steepest_1000": 0.02, "share": 0.9, "bump_1000": 1.0}
UNBOUNDED = {
    "square_10": 2.0,
    "square_100": 2.0,
    "square_1000": 2.0,
    "square_10_lifted": 2.0,
    "growth_1.2_100": 1.1,
    "growth_1.2_10000": 0.2,
    "growth_1.4_100": 2.0,
    "growth_1.4_10000": 2.0,
    "slope_10": 1.0,
    "slope_1000": 0.01,
}
TRAJECTORIES = {
    f"{case}_{radius}_{kind}": value
    for case, values in {
        "wave_contact": (3.0, 2.0, 6.0, 19.0),
        "wave_center": (3.0, 1.0, 0.4, 0.06),
        "bowl_contact": (6.0, 4.0, 4.0, 11.0),
        "bowl_center": (6.0, 4.0, 0.4, 6.5),
    }.items()
    for radius, value in zip((0, 1, 10, 30), values, strict=True)
    for kind in ("largest", "median")
}
TOGETHER = {"wave_contact_30_largest": 0.1, "bowl_contact_30_largest": 0.1}


@pytest.mark.parametrize(
    ("name", "numbers", "contrary", "ruling", "told"),
    [
        ("strong-ironing-bounded", STRONG, {}, Ruling.REFUTED, "exp(−θ²) against 0"),
        ("strong-ironing-bounded", STRONG, {"bump_1000": 0.1}, Ruling.HOLDS, ""),
        ("strong-ironing-bounded", STRONG, {"sine_exponent": 0.0}, Ruling.REFUTED, "sin 7θ"),
        ("isometric-bounded", METRIC, {}, Ruling.HOLDS_WHEN, "flat"),
        ("isometric-bounded", METRIC, {"bump_1000": 0.01}, Ruling.HOLDS, ""),
        ("isometric-bounded", METRIC, {"share": 1.2}, Ruling.REFUTED, "slope"),
        ("isometric-bounded", METRIC, {"steepest_1000": 0.7}, Ruling.REFUTED, "a slope of 0.70"),
        ("strong-ironing-unbounded", UNBOUNDED, {}, Ruling.REFUTED, "θ^1.4 is not"),
        (
            "strong-ironing-unbounded",
            UNBOUNDED,
            {"growth_1.2_10000": 1.1},
            Ruling.REFUTED,
            "2.000 at ρ = 1000",
        ),
        ("strong-ironing-unbounded", UNBOUNDED, {"square_1000": 0.02}, Ruling.HOLDS, ""),
        ("strong-ironing-unbounded", UNBOUNDED, {"square_10_lifted": 1.0}, Ruling.OPEN, "differ by 1"),
        (
            "strong-ironing-unbounded",
            UNBOUNDED,
            {"square_1000": 0.02, "slope_1000": 1.0},
            Ruling.REFUTED,
            "the slope θ",
        ),
        ("strong-ironing-of-trajectories", TRAJECTORIES, {}, Ruling.REFUTED, "come together on sin θ (0.06)"),
        (
            "strong-ironing-of-trajectories",
            TRAJECTORIES,
            {"wave_contact_30_largest": 0.1},
            Ruling.REFUTED,
            "0.1 θ² + sin θ: 11 apart at ρ = 30, gradient descent 6",
        ),
        ("strong-ironing-of-trajectories", TRAJECTORIES, TOGETHER, Ruling.HOLDS, ""),
    ],
)
def test_the_verdict_follows_from_the_numbers(
    name: str, numbers: Mapping[str, float], contrary: Mapping[str, float], ruling: Ruling, told: str
) -> None:
    finding = BY_NAME[name].judge({**numbers, **contrary})
    assert finding.ruling == ruling
    assert told in finding.reason


@pytest.mark.parametrize("claim", CLAIMS, ids=lambda claim: claim.name)
def test_cells_stay_readable(claim: Claim) -> None:
    assert claim.claim.endswith(".")
    assert len(claim.test) <= 200
    samples = {
        "strong-ironing-bounded": STRONG,
        "isometric-bounded": METRIC,
        "strong-ironing-unbounded": UNBOUNDED,
        "strong-ironing-of-trajectories": TRAJECTORIES,
    }
    finding = claim.judge(samples[claim.name])
    assert max(len(finding.value), len(finding.reason)) <= 170


def test_wrinkles_on_a_sine_are_ironed_out_and_a_bump_on_a_plane_is_not() -> None:
    numbers = measured("strong-ironing-bounded")
    spreads = [numbers[f"sine_{radius}"] for radius in (0, 1, 10, 100)]
    assert spreads == sorted(spreads, reverse=True)
    assert spreads[0] == pytest.approx(0.6, abs=1e-6)
    assert numbers["bump_1000"] == pytest.approx(1.0, abs=1e-6)


def test_slopes_of_bounded_landscapes_fall_below_their_bound() -> None:
    numbers = measured("isometric-bounded")
    assert 0.5 < numbers["share"] <= 1.0
    assert numbers["steepest_1000"] < numbers["steepest_100"] < numbers["steepest_10"]


def test_steep_bowls_keep_their_wrinkles_and_slopes_do_not() -> None:
    numbers = measured("strong-ironing-unbounded")
    assert min(numbers[f"square_{radius}"] for radius in (10, 100, 1000)) > 1.995
    assert numbers["square_10_lifted"] == pytest.approx(numbers["square_10"], abs=1e-6)
    assert numbers["growth_1.2_10000"] < 0.25 < 1.9 < numbers["growth_1.4_10000"]
    assert numbers["slope_1000"] < 0.02


def test_contacts_by_angle_are_those_of_the_lifted_ball() -> None:
    positions = np.linspace(-1.0, 1.0, 5)
    bowl = Formula("bowl", lambda points: points[..., 0].square())
    lifted = ironing.offset(bowl, positions, 3.0)
    assert strong_ironing.offset_by_angle(np.square, positions, 3.0) == pytest.approx(lifted, abs=1e-6)


def test_balls_on_close_waves_roll_together_from_one_center_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(strong_ironing, "_RADII", (0.0, 30.0))
    monkeypatch.setattr(strong_ironing, "_STARTS", np.array([-8.0, 2.0, 8.0]))
    monkeypatch.setattr(strong_ironing, "_STEPS", 100)
    monkeypatch.setattr(strong_ironing, "_BOX", (-45.0, 45.0))
    together = strong_ironing.farthest_apart(strong_ironing._WAVE, same_center=True)
    assert together.shape == (2, 3)
    assert together[1].max() < 0.1 < together[0].max()
    assert strong_ironing.farthest_apart(strong_ironing._WAVE, same_center=False)[1].max() > 2.0
