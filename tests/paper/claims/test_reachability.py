from __future__ import annotations

import functools
import math

import numpy as np
import pytest

from rbobench.geometry.graph import Graph
from rbobench.geometry.reach import reachable
from rbobench.paper.claim import Numbers, Ruling
from rbobench.paper.claims import reachability
from rbobench.paper.claims.invariant import SINE, TWO_SINES, contacts, reachable_starts
from rbobench.paper.claims.reachability import CHAIN, MAXIMUM, MINIMUM
from rbobench.tasks.landscapes import Eq13

CLAIMS = {claim.name: claim for claim in reachability.CLAIMS}

RADII_OF_EQ13 = ("0.01", "0.0316", "0.1", "0.316", "1")
EXACT = {
    **{f"deepest, {name}, lr 0.02": 0.1 for name in ("sin", "wrinkled", "two sines")},
    **{f"deepest, {name}, lr 0.005": 0.025 for name in ("sin", "wrinkled", "two sines")},
    **{f"order, {name}": 1.0 for name in ("sin", "wrinkled", "two sines")},
    **{f"depth at Eq. 13's start, radius {radius}": 0.5 for radius in RADII_OF_EQ13},
    **{
        f"{what}, Eq. 13, radius {radius}, lr {lr}": value
        for what, value in (("steps until settled", 20.0), ("last depth", 1e-4))
        for radius in RADII_OF_EQ13
        for lr in ("1e-06", "1e-08")
    },
}
SGD = {
    f"{name}, radius {radius}, {who}, deeper than {limit}": 0.5
    for name, radii in (("sin", ("0.5", "3")), ("Eq. 13", RADII_OF_EQ13), ("Eq. 14", ("1", "3", "5")))
    for radius in radii
    for who in ("rbo", "null", "reachable")
    for limit in ("1e-06", "0.01")
}
SMALL = {
    "lr": 0.01,
    "large lr": 1.5,
    **{f"rate at the minimum, radius {radius:g}": 1.0 / (1.0 - radius) for radius in (0.0, 0.1, 0.5, 0.9)},
    **{f"rate at the maximum, radius {radius:g}": 1.0 / (1.0 + radius) for radius in (0.0, 0.1, 0.5, 0.9)},
    **{f"same limit point, {where}": 1.0 for where in ("below", "below, wrinkled")},
    "same limit point, above, wrinkled": 0.0,
    "distance of trajectories, lr 0.01": 0.2,
    "distance from the minimum at the large lr, point": 0.0,
    "distance from the minimum at the large lr, ball": 0.5,
}
HAND_MADE = {
    "iterates-are-reachable": EXACT,
    "iterates-are-reachable-as-run": SGD,
    "small-balls-are-gradient-descent": SMALL,
}


@functools.cache
def measured(name: str) -> Numbers:
    """What a claim's test measures; hand-made where that takes long."""
    return HAND_MADE.get(name) or CLAIMS[name].measure()


def judged(name: str, numbers: Numbers) -> Ruling:
    finding = CLAIMS[name].judge(numbers)
    assert finding.value
    assert finding.uncertainty
    assert max(len(finding.value), len(finding.reason), len(finding.uncertainty)) <= 160
    return finding.ruling


def ruling(name: str, changes: dict[str, float]) -> Ruling:
    """Of the numbers with every quantity whose name begins with a key of `changes` changed."""
    numbers = dict(measured(name))
    for beginning, value in changes.items():
        names = [quantity for quantity in numbers if quantity.startswith(beginning)]
        assert names, beginning
        numbers |= dict.fromkeys(names, value)
    return judged(name, numbers)


@pytest.mark.parametrize(
    ("name", "changes", "expected"),
    [
        ("unreachable-is-open", {}, Ruling.HOLDS),
        ("unreachable-is-open", {"with a reachable neighbor at 1e-07": 1.0}, Ruling.REFUTED),
        ("unreachable-is-open", {"depth at the boundary": 0.01}, Ruling.REFUTED),
        ("unreachable-is-open", {"boundaries": 0.0}, Ruling.OPEN),
        ("unreachable-grows", {}, Ruling.HOLDS),
        ("unreachable-grows", {"returned": 1.0}, Ruling.REFUTED),
        ("unreachable-grows", {"unreachable at the largest": 0.0}, Ruling.OPEN),
        ("unreachable-within-the-radius", {}, Ruling.HOLDS_WHEN),
        ("unreachable-within-the-radius", {"with a reachable one": 0.0}, Ruling.HOLDS),
        ("unreachable-within-the-radius", {"unreachable, radius": 0.0}, Ruling.OPEN),
        ("definition-of-unreachable", {}, Ruling.HOLDS_WHEN),
        ("definition-of-unreachable", {"minimum touched from below": 0.0}, Ruling.HOLDS_WHEN),
        ("definition-of-unreachable", {"minimum touched from below": 0.0, "untouched": 0.5}, Ruling.HOLDS),
        ("only-maxima-stay-reachable", {}, Ruling.HOLDS_WHEN),
        ("only-maxima-stay-reachable", {"reachable, sin": 0.4}, Ruling.REFUTED),
        (
            "only-maxima-stay-reachable",
            {
                f"{what}, {name}": 0.0
                for what in ("reachable", "carry the envelope")
                for name in ("plane", "cap", "chain")
            },
            Ruling.HOLDS,
        ),
        ("sharp-is-unreachable", {}, Ruling.HOLDS_WHEN),
        ("sharp-is-unreachable", {"sharper and touched": 1.0}, Ruling.REFUTED),
        ("sharp-is-unreachable", {"peaks touched": 0.0}, Ruling.HOLDS_WHEN),
        ("sharp-is-unreachable", {"flatter and untouched": 0.0}, Ruling.HOLDS_WHEN),
        ("sharp-is-unreachable", {"peaks touched": 0.0, "flatter and untouched": 0.0}, Ruling.HOLDS),
        ("sharp-is-unreachable", {"sharper": 0.0}, Ruling.OPEN),
        ("iterates-are-reachable", {}, Ruling.HOLDS_WHEN),
        ("iterates-are-reachable", {"order, two sines": 0.0}, Ruling.REFUTED),
        ("iterates-are-reachable", {"depth at Eq. 13's start": 0.0}, Ruling.HOLDS),
        ("iterates-are-reachable", {"steps until settled, Eq. 13, radius 0.01": 151.0}, Ruling.HOLDS_WHEN),
        ("iterates-are-reachable-as-run", {}, Ruling.REFUTED),
        ("iterates-are-reachable-as-run", dict.fromkeys(("sin", "Eq."), 0.0), Ruling.HOLDS),
        ("iterates-are-reachable-as-run", dict.fromkeys(("sin", "Eq."), 0.01), Ruling.HOLDS_WHEN),
        ("small-balls-are-gradient-descent", {}, Ruling.HOLDS_WHEN),
        ("small-balls-are-gradient-descent", {"same limit point, below": 0.9}, Ruling.REFUTED),
        ("small-balls-are-gradient-descent", {"rate": 1.0}, Ruling.HOLDS_WHEN),
        ("small-balls-are-gradient-descent", {"rate": 1.0, "distance": 0.0}, Ruling.HOLDS),
    ],
)
def test_other_numbers_get_another_ruling(name: str, changes: dict[str, float], expected: Ruling) -> None:
    assert ruling(name, changes) is expected


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("iterates-are-reachable", Ruling.HOLDS_WHEN),
        ("iterates-are-reachable-as-run", Ruling.REFUTED),
        ("small-balls-are-gradient-descent", Ruling.HOLDS_WHEN),
    ],
)
def test_long_measurements(name: str, expected: Ruling) -> None:
    numbers = CLAIMS[name].measure()
    assert numbers.keys() >= HAND_MADE[name].keys() - {key for key in SGD if "reachable" in key}
    assert judged(name, numbers) is expected


def touched_by_hand(theta: float, radius: float) -> bool:
    """Whether the ball on sin's point is empty of a dense sample of sin."""
    scale = math.hypot(1.0, math.cos(theta))
    a, b = theta - radius * math.cos(theta) / scale, math.sin(theta) + radius / scale
    others = np.linspace(theta - 3.0 * radius, theta + 3.0 * radius, 200_001)
    return bool(np.hypot(others - a, np.sin(others) - b).min() > radius * (1.0 - 1e-7))


def test_literal_property_fails_just_above_the_critical_radius() -> None:
    numbers = measured("unreachable-within-the-radius")
    assert numbers["unreachable, radius 1.05"] > 0
    assert (
        numbers["with a reachable one within the radius, radius 1.05"] == numbers["unreachable, radius 1.05"]
    )
    reach = numbers["farthest from the reachable, radius 1.05"]
    assert not touched_by_hand(MINIMUM, 1.05)
    assert touched_by_hand(MINIMUM + 1.05 * reach, 1.05)
    assert not touched_by_hand(MINIMUM + 0.9 * reach, 1.05)


def test_unreachable_points_are_lost_for_good_and_have_like_neighbors() -> None:
    grown, opened = measured("unreachable-grows"), measured("unreachable-is-open")
    assert grown["returned"] == 0.0
    assert grown["unreachable at the smallest"] == 0.0
    assert grown["unreachable at the largest"] > 0.8 * grown["compared"]
    assert opened["with a reachable neighbor at 1e-07"] == 0.0
    assert opened["boundaries"] > 50
    assert opened["depth at the boundary"] < 1e-8


def test_a_minimum_is_touched_from_below() -> None:
    numbers = measured("definition-of-unreachable")
    for name in ("sin", "bowl"):
        assert numbers[f"minimum touched from above, {name}, radius 3"] == 0.0
        assert numbers[f"minimum touched from below, {name}, radius 30"] == 1.0
    # From below a ball touches all of a convex graph.
    assert numbers["untouched, bowl, radius 30"] == 0.0
    assert numbers["untouched from above, bowl, radius 30"] > 0.9


def test_what_stays_reachable_carries_the_concave_envelope() -> None:
    numbers = measured("only-maxima-stay-reachable")
    assert numbers["reachable, sin, radius 100"] < 0.02
    assert numbers["farthest from a maximum, sin"] < 0.05
    assert numbers["reachable, plane, radius 100"] == numbers["reachable, cap, radius 100"] == 1.0
    assert 0.05 < numbers["carry the envelope, chain"] <= numbers["reachable, chain, radius 100"] < 0.15
    assert all(
        numbers[f"carry the envelope and are lost, {name}"] == 0.0 for name in ("plane", "cap", "chain")
    )


def test_slopes_of_a_chain_of_tops_stay_reachable() -> None:
    graph = Graph(CHAIN, (-220.0, 220.0))
    points = np.linspace(1.0, 1.6, 25)[:, None]
    kept = points[reachable(graph, points, 100.0)]
    slopes = np.cos(kept) - 0.1 * kept
    assert len(kept) > 3
    assert np.abs(slopes).max() > 0.1


def test_sharp_peaks_stay_and_flat_points_are_lost() -> None:
    numbers = measured("sharp-is-unreachable")
    assert numbers["sharper"] > 100
    assert numbers["sharper and touched"] == 0.0
    assert numbers["flatter and untouched"] > 100
    assert numbers["peaks touched"] == numbers["peaks"] == 6.0
    assert numbers["curvature of the bluntest peak"] == pytest.approx(100.0)
    assert numbers["smallest contact radius over radius of curvature"] < 0.1


def depths(theta: np.ndarray, graph: Graph, radius: float) -> np.ndarray:
    return reachability._depths(graph, theta, radius)


def test_exact_contacts_sink_in_by_eta() -> None:
    domain = (-10.0, 12.0)
    graph = Graph(TWO_SINES, domain)
    starts = reachable_starts(graph, 1.0, np.linspace(-3.0, 3.0, 200)[:, None], 4)
    deepest = []
    for lr in (0.02, 0.01):
        steps = round(1.0 / lr)
        path = contacts(TWO_SINES, starts, 1.0, lr=lr, steps=steps, projection="exact", domain=domain)
        deepest.append(depths(path, graph, 1.0).max())
    assert deepest[0] > 1e-2
    assert deepest[0] / deepest[1] == pytest.approx(2.0, abs=0.5)


def test_contacts_projected_by_sgd_are_unreachable_above_the_critical_radius() -> None:
    graph = Graph(SINE, (-16.0, 19.0))
    starts = np.linspace(-1.5, 4.6, 6)[:, None]
    for radius, low, high in ((0.5, 0.0, 0.0), (3.0, 0.6, 1.0)):
        path = contacts(SINE, starts, radius, lr=0.05, steps=100, projection="sgd")
        share = (depths(path, graph, radius) > 1e-2).mean()
        assert low <= share <= high


def test_figure_3_starts_at_an_unreachable_point() -> None:
    graph = Graph(Eq13(), (1.7, 2.3))
    for radius in (0.01, 10**-1.5, 0.1):
        assert not reachable(graph, [[2.0]], radius)[0]


@pytest.mark.parametrize("radius", [0.0, 0.5, 0.9])
def test_rates_near_extrema(radius: float) -> None:
    for place, rate in ((MINIMUM, -1.0 / (1.0 - radius)), (MAXIMUM, 1.0 / (1.0 + radius))):
        start = np.array([[place + 1e-4]])
        path = contacts(SINE, start, radius, lr=0.01, steps=5, projection="exact", domain=(-6.0, 8.0))
        growth = (path[5, 0, 0] - place) / 1e-4
        assert growth == pytest.approx((1.0 + 0.01 * rate) ** 5, rel=1e-5)
