"""The distance-constraint variant against an independent transcription, what it keeps, and its errors."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from rbobench import RBO, UsageError
from rbobench.geometry.landscape import Formula, Landscape, LandscapeClosure
from rbobench.optim.controls import rbo_null
from rbobench.optim.distance_constraint import DistanceConstraintRBO
from rbobench.optim.tensors import Closure
from rbobench.tasks.landscapes import Eq14, Sine

CENTERS = np.random.RandomState(0).uniform(-3, 3, (1000, 2))
SIGMA = 0.1
FINE = {"projection_steps": 100, "projection_lr": 0.001}


def sine(point: np.ndarray) -> tuple[float, np.ndarray]:
    return math.sin(point[0]), np.cos(point)


def eq14(point: np.ndarray) -> tuple[float, np.ndarray]:
    """Eq. 14 of arXiv 2505.19527 and its gradient, in NumPy."""
    offsets = point - CENTERS
    bumps = np.exp(-(offsets**2).sum(axis=1) / SIGMA**2)
    gradient = 2 * point + (2 / SIGMA**2) * (bumps[:, None] * offsets).sum(axis=0)
    return float(point @ point - bumps.sum()), gradient


def transcribed(
    function: Callable[[np.ndarray], tuple[float, np.ndarray]],
    start: Sequence[float],
    *,
    radii: Sequence[float],
    lr: float,
    projection_steps: int,
    projection_lr: float,
    loss_scale: float = 1.0,
    weight_decay: float = 0.0,
) -> np.ndarray:
    """Eq. 9 to 12 as the paper writes them, with a stored center: θ and (a, b) after every step."""

    def surface(theta: np.ndarray) -> tuple[float, np.ndarray]:
        value, gradient = function(theta)
        decayed = value + 0.5 * weight_decay * theta @ theta
        return loss_scale * decayed, loss_scale * (gradient + weight_decay * theta)

    theta = np.array(start, dtype=np.float64)
    height, _ = surface(theta)
    center, last = np.append(theta, height), 0.0
    trajectory = []
    for radius in radii:
        height, slope = surface(theta)
        contact = np.append(theta, height)
        center = center + (radius - last) * np.append(-slope, 1.0) / math.sqrt(1.0 + slope @ slope)
        last = radius
        step = -lr / loss_scale * np.append(slope, slope @ slope)
        away = center - contact
        distance = np.linalg.norm(away)
        if distance > 0:
            step = step - (away @ step) / distance**2 * away
        center = center + step
        for _ in range(projection_steps):
            height, slope = surface(theta)
            theta = theta - projection_lr * ((theta - center[:-1]) + (height - center[-1]) * slope)
        trajectory.append(np.append(theta, center))
    return np.array(trajectory)


def rolled(
    landscape: Landscape, start: Any, *, radii: Sequence[float], lr: Any, **settings: Any
) -> tuple[Tensor, Tensor]:
    """θ and (a, b) of the optimizer after every step, in float64."""
    points = nn.Parameter(torch.tensor(start, dtype=torch.float64))
    optimizer = DistanceConstraintRBO([points], lr, radii[0], **settings)
    closure = LandscapeClosure(landscape, points)
    thetas, centers = [], []
    for radius in radii:
        optimizer.param_groups[0]["radius"] = radius
        optimizer.step(closure)
        a, b = optimizer.center()
        thetas.append(points.detach().clone())
        centers.append(torch.cat((a, b.unsqueeze(-1)), dim=-1))
    return torch.stack(thetas), torch.stack(centers)


CASES = {
    "sine": (Sine(), sine, (1.0,), [0.5] * 50, {"lr": 0.05, "projection_steps": 20, "projection_lr": 0.05}),
    "above the critical radius": (
        Sine(),
        sine,
        (1.0,),
        [3.0] * 50,
        {"lr": 0.1, "projection_steps": 20, "projection_lr": 0.05},
    ),
    "eq14": (Eq14(), eq14, (2.0, 0.0), [1.0] * 50, {"lr": 0.01, **FINE}),
    "no ball": (Eq14(), eq14, (2.0, 0.0), [0.0] * 50, {"lr": 0.01, **FINE}),
    "loss scale and weight decay": (
        Eq14(),
        eq14,
        (2.0, 0.0),
        [1.0] * 50,
        {"lr": 0.01, "loss_scale": 1.5, "weight_decay": 0.2, "projection_steps": 50, "projection_lr": 5e-4},
    ),
    "a radius that is scheduled": (
        Sine(),
        sine,
        (1.0,),
        [*np.linspace(0.0, 0.8, 25), *np.linspace(0.8, 0.0, 25)],
        {"lr": 0.05, "projection_steps": 20, "projection_lr": 0.05},
    ),
}


@pytest.mark.parametrize("case", CASES)
def test_agrees_with_the_paper(case: str) -> None:
    landscape, function, start, radii, settings = CASES[case]
    expected = transcribed(function, start, radii=radii, **settings)
    thetas, centers = rolled(landscape, start, radii=radii, **settings)
    assert np.abs(expected[-1, : len(start)] - start).max() > 1e-2
    actual = torch.cat((thetas, centers), dim=-1).numpy()
    np.testing.assert_allclose(actual, expected, rtol=0, atol=1e-9)


def test_a_batch_goes_as_each_problem_alone_and_a_diverged_one_keeps_its_ball() -> None:
    starts = [[1.0, -2.0], [0.5, 0.5], [2.0, 1.0], [-1.0, 2.0]]
    rates = torch.tensor([0.02, 0.01, 0.005, 1e200], dtype=torch.float64)
    radii = torch.tensor([1.0, 0.0, 3.0, 1.0], dtype=torch.float64)
    settings = {**FINE, "loss_scale": 0.5, "weight_decay": 0.1}
    thetas, centers = rolled(Eq14(), starts, radii=[radii] * 15, lr=rates, batch_dims=1, **settings)
    for row, start in enumerate(starts[:3]):
        lr, radius = rates[row].item(), radii[row].item()
        alone, center = rolled(Eq14(), start, radii=[radius] * 15, lr=lr, **settings)
        torch.testing.assert_close(thetas[:, row], alone, rtol=0, atol=1e-12)
        torch.testing.assert_close(centers[:, row], center, rtol=0, atol=1e-12)
    assert torch.equal(thetas[-1, 3], torch.tensor(starts[3], dtype=torch.float64))
    assert torch.equal(centers[-1, 3], centers[0, 3])
    assert torch.isfinite(centers[-1, 3]).all()


def test_a_frozen_problem_sets_out_with_its_full_radius() -> None:
    points = nn.Parameter(torch.tensor([[1.0], [1.0]], dtype=torch.float64))
    optimizer = DistanceConstraintRBO([points], 0.1, 0.5, projection_steps=5, batch_dims=1)
    broken = True

    def closure() -> Tensor:
        points.grad = points.detach().cos()
        if broken:
            points.grad[0] = math.inf
        return points.detach().sin().sum(dim=-1)

    optimizer.step(closure)
    once = points[1].detach().clone()
    assert points[0].item() == 1.0
    broken = False
    optimizer.step(closure)
    assert torch.equal(points[0], once)


def network_closure(network: nn.Module, optimizer: torch.optim.Optimizer) -> Closure:
    generator = torch.Generator().manual_seed(0)
    inputs, targets = torch.randn(16, 4, generator=generator), torch.arange(16) % 3

    def closure() -> Tensor:
        optimizer.zero_grad()
        loss = nn.functional.cross_entropy(network(inputs), targets)
        loss.backward()
        return loss

    return closure


@pytest.fixture
def network() -> nn.Module:
    generator = torch.Generator().manual_seed(1)
    module = nn.Sequential(nn.Linear(4, 8), nn.BatchNorm1d(8), nn.Tanh(), nn.Linear(8, 3))
    for parameter in module.parameters():
        nn.init.normal_(parameter, std=0.3, generator=generator)
    return module


SETTINGS = {"lr": 0.1, "radius": 2.0, "projection_steps": 5, "loss_scale": 0.7, "weight_decay": 1e-2}


@pytest.mark.parametrize("loss_scale", [1.0, 0.7])
def test_nothing_moves_on_a_fixed_function_at_lr_zero_bit_for_bit(network, loss_scale: float) -> None:
    settings = {**SETTINGS, "lr": 0.0, "radius": 10.0, "loss_scale": loss_scale, "projection_lr": 1.0}
    optimizer = DistanceConstraintRBO(network.parameters(), **settings)
    before = copy.deepcopy(list(network.parameters()))
    closure = network_closure(network, optimizer)
    for _ in range(5):
        optimizer.step(closure)
    assert all(torch.equal(old, new) for old, new in zip(before, network.parameters(), strict=True))


def test_resumes_bit_equal_with_groups_and_a_radius_that_has_changed(network) -> None:
    def build(module: nn.Module) -> DistanceConstraintRBO:
        first, *rest = module.parameters()
        return DistanceConstraintRBO([{"params": [first], "weight_decay": 0.1}, {"params": rest}], **SETTINGS)

    optimizer = build(network)
    closure = network_closure(network, optimizer)
    for radius in (2.0, 2.0, 1.5):
        for group in optimizer.param_groups:
            group["radius"] = radius
        optimizer.step(closure)
    resumed = copy.deepcopy(network)
    other = build(resumed)
    other.load_state_dict(copy.deepcopy(optimizer.state_dict()))
    for module, each in ((network, optimizer), (resumed, other)):
        closure = network_closure(module, each)
        for _ in range(3):
            each.step(closure)
    assert all(torch.equal(a, b) for a, b in zip(network.parameters(), resumed.parameters(), strict=True))


@pytest.mark.parametrize("radius", [0.0, 0.5, 3.0])
def test_the_first_step_is_that_of_algorithm_1_and_later_ones_are_not(radius: float) -> None:
    start, settings = (2.0, 0.0), {"lr": 0.01, **FINE}
    thetas, _ = rolled(Eq14(), start, radii=[radius] * 10, **settings)
    points = nn.Parameter(torch.tensor(start, dtype=torch.float64))
    build = rbo_null if radius == 0.0 else RBO
    optimizer = build([points], **settings, **({} if radius == 0.0 else {"radius": radius}))
    closure = LandscapeClosure(Eq14(), points)
    optimizer.step(closure)
    torch.testing.assert_close(thetas[0], points.detach(), rtol=0, atol=1e-12)
    for _ in range(9):
        optimizer.step(closure)
    assert (thetas[-1] - points.detach()).abs().max() > 1e-4


def constrained_sine(lr: float) -> tuple[float, float]:
    """Over five units of lr · steps: the farthest that ‖c−p‖ is from ρ = ½, and the largest |cos(u, δ̃)|."""
    point = nn.Parameter(torch.tensor([1.0], dtype=torch.float64))
    optimizer = DistanceConstraintRBO([point], lr, 0.5, projection_steps=250, projection_lr=0.05)
    closure = LandscapeClosure(Sine(), point)
    errors, cosines = [], []
    for _ in range(round(5 / lr)):
        optimizer.step(closure)
        a, b = optimizer.center()
        theta = point.detach()
        away = torch.cat((a - theta, b.reshape(1) - theta.sin()))
        tangent = torch.cat((theta.cos(), theta.cos().square()))
        errors.append((away.norm() - 0.5).abs())
        cosines.append((away @ tangent).abs() / (away.norm() * tangent.norm()))
    return float(torch.stack(errors).max()), float(torch.stack(cosines).max())


def test_where_the_projection_converges_nothing_is_subtracted_and_the_distance_stays() -> None:
    coarse, coarse_cosine = constrained_sine(0.1)
    fine, fine_cosine = constrained_sine(0.05)
    assert max(coarse_cosine, fine_cosine) < 1e-3
    assert coarse < 0.2 * 0.1
    assert coarse / fine == pytest.approx(2.0, rel=0.1)


def test_where_it_does_not_something_is() -> None:
    """The share along u is what keeps the center away from a contact that lags behind."""
    parabola = Formula("parabola", lambda points: points.square().sum(dim=-1))
    thetas, centers = rolled(parabola, (1.0,), radii=[0.5] * 2, lr=0.1, projection_steps=1)
    free = centers[0] - 0.1 * torch.stack((2 * thetas[0, 0], (2 * thetas[0, 0]) ** 2))
    assert (centers[1] - free).norm() > 1e-2
    away = centers[0] - torch.stack((thetas[0, 0], thetas[0, 0] ** 2))
    assert (centers[1] - centers[0]) @ away == pytest.approx(0.0, abs=1e-12)


def test_a_parameter_that_gets_its_gradient_later_joins_the_ball() -> None:
    one, two = (nn.Parameter(torch.tensor([value], dtype=torch.float64)) for value in (1.0, -2.0))
    optimizer = DistanceConstraintRBO([two, one], lr=0.1, radius=0.5, projection_steps=5)
    frozen = True

    def closure() -> Tensor:
        one.grad = one.detach().cos()
        two.grad = None if frozen else 2 * two.detach()
        return one.detach().sin().sum() + two.detach().square().sum()

    optimizer.step(closure)
    assert one.item() != 1.0
    assert two.item() == -2.0
    frozen = False
    optimizer.step(closure)
    assert -2.0 < two.item() < -1.0


@pytest.mark.parametrize("steps", [1, 2, 5])
def test_a_step_costs_as_many_evaluations_as_projection_steps(steps: int) -> None:
    point = nn.Parameter(torch.tensor([1.0]))
    closure = LandscapeClosure(Sine(), point)
    loss = DistanceConstraintRBO([point], 0.1, 1.0, projection_steps=steps).step(closure)
    assert closure.calls == steps
    assert torch.equal(loss, torch.tensor(1.0).sin())


BAD = [
    ({"radius": -1.0}, "radius must be finite and at least 0, not -1.0"),
    ({"lr": math.nan}, "lr must be finite and at least 0, not nan"),
    ({"projection_lr": 0.0}, "projection_lr must be finite and above 0, not 0.0"),
    ({"loss_scale": 0.0}, "loss_scale must be finite and above 0, not 0.0"),
    ({"projection_steps": 0}, "projection_steps must be a whole number from 1, not 0"),
    ({"projection": "newton"}, "projection must be one of exact, sgd, not 'newton'"),
    ({"batch_dims": -1}, "batch_dims must be at least 0, not -1"),
]


@pytest.mark.parametrize(("settings", "message"), BAD)
def test_bad_values_are_named(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        DistanceConstraintRBO([nn.Parameter(torch.zeros(2))], **{"lr": 0.1, "radius": 1.0, **settings})


def test_groups_that_disagree_on_the_ball_are_an_error() -> None:
    one, two = nn.Parameter(torch.zeros(2)), nn.Parameter(torch.zeros(2))
    with pytest.raises(ValueError, match=r"groups disagree on radius: 1\.0 and 2\.0"):
        DistanceConstraintRBO([{"params": [one]}, {"params": [two], "radius": 2.0}], lr=0.1, radius=1.0)
    optimizer = DistanceConstraintRBO([{"params": [one]}, {"params": [two]}], lr=0.1, radius=1.0)
    optimizer.param_groups[1]["lr"] = 0.2
    with pytest.raises(ValueError, match=r"groups disagree on lr: 0\.1 and 0\.2"):
        optimizer.step(lambda: torch.zeros(()))


def test_a_step_without_a_closure_is_a_clear_error() -> None:
    with pytest.raises(TypeError, match=r"DistanceConstraintRBO\.step\(\) needs a closure that clears"):
        DistanceConstraintRBO([nn.Parameter(torch.zeros(2))], lr=0.1, radius=1.0).step()


def test_a_center_that_there_is_not_is_a_clear_error() -> None:
    one, two = nn.Parameter(torch.zeros(2)), nn.Parameter(torch.zeros(2))
    with pytest.raises(UsageError, match="no center before the first step"):
        DistanceConstraintRBO([one], lr=0.1, radius=1.0).center()
    with pytest.raises(UsageError, match="for one parameter tensor, not 2"):
        DistanceConstraintRBO([one, two], lr=0.1, radius=1.0).center()
