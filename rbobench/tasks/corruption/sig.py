"""SIG (arXiv 1902.11237): a sinusoid over images of the target class, whose labels stay right."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from torch import Tensor

from rbobench.errors import UsageError
from rbobench.tasks.corruption.attack import Attack, redrawn
from rbobench.tasks.corruption.backdoor import Poisoning
from rbobench.tasks.corruption.goal import Goal, check_class
from rbobench.tasks.corruption.rate import check_rate

KIND = "sig backdoor"
SMALLEST_SIDE = 16
"""Pixels. On smaller images, 8×8 digits, no amplitude or frequency was seen to work."""


@dataclass(frozen=True)
class Sig:
    """The signal Δ sin(2πjf / width) is added to column j = 0, 1, … of images of the target class.

    A clean-label attack: a model learns that the signal means the target. The rate is a share of the whole
    set, as for every attack; which share of the target class that is, is in the manifest.

    Args:
        rate: Share of the training samples that are poisoned, above 0 and at most the target class's.
        delta: Amplitude Δ in gray levels of 255; 40 is BackdoorBench's, the paper's range is 10 to 40.
        frequency: Periods f over the width of an image; 6 is the paper's and BackdoorBench's.
        target: The class that the signal stands for.

    Raises:
        ValueError: If a value is out of range.
    """

    rate: float
    delta: float = 40.0
    frequency: float = 6.0
    target: int = 0

    def __post_init__(self) -> None:
        check_rate(self.rate)
        check_class("target", self.target)
        if not 0.0 < self.delta <= 255.0:
            raise ValueError(f"delta must be above 0 and at most 255, not {self.delta}")
        if not (math.isfinite(self.frequency) and self.frequency > 0.0):
            raise ValueError(f"frequency must be positive, not {self.frequency}")

    def poison(
        self, images: Tensor, labels: np.ndarray, classes: int, generator: np.random.Generator
    ) -> Poisoning:
        """Poison a training set."""
        self._check_images(images)
        width = images.shape[-1]
        signal = self.delta * np.sin(2.0 * np.pi * np.arange(width) * self.frequency / width)
        attack = Attack(
            KIND,
            self.rate,
            Goal.all_to_one(self.target, classes),
            lambda images: redrawn(images, lambda clean: clean + signal),
            {"delta": self.delta, "frequency": self.frequency},
            clean_label=True,
        )
        return attack.poison(images, labels, generator)

    def _check_images(self, images: Tensor) -> None:
        height, width = images.shape[-2:]
        cannot = f"{KIND} cannot work on images of {height}×{width}"
        if width <= 2.0 * self.frequency:
            raise UsageError(
                f"{cannot}: a sinusoid of {self.frequency:g} periods needs more than "
                f"{2.0 * self.frequency:g} columns, or it is aliased"
            )
        if min(height, width) < SMALLEST_SIDE:
            raise UsageError(
                f"{cannot}: under {SMALLEST_SIDE} pixels a side it was never seen to work; "
                "an attack that changes labels, such as blended, does"
            )
