from __future__ import annotations

import math
from itertools import combinations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from rbobench.analysis.rank_correlation import rank_correlation

VALUES = st.lists(st.integers(0, 6), min_size=3, max_size=8)


@given(st.data(), VALUES)
@settings(max_examples=60, deadline=None)
def test_tau_is_its_definition(data: st.DataObject, x: list[int]) -> None:
    y = data.draw(st.lists(st.integers(0, 6), min_size=len(x), max_size=len(x)))
    found = rank_correlation(x, y)
    pairs = list(combinations(range(len(x)), 2))
    concordance = sum(np.sign(x[i] - x[j]) * np.sign(y[i] - y[j]) for i, j in pairs)
    untied = [sum(values[i] != values[j] for i, j in pairs) for values in (x, y)]
    if 0 in untied:
        assert math.isnan(found.tau)
        assert math.isnan(found.tau_p)
    else:
        assert found.tau == pytest.approx(concordance / math.sqrt(untied[0] * untied[1]))
        assert 0 < found.tau_p <= 1


@pytest.mark.parametrize("n", [3, 5, 8])
def test_p_without_ties_is_exact(n: int) -> None:
    generator = np.random.default_rng(n)
    x, y = generator.normal(size=(2, n))
    assert rank_correlation(x, y).tau_p == pytest.approx(stats.kendalltau(x, y, method="exact").pvalue)


def test_four_pairs_in_one_order_are_no_evidence() -> None:
    found = rank_correlation([1, 2, 3, 4], [2, 3, 5, 9])
    assert found.tau == 1
    assert found.tau_p == pytest.approx(2 / 24)
    assert math.isnan(found.rho_low)


def test_ties_among_few() -> None:
    # Of the six distinct orders of two twos and two threes, the sorted and its reverse are the extreme ones.
    assert rank_correlation([1, 2, 3, 4], [2, 2, 3, 3]).tau_p == pytest.approx(2 / 6)


def test_the_interval_covers() -> None:
    generator, truth, covered, trials = np.random.default_rng(0), 0.6, 0, 600
    spearman = 6 / math.pi * math.asin(truth / 2)  # of the bivariate normal
    for _ in range(trials):
        x, noise = generator.normal(size=(2, 25))
        found = rank_correlation(x, truth * x + math.sqrt(1 - truth**2) * noise)
        covered += found.rho_low <= spearman <= found.rho_high
    assert 0.92 <= covered / trials <= 0.98


def test_few_or_equal_or_missing_values() -> None:
    assert math.isnan(rank_correlation([1, 2], [1, 2]).tau)
    assert math.isnan(rank_correlation([1, 1, 1, 1], [1, 2, 3, 4]).rho)
    found = rank_correlation([1, 2, 3, 4, math.nan], [1, 2, 3, math.inf, 5])
    assert found.n == 3
    with pytest.raises(ValueError, match="3 values cannot be paired with 2"):
        rank_correlation([1, 2, 3], [1, 2])
