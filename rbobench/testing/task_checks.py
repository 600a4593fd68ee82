"""The checks that every task must pass."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor

from rbobench.randomness import seeded_default_generators
from rbobench.registry import TaskInfo
from rbobench.tasks.task import Problem, Settings, Task
from rbobench.testing.checks import CheckResult, Skip, failure

SETTINGS = Settings()


def data_digest_is_stable(task: Task) -> None:
    """The digest of the data is the same at every look."""
    digest = task.data_digest(SETTINGS.location)
    if digest is None:
        raise Skip("has no data")
    assert digest.startswith("sha256:"), f"{digest!r} does not begin with sha256:"
    assert task.data_digest(SETTINGS.location) == digest, "two looks at the data differ"


def a_seed_decides_everything(task: Task) -> None:
    """Two problems of one seed have the same weights, batches, losses and gradients."""
    one, two = (_evaluated(task.problem(0, SETTINGS)) for _ in range(2))
    assert _equal(one, two), "two problems of one seed differ"


def seeds_differ(task: Task) -> None:
    """Two seeds are two replicates."""
    one, two = (_evaluated(task.problem(seed, SETTINGS)) for seed in (0, 1))
    assert not _equal(one, two), "seeds 0 and 1 give the same problem"


def the_global_random_stream_changes_nothing(task: Task) -> None:
    """Neither building nor evaluating depends on torch's default generator, or moves it."""
    found = []
    for seed in (0, 1):
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            before = torch.get_rng_state()
            problem = task.problem(0, SETTINGS)
            found.append(_evaluated(problem))
            problem.evaluate()
            problem.reestimate_batch_norm()
            problem.final()
            assert torch.equal(before, torch.get_rng_state()), "drew from torch's default generator"
    assert _equal(*found), "depends on torch's default generator"


def a_step_sees_one_function(task: Task) -> None:
    """Within a step the closure is one fixed function of the parameters."""
    problem = task.problem(0, SETTINGS)
    problem.objective.next_step()
    first = _loss_and_gradients(problem)
    assert _equal(first, _loss_and_gradients(problem)), "two evaluations within a step differ"


def measuring_leaves_the_weights_alone(task: Task) -> None:
    """`evaluate`, `final` and `test_correct` change neither weights nor buffers, and repeat themselves."""
    problem = task.problem(0, SETTINGS)
    before = {name: tensor.clone() for name, tensor in problem.module.state_dict().items()}
    metrics = problem.evaluate()
    problem.final()
    problem.test_correct()
    assert problem.evaluate() == metrics, "two evaluations at the same weights differ"
    for name, tensor in problem.module.state_dict().items():
        assert torch.equal(before[name], tensor), f"measuring changed {name}"
    assert problem.module.training, "measuring left the model in evaluation mode"


def resampling_changes_no_first_batch(task: Task) -> None:
    """An optimizer that draws afresh starts from the same weights and batch, and meets the same order."""
    usual = task.problem(0, SETTINGS)
    fresh = task.problem(0, Settings(resamples=True))
    orders = [order for order in (usual.batch_order(), fresh.batch_order()) if order is not None]
    assert len(orders) != 1, "only one of them has an order of batches"
    assert _equal(orders[:1], orders[1:]), "the order of the batches differs"
    assert _equal(_evaluated(usual), _evaluated(fresh)), "weights or first batch differ"


TASK_CHECKS: dict[str, Callable[[Task], None]] = {
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


def check_task(task: TaskInfo | Task, options: Mapping[str, Any] | None = None) -> list[CheckResult]:
    """Put a task through the contract, on the CPU.

    Args:
        task: A registered info, or a task.
        options: For an info; the rest at their defaults.

    Returns:
        A result for each check, in order.

    Raises:
        UsageError: If an option is refused.
    """
    built = task.create(task.resolve(options)) if isinstance(task, TaskInfo) else task
    # What a task draws from the default generator is no draw of the caller's.
    with seeded_default_generators(0, torch.device("cpu")):
        return [_result(name, built) for name in TASK_CHECKS]


def _result(name: str, task: Task) -> CheckResult:
    try:
        TASK_CHECKS[name](task)
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
