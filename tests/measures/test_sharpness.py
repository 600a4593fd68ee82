"""Sharpness against closed forms."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from rbobench.measures.sharpness import sam_gap


def test_the_gap_of_a_quadratic() -> None:
    curvature = torch.tensor([1.0, 4.0], dtype=torch.float64)
    point = nn.Parameter(torch.tensor([3.0, -1.0], dtype=torch.float64))
    gradient = curvature * point.detach()
    unit = gradient / gradient.norm()
    expected = 0.2 * gradient.norm() + 0.02 * (unit * curvature * unit).sum()
    before = point.detach().clone()
    half = [lambda: 0.25 * (curvature * point.square()).sum()] * 2
    assert sam_gap(half, [point], radius=0.2) == pytest.approx(expected.item(), rel=1e-12)
    assert torch.equal(point, before)
    assert point.grad is None


def test_a_vanishing_gradient_has_no_gap() -> None:
    point = nn.Parameter(torch.zeros(3))
    assert sam_gap([lambda: point.square().sum()], [point]) == 0.0


def test_parameters_that_the_loss_does_not_see_are_left_alone() -> None:
    point, other = nn.Parameter(torch.ones(2)), nn.Parameter(torch.ones(2))
    gap = sam_gap([lambda: point.sum()], [point, other], radius=0.1)
    assert gap == pytest.approx(0.1 * 2**0.5, rel=1e-5)
