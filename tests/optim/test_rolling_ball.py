"""RBO against an independent transcription, its exact invariances, its cost and its errors."""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn

from rbobench import RBO
from rbobench.optim.controls import RepeatedSGD, rbo_null
from rbobench.optim.sgd import SGD

CENTERS = np.random.RandomState(0).uniform(-3, 3, (1000, 2))
SIGMA = 0.1


def eq14(point: np.ndarray) -> tuple[float, np.ndarray]:
    """Eq. 14 of arXiv 2505.19527 and its gradient, in NumPy."""
    offsets = point - CENTERS
    bumps = np.exp(-(offsets**2).sum(axis=1) / SIGMA**2)
    gradient = 2 * point + (2 / SIGMA**2) * (bumps[:, None] * offsets).sum(axis=0)
    return float(point @ point - bumps.sum()), gradient


def transcribed(start, *, steps, lr, radius, projection_steps, projection_lr) -> np.ndarray:
    """Algorithm 1 as the paper writes it, with a stored center (a, b): shares no code with `RBO`."""
    theta = np.array(start, dtype=np.float64)
    trajectory = [theta.copy()]
    for _ in range(steps):
        value, gradient = eq14(theta)
        length = math.sqrt(1 + gradient @ gradient)
        a = theta - radius * gradient / length - lr * gradient
        b = value + radius / length - lr * (gradient @ gradient)
        for _ in range(projection_steps):
            value, gradient = eq14(theta)
            theta = theta - projection_lr * ((theta - a) + (value - b) * gradient)
        trajectory.append(theta.copy())
    return np.array(trajectory)


def rolled(function: Callable[[Tensor], Tensor], start, steps: int, **settings) -> Tensor:
    """The trajectory of `RBO` on `function`, `(steps + 1, d)`, in float64."""
    point = nn.Parameter(torch.tensor(start, dtype=torch.float64))
    optimizer = RBO([point], **settings)

    def closure() -> Tensor:
        optimizer.zero_grad()
        loss = function(point)
        loss.backward()
        return loss

    trajectory = [point.detach().clone()]
    for _ in range(steps):
        optimizer.step(closure)
        trajectory.append(point.detach().clone())
    return torch.stack(trajectory)


def eq14_torch(point: Tensor) -> Tensor:
    offsets = point - torch.from_numpy(CENTERS)
    return point @ point - torch.exp(-offsets.square().sum(dim=1) / SIGMA**2).sum()


@pytest.mark.parametrize(("radius", "steps"), [(1.0, 300), (5.0, 20)])
def test_agrees_with_the_paper_on_eq14(radius: float, steps: int) -> None:
    settings = {"lr": 0.01, "radius": radius, "projection_steps": 100, "projection_lr": 0.001}
    expected = transcribed((2.0, 0.0), steps=steps, **settings)
    actual = rolled(eq14_torch, (2.0, 0.0), steps, **settings)
    assert np.abs(expected[-1] - expected[0]).max() > 1e-2
    np.testing.assert_allclose(actual.numpy(), expected, rtol=0, atol=1e-9)


def wavy(point: Tensor, scale: float = 1.0, stretch: float = 1.0) -> Tensor:
    x = point / stretch
    return scale * (x.square().sum() + torch.sin(3 * x).sum() + 0.5 * torch.cos(x[0] * x[1]))


@pytest.mark.parametrize("weight_decay", [0.0, 0.25])
def test_scaling_the_loss_and_its_scale_changes_nothing(weight_decay: float) -> None:
    settings = {"radius": 0.7, "projection_steps": 7, "projection_lr": 0.05}
    plain = rolled(wavy, (1.0, -2.0), 30, lr=0.1, loss_scale=1.5, weight_decay=weight_decay, **settings)
    scaled = rolled(
        partial(wavy, scale=8.0),
        (1.0, -2.0),
        30,
        lr=0.1 / 8,
        loss_scale=1.5 / 8,
        weight_decay=8 * weight_decay,
        **settings,
    )
    assert torch.equal(plain, scaled)


@pytest.mark.parametrize("weight_decay", [0.0, 0.25])
def test_stretching_the_parameters_stretches_the_trajectory(weight_decay: float) -> None:
    settings = {"projection_steps": 7, "projection_lr": 0.05}
    plain = rolled(
        wavy, (1.0, -2.0), 30, lr=0.1, radius=0.7, loss_scale=1.5, weight_decay=weight_decay, **settings
    )
    stretched = rolled(
        partial(wavy, stretch=4.0),
        (4.0, -8.0),
        30,
        lr=16 * 0.1,
        radius=4 * 0.7,
        loss_scale=4 * 1.5,
        weight_decay=weight_decay / 16,
        **settings,
    )
    assert torch.equal(4 * plain, stretched)


@given(
    slope=st.floats(0.1, 3.0),
    lr=st.floats(0.01, 1.0),
    steps=st.integers(1, 40),
    projection_lr=st.floats(0.001, 0.1),
)
def test_without_a_ball_a_plane_is_descended_at_the_effective_rate(slope, lr, steps, projection_lr) -> None:
    """FACTS of the projection: on a plane the rate is η(1−(1−γs²)^P), whatever the radius."""
    squared_length = 1 + slope**2
    rate = lr * (1 - (1 - projection_lr * squared_length) ** steps)
    for radius in (0.0, 2.0):
        end = rolled(
            lambda point: slope * point.sum(),
            (0.0,),
            1,
            lr=lr,
            radius=radius,
            projection_steps=steps,
            projection_lr=projection_lr,
        )[-1]
        assert end.item() == pytest.approx(-rate * slope, rel=1e-9)


def test_one_projection_step_is_gradient_descent_whatever_the_radius() -> None:
    ends = [
        rolled(wavy, (1.0, -2.0), 1, lr=0.1, radius=radius, projection_steps=1)[-1]
        for radius in (0.0, 1.0, 10.0)
    ]
    assert torch.equal(ends[0], ends[1])
    assert torch.equal(ends[0], ends[2])
    gradient = torch.autograd.functional.jacobian(wavy, torch.tensor((1.0, -2.0), dtype=torch.float64))
    expected = torch.tensor((1.0, -2.0)) - 0.05 * 0.1 * (1 + gradient.square().sum()) * gradient
    torch.testing.assert_close(ends[0], expected, rtol=1e-12, atol=1e-12)


def test_the_radius_matters_from_the_second_projection_step_on() -> None:
    ends = [
        rolled(wavy, (1.0, -2.0), 1, lr=0.1, radius=radius, projection_steps=2)[-1] for radius in (0.0, 1.0)
    ]
    assert (ends[0] - ends[1]).abs().max() > 1e-4


def test_weight_decay_is_part_of_the_loss() -> None:
    settings = {"lr": 0.1, "radius": 1.0, "projection_steps": 9}
    inside = rolled(wavy, (1.0, -2.0), 20, weight_decay=0.3, **settings)
    outside = rolled(lambda x: wavy(x) + 0.15 * x.square().sum(), (1.0, -2.0), 20, **settings)
    torch.testing.assert_close(inside, outside, rtol=1e-11, atol=1e-11)


def test_groups_may_differ_in_weight_decay_alone() -> None:
    def loss(one: Tensor, two: Tensor) -> Tensor:
        return wavy(torch.stack((one, two)))

    def run(groups, extra=0.0):
        one, two = (nn.Parameter(torch.tensor(v, dtype=torch.float64)) for v in (1.0, -2.0))
        optimizer = RBO(groups(one, two), lr=0.1, radius=1.0, projection_steps=6)

        def closure() -> Tensor:
            optimizer.zero_grad()
            value = loss(one, two) + extra * two.square()
            value.backward()
            return value

        for _ in range(10):
            optimizer.step(closure)
        return torch.stack((one.detach(), two.detach()))

    decayed = run(lambda one, two: [{"params": [one]}, {"params": [two], "weight_decay": 0.4}])
    expected = run(lambda one, two: [one, two], extra=0.2)
    torch.testing.assert_close(decayed, expected, rtol=1e-11, atol=1e-11)


@pytest.mark.parametrize("steps", [1, 2, 5])
def test_a_step_costs_as_many_evaluations_as_projection_steps(steps: int) -> None:
    point = nn.Parameter(torch.tensor((1.0, -2.0)))
    optimizer = RBO([point], 0.1, 1.0, projection_steps=steps)
    calls = 0

    def closure() -> Tensor:
        nonlocal calls
        calls += 1
        optimizer.zero_grad()
        loss = wavy(point)
        loss.backward()
        return loss

    at_start = wavy(point.detach())
    loss = optimizer.step(closure)
    assert calls == steps
    assert torch.equal(loss, at_start)
    assert not loss.requires_grad


def test_nothing_moves_at_lr_zero_bit_for_bit() -> None:
    network = nn.Sequential(nn.Linear(4, 8), nn.BatchNorm1d(8), nn.ReLU(), nn.Linear(8, 3))
    inputs, targets = torch.randn(16, 4), torch.arange(16) % 3
    optimizer = RBO(network.parameters(), lr=0.0, radius=10.0, projection_steps=20, weight_decay=1e-2)
    before = [parameter.clone() for parameter in network.parameters()]

    def closure() -> Tensor:
        optimizer.zero_grad()
        loss = nn.functional.cross_entropy(network(inputs), targets)
        loss.backward()
        return loss

    for _ in range(5):
        optimizer.step(closure)
    assert all(torch.equal(old, new) for old, new in zip(before, network.parameters(), strict=True))


def test_schedulers_reach_the_radius() -> None:
    point = nn.Parameter(torch.tensor((1.0, -2.0)))
    optimizer = RBO([point], 0.1, 1.0, projection_steps=3)
    for group in optimizer.param_groups:
        group["radius"] = 0.0
        group["lr"] = 0.05
    null = rbo_null([nn.Parameter(torch.tensor((1.0, -2.0)))], 0.05, projection_steps=3)
    for each in (optimizer, null):
        parameter = each.param_groups[0]["params"][0]

        def closure(parameter=parameter) -> Tensor:
            parameter.grad = None
            loss = wavy(parameter)
            loss.backward()
            return loss

        each.step(closure)
    assert torch.equal(point, null.param_groups[0]["params"][0])


def test_a_batch_takes_a_rate_and_a_radius_for_each_problem_and_freezes_what_diverges() -> None:
    starts = torch.tensor([[1.0, -2.0], [0.5, 0.5], [2.0, 1.0]], dtype=torch.float64)
    rates = torch.tensor([0.1, 0.05, 1e200], dtype=torch.float64)
    radii = torch.tensor([1.0, 3.0, 0.0], dtype=torch.float64)
    points = nn.Parameter(starts.clone())
    optimizer = RBO([points], rates, radii, projection_steps=6, batch_dims=1)

    def closure() -> Tensor:
        optimizer.zero_grad()
        x = points
        losses = x.square().sum(-1) + torch.sin(3 * x).sum(-1) + 0.5 * torch.cos(x[:, 0] * x[:, 1])
        losses.sum().backward()
        return losses

    for _ in range(20):
        losses = optimizer.step(closure)
    assert losses.shape == (3,)
    for row in range(2):
        alone = rolled(
            wavy, starts[row].tolist(), 20, lr=rates[row].item(), radius=radii[row].item(), projection_steps=6
        )
        torch.testing.assert_close(points[row].detach(), alone[-1], rtol=1e-12, atol=1e-12)
    assert torch.equal(points[2], starts[2])


@pytest.mark.parametrize("kind", [RBO, SGD])
def test_a_problem_that_diverges_in_one_tensor_is_frozen_in_all(kind) -> None:
    """The loss is finite at the start, where one of two gradients is not."""
    one = nn.Parameter(torch.tensor([[0.0], [1.0]], dtype=torch.float64))
    two = nn.Parameter(torch.tensor([[1.0], [1.0]], dtype=torch.float64))
    settings = {"radius": 1.0, "projection_steps": 3} if kind is RBO else {}
    optimizer = kind([{"params": [one]}, {"params": [two]}], lr=0.1, batch_dims=1, **settings)

    def closure() -> Tensor:
        optimizer.zero_grad()
        losses = one.sqrt()[:, 0] + two.square()[:, 0]
        losses.sum().backward()
        return losses

    for _ in range(3):
        optimizer.step(closure)
    assert (one[0].item(), two[0].item()) == (0.0, 1.0)
    assert one[1].item() != 1.0
    assert two[1].item() != 1.0


def test_a_closure_may_return_a_number() -> None:
    point = nn.Parameter(torch.tensor((1.0, -2.0)))

    def closure() -> float:
        point.grad = None
        loss = wavy(point)
        loss.backward()
        return loss.item()

    assert RBO([point], 0.1, 1.0).step(closure).item() == pytest.approx(
        wavy(torch.tensor((1.0, -2.0))).item()
    )


def test_repeated_sgd_takes_its_steps_on_one_batch() -> None:
    point = nn.Parameter(torch.tensor((1.0, -2.0)))
    other = nn.Parameter(torch.tensor((1.0, -2.0)))

    def closure(parameter: nn.Parameter) -> Tensor:
        parameter.grad = None
        loss = wavy(parameter)
        loss.backward()
        return loss.detach()

    loss = RepeatedSGD([point], lr=0.01, repeats=4).step(partial(closure, point))
    plain = torch.optim.SGD([other], lr=0.01)
    assert torch.equal(loss, wavy(other.detach()))
    for _ in range(4):
        plain.step(partial(closure, other))
    assert torch.equal(point, other)


BAD = [
    ({"radius": -1.0}, "radius must be finite and at least 0, not -1.0"),
    ({"radius": math.inf}, "radius must be finite and at least 0, not inf"),
    ({"radius": math.nan}, "radius must be finite and at least 0, not nan"),
    ({"radius": torch.tensor([1.0, -1.0])}, "radius must be finite and at least 0"),
    ({"lr": -0.1}, "lr must be finite and at least 0, not -0.1"),
    ({"projection_lr": 0.0}, "projection_lr must be finite and above 0, not 0.0"),
    ({"loss_scale": -1.0}, "loss_scale must be finite and above 0, not -1.0"),
    ({"weight_decay": -1e-4}, "weight_decay must be finite and at least 0"),
    ({"projection_steps": 0}, "projection_steps must be a whole number from 1, not 0"),
    ({"projection_steps": 2.5}, "projection_steps must be a whole number from 1, not 2.5"),
    ({"projection": "newton"}, "projection must be one of anderson, .*, sgd, not 'newton'"),
    ({"batch_dims": -1}, "batch_dims must be at least 0, not -1"),
]


@pytest.mark.parametrize(("settings", "message"), BAD)
def test_bad_values_are_named(settings: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        RBO([nn.Parameter(torch.zeros(2))], **{"lr": 0.1, "radius": 1.0, **settings})


def test_groups_that_disagree_on_the_ball_are_an_error() -> None:
    one, two = nn.Parameter(torch.zeros(2)), nn.Parameter(torch.zeros(2))
    groups = [{"params": [one]}, {"params": [two], "radius": 2.0}]
    with pytest.raises(ValueError, match=r"groups disagree on radius: 1\.0 and 2\.0"):
        RBO(groups, lr=0.1, radius=1.0)
    optimizer = RBO([{"params": [one]}, {"params": [two]}], lr=0.1, radius=1.0)
    optimizer.param_groups[1]["lr"] = 0.2
    with pytest.raises(ValueError, match=r"groups disagree on lr: 0\.1 and 0\.2"):
        optimizer.step(lambda: torch.zeros(()))


def test_a_step_without_a_closure_is_a_clear_error() -> None:
    with pytest.raises(TypeError, match=r"RBO\.step\(\) needs a closure that clears the gradients"):
        RBO([nn.Parameter(torch.zeros(2))], lr=0.1, radius=1.0).step()
