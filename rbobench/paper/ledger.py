"""The ledger of claims: every claim of the paper with its test, its numbers and its verdict."""

from __future__ import annotations

import re
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

import pandas as pd

from rbobench.analysis.tables import markdown_row
from rbobench.paper.claim import Claim, Finding, Numbers, Ruling
from rbobench.paper.claims import (
    cost,
    exploration,
    invariant,
    ironing,
    limits,
    reachability,
    strong_ironing,
    unseen,
    wrinkles,
)

COLUMNS = ("section", "claim", "test", "value", "uncertainty", "verdict")

CLAIMS: tuple[Claim, ...] = tuple(
    sorted(
        (
            *ironing.CLAIMS,
            *strong_ironing.CLAIMS,
            *unseen.CLAIMS,
            *reachability.CLAIMS,
            *invariant.CLAIMS,
            *limits.CLAIMS,
            *exploration.CLAIMS,
            *wrinkles.CLAIMS,
            *cost.CLAIMS,
        ),
        key=lambda claim: [int(number) for number in re.findall(r"\d+", claim.section.split(",")[0])],
    )
)
"""In the paper's order."""

_TEXT = """# Claims of the paper, tested

The claims of [arXiv 2505.19527](https://arxiv.org/abs/2505.19527) in our own words, each with a test, what
it measured and the verdict that follows from the numbers alone. `rbobench paper` measures them anew; every
number behind this table is in `measurements.csv`.

- *holds*: no counterexample where the paper claims it, as far as the test could see.
- *holds when*: under a condition that the paper does not state; the counterexamples lie outside it.
- *refuted by*: a counterexample within what the paper assumes.
- *not reproduced*: what the paper saw was not seen under its settings, as far as it states them.
- *open*: the test cannot tell.

Rows marked *(ours)* are not the paper's claims: they are what its claims rest on, lead to, or are mistaken
for. η, ρ, γ, P are the paper's; f\\_ρ is the offset graph, λ the loss scale (1 in the paper), s = √(1+‖∇f‖²),
flow time the number of steps times η, the null a ball of radius 0, a control what a simpler method does at
the same settings.

{summary}

{table}
"""


@dataclass(frozen=True)
class Outcome:
    """What came of a test.

    Attributes:
        finding: What the numbers say.
        numbers: What was measured; empty where the test failed to run.
        seconds: How long it took.
        error: Why the test failed to run; empty where it did not.
    """

    finding: Finding
    numbers: Numbers = field(default_factory=dict)
    seconds: float = 0.0
    error: str = ""


class Entry(NamedTuple):
    """A claim that has been tested, and what came of it."""

    claim: Claim
    outcome: Outcome


def examine(claim: Claim) -> Outcome:
    """Run a claim's test and judge the numbers. A test that fails to run leaves its claim open."""
    began = time.perf_counter()
    numbers: dict[str, float] = {}
    try:
        numbers = {name: float(value) for name, value in claim.measure().items()}
        finding = claim.judge(numbers)
    except Exception as error:
        return failure(error, numbers, time.perf_counter() - began)
    return Outcome(finding, numbers, time.perf_counter() - began)


def failure(error: BaseException, numbers: Numbers | None = None, seconds: float = 0.0) -> Outcome:
    """The outcome of a test that failed to run, with what it had measured."""
    text = f"{type(error).__name__}: {' '.join(str(error).split())}"
    finding = Finding("", "", Ruling.OPEN, f"its test failed to run ({text})")
    return Outcome(finding, numbers or {}, seconds, text)


def table(entries: Iterable[Entry]) -> pd.DataFrame:
    """The ledger as a data frame: `COLUMNS`, one row for each claim."""
    rows = [
        (claim.section, claim.claim, claim.test, finding.value, finding.uncertainty, finding.verdict)
        for claim, outcome in entries
        for finding in (outcome.finding,)
    ]
    return pd.DataFrame(rows, columns=pd.Index(COLUMNS))


def measurements(entries: Iterable[Entry]) -> pd.DataFrame:
    """The numbers behind the ledger: `section`, `name`, `claim`, `quantity`, `value`."""
    rows = [
        (claim.section, claim.name, claim.claim, quantity, value)
        for claim, outcome in entries
        for quantity, value in outcome.numbers.items()
    ]
    return pd.DataFrame(rows, columns=pd.Index(("section", "name", "claim", "quantity", "value")))


def summary(entries: Sequence[Entry]) -> str:
    """How many claims fared how, in a sentence."""
    paper = [entry for entry in entries if not entry.claim.ours]
    told = f"Of {len(paper)} claims of the paper tested, {_counts(paper)}."
    ours = len(entries) - len(paper)
    return f"{told} Of {ours} of ours, {_counts([e for e in entries if e.claim.ours])}." if ours else told


def _counts(entries: Sequence[Entry]) -> str:
    counts = [
        (sum(entry.outcome.finding.ruling == ruling for entry in entries), words)
        for ruling, words in (
            (Ruling.HOLDS, "held"),
            (Ruling.HOLDS_WHEN, "held under a condition"),
            (Ruling.REFUTED, "refuted"),
            (Ruling.NOT_REPRODUCED, "not reproduced"),
            (Ruling.OPEN, "open"),
        )
    ]
    return ", ".join(f"{count} {words}" for count, words in counts if count) or "none"


def write(entries: Sequence[Entry], folder: Path) -> list[Path]:
    """Write `claims.csv`, `claims.md` and `measurements.csv`.

    Args:
        entries: The tested claims.
        folder: Where they go.

    Returns:
        The files.

    Raises:
        OSError: If they cannot be written.
    """
    shown = table(entries)
    csv, markdown, numbers = (folder / name for name in ("claims.csv", "claims.md", "measurements.csv"))
    shown.to_csv(csv, index=False)
    measurements(entries).to_csv(numbers, index=False)
    text = _TEXT.format(summary=summary(entries), table=_markdown(shown))
    markdown.write_text(text, encoding="utf-8")
    return [csv, markdown, numbers]


def _markdown(frame: pd.DataFrame) -> str:
    """A table for Markdown; bars and asterisks in cells are text."""
    rows = [list(frame.columns), ["---"] * len(frame.columns), *frame.astype(str).to_numpy().tolist()]
    cells = [[re.sub(r"([|*_<>])", r"\\\1", cell) for cell in row] for row in rows]
    return "\n".join(markdown_row(row) for row in cells)
