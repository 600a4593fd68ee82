"""Targeted label flips: samples of one class carry the label of another."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from torch import Tensor

from rbobench.tasks.corruption.attack import Attack
from rbobench.tasks.corruption.backdoor import Poisoning
from rbobench.tasks.corruption.goal import Goal, check_class
from rbobench.tasks.corruption.rate import check_rate


@dataclass(frozen=True)
class TargetedFlip:
    """Samples of the source class are labeled as the target (arXiv 2007.08432); no image changes.

    The attack has succeeded on a test image of the source class that is taken for the target. A clean model
    takes some for it too.

    Args:
        rate: Share of the training samples that are flipped, above 0 and at most the source class's.
        source: The class that is flipped.
        target: The class that it is to be taken for.

    Raises:
        ValueError: If a value is out of range, or source and target are the same.
    """

    rate: float
    source: int
    target: int = 0

    def __post_init__(self) -> None:
        check_rate(self.rate)
        check_class("source", self.source)
        check_class("target", self.target)
        if self.source == self.target:
            raise ValueError(f"source and target must differ, and are both {self.source}")

    def poison(
        self, images: Tensor, labels: np.ndarray, classes: int, generator: np.random.Generator
    ) -> Poisoning:
        """Poison a training set; its images are returned as they are."""
        goal = Goal.source_to_target(self.source, self.target, classes)
        return Attack("targeted-flip", self.rate, goal, None, {}).poison(images, labels, generator)
