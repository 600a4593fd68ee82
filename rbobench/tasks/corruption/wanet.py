"""WaNet (arXiv 2102.10369): a smooth warp of the image, too small to be seen."""

from __future__ import annotations

import dataclasses
import math
from dataclasses import dataclass
from functools import partial

import numpy as np
import torch
from torch import Tensor

from rbobench.errors import UsageError
from rbobench.tasks.corruption.attack import BATCH, Attack, redrawn
from rbobench.tasks.corruption.backdoor import Poisoning
from rbobench.tasks.corruption.goal import Goal, check_target
from rbobench.tasks.corruption.rate import check_rate

KIND = "wanet backdoor"
CUBIC = -0.75
"""Parameter of the cubic convolution kernel, torch's and OpenCV's."""


@dataclass(frozen=True)
class WaNet:
    """One fixed warp; poisoned images get the label that the attacker wants.

    A field of `grid`×`grid` displacements, uniform in [−1, 1] and divided by their mean magnitude, is
    interpolated bicubically to the size of the image and scaled by strength / side, in coordinates that
    run from −1 to 1: about strength / 2 pixels (Section 3.2). It is drawn before the samples are, so that
    one seed has one field at every rate. In noise mode (Section 3.3) further images are warped by the field
    plus uniform noise of one half pixel, a draw for each, and keep their labels: they teach that
    no other warp counts.

    The paper warps anew in every batch, and augments; here images are warped once, as data that are
    published poisoned. The defaults are the published ones. On 8×8 digits they are too weak: noise of half
    a pixel drowns a warp of a quarter, and about half of the attacks fail with a convolutional net, more with
    an MLP. With `cross_ratio` 0 nearly all succeed with a convolutional net, and most with an MLP.

    Args:
        rate: Share of the training samples that are poisoned, above 0 and at most 1.
        strength: Of the warp; 0.5 is the paper's and BackdoorBench's.
        grid: Side of the field, at least 2; 4 is BackdoorBench's and the authors' code's.
        cross_ratio: Images of the noise mode for each poisoned one; 2 is the paper's and BackdoorBench's.
        target: The class that the warp stands for.
        all_to_all: Whether the warp means the next class instead, (y + 1) mod classes.

    Raises:
        ValueError: If a value is out of range.
    """

    rate: float
    strength: float = 0.5
    grid: int = 4
    cross_ratio: float = 2.0
    target: int = 0
    all_to_all: bool = False

    def __post_init__(self) -> None:
        check_rate(self.rate)
        check_target(self.target, self.all_to_all)
        if not (math.isfinite(self.strength) and self.strength > 0.0):
            raise ValueError(f"strength must be positive, not {self.strength}")
        if self.grid < 2:
            raise ValueError(f"grid must be at least 2, not {self.grid}")
        if not (math.isfinite(self.cross_ratio) and self.cross_ratio >= 0.0):
            raise ValueError(f"cross_ratio must not be negative, not {self.cross_ratio}")

    def poison(
        self, images: Tensor, labels: np.ndarray, classes: int, generator: np.random.Generator
    ) -> Poisoning:
        """Poison a training set; the manifest's `noise_indices` are the images of the noise mode."""
        field = generator.uniform(-1.0, 1.0, (2, self.grid, self.grid))
        # An exact sum: the same on every machine.
        field /= math.fsum(np.abs(field).flat) / field.size
        height, width = images.shape[-2:]
        size = np.array([width, height]).reshape(2, 1, 1)
        points = identity_points(height, width) + self.strength * upsampled(field, height, width) / size
        poisoning = Attack(
            KIND,
            self.rate,
            Goal.of_options(self.target, self.all_to_all, classes),
            lambda images: redrawn(images, partial(warped, points=points)),
            {"strength": self.strength, "cross_ratio": self.cross_ratio, "field": field.tolist()},
        ).poison(images, labels, generator)
        noisy = self._draw_noisy(poisoning, len(labels), generator)
        for part in torch.from_numpy(noisy).split(BATCH):
            noise = generator.uniform(-1.0, 1.0, (len(part), 2, height, width)) / size
            poisoning.images[part] = redrawn(images[part], partial(warped, points=points + noise))
        details = {**poisoning.manifest.details, "noise_indices": noisy.tolist()}
        return dataclasses.replace(
            poisoning, manifest=dataclasses.replace(poisoning.manifest, details=details)
        )

    def _draw_noisy(self, poisoning: Poisoning, total: int, generator: np.random.Generator) -> np.ndarray:
        """Positions of the noise mode's images, ascending: of any class, none of them poisoned."""
        poisoned = poisoning.manifest.indices
        count, rest = round(self.cross_ratio * len(poisoned)), np.setdiff1d(np.arange(total), poisoned)
        if count > len(rest):
            raise UsageError(
                f"{KIND} at rate {self.rate:g} and cross_ratio {self.cross_ratio:g} needs {count} images for "
                f"its noise mode, but only {len(rest)} are left; lower one of the two"
            )
        return np.sort(generator.choice(rest, count, replace=False))


def identity_points(height: int, width: int) -> np.ndarray:
    """Where each pixel is: x and y from −1 to 1, the centers of the corner pixels; (2, height, width)."""
    y, x = np.meshgrid(np.linspace(-1.0, 1.0, height), np.linspace(-1.0, 1.0, width), indexing="ij")
    return np.stack([x, y])


def upsampled(field: np.ndarray, height: int, width: int) -> np.ndarray:
    """Interpolate bicubically, corners on corners, edges repeated.

    Args:
        field: Of shape (channels, rows, columns).
        height: Rows of the result.
        width: Columns of the result.

    Returns:
        Of shape (channels, height, width).
    """
    rows, columns = _cubic_weights(field.shape[1], height), _cubic_weights(field.shape[2], width)
    # No BLAS without `optimize`: the same sums at every thread count.
    return np.einsum("hi,cij,wj->chw", rows, field, columns)


def _cubic_weights(inputs: int, outputs: int) -> np.ndarray:
    """Weights of cubic convolution (Keys 1981), of shape (outputs, inputs)."""
    at = np.linspace(0.0, inputs - 1.0, outputs)
    weights = np.zeros((outputs, inputs))
    for offset in (-1, 0, 1, 2):
        neighbor = np.floor(at) + offset
        distance = np.abs(at - neighbor)
        near = ((CUBIC + 2.0) * distance - (CUBIC + 3.0)) * distance**2 + 1.0
        far = CUBIC * (((distance - 5.0) * distance + 8.0) * distance - 4.0)
        weight = np.where(distance <= 1.0, near, np.where(distance < 2.0, far, 0.0))
        np.add.at(weights, (np.arange(outputs), np.clip(neighbor, 0, inputs - 1).astype(int)), weight)
    return weights


def warped(images: np.ndarray, points: np.ndarray) -> np.ndarray:
    """Sample images bilinearly; points outside are moved to the border.

    Args:
        images: float64, of shape (n, channels, height, width).
        points: Where each pixel of the result comes from, x and y from −1 to 1: of shape
            (2, height, width), or (n, 2, height, width) for each image its own.

    Returns:
        float64, of the images' shape.
    """
    height, width = images.shape[-2:]
    x, y = (
        (np.clip(points[..., axis, :, :], -1.0, 1.0) + 1.0) / 2.0 * (side - 1)
        for axis, side in enumerate((width, height))
    )
    left, top = np.floor(x).astype(np.int64), np.floor(y).astype(np.int64)
    flat = images.reshape(*images.shape[:2], height * width)
    result = np.zeros_like(images)
    for column, of_column in ((left, left + 1 - x), (np.minimum(left + 1, width - 1), x - left)):
        for row, of_row in ((top, top + 1 - y), (np.minimum(top + 1, height - 1), y - top)):
            pixel = (row * width + column).reshape(*row.shape[:-2], 1, height * width)
            pixel = np.broadcast_to(pixel, flat.shape)
            result += np.take_along_axis(flat, pixel, axis=-1).reshape(images.shape) * np.expand_dims(
                of_row * of_column, -3
            )
    return result
