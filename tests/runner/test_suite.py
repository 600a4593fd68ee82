"""Suite files: what is right loads, what is wrong is told in one line with its place."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from rbobench.errors import UsageError
from rbobench.runner.execution import plan
from rbobench.runner.suite import load_suite, suite_schema
from rbobench.runner.suite_files import find_suites, suite_path

GOOD = """\
name: good
seeds: 2
budget: {gradient_evaluations: 100}
optimizers:
  fake-sgd: {lr: 1e-1}
tasks:
  fake-bowl: {dims: 3}
"""


def test_a_suite_with_all_its_keys(suite_file: Callable[[str], Path]) -> None:
    suite = load_suite(
        suite_file("""\
name: whole
description: everything at once
seeds: [3, 1]
budget: {epochs: 2}
schedules: {lr: cosine, momentum: {name: switch, at: 0.3, final: 0}}
evaluations: 5
numerics: {threads: 2, precision: bf16, channels_last: true, compile: true}
save_weights: true
optimizers:
  sgd: {optimizer: fake-sgd, momentum: 0.9}
  slow sgd: {optimizer: Fake-SGD, lr: 1e-4}
  fake-short:
tasks:
  fake-blobs:
  clean: {task: fake-blobs, noise: 0, budget: {gradient_evaluations: 1e3}, optimizers: {sgd: {lr: 1}}}
  few: {task: fake-blobs, noise: 0.1, optimizers: {slow sgd: false}}
""")
    )
    assert suite.seeds == (3, 1)
    assert suite.budget.unit == "epochs"
    assert suite.tasks["clean"].budget.limit == 1000
    assert suite.tasks["clean"].options == {"noise": 0}
    assert suite.optimizers["sgd"].hyperparameters == {"momentum": 0.9}
    assert suite.numerics.precision == "bf16"


def test_a_number_of_seeds_counts_from_0(suite_file: Callable[[str], Path]) -> None:
    suite = load_suite(suite_file(GOOD))
    assert suite.seeds == (0, 1)
    assert suite.evaluations == 20
    assert not suite.save_weights


def replaced(old: str, new: str) -> str:
    assert old in GOOD
    return GOOD.replace(old, new)


BAD = [
    # structure
    (replaced("name: good\n", ""), "1:1: name: this key is required"),
    (replaced("seeds: 2", "sedes: 2"), "2:1: sedes: unknown key 'sedes'; did you mean 'seeds'"),
    (replaced("name: good", "name: Good"), "1:7: name: 'Good' is no name: lower-case"),
    (replaced("name: good", "name: 3"), "1:7: name: must be text, not 3"),
    (replaced("seeds: 2", "seeds: 0"), "2:8: seeds: there must be 1 to 10000 seeds"),
    (replaced("seeds: 2", "seeds: 1.5"), "2:8: seeds: must be a number of seeds or a list"),
    (replaced("seeds: 2", "seeds: true"), "2:8: seeds: must be a number of seeds or a list"),
    (replaced("seeds: 2", "seeds: two"), "2:8: seeds: must be a number of seeds or a list"),
    (replaced("seeds: 2", "seeds: []"), "2:8: seeds: give at least one seed"),
    (replaced("seeds: 2", "seeds: [1, 1]"), "2:8: seeds: a seed is given twice"),
    (replaced("seeds: 2", "seeds: [1, a]"), "2:8: seeds: a list of seeds holds whole numbers"),
    (replaced("{gradient_evaluations: 100}", "100"), "3:9: budget: must be a mapping, not 100"),
    (replaced("gradient_evaluations: 100", ""), "3:9: budget: give exactly one of"),
    (replaced("100}", "100, epochs: 1}"), "3:9: budget: give exactly one of"),
    (
        replaced("evaluations: 100", "evals: 100"),
        "3:10: budget.gradient_evals: unknown key 'gradient_evals'; did you",
    ),
    (
        replaced("evaluations: 100", "evaluations: 0"),
        "3:32: budget.gradient_evaluations: must be at least 1, not 0",
    ),
    (
        replaced("evaluations: 100", "evaluations: many"),
        "budget.gradient_evaluations: must be a whole number, not 'many'",
    ),
    (
        replaced("gradient_evaluations: 100", "epochs: -1"),
        "3:18: budget.epochs: must be greater than 0, not -1",
    ),
    (replaced("gradient_evaluations: 100", "seconds: .inf"), "3:19: budget.seconds: must be finite, not inf"),
    (GOOD + "evaluations: 0\n", "8:14: evaluations: must be at least 1, not 0"),
    (GOOD + "numerics: {threads: 0}\n", "8:21: numerics.threads: must be at least 1, not 0"),
    (
        GOOD + "numerics: {thread: 1}\n",
        "8:12: numerics.thread: unknown key 'thread'; did you mean 'threads'?",
    ),
    (
        GOOD + "numerics: {precision: fp16}\n",
        "8:23: numerics.precision: must be one of 'fp32' or 'bf16', not 'fp16'",
    ),
    (GOOD + "numerics: {compile: yes}\n", "8:21: numerics.compile: must be true or false, not 'yes'"),
    (GOOD + "save_weights: 1\n", "8:15: save_weights: must be true or false, not 1"),
    (
        GOOD + "schedules: {lr: step}\n",
        "8:17: schedules.lr: unknown schedule 'step'; known: constant, cosine, exponential, linear, switch",
    ),
    (GOOD + "schedules: {lr: 0.5}\n", "8:17: schedules.lr: a schedule is a name, or a mapping of its name"),
    (GOOD + "schedules: {lr: {at: 1}}\n", "8:17: schedules.lr.name: a schedule needs its name, one of"),
    (
        GOOD + "schedules:\n  lr:\n    name: swich\n    at: 1\n",
        "10:11: schedules.lr.name: unknown schedule 'swich'; did you mean 'switch'?",
    ),
    (
        GOOD + "schedules:\n  lr:\n    name: switch\n    att: 1\n",
        "11:5: schedules.lr.att: schedule 'switch': unknown option 'att'; did you mean 'at'?",
    ),
    (
        GOOD + "schedules:\n  lr:\n    name: switch\n    final: 0\n    at: 3\n",
        "12:9: schedules.lr.at: schedule 'switch': option 'at' must be at least 0 and at most 1, not 3",
    ),
    (
        GOOD + "schedules: {lr: {name: exponential, final: none}}\n",
        "8:44: schedules.lr.final: schedule 'exponential': option 'final' must be a number, not 'none'",
    ),
    (GOOD + "schedules: {learning: cosine}\n", "8:13: schedules.learning: no optimizer of the suite has it"),
    (GOOD + "seeds: 3\n", "8:1: duplicate key 'seeds'"),
    (replaced("\n  fake-sgd: {lr: 1e-1}", " {}"), "4:13: optimizers: there must be at least one"),
    (replaced("\n  fake-bowl: {dims: 3}", " {}"), "6:8: tasks: there must be at least one"),
    (replaced("\n  fake-bowl: {dims: 3}", ""), "6:7: tasks: must be a mapping, not nothing"),
    (replaced("{dims: 3}", "3"), "7:14: tasks.fake-bowl: must be a mapping, not 3"),
    (
        replaced("fake-bowl", "Fake-Bowl"),
        "7:3: tasks.Fake-Bowl: 'Fake-Bowl' is no name: lower-case letters, digits",
    ),
    (replaced("fake-bowl", "Fake-Bowl"), "did you mean 'fake-bowl'?"),
    (replaced("fake-sgd:", "a/b:"), "5:3: optimizers.a/b: 'a/b' is no name"),
    (
        replaced("seeds: 2", "seeds: 0").replace("dims: 3", "budget: 3"),
        "2:8: seeds: there must be 1 to 10000 seeds (and 1 more mistake)",
    ),
    # names
    (
        replaced("fake-sgd", "fake-sdg"),
        "5:3: optimizers.fake-sdg: unknown optimizer 'fake-sdg'; did you mean 'fake-sgd'",
    ),
    (
        replaced("{lr: 1e-1}", "{optimizer: fake-sdg}"),
        "5:25: optimizers.fake-sgd.optimizer: unknown optimizer 'fake-sdg'",
    ),
    (
        replaced("fake-bowl", "fake-bowel"),
        "7:3: tasks.fake-bowel: unknown task 'fake-bowel'; did you mean 'fake-bowl'",
    ),
    (replaced("{dims: 3}", "{task: fake-bowls}"), "7:21: tasks.fake-bowl.task: unknown task 'fake-bowls'"),
    (
        replaced("dims", "dimss"),
        "7:15: tasks.fake-bowl.dimss: task 'fake-bowl': unknown option 'dimss'; did you mean 'dims'?",
    ),
    (
        replaced("lr", "momentun"),
        "5:14: optimizers.fake-sgd.momentun: optimizer 'fake-sgd': unknown hyperparameter 'momentun'; did",
    ),
    # values
    (
        replaced("1e-1", "fast"),
        "5:18: optimizers.fake-sgd.lr: optimizer 'fake-sgd': hyperparameter 'lr' must be a number",
    ),
    (
        replaced("1e-1", ".nan"),
        "5:18: optimizers.fake-sgd.lr: optimizer 'fake-sgd': "
        "hyperparameter 'lr' must be a finite number, not nan",
    ),
    (replaced("1e-1", "-1"), "5:18: optimizers.fake-sgd.lr: optimizer 'fake-sgd': Invalid learning rate"),
    (
        replaced("dims: 3", "dims: 3.5"),
        "7:21: tasks.fake-bowl.dims: task 'fake-bowl': option 'dims' must be a whole number, not 3.5",
    ),
    (
        replaced("dims: 3", "dims: 0"),
        "7:21: tasks.fake-bowl.dims: task 'fake-bowl': dims must be at least 1, not 0",
    ),
    (
        replaced("dims: 3", "optimizers: {fake-sdg: {}}"),
        "7:28: tasks.fake-bowl.optimizers.fake-sdg: unknown optimizer label 'fake-sdg'; did you",
    ),
    (
        replaced("dims: 3", "optimizers: {fake-sgd: {lr: -1}}"),
        "7:43: tasks.fake-bowl.optimizers.fake-sgd.lr: optimizer",
    ),
    (
        replaced("dims: 3", "optimizers: {fake-sgd: 3}"),
        "7:27: tasks.fake-bowl.optimizers: fake-sgd must be a mapping",
    ),
    (
        replaced("dims: 3", "budget: {epoch: 3}"),
        "7:24: tasks.fake-bowl.budget.epoch: unknown key 'epoch'; did you mean 'epochs'?",
    ),
    # the grid
    (
        replaced("tasks:", "  twin: {optimizer: fake-sgd, lr: 0.1}\ntasks:"),
        "6:3: optimizers.twin: 'fake-bowl/twin/0' and 'fake-bowl/fake-sgd/0' are the same trial",
    ),
    (
        GOOD + "  twin: {task: fake-bowl, dims: 3.0}\n",
        "8:3: tasks.twin: 'twin/fake-sgd/0' and 'fake-bowl/fake-sgd/0' are the same trial",
    ),
    (
        replaced("{lr: 1e-1}", "{optimizer: fake-costly, evaluations: 101}"),
        "3:32: budget.gradient_evaluations: 100 gradient evaluations do not buy one step of 'fake-sgd'",
    ),
    (
        replaced("{lr: 1e-1}", "{optimizer: fake-short, matched: 101}"),
        "of which it may spend 0.0099 do not buy one step",
    ),
    ("- name: good\n", "1:1: a mapping of keys to values is expected"),
]


@pytest.mark.parametrize(("text", "message"), BAD, ids=[f"{i} {m[:40]}" for i, (_, m) in enumerate(BAD)])
def test_a_mistake_is_told_in_one_line_with_its_place(
    suite_file: Callable[[str], Path], text: str, message: str
) -> None:
    path = suite_file(text)
    with pytest.raises(UsageError) as caught:
        load_suite(path)
    told = str(caught.value)
    assert message in told
    assert told.startswith(f"{path}:")
    assert "\n" not in told


def test_an_unknown_suite_and_a_missing_file_are_told(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="unknown suite 'quikc'"):
        load_suite("quikc")
    with pytest.raises(UsageError, match=r"there is no suite file .*none.yaml"):
        load_suite(tmp_path / "none.yaml")
    with pytest.raises(UsageError, match="is a folder"):
        load_suite(tmp_path)


def test_a_file_comes_before_a_shipped_suite(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        "rbobench.runner.suite_files.find_suites", lambda: {"quick": tmp_path / "shipped.yaml"}
    )
    monkeypatch.chdir(tmp_path)
    assert suite_path("Quick") == tmp_path / "shipped.yaml"
    (tmp_path / "quick").mkdir()
    assert suite_path("quick") == tmp_path / "shipped.yaml", "a folder is no suite"
    (tmp_path / "quick").rmdir()
    (tmp_path / "quick").write_text(GOOD)
    assert suite_path("quick") == Path("quick")


def test_a_package_of_suites_is_found_without_being_imported(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    package = tmp_path / "some_suites"
    package.mkdir()
    (package / "__init__.py").write_text("raise AssertionError('imported')")
    (package / "mine.yaml").write_text(GOOD)
    monkeypatch.syspath_prepend(str(tmp_path))
    point = type("EntryPoint", (), {"value": "some_suites"})()
    monkeypatch.setattr("rbobench.runner.suite_files.entry_points", lambda group: [point])
    assert find_suites() == {"mine": package / "mine.yaml"}


def test_finding_suites_needs_neither_torch_nor_pydantic() -> None:
    code = (
        "import sys, rbobench.runner.suite_files as s; s.find_suites();"
        "sys.exit(any(name in sys.modules for name in ('torch', 'pydantic', 'numpy')))"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_the_schema_describes_both_forms_of_a_schedule() -> None:
    name, *mappings = suite_schema()["properties"]["schedules"]["additionalProperties"]["anyOf"]
    assert name == {"type": "string", "enum": ["constant", "linear", "cosine", "exponential", "switch"]}
    described = {mapping["properties"]["name"]["const"]: mapping for mapping in mappings}
    assert list(described) == name["enum"]
    for mapping in mappings:
        assert mapping["required"] == ["name"]
        assert not mapping["additionalProperties"]
        assert mapping["description"]
    assert described["constant"]["properties"].keys() == {"name"}
    assert described["switch"]["properties"] == {
        "name": {"const": "switch"},
        "at": {"type": "number", "minimum": 0, "maximum": 1, "default": 0.5},
        "final": {"type": "number", "minimum": 0, "default": 0.1},
    }
    final = described["exponential"]["properties"]["final"]
    assert final == {"type": "number", "exclusiveMinimum": 0, "maximum": 1, "default": 0.01}


def test_the_schema_names_every_key() -> None:
    schema = suite_schema()
    assert set(schema["required"]) == {"name", "seeds", "budget", "optimizers", "tasks"}
    assert not schema["additionalProperties"]
    assert schema["properties"]["seeds"]["anyOf"][0] == {"type": "integer", "minimum": 1}
    for definition in (schema, *schema["$defs"].values()):
        for name, entry in definition["properties"].items():
            assert entry.get("description"), name


@pytest.mark.parametrize("name", sorted(find_suites()))
def test_every_shipped_suite_is_right(name: str) -> None:
    """Names, values and budgets; a small suite's names are those of the full one's family."""
    suite = load_suite(name)
    assert suite.name == name
    assert suite.description
    planned = plan(suite, seeds=1)
    assert {entry.optimizer_label for entry in planned} == set(suite.optimizers)
    # A claim needs its control: whatever has one has it here.
    names = {entry.trial.optimizer for entry in planned}
    for entry in planned:
        assert not entry.controls or set(entry.controls) & names or name == "quick", entry.name
