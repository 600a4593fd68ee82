"""How samples are poisoned: drawn, triggered, relabeled and written down."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from rbobench.errors import UsageError
from rbobench.tasks.corruption.backdoor import Poisoning
from rbobench.tasks.corruption.goal import Goal
from rbobench.tasks.corruption.rate import draw_samples
from rbobench.tasks.task import Manifest

BATCH = 256
"""Images that are changed at once, in double precision."""


@dataclass(frozen=True, eq=False)
class Attack:
    """An attack whose trigger is fixed.

    With dirty labels, samples are poisoned that the attacker wants another label for, and get it: those that
    carry it already would teach nothing. With clean labels, samples are poisoned whose label is the wanted
    one, and keep it.

    Args:
        kind: As manifests and errors call it.
        rate: Share of *all* training samples that are poisoned.
        goal: What the attacker wants.
        trigger: From uint8 images to copies with the trigger in them; `None` for an attack without.
        details: Of the manifest. Added are the goal and its classes, the `labels` given to the poisoned
            samples, `images_changed`, the number of those that the trigger made another image, and where one
            class alone is poisoned the share of it that is, `target_class_fraction` or
            `source_class_fraction`.
        clean_label: Whether labels stay.
    """

    kind: str
    rate: float
    goal: Goal
    trigger: Callable[[Tensor], Tensor] | None
    details: Mapping[str, Any]
    clean_label: bool = False

    def poison(self, images: Tensor, labels: np.ndarray, generator: np.random.Generator) -> Poisoning:
        """Poison a training set.

        Args:
            images: uint8, of shape (n, channels, height, width), on the CPU; left alone.
            labels: Given labels, of shape (n,); left alone.
            generator: Draws the samples.

        Raises:
            UsageError: If a class of the goal is absent, no sample would be poisoned, more than there are,
                or the trigger changes none of their images.
        """
        self.goal.check_labels(self.kind, labels)
        attacked = self.goal.attacked(torch.from_numpy(labels)).numpy()
        candidates = np.flatnonzero(attacked != self.clean_label)
        self._check_share(len(candidates), len(labels))
        chosen = draw_samples(self.kind, self.rate, candidates, len(labels), generator)
        poisoned, images_changed = self._triggered(images, torch.from_numpy(chosen))
        given = labels.copy()
        given[chosen] = self.goal.wanted(torch.from_numpy(labels[chosen])).numpy()
        details = {"goal": self.goal.name, **self.goal.roles, **self.details}
        if self._one_class is not None:
            details[f"{self._one_class}_class_fraction"] = len(chosen) / len(candidates)
        manifest = Manifest(
            kind=self.kind,
            part="train",
            nominal_rate=self.rate,
            realized_rate=len(chosen) / len(labels),
            indices=tuple(chosen.tolist()),
            details={**details, "labels": given[chosen].tolist(), "images_changed": images_changed},
        )
        trigger = self.trigger or _unchanged
        return Poisoning(poisoned, given, manifest, trigger, self.goal.attacked, self.goal.wanted)

    @property
    def _one_class(self) -> str | None:
        """The role of the class whose samples alone are poisoned; `None` where several are."""
        if self.clean_label:
            return "target"
        return "source" if "source" in self.goal.roles else None

    def _check_share(self, available: int, total: int) -> None:
        role, count = self._one_class, round(self.rate * total)
        if role is not None and count > available:
            raise UsageError(
                f"{self.kind} at rate {self.rate:g} of {total} samples needs {count}, but the {role} class "
                f"{self.goal.roles[role]} has only {available}; the rate is a share of the whole set"
            )

    def _triggered(self, images: Tensor, chosen: Tensor) -> tuple[Tensor, int]:
        """Images with the trigger in the chosen ones, and how many of those it changed."""
        if self.trigger is None:
            return images, 0
        poisoned = images.clone()
        poisoned[chosen] = self.trigger(images[chosen])
        changed = int((poisoned[chosen] != images[chosen]).flatten(1).any(dim=1).sum())
        if not changed:
            raise UsageError(f"{self.kind}: the trigger changes none of the {len(chosen)} poisoned images")
        return poisoned, changed


def _unchanged(images: Tensor) -> Tensor:
    return images


def redrawn(images: Tensor, change: Callable[[np.ndarray], np.ndarray]) -> Tensor:
    """Copies of images, changed in double precision, rounded to the nearest gray level and clipped.

    Args:
        images: uint8, of shape (n, channels, height, width), on the CPU.
        change: From float64 images on the scale of 0 to 255 to as many changed ones.

    Returns:
        uint8, of the images' shape.
    """
    parts = [
        np.clip(np.rint(change(part.numpy().astype(np.float64))), 0, 255).astype(np.uint8)
        for part in images.split(BATCH)
    ]
    return torch.from_numpy(np.concatenate(parts))
