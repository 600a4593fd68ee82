"""Is one commit slower than another? Decided from a few paired ratios.

A round measures both commits in turn and leaves one log ratio for each benchmark. Their mean is judged by
Student's t. From so few rounds, rank intervals (Wilcoxon, Hodges–Lehmann) cannot reach the level: the
smallest one-sided p of six is 1/64. Trimmed means pay for their safety with degrees of freedom that are not
there. And t errs on the right side: between equal commits a paired log ratio is symmetric whatever the
machine does, and under symmetric heavy tails t rejects too seldom (Efron 1969, "Student's t-test under
symmetry conditions"). An outlier makes a benchmark undecided: it costs rounds and hardly ever a false alarm.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.special import stdtrit  # a fraction of scipy.stats's time to import

LEVEL = 0.01
"""Chance of a false "slower" anywhere, and of a false "same or faster", at the worst place: the tolerance."""

POWER = 0.8
"""How likely the rounds that are advised should decide, if mean and spread stay what they are."""

ENOUGH_ROUNDS = 6
"""What is advised where nothing is known of the spread."""

MOST_ROUNDS = 100
"""Where more rounds than these would be needed, no number is advised."""


class Verdict(StrEnum):
    """What the rounds say."""

    SAME_OR_FASTER = "same or faster"
    SLOWER = "slower"
    UNDECIDED = "undecided"


@dataclass(frozen=True)
class Judgment:
    """One benchmark's verdict.

    Attributes:
        rounds: Pairs that were judged.
        ratio: The head's value in units of the base's, the geometric mean over rounds.
        low: Lower confidence limit of the ratio, at `LEVEL` shared by all benchmarks; 0 below two rounds.
        high: Upper confidence limit, at `LEVEL`; infinite below two rounds.
        verdict: Slower if `low` lies above the tolerance, same or faster if `high` does not.
        more_rounds: How many more would decide; 0 where it is decided, `None` where no number up to
            `MOST_ROUNDS` would, because the ratio lies at the tolerance, or in noise.
    """

    rounds: int
    ratio: float
    low: float
    high: float
    verdict: Verdict
    more_rounds: int | None


def log_ratios(base: ArrayLike, head: ArrayLike) -> NDArray[np.float64]:
    """log(head / base), round by round; equal values give 0, zeros too.

    Args:
        base: Shape (n,), not negative.
        head: Shape (n,), of the same rounds.

    Raises:
        ValueError: If the shapes differ, or a pair has no ratio: a negative or non-finite value, or one zero.
    """
    first, second = np.asarray(base, dtype=np.float64), np.asarray(head, dtype=np.float64)
    if first.shape != second.shape or first.ndim != 1:
        raise ValueError(f"values of shapes {first.shape} and {second.shape} cannot be paired")
    positive = np.isfinite(first) & np.isfinite(second) & (first > 0) & (second > 0)
    both_zero = (first == 0) & (second == 0)
    if not np.all(positive | both_zero):
        index = int(np.flatnonzero(~(positive | both_zero))[0])
        raise ValueError(f"{second[index]:g} has no ratio to {first[index]:g}")
    logs = np.zeros_like(first)
    logs[positive] = np.log(second[positive] / first[positive])
    return logs


def judge(logs: ArrayLike, tolerance: float, *, benchmarks: int = 1, level: float = LEVEL) -> Judgment:
    """Judge one benchmark.

    "Slower" is said if any one benchmark is, so its lower limits share the level between them (Bonferroni).
    "Same or faster" is said only if every benchmark is, so each upper limit may spend all of it: the
    intersection of such tests keeps the level by itself (Berger 1982).

    Args:
        logs: log(head / base), shape (rounds,).
        tolerance: How much slower still passes, e.g. 0.1.
        benchmarks: How many are judged together.
        level: Chance of either mistake for all of them.

    Raises:
        ValueError: If there is no round.
    """
    array = np.asarray(logs, dtype=np.float64)
    n = array.size
    if n == 0:
        raise ValueError("there is no round to judge by")
    edge = math.log1p(tolerance)
    mean = float(array.mean())
    if n == 1:
        more = ENOUGH_ROUNDS - 1
        return Judgment(1, math.exp(mean), 0.0, math.inf, Verdict.UNDECIDED, more)
    # Equal values have no spread, whatever their mean was rounded to.
    spread = float(array.std(ddof=1)) if np.ptp(array) > 0 else 0.0
    low = mean - float(_half_width(spread, n, level / benchmarks))
    high = mean + float(_half_width(spread, n, level))
    rounding = 1e-12
    if high <= edge + rounding:
        verdict = Verdict.SAME_OR_FASTER
    elif low > edge + rounding:
        verdict = Verdict.SLOWER
    else:
        verdict = Verdict.UNDECIDED
    more_rounds: int | None = 0
    if verdict is Verdict.UNDECIDED:
        side = level / benchmarks if mean > edge else level
        more_rounds = _more_rounds(abs(mean - edge), spread, n, side)
        if more_rounds is None and low <= 0.0:
            # It may be at the tolerance by chance: what would decide if the commits were equal.
            more_rounds = _more_rounds(edge, spread, n, level)
    return Judgment(n, math.exp(mean), math.exp(low), math.exp(high), verdict, more_rounds)


def overall(judgments: Iterable[Judgment]) -> tuple[Verdict, int | None]:
    """The verdict on a commit, and how many more rounds would decide it.

    Slower if any benchmark is; else undecided if any is; else same or faster.

    Returns:
        The verdict and the most rounds that any undecided benchmark asks for: `None` if one cannot be decided
        by more rounds, 0 if all is decided.

    Raises:
        ValueError: If there is no benchmark.
    """
    judged = list(judgments)
    if not judged:
        raise ValueError("there is no benchmark to judge by")
    verdicts = {judgment.verdict for judgment in judged}
    if Verdict.SLOWER in verdicts:
        return Verdict.SLOWER, 0
    if Verdict.UNDECIDED not in verdicts:
        return Verdict.SAME_OR_FASTER, 0
    asked = [judgment.more_rounds for judgment in judged]
    return Verdict.UNDECIDED, None if None in asked else max(rounds for rounds in asked if rounds is not None)


def _more_rounds(gap: float, spread: float, n: int, level: float) -> int | None:
    """Rounds until a mean this far from the edge is told from it, with the power promised."""
    rounds = np.arange(n + 1, MOST_ROUNDS + 1)
    needed = _half_width(spread, rounds, level) + _half_width(spread, rounds, 1.0 - POWER)
    enough = rounds[needed <= gap]
    return int(enough[0]) - n if enough.size else None


def _half_width(spread: float, n: ArrayLike, level: float) -> NDArray[np.float64]:
    rounds = np.asarray(n, dtype=np.float64)
    return np.asarray(stdtrit(rounds - 1.0, 1.0 - level) * spread / np.sqrt(rounds))
