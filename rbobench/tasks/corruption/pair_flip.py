"""Pair-flip label noise: the next class."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from rbobench.tasks.corruption.label_noise import moved_labels
from rbobench.tasks.corruption.rate import check_rate
from rbobench.tasks.datasets import ImageData
from rbobench.tasks.task import DataLocation, Manifest


@dataclass(frozen=True)
class PairFlipNoise:
    """Each of `rate` · n samples gets the class after its own, the last class the first.

    The samples are drawn from all classes together, so that the nominal rate is the realized one. Han et al.
    2018, arXiv 1804.06872, flip each sample with that probability; here the number is exact. From a rate of
    one half on, most samples of a class carry the label of the next.

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
        return moved_labels("pair-flip label noise", self.rate, data, generator, lambda count: 1)
