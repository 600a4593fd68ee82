from __future__ import annotations

import math
from typing import Any

import pytest
import torch

from rbobench import registry
from rbobench.errors import UsageError
from rbobench.registry import TaskInfo
from rbobench.tasks import landscape_task
from rbobench.tasks.landscape_task import LandscapeTask
from rbobench.tasks.landscapes import Eq13, Eq14, Rosenbrock, Sine
from rbobench.tasks.task import DataLocation, Problem, Settings, Task

NAMES = {"sine", "eq13", "eq14", "weierstrass", "whitley", "rastrigin", "rosenbrock"}


@pytest.fixture
def infos(monkeypatch: pytest.MonkeyPatch) -> dict[str, TaskInfo]:
    """The registered landscapes, without the rest of the registry."""
    found: dict[str, TaskInfo] = {}
    monkeypatch.setattr(landscape_task, "register_task", lambda info: found.__setitem__(info.name, info))
    landscape_task.register()
    return found


def point_of(problem: Problem) -> torch.Tensor:
    return problem.parameters()[0].detach().clone()


def test_every_landscape_is_registered_and_runs(infos: dict[str, TaskInfo]) -> None:
    assert set(infos) == NAMES
    for info in infos.values():
        assert info.kind == "landscape"
        assert info.description
        assert info.reference
        task = info.create(info.resolve())
        problem = task.problem(0, Settings())
        assert isinstance(task, Task)
        assert isinstance(problem, Problem)
        assert task.data_digest(DataLocation()) is None
        metrics = problem.evaluate()
        assert list(metrics) == ["loss", "distance", "gradient_norm"]
        assert all(math.isfinite(value) for value in metrics.values())


def test_resolved_options_name_the_start(infos: dict[str, TaskInfo]) -> None:
    assert infos["eq14"].resolve() == {"dtype": "float64", "start": (2.0, 0.0), "start_noise": 0.1}
    assert infos["eq14"].resolve({"start": [1, 2]})["start"] == (1.0, 2.0)
    assert infos["rastrigin"].resolve({"dimension": 5.0}) == {
        "dimension": 5,
        "dtype": "float64",
        "start": None,
        "start_noise": 0.1,
    }


def test_dimension_is_an_option(infos: dict[str, TaskInfo]) -> None:
    info = infos["rosenbrock"]
    problem = info.create(info.resolve({"dimension": 7})).problem(0, Settings())
    assert point_of(problem).shape == (7,)


def test_the_seed_decides_the_start() -> None:
    task = LandscapeTask(Eq14())
    first, again, other = (point_of(task.problem(seed, Settings())) for seed in (0, 0, 1))
    assert torch.equal(first, again)
    assert not torch.equal(first, other)
    center = torch.tensor([2.0, 0.0], dtype=torch.float64)
    assert (first - center).abs().max() <= 0.1
    assert (other - center).abs().max() <= 0.1


def test_without_noise_every_seed_starts_at_the_start() -> None:
    for seed in range(3):
        problem = LandscapeTask(Rosenbrock(3), start=(0.1, 0.2, 0.3), start_noise=0.0).problem(
            seed, Settings()
        )
        assert point_of(problem).tolist() == [0.1, 0.2, 0.3]


def test_the_caller_s_random_state_is_left_alone() -> None:
    before = torch.get_rng_state()
    LandscapeTask(Sine()).problem(0, Settings()).objective()
    assert torch.equal(torch.get_rng_state(), before)


def test_objective_and_metrics() -> None:
    problem = LandscapeTask(Sine(), start=(0.5,), start_noise=0.0).problem(0, Settings())
    point = problem.parameters()[0]
    problem.objective.next_step()
    loss = problem.objective()
    assert loss.shape == ()
    assert loss.item() == pytest.approx(math.sin(0.5))
    assert point.grad is not None
    assert point.grad.item() == pytest.approx(math.cos(0.5))
    (curvature,) = problem.objective.hessian_vector_product([torch.ones_like(point)])
    assert curvature.item() == pytest.approx(-math.sin(0.5))
    assert problem.objective.value().item() == loss.item()

    with torch.no_grad():
        point.sub_(2.0)
    assert problem.evaluate() == pytest.approx(
        {"loss": math.sin(-1.5), "distance": 2.0, "gradient_norm": math.cos(-1.5)}
    )
    assert problem.objective.gradient_evaluations == 1
    assert point.grad.item() == pytest.approx(math.cos(0.5))


def test_a_trial_descends_alike_twice() -> None:
    def run() -> list[float]:
        problem = LandscapeTask(Eq14()).problem(3, Settings())
        optimizer = torch.optim.SGD(problem.parameters(), lr=1e-3)
        losses = []
        for _ in range(50):
            problem.objective.next_step()
            losses.append(optimizer.step(problem.objective).item())
        return losses

    losses = run()
    assert losses == run()
    assert losses[-1] < losses[0]


@pytest.mark.parametrize(("dtype", "expected"), [("float32", torch.float32), ("float64", torch.float64)])
def test_dtype(dtype: Any, expected: torch.dtype) -> None:
    problem = LandscapeTask(Eq13(), dtype=dtype).problem(0, Settings())
    assert problem.parameters()[0].dtype == problem.objective().dtype == expected


def test_on_meta() -> None:
    problem = LandscapeTask(Eq14()).problem(0, Settings(device=torch.device("meta")))
    assert problem.objective().is_meta


def test_what_a_landscape_has_not() -> None:
    problem = LandscapeTask(Sine()).problem(0, Settings(resamples=True, channels_last=True, compile=True))
    before = point_of(problem)
    problem.reestimate_batch_norm()
    assert torch.equal(point_of(problem), before)
    assert problem.samples_per_batch == 1
    assert problem.samples_per_epoch is None
    assert not problem.has_validation
    assert problem.final() == {}
    assert problem.test_correct() is None
    assert problem.batch_order() is None
    assert problem.manifests() == []
    assert list(problem.module.state_dict()) == ["point"]


BAD_OPTIONS = [
    ("eq14", {"start": [1.0]}, "landscape 'eq14': start must have 2 coordinates, not 1"),
    ("sine", {"start": [1.0, 2.0]}, "landscape 'sine': start must have 1 coordinate, not 2"),
    ("sine", {"start": [math.inf]}, "option 'start' must be a finite number, not inf"),
    (
        "eq13",
        {"start_noise": -0.1},
        "landscape 'eq13': start_noise must be finite and not negative, not -0.1",
    ),
    (
        "eq13",
        {"start_noise": math.inf},
        "option 'start_noise' must be a finite number, not inf",
    ),
    ("rastrigin", {"dimension": 0}, "landscape 'rastrigin': dimension must be at least 1, not 0"),
    ("rosenbrock", {"dimension": 1}, "landscape 'rosenbrock': dimension must be at least 2, not 1"),
    (
        "sine",
        {"dtype": "float16"},
        "task 'sine': option 'dtype' must be one of 'float32', 'float64', not 'float16'",
    ),
    ("sine", {"dimension": 3}, "task 'sine': unknown option 'dimension'"),
    ("sine", {"start_nois": 0.2}, "did you mean 'start_noise'"),
]


@pytest.mark.parametrize(("name", "options", "message"), BAD_OPTIONS)
def test_bad_options(infos: dict[str, TaskInfo], name: str, options: dict[str, Any], message: str) -> None:
    with pytest.raises(UsageError) as error:
        infos[name].create(infos[name].resolve(options))
    assert message in str(error.value)
    assert "\n" not in str(error.value)


def test_mixed_precision_is_refused() -> None:
    with pytest.raises(UsageError, match="landscape 'eq14': precision 'bf16' is for networks"):
        LandscapeTask(Eq14()).problem(0, Settings(precision="bf16"))


def test_float64_on_mps_is_refused() -> None:
    with pytest.raises(UsageError, match="device 'mps' has no float64; set the option 'dtype' to 'float32'"):
        LandscapeTask(Eq14()).problem(0, Settings(device=torch.device("mps")))


def test_the_registry_has_them() -> None:
    assert set(registry.list_tasks()) >= NAMES
