"""Label noise: some training samples carry the label of another class."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

import numpy as np

from rbobench.tasks.corruption.rate import draw_samples
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


def moved_labels(
    kind: str,
    rate: float,
    data: ImageData,
    generator: np.random.Generator,
    step: Callable[[int], np.ndarray | int],
) -> tuple[np.ndarray, Manifest]:
    """Move the labels of `rate` · n samples, drawn from all classes together, some classes on.

    Args:
        kind: Of the noise, as manifests and errors call it.
        rate: The nominal one.
        data: Images and true labels.
        generator: Draws the samples.
        step: From how many samples there are to how many classes each moves on, the first after the last.

    Returns:
        New labels, and what was changed.

    Raises:
        UsageError: If nothing would change.
    """
    true = data.train_labels.numpy()
    chosen = draw_samples(kind, rate, np.arange(len(true)), len(true), generator)
    noisy = true.copy()
    noisy[chosen] = (true[chosen] + step(len(chosen))) % len(data.classes)
    return noisy, noise_manifest(kind, rate, true, noisy)


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
