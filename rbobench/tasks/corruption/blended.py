"""Blended injection (arXiv 1712.05526): a faint pattern over the whole image."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

import numpy as np
from torch import Tensor

from rbobench.tasks.corruption.attack import Attack, redrawn
from rbobench.tasks.corruption.backdoor import Poisoning
from rbobench.tasks.corruption.goal import Goal, check_target
from rbobench.tasks.corruption.rate import check_rate


@dataclass(frozen=True)
class Blended:
    """A blend of (1 − α) of the image and α of a pattern; poisoned images get the label wanted for them.

    The pattern is the paper's random one, each value of each channel uniform from 0 to 255. It is drawn
    before the samples are, so that one seed has one pattern at every rate, and is the same at test time.

    Args:
        rate: Share of the training samples that are poisoned, above 0 and at most 1.
        alpha: Share of the pattern, in (0, 1); 0.2 is the paper's and BackdoorBench's.
        target: The class that the pattern stands for.
        all_to_all: Whether the pattern means the next class instead, (y + 1) mod classes.

    Raises:
        ValueError: If a value is out of range.
    """

    rate: float
    alpha: float = 0.2
    target: int = 0
    all_to_all: bool = False

    def __post_init__(self) -> None:
        check_rate(self.rate)
        check_target(self.target, self.all_to_all)
        if not 0.0 < self.alpha < 1.0:
            raise ValueError(f"alpha must be between 0 and 1, not {self.alpha}")

    def poison(
        self, images: Tensor, labels: np.ndarray, classes: int, generator: np.random.Generator
    ) -> Poisoning:
        """Poison a training set."""
        pattern = generator.integers(0, 256, tuple(images.shape[1:]), dtype=np.uint8)

        def trigger(images: Tensor) -> Tensor:
            return redrawn(images, lambda clean: (1.0 - self.alpha) * clean + self.alpha * pattern)

        details = {
            "alpha": self.alpha,
            "pattern": f"sha256:{hashlib.sha256(pattern.tobytes()).hexdigest()}",
        }
        goal = Goal.of_options(self.target, self.all_to_all, classes)
        return Attack("blended backdoor", self.rate, goal, trigger, details).poison(images, labels, generator)
