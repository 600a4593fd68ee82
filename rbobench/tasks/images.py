"""Image classification: a data set, a model, and what was done to the labels and images in between."""

from __future__ import annotations

import contextlib
import hashlib
import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from timm import is_model
from torch import Tensor, nn
from torch.nn import functional
from torch.optim.swa_utils import update_bn

from rbobench.errors import UsageError, unknown
from rbobench.measures.classification import (
    accuracy,
    attack_success_rate,
    expected_calibration_error,
    has_collapsed,
)
from rbobench.measures.classification_surface import classification_surface
from rbobench.measures.surface import LossSurface
from rbobench.objective import Objective
from rbobench.randomness import Streams, seeded_default_generators
from rbobench.tasks.augmentation import Augmentation, augment
from rbobench.tasks.corruption import LABEL_NOISE, BackdoorOptions, LabelNoiseOptions
from rbobench.tasks.datasets import ImageData, load
from rbobench.tasks.measured_images import MeasuredImages
from rbobench.tasks.models import create_model, list_models
from rbobench.tasks.pool import CorruptedPool
from rbobench.tasks.task import DataLocation, Manifest, Settings

EVALUATION_BATCH = 512
"""Images that go through the model at once where no gradient is needed."""
SHARPNESS_IMAGES = 1024
"""Training images on which sharpness is measured, the same at every measurement of a seed."""
BATCH_NORM_IMAGES = 4096
"""Training images from which BatchNorm statistics are re-estimated."""


@dataclass(frozen=True)
class ImageTask:
    """Classify a data set's images.

    A validation split is drawn from the training images, stratified, before they are corrupted; it is
    corrupted as they are.

    Args:
        dataset: Name of the data set, or `folder:PATH`.
        model: Any name that timm knows, ours among them.
        batch_size: Training images of a batch.
        train_images: How many training images to keep, validation included; `None` for all.
        image_size: Side in pixels that images are resized to; folders alone.
        validation_fraction: Share of the training images held out, in (0, 1).
        augmentation: What is done to each batch.
        label_noise: A kind of label noise and its options; `None` for none.
        backdoor: A kind of backdoor and its options; `None` for none.
        cifar_stem: Replace a ResNet's ImageNet stem by a 3×3 convolution without pooling.
        model_options: What else goes to `timm.create_model`.

    Raises:
        UsageError: If a value is out of range, or nobody knows the model.
    """

    dataset: str
    model: str = "mlp"
    batch_size: int = 128
    train_images: int | None = None
    image_size: int | None = None
    validation_fraction: float = 0.1
    augmentation: Augmentation = "none"
    label_noise: LabelNoiseOptions | None = None
    backdoor: BackdoorOptions | None = None
    cifar_stem: bool = False
    model_options: dict[str, Any] | None = None

    def __post_init__(self) -> None:
        if self.batch_size < 1:
            raise UsageError(f"batch_size must be at least 1, not {self.batch_size}")
        if not 0.0 < self.validation_fraction < 1.0:
            raise UsageError(f"validation_fraction must be between 0 and 1, not {self.validation_fraction}")
        if self.train_images is not None and self.train_images < 1:
            raise UsageError(f"train_images must be at least 1, not {self.train_images}")
        if self.image_size is not None and self.image_size < 1:
            raise UsageError(f"image_size must be at least 1, not {self.image_size}")
        if not is_model(self.model):
            raise unknown("model", self.model, list_models())

    def data(self, location: DataLocation) -> ImageData:
        """The data set, read once in a process.

        Raises:
            UsageError: If it is absent; the message says where it should be.
        """
        return load(self.dataset, location, train_images=self.train_images, image_size=self.image_size)

    def data_digest(self, location: DataLocation) -> str | None:
        """A digest of images and labels as they are used, and of a file of labels that a corruption reads."""
        data = self.data(location).digest
        noise = None if self.label_noise is None else LABEL_NOISE.create(self.label_noise)
        labels = None if noise is None else noise.digest(location)
        if labels is None:
            return data
        return f"sha256:{hashlib.sha256(f'{data} {labels}'.encode()).hexdigest()}"

    def problem(self, seed: int, settings: Settings) -> ImageProblem:
        """Build the problem of one trial.

        Raises:
            UsageError: If data are absent or too few, or a corruption would change nothing.
        """
        return ImageProblem(self, self.data(settings.location), seed, settings)


class ImageProblem:
    """One trial's images, model and closure; implements `rbobench.tasks.task.Problem`.

    Args:
        task: What is to be done.
        data: The data set.
        seed: The trial's.
        settings: Device and numerics.
    """

    has_validation = True

    def __init__(self, task: ImageTask, data: ImageData, seed: int, settings: Settings) -> None:
        self._task = task
        self._settings = settings
        self._streams = Streams(seed)
        device = settings.device
        pool = CorruptedPool.of(task, data, self._streams, settings.location)
        self._manifests = pool.manifests
        train, validation = split(data.train_labels.numpy(), task.validation_fraction, self._streams)
        if not len(validation):
            raise UsageError(
                f"validation_fraction {task.validation_fraction} of {len(train)} training images leaves none "
                "to validate on; each class needs at least two"
            )
        if task.batch_size > len(train):
            raise UsageError(f"batch_size {task.batch_size} is more than the {len(train)} training images")
        self._train, self._validation = torch.from_numpy(train), torch.from_numpy(validation)
        self._images = pool.images.to(device)
        self._labels = torch.from_numpy(pool.labels).to(device)
        self._mean, self._deviation = (each.to(device) for each in channel_statistics(data.train_images))
        self.measured = MeasuredImages(data, pool, train, validation, self._streams).to(device)
        self._memorized_at = torch.full((len(self.measured.flipped),), math.nan, device=device)
        self.samples_per_batch = task.batch_size
        self.samples_per_epoch: int | None = len(train)

        model_seed = self._streams.seed("init")
        with seeded_default_generators(model_seed, torch.device("cpu")):
            model = create_model(
                task.model,
                in_chans=data.train_images.shape[1],
                num_classes=len(data.classes),
                image_size=data.train_images.shape[-1],
                cifar_stem=task.cifar_stem,
                model_options=task.model_options,
            )
        _check_fit(task.model, model, data.train_images)
        self._memory_format = torch.channels_last if settings.channels_last else torch.contiguous_format
        self.module: nn.Module = model.to(device).to(memory_format=self._memory_format)
        self.module.train()
        self._forward: Any = torch.compile(self.module) if settings.compile else self.module
        self._order = batch_indices(train, task.batch_size, self._streams)
        self._augment = self._streams.torch("augment")
        self.objective = Objective(
            self.parameters(),
            self.draw,
            self._loss,
            module=self.module,
            resamples=settings.resamples,
            seed=self._streams.seed("augment", "model"),
            device=device,
        )

    def parameters(self) -> list[nn.Parameter]:
        """The parameters to train."""
        return [parameter for parameter in self.module.parameters() if parameter.requires_grad]

    @torch.no_grad()
    def evaluate(self) -> dict[str, float]:
        """Accuracies and losses (negative log-likelihoods) at the present weights.

        `validation_accuracy` on given labels; `test_accuracy`, `test_loss` and the `test_calibration_error`;
        `train_accuracy` and `train_loss` of training images that no corruption has touched; with label noise
        `memorization` and `flipped_loss`, the accuracy and loss on the given labels of flipped training
        images, and `recovery`, the accuracy on their true labels; with a backdoor, of triggered test images
        that it attacks, `attack_success`, the share that gets the label the attacker wants, and
        `robust_accuracy`, on their own labels.
        """
        measured = self.measured
        parts, labels = measured.split(self._logits(measured.images)), measured.labels
        metrics = {
            "validation_accuracy": accuracy(parts["validation"], labels["validation"]),
            "test_accuracy": accuracy(parts["test"], labels["test"]),
            "test_loss": functional.cross_entropy(parts["test"], labels["test"]),
            "test_calibration_error": expected_calibration_error(parts["test"], labels["test"]),
        }
        if "train" in parts:
            metrics["train_accuracy"] = accuracy(parts["train"], labels["train"])
            metrics["train_loss"] = functional.cross_entropy(parts["train"], labels["train"])
        if "flipped" in parts:
            metrics["memorization"] = accuracy(parts["flipped"], labels["flipped"])
            metrics["recovery"] = accuracy(parts["flipped"], labels["flipped, true"])
            metrics["flipped_loss"] = functional.cross_entropy(parts["flipped"], labels["flipped"])
            self._note_memorized(parts["flipped"].argmax(dim=1) == labels["flipped"])
        if "triggered" in parts:
            metrics["attack_success"] = attack_success_rate(parts["triggered"], labels["triggered, wanted"])
            metrics["robust_accuracy"] = accuracy(parts["triggered"], labels["triggered"])
        # One transfer from the device for all of them.
        return dict(zip(metrics, torch.stack(list(metrics.values())).tolist(), strict=True))

    def final(self) -> dict[str, Any]:
        """`collapsed`: whether the model gives one answer."""
        return {"collapsed": has_collapsed(self._test_logits())}

    def memorized_at(self) -> dict[str, list[Any]]:
        """When each flipped label was first given back, by the points at which `evaluate` was called.

        By chance as well: an untrained network of ten classes gives back a tenth of them.

        Returns:
            `positions` among the training images, and `gradient_evaluations`, `None` where it never was;
            both empty without label noise.
        """
        times = self._memorized_at.tolist()
        return {
            "positions": self.measured.flipped.tolist(),
            "gradient_evaluations": [None if math.isnan(time) else time for time in times],
        }

    def surface(self, *, normalize_logits: bool = False) -> LossSurface:
        """The mean loss on a fixed subset of the training images with their given labels.

        In evaluation mode, single precision, without augmentation.

        Args:
            normalize_logits: Divide each image's logits by their spread, so that the scale of the logits does
                not matter (arXiv 2302.07011).
        """
        chosen = self._streams.numpy("split", "sharpness").permutation(self._train.numpy())
        subset = torch.from_numpy(chosen[:SHARPNESS_IMAGES])
        return classification_surface(
            self.module,
            self.prepared(self._images[subset]),
            self._labels[subset],
            normalize_logits=normalize_logits,
        )

    def membership_losses(self) -> tuple[Tensor, Tensor]:
        """Losses on given labels of images trained on, and of images held out of the same pool.

        Both went through the same corruption, so that nothing but training tells them apart.

        Returns:
            Two tensors, each of shape (images of it,).
        """
        return self._losses(self._train), self._losses(self._validation)

    @torch.no_grad()
    def _losses(self, positions: Tensor) -> Tensor:
        """Single precision, but for the logarithms: in double a network that is sure has no ties."""
        with self._evaluating():
            logits = torch.cat(
                [
                    self._forward(self.prepared(self._images[part])).double()
                    for part in positions.split(EVALUATION_BATCH)
                ]
            )
        return functional.cross_entropy(logits, self._labels[positions], reduction="none")

    def _note_memorized(self, memorized: Tensor) -> None:
        first = memorized & self._memorized_at.isnan()
        self._memorized_at = self._memorized_at.masked_fill(first, self.objective.gradient_evaluations)

    def test_correct(self) -> Tensor | None:
        """Which test images are right, in the data set's order."""
        return self._test_logits().argmax(dim=1) == self.measured.labels["test"]

    def reestimate_batch_norm(self) -> None:
        """Recompute running statistics from a fixed subset of the training images, as a mean over batches."""
        chosen = self._streams.numpy("split", "batch norm").permutation(self._train.numpy())
        count = max(self.samples_per_batch, min(len(chosen), BATCH_NORM_IMAGES))
        batches = torch.from_numpy(chosen[:count]).split(self.samples_per_batch)
        full = [indices for indices in batches if len(indices) == self.samples_per_batch]
        with seeded_default_generators(self._streams.seed("split", "dropout"), self._settings.device):
            update_bn((self.prepared(self._images[indices]) for indices in full), self.module)

    def manifests(self) -> list[Manifest]:
        """What each corruption did to the training images."""
        return self._manifests

    def batch_order(self) -> Tensor | None:
        """Indices of the first epoch's batches."""
        batches = batch_indices(self._train.numpy(), self.samples_per_batch, self._streams)
        return torch.stack([next(batches) for _ in range(len(self._train) // self.samples_per_batch)])

    def draw(self) -> tuple[Tensor, Tensor]:
        """The next batch: images, augmented, and the labels given to them."""
        indices = next(self._order).to(self._images.device)
        images = augment(self.prepared(self._images[indices]), self._task.augmentation, self._augment)
        return images.contiguous(memory_format=self._memory_format), self._labels[indices]

    def _loss(self, batch: tuple[Tensor, Tensor]) -> Tensor:
        images, labels = batch
        with self._autocast():
            return functional.cross_entropy(self._forward(images), labels)

    def prepared(self, images: Tensor) -> Tensor:
        """Floating-point images of zero mean and unit variance in each channel."""
        return images.to(torch.float32).sub_(self._mean).div_(self._deviation)

    def _logits(self, images: Tensor) -> Tensor:
        """Single-precision logits of uint8 images, in evaluation mode."""
        with torch.no_grad(), self._evaluating(), self._autocast():
            batches = (
                self.prepared(part).contiguous(memory_format=self._memory_format)
                for part in images.split(EVALUATION_BATCH)
            )
            return torch.cat([self._forward(batch).float() for batch in batches])

    def _test_logits(self) -> Tensor:
        return self._logits(self.measured.images[: self.measured.parts["test"]])

    @contextlib.contextmanager
    def _evaluating(self) -> Iterator[None]:
        self.module.eval()
        try:
            yield
        finally:
            self.module.train()

    def _autocast(self) -> contextlib.AbstractContextManager[Any]:
        if self._settings.precision == "fp32":
            return contextlib.nullcontext()
        return torch.autocast(self._settings.device.type, torch.bfloat16)


def _check_fit(name: str, model: nn.Module, images: Tensor) -> None:
    """See that a model takes the images.

    Raises:
        UsageError: If it does not.
    """
    try:
        with torch.no_grad():
            model.eval()(images[:1].float())
    except (RuntimeError, ValueError, AssertionError, TypeError) as error:
        size = "×".join(map(str, images.shape[-2:]))
        reason = " ".join(str(error).split())
        raise UsageError(f"model {name!r} cannot take images of {size}: {reason}") from error


def split(labels: np.ndarray, fraction: float, streams: Streams) -> tuple[np.ndarray, np.ndarray]:
    """Positions of the training and of the validation images, stratified by true label, ascending.

    Args:
        labels: True labels, of shape (n,).
        fraction: Share of each class held out; at least one image of it where it has two.
        streams: The split has a stream of its own.
    """
    generator = streams.numpy("split")
    held_out = []
    for label in np.unique(labels):
        members = generator.permutation(np.flatnonzero(labels == label))
        count = min(max(round(fraction * len(members)), 1), len(members) - 1)
        held_out.append(members[:count])
    validation = np.sort(np.concatenate(held_out))
    return np.setdiff1d(np.arange(len(labels)), validation), validation


def batch_indices(train: np.ndarray, batch_size: int, streams: Streams) -> Iterator[Tensor]:
    """Batches of positions without end: a fresh permutation each epoch, what fills no batch dropped."""
    generator, positions = streams.torch("order"), torch.from_numpy(train)
    whole = len(train) // batch_size * batch_size
    while True:
        order = positions[torch.randperm(len(train), generator=generator)]
        yield from order[:whole].split(batch_size)


def channel_statistics(images: Tensor) -> tuple[Tensor, Tensor]:
    """Mean and standard deviation of each channel, of shape (channels, 1, 1).

    Args:
        images: uint8, of shape (n, channels, height, width).
    """
    levels = torch.arange(256, dtype=torch.float64)
    means, deviations = [], []
    for channel in images.unbind(dim=1):
        counts = torch.bincount(channel.flatten(), minlength=256).double()
        mean = (counts @ levels) / counts.sum()
        means.append(mean)
        deviations.append(math.sqrt(max(float(counts @ (levels - mean).square() / counts.sum()), 1e-12)))
    shape = (len(means), 1, 1)
    return (
        torch.tensor(means, dtype=torch.float32).reshape(shape),
        torch.tensor(deviations, dtype=torch.float32).reshape(shape),
    )
