from __future__ import annotations

import functools

import numpy as np
import pytest

from rbobench.geometry.graph import Graph
from rbobench.paper.claim import Numbers, Ruling
from rbobench.paper.claims import invariant
from rbobench.paper.claims.invariant import SINE, contacts, reachable_starts

CLAIMS = {claim.name: claim for claim in invariant.CLAIMS}
# Larger steps than the ledger's, and so fewer.
RATES = (0.2, 0.1, 0.05)


@pytest.fixture(scope="module", autouse=True)
def fewer_steps() -> object:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(invariant, "RATES", RATES)
        patch.setattr(invariant, "_FINE_RATES", (0.05, 0.02))
        yield


@functools.cache
def measured(name: str) -> Numbers:
    return CLAIMS[name].measure()


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
    assert max(len(finding.value), len(finding.reason), len(finding.uncertainty)) <= 160
    return finding.ruling


@pytest.mark.parametrize(
    ("name", "changes", "expected"),
    [
        ("invariant", {}, Ruling.HOLDS_WHEN),
        ("invariant", {"center, sgd, above": 1e-3}, Ruling.HOLDS),
        ("invariant", {"center, sgd, above": 1e-3, "order of the center": 0.0}, Ruling.HOLDS_WHEN),
        ("invariant", {"center, exact, above": 0.5}, Ruling.HOLDS_WHEN),
        ("invariant", {"center, exact, below": 0.1}, Ruling.REFUTED),
        ("invariant", {"center, sgd, below": 0.1}, Ruling.REFUTED),
        ("invariant-of-the-distance-constraint", {}, Ruling.HOLDS_WHEN),
        ("invariant-of-the-distance-constraint", {"order": 1.0}, Ruling.HOLDS),
        ("invariant-of-the-distance-constraint", {"order, exact, below": 0.0}, Ruling.REFUTED),
        ("invariant-of-the-distance-constraint", {"order, sgd, below": 0.1}, Ruling.REFUTED),
        ("distance-constraint-subtracts", {}, Ruling.REFUTED),
        ("distance-constraint-subtracts", {"cosine, below": 0.3}, Ruling.NOT_REPRODUCED),
        ("distance-constraint-subtracts", {"cosine of quotients": 0.3}, Ruling.NOT_REPRODUCED),
        ("distance-constraint-subtracts", {"cosine": 0.3, "error with,": 1e-4}, Ruling.HOLDS),
    ],
)
def test_other_numbers_get_another_ruling(name: str, changes: dict[str, float], expected: Ruling) -> None:
    assert ruling(name, changes) is expected


def test_the_condition_names_what_fails() -> None:
    numbers = dict(measured("invariant"))
    judge = CLAIMS["invariant"].judge
    assert "SGD" in judge(numbers).reason
    assert "not even exact" in judge({**numbers, "center, exact, above": 0.5}).reason


def test_the_invariant_of_algorithm_1() -> None:
    numbers = measured("invariant")
    # Below the critical radius any contact will do.
    assert numbers["center, exact, below"] < 1e-12
    assert numbers["center, sgd, below"] < 1e-12
    assert numbers["order of the candidate, exact, below"] == pytest.approx(2.0, abs=0.2)
    assert numbers["order of the candidate, exact, above"] == pytest.approx(1.0, abs=0.2)
    assert numbers["center, exact, above"] < 1e-9
    assert numbers["center, sgd, above"] > 1.0
    assert numbers["order of the center, two sines"] == pytest.approx(1.0, abs=0.3)


def test_the_constrained_center_drifts_by_eta_below_and_falls_through_above() -> None:
    numbers = measured("invariant-of-the-distance-constraint")
    for projection in ("exact", "sgd"):
        assert numbers[f"order, {projection}, below"] == pytest.approx(1.0, abs=0.25)
        assert abs(numbers[f"order, {projection}, above"]) < 0.1
        for lr in RATES:
            assert numbers[f"lowest, {projection}, above, lr {lr:g}"] == pytest.approx(-2.0, abs=0.25)


def test_nothing_is_subtracted() -> None:
    numbers = measured("distance-constraint-subtracts")
    assert max(numbers["cosine, below"], numbers["cosine, above"]) < 1e-12
    assert numbers["cosine of quotients, below"] < 1e-8
    assert numbers["difference of the centers, below"] < 1e-12
    assert numbers["error with, below"] > 1e-3
    # What is left after an unconverged projection is not rounding.
    assert numbers["cosine, sgd, below"] > 1e-3


def test_contacts_are_those_of_algorithm_1() -> None:
    path = contacts(SINE, np.array([[1.0], [2.5]]), 0.5, lr=0.1, steps=3, projection="sgd")
    theta = np.array([1.0, 2.5])
    for step in range(3):
        np.testing.assert_allclose(path[step, :, 0], theta, atol=1e-13)
        slope = np.cos(theta)
        a = theta - 0.5 * slope / np.hypot(1.0, slope) - 0.1 * slope
        b = np.sin(theta) + 0.5 / np.hypot(1.0, slope) - 0.1 * slope**2
        for _ in range(20):
            theta = theta - 0.05 * ((theta - a) + (np.sin(theta) - b) * np.cos(theta))


def test_each_ball_has_its_radius() -> None:
    starts, radii = np.array([[1.0], [1.0]]), np.array([0.0, 0.9])
    both = contacts(SINE, starts, radii, lr=0.05, steps=5, projection="exact", domain=(-6.0, 8.0))
    for ball, radius in enumerate(radii):
        alone = contacts(
            SINE, starts[:1], float(radius), lr=0.05, steps=5, projection="exact", domain=(-6.0, 8.0)
        )
        np.testing.assert_allclose(both[:, [ball]], alone, atol=1e-13)
    assert np.abs(both[-1, 0] - both[-1, 1]) > 1e-3


def test_a_ball_that_a_narrow_box_would_freeze() -> None:
    with pytest.raises(RuntimeError, match="too narrow"):
        contacts(SINE, np.array([[1.0]]), 0.5, lr=0.1, steps=3, projection="exact", domain=(0.5, 1.5))


def test_reachable_starts() -> None:
    # At ρ = 3 a ball on sin touches what is near a maximum and nothing else.
    graph = Graph(SINE, (-12.0, 12.0))
    starts = reachable_starts(graph, 3.0, np.linspace(-3.0, 3.0, 61)[:, None], 4)
    assert starts.shape == (4, 1)
    assert (np.abs(starts - 0.5 * np.pi) < 1.3).all()
    assert np.ptp(starts) > 0.5
