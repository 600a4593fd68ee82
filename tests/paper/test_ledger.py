"""The ledger: what is written for a claim, and what when its test fails to run."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Mapping
from pathlib import Path

import pandas as pd
import pytest

from rbobench.paper.claim import Claim, Finding, Ruling
from rbobench.paper.ledger import CLAIMS, COLUMNS, Entry, examine, summary, table, write


def measure() -> Mapping[str, float]:
    return {"spread": 0.25, "count": 3}


def judge(numbers: Mapping[str, float]) -> Finding:
    if numbers["spread"] < 1.0:
        return Finding(f"{numbers['spread']:.2f}", "±0.01", Ruling.HOLDS)
    return Finding(f"{numbers['spread']:.2f}", "±0.01", Ruling.REFUTED, "a | wide_spread")


CLAIM = Claim("small-spread", "4.2, Lemma 2", "It is small.", "The spread of three.", measure, judge)


def broken() -> Mapping[str, float]:
    raise ZeroDivisionError("no\nradius")


def test_a_claim_is_measured_and_judged() -> None:
    outcome = examine(CLAIM)
    assert dict(outcome.numbers) == {"spread": 0.25, "count": 3.0}
    assert outcome.finding.verdict == "holds"
    assert table([Entry(CLAIM, outcome)]).to_dict("records") == [
        {
            "section": "4.2, Lemma 2",
            "claim": "It is small.",
            "test": "The spread of three.",
            "value": "0.25",
            "uncertainty": "±0.01",
            "verdict": "holds",
        }
    ]


def test_a_test_that_fails_to_run_leaves_its_claim_open() -> None:
    outcome = examine(dataclasses.replace(CLAIM, measure=broken))
    assert outcome.error == "ZeroDivisionError: no radius"
    assert outcome.finding.verdict == "open: its test failed to run (ZeroDivisionError: no radius)"


def test_a_judge_that_fails_keeps_what_was_measured() -> None:
    outcome = examine(dataclasses.replace(CLAIM, measure=lambda: {"other": 1.0}))
    assert outcome.error == "KeyError: 'spread'"
    assert dict(outcome.numbers) == {"other": 1.0}


def test_files_hold_the_same_table_and_all_the_numbers(tmp_path: Path) -> None:
    wide = dataclasses.replace(CLAIM, name="wide", measure=lambda: {"spread": 2.0})
    entries = [Entry(claim, examine(claim)) for claim in (CLAIM, wide)]
    csv, markdown, numbers = write(entries, tmp_path)
    assert [path.name for path in (csv, markdown, numbers)] == ["claims.csv", "claims.md", "measurements.csv"]
    frame = pd.read_csv(csv)
    assert tuple(frame.columns) == COLUMNS
    assert list(frame["verdict"]) == ["holds", "refuted by a | wide_spread"]
    text = markdown.read_text(encoding="utf-8")
    rows = [line for line in text.splitlines() if line.startswith("|")]
    assert len(rows) == 4
    assert rows[0] == "| section | claim | test | value | uncertainty | verdict |"
    assert rows[-1].endswith(r"| refuted by a \| wide\_spread |")
    assert {len(re.findall(r"(?<!\\)\|", row)) for row in rows} == {7}
    assert "Of 2 claims of the paper tested, 1 held, 1 refuted." in text
    measured = pd.read_csv(numbers)
    assert list(measured["quantity"]) == ["spread", "count", "spread"]
    assert list(measured["value"]) == [0.25, 3.0, 2.0]


@pytest.mark.parametrize(
    ("ruling", "verdict"),
    [
        (Ruling.HOLDS_WHEN, "holds when ρ < 1"),
        (Ruling.REFUTED, "refuted by ρ < 1"),
        (Ruling.NOT_REPRODUCED, "not reproduced: ρ < 1"),
        (Ruling.OPEN, "open: ρ < 1"),
    ],
)
def test_verdicts_read_as_sentences(ruling: Ruling, verdict: str) -> None:
    assert Finding("", "", ruling, "ρ < 1").verdict == verdict


def test_every_claim_is_complete_and_in_the_papers_order() -> None:
    names = [claim.name for claim in CLAIMS]
    assert len(set(names)) == len(names)
    for claim in CLAIMS:
        assert re.fullmatch(r"[a-z0-9]+(-[a-z0-9]+)*", claim.name), claim.name
        assert claim.claim.endswith("."), claim.name
        assert len(claim.test) <= 320, claim.name
        assert re.match(r"\d|Abstract", claim.section), claim.name
    chapters = [int(re.sub("^Abstract", "0", claim.section)[0]) for claim in CLAIMS]
    assert chapters == sorted(chapters)


def test_the_summary_counts_every_ruling() -> None:
    ours = dataclasses.replace(CLAIM, section="4.2 (ours)")
    entries = [Entry(claim, examine(claim)) for claim in (CLAIM, CLAIM, ours)]
    assert summary(entries) == "Of 2 claims of the paper tested, 2 held. Of 1 of ours, 1 held."
