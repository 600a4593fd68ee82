"""The ball whose footpoints are found by search of the whole graph: what it does, costs and refuses."""

from __future__ import annotations

import copy
import itertools
import math
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import minimize_scalar
from torch import Tensor, nn

from rbobench import RBO, UsageError
from rbobench.geometry.graph import graph_of
from rbobench.geometry.landscape import Formula, Landscape, LandscapeClosure, Scaled
from rbobench.geometry.offset import offset_graph
from rbobench.optim.controls import rbo_null
from rbobench.optim.distance_constraint import DistanceConstraintRBO
from rbobench.registry import get_optimizer
from rbobench.runner.execution import run_suite
from rbobench.runner.record import read_record, record_files
from rbobench.runner.suite import load_suite
from rbobench.tasks.landscapes import Rastrigin, Rosenbrock, Sine

WIDE = (-20.0, 20.0)
BALLS: list[Callable[..., RBO]] = [RBO, DistanceConstraintRBO]
each_ball = pytest.mark.parametrize("ball", BALLS)


def rolled(
    landscape: Landscape, start: Any, steps: int, *, ball: Callable[..., RBO] = RBO, lr: Any, **settings: Any
) -> Tensor:
    """The trajectory of an exact ball, of shape `(steps + 1, *batch, d)`, in float64."""
    points = nn.Parameter(torch.tensor(start, dtype=torch.float64))
    optimizer = ball([points], lr, projection="exact", **settings)
    closure = LandscapeClosure(landscape, points)
    trajectory = [points.detach().clone()]
    for _ in range(steps):
        optimizer.step(closure)
        trajectory.append(points.detach().clone())
    return torch.stack(trajectory)


def plane(*slope: float) -> Formula:
    return Formula(
        "plane",
        lambda points: points @ torch.tensor(slope, dtype=points.dtype) - 0.3,
        dimension=len(slope),
        domain=(-6.0, 6.0),
        spacing=1e-2 if len(slope) == 1 else 1e-1,
    )


@each_ball
@pytest.mark.parametrize("slope", [(0.0,), (-2.0,), (0.5, -1.5)])
@pytest.mark.parametrize(("radius", "loss_scale"), [(0.0, 1.0), (0.7, 1.0), (2.0, 1.0), (1.0, 0.5)])
def test_on_a_plane_a_step_is_gradient_descent_s(ball, slope, radius: float, loss_scale: float) -> None:
    found = rolled(
        plane(*slope), [0.5] * len(slope), 5, ball=ball, lr=0.1, radius=radius, loss_scale=loss_scale
    )
    expected = 0.5 - 0.1 * torch.arange(6, dtype=torch.float64)[:, None] * torch.tensor(
        slope, dtype=torch.float64
    )
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-12)


def footpoint_on_the_sine(theta: float, lr: float, radius: float, scale: float = 1.0) -> float:
    """One step of Algorithm 1 on λ sin, its footpoint by SciPy over a dense grid."""
    value, slope = scale * math.sin(theta), scale * math.cos(theta)
    length = math.sqrt(1 + slope**2)
    a = theta - radius * slope / length - lr * math.cos(theta)
    b = value + radius / length - lr * scale * math.cos(theta) ** 2

    def squared(x: Any) -> Any:
        return (x - a) ** 2 + (scale * np.sin(x) - b) ** 2

    axis = np.linspace(-10.0, 10.0, 20_001)
    near = axis[squared(axis).argmin()]
    return float(minimize_scalar(squared, bounds=(near - 2e-3, near + 2e-3), options={"xatol": 1e-14}).x)


@pytest.mark.parametrize("radius", [0.0, 0.5, 3.0])
@pytest.mark.parametrize("loss_scale", [1.0, 0.6])
def test_agrees_with_algorithm_1_with_footpoints_found_otherwise(radius: float, loss_scale: float) -> None:
    found = rolled(Sine(), [1.2], 15, lr=0.2, radius=radius, projection_domain=WIDE, loss_scale=loss_scale)[
        :, 0
    ].tolist()
    assert abs(found[-1] - found[0]) > 0.5
    for here, there in itertools.pairwise(found):
        assert there == pytest.approx(footpoint_on_the_sine(here, 0.2, radius, loss_scale), abs=1e-7)


def test_the_radius_0_is_the_footpoint_of_the_tangent_step_and_the_null() -> None:
    settings = {"lr": 0.2, "projection_domain": WIDE}
    without = rolled(Sine(), [1.2], 10, radius=0.0, **settings)
    point = nn.Parameter(torch.tensor([1.2], dtype=torch.float64))
    null = rbo_null([point], projection="exact", **settings)
    closure = LandscapeClosure(Sine(), point)
    for _ in range(10):
        null.step(closure)
    assert torch.equal(without[-1], point.detach())
    assert not torch.equal(without[-1], rolled(Sine(), [1.2], 10, radius=0.5, **settings)[-1])


def test_many_small_projection_steps_come_to_the_same_below_the_critical_radius() -> None:
    settings = {"lr": 0.1, "radius": 0.5, "projection_domain": WIDE}
    exact = rolled(Sine(), [1.0], 15, **settings)
    point = nn.Parameter(torch.tensor([1.0], dtype=torch.float64))
    optimizer = RBO([point], projection="sgd", projection_steps=400, projection_lr=0.2, **settings)
    closure = LandscapeClosure(Sine(), point)
    for there in exact[1:]:
        optimizer.step(closure)
        torch.testing.assert_close(point.detach(), there, rtol=0, atol=1e-9)


def test_above_it_a_ball_leaves_a_point_that_it_cannot_touch_for_one_that_it_can() -> None:
    """Without any descent: from beside the bottom of a valley that it does not fit into."""
    bottom = -0.5 * math.pi + 0.1
    found = rolled(Sine(), [bottom], 8, lr=0.0, radius=3.0, projection_domain=WIDE)[:, 0]
    assert (found[1] - found[0]).abs() > 1.0
    torch.testing.assert_close(found[-1], found[-2], rtol=0, atol=1e-9)
    contact, slope = found[-1].item(), math.cos(found[-1])
    center = contact - 3.0 * slope / math.sqrt(1 + slope**2)
    touched = offset_graph(graph_of(Sine(), WIDE), [center], 3.0).contacts[0]
    assert np.abs(touched[:, 0] - contact).min() < 1e-6


def test_below_the_critical_radius_nothing_moves_at_lr_zero() -> None:
    start = torch.linspace(-3.0, 3.0, 13, dtype=torch.float64).unsqueeze(-1)
    found = rolled(Sine(), start.tolist(), 5, lr=0.0, radius=0.9, projection_domain=WIDE, batch_dims=1)
    torch.testing.assert_close(found[-1], start, rtol=0, atol=1e-9)


@each_ball
@settings(max_examples=8, deadline=None)
@given(seed=st.integers(0, 2**32 - 1), scale=st.sampled_from([0.25, 0.5, 3.0]), radius=st.floats(0.0, 2.0))
def test_with_a_loss_scale_it_is_the_ball_on_the_scaled_landscape(ball, seed, scale, radius) -> None:
    """The ball on λf at the rate η/λ², whose center moves by −η∇f."""
    start = np.random.default_rng(seed).uniform(-2.0, 2.0, 1)
    common = {"radius": radius, "projection_domain": WIDE, "ball": ball}
    scaled = rolled(Sine(), start, 6, lr=0.05, loss_scale=scale, **common)
    plain = rolled(Scaled(Sine(), scale), start, 6, lr=0.05 / scale, **common)
    assert (scaled[-1] - scaled[0]).abs().max() > 0.0
    torch.testing.assert_close(scaled, plain, rtol=0, atol=1e-7)


EGGS = Formula(
    "eggs", lambda points: (2.0 * points).sin().sum(dim=-1), dimension=2, domain=(-5.0, 5.0), spacing=5e-2
)


@each_ball
@pytest.mark.parametrize("batch_dims", [1, 2])
def test_a_batch_goes_as_each_problem_alone(ball, batch_dims: int) -> None:
    rng = np.random.default_rng(0)
    starts = rng.uniform(-1.5, 1.5, (4, 2))
    rates, radii = rng.uniform(0.02, 0.1, 4), np.array([0.0, 0.2, 0.8, 1.5])
    shape = (4,) if batch_dims == 1 else (2, 2)
    together = rolled(
        EGGS,
        starts.reshape(*shape, 2),
        5,
        ball=ball,
        lr=torch.tensor(rates).reshape(shape),
        radius=torch.tensor(radii).reshape(shape),
        batch_dims=batch_dims,
    ).reshape(6, 4, 2)
    for here in range(4):
        alone = rolled(EGGS, starts[here], 5, ball=ball, lr=rates[here], radius=radii[here])
        torch.testing.assert_close(together[:, here], alone, rtol=0, atol=1e-9)
        assert (alone[-1] - alone[0]).norm() > 1e-2


@each_ball
def test_in_a_batch_a_ball_that_leaves_the_domain_stays_where_it_was(ball) -> None:
    """So does one that flies off to where no square is finite; the others go on as if alone."""
    starts = [[0.5], [4.6], [1.0], [1.0], [-1.0]]
    rates = torch.tensor([0.1, 0.1, 1e200, 1e308, 0.1], dtype=torch.float64)
    common = {"radius": 1.0, "projection_domain": (-5.0, 5.0), "ball": ball}
    found = rolled(Sine(), starts, 4, lr=rates, batch_dims=1, **common)
    for frozen in (1, 2, 3):
        assert torch.equal(found[-1, frozen], found[0, frozen])
    for free in (0, 4):
        alone = rolled(Sine(), starts[free], 4, lr=0.1, **common)
        torch.testing.assert_close(found[:, free], alone, rtol=0, atol=1e-12)
        assert not torch.equal(alone[-1], alone[0])


@each_ball
def test_a_ball_that_leaves_the_domain_is_told(ball) -> None:
    message = (
        r"^the ball's center at \[[-0-9.e]+\] is 1\.?[0-9]* from the graph, and nearer to the edge of the "
        r"search domain \(-5, 5\); widen projection_domain$"
    )
    with pytest.raises(UsageError, match=message):
        rolled(Sine(), [4.6], 1, ball=ball, lr=0.0, radius=1.0, projection_domain=(-5.0, 5.0))


@each_ball
def test_a_step_costs_one_evaluation_whatever_the_projection_steps(ball) -> None:
    point = nn.Parameter(torch.tensor([1.0], dtype=torch.float64))
    settings = {"projection": "exact", "projection_steps": 50, "projection_domain": WIDE}
    optimizer = ball([point], 0.1, 1.0, **settings)
    closure = LandscapeClosure(Sine(), point)
    for calls in (1, 2, 3):
        at_start = point.detach()[0].sin()
        loss = optimizer.step(closure)
        assert closure.calls == calls
        assert torch.equal(loss, at_start)
        assert not loss.requires_grad


@pytest.mark.parametrize("name", ["rbo", "rbo-distance", "rbo-null"])
def test_the_registry_declares_that_cost(name: str) -> None:
    info = get_optimizer(name)
    given = {"lr": 0.1, **({} if name == "rbo-null" else {"radius": 1.0})}
    for projection, cost in (("exact", 1), ("sgd", 20)):
        resolved = info.resolve({**given, "projection": projection})
        assert info.gradient_evaluations(resolved) == cost


@each_ball
def test_it_resumes_bit_equal(ball) -> None:
    settings = {"projection": "exact", "projection_domain": WIDE, "loss_scale": 0.8}
    point = nn.Parameter(torch.tensor([1.0], dtype=torch.float64))
    optimizer = ball([point], 0.1, 2.0, **settings)
    closure = LandscapeClosure(Sine(), point)
    for _ in range(3):
        optimizer.step(closure)
    resumed = nn.Parameter(point.detach().clone())
    other = ball([resumed], 0.7, 0.1)
    other.load_state_dict(copy.deepcopy(optimizer.state_dict()))
    assert other.param_groups[0]["projection_domain"] == WIDE
    again = LandscapeClosure(Sine(), resumed)
    for _ in range(3):
        optimizer.step(closure)
        other.step(again)
    assert torch.equal(resumed, point)


@each_ball
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_the_parameter_keeps_its_dtype(ball, dtype: torch.dtype) -> None:
    point = nn.Parameter(torch.tensor([1.0], dtype=dtype))
    optimizer = ball([point], 0.1, 0.5, projection="exact", projection_domain=WIDE)
    optimizer.step(LandscapeClosure(Sine(), point))
    assert point.dtype == dtype
    double = rolled(Sine(), [1.0], 1, ball=ball, lr=0.1, radius=0.5, projection_domain=WIDE)[-1]
    torch.testing.assert_close(point.detach().double(), double, rtol=0, atol=1e-6)


def test_the_domain_is_the_landscape_s_own_by_default() -> None:
    wave = Formula("wave", Sine().value, domain=WIDE)
    given = {"lr": 0.1, "radius": 2.0}
    own = rolled(wave, [1.0], 3, **given)
    assert torch.equal(own, rolled(wave, [1.0], 3, projection_domain=None, **given))
    torch.testing.assert_close(
        own, rolled(Sine(), [1.0], 3, projection_domain=WIDE, **given), rtol=0, atol=1e-9
    )
    with pytest.raises(UsageError, match="widen projection_domain"):
        rolled(wave, [1.0], 3, projection_domain=(0.0, 2.0), **given)


def test_a_domain_may_be_a_list() -> None:
    given = {"lr": 0.1, "radius": 0.5}
    listed = rolled(Sine(), [1.0], 2, projection_domain=[-20, 20], **given)
    assert torch.equal(listed, rolled(Sine(), [1.0], 2, projection_domain=WIDE, **given))


def test_the_distance_constraint_keeps_the_center_at_its_radius_below_the_critical_one() -> None:
    """Its contact is the footpoint of its center, and the distance stays ρ but for O(η) (Section 3.2)."""
    point = nn.Parameter(torch.tensor([1.0], dtype=torch.float64))
    optimizer = DistanceConstraintRBO([point], 0.05, 0.5, projection="exact", projection_domain=WIDE)
    closure = LandscapeClosure(Sine(), point)
    for _ in range(100):
        optimizer.step(closure)
        (a,), b = (part.detach() for part in optimizer.center())
        axis = torch.linspace(-4.0, 4.0, 20_001, dtype=torch.float64)
        gap = torch.hypot(axis - a, axis.sin() - b).min()
        at_contact = torch.hypot(point.detach()[0] - a, point.detach()[0].sin() - b)
        assert at_contact <= gap + 1e-12
        assert at_contact == pytest.approx(0.5, abs=0.02)
    assert point.item() == pytest.approx(-0.5 * math.pi, abs=0.2)


SUITE = """\
name: exact
seeds: 1
budget: {gradient_evaluations: 12}
evaluations: 3
optimizers:
  rbo: {lr: 0.1, radius: 0.5, projection: exact, projection_domain: [-20, 20]}
  rbo-distance: {lr: 0.1, radius: 0.5, projection: exact, projection_domain: [-20, 20]}
  rbo-null: {lr: 0.1, projection: exact, projection_domain: [-20, 20]}
tasks:
  sine: {start_noise: 0}
"""


@pytest.fixture
def run(tmp_path: Path) -> Callable[[str], dict[str, dict[str, Any]]]:
    """Run a suite's text; the records by the optimizer's label."""

    def run(text: str) -> dict[str, dict[str, Any]]:
        path = tmp_path / "suite.yaml"
        path.write_text(text)
        summary = run_suite(load_suite(path), tmp_path / "out", device="cpu")
        return {
            record["labels"]["optimizer"]: record for record in map(read_record, record_files(summary.out))
        }

    return run


def test_it_runs_from_a_suite_file(run) -> None:
    found = run(SUITE)
    assert {name: record["status"] for name, record in found.items()} == dict.fromkeys(
        ("rbo", "rbo-distance", "rbo-null"), "ok"
    )
    for record in found.values():
        assert record["trial"]["optimizer"]["hyperparameters"]["projection_domain"] == [-20, 20]
        assert record["cost"]["gradient_evaluations"] == record["cost"]["steps"] == 12
    end = rolled(Sine(), [1.0], 12, lr=0.1, radius=0.5, projection_domain=WIDE)[-1]
    assert found["rbo"]["metrics"]["loss_last"] == pytest.approx(end.sin().item(), abs=1e-12)


def test_a_ball_that_leaves_the_domain_fails_its_trial_alone(run) -> None:
    found = run(SUITE.replace("rbo-distance: {lr: 0.1, radius: 0.5", "rbo-distance: {lr: 0.1, radius: 30"))
    assert {record["status"] for record in found.values()} == {"ok", "failed"}
    assert "widen projection_domain" in str(found["rbo-distance"]["error"])


def two_tensors() -> Sequence[nn.Parameter]:
    return [nn.Parameter(torch.zeros(1)), nn.Parameter(torch.zeros(1))]


def step(
    ball: Callable[..., RBO], parameters: Sequence[nn.Parameter], landscape: Landscape | None, **given: Any
) -> None:
    optimizer = ball(parameters, 0.1, 0.5, projection="exact", **given)

    def closure() -> Tensor:
        optimizer.zero_grad()
        loss = torch.stack([parameter.square().sum() for parameter in parameters]).sum()
        loss.backward()
        return loss

    if landscape is not None:
        closure.landscape = landscape  # type: ignore[attr-defined]
    optimizer.step(closure)


ONE_POINT = (
    r"^projection 'exact' moves one point: a single parameter of shape \(\*batch, dimension\) with "
    r"dimension \d"
)
BAD_STEPS: list[tuple[str, Landscape | None, tuple[int, ...], dict[str, Any], str]] = [
    (
        "no landscape",
        None,
        (1,),
        {},
        "^projection 'exact' searches the whole of f: its closure must be on a landscape",
    ),
    (
        "no domain",
        Sine(),
        (1,),
        {},
        r"^landscape 'sine' has no bounded search domain; give one as \(low, high\)$",
    ),
    (
        "three parameters",
        Rosenbrock(3),
        (3,),
        {},
        "its graph can be searched in 1 or 2 dimensions, not in 3$",
    ),
    (
        "a large grid",
        Sine(),
        (1,),
        {"projection_domain": (-1e6, 1e6)},
        r"a grid of 0.01 over \(-1e\+06, 1e\+06\) has 200,000,001 points; narrow the domain",
    ),
    (
        "a table for one point",
        Sine(),
        (3, 1),
        {"projection_domain": WIDE},
        rf"{ONE_POINT}, not \(3, 1\)$",
    ),
    (
        "a number for a point",
        Sine(),
        (),
        {"projection_domain": WIDE},
        rf"{ONE_POINT}, not \(\)$",
    ),
    (
        "two coordinates on a line",
        Sine(),
        (2,),
        {"projection_domain": WIDE},
        ONE_POINT,
    ),
    (
        "one coordinate in the plane",
        Rastrigin(2),
        (1,),
        {},
        ONE_POINT,
    ),
]


@each_ball
@pytest.mark.parametrize(
    ("landscape", "shape", "given_", "message"),
    [case[1:] for case in BAD_STEPS],
    ids=[case[0] for case in BAD_STEPS],
)
def test_a_step_that_cannot_be_taken_is_told_in_one_line(
    ball, landscape, shape, given_, message: str
) -> None:
    with pytest.raises(UsageError, match=message) as caught:
        step(ball, [nn.Parameter(0.1 * torch.ones(shape))], landscape, **given_)
    assert "\n" not in str(caught.value)


@each_ball
def test_several_tensors_are_no_point(ball) -> None:
    message = r"^projection 'exact' moves one point: a single parameter .*, not \(1,\), \(1,\)$"
    with pytest.raises(UsageError, match=message):
        step(ball, two_tensors(), Sine(), projection_domain=WIDE)


@each_ball
def test_a_ball_that_is_nowhere_is_nan_and_not_told_to_widen_its_domain(ball) -> None:
    """A gradient that is not finite is a divergence, which the runner records as one."""
    point = nn.Parameter(torch.tensor([1.0], dtype=torch.float64))
    optimizer = ball([point], 0.1, 0.5, projection="exact", projection_domain=WIDE)

    class Broken(LandscapeClosure):
        def __call__(self) -> Tensor:
            loss = super().__call__()
            point.grad = torch.full_like(point, math.nan)
            return loss

    optimizer.step(Broken(Sine(), point))
    assert point.isnan().all()


BAD_SETTINGS: list[tuple[dict[str, Any], str]] = [
    (
        {"projection_domain": domain},
        r"^projection_domain must be \(low, high\) with low < high, both finite, not \(",
    )
    for domain in [(1.0, -1.0), (1.0, 1.0), (-math.inf, 1.0), (0.0, math.nan), (1.0,), (0.0, 1.0, 2.0)]
]
BAD_SETTINGS += [
    ({"weight_decay": 0.1}, "^projection 'exact' searches the landscape alone; it takes no weight_decay$"),
    ({"projection": "Exact"}, "^projection must be one of .*exact, .*sgd, not 'Exact'$"),
]


@each_ball
@pytest.mark.parametrize(("bad", "message"), BAD_SETTINGS)
def test_bad_settings_are_named(ball, bad: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        ball([nn.Parameter(torch.zeros(1))], 0.1, 0.5, **{"projection": "exact", **bad})


@each_ball
def test_one_group_with_weight_decay_is_enough(ball) -> None:
    groups = [{"params": [nn.Parameter(torch.zeros(1))], "weight_decay": 0.1}]
    with pytest.raises(ValueError, match=r"it takes no weight_decay$"):
        ball(groups, 0.1, 0.5, projection="exact")
