"""Instance-dependent label noise: what a sample is mistaken for depends on what it looks like."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from scipy.special import ndtr, ndtri

from rbobench.errors import UsageError
from rbobench.tasks.corruption.label_noise import noise_manifest
from rbobench.tasks.corruption.rate import check_rate
from rbobench.tasks.datasets import ImageData
from rbobench.tasks.task import DataLocation, Manifest

BLOCK = 1024
"""Samples that are handled at once, to bound memory."""
RESOLUTION = 2.0**20
"""Projections are multiples of its reciprocal: 8 bits of a pixel, 23 of a projection and 22 of up to four
million features fit into the 53 of a float64, so that a sum is exact in whatever order a library takes it."""


@dataclass(frozen=True)
class InstanceDependentNoise:
    """Each sample is flipped with its own probability, to classes that a random projection of it prefers.

    Algorithm 2 of Xia et al. 2020, arXiv 2006.07836: sample i is flipped with probability q_i, drawn from the
    normal distribution of mean `rate` and standard deviation `deviation` truncated to [0, 1], and becomes
    class j ≠ y_i with probability q_i · softmax(x_i W_{y_i})_j, the true class left out of the softmax. W_y,
    one for each class, has standard normal entries and the shape (features, classes).

    x_i holds the sample's pixels, flattened and scaled to [0, 1]. The authors' code leaves them between 0 and
    255, where the softmax is next to one-hot; here too it comes the closer to that the larger the image is.

    The realized rate is what the draws made of it. Its expectation is the truncated distribution's mean:
    `rate`, unless that is within a few deviations of 0 or 1.

    Args:
        rate: Mean of the untruncated flip probabilities, above 0 and at most 1.
        deviation: Standard deviation of the same, above 0.

    Raises:
        ValueError: If one of them is out of range.
    """

    rate: float
    deviation: float = 0.1

    def __post_init__(self) -> None:
        check_rate(self.rate)
        if not (math.isfinite(self.deviation) and self.deviation > 0.0):
            raise ValueError(f"deviation must be above 0, not {self.deviation}")

    def digest(self, location: DataLocation) -> str | None:
        """It reads no file but the images."""
        return None

    def apply(
        self, data: ImageData, location: DataLocation, generator: np.random.Generator
    ) -> tuple[np.ndarray, Manifest]:
        """New labels, and what was changed."""
        kind, true, classes = "instance-dependent label noise", data.train_labels.numpy(), len(data.classes)
        images = data.train_images.flatten(1).numpy()
        flip_probability = truncated_normal(self.rate, self.deviation, len(true), generator)
        uniform = generator.random(len(true))
        noisy = true.copy()
        for label in range(classes):
            projection = draw_projection(images.shape[1], classes, generator)
            for block in _blocks(np.flatnonzero(true == label)):
                partners = partner_probabilities(images[block], projection, label)
                upper = np.cumsum(partners, axis=1) * flip_probability[block, None]
                drawn = (uniform[block, None] >= upper).sum(axis=1)
                noisy[block] = np.where(drawn < classes, drawn, label)
        if np.array_equal(noisy, true):
            raise UsageError(f"{kind} at rate {self.rate:g} of {len(true)} samples would change nothing")
        return noisy, noise_manifest(kind, self.rate, true, noisy)


def truncated_normal(mean: float, deviation: float, count: int, generator: np.random.Generator) -> np.ndarray:
    """Draw from a normal distribution truncated to [0, 1], by inverting its distribution function.

    Args:
        mean: Before truncation, within [0, 1].
        deviation: Before truncation.
        count: How many.
        generator: Gives one uniform number for each.

    Returns:
        float64, of shape (count,).
    """
    low, high = ndtr(-mean / deviation), ndtr((1.0 - mean) / deviation)
    drawn = mean + deviation * ndtri(low + (high - low) * generator.random(count))
    return np.clip(drawn, 0.0, 1.0)


def draw_projection(features: int, classes: int, generator: np.random.Generator) -> np.ndarray:
    """Standard normal numbers, rounded to multiples of 1 / `RESOLUTION`.

    Returns:
        float64, of shape (features, classes).
    """
    return np.rint(generator.standard_normal((features, classes)) * RESOLUTION) / RESOLUTION


def partner_probabilities(images: np.ndarray, projection: np.ndarray, label: int) -> np.ndarray:
    """What samples of one class are mistaken for, given that they are.

    Args:
        images: uint8, of shape (n, features).
        projection: The class's, of shape (features, classes), as `draw_projection` gives it.
        label: The class.

    Returns:
        float64, of shape (n, classes); rows add up to 1, with 0 at the class itself.
    """
    scores = (images.astype(np.float64) @ projection) / 255.0
    scores[:, label] = -np.inf
    weights = np.exp(scores - scores.max(axis=1, keepdims=True))
    return weights / weights.sum(axis=1, keepdims=True)


def _blocks(members: np.ndarray) -> Iterator[np.ndarray]:
    for start in range(0, len(members), BLOCK):
        yield members[start : start + BLOCK]
