"""Formulas as landscapes, their derivatives, their scaled copies and their closures."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor, nn

from rbobench.geometry.landscape import Formula, LandscapeClosure, Scaled
from rbobench.tasks.landscapes import Rastrigin, Sine


def quartic(points: Tensor) -> Tensor:
    x, y = points.unbind(dim=-1)
    return x**4 + 3.0 * x * y + 2.0 * y**2


POINTS = torch.tensor([[0.5, -1.0], [2.0, 0.25], [0.0, 0.0]], dtype=torch.float64)


def test_a_formula_has_autograd_s_gradient_and_hessian() -> None:
    formula = Formula("quartic", quartic, dimension=2)
    value, gradient = formula.value_and_grad(POINTS)
    x, y = POINTS.unbind(dim=-1)
    torch.testing.assert_close(value, quartic(POINTS), rtol=0, atol=0)
    torch.testing.assert_close(gradient, torch.stack((4 * x**3 + 3 * y, 3 * x + 4 * y), dim=-1))
    expected = torch.stack([torch.tensor([[12.0 * u**2, 3.0], [3.0, 4.0]]) for u in x.tolist()])
    torch.testing.assert_close(formula.hessian(POINTS), expected.double())
    assert not formula.hessian(POINTS).requires_grad


def test_hessians_of_a_batch_of_any_shape() -> None:
    landscape = Rastrigin(2)
    points = torch.linspace(-1.0, 1.0, 24, dtype=torch.float64).reshape(3, 4, 2)
    hessian = landscape.hessian(points)
    assert hessian.shape == (3, 4, 2, 2)
    expected = torch.diag_embed(2.0 + 40.0 * math.pi**2 * (2.0 * math.pi * points).cos())
    torch.testing.assert_close(hessian, expected, rtol=1e-12, atol=1e-10)
    assert landscape.hessian(torch.empty(0, 2)).shape == (0, 2, 2)


@pytest.mark.parametrize(
    "formula",
    [
        lambda points: 2.0 * points[..., 0] - points[..., 1],
        lambda points: 2.0 * points[..., 0],
        lambda points: 0.0 * points.sum(dim=-1),
    ],
    ids=["plane", "one coordinate", "constant"],
)
def test_a_plane_has_no_curvature(formula) -> None:
    assert torch.equal(
        Formula("plane", formula, dimension=2).hessian(POINTS),
        torch.zeros_like(POINTS)[..., None] * torch.zeros(2),
    )


def test_a_coordinate_that_curves_alone_leaves_the_other_flat() -> None:
    trough = Formula("trough", lambda points: points[..., 1] ** 2 + points[..., 0], dimension=2)
    expected = torch.tensor([[0.0, 0.0], [0.0, 2.0]], dtype=torch.float64).expand(3, 2, 2)
    assert torch.equal(trough.hessian(POINTS), expected)


def test_derivatives_are_there_without_grad_mode_and_leave_the_points_alone() -> None:
    formula = Formula("quartic", quartic, dimension=2)
    points = POINTS.clone().requires_grad_()
    with torch.no_grad():
        _, gradient = formula.value_and_grad(points)
        hessian = formula.hessian(points)
    assert points.grad is None
    torch.testing.assert_close(gradient, formula.value_and_grad(POINTS)[1], rtol=0, atol=0)
    torch.testing.assert_close(hessian, formula.hessian(POINTS), rtol=0, atol=0)


@pytest.mark.parametrize("scale", [0.5, 3.0])
def test_a_scaled_landscape_is_scaled_in_all_its_derivatives(scale: float) -> None:
    landscape = Rastrigin(2)
    scaled = Scaled(landscape, scale)
    value, gradient = landscape.value_and_grad(POINTS)
    torch.testing.assert_close(scaled.value(POINTS), scale * value, rtol=0, atol=0)
    for actual, expected in zip(scaled.value_and_grad(POINTS), (value, gradient), strict=True):
        torch.testing.assert_close(actual, scale * expected, rtol=0, atol=0)
    torch.testing.assert_close(scaled.hessian(POINTS), scale * landscape.hessian(POINTS), rtol=1e-14, atol=0)
    assert (scaled.domain, scaled.spacing, scaled.dimension) == (landscape.domain, landscape.spacing, 2)
    assert scaled.name == f"{scale:g} × rastrigin"


@pytest.mark.parametrize("shape", [(1,), (5, 1), (2, 3, 1)])
def test_a_closure_gives_each_problem_its_loss_and_gradient_and_counts(shape: tuple[int, ...]) -> None:
    points = nn.Parameter(
        torch.linspace(-1.0, 1.0, 6, dtype=torch.float64)[: torch.Size(shape).numel()].reshape(shape)
    )
    closure = LandscapeClosure(Sine(), points)
    for calls in (1, 2):
        loss = closure()
        assert closure.calls == calls
        assert torch.equal(loss, points.detach()[..., 0].sin())
        assert torch.equal(points.grad, points.detach().cos())
        assert not loss.requires_grad
