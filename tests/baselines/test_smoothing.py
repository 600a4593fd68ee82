"""Gaussian smoothing against closed forms."""

from __future__ import annotations

import math
from functools import partial

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from baselines.smoothing import GaussianSmoothing
from rbobench.errors import UsageError
from rbobench.geometry.landscape import Formula, LandscapeClosure
from rbobench.optim.schedule import Schedules
from rbobench.registry import create_optimizer, get_optimizer
from rbobench.testing import check_optimizer
from rbobench.testing.problems import Regression
from rbobench.testing.subject import Subject

SGD = partial(torch.optim.SGD, lr=0.1)


def test_the_gradient_is_the_smoothed_functions() -> None:
    """E cos(w + σu) = exp(−σ²/2) cos w; each coordinate is a sample of its own."""
    parameter = nn.Parameter(torch.full((10_000,), 0.7, dtype=torch.float64))

    def closure() -> Tensor:
        parameter.grad = None
        with torch.enable_grad():
            loss = parameter.cos().sum()
            loss.backward()
        return loss

    loss = GaussianSmoothing([parameter], SGD, sigma=0.8, samples=4).step(closure)
    shrunk = math.exp(-(0.8**2) / 2)
    estimates = parameter.grad.numpy()
    error = estimates.std() / math.sqrt(len(estimates))
    assert estimates.mean() == pytest.approx(-math.sin(0.7) * shrunk, abs=4 * error)
    assert error < 0.01
    assert loss.item() / len(estimates) == pytest.approx(math.cos(0.7) * shrunk, abs=0.02)


@pytest.mark.parametrize("samples", [1, 2, 3, 6])
def test_it_descends_by_the_mean_gradient_of_mirrored_points(samples: int, quartic) -> None:
    optimizer = GaussianSmoothing(quartic.parameters, SGD, sigma=0.3, samples=samples)
    w = quartic.start
    for quartic.step in range(3):
        quartic.seen.clear()
        optimizer.step(quartic)
        points = quartic.seen
        assert len(points) == samples
        for one, two in zip(points[0::2], points[1::2], strict=False):
            np.testing.assert_allclose(one + two, 2 * w, rtol=1e-12, atol=1e-14)
        assert len({tuple(np.abs(point - w).round(9)) for point in points}) == (samples + 1) // 2
        w = w - 0.1 * np.mean([quartic.gradient(point, quartic.step) for point in points], axis=0)
        np.testing.assert_allclose(quartic.weights(), w, rtol=1e-12)


def test_of_a_quadratic_the_estimate_is_exact() -> None:
    ends = []
    for make in (SGD, partial(GaussianSmoothing, base_optimizer=SGD, sigma=2.0)):
        parameter = nn.Parameter(torch.tensor([1.0, -3.0], dtype=torch.float64))

        def closure(parameter: nn.Parameter = parameter) -> Tensor:
            parameter.grad = None
            with torch.enable_grad():
                loss = (parameter.square() * torch.tensor([1.0, 4.0])).sum() / 2
                loss.backward()
            return loss

        optimizer = make([parameter])
        for _ in range(10):
            optimizer.step(closure)
        ends.append(parameter.detach())
    torch.testing.assert_close(*ends, rtol=0, atol=1e-14)


def wrinkled(width: float, *, schedule: str) -> float:
    """Where descent from 3 ends on θ²/10 + sin(8θ)/8, which has a minimum every 0.8."""
    landscape = Formula("wrinkled", lambda theta: theta.square().sum(-1) / 10 + (8 * theta).sin().sum(-1) / 8)
    parameter = nn.Parameter(torch.tensor([[3.0]], dtype=torch.float64))
    optimizer = create_optimizer(
        "gaussian-smoothing", [parameter], lr=0.1, sigma=width, samples=4, batch_dims=1
    )
    schedules = Schedules(optimizer, {"sigma": schedule})
    closure = LandscapeClosure(landscape, parameter)
    for step in range(300):
        schedules.apply(step / 300)
        optimizer.step(closure)
    return parameter.item()


def test_a_width_that_shrinks_leads_through_the_wrinkles() -> None:
    assert wrinkled(0.0, schedule="constant") > 2.0
    assert abs(wrinkled(1.0, schedule="linear")) < 0.8


def test_a_width_and_a_seed_for_each_problem() -> None:
    widths, seeds = [0.0, 0.2, 0.2], [3, 4, 5]

    def run(problem: Regression, **settings: object) -> list[Tensor]:
        optimizer = create_optimizer("gaussian-smoothing", problem.parameters, samples=3, **settings)
        schedules = Schedules(optimizer, {"sigma": "cosine"})
        for step in range(6):
            schedules.apply(step / 6)
            problem.next_step()
            optimizer.step(problem)
        return [parameter.detach() for parameter in problem.parameters]

    sigma = torch.tensor(widths, dtype=torch.float64)
    together = run(Regression(torch.float64, copies=3), sigma=sigma, batch_dims=1, seed=seeds)
    for problem, (width, seed) in enumerate(zip(widths, seeds, strict=True)):
        alone = run(Regression(torch.float64, only=problem), sigma=width, seed=seed)
        for one, row in zip(alone, together, strict=True):
            torch.testing.assert_close(row[problem], one, rtol=0, atol=1e-13)


def test_the_cost_is_the_number_of_samples() -> None:
    info = get_optimizer("gaussian-smoothing")
    assert info.cost(info.resolve({"samples": 5})) == 5


@pytest.mark.parametrize("base", [{"base_optimizer": "adamw"}, {"momentum": 0.9, "samples": 5}])
def test_around_any_base(base: dict[str, object]) -> None:
    torch.set_num_threads(1)
    subject = Subject("smoothing", lambda params: create_optimizer("gaussian-smoothing", params, **base))
    checks = (
        "resume_is_bit_equal",
        "a_copy_goes_on_as_the_original",
        "runs_on_meta",
        "lr_zero_moves_nothing",
    )
    assert [each.detail for each in check_optimizer(subject, checks) if each.status != "passed"] == []


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"sigma": -1.0}, "sigma must be finite and at least 0, not -1.0"),
        ({"samples": 0}, "samples must be a whole number from 1, not 0"),
        ({"samples": 1.5}, "'samples' must be a whole number, not 1.5"),
        ({"base_optimizer": "adamw", "batch_dims": 1}, "batch_dims needs sgd as base optimizer, not adamw"),
        ({"sigma": torch.tensor([0.1, 0.2])}, "sigma is one for each problem, but batch_dims is 0"),
    ],
)
def test_bad_values_are_named(settings: dict[str, object], message: str) -> None:
    with pytest.raises(UsageError) as error:
        create_optimizer("gaussian-smoothing", Regression().parameters, **settings)
    assert message in str(error.value)
