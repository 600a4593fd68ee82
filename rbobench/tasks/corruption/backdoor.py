"""Poisoning: some training samples teach a model an answer of the attacker's choice."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from torch import Tensor

from rbobench.tasks.task import Manifest


@dataclass(frozen=True, eq=False)
class Poisoning:
    """A poisoned training set, and the attack that it prepares.

    Attributes:
        images: uint8, of shape (n, channels, height, width), those of the poisoned samples changed.
        labels: Given labels, of shape (n,).
        manifest: What was changed.
        trigger: From images to copies with the trigger in them; the images themselves for an attack without.
        attacked: From true labels to a mask: the test images that the attack is tried on.
        wanted: From the true labels of attacked images to the labels that the attacker wants for them.
    """

    images: Tensor
    labels: np.ndarray
    manifest: Manifest
    trigger: Callable[[Tensor], Tensor]
    attacked: Callable[[Tensor], Tensor]
    wanted: Callable[[Tensor], Tensor]


class Backdoor(Protocol):
    """Poisons training samples; its options are the fields of a frozen dataclass."""

    def poison(
        self, images: Tensor, labels: np.ndarray, classes: int, generator: np.random.Generator
    ) -> Poisoning:
        """Poison a training set.

        Args:
            images: uint8, of shape (n, channels, height, width); left alone.
            labels: Given labels, of shape (n,); left alone.
            classes: How many classes there are.
            generator: Draws what is poisoned, and whatever else the attack draws.

        Raises:
            UsageError: If nothing would change, or the attack does not fit the images or labels.
        """
        ...
