"""Accuracy, calibration and their kin, as functions of logits and labels."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

from rbobench.errors import UsageError

CALIBRATION_BINS = 15
"""Of Guo et al."""
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


def attack_success_rate(logits: Tensor, wanted: Tensor) -> Tensor:
    """Share of triggered images, none of which has that label, that are taken for what the attacker wants.

    Args:
        logits: Of the triggered images, of shape (n, classes).
        wanted: The label that the attacker wants for each, of shape (n,): one target for all of them, or
            their own label's successor where all go to all.

    Returns:
        A 0-dimensional tensor.
    """
    return accuracy(logits, wanted)


def expected_calibration_error(logits: Tensor, labels: Tensor, bins: int = CALIBRATION_BINS) -> Tensor:
    """How far confidence is from accuracy, on average (Guo et al., arXiv 1706.04599, Eq. 3).

    Samples are sorted by their confidence, the largest probability, into bins of equal width, open to the
    left; |accuracy − mean confidence| of each bin is weighted by its samples. It is biased upwards for few
    samples: chance alone sets a bin's accuracy off.

    Args:
        logits: Of shape (n, classes).
        labels: Of shape (n,).
        bins: How many.

    Returns:
        A 0-dimensional tensor, between 0 and 1; the host does not wait for it.

    Raises:
        UsageError: If there is no bin.
    """
    if bins < 1:
        raise UsageError(f"bins must be at least 1, not {bins}")
    confidence, predicted = logits.float().softmax(dim=1).max(dim=1)
    edges = torch.linspace(0.0, 1.0, bins + 1, device=logits.device)[1:-1]
    in_bin = functional.one_hot(torch.bucketize(confidence, edges), bins).float()
    # A bin's samples divide its accuracy and its confidence, and weigh them: they cancel.
    excess = (predicted == labels).float() - confidence
    return (excess @ in_bin).abs().sum() / len(labels)


def has_collapsed(logits: Tensor) -> bool:
    """Whether one class is predicted for more than `COLLAPSE_SHARE` of the samples.

    Args:
        logits: Of shape (n, classes).
    """
    counts = torch.bincount(logits.argmax(dim=1), minlength=logits.shape[1])
    return bool(counts.max() > COLLAPSE_SHARE * len(logits))
