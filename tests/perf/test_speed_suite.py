from __future__ import annotations

import ast
import importlib
import importlib.util
import inspect
import json
import math
import pickle
import re
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import torch

import suites.speed
from rbobench import registry
from rbobench.analysis.results import load_results
from rbobench.measures.catalog import GROUPS
from rbobench.timing import interleaved
from suites.speed import commit, memory, paired, records, step, training, trial
from suites.speed.optimizers import OPTIMIZERS, each, value

FOLDER = Path(suites.speed.__file__).parent
MODULES = [importlib.import_module(f"suites.speed.{path.stem}") for path in sorted(FOLDER.glob("[!_]*.py"))]


def benchmarks() -> list[tuple[type, str]]:
    """Every class with what asv takes for a benchmark."""
    return [
        (found, name)
        for module in MODULES
        for found in vars(module).values()
        if inspect.isclass(found) and found.__module__ == module.__name__
        for name in vars(found)
        if re.match(r"(track|time|timeraw|mem|peakmem)_", name)
    ]


BENCHMARKS = benchmarks()
NAMES = [f"{found.__module__.rsplit('.', 1)[1]}.{found.__name__}.{name}" for found, name in BENCHMARKS]


def test_there_is_one_for_each_thing_that_is_watched() -> None:
    watched = {name.split(".")[0] for name in NAMES}
    assert watched == {"step", "memory", "figure4", "sharpness", "startup", "records", "trial"}


@pytest.mark.parametrize(("found", "name"), BENCHMARKS, ids=NAMES)
def test_what_asv_needs_is_declared(found: Any, name: str) -> None:
    assert found.timeout > 60, "importing torch alone may take asv's usual limit"
    assert isinstance(found.version, str), "or a changed docstring would end the history"
    assert hasattr(found, "setup"), "there older commits are skipped"
    parameters = getattr(found, "params", ())
    assert len(parameters) == len(getattr(found, "param_names", ()))
    assert all(isinstance(each, str) for choices in parameters for each in choices), (
        "asv keeps their spelling"
    )
    if name.startswith("time_"):
        assert found.rounds == 2
        assert found.number == 1
        assert found.warmup_time > 0
        assert "synchronize" in inspect.getsource(getattr(found, name))
    else:
        # asv takes less of anything as better.
        assert not re.search(r"speedup|per second|/s\b|rate", found.unit)


@pytest.mark.parametrize(("found", "name"), BENCHMARKS, ids=NAMES)
def test_what_uses_torch_holds_it_to_one_thread(found: type, name: str) -> None:
    source = inspect.getsource(inspect.getmodule(found) or found)
    assert "one_thread()" in source or "ratio(" in source


def test_a_ratio_is_measured_on_one_thread() -> None:
    before = torch.get_num_threads()
    seen = []
    try:
        torch.set_num_threads(2)
        paired.ratio(lambda: seen.append(torch.get_num_threads()), lambda: None, rounds=1)
    finally:
        torch.set_num_threads(before)
    assert set(seen) == {1}


def test_params_are_what_the_registry_has_of_ours() -> None:
    ours = [name for name in registry.list_optimizers() if ":" not in name]
    assert list(OPTIMIZERS) == ours


def test_params_are_written_out() -> None:
    tree = ast.parse((FOLDER / "optimizers.py").read_text(encoding="utf-8"))
    (assigned,) = [
        node.value
        for node in tree.body
        if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "OPTIMIZERS"
    ]
    assert ast.literal_eval(assigned) == OPTIMIZERS
    assert step.Step.params == (tuple(training.MODELS), OPTIMIZERS)


def test_every_measure_of_sharpness_is_watched() -> None:
    found = next(found for found, name in BENCHMARKS if found.__module__.endswith(".sharpness"))
    assert found.params[0] == GROUPS["full"]


def test_the_folder_is_a_package() -> None:
    assert (FOLDER / "__init__.py").is_file()


def test_no_torch_is_imported_with_the_suite() -> None:
    # A spawned process for each of a hundred parameters would import it again.
    for path in FOLDER.glob("*.py"):
        for node in ast.parse(path.read_text(encoding="utf-8")).body:
            names = (
                [alias.name for alias in node.names]
                if isinstance(node, ast.Import)
                else [node.module or ""]
                if isinstance(node, ast.ImportFrom)
                else []
            )
            assert not {name.split(".")[0] for name in names} & {"torch", "timm", "rbobench", "baselines"}


def test_time_is_taken_by_the_file_of_this_checkout() -> None:
    assert paired.TIMING.samefile(Path(inspect.getfile(interleaved)))
    assert paired.timing() is not importlib.import_module("rbobench.timing")
    assert paired.timing().interleaved.__module__ == "speed_timing"


def test_twice_the_work_costs_twice() -> None:
    def work(count: int) -> int:
        return sum(range(count))

    ratios = paired.ratio(lambda: work(200_000), lambda: work(50_000), rounds=9, scale=0.5)
    assert len(ratios["samples"]) == 9
    assert float(ratios) > 0.75


def test_ratios_are_samples_to_asv_and_a_number_to_others() -> None:
    ratios = pickle.loads(pickle.dumps(paired.Ratios([1.0, 9.0, 2.0])))
    assert float(ratios) == 2.0
    assert json.loads(json.dumps(ratios)) == {"samples": [1.0, 9.0, 2.0], "number": 1}


@pytest.mark.parametrize("module", ["rbobench.not_there", "rbobench.optim.not_there", "baselines.not_there"])
def test_what_a_commit_does_not_have_is_skipped(module: str) -> None:
    with pytest.raises(NotImplementedError, match="not_there"):
        commit.offered(module)


def test_a_missing_name_is_skipped() -> None:
    with pytest.raises(NotImplementedError, match="not_there"):
        commit.offered("rbobench.errors", "not_there")


def test_a_missing_dependency_is_not_taken_for_an_older_commit(monkeypatch: pytest.MonkeyPatch) -> None:
    def imported(name: str) -> ModuleType:
        raise ModuleNotFoundError("No module named 'torch'", name="torch")

    monkeypatch.setattr(importlib, "import_module", imported)
    with pytest.raises(ModuleNotFoundError):
        commit.offered("rbobench.optim")


def test_a_missing_package_is_not_taken_for_an_older_commit(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(ModuleNotFoundError):
        commit.offered("rbobench.not_there")


def test_one_optimizer_that_fails_leaves_the_others() -> None:
    def measured(name: str) -> float:
        if name == "sam":
            raise ValueError("broken")
        if name == "rbo":
            raise NotImplementedError
        return 2.0

    found = each(measured)
    assert value(found, "sgd") == 2.0
    with pytest.raises(RuntimeError, match="ValueError: broken"):
        value(found, "sam")
    with pytest.raises(NotImplementedError):
        value(found, "rbo")


def test_an_unregistered_optimizer_is_skipped() -> None:
    with pytest.raises(NotImplementedError):
        training.create_optimizer("not-there", [torch.nn.Parameter(torch.zeros(1))])


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_every_optimizer_steps_as_often_as_it_says(name: str) -> None:
    problem = training.Training("mlp", samples=2)
    optimizer = training.create_optimizer(name, problem.parameters)
    calls = 0

    def counted() -> torch.Tensor:
        nonlocal calls
        calls += 1
        loss: torch.Tensor = problem()
        return loss

    for _ in range(2):
        assert torch.isfinite(torch.as_tensor(optimizer.step(counted)))
    assert calls <= 2 * 6, "a step must be short enough to measure all of them"


@pytest.mark.parametrize("model", training.MODELS)
def test_a_model_gives_gradients_to_all_its_weights(model: str) -> None:
    problem = training.Training(model)
    problem()
    assert all(parameter.grad is not None for parameter in problem.parameters)


@pytest.mark.parametrize(("found", "name"), BENCHMARKS, ids=NAMES)
def test_what_looks_up_a_cache_can_be_measured_afresh(found: Any, name: str) -> None:
    if hasattr(found, "setup_cache") and hasattr(found, "params"):
        first = [choices[0] for choices in found.params]
        assert list(inspect.signature(found().measure).parameters) == list(found.param_names)
        assert math.isfinite(float(found().measure(*first)))
        with pytest.raises(NotImplementedError):
            found().measure(*first[:-1], "not-there")


def test_copies_held_are_those_that_are_declared() -> None:
    assert memory._held("sgd") == 0.0
    assert memory._held("adamw") == pytest.approx(2.0)
    assert memory._held("rbo") == pytest.approx(2.0)


def test_the_peak_counts_what_sam_keeps_for_the_time_of_a_step() -> None:
    assert memory._peak("sgd") == pytest.approx(0.0, abs=0.01)
    assert memory._peak("sam") >= 1.0
    assert memory._peak("sam") == memory._peak("sam")


def test_copied_records_are_read_each_as_a_trial(tmp_path: Path) -> None:
    (original,) = trial.run_tiny_suite(tmp_path).glob("*.json")
    records.write_copies(original, tmp_path / "copies", 5)
    frame = load_results(tmp_path / "copies")
    assert sorted(frame["seed"]) == list(range(5))
    assert frame["status"].eq("ok").all()
    assert json.loads(original.read_text(encoding="utf-8"))["status"] == "ok"
