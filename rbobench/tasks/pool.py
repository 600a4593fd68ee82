"""Training images as they are given: what corruptions have made of a data set."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from torch import Tensor

from rbobench.randomness import Streams
from rbobench.tasks.corruption import BACKDOORS, LABEL_NOISE, Poisoning
from rbobench.tasks.datasets import ImageData
from rbobench.tasks.task import DataLocation, Manifest


class Corrupting(Protocol):
    """A task that says what is done to its training images."""

    @property
    def label_noise(self) -> Mapping[str, Any] | None:
        """A kind of label noise and its options."""
        ...

    @property
    def backdoor(self) -> Mapping[str, Any] | None:
        """A kind of backdoor and its options."""
        ...


@dataclass(frozen=True, eq=False)
class CorruptedPool:
    """Training images as they are given, those for validation included.

    Attributes:
        images: uint8, of shape (n, channels, height, width).
        labels: Given labels, of shape (n,).
        flipped: Positions whose label is noise; what a backdoor has relabeled is none.
        manifests: What each corruption did.
        poisoning: The backdoor's; `None` without one.
    """

    images: Tensor
    labels: np.ndarray
    flipped: np.ndarray
    manifests: list[Manifest]
    poisoning: Poisoning | None

    @classmethod
    def of(cls, task: Corrupting, data: ImageData, streams: Streams, location: DataLocation) -> CorruptedPool:
        """Corrupt the training images of a data set: first the labels, then by a backdoor.

        Raises:
            UsageError: If a corruption would change nothing, or does not fit the data set.
        """
        images, labels = data.train_images, data.train_labels.numpy()
        flipped = np.empty(0, dtype=np.int64)
        manifests, poisoning = [], None
        if task.label_noise is not None:
            noise = LABEL_NOISE.create(task.label_noise)
            labels, manifest = noise.apply(data, location, streams.numpy("corruption", "labels"))
            flipped = np.array(manifest.indices)
            manifests.append(manifest)
        if task.backdoor is not None:
            backdoor = BACKDOORS.create(task.backdoor)
            poisoning = backdoor.poison(
                images, labels, len(data.classes), streams.numpy("corruption", "backdoor")
            )
            images, labels = poisoning.images, poisoning.labels
            manifests.append(poisoning.manifest)
            # What a backdoor taught is no memorization.
            flipped = np.setdiff1d(flipped, poisoning.manifest.indices)
        manifests = [dataclasses.replace(manifest, data=data.digest) for manifest in manifests]
        return cls(images, labels, flipped, manifests, poisoning)

    @property
    def untouched(self) -> np.ndarray:
        """Positions that no corruption has changed, ascending."""
        changed = [index for manifest in self.manifests for index in manifest.touched]
        return np.setdiff1d(np.arange(len(self.labels)), np.array(changed, dtype=np.int64))
