"""Newton's method on many problems: it ends in minima, also on ridges, at edges and beside holes."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rbobench.geometry.newton import Array, minimize


def quadratic(centers: Array, matrix: Array):
    """½(x−c)ᵀA(x−c), with a center for each problem."""

    def function(points: Array, problems: Array) -> tuple[Array, Array, Array]:
        away = points - centers[problems]
        value = 0.5 * np.einsum("mi,ij,mj->m", away, matrix, away)
        return value, away @ matrix, np.broadcast_to(matrix, (len(points), *matrix.shape))

    return function


def test_each_problem_finds_its_own_minimum() -> None:
    centers = np.random.default_rng(0).uniform(-5.0, 5.0, (50, 2))
    matrix = np.array([[100.0, 9.0], [9.0, 1.0]])
    found = minimize(quadratic(centers, matrix), np.zeros((50, 2)), longest_step=0.1, low=-9.0, high=9.0)
    np.testing.assert_allclose(found, centers, rtol=0, atol=1e-9)


def test_a_minimum_stays_and_the_start_is_left_alone() -> None:
    centers = np.array([[0.25, -0.5]])
    start = centers.copy()
    found = minimize(quadratic(centers, np.eye(2)), start, longest_step=0.1, low=-1.0, high=1.0)
    np.testing.assert_array_equal(found, centers)
    minimize(quadratic(centers + 0.1, np.eye(2)), start, longest_step=0.1, low=-1.0, high=1.0)
    np.testing.assert_array_equal(start, centers)


def test_no_problems() -> None:
    found = minimize(
        quadratic(np.empty((0, 2)), np.eye(2)), np.empty((0, 2)), longest_step=0.1, low=-1, high=1
    )
    assert found.shape == (0, 2)


def double_well(points: Array, _: Array) -> tuple[Array, Array, Array]:
    """(x²−1)²/4 + y²/2: a ridge at x = 0 between minima at ±1."""
    x, y = points.T
    hessian = np.zeros((len(points), 2, 2))
    hessian[:, 0, 0], hessian[:, 1, 1] = 3 * x**2 - 1, 1.0
    return (x**2 - 1) ** 2 / 4 + y**2 / 2, np.stack([x**3 - x, y], axis=-1), hessian


@pytest.mark.parametrize("x", [0.0, 1e-300, -1e-12, 1e-6])
def test_it_does_not_stay_on_a_ridge(x: float) -> None:
    found = minimize(double_well, np.array([[x, 0.3]]), longest_step=0.02, low=-3.0, high=3.0)
    assert abs(found[0, 0]) == pytest.approx(1.0, abs=1e-12)
    assert found[0, 1] == pytest.approx(0.0, abs=1e-12)
    assert x == 0.0 or np.sign(found[0, 0]) == np.sign(x)


def test_far_uphill_it_goes_down_and_not_to_the_maximum() -> None:
    """Where the curvature is negative Newton's own step would climb."""

    def cosine(points: Array, _: Array) -> tuple[Array, Array, Array]:
        return np.cos(points[:, 0]), -np.sin(points), -np.cos(points)[:, :, None]

    found = minimize(cosine, np.array([[0.3], [-0.3]]), longest_step=0.02, low=-4.0, high=4.0)
    np.testing.assert_allclose(found, [[np.pi], [-np.pi]], rtol=0, atol=1e-12)


@settings(max_examples=30, deadline=None)
@given(seed=st.integers(0, 2**32 - 1))
def test_at_an_edge_of_the_box_it_goes_on_along_the_edge(seed: int) -> None:
    """A convex quadratic's minimum over a box, whose conditions are checked one by one."""
    rng = np.random.default_rng(seed)
    root = rng.normal(size=(2, 2))
    matrix = root @ root.T + 0.05 * np.eye(2)
    centers = rng.uniform(-3.0, 3.0, (20, 2))
    start = rng.uniform(-1.0, 1.0, (20, 2))
    function = quadratic(centers, matrix)
    found = minimize(function, start, longest_step=0.02, low=-1.0, high=1.0)
    assert (np.abs(found) <= 1.0).all()
    _, gradient, _ = function(found, np.arange(20))
    low, high = found == -1.0, found == 1.0
    inside = ~(low | high)
    assert np.abs(gradient[inside]).max(initial=0.0) < 1e-7
    assert gradient[low].min(initial=0.0) >= -1e-7
    assert gradient[high].max(initial=0.0) <= 1e-7


def test_a_function_that_is_infinite_somewhere_is_minimized_where_it_is_not() -> None:
    def barrier(points: Array, _: Array) -> tuple[Array, Array, Array]:
        """100x − log x, and no derivatives below 0."""
        x = points[:, 0]
        with np.errstate(all="ignore"):
            value = np.where(x > 0, 100.0 * x - np.log(x), np.inf)
            gradient, curvature = np.where(x > 0, 100.0 - 1 / x, np.nan), np.where(x > 0, x**-2.0, np.nan)
        return value, gradient[:, None], curvature[:, None, None]

    found = minimize(barrier, np.array([[1.0], [0.001]]), longest_step=5.0, low=-10.0, high=10.0)
    np.testing.assert_allclose(found, 0.01, rtol=1e-10)


def test_values_too_flat_to_compare_are_told_apart_by_their_slope() -> None:
    """A minimum of height 1 is known to √ε by its values, to machine precision by its gradient."""

    def raised(points: Array, _: Array) -> tuple[Array, Array, Array]:
        away = points - np.pi / 10
        return (
            1.0 + 0.5 * away[:, 0] ** 2 + away[:, 0] ** 4,
            away + 4 * away**3,
            (1 + 12 * away**2)[:, :, None],
        )

    found = minimize(raised, np.array([[0.5]]), longest_step=0.1, low=-1.0, high=1.0)
    assert found[0, 0] == pytest.approx(np.pi / 10, abs=1e-14)
