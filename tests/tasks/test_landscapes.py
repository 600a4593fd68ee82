from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from rbobench.errors import UsageError
from rbobench.geometry.landscape import Landscape
from rbobench.tasks.landscapes import (
    Eq13,
    Eq14,
    Rastrigin,
    Rosenbrock,
    Sine,
    Weierstrass,
    Whitley,
)

FAMILIES: list[Callable[[int], Landscape]] = [Weierstrass, Whitley, Rastrigin, Rosenbrock]
LANDSCAPES = [Sine(), Eq13(), Eq14(), *(family(d) for family in FAMILIES for d in (2, 3))]
each_landscape = pytest.mark.parametrize(
    "landscape", LANDSCAPES, ids=lambda landscape: f"{landscape.name}-{landscape.dimension}"
)
by_hand = pytest.mark.parametrize("landscape", [Sine(), Eq13(), Eq14()], ids=lambda one: one.name)


def points_for(
    landscape: Landscape, *batch: int, dtype: torch.dtype = torch.float64, seed: int = 0
) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    points = 6.0 * torch.rand(*batch, landscape.dimension, generator=generator, dtype=torch.float64) - 3.0
    return points.to(dtype)


def numpy_eq13(theta: float) -> tuple[float, float]:
    value = slope = 0.0
    for k in range(1, 101):
        value += math.sin(k**2 * theta) / k**2
        slope += math.cos(k**2 * theta)
    return value, slope


def numpy_eq14(theta: np.ndarray) -> tuple[float, np.ndarray]:
    value, gradient = float(theta @ theta), 2.0 * theta
    for center in np.random.RandomState(0).uniform(-3, 3, (1000, 2)):
        depth = math.exp(-float(np.sum((theta - center) ** 2)) / 0.1**2)
        value -= depth
        gradient = gradient + depth * 2.0 * (theta - center) / 0.1**2
    return value, gradient


@by_hand
def test_hand_written_gradient_is_autograd_s(landscape: Landscape) -> None:
    points = points_for(landscape, 40)
    value, gradient = landscape.value_and_grad(points)
    expected_value, expected_gradient = Landscape.value_and_grad(landscape, points)
    # Eq. 14's sums run over different centers; the others' are the same sums.
    atol = 4e-15 if isinstance(landscape, Eq14) else 0.0
    torch.testing.assert_close(value, expected_value, rtol=0.0, atol=atol)
    torch.testing.assert_close(gradient, expected_gradient, rtol=1e-12, atol=1e-12)


@each_landscape
def test_gradient_is_a_difference_quotient(landscape: Landscape) -> None:
    # Weierstrass's finest wave is 3^-20 long: only a step below that sees its slope.
    step, tolerance = (1e-12, 1e-2) if isinstance(landscape, Weierstrass) else (1e-6, 1e-5)
    points = (
        0.1 * points_for(landscape, 5) if isinstance(landscape, Weierstrass) else points_for(landscape, 5)
    )
    _, gradient = landscape.value_and_grad(points)
    for axis in range(landscape.dimension):
        shift = torch.zeros(landscape.dimension, dtype=torch.float64)
        shift[axis] = step
        quotient = (landscape.value(points + shift) - landscape.value(points - shift)) / (2.0 * step)
        scale = gradient.abs().max().item() + 1.0
        torch.testing.assert_close(gradient[:, axis], quotient, rtol=0.0, atol=tolerance * scale)


@each_landscape
def test_second_derivatives_exist(landscape: Landscape) -> None:
    hessian = torch.func.hessian(landscape.value)(torch.tensor(landscape.start, dtype=torch.float64))
    assert hessian.shape == (landscape.dimension, landscape.dimension)
    torch.testing.assert_close(hessian, hessian.T)
    assert torch.isfinite(hessian).all()


@given(theta=st.floats(-10.0, 10.0))
@settings(max_examples=50, deadline=None)
def test_eq13_is_the_paper_s(theta: float) -> None:
    value, gradient = Eq13().value_and_grad(torch.tensor([theta], dtype=torch.float64))
    expected_value, expected_slope = numpy_eq13(theta)
    assert value.item() == pytest.approx(expected_value, abs=1e-12)
    assert gradient.item() == pytest.approx(expected_slope, abs=1e-9)


def test_eq13_slope_at_zero_is_the_number_of_terms() -> None:
    _, gradient = Eq13().value_and_grad(torch.zeros(1, dtype=torch.float64))
    assert gradient.item() == 100.0


@given(theta=st.tuples(st.floats(-3.5, 3.5), st.floats(-3.5, 3.5)))
@settings(max_examples=20, deadline=None)
def test_eq14_is_the_paper_s(theta: tuple[float, float]) -> None:
    value, gradient = Eq14().value_and_grad(torch.tensor(theta, dtype=torch.float64))
    expected_value, expected_gradient = numpy_eq14(np.array(theta))
    assert value.item() == pytest.approx(expected_value, abs=1e-12)
    np.testing.assert_allclose(gradient.numpy(), expected_gradient, rtol=1e-12, atol=1e-11)


def test_eq14_far_from_every_well_is_the_bowl() -> None:
    value, gradient = Eq14().value_and_grad(torch.tensor([30.0, -40.0], dtype=torch.float64))
    assert value.item() == 2500.0
    assert gradient.tolist() == [60.0, -80.0]


def full_sum(points: Tensor) -> tuple[Tensor, Tensor]:
    """Eq. 14 and its gradient over all centers, points of shape `(n, 2)`."""
    centers = torch.tensor(np.random.RandomState(0).uniform(-3.0, 3.0, (1000, 2)), dtype=points.dtype)
    offsets = points.unsqueeze(1) - centers
    wells = torch.exp(-offsets.square().sum(dim=-1) / 0.1**2)
    value = points.square().sum(dim=-1) - wells.sum(dim=-1)
    return value, 2.0 * points + 2.0 / 0.1**2 * (wells.unsqueeze(-1) * offsets).sum(dim=1)


def cell_edges() -> Tensor:
    """The corners of Eq. 14's cells, and the numbers beside them on either side."""
    edges = torch.linspace(-3.0, 3.0, 31, dtype=torch.float64)
    corners = torch.cartesian_prod(edges, edges)
    far = torch.full_like(corners, 9.0)
    return torch.cat([corners, corners.nextafter(far), corners.nextafter(-far)])


def far_away() -> Tensor:
    """From just outside of Eq. 14's square to where its square overflows."""
    distances = torch.tensor([2.9, 3.0, 3.3, 3.7, 20.0, 1e10, 1e20], dtype=torch.float64)
    return torch.cartesian_prod(torch.cat([-distances, distances]), torch.cat([-distances, distances]))


@pytest.mark.parametrize(
    "points",
    [
        points_for(Eq14(), 2000),
        4.0 / 3.0 * points_for(Eq14(), 2000, seed=1),
        cell_edges(),
        far_away(),
    ],
    ids=["inside", "around", "edges", "far"],
)
def test_eq14_leaves_out_nothing(points: Tensor) -> None:
    value, gradient = Eq14().value_and_grad(points)
    expected_value, expected_gradient = full_sum(points)
    torch.testing.assert_close(value, expected_value, rtol=2.3e-16, atol=4e-15)
    # Both sums round: near a wall the slope is 31, and its last digit 4e-15.
    torch.testing.assert_close(gradient, expected_gradient, rtol=2.3e-16, atol=2e-14)


def test_eq14_leaves_out_nothing_in_float32() -> None:
    points = torch.cat([points_for(Eq14(), 2000), cell_edges()]).float()
    value, gradient = Eq14().value_and_grad(points)
    assert value.dtype == gradient.dtype == torch.float32
    expected_value, expected_gradient = full_sum(points)
    torch.testing.assert_close(value, expected_value, rtol=0.0, atol=4e-6)
    torch.testing.assert_close(gradient, expected_gradient, rtol=0.0, atol=2e-5)


def test_eq14_at_no_point() -> None:
    value, gradient = Eq14().value_and_grad(torch.empty(3, 0, 2))
    assert value.shape == (3, 0)
    assert gradient.shape == (3, 0, 2)


def test_eq14_nowhere() -> None:
    nan, inf = math.nan, math.inf
    points = torch.tensor([[nan, 0.0], [1.0, nan], [inf, 0.0], [-inf, inf], [1.0, 1.0]], dtype=torch.float64)
    value, gradient = Eq14().value_and_grad(points)
    expected_value, expected_gradient = full_sum(points)
    torch.testing.assert_close(value, expected_value, rtol=0.0, atol=4e-15, equal_nan=True)
    torch.testing.assert_close(gradient, expected_gradient, rtol=0.0, atol=2e-14, equal_nan=True)
    assert gradient.isnan().any(dim=-1).tolist() == [True, True, True, True, False]


def test_eq14_far_points_alter_no_other_point() -> None:
    points = torch.cat(
        [points_for(Eq14(), 50), far_away(), torch.full((1, 2), math.nan, dtype=torch.float64)]
    )
    value, gradient = Eq14().value_and_grad(points)
    alone = [Eq14().value_and_grad(point) for point in points]
    torch.testing.assert_close(value, torch.stack([one[0] for one in alone]), rtol=0, atol=0, equal_nan=True)
    torch.testing.assert_close(
        gradient, torch.stack([one[1] for one in alone]), rtol=0, atol=0, equal_nan=True
    )


def test_sine_closed_form() -> None:
    points = torch.tensor([[0.0], [-math.pi / 2]], dtype=torch.float64)
    value, gradient = Sine().value_and_grad(points)
    assert value.tolist() == [0.0, -1.0]
    torch.testing.assert_close(gradient, torch.tensor([[1.0], [0.0]], dtype=torch.float64))


MINIMIZERS: list[tuple[Callable[[int], Landscape], float]] = [
    (Weierstrass, 0.0),
    (Whitley, 1.0),
    (Rastrigin, 0.0),
    (Rosenbrock, 1.0),
]


@pytest.mark.parametrize(("family", "coordinate"), MINIMIZERS)
@pytest.mark.parametrize("dimension", [2, 5])
def test_known_minimum(family: Callable[[int], Landscape], coordinate: float, dimension: int) -> None:
    landscape = family(dimension)
    value, gradient = landscape.value_and_grad(torch.full((dimension,), coordinate, dtype=torch.float64))
    assert value.item() == landscape.minimum == 0.0
    assert gradient.abs().max().item() < 1e-12


@each_landscape
def test_no_point_is_below_the_minimum(landscape: Landscape) -> None:
    values = landscape.value(points_for(landscape, 200))
    assert torch.isfinite(values).all()
    if landscape.minimum is not None:
        assert values.min().item() >= landscape.minimum


def test_closed_forms_at_a_point() -> None:
    point = torch.tensor([0.5, 2.0], dtype=torch.float64)
    assert Rastrigin(2).value(point).item() == pytest.approx(20.25 + 4.0)
    assert Rosenbrock(2).value(point).item() == pytest.approx(100.0 * 1.75**2 + 0.25)
    pairs = [100.0 * (a**2 - b) ** 2 + (1.0 - b) ** 2 for a in (0.5, 2.0) for b in (0.5, 2.0)]
    expected = sum(y**2 / 4000.0 - math.cos(y) + 1.0 for y in pairs)
    assert Whitley(2).value(point).item() == pytest.approx(expected)


@given(x=st.floats(-0.5, 0.5))
def test_weierstrass_is_the_textbook_s(x: float) -> None:
    textbook = sum(
        0.5**k * (math.cos(2 * math.pi * 3**k * (x + 0.5)) - math.cos(math.pi * 3**k)) for k in range(21)
    )
    value = Weierstrass(1).value(torch.tensor([x], dtype=torch.float64))
    assert value.item() == pytest.approx(textbook, abs=1e-10)


@each_landscape
@given(batch=st.lists(st.integers(1, 4), max_size=3))
@settings(max_examples=10, deadline=None)
def test_a_batch_is_its_points_one_by_one(landscape: Landscape, batch: list[int]) -> None:
    points = points_for(landscape, *batch, seed=len(batch))
    value, gradient = landscape.value_and_grad(points)
    assert value.shape == tuple(batch)
    assert gradient.shape == points.shape
    alone = [landscape.value_and_grad(point) for point in points.reshape(-1, landscape.dimension)]
    torch.testing.assert_close(value.flatten(), torch.stack([one for one, _ in alone]), rtol=0.0, atol=0.0)
    torch.testing.assert_close(
        gradient.reshape(-1, landscape.dimension), torch.stack([one for _, one in alone]), rtol=0.0, atol=0.0
    )


@each_landscape
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_dtype_is_the_points(landscape: Landscape, dtype: torch.dtype) -> None:
    points = points_for(landscape, 3, dtype=dtype).requires_grad_()
    value, gradient = landscape.value_and_grad(points)
    assert value.dtype == gradient.dtype == landscape.value(points).dtype == dtype
    assert not value.requires_grad
    assert not gradient.requires_grad
    assert points.grad is None
    assert landscape.value(points).requires_grad


@each_landscape
def test_gradient_without_grad_mode(landscape: Landscape) -> None:
    points = points_for(landscape, 2)
    with torch.no_grad():
        _, inside = landscape.value_and_grad(points)
    torch.testing.assert_close(inside, landscape.value_and_grad(points)[1], rtol=0.0, atol=0.0)


@each_landscape
def test_no_host_synchronization(landscape: Landscape) -> None:
    points = torch.empty(2, 3, landscape.dimension, dtype=torch.float64, device="meta", requires_grad=True)
    value, gradient = landscape.value_and_grad(points)
    assert value.is_meta
    assert value.shape == landscape.value(points).shape == (2, 3)
    assert gradient.shape == points.shape


def test_first_call_in_inference_mode_leaves_the_constants_usable() -> None:
    points = torch.ones(1, 1, dtype=torch.bfloat16)  # a dtype that no other test caches constants for
    with torch.inference_mode():
        Eq13().value(points)
    Eq13().value(points.clone().requires_grad_()).sum().backward()


@pytest.mark.parametrize("family", FAMILIES)
def test_smallest_dimension(family: Callable[[int], Landscape]) -> None:
    smallest = 2 if family is Rosenbrock else 1
    assert len(family(smallest).start) == smallest
    with pytest.raises(UsageError, match=rf"dimension must be at least {smallest}, not {smallest - 1}$"):
        family(smallest - 1)


def test_rosenbrock_start_alternates() -> None:
    assert Rosenbrock(5).start == (-1.2, 1.0, -1.2, 1.0, -1.2)


@each_landscape
def test_start_is_no_minimum(landscape: Landscape) -> None:
    start = torch.tensor(landscape.start, dtype=torch.float64)
    value, gradient = landscape.value_and_grad(start)
    assert start.shape == (landscape.dimension,)
    assert gradient.norm().item() > 1e-3
    if landscape.minimum is not None:
        assert value.item() > landscape.minimum + 0.1
