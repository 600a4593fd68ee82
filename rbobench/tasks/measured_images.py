"""What the points of the curves look at."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from rbobench.randomness import Streams
from rbobench.tasks.datasets import ImageData
from rbobench.tasks.pool import CorruptedPool

SUBSET_IMAGES = 2048
"""Of the training images that were left alone, and of the flipped ones, at most so many are looked at."""


class MeasuredImages:
    """All images that a point of the curves looks at, in one tensor, so that few batches do.

    Args:
        data: The data set.
        pool: Its training images as they are given.
        train: Positions of those that are trained on.
        validation: Positions of those held out.
        streams: The subsets have streams of their own.

    Attributes:
        images: uint8; the parts one after another.
        parts: Name of each part to its number of images: `test`, `validation`, `train` (left alone by every
            corruption), `flipped` and `triggered` where there are such.
        labels: Part to labels: given ones, of test images true ones. `"flipped, true"` has the true ones of
            `"flipped"`, `"triggered, wanted"` those that the attacker wants.
        flipped: Positions of the flipped training images among all; empty where there are none.
    """

    def __init__(
        self,
        data: ImageData,
        pool: CorruptedPool,
        train: np.ndarray,
        validation: np.ndarray,
        streams: Streams,
    ) -> None:
        clean = streams.numpy("split", "clean").permutation(np.intersect1d(pool.untouched, train))
        flipped = streams.numpy("split", "memorization").permutation(np.intersect1d(pool.flipped, train))
        self.flipped = flipped[:SUBSET_IMAGES]
        chosen = {"validation": validation, "train": clean[:SUBSET_IMAGES], "flipped": self.flipped}
        positions = {name: torch.from_numpy(part) for name, part in chosen.items() if len(part)}
        images = {"test": data.test_images} | {name: pool.images[part] for name, part in positions.items()}
        given = torch.from_numpy(pool.labels)
        self.labels = {"test": data.test_labels} | {name: given[part] for name, part in positions.items()}
        if "flipped" in positions:
            self.labels["flipped, true"] = data.train_labels[positions["flipped"]]
        if pool.poisoning is not None:
            attacked = pool.poisoning.attacked(data.test_labels)
            images["triggered"] = pool.poisoning.trigger(data.test_images[attacked])
            self.labels["triggered"] = data.test_labels[attacked]
            self.labels["triggered, wanted"] = pool.poisoning.wanted(data.test_labels[attacked])
        self.parts = {name: len(part) for name, part in images.items()}
        self.images = torch.cat(list(images.values()))

    def to(self, device: torch.device) -> MeasuredImages:
        """Move it to a device."""
        self.images = self.images.to(device)
        self.labels = {name: labels.to(device) for name, labels in self.labels.items()}
        return self

    def split(self, logits: Tensor) -> dict[str, Tensor]:
        """The logits of each part.

        Args:
            logits: Of all images, of shape (n, classes).
        """
        return dict(zip(self.parts, logits.split(list(self.parts.values())), strict=True))
