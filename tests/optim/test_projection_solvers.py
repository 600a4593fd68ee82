"""Every projection solver: safeguarded, counted, equal in batches, in agreement with the exact footpoint."""

from __future__ import annotations

import gc
import math
from functools import partial
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from rbobench import RBO, LandscapeClosure
from rbobench.geometry.landscape import Formula
from rbobench.optim.projection import PROJECTIONS
from rbobench.optim.projection.surrogate import Interpolant
from rbobench.testing.problems import Regression

SOLVERS = [name for name in PROJECTIONS if name != "exact"]
SAFEGUARDED = [name for name, info in PROJECTIONS.items() if info.safeguarded]
ROUNDING = {"newton-cg": 1e-5, "auto": 1e-6}
"""What is left of a digit after differences of gradients and an ill-conditioned interpolation."""
EVERY_SOLVER = pytest.mark.parametrize("solver", SOLVERS)
EVERY_SAFEGUARDED = pytest.mark.parametrize("solver", SAFEGUARDED)


def wavy(x: Tensor) -> Tensor:
    """Bends up and down; over the last dimension."""
    return (0.5 * x.square() + torch.sin(3 * x)).sum(dim=-1) + 0.5 * torch.cos(x[..., 0] * x[..., 1])


def closure_on(point: Tensor, function: Any = wavy, calls: list[int] | None = None) -> Any:
    def closure() -> Tensor:
        if calls is not None:
            calls.append(1)
        point.grad = None
        loss = function(point)
        loss.sum().backward()
        return loss

    return closure


def distances(start: Tensor, end: Tensor, lr: float, radius: float, loss_scale: float) -> tuple[float, float]:
    """From the moved center of Eq. 7 to the graph's points over two parameters, written as the paper does."""
    theta = start.clone().requires_grad_()
    value = wavy(theta)
    (g,) = torch.autograd.grad(value, theta)
    value = value.detach()
    s = math.sqrt(1 + loss_scale**2 * float(g @ g))
    a = start - radius * loss_scale * g / s - lr * g
    b = loss_scale * float(value) + radius / s - lr * loss_scale * float(g @ g)
    return tuple(
        math.hypot(float((point - a).norm()), loss_scale * float(wavy(point)) - b) for point in (start, end)
    )


@EVERY_SAFEGUARDED
@settings(max_examples=40, deadline=None)
@given(
    start=st.tuples(*[st.floats(-3, 3)] * 3),
    lr=st.floats(1e-3, 3.0),
    radius=st.floats(1e-2, 10.0),
    loss_scale=st.sampled_from([0.2, 1.0, 5.0]),
    steps=st.integers(2, 14),
)
def test_never_ends_farther_than_it_began(solver, start, lr, radius, loss_scale, steps) -> None:
    point = nn.Parameter(torch.tensor(start, dtype=torch.float64))
    before = point.detach().clone()
    optimizer = RBO([point], lr, radius, projection=solver, projection_steps=steps, loss_scale=loss_scale)
    optimizer.step(closure_on(point))
    at_start, at_end = distances(before, point.detach(), lr, radius, loss_scale)
    assert at_end <= at_start * (1 + 1e-12)
    assert optimizer.outcome.distance.item() == pytest.approx(at_end, rel=1e-9, abs=1e-9)


SIN = Formula("sin", lambda x: torch.sin(x[..., 0]), domain=(-12.0, 12.0))
PARABOLOID = Formula(
    "paraboloid", lambda x: 0.5 * x.square().sum(dim=-1), dimension=2, domain=(-6.0, 6.0), spacing=0.05
)


@EVERY_SAFEGUARDED
@pytest.mark.parametrize(
    ("landscape", "start"),
    [(SIN, (2.0,)), (SIN, (4.0,)), (SIN, (0.5,)), (PARABOLOID, (1.0, 0.5)), (PARABOLOID, (0.2, -1.5))],
)
@pytest.mark.parametrize("radius", [0.2, 0.8])
def test_agrees_with_the_exact_footpoint_below_the_critical_radius(solver, landscape, start, radius) -> None:
    """Of both the critical radius is 1."""
    ends = []
    for name in ("exact", solver):
        point = nn.Parameter(torch.tensor(start, dtype=torch.float64))
        RBO([point], 0.5, radius, projection=name, projection_steps=1000).step(
            LandscapeClosure(landscape, point)
        )
        ends.append(point.detach())
    assert (ends[0] - ends[1]).abs().max() < 1e-6
    assert (ends[0] - torch.tensor(start)).abs().max() > 1e-2


@EVERY_SOLVER
@pytest.mark.parametrize("steps", [2, 5, 13])
def test_spends_exactly_its_budget(solver: str, steps: int) -> None:
    point, calls = nn.Parameter(torch.tensor((1.0, -2.0, 0.5))), []
    optimizer = RBO([point], 0.1, 1.0, projection=solver, projection_steps=steps)
    optimizer.tracks_outcome = True
    optimizer.step(closure_on(point, calls=calls))
    assert len(calls) == steps
    assert optimizer.outcome.evaluations == steps


@pytest.mark.parametrize("steps", [1, 2, 7])
def test_tracking_the_outcome_moves_nothing(steps: int) -> None:
    ends, outcomes = [], []
    for tracked in (False, True):
        point, calls = nn.Parameter(torch.tensor((1.0, -2.0, 0.5))), []
        optimizer = RBO([point], 0.1, 1.0, projection_steps=steps)
        optimizer.tracks_outcome = tracked
        optimizer.step(closure_on(point, calls=calls))
        assert len(calls) == steps
        ends.append(point.detach())
        outcomes.append(optimizer.outcome)
    assert torch.equal(*ends)
    assert outcomes[0] is None
    assert outcomes[1].evaluations == steps


@EVERY_SOLVER
def test_a_tolerance_ends_it_early_and_says_whether_it_has_converged(solver: str) -> None:
    settings = {"projection": solver, "projection_lr": 0.2, "projection_steps": 400}
    for tolerance, converges in ((1e-3, True), (1e-30, False)):
        point, calls = nn.Parameter(torch.tensor((0.6,), dtype=torch.float64)), []
        optimizer = RBO([point], 0.1, 0.5, projection_tolerance=tolerance, **settings)
        optimizer.step(closure_on(point, lambda x: torch.sin(x).sum(), calls))
        gradient = math.cos(0.6)
        at_start = 0.1 * (1 + gradient**2) * gradient
        outcome = optimizer.outcome
        assert bool(outcome.converged) is converges
        if converges:
            assert len(calls) < 60
            assert int(outcome.evaluations) == len(calls)
            assert outcome.residual <= tolerance * at_start
        else:
            assert len(calls) == 400


@EVERY_SOLVER
def test_a_batch_goes_as_each_problem_alone(solver: str) -> None:
    starts = torch.tensor([[1.0, -2.0, 0.5], [0.3, 0.1, -1.0], [2.5, 2.0, 2.0]], dtype=torch.float64)
    radii, rates = (0.5, 2.0, 1.0), (0.2, 0.05, 1e200)
    make = partial(RBO, projection=solver, projection_steps=7)
    batch = nn.Parameter(starts.clone())
    optimizer = make([batch], torch.tensor(rates, dtype=torch.float64), torch.tensor(radii), batch_dims=1)
    for _ in range(4):
        optimizer.step(closure_on(batch))
    for index in range(2):
        alone = nn.Parameter(starts[index].clone())
        single = make([alone], rates[index], radii[index])
        for _ in range(4):
            single.step(closure_on(alone))
        torch.testing.assert_close(batch[index], alone, rtol=0, atol=ROUNDING.get(solver, 1e-10))
    assert torch.isfinite(batch).all()


@EVERY_SOLVER
def test_nothing_moves_at_lr_zero_bit_for_bit(solver: str) -> None:
    problem = Regression()
    before = [parameter.detach().clone() for parameter in problem.parameters]
    optimizer = RBO(problem.parameters, 0.0, 10.0, projection=solver, projection_steps=12, weight_decay=1e-2)
    for _ in range(3):
        problem.next_step()
        optimizer.step(problem)
    assert all(map(torch.equal, before, problem.parameters))


@EVERY_SOLVER
def test_the_host_looks_at_nothing(solver: str) -> None:
    problem = Regression(device="meta")
    optimizer = RBO(problem.parameters, 0.1, 1.0, projection=solver, projection_steps=13)
    for _ in range(2):
        problem.next_step()
        optimizer.step(problem)


@EVERY_SOLVER
def test_scaling_the_loss_and_its_scale_changes_nothing(solver: str) -> None:
    ends = []
    for scale in (1.0, 8.0):
        point = nn.Parameter(torch.tensor((1.0, -2.0, 0.5), dtype=torch.float64))
        optimizer = RBO(
            [point], 0.1 / scale, 0.7, projection=solver, projection_steps=6, loss_scale=1.5 / scale
        )
        for _ in range(5):
            optimizer.step(closure_on(point, lambda x, scale=scale: scale * wavy(x)))
        ends.append(point.detach())
    torch.testing.assert_close(*ends, rtol=0, atol=ROUNDING.get(solver, 1e-10))


@EVERY_SOLVER
def test_weight_decay_is_part_of_the_loss(solver: str) -> None:
    ends = []
    for decay in (0.3, 0.0):
        point = nn.Parameter(torch.tensor((1.0, -2.0, 0.5), dtype=torch.float64))
        optimizer = RBO([point], 0.1, 0.7, projection=solver, projection_steps=6, weight_decay=decay)
        extra = 0.15 - decay / 2
        for _ in range(3):
            optimizer.step(closure_on(point, lambda x, extra=extra: wavy(x) + extra * x.square().sum()))
        ends.append(point.detach())
    torch.testing.assert_close(*ends, rtol=0, atol=ROUNDING.get(solver, 1e-9))


@EVERY_SOLVER
def test_holds_no_more_than_it_states(solver: str) -> None:
    """Counted while the closure is called: everything of a parameter's size but the parameter itself."""
    point = nn.Parameter(torch.full((1_237,), 0.3))
    held = []

    def closure() -> Tensor:
        point.grad = None
        gc.collect()
        storages = {
            each.untyped_storage().data_ptr(): each.untyped_storage().nbytes()
            for each in gc.get_objects()
            if type(each) in (Tensor, nn.Parameter) and each.numel() >= point.numel()
        }
        held.append(sum(storages.values()))
        loss = (torch.cos(3 * point) * torch.linspace(0.5, 1.5, len(point))).mean() * 50
        loss.backward()
        return loss

    closure()
    outside = held.pop()
    RBO([point], 0.1, 1.0, projection=solver, projection_steps=16).step(closure)
    # In bytes, which are whole: what else a test process holds need be no multiple of the parameter.
    most, copy = max(held) - outside, point.untyped_storage().nbytes()
    stated = PROJECTIONS[solver].parameter_copies
    assert most <= stated * copy
    assert most >= (stated - 1) * copy  # and not much less


def test_the_interpolant_goes_through_values_and_gradients_and_knows_its_derivatives() -> None:
    generator = torch.Generator().manual_seed(0)
    points = torch.randn(5, 3, generator=generator, dtype=torch.float64)
    gradients = torch.func.vmap(torch.func.grad(wavy))(points)
    model = Interpolant(points, wavy(points), gradients)
    values, slopes, _ = model(points)
    torch.testing.assert_close(values, wavy(points), rtol=0, atol=1e-8)
    torch.testing.assert_close(slopes, gradients, rtol=0, atol=1e-8)
    other = torch.randn(4, 3, generator=generator, dtype=torch.float64)
    _, slopes, bends = model(other)
    for axis, step in enumerate(1e-6 * torch.eye(3, dtype=torch.float64)):
        above, below = model(other + step), model(other - step)
        np.testing.assert_allclose((above[0] - below[0]) / 2e-6, slopes[:, axis], atol=1e-6)
        np.testing.assert_allclose((above[1] - below[1]) / 2e-6, bends[:, axis], atol=1e-6)


def test_quadratics_are_projected_onto_in_few_evaluations_by_the_model() -> None:
    point = nn.Parameter(torch.tensor((1.0, -2.0, 0.5), dtype=torch.float64))
    optimizer = RBO([point], 0.5, 1.0, projection="auto", projection_steps=10)
    optimizer.step(closure_on(point, lambda x: 0.1 * x.square().sum()))
    start = 0.2 * torch.tensor((1.0, -2.0, 0.5)).norm()
    assert optimizer.outcome.residual < 1e-4 * 0.5 * (1 + start**2) * start


BAD = {
    "unknown": (
        {"projection": "newton"},
        "projection must be one of anderson, auto, exact, gauss-newton, lbfgs",
    ),
    "no budget": ({"projection_steps": 0}, "projection_steps must be a whole number from 1, not 0"),
    "one": (
        {"projection": "auto", "projection_steps": 1},
        "compares trial points with θ_t: .* at least 2, not 1",
    ),
    "tolerance": ({"projection_tolerance": 0.0}, "projection_tolerance must be finite and above 0"),
    "negative": ({"projection_tolerance": -1.0}, "projection_tolerance must be finite and above 0"),
}


@pytest.mark.parametrize("name", BAD)
def test_bad_input(name: str) -> None:
    given, message = BAD[name]
    with pytest.raises(ValueError, match=message):
        RBO([nn.Parameter(torch.zeros(2))], 0.1, 1.0, **given)
