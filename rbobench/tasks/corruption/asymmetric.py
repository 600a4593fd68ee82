"""Asymmetric label noise: classes that look alike are mistaken for one another."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Any

import numpy as np

from rbobench.errors import UsageError, unknown
from rbobench.tasks.corruption.label_noise import noise_manifest
from rbobench.tasks.corruption.rate import check_rate
from rbobench.tasks.datasets import ImageData
from rbobench.tasks.task import DataLocation, Manifest

KIND = "asymmetric label noise"
CIFAR10_MAP = {"truck": "automobile", "bird": "airplane", "deer": "horse", "cat": "dog", "dog": "cat"}
"""By class name, Patrini et al. 2017, arXiv 1609.03683; also for image folders with these classes."""
MNIST_MAP = {"7": "1", "2": "7", "5": "6", "6": "5", "3": "8"}
"""By digit, from the same paper."""


def _resolved_map(what: str, given: Any) -> dict[str, str] | None:
    """A class map of a suite file, with its classes as text: `7` and `"7"` are one."""
    if given is None:
        return None
    if not isinstance(given, Mapping) or not all(
        isinstance(entry, str | int) and not isinstance(entry, bool)
        for pair in given.items()
        for entry in pair
    ):
        raise UsageError(f"{what} must be a mapping from class to class, not {given!r}")
    return dict(sorted((str(source), str(partner)) for source, partner in given.items()))


ClassMap = Annotated[dict[str, str] | None, _resolved_map]
"""Class to the class that it is mistaken for, by name, or by label where no class is called so."""


@dataclass(frozen=True)
class AsymmetricNoise:
    """In each class that the map names, `rate` of its samples get the label of the class's partner.

    The nominal rate is the share *of these source classes*; the realized one is the share of all samples: on
    CIFAR-10, where five of ten classes have a partner, 40 % is realized as 20 %. In each source class
    `rate` · n_c samples are flipped, rounded, where Patrini et al. 2017 flip each with that probability. From
    a nominal rate of one half on, most samples of a source class carry its partner's label.

    Without a map, data sets with CIFAR-10's class names get `CIFAR10_MAP`, `mnist` and `mnist-5k` get
    `MNIST_MAP`, and in `cifar100` every class is a source and the next label its partner (Patrini et al. stay
    within superclasses, which their code takes to be blocks of five labels). No other data set has a map of
    its own.

    Args:
        rate: Share of the source classes' samples whose label is wrong, above 0 and at most 1.
        class_map: Source class to partner, by class name or label; `None` for the data set's own map.

    Raises:
        ValueError: If the rate is out of range or the map is empty.
    """

    rate: float
    class_map: ClassMap = None

    def __post_init__(self) -> None:
        check_rate(self.rate)
        if self.class_map is not None and not self.class_map:
            raise ValueError("class_map names no class")

    def digest(self, location: DataLocation) -> str | None:
        """It reads no file."""
        return None

    def apply(
        self, data: ImageData, location: DataLocation, generator: np.random.Generator
    ) -> tuple[np.ndarray, Manifest]:
        """New labels, and what was changed.

        Raises:
            UsageError: If the data set has no map of its own and none is given, the map does not fit its
                classes, or nothing would change.
        """
        true = data.train_labels.numpy()
        noisy, partners = true.copy(), self._partners(data)
        for source, partner in sorted(partners.items()):
            members = np.flatnonzero(true == source)
            noisy[generator.choice(members, round(self.rate * len(members)), replace=False)] = partner
        if np.array_equal(noisy, true):
            total = int(np.isin(true, list(partners)).sum())
            raise UsageError(
                f"{KIND} at rate {self.rate:g} of {total} samples of its source classes would change nothing"
            )
        return noisy, noise_manifest(KIND, self.rate, true, noisy)

    def _partners(self, data: ImageData) -> dict[int, int]:
        """Source label to partner."""
        named = _own_map(data) if self.class_map is None else self.class_map
        partners: dict[int, int] = {}
        for source, partner in named.items():
            label = _label(source, data)
            if label in partners:
                raise UsageError(f"class_map names class {data.classes[label]!r} twice")
            partners[label] = _label(partner, data)
            if partners[label] == label:
                raise UsageError(f"class_map maps class {data.classes[label]!r} to itself")
        return partners


def _own_map(data: ImageData) -> dict[str, str]:
    if CIFAR10_MAP.keys() | CIFAR10_MAP.values() <= set(data.classes):
        return CIFAR10_MAP
    if data.name in ("mnist", "mnist-5k"):
        return MNIST_MAP
    if data.name == "cifar100":
        return dict(zip(data.classes, data.classes[1:] + data.classes[:1], strict=True))
    raise UsageError(
        f"{KIND}: data set {data.name!r} has no class map of its own; give one, class to class, "
        f"for instance class_map: {{{data.classes[0]}: {data.classes[1]}}}"
    )


def _label(name: str, data: ImageData) -> int:
    """The label of a class by its name, or by its number where no class is called so."""
    name = str(name)
    if name in data.classes:
        return data.classes.index(name)
    if name.isdecimal() and int(name) < len(data.classes):
        return int(name)
    raise UsageError(f"class_map: {unknown('class', name, data.classes)}")
