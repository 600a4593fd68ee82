"""Claims on ironing: other numbers give other verdicts, and the code finds the known facts again."""

from __future__ import annotations

import functools
import math
from collections.abc import Mapping

import numpy as np
import pytest

from rbobench.geometry.landscape import Formula
from rbobench.paper.claim import Claim, Ruling
from rbobench.paper.claims import ironing
from rbobench.paper.claims.ironing import CLAIMS
from rbobench.paper.figure2 import closed_form

BY_NAME = {claim.name: claim for claim in CLAIMS}


@functools.cache
def measured(name: str) -> Mapping[str, float]:
    return BY_NAME[name].measure()


GRAPH = {
    f"{case}_{quantity}_{radius:g}": value
    for case, radii in (
        ("sine", (0.5, 3)),
        ("eq13", (2e-6, 0.05)),
        ("rastrigin", (1e-3, 0.3)),
        ("step", (0.1, 0.35)),
    )
    for radius in radii
    for quantity, value in (("crossings", 1.0), ("rise", 0.1), ("miss", 0.0))
}
SMOOTHNESS = {
    "sine_kink_0.5": 0.0,
    "sine_kink_0.99": 1e-6,
    "sine_kink_3": 1.8,
    "square_kink_0.1": 3.0,
    "square_kink_0.01": 3.0,
    "square_kink_0.001": 3.0,
    "square_valley_0.001": 22.4,
}
SMOOTHING = {
    "valley_0.25": 1.3,
    "valley_0.5": 2.0,
    "valley_0.9": 10.0,
    "hill_0.25": -0.8,
    "hill_0.5": -0.67,
    "hill_0.9": -0.53,
    "delta_0.25": 2.0,
    "delta_2": 1.7,
    "delta_10": 0.46,
    "kink_2": 2.0,
    "kink_10": 0.6,
}
SMOOTHER = {"valley_0.25": 0.8, "valley_0.5": 0.6, "valley_0.9": 0.5, "kink_2": 0.0, "kink_10": 0.0}
BOUNDED = {
    "sine_exponent": -1.0,
    "bump_exponent": 0.0,
    "bump_on_3_exponent": -1.0,
    "bump_100": 1.0,
    "almost_periodic_exponent": -0.5,
    "arctan_exponent": -0.67,
    "arctan_cut_exponent": -1.0,
}
FIRST_ORDER = {"bump_exponent": -1.0, "almost_periodic_exponent": -1.0, "arctan_exponent": -1.0}
LIMIT = {
    "sine_200": 0.02,
    "sine_exponent": -1.0,
    "bump_100": 1.0,
    "bump_1000": 1.0,
    "bump_1000_at_3": 0.004,
    "arctan_exponent": -0.33,
}
STRONG = {
    "sine_0": 0.6,
    "sine_10": 0.09,
    "sine_200": 0.006,
    "sine_exponent": -1.0,
    "bump_100": 1.0,
    "bump_1000": 1.0,
}
METRIC = {"steepest_10": 0.7, "steepest_100": 0.15, "steepest_1000": 0.02, "share": 0.9}
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
        "slope": (4.0, 4.0, 1.0, 0.03),
        "slope_same_point": (4.0, 6.0, 10.0, 20.0),
        "bowl": (6.0, 4.0, 0.4, 6.0),
    }.items()
    for radius, value in zip((0, 1, 10, 30), values, strict=True)
    for kind in ("largest", "median")
}
PLATEAU = {
    **{f"sine_{kind}": 1.0 for kind in ("two_sided", "upper", "minimum", "end")},
    "two_waves_two_sided": 0.238,
    "two_waves_upper": 0.27,
    "two_waves_minimum": 0.283,
    "two_waves_end": 0.283,
    "two_waves_drift": 0.0,
    "two_waves_drop": 1e-5,
    **{f"square_{kind}": 0.053 for kind in ("two_sided", "upper", "minimum", "end")},
    "square_two_sided_5": 0.0106,
    "bump_two_sided": 0.5,
    "bump_100": 1.0,
}
REACHED = {"two_waves_end": 0.238, "square_two_sided_5": 0.053, "bump_100": 0.2}
SINE = {"delta_200": 0.0246, "exponent": -1.0, "constant": 4.935, "predicted": 0.5 * math.pi**2}
BENDS = {"minimum": 1e-5, "maximum": 1e-8, "slope": 1e-7, "contacts": 1e-15}


@pytest.mark.parametrize(
    ("name", "numbers", "contrary", "ruling", "told"),
    [
        ("offset-is-a-graph", GRAPH, {}, Ruling.HOLDS, ""),
        ("offset-is-a-graph", GRAPH, {"step_crossings_0.35": 3.0}, Ruling.HOLDS, ""),
        ("offset-is-a-graph", GRAPH, {"eq13_crossings_0.05": 3.0}, Ruling.REFUTED, "eq13 at ρ = 0.05"),
        ("offset-is-a-graph", GRAPH, {"sine_rise_3": -0.1}, Ruling.REFUTED, "least rise -0.1"),
        ("offset-is-a-graph", GRAPH, {"sine_miss_3": 5.0}, Ruling.REFUTED, ""),
        ("offset-is-smooth", SMOOTHNESS, {}, Ruling.HOLDS_WHEN, "reach is above 0: sin θ²"),
        ("offset-is-smooth", SMOOTHNESS, {"square_kink_0.001": 0.0}, Ruling.HOLDS_WHEN, "below the reach"),
        ("offset-is-smooth", SMOOTHNESS, {"square_kink_0.001": 0.0, "sine_kink_3": 0.0}, Ruling.HOLDS, ""),
        ("larger-balls-smooth", SMOOTHING, {}, Ruling.HOLDS_WHEN, "10.0 times"),
        ("larger-balls-smooth", SMOOTHING, SMOOTHER, Ruling.HOLDS, ""),
        ("larger-balls-smooth", SMOOTHING, {"delta_10": 1.9}, Ruling.REFUTED, "Δ(10) = 1.90"),
        ("delta-of-sine", SINE, {}, Ruling.HOLDS, ""),
        ("delta-of-sine", SINE, {"exponent": -0.9}, Ruling.REFUTED, "sin θ itself"),
        ("delta-of-sine", SINE, {"constant": 5.0}, Ruling.REFUTED, "sin θ itself"),
        ("delta-of-bounded", BOUNDED, {}, Ruling.REFUTED, "exp(−θ²) (Δ = 1.00"),
        ("delta-of-bounded", BOUNDED, {"bump_exponent": -1.0}, Ruling.REFUTED, "sin θ + sin √2 θ, arctan"),
        ("delta-of-bounded", BOUNDED, {"sine_exponent": -0.5}, Ruling.REFUTED, "sin θ, exp"),
        ("delta-of-bounded", BOUNDED, FIRST_ORDER, Ruling.HOLDS, ""),
        ("uniform-limit", LIMIT, {}, Ruling.REFUTED, "at a fixed θ it closes"),
        ("uniform-limit", LIMIT, {"sine_exponent": -0.2}, Ruling.REFUTED, "sin θ itself"),
        ("uniform-limit", LIMIT, {"bump_1000": 0.1}, Ruling.HOLDS_WHEN, "O(1/ρ)"),
        ("uniform-limit", LIMIT, {"bump_1000": 0.1, "arctan_exponent": -1.0}, Ruling.HOLDS, ""),
        ("plateau-ends-at-reach", PLATEAU, {}, Ruling.REFUTED, "touches the global minimum"),
        ("plateau-ends-at-reach", PLATEAU, REACHED, Ruling.HOLDS, ""),
        ("plateau-ends-at-reach", PLATEAU, {**REACHED, "bump_100": 1.0}, Ruling.REFUTED, "exp(−θ²) (no end)"),
        ("plateau-ends-at-reach", PLATEAU, {**REACHED, "two_waves_drift": 0.1}, Ruling.REFUTED, "drifts"),
        ("offsets-rise-and-approach", {"rise": 0.0, "ratio": 1.0, "pairs": 6.0}, {}, Ruling.HOLDS, ""),
        (
            "offsets-rise-and-approach",
            {"rise": -1e-3, "ratio": 1.0, "pairs": 6.0},
            {},
            Ruling.REFUTED,
            "a fall",
        ),
        (
            "offsets-rise-and-approach",
            {"rise": 0.0, "ratio": 1.1, "pairs": 6.0},
            {},
            Ruling.REFUTED,
            "1.100 times",
        ),
        ("strong-ironing-bounded", STRONG, {}, Ruling.REFUTED, "exp(−θ²) against 0"),
        ("strong-ironing-bounded", STRONG, {"bump_1000": 0.1}, Ruling.HOLDS, ""),
        ("strong-ironing-bounded", STRONG, {"sine_exponent": 0.0}, Ruling.REFUTED, "sin 7θ"),
        ("isometric-bounded", METRIC, {}, Ruling.HOLDS_WHEN, "flat"),
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
        (
            "strong-ironing-unbounded",
            UNBOUNDED,
            {"square_1000": 0.02, "slope_1000": 1.0},
            Ruling.REFUTED,
            "the slope θ",
        ),
        ("strong-ironing-of-trajectories", TRAJECTORIES, {}, Ruling.REFUTED, "equal contacts"),
        (
            "strong-ironing-of-trajectories",
            TRAJECTORIES,
            {"slope_same_point_30_largest": 0.1},
            Ruling.REFUTED,
            "0.1 θ² + sin θ",
        ),
        (
            "strong-ironing-of-trajectories",
            TRAJECTORIES,
            {"slope_same_point_30_largest": 0.1, "bowl_30_largest": 0.1},
            Ruling.HOLDS,
            "",
        ),
        (
            "strong-ironing-of-trajectories",
            TRAJECTORIES,
            {"slope_30_largest": 3.0, "slope_same_point_30_largest": 0.1, "bowl_30_largest": 0.1},
            Ruling.HOLDS_WHEN,
            "3 apart at 30",
        ),
        ("curvature-of-offset", BENDS, {}, Ruling.HOLDS, ""),
        ("curvature-of-offset", BENDS, {"slope": 0.1}, Ruling.REFUTED, "slope √((ρκ)²−1)"),
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
        "offset-is-a-graph": GRAPH,
        "offset-is-smooth": SMOOTHNESS,
        "larger-balls-smooth": SMOOTHING,
        "delta-of-sine": SINE,
        "delta-of-bounded": BOUNDED,
        "uniform-limit": LIMIT,
        "plateau-ends-at-reach": PLATEAU,
        "offsets-rise-and-approach": {"rise": 0.0, "ratio": 1.0, "pairs": 6.0},
        "strong-ironing-bounded": STRONG,
        "isometric-bounded": METRIC,
        "strong-ironing-unbounded": UNBOUNDED,
        "strong-ironing-of-trajectories": TRAJECTORIES,
        "curvature-of-offset": BENDS,
    }
    finding = claim.judge(samples[claim.name])
    assert max(len(finding.value), len(finding.reason)) <= 170


def test_smooth_landscapes_cross_once_and_a_step_does_not() -> None:
    below, above = (ironing.vertical_lines(ironing.SINE, ironing.PERIOD, radius) for radius in (0.5, 3.0))
    for found in (below, above):
        assert found["crossings"] == 1.0
        assert found["rise"] > 0.5
        assert found["miss"] <= 1.0 + 1e-6
    assert ironing.vertical_lines(ironing.STEP, (-0.9, 0.9), 0.35)["crossings"] > 1.0


def test_a_ball_folds_the_offset_graph_above_the_reach_alone() -> None:
    valley = -0.5 * math.pi
    assert ironing.kink(ironing.SINE, valley, 0.99) < 1e-4
    # Two contacts at ±s from the valley have slopes ±sin s.
    s = np.linspace(0.0, 3.0, 300_001)
    contact = s[(np.sqrt(9.0 - s**2) - np.cos(s)).argmax()]
    assert ironing.kink(ironing.SINE, valley, 3.0) == pytest.approx(2.0 * math.sin(contact), abs=1e-4)
    assert ironing.kink(ironing.SINE_OF_SQUARE, math.sqrt(17.5 * math.pi), 0.01, 2e-4) > 1.0


def test_valleys_sharpen_while_the_landscape_becomes_lower() -> None:
    numbers = measured("larger-balls-smooth")
    for radius in (0.25, 0.5, 0.9):
        assert numbers[f"valley_{radius:g}"] == pytest.approx(1.0 / (1.0 - radius), rel=1e-3)
        assert numbers[f"hill_{radius:g}"] == pytest.approx(-1.0 / (1.0 + radius), rel=1e-3)
    assert numbers["delta_10"] == pytest.approx(closed_form(10.0), abs=1e-6)


def test_the_counterexamples_to_the_first_order_are_found_again() -> None:
    numbers = measured("delta-of-bounded")
    assert [numbers[f"bump_{radius}"] for radius in (1, 10, 100)] == pytest.approx([1.0, 1.0, 1.0], abs=1e-6)
    assert numbers["bump_on_3_exponent"] == pytest.approx(-1.0, abs=0.02)
    assert numbers["arctan_exponent"] == pytest.approx(-2.0 / 3.0, abs=0.02)
    assert numbers["arctan_cut_exponent"] == pytest.approx(-1.0, abs=0.02)
    assert numbers["almost_periodic_exponent"] == pytest.approx(-0.5, abs=0.05)
    assert BY_NAME["delta-of-bounded"].judge(numbers).ruling == Ruling.REFUTED


def test_the_limit_is_pointwise_and_not_uniform() -> None:
    numbers = measured("uniform-limit")
    assert numbers["bump_1000"] == pytest.approx(1.0, abs=1e-6)
    # From θ = 3 the top of the bump is three away.
    assert numbers["bump_1000_at_3"] == pytest.approx(9.0 / 2000.0, rel=0.01)
    assert numbers["arctan_exponent"] == pytest.approx(-1.0 / 3.0, abs=0.03)


def test_the_plateau_ends_where_the_ball_leaves_the_lowest_valley() -> None:
    graph = ironing.Graph(ironing.TWO_WAVES, (-5.0, 5.0))
    radii = ironing.critical_radii(graph, points=400)
    assert [round(radius, 3) for radius in (radii.two_sided, radii.upper, radii.touching_minimum)] == [
        0.238,
        0.269,
        0.283,
    ]
    valley = math.remainder(radii.minimum[0], 2.0 * math.pi)
    end = ironing.plateau_end(ironing.TWO_WAVES, ironing.PERIOD, [valley, 0.5 * math.pi])
    assert end == pytest.approx(radii.touching_minimum, rel=1e-3)
    assert end > 1.1 * radii.two_sided


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
    assert ironing.offset_by_angle(np.square, positions, 3.0) == pytest.approx(lifted, abs=1e-6)


def test_balls_on_close_slopes_roll_together_from_one_center_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ironing, "_RADII", (0.0, 30.0))
    monkeypatch.setattr(ironing, "_STARTS", np.array([2.0, 8.0]))
    monkeypatch.setattr(ironing, "_STEPS", 120)
    monkeypatch.setattr(ironing, "_BOX", (-45.0, 45.0))
    together = ironing.farthest_apart(ironing._SLOPE, same_center=True)
    assert together.shape == (2, 2)
    assert together[1].max() < 0.1 < 1.0 < together[0].max()
    assert ironing.farthest_apart(ironing._SLOPE, same_center=False)[1].max() > 2.0


def test_the_offset_of_a_parabola_bends_as_in_closed_form() -> None:
    assert max(measured("curvature-of-offset").values()) < 1e-3
