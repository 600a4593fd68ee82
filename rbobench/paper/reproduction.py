"""The paper's figures and its claims, regenerated on all cores."""

from __future__ import annotations

import fnmatch
import importlib
import time
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, as_completed
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rbobench.errors import UsageError, unknown
from rbobench.paper import ledger
from rbobench.processes import one_thread, process_pool

FIGURES = ("figure2", "figure3", "figure4")
FORMATS = ("pdf", "png")


@dataclass(frozen=True)
class Reproduction:
    """What was regenerated.

    Attributes:
        entries: The tested claims, in the paper's order.
        files: Everything that was written.
        failed: Names of figures that could not be made and of claims whose test failed to run.
        seconds: How long it took.
    """

    entries: list[ledger.Entry]
    files: list[Path]
    failed: list[str]
    seconds: float


def reproduce(
    out: str | Path,
    *,
    only: str | None = None,
    jobs: int | None = None,
    say: Callable[[str], None] = lambda message: None,
) -> Reproduction:
    """Draw the figures and test the claims; one thread a process.

    Args:
        out: Folder for figures (PDF, PNG and a CSV each) and ledger (`claims.csv`, `claims.md`,
            `measurements.csv`). A part of the claims leaves the ledger there alone.
        only: A shell pattern of names: `figure2`, a claim's name.
        jobs: Processes side by side; as many as there are cores by default.
        say: Is told of each figure and claim when it is done.

    Raises:
        UsageError: If nothing matches `only`, or `out` cannot be written.
    """
    began = time.perf_counter()
    figures = [name for name in FIGURES if only is None or fnmatch.fnmatch(name, only)]
    claims = [claim for claim in ledger.CLAIMS if only is None or fnmatch.fnmatch(claim.name, only)]
    if not figures and not claims:
        raise unknown("figure or claim", str(only), (*FIGURES, *(claim.name for claim in ledger.CLAIMS)))
    folder = Path(out)
    files: list[Path] = []
    failed: list[str] = []
    tested: dict[str, ledger.Outcome] = {}
    total, done = len(figures) + len(claims), 0

    def tell(name: str, outcome: str) -> None:
        nonlocal done
        done += 1
        say(f"[{done}/{total}] {name}: {outcome}")

    def note(name: str, outcome: ledger.Outcome) -> None:
        tested[name] = outcome
        if outcome.error:
            failed.append(name)
        tell(name, f"{outcome.finding.verdict} ({outcome.seconds:.0f} s)")

    with _writing_to(folder):
        folder.mkdir(parents=True, exist_ok=True)
    with process_pool(jobs) as pool:
        drawn = {pool.submit(_draw, name, folder): name for name in figures}
        examined = {pool.submit(_examine, claim.name): claim.name for claim in claims if not claim.timed}
        done_with: Iterable[Future[Any]] = as_completed([*drawn, *examined])
        for future in done_with:
            error = future.exception()  # of a claim: its process has died
            if isinstance(error, UsageError):
                raise error
            if future in examined:
                note(examined[future], ledger.failure(error) if error else future.result())
            elif error:
                failed.append(drawn[future])
                tell(drawn[future], f"failed: {type(error).__name__}: {error}")
            else:
                files += future.result()
                tell(drawn[future], "drawn")
    one_thread()
    for claim in claims:
        if claim.timed:
            note(claim.name, ledger.examine(claim))
    entries = [ledger.Entry(claim, tested[claim.name]) for claim in claims]
    if len(entries) == len(ledger.CLAIMS):
        with _writing_to(folder):
            files += ledger.write(entries, folder)
    return Reproduction(entries, files, failed, time.perf_counter() - began)


@contextmanager
def _writing_to(folder: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise UsageError(f"cannot write to {folder}: {error.strerror or error}") from None


def _draw(name: str, folder: Path) -> list[Path]:
    from rbobench.analysis.style import paper_style, save

    module = importlib.import_module(f"rbobench.paper.{name}")
    shown = module.measure()
    figure = module.draw(shown)
    with paper_style(), _writing_to(folder):
        paths = save(figure, shown, folder / name, FORMATS)
    return [*paths, (folder / name).with_suffix(".csv")]


def _examine(name: str) -> ledger.Outcome:
    return ledger.examine(next(claim for claim in ledger.CLAIMS if claim.name == name))
