"""Each kind of label noise changes the labels that it says, at the rate that it says, and no others."""

from __future__ import annotations

import dataclasses
import io
import json
import os
import pickle
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import chisquare, kstest, truncnorm

from rbobench.errors import UsageError
from rbobench.randomness import Streams
from rbobench.runner.record import write_json
from rbobench.runner.trial import digest
from rbobench.tasks.corruption import Kinds
from rbobench.tasks.corruption.asymmetric import AsymmetricNoise
from rbobench.tasks.corruption.human import HumanNoise
from rbobench.tasks.corruption.instance_dependent import (
    InstanceDependentNoise,
    draw_projection,
    partner_probabilities,
    truncated_normal,
)
from rbobench.tasks.corruption.manifest_noise import ManifestNoise
from rbobench.tasks.corruption.pair_flip import PairFlipNoise
from rbobench.tasks.corruption.symmetric import SymmetricNoise
from rbobench.tasks.datasets import ImageData, load
from rbobench.tasks.task import DataLocation

HERE = DataLocation()
CIFAR10 = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")
DIGITS = tuple("0123456789")
WORDS = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")
MNIST = tuple(f"{digit} - {word}" for digit, word in enumerate(WORDS))
CIFAR100 = tuple(f"class {label}" for label in range(100))

DRAWING = {
    "symmetric": SymmetricNoise(0.4),
    "asymmetric": AsymmetricNoise(0.4, {"7": "1", "2": "7", "5": "6", "6": "5", "3": "8"}),
    "pair_flip": PairFlipNoise(0.4),
    "instance_dependent": InstanceDependentNoise(0.4),
}
MANIFESTS = {
    "symmetric": "09634fde7b0593b0dd53dde23aa997a60963782e291cb96af3dc223b79b787d5",
    "asymmetric": "64cecc59e8eb6a0675c13fff5ed482b1866db1aad6a0dd849d949f331d8f8014",
    "pair_flip": "3ae8b41a71ea0d16dd4ade32940ef44b4521c241d20c126cb151beccdd58a671",
    "instance_dependent": "8fa6e073d13a616e80f4607c3b17c0de4227675f57b6aac63d39ce372cd4e4db",
}
"""SHA-256 of each manifest on the digits, for seed 0."""


def generator(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


def data_of(
    labels, classes=DIGITS, name="folder:some", images=None, positions=None, size: tuple[int, ...] = (1, 2, 2)
) -> ImageData:
    labels = torch.as_tensor(labels)
    if images is None:
        images = torch.from_numpy(generator(1).integers(0, 256, (len(labels), *size), dtype=np.uint8))
    positions = None if positions is None else torch.as_tensor(positions)
    return ImageData(name, images, labels, images[:1], labels[:1], tuple(classes), positions)


def balanced(count: int = 500, classes: int = 10) -> np.ndarray:
    return np.arange(count) % classes


def check(data: ImageData, noisy: np.ndarray, manifest) -> None:
    """The manifest names the changed samples and no others, and the labels are classes."""
    true = data.train_labels.numpy()
    changed = np.flatnonzero(noisy != true)
    assert manifest.indices == tuple(changed.tolist())
    assert manifest.details["labels"] == noisy[changed].tolist()
    assert manifest.realized_rate == len(changed) / len(true)
    assert manifest.part == "train"
    assert manifest.data is None
    assert manifest.kind.endswith("label noise")
    assert noisy.dtype == np.int64
    assert noisy.min() >= 0
    assert noisy.max() < len(data.classes)


def digest_of_digits(kind: str) -> str:
    data = load("digits", HERE)
    _, manifest = DRAWING[kind].apply(data, HERE, Streams(0).numpy("corruption", "labels"))
    return digest(manifest.as_dict())


@pytest.mark.parametrize("noise", DRAWING.values(), ids=DRAWING)
def test_the_manifest_names_what_changed_and_the_data_are_left_alone(noise) -> None:
    data = data_of(balanced())
    before = data.digest
    noisy, manifest = noise.apply(data, HERE, generator())
    check(data, noisy, manifest)
    assert manifest.nominal_rate == 0.4
    assert dataclasses.replace(data).digest == before
    assert noise.digest(HERE) is None


@pytest.mark.parametrize("kind", DRAWING)
def test_the_manifest_of_a_seed_is_the_committed_one(kind: str) -> None:
    assert digest_of_digits(kind) == MANIFESTS[kind]


def test_manifests_are_the_same_in_another_process_with_two_threads() -> None:
    environment = {**os.environ, "OMP_NUM_THREADS": "2", "OPENBLAS_NUM_THREADS": "2"}
    printed = subprocess.run(
        [sys.executable, __file__], env=environment, check=True, capture_output=True, text=True
    ).stdout
    assert json.loads(printed) == MANIFESTS


class TestSymmetric:
    @given(rate=st.floats(0.01, 1.0), classes=st.integers(2, 10), seed=st.integers(0, 99))
    def test_exactly_its_rate_moves_to_other_classes(self, rate: float, classes: int, seed: int) -> None:
        data = data_of(balanced(200, classes), DIGITS[:classes])
        noisy, manifest = SymmetricNoise(rate).apply(data, HERE, generator(seed))
        check(data, noisy, manifest)
        assert len(manifest.indices) == round(rate * 200)

    def test_every_other_class_is_reached_alike(self) -> None:
        noisy, _ = SymmetricNoise(1.0).apply(data_of(np.zeros(9000, dtype=np.int64)), HERE, generator())
        counts = np.bincount(noisy, minlength=10)
        assert counts[0] == 0
        assert counts[1:].min() > 900

    def test_too_low_a_rate_is_an_error(self) -> None:
        with pytest.raises(UsageError, match=r"noise at rate 0.001 of 100 samples would change nothing"):
            SymmetricNoise(0.001).apply(data_of(balanced(100)), HERE, generator())


class TestAsymmetric:
    @given(
        labels=st.lists(st.integers(0, 3), min_size=1, max_size=60),
        rate=st.floats(0.01, 1.0),
        seed=st.integers(0, 99),
    )
    @settings(max_examples=60)
    def test_each_source_class_loses_its_share_to_its_partner(
        self, labels: list[int], rate: float, seed: int
    ) -> None:
        data, true, partners = data_of(labels, "abcd"), np.array(labels), {0: 3, 2: 0}
        counts = {source: round(rate * int((true == source).sum())) for source in partners}
        noise = AsymmetricNoise(rate, {"a": "d", "c": "a"})
        if not any(counts.values()):
            with pytest.raises(UsageError, match="would change nothing"):
                noise.apply(data, HERE, generator(seed))
            return
        noisy, manifest = noise.apply(data, HERE, generator(seed))
        check(data, noisy, manifest)
        for label in range(4):
            of_class = noisy[true == label]
            flipped = of_class[of_class != label]
            assert len(flipped) == counts.get(label, 0)
            assert (flipped == partners.get(label)).all()

    def test_forty_percent_of_five_source_classes_of_ten_are_twenty_percent(self) -> None:
        for name in ("cifar10", "folder:cifar10-jpeg"):
            _, manifest = AsymmetricNoise(0.4).apply(data_of(balanced(), CIFAR10, name), HERE, generator())
            assert (manifest.nominal_rate, manifest.realized_rate) == (0.4, 0.2)

    @pytest.mark.parametrize(
        ("classes", "name", "partners"),
        [
            (CIFAR10, "folder:images", {9: 1, 2: 0, 4: 7, 3: 5, 5: 3}),
            (sorted(CIFAR10, reverse=True), "folder:other", {0: 8, 7: 9, 5: 2, 6: 4, 4: 6}),
            (MNIST, "mnist", {7: 1, 2: 7, 5: 6, 6: 5, 3: 8}),
            (DIGITS, "mnist-5k", {7: 1, 2: 7, 5: 6, 6: 5, 3: 8}),
            (CIFAR100, "cifar100", {label: (label + 1) % 100 for label in range(100)}),
        ],
    )
    def test_own_maps(self, classes, name: str, partners: dict[int, int]) -> None:
        true = balanced(300, len(classes))
        noisy, _ = AsymmetricNoise(1.0).apply(data_of(true, classes, name), HERE, generator())
        assert noisy.tolist() == [partners.get(label, label) for label in true.tolist()]

    def test_a_map_by_label_is_the_map_by_name(self) -> None:
        kinds = Kinds({"asymmetric": AsymmetricNoise})
        resolved = [
            kinds("label_noise", {"kind": "asymmetric", "rate": 0.5, "class_map": given})
            for given in ({2: 7, "3": 8}, {"3": "8", "2": "7"})
        ]
        assert resolved[0] == resolved[1]
        assert resolved[0]["class_map"] == {"2": "7", "3": "8"}
        assert kinds("label_noise", {"kind": "asymmetric", "rate": 0.5})["class_map"] is None
        data = data_of(balanced(), MNIST, "mnist")
        by_label = AsymmetricNoise(0.5, {"2": "7"}).apply(data, HERE, generator())
        by_name = AsymmetricNoise(0.5, {"2 - two": "7 - seven"}).apply(data, HERE, generator())
        assert by_label[1] == by_name[1]

    def test_a_name_comes_before_a_label(self) -> None:
        data = data_of(balanced(100, 3), ("1", "2", "3"))
        noisy, _ = AsymmetricNoise(1.0, {"1": "2"}).apply(data, HERE, generator())
        assert noisy.tolist() == [max(label, 1) for label in balanced(100, 3).tolist()]

    @pytest.mark.parametrize(
        ("classes", "name", "given", "message"),
        [
            (
                DIGITS,
                "digits",
                None,
                "data set 'digits' has no class map of its own; give one, class to class, "
                "for instance class_map: {0: 1}",
            ),
            (("cat", "dog"), "folder:pets", None, "for instance class_map: {cat: dog}"),
            (CIFAR10, "cifar10", {"cot": "dog"}, "class_map: unknown class 'cot'; did you mean 'cat'"),
            (CIFAR10, "cifar10", {"cat": "10"}, "class_map: unknown class '10'; known: airplane"),
            (CIFAR10, "cifar10", {"cat": "3"}, "class_map maps class 'cat' to itself"),
            (CIFAR10, "cifar10", {"cat": "dog", "3": "dog"}, "class_map names class 'cat' twice"),
        ],
    )
    def test_a_map_that_does_not_fit_is_refused(self, classes, name, given, message: str) -> None:
        with pytest.raises(UsageError, match=re.escape(message)):
            AsymmetricNoise(0.4, given).apply(
                data_of(balanced(100, len(classes)), classes, name), HERE, generator()
            )

    def test_too_low_a_rate_is_an_error(self) -> None:
        message = (
            "asymmetric label noise at rate 0.001 of 50 samples of its source classes would change nothing"
        )
        with pytest.raises(UsageError, match=message):
            AsymmetricNoise(0.001).apply(data_of(balanced(100), CIFAR10), HERE, generator())


class TestPairFlip:
    @given(rate=st.floats(0.01, 1.0), classes=st.integers(2, 10), seed=st.integers(0, 99))
    @settings(max_examples=60)
    def test_exactly_its_rate_moves_to_the_next_class(self, rate: float, classes: int, seed: int) -> None:
        data, true = data_of(balanced(100, classes), range(classes)), balanced(100, classes)
        noisy, manifest = PairFlipNoise(rate).apply(data, HERE, generator(seed))
        check(data, noisy, manifest)
        changed = list(manifest.indices)
        assert len(changed) == round(rate * 100)
        assert (noisy[changed] == (true[changed] + 1) % classes).all()

    def test_too_low_a_rate_is_an_error(self) -> None:
        with pytest.raises(
            UsageError, match=r"pair-flip label noise at rate 0.001 of 100 samples would change"
        ):
            PairFlipNoise(0.001).apply(data_of(balanced(100)), HERE, generator())


class TestInstanceDependent:
    def test_it_is_algorithm_2(self) -> None:
        """Against one sample at a time, written from the paper."""
        data, classes = data_of(balanced(300, 5), range(5)), 5
        noisy, _ = InstanceDependentNoise(0.4, 0.2).apply(data, HERE, generator(3))
        stream = generator(3)
        low, high = truncnorm((0 - 0.4) / 0.2, (1 - 0.4) / 0.2, loc=0.4, scale=0.2).cdf([0.0, 1.0])
        q = truncnorm((0 - 0.4) / 0.2, (1 - 0.4) / 0.2, loc=0.4, scale=0.2).ppf(
            low + (high - low) * stream.random(300)
        )
        draws = stream.random(300)
        projections = [stream.standard_normal((4, classes)) for _ in range(classes)]
        for i in range(300):
            y = int(data.train_labels[i])
            scores = torch.from_numpy(data.train_images[i].numpy().ravel() / 255 @ projections[y])
            scores[y] = -torch.inf
            p = torch.softmax(scores, 0) * q[i]
            # The true class has the end of the unit interval, the others its beginning, in order.
            chosen = int((draws[i] >= torch.cumsum(p, 0)).sum())
            assert noisy[i] == (y if chosen == classes else chosen)

    @pytest.mark.parametrize(("rate", "deviation"), [(0.4, 0.1), (0.1, 0.1), (1.0, 0.3), (0.5, 20.0)])
    def test_flip_probabilities_are_truncated_normal(self, rate: float, deviation: float) -> None:
        drawn = truncated_normal(rate, deviation, 4000, generator())
        expected = truncnorm(-rate / deviation, (1 - rate) / deviation, loc=rate, scale=deviation)
        assert kstest(drawn, expected.cdf).pvalue > 0.01
        assert 0.0 <= drawn.min() <= drawn.max() <= 1.0

    def test_the_realized_rate_is_the_mean_flip_probability(self) -> None:
        for rate in (0.1, 0.3, 0.6):
            data = data_of(balanced(20_000))
            noisy, manifest = InstanceDependentNoise(rate).apply(data, HERE, generator())
            check(data, noisy, manifest)
            mean = truncnorm(-rate / 0.1, (1 - rate) / 0.1, loc=rate, scale=0.1).mean()
            assert abs(manifest.realized_rate - mean) < 4 * np.sqrt(mean * (1 - mean) / 20_000)

    def test_partners_depend_on_the_image_and_on_nothing_else(self) -> None:
        """Two images of one class, many times over: two distributions, each as its probabilities say."""
        count = 4000
        image = torch.from_numpy(generator(5).integers(0, 256, (1, 2, 2), dtype=np.uint8))
        pair = torch.stack([image, 255 - image])
        which = np.arange(2 * count) % 2
        data = data_of(np.zeros(2 * count, dtype=np.int64), range(5), images=pair[which])
        noisy, _ = InstanceDependentNoise(0.5).apply(data, HERE, generator(6))
        stream = generator(6)
        stream.random(4 * count)
        expected = partner_probabilities(pair.flatten(1).numpy(), draw_projection(4, 5, stream), 0)
        assert np.abs(expected[0] - expected[1]).sum() > 0.5
        counts = [np.bincount(noisy[which == image], minlength=5)[1:] for image in (0, 1)]
        for image in (0, 1):
            frequencies = expected[image, 1:] * counts[image].sum()
            assert chisquare(counts[image], frequencies).pvalue > 0.01
            assert chisquare(counts[1 - image], expected[image, 1:] * counts[1 - image].sum()).pvalue < 1e-6

    def test_partner_probabilities(self) -> None:
        images = generator().integers(0, 256, (50, 12), dtype=np.uint8)
        projection = draw_projection(12, 4, generator(1))
        partners = partner_probabilities(images, projection, 2)
        assert (partners[:, 2] == 0).all()
        np.testing.assert_allclose(partners.sum(axis=1), 1.0, rtol=1e-12)
        others = [0, 1, 3]
        scores = torch.from_numpy(images / 255 @ projection[:, others])
        np.testing.assert_allclose(partners[:, others], torch.softmax(scores, 1).numpy(), rtol=1e-9)

    def test_sums_are_exact_in_any_order(self) -> None:
        """What makes labels the same for any number of threads and any linear algebra."""
        images = generator().integers(0, 256, 3 * 224 * 224, dtype=np.uint8)
        projection = draw_projection(len(images), 1, generator(1))[:, 0]
        exact = sum(int(pixel) * int(entry * 2**20) for pixel, entry in zip(images, projection, strict=True))
        for order in (slice(None), slice(None, None, -1), generator(2).permutation(len(images))):
            assert np.cumsum(images[order] * projection[order])[-1] * 2**20 == exact
        assert images.astype(np.float64) @ projection * 2**20 == exact

    def test_blocks_make_no_difference(self, monkeypatch: pytest.MonkeyPatch) -> None:
        data = data_of(balanced())
        whole, _ = InstanceDependentNoise(0.4).apply(data, HERE, generator())
        monkeypatch.setattr("rbobench.tasks.corruption.instance_dependent.BLOCK", 7)
        blocks, _ = InstanceDependentNoise(0.4).apply(data, HERE, generator())
        assert (whole == blocks).all()

    def test_two_classes_and_an_absent_one(self) -> None:
        two = data_of(balanced(100, 2), range(2))
        noisy, manifest = InstanceDependentNoise(0.5).apply(two, HERE, generator())
        check(two, noisy, manifest)
        absent = data_of(2 * balanced(100, 2), range(3))
        noisy, manifest = InstanceDependentNoise(0.5).apply(absent, HERE, generator())
        check(absent, noisy, manifest)

    def test_nothing_changed_is_an_error(self) -> None:
        message = r"instance-dependent label noise at rate 0.0001 of 3 samples would change nothing"
        with pytest.raises(UsageError, match=message):
            InstanceDependentNoise(0.0001, 1e-5).apply(data_of([0, 1, 2]), HERE, generator())


@pytest.mark.parametrize("kind", [AsymmetricNoise, PairFlipNoise, InstanceDependentNoise])
@pytest.mark.parametrize("rate", [0.0, -0.1, 1.5, float("nan")])
def test_rates_out_of_range_are_refused(kind, rate: float) -> None:
    with pytest.raises(ValueError, match=f"rate must be above 0 and at most 1, not {rate}"):
        kind(rate)


@pytest.mark.parametrize(
    ("kind", "options", "message"),
    [
        (AsymmetricNoise, {"rate": 0.4, "class_map": {}}, "class_map names no class"),
        (
            AsymmetricNoise,
            {"rate": 0.4, "class_map": "cat"},
            "option 'class_map' must be a mapping from class to class, not 'cat'",
        ),
        (AsymmetricNoise, {"rate": 0.4, "class_map": {"cat": ["dog"]}}, "a mapping from class to class"),
        (AsymmetricNoise, {"rate": 0.4, "class_map": {True: "dog"}}, "a mapping from class to class"),
        (AsymmetricNoise, {"rate": 0.4, "map": {}}, "unknown option 'map'"),
        (InstanceDependentNoise, {"rate": 0.4, "deviation": 0}, "deviation must be above 0, not 0.0"),
        (InstanceDependentNoise, {"rate": 0.4, "deviation": -1}, "deviation must be above 0, not -1.0"),
        (HumanNoise, {}, "option 'labels' is required"),
        (
            HumanNoise,
            {"labels": "clean_label"},
            "option 'labels' must be one of 'aggre_label', 'worse_label'",
        ),
        (ManifestNoise, {}, "option 'path' is required"),
    ],
)
def test_bad_options_are_named(kind, options: dict, message: str) -> None:
    with pytest.raises(UsageError, match=re.escape(message)):
        Kinds({"it": kind})("label_noise", {"kind": "it", **options})


class Executes:
    """A pickle of it creates a file when it is loaded."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self):
        return os.system, (f"touch {self.path}",)


class TestHuman:
    COUNT = 200

    def content(self, **changes):
        true = balanced(self.COUNT)
        worse = np.where(generator().random(self.COUNT) < 0.3, (true + 3) % 10, true)
        content = {"clean_label": true, "worse_label": worse, "random_label1": worse[::-1].copy()}
        return {key: value for key, value in {**content, **changes}.items() if value is not None}

    def apply(self, folder: Path, content, data=None, noise=None, **options):
        torch.save(content, folder / "CIFAR-10_human.pt", **options)
        data = data_of(balanced(self.COUNT), CIFAR10, "cifar10") if data is None else data
        noise = HumanNoise("worse_label") if noise is None else noise
        return noise.apply(data, DataLocation(folder), generator())

    @pytest.mark.parametrize("zipped", [True, False])
    @pytest.mark.parametrize("as_type", [np.asarray, torch.as_tensor, list, lambda a: a.astype(np.uint8)])
    def test_its_labels_are_the_files(self, tmp_path: Path, as_type, zipped: bool) -> None:
        content = self.content()
        stored = {
            key: [int(label) for label in value] if as_type is list else as_type(value)
            for key, value in content.items()
        }
        noisy, manifest = self.apply(tmp_path, stored, _use_new_zipfile_serialization=zipped)
        assert (noisy == content["worse_label"]).all()
        check(data_of(content["clean_label"]), noisy, manifest)
        share = np.mean(content["worse_label"] != content["clean_label"])
        assert manifest.nominal_rate == manifest.realized_rate == share
        assert manifest.details["annotation"] == "worse_label"

    def test_files_of_numpy_1_are_read(self, tmp_path: Path) -> None:
        buffer = io.BytesIO()
        torch.save(self.content(), buffer, _use_new_zipfile_serialization=False)
        old = buffer.getvalue().replace(b"cnumpy._core.multiarray\n", b"cnumpy.core.multiarray\n")
        assert old != buffer.getvalue()
        (tmp_path / "old.pt").write_bytes(old)
        noise = HumanNoise("worse_label", "old.pt")
        noisy, _ = noise.apply(
            data_of(balanced(self.COUNT), CIFAR10, "cifar10"), DataLocation(tmp_path), generator()
        )
        assert (noisy == self.content()["worse_label"]).all()

    def test_a_part_of_the_training_images_gets_its_own_labels(self, tmp_path: Path) -> None:
        true = balanced(50_000)
        worse = np.where(generator().random(50_000) < 0.3, (true + 3) % 10, true)
        kept = np.sort(generator(1).choice(50_000, 300, replace=False))
        data = data_of(true[kept], CIFAR10, "cifar10", positions=kept)
        noisy, manifest = self.apply(tmp_path, self.content(clean_label=true, worse_label=worse), data)
        assert (noisy == worse[kept]).all()
        check(data, noisy, manifest)
        assert manifest.nominal_rate == np.mean(worse != true) != manifest.realized_rate

    def test_cifar100_has_a_file_of_its_own(self, tmp_path: Path) -> None:
        true = balanced(self.COUNT, 100)
        torch.save({"clean_label": true, "noisy_label": 99 - true}, tmp_path / "CIFAR-100_human.pt")
        data = data_of(true, CIFAR100, "cifar100")
        noisy, _ = HumanNoise("noisy_label").apply(data, DataLocation(tmp_path), generator())
        assert (noisy == 99 - true).all()

    def test_the_digest_is_the_files(self, tmp_path: Path) -> None:
        self.apply(tmp_path, self.content())
        noise, location = HumanNoise("worse_label"), DataLocation(tmp_path)
        before = noise.digest(location)
        assert noise.digest(location) == before
        self.apply(tmp_path, self.content(worse_label=(balanced(self.COUNT) + 1) % 10))
        assert noise.digest(location) != before

    @pytest.mark.parametrize("zipped", [True, False, None])
    @pytest.mark.parametrize("nested", [True, False])
    def test_executable_content_is_refused_and_not_run(
        self, tmp_path: Path, zipped: bool | None, nested: bool
    ) -> None:
        trap, path = tmp_path / "executed", tmp_path / "CIFAR-10_human.pt"
        content = self.content(worse_label=Executes(trap)) if nested else Executes(trap)
        if zipped is None:
            path.write_bytes(pickle.dumps(content, protocol=2))
        else:
            torch.save(content, path, _use_new_zipfile_serialization=zipped)
        noise, location = HumanNoise("worse_label"), DataLocation(tmp_path)
        data = data_of(balanced(self.COUNT), CIFAR10, "cifar10")
        with pytest.raises(UsageError, match=r"refused; nothing of it was run$") as error:
            noise.apply(data, location, generator())
        assert f"{path} holds executable content ({os.system.__module__}.system)" in str(error.value)
        assert not trap.exists()
        if zipped is None:  # the trap is one
            pickle.loads(path.read_bytes())
            assert trap.exists()

    @pytest.mark.parametrize("protocol", [0, 3, 4, 5])
    def test_other_pickles_are_not_run_either(self, tmp_path: Path, protocol: int) -> None:
        trap, path = tmp_path / "executed", tmp_path / "CIFAR-10_human.pt"
        path.write_bytes(pickle.dumps(Executes(trap), protocol))
        with pytest.raises(UsageError, match=r"CIFAR-10_human.pt (is no file of labels|holds executable)"):
            HumanNoise("worse_label").apply(
                data_of([0, 1], CIFAR10, "cifar10"), DataLocation(tmp_path), generator()
            )
        assert not trap.exists()

    @pytest.mark.parametrize(
        ("changes", "message"),
        [
            (
                {"worse_label": balanced(199)},
                "worse_label has 199 labels, but there are 200 training images",
            ),
            ({"clean_label": balanced(201)}, "clean_label has 201 labels, but there are 200 training images"),
            ({"worse_label": None}, "has no worse_label; it has clean_label, random_label1"),
            ({"clean_label": None}, "has no clean_label; it has random_label1, worse_label"),
            ({"worse_label": balanced(200) + 1}, "worse_label has a label 10, but labels are from 0 to 9"),
            ({"worse_label": balanced(200) - 1}, "worse_label has a label -1, but labels are from 0 to 9"),
            ({"worse_label": torch.zeros(200)}, "worse_label is no list of whole numbers"),
            ({"worse_label": balanced(200)[:, None]}, "worse_label is no list of whole numbers"),
            ({"worse_label": [[1], [2, 3]]}, "worse_label is no list of whole numbers"),
            ({"worse_label": "labels"}, "worse_label is no list of whole numbers"),
            (
                {"clean_label": balanced(200)[::-1].copy()},
                "clean_label differs from the labels of data set 'cifar10' for 200 of 200 training images, "
                "first for number 0; it is in another order",
            ),
            ({"worse_label": balanced(200)}, "would change none of 200 labels"),
            ({"worse_label": np.zeros(200)}, "is no file of labels, or damaged"),
            ({"worse_label": np.array([None] * 200)}, "is no file of labels, or damaged"),
        ],
    )
    def test_a_file_that_does_not_fit_is_refused(self, tmp_path: Path, changes, message: str) -> None:
        with pytest.raises(UsageError, match=re.escape(message)) as error:
            self.apply(tmp_path, self.content(**changes))
        assert "CIFAR-10_human.pt" in str(error.value)
        assert "\n" not in str(error.value)

    def test_a_file_of_a_part_is_refused_for_a_part(self, tmp_path: Path) -> None:
        data = data_of(balanced(100), CIFAR10, "cifar10", positions=np.arange(100))
        with pytest.raises(
            UsageError, match="clean_label has 200 labels, but there are 50000 training images"
        ):
            self.apply(tmp_path, self.content(), data)

    @pytest.mark.parametrize("content", [b"", b"junk", b"PK\x03\x04junk", pickle.dumps({"clean_label": [1]})])
    def test_junk_is_refused(self, tmp_path: Path, content: bytes) -> None:
        (tmp_path / "junk.pt").write_bytes(content)
        data = data_of(balanced(self.COUNT), CIFAR10, "cifar10")
        with pytest.raises(UsageError, match=r"junk.pt is no file of labels, or damaged \(\w+\)") as error:
            HumanNoise("worse_label", "junk.pt").apply(data, DataLocation(tmp_path), generator())
        assert "\n" not in str(error.value)

    def test_a_list_is_no_mapping(self, tmp_path: Path) -> None:
        with pytest.raises(UsageError, match="holds no mapping of labels, but list"):
            self.apply(tmp_path, [1, 2])

    @pytest.mark.parametrize(
        ("labels", "name"),
        [("worse_label", "digits"), ("noisy_label", "cifar10"), ("worse_label", "cifar100")],
    )
    def test_other_data_sets_are_refused(self, labels, name: str) -> None:
        with pytest.raises(
            UsageError, match=rf"human label noise: {labels} is of data set .* not of '{name}'"
        ):
            HumanNoise(labels).apply(data_of([0, 1], CIFAR10, name), HERE, generator())

    def test_an_absent_file_is_named(self, tmp_path: Path) -> None:
        message = (
            r"CIFAR-10_human.pt cannot be read \(No such file or directory\); the authors' is in the folder"
        )
        data = data_of([0, 1], CIFAR10, "cifar10")
        with pytest.raises(UsageError, match=message):
            HumanNoise("worse_label").apply(data, DataLocation(tmp_path), generator())
        with pytest.raises(UsageError, match=message):
            HumanNoise("worse_label").digest(DataLocation(tmp_path))


class TestManifest:
    @pytest.fixture
    def data(self) -> ImageData:
        return data_of(balanced(20))

    @pytest.fixture
    def stored(self, data: ImageData) -> dict:
        _, manifest = PairFlipNoise(0.2).apply(data, HERE, generator())
        return json.loads(json.dumps(dataclasses.replace(manifest, data=data.digest).as_dict()))

    def apply(self, folder: Path, content: dict, data: ImageData):
        write_json(folder / "manifest.json", content)
        return ManifestNoise("manifest.json").apply(data, DataLocation(folder), generator())

    @pytest.mark.parametrize("noise", DRAWING.values(), ids=DRAWING)
    def test_it_repeats_flips_and_manifest(self, tmp_path: Path, noise, data: ImageData) -> None:
        noisy, manifest = noise.apply(data, HERE, generator())
        stored = dataclasses.replace(manifest, data=data.digest)
        again, repeated = self.apply(tmp_path, stored.as_dict(), data)
        assert (again == noisy).all()
        assert repeated.data is None
        assert digest(dataclasses.replace(repeated, data=data.digest).as_dict()) == digest(stored.as_dict())

    def test_the_digest_is_the_files(self, tmp_path: Path, stored: dict, data: ImageData) -> None:
        self.apply(tmp_path, stored, data)
        before = ManifestNoise("manifest.json").digest(DataLocation(tmp_path))
        assert ManifestNoise(str(tmp_path / "manifest.json")).digest(HERE) == before
        self.apply(tmp_path, {**stored, "nominal_rate": 0.3}, data)
        assert ManifestNoise("manifest.json").digest(DataLocation(tmp_path)) != before

    def test_another_data_set_is_refused(self, tmp_path: Path, stored: dict, data: ImageData) -> None:
        other = dataclasses.replace(data, train_images=255 - data.train_images)
        with pytest.raises(
            UsageError, match=r"does not match the data set 'folder:some': it was made for sha256"
        ):
            self.apply(tmp_path, stored, other)
        with pytest.raises(
            UsageError, match="does not match the data set 'folder:some': it was made for one without"
        ):
            self.apply(tmp_path, {**stored, "data": None}, data)

    @pytest.mark.parametrize(
        ("changes", "message"),
        [
            ({"kind": "badnets backdoor"}, "is of 'badnets backdoor' in 'train', not of label noise"),
            ({"part": "test"}, "is of 'pair-flip label noise' in 'test', not of label noise"),
            ({"kind": None}, "is of None in 'train', not of label noise"),
            ({"indices": [2, 1]}, "indices are not ascending, or name a sample twice"),
            ({"indices": [1, 1]}, "indices are not ascending, or name a sample twice"),
            ({"indices": [-1, 1]}, "there is no training image -1; there are 20"),
            ({"indices": [1, 20]}, "there is no training image 20; there are 20"),
            ({"indices": [1, 10**30]}, f"there is no training image {10**30}; there are 20"),
            ({"indices": [1, 2, 3]}, "indices and labels are not lists of whole numbers of one length"),
            ({"indices": [1, 2.5]}, "indices and labels are not lists of whole numbers of one length"),
            ({"indices": "12"}, "indices and labels are not lists of whole numbers of one length"),
            ({"details": {}}, "indices and labels are not lists of whole numbers of one length"),
            ({"details": None}, "indices and labels are not lists of whole numbers of one length"),
            ({"details": {"labels": [True, 4]}}, "indices and labels are not lists of whole numbers"),
            ({"details": {"labels": [4, 10]}}, "label 10 of sample 2 is none of the labels, 0 to 9"),
            ({"details": {"labels": [-1, 4]}}, "label -1 of sample 1 is none of the labels, 0 to 9"),
            ({"details": {"labels": [1, 4]}}, "label 1 of sample 1 is its true label"),
            ({"indices": [], "details": {"labels": []}}, "would change nothing"),
            ({"nominal_rate": 0}, "nominal_rate must be above 0 and at most 1, not 0"),
            ({"nominal_rate": "high"}, "nominal_rate must be above 0 and at most 1, not 'high'"),
        ],
    )
    def test_a_manifest_that_is_none_is_refused(
        self, tmp_path: Path, stored: dict, data: ImageData, changes, message: str
    ) -> None:
        good = {**stored, "indices": [1, 2], "details": {"labels": [3, 4]}}
        self.apply(tmp_path, good, data)
        with pytest.raises(UsageError, match=re.escape(message)) as error:
            self.apply(tmp_path, {**good, **changes}, data)
        assert "manifest.json" in str(error.value)

    @pytest.mark.parametrize("content", ["", "{", "\x00", "[" * 100_000])
    def test_what_is_no_json_is_refused(self, tmp_path: Path, data: ImageData, content: str) -> None:
        (tmp_path / "manifest.json").write_text(content)
        with pytest.raises(UsageError, match=r"manifest .*manifest.json is no JSON"):
            ManifestNoise("manifest.json").apply(data, DataLocation(tmp_path), generator())

    @pytest.mark.parametrize("content", [[], {}, {"kind": "symmetric label noise"}, 1])
    def test_other_json_is_refused(self, tmp_path: Path, data: ImageData, content) -> None:
        with pytest.raises(UsageError, match="is no manifest; one has kind, part, nominal_rate"):
            self.apply(tmp_path, content, data)

    def test_an_absent_manifest_is_named(self, tmp_path: Path, data: ImageData) -> None:
        with pytest.raises(UsageError, match=r"none.json cannot be read \(No such file or directory\)"):
            ManifestNoise("none.json").apply(data, DataLocation(tmp_path), generator())
        with pytest.raises(UsageError, match="a relative path is under --data-root"):
            ManifestNoise("none.json").digest(DataLocation(tmp_path))


if __name__ == "__main__":
    print(json.dumps({kind: digest_of_digits(kind) for kind in DRAWING}))
