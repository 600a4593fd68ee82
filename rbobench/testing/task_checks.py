"""The checks that every task must pass."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from rbobench.randomness import default_generators, seeded_default_generators
from rbobench.registry import TaskInfo
from rbobench.tasks.task import Problem, Settings, Task
from rbobench.testing.checks import CheckResult, Skip, failure


def data_digest_is_stable(task: Task, settings: Settings) -> None:
    """The digest of the data is the same at every look."""
    digest = task.data_digest(settings.location)
    if digest is None:
        raise Skip("has no data")
    assert digest.startswith("sha256:"), f"{digest!r} does not begin with sha256:"
    assert task.data_digest(settings.location) == digest, "two looks at the data differ"


def a_seed_decides_everything(task: Task, settings: Settings) -> None:
    """Two problems of one seed have the same weights, batches, losses and gradients."""
    one, two = (_evaluated(task.problem(0, settings)) for _ in range(2))
    assert _equal(one, two), f"two problems of one seed differ{_by(one, two)}"


def seeds_differ(task: Task, settings: Settings) -> None:
    """Two seeds are two replicates."""
    one, two = (_evaluated(task.problem(seed, settings)) for seed in (0, 1))
    assert not _equal(one, two), "seeds 0 and 1 give the same problem"


def the_global_random_stream_changes_nothing(task: Task, settings: Settings) -> None:
    """Neither building nor evaluating depends on torch's default generators, or moves them."""
    found = []
    for seed in (0, 1):
        with seeded_default_generators(seed, settings.device):
            before = [generator.get_state() for generator in default_generators(settings.device)]
            problem = task.problem(0, settings)
            found.append(_evaluated(problem))
            problem.evaluate()
            problem.reestimate_batch_norm()
            problem.final()
            after = [generator.get_state() for generator in default_generators(settings.device)]
            assert _equal(before, after), "drew from torch's default generator"
    assert _equal(*found), f"depends on torch's default generator: the problem differs{_by(*found)}"


def a_step_sees_one_function(task: Task, settings: Settings) -> None:
    """Within a step the closure is one fixed function of the parameters."""
    problem = task.problem(0, settings)
    problem.objective.next_step()
    first, second = _loss_and_gradients(problem), _loss_and_gradients(problem)
    assert _equal(first, second), f"two evaluations within a step differ{_by(first, second)}"


def measuring_leaves_the_weights_alone(task: Task, settings: Settings) -> None:
    """`evaluate`, `final` and `test_correct` change neither weights nor buffers, and repeat themselves."""
    problem = task.problem(0, settings)
    before = {name: tensor.clone() for name, tensor in problem.module.state_dict().items()}
    metrics = problem.evaluate()
    problem.final()
    problem.test_correct()
    again = problem.evaluate()
    changed = {name: (metrics.get(name), again[name]) for name in again if again[name] != metrics.get(name)}
    assert again == metrics, f"two evaluations at the same weights differ: {changed}"
    for name, tensor in problem.module.state_dict().items():
        assert torch.equal(before[name], tensor), f"measuring changed {name}"
    assert problem.module.training, "measuring left the model in evaluation mode"


def resampling_changes_no_first_batch(task: Task, settings: Settings) -> None:
    """An optimizer that draws afresh starts from the same weights and batch, and meets the same order."""
    usual = task.problem(0, settings)
    fresh = task.problem(0, replace(settings, resamples=True))
    orders = [order for order in (usual.batch_order(), fresh.batch_order()) if order is not None]
    assert len(orders) != 1, "only one of them has an order of batches"
    assert _equal(orders[:1], orders[1:]), "the order of the batches differs"
    one, two = _evaluated(usual), _evaluated(fresh)
    assert _equal(one, two), f"weights or first batch differ{_by(one, two)}"


TASK_CHECKS: dict[str, Callable[[Task, Settings], None]] = {
    check.__name__: check
    for check in (
        data_digest_is_stable,
        a_seed_decides_everything,
        seeds_differ,
        the_global_random_stream_changes_nothing,
        a_step_sees_one_function,
        measuring_leaves_the_weights_alone,
        resampling_changes_no_first_batch,
    )
}
"""Every check by name; its docstring says what it demands."""


def check_task(
    task: TaskInfo | Task, options: Mapping[str, Any] | None = None, device: torch.device | str = "cpu"
) -> list[CheckResult]:
    """Put a task through the contract.

    Args:
        task: A registered info, or a task.
        options: For an info; the rest at their defaults.
        device: Where its problems are built.

    Returns:
        A result for each check, in order.

    Raises:
        UsageError: If an option is refused.
    """
    built = task.create(task.resolve(options)) if isinstance(task, TaskInfo) else task
    settings = Settings(device=torch.device(device))
    # What a task draws from the default generator is no draw of the caller's.
    with seeded_default_generators(0, settings.device):
        return [_result(name, built, settings) for name in TASK_CHECKS]


def _result(name: str, task: Task, settings: Settings) -> CheckResult:
    try:
        TASK_CHECKS[name](task, settings)
    except Skip as reason:
        return CheckResult(name, "skipped", str(reason))
    except Exception as error:
        return failure(name, error)
    return CheckResult(name, "passed")


def _evaluated(problem: Problem) -> list[Tensor]:
    weights = [parameter.detach().clone() for parameter in problem.parameters()]
    problem.objective.next_step()
    return weights + _loss_and_gradients(problem)


def _loss_and_gradients(problem: Problem) -> list[Tensor]:
    loss = problem.objective()
    gradients = [parameter.grad for parameter in problem.parameters()]
    return [loss, *(gradient.clone() for gradient in gradients if gradient is not None)]


def _equal(one: list[Tensor], two: list[Tensor]) -> bool:
    return len(one) == len(two) and all(torch.equal(a, b) for a, b in zip(one, two, strict=True))


def _by(one: list[Tensor], two: list[Tensor]) -> str:
    """By how much they differ at most, for a message; nothing where their shapes do."""
    if [tensor.shape for tensor in one] != [tensor.shape for tensor in two]:
        return ""
    differences = [(a - b).abs().max().item() for a, b in zip(one, two, strict=True)]
    return f" by {max(differences):g}"
