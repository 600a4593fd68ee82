"""What is timed is what a trial does, on copies."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from rbobench.registry import get_optimizer, get_task
from rbobench.runner.calibration import (
    StepTimer,
    closure_calls,
    seconds_per_call,
    twice_evaluations,
)
from rbobench.tasks.task import Settings


class Spoiling(torch.optim.SGD):
    """SGD that spoils the gradient it is given, after noting it."""

    def __init__(self, params: Any, evaluations: int = 1) -> None:
        super().__init__(params, lr=1.0)
        self.evaluations, self.steps, self.seen = evaluations, 0, []
        self.param_groups[0]["momentum"] = 0.0

    def step(self, closure):
        self.steps += 1
        for _ in range(self.evaluations):
            loss = closure()
            self.seen.append([parameter.grad.clone() for parameter in self.param_groups[0]["params"]])
            for parameter in self.param_groups[0]["params"]:
                parameter.grad.mul_(0.5)
        super().step()
        return loss


def drawn(problem):
    problem.objective.next_step()
    return problem


@pytest.mark.parametrize(("each", "block", "count"), [(1e-3, 0.02, 20), (0.5, 0.02, 1), (1e-9, 0.02, 2000)])
def test_short_calls_are_timed_many_at_once_and_long_ones_alone(
    each: float, block: float, count: int
) -> None:
    counts: list[int] = []

    def gauge(number: int) -> float:
        counts.append(number)
        return number * each

    assert seconds_per_call(gauge, block) == pytest.approx(each)
    assert counts == [1, 1] + ([count] if count > 1 else [])


def test_a_replay_gives_the_stored_gradient_whatever_became_of_it(blobs) -> None:
    problem = drawn(blobs())
    problem.objective()
    expected = [parameter.grad.clone() for parameter in problem.parameters()]
    replay = StepTimer.replaying(problem)
    optimizer = Spoiling(replay.parameters(), evaluations=3)
    replay.gauge(optimizer, {})(1)
    assert len(optimizer.seen) == 3
    for seen in optimizer.seen:
        assert all(map(torch.equal, seen, expected))


def test_a_replay_steps_on_copies_that_start_anew_with_every_block(blobs) -> None:
    problem = drawn(blobs())
    before = [parameter.detach().clone() for parameter in problem.parameters()]
    replay = StepTimer.replaying(problem)
    optimizer = Spoiling(replay.parameters())
    gauge = replay.gauge(optimizer, {"lr": "cosine"})
    gauge(1)
    after_one = [parameter.detach().clone() for parameter in replay.parameters()]
    assert not all(map(torch.equal, after_one, before))
    gauge(7)
    assert optimizer.steps == 8
    assert optimizer.param_groups[0]["lr"] < 1.0
    gauge(1)
    assert optimizer.param_groups[0]["lr"] == 1.0
    assert all(map(torch.equal, replay.parameters(), after_one))
    assert all(map(torch.equal, problem.parameters(), before))


def test_a_longer_replay_has_each_parameter_twice(blobs) -> None:
    problem = drawn(blobs())
    longer = StepTimer.replaying(problem, length=2)
    for copy, parameter in zip(longer.parameters(), problem.parameters(), strict=True):
        assert torch.equal(copy, torch.cat([parameter, parameter]))
    longer.objective()
    for copy, parameter in zip(longer.parameters(), problem.parameters(), strict=True):
        assert torch.equal(copy.grad, torch.cat([parameter.grad, parameter.grad]))
    names = [name for name, _ in longer.named_parameters()]
    assert names == [name for name, _ in problem.module.named_parameters()]


@pytest.mark.parametrize(
    ("name", "given", "changed"),
    [
        ("fake-costly", {"evaluations": 3}, {"evaluations": 6}),
        ("rbo", {"lr": 1.0, "radius": 1.0, "projection_steps": 5}, {"projection_steps": 10}),
        ("sgd", {}, None),
        ("sam", {}, None),
    ],
)
def test_the_hyperparameter_that_sets_the_evaluations_is_found(name: str, given, changed) -> None:
    info = get_optimizer(name)
    resolved = info.resolve(given)
    more = twice_evaluations(info, resolved)
    assert more == (None if changed is None else {**resolved, **changed})


def test_a_part_of_the_batch_is_a_call_all_the_same() -> None:
    info = get_optimizer("rbo-center")
    resolved = info.resolve({"radius": 1.0, "contact_fraction": 0.5})
    assert info.cost(resolved) == 1.5
    assert closure_calls(info, resolved) == 2


@pytest.mark.parametrize("name", ["rbo", "rbo-center", "rbo-mirrored", "sam", "entropy-sgd", "adamw", "sgd"])
def test_every_kind_of_optimizer_steps_on_a_replay(blobs, name: str) -> None:
    info = get_optimizer(name)
    given = info.resolve({"lr": 0.1, "radius": 1.0} if name.startswith("rbo") else {})
    for length in (1, 2):
        replay = StepTimer.replaying(drawn(blobs()), length=length, resamples=info.resamples)
        optimizer = info.create(replay.parameters(), given)
        assert replay.gauge(optimizer, {"lr": "cosine"}, info.cost(given))(3) > 0.0
        assert replay.objective.gradient_evaluations == pytest.approx(3 * info.cost(given))
        assert all(parameter.isfinite().all() for parameter in replay.parameters())


def test_a_replay_of_a_landscape_keeps_the_landscape() -> None:
    problem = drawn(get_task("sine").create(get_task("sine").resolve({})).problem(0, Settings()))
    assert StepTimer.replaying(problem).objective.landscape is problem.landscape


def test_whole_steps_are_taken_on_the_problem_and_taken_back(blobs) -> None:
    problem = blobs(batch_norm=True)
    before = {name: tensor.clone() for name, tensor in problem.module.state_dict().items()}
    steps = StepTimer.of(problem)
    optimizer = get_optimizer("sgd").create(steps.parameters(), {"lr": 0.1, "momentum": 0.9})
    steps.gauge(optimizer, {})(4)
    assert problem.objective.gradient_evaluations == 4
    assert problem.objective.samples_drawn == 4 * problem.samples_per_batch
    assert not torch.equal(problem.module.state_dict()["0.weight"], before["0.weight"])
    steps.reset()
    for name, tensor in problem.module.state_dict().items():
        assert torch.equal(tensor, before[name])
