"""Label noise: some training samples carry the label of another class."""

from __future__ import annotations

from typing import Protocol

import numpy as np

from rbobench.tasks.datasets import ImageData
from rbobench.tasks.task import DataLocation, Manifest


class LabelNoise(Protocol):
    """Changes labels of a data set; its options are the fields of a frozen dataclass."""

    def digest(self, location: DataLocation) -> str | None:
        """A digest of the files it reads, `"sha256:..."`; `None` where it reads none.

        Raises:
            UsageError: If one is absent or unreadable.
        """
        ...

    def apply(
        self, data: ImageData, location: DataLocation, generator: np.random.Generator
    ) -> tuple[np.ndarray, Manifest]:
        """New training labels, of shape (n,), and what was changed.

        Args:
            data: Images and true labels; left alone.
            location: Where files of labels are.
            generator: Draws what is changed.

        Raises:
            UsageError: If nothing would change, or it does not fit the data set.
        """
        ...


def noise_manifest(kind: str, rate: float, true: np.ndarray, noisy: np.ndarray) -> Manifest:
    """What a kind of label noise changed: the samples whose label differs, and no others.

    Args:
        kind: Of the noise, as manifests and errors call it.
        rate: The nominal one.
        true: Labels before, of shape (n,).
        noisy: Labels after.
    """
    changed = np.flatnonzero(noisy != true)
    return Manifest(
        kind=kind,
        part="train",
        nominal_rate=rate,
        realized_rate=len(changed) / len(true),
        indices=tuple(changed.tolist()),
        details={"labels": noisy[changed].tolist()},
    )
