"""Footpoints against closed forms, against a dense grid, and where there are two or none."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import brentq
from torch import Tensor

from rbobench.errors import UsageError
from rbobench.geometry.footpoint import distance, footpoint
from rbobench.geometry.graph import Graph
from rbobench.geometry.landscape import Formula
from rbobench.tasks.landscapes import Sine

SEEDS = st.integers(0, 2**32 - 1)
few = settings(max_examples=20, deadline=None)


def waves(seed: int, dimension: int, domain: tuple[float, float], spacing: float) -> Formula:
    """A sum of five sines, in any direction."""
    rng = np.random.default_rng(seed)
    directions = torch.tensor(rng.uniform(-3.0, 3.0, (5, dimension)))
    phases, heights = torch.tensor(rng.uniform(0.0, 2 * math.pi, 5)), torch.tensor(rng.uniform(0.1, 1.0, 5))

    def formula(points: Tensor) -> Tensor:
        return (heights * (points @ directions.T + phases).sin()).sum(dim=-1)

    return Formula(f"waves {seed}", formula, dimension=dimension, domain=domain, spacing=spacing)


def parabola(curvature: float) -> Graph:
    return Graph(
        Formula("parabola", lambda points: 0.5 * curvature * points[..., 0].square(), domain=(-6.0, 6.0))
    )


@pytest.mark.parametrize("curvature", [0.3, 1.0, 4.0, -2.0])
def test_on_a_parabola_they_are_roots_of_a_cubic(curvature: float) -> None:
    rng = np.random.default_rng(0)
    centers = np.column_stack([rng.uniform(-2.0, 2.0, 60), np.sign(curvature) * rng.uniform(-1.0, 3.0, 60)])
    found = footpoint(parabola(curvature), centers)
    for (a, b), point, value, gap in zip(
        centers, found.points[:, 0], found.values, found.distances, strict=True
    ):
        roots = np.roots([0.5 * curvature**2, 0.0, 1.0 - curvature * b, -a])
        real = roots[np.abs(roots.imag) < 1e-7].real
        gaps = np.hypot(real - a, 0.5 * curvature * real**2 - b)
        assert point == pytest.approx(real[gaps.argmin()], abs=1e-9)
        assert gap == pytest.approx(gaps.min(), abs=1e-9)
        assert value == pytest.approx(0.5 * curvature * point**2, abs=1e-14)


@pytest.mark.parametrize(("dimension", "low", "spacing"), [(1, -1.8, 1e-2), (2, -1.35, 2e-2)])
def test_on_a_sphere_they_lie_on_the_ray_from_its_middle(dimension: int, low: float, spacing: float) -> None:
    radius = 2.0
    cap = Formula(
        "cap",
        lambda points: (radius**2 - points.square().sum(dim=-1)).sqrt(),
        dimension=dimension,
        domain=(low, -low),
        spacing=spacing,
    )
    rng = np.random.default_rng(1)
    directions = np.column_stack([rng.uniform(-0.5, 0.5, (50, dimension)), np.ones(50)])
    directions /= np.linalg.norm(directions, axis=-1, keepdims=True)
    lengths = rng.uniform(0.5, 4.0, (50, 1))
    found = footpoint(Graph(cap), lengths * directions)
    np.testing.assert_allclose(found.points, radius * directions[:, :-1], rtol=0, atol=1e-9)
    np.testing.assert_allclose(found.values, radius * directions[:, -1], rtol=0, atol=1e-9)
    np.testing.assert_allclose(found.distances, np.abs(lengths[:, 0] - radius), rtol=0, atol=1e-9)


@pytest.mark.parametrize("slope", [(0.0,), (2.5,), (-30.0,), (0.0, 0.0), (0.7, -3.0)])
def test_on_a_plane_they_are_projections(slope: tuple[float, ...]) -> None:
    w, dimension = np.array(slope), len(slope)
    plane = Formula(
        "plane",
        lambda points: points @ torch.tensor(slope, dtype=points.dtype) + 0.5,
        dimension=dimension,
        domain=(-3.0, 3.0),
        spacing=1e-2 if dimension == 1 else 3e-2,
    )
    rng = np.random.default_rng(2)
    points = rng.uniform(-1.0, 1.0, (40, dimension))
    heights = rng.uniform(-1.5, 1.5, 40)
    normal = np.append(-w, 1.0) / math.sqrt(1.0 + w @ w)
    centers = np.column_stack([points, points @ w + 0.5]) + heights[:, None] * normal
    found = footpoint(Graph(plane), centers)
    np.testing.assert_allclose(found.points, points, rtol=0, atol=1e-9)
    np.testing.assert_allclose(found.distances, np.abs(heights), rtol=0, atol=1e-9)
    assert [len(nearest) for nearest in found.nearest] == [1] * 40


@pytest.mark.parametrize("curvature", [0.5, 1.0, 3.0])
def test_on_the_axis_of_a_parabola_there_are_two_above_its_focal_point(curvature: float) -> None:
    heights = np.array([-1.0, 0.2, 0.9, 1.1, 1.5, 2.5]) / curvature
    found = footpoint(parabola(curvature), np.column_stack([np.zeros(6), heights]))
    for height, nearest, gap in zip(heights, found.nearest, found.distances, strict=True):
        twin = math.sqrt(max(0.0, 2 * (curvature * height - 1))) / curvature
        expected = [[-twin], [twin]] if twin else [[0.0]]
        np.testing.assert_allclose(nearest, expected, rtol=0, atol=1e-9)
        assert gap == pytest.approx(math.hypot(twin, height - 0.5 * curvature * twin**2), abs=1e-9)
    np.testing.assert_allclose(
        found.points[3:], [nearest[0] for nearest in found.nearest[3:]], rtol=0, atol=0
    )


def test_a_nearest_sample_on_the_ridge_between_two_is_left() -> None:
    """Just above the focal point the grid sees one valley, whose middle sample is the farthest in it."""
    (point,), (gap,) = (lambda found: (found.points[0], found.distances))(
        footpoint(parabola(1.0), [[0.0, 1.0 + 1e-6]])
    )
    assert abs(point) == pytest.approx(math.sqrt(2e-6), rel=1e-4)
    assert gap <= 1.0 + 1e-6


def test_above_a_minimum_of_the_sine_a_ball_of_radius_3_has_two() -> None:
    u = brentq(lambda u: u * math.sqrt(1 + math.sin(u) ** 2) / math.sin(u) - 3.0, 1.0, 3.0)
    height = -math.cos(u) + math.sqrt(9.0 - u**2)
    minimum = 1.5 * math.pi
    found = footpoint(Graph(Sine(), (-10.0, 10.0)), [[minimum, height]])
    np.testing.assert_allclose(found.nearest[0], [[minimum - u], [minimum + u]], rtol=0, atol=1e-9)
    assert found.distances[0] == pytest.approx(3.0, abs=1e-9)
    assert found.certain.all()


def test_in_the_plane_twins_are_told_once_each() -> None:
    """A banana, even in y: many starts run into each twin, parted by rounding alone."""
    banana = Formula(
        "banana",
        lambda points: 40.0 * (points[..., 0] - points[..., 1] ** 2) ** 2 + 0.2 * points[..., 0],
        dimension=2,
        domain=(-3.0, 3.013),
        spacing=2e-2,
    )
    rng = np.random.default_rng(0)
    centers = np.column_stack([rng.uniform(0.1, 2.0, 60), np.zeros(60), rng.uniform(0.0, 3.0, 60)])
    found = footpoint(Graph(banana), centers)
    twins = [nearest for nearest in found.nearest if abs(nearest[0, 1]) > 1e-3]
    assert len(twins) > 30
    for nearest in twins:
        assert len(nearest) == 2
        np.testing.assert_allclose(nearest[0], nearest[1] * [1.0, -1.0], rtol=0, atol=1e-7)


def test_in_a_trough_there_are_two_and_they_come_in_lexical_order() -> None:
    trough = Formula(
        "trough", lambda points: 0.5 * points[..., 1].square(), dimension=2, domain=(-3.0, 3.0), spacing=3e-2
    )
    found = footpoint(Graph(trough), [[0.0, 0.0, 1.5], [0.1234, 0.0, 2.0]])
    for nearest, x, y in zip(found.nearest, (0.0, 0.1234), (1.0, math.sqrt(2.0)), strict=True):
        np.testing.assert_allclose(nearest, [[x, -y], [x, y]], rtol=0, atol=1e-9)


def test_above_the_middle_of_a_round_bowl_all_around_is_nearest() -> None:
    bowl = Formula(
        "bowl", lambda points: 0.5 * points.square().sum(-1), dimension=2, domain=(-3.0, 3.0), spacing=6e-2
    )
    found = footpoint(Graph(bowl), [[0.0, 0.0, 1.5]])
    assert len(found.nearest[0]) > 10
    np.testing.assert_allclose(np.linalg.norm(found.nearest[0], axis=-1), 1.0, rtol=0, atol=1e-7)


@pytest.mark.parametrize("dimension", [1, 2])
def test_a_center_that_is_nowhere_has_none_and_alters_no_other(dimension: int) -> None:
    graph = Graph(waves(3, dimension, (-3.0, 3.0), 3e-2))
    centers = np.random.default_rng(3).uniform(-1.0, 1.0, (6, dimension + 1))
    centers[1, 0], centers[3, -1] = math.nan, -math.inf
    centers[4] = 1e200, *[0.0] * dimension  # its square overflows
    found = footpoint(graph, centers)
    gone = [1, 3, 4]
    for field in (found.points, found.values, found.distances):
        assert np.isnan(field[gone]).all()
    assert [len(nearest) for nearest in found.nearest] == [1, 0, 1, 0, 0, 1]
    assert not found.certain[gone].any()
    alone = footpoint(graph, centers[[0, 2, 5]])
    np.testing.assert_allclose(found.points[[0, 2, 5]], alone.points, rtol=0, atol=1e-12)
    np.testing.assert_array_equal(np.isnan(distance(graph, centers)), [False, True, False, True, True, False])


@pytest.mark.parametrize("centers", [[[math.nan, 0.0]], [[math.inf, 0.0], [0.0, math.nan]]])
def test_nothing_but_centers_that_are_nowhere(centers) -> None:
    found = footpoint(parabola(1.0), centers)
    assert np.isnan(found.points).all()
    assert [nearest.shape for nearest in found.nearest] == [(0, 1)] * len(centers)


@pytest.mark.parametrize("dimension", [1, 2])
def test_no_centers(dimension: int) -> None:
    found = footpoint(Graph(waves(3, dimension, (-1.0, 1.0), 0.1)), np.empty((0, dimension + 1)))
    assert (found.points.shape, found.values.shape, found.distances.shape) == ((0, dimension), (0,), (0,))
    assert (found.nearest, found.certain.shape) == ([], (0,))


def test_the_box_is_certain_to_hold_a_footpoint_no_farther_than_its_edge() -> None:
    flat = Graph(Formula("flat", lambda points: 0.0 * points[..., 0], domain=(-2.0, 2.0)))
    centers = [[0.0, 1.0], [0.0, 2.0], [0.0, 2.01], [1.5, -0.49], [1.5, 0.51], [-1.999, 0.0], [2.5, 0.0]]
    found = footpoint(flat, centers)
    assert found.certain.tolist() == [True, True, False, True, False, True, False]
    np.testing.assert_allclose(found.points[:, 0], [0.0, 0.0, 0.0, 1.5, 1.5, -1.999, 2.0], rtol=0, atol=1e-12)


def test_what_is_certain_is_what_a_larger_box_finds() -> None:
    wave = waves(7, 1, (-12.0, 12.0), 1e-2)
    rng = np.random.default_rng(7)
    centers = np.column_stack([rng.uniform(-3.5, 3.5, 200), rng.uniform(-4.0, 4.0, 200)])
    narrow, wide = footpoint(Graph(wave, (-3.0, 3.0)), centers), footpoint(Graph(wave), centers)
    same = np.abs(narrow.points - wide.points)[:, 0] < 1e-9
    assert narrow.certain.sum() > 50
    assert same[narrow.certain].all()
    assert not same.all(), "some footpoints should lie outside"


def dense(graph: Graph, side: int) -> np.ndarray:
    axis = np.linspace(graph.low, graph.high, side)
    points = np.stack([line.ravel() for line in np.meshgrid(*[axis] * graph.dimension)], axis=-1)
    return np.column_stack([points, graph.evaluate(points)[0]])


@few
@given(seed=SEEDS, dimension=st.sampled_from([1, 2]))
def test_no_point_of_a_dense_grid_is_nearer(seed: int, dimension: int) -> None:
    """Also from beyond the box's edge, where the nearest point of the box is on it."""
    graph = Graph(waves(seed, dimension, (-2.0, 2.0), 2e-2 if dimension == 1 else 4e-2))
    rng = np.random.default_rng(seed)
    centers = np.column_stack([rng.uniform(-2.3, 2.3, (12, dimension)), rng.uniform(-4.0, 4.0, 12)])
    found = footpoint(graph, centers)
    everywhere = dense(graph, 20_001 if dimension == 1 else 301)
    for center, gap in zip(centers, found.distances, strict=True):
        assert np.linalg.norm(everywhere - center, axis=-1).min() >= gap - 1e-12
    assert (np.abs(found.points) <= 2.0).all()
    np.testing.assert_allclose(found.values, graph.evaluate(found.points)[0], rtol=0, atol=1e-14)
    there = np.column_stack([found.points, found.values])
    np.testing.assert_allclose(np.linalg.norm(there - centers, axis=-1), found.distances, rtol=0, atol=1e-14)


@few
@given(seed=SEEDS, dimension=st.sampled_from([1, 2]))
def test_the_way_to_a_center_is_normal_to_the_graph(seed: int, dimension: int) -> None:
    graph = Graph(waves(seed, dimension, (-4.0, 4.0), 2e-2 if dimension == 1 else 5e-2))
    rng = np.random.default_rng(seed)
    centers = np.column_stack([rng.uniform(-1.0, 1.0, (12, dimension)), rng.uniform(-2.0, 2.0, 12)])
    found = footpoint(graph, centers)
    _, gradient = graph.evaluate(found.points)
    inside = np.abs(found.points).max(axis=-1) < 4.0
    along = found.points - centers[:, :-1] + (found.values - centers[:, -1])[:, None] * gradient
    assert np.abs(along[inside]).max() < 1e-6
    assert inside.sum() > 6


@few
@given(seed=SEEDS)
def test_many_centers_are_found_as_each_alone(seed: int) -> None:
    graph = Graph(waves(seed, 1, (-3.0, 3.0), 2e-2))
    centers = np.random.default_rng(seed).uniform(-2.0, 2.0, (8, 2))
    together = footpoint(graph, centers)
    for here, center in enumerate(centers):
        alone = footpoint(graph, center[None])
        assert alone.distances[0] == pytest.approx(together.distances[here], abs=1e-14)
        np.testing.assert_allclose(alone.nearest[0], together.nearest[here], rtol=0, atol=1e-6)


def test_distance_is_that_of_the_footpoints_and_zero_on_the_graph() -> None:
    graph = Graph(Sine(), (-4.0, 4.0))
    points = np.random.default_rng(0).uniform(-3.0, 3.0, 30)
    np.testing.assert_allclose(distance(graph, np.column_stack([points, np.sin(points)])), 0.0, atol=1e-14)
    centers = np.column_stack([points, np.sin(points) + 0.3])
    np.testing.assert_array_equal(distance(graph, centers), footpoint(graph, centers).distances)


@pytest.mark.parametrize("centers", [[1.0, 2.0], [[1.0]], [[1.0, 2.0, 3.0]], []])
def test_centers_of_another_shape_are_refused(centers) -> None:
    with pytest.raises(UsageError, match=r"^points must have shape \(m, 2\), not \("):
        footpoint(parabola(1.0), centers)
