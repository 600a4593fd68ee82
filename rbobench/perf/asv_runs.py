"""Runs asv: measures a commit into `results/asv`, and makes the web page of what is there.

Every trap of asv that would record the wrong thing in silence is refused or checked here; `docs/speed.md`
names them.
"""

from __future__ import annotations

import filecmp
import importlib.util
import itertools
import json
import math
import os
import platform
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from rbobench.errors import UsageError
from rbobench.perf.checkout import RESULTS, Checkout

CONFIGURATION = "asv.conf.json"
WORKPLACE = ".asv"
"""What asv builds, kept out of git."""

_NEEDED = ("asv", "virtualenv", "hatchling", "wheel")
# What the environment has itself: the measured commit's own packages, and the tools that install them.
_NOT_SHARED = re.compile(
    r"(rbobench|baselines|suites|_editable_impl_rbobench|__editable__.*|pip|setuptools|_distutils_hack)"
    r"([-.].*)?|.*\.pth|__pycache__",
    re.IGNORECASE,
)
_SOME_FAILED = 2
_LINES_KEPT = 200

Say = Callable[[str], object]


def record(
    checkout: Checkout,
    *,
    machine: str | None = None,
    bench: str | None = None,
    commits: Sequence[str] = ("HEAD",),
    say: Say,
) -> Path:
    """Measure commits, each installed in an environment of its own, with the speed suite of this checkout.

    What was measured before at the same commit is replaced, benchmark by benchmark. A commit that cannot be
    measured leaves the others to be.

    Args:
        checkout: Where `asv.conf.json` is.
        machine: What to call this machine; its asv name or its host's name if not given.
        bench: Regular expression that the benchmarks' names must match; all if not given.
        commits: Revisions.
        say: Is told every line of asv's output.

    Returns:
        The folder of this machine's results.

    Raises:
        UsageError: If asv or git is missing, the checkout has uncommitted changes, a revision, the machine's
            name or `bench` is not right, a benchmark has failed, or something else was measured.
    """
    _require_asv()
    _require_configuration(checkout)
    checkout.require_clean()
    hashes = [checkout.resolve(commit) for commit in commits]
    if bench is not None:
        _require_pattern(bench)
    name = _know_machine(machine)
    folder = checkout.root / RESULTS / name
    environment = _environment(_share_dependencies(checkout.root / WORKPLACE / "dependencies"))
    wrong: list[str] = []
    for commit in hashes:
        say(f"measuring {commit[:8]} {checkout.subject(commit)}")
        try:
            _record_one(checkout, commit, folder, bench, environment, say)
        except UsageError as error:
            wrong.append(str(error))
            say(wrong[-1])
    if wrong:
        raise UsageError("; ".join(wrong))
    return folder


def publish(checkout: Checkout, folder: Path, say: Say = lambda line: None) -> Path:
    """Make asv's web page of all recorded results.

    Args:
        checkout: Where `asv.conf.json` is.
        folder: Where the page goes; a page that is there is replaced, anything else is not.
        say: Is told every line of asv's output.

    Returns:
        The page's `index.html`.

    Raises:
        UsageError: If asv is missing, nothing is recorded, or the folder holds something else.
    """
    _require_asv()
    _require_configuration(checkout)
    if not result_files(checkout.root / RESULTS):
        raise UsageError(f"nothing is recorded in {checkout.root / RESULTS}; `rbobench perf run` does")
    folder = folder.absolute()
    # asv empties the folder it writes to, whatever is in it.
    if folder.exists() and not (folder.is_dir() and (_is_page(folder) or not any(folder.iterdir()))):
        raise UsageError(f"{folder} holds something else than a page of asv's; name a new folder")
    folder.parent.mkdir(parents=True, exist_ok=True)
    code, lines = _run_asv(
        checkout, ["publish", "--no-pull", "--html-dir", str(folder)], dict(os.environ), say
    )
    if code != 0 or not _is_page(folder):
        raise UsageError(f"asv could not make the page: {_reason(lines)}")
    return folder / "index.html"


def result_files(results: Path) -> list[Path]:
    """The result files of all machines, sorted."""
    return sorted(path for path in results.glob("*/*.json") if path.name != "machine.json")


def _record_one(
    checkout: Checkout, commit: str, folder: Path, bench: str | None, environment: dict[str, str], say: Say
) -> None:
    before = _contents(folder, commit)
    _require_same_versions(before)
    # A list of commits and never --set-commit-hash, whose label asv would not verify; never --quick, which
    # would replace what is recorded by a single sample.
    arguments = ["run", "HASHFILE:-", "--machine", folder.name, "--launch-method", "spawn", "--no-pull"]
    arguments += ["--show-stderr"] + ([] if bench is None else [f"--bench={bench}"])
    with _restored_unless_right(checkout, folder, commit):
        code, lines = _run_asv(checkout, arguments, environment, say, given=commit)
        if code not in (0, _SOME_FAILED):
            raise UsageError(f"asv could not measure {commit[:8]}: {_reason(lines)}")
        after = _contents(folder, commit)
        changed = {path: content for path, content in after.items() if content != before.get(path)}
        if not changed:
            raise UsageError(f"asv recorded nothing for {commit[:8]}: {_reason(lines)}")
        (path,) = changed
        content = json.loads(changed[path])
        _check_commit(content, commit, path)
        if not _measured(content):
            raise UsageError(f"asv measured nothing at {commit[:8]}: {_reason(lines)}")
        _check_installed(checkout, commit, environment)
        _check_paths(checkout, [path, checkout.root / RESULTS / "benchmarks.json", folder / "machine.json"])
    failed = _failed(content)
    if failed:
        some = ", ".join(failed[:3])
        raise UsageError(f"{len(failed)} benchmarks failed at {commit[:8]} ({some}); the others are recorded")


def _require_asv() -> None:
    missing = [name for name in _NEEDED if importlib.util.find_spec(name) is None]
    if missing:
        raise UsageError(
            f"recording speeds needs {' and '.join(missing)}, which the perf extra brings: "
            "pip install 'rbobench[perf]'"
        )


def _require_configuration(checkout: Checkout) -> None:
    if not (checkout.root / CONFIGURATION).is_file():
        raise UsageError(
            f"{checkout.root} has no {CONFIGURATION}; speeds are recorded in rbobench's checkout"
        )


def _require_pattern(bench: str) -> None:
    try:
        re.compile(bench)
    except re.error as error:
        raise UsageError(f"{bench!r} is no regular expression: {error}") from None


def _know_machine(name: str | None) -> str:
    """Tell asv about this machine, so that it asks nothing, and of the versions that speeds depend on.

    Returns:
        The machine's name.
    """
    from asv.machine import Machine, MachineCollection  # type: ignore[import-untyped]

    own = Path(MachineCollection.get_machine_file_path())
    known = json.loads(own.read_text(encoding="utf-8")) if own.is_file() else {}
    names = [each for each in known if each != "version"]
    if name is None:
        name = names[0] if len(names) == 1 else platform.node()
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]*", name):
        raise UsageError(
            f"a machine's name is letters, digits, '.', '_' and '-', not {name!r}; use --machine"
        )
    entry = {**_description(Machine.get_defaults()), **known.get(name, {}), "machine": name, **_versions()}
    MachineCollection.save(name, entry)
    return name


def _description(found: dict[str, str]) -> dict[str, str]:
    """What asv found out about the machine, but for what differs after a restart and would split graphs."""
    ram = found["ram"]
    return {
        **found,
        "os": platform.system(),
        "ram": f"{round(int(ram) / 2**30)} GiB" if ram.isdigit() else ram,
    }


def _versions() -> dict[str, str]:
    """Versions that change speeds as a commit might; asv tells results apart by them."""
    import torch

    return {"torch": str(torch.__version__)}


def _require_same_versions(before: dict[Path, bytes]) -> None:
    for path, content in before.items():
        recorded = json.loads(content)["params"]
        for name, version in _versions().items():
            if recorded.get(name) != version:
                raise UsageError(
                    f"{path.name} was recorded with {name} {recorded.get(name)}, and this is {version}; "
                    "remove it, or record under another machine's name"
                )


def _share_dependencies(folder: Path) -> Path:
    """Link to every package of the running interpreter but those that are measured.

    `ASV_PYTHONPATH` goes before the environment's own packages, where an installed rbobench, or its entry
    points, would hide the measured commit's.
    """
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    for site in _site_folders():
        for entry in sorted(site.iterdir()):
            link = folder / entry.name
            if not _NOT_SHARED.fullmatch(entry.name) and not link.is_symlink():
                link.symlink_to(entry, target_is_directory=entry.is_dir())
    return folder


def _site_folders() -> list[Path]:
    folders = [Path(entry) for entry in sys.path]
    return [each for each in folders if each.name in ("site-packages", "dist-packages") and each.is_dir()]


def _environment(dependencies: Path) -> dict[str, str]:
    """What asv and everything that it starts sees."""
    # The running interpreter first, or asv builds environments with whichever Python it finds.
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", "")])
    threads = dict.fromkeys(("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"), "1")
    # asv takes what it is told here off Python's path again, looking for this very spelling: with a separator
    # at its end the entry stays, for Python strips it.
    return {**os.environ, **threads, "PATH": path, "ASV_PYTHONPATH": f"{dependencies}{os.sep}"}


def _run_asv(
    checkout: Checkout, arguments: list[str], environment: dict[str, str], say: Say, given: str = ""
) -> tuple[int, list[str]]:
    """Run asv in the checkout, told `given` on its standard input.

    Returns:
        Its exit code, and its last lines.
    """
    process = subprocess.Popen(
        [sys.executable, "-m", "asv", "--config", CONFIGURATION, *arguments],
        cwd=checkout.root,
        env=environment,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
    )
    lines: list[str] = []
    with process:
        assert process.stdin is not None
        assert process.stdout is not None
        process.stdin.write(given)
        process.stdin.close()
        for line in process.stdout:
            lines = [*lines[1 - _LINES_KEPT :], line.rstrip()]
            say(lines[-1])
    return process.returncode, lines


def _reason(lines: Sequence[str]) -> str:
    """The line of asv's output that most likely says why."""
    told = [line.strip() for line in lines if line.strip()]
    for pattern in (r"^\w*(Error|Exception)\b.*:", r"error|unavailable|failed"):
        matching = [line for line in told if re.search(pattern, line, re.IGNORECASE)]
        if matching:
            return matching[-1]
    return told[-1] if told else "it said nothing"


def _contents(folder: Path, commit: str) -> dict[Path, bytes]:
    return {path: path.read_bytes() for path in folder.glob(f"{commit[:8]}-*.json")}


@contextmanager
def _restored_unless_right(checkout: Checkout, folder: Path, commit: str) -> Iterator[None]:
    """Put the recorded files back if anything goes wrong, so that nothing doubtful is left among them."""
    shared = checkout.root / RESULTS / "benchmarks.json"
    before = {**_contents(folder, commit), **({shared: shared.read_bytes()} if shared.is_file() else {})}
    try:
        yield
    except BaseException:
        for path in (*_contents(folder, commit), shared):
            if path in before:
                path.write_bytes(before[path])
            else:
                path.unlink(missing_ok=True)
        raise


def _check_commit(content: dict[str, Any], commit: str, path: Path) -> None:
    if content["commit_hash"] != commit:
        raise UsageError(
            f"{path.name} is labeled {content['commit_hash'][:8]} where {commit[:8]} was measured"
        )
    if Path(content["env_name"]).name != content["env_name"]:
        raise UsageError(f"{path.name} names its environment by a path, {content['env_name']!r}")


def _check_installed(checkout: Checkout, commit: str, environment: dict[str, str]) -> None:
    """See that what the environment imports is the commit's own package, file by file."""
    installed = _installed(checkout, commit, environment)
    with tempfile.TemporaryDirectory() as folder:
        checkout.export(commit, Path(folder))
        for package in ("rbobench", "baselines"):
            source = Path(folder) / package
            files = [path.relative_to(source) for path in source.rglob("*.py")]
            if not files:
                continue
            _, different, missing = filecmp.cmpfiles(source, installed / package, files, shallow=False)
            if different or missing:
                raise UsageError(
                    f"what was measured is not {commit[:8]}: {package}/{(different + missing)[0]} differs"
                )


def _installed(checkout: Checkout, commit: str, environment: dict[str, str]) -> Path:
    """Where the environment that has the commit imports rbobench from: the folder that holds the package."""
    for status in (checkout.root / WORKPLACE / "env").glob("*/asv-install-status.json"):
        if json.loads(status.read_text(encoding="utf-8"))["commit_hash"] != commit:
            continue
        python = next(
            path
            for path in (status.parent / "bin/python", status.parent / "Scripts/python.exe")
            if path.exists()
        )
        found = subprocess.run(
            [python, "-c", "import rbobench; print(rbobench.__file__)"],
            cwd=status.parent,
            env={**environment, "PYTHONPATH": environment["ASV_PYTHONPATH"]},
            capture_output=True,
            text=True,
            check=False,
        )
        if found.returncode == 0:
            return Path(found.stdout.strip()).parents[1]
    raise UsageError(f"no environment has {commit[:8]} installed after asv has run")


def _check_paths(checkout: Checkout, written: Sequence[Path]) -> None:
    """Refuse results that name a folder of this machine: they are committed."""
    private = {str(checkout.root), str(Path.home()), sys.prefix, tempfile.gettempdir()} - {"/"}
    for path in written:
        text = path.read_text(encoding="utf-8")
        for folder in private:
            if f"{folder}/" in text:
                raise UsageError(f"{path.name} names {folder}, a folder of this machine")


def _measured(content: dict[str, Any]) -> bool:
    values = itertools.chain.from_iterable(values for _, values in _values(content))
    return any(value is not None and not math.isnan(value) for value in values)


def _failed(content: dict[str, Any]) -> list[str]:
    """Benchmarks of which a value is missing: asv writes NaN for what was skipped, null for what failed."""
    return [name for name, values in _values(content) if None in values]


def _values(content: dict[str, Any]) -> Iterator[tuple[str, list[float | None]]]:
    for name, row in content["results"].items():
        yield name, row[0] if row and row[0] is not None else [None]


def _is_page(folder: Path) -> bool:
    return (folder / "index.html").is_file() and (folder / "asv.js").is_file()
