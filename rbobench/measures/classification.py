"""Accuracy and its kin, as functions of logits and labels."""

from __future__ import annotations

import torch
from torch import Tensor

COLLAPSE_SHARE = 0.99
"""A model that predicts one class for more than this share of the test images has collapsed."""


def accuracy(logits: Tensor, labels: Tensor) -> Tensor:
    """Share of samples whose largest logit is the label's.

    Args:
        logits: Of shape (n, classes).
        labels: Of shape (n,).

    Returns:
        A 0-dimensional tensor.
    """
    return (logits.argmax(dim=1) == labels).float().mean()


def attack_success_rate(logits: Tensor, target: int) -> Tensor:
    """Share of triggered images, none of the target class, that are taken for the target.

    Args:
        logits: Of the triggered images, of shape (n, classes).
        target: The backdoor's target class.

    Returns:
        A 0-dimensional tensor.
    """
    return (logits.argmax(dim=1) == target).float().mean()


def has_collapsed(logits: Tensor) -> bool:
    """Whether one class is predicted for more than `COLLAPSE_SHARE` of the samples.

    Args:
        logits: Of shape (n, classes).
    """
    counts = torch.bincount(logits.argmax(dim=1), minlength=logits.shape[1])
    return bool(counts.max() > COLLAPSE_SHARE * len(logits))
