"""Trials and their keys."""

from __future__ import annotations

import dataclasses
import json
import math
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rbobench import registry
from rbobench.runner import trial as trial_module
from rbobench.runner.planning import expand
from rbobench.runner.schema import Suite
from rbobench.runner.suite import load_suite
from rbobench.runner.trial import PlannedTrial, Trial, canonical_json, plain

CONTENT = {
    "name": "grid",
    "seeds": 2,
    "budget": {"gradient_evaluations": 100},
    "schedules": {"lr": "cosine", "momentum": "linear"},
    "evaluations": 4,
    "numerics": {"threads": 1, "precision": "fp32"},
    "optimizers": {
        "fake-sgd": {"lr": 0.1, "momentum": 0.5},
        "slow": {"optimizer": "fake-sgd", "lr": 0.01},
        "fake-costly": {"evaluations": 5},
    },
    "tasks": {"fake-bowl": {"dims": 3, "curvature": 2.0}, "fake-blobs": {"noise": 0.1}},
}


def trials(content: dict = CONTENT) -> list[PlannedTrial]:
    suite = Suite.model_validate(content)
    return expand(suite, suite.seeds)


def keys(content: dict = CONTENT) -> set[str]:
    return {planned.trial.key for planned in trials(content)}


def changed(**changes: object) -> dict:
    return {**CONTENT, **changes}


@st.composite
def shuffled(draw: st.DrawFn, value: object = CONTENT) -> object:
    if isinstance(value, dict):
        names = draw(st.permutations(list(value)))
        return {name: draw(shuffled(value[name])) for name in names}
    return value


@settings(max_examples=20, deadline=None)
@given(shuffled())
def test_keys_ignore_the_order_of_a_suite(content: dict) -> None:
    assert keys(content) == keys()


SPELLINGS = {
    "lr": ["0.1", "1e-1", ".1", "0.10", "10E-2"],
    "momentum": ["0", "0.0", "0e0", "-0.0"],
    "dims": ["3", "3.0", "0x3", "3e0"],
    "budget": ["100", "1e2", "100.0"],
    "seeds": ["2", "[0, 1]", "2.0", "[1, 0]"],
    "more": ["", ", evaluations: 20", ", schedules: {lr: constant}", ", numerics: {threads: 1.0}"],
}


@settings(max_examples=20, deadline=None)
@given(st.fixed_dictionaries({name: st.sampled_from(choices) for name, choices in SPELLINGS.items()}))
def test_keys_ignore_the_spelling_of_a_suite(
    tmp_path_factory: pytest.TempPathFactory, spelled: dict[str, str]
) -> None:
    def written(values: dict[str, str]) -> set[str]:
        path = tmp_path_factory.mktemp("suite") / "suite.yaml"
        path.write_text(
            "{{name: a, seeds: {seeds}, budget: {{gradient_evaluations: {budget}}}{more}, "
            "optimizers: {{fake-sgd: {{lr: {lr}, momentum: {momentum}}}}}, "
            "tasks: {{fake-bowl: {{dims: {dims}}}}}}}".format(**values)
        )
        suite = load_suite(path)
        return {planned.trial.key for planned in expand(suite, suite.seeds)}

    assert written(spelled) == written({name: choices[0] for name, choices in SPELLINGS.items()})


def test_a_default_written_out_is_the_same_trial() -> None:
    written = {"lr": 0.1, "momentum": 0.0}
    assert keys(changed(optimizers={"fake-sgd": written})) == keys(changed(optimizers={"fake-sgd": {}}))


@pytest.mark.parametrize(
    "change",
    [
        {"budget": {"gradient_evaluations": 101}},
        {"budget": {"epochs": 100}},
        {"evaluations": 5},
        {"schedules": {"lr": "linear"}},
        {"schedules": {"lr": {"name": "cosine", "final": 0.1}}},
        {"schedules": {"lr": "switch"}},
        {"numerics": {"precision": "bf16"}},
        {"numerics": {"channels_last": True}},
        {"numerics": {"compile": True}},
        {"numerics": {"threads": 2}},
        {"seeds": [2, 3]},
        {"tasks": {"fake-bowl": {"dims": 4}, "fake-blobs": {"noise": 0.2}}},
        {"optimizers": {"fake-sgd": {"lr": 0.2}}},
    ],
)
def test_keys_change_with_what_changes_results(change: dict) -> None:
    content = changed(schedules={"lr": "cosine"})
    assert keys({**content, **change}).isdisjoint(keys(content))


def test_keys_change_with_the_data_a_default_and_the_protocol(monkeypatch: pytest.MonkeyPatch) -> None:
    before = trials()[0].trial
    assert (
        dataclasses.replace(before, data="sha256:1").key != dataclasses.replace(before, data="sha256:2").key
    )
    monkeypatch.setattr(trial_module, "PROTOCOL", 2)
    assert dataclasses.replace(before).key != before.key
    monkeypatch.undo()
    info = registry.get_optimizer("fake-sgd")
    monkeypatch.setitem(
        registry._OPTIMIZERS._infos, "fake-sgd", dataclasses.replace(info, defaults={"momentum": 0.7})
    )
    content = changed(optimizers={"fake-sgd": {}})
    with_new_default = keys(content)
    monkeypatch.undo()
    assert with_new_default.isdisjoint(keys(content))


def test_keys_ignore_names_that_a_suite_gives() -> None:
    renamed = changed(name="other", optimizers={"mine": {"optimizer": "fake-sgd"}})
    assert keys(renamed) == keys(changed(optimizers={"fake-sgd": {}}))


def test_a_schedule_is_part_of_the_trials_whose_optimizer_has_the_key() -> None:
    schedules = {(p.optimizer_label): p.trial.schedules for p in trials()}
    assert schedules["fake-sgd"] == {"lr": "cosine", "momentum": "linear"}
    only_costly = changed(
        optimizers={"fake-sgd": {}, "fake-costly": {}}, schedules={"progress": "linear", "lr": "constant"}
    )
    schedules = {planned.optimizer_label: planned.trial.schedules for planned in trials(only_costly)}
    assert schedules == {"fake-sgd": {}, "fake-costly": {"progress": "linear"}}


def test_two_spellings_of_a_schedule_are_one_trial() -> None:
    def scheduled(spelling: object) -> dict:
        return changed(optimizers={"fake-sgd": {}}, schedules={"lr": spelling})

    assert keys(scheduled({"name": "cosine", "final": 0})) == keys(scheduled("cosine"))
    switches = [{"name": "switch", "at": 0.3}, {"final": 0.1, "at": 0.3, "name": "switch"}]
    assert keys(scheduled(switches[0])) == keys(scheduled(switches[1]))
    assert keys(scheduled(switches[0])).isdisjoint(keys(scheduled("switch")))
    held = {planned.trial.as_dict()["schedules"]["lr"] for planned in trials(scheduled({"name": "cosine"}))}
    assert held == {"cosine"}, "as records from before options hold it"
    held = trials(scheduled(switches[0]))[0].trial.as_dict()["schedules"]["lr"]
    assert held == {"name": "switch", "at": 0.3, "final": 0.1}
    assert trials(scheduled({"name": "constant"}))[0].trial.schedules == {}


def test_the_grid_goes_task_by_task_and_seed_by_seed() -> None:
    names = [planned.name for planned in trials()]
    assert names[:2] == ["fake-bowl/fake-sgd/0", "fake-bowl/slow/0"]
    assert names[3:7:3] == ["fake-bowl/fake-sgd/1", "fake-blobs/fake-sgd/0"]
    assert len(names) == 12


def test_a_task_can_override_hyperparameters_and_leave_an_optimizer_out() -> None:
    tasks = {"fake-bowl": {"optimizers": {"fake-sgd": {"lr": 3}, "slow": False}}, "fake-blobs": {}}
    found = {(p.task_label, p.optimizer_label): p.trial.hyperparameters for p in trials(changed(tasks=tasks))}
    assert found["fake-bowl", "fake-sgd"] == {"lr": 3.0, "momentum": 0.5}
    assert found["fake-blobs", "fake-sgd"] == {"lr": 0.1, "momentum": 0.5}
    assert ("fake-bowl", "slow") not in found
    assert ("fake-blobs", "slow") in found


@pytest.mark.parametrize(
    ("budget", "optimizer", "cost"),
    [
        ({"gradient_evaluations": 103}, {"fake-costly": {"evaluations": 10}}, 100),
        ({"gradient_evaluations": 100}, {"fake-sgd": {}}, 100),
        ({"gradient_evaluations": 49}, {"fake-short": {"matched": 49}}, 1),
        ({"gradient_evaluations": 150}, {"fake-short": {"matched": 7}}, 21),
        ({"epochs": 3}, {"fake-sgd": {}}, None),
    ],
)
def test_the_cost_of_a_trial_is_known_before_it_runs(
    budget: dict, optimizer: dict, cost: float | None
) -> None:
    planned = trials(changed(budget=budget, optimizers=optimizer, schedules={}))
    assert {entry.gradient_evaluations for entry in planned} == {cost}


def test_canonical_json_has_one_spelling() -> None:
    assert canonical_json({"b": (1, 2.5), "a": Path("x/y"), "c": -0.0}) == '{"a":"x/y","b":[1,2.5],"c":0.0}'
    assert plain([math.inf, -math.inf, None, True]) == ["inf", "-inf", None, True]
    with pytest.raises(ValueError, match="NaN"):
        canonical_json([math.nan])
    with pytest.raises(TypeError, match="object cannot be part of a trial"):
        canonical_json(object())


def test_a_trial_reads_back_from_json() -> None:
    trial = Trial("t", {"shape": (1, 2)}, "o", {"lr": 0.1}, {"epochs": 2.0}, 3, data="sha256:0")
    assert json.loads(canonical_json(trial.as_dict())) == trial.as_dict()
    assert len(trial.key) == 64


def test_a_folder_is_named_by_its_content_alone() -> None:
    def trial(place: str, data: str | None) -> Trial:
        return Trial(f"folder:{place}", {}, "sgd", {}, {"gradient_evaluations": 1}, 0, data=data)

    assert trial("here", "sha256:1").key == trial("/moved/there", "sha256:1").key
    assert trial("here", "sha256:1").key != trial("here", "sha256:2").key
    assert trial("here", None).key != trial("there", None).key
