"""Attacks poison what they say, as their papers say, and nothing else."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from torch.nn import functional

from rbobench.errors import UsageError
from rbobench.randomness import Streams
from rbobench.runner.trial import digest
from rbobench.tasks.corruption.attack import redrawn
from rbobench.tasks.corruption.backdoor import Backdoor, Poisoning
from rbobench.tasks.corruption.badnets import BadNets
from rbobench.tasks.corruption.blended import Blended
from rbobench.tasks.corruption.goal import Goal
from rbobench.tasks.corruption.label_flip import TargetedFlip
from rbobench.tasks.corruption.sig import Sig
from rbobench.tasks.corruption.wanet import WaNet, identity_points, upsampled, warped
from rbobench.tasks.datasets import load
from rbobench.tasks.task import DataLocation


def made_images(count: int = 200, channels: int = 3, height: int = 32, width: int = 32) -> Tensor:
    pixels = np.random.default_rng(1).integers(0, 256, (count, channels, height, width), dtype=np.uint8)
    return torch.from_numpy(pixels)


def made_labels(count: int = 200, classes: int = 10) -> np.ndarray:
    return np.arange(count) % classes


def poison(attack: Backdoor, images: Tensor | None = None, seed: int = 0) -> Poisoning:
    images = made_images() if images is None else images
    return attack.poison(images, made_labels(len(images)), 10, np.random.default_rng(seed))


ATTACKS: dict[str, Backdoor] = {
    "badnets": BadNets(0.05),
    "badnets all-to-all": BadNets(0.05, all_to_all=True),
    "blended": Blended(0.05),
    "blended all-to-all": Blended(0.05, all_to_all=True),
    "sig": Sig(0.05),
    "wanet": WaNet(0.05),
    "wanet all-to-all": WaNet(0.05, all_to_all=True),
    "wanet without noise": WaNet(0.05, cross_ratio=0),
    "targeted flip": TargetedFlip(0.05, source=1, target=7),
}


@pytest.mark.parametrize("attack", ATTACKS.values(), ids=ATTACKS)
def test_what_is_not_poisoned_is_untouched(attack: Backdoor) -> None:
    images, labels = made_images(), made_labels()
    before, labels_before = images.clone(), labels.copy()
    poisoning = attack.poison(images, labels, 10, np.random.default_rng(0))
    assert torch.equal(images, before)
    assert (labels == labels_before).all()
    manifest = poisoning.manifest
    assert len(manifest.indices) == 10
    assert list(manifest.indices) == sorted(set(manifest.indices))
    assert manifest.nominal_rate == manifest.realized_rate == 0.05
    noisy = manifest.details.get("noise_indices", [])
    assert not set(noisy) & set(manifest.indices)
    rest = np.setdiff1d(np.arange(200), manifest.indices)
    assert (poisoning.labels[rest] == labels[rest]).all()
    untouched = np.setdiff1d(rest, noisy)
    assert torch.equal(poisoning.images[untouched], images[untouched])
    chosen = list(manifest.indices)
    assert torch.equal(poisoning.images[chosen], poisoning.trigger(images[chosen]))
    assert manifest.details["labels"] == poisoning.labels[chosen].tolist()
    changed = (poisoning.images[chosen] != images[chosen]).flatten(1).any(1).sum()
    assert manifest.details["images_changed"] == changed


@pytest.mark.parametrize("attack", ATTACKS.values(), ids=ATTACKS)
def test_the_generator_decides_everything(attack: Backdoor) -> None:
    one, same, other = poison(attack), poison(attack), poison(attack, seed=1)
    assert torch.equal(one.images, same.images)
    assert one.manifest == same.manifest
    assert one.manifest != other.manifest
    assert torch.equal(one.trigger(made_images(7)), same.trigger(made_images(7)))


@pytest.mark.parametrize("attack", ATTACKS.values(), ids=ATTACKS)
def test_an_attack_needs_no_image_to_attack(attack: Backdoor) -> None:
    assert poison(attack).trigger(made_images(0)).shape == (0, 3, 32, 32)


@pytest.mark.parametrize("kind", [Blended, WaNet])
def test_the_trigger_is_the_same_at_every_rate(kind: Any) -> None:
    images = made_images(5)
    assert torch.equal(poison(kind(0.05)).trigger(images), poison(kind(0.2)).trigger(images))


@given(classes=st.integers(2, 12), data=st.data())
def test_goals(classes: int, data: st.DataObject) -> None:
    source, target = data.draw(st.permutations(range(classes)))[:2]
    labels = torch.arange(classes)
    one, every = Goal.all_to_one(target, classes), Goal.all_to_all(classes)
    assert one.wanted(labels).tolist() == [target] * classes
    assert torch.nonzero(~one.attacked(labels)).flatten().tolist() == [target]
    assert every.wanted(labels).tolist() == [(y + 1) % classes for y in range(classes)]
    assert every.attacked(labels).all()
    flip = Goal.source_to_target(source, target, classes)
    assert torch.nonzero(flip.attacked(labels)).flatten().tolist() == [source]
    assert flip.wanted(labels)[source] == target


@pytest.mark.parametrize("kind", [BadNets, Blended, WaNet])
def test_dirty_labels_are_those_that_the_attacker_wants(kind: Any) -> None:
    true = made_labels()
    one = poison(kind(0.5, target=3, **({"cross_ratio": 0.5} if kind is WaNet else {})))
    chosen = list(one.manifest.indices)
    assert (true[chosen] != 3).all()
    assert (one.labels[chosen] == 3).all()
    every = poison(kind(0.5, all_to_all=True, **({"cross_ratio": 0.5} if kind is WaNet else {})))
    chosen = list(every.manifest.indices)
    assert set(true[chosen]) == set(range(10))
    assert (every.labels[chosen] == (true[chosen] + 1) % 10).all()
    assert every.manifest.details["goal"] == "all-to-all"
    assert "target" not in every.manifest.details


@pytest.mark.parametrize(
    ("place", "rows", "columns"),
    [
        ("bottom-right", slice(4, 6), slice(6, 8)),
        ("top-left", slice(0, 2), slice(0, 2)),
        ("top-right", slice(0, 2), slice(6, 8)),
        ("bottom-left", slice(4, 6), slice(0, 2)),
        ((3, 1), slice(3, 5), slice(1, 3)),
    ],
)
def test_badnets_stamps_its_patch_and_nothing_else(place: Any, rows: slice, columns: slice) -> None:
    images = made_images(100, 1, 6, 8)
    expected = images.clone()
    expected[:, :, rows, columns] = 200
    poisoning = poison(BadNets(rate=0.1, size=2, place=place, value=200), images)
    assert torch.equal(poisoning.trigger(images), expected)


def test_blending_is_a_mean_with_one_pattern() -> None:
    # Of a black and of a white image: 0.2 p and 0.8 · 255 + 0.2 p, which tell the pattern p.
    poisoning = poison(Blended(0.1))
    black, white = torch.zeros(1, 3, 32, 32, dtype=torch.uint8), torch.full((1, 3, 32, 32), 255).byte()
    generator = np.random.default_rng(0)
    pattern = torch.from_numpy(generator.integers(0, 256, (3, 32, 32), dtype=np.uint8)).double()
    assert torch.equal(poisoning.trigger(black)[0].double(), (0.2 * pattern).round())
    assert torch.equal(poisoning.trigger(white)[0].double(), (204 + 0.2 * pattern).round())
    assert pattern.mean() == pytest.approx(127.5, abs=5)
    images = made_images(20)
    exact = 0.8 * images.double() + 0.2 * pattern
    assert (poisoning.trigger(images).double() - exact).abs().max() <= 0.5 + 1e-9


def test_sig_adds_a_sinusoid_to_images_of_the_target_whose_labels_stay() -> None:
    images, labels = made_images(), made_labels()
    attack = Sig(0.05, delta=30, frequency=5, target=4)
    poisoning = attack.poison(images, labels, 10, np.random.default_rng(0))
    assert (poisoning.labels == labels).all()
    chosen = list(poisoning.manifest.indices)
    assert (labels[chosen] == 4).all()
    assert poisoning.manifest.details["target_class_fraction"] == 10 / 20
    exact = images.double()
    for column in range(32):
        exact[..., column] += 30 * np.sin(2 * np.pi * column * 5 / 32)
    assert (poisoning.trigger(images).double() - exact.clamp(0, 255)).abs().max() <= 0.5 + 1e-9
    assert poisoning.attacked(torch.tensor([0, 4, 5])).tolist() == [True, False, True]
    assert poisoning.wanted(torch.tensor([0, 5])).tolist() == [4, 4]


def test_targeted_flips_change_no_image() -> None:
    images, true = made_images(), made_labels()
    poisoning = poison(TargetedFlip(0.05, source=1, target=7), images)
    chosen = list(poisoning.manifest.indices)
    assert torch.equal(poisoning.images, images)
    assert (true[chosen] == 1).all()
    assert (poisoning.labels[chosen] == 7).all()
    assert torch.equal(poisoning.trigger(images), images)
    assert poisoning.attacked(torch.arange(10)).tolist() == [label == 1 for label in range(10)]
    assert poisoning.wanted(torch.tensor([1])).tolist() == [7]
    assert poisoning.manifest.details["source_class_fraction"] == 0.5
    assert poisoning.manifest.details["images_changed"] == 0


@settings(deadline=None, max_examples=30)
@given(height=st.integers(2, 40), width=st.integers(2, 40), grid=st.integers(2, 9), seed=st.integers(0, 99))
def test_a_field_is_interpolated_as_by_torch(height: int, width: int, grid: int, seed: int) -> None:
    field = np.random.default_rng(seed).uniform(-1, 1, (2, grid, grid))
    expected = functional.interpolate(
        torch.from_numpy(field)[None], (height, width), mode="bicubic", align_corners=True
    )
    np.testing.assert_allclose(upsampled(field, height, width), expected[0].numpy(), atol=1e-12)


@settings(deadline=None, max_examples=30)
@given(height=st.integers(2, 12), width=st.integers(2, 12), seed=st.integers(0, 99))
def test_a_warp_samples_as_torch_does(height: int, width: int, seed: int) -> None:
    generator = np.random.default_rng(seed)
    images = generator.uniform(0, 255, (3, 2, height, width))
    points = generator.uniform(-1.2, 1.2, (3, 2, height, width))  # some are outside
    grid = torch.from_numpy(points.clip(-1, 1)).permute(0, 2, 3, 1)
    expected = functional.grid_sample(torch.from_numpy(images), grid, align_corners=True).numpy()
    np.testing.assert_allclose(warped(images, points), expected, atol=1e-9)
    np.testing.assert_allclose(warped(images[:1], points[0]), expected[:1], atol=1e-9)
    np.testing.assert_allclose(warped(images, identity_points(height, width)), images, atol=1e-9)


def reference_points(attack: WaNet, details: dict[str, Any], side: int) -> Tensor:
    """The sampling grid as the authors' code builds it, in single precision."""
    noise = functional.interpolate(
        torch.tensor([details["field"]]).float(), side, mode="bicubic", align_corners=True
    ).permute(0, 2, 3, 1)
    rows, columns = torch.meshgrid(torch.linspace(-1, 1, side), torch.linspace(-1, 1, side), indexing="ij")
    identity = torch.stack((columns, rows), 2)[None]
    return identity + attack.strength * noise / side


@pytest.mark.parametrize("side", [8, 32])
@pytest.mark.parametrize("strength", [0.5, 3.0])
def test_wanet_warps_as_its_authors_do(side: int, strength: float) -> None:
    attack, images = WaNet(0.1, strength=strength, cross_ratio=0), made_images(50, 3, side, side)
    poisoning = poison(attack, images)
    field = np.array(poisoning.manifest.details["field"])
    assert field.shape == (2, 4, 4)
    assert np.abs(field).mean() == pytest.approx(1)
    grid = reference_points(attack, poisoning.manifest.details, side).clamp(-1, 1)
    expected = functional.grid_sample(
        images.float(), grid.expand(len(images), -1, -1, -1), align_corners=True
    )
    triggered = poisoning.trigger(images)
    assert (triggered - expected).abs().max() < 0.51
    assert not torch.equal(triggered, images)


def test_the_noise_mode_warps_by_up_to_half_a_pixel_more_and_keeps_labels() -> None:
    # On ramps, warping by grid_sample's convention reads the sampled coordinates off the gray levels.
    side, count = 32, 200
    ramp = torch.arange(side) * 8
    images = torch.stack([ramp.expand(side, side), ramp[:, None].expand(side, side)]).byte()
    images = images.expand(count, 2, side, side)
    attack = WaNet(0.1)
    poisoning = poison(attack, images)
    details = poisoning.manifest.details
    noisy = torch.tensor(details["noise_indices"])
    assert len(noisy) == 2 * len(poisoning.manifest.indices) == 40
    at = reference_points(attack, details, side).permute(0, 3, 1, 2)  # -1 to 1
    read = poisoning.images[noisy].double() / 8 / (side - 1) * 2 - 1
    inside = (at.abs() < 1 - 1 / side).expand_as(read)
    noise = ((read - at) * side)[inside]  # uniform in [-1, 1], plus half a gray level: 1/16 of a pixel
    assert noise.abs().max() <= 1 + 2 / 16 * 32 / 31 + 1e-6
    assert noise.mean().abs() < 0.01
    assert noise.square().mean() == pytest.approx(1 / 3, abs=0.01)
    assert not torch.equal(poisoning.images[noisy[0]], poisoning.images[noisy[1]])
    labels = made_labels()
    assert (poisoning.labels[noisy] == labels[noisy]).all()
    assert len(set(labels[noisy])) > 5


def test_a_gray_level_is_the_nearest_and_clipped() -> None:
    images = torch.tensor([0, 10, 250], dtype=torch.uint8).reshape(1, 1, 1, 3)
    assert redrawn(images, lambda clean: clean + 0.6).flatten().tolist() == [1, 11, 251]
    assert redrawn(images, lambda clean: clean - 0.4).flatten().tolist() == [0, 10, 250]
    assert redrawn(images, lambda clean: 20 * (clean - 5)).flatten().tolist() == [0, 100, 255]


RECORDED: dict[str, tuple[Backdoor, str]] = {
    "badnets": (
        BadNets(0.05),
        "dd08edad0b4ed45a57a2ac34c72e93ca1ad7901bddfdee4ffb517ad98dbc5935",
    ),
    "badnets all-to-all": (
        BadNets(0.05, all_to_all=True),
        "f3ecfa1c8176f1dc256d9f4ef2b4ac1eebe1f5cbd41c9fe96a49964636529a83",
    ),
    "blended": (
        Blended(0.05),
        "867c195c4def4293b38c6c3c98c4793407846ea6e9e493a12779f903bb363d63",
    ),
    "sig": (
        Sig(0.05),
        "14c8b87ce6885bb1e727c3f263c1b93f8ce9595c33819d40228cc2e76ab9edbb",
    ),
    "wanet": (
        WaNet(0.05),
        "241457590d2e7a53a13cd221575827754f4170837be7b0a40930e1372b4bbf52",
    ),
    "targeted flip": (
        TargetedFlip(0.05, source=1, target=7),
        "1eaf4dbe0128ba9cb4a0f37adee3d635348b947427ae42c9edbd14cccee13d96",
    ),
}


def recorded_digest(name: str) -> str:
    """SHA-256 of the canonical manifest of seed 0: on made images for SIG, which refuses digits."""
    attack, _ = RECORDED[name]
    data = load("digits", DataLocation())
    images, labels = data.train_images, data.train_labels.numpy()
    if isinstance(attack, Sig):
        images, labels = made_images(), made_labels()
    generator = Streams(0).numpy("corruption", "backdoor")
    return digest(attack.poison(images, labels, 10, generator).manifest.as_dict())


@pytest.mark.parametrize("name", RECORDED)
def test_manifests_are_the_recorded_ones(name: str) -> None:
    assert recorded_digest(name) == RECORDED[name][1]


def test_manifests_are_the_same_in_another_process_with_other_threads() -> None:
    program = (
        "import importlib.util, sys\n"
        f"spec = importlib.util.spec_from_file_location('backdoors', {__file__!r})\n"
        "module = importlib.util.module_from_spec(spec)\n"
        "spec.loader.exec_module(module)\n"
        "print(*(module.recorded_digest(name) for name in module.RECORDED))\n"
    )
    environment = {**os.environ, "OMP_NUM_THREADS": "2", "OPENBLAS_NUM_THREADS": "2"}
    ran = subprocess.run(
        [sys.executable, "-c", program], env=environment, capture_output=True, text=True, check=True
    )
    assert ran.stdout.split() == [recorded for _, recorded in RECORDED.values()]


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: BadNets(0.0), "rate must be above 0 and at most 1, not 0.0"),
        (lambda: Blended(1.5), "rate must be above 0 and at most 1, not 1.5"),
        (lambda: Sig(float("nan")), "rate must be above 0 and at most 1, not nan"),
        (lambda: BadNets(0.1, size=0), "size must be at least 1, not 0"),
        (lambda: BadNets(0.1, value=256), "value must be from 0 to 255, not 256"),
        (lambda: BadNets(0.1, place="middle"), "place must be one of top-left"),
        (lambda: BadNets(0.1, place=(-1, 0)), "place must not be negative, not [-1, 0]"),
        (lambda: BadNets(0.1, target=-1), "target must not be negative, not -1"),
        (lambda: BadNets(0.1, target=3, all_to_all=True), "all_to_all has no one target; leave out target 3"),
        (lambda: Blended(0.1, target=3, all_to_all=True), "all_to_all has no one target"),
        (lambda: WaNet(0.1, target=3, all_to_all=True), "all_to_all has no one target"),
        (lambda: Blended(0.1, alpha=0.0), "alpha must be between 0 and 1, not 0.0"),
        (lambda: Blended(0.1, alpha=1.0), "alpha must be between 0 and 1, not 1.0"),
        (lambda: Sig(0.1, delta=0.0), "delta must be above 0 and at most 255, not 0.0"),
        (lambda: Sig(0.1, delta=256.0), "delta must be above 0 and at most 255, not 256.0"),
        (lambda: Sig(0.1, frequency=0.0), "frequency must be positive, not 0.0"),
        (lambda: Sig(0.1, target=-2), "target must not be negative, not -2"),
        (lambda: WaNet(0.1, strength=0.0), "strength must be positive, not 0.0"),
        (lambda: WaNet(0.1, strength=float("inf")), "strength must be positive, not inf"),
        (lambda: WaNet(0.1, grid=1), "grid must be at least 2, not 1"),
        (lambda: WaNet(0.1, cross_ratio=-1.0), "cross_ratio must not be negative, not -1.0"),
        (lambda: TargetedFlip(0.1, source=-1), "source must not be negative, not -1"),
        (lambda: TargetedFlip(0.1, source=3, target=3), "source and target must differ, and are both 3"),
    ],
)
def test_options_out_of_range_are_named(make: Callable[[], Backdoor], message: str) -> None:
    with pytest.raises(ValueError) as error:  # noqa: PT011
        make()
    assert message in str(error.value)


@pytest.mark.parametrize(
    ("attack", "shape", "message"),
    [
        (BadNets(0.1, size=9), (1, 8, 8), "a patch of 9×9 at bottom-right does not fit images of 8×8"),
        (BadNets(0.1, place=(7, 0)), (1, 8, 8), "a patch of 3×3 at (7, 0) does not fit images of 8×8"),
        (BadNets(1.0), (1, 8, 8), "badnets backdoor at rate 1 of 100 samples needs 100, but only 90 can"),
        (BadNets(0.1, target=10), (1, 8, 8), "badnets backdoor: target 10 is no class; there are 10, from 0"),
        (Blended(0.001), (1, 8, 8), "blended backdoor at rate 0.001 of 100 samples would change nothing"),
        (WaNet(0.001), (1, 8, 8), "wanet backdoor at rate 0.001 of 100 samples would change nothing"),
        (Sig(0.001), (1, 32, 32), "sig backdoor at rate 0.001 of 100 samples would change nothing"),
        (Sig(0.1, target=10), (1, 32, 32), "sig backdoor: target 10 is no class; there are 10, from 0"),
        (Sig(0.2), (1, 32, 32), "samples needs 20, but the target class 0 has only 10; the rate is a share"),
        (Sig(0.1), (1, 8, 8), "a sinusoid of 6 periods needs more than 12 columns, or it is aliased"),
        (Sig(0.1, frequency=8), (3, 32, 16), "cannot work on images of 32×16: a sinusoid of 8 periods"),
        (Sig(0.1, frequency=3), (1, 8, 8), "cannot work on images of 8×8: under 16 pixels a side it was"),
        (Sig(0.1), (1, 15, 32), "under 16 pixels a side it was never seen to work"),
        (WaNet(0.5, cross_ratio=2), (1, 8, 8), "needs 100 images for its noise mode, but only 50 are left"),
        (TargetedFlip(0.2, source=1), (1, 8, 8), "needs 20, but the source class 1 has only 10"),
        (TargetedFlip(0.1, source=12), (1, 8, 8), "targeted-flip: source 12 is no class; there are 10"),
        (TargetedFlip(0.1, source=1, target=10), (1, 8, 8), "targeted-flip: target 10 is no class"),
        (TargetedFlip(0.001, source=1), (1, 8, 8), "targeted-flip at rate 0.001 of 100 samples would change"),
    ],
)
def test_an_attack_that_does_not_fit_the_data_is_refused(attack: Any, shape: Any, message: str) -> None:
    with pytest.raises(UsageError) as error:
        poison(attack, made_images(100, *shape))
    assert message in str(error.value)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("attack", "role"),
    [
        (BadNets(0.1), "target class 0"),
        (Blended(0.1), "target class 0"),
        (WaNet(0.1), "target class 0"),
        (Sig(0.1), "target class 0"),
        (TargetedFlip(0.1, source=1), "target class 0"),
        (TargetedFlip(0.1, source=0, target=1), "source class 0"),
    ],
)
def test_a_class_without_samples_is_refused(attack: Backdoor, role: str) -> None:
    labels = 1 + made_labels(classes=9)
    with pytest.raises(UsageError, match=f"none of the 200 training images is of the {role}; choose another"):
        attack.poison(made_images(), labels, 10, np.random.default_rng(0))


def test_a_trigger_that_changes_no_image_is_refused() -> None:
    black = torch.zeros(200, 3, 32, 32, dtype=torch.uint8)
    for attack in (BadNets(0.1, value=0), WaNet(0.1)):
        with pytest.raises(UsageError, match="the trigger changes none of the 20 poisoned images"):
            poison(attack, black)
