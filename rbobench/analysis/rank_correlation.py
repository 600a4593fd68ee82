"""Rank correlation of few pairs, with what can be said of its certainty."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import permutations

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.special import ndtri

_ENUMERATED = 8
"""Pairs up to which all orders are counted: beyond, the normal approximation holds with ties, too."""


@dataclass(frozen=True)
class RankCorrelation:
    """How far two quantities order the same things alike.

    All is NaN below three pairs, or where one of the quantities never varies.

    Attributes:
        n: Pairs.
        tau: Kendall's τ_b.
        tau_p: Two-sided, of the hypothesis that all orders of one quantity are equally likely.
        rho: Spearman's ρ.
        rho_low: Lower end of its 95 % interval; NaN below four pairs or where ρ is ±1, as is the other end.
        rho_high: Upper end.
    """

    n: int
    tau: float
    tau_p: float
    rho: float
    rho_low: float
    rho_high: float


def rank_correlation(x: ArrayLike, y: ArrayLike) -> RankCorrelation:
    """Kendall's τ_b with its p, and Spearman's ρ with its interval.

    p is that of a permutation test, exact up to eight pairs, and up to 33 where there are no ties; else of
    the normal approximation (Kendall, Rank Correlation Methods, 1970). The interval is Fisher's, with the
    variance (1 + ρ²/2)/(n − 3) of Bonett and Wright (Psychometrika 65, 2000). Both take the pairs for
    independent.

    Args:
        x: Shape (n,).
        y: Shape (n,), the partner of each. Pairs with a value that is not finite are left out.

    Raises:
        ValueError: If the shapes differ.
    """
    first, second = (np.asarray(values, dtype=np.float64).ravel() for values in (x, y))
    if first.shape != second.shape:
        raise ValueError(f"{first.size} values cannot be paired with {second.size}")
    whole = np.isfinite(first) & np.isfinite(second)
    first, second = first[whole], second[whole]
    n = int(first.size)
    if n < 3 or np.ptp(first) == 0 or np.ptp(second) == 0:
        return RankCorrelation(n, *[float("nan")] * 5)
    from scipy.stats import kendalltau, spearmanr

    kendall, rho = kendalltau(first, second), float(spearmanr(first, second).statistic)
    p = _permutation_p(first, second) if n <= _ENUMERATED else float(kendall.pvalue)
    return RankCorrelation(n, float(kendall.statistic), p, rho, *_interval(rho, n))


def _permutation_p(x: NDArray[np.float64], y: NDArray[np.float64]) -> float:
    """Share of all orders of y whose |τ_b| is no smaller: ties change its denominator by the same factor."""
    left, right = np.triu_indices(x.size, 1)
    orders = np.array(list(permutations(range(x.size))))
    signs = np.sign(x[left] - x[right])
    concordance = np.abs(np.sign(y[orders[:, left]] - y[orders[:, right]]) @ signs)
    return float(np.mean(concordance >= concordance[0]))  # the first order is the one given


def _interval(rho: float, n: int) -> tuple[float, float]:
    if n < 4 or abs(rho) > 1 - 1e-12:
        return np.nan, np.nan
    half = float(ndtri(0.975)) * np.sqrt((1 + rho**2 / 2) / (n - 3))
    center = np.arctanh(rho)
    return float(np.tanh(center - half)), float(np.tanh(center + half))


__all__ = ["RankCorrelation", "rank_correlation"]
