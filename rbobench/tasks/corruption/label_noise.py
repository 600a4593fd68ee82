"""Label noise: some training samples carry the label of another class."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import numpy as np

from rbobench.tasks.corruption.rate import check_rate, draw_samples
from rbobench.tasks.task import Manifest


class LabelNoise(Protocol):
    """Changes labels of a data set."""

    def apply(
        self, labels: np.ndarray, classes: int, generator: np.random.Generator
    ) -> tuple[np.ndarray, Manifest]:
        """New labels, and what was changed.

        Args:
            labels: True labels, of shape (n,).
            classes: How many classes there are.
            generator: Draws what is changed.

        Raises:
            UsageError: If nothing would change.
        """
        ...


@dataclass(frozen=True)
class SymmetricNoise:
    """Each of `rate` · n samples gets a label drawn uniformly from the *other* classes.

    The true class is excluded, so that the nominal rate is the realized one; where it is not, the realized
    rate is lower by the factor 1 − 1/classes.

    Args:
        rate: Share of the samples whose label is wrong, above 0 and at most 1.

    Raises:
        ValueError: If the rate is out of range.
    """

    rate: float

    def __post_init__(self) -> None:
        check_rate(self.rate)

    def apply(
        self, labels: np.ndarray, classes: int, generator: np.random.Generator
    ) -> tuple[np.ndarray, Manifest]:
        """New labels, and what was changed."""
        kind = "symmetric label noise"
        chosen = draw_samples(kind, self.rate, np.arange(len(labels)), len(labels), generator)
        noisy = labels.copy()
        noisy[chosen] = (labels[chosen] + generator.integers(1, classes, len(chosen))) % classes
        manifest = Manifest(
            kind=kind,
            part="train",
            nominal_rate=self.rate,
            realized_rate=float(np.mean(noisy != labels)),
            indices=tuple(chosen.tolist()),
            details={"labels": noisy[chosen].tolist()},
        )
        return noisy, manifest
