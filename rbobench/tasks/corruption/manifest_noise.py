"""Label noise from a manifest: the very flips of another trial."""

from __future__ import annotations

import hashlib
import itertools
import json
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from rbobench.errors import UsageError
from rbobench.tasks.corruption.label_noise import noise_manifest
from rbobench.tasks.datasets import ImageData
from rbobench.tasks.task import DataLocation, Manifest

SUFFIX = "label noise"
"""How the kinds of label noise end."""


@dataclass(frozen=True)
class ManifestNoise:
    """The flips of a stored manifest, whatever drew them; no seed changes them.

    Its manifest is the stored one again, kind, nominal rate and details as they were.

    Args:
        path: A manifest as `run` writes it, JSON; a relative path is under the folder of the data.
    """

    path: str

    def digest(self, location: DataLocation) -> str | None:
        """SHA-256 of the file."""
        return f"sha256:{hashlib.sha256(self._content(location)).hexdigest()}"

    def apply(
        self, data: ImageData, location: DataLocation, generator: np.random.Generator
    ) -> tuple[np.ndarray, Manifest]:
        """The stored labels, and what was changed; nothing is drawn.

        Raises:
            UsageError: If the file is absent, no manifest of label noise, or of another data set.
        """
        path = self._path(location)
        stored = _manifest(self._content(location), path)
        if stored["data"] != data.digest:
            raise UsageError(
                f"manifest {path} does not match the data set {data.name!r}: it was made for "
                f"{stored['data'] or 'one without a digest'}, this is {data.digest}"
            )
        true, indices, labels = data.train_labels.numpy(), stored["indices"], stored["details"]["labels"]
        if any(later <= earlier for earlier, later in itertools.pairwise(indices)):
            raise UsageError(f"manifest {path}: indices are not ascending, or name a sample twice")
        if indices[0] < 0 or indices[-1] >= len(true):
            wrong = indices[0] if indices[0] < 0 else indices[-1]
            raise UsageError(f"manifest {path}: there is no training image {wrong}; there are {len(true)}")
        for index, label in zip(indices, labels, strict=True):
            if not 0 <= label < len(data.classes):
                raise UsageError(
                    f"manifest {path}: label {label} of sample {index} is none of the labels, "
                    f"0 to {len(data.classes) - 1}"
                )
            if label == true[index]:
                raise UsageError(f"manifest {path}: label {label} of sample {index} is its true label")
        noisy = true.copy()
        noisy[indices] = labels
        realized = noise_manifest(stored["kind"], stored["nominal_rate"], true, noisy)
        return noisy, replace(realized, details=stored["details"])

    def _path(self, location: DataLocation) -> Path:
        return location.root / self.path

    def _content(self, location: DataLocation) -> bytes:
        path = self._path(location)
        try:
            return path.read_bytes()
        except OSError as error:
            raise UsageError(
                f"manifest {path} cannot be read ({error.strerror}); a relative path is under --data-root"
            ) from None


def _manifest(content: bytes, path: Path) -> dict[str, Any]:
    """A manifest of label noise, its fields of the right types."""
    try:
        stored = json.loads(content)
    except (ValueError, RecursionError):
        raise UsageError(f"manifest {path} is no JSON") from None
    fields = ("kind", "part", "nominal_rate", "indices", "details", "data")
    if not isinstance(stored, dict) or any(field not in stored for field in fields):
        raise UsageError(f"{path} is no manifest; one has {', '.join(fields)}")
    if (
        not isinstance(stored["kind"], str)
        or not stored["kind"].endswith(SUFFIX)
        or stored["part"] != "train"
    ):
        raise UsageError(
            f"manifest {path} is of {stored['kind']!r} in {stored['part']!r}, not of label noise"
        )
    details = stored["details"]
    labels: Any = details.get("labels") if isinstance(details, dict) else None
    indices, rate = stored["indices"], stored["nominal_rate"]
    if not (_whole(indices) and _whole(labels) and len(indices) == len(labels)):
        raise UsageError(f"manifest {path}: indices and labels are not lists of whole numbers of one length")
    if not indices:
        raise UsageError(f"manifest {path} would change nothing")
    if isinstance(rate, bool) or not isinstance(rate, int | float) or not 0.0 < rate <= 1.0:
        raise UsageError(f"manifest {path}: nominal_rate must be above 0 and at most 1, not {rate!r}")
    return stored


def _whole(numbers: Any) -> bool:
    return isinstance(numbers, list) and all(type(number) is int for number in numbers)
