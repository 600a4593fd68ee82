"""Claims on ironing: other numbers give other verdicts, and the code finds the known facts again."""

from __future__ import annotations

import functools
import math
from collections.abc import Mapping

import numpy as np
import pytest

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
    for quantity, value in (("crossings", 5.0 if case == "step" else 1.0), ("rise", 0.1), ("miss", 0.0))
}
SMOOTHNESS = {
    "sine_kink_0.5": 0.0,
    "sine_kink_0.99": 1e-6,
    "sine_kink_3": 1.8,
    "parabola_kink_0.5": 0.0,
    "parabola_kink_3": 5.657,
    "parabola_predicted": 5.657,
    "square_kink_0.1": 3.0,
    "square_kink_0.01": 3.0,
    "square_kink_0.001": 3.0,
    "square_valley_0.001": 22.4,
}
SMOOTH_SQUARE = {"square_kink_0.001": 0.0}
SMOOTHING = {
    "difference_error": 1e-4,
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
    "sine_scatter": 0.02,
    "arctan_scatter": 0.01,
    "almost_periodic_scatter": 0.1,
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
    "arctan_exponent": -0.36,
    "arctan_last_exponent": -0.35,
}
PLATEAU = {
    f"{case}_{quantity}": value
    for case in ("sine", "two_waves", "square", "cut")
    for quantity, value in (("drift", 0.0), ("drop", 1e-3))
}
REACH = {
    **{f"sine_{kind}": 1.0 for kind in ("two_sided", "upper", "minimum", "end")},
    "two_waves_two_sided": 0.238,
    "two_waves_upper": 0.27,
    "two_waves_minimum": 0.283,
    "two_waves_end": 0.283,
    **{f"square_{kind}": 0.0106 for kind in ("two_sided", "upper")},
    **{f"square_{kind}": 0.053 for kind in ("minimum", "end")},
    "bump_two_sided": 0.5,
    "bump_100": 1.0,
}
REACHED = {"two_waves_end": 0.238, "square_end": 0.0106, "bump_100": 0.2}
SINE = {
    "delta_200": 0.0246,
    "exponent": -1.0,
    "constant": 4.935,
    "predicted": 0.5 * math.pi**2,
    "cut_200": 0.0552,
    "cut_exponent": -1.0,
    "cut_constant": 11.104,
    "cut_predicted": 1.125 * math.pi**2,
}
BENDS = {"minimum": 1e-5, "maximum": 1e-8, "slope": 1e-7, "contacts": 1e-15}


@pytest.mark.parametrize(
    ("name", "numbers", "contrary", "ruling", "told"),
    [
        ("offset-is-a-graph", GRAPH, {}, Ruling.HOLDS, ""),
        ("offset-is-a-graph", GRAPH, {"step_crossings_0.35": 1.0}, Ruling.OPEN, "control"),
        ("offset-is-a-graph", GRAPH, {"eq13_crossings_0.05": 3.0}, Ruling.REFUTED, "eq13 at ρ = 0.05"),
        ("offset-is-a-graph", GRAPH, {"sine_rise_3": -0.1}, Ruling.REFUTED, "least rise −0.1"),
        ("offset-is-a-graph", GRAPH, {"sine_miss_3": 5.0}, Ruling.REFUTED, ""),
        ("offset-is-smooth", SMOOTHNESS, {}, Ruling.HOLDS_WHEN, "sin θ², of reach 0"),
        ("offset-is-smooth", SMOOTHNESS, {"sine_kink_0.5": 0.2}, Ruling.REFUTED, "a kink of 0.20"),
        ("offset-is-smooth", SMOOTHNESS, SMOOTH_SQUARE, Ruling.HOLDS_WHEN, "ρ is below the reach"),
        ("offset-is-smooth", SMOOTHNESS, {**SMOOTH_SQUARE, "sine_kink_3": 0.0}, Ruling.HOLDS, ""),
        ("offset-is-smooth", SMOOTHNESS, {"parabola_kink_3": 3.0}, Ruling.OPEN, "control"),
        ("offset-is-smooth", SMOOTHNESS, {"parabola_kink_0.5": 3.0}, Ruling.OPEN, "control"),
        ("larger-balls-smooth", SMOOTHING, {}, Ruling.HOLDS_WHEN, "10.0 times"),
        ("larger-balls-smooth", SMOOTHING, SMOOTHER, Ruling.HOLDS, ""),
        ("larger-balls-smooth", SMOOTHING, {"hill_0.9": -0.7}, Ruling.REFUTED, "its hill"),
        ("larger-balls-smooth", SMOOTHING, {"delta_10": 1.9}, Ruling.REFUTED, "Δ(10) = 1.90"),
        ("delta-of-sine", SINE, {}, Ruling.HOLDS, ""),
        ("delta-of-sine", SINE, {"exponent": -0.9}, Ruling.REFUTED, "sin θ itself"),
        ("delta-of-sine", SINE, {"constant": 5.0}, Ruling.REFUTED, "sin θ itself"),
        ("delta-of-sine", SINE, {"cut_exponent": -0.9}, Ruling.REFUTED, "cut at ±3π"),
        ("delta-of-bounded", BOUNDED, {}, Ruling.REFUTED, "exp(−θ²) (Δ = 1.00"),
        ("delta-of-bounded", BOUNDED, {"bump_exponent": -1.0}, Ruling.REFUTED, "sin θ + sin √2 θ, arctan"),
        ("delta-of-bounded", BOUNDED, {"sine_exponent": -0.5}, Ruling.REFUTED, "sin θ, exp"),
        ("delta-of-bounded", BOUNDED, FIRST_ORDER, Ruling.HOLDS, ""),
        ("uniform-limit", LIMIT, {}, Ruling.REFUTED, "at a fixed θ it closes"),
        ("uniform-limit", LIMIT, {"sine_exponent": -0.2}, Ruling.REFUTED, "sin θ itself"),
        ("uniform-limit", LIMIT, {"bump_1000": 0.1}, Ruling.HOLDS_WHEN, "O(1/ρ)"),
        ("uniform-limit", LIMIT, {"bump_1000": 0.1, "arctan_exponent": -1.0}, Ruling.HOLDS, ""),
        ("delta-has-a-plateau", PLATEAU, {}, Ruling.HOLDS, ""),
        ("delta-has-a-plateau", PLATEAU, {"two_waves_drift": 0.1}, Ruling.REFUTED, "8θ: Δ drifts by 0.1"),
        ("delta-has-a-plateau", PLATEAU, {"cut_drift": 0.1}, Ruling.REFUTED, "cut at ±3π"),
        ("delta-has-a-plateau", PLATEAU, {"sine_drop": 0.0}, Ruling.OPEN, "sin θ"),
        ("plateau-ends-at-reach", REACH, {}, Ruling.REFUTED, "touches a global minimum"),
        ("plateau-ends-at-reach", REACH, {"square_end": 0.0106}, Ruling.REFUTED, "8θ, exp"),
        ("plateau-ends-at-reach", REACH, REACHED, Ruling.HOLDS, ""),
        ("plateau-ends-at-reach", REACH, {**REACHED, "bump_100": 1.0}, Ruling.REFUTED, "none up to ρ = 100"),
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
        "delta-has-a-plateau": PLATEAU,
        "plateau-ends-at-reach": REACH,
        "offsets-rise-and-approach": {"rise": 0.0, "ratio": 1.0, "pairs": 6.0},
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


def test_a_cut_graph_is_ironed_like_a_hill_at_the_distance_of_its_end() -> None:
    numbers = measured("delta-of-sine")
    assert numbers["cut_constant"] == pytest.approx(numbers["cut_predicted"], rel=1e-3)
    assert numbers["constant"] == pytest.approx(numbers["predicted"], rel=1e-3)
    assert numbers["cut_exponent"] == pytest.approx(-1.0, abs=0.01)


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


def test_delta_stays_on_a_plateau_and_falls_beyond_it() -> None:
    finding = BY_NAME["delta-has-a-plateau"].judge(measured("delta-has-a-plateau"))
    assert finding.ruling == Ruling.HOLDS


def test_the_offset_of_a_parabola_bends_as_in_closed_form() -> None:
    assert max(measured("curvature-of-offset").values()) < 1e-3
