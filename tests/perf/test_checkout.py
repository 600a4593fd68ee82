from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from rbobench.errors import UsageError
from rbobench.perf.checkout import Checkout


def git(folder: Path, *arguments: str) -> str:
    identity = ("-c", "user.name=Someone", "-c", "user.email=someone@example.org")
    return subprocess.run(
        ["git", *identity, *arguments], cwd=folder, check=True, capture_output=True, text=True
    ).stdout.strip()


def commit(folder: Path, name: str, text: str, subject: str) -> str:
    (folder / name).write_text(text)
    git(folder, "add", "-A")
    git(folder, "commit", "-q", "-m", subject)
    return git(folder, "rev-parse", "HEAD")


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    folder = tmp_path / "repository"
    folder.mkdir()
    git(folder, "init", "-q", "-b", "main")
    commit(folder, "speed.txt", "1", "Begin")
    commit(folder, "speed.txt", "2", "Go on")
    commit(folder, "speed.txt", "3", "Finish")
    return folder


def test_is_found_from_a_folder_inside(repository: Path) -> None:
    (repository / "inside").mkdir()
    assert Checkout.find(repository / "inside").root == repository.resolve()


def test_a_folder_outside_is_refused_in_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path.parent))
    with pytest.raises(UsageError, match="is not in a git checkout") as error:
        Checkout.find(tmp_path)
    assert "\n" not in str(error.value)


def test_a_missing_git_is_told(repository: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "")
    with pytest.raises(UsageError, match="git is missing"):
        Checkout.find(repository)


def test_a_revision_becomes_the_hash_of_its_commit(repository: Path) -> None:
    checkout = Checkout.find(repository)
    git(repository, "tag", "-a", "-m", "annotated", "v1", "HEAD~1")
    assert checkout.resolve("v1") == git(repository, "rev-parse", "HEAD~1")
    assert checkout.subject("v1") == "Go on"
    assert checkout.date("v1") == git(repository, "show", "-s", "--format=%cI", "HEAD~1")


@pytest.mark.parametrize("revision", ["nothing", "--help", "HEAD~9", "", "HEAD:speed.txt"])
def test_an_unknown_revision_is_refused_in_one_line(repository: Path, revision: str) -> None:
    with pytest.raises(UsageError, match="unknown revision") as error:
        Checkout.find(repository).resolve(revision)
    assert "\n" not in str(error.value)


def test_commits_are_those_after_the_base_oldest_first(repository: Path) -> None:
    checkout = Checkout.find(repository)
    after = [checkout.resolve(name) for name in ("HEAD~1", "HEAD")]
    assert checkout.commits("HEAD~2", "HEAD") == after
    assert checkout.commits("HEAD", "HEAD") == []
    assert checkout.ordered([after[1], "0" * 40, after[0]]) == after
    assert checkout.ordered(["0" * 40]) == []


def test_a_clean_tree_is_accepted_and_so_are_recorded_speeds(repository: Path) -> None:
    checkout = Checkout.find(repository)
    checkout.require_clean()
    (repository / "results/asv").mkdir(parents=True)
    (repository / "results/asv/benchmarks.json").write_text("{}")
    checkout.require_clean()


def test_changed_and_new_files_are_named_some_of_them(repository: Path) -> None:
    checkout = Checkout.find(repository)
    (repository / "speed.txt").write_text("4")
    with pytest.raises(UsageError, match=r"uncommitted changes \(speed.txt\)"):
        checkout.require_clean()
    for name in "abcd":
        (repository / name).write_text("")
    with pytest.raises(UsageError, match="and 2 more") as error:
        checkout.require_clean()
    assert "\n" not in str(error.value)


def test_an_exported_commit_is_its_files_and_the_checkout_stays(repository: Path, tmp_path: Path) -> None:
    (repository / "speed.txt").write_text("not committed")
    Checkout.find(repository).export("HEAD~2", tmp_path / "old")
    assert (tmp_path / "old/speed.txt").read_text() == "1"
    assert (repository / "speed.txt").read_text() == "not committed"
    assert git(repository, "log", "-1", "--format=%s") == "Finish"
