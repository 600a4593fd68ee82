"""How many samples a rate means."""

from __future__ import annotations

import math

import numpy as np

from rbobench.errors import UsageError


def check_rate(rate: float) -> None:
    """See that a rate is one.

    Raises:
        ValueError: If it is not above 0 and at most 1.
    """
    if not (math.isfinite(rate) and 0.0 < rate <= 1.0):
        raise ValueError(f"rate must be above 0 and at most 1, not {rate}")


def draw_samples(
    kind: str, rate: float, candidates: np.ndarray, total: int, generator: np.random.Generator
) -> np.ndarray:
    """Draw `rate` · `total` of the candidates without replacement.

    Args:
        kind: The corruption, for the error.
        rate: Share of all samples.
        candidates: Positions that may be drawn.
        total: How many samples there are, candidates or not.
        generator: Draws them.

    Returns:
        Positions, ascending.

    Raises:
        UsageError: If that is less than one sample, or more than there are candidates.
    """
    count = round(rate * total)
    if count == 0:
        raise UsageError(f"{kind} at rate {rate:g} of {total} samples would change nothing")
    if count > len(candidates):
        raise UsageError(
            f"{kind} at rate {rate:g} of {total} samples needs {count}, but only {len(candidates)} can change"
        )
    return np.sort(generator.choice(candidates, count, replace=False))
