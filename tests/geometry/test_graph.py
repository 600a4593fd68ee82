"""Sampled graphs: what they hold, what they refuse, and what is kept for the next call."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import torch

from rbobench.errors import UsageError
from rbobench.geometry.graph import Graph, as_points, graph_of, normals, positive_radius
from rbobench.geometry.landscape import Formula
from rbobench.tasks.landscapes import Rastrigin, Rosenbrock, Sine, Weierstrass


@pytest.mark.parametrize(("landscape", "domain"), [(Sine(), (-2.0, 3.0)), (Rastrigin(2), (-1.0, 1.0))])
def test_a_grid_spans_the_box_and_is_no_wider_than_asked(landscape, domain) -> None:
    graph = Graph(landscape, domain, spacing=0.03)
    assert (graph.axis[0], graph.axis[-1]) == domain == (graph.low, graph.high)
    assert graph.spacing <= 0.03 < 1.05 * graph.spacing
    np.testing.assert_allclose(np.diff(graph.axis), graph.spacing, rtol=1e-12)
    assert graph.points.shape == (len(graph.axis) ** landscape.dimension, landscape.dimension)
    assert graph.shape == (len(graph.axis),) * landscape.dimension
    value, gradient = landscape.value_and_grad(torch.from_numpy(graph.points))
    np.testing.assert_array_equal(graph.values, value.numpy())
    np.testing.assert_array_equal(graph.gradients, gradient.numpy())


def test_grid_points_follow_the_axes_in_order() -> None:
    tilted = Formula("tilted", lambda points: points[..., 0] + 10.0 * points[..., 1], dimension=2)
    graph = Graph(tilted, (0.0, 1.0), spacing=0.5)
    expected = graph.axis[:, None] + 10.0 * graph.axis
    np.testing.assert_allclose(graph.values.reshape(graph.shape), expected, rtol=1e-15)


def test_a_box_narrower_than_the_spacing_has_its_ends() -> None:
    assert Graph(Sine(), (0.0, 0.1), spacing=1.0).axis.tolist() == [0.0, 0.1]


def test_domain_and_spacing_are_the_landscape_s_by_default() -> None:
    graph = Graph(Rastrigin(1))
    assert (graph.low, graph.high) == Rastrigin.domain
    assert graph.spacing == pytest.approx(Rastrigin.spacing, rel=1e-2)


def test_evaluation_does_not_depend_on_how_many_points_there_are() -> None:
    graph = Graph(Rastrigin(2), spacing=0.5)
    points = np.random.default_rng(0).uniform(-3.0, 3.0, (40_000, 2))  # more than one chunk
    values, gradients = graph.evaluate(points)
    some = slice(32_760, 32_780)
    np.testing.assert_array_equal(values[some], graph.evaluate(points[some])[0])
    np.testing.assert_array_equal(gradients[some], graph.evaluate(points[some])[1])
    np.testing.assert_array_equal(graph.hessian(points[some]), graph.hessian(points)[some])


def test_no_points_have_no_values() -> None:
    graph = Graph(Rastrigin(2), spacing=0.5)
    values, gradients = graph.evaluate(np.empty((0, 2)))
    assert (values.shape, gradients.shape, graph.hessian(np.empty((0, 2))).shape) == ((0,), (0, 2), (0, 2, 2))


def test_contains_keeps_a_margin() -> None:
    graph = Graph(Rastrigin(2), (-1.0, 2.0), spacing=0.5)
    points = np.array([[0.0, 0.0], [-1.0, 0.5], [1.5, -0.5], [2.1, 0.0], [0.0, math.nan]])
    assert graph.contains(points).tolist() == [True, True, True, False, False]
    assert graph.contains(points, 0.5).tolist() == [True, False, True, False, False]
    margins = np.array([1.01, 0.0, 0.49, 0.0, 0.0])
    assert graph.contains(points, margins).tolist() == [False, True, True, False, False]


def test_a_ball_as_wide_as_the_box_fits_in_spite_of_rounding() -> None:
    graph = Graph(Sine(), (-0.1, 0.3 - 0.1), spacing=0.05)
    assert graph.contains(np.array([[0.05]]), 0.15).tolist() == [True]


@pytest.mark.parametrize("landscape", [Sine(), Rastrigin(2)])
def test_the_samples_cover_the_graph(landscape) -> None:
    """Every point of Γ is as near to the sample of its cell as `covering` says."""
    graph = Graph(landscape, (-2.0, 2.0), spacing=0.05)
    points = np.random.default_rng(0).uniform(-2.0, 2.0, (2000, graph.dimension))
    index = np.rint((points - graph.low) / graph.spacing).astype(int)
    sample = np.ravel_multi_index(tuple(index.T), graph.shape)
    rise = graph.evaluate(points)[0] - graph.values[sample]
    gap = np.sqrt(np.square(points - graph.points[sample]).sum(axis=-1) + rise**2)
    assert (gap <= graph.covering[sample]).all()
    assert gap.max() > 0.3 * graph.covering.max(), "the bound should not be idle"


def test_a_graph_is_kept_for_the_same_arguments() -> None:
    graph = graph_of(Rastrigin(2), (-1.0, 1.0))
    assert graph_of(Rastrigin(2), (-1.0, 1.0)) is graph
    assert graph_of(Rastrigin(2), (-1.0, 1.5)) is not graph
    assert graph_of(Rastrigin(1), (-1.0, 1.0)) is not graph
    sine, other = (Formula("wave", wave, domain=(-1.0, 1.0)) for wave in (_sine, _cosine))
    assert graph_of(sine) is not graph_of(other), "two landscapes of one name are two"


def _sine(points: torch.Tensor) -> torch.Tensor:
    return points[..., 0].sin()


def _cosine(points: torch.Tensor) -> torch.Tensor:
    return points[..., 0].cos()


def test_a_scaled_graph_is_that_of_the_scaled_landscape() -> None:
    graph, scaled = (graph_of(Sine(), (-1.0, 1.0), scale=scale) for scale in (1.0, 2.5))
    np.testing.assert_array_equal(scaled.values, 2.5 * graph.values)
    np.testing.assert_array_equal(scaled.gradients, 2.5 * graph.gradients)


def test_normals_point_up_have_length_one_and_are_normal() -> None:
    gradients = np.array([[0.0, 0.0], [3.0, -4.0]])
    found = normals(gradients)
    np.testing.assert_allclose(
        found, [[0.0, 0.0, 1.0], np.array([-3.0, 4.0, 1.0]) / math.sqrt(26.0)], rtol=1e-15
    )
    tangent = np.append(gradients[1], gradients[1] @ gradients[1])  # Eq. 2
    assert found[1] @ tangent == pytest.approx(0.0, abs=1e-14)


BAD_GRAPHS: list[tuple[Any, dict[str, Any], str]] = [
    (Sine(), {}, r"^landscape 'sine' has no bounded search domain; give one as \(low, high\)$"),
    (Sine(), {"domain": (-math.inf, 1.0)}, "has no bounded search domain"),
    (Sine(), {"domain": (0.0, math.nan)}, "has no bounded search domain"),
    (Sine(), {"domain": (0.0, 1.0, 2.0)}, "has no bounded search domain"),
    (
        Sine(),
        {"domain": (1.0, -1.0)},
        r"the search domain's low end must be below its high end, not \(1.0, -1.0\)$",
    ),
    (Sine(), {"domain": (1.0, 1.0)}, "low end must be below its high end"),
    (
        Sine(),
        {"domain": (0.0, 1.0), "spacing": 0.0},
        "the grid's spacing must be finite and above 0, not 0.0$",
    ),
    (Sine(), {"domain": (0.0, 1.0), "spacing": math.nan}, "spacing must be finite and above 0, not nan$"),
    (Sine(), {"domain": (0.0, 1.0), "spacing": math.inf}, "spacing must be finite and above 0, not inf$"),
    (
        Weierstrass(1),
        {"domain": (0.0, 1.0)},
        "^landscape 'weierstrass' has no grid spacing that resolves it; give one$",
    ),
    (Rosenbrock(3), {}, "^landscape 'rosenbrock': its graph can be searched in 1 or 2 dimensions, not in 3$"),
    (
        Rastrigin(2),
        {"spacing": 1e-3},
        r"a grid of 0.001 over \(-5.12, 5.12\) has 104,878,081 points; narrow the domain or widen the "
        "spacing to at most 20,000,000$",
    ),
    (Sine(), {"domain": (-1e6, 1e6)}, r"a grid of 0.01 over \(-1e\+06, 1e\+06\) has 200,000,001 points"),
    (
        Formula("root", lambda points: points[..., 0].sqrt(), domain=(-1.0, 1.0)),
        {},
        r"^landscape 'root': its value or its slope is not finite at \[-1.0\]; narrow the domain$",
    ),
    (
        Formula("root", lambda points: points[..., 0].sqrt(), domain=(0.0, 1.0)),
        {},
        r"its value or its slope is not finite at \[0.0\]",
    ),
    (
        Formula("sine", torch.sin, domain=(-1.0, 1.0)),
        {},
        r"^landscape 'sine' must have one value a point, of shape \(201,\), not \(201, 1\)$",
    ),
]


@pytest.mark.parametrize(("landscape", "arguments", "message"), BAD_GRAPHS)
def test_what_cannot_be_searched_is_told_in_one_line(landscape, arguments, message: str) -> None:
    with pytest.raises(UsageError, match=message) as caught:
        Graph(landscape, **arguments)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("points", "dimension", "shape"),
    [
        (1.0, 1, (1, 1)),
        ([1.0, 2.0], 1, (2, 1)),
        ([[1, 2]], 2, (1, 2)),
        ([], 1, (0, 1)),
        (np.empty((0, 2)), 2, (0, 2)),
    ],
)
def test_points_become_a_table(points, dimension: int, shape: tuple[int, int]) -> None:
    table = as_points(points, dimension)
    assert (table.shape, table.dtype) == (shape, np.float64)


@pytest.mark.parametrize(
    ("points", "dimension", "message"),
    [
        ([[1.0, 2.0]], 1, r"^points must have shape \(m, 1\), not \(1, 2\)$"),
        ([1.0, 2.0], 2, r"^points must have shape \(m, 2\), not \(2,\)$"),
        ([[1.0], [2.0]], 2, r"shape \(m, 2\), not \(2, 1\)"),
        (np.zeros((2, 2, 2)), 2, r"shape \(m, 2\), not \(2, 2, 2\)"),
        (1.0, 2, r"shape \(m, 2\), not \(\)"),
    ],
)
def test_points_of_another_shape_are_refused(points, dimension: int, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        as_points(points, dimension)


@pytest.mark.parametrize("radius", [0.0, -1.0, math.nan, math.inf])
def test_without_a_ball_there_is_no_radius(radius: float) -> None:
    with pytest.raises(UsageError, match=f"^the ball's radius must be finite and above 0, not {radius}$"):
        positive_radius(radius)
