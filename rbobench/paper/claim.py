"""A claim of the paper, its test, and the verdict that the measured numbers give it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import StrEnum

Numbers = Mapping[str, float]
"""What a test measured: quantity to value. Booleans are 0 and 1."""


class Ruling(StrEnum):
    """How a claim fared."""

    HOLDS = "holds"
    HOLDS_WHEN = "holds when"
    REFUTED = "refuted by"
    NOT_REPRODUCED = "not reproduced"
    OPEN = "open"


@dataclass(frozen=True)
class Finding:
    """What the numbers say.

    Args:
        value: The measured value, in words and figures.
        uncertainty: How far it may be off, or how much the test could have missed.
        ruling: How the claim fared.
        reason: Completes the ruling: the condition, the counterexample, what is missing. May be empty where
            the claim holds.
    """

    value: str
    uncertainty: str
    ruling: Ruling
    reason: str = ""

    @property
    def verdict(self) -> str:
        """The ruling with its reason, as the ledger has it."""
        if not self.reason:
            return str(self.ruling)
        joint = " " if self.ruling in (Ruling.HOLDS_WHEN, Ruling.REFUTED) else ": "
        return f"{self.ruling}{joint}{self.reason}"


@dataclass(frozen=True)
class Claim:
    """A claim and its test.

    Measuring and judging are apart, so that it can be tested that other numbers would give another verdict.

    Args:
        name: What to call it, in lower case with hyphens.
        section: Of the paper, with `(ours)` where the claim is not the paper's.
        claim: What is claimed, in our own words.
        test: What is measured, and on what.
        measure: Runs the test.
        judge: From the numbers alone to the finding: it compares, and types nothing in.
        timed: Whether it measures time, and so must run alone.
    """

    name: str
    section: str
    claim: str
    test: str
    measure: Callable[[], Numbers]
    judge: Callable[[Numbers], Finding]
    timed: bool = False

    @property
    def ours(self) -> bool:
        """Whether it is not the paper's, but what its claims rest on or are mistaken for."""
        return "(ours)" in self.section
