"""Weight averages against the means they claim to be."""

from __future__ import annotations

from functools import partial

import pytest
import torch
from torch import Tensor, nn

from baselines.averaging import SWA
from rbobench.errors import UsageError
from rbobench.registry import create_optimizer, get_optimizer
from rbobench.testing.problems import Regression

BASE = partial(torch.optim.SGD, lr=0.1, momentum=0.9)


def visited(optimizer, problem: Regression, steps: int) -> list[list[Tensor]]:
    weights = []
    for _ in range(steps):
        problem.next_step()
        optimizer.step(problem)
        weights.append([parameter.detach().clone() for parameter in problem.parameters])
    return weights


@pytest.mark.parametrize(("period", "averaged"), [(1, range(6)), (3, (2, 5))])
def test_evaluates_at_the_mean_of_what_was_visited(period: int, averaged) -> None:
    problem = Regression(torch.float64)
    optimizer = SWA(problem.parameters, BASE, start=0.0, period=period)
    weights = visited(optimizer, problem, 6)
    with optimizer.evaluation_parameters():
        for index, parameter in enumerate(problem.parameters):
            mean = torch.stack([weights[step][index] for step in averaged]).mean(dim=0)
            torch.testing.assert_close(parameter.detach(), mean, rtol=1e-12, atol=1e-14)
    assert all(map(torch.equal, problem.parameters, weights[-1]))


def test_trains_as_its_base_and_averages_from_its_start_on() -> None:
    problem, plain = Regression(), Regression()
    optimizer = SWA(problem.parameters, BASE, start=0.5)
    expected = visited(BASE(plain.parameters), plain, 4)
    for step in range(4):
        optimizer.param_groups[0]["progress"] = step / 4
        problem.next_step()
        optimizer.step(problem)
    assert all(map(torch.equal, problem.parameters, expected[-1]))
    assert optimizer.param_groups[0]["swa_averaged"] == 2
    with optimizer.evaluation_parameters():
        torch.testing.assert_close(problem.parameters[0].detach(), (expected[2][0] + expected[3][0]) / 2)


def test_before_the_first_average_the_weights_are_their_own() -> None:
    problem = Regression()
    optimizer = SWA(problem.parameters, BASE)
    optimizer.param_groups[0]["progress"] = 0.0
    weights = visited(optimizer, problem, 2)[-1]
    with optimizer.evaluation_parameters():
        assert all(map(torch.equal, problem.parameters, weights))


def test_evaluating_leaves_no_trace_in_the_state() -> None:
    optimizer = SWA(Regression().parameters, BASE)
    with optimizer.evaluation_parameters():
        pass
    assert optimizer.state_dict()["state"] == {}


@pytest.mark.parametrize("base", ["adamw", "timm:lion", "sgd"])
def test_a_parameter_may_get_its_first_gradient_late(base: str) -> None:
    """Adam and its kin take an empty state for a first step; an average there must not hide it."""
    early, late = nn.Parameter(torch.ones(2)), nn.Parameter(torch.ones(2))
    reference = [nn.Parameter(torch.ones(2)), nn.Parameter(torch.ones(2))]
    averaging = create_optimizer("swa", [early, late], start=0.0, base_optimizer=base, lr=0.1)
    plain = create_optimizer(base, reference, lr=0.1)
    visited = []
    for step in range(4):
        for optimizer, (one, two) in ((averaging, (early, late)), (plain, reference)):
            optimizer.zero_grad()
            (one.square().sum() + (two.square().sum() if step > 1 else 0.0)).backward()
            optimizer.step()
        visited.append(reference[1].detach().clone())
    assert torch.equal(late, reference[1])
    assert not torch.equal(late, torch.ones(2))
    with averaging.evaluation_parameters():
        torch.testing.assert_close(late.detach(), torch.stack(visited).mean(dim=0))


@pytest.mark.parametrize("name", ["swa", "lookahead"])
@pytest.mark.parametrize(
    ("base", "given", "cost"),
    [("sgd", {}, 1), ("sgd-repeat", {"repeats": 3}, 3), ("rbo", {"projection_steps": 4}, 4)],
)
def test_costs_what_its_base_does(name: str, base: str, given: dict, cost: int) -> None:
    info = get_optimizer(name)
    radius = {"radius": 1.0} if base == "rbo" else {}
    hyperparameters = info.resolve({"base_optimizer": base, "lr": 0.1, **radius, **given})
    problem = Regression()
    info.create(problem.parameters, hyperparameters).step(problem)
    assert problem.calls == info.cost(hyperparameters) == cost


@pytest.mark.parametrize("name", ["swa", "lookahead"])
@pytest.mark.parametrize(
    ("base", "reason"),
    [
        ("sam", "it has a base itself"),
        ("swa", "it has a base itself"),
        ("entropy-sgd", "every one of its evaluations needs a fresh batch"),
        ("sgd-short", "it stops by a rule of its own"),
    ],
)
def test_refuses_a_base_whose_declarations_would_be_lost(name: str, base: str, reason: str) -> None:
    info = get_optimizer(name)
    hyperparameters = info.resolve({"base_optimizer": base})
    with pytest.raises(UsageError, match=f"'{base}' cannot be a base optimizer: {reason}"):
        info.create(Regression().parameters, hyperparameters)
    with pytest.raises(UsageError, match=reason):
        info.cost(hyperparameters)


def test_lookahead_draws_the_weights_back_to_the_slow_ones() -> None:
    """From the second sync on, slow ← slow + α(fast − slow), and the weights become the slow ones."""
    problem, plain = Regression(torch.float64), Regression(torch.float64)
    ahead = create_optimizer("lookahead", problem.parameters, period=2, alpha=0.5, lr=0.05)
    fast = visited(torch.optim.SGD(plain.parameters, lr=0.05), plain, 4)
    visited(ahead, problem, 4)
    torch.testing.assert_close(problem.parameters[0].detach(), (fast[1][0] + fast[3][0]) / 2)


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("swa", {"start": 1.5}, "start must be from 0 to 1, not 1.5"),
        ("swa", {"period": 0}, "period must be at least 1, not 0"),
        ("lookahead", {"alpha": 2}, "Invalid slow update rate: 2.0"),
    ],
)
def test_bad_values_are_named(name: str, options: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        create_optimizer(name, Regression().parameters, lr=0.1, **options)
