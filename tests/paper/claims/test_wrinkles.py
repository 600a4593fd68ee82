from __future__ import annotations

import math
import re
from collections.abc import Callable

import pytest

from rbobench.paper.claim import Finding, Numbers, Ruling
from rbobench.paper.claims.wrinkles import (
    CLAIMS,
    judge_coarseness,
    judge_learning_rate,
    judge_published,
    judge_trajectories,
    measure_coarseness,
    measure_learning_rate,
    measure_published,
    measure_trajectories,
)
from rbobench.paper.published import LR, RADII


def coarseness(**changed: float) -> Numbers:
    """Of a landscape that larger balls see ever less of, without losing its shape."""
    numbers = {"positions": 800.0}
    for index, radius in enumerate((0.0, *RADII)):
        numbers[f"minima, radius {radius:g}"] = 100.0 - 10.0 * index
        numbers[f"minima by half the positions, radius {radius:g}"] = 50.0
        numbers[f"total variation, radius {radius:g}"] = 10.0 - index
        numbers[f"correlation, radius {radius:g}"] = 1.0 - 0.01 * index
    return numbers | changed


def trajectories(sgd: float, exact: float, way: float, **changed: float) -> Numbers:
    """With these shares of centers on f_ρ at every radius, and this way."""
    numbers = {"steps": 2000.0}
    for name, share in (("sgd", sgd), ("sgd nudged", sgd), ("exact", exact)):
        for radius in RADII:
            numbers[f"share on, {name}, radius {radius:g}"] = share
            numbers[f"largest deviation, {name}, radius {radius:g}"] = 0.1
            numbers[f"median deviation, {name}, radius {radius:g}"] = 0.1
            numbers[f"lowest θ, {name}, radius {radius:g}"] = 2.0 - way
            numbers[f"highest θ, {name}, radius {radius:g}"] = 2.0
    return numbers | changed


def published(derivative: float = 0.0, distance: float = 1.0, still: float = 0.0) -> Numbers:
    numbers = {
        "derivative, deviation relative to its size": derivative,
        "derivative, correlation": 1.0,
        "share of centers at distance ρ": 1.0,
        "way with η = 0, Algorithm 1, largest": 0.0,
    }
    for radius in RADII:
        numbers[f"distance from Γ / ρ, smallest, radius {radius:g}"] = distance
        numbers[f"distance from Γ / ρ, largest, radius {radius:g}"] = 1.0
        numbers[f"way, radius {radius:g}"] = 1.0
        numbers[f"way with η = 0, radius {radius:g}"] = still
    return numbers


def learning_rate(completing: float, below: float = math.nan) -> Numbers:
    return {
        "steps": 2000.0,
        "valley": -0.9,
        "published": LR,
        "largest": 0.004,
        "end at the published": 0.5,
        "completing": completing,
        "next below": below,
    }


ENTER = {
    f"{end} θ, exact, radius {RADII[-1]:g}": value for end, value in (("lowest", -2.0), ("highest", 2.0))
}

CASES = [
    (judge_coarseness, coarseness(), Ruling.HOLDS, ""),
    (judge_coarseness, coarseness(**{"minima, radius 1": 60.0}), Ruling.REFUTED, "sees no less"),
    (judge_coarseness, coarseness(**{"total variation, radius 0.1": 11.0}), Ruling.REFUTED, "sees no less"),
    (
        judge_coarseness,
        coarseness(**{"correlation, radius 1": 0.5}),
        Ruling.HOLDS_WHEN,
        "0.01, 0.032, 0.1, 0.32;",
    ),
    (
        judge_coarseness,
        coarseness(**{f"correlation, radius {radius:g}": 0.1 for radius in RADII}),
        Ruling.REFUTED,
        "no f_ρ has the shape",
    ),
    (judge_trajectories, trajectories(1.0, 1.0, 4.0), Ruling.HOLDS, ""),
    (judge_trajectories, trajectories(0.5, 1.0, 4.0), Ruling.HOLDS_WHEN, "exact; not with P steps"),
    (judge_trajectories, trajectories(0.5, 1.0, 0.4, **ENTER), Ruling.HOLDS_WHEN, "ρ is one of 1"),
    (judge_trajectories, trajectories(0.5, 1.0, 0.4), Ruling.NOT_REPRODUCED, "0 of 5 radii keep .* 5 do"),
    (judge_trajectories, trajectories(1.0, 0.5, 0.4), Ruling.NOT_REPRODUCED, "5 of 5 radii keep .* 0 do"),
    (judge_published, published(), Ruling.HOLDS, ""),
    (judge_published, published(derivative=0.5), Ruling.REFUTED, "the ball has another derivative$"),
    (judge_published, published(distance=0.5), Ruling.REFUTED, "the ball does not touch Γ$"),
    (judge_published, published(still=0.5), Ruling.REFUTED, "the ball moves without a learning rate$"),
    (judge_learning_rate, learning_rate(LR), Ruling.HOLDS, ""),
    (judge_learning_rate, learning_rate(2.0 * LR, LR), Ruling.HOLDS_WHEN, "at least 0.002, 2 times"),
    (judge_learning_rate, learning_rate(math.nan), Ruling.NOT_REPRODUCED, "no learning rate tried"),
]


@pytest.mark.parametrize(("judge", "numbers", "ruling", "reason"), CASES)
def test_other_numbers_give_another_ruling(
    judge: Callable[[Numbers], Finding], numbers: Numbers, ruling: Ruling, reason: str
) -> None:
    found = judge(numbers)
    assert found.ruling == ruling
    assert re.search(reason, found.reason)
    assert len(found.value) <= 180
    assert len(found.reason) <= 160


def test_offset_graphs_grow_coarser_and_keep_the_shape() -> None:
    numbers = measure_coarseness(positions=300)
    minima = [numbers[f"minima, radius {radius:g}"] for radius in (0.0, *RADII)]
    assert minima == sorted(minima, reverse=True)
    assert minima[-1] == 4.0
    assert 0.9 < numbers["correlation, radius 1"] < 0.95
    assert judge_coarseness(numbers).ruling == Ruling.HOLDS


def test_sgd_leaves_the_offset_graph_and_exact_footpoints_do_not() -> None:
    numbers = measure_trajectories(steps=60, every=5)
    for radius in RADII[2:]:
        assert numbers[f"share on, exact, radius {radius:g}"] > 0.8
        assert numbers[f"share on, sgd, radius {radius:g}"] < 0.3
        assert numbers[f"median deviation, exact, radius {radius:g}"] < 1e-12
        assert numbers[f"median deviation, sgd, radius {radius:g}"] > 0.05
    assert judge_trajectories(numbers).ruling == Ruling.NOT_REPRODUCED


def test_published_code_is_not_algorithm_1() -> None:
    numbers = measure_published(steps=150, every=10)
    assert numbers["derivative, deviation relative to its size"] > 0.9
    for radius in RADII:
        assert numbers[f"distance from Γ / ρ, smallest, radius {radius:g}"] < 0.9
        assert numbers[f"way with η = 0, radius {radius:g}"] > 0.5
    assert numbers["way with η = 0, Algorithm 1, largest"] == 0.0
    assert judge_published(numbers).ruling == Ruling.REFUTED


def test_published_learning_rate_is_too_small() -> None:
    numbers = measure_learning_rate(steps=30)
    assert numbers["valley"] == pytest.approx(-0.925, abs=1e-3)
    assert math.isnan(numbers["completing"])
    assert judge_learning_rate(numbers).ruling == Ruling.NOT_REPRODUCED


def test_claims_fit_the_table() -> None:
    assert [claim.section for claim in CLAIMS] == [*["5.1, Fig. 3"] * 3, "5.1, Fig. 3 (ours)"]
    assert all(len(claim.test) <= 200 for claim in CLAIMS)
