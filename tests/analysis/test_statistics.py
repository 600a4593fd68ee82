from __future__ import annotations

import math

import numpy as np
import pytest
from scipy import stats

from rbobench.analysis.statistics import best_by_seeds, detectable_difference, mean_sd, paired_t, t_interval


def test_against_scipy() -> None:
    generator = np.random.default_rng(0)
    a, b = generator.normal(size=(2, 7))
    ours, theirs = paired_t(a, b), stats.ttest_rel(a, b)
    interval = theirs.confidence_interval(0.95)
    assert ours.p == pytest.approx(theirs.pvalue)
    assert (ours.low, ours.high) == pytest.approx((interval.low, interval.high))
    assert ours.n == 7
    assert ours.difference == pytest.approx(np.mean(a - b))
    assert t_interval(a, 0.9) == pytest.approx(stats.t.interval(0.9, 6, np.mean(a), stats.sem(a)))
    assert mean_sd(a) == pytest.approx((np.mean(a), np.std(a, ddof=1)))


@pytest.mark.parametrize("n", [0, 1])
def test_too_few_values_say_nothing(n: int) -> None:
    values = np.ones(n)
    assert math.isnan(mean_sd(values)[1])
    assert all(map(math.isnan, t_interval(values)))
    assert math.isnan(paired_t(values, values).p)
    assert math.isnan(detectable_difference(n, 1.0))


def test_deterministic_trials() -> None:
    same = [0.1 + 0.2] * 3
    assert mean_sd(same)[1] == 0
    assert paired_t(same, same).p == 1
    better = paired_t(same, [0.1] * 3)
    assert better.difference == pytest.approx(0.2)
    assert all(map(math.isnan, (better.p, better.low, better.high)))
    assert best_by_seeds([same, [0.1] * 3]) is None


def test_pairs_must_match() -> None:
    with pytest.raises(ValueError, match="3 values cannot be paired with 2"):
        paired_t([1, 2, 3], [1, 2])


@pytest.mark.parametrize(("n", "expected"), [(3, 3.3), (5, 1.7), (10, 1.0)])
def test_detectable_difference_of_the_facts(n: int, expected: float) -> None:
    assert detectable_difference(n, 1.0) == pytest.approx(expected, abs=0.05)
    assert detectable_difference(n, 2.5) == pytest.approx(2.5 * detectable_difference(n, 1.0))


@pytest.mark.parametrize("n", [2, 3, 5, 200])
def test_detectable_difference_is_detected_four_times_in_five(n: int) -> None:
    generator = np.random.default_rng(n)
    samples = generator.normal(detectable_difference(n, 1.0), 1.0, size=(4000, n))
    p = stats.ttest_1samp(samples, 0, axis=1).pvalue
    assert np.mean(p < 0.05) == pytest.approx(0.8, abs=0.025)


@pytest.mark.parametrize("n", [3, 5])
def test_intervals_cover(n: int) -> None:
    generator = np.random.default_rng(n)
    intervals = np.array([t_interval(generator.normal(size=n)) for _ in range(3000)])
    covered = (intervals[:, 0] < 0) & (intervals[:, 1] > 0)
    assert covered.mean() == pytest.approx(0.95, abs=0.012)


@pytest.mark.parametrize(("methods", "seeds"), [(2, 3), (2, 5), (5, 3)])
def test_equal_methods_are_rarely_marked(methods: int, seeds: int) -> None:
    generator = np.random.default_rng(seeds)
    marked = [
        best_by_seeds(generator.normal(size=(methods, seeds)) + generator.normal(size=seeds)) is not None
        for _ in range(1500)
    ]
    assert np.mean(marked) < 0.065


def test_the_best_is_marked_where_seeds_can_tell() -> None:
    seeds = np.array([0.0, 0.3, 0.1])
    jitter = np.array([0.0, 0.01, -0.01])
    assert best_by_seeds([seeds, seeds + 1 + jitter, seeds - 1]) == 1
    assert best_by_seeds([seeds, seeds + 1 + 50 * jitter, seeds - 1]) is None
    assert best_by_seeds([seeds]) is None
    assert best_by_seeds([seeds, np.full(3, np.nan)]) is None
    # One that never finished is no rival; one with a single score is, and nothing can be said of it.
    assert best_by_seeds([seeds, seeds + 1 + jitter, np.full(3, np.nan)]) == 1
    assert best_by_seeds([seeds, seeds + 1 + jitter, [-1, np.nan, np.nan]]) is None
