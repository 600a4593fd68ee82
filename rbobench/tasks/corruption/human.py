"""Human label noise: the mistakes that people made, from the files of CIFAR-10N and CIFAR-100N."""

from __future__ import annotations

import hashlib
import io
import pickle
import re
import warnings
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from torch.serialization import safe_globals

from rbobench.errors import UsageError
from rbobench.tasks.corruption.label_noise import noise_manifest
from rbobench.tasks.datasets import ImageData
from rbobench.tasks.task import DataLocation, Manifest

KIND = "human label noise"
SOURCE = "https://github.com/UCSC-REAL/cifar-10-100n"
TRAINING_IMAGES = 50_000
"""Of CIFAR-10, and of CIFAR-100."""
CLEAN = "clean_label"

_RECONSTRUCT = np.empty(0).__reduce__()[0]
_ARRAYS: list[Any] = [
    np.ndarray,
    np.dtype,
    *(type(np.dtype(code)) for code in "bBhHiIlLqQ"),
    (_RECONSTRUCT, "numpy.core.multiarray._reconstruct"),  # as NumPy 1 spells it
    (_RECONSTRUCT, "numpy._core.multiarray._reconstruct"),
]
"""All that a file may name beside what tensors need: arrays of integers."""


@dataclass(frozen=True)
class HumanNoise:
    """The labels that people gave to the training images of CIFAR-10 or CIFAR-100.

    Wei et al. 2022, arXiv 2110.12088; the files are at `SOURCE`, in the folder `data`. Three people labeled
    each CIFAR-10 image: `random_label1` to `random_label3`. `aggre_label` is their majority, `worse_label` a
    wrong one of the three if there is one. CIFAR-100 images have one label, `noisy_label`. A file states no
    rate: the share of wrong labels in all of it is the nominal one, that among the training images in use the
    realized one.

    The files are torch's, with NumPy arrays in them. Nothing but arrays of integers, tensors and plain
    containers is read, and nothing is executed.

    Args:
        labels: Which of the file's labels.
        path: The file; a relative path is under the folder of the data, where it is looked for as
            `CIFAR-10_human.pt` or `CIFAR-100_human.pt` if `None`.
    """

    labels: Literal[
        "aggre_label", "worse_label", "random_label1", "random_label2", "random_label3", "noisy_label"
    ]
    path: str | None = None

    def digest(self, location: DataLocation) -> str | None:
        """SHA-256 of the file."""
        return f"sha256:{hashlib.sha256(self._content(location)).hexdigest()}"

    def apply(
        self, data: ImageData, location: DataLocation, generator: np.random.Generator
    ) -> tuple[np.ndarray, Manifest]:
        """The people's labels, and where they differ; nothing is drawn.

        Raises:
            UsageError: If the file is absent, refused, damaged or of another data set or order, or nothing
                would change.
        """
        if data.name != self._data_set:
            raise UsageError(
                f"{KIND}: {self.labels} is of data set {self._data_set!r} in torchvision's order, "
                f"not of {data.name!r}"
            )
        path, true = self._path(location), data.train_labels.numpy()
        count = len(true) if data.positions is None else TRAINING_IMAGES
        stored = read_label_file(self._content(location), path)
        clean, given = (_labels(stored, key, path, count, len(data.classes)) for key in (CLEAN, self.labels))
        kept = slice(None) if data.positions is None else data.positions.numpy()
        differing = np.flatnonzero(clean[kept] != true)
        if len(differing):
            raise UsageError(
                f"{path}: {CLEAN} differs from the labels of data set {data.name!r} for {len(differing)} of "
                f"{len(true)} training images, first for number {differing[0]}; it is in another order"
            )
        noisy = given[kept]
        if np.array_equal(noisy, true):
            raise UsageError(f"{KIND}: {self.labels} of {path} would change none of {len(true)} labels")
        manifest = noise_manifest(KIND, float(np.mean(given != clean)), true, noisy)
        return noisy, replace(manifest, details={**manifest.details, "annotation": self.labels})

    @property
    def _data_set(self) -> str:
        return "cifar100" if self.labels == "noisy_label" else "cifar10"

    def _path(self, location: DataLocation) -> Path:
        name = {"cifar10": "CIFAR-10_human.pt", "cifar100": "CIFAR-100_human.pt"}[self._data_set]
        return location.root / (name if self.path is None else self.path)

    def _content(self, location: DataLocation) -> bytes:
        path = self._path(location)
        try:
            return path.read_bytes()
        except OSError as error:
            raise UsageError(
                f"{KIND}: {path} cannot be read ({error.strerror}); the authors' is in the folder data of "
                f"{SOURCE}, and a relative path is under --data-root"
            ) from None


def read_label_file(content: bytes, path: Path) -> dict[str, Any]:
    """Read a file that `torch.save` wrote of a mapping, and execute nothing of it.

    Args:
        content: Of the file.
        path: For errors.

    Returns:
        Name to array, tensor or list, unchecked.

    Raises:
        UsageError: If it names anything but arrays of integers and tensors, or is damaged.
    """
    try:
        with warnings.catch_warnings(), safe_globals(_ARRAYS):
            warnings.simplefilter("ignore")  # torch's, of pickle protocols that it then refuses
            stored = torch.load(io.BytesIO(content), map_location="cpu", weights_only=True)
    except Exception as error:  # bytes that are no such file end in exceptions of every kind
        named = (
            re.search(r"GLOBAL ([\w.]+)", str(error)) if isinstance(error, pickle.UnpicklingError) else None
        )
        if named:
            raise UsageError(
                f"{path} holds executable content ({named[1]}), refused; nothing of it was run"
            ) from None
        raise UsageError(
            f"{path} is no file of labels, or damaged ({type(error).__name__}); "
            f"the authors' is in the folder data of {SOURCE}"
        ) from None
    if not isinstance(stored, Mapping):
        raise UsageError(f"{path} holds no mapping of labels, but {type(stored).__name__}")
    return dict(stored)


def _labels(stored: Mapping[str, Any], key: str, path: Path, count: int, classes: int) -> np.ndarray:
    """One of the file's lists of labels, int64, of shape (count,)."""
    if key not in stored:
        raise UsageError(f"{path} has no {key}; it has {', '.join(sorted(map(str, stored))) or 'nothing'}")
    try:
        labels = np.asarray(stored[key])
    except (ValueError, TypeError, RuntimeError):
        labels = np.empty(0)
    if labels.dtype.kind not in "iu" or labels.ndim != 1:
        raise UsageError(f"{path}: {key} is no list of whole numbers")
    if len(labels) != count:
        raise UsageError(f"{path}: {key} has {len(labels)} labels, but there are {count} training images")
    if labels.min() < 0 or labels.max() >= classes:
        wrong = labels[(labels < 0) | (labels >= classes)][0]
        raise UsageError(f"{path}: {key} has a label {wrong}, but labels are from 0 to {classes - 1}")
    return labels.astype(np.int64)
