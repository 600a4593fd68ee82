"""Power laws: how fast something vanishes."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

ROUNDING = 1e-9
"""Errors below it are none: far above rounding, far below any step size or radius."""


def exponent(scales: Sequence[float] | np.ndarray, values: Sequence[float] | np.ndarray) -> float:
    """The power p of the law c · scaleᵖ that fits best in logarithms."""
    return float(np.polyfit(np.log(scales), np.log(values), 1)[0])


def order(scales: Sequence[float], errors: Sequence[float]) -> float:
    """The same for errors; infinite where all are below `ROUNDING`."""
    if max(errors) < ROUNDING:
        return float("inf")
    return exponent(scales, np.maximum(errors, 1e-16))
