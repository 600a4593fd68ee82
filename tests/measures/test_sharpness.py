"""The SAM gap against closed forms."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from rbobench.measures.sharpness import sam_gap
from rbobench.measures.surface import Cost, LossSurface


def test_the_gap_of_a_quadratic() -> None:
    curvature = torch.tensor([1.0, 4.0], dtype=torch.float64)
    point = nn.Parameter(torch.tensor([3.0, -1.0], dtype=torch.float64))
    gradient = curvature * point.detach()
    unit = gradient / gradient.norm()
    expected = 0.2 * gradient.norm() + 0.02 * (unit * curvature * unit).sum()
    before = point.detach().clone()
    surface = LossSurface([point], [lambda: 0.25 * (curvature * point.square()).sum()] * 2)
    gap = sam_gap(surface, radius=0.2)
    assert gap.value == pytest.approx(expected.item(), rel=1e-12)
    assert gap.uncertainty == 0.0  # the parts are equal
    assert gap.cost == Cost(gradient_evaluations=1.0, forward_evaluations=1.0)
    assert torch.equal(point, before)
    assert point.grad is None


def test_the_uncertainty_is_that_of_the_parts() -> None:
    point = nn.Parameter(torch.ones(1, dtype=torch.float64))
    # Of f = 3θ, parts 1·θ and 2·θ with half the samples each: means 2 and 4 times the step, standard error 1.
    surface = LossSurface([point], [lambda: point.sum(), lambda: 2.0 * point.sum()])
    gap = sam_gap(surface, radius=0.1)
    assert gap.value == pytest.approx(0.3)
    assert gap.uncertainty == pytest.approx(0.1)


def test_a_vanishing_gradient_has_no_gap() -> None:
    point = nn.Parameter(torch.zeros(3))
    assert sam_gap(LossSurface([point], [lambda: point.square().sum()])).value == 0.0


def test_parameters_that_the_loss_does_not_see_are_left_alone() -> None:
    point, other = nn.Parameter(torch.ones(2)), nn.Parameter(torch.ones(2))
    gap = sam_gap(LossSurface([point, other], [lambda: point.sum()]), radius=0.1)
    assert gap.value == pytest.approx(0.1 * 2**0.5, rel=1e-5)
