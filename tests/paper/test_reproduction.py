"""`rbobench paper` as a user runs it, on a part that takes seconds."""

from __future__ import annotations

import dataclasses
import subprocess
import sys
from pathlib import Path

import pytest

from rbobench.cli import main
from rbobench.errors import UsageError
from rbobench.paper import reproduction
from rbobench.paper.claim import Claim, Numbers, Ruling
from rbobench.paper.ledger import CLAIMS


def run(*arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "rbobench.cli", "paper", *arguments]
    return subprocess.run(command, capture_output=True, text=True)


def test_a_part_of_the_claims_is_shown_and_leaves_the_ledger_alone(tmp_path: Path) -> None:
    (tmp_path / "claims.md").write_text("all of them")
    done = run("--only", "unreachable-grows", "--out", str(tmp_path), "--jobs", "1")
    assert done.returncode == 0, done.stderr
    first, *rest = done.stdout.splitlines()
    assert first.startswith("unreachable-grows (4.1")
    assert [line.split(":")[0].strip() for line in rest] == ["test", "value", "uncertainty", "verdict"]
    assert "[1/1] unreachable-grows: " in done.stderr
    assert (tmp_path / "claims.md").read_text() == "all of them"
    assert [path.name for path in tmp_path.iterdir()] == ["claims.md"]


def test_near_names_are_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["paper", "--only", "figure5", "--out", str(tmp_path)]) == 2
    assert "unknown figure or claim 'figure5'; did you mean 'figure" in capsys.readouterr().err


def test_a_folder_that_cannot_be_is_told_before_anything_runs(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(UsageError, match=r"cannot write to .*file/paper: "):
        reproduction.reproduce(tmp_path / "file" / "paper", only="figure4")


def test_the_whole_ledger_is_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken() -> Numbers:
        raise ValueError("no ball")

    def timed(claim: Claim) -> Claim:
        return dataclasses.replace(claim, measure=broken, timed=True)

    # Without processes, and with tests that fail at once: what is written is another test's matter.
    monkeypatch.setattr(reproduction.ledger, "CLAIMS", tuple(timed(claim) for claim in CLAIMS))
    monkeypatch.setattr(reproduction, "FIGURES", ())
    said: list[str] = []
    done = reproduction.reproduce(tmp_path, say=said.append)
    assert [path.name for path in done.files] == ["claims.csv", "claims.md", "measurements.csv"]
    assert len(said) == len(done.entries) == len(CLAIMS)
    assert done.failed == [claim.name for claim in CLAIMS]
    assert {entry.outcome.finding.ruling for entry in done.entries} == {Ruling.OPEN}
