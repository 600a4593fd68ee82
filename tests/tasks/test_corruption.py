"""Corruptions change what they say, and nothing else."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from rbobench.errors import UsageError
from rbobench.tasks.corruption import BACKDOORS, LABEL_NOISE
from rbobench.tasks.corruption.badnets import BadNets
from rbobench.tasks.corruption.label_noise import SymmetricNoise


def labels(count: int = 500, classes: int = 10) -> np.ndarray:
    return np.arange(count) % classes


@given(rate=st.floats(0.01, 1.0), classes=st.integers(2, 10), seed=st.integers(0, 100))
def test_symmetric_noise_flips_exactly_its_rate_to_other_classes(
    rate: float, classes: int, seed: int
) -> None:
    true = labels(200, classes)
    noisy, manifest = SymmetricNoise(rate).apply(true, classes, np.random.default_rng(seed))
    changed = np.flatnonzero(noisy != true)
    assert len(changed) == round(rate * 200)
    assert tuple(changed) == manifest.indices
    assert manifest.realized_rate == len(changed) / 200
    assert manifest.details["labels"] == noisy[changed].tolist()
    assert noisy.min() >= 0
    assert noisy.max() < classes


def test_symmetric_noise_reaches_every_other_class_alike() -> None:
    true = np.zeros(9000, dtype=np.int64)
    noisy, _ = SymmetricNoise(1.0).apply(true, 10, np.random.default_rng(0))
    counts = np.bincount(noisy, minlength=10)
    assert counts[0] == 0
    assert counts[1:].min() > 900


@pytest.mark.parametrize(
    ("place", "rows", "columns"),
    [
        ("bottom-right", slice(6, 8), slice(6, 8)),
        ("top-left", slice(0, 2), slice(0, 2)),
        ("top-right", slice(0, 2), slice(6, 8)),
        ("bottom-left", slice(6, 8), slice(0, 2)),
        ((3, 1), slice(3, 5), slice(1, 3)),
    ],
)
def test_badnets_stamps_its_patch_and_nothing_else(place, rows, columns) -> None:
    images = torch.randint(0, 200, (100, 1, 8, 8), dtype=torch.uint8)
    true = labels(100)
    backdoor = BadNets(rate=0.1, size=2, place=place)
    poisoned, given_labels, manifest = backdoor.poison(images, true, 10, np.random.default_rng(0))
    chosen = list(manifest.indices)
    assert len(chosen) == 10
    assert (true[chosen] != 0).all()
    assert (given_labels[chosen] == 0).all()
    expected = images.clone()
    for index in chosen:
        expected[index, :, rows, columns] = 255
    assert torch.equal(poisoned, expected)
    untouched = np.setdiff1d(np.arange(100), chosen)
    assert (given_labels[untouched] == true[untouched]).all()
    assert manifest.realized_rate == 0.1
    assert manifest.details["images_changed"] == 10


@pytest.mark.parametrize(
    ("kinds", "options", "message"),
    [
        (LABEL_NOISE, "symmetric", "label_noise must be a mapping with a kind, not 'symmetric'"),
        (LABEL_NOISE, {"rate": 0.4}, "label_noise needs a kind: symmetric"),
        (
            LABEL_NOISE,
            {"kind": "symetric", "rate": 0.4},
            "unknown kind 'symetric'; did you mean 'symmetric'?",
        ),
        (LABEL_NOISE, {"kind": "symmetric"}, "option 'rate' is required"),
        (LABEL_NOISE, {"kind": "symmetric", "rate": 1.5}, "rate must be above 0 and at most 1, not 1.5"),
        (LABEL_NOISE, {"kind": "symmetric", "rate": 0}, "rate must be above 0 and at most 1, not 0.0"),
        (LABEL_NOISE, {"kind": "symmetric", "rat": 0.1}, "unknown option 'rat'; did you mean 'rate'?"),
        (BACKDOORS, {"kind": "badnets", "rate": 0.1, "size": 0}, "size must be at least 1, not 0"),
        (BACKDOORS, {"kind": "badnets", "rate": 0.1, "place": "middle"}, "place must be one of top-left"),
        (BACKDOORS, {"kind": "badnets", "rate": 0.1, "place": [-1, 0]}, "place must not be negative"),
        (BACKDOORS, {"kind": "badnets", "rate": 0.1, "value": 256}, "value must be from 0 to 255, not 256"),
        (BACKDOORS, {"kind": "badnets", "rate": 0.1, "target": -1}, "target must not be negative, not -1"),
    ],
)
def test_bad_options_are_named(kinds, options, message: str) -> None:
    with pytest.raises(UsageError) as error:
        kinds("label_noise" if kinds is LABEL_NOISE else "backdoor", options)
    assert message in str(error.value)


def test_defaults_are_filled_in() -> None:
    resolved = BACKDOORS("backdoor", {"kind": "badnets", "rate": 1})
    assert resolved == {
        "kind": "badnets",
        "place": "bottom-right",
        "rate": 1.0,
        "size": 3,
        "target": 0,
        "value": 255,
    }


def test_a_corruption_that_would_change_nothing_is_an_error() -> None:
    with pytest.raises(UsageError, match=r"noise at rate 0.001 of 100 samples would change nothing"):
        SymmetricNoise(0.001).apply(labels(100), 10, np.random.default_rng(0))
    images = torch.zeros(100, 1, 8, 8, dtype=torch.uint8)
    with pytest.raises(
        UsageError, match=r"badnets backdoor at rate 0.001 of 100 samples would change nothing"
    ):
        BadNets(0.001).poison(images, labels(100), 10, np.random.default_rng(0))
    with pytest.raises(UsageError, match=r"needs 100, but only 90 can change"):
        BadNets(1.0).poison(images, labels(100), 10, np.random.default_rng(0))
    with pytest.raises(UsageError, match=r"target 10 is no class; there are 10, from 0"):
        BadNets(0.1, target=10).poison(images, labels(100), 10, np.random.default_rng(0))
    with pytest.raises(UsageError, match=r"a patch of 9×9 at bottom-right does not fit images of 8×8"):
        BadNets(0.1, size=9).poison(images, labels(100), 10, np.random.default_rng(0))
