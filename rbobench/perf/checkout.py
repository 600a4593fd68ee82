"""The git checkout whose commits are measured: what they are called, and copies of them."""

from __future__ import annotations

import io
import subprocess
import tarfile
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from rbobench.errors import UsageError

# Measuring a commit adds files here; they change nothing that is measured.
RESULTS = "results/asv"
_FILES_NAMED = 3


@dataclass(frozen=True)
class Checkout:
    """A git checkout.

    Attributes:
        root: Its top folder.
    """

    root: Path

    @classmethod
    def find(cls, start: Path | None = None) -> Checkout:
        """The checkout that holds a folder.

        Args:
            start: The folder; the current one if not given.

        Raises:
            UsageError: If git is missing, or the folder is in no checkout.
        """
        folder = Path.cwd() if start is None else Path(start)
        answer = _run_git(folder, "rev-parse", "--show-toplevel")
        top = answer.stdout.decode().strip()
        if answer.returncode != 0 or not top:
            raise UsageError(f"{folder} is not in a git checkout; speed is measured between commits of one")
        return cls(Path(top))

    def resolve(self, revision: str) -> str:
        """The full hash of the commit that a revision names.

        Raises:
            UsageError: If no commit has that name.
        """
        answer = _run_git(
            self.root, "rev-parse", "--verify", "--quiet", "--end-of-options", f"{revision}^{{commit}}"
        )
        commit = answer.stdout.decode().strip()
        if answer.returncode != 0 or not commit:
            raise UsageError(f"unknown revision {revision!r} in {self.root}")
        return commit

    def require_clean(self) -> None:
        """Refuse files that differ from the commit that is checked out, new ones too.

        Recorded speeds (`results/asv`) do not count.

        Raises:
            UsageError: If there are any, naming the first.
        """
        listed = self._git("status", "--porcelain", "-z", "--no-renames", "--", ".", f":(exclude){RESULTS}")
        files = [entry[3:] for entry in listed.split("\0") if entry]
        if files:
            more = f" and {len(files) - _FILES_NAMED} more" if len(files) > _FILES_NAMED else ""
            raise UsageError(
                f"{self.root} has uncommitted changes ({', '.join(files[:_FILES_NAMED])}{more}); "
                "commit or stash them, because speeds are kept by commit"
            )

    def export(self, commit: str, folder: Path) -> None:
        """Write the files of a commit to a folder, leaving the checkout as it is.

        Args:
            commit: A revision.
            folder: Where to; made if missing.

        Raises:
            UsageError: If no commit has that name.
        """
        archive = _run_git(self.root, "archive", "--format=tar", self.resolve(commit))
        if archive.returncode != 0:
            raise UsageError(f"git archive: {_last_line(archive)}")
        folder.mkdir(parents=True, exist_ok=True)
        with tarfile.open(fileobj=io.BytesIO(archive.stdout)) as files:
            files.extractall(folder, filter="data")

    def subject(self, commit: str) -> str:
        """The first line of a commit's message."""
        return self._git("show", "--no-patch", "--format=%s", self.resolve(commit)).strip()

    def date(self, commit: str) -> str:
        """When a commit was made, in ISO 8601."""
        return self._git("show", "--no-patch", "--format=%cI", self.resolve(commit)).strip()

    def commits(self, base: str, head: str) -> list[str]:
        """The commits after `base` up to `head` on its first-parent line, oldest first."""
        span = f"{self.resolve(base)}..{self.resolve(head)}"
        return self._git("rev-list", "--first-parent", "--reverse", span).split()

    def ordered(self, commits: Iterable[str]) -> list[str]:
        """Those of some commits that are there, oldest first, no commit before its parents."""
        wanted = {commit for commit in commits if self._has(commit)}
        if not wanted:
            return []
        listed = self._git("rev-list", "--date-order", "--reverse", *sorted(wanted)).split()
        return [commit for commit in listed if commit in wanted]

    def _has(self, commit: str) -> bool:
        return _run_git(self.root, "cat-file", "-e", f"{commit}^{{commit}}").returncode == 0

    def _git(self, *arguments: str) -> str:
        answer = _run_git(self.root, *arguments)
        if answer.returncode != 0:
            raise UsageError(f"git {arguments[0]}: {_last_line(answer)}")
        return answer.stdout.decode(errors="replace")


def _run_git(folder: Path, *arguments: str) -> subprocess.CompletedProcess[bytes]:
    try:
        return subprocess.run(["git", "-C", str(folder), *arguments], capture_output=True, check=False)
    except FileNotFoundError:
        raise UsageError("git is missing; speed is measured between commits of a git checkout") from None


def _last_line(answer: subprocess.CompletedProcess[bytes]) -> str:
    lines = answer.stderr.decode(errors="replace").strip().splitlines()
    return lines[-1] if lines else f"ended with exit code {answer.returncode}"
