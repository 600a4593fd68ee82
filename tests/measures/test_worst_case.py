"""Worst-case sharpness against closed forms of quadratics, and on networks."""

from __future__ import annotations

import dataclasses
import itertools
import json
import math
from typing import Any

import numpy as np
import pytest
import scipy.linalg
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from rbobench.errors import UsageError
from rbobench.measures.classification_surface import classification_surface
from rbobench.measures.sharpness import sam_gap
from rbobench.measures.surface import Cost, LossSurface
from rbobench.measures.worst_case import RADII, checkpoints, worst_case


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def quadratic(hessian: np.ndarray, theta: np.ndarray, **tensor: Any) -> LossSurface:
    """θᵀHθ/2 in two parameters and two unequal parts."""
    matrix, point = torch.tensor(hessian, **tensor), torch.tensor(theta, **tensor)
    first, second = nn.Parameter(point[:2].clone()), nn.Parameter(point[2:].clone())

    def part(share: float) -> Tensor:
        vector = torch.cat([first, second])
        return 0.5 * share * (vector @ (matrix @ vector))

    return LossSurface([first, second], [lambda: part(0.25), lambda: part(0.75)])


def symmetric(eigenvalues: np.ndarray, random: np.random.Generator) -> np.ndarray:
    rotation = scipy.linalg.qr(random.standard_normal((len(eigenvalues),) * 2))[0]
    return rotation @ np.diag(eigenvalues) @ rotation.T


def largest_rise(gradient: np.ndarray, hessian: np.ndarray, radius: float) -> float:
    """The trust-region subproblem as one eigenvalue problem (Adachi et al., SIAM J. Optim. 27, 2017)."""
    size = len(gradient)
    if not gradient.any():
        return 0.5 * radius**2 * max(0.0, float(np.linalg.eigvalsh(hessian)[-1]))
    lower, zero, one = -hessian, np.zeros((size, size)), np.eye(size)
    pencil = np.block([[-one, lower], [lower, -np.outer(gradient, gradient) / radius**2]])
    eigenvalues = scipy.linalg.eigvals(pencil, -np.block([[zero, one], [one, zero]]))
    multiplier = eigenvalues.real.max()
    step = np.linalg.solve(multiplier * one - hessian, gradient)
    step *= radius / np.linalg.norm(step)
    return float(gradient @ step + 0.5 * step @ hessian @ step)


SPECTRA = {
    "convex": lambda size: np.logspace(-1, 1, size),
    "even": lambda size: np.linspace(0.1, 10.0, size),
    "indefinite": lambda size: np.concatenate(
        [-np.logspace(-1, 1, size // 2), np.logspace(-1, 1, -(-size // 2))]
    ),
}


@pytest.mark.parametrize("adaptive", [False, True])
@pytest.mark.parametrize("distance", [0.0, 0.1, 3.0])
@pytest.mark.parametrize("spectrum", sorted(SPECTRA))
@pytest.mark.parametrize("size", [10, 30])
def test_a_quadratic_in_a_ball(size: int, spectrum: str, distance: float, adaptive: bool) -> None:
    if adaptive and not distance:
        pytest.skip("at θ = 0 an adaptive ball is a point")
    random = np.random.default_rng(size)
    hessian = symmetric(SPECTRA[spectrum](size), random)
    theta = distance * random.standard_normal(size)
    surface = quadratic(hessian, theta, dtype=torch.float64)
    axes = np.abs(theta) if adaptive else np.ones(size)
    expected = largest_rise(axes * (hessian @ theta), axes[:, None] * hessian * axes, 0.3)
    found = worst_case(surface, radius=0.3, adaptive=adaptive, generator=generator())
    assert found.value <= expected * (1 + 1e-9)
    assert found.value == pytest.approx(expected, rel=1e-2)
    assert found.length == pytest.approx(0.3)


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 2**31), size=st.integers(3, 18), distance=st.sampled_from([0.0, 0.05, 1.0, 20.0]))
def test_it_is_exact_in_fewer_dimensions_than_steps(seed: int, size: int, distance: float) -> None:
    random = np.random.default_rng(seed)
    hessian = symmetric(random.uniform(-1.0, 1.0, size) * random.choice([0.1, 1.0, 10.0], size), random)
    theta = distance * random.standard_normal(size)
    expected = largest_rise(hessian @ theta, hessian, 0.5)
    found = worst_case(
        quadratic(hessian, theta, dtype=torch.float64), radius=0.5, generator=generator(seed)
    ).value
    assert found <= expected * (1 + 1e-7) + 1e-12
    assert found == pytest.approx(expected, rel=1e-2, abs=1e-12)


def test_single_precision_agrees_too() -> None:
    random = np.random.default_rng(0)
    hessian = symmetric(np.linspace(0.1, 10.0, 30), random)
    theta = 0.1 * random.standard_normal(30)
    expected = largest_rise(hessian @ theta, hessian, 0.3)
    found = worst_case(quadratic(hessian, theta, dtype=torch.float32), radius=0.3, generator=generator())
    assert found.value == pytest.approx(expected, rel=1e-2)


@pytest.mark.parametrize("adaptive", [False, True])
def test_a_convex_quadratic_in_a_box_is_largest_at_a_corner(adaptive: bool) -> None:
    random = np.random.default_rng(2)
    hessian = symmetric(np.logspace(-1, 1, 9), random)
    theta = random.standard_normal(9)
    axes = 0.2 * (np.abs(theta) if adaptive else np.ones(9))
    corners = np.array(list(itertools.product([-1.0, 1.0], repeat=9))) * axes
    expected = (corners @ hessian @ theta + 0.5 * np.einsum("ni,ij,nj->n", corners, hessian, corners)).max()
    found = worst_case(
        quadratic(hessian, theta, dtype=torch.float64),
        radius=0.2,
        norm="linf",
        adaptive=adaptive,
        generator=generator(),
    )
    assert found.value <= expected * (1 + 1e-9)
    assert found.value == pytest.approx(expected, rel=1e-2)
    assert found.first_order == pytest.approx(float(axes @ np.abs(hessian @ theta)))


def test_a_box_at_a_minimum_is_left() -> None:
    surface = quadratic(np.diag([1.0, 2.0, 3.0, 4.0]), np.zeros(4), dtype=torch.float64)
    found = worst_case(surface, radius=0.1, norm="linf", generator=generator())
    assert found.value == pytest.approx(0.5 * 0.01 * 10.0)


def test_a_top_is_its_own_worst_case() -> None:
    surface = quadratic(-np.eye(4), np.zeros(4), dtype=torch.float64)
    found = worst_case(surface, radius=0.1, generator=generator())
    assert (found.value, found.uncertainty, found.length) == (0.0, 0.0, 0.0)


def test_no_symmetry_holds_the_search() -> None:
    # θ lies on the first axis, and so does the gradient; the rise lies along the last (the hard case).
    hessian, theta = np.diag([1.0, 2.0, 3.0, 50.0]), np.array([1.0, 0.0, 0.0, 0.0])
    first = 1.0 / 49.0
    expected = first + 0.5 * first**2 + 25.0 * (0.25 - first**2)
    found = worst_case(quadratic(hessian, theta, dtype=torch.float64), radius=0.5, generator=generator())
    assert found.value == pytest.approx(expected, rel=1e-4)


def test_what_is_reported() -> None:
    random = np.random.default_rng(0)
    hessian, theta = symmetric(np.linspace(1.0, 2.0, 5), random), random.standard_normal(5)
    surface = quadratic(hessian, theta, dtype=torch.float64)
    before = [parameter.detach().clone() for parameter in surface.parameters]
    found = worst_case(surface, radius=0.4, steps=7, generator=generator())
    assert found.cost == Cost(gradient_evaluations=7.0, forward_evaluations=2.0)
    assert found.cost == surface.cost
    assert found.first_order == pytest.approx(0.4 * float(np.linalg.norm(hessian @ theta)))
    # Parts of a quarter and three quarters, as of equal sizes: means of 1/2 and 3/2 of the rise.
    assert found.uncertainty == pytest.approx(0.5 * found.value)
    assert json.loads(json.dumps(dataclasses.asdict(found)))["norm"] == "l2"
    for parameter, earlier in zip(surface.parameters, before, strict=True):
        assert torch.equal(parameter, earlier)
        assert parameter.grad is None
    again = worst_case(surface, radius=0.4, steps=7, generator=generator())
    assert again == found


def test_a_wall_of_no_number_is_stepped_back_from() -> None:
    point = nn.Parameter(torch.tensor([0.5, 0.5, 0.5], dtype=torch.float64))
    # −log(1 − x) is infinite at 1 and not a number beyond.
    surface = LossSurface([point], [lambda: -torch.log(1.0 - point.sum() / 2.0)])
    found = worst_case(surface, radius=0.5, generator=generator())
    assert math.isfinite(found.value)
    assert found.value > 0.5


def test_parameters_that_are_zero_stay_in_an_adaptive_ball() -> None:
    point = nn.Parameter(torch.tensor([2.0, 0.0], dtype=torch.float64))
    surface = LossSurface([point], [lambda: point[0] + 100.0 * point[1]])
    for norm in ("l2", "linf"):
        found = worst_case(surface, radius=0.1, norm=norm, adaptive=True, generator=generator())
        assert found.value == pytest.approx(0.2)


def test_checkpoints_of_the_paper() -> None:
    # 0.22, 0.41, 0.57, 0.70, 0.80, 0.87, 0.93, 0.99 (arXiv 2003.01690, Sec. 3).
    assert checkpoints(100) == [22, 41, 57, 70, 80, 87, 93, 99]
    assert checkpoints(20) == [5, 9, 12, 14, 16, 18, 19, 20]


def test_a_network_rises_more_than_one_step_up_the_gradient() -> None:
    random = generator(3)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        network = nn.Sequential(nn.Linear(6, 16), nn.BatchNorm1d(16), nn.Tanh(), nn.Linear(16, 3))
    inputs, labels = torch.randn(40, 6, generator=random), torch.randint(3, (40,), generator=random)
    surface = classification_surface(network, inputs, labels, batch_size=16)
    state = {name: value.clone() for name, value in network.state_dict().items()}
    found = {
        (norm, adaptive): worst_case(surface, norm=norm, adaptive=adaptive, generator=generator())
        for norm, adaptive in RADII
    }
    assert all(each.value > 0.9 * each.first_order > 0.0 for each in found.values())
    assert found["l2", False].value > sam_gap(surface, RADII["l2", False]).value * (1.0 - 1e-3)
    wider = worst_case(surface, radius=0.5, generator=generator())
    assert wider.value > 1.02 * sam_gap(surface, 0.5).value
    for name, value in network.state_dict().items():
        assert torch.equal(value, state[name])


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"radius": 0.0}, "radius must be positive and finite, not 0.0"),
        ({"radius": math.nan}, "radius must be positive and finite, not nan"),
        ({"norm": "l3"}, "unknown norm 'l3'"),
        ({"steps": 0}, "steps must be at least 1, not 0"),
    ],
)
def test_what_is_refused(options: dict[str, Any], message: str) -> None:
    surface = quadratic(np.eye(4), np.zeros(4), dtype=torch.float64)
    with pytest.raises(UsageError, match=message):
        worst_case(surface, generator=generator(), **options)
