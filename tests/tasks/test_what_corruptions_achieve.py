"""What corruptions achieve on digits: plain SGD memorizes, backdoors take hold, members can be told."""

from __future__ import annotations

import functools

import pytest
import torch

from rbobench.measures.membership import membership_inference
from rbobench.optim.schedule import Schedules
from rbobench.tasks.images import ImageProblem, ImageTask
from rbobench.tasks.task import Settings


@functools.cache
def trained(gradients: int, model: str = "mlp", backdoor: str = "", noise: float = 0.0) -> ImageProblem:
    """A problem after plain SGD with momentum, as in the small suites; `backdoor` is its kind, at 10 %."""
    options = {"badnets": {"size": 2}, "wanet": {"cross_ratio": 0.0}}.get(backdoor, {})
    task = ImageTask(
        "digits",
        model=model,
        batch_size=64,
        backdoor={"kind": backdoor, "rate": 0.1, **options} if backdoor else None,
        label_noise={"kind": "symmetric", "rate": noise} if noise else None,
    )
    problem = task.problem(0, Settings())
    optimizer = torch.optim.SGD(problem.parameters(), lr=0.1, momentum=0.9)
    schedules = Schedules(optimizer, {"lr": "cosine"})
    for step in range(gradients):
        problem.objective.next_step()
        schedules.apply(step / gradients)
        optimizer.step(problem.objective)
    return problem


def success(backdoor: str, model: str = "mlp") -> tuple[float, float, float]:
    """Attack success and clean accuracy of a poisoned model, and the clean accuracy of a clean one."""
    poisoned = trained(2000, model, backdoor).evaluate()
    return (
        poisoned["attack_success"],
        poisoned["test_accuracy"],
        trained(2000, model).evaluate()["test_accuracy"],
    )


@pytest.mark.parametrize("backdoor", ["badnets", "blended"])
def test_backdoors_take_hold_of_the_mlp(backdoor: str) -> None:
    attack, accuracy, clean = success(backdoor)
    assert attack > 0.95
    assert accuracy > clean - 0.02


@pytest.mark.slow
def test_a_warp_takes_hold_of_a_convolutional_network() -> None:
    attack, accuracy, clean = success("wanet", "resnet8")
    assert attack > 0.9
    assert accuracy > clean - 0.02


def test_a_clean_model_shows_the_base_rate() -> None:
    """Triggered images that a model never saw poisoned are taken for the target as rarely as any others."""
    poisoned, clean = trained(2000, "mlp", "badnets"), trained(2000)
    poisoned = ImageProblem(poisoned._task, poisoned._task.data(Settings().location), 0, Settings())
    poisoned.module.load_state_dict(clean.module.state_dict())
    assert poisoned.evaluate()["attack_success"] < 0.02


def test_plain_sgd_memorizes_flipped_labels_and_gives_its_members_away() -> None:
    problem = trained(4000, noise=0.4)
    assert problem.evaluate()["memorization"] >= 0.9
    assert membership_inference(*problem.membership_losses()).value > 0.75
    fresh = ImageProblem(problem._task, problem._task.data(Settings().location), 0, Settings())
    assert membership_inference(*fresh.membership_losses()).value < 0.55
