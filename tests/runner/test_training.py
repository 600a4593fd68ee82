"""The training loop: budget, curves, evaluation weights, divergence, early stopping."""

from __future__ import annotations

import math

import pytest
import torch

from rbobench import registry
from rbobench.errors import UsageError
from rbobench.runner.budget import Budget, step_cost
from rbobench.runner.clock import Clock
from rbobench.runner.training import Training, evaluation_weights, train

CPU = torch.device("cpu")


def trained(problem, name: str = "fake-sgd", budget: Budget | None = None, **options):
    info = registry.get_optimizer(name)
    given = options.pop("hyperparameters", {})
    hyperparameters = info.resolve(given)
    budget = budget or Budget("gradient_evaluations", 40)
    optimizer = info.create(problem.parameters(), hyperparameters)
    cost = step_cost(budget.unit, problem, info.cost(hyperparameters), info.resamples)
    options.setdefault("evaluations", 5)
    return train(problem, optimizer, budget, Clock(CPU), step_cost=cost, **options)


def test_it_is_the_loop_that_one_would_write_by_hand(blobs) -> None:
    problem, by_hand = blobs(), blobs()
    training = trained(problem, schedules={"lr": "linear"})
    optimizer = torch.optim.SGD(by_hand.parameters(), 0.1)
    for step in range(40):
        optimizer.param_groups[0]["lr"] = 0.1 * (1 - step / 40)
        by_hand.objective.next_step()
        optimizer.step(by_hand.objective)
    assert training.steps == 40
    assert all(map(torch.equal, problem.parameters(), by_hand.parameters()))


def test_points_are_spread_evenly_and_the_end_is_one(blobs) -> None:
    training = trained(blobs(), budget=Budget("gradient_evaluations", 40))
    assert training.curves["gradient_evaluations"] == [8, 16, 24, 32, 40]
    assert training.curves["fraction"] == [0.2, 0.4, 0.6, 0.8, 1.0]
    assert set(training.curves) == {
        "gradient_evaluations", "fraction", "loss", "validation_accuracy", "test_accuracy"
    }  # fmt: skip
    budget = Budget("gradient_evaluations", 10)
    costly = trained(blobs(), "fake-costly", budget, hyperparameters={"evaluations": 3})
    assert costly.curves["gradient_evaluations"] == [3, 6, 9]
    assert budget.unspent == 1


def test_the_loss_of_a_point_is_the_mean_since_the_point_before(blobs) -> None:
    problem, by_hand = blobs(), blobs()
    curve = trained(problem, evaluations=2).curves["loss"]
    optimizer, losses = torch.optim.SGD(by_hand.parameters(), 0.1), []
    for _ in range(40):
        by_hand.objective.next_step()
        losses.append(optimizer.step(by_hand.objective).item())
    assert curve == pytest.approx([sum(losses[:20]) / 20, sum(losses[20:]) / 20])


def test_curves_do_not_depend_on_how_many_points_there_are(blobs) -> None:
    few, many = blobs(batch_norm=True), blobs(batch_norm=True)
    last = [
        trained(problem, "fake-averaged", evaluations=points, reestimate=True).curves["test_accuracy"][-1]
        for problem, points in ((few, 1), (many, 40))
    ]
    assert last[0] == last[1]
    for one, other in zip(few.module.state_dict().values(), many.module.state_dict().values(), strict=True):
        assert torch.equal(one, other)


@pytest.mark.parametrize(
    ("name", "steps", "drawn"), [("fake-sgd", 12, 96), ("fake-costly", 12, 96), ("fake-fresh", 3, 96)]
)
def test_epochs_count_samples_drawn(blobs, name: str, steps: int, drawn: int) -> None:
    problem, budget = blobs(resamples=name == "fake-fresh"), Budget("epochs", 2.0)
    training = trained(problem, name, budget)
    assert training.steps == steps
    assert problem.objective.samples_drawn == drawn
    assert budget.unspent == 0
    assert training.curves["fraction"][-1] == 1.0


def test_seconds_are_training_alone(blobs) -> None:
    problem, budget = blobs(), Budget("seconds", 0.05)
    training = trained(problem, budget=budget, evaluations=2)
    assert training.steps > 1
    assert budget.spent >= 0.05
    assert len(training.curves["fraction"]) == 2


def test_a_share_ends_budget_and_schedule_early(blobs) -> None:
    problem = blobs()
    budget = Budget("gradient_evaluations", 40, share=0.25)
    info = registry.get_optimizer("fake-sgd")
    optimizer = info.create(problem.parameters(), info.resolve())
    train(problem, optimizer, budget, Clock(CPU), step_cost=1, schedules={"lr": "linear"}, evaluations=5)
    assert budget.spent == 10
    assert budget.unspent == 30
    assert optimizer.param_groups[0]["lr"] == pytest.approx(0.1 * 0.1)


def test_progress_is_told_to_those_that_ask(blobs) -> None:
    problem = blobs()
    info = registry.get_optimizer("fake-costly")
    optimizer = info.create(problem.parameters(), info.resolve())
    train(problem, optimizer, Budget("gradient_evaluations", 40), Clock(CPU), step_cost=4)
    assert optimizer.param_groups[0]["progress"] == 0.9


def test_measurements_are_at_the_evaluation_weights_and_leave_no_trace(blobs) -> None:
    problem = blobs(batch_norm=True)
    info = registry.get_optimizer("fake-averaged")
    optimizer = info.create(problem.parameters(), info.resolve())
    train(problem, optimizer, Budget("gradient_evaluations", 10), Clock(CPU), step_cost=1)
    before = {name: tensor.clone() for name, tensor in problem.module.state_dict().items()}
    with evaluation_weights(problem, optimizer, reestimate=True):
        inside = {name: tensor.clone() for name, tensor in problem.module.state_dict().items()}
        assert all(torch.equal(p, optimizer.state[p]["mean"]) for p in problem.parameters())
    assert not torch.equal(inside["1.running_mean"], before["1.running_mean"])
    for name, tensor in problem.module.state_dict().items():
        assert torch.equal(tensor, before[name]), name


@pytest.mark.parametrize("lr", [3.0, 1e30])
def test_divergence_ends_the_training(bowl, lr: float) -> None:
    training = trained(bowl, hyperparameters={"lr": lr}, budget=Budget("gradient_evaluations", 1000))
    assert training.status == "diverged"
    assert training.steps == 200, "noticed at the first point"


def test_early_stopping_keeps_the_best_weights(blobs) -> None:
    problem, by_hand = blobs(noise=0.4), blobs(noise=0.4)
    budget = Budget("gradient_evaluations", 4000)
    training = trained(
        problem, "fake-early", budget, hyperparameters={"lr": 0.5}, patience=2, evaluations=200
    )
    accuracies = training.curves["validation_accuracy"]
    assert len(accuracies) < 200
    assert training.chosen == len(accuracies) - 3
    assert max(accuracies) == accuracies[training.chosen]
    assert budget.unspent == 4000 - budget.spent > 0
    optimizer = torch.optim.SGD(by_hand.parameters(), 0.5)
    for _ in range(20 * (training.chosen + 1)):
        by_hand.objective.next_step()
        optimizer.step(by_hand.objective)
    problem.module.load_state_dict(training.best_weights)
    assert all(map(torch.equal, problem.parameters(), by_hand.parameters()))
    assert training.metrics()["validation_accuracy_last"] == max(accuracies)


def test_the_chosen_point_is_the_first_best_on_validation() -> None:
    training = Training(
        curves={
            "fraction": [0.25, 0.5, 0.75, 1.0],
            "validation_accuracy": [math.nan, 0.8, 0.8, 0.7],
            "test_accuracy": [0.5, 0.6, 0.9, 0.4],
            "memorization": [0.0, 0.1, 0.2, 0.3],
        },
        measured=("validation_accuracy", "test_accuracy", "memorization"),
    )
    assert training.chosen == 1
    assert training.metrics() == {
        "validation_accuracy_last": 0.7,
        "validation_accuracy_chosen": 0.8,
        "test_accuracy_last": 0.4,
        "test_accuracy_chosen": 0.6,
        "test_accuracy_oracle": 0.9,
        "memorization_last": 0.3,
        "memorization_chosen": 0.1,
        "chosen_fraction": 0.5,
    }


def test_a_landscape_has_no_chosen_point() -> None:
    training = Training(
        curves={"fraction": [0.5, 1.0], "loss": [math.inf, 2.0], "distance": [3.0, 1.0]},
        measured=("loss", "distance"),
    )
    assert training.chosen is None
    assert training.metrics() == {
        "loss_last": 2.0, "loss_best": 2.0, "distance_last": 1.0, "distance_farthest": 3.0
    }  # fmt: skip


def test_a_budget_below_one_step_is_told(blobs) -> None:
    with pytest.raises(UsageError, match="does not buy one step"):
        trained(blobs(), "fake-costly", Budget("gradient_evaluations", 3))


def test_warm_up_training_and_evaluation_are_timed_apart(blobs, monkeypatch: pytest.MonkeyPatch) -> None:
    now = 0.0

    def taking(seconds: float, function):
        def slow(*arguments):
            nonlocal now
            now += seconds
            return function(*arguments)

        return slow

    monkeypatch.setattr("rbobench.runner.clock.time.perf_counter", lambda: now)
    problem, clock = blobs(), Clock(CPU)
    problem.evaluate = taking(10.0, problem.evaluate)
    problem.objective.warm_up = taking(100.0, problem.objective.warm_up)
    problem.objective.next_step = taking(1.0, problem.objective.next_step)
    optimizer = torch.optim.SGD(problem.parameters(), 0.1)
    train(problem, optimizer, Budget("gradient_evaluations", 6), clock, step_cost=1, evaluations=3)
    assert clock.elapsed("warm_up") == 100.0
    assert clock.elapsed("training") == 6.0
    assert clock.elapsed("evaluation") == 30.0


@pytest.mark.parametrize("name", ["rbo-center", "sam"])
def test_a_contact_on_part_of_the_batch_costs_its_share(blobs, name: str) -> None:
    given = {"contact_fraction": 0.25} | ({"radius": 0.1} if name == "rbo-center" else {})
    budget = Budget("gradient_evaluations", 10)
    problem, whole = blobs(), blobs()
    training = trained(problem, name, budget, hyperparameters=given, contact_fraction=0.25)
    assert training.steps == 8
    assert problem.objective.gradient_evaluations == 10
    trained(
        whole, name, Budget("gradient_evaluations", 16), hyperparameters={**given, "contact_fraction": 1.0}
    )
    assert not all(map(torch.equal, problem.parameters(), whole.parameters()))


def test_who_takes_a_contact_fraction() -> None:
    info = registry.get_optimizer("sam")
    assert info.resolve({})["contact_fraction"] == 1.0
    assert info.cost(info.resolve({"contact_fraction": 0.5})) == 1.5
    with pytest.raises(UsageError, match=r"'contact_fraction' must be in \(0, 1\], not 0"):
        info.resolve({"contact_fraction": 0})
    with pytest.raises(UsageError, match="unknown hyperparameter 'contact_fraction'"):
        registry.get_optimizer("sgd").resolve({"contact_fraction": 0.5})
    with pytest.raises(UsageError, match="belongs to a suite's trial; give `step` a contact_closure"):
        registry.create_optimizer("sam", [torch.nn.Parameter(torch.zeros(1))], contact_fraction=0.5)
