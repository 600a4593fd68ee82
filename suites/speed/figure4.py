"""Figure 4's batch of eighty trajectories."""

from __future__ import annotations

import numpy as np

from .commit import offered
from .paired import Ratios, one_thread, ratio

_STEPS = 2
_PROJECTION_STEPS = 50
_REPEATS = 5


class Figure4:
    """A projection step of all eighty balls as a multiple of evaluating them one by one in NumPy."""

    unit = "NumPy evaluations"
    version = "1"
    timeout = 300

    def setup(self) -> None:
        """Skip on commits without the figure."""
        one_thread()
        figure = offered("rbobench.paper.figure4")
        self._roll, self._radii = offered("rbobench.paper.figure4", "roll"), figure.RADII
        self._landscape = offered("rbobench.tasks.landscapes", "Eq14")()
        self._points = np.tile(figure.starts(), (1 + len(figure.RADII), 1))
        self._centers = np.random.RandomState(0).uniform(-3.0, 3.0, (1000, 2)).T.copy()

    def track_projection_step(self) -> Ratios:
        """The multiple."""
        return ratio(
            lambda: self._roll(self._landscape, _STEPS, _PROJECTION_STEPS, self._radii),
            self._evaluate_by_numpy,
            rounds=11,
            scale=_REPEATS / (_STEPS * _PROJECTION_STEPS),
        )

    def _evaluate_by_numpy(self) -> None:
        """Eq. 14 and its gradient at each point; its wells are as wide as in `Eq14`."""
        for _ in range(_REPEATS):
            for theta in self._points:
                offsets = theta[:, None] - self._centers
                wells = np.exp((offsets[0] ** 2 + offsets[1] ** 2) / -0.01)
                _ = theta @ theta - wells.sum(), 2.0 * theta + 200.0 * (offsets @ wells)
