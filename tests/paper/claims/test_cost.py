from __future__ import annotations

import math
import re
from collections.abc import Callable

import numpy as np
import pytest

from rbobench.paper.claim import Finding, Numbers, Ruling
from rbobench.paper.claims.cost import (
    CLAIMS,
    DIMENSIONS,
    EPOCHS,
    LANDSCAPES,
    MOMENTS,
    NORMS,
    PROJECTION_STEPS,
    RADII,
    SETTINGS,
    STEP_SIZES,
    judge_accumulation,
    judge_dimension,
    judge_runtime,
    measure_accumulation,
    measure_runtime,
    projection_error,
    quadratic_footpoint,
)


def runtime(seconds: Callable[[int, int], float], evaluations: float = 100.0) -> Numbers:
    cells = {f"seconds, T {t}, P {p}": seconds(t, p) for t in EPOCHS for p in PROJECTION_STEPS}
    return cells | {
        "rounds": 5.0,
        "largest interquartile range / median": 0.02,
        "gradient evaluations": evaluations,
        "T × P, summed": 100.0,
    }


def noisy(t: int, p: int) -> float:
    return t * p * (3.0 if (t, p) == (EPOCHS[1], PROJECTION_STEPS[-1]) else 1.0)


def dimension(fixed: float, growing: float, *, explained: bool = True) -> Numbers:
    """With these ratios between the errors in the largest and in the smallest dimension."""
    numbers = {"draws": 3.0, "largest / median of the draws, fixed": 1.1}
    for growth, ratio in (("fixed", fixed), ("growing", growing)):
        for lr in STEP_SIZES:
            for d in DIMENSIONS:
                large = d == DIMENSIONS[-1]
                numbers[f"γ(1+‖g‖²), {growth}, γ {lr:g}, d {d}"] = 3.0 if large == explained else 1.0
                for landscape in LANDSCAPES:
                    case = f"{landscape}, {growth}, γ {lr:g}, d {d}"
                    numbers[f"error / ρ, {case}"] = 0.01 * ratio if large else 0.01
                    numbers[f"share left, {case}"] = 2.0 if large else 0.1
    return numbers


def accumulation(first: float, last: dict[str, float]) -> Numbers:
    """With medians `first` after a step, 1 after a hundred, and `last` by side at the end."""
    numbers: dict[str, float] = {}
    for side, radius in RADII.items():
        numbers[f"radius {side}"], numbers[f"starts {side}"] = radius, 41.0
        for setting in SETTINGS:
            case = f"{side}, {setting}"
            for moment, apart in zip(MOMENTS, (first, 1.0, last[side]), strict=True):
                numbers[f"{case}, step {moment}"] = apart
            numbers[f"{case}, largest median"] = max(first, 1.0, last[side])
            numbers[f"{case}, last, largest"], numbers[f"{case}, still rolling"] = 3.0, 0.5
    return numbers


CASES = [
    (judge_runtime, runtime(lambda t, p: 0.001 + 0.002 * t * p), Ruling.HOLDS, ""),
    (judge_runtime, runtime(lambda t, p: t * p, 99.0), Ruling.REFUTED, "count"),
    (judge_runtime, runtime(lambda t, p: t * p**2), Ruling.REFUTED, "another exponent"),
    (judge_runtime, runtime(lambda t, p: t), Ruling.REFUTED, "another exponent"),
    (judge_runtime, runtime(lambda t, p: t**1.5 * p), Ruling.REFUTED, "another exponent"),
    (judge_runtime, runtime(noisy), Ruling.OPEN, "tell no line"),
    (judge_dimension, dimension(100.0, 100.0), Ruling.HOLDS, ""),
    (judge_dimension, dimension(1.0, 100.0), Ruling.HOLDS_WHEN, "past γ.*the dimension itself does nothing"),
    (judge_dimension, dimension(1.0, math.inf), Ruling.HOLDS_WHEN, "gradient's norm grows with d"),
    (judge_dimension, dimension(1.0, 100.0, explained=False), Ruling.HOLDS_WHEN, "grows with d$"),
    (judge_dimension, dimension(1.0, 1.0), Ruling.REFUTED, "quadratics"),
    (judge_accumulation, accumulation(0.01, {"below": 0.9, "above": 0.9}), Ruling.HOLDS, ""),
    (judge_accumulation, accumulation(0.01, {"below": 0.1, "above": 0.1}), Ruling.HOLDS_WHEN, "undone"),
    (
        judge_accumulation,
        accumulation(0.01, {"below": 0.1, "above": 0.9}),
        Ruling.HOLDS_WHEN,
        r"^ρ = 3 \(Fig. 3\), ρ = 3 \(Fig. 4\); otherwise",
    ),
    (judge_accumulation, accumulation(0.9, {"below": 0.9, "above": 0.9}), Ruling.REFUTED, "sin θ"),
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


def test_a_step_costs_exactly_p_gradients() -> None:
    numbers = measure_runtime(rounds=1)
    total = sum(EPOCHS) * sum(PROJECTION_STEPS)
    assert numbers["gradient evaluations"] == numbers["T × P, summed"] == total


def test_footpoint_on_a_plane_is_the_closed_form() -> None:
    generator = np.random.default_rng(1)
    slope, position, height = generator.standard_normal(50), generator.standard_normal(50), 2.3
    expected = position - slope * (slope @ position - height) / (1.0 + slope @ slope)
    found = quadratic_footpoint(slope, np.zeros(50), position, height)
    np.testing.assert_allclose(found, expected, atol=1e-12)


@pytest.mark.parametrize("height", [-1.0, 0.3, 1.2])
def test_footpoint_on_a_bowl_is_the_root_of_a_cubic(height: float) -> None:
    direction = np.random.default_rng(2).standard_normal(30)
    direction /= np.linalg.norm(direction)
    found = quadratic_footpoint(np.zeros(30), np.full(30, 0.8), 1.5 * direction, height)
    # (t − 1.5) + (0.4t² − b) 0.8t = 0 along the direction.
    roots = np.roots([0.32, 0.0, 1.0 - 0.8 * height, -1.5])
    real = roots[np.abs(roots.imag) < 1e-9].real
    best = min(real, key=lambda t: (t - 1.5) ** 2 + (0.4 * t**2 - height) ** 2)
    np.testing.assert_allclose(found, best * direction, atol=1e-10)


def test_footpoint_on_an_ellipsoid_is_nearer_than_all_else() -> None:
    generator = np.random.default_rng(3)
    curvatures, slope = np.array([1e-3, 0.1, 1.0]), np.array([0.2, -0.1, 0.0])
    position, height = np.array([0.4, -2.0, 0.3]), 1.1

    def distance(points: np.ndarray) -> np.ndarray:
        values = points @ slope + 0.5 * np.square(points) @ curvatures
        return np.hypot(np.linalg.norm(points - position, axis=-1), values - height)

    found = quadratic_footpoint(slope, curvatures, position, height)
    for width in (1e-3, 0.1, 3.0):
        others = found + width * generator.standard_normal((20_000, 3))
        assert distance(others).min() > distance(found[None])[0]


def test_center_on_the_medial_axis_is_refused() -> None:
    # Above the bottom, farther than the radius of curvature: a whole circle is nearest.
    with pytest.raises(ArithmeticError, match="medial axis"):
        quadratic_footpoint(np.zeros(2), np.ones(2), np.zeros(2), 5.0)


@pytest.mark.parametrize("landscape", LANDSCAPES)
@pytest.mark.parametrize("projection_lr", STEP_SIZES)
def test_dimension_alone_does_no_harm(landscape: str, projection_lr: float) -> None:
    errors = [
        projection_error(landscape, dimension, 1.0, projection_lr, np.random.default_rng(0))[0]
        for dimension in (100, 10_000)
    ]
    assert 0.5 < errors[1] / errors[0] < 2.0


def test_plane_contracts_by_the_known_factor() -> None:
    for dimension, projection_lr in ((3, 1e-3), (1_000, 1e-3), (3, 0.05)):
        error, left = projection_error("plane", dimension, 1.3, projection_lr, np.random.default_rng(5))
        expected = (1.0 - projection_lr * (1.0 + 1.3**2)) ** 100
        assert left == pytest.approx(expected, rel=1e-6)
        assert error == pytest.approx(0.01 * 1.3 * expected, rel=1e-6)


def test_growing_gradients_make_it_unstable() -> None:
    for dimension, projection_lr in ((100, 0.05), (10_000, 1e-3), (10_000, 0.05)):
        norm = NORMS["growing"](dimension)
        _, left = projection_error("bowl", dimension, norm, projection_lr, np.random.default_rng(0))
        assert left > 1.0
    assert NORMS["growing"](2) == NORMS["fixed"](2) == 1.0


def test_errors_accumulate_and_heal_below_the_critical_radius_alone() -> None:
    numbers = measure_accumulation({"Fig. 3": SETTINGS["Fig. 3"]})
    assert numbers["below, Fig. 3, step 100"] > 20.0 * numbers["below, Fig. 3, step 1"]
    assert numbers["below, Fig. 3, step 600"] < 0.5 * numbers["below, Fig. 3, largest median"]
    assert numbers["above, Fig. 3, step 600"] > 100.0 * numbers["above, Fig. 3, step 1"]


def test_claims_fit_the_table() -> None:
    assert [claim.timed for claim in CLAIMS] == [True, False, False]
    assert all(len(claim.test) <= 200 for claim in CLAIMS)
