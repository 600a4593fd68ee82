"""The measures of sharpness."""

from __future__ import annotations

from .commit import offered
from .paired import Ratios, one_thread, ratio
from .training import Training


class Sharpness:
    """A measure's time as a multiple of one bare gradient evaluation of the same data, on the MLP."""

    params = (("sam_gap",),)
    param_names = ("measure",)
    unit = "gradient evaluations"
    version = "1"
    timeout = 300

    def setup(self, measure: str) -> None:
        """Skip on commits without it."""
        one_thread()
        self._measure = offered("rbobench.measures.sharpness", measure)
        self._training = Training("mlp")

    def track_time(self, measure: str) -> Ratios:
        """The multiple."""
        training = self._training
        return ratio(
            lambda: self._measure([training.loss], training.parameters), training, rounds=15, calls=10
        )
