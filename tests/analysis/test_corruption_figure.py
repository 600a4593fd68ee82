from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import matplotlib.pyplot as plt
import numpy as np
import pytest
from PIL import Image

from rbobench.analysis.corruption_figure import corruption_figure
from rbobench.errors import UsageError
from rbobench.randomness import Streams
from rbobench.tasks.corruption import BACKDOORS, LABEL_NOISE
from rbobench.tasks.images import ImageTask
from rbobench.tasks.pool import CorruptedPool
from rbobench.tasks.task import DataLocation

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

LOCATION = DataLocation()
NOISE = LABEL_NOISE("label_noise", {"kind": "symmetric", "rate": 0.2})
BADNETS = BACKDOORS("backdoor", {"kind": "badnets", "rate": 0.02, "size": 2})


def rows(figure: Figure, columns: int) -> list[list[Axes]]:
    axes = figure.axes
    return [axes[start : start + columns] for start in range(0, len(axes), columns)]


def shown(axes: Axes) -> np.ndarray:
    (image,) = axes.images
    array: Any = image.get_array()
    return np.asarray(array).reshape(array.shape[0], array.shape[1], -1)


def test_each_corruption_is_shown_beside_what_it_corrupted() -> None:
    task = ImageTask("digits", label_noise=NOISE, backdoor=BADNETS)
    figure = corruption_figure(task, LOCATION, seed=3, count=5)
    data = task.data(LOCATION)
    pool = CorruptedPool.of(task, data, Streams(3), LOCATION)
    assert pool.poisoning is not None
    true = [data.classes[label] for label in data.train_labels]
    given = [data.classes[label] for label in pool.labels]
    clean_images = data.train_images.permute(0, 2, 3, 1).numpy()
    given_images = pool.images.permute(0, 2, 3, 1).numpy()
    noise_clean, noise_given, clean, poisoned, test, triggered = rows(figure, 5)
    for upper, lower, indices in (
        (noise_clean, noise_given, pool.flipped),
        (clean, poisoned, pool.manifests[1].indices),
    ):
        seen = set()
        for before, after in zip(upper, lower, strict=True):
            found = [
                index
                for index in indices
                if np.array_equal(clean_images[index], shown(before))
                and np.array_equal(given_images[index], shown(after))
                and (true[index], given[index]) == (before.get_title(), after.get_title())
            ]
            assert found
            seen.update(found)
        assert len(seen) >= 5
    for before, after in zip(test, triggered, strict=True):
        assert before.get_title() != "0"
        assert after.get_title() == "0"
        assert (shown(after)[-2:, -2:] == 255).all()
        changed = shown(before) != shown(after)
        changed[-2:, -2:] = False
        assert not changed.any()
    headings = "\n".join(text.get_text() for text in figure.texts)
    assert "symmetric label noise, 20 % (269 of 1,347)" in headings
    assert "badnets backdoor, 2 % (27 of 1,347)" in headings
    assert "405 of 450" in headings
    assert not plt.get_fignums()


def test_a_wrong_label_is_red() -> None:
    figure = corruption_figure(ImageTask("digits", label_noise=NOISE), LOCATION, count=3)
    right, wrong = rows(figure, 3)
    assert [axes.title.get_color() for axes in right] == ["black"] * 3
    assert [axes.title.get_color() for axes in wrong] == ["tab:red"] * 3


def test_a_seed_draws_one_figure(tmp_path: Path) -> None:
    task = ImageTask("digits", backdoor=BADNETS)
    stored = []
    for name, seed in (("one", 0), ("same", 0), ("other", 1)):
        corruption_figure(task, LOCATION, seed=seed, count=4).savefig(tmp_path / f"{name}.png")
        stored.append((tmp_path / f"{name}.png").read_bytes())
    assert stored[0] == stored[1] != stored[2]


def test_color_images_of_any_shape_fit_the_page(tmp_path: Path) -> None:
    generator = np.random.default_rng(0)
    for part in ("train", "test"):
        for label in ("a", "a class of a very long name indeed"):
            folder = tmp_path / part / label
            folder.mkdir(parents=True)
            for index in range(6):
                pixels = generator.integers(0, 256, (20, 32, 3), dtype=np.uint8)
                Image.fromarray(pixels).save(folder / f"{index}.png")
    backdoor = BACKDOORS("backdoor", {"kind": "badnets", "rate": 0.2, "size": 2})
    task = ImageTask("folder:.", backdoor=backdoor)
    figure = corruption_figure(task, DataLocation(tmp_path), count=8)
    figure.savefig(tmp_path / "figure.png")
    poisoned, attacked = 2, 6
    assert len(figure.axes) == 2 * poisoned + 2 * attacked
    page = figure.bbox
    for artist in (*figure.axes, *figure.texts):
        box = artist.get_window_extent()
        assert page.x0 <= box.x0 < box.x1 <= page.x1
        assert page.y0 <= box.y0 < box.y1 <= page.y1
    cell = figure.axes[1].get_window_extent().x0 - figure.axes[0].get_window_extent().x0
    assert all(axes.title.get_window_extent().width <= cell for axes in figure.axes)
    left = min(axes.get_window_extent().x0 for axes in figure.axes)
    names = [text for text in figure.texts if "label" in text.get_text()]
    assert all(text.get_window_extent().x1 < left for text in names)


def test_what_cannot_be_drawn_is_refused() -> None:
    with pytest.raises(UsageError, match="task 'digits' corrupts nothing; give it label_noise or backdoor"):
        corruption_figure(ImageTask("digits"), LOCATION)
    with pytest.raises(ValueError, match="count must be at least 1, not 0"):
        corruption_figure(ImageTask("digits", label_noise=NOISE), LOCATION, count=0)
