"""Newton's method on many small problems at once, safeguarded, to machine precision."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

Array = np.ndarray
Function = Callable[[Array, Array], tuple[Array, Array, Array]]
"""From points of shape `(m, d)` and the problems they belong to, to values, gradients and Hessians."""

_ITERATIONS = 100


def minimize(function: Function, start: Array, *, longest_step: float, low: float, high: float) -> Array:
    """Local minima from `start`, with a trust region that shrinks after a step that did not help.

    Args:
        function: To minimize; infinite where it is not defined.
        start: Where to begin, of shape `(m, d)`.
        longest_step: The first trust radius: what the grid behind `start` resolves.
        low: Smallest coordinate allowed.
        high: Largest coordinate allowed.

    Returns:
        The minima, of shape `(m, d)`.
    """
    points = start.copy()
    trust = np.full(len(points), longest_step)
    problems = np.arange(len(points))
    value, gradient, hessian = _within(function(points, problems), points, low, high)
    for _ in range(_ITERATIONS):
        step = _step(gradient, hessian, trust[problems])
        target = np.clip(points[problems] + step, low, high)
        size = np.linalg.norm(target - points[problems], axis=-1)
        new = _within(function(target, problems), target, low, high)
        # At machine precision values no longer tell points apart, gradients do.
        noise = 1e-15 * (1.0 + np.abs(value))
        flat = np.linalg.norm(new[1], axis=-1) < np.linalg.norm(gradient, axis=-1)
        better = (new[0] < value - noise) | ((new[0] <= value + noise) & flat)
        points[problems[better]] = target[better]
        trust[problems] = np.where(better, np.maximum(trust[problems], 2.0 * size), 0.25 * size)
        value, gradient, hessian = (
            np.where(better.reshape(-1, *[1] * (fresh.ndim - 1)), fresh, old)
            for fresh, old in zip(new, (value, gradient, hessian), strict=True)
        )
        going = size > 1e-12 * (1.0 + np.abs(points[problems]).max(axis=-1))
        if not going.any():
            break
        problems = problems[going]
        value, gradient, hessian = value[going], gradient[going], hessian[going]
    return points


def _within(
    evaluated: tuple[Array, Array, Array], points: Array, low: float, high: float
) -> tuple[Array, Array, Array]:
    """The derivatives without the coordinates that an edge of the box holds back."""
    value, gradient, hessian = evaluated
    free = ~((points <= low) & (gradient > 0.0) | (points >= high) & (gradient < 0.0))
    both = free[:, :, None] & free[:, None, :]
    return value, np.where(free, gradient, 0.0), np.where(both, hessian, np.eye(points.shape[-1]))


def _step(gradient: Array, hessian: Array, trust: Array) -> Array:
    """Newton steps, downhill where the curvature is not positive, no longer than `trust`."""
    curvatures, directions = np.linalg.eigh(hessian)
    along = np.einsum("mij,mi->mj", directions, gradient) / np.maximum(np.abs(curvatures), 1e-12)
    # On a ridge the gradient is too small to lead away: either side will do.
    ridge = (curvatures < 0.0) & (np.abs(along) < 1e-3 * trust[:, None])
    along = np.where(ridge, np.copysign(trust[:, None], along), along)
    step = -np.einsum("mij,mj->mi", directions, along)
    length = np.linalg.norm(step, axis=-1)
    return step * np.minimum(1.0, trust / np.maximum(length, 1e-300))[:, None]
