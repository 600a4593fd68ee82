"""BadNets (arXiv 1708.06733): a patch in a corner teaches a model one answer."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import numpy as np
import torch
from torch import Tensor

from rbobench.errors import UsageError
from rbobench.tasks.corruption.rate import check_rate, draw_samples
from rbobench.tasks.task import Manifest

CORNERS = ("top-left", "top-right", "bottom-left", "bottom-right")


class Backdoor(Protocol):
    """Poisons training images, and triggers the backdoor in others."""

    @property
    def target(self) -> int:
        """The class that the trigger stands for."""
        ...

    def poison(
        self, images: Tensor, labels: np.ndarray, classes: int, generator: np.random.Generator
    ) -> tuple[Tensor, np.ndarray, Manifest]:
        """New images and labels, and what was changed.

        Args:
            images: uint8, of shape (n, channels, height, width).
            labels: Given labels, of shape (n,).
            classes: How many classes there are.
            generator: Draws what is poisoned.

        Raises:
            UsageError: If nothing would change, or the options do not fit the images.
        """
        ...

    def trigger(self, images: Tensor) -> Tensor:
        """Copies of images with the trigger in them."""
        ...


@dataclass(frozen=True)
class BadNets:
    """A square patch of one value; poisoned images are labeled as the target, all-to-one.

    Images that carry the target's label already are left alone: poisoning them would teach nothing.

    Args:
        rate: Share of the training samples that are poisoned, above 0 and at most 1.
        size: Side of the patch in pixels.
        place: A corner, such as "bottom-right", or row and column of the patch's upper left pixel.
        target: The class that the patch stands for.
        value: Of the patch's pixels, 0 to 255.

    Raises:
        ValueError: If a value is out of range.
    """

    rate: float
    size: int = 3
    place: str | tuple[int, int] = "bottom-right"
    target: int = 0
    value: int = 255

    def __post_init__(self) -> None:
        check_rate(self.rate)
        if self.size < 1:
            raise ValueError(f"size must be at least 1, not {self.size}")
        if isinstance(self.place, str) and self.place not in CORNERS:
            raise ValueError(
                f"place must be one of {', '.join(CORNERS)} or [row, column], not {self.place!r}"
            )
        if not isinstance(self.place, str) and min(self.place) < 0:
            raise ValueError(f"place must not be negative, not {list(self.place)}")
        if self.target < 0:
            raise ValueError(f"target must not be negative, not {self.target}")
        if not 0 <= self.value <= 255:
            raise ValueError(f"value must be from 0 to 255, not {self.value}")

    def poison(
        self, images: Tensor, labels: np.ndarray, classes: int, generator: np.random.Generator
    ) -> tuple[Tensor, np.ndarray, Manifest]:
        """New images and labels, and what was changed."""
        if self.target >= classes:
            raise UsageError(f"backdoor: target {self.target} is no class; there are {classes}, from 0")
        candidates = np.flatnonzero(labels != self.target)
        chosen = draw_samples("badnets backdoor", self.rate, candidates, len(labels), generator)
        positions = torch.from_numpy(chosen)
        poisoned = images.clone()
        poisoned[positions] = self.trigger(images[positions])
        changed = (poisoned[positions] != images[positions]).flatten(1).any(dim=1)
        given = labels.copy()
        given[chosen] = self.target
        row, column = self._corner(images)
        manifest = Manifest(
            kind="badnets backdoor",
            part="train",
            nominal_rate=self.rate,
            realized_rate=len(chosen) / len(labels),
            indices=tuple(chosen.tolist()),
            details={
                "target": self.target,
                "size": self.size,
                "row": row,
                "column": column,
                "value": self.value,
                "images_changed": int(changed.sum()),
            },
        )
        return poisoned, given, manifest

    def trigger(self, images: Tensor) -> Tensor:
        """Copies of images with the patch in them.

        Raises:
            UsageError: If the patch does not fit.
        """
        row, column = self._corner(images)
        triggered = images.clone()
        triggered[..., row : row + self.size, column : column + self.size] = self.value
        return triggered

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
                f"backdoor: a patch of {self.size}×{self.size} at {self.place} does not fit "
                f"images of {height}×{width}"
            )
        return row, column
