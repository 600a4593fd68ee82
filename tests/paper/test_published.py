"""The published one-dimensional code, against a scalar transcription and against Algorithm 1."""

from __future__ import annotations

import math

import numpy as np
import pytest

from rbobench.errors import UsageError
from rbobench.paper.published import RADII, published_derivative, published_trajectory


def one_by_one(radius: float, steps: int) -> tuple[list[float], list[tuple[float, float]]]:
    """Contacts and centers of one ball, in plain scalars."""

    def f(x: float) -> float:
        return math.fsum(math.sin(k * k * x) / (k * k) for k in range(1, 101))

    def d(x: float) -> float:
        return math.fsum(math.cos(k * k * x) / (k * k) for k in range(1, 101))

    x, points, centers = 2.0, [], []
    for _ in range(steps + 1):
        slope = d(x)
        length = math.sqrt(1.0 + slope * slope)
        center = (x - radius / length, f(x) + radius * slope / length)
        points.append(x)
        centers.append(center)
        goal = (center[0] - 1e-3 * slope, center[1] - 1e-3 * slope**2)
        x = center[0]
        for _ in range(20):
            x -= 0.05 * ((x - goal[0]) + d(x) * (f(x) - goal[1]))
    return points, centers


@pytest.mark.parametrize("index", range(5))
def test_batch_is_the_scalar_transcription(index: int) -> None:
    steps = 60  # later, rounding grows beyond 1e-9 for a while
    points, centers = one_by_one(10.0 ** (-2.0 + 0.5 * index), steps)
    batch = published_trajectory(steps=steps)
    assert batch.points.shape == (steps + 1, 5)
    np.testing.assert_allclose(batch.points[:, index], points, rtol=0.0, atol=1e-9)
    np.testing.assert_allclose(batch.centers[:, index], centers, rtol=0.0, atol=1e-9)
    # It goes far enough for a wrong sign or factor to show.
    assert abs(points[-1] - points[0]) > 0.4


def test_a_radius_does_not_alter_the_others() -> None:
    alone, all_five = published_trajectory([RADII[2]], 20), published_trajectory(RADII, 20)
    np.testing.assert_array_equal(alone.centers[:, 0], all_five.centers[:, 2])


def test_center_lies_beside_the_curve() -> None:
    run = published_trajectory([0.5], 1)
    slope = published_derivative(run.points[0])
    away = run.centers[0, 0] - [run.points[0, 0], float(np.sin(2.0 * _k() ** 2) @ (1.0 / _k() ** 2))]
    assert np.hypot(*away) == pytest.approx(0.5)
    # Along (1, −d), which is not normal to a curve of slope d.
    assert away[1] / away[0] == pytest.approx(-slope[0])


def test_derivative_is_not_the_derivative() -> None:
    x = np.array([0.0, 0.3, 2.0])
    angles = x[:, None] * _k() ** 2
    true = np.cos(angles).sum(axis=1)
    assert published_derivative(x) == pytest.approx((np.cos(angles) / _k() ** 2).sum(axis=1))
    assert (np.abs(published_derivative(x) - true) > 1.0).all()


def test_moves_without_a_learning_rate() -> None:
    run = published_trajectory(steps=200, lr=0.0)
    assert (run.points[0] - run.points[-1] > 1.0).all()


@pytest.mark.parametrize(("steps", "projection_steps"), [(0, 20), (5, 0)])
def test_no_steps(steps: int, projection_steps: int) -> None:
    with pytest.raises(UsageError, match=f"must be at least 1, not {steps} and {projection_steps}$"):
        published_trajectory(steps=steps, projection_steps=projection_steps)


def _k() -> np.ndarray:
    return np.arange(1.0, 101.0)
