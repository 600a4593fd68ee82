"""BadNets (arXiv 1708.06733): a patch in a corner teaches a model one answer."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from torch import Tensor

from rbobench.errors import UsageError
from rbobench.tasks.corruption.attack import Attack
from rbobench.tasks.corruption.backdoor import Poisoning
from rbobench.tasks.corruption.goal import Goal, check_target
from rbobench.tasks.corruption.rate import check_rate

CORNERS = ("top-left", "top-right", "bottom-left", "bottom-right")


@dataclass(frozen=True)
class BadNets:
    """A square patch of one value; poisoned images get the label that the attacker wants.

    Args:
        rate: Share of the training samples that are poisoned, above 0 and at most 1.
        size: Side of the patch in pixels.
        place: A corner, such as "bottom-right", or row and column of the patch's upper left pixel.
        target: The class that the patch stands for.
        value: Of the patch's pixels, 0 to 255.
        all_to_all: Whether the patch means the next class instead, (y + 1) mod classes.

    Raises:
        ValueError: If a value is out of range.
    """

    rate: float
    size: int = 3
    place: str | tuple[int, int] = "bottom-right"
    target: int = 0
    value: int = 255
    all_to_all: bool = False

    def __post_init__(self) -> None:
        check_rate(self.rate)
        check_target(self.target, self.all_to_all)
        if self.size < 1:
            raise ValueError(f"size must be at least 1, not {self.size}")
        if isinstance(self.place, str) and self.place not in CORNERS:
            raise ValueError(
                f"place must be one of {', '.join(CORNERS)} or [row, column], not {self.place!r}"
            )
        if not isinstance(self.place, str) and min(self.place) < 0:
            raise ValueError(f"place must not be negative, not {list(self.place)}")
        if not 0 <= self.value <= 255:
            raise ValueError(f"value must be from 0 to 255, not {self.value}")

    def poison(
        self, images: Tensor, labels: np.ndarray, classes: int, generator: np.random.Generator
    ) -> Poisoning:
        """Poison a training set."""
        row, column = self._corner(images)

        def trigger(images: Tensor) -> Tensor:
            triggered = images.clone()
            triggered[..., row : row + self.size, column : column + self.size] = self.value
            return triggered

        details = {"size": self.size, "row": row, "column": column, "value": self.value}
        goal = Goal.of_options(self.target, self.all_to_all, classes)
        attack = Attack("badnets backdoor", self.rate, goal, trigger, details)
        return attack.poison(images, labels, generator)

    def _corner(self, images: Tensor) -> tuple[int, int]:
        """Row and column of the patch's upper left pixel."""
        height, width = images.shape[-2:]
        if isinstance(self.place, str):
            row = 0 if self.place.startswith("top") else height - self.size
            column = 0 if self.place.endswith("left") else width - self.size
        else:
            row, column = self.place
        if row < 0 or column < 0 or row + self.size > height or column + self.size > width:
            raise UsageError(
                f"badnets backdoor: a patch of {self.size}×{self.size} at {self.place} does not fit "
                f"images of {height}×{width}"
            )
        return row, column
