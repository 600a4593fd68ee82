"""Slices of the loss against closed forms."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from torch import nn

from rbobench.errors import UsageError
from rbobench.measures.slices import filter_normalized, slice_1d, slice_2d
from rbobench.measures.surface import LossSurface


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


CURVATURES = torch.tensor([1.0, 4.0, -2.0], dtype=torch.float64)


def quadratic(start: tuple[float, ...] = (3.0, -1.0, 0.5)) -> tuple[LossSurface, nn.Parameter]:
    point = nn.Parameter(torch.tensor(start, dtype=torch.float64))
    parts = [lambda share=share: share * 0.5 * (CURVATURES * point.square()).sum() for share in (0.25, 0.75)]
    return LossSurface([point], parts, [0.25, 0.75]), point


def test_along_the_top_eigenvector_of_a_quadratic() -> None:
    surface, _ = quadratic()
    found = slice_1d(surface, seeded(), "eigenvectors", radius=0.5, points=5)
    center, slope = 0.5 * (9.0 + 4.0 - 0.5), -4.0
    assert found.offsets == (-0.5, -0.25, 0.0, 0.25, 0.5)
    expected = [center + slope * t + 2.0 * t**2 for t in found.offsets]
    either = list(found.losses) if found.losses[0] > found.losses[-1] else list(found.losses)[::-1]
    assert either == pytest.approx(expected, rel=1e-9)
    assert found.value == pytest.approx(2.0 + 0.5, rel=1e-9)
    assert found.uncertainty == pytest.approx(0.0, abs=1e-9)  # the parts agree
    assert found.cost.forward_evaluations == 5
    assert found.directions == "eigenvectors"


def test_the_plane_of_two_eigenvectors_of_a_quadratic() -> None:
    surface, _ = quadratic((0.0, 0.0, 0.0))
    found = slice_2d(surface, seeded(), "eigenvectors", radius=1.0, points=3)
    expected = [[2.0 * s**2 + 0.5 * t**2 for t in found.offsets] for s in found.offsets]
    assert [list(row) for row in found.losses] == [pytest.approx(row, abs=1e-9) for row in expected]
    assert found.value == pytest.approx(2.5, rel=1e-9)
    assert found.cost.forward_evaluations == 9


def test_along_a_filter_normalized_direction_of_a_quadratic() -> None:
    weight = nn.Parameter(torch.randn(3, 5, generator=seeded(1), dtype=torch.float64))
    bias = nn.Parameter(torch.ones(3, dtype=torch.float64))
    surface = LossSurface([weight, bias], [lambda: weight.square().sum() + bias.square().sum()])
    direction, still = filter_normalized([weight, bias], seeded(7))
    torch.testing.assert_close(direction.norm(dim=1), weight.detach().norm(dim=1))
    assert not still.any()
    found = slice_1d(surface, seeded(7), radius=2.0, points=9)
    expected = [float((weight.detach() + t * direction).square().sum()) + 3.0 for t in found.offsets]
    assert found.losses == pytest.approx(expected, rel=1e-12)
    assert found.value == pytest.approx(max(expected) - expected[4], rel=1e-12)
    assert math.isnan(found.uncertainty)  # one part


def test_a_slice_does_not_depend_on_the_scale_of_the_weights() -> None:
    """The paper's reason for the normalization: a network whose scale is free has one slice."""
    inputs = torch.randn(20, 4, generator=seeded(3), dtype=torch.float64)

    def losses(scale: float) -> tuple[float, ...]:
        weight = nn.Parameter(scale * torch.randn(2, 4, generator=seeded(4), dtype=torch.float64))

        def loss() -> torch.Tensor:
            return torch.tanh(inputs @ weight.T / scale).sum()

        return slice_1d(LossSurface([weight], [loss]), seeded(5), points=7).losses

    assert losses(100.0) == pytest.approx(losses(1.0), rel=1e-9)


def test_filters_of_a_convolution_and_of_nothing_but_vectors() -> None:
    kernel = torch.randn(6, 2, 3, 3, generator=seeded(1))
    (direction,) = filter_normalized([kernel], seeded())
    torch.testing.assert_close(direction.flatten(1).norm(dim=1), kernel.flatten(1).norm(dim=1))
    assert direction.dtype == kernel.dtype
    vector, scalar = filter_normalized([torch.tensor([3.0, 4.0]), torch.tensor(2.0)], seeded())
    assert float(vector.norm()) == pytest.approx(5.0)
    assert abs(float(scalar)) == pytest.approx(2.0)


def test_the_plane_holds_the_line() -> None:
    weight = nn.Parameter(torch.randn(4, 3, generator=seeded(1), dtype=torch.float64))
    surface = LossSurface([weight], [lambda: weight.pow(4).sum(), lambda: weight.sum().sin()])
    line, plane = slice_1d(surface, seeded(2), points=5), slice_2d(surface, seeded(2), points=5)
    assert [row[2] for row in plane.losses] == pytest.approx(list(line.losses), rel=1e-12)
    assert plane.losses[2][2] == pytest.approx(surface.value(), rel=1e-12)
    assert plane.value >= line.value > 0
    assert plane.uncertainty > 0


def test_theta_is_put_back() -> None:
    surface, point = quadratic((0.1, 1e6, -0.3))
    before = point.detach().clone()
    slice_2d(surface, seeded(), points=3)
    assert torch.equal(point, before)


@pytest.mark.parametrize("measure", [slice_1d, slice_2d])
@pytest.mark.parametrize(
    ("bad", "message"),
    [
        ({"points": 4}, "odd number of points"),
        ({"points": 1}, "odd number of points"),
        ({"radius": 0.0}, "radius must be positive, not 0.0"),
        ({"radius": math.inf}, "radius must be positive"),
        ({"directions": "random"}, "unknown directions 'random' of a slice; known: filter-normalized"),
    ],
)
def test_bad_arguments(measure: Any, bad: dict[str, Any], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        measure(quadratic()[0], seeded(), **bad)
