"""Contact radii in closed form, against balls rolled there, and the three radii called reach."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from rbobench.errors import UsageError
from rbobench.geometry.curvature import principal_curvatures
from rbobench.geometry.graph import Graph
from rbobench.geometry.landscape import Formula
from rbobench.geometry.reach import contact_radius, critical_radii, reachable
from rbobench.tasks.landscapes import Sine

SEEDS = st.integers(0, 2**32 - 1)


def waves(seed: int, dimension: int) -> Formula:
    """A sum of five sines, in any direction."""
    rng = np.random.default_rng(seed)
    directions = torch.tensor(rng.uniform(-2.0, 2.0, (5, dimension)))
    phases, heights = torch.tensor(rng.uniform(0.0, 2 * math.pi, 5)), torch.tensor(rng.uniform(0.1, 0.6, 5))

    def formula(points: Tensor) -> Tensor:
        return (heights * (points @ directions.T + phases).sin()).sum(dim=-1)

    domain, spacing = ((-9.0, 9.0), 2e-2) if dimension == 1 else ((-4.0, 4.0), 5e-2)
    return Formula(f"waves {seed}", formula, dimension=dimension, domain=domain, spacing=spacing)


@pytest.mark.parametrize("dimension", [1, 2])
@pytest.mark.parametrize("k", [0.4, 1.0, 3.0])
def test_on_a_paraboloid_the_point_across_stops_the_ball(dimension: int, k: float) -> None:
    """R = √(1+k²‖x‖²)/k, attained at −x; from below nothing ever stops it."""
    bowl = Formula(
        "bowl",
        lambda points: 0.5 * k * points.square().sum(dim=-1),
        dimension=dimension,
        domain=(-2.0, 2.0),
        spacing=1e-2 if dimension == 1 else 4e-2,
    )
    points = np.random.default_rng(0).uniform(-1.8, 1.8, (20, dimension))
    points[0] = 0.0
    graph = Graph(bowl)
    expected = np.sqrt(1.0 + k**2 * np.square(points).sum(axis=-1)) / k
    np.testing.assert_allclose(contact_radius(graph, points), expected, rtol=1e-6)
    assert np.isinf(contact_radius(graph, points, above=False)).all()


@pytest.mark.parametrize("a", [0.3, 1.0, 2.5])
def test_on_a_cosine_the_other_wall_of_the_valley_stops_the_ball(a: float) -> None:
    """R = u√(1+a² sin²u)/(a sin u) at a distance u from a minimum; upside down it is the same from below."""
    graph = Graph(Formula("cosine", lambda points: -a * points[..., 0].cos(), domain=(-10.0, 10.0)))
    u = np.linspace(0.0, 3.0, 31)
    sine = np.sin(u[1:])
    expected = np.r_[1.0 / a, u[1:] * np.sqrt(1.0 + (a * sine) ** 2) / (a * sine)]
    np.testing.assert_allclose(contact_radius(graph, u), expected, rtol=1e-6)
    np.testing.assert_allclose(contact_radius(graph, -u), expected, rtol=1e-6)
    np.testing.assert_allclose(contact_radius(graph, math.pi - u, above=False), expected, rtol=1e-6)


@pytest.mark.parametrize("dimension", [1, 2])
def test_a_plane_stops_no_ball(dimension: int) -> None:
    plane = Graph(
        Formula("plane", lambda p: 2.0 * p.sum(-1), dimension=dimension, domain=(-1.0, 1.0), spacing=0.05)
    )
    points = np.random.default_rng(0).uniform(-1.0, 1.0, (10, dimension))
    for above in (True, False):
        assert np.isinf(contact_radius(plane, points, above=above)).all()
        assert reachable(plane, 0.1 * points, 0.3, above=above).all()


def test_on_a_cap_a_ball_below_fits_up_to_its_own_radius() -> None:
    cap = Formula("cap", lambda points: (4.0 - points.square().sum(-1)).sqrt(), domain=(-1.9, 1.9))
    points = np.linspace(-1.5, 1.5, 9)
    np.testing.assert_allclose(contact_radius(Graph(cap), points, above=False), 2.0, rtol=1e-6)
    assert np.isinf(contact_radius(Graph(cap), points)).all()


@settings(max_examples=20, deadline=None)
@given(seed=SEEDS, dimension=st.sampled_from([1, 2]), above=st.booleans())
def test_a_ball_goes_where_its_radius_is_smaller_and_nowhere_else(
    seed: int, dimension: int, above: bool
) -> None:
    graph = Graph(waves(seed, dimension))
    points = np.random.default_rng(seed).uniform(-1.0, 1.0, (8, dimension))
    radii = contact_radius(graph, points, above=above)
    bend = (1.0 if above else -1.0) * principal_curvatures(graph, points)
    assert (radii * bend.max(axis=-1) <= 1.0 + 1e-9).all(), "no ball is flatter than the valley it fits"
    for radius in (0.2, 0.6, 1.5):
        told = np.abs(radii - radius) > 1e-3 * radius
        fits = reachable(graph, points, radius, above=above)
        np.testing.assert_array_equal(fits[told], radius < radii[told])


@settings(max_examples=15, deadline=None)
@given(seed=SEEDS)
def test_it_is_the_infimum_that_defines_it(seed: int) -> None:
    graph = Graph(waves(seed, 1))
    points = np.random.default_rng(seed).uniform(-1.0, 1.0, 6)
    values, gradients = graph.evaluate(points[:, None])
    others = np.linspace(graph.low, graph.high, 40_001)
    heights = graph.evaluate(others[:, None])[0]
    for here, radius in enumerate(contact_radius(graph, points)):
        along, rise = others - points[here], heights - values[here]
        across = (rise - gradients[here, 0] * along) / math.hypot(1.0, gradients[here, 0])
        apart = (across > 0.0) & (np.abs(along) > 1e-2)
        bounds = (along[apart] ** 2 + rise[apart] ** 2) / (2.0 * across[apart])
        assert radius <= bounds.min(initial=math.inf) + 1e-9
        beside = principal_curvatures(graph, points[here, None])[0, 0]
        attained = min(bounds.min(initial=math.inf), 1.0 / beside if beside > 0 else math.inf)
        assert radius == pytest.approx(attained, rel=2e-2)


def test_the_sine_has_one_radius() -> None:
    found = critical_radii(Graph(Sine(), (-8.0, 8.0)), points=500)
    for radius in (found.two_sided, found.upper, found.touching_minimum):
        assert radius == pytest.approx(1.0, abs=1e-3)
    assert math.sin(found.minimum[0]) == pytest.approx(-1.0, abs=1e-15)


def test_a_wrinkled_sine_has_three() -> None:
    wrinkled = Formula(
        "wrinkled sine",
        lambda points: points[..., 0].sin() + 0.05 * (8.0 * points[..., 0]).cos(),
        domain=(-4.0, 4.0),
    )
    found = critical_radii(Graph(wrinkled), points=600)
    axis = np.linspace(-4.0, 4.0, 200_001)
    value, slope = np.sin(axis) + 0.05 * np.cos(8 * axis), np.cos(axis) - 0.4 * np.sin(8 * axis)
    curvature = (-np.sin(axis) - 3.2 * np.cos(8 * axis)) / (1 + slope**2) ** 1.5
    minimum = value.argmin()
    rise = value - value[minimum]
    apart = rise > 1e-3
    walls = (np.square(axis - axis[minimum]) + rise**2)[apart] / (2 * rise[apart])
    assert found.two_sided == pytest.approx(1 / 4.2, abs=1e-7)
    assert found.upper == pytest.approx(1 / curvature.max(), abs=1e-6)
    touching = min(walls.min(), 1 / curvature[minimum])
    assert found.touching_minimum == pytest.approx(touching, abs=2e-5)
    radii = (found.two_sided, found.upper, found.touching_minimum)
    assert radii == pytest.approx((0.238, 0.2695, 0.283), abs=5e-4)
    assert wrinkled.value(torch.from_numpy(found.minimum)).item() == pytest.approx(value.min(), abs=1e-7)


def test_turned_upside_down_the_two_sided_radius_stays() -> None:
    wave = waves(5, 1)
    upright, turned = (
        critical_radii(
            Graph(Formula("wave", lambda p, s=sign: s * wave.value(p), domain=(-4.0, 4.0), spacing=2e-2)),
            points=200,
        )
        for sign in (1.0, -1.0)
    )
    assert upright.two_sided == pytest.approx(turned.two_sided, rel=1e-6)
    assert upright.two_sided == pytest.approx(min(upright.upper, turned.upper), rel=1e-6)


@pytest.mark.parametrize("k", [0.5, 2.0])
def test_in_the_plane(k: float) -> None:
    """A bowl, which nothing but its bottom's curvature stops from above, and nothing from below."""
    bowl = Formula(
        "bowl", lambda p: 0.5 * k * p.square().sum(-1), dimension=2, domain=(-1.0, 1.1), spacing=0.05
    )
    found = critical_radii(Graph(bowl), points=60)
    assert found.two_sided == found.upper == pytest.approx(1.0 / k, rel=1e-4)
    assert found.touching_minimum == pytest.approx(1.0 / k, rel=1e-6)
    np.testing.assert_allclose(found.minimum, 0.0, atol=1e-12)


def test_a_plane_has_no_radius_at_all() -> None:
    found = critical_radii(Graph(Formula("plane", lambda p: p[..., 0], domain=(-1.0, 1.0))), points=20)
    assert found.two_sided == found.upper == found.touching_minimum == math.inf
    assert found.minimum.tolist() == [-1.0]


@pytest.mark.parametrize("dimension", [1, 2])
def test_no_points(dimension: int) -> None:
    graph, none = Graph(waves(0, dimension)), np.empty((0, dimension))
    assert contact_radius(graph, none).shape == reachable(graph, none, 0.5).shape == (0,)


@pytest.mark.parametrize("radius", [0.0, -1.0, math.nan, math.inf])
def test_without_a_ball_nothing_is_reached(radius: float) -> None:
    with pytest.raises(UsageError, match=f"^the ball's radius must be finite and above 0, not {radius}$"):
        reachable(Graph(Sine(), (-3.0, 3.0)), [0.0], radius)


@pytest.mark.parametrize("call", [contact_radius, lambda graph, points: reachable(graph, points, 0.5)])
def test_points_of_another_shape_are_refused(call) -> None:
    with pytest.raises(UsageError, match=r"^points must have shape \(m, 1\), not \(1, 2\)$"):
        call(Graph(Sine(), (-3.0, 3.0)), [[0.0, 0.0]])
