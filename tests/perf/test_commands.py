"""`rbobench perf` at the command line: each mistake in one line, exit code 2."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from rbobench.cli import main
from rbobench.perf import asv_runs

GIT = ("git", "-c", "user.name=somebody", "-c", "user.email=somebody@example.org")


@pytest.fixture
def checkout(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A checkout with one commit, as the working directory."""
    folder = tmp_path / "checkout"
    (folder / "suites" / "speed").mkdir(parents=True)
    (folder / "asv.conf.json").write_text("{}\n")
    (folder / "code.py").write_text("pass\n")
    for arguments in (("init", "-q"), ("add", "."), ("commit", "-qm", "Begin")):
        subprocess.run([*GIT, *arguments], cwd=folder, check=True)
    monkeypatch.chdir(folder)
    return folder


def refused(capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    """The one line in which a command is refused."""
    assert main(["perf", *arguments]) == 2
    captured = capsys.readouterr()
    (line,) = captured.err.splitlines()
    assert captured.out == ""
    return line


def _require_asv(arguments: tuple[str, ...]) -> None:
    if arguments[0] == "run":  # the other commands do without
        pytest.importorskip("asv")


@pytest.mark.parametrize("arguments", [("run",), ("check", "main"), ("history",), ("publish", "page")])
def test_outside_a_checkout(
    arguments: tuple[str, ...], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path.parent))
    assert "git checkout" in refused(capsys, *arguments)


@pytest.mark.parametrize(
    "arguments", [("run", "nowhere"), ("check", "nowhere"), ("check", "HEAD", "nowhere")]
)
def test_unknown_revision(arguments: tuple[str, ...], checkout: Path, capsys) -> None:
    _require_asv(arguments)
    assert "nowhere" in refused(capsys, *arguments)


@pytest.mark.parametrize("arguments", [("run",), ("check", "HEAD")])
def test_dirty_tree(arguments: tuple[str, ...], checkout: Path, capsys) -> None:
    _require_asv(arguments)
    (checkout / "code.py").write_text("changed\n")
    line = refused(capsys, *arguments)
    assert "uncommitted" in line
    assert "code.py" in line


@pytest.mark.parametrize("arguments", [("run",), ("publish", "page")])
def test_without_asv(
    arguments: tuple[str, ...], checkout: Path, monkeypatch: pytest.MonkeyPatch, capsys
) -> None:
    monkeypatch.setattr(asv_runs.importlib.util, "find_spec", lambda name: None)
    assert "pip install 'rbobench[perf]'" in refused(capsys, *arguments)


def test_nothing_recorded(checkout: Path, capsys) -> None:
    assert "rbobench perf run" in refused(capsys, "history")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--rounds", "1"), "rounds"),
        (("--tolerance", "0"), "tolerance"),
        (("--bench", "("), "regular expression"),
    ],
)
def test_options_of_check(arguments: tuple[str, ...], message: str, checkout: Path, capsys) -> None:
    assert message in refused(capsys, "check", "HEAD", *arguments)
