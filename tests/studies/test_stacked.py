"""Many trainings as one tensor program equal trainings one by one."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from rbobench import create_optimizer
from rbobench.optim.center import CenterRBO
from rbobench.optim.sgd import SGD
from rbobench.studies.stacked import StackedPerceptrons
from rbobench.tasks.images import ImageTask
from rbobench.tasks.task import Settings

TASK = ImageTask(
    "digits",
    batch_size=32,
    train_images=400,
    model_options={"hidden": (16, 16)},
    label_noise={"kind": "symmetric", "rate": 0.4},
)


@pytest.mark.parametrize("fraction", [1.0, 0.25])
def test_each_member_is_its_trial_alone(fraction: float) -> None:
    stack = StackedPerceptrons(TASK, seeds=[3, 5], copies=2)
    rates, radii = [0.1, 0.3] * 2, [0.5, 1.0] * 2
    optimizer = CenterRBO(stack.parameters, torch.tensor(rates), torch.tensor(radii), batch_dims=1)
    part = {} if fraction == 1.0 else {"contact_closure": stack.part(fraction)}
    for _ in range(30):
        stack.next_step()
        optimizer.step(stack, **part)
    measured = stack.measure()
    for member, seed in enumerate((3, 3, 5, 5)):
        problem = TASK.problem(seed, Settings())
        alone = CenterRBO(problem.parameters(), rates[member], radii[member])
        part = {} if fraction == 1.0 else {"contact_closure": problem.objective.part(fraction)}
        for _ in range(30):
            problem.objective.next_step()
            alone.step(problem.objective, **part)
        for own, stacked in zip(problem.parameters(), stack.parameters, strict=True):
            torch.testing.assert_close(stacked[member], own, rtol=1e-4, atol=1e-5)
        expected = problem.evaluate()
        for name, values in measured.items():
            assert values[member] == pytest.approx(expected[name], abs=0.011), name


def test_clean_labels_leave_nothing_to_memorize() -> None:
    clean = ImageTask("digits", batch_size=32, train_images=200, model_options={"hidden": (8,)})
    assert np.isnan(StackedPerceptrons(clean, [0], 2).measure()["memorization"]).all()


def test_another_model_is_refused() -> None:
    with pytest.raises(ValueError, match="'resnet8' is no chain of Linear and ReLU"):
        StackedPerceptrons(ImageTask("digits", model="resnet8", train_images=200), [0], 1)


def test_a_diverging_member_harms_no_other() -> None:
    stack = StackedPerceptrons(TASK, [0], 2)
    optimizer = SGD(stack.parameters, torch.tensor([0.1, 1e30]), batch_dims=1)
    for _ in range(5):
        stack.next_step()
        optimizer.step(stack)
    problem = TASK.problem(0, Settings())
    alone = create_optimizer("sgd", problem.parameters(), lr=0.1)
    for _ in range(5):
        problem.objective.next_step()
        alone.step(problem.objective)
    for own, stacked in zip(problem.parameters(), stack.parameters, strict=True):
        torch.testing.assert_close(stacked[0], own, rtol=1e-4, atol=1e-5)
