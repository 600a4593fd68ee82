from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from rbobench.errors import UsageError
from rbobench.perf import asv_runs
from rbobench.perf.asv_runs import publish, record, result_files
from rbobench.perf.checkout import Checkout

pytest.importorskip("asv")

ROOT = Path(__file__).resolve().parents[2]
ENVIRONMENT = "virtualenv-py3.11"


def silent(line: str) -> None:
    pass


def git(folder: Path, *arguments: str) -> str:
    identity = ("-c", "user.name=Someone", "-c", "user.email=someone@example.org")
    return subprocess.run(
        ["git", *identity, *arguments], cwd=folder, check=True, capture_output=True, text=True
    ).stdout.strip()


@pytest.fixture
def checkout(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Checkout:
    """A repository of one commit that passes for ours, and a home of its own for asv's machine file."""
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    (tmp_path / "home").mkdir()
    root = tmp_path / "repository"
    (root / "rbobench").mkdir(parents=True)
    (root / "rbobench/__init__.py").write_text("")
    (root / "asv.conf.json").write_text((ROOT / "asv.conf.json").read_text())
    (root / ".gitignore").write_text("/.asv/\n")
    git(root, "init", "-q", "-b", "main")
    git(root, "add", "-A")
    git(root, "commit", "-q", "-m", "Begin")
    return Checkout.find(root)


def result(commit: str, **changed: Any) -> dict[str, Any]:
    content = {
        "commit_hash": commit,
        "env_name": ENVIRONMENT,
        "date": 0,
        "params": {"machine": "here", "python": "3.11", **asv_runs._versions()},
        "result_columns": ["result", "params", "version"],
        "results": {"step.Step.track_time": [[1.0, 2.0], [["'sgd'", "'rbo'"]], "1"]},
    }
    return {**content, **changed}


class Asv:
    """Stands in for asv: writes what it is told to, and what an environment with the commit would have."""

    def __init__(self, checkout: Checkout, monkeypatch: pytest.MonkeyPatch) -> None:
        self.checkout, self.commit = checkout, checkout.resolve("HEAD")
        self.written: dict[str, Any] | None = result(self.commit)
        self.code, self.lines, self.calls = 0, ["asv: it is done"], []
        self.installed = "".join((checkout.root / "rbobench/__init__.py").read_text())
        monkeypatch.setattr(asv_runs, "_run_asv", self._run)
        monkeypatch.setattr(asv_runs, "_installed", self._installed)

    @property
    def path(self) -> Path:
        return self.checkout.root / f"results/asv/here/{self.commit[:8]}-{ENVIRONMENT}.json"

    def _run(
        self,
        checkout: Checkout,
        arguments: list[str],
        environment: dict[str, str],
        say: Callable[[str], object],
        given: str = "",
    ) -> tuple[int, list[str]]:
        self.calls.append((arguments, environment, given))
        self.path.parent.mkdir(parents=True, exist_ok=True)
        (self.path.parent / "machine.json").write_text("{}")
        (self.path.parents[1] / "benchmarks.json").write_text("{}")
        if self.written is not None:
            self.path.write_text(json.dumps(self.written))
        return self.code, self.lines

    def _installed(self, checkout: Checkout, commit: str, environment: dict[str, str]) -> Path:
        folder = checkout.root / ".asv/installed"
        (folder / "rbobench").mkdir(parents=True, exist_ok=True)
        (folder / "rbobench/__init__.py").write_text(self.installed)
        return folder


@pytest.fixture
def asv(checkout: Checkout, monkeypatch: pytest.MonkeyPatch) -> Asv:
    return Asv(checkout, monkeypatch)


def test_a_commit_is_recorded_under_its_own_hash_and_never_quickly(checkout: Checkout, asv: Asv) -> None:
    folder = record(checkout, machine="here", bench="step", commits=["HEAD"], say=silent)
    assert folder == checkout.root / "results/asv/here"
    assert result_files(checkout.root / "results/asv") == [asv.path]
    ((arguments, _, given),) = asv.calls
    assert arguments[:2] == ["run", "HASHFILE:-"]
    assert given == asv.commit
    assert "--bench=step" in arguments
    assert not {"--quick", "-q", "--set-commit-hash", "--dry-run", "--environment", "-E"} & set(arguments)
    assert arguments[arguments.index("--launch-method") + 1] == "spawn"


def test_what_is_recorded_does_not_stop_the_next_recording(checkout: Checkout, asv: Asv) -> None:
    record(checkout, machine="here", say=silent)
    asv.written = result(asv.commit, date=1)
    record(checkout, machine="here", say=silent)


def test_a_dirty_tree_is_refused_before_anything_runs(checkout: Checkout, asv: Asv) -> None:
    (checkout.root / "new.py").write_text("")
    with pytest.raises(UsageError, match=r"uncommitted changes \(new.py\)"):
        record(checkout, machine="here", say=silent)
    assert not asv.calls


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"commits": ["nothing"]}, "unknown revision 'nothing'"),
        ({"machine": "../elsewhere"}, "a machine's name"),
        ({"machine": ""}, "a machine's name"),
        ({"bench": "("}, "no regular expression"),
    ],
)
def test_a_mistake_is_told_in_one_line(
    checkout: Checkout, asv: Asv, arguments: dict[str, Any], message: str
) -> None:
    with pytest.raises(UsageError, match=message) as error:
        record(checkout, **{"machine": "here", "say": silent, **arguments})
    assert "\n" not in str(error.value)
    assert not asv.calls


def test_a_missing_asv_is_told_with_the_cure(checkout: Checkout, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(asv_runs, "_NEEDED", ("no_such_asv",))
    for call in (
        lambda: record(checkout, machine="here", say=silent),
        lambda: publish(checkout, checkout.root / "page"),
    ):
        with pytest.raises(UsageError, match=r"no_such_asv.*pip install 'rbobench\[perf\]'"):
            call()


def test_another_checkout_is_refused(checkout: Checkout, asv: Asv) -> None:
    (checkout.root / "asv.conf.json").unlink()
    with pytest.raises(UsageError, match=r"has no asv.conf.json"):
        record(checkout, machine="here", say=silent)


def broken(asv: Asv, how: str) -> None:
    match how:
        case "label":
            asv.written = result("0" * 40)
        case "nothing":
            asv.written = None
        case "build":
            asv.code, asv.lines = 1, ["Failed to build the project", "more"]
        case "installed":
            asv.installed = "another = 'commit'"
        case "path":
            asv.written = result(asv.commit, env_name=ENVIRONMENT, note=f"{asv.checkout.root}/python")
        case "interpreter":
            asv.written = result(asv.commit, env_name="existing-/usr/bin/python3")
        case "skipped":
            asv.written = result(asv.commit, results={"step.Step.track_time": [[float("nan")], [["'sgd'"]]]})


@pytest.mark.parametrize(
    ("how", "message"),
    [
        ("label", "is labeled 00000000"),
        ("nothing", "recorded nothing"),
        ("build", "could not measure .*: Failed to build"),
        ("installed", "rbobench/__init__.py differs"),
        ("path", "a folder of this machine"),
        ("interpreter", "names its environment by a path"),
        ("skipped", "measured nothing"),
    ],
)
@pytest.mark.parametrize("before", [True, False])
def test_what_went_wrong_is_told_and_leaves_the_records_as_they_were(
    checkout: Checkout, asv: Asv, how: str, message: str, before: bool
) -> None:
    if before:
        record(checkout, machine="here", say=silent)
        asv.written = result(asv.commit, date=1)
    kept = asv.path.read_bytes() if before else None
    broken(asv, how)
    with pytest.raises(UsageError, match=message):
        record(checkout, machine="here", say=silent)
    assert (asv.path.read_bytes() if asv.path.exists() else None) == kept


def test_a_failed_benchmark_is_told_and_the_others_are_kept(checkout: Checkout, asv: Asv) -> None:
    asv.code = 2
    asv.written = result(
        asv.commit, results={"a.A.track_a": [[1.0], [["'sgd'"]]], "b.B.track_b": [[None, 2.0], [["1", "2"]]]}
    )
    with pytest.raises(UsageError, match=r"1 benchmarks failed at .* \(b.B.track_b\)"):
        record(checkout, machine="here", say=silent)
    assert asv.path.is_file()


def test_one_commit_that_fails_leaves_the_others(checkout: Checkout, asv: Asv) -> None:
    (checkout.root / "new.txt").write_text("")
    git(checkout.root, "add", "-A")
    git(checkout.root, "commit", "-q", "-m", "Go on")
    # What stands in for asv writes the first commit's file alone.
    with pytest.raises(UsageError, match="recorded nothing"):
        record(checkout, machine="here", commits=["HEAD", "HEAD~1"], say=silent)
    assert len(asv.calls) == 2
    assert asv.path.is_file()


def test_the_reason_is_the_error_itself() -> None:
    lines = [
        "Building",
        "OSError: Readme file does not exist",
        "[end of output]",
        "some benchmarks failed",
        "",
    ]
    assert asv_runs._reason(lines) == "OSError: Readme file does not exist"
    assert asv_runs._reason(["Failed to build", "bye"]) == "Failed to build"
    assert asv_runs._reason([]) == "it said nothing"


def test_another_torch_is_not_mixed_into_a_commits_records(checkout: Checkout, asv: Asv) -> None:
    record(checkout, machine="here", say=silent)
    asv.path.write_text(json.dumps(result(asv.commit, params={"torch": "1.0"})))
    with pytest.raises(UsageError, match=r"recorded with torch 1\.0"):
        record(checkout, machine="here", say=silent)


def test_the_machine_is_known_without_questions(
    checkout: Checkout, asv: Asv, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("platform.node", lambda: "host")
    assert asv_runs._know_machine(None) == "host"
    known = json.loads((Path(os.environ["HOME"]) / ".asv-machine.json").read_text())
    assert known["host"]["machine"] == "host"
    assert known["host"]["torch"] == asv_runs._versions()["torch"]
    monkeypatch.setattr("platform.node", lambda: "renamed")
    assert asv_runs._know_machine(None) == "host", "asv's own name of the machine, its only one"
    assert asv_runs._know_machine("other") == "other"
    assert asv_runs._know_machine(None) == "renamed", "of several, the host's"


def test_the_environment_runs_the_commits_package_on_one_thread(tmp_path: Path) -> None:
    environment = asv_runs._environment(asv_runs._share_dependencies(tmp_path / "shared"))
    assert environment["OMP_NUM_THREADS"] == "1"
    assert environment["PATH"].split(os.pathsep)[0] == str(Path(sys.executable).parent)
    names = {path.name.lower() for path in (tmp_path / "shared").iterdir()}
    assert "torch" in names
    assert not [name for name in names if name.startswith(("rbobench", "baselines")) or name.endswith(".pth")]
    assert not names & {"suites", "pip", "setuptools"}


def test_asv_cannot_take_the_dependencies_off_pythons_path(tmp_path: Path) -> None:
    named = asv_runs._environment(tmp_path)["ASV_PYTHONPATH"]
    program = "import sys; print(sys.argv[1] in sys.path, sys.path)"
    shown = subprocess.run(
        [sys.executable, "-c", program, named],
        env={"PYTHONPATH": named},
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    assert shown.startswith("False")
    assert str(tmp_path) in shown


def test_the_configuration_guards_against_asvs_traps() -> None:
    from asv.config import Config  # type: ignore[import-untyped]

    configuration = Config.load(str(ROOT / "asv.conf.json"))
    assert configuration.environment_type == "virtualenv", "an existing one saves nothing, or unverified"
    assert configuration.pythons == [f"{sys.version_info[0]}.{sys.version_info[1]}"], (
        "no path of an interpreter"
    )
    assert configuration.launch_method == "spawn"
    assert configuration.default_benchmark_timeout > 60
    assert configuration.results_dir == "results/asv"
    assert (ROOT / configuration.benchmark_dir / "__init__.py").is_file()
    assert "--no-deps" in configuration.build_command[0]
    assert "--no-deps --force-reinstall {wheel_file}" in configuration.install_command[0]
    assert str(Path.home()) not in (ROOT / "asv.conf.json").read_text()


def test_nothing_recorded_makes_no_page(checkout: Checkout) -> None:
    with pytest.raises(UsageError, match="nothing is recorded"):
        publish(checkout, checkout.root / "page")


def test_a_page_is_not_written_over_anything_else(checkout: Checkout, asv: Asv, tmp_path: Path) -> None:
    record(checkout, machine="here", say=silent)
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine/precious.txt").write_text("")
    for folder in (tmp_path / "mine", tmp_path / "mine/precious.txt"):
        with pytest.raises(UsageError, match="holds something else"):
            publish(checkout, folder)
    assert (tmp_path / "mine/precious.txt").exists()
