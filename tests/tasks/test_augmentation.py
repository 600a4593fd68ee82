"""Augmentation in batch, against a loop over images."""

from __future__ import annotations

import torch
from torch.nn import functional

from rbobench.tasks.augmentation import augment, random_crop, random_flip


def images() -> torch.Tensor:
    return torch.rand(40, 3, 16, 16, generator=torch.Generator().manual_seed(0))


def test_a_crop_is_a_window_of_the_padded_image() -> None:
    cropped = random_crop(images(), 2, torch.Generator().manual_seed(1))
    padded = functional.pad(images(), (2,) * 4, mode="reflect")
    found = set()
    for before, after in zip(padded, cropped, strict=True):
        windows = {
            (row, column)
            for row in range(5)
            for column in range(5)
            if torch.equal(before[:, row : row + 16, column : column + 16], after)
        }
        assert len(windows) == 1
        found |= windows
    assert len(found) > 10


def test_about_half_are_mirrored_and_the_rest_left_alone() -> None:
    flipped = random_flip(images(), torch.Generator().manual_seed(1))
    mirrored = [torch.equal(after, before.flip(-1)) for before, after in zip(images(), flipped, strict=True)]
    same = [torch.equal(after, before) for before, after in zip(images(), flipped, strict=True)]
    assert all(one != two for one, two in zip(mirrored, same, strict=True))
    assert 10 < sum(mirrored) < 30


def test_none_does_nothing_and_the_generator_decides() -> None:
    assert augment(images(), "none", torch.Generator()) is not None
    assert torch.equal(augment(images(), "none", torch.Generator()), images())
    for kind in ("crop", "crop-flip"):
        generator = torch.Generator().manual_seed(5)
        expected = random_crop(images(), 2, generator)  # an eighth of the side
        expected = random_flip(expected, generator) if kind == "crop-flip" else expected
        assert torch.equal(augment(images(), kind, torch.Generator().manual_seed(5)), expected)
    one, two = (augment(images(), "crop-flip", torch.Generator().manual_seed(5)) for _ in range(2))
    assert torch.equal(one, two)
    assert not torch.equal(one, images())
