"""Principal curvatures against closed forms."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from rbobench.errors import UsageError
from rbobench.geometry.curvature import principal_curvatures
from rbobench.geometry.graph import Graph
from rbobench.geometry.landscape import Formula
from rbobench.tasks.landscapes import Rastrigin, Sine

SLOPES = st.floats(-3.0, 3.0)


def plane(formula, dimension: int = 2) -> Graph:
    return Graph(Formula("formula", formula, dimension=dimension, domain=(-1.2, 1.2), spacing=0.2))


def places(dimension: int, count: int = 25) -> np.ndarray:
    return np.random.default_rng(0).uniform(-1.1, 1.1, (count, dimension))


@pytest.mark.parametrize("dimension", [1, 2])
@pytest.mark.parametrize(("sign", "radius"), [(1.0, 2.0), (-1.0, 1.7)])
def test_a_sphere_bends_everywhere_alike(dimension: int, sign: float, radius: float) -> None:
    """Its upper half downward, its lower half upward."""
    graph = plane(lambda points: sign * (radius**2 - points.square().sum(dim=-1)).sqrt(), dimension)
    found = principal_curvatures(graph, places(dimension))
    assert found.shape == (25, dimension)
    np.testing.assert_allclose(found, -sign / radius, rtol=1e-10)


@pytest.mark.parametrize("k", [0.5, 3.0, -2.0])
def test_a_paraboloid_bends_less_along_its_slope(k: float) -> None:
    """Along the slope k/s³, across it k/s."""
    points = places(2)
    length = np.sqrt(1.0 + k**2 * np.square(points).sum(axis=-1))
    found = principal_curvatures(plane(lambda points: 0.5 * k * points.square().sum(dim=-1)), points)
    expected = np.sort(np.column_stack([k / length**3, k / length]), axis=-1)
    np.testing.assert_allclose(found, expected, rtol=1e-12)


def test_a_line_bends_as_its_second_derivative_over_the_cubed_length() -> None:
    points = np.linspace(-3.0, 3.0, 41)
    found = principal_curvatures(Graph(Sine(), (-3.0, 3.0)), points)
    expected = -np.sin(points) / (1.0 + np.cos(points) ** 2) ** 1.5
    np.testing.assert_allclose(found[:, 0], expected, rtol=1e-12, atol=1e-15)


@settings(max_examples=30, deadline=None)
@given(slope=st.tuples(SLOPES, SLOPES), bend=st.tuples(SLOPES, SLOPES, SLOPES))
def test_it_is_the_second_fundamental_form_in_the_first(slope, bend) -> None:
    """Gaussian curvature det H/s⁴ and the textbook's mean curvature, at a tilted quadratic's origin."""
    (p, q), (r, s, t) = slope, bend
    graph = plane(
        lambda points: (
            p * points[..., 0]
            + q * points[..., 1]
            + 0.5 * r * points[..., 0] ** 2
            + s * points[..., 0] * points[..., 1]
            + 0.5 * t * points[..., 1] ** 2
        )
    )
    low, high = principal_curvatures(graph, [[0.0, 0.0]])[0]
    length = math.sqrt(1 + p**2 + q**2)
    assert low <= high
    assert low * high == pytest.approx((r * t - s**2) / length**4, rel=1e-9, abs=1e-9)
    mean = ((1 + q**2) * r - 2 * p * q * s + (1 + p**2) * t) / length**3
    assert low + high == pytest.approx(mean, rel=1e-9, abs=1e-9)


def test_turning_the_plane_turns_nothing() -> None:
    angle = 0.7
    turn = torch.tensor(
        [[math.cos(angle), -math.sin(angle)], [math.sin(angle), math.cos(angle)]], dtype=torch.float64
    )
    points = 0.7 * places(2)
    straight = principal_curvatures(plane(Rastrigin(2).value), points)
    turned = principal_curvatures(plane(lambda p: Rastrigin(2).value(p @ turn)), points @ turn.numpy().T)
    np.testing.assert_allclose(turned, straight, rtol=1e-9, atol=1e-9)


def test_a_plane_is_flat_and_a_ridge_bends_one_way() -> None:
    points = places(2)
    assert not principal_curvatures(plane(lambda p: p[..., 0] - 2.0 * p[..., 1]), points).any()
    ridge = principal_curvatures(plane(lambda p: -(p[..., 0] ** 2)), points)
    assert (ridge[:, 0] < 0.0).all()
    np.testing.assert_allclose(ridge[:, 1], 0.0, atol=1e-15)


def test_no_points_and_points_of_another_shape() -> None:
    graph = plane(Rastrigin(2).value)
    assert principal_curvatures(graph, np.empty((0, 2))).shape == (0, 2)
    with pytest.raises(UsageError, match=r"^points must have shape \(m, 2\), not \(2,\)$"):
        principal_curvatures(graph, [0.0, 0.0])
