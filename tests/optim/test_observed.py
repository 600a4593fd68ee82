"""torch's hooks and record around a step: once for whoever looks."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor
from torch.optim.optimizer import (
    register_optimizer_step_post_hook,
    register_optimizer_step_pre_hook,
)

from rbobench.optim.observed import observed
from rbobench.optim.sgd import SGD
from rbobench.registry import get_optimizer, list_optimizers
from rbobench.testing.problems import Regression
from rbobench.testing.subject import Subject

OWN = [name for name in list_optimizers() if not name.startswith("timm:") and name != "lookahead"]
"""Ours, but for timm's Lookahead, which calls no hooks of its own."""


def built(name: str, problem: Regression) -> torch.optim.Optimizer:
    return Subject.of(get_optimizer(name)).make(problem.parameters)


@pytest.mark.parametrize("name", OWN)
def test_hooks_of_every_optimizer_are_called_once_a_step(name: str) -> None:
    problem, calls = Regression(), []
    optimizer = built(name, problem)
    optimizer.register_step_pre_hook(lambda *_: calls.append("before"))
    optimizer.register_step_post_hook(lambda *_: calls.append("after"))
    optimizer.step(problem)
    assert calls == ["before", "after"]


@pytest.mark.parametrize("settings", [{"lr": torch.tensor(0.1)}, {"lr": 0.1}])
def test_a_step_that_is_torchs_calls_its_hooks_once(settings: dict[str, Any]) -> None:
    torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], 0.1)  # which puts hooks around torch's own step
    problem, calls = Regression(), []
    optimizer = SGD(problem.parameters, **settings)
    optimizer.register_step_post_hook(lambda *_: calls.append("after"))
    optimizer.step(problem)
    assert calls == ["after"]


def test_a_compiler_takes_a_step_whole() -> None:
    parameter = torch.nn.Parameter(torch.ones(3))
    parameter.grad = torch.ones(3)
    optimizer = SGD([parameter], 0.1)
    torch.compile(optimizer.step, fullgraph=True, backend="eager")()
    torch.testing.assert_close(parameter.detach(), torch.full((3,), 0.9))


def test_hooks_of_all_optimizers_are_called() -> None:
    problem, calls = Regression(), []
    optimizer = built("rbo", problem)
    handles = [
        register_optimizer_step_pre_hook(lambda *_: calls.append("before")),
        register_optimizer_step_post_hook(lambda *_: calls.append("after")),
    ]
    optimizer.step(problem)
    for handle in handles:
        handle.remove()
    optimizer.step(problem)
    assert calls == ["before", "after"]


@pytest.mark.parametrize("name", ["sgd", "rbo", "rbo-center", "sam"])
def test_a_profiler_sees_the_step_by_its_name(name: str) -> None:
    problem = Regression()
    optimizer = built(name, problem)
    optimizer.step(problem)
    with torch.autograd.profiler.profile() as profile:
        optimizer.step(problem)
    assert f"Optimizer.step#{type(optimizer).__name__}.step" in {
        event.key for event in profile.key_averages()
    }


@pytest.mark.parametrize("enabled", [False, True])
@pytest.mark.parametrize("hooked", [False, True])
def test_a_step_runs_without_gradients_its_closure_with_them(enabled: bool, hooked: bool) -> None:
    modes = []

    class Recording(torch.optim.SGD):
        @observed
        def step(self, closure: Any = None) -> Any:
            modes.append(torch.is_grad_enabled())
            return super().step(closure)

    optimizer = Recording([torch.nn.Parameter(torch.zeros(1))], 0.1)
    if hooked:
        optimizer.register_step_post_hook(lambda *_: None)

    def closure() -> Tensor:
        modes.append(torch.is_grad_enabled())
        return torch.zeros(())

    with torch.set_grad_enabled(enabled):
        optimizer.step(closure)
        assert torch.is_grad_enabled() is enabled
    assert modes == [False, True]


@pytest.mark.parametrize("name", ["sgd", "rbo", "rbo-previous", "sam"])
def test_the_mode_is_restored_after_an_error(name: str) -> None:
    optimizer = built(name, Regression())

    def closure() -> Tensor:
        raise RuntimeError("no data")

    with pytest.raises(RuntimeError, match="no data"):
        optimizer.step(closure)
    assert torch.is_grad_enabled()
