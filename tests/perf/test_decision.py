"""The verdict on two commits: its mistakes and its power on simulated rounds, and rounds made by hand."""

from __future__ import annotations

import math

import numpy as np
import pytest

from rbobench.perf.decision import (
    ENOUGH_ROUNDS,
    LEVEL,
    MOST_ROUNDS,
    Judgment,
    Verdict,
    judge,
    log_ratios,
    overall,
)

TOLERANCE = 0.1
EDGE = math.log1p(TOLERANCE)
SAME, SLOWER, UNDECIDED = Verdict.SAME_OR_FASTER, Verdict.SLOWER, Verdict.UNDECIDED


def noise(kind: str, rng: np.random.Generator, shape: tuple[int, ...]) -> np.ndarray:
    """Symmetric, as paired log ratios of equal commits are; heavy tails have no variance."""
    if kind == "normal":
        return rng.standard_normal(shape)
    if kind == "outliers":
        return rng.standard_normal(shape) * np.where(rng.random(shape) < 0.15, 8.0, 1.0)
    if kind == "two modes":
        return rng.integers(0, 2, shape) - rng.integers(0, 2, shape).astype(float)
    return rng.standard_t(2, shape) if kind == "t2" else rng.standard_cauchy(shape)


def verdict(ratio: float, spread: float, rng: np.random.Generator, rounds: int, benchmarks: int) -> Verdict:
    logs = math.log(ratio) + spread * rng.standard_normal((benchmarks, rounds))
    return overall(judge(row, TOLERANCE, benchmarks=benchmarks) for row in logs)[0]


@pytest.mark.parametrize("kind", ["normal", "outliers", "two modes", "t2", "cauchy"])
@pytest.mark.parametrize("rounds", [4, 6, 9])
def test_neither_mistake_is_made_more_often_than_the_level(kind: str, rounds: int) -> None:
    # The truth is the tolerance itself, where a mistake of either kind is likeliest.
    rng = np.random.default_rng(rounds)
    runs = 2000
    verdicts = [judge(EDGE + 0.05 * row, TOLERANCE).verdict for row in noise(kind, rng, (runs, rounds))]
    # Two modes leave few different samples, six equal signs among them; then t is not exact.
    allowed = 1.6 if kind == "normal" else 2.0
    assert verdicts.count(SLOWER) <= allowed * LEVEL * runs
    if kind != "two modes":
        assert verdicts.count(SAME) <= allowed * LEVEL * runs


@pytest.mark.parametrize("kind", ["normal", "outliers", "two modes", "t2", "cauchy"])
def test_a_commit_is_never_slower_than_itself(kind: str) -> None:
    rng = np.random.default_rng(11)
    rows = 0.05 * noise(kind, rng, (8 * 300, 6))
    assert all(judge(row, TOLERANCE, benchmarks=8).verdict is not SLOWER for row in rows)


def test_benchmarks_share_the_level() -> None:
    rng = np.random.default_rng(2)
    families = 800
    verdicts = [verdict(1.0 + TOLERANCE, 0.05, rng, rounds=6, benchmarks=8) for _ in range(families)]
    assert verdicts.count(SLOWER) <= 2.0 * LEVEL * families


def test_one_benchmark_beyond_the_tolerance_keeps_the_rest_from_passing() -> None:
    rng = np.random.default_rng(3)
    families = 1000
    passed = 0
    for _ in range(families):
        logs = 0.01 * rng.standard_normal((8, 6))
        logs[5] += EDGE + 1e-9
        passed += overall(judge(row, TOLERANCE, benchmarks=8) for row in logs)[0] is SAME
    assert passed <= 2.0 * LEVEL * families


def test_power() -> None:
    rng = np.random.default_rng(4)
    slowed = [verdict(1.3, 0.05, rng, rounds=6, benchmarks=8) for _ in range(200)]
    assert slowed.count(SLOWER) >= 0.9 * len(slowed)
    equal = [verdict(1.0, 0.02, rng, rounds=6, benchmarks=8) for _ in range(200)]
    assert equal.count(SAME) >= 0.95 * len(equal)


@pytest.mark.parametrize(("ratio", "spread"), [(1.0, 0.1), (1.25, 0.1), (1.0, 0.15)])
def test_the_rounds_advised_decide_mostly_and_far_fewer_do_not(ratio: float, spread: float) -> None:
    rng = np.random.default_rng(5)
    decided, decided_early, asked = 0, 0, 0
    for _ in range(400):
        judgment = judge(math.log(ratio) + spread * rng.standard_normal(6), TOLERANCE, benchmarks=4)
        if judgment.more_rounds:
            rounds = 6 + judgment.more_rounds
            asked += 1
            again = math.log(ratio) + spread * rng.standard_normal(rounds)
            decided += judge(again, TOLERANCE, benchmarks=4).verdict is not UNDECIDED
            early = again[: max(2, rounds // 4)]
            decided_early += judge(early, TOLERANCE, benchmarks=4).verdict is not UNDECIDED
    assert asked > 100
    assert 0.55 * asked <= decided
    assert decided_early <= 0.35 * asked


def test_a_mean_at_the_edge_cannot_be_decided() -> None:
    logs = np.array([1.0, -1.0, 1.0, -1.0, 0.5, -0.5])
    judgment = judge(EDGE + 0.03 * logs, TOLERANCE)
    assert judgment.verdict is UNDECIDED
    assert judgment.more_rounds is None
    # In so much noise that the truth may well be 1, what would decide if it were is advised.
    there, at_one = judge(EDGE + 0.2 * logs, TOLERANCE), judge(0.2 * logs, TOLERANCE)
    assert there.more_rounds == at_one.more_rounds
    assert judge(EDGE + 2.0 * logs, TOLERANCE).more_rounds is None


def test_advice_follows_the_square_root_law() -> None:
    logs = np.array([1.0, -1.0, 1.0, -1.0, 1.0, -1.0])
    some = judge(0.1 * logs, TOLERANCE).more_rounds
    many = judge(0.2 * logs, TOLERANCE).more_rounds
    assert some is not None
    assert many is not None
    assert 3.0 <= (6 + many) / (6 + some) <= 4.5
    assert 6 + many <= MOST_ROUNDS


@pytest.mark.parametrize(
    ("ratio", "expected"), [(0.5, SAME), (1.0, SAME), (1.1, SAME), (1.1001, SLOWER), (2.0, SLOWER)]
)
@pytest.mark.parametrize("rounds", [2, 6])
def test_equal_rounds_are_decided_by_themselves(ratio: float, expected: Verdict, rounds: int) -> None:
    judgment = judge(np.full(rounds, math.log(ratio)), TOLERANCE, benchmarks=8)
    assert judgment.verdict is expected
    assert judgment.more_rounds == 0
    assert judgment.low == pytest.approx(ratio)
    assert judgment.high == pytest.approx(ratio)


def test_one_round_decides_nothing() -> None:
    judgment = judge([0.0], TOLERANCE)
    assert judgment.verdict is UNDECIDED
    assert (judgment.low, judgment.high) == (0.0, math.inf)
    assert judgment.more_rounds == ENOUGH_ROUNDS - 1


def test_no_round_is_refused() -> None:
    with pytest.raises(ValueError, match="no round"):
        judge([], TOLERANCE)


def test_the_interval_is_t_with_the_lower_limit_shared() -> None:
    # Six values of mean 0 and spread 0.1; t quantiles of 5 degrees of freedom from a printed table.
    logs = 0.1 * math.sqrt(5.0 / 6.0) * np.array([1.0, -1.0, 1.0, -1.0, 1.0, -1.0])
    judgment = judge(logs, TOLERANCE, benchmarks=2)
    assert math.log(judgment.high) == pytest.approx(3.365 * 0.1 / math.sqrt(6.0), rel=1e-3)
    assert math.log(judgment.low) == pytest.approx(-4.032 * 0.1 / math.sqrt(6.0), rel=1e-3)


def test_log_ratios() -> None:
    assert log_ratios([2.0, 0.0], [4.0, 0.0]) == pytest.approx([math.log(2.0), 0.0])


@pytest.mark.parametrize(
    ("base", "head", "match"),
    [
        ([1.0], [0.0], "0 has no ratio to 1"),
        ([0.0], [1.0], "1 has no ratio to 0"),
        ([1.0, 1.0], [1.0, math.nan], "nan has no ratio to 1"),
        ([math.inf], [math.inf], "inf has no ratio to inf"),
        ([-1.0], [-1.0], "-1 has no ratio to -1"),
        ([1.0, 2.0], [1.0], "cannot be paired"),
    ],
)
def test_pairs_without_a_ratio_are_refused(base: list[float], head: list[float], match: str) -> None:
    with pytest.raises(ValueError, match=match):
        log_ratios(base, head)


def judged(verdict: Verdict, more_rounds: int | None = 0) -> Judgment:
    return Judgment(6, 1.0, 0.9, 1.1, verdict, more_rounds)


@pytest.mark.parametrize(
    ("judgments", "expected"),
    [
        ([judged(SAME)], (SAME, 0)),
        ([judged(SAME), judged(SLOWER), judged(UNDECIDED, 3)], (SLOWER, 0)),
        ([judged(UNDECIDED, 3), judged(SAME), judged(UNDECIDED, 7)], (UNDECIDED, 7)),
        ([judged(UNDECIDED, None), judged(UNDECIDED, 7)], (UNDECIDED, None)),
    ],
)
def test_overall(judgments: list[Judgment], expected: tuple[Verdict, int | None]) -> None:
    assert overall(judgments) == expected


def test_nothing_has_no_verdict() -> None:
    with pytest.raises(ValueError, match="no benchmark"):
        overall([])
