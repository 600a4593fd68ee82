"""An optimizer around another one: one set of groups, one state, whichever of the two is asked."""

from __future__ import annotations

import copy
import io
import pickle
from functools import partial
from typing import Any

import pytest
import torch
from torch import nn
from torch.optim.lr_scheduler import StepLR

from rbobench.optim.wrapper import OptimizerWrapper
from rbobench.testing.problems import Regression

BASES = pytest.mark.parametrize(
    "base", [partial(torch.optim.SGD, lr=0.1, momentum=0.9), partial(torch.optim.AdamW, lr=0.01)]
)


class Plain(OptimizerWrapper):
    """Does what its base does."""

    def __init__(self, params: Any, base: Any, twist: float = 0.5) -> None:
        super().__init__(base(params), {"twist": twist})

    def step(self, closure: Any = None) -> Any:
        return self.base.step(closure)


def steps(optimizer: torch.optim.Optimizer, problem: Regression, count: int) -> None:
    for _ in range(count):
        problem.next_step()
        optimizer.step(problem)


def linked(wrapper: OptimizerWrapper) -> bool:
    return wrapper.param_groups is wrapper.base.param_groups and wrapper.state is wrapper.base.state


@BASES
def test_resumes_bit_equal_and_linked(base) -> None:
    whole, first = Regression(), Regression()
    steps(base(whole.parameters), whole, 8)
    wrapper = Plain(first.parameters, base)
    steps(wrapper, first, 4)
    stored = io.BytesIO()
    torch.save(wrapper.state_dict(), stored)
    stored.seek(0)
    second = copy.deepcopy(first)
    resumed = Plain(second.parameters, base, twist=0.0)
    resumed.load_state_dict(torch.load(stored))
    assert linked(resumed)
    assert resumed.param_groups[0]["twist"] == 0.5
    steps(resumed, second, 4)
    assert all(map(torch.equal, whole.parameters, second.parameters))


@BASES
def test_takes_over_the_state_of_a_bare_base(base) -> None:
    problem = Regression()
    bare = base(problem.parameters)
    steps(bare, problem, 3)
    wrapper = Plain(problem.parameters, base)
    wrapper.load_state_dict(bare.state_dict())
    assert linked(wrapper)
    assert wrapper.param_groups[0]["twist"] == 0.5


@BASES
@pytest.mark.parametrize("twin_of", [copy.deepcopy, lambda pair: pickle.loads(pickle.dumps(pair))])
def test_a_copied_or_pickled_one_is_linked_and_goes_on(base, twin_of) -> None:
    problem = Regression()
    wrapper = Plain(problem.parameters, base)
    steps(wrapper, problem, 2)
    twin, other = twin_of((wrapper, problem))
    assert linked(twin)
    steps(wrapper, problem, 3)
    steps(twin, other, 3)
    assert all(map(torch.equal, problem.parameters, other.parameters))


@BASES
@pytest.mark.parametrize("twin_of", [copy.deepcopy, lambda pair: pickle.loads(pickle.dumps(pair))])
def test_a_copy_made_under_a_scheduler_steps_for_itself(base, twin_of) -> None:
    problem = Regression()
    wrapper = Plain(problem.parameters, base)
    StepLR(wrapper, step_size=1)
    steps(wrapper, problem, 1)
    twin, other = twin_of((wrapper, problem))
    before = [parameter.detach().clone() for parameter in problem.parameters]
    steps(twin, other, 1)
    assert all(map(torch.equal, problem.parameters, before))
    assert not torch.equal(other.parameters[0], before[0])


@BASES
@pytest.mark.parametrize("scheduled", ["wrapper", "base"])
def test_a_scheduler_on_either_reaches_both(base, scheduled: str) -> None:
    problem = Regression()
    wrapper = Plain(problem.parameters, base)
    before = wrapper.param_groups[0]["lr"]
    scheduler = StepLR(wrapper if scheduled == "wrapper" else wrapper.base, step_size=1, gamma=0.5)
    steps(wrapper, problem, 1)
    scheduler.step()
    assert wrapper.param_groups[0]["lr"] == wrapper.base.param_groups[0]["lr"] == 0.5 * before


@BASES
def test_an_added_group_trains_and_has_the_settings(base) -> None:
    problem = Regression()
    wrapper = Plain(problem.parameters[:1], base)
    wrapper.add_param_group({"params": problem.parameters[1:3], "twist": 2.0})
    wrapper.add_param_group({"params": problem.parameters[3:]})
    assert linked(wrapper)
    assert [group["twist"] for group in wrapper.param_groups] == [0.5, 2.0, 0.5]
    before = problem.parameters[1].detach().clone()
    steps(wrapper, problem, 1)
    assert not torch.equal(problem.parameters[1], before)


def test_clears_the_gradients_and_keeps_the_names() -> None:
    module = nn.Linear(2, 1)
    wrapper = Plain(module.named_parameters(), partial(torch.optim.SGD, lr=0.1))
    module(torch.ones(2)).sum().backward()
    wrapper.zero_grad()
    assert module.weight.grad is None
    assert wrapper.param_groups[0]["param_names"] == ["weight", "bias"]
