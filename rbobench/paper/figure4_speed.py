"""What batching and cells are worth: Figure 4's program against a plain NumPy loop of the same steps.

`python -m rbobench.paper.figure4_speed` measures it, both programs in one run on one thread.
"""

from __future__ import annotations

import statistics
from dataclasses import dataclass

import numpy as np

from rbobench.errors import UsageError
from rbobench.paper.figure4 import LR, PROJECTION_LR, PROJECTION_STEPS, RADII, roll, starts
from rbobench.tasks.landscapes import Eq14
from rbobench.timing import interleaved

CALM = 3.0
"""The largest radius at which rounding does not grow within a few steps."""


@dataclass(frozen=True)
class PairedSpeed:
    """What `paired_speed` measured.

    Attributes:
        batched_seconds: Of the batched program, one for each round.
        numpy_seconds: Of the NumPy loop, one for each round.
        difference: The largest between their coordinates, over SGD and the radii up to `CALM`.
        difference_beyond: The same over the larger radii.
    """

    batched_seconds: tuple[float, ...]
    numpy_seconds: tuple[float, ...]
    difference: float
    difference_beyond: float

    @property
    def ratio(self) -> float:
        """The batched program's median time in units of the NumPy loop's."""
        return statistics.median(self.batched_seconds) / statistics.median(self.numpy_seconds)


def paired_speed(steps: int = 3, rounds: int = 5, projection_steps: int = PROJECTION_STEPS) -> PairedSpeed:
    """Time the first steps of all trajectories of Figure 4, the two programs in turns.

    Torch uses as many threads as it is set to, NumPy one.

    Args:
        steps: Of each trajectory.
        rounds: How often each program runs, after a short first run that is not timed.
        projection_steps: P, of each of the ball's steps.

    Raises:
        UsageError: If `steps` or `rounds` is less than 1.
    """
    if steps < 1 or rounds < 1:
        raise UsageError(f"steps and rounds must be at least 1, not {steps} and {rounds}")
    landscape = Eq14()
    roll(landscape, 1, projection_steps, RADII)
    points: dict[str, np.ndarray] = {}

    def batched() -> None:
        points["batched"] = roll(landscape, steps, projection_steps, RADII).numpy()

    def by_numpy() -> None:
        points["numpy"] = roll_by_numpy(steps, projection_steps)

    seconds = interleaved({"batched": batched, "numpy": by_numpy}, rounds=rounds, warm_up=0)
    calm = np.repeat([True, *(radius <= CALM for radius in RADII)], len(starts()))
    differences = np.abs(points["batched"] - points["numpy"])
    return PairedSpeed(
        tuple(seconds["batched"]),
        tuple(seconds["numpy"]),
        float(differences[:, calm].max()),
        float(differences[:, ~calm].max()),
    )


def roll_by_numpy(steps: int, projection_steps: int) -> np.ndarray:
    """As `roll`, one trajectory after the other."""
    centers = np.ascontiguousarray(np.random.RandomState(0).uniform(-3.0, 3.0, (1000, 2)).T)
    visited = [_sgd(theta, centers, steps) for theta in starts()]
    visited += [
        _rbo(theta, centers, radius, steps, projection_steps) for radius in RADII for theta in starts()
    ]
    return np.stack(visited, axis=1)


def _eq14(theta: np.ndarray, centers: np.ndarray) -> tuple[float, np.ndarray]:
    offsets = theta[:, None] - centers
    wells = np.exp((offsets[0] ** 2 + offsets[1] ** 2) / -(Eq14.sigma**2))
    return theta @ theta - wells.sum(), 2.0 * theta + 2.0 / Eq14.sigma**2 * (offsets @ wells)


def _sgd(theta: np.ndarray, centers: np.ndarray, steps: int) -> np.ndarray:
    visited = [theta]
    for _ in range(steps):
        theta = theta - LR * _eq14(theta, centers)[1]
        visited.append(theta)
    return np.array(visited)


def _rbo(
    theta: np.ndarray, centers: np.ndarray, radius: float, steps: int, projection_steps: int
) -> np.ndarray:
    """Algorithm 1 as the paper has it, with a stored center."""
    visited = [theta]
    for _ in range(steps):
        value, gradient = _eq14(theta, centers)
        length = np.sqrt(1.0 + gradient @ gradient)
        a = theta - radius * gradient / length - LR * gradient
        b = value + radius / length - LR * (gradient @ gradient)
        theta = theta - PROJECTION_LR * ((theta - a) + (value - b) * gradient)
        for _ in range(projection_steps - 1):
            value, gradient = _eq14(theta, centers)
            theta = theta - PROJECTION_LR * ((theta - a) + (value - b) * gradient)
        visited.append(theta)
    return np.array(visited)


def _main() -> None:
    speed = paired_speed()
    print(f"batched: {1.0 / speed.ratio:.1f} times as fast as NumPy (medians of {len(speed.numpy_seconds)})")
    print(
        f"largest difference: {speed.difference:.1e} up to ρ = {CALM:g}, {speed.difference_beyond:.1e} beyond"
    )


if __name__ == "__main__":
    import torch

    torch.set_num_threads(1)
    _main()
