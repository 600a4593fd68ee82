"""The offset graph: closed forms, what the paper proves of it, its dilation, and its errors."""

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
from rbobench.geometry import offset
from rbobench.geometry.footpoint import distance
from rbobench.geometry.graph import Graph
from rbobench.geometry.landscape import Formula
from rbobench.geometry.offset import dilation, ironing, offset_graph
from rbobench.tasks.landscapes import Sine

SEEDS = st.integers(0, 2**32 - 1)
DIMENSIONS = st.sampled_from([1, 2])
few = settings(max_examples=6, deadline=None)


def waves(seed: int, dimension: int) -> Formula:
    """A sum of five sines, in any direction."""
    rng = np.random.default_rng(seed)
    directions = torch.tensor(rng.uniform(-3.0, 3.0, (5, dimension)))
    phases, heights = torch.tensor(rng.uniform(0.0, 2 * math.pi, 5)), torch.tensor(rng.uniform(0.1, 1.0, 5))

    def formula(points: Tensor) -> Tensor:
        return (heights * (points @ directions.T + phases).sin()).sum(dim=-1)

    domain, spacing = ((-6.0, 6.0), 2e-2) if dimension == 1 else ((-3.0, 3.0), 4e-2)
    return Formula(f"waves {seed}", formula, dimension=dimension, domain=domain, spacing=spacing)


def places(seed: int, dimension: int, count: int = 6) -> np.ndarray:
    return np.random.default_rng(seed).uniform(-1.0, 1.0, (count, dimension))


@pytest.mark.parametrize("slope", [(0.0,), (-2.0,), (0.0, 0.0), (0.7, -3.0)])
@pytest.mark.parametrize("radius", [0.1, 1.5])
def test_over_a_plane_it_is_the_plane_lifted(slope: tuple[float, ...], radius: float) -> None:
    w, dimension = np.array(slope), len(slope)
    plane = Formula(
        "plane",
        lambda points: points @ torch.tensor(slope, dtype=points.dtype),
        dimension=dimension,
        domain=(-3.0, 3.0),
        spacing=1e-2 if dimension == 1 else 3e-2,
    )
    positions, length = places(0, dimension), math.sqrt(1.0 + w @ w)
    found = offset_graph(Graph(plane), positions, radius)
    np.testing.assert_allclose(found.values, positions @ w + radius * length, rtol=0, atol=1e-12)
    for position, contacts in zip(positions, found.contacts, strict=True):
        np.testing.assert_allclose(contacts, [position + radius * w / length], rtol=0, atol=1e-6)


@pytest.mark.parametrize(("dimension", "low", "spacing"), [(1, -1.9, 1e-2), (2, -1.4, 2e-2)])
def test_over_a_cap_it_is_a_larger_cap(dimension: int, low: float, spacing: float) -> None:
    cap = Formula(
        "cap",
        lambda points: (4.0 - points.square().sum(dim=-1)).sqrt(),
        dimension=dimension,
        domain=(low, -low),
        spacing=spacing,
    )
    positions = 0.5 * places(1, dimension)
    found = offset_graph(Graph(cap), positions, 0.7)
    expected = np.sqrt(2.7**2 - np.square(positions).sum(axis=-1))
    np.testing.assert_allclose(found.values, expected, rtol=0, atol=1e-12)


@pytest.mark.parametrize("radius", [0.2, 0.9, 2.0])
def test_over_a_parabola_it_is_the_parallel_curve_with_a_kink_above_the_critical_radius(
    radius: float,
) -> None:
    """The parallel curve (x − ρx/s, x²/2 + ρ/s); past the kink at 0 its outer branch alone is left."""
    graph = Graph(Formula("parabola", lambda points: 0.5 * points[..., 0].square(), domain=(-6.0, 6.0)))
    kink = math.sqrt(max(0.0, radius**2 - 1.0))
    contacts = kink + np.linspace(0.01, 2.0, 15)
    lengths = np.sqrt(1.0 + contacts**2)
    found = offset_graph(graph, contacts - radius * contacts / lengths, radius)
    np.testing.assert_allclose(found.values, 0.5 * contacts**2 + radius / lengths, rtol=0, atol=1e-12)
    np.testing.assert_allclose(np.concatenate(found.contacts)[:, 0], contacts, rtol=0, atol=1e-6)
    (touched,) = offset_graph(graph, [0.0], radius).contacts
    np.testing.assert_allclose(
        touched[:, 0], [0.0] if radius < 1.0 else [-kink, kink], rtol=0, atol=1e-6 if radius > 1 else 1e-4
    )


def test_over_a_minimum_of_the_sine_a_ball_of_radius_3_touches_both_walls() -> None:
    u = brentq(lambda u: u * math.sqrt(1 + math.sin(u) ** 2) / math.sin(u) - 3.0, 1.0, 3.0)
    minimum = 1.5 * math.pi
    found = offset_graph(Graph(Sine(), (0.0, 10.0)), [minimum], 3.0)
    np.testing.assert_allclose(found.contacts[0], [[minimum - u], [minimum + u]], rtol=0, atol=1e-7)
    assert found.values[0] == pytest.approx(math.sqrt(9.0 - u**2) - math.cos(u), abs=1e-13)


def test_no_positions() -> None:
    for dimension in (1, 2):
        found = offset_graph(Graph(waves(0, dimension)), np.empty((0, dimension)), 0.5)
        assert (found.values.shape, found.contacts) == ((0,), [])


@few
@given(seed=SEEDS, dimension=DIMENSIONS, radius=st.floats(0.02, 1.9))
def test_no_point_of_a_dense_ball_lifts_it_and_its_center_is_one_radius_away(
    seed: int, dimension: int, radius: float
) -> None:
    graph, positions = Graph(waves(seed, dimension)), places(seed, dimension)
    found = offset_graph(graph, positions, radius)
    side = np.linspace(-radius, radius, 2001 if dimension == 1 else 61)
    shifts = np.stack([line.ravel() for line in np.meshgrid(*[side] * dimension)], axis=-1)
    depths = radius**2 - np.square(shifts).sum(axis=-1)
    shifts, lifts = shifts[depths >= 0.0], np.sqrt(depths[depths >= 0.0])
    for position, value in zip(positions, found.values, strict=True):
        assert (graph.evaluate(position + shifts)[0] + lifts).max() <= value + 1e-12
    centers = np.column_stack([positions, found.values])
    np.testing.assert_allclose(distance(graph, centers), radius, rtol=1e-11)
    for center, contacts in zip(centers, found.contacts, strict=True):
        touched = np.column_stack([contacts, graph.evaluate(contacts)[0]])
        np.testing.assert_allclose(np.linalg.norm(touched - center, axis=-1), radius, rtol=0, atol=2e-9)


@few
@given(seed=SEEDS, dimension=DIMENSIONS, radius=st.floats(0.02, 1.0), more=st.floats(0.0, 0.9))
def test_it_lies_a_radius_above_and_what_is_more_grows_with_the_radius(
    seed: int, dimension: int, radius: float, more: float
) -> None:
    graph, positions = Graph(waves(seed, dimension)), places(seed, dimension)
    small, large = (offset_graph(graph, positions, each).values for each in (radius, radius + more))
    assert (small >= graph.evaluate(positions)[0] + radius - 1e-13).all()
    assert (large - (radius + more) >= small - radius - 1e-13).all()


@few
@given(seed=SEEDS, other=SEEDS, dimension=DIMENSIONS, radius=st.floats(0.02, 1.9))
def test_two_offset_graphs_are_no_farther_apart_than_the_graphs(
    seed: int, other: int, dimension: int, radius: float
) -> None:
    f, g = Graph(waves(seed, dimension)), Graph(waves(other, dimension))
    positions = places(seed, dimension)
    gap = np.abs(offset_graph(f, positions, radius).values - offset_graph(g, positions, radius).values).max()
    # On the grid alone the gap of f and g may be a little larger; the slack is its slope times half a cell.
    slack = np.linalg.norm(f.gradients - g.gradients, axis=-1).max() * f.spacing * math.sqrt(dimension) / 2
    assert gap <= np.abs(f.values - g.values).max() + slack


@few
@given(seed=SEEDS, dimension=DIMENSIONS, radius=st.floats(0.05, 1.5))
def test_its_slope_is_the_graph_s_at_the_contact(seed: int, dimension: int, radius: float) -> None:
    """∇f_ρ(θ) = ∇f(θ+s), wherever there is one contact: the envelope theorem."""
    graph, positions = Graph(waves(seed, dimension)), places(seed, dimension, 4)
    step = 1e-5
    shifts = step * np.concatenate([np.zeros((1, dimension)), np.eye(dimension), -np.eye(dimension)])
    found = offset_graph(graph, (positions[:, None] + shifts).reshape(-1, dimension), radius)
    values = found.values.reshape(4, -1)
    for here in range(4):
        contacts = np.concatenate(found.contacts[here * len(shifts) : (here + 1) * len(shifts)])
        if len(contacts) > len(shifts) or np.ptp(contacts, axis=0).max() > 200 * step:
            continue  # a kink is near
        slope = (values[here, 1 : dimension + 1] - values[here, dimension + 1 :]) / (2 * step)
        np.testing.assert_allclose(slope, graph.evaluate(contacts)[1][0], rtol=0, atol=2e-3)


@few
@given(seed=SEEDS, dimension=DIMENSIONS, radius=st.floats(0.1, 1.0))
def test_dilation_is_below_and_close(seed: int, dimension: int, radius: float) -> None:
    graph = Graph(waves(seed, dimension))
    dilated = dilation(graph, radius)
    assert dilated.shape == graph.shape
    rng = np.random.default_rng(seed)
    margin = math.ceil(radius / graph.spacing)
    index = rng.integers(margin + 1, len(graph.axis) - margin - 1, (6, dimension))
    exact = offset_graph(graph, graph.axis[index], radius).values
    below = exact - dilated[tuple(index.T)]
    assert below.min() >= -1e-12
    steepest = np.linalg.norm(graph.gradients, axis=-1).max()
    bends = (
        np.abs(np.linalg.eigvalsh(graph.hessian(graph.points[::7]))).max() + (1 + steepest**2) ** 1.5 / radius
    )
    # The nearest sample to the contact is at most half a cell's diagonal away, where f + √(ρ²−s²) is flat.
    assert below.max() <= bends * dimension * graph.spacing**2 / 4


def test_dilation_of_single_samples() -> None:
    """A ball smaller than the grid's spacing lifts each sample; near the edge only what is inside counts."""
    graph = Graph(Sine(), (-1.0, 1.0), spacing=0.1)
    np.testing.assert_allclose(dilation(graph, 0.05), graph.values + 0.05, rtol=0, atol=1e-15)
    plane = Graph(Formula("plane", lambda points: -10.0 * points[..., 0], domain=(0.0, 1.0)), spacing=0.1)
    dilated = dilation(plane, 0.25)
    assert dilated[0] == pytest.approx(0.25, abs=1e-15)
    assert dilated[5] == pytest.approx(-3.0 + math.sqrt(0.25**2 - 0.2**2), abs=1e-12)


def sine_delta(radius: float) -> float:
    """1 + ρ − max over s of √(ρ²−s²) − cos s: found on a grid, refined by its slope's root."""
    s = np.linspace(0.0, min(radius, math.pi), 200_001)[:-1]
    heights = np.sqrt(radius**2 - s**2) - np.cos(s)
    best = s[heights.argmax()]
    width = s[1]

    def slope(s: float) -> float:
        return math.sin(s) - s / math.sqrt(radius**2 - s**2)

    if best > width and slope(best - width) > 0.0 > slope(best + width):
        best = brentq(slope, best - width, best + width, xtol=1e-15)
    return 1.0 + radius - math.sqrt(radius**2 - best**2) + math.cos(best)


def measured_delta(radius: float) -> float:
    """Over one period of the sine, which goes on beyond."""
    edge = math.pi + radius + 0.1
    graph = Graph(Sine(), (-edge, edge), spacing=2e-2)
    return ironing(graph, radius, (-math.pi, math.pi), positions=21).delta


@pytest.mark.parametrize("radius", [1.0])
def test_below_the_critical_radius_the_sine_keeps_its_height(radius: float) -> None:
    assert sine_delta(radius) == pytest.approx(2.0, abs=1e-9)
    assert measured_delta(radius) == pytest.approx(2.0, abs=1e-6)


@pytest.mark.parametrize("radius", [1.05, 3.0, 10.0])
def test_above_it_the_sine_is_ironed(radius: float) -> None:
    assert measured_delta(radius) == pytest.approx(sine_delta(radius), abs=1e-9)


def test_the_sine_at_large_radii_in_figures() -> None:
    assert measured_delta(100.0) == pytest.approx(0.048871, abs=5e-7)
    assert measured_delta(200.0) * 201.0 == pytest.approx(math.pi**2 / 2, rel=1e-4)


def test_ironing_says_where() -> None:
    graph = Graph(Sine(), (-8.0, 8.0))
    found = ironing(graph, 2.0, (-3.0, 3.0), positions=21)
    assert found.delta == found.highest - found.lowest
    assert found.highest == pytest.approx(3.0, abs=1e-12)
    np.testing.assert_allclose(found.peak, [0.5 * math.pi], rtol=0, atol=1e-4)
    np.testing.assert_allclose(found.valley, [-0.5 * math.pi], rtol=0, atol=1e-8)
    edge = ironing(graph, 2.0, (-0.5, 0.5), positions=11)
    assert edge.valley.tolist() == [-0.5]
    assert edge.peak.tolist() == [0.5]


def test_ironing_a_plane_of_eggs(monkeypatch: pytest.MonkeyPatch) -> None:
    """A sum of cosines over one period: below the radius 1 nothing is ironed."""
    eggs = Formula("eggs", lambda points: points.cos().sum(-1), dimension=2, domain=(-1.0, 4.2), spacing=0.1)
    monkeypatch.setattr(offset, "_ROUNDS", 9)  # enough for 1e-7
    found = ironing(Graph(eggs), 0.6, (-0.4, 3.6), positions=5)
    assert found.delta == pytest.approx(4.0, abs=1e-6)
    np.testing.assert_allclose(found.valley, [math.pi] * 2, rtol=0, atol=1e-3)
    np.testing.assert_allclose(found.peak, [0.0] * 2, rtol=0, atol=1e-3)


@pytest.mark.parametrize("radius", [0.0, -1.0, math.nan, math.inf])
def test_without_a_ball_there_is_no_offset_graph(radius: float) -> None:
    graph = Graph(Sine(), (-3.0, 3.0))
    message = f"^the ball's radius must be finite and above 0, not {radius}$"
    for call in (
        lambda: offset_graph(graph, [0.0], radius),
        lambda: dilation(graph, radius),
        lambda: ironing(graph, radius, (-1.0, 1.0)),
    ):
        with pytest.raises(UsageError, match=message):
            call()


def test_a_ball_that_leaves_the_domain_is_refused() -> None:
    graph = Graph(Sine(), (-3.0, 3.0))
    message = r"^a ball of radius 2 around \[1.5\] leaves the search domain \(-3, 3\); widen it$"
    with pytest.raises(UsageError, match=message):
        offset_graph(graph, [0.0, 1.5, -2.0], 2.0)
    with pytest.raises(UsageError, match=r"around \[nan\] leaves the search domain"):
        offset_graph(graph, [math.nan], 2.0)
    with pytest.raises(UsageError, match=r"around \[-1.5\] leaves the search domain"):
        ironing(graph, 2.0, (-1.5, 1.0))
    assert np.isfinite(offset_graph(graph, [-1.0, 1.0], 2.0).values).all(), "the box's own width fits"


@pytest.mark.parametrize("between", [(1.0, -1.0), (1.0, 1.0), (0.0, math.nan), (0.0, 1.0, 2.0)])
def test_a_box_of_centers_that_is_none_is_refused(between) -> None:
    with pytest.raises(
        UsageError, match=r"^the box of centers must be \(low, high\) with low < high, not \("
    ):
        ironing(Graph(Sine(), (-3.0, 3.0)), 0.5, between)


def test_one_position_does_not_make_a_grid() -> None:
    with pytest.raises(UsageError, match=r"^there must be at least 2 positions, not 1$"):
        ironing(Graph(Sine(), (-3.0, 3.0)), 0.5, (-1.0, 1.0), positions=1)


@pytest.mark.parametrize("positions", [[[0.0, 0.0]], [[[0.0]]]])
def test_positions_of_another_shape_are_refused(positions) -> None:
    with pytest.raises(UsageError, match=r"^points must have shape \(m, 1\), not \("):
        offset_graph(Graph(Sine(), (-3.0, 3.0)), positions, 0.5)
