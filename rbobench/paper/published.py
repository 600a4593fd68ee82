"""The code for the paper's Figure 3 that its authors published, which is not Algorithm 1.

Their public one-dimensional example departs from the paper in two ways: the components of the normal (Eq. 1)
are exchanged, so that the center lies beside the curve and not above it, and the derivative of Σ sin(k²θ)/k²
is taken to be Σ cos(k²θ)/k² instead of Σ cos(k²θ). It is rewritten here from what it computes, apart from
`RBO`, for comparison alone.

The original: https://github.com/mohammedbelgoumri/milestone-d2.5-followup, `examples/weirstrass.py` at
c0ee4e9 (settings and derivative) and `src/utilities/optim.py` at 3fbdb9e (the steps). Whether it drew the
printed figure is not known; its settings are that figure's.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from rbobench.errors import UsageError

Array = np.ndarray

START = 2.0
LR = 1e-3
STEPS = 2000
PROJECTION_LR = 0.05
PROJECTION_STEPS = 20
RADII = tuple(float(radius) for radius in np.logspace(-2, 0, 5))

_SQUARES = np.arange(1, 101, dtype=float) ** 2


@dataclass(frozen=True)
class Trajectory:
    """Positions of the point and of the center, the start included.

    Attributes:
        points: θ, of shape `(steps + 1, radii)`.
        centers: The parameter and the height of the center, of shape `(steps + 1, radii, 2)`.
    """

    points: Array
    centers: Array


def published_derivative(points: ArrayLike) -> Array:
    """Σ cos(k²θ)/k² over k = 1..100, which the published code takes for the derivative of Eq. 13."""
    return np.asarray(_value_and_derivative(np.asarray(points, dtype=float))[1])


def published_trajectory(
    radii: ArrayLike = RADII,
    steps: int = STEPS,
    *,
    lr: float = LR,
    projection_steps: int = PROJECTION_STEPS,
) -> Trajectory:
    """What the published code computes on Eq. 13, in float64, all radii at once.

    Args:
        radii: ρ, of shape `(radii,)`.
        steps: Of each trajectory.
        lr: η.
        projection_steps: P. The projection starts at the center's parameter.

    Raises:
        UsageError: If a number of steps is less than 1.
    """
    if steps < 1 or projection_steps < 1:
        raise UsageError(f"steps and projection_steps must be at least 1, not {steps} and {projection_steps}")
    radius = np.atleast_1d(np.asarray(radii, dtype=float))
    theta = np.full(radius.shape, START)
    points, centers = [], []
    for step in range(steps + 1):
        value, derivative = _value_and_derivative(theta)
        length = np.hypot(1.0, derivative)
        # The parameter gets what Eq. 6 gives the height, and the other way round.
        beside, height = theta - radius / length, value + radius * derivative / length
        points.append(theta)
        centers.append(np.stack([beside, height], axis=-1))
        if step == steps:
            break
        a, b = beside - lr * derivative, height - lr * np.square(derivative)
        theta = beside
        for _ in range(projection_steps):
            value, derivative = _value_and_derivative(theta)
            theta = theta - PROJECTION_LR * (theta - a + derivative * (value - b))
    return Trajectory(np.stack(points), np.stack(centers))


def _value_and_derivative(theta: Array) -> tuple[Array, Array]:
    """Eq. 13 and the published derivative."""
    angles = theta[..., None] * _SQUARES
    return (np.sin(angles) / _SQUARES).sum(axis=-1), (np.cos(angles) / _SQUARES).sum(axis=-1)
