"""The command line: what it prints, what it refuses, and what it does not import."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from rbobench.cli import main

SUITE = """
name: small
seeds: 2
budget: {gradient_evaluations: 40}
evaluations: 2
optimizers:
  sgd: {lr: 0.01}
  rbo: {lr: 0.01, radius: 1.0, projection_steps: 5, projection_lr: 0.001}
tasks:
  eq14: {}
"""


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty working directory."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture(scope="module")
def records(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of records, run once."""
    folder = tmp_path_factory.mktemp("records")
    suite = folder / "small.yaml"
    suite.write_text(SUITE)
    assert main(["run", str(suite), "--out", str(folder / "out")]) == 0
    return folder / "out"


def _modules_after(*arguments: str) -> set[str]:
    code = (
        "import sys; from rbobench.cli import main; code = main(sys.argv[1:]);"
        "print(*sys.modules, sep='\\n', file=sys.stderr); sys.exit(code)"
    )
    done = subprocess.run([sys.executable, "-c", code, *arguments], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return set(done.stderr.split())


@pytest.mark.parametrize(
    "arguments",
    [("--help",), ("--version",), ("list", "suites"), ("list", "suites", "--json")],
)
def test_light_commands_import_nothing_heavy(arguments: tuple[str, ...]) -> None:
    assert _modules_after(*arguments).isdisjoint({"torch", "pandas", "numpy", "scipy", "timm"})


def test_program_is_installed() -> None:
    program = Path(sys.executable).with_name("rbobench")
    done = subprocess.run([program, "--version"], capture_output=True, text=True)
    assert re.fullmatch(r"rbobench \d+\.\d+\.\d+\n", done.stdout)
    assert done.returncode == 0


def test_no_command_shows_help(capsys: pytest.CaptureFixture[str]) -> None:
    assert main([]) == 0
    assert "leaderboard" in capsys.readouterr().out


def test_reader_that_leaves_is_no_error() -> None:
    command = f"{sys.executable} -m rbobench.cli list models | head -n 1"
    done = subprocess.run(command, shell=True, capture_output=True, text=True)
    assert len(done.stdout.splitlines()) == 1
    assert done.stderr == ""


def test_list_optimizers(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["list", "optimizers", "RBO*"]) == 0
    header, *rows = capsys.readouterr().out.splitlines()
    assert header.split()[:2] == ["name", "cost"]
    costs = {name: cost for name, cost, *_ in map(str.split, rows)}
    assert costs == {
        "rbo": "20",
        "rbo-center": "2",
        "rbo-center-null": "2",
        "rbo-distance": "20",
        "rbo-lagged": "1",
        "rbo-mirrored": "1",
        "rbo-null": "20",
        "rbo-previous": "1",
    }
    assert "sgd-short" in rows[0]


def test_list_optimizers_is_the_default(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["list"]) == 0
    names = [line.split()[0] for line in capsys.readouterr().out.splitlines()]
    assert {"rbo", "sgd", "sam", "entropy-sgd", "adamw"} < set(names)


def test_list_json(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["list", "optimizers", "rbo", "--json"]) == 0
    (rbo,) = json.loads(capsys.readouterr().out)
    assert rbo["hyperparameters"]["radius"] == "required"
    assert rbo["hyperparameters"]["projection_steps"] == 20
    assert "rbo-null" in rbo["controls"]


@pytest.mark.parametrize(
    ("kind", "pattern", "expected"),
    [("tasks", "eq1*", ["eq13", "eq14"]), ("suites", "quick", ["quick"]), ("models", "mlp", ["mlp"])],
)
def test_list(kind: str, pattern: str, expected: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["list", kind, pattern, "--json"]) == 0
    assert [row["name"] for row in json.loads(capsys.readouterr().out)] == expected


def test_dry_run_costs_and_writes_nothing(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (here / "small.yaml").write_text(SUITE)
    assert main(["run", "small.yaml", "--dry-run"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[1].split() == ["eq14", "sgd", "0", "1", "40", "80"]
    assert lines[-1] == "4 trials, 160 gradient evaluations"
    assert [path.name for path in here.iterdir()] == ["small.yaml"]


def test_dry_run_of_the_quick_suite_needs_no_data(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["run", "quick", "--dry-run", "--seeds", "1", "--only", "digits-noise"]) == 0
    assert capsys.readouterr().out.splitlines()[-1].startswith("10 trials")
    assert not list(here.iterdir())


def test_run_ends_in_leaderboard_and_figures(records: Path) -> None:
    assert len(list(records.glob("*.json"))) == 4
    assert list((records / "figures").glob("*.png"))
    assert list((records / "figures").glob("*.csv"))


def test_second_run_runs_nothing(records: Path, capsys: pytest.CaptureFixture[str]) -> None:
    figures = {path: path.stat().st_mtime_ns for path in (records / "figures").iterdir()}
    assert main(["run", str(records.with_name("small.yaml")), "--out", str(records)]) == 0
    out = capsys.readouterr().out
    assert out.startswith(f"nothing to run: all 4 trials have their records in {records}\n")
    assert "eq14" in out
    assert figures == {path: path.stat().st_mtime_ns for path in (records / "figures").iterdir()}


def test_run_by_default_writes_below_results(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (here / "small.yaml").write_text(SUITE)
    assert main(["run", "small.yaml", "--seeds", "1", "--only", "*/sgd/*"]) == 0
    captured = capsys.readouterr()
    assert len(list(here.glob("results/runs/small/*.json"))) == 1
    assert captured.err.startswith("[1/1] eq14/sgd/0: ok")
    assert captured.out.splitlines()[-1] == "figures: results/runs/small/figures"


def test_diverged_trial_is_a_record_and_the_suite_goes_on(
    here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (here / "small.yaml").write_text(SUITE.replace("sgd: {lr: 0.01}", "sgd: {lr: 1e9}"))
    assert main(["run", "small.yaml", "--out", "out"]) == 0
    assert "2 diverged, 2 ok" in capsys.readouterr().out
    assert main(["status", "out"]) == 0
    rows = [line.split() for line in capsys.readouterr().out.splitlines()]
    assert rows[2][:5] == ["eq14", "sgd", "2", "0", "2"]


def test_interrupted_run_says_how_to_go_on(
    here: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def interrupted(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("rbobench.runner.execution.run_suite", interrupted)
    assert main(["run", "quick"]) == 130
    assert capsys.readouterr().err.count("\n") == 1


@pytest.mark.parametrize("format", ["text", "markdown", "latex", "csv"])
def test_leaderboard(records: Path, format: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["leaderboard", str(records), "--format", format]) == 0
    assert "rbo" in capsys.readouterr().out


@pytest.mark.parametrize("format", ["pdf", "png", "svg"])
def test_plot(records: Path, format: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["plot", str(records), "--format", format]) == 0
    paths = [Path(line) for line in capsys.readouterr().out.splitlines()]
    assert paths
    assert all(path.exists() for path in paths)
    assert any(path.suffix == f".{format}" for path in paths)


def test_schema(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["schema"]) == 0
    assert {"optimizers", "tasks", "seeds", "budget"} <= json.loads(capsys.readouterr().out)[
        "properties"
    ].keys()


def test_check(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (here / "mine_for_check.py").write_text(
        "import torch\n"
        "class Good(torch.optim.SGD):\n"
        "    def __init__(self, params, lr=0.1): super().__init__(params, lr=lr)\n"
        "class Miscounted(Good):\n"
        "    gradient_evaluations = 2\n"
    )
    assert main(["check", "mine_for_check:Good", "--device", "CPU"]) == 0
    assert main(["check", "mine_for_check:Miscounted"]) == 1
    assert "failed" in capsys.readouterr().out


def _suite(old: str, new: str) -> Callable[[Path], None]:
    """Writes the suite `s.yaml` with something in it changed."""

    def write(folder: Path) -> None:
        assert old in SUITE
        (folder / "s.yaml").write_text(SUITE.replace(old, new))

    return write


def _file(name: str, content: bytes) -> Callable[[Path], None]:
    def write(folder: Path) -> None:
        (folder / name).write_bytes(content)

    return write


def _nothing(folder: Path) -> None:
    pass


RUN = ["run", "s.yaml"]
DIGITS = "tasks:\n  digits: {model: mlp, batch_size: 64, "
TASKS = "tasks:\n  eq14: {}"

BAD: dict[str, tuple[Callable[[Path], None], list[str], str]] = {
    "unknown command": (_nothing, ["lisst"], "list"),
    "unknown option": (_nothing, ["run", "quick", "--sedes", "3"], "--seeds"),
    "missing argument": (_nothing, ["run"], "SUITE"),
    "unknown kind": (_nothing, ["list", "optimisers"], "optimizers"),
    "nothing matches": (_nothing, ["list", "optimizers", "rob"], "'rbo'"),
    "unknown suite": (_nothing, ["run", "quik"], "did you mean 'quick'?"),
    "missing suite file": (_nothing, ["run", "no/where.yaml"], "there is no suite file"),
    "folder as suite": (_nothing, ["run", "."], "folder"),
    "unknown key": (_suite("evaluations: 2", "evalutions: 2"), RUN, "s.yaml:5:1: evalutions: unknown key"),
    "near key": (_suite("evaluations: 2", "evalutions: 2"), RUN, "did you mean 'evaluations'?"),
    "unknown optimizer": (_suite("  sgd:", "  sdg:"), RUN, "did you mean 'sgd'"),
    "unknown task": (_suite("eq14", "eqq14"), RUN, "'eq14'"),
    "unknown hyperparameter": (_suite("radius: 1.0", "raduis: 1.0"), RUN, "'radius'"),
    "unknown model": (_suite(TASKS, "tasks:\n  digits: {model: mpl}"), RUN, "'mlp'"),
    "unknown data set": (_suite(TASKS, "tasks:\n  cifra10: {}"), RUN, "'cifar10'"),
    "no mapping": (_file("s.yaml", b"- 1\n- 2\n"), RUN, "mapping"),
    "no text": (_file("s.yaml", b"\xff\xfe\x00\x01"), RUN, "s.yaml"),
    "empty file": (_file("s.yaml", b""), RUN, "s.yaml"),
    "wrong type": (_suite("lr: 0.01, radius", "lr: fast, radius"), RUN, "s.yaml:8:"),
    "seeds out of range": (_suite("seeds: 2", "seeds: 0"), RUN, "s.yaml:3:"),
    "budget out of range": (_suite("evaluations: 40", "evaluations: -40"), RUN, "s.yaml:4:"),
    "duplicate key": (_suite("seeds: 2", "seeds: 2\nseeds: 3"), RUN, "s.yaml:4:1"),
    "no tasks": (_suite(TASKS, "tasks: {}"), RUN, "there must be at least one"),
    "too many seeds": (_suite("seeds: 2", "seeds: 100000000000"), RUN, "there must be 1 to 10000 seeds"),
    "too many threads": (
        _suite("seeds: 2", "seeds: 2\nnumerics: {threads: 1000000}"),
        RUN,
        "numerics.threads: must be at most 1024",
    ),
    "a batch of problems": (
        _suite("radius: 1.0", "radius: 1.0, batch_dims: 1"),
        RUN,
        "a trial has one problem",
    ),
    "non-finite lr": (_suite("lr: 0.01, radius", "lr: .inf, radius"), RUN, "must be a number, not inf"),
    "a model that does not fit": (
        _suite(TASKS, "tasks:\n  digits: {model: vit_tiny_patch16_224}"),
        RUN,
        "task 'digits': model 'vit_tiny_patch16_224' cannot",
    ),
    "output folder of endless name": (
        _suite("seeds: 2", "seeds: 2"),
        [*RUN, "--out", "a" * 300],
        "cannot write to the output folder",
    ),
    "check of a module that exits": (
        _file("exits_at_once.py", b"raise SystemExit(3)"),
        ["check", "exits_at_once:Class"],
        "cannot import 'exits_at_once'",
    ),
    "negative radius": (_suite("radius: 1.0", "radius: -1.0"), RUN, "radius"),
    "non-finite radius": (_suite("radius: 1.0", "radius: .inf"), RUN, "radius"),
    "absent data": (_suite(TASKS, "tasks:\n  cifar10: {model: resnet8}"), RUN, "data"),
    "absent image folder": (
        _suite(TASKS, 'tasks:\n  here: {task: "folder:no/where", model: mlp}'),
        RUN,
        "no/where",
    ),
    "idle label noise": (
        _suite(TASKS, DIGITS + "label_noise: {kind: symmetric, rate: 1e-6}}"),
        RUN,
        "chang",
    ),
    "idle backdoor": (_suite(TASKS, DIGITS + "backdoor: {kind: badnets, rate: 1e-6}}"), RUN, "chang"),
    "rate out of range": (_suite(TASKS, DIGITS + "label_noise: {kind: symmetric, rate: 1.5}}"), RUN, "rate"),
    "unknown device": (_suite("seeds: 2", "seeds: 2"), [*RUN, "--device", "abacus"], "abacus"),
    "no seeds": (_suite("seeds: 2", "seeds: 2"), [*RUN, "--seeds", "0"], "--seeds"),
    "nothing selected": (_suite("seeds: 2", "seeds: 2"), [*RUN, "--only", "adam*"], "task/optimizer/seed"),
    "output folder is a file": (_suite("seeds: 2", "seeds: 2"), [*RUN, "--out", "s.yaml"], "s.yaml"),
    "output folder unwritable": (
        _suite("seeds: 2", "seeds: 2"),
        [*RUN, "--out", "/proc/rbobench"],
        "/proc/rbobench",
    ),
    "status without folder": (_nothing, ["status", "nowhere"], "nowhere"),
    "leaderboard without folder": (_nothing, ["leaderboard", "nowhere"], "nowhere"),
    "leaderboard without records": (_nothing, ["leaderboard", "."], "no records"),
    "plot without records": (_nothing, ["plot", "."], "no records"),
    "unknown format": (_nothing, ["leaderboard", ".", "--format", "word"], "markdown"),
    "check without class": (_nothing, ["check", "torch.optim"], "torch.optim"),
    "check of no module": (_nothing, ["check", "no_such_module:Class"], "no_such_module"),
    "check of no class": (_nothing, ["check", "torch.optim:Sgd"], "Sgd"),
    "check on no device": (_nothing, ["check", "torch.optim:Adam", "--device", "tpu"], "'tpu'"),
    "check of no optimizer": (_nothing, ["check", "math:pi"], "math:pi"),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_input(case: str, here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    prepare, arguments, fragment = BAD[case]
    prepare(here)
    before = sorted(here.rglob("*"))
    assert main(arguments) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.startswith("rbobench: error: ")
    assert captured.err.count("\n") == 1
    assert fragment in captured.err
    assert sorted(here.rglob("*")) == before
