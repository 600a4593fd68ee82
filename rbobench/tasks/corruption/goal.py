"""What an attacker wants: which answer, for an image of which class."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from rbobench.errors import UsageError


@dataclass(frozen=True, eq=False)
class Goal:
    """A map of classes. Those whose answer is their own are not attacked.

    Args:
        name: As manifests call it.
        roles: `"target"` or `"source"` to the class that it is.
        answers: Wanted label of each class, int64, of shape (classes,).
    """

    name: str
    roles: Mapping[str, int]
    answers: Tensor

    @classmethod
    def all_to_one(cls, target: int, classes: int) -> Goal:
        """Every class is to be taken for the target."""
        return cls("all-to-one", {"target": target}, torch.full((classes,), target))

    @classmethod
    def all_to_all(cls, classes: int) -> Goal:
        """Every class y is to be taken for (y + 1) mod classes (arXiv 1708.06733)."""
        return cls("all-to-all", {}, (torch.arange(classes) + 1) % classes)

    @classmethod
    def source_to_target(cls, source: int, target: int, classes: int) -> Goal:
        """One class is to be taken for another."""
        every = torch.arange(classes)
        roles = {"source": source, "target": target}
        return cls("source-to-target", roles, torch.where(every == source, target, every))

    @classmethod
    def of_options(cls, target: int, all_to_all: bool, classes: int) -> Goal:
        """All-to-all or all-to-one, as the options of an attack say."""
        return cls.all_to_all(classes) if all_to_all else cls.all_to_one(target, classes)

    def attacked(self, labels: Tensor) -> Tensor:
        """A mask of labels, of shape (n,): those whose images the attack is tried on."""
        return self.wanted(labels) != labels

    def wanted(self, labels: Tensor) -> Tensor:
        """The labels that the attacker wants for images of these labels, of shape (n,)."""
        return self.answers.to(labels.device)[labels]

    def check_labels(self, kind: str, labels: np.ndarray) -> None:
        """See that each class with a role is one, and has samples.

        Args:
            kind: The attack, for the error.
            labels: Given labels of the training set, of shape (n,).

        Raises:
            UsageError: If it is no class, or absent.
        """
        classes = len(self.answers)
        for role, label in self.roles.items():
            if label >= classes:
                raise UsageError(f"{kind}: {role} {label} is no class; there are {classes}, from 0")
            if not (labels == label).any():
                raise UsageError(
                    f"{kind}: none of the {len(labels)} training images is of the {role} class {label}; "
                    f"choose another {role}, or more train_images"
                )


def check_class(role: str, label: int) -> None:
    """See that an option could be a class.

    Args:
        role: The option's name.
        label: Its value.

    Raises:
        ValueError: If it is negative.
    """
    if label < 0:
        raise ValueError(f"{role} must not be negative, not {label}")


def check_target(target: int, all_to_all: bool) -> None:
    """See that the options of a goal fit each other.

    Raises:
        ValueError: If the target is negative, or set where there is none.
    """
    check_class("target", target)
    if all_to_all and target != 0:
        raise ValueError(f"all_to_all has no one target; leave out target {target}")
