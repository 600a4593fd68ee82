"""Symmetric label noise: any other class, all alike."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from rbobench.tasks.corruption.label_noise import moved_labels
from rbobench.tasks.corruption.rate import check_rate
from rbobench.tasks.datasets import ImageData
from rbobench.tasks.task import DataLocation, Manifest


@dataclass(frozen=True)
class SymmetricNoise:
    """Each of `rate` · n samples gets a label drawn uniformly from the *other* classes.

    The true class is excluded, so that the nominal rate is the realized one; where it is not, the realized
    rate is lower by the factor 1 − 1/classes.

    Args:
        rate: Share of the samples whose label is wrong, above 0 and at most 1.

    Raises:
        ValueError: If the rate is out of range.
    """

    rate: float

    def __post_init__(self) -> None:
        check_rate(self.rate)

    def digest(self, location: DataLocation) -> str | None:
        """It reads no file."""
        return None

    def apply(
        self, data: ImageData, location: DataLocation, generator: np.random.Generator
    ) -> tuple[np.ndarray, Manifest]:
        """New labels, and what was changed."""
        classes = len(data.classes)

        def step(count: int) -> np.ndarray:
            return generator.integers(1, classes, count)

        return moved_labels("symmetric label noise", self.rate, data, generator, step)
