"""What a task's corruptions look like: images before and after, with their labels."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from rbobench.analysis.style import WIDTH, paper_style
from rbobench.errors import UsageError
from rbobench.randomness import Streams
from rbobench.tasks.datasets import ImageData
from rbobench.tasks.images import ImageTask
from rbobench.tasks.pool import CorruptedPool
from rbobench.tasks.task import DataLocation

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_LARGEST, _GAP = 1.1, 0.08
"""Inches: of an image's side, and between images."""
_MARGIN, _HEADING, _CAPTION = 0.9, 0.3, 0.16
"""Inches: left of the images, above a pair of rows, above an image."""


@dataclass(frozen=True)
class _Pair:
    """Two rows of the same images, before and after.

    Attributes:
        heading: Above both.
        rows: What each is called.
        images: uint8, of shape (n, channels, height, width), for each row.
        labels: Of shape (n,), for each row.
    """

    heading: str
    rows: tuple[str, str]
    images: tuple[Tensor, Tensor]
    labels: tuple[np.ndarray, np.ndarray]


def corruption_figure(task: ImageTask, location: DataLocation, seed: int = 0, count: int = 8) -> Figure:
    """Draw samples that a task corrupts, clean above corrupted, each under its label.

    Each corruption has a pair of rows of training images: the clean ones under their true labels, and the
    given ones under the given labels. A backdoor has one more of test images: clean ones, and those with
    the trigger under the labels that the attacker wants. Wrong labels are red.

    Args:
        task: Says which data set and which corruptions.
        location: Where the data are.
        seed: Of the trial whose corruptions are drawn; it draws the samples that are shown, too.
        count: Samples of each pair of rows; fewer where fewer are corrupted.

    Returns:
        A figure as wide as the text of a paper.

    Raises:
        ValueError: If `count` is less than 1.
        UsageError: If the task corrupts nothing, or a corruption does not fit the data.
    """
    if count < 1:
        raise ValueError(f"count must be at least 1, not {count}")
    if task.label_noise is None and task.backdoor is None:
        raise UsageError(f"task {task.dataset!r} corrupts nothing; give it label_noise or backdoor")
    data, streams = task.data(location), Streams(seed)
    pool = CorruptedPool.of(task, data, streams, location)
    pairs = list(_pairs(task, data, pool, streams.numpy("corruption", "figure"), count))
    with paper_style():
        return _draw(pairs, data.classes, count)


def _pairs(
    task: ImageTask, data: ImageData, pool: CorruptedPool, generator: np.random.Generator, count: int
) -> Iterator[_Pair]:
    """What there is to see: label noise, poisoned training images, attacked test images."""
    true = data.train_labels.numpy()
    for manifest in pool.manifests:
        poisoned = pool.poisoning is not None and manifest is pool.manifests[-1]
        corrupted = np.array(manifest.indices) if poisoned else pool.flipped
        if not len(corrupted):  # a backdoor has relabeled every flipped sample
            continue
        chosen = generator.permutation(corrupted)[:count]
        positions = torch.from_numpy(chosen)
        yield _Pair(
            f"{task.dataset}, training images: {manifest.kind}, {100 * manifest.realized_rate:.3g} % "
            f"({len(manifest.indices):,} of {len(true):,})",
            ("clean,\ntrue label", "corrupted,\ngiven label"),
            (data.train_images[positions], pool.images[positions]),
            (true[chosen], pool.labels[chosen]),
        )
    if pool.poisoning is not None:
        attacked = torch.nonzero(pool.poisoning.attacked(data.test_labels)).flatten().numpy()
        positions = torch.from_numpy(generator.permutation(attacked)[:count])
        images, labels = data.test_images[positions], data.test_labels[positions]
        yield _Pair(
            f"{task.dataset}, test images that the attack is tried on: {len(attacked):,} of "
            f"{len(data.test_labels):,}",
            ("clean,\ntrue label", "triggered,\nwanted label"),
            (images, pool.poisoning.trigger(images)),
            (labels.numpy(), pool.poisoning.wanted(labels).numpy()),
        )


def _draw(pairs: list[_Pair], classes: tuple[str, ...], count: int) -> Figure:
    from matplotlib.figure import Figure

    cell = min((WIDTH - _MARGIN) / count, _LARGEST)
    height, width = pairs[0].images[0].shape[-2:]
    side = cell - _GAP * min(1.0, cell)  # inches, of an image's width
    row = side * height / width + _CAPTION + _GAP / 2
    total = len(pairs) * (_HEADING + 2 * row)
    # A class name at most as wide as its cell: a letter is about 0.55 of the font's size.
    size = min(7.0, cell * 72 / (0.55 * max(map(len, classes))))
    figure = Figure(figsize=(WIDTH, total))
    top = total
    for pair in pairs:
        figure.text(0.08 / WIDTH, (top - 0.6 * _HEADING) / total, pair.heading, va="center", weight="bold")
        top -= _HEADING
        for name, images, labels in zip(pair.rows, pair.images, pair.labels, strict=True):
            bottom = top - row + _GAP / 2
            figure.text(0.08 / WIDTH, (bottom + side * height / width / 2) / total, name, va="center")
            for column, (image, label, true) in enumerate(zip(images, labels, pair.labels[0], strict=True)):
                axes = figure.add_axes(
                    (
                        (_MARGIN + column * cell) / WIDTH,
                        bottom / total,
                        side / WIDTH,
                        side * height / width / total,
                    )
                )
                _show(axes, image)
                axes.set_title(
                    classes[label], fontsize=size, pad=2, color="black" if label == true else "tab:red"
                )
            top -= row
    return figure


def _show(axes: Axes, image: Tensor) -> None:
    """One image of shape (channels, height, width), each pixel a square."""
    pixels = image.permute(1, 2, 0).numpy()
    axes.imshow(pixels, cmap="gray", vmin=0, vmax=255, interpolation="nearest")
    axes.set(xticks=[], yticks=[])
    axes.grid(visible=False)
    for spine in axes.spines.values():  # a frame, so that a white corner is seen on white paper
        spine.set(visible=True, color="0.6", linewidth=0.5)
