"""Average-case sharpness against the closed form of a quadratic."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import nn

from rbobench.errors import UsageError
from rbobench.measures.average_case import average_case
from rbobench.measures.surface import Cost, LossSurface


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


CURVATURE = torch.tensor([[3.0, 1.0, 0.0], [1.0, -1.0, 0.5], [0.0, 0.5, 2.0]], dtype=torch.float64)


def quadratic() -> LossSurface:
    point = nn.Parameter(torch.tensor([2.0, -1.0, 0.5], dtype=torch.float64))
    return LossSurface([point], [lambda: 0.25 * point @ (CURVATURE @ point)] * 2)


@pytest.mark.parametrize("adaptive", [False, True])
@pytest.mark.parametrize(("norm", "variance"), [("l2", 1.0), ("linf", 1.0 / 3.0)])
def test_a_quadratic_rises_by_half_its_scaled_trace(norm: Any, variance: float, adaptive: bool) -> None:
    surface = quadratic()
    point = surface.parameters[0].detach().clone()
    weights = point.square() if adaptive else torch.ones(3, dtype=torch.float64)
    expected = 0.5 * 0.3**2 * variance * float((weights * CURVATURE.diagonal()).sum())
    found = average_case(
        surface, radius=0.3, norm=norm, adaptive=adaptive, samples=2000, generator=generator(1)
    )
    assert abs(found.value - expected) < 3.0 * found.uncertainty
    assert found.uncertainty < 0.1 * abs(expected)
    assert found.cost == Cost(forward_evaluations=2001.0)
    assert torch.equal(surface.parameters[0], point)


def test_the_uncertainty_is_the_spread_over_generators() -> None:
    estimates = [
        average_case(quadratic(), radius=0.3, samples=20, generator=generator(i)) for i in range(200)
    ]
    spread = torch.tensor([each.value for each in estimates]).std()
    stated = torch.tensor([each.uncertainty for each in estimates]).square().mean().sqrt()
    assert stated.item() == pytest.approx(spread.item(), rel=0.15)


def test_odd_terms_cancel() -> None:
    point = nn.Parameter(torch.ones(4, dtype=torch.float64))
    surface = LossSurface([point], [lambda: 5.0 * (point - 1.0).sum() + (point - 1.0).pow(3).sum()])
    found = average_case(surface, radius=1.0, generator=generator())
    assert abs(found.value) < 1e-12
    assert found.uncertainty < 1e-12


def test_a_generator_gives_the_same_again() -> None:
    first, again = (average_case(quadratic(), generator=generator(7)) for _ in range(2))
    assert first == again
    assert first != average_case(quadratic(), generator=generator(8))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"radius": -1.0}, "radius must be positive and finite, not -1.0"),
        ({"norm": "l1"}, "unknown norm 'l1'"),
        ({"samples": 2}, "samples must be even and at least 4, not 2"),
        ({"samples": 7}, "samples must be even and at least 4, not 7"),
    ],
)
def test_what_is_refused(options: dict[str, Any], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        average_case(quadratic(), generator=generator(), **options)
