"""Augmentation of a batch on the device: crop and flip without a loop over images.

Offsets are drawn on the CPU, so that a batch is augmented alike on every device.
"""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor
from torch.nn import functional

Augmentation = Literal["none", "crop", "crop-flip"]


def augment(images: Tensor, augmentation: Augmentation, generator: torch.Generator) -> Tensor:
    """Augment images as `augmentation` says; `"crop-flip"` is the custom on CIFAR.

    Args:
        images: Floating-point, of shape (n, channels, height, width).
        augmentation: What to do.
        generator: On the CPU.
    """
    if augmentation == "none":
        return images
    images = random_crop(images, images.shape[-1] // 8, generator)
    return random_flip(images, generator) if augmentation == "crop-flip" else images


def random_crop(images: Tensor, padding: int, generator: torch.Generator) -> Tensor:
    """Pad by reflection and cut each image out again at a place of its own.

    Args:
        images: Floating-point, of shape (n, channels, height, width).
        padding: Pixels on each side; images move by at most as many.
        generator: On the CPU.
    """
    if padding == 0:
        return images
    count, channels, height, width = images.shape
    padded = functional.pad(images, (padding,) * 4, mode="reflect")
    shifts = torch.randint(2 * padding + 1, (2, count, 1), generator=generator).to(images.device)
    rows = shifts[0] + torch.arange(height, device=images.device)
    columns = shifts[1] + torch.arange(width, device=images.device)
    samples = torch.arange(count, device=images.device)[:, None, None, None]
    planes = torch.arange(channels, device=images.device)[:, None, None]
    return padded[samples, planes, rows[:, None, :, None], columns[:, None, None, :]]


def random_flip(images: Tensor, generator: torch.Generator) -> Tensor:
    """Mirror each image left to right with probability ½.

    Args:
        images: Of shape (n, channels, height, width).
        generator: On the CPU.
    """
    mirrored = torch.rand(len(images), generator=generator).to(images.device) < 0.5
    return torch.where(mirrored[:, None, None, None], images.flip(-1), images)
