"""Has a commit made rbobench slower? Both commits are measured in turns, on the machine at hand.

A round starts a fresh process for each commit and lets them take samples alternately, so that a machine
which is busy now hurts both, and a process that was laid out badly in memory is one round's accident. The
benchmarks are the checkout's and measured alike; the measured packages are each commit's own.

The number of rounds is settled beforehand. Going on until something shows would find a slowdown in noise, so
an undecided check only says how many rounds would do, and a new check starts from nothing.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import numpy as np

from rbobench.errors import UsageError
from rbobench.perf import child
from rbobench.perf.checkout import Checkout
from rbobench.perf.decision import MOST_ROUNDS, Judgment, Verdict, judge, log_ratios, overall

BENCHMARKS = Path("suites") / "speed"
"""Where a checkout keeps its benchmarks."""

DEFAULT = r"^step\.Step\.\w+\('(mlp|resnet8)', '(rbo|rbo-center|rbo-previous|sam|sgd)'\)$"
"""What matters for an optimizer step and is quick to measure."""

SAMPLES = 2
"""Pairs of samples in a round, whose mean log ratio counts. Even, so that each commit is as often first."""

FAREWELL = 20.0
"""Seconds that a process has to clean up."""

EXIT_CODES = {Verdict.SAME_OR_FASTER: 0, Verdict.SLOWER: 1, Verdict.UNDECIDED: 3}

Say = Callable[[str], None]


@dataclass(frozen=True)
class Benchmark:
    """What a benchmark is called.

    Attributes:
        name: Module, class and method, and the parameters in brackets.
        label: Without the parameters.
        choice: The parameters alone.
        unit: Of its values.
    """

    name: str
    label: str
    choice: str
    unit: str


@dataclass(frozen=True)
class Row:
    """One benchmark of two commits.

    Attributes:
        benchmark: Which.
        base: The base's value, the median over all samples.
        head: The head's.
        judgment: What the rounds say.
    """

    benchmark: Benchmark
    base: float
    head: float
    judgment: Judgment


@dataclass(frozen=True)
class Absence:
    """A benchmark that could not be compared.

    Attributes:
        name: Which.
        base: Why the base has no value; `None` where it has.
        head: Why the head has none.
        why: What else is wrong: values that have no ratio.
    """

    name: str
    base: str | None = None
    head: str | None = None
    why: str | None = None

    @property
    def lost(self) -> bool:
        """Whether the base had a value and the head none: it cannot be called the same or faster."""
        return self.why is not None or (self.base is None and self.head is not None)

    def __str__(self) -> str:
        """A line that says what is missing."""
        if self.why is not None:
            return f"{self.name}: {self.why}"
        if self.base is not None and self.head is not None:
            same = self.base if self.base == self.head else f"base {self.base}; head {self.head}"
            return f"{self.name}: in neither commit: {same}"
        side, reason = ("base", self.base) if self.base is not None else ("head", self.head)
        return f"{self.name}: not in the {side}: {reason}"


@dataclass(frozen=True)
class Comparison:
    """Two commits compared.

    Attributes:
        base: The base's full hash.
        head: The head's.
        base_subject: First line of its message.
        head_subject: The same of the head.
        tolerance: How much slower still passes.
        rounds: How many were taken.
        round_seconds: How long a round took, the median.
        rows: The benchmarks compared.
        absences: Those that could not be.
        verdict: Slower if any benchmark is; else undecided if any is, or has been lost; else same or faster.
        more_rounds: How many more would decide; `None` if no sensible number would, or benchmarks have been
            lost, which none brings back; 0 if decided.
    """

    base: str
    head: str
    base_subject: str
    head_subject: str
    tolerance: float
    rounds: int
    round_seconds: float
    rows: tuple[Row, ...]
    absences: tuple[Absence, ...]
    verdict: Verdict
    more_rounds: int | None

    @property
    def exit_code(self) -> int:
        """0 same or faster, 1 slower, 3 undecided."""
        return EXIT_CODES[self.verdict]

    @property
    def slower(self) -> list[Row]:
        """The benchmarks that are slower, the worst first."""
        rows = [row for row in self.rows if row.judgment.verdict is Verdict.SLOWER]
        return sorted(rows, key=lambda row: -row.judgment.ratio)

    def conclusion(self) -> str:
        """The verdict in one line."""
        pair = f"{self.head[:8]} against {self.base[:8]}"
        if self.verdict is Verdict.SLOWER:
            named = ", ".join(
                f"{row.benchmark.name} by {row.judgment.ratio - 1.0:.0%}" for row in self.slower
            )
            return f"slower: {pair}: {named}"
        if self.verdict is Verdict.SAME_OR_FASTER:
            return f"same or faster: {pair}, within {self.tolerance:.0%}"
        return f"undecided: {pair}: {self._advice()}"

    def _advice(self) -> str:
        lost = [absence for absence in self.absences if absence.lost]
        if self.more_rounds is not None:
            return (
                f"too noisy; {_counted(self.more_rounds)} would likely decide: "
                f"run it again with --rounds {self.rounds + self.more_rounds}"
            )
        if lost:
            count = "a benchmark" if len(lost) == 1 else f"{len(lost)} benchmarks"
            return f"{count} of the base cannot be compared, and more rounds will not help"
        return (
            f"too noisy, or too near {self.tolerance:.0%}, for {MOST_ROUNDS} rounds: "
            "try a quieter machine or another --tolerance"
        )


def check(
    base: str,
    head: str = "HEAD",
    *,
    bench: str | None = None,
    rounds: int = 6,
    tolerance: float = 0.10,
    checkout: Checkout | None = None,
    say: Say | None = None,
) -> Comparison:
    """Compare the speed of two commits.

    Args:
        base: The revision to compare with.
        head: The revision in question.
        bench: A regular expression of benchmarks' names; by default `DEFAULT`.
        rounds: How often both are measured, at least 2.
        tolerance: How much slower still passes, e.g. 0.1.
        checkout: Where the commits and the benchmarks are; by default what holds the current folder.
        say: Told of every round.

    Raises:
        UsageError: If a revision is unknown, the head is checked out and has uncommitted changes, an option
            makes no sense, no benchmark can be compared, or a commit's benchmarks do not run at all.
    """
    if rounds < 2:
        raise UsageError(f"rounds must be at least 2, not {rounds}: one shows no spread")
    if not 0.0 < tolerance < float("inf"):
        raise UsageError(f"tolerance must be a positive fraction, not {tolerance}")
    pattern = DEFAULT if bench is None else bench
    try:
        re.compile(pattern)
    except re.error as error:
        raise UsageError(f"bench {pattern!r} is no regular expression: {error}") from None
    checkout = Checkout.find() if checkout is None else checkout
    commits = {"base": checkout.resolve(base), "head": checkout.resolve(head)}
    if commits["head"] == checkout.resolve("HEAD"):
        checkout.require_clean()
    measured = _measure(checkout, commits, pattern, rounds, say)
    logs: dict[str, list[float]] = {}
    for name, pairs in measured.pairs.items():
        try:
            logs[name] = [float(np.mean(log_ratios(*np.transpose(of_round)))) for of_round in pairs]
        except ValueError as error:
            measured.absences[name] = Absence(name, why=str(error))
    absences = tuple(measured.absences.values())
    if not logs:
        raise UsageError(f"nothing can be compared: {absences[0]}")
    rows = tuple(
        Row(
            measured.benchmarks[name],
            *_typical(measured.pairs[name]),
            judge(logs[name], tolerance, benchmarks=len(logs)),
        )
        for name in logs
    )
    verdict, more_rounds = overall(row.judgment for row in rows)
    if verdict is not Verdict.SLOWER and any(absence.lost for absence in absences):
        verdict, more_rounds = Verdict.UNDECIDED, None
    return Comparison(
        base=commits["base"],
        head=commits["head"],
        base_subject=checkout.subject(commits["base"]),
        head_subject=checkout.subject(commits["head"]),
        tolerance=tolerance,
        rounds=rounds,
        round_seconds=float(np.median(measured.seconds)),
        rows=rows,
        absences=absences,
        verdict=verdict,
        more_rounds=more_rounds,
    )


def render(comparison: Comparison) -> str:
    """The comparison as a text table, with what could not be compared below it and the verdict last."""
    lines = [
        f"base {comparison.base[:8]}  {comparison.base_subject}",
        f"head {comparison.head[:8]}  {comparison.head_subject}",
        "",
    ]
    header = ("benchmark", "parameters", "base", "head", "unit", "head/base", "interval", "verdict")
    table = [header, *(_cells(row) for row in comparison.rows)]
    widths = [max(len(cells[column]) for cells in table) for column in range(len(header))]
    numeric = ("base", "head", "head/base", "interval")
    for cells in table:
        aligned = (
            cell.rjust(width) if name in numeric else cell.ljust(width)
            for name, cell, width in zip(header, cells, widths, strict=True)
        )
        lines.append("  ".join(aligned).rstrip())
    if comparison.absences:
        lines += ["", "not compared:", *(f"  {absence}" for absence in comparison.absences)]
    return "\n".join([*lines, "", comparison.conclusion()])


def _cells(row: Row) -> tuple[str, ...]:
    judgment = row.judgment
    verdict = str(judgment.verdict)
    if judgment.verdict is Verdict.UNDECIDED:
        more = "no number of rounds" if judgment.more_rounds is None else _counted(judgment.more_rounds)
        verdict = f"{verdict} ({more})"
    return (
        row.benchmark.label,
        row.benchmark.choice,
        f"{row.base:.4g}",
        f"{row.head:.4g}",
        row.benchmark.unit,
        f"{judgment.ratio:.3f}",
        f"{judgment.low:.3f} to {judgment.high:.3f}" if judgment.high < 100.0 else "unknown",
        verdict,
    )


def _counted(more_rounds: int) -> str:
    return "1 more round" if more_rounds == 1 else f"{more_rounds} more rounds"


Pairs = list[tuple[float, float]]


@dataclass
class _Measured:
    """What the rounds gave: for each benchmark that both commits have, a list of pairs a round."""

    benchmarks: dict[str, Benchmark]
    absences: dict[str, Absence]
    pairs: dict[str, list[Pairs]]
    seconds: list[float]


def _measure(
    checkout: Checkout, commits: Mapping[str, str], pattern: str, rounds: int, say: Say | None
) -> _Measured:
    """Take all rounds, without looking at what they say."""
    folder = checkout.root / BENCHMARKS
    if not (folder / "__init__.py").is_file():
        raise UsageError(f"{checkout.root} holds no benchmarks: there is no {BENCHMARKS.as_posix()}")
    measured = _Measured({}, {}, {}, [])
    with tempfile.TemporaryDirectory(prefix="rbobench-check-") as temporary:
        trees = {side: Path(temporary) / side for side in commits}
        for side, commit in commits.items():
            checkout.export(commit, trees[side])
        for index in range(rounds):
            begin = time.perf_counter()
            with _processes(trees, commits, folder, pattern) as sides:
                if not index:
                    measured.benchmarks, measured.absences = _common(sides, pattern)
                    measured.pairs = {name: [] for name in measured.benchmarks}
                order = ("base", "head") if index % 2 == 0 else ("head", "base")
                for name in list(measured.pairs):
                    try:
                        measured.pairs[name].append(_paired(sides, name, order))
                    except _AbsentError as error:
                        measured.absences[name] = error.absence
                        del measured.pairs[name]
            if not measured.pairs:
                break
            measured.seconds.append(time.perf_counter() - begin)
            if say is not None:
                say(f"round {index + 1} of {rounds}: {measured.seconds[-1]:.0f} s")
    return measured


def _typical(rounds: Sequence[Pairs]) -> tuple[float, float]:
    """The base's and the head's median over all samples."""
    base, head = np.median(np.concatenate(rounds), axis=0)
    return float(base), float(head)


class _AbsentError(Exception):
    """A commit has no value to give of a benchmark."""

    def __init__(self, absence: Absence) -> None:
        super().__init__(str(absence))
        self.absence = absence


class _Side:
    """One commit's process, which has set its benchmarks up and waits."""

    def __init__(self, side: str, commit: str, process: subprocess.Popen[str], errors: IO[str]) -> None:
        self.side, self.commit = side, commit
        self._process, self._errors = process, errors
        self._index: dict[str, int] = {}
        self.benchmarks: dict[str, Benchmark] = {}
        self.absent: dict[str, str] = {}

    def begin(self, tree: Path) -> None:
        """Hear what can be measured, and make sure that it is the commit's."""
        content = self._heard()
        for package, origin in content["origins"].items():
            if origin is None or not Path(origin).resolve().is_relative_to(tree.resolve()):
                place = "nowhere" if origin is None else str(Path(origin).parent)
                raise UsageError(f"{self.commit[:8]} cannot be measured: {package} would come from {place}")
        for index, state in enumerate(content["benchmarks"]):
            name, absent = state.pop("name"), state.pop("absent")
            self._index[name] = index
            if absent is None:
                self.benchmarks[name] = Benchmark(name, **state)
            else:
                self.absent[name] = absent

    def sample(self, name: str) -> float | str:
        """A value, or why there is none."""
        if name in self.absent:
            return self.absent[name]
        if self._process.stdin is None:
            raise RuntimeError("a process is started with a pipe to it")
        with suppress(BrokenPipeError):  # then there is no answer either, which tells why
            print(self._index[name], file=self._process.stdin, flush=True)
        content = self._heard()
        return str(content["absent"]) if "absent" in content else float(content["value"])

    def _heard(self) -> Mapping[str, Any]:
        line = self._process.stdout.readline() if self._process.stdout is not None else ""
        if line:
            content: dict[str, Any] = json.loads(line)
            return content
        code = self._process.wait()
        self._errors.seek(0)
        said = self._errors.read().strip().splitlines()
        reason = said[-1] if said else f"exit code {code}"
        raise UsageError(f"the benchmarks of {self.commit[:8]} do not run: {reason}")


@contextmanager
def _processes(
    trees: Mapping[str, Path], commits: Mapping[str, str], folder: Path, pattern: str
) -> Iterator[dict[str, _Side]]:
    """A process for each commit, started side by side; they end with the context."""
    with ExitStack() as stack:
        sides = {}
        for side, tree in trees.items():
            errors = stack.enter_context(tempfile.TemporaryFile("w+", errors="replace"))
            process = subprocess.Popen(
                [sys.executable, "-P", child.__file__, "--benchmarks", str(folder), "--bench", pattern],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=errors,
                text=True,
                cwd=tree,
                env=_environment(tree),
            )
            stack.callback(_end, process)
            sides[side] = _Side(side, commits[side], process, errors)
        for side, tree in trees.items():
            sides[side].begin(tree)
        yield sides


def _end(process: subprocess.Popen[str]) -> None:
    """End its input and let it clean up; one that does not return is not waited for."""
    try:
        process.communicate(timeout=FAREWELL)
    except subprocess.TimeoutExpired:
        process.kill()
        process.communicate()


def _environment(tree: Path) -> dict[str, str]:
    """One thread, and the commit's packages before an installed copy."""
    inherited = os.environ.get("PYTHONPATH", "").split(os.pathsep)
    path = os.pathsep.join([str(tree), *(os.path.abspath(entry) for entry in inherited if entry)])
    threads = dict.fromkeys(("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"), "1")
    return {**os.environ, **threads, "PYTHONPATH": path}


def _common(sides: Mapping[str, _Side], pattern: str) -> tuple[dict[str, Benchmark], dict[str, Absence]]:
    base, head = sides["base"], sides["head"]
    # Parameters may be drawn up from the registry, so that a commit has not even the name.
    names = dict.fromkeys([*base.benchmarks, *base.absent, *head.benchmarks, *head.absent])
    if not names:
        raise UsageError(f"no benchmark matches {pattern!r}")
    absences = {}
    for name in names:
        lacks = {
            side: None if name in process.benchmarks else process.absent.get(name, "no such benchmark")
            for side, process in sides.items()
        }
        if any(reason is not None for reason in lacks.values()):
            absences[name] = Absence(name, **lacks)
    common = {name: base.benchmarks[name] for name in names if name not in absences}
    if not common:
        raise UsageError(f"nothing can be compared: {next(iter(absences.values()))}")
    return common, absences


def _paired(sides: Mapping[str, _Side], name: str, order: Sequence[str]) -> Pairs:
    """Samples (base, head) taken in turns, the first side second next time.

    Raises:
        _AbsentError: If either commit has no value.
    """
    pairs = []
    for index in range(SAMPLES):
        turn = order if index % 2 == 0 else tuple(reversed(order))
        values = {side: sides[side].sample(name) for side in turn}
        base, head = values["base"], values["head"]
        if isinstance(base, str) or isinstance(head, str):
            lacks = {side: value for side, value in values.items() if isinstance(value, str)}
            raise _AbsentError(Absence(name, **lacks))
        pairs.append((base, head))
    return pairs
