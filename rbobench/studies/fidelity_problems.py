"""Footpoint problems for the fidelity study: networks at three stages of training, two landscapes."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from rbobench.geometry.footpoint import footpoint
from rbobench.geometry.graph import Array, Graph
from rbobench.geometry.landscape import Landscape, LandscapeClosure
from rbobench.geometry.offset import offset_graph
from rbobench.optim.tensors import Closure, evaluate
from rbobench.randomness import Streams
from rbobench.tasks.datasets import ImageData, load
from rbobench.tasks.images import ImageProblem, ImageTask
from rbobench.tasks.landscapes import Eq13, Eq14
from rbobench.tasks.task import DataLocation, Settings

START_NOISE = 0.1
"""Points on a landscape are drawn this near to their start, in every coordinate."""

IMAGE_SIZE = 32
FOLDER_IMAGES = 2000
"""Training images taken of an image folder."""


class Step:
    """θ_t and the function around it that one step of the ball sees.

    Args:
        parameters: They hold θ_t.
        closure: f on one fixed batch, a standard torch closure.

    Attributes:
        parameters: θ, moved by whoever projects.
        closure: f, uncounted.
        value: f(θ_t).
        gradients: g_t, one tensor for each parameter.
    """

    def __init__(self, parameters: Sequence[Tensor], closure: Closure) -> None:
        self.parameters = list(parameters)
        self.closure = closure
        self.value = evaluate(closure)
        self.gradients = self.take_gradients()
        self._start = [parameter.detach().clone() for parameter in self.parameters]
        self.flat_start = flat(self._start)
        self.flat_gradient = flat(self.gradients)

    def take_gradients(self) -> list[Tensor]:
        """Copies of the gradients that the closure left."""
        return [parameter.grad.clone() for parameter in self.parameters if parameter.grad is not None]

    @torch.no_grad()
    def move_to(self, displacement: Tensor | None = None) -> None:
        """Put the parameters to θ_t plus a flat displacement, or to θ_t bit for bit."""
        if displacement is None:
            torch._foreach_copy_(self.parameters, self._start)
            return
        sizes = [parameter.numel() for parameter in self.parameters]
        for parameter, start, part in zip(
            self.parameters, self._start, displacement.split(sizes), strict=True
        ):
            parameter.copy_(start.double() + part.reshape(start.shape))


def flat(tensors: Sequence[Tensor]) -> Tensor:
    """All tensors as one vector in double precision."""
    return torch.cat([tensor.detach().flatten().double() for tensor in tensors])


@dataclass(frozen=True)
class NetworkProblem:
    """A network that is trained by SGD with momentum and stopped where its footpoint problems are posed.

    Attributes:
        name: Of the problem.
        model: A model's name.
        batch_size: Samples of a batch, in training and in the footpoint problems.
        lr: Of the training.
        stages: Training steps before the footpoint problems of each stage.
        data: From the folder of images, where there is one, to the data and their name.
        model_options: Of the model.
    """

    name: str
    model: str
    batch_size: int
    lr: float
    stages: tuple[int, ...]
    data: Callable[[Path | None], tuple[ImageData, str]]
    model_options: dict[str, Any] | None = None
    ground = None

    def stage_name(self, stage: int) -> str:
        """How a stage is called."""
        return f"{self.stages[stage]} steps"

    def data_name(self, images: Path | None) -> str:
        """How the data are called."""
        return self.data(images)[1]

    def steps(self, stage: int, seed: int, count: int, images: Path | None) -> Iterator[Step]:
        """Footpoint problems at consecutive steps of training, each on the batch that comes next."""
        data, _ = self.data(images)
        task = ImageTask("digits", self.model, batch_size=self.batch_size, model_options=self.model_options)
        problem = ImageProblem(task, data, seed, Settings(channels_last=True))
        optimizer = torch.optim.SGD(problem.parameters(), self.lr, momentum=0.9)
        for step in range(self.stages[stage] + count):
            problem.objective.next_step()
            if step >= self.stages[stage]:
                posed = Step(problem.parameters(), problem.objective)
                yield posed
                posed.move_to()
            optimizer.step(problem.objective)


@dataclass(frozen=True)
class Ground:
    """Where a landscape is searched for exact footpoints and offsets.

    Attributes:
        landscape: f.
        boxes: From the largest radius to the box that is searched and the spacing of its grid.
        period: Of f; centers are shifted by multiples of it into the box.
    """

    landscape: Landscape
    boxes: tuple[tuple[float, tuple[float, float], float], ...]
    period: float | None = None

    def footpoint(self, center: Array) -> Array:
        """Parameters of the point of the whole graph nearest to a center (θ, y), of shape `(d,)`.

        The boxes hold it, whatever `Footpoints.certain` can tell. Eq. 13 is periodic with |f| ≤ π²/6: within
        π of any θ it takes its extrema, so no nearest point is farther off than √(π²+(π²/3)²) < 4.6. The
        footpoints of Eq. 14 outside of the wells solve θ(1+2(f−y)) = a with f = ‖θ‖²; ‖θ‖ > 9 would ask for
        ‖a‖ > 1,000 where y < 25.
        """
        shift = self._shift(center[:-1])
        box = np.append(center[:-1] - shift, center[-1])
        return footpoint(self._graph(0.0), box[None]).points[0] + shift

    def offset(self, positions: Array, radius: float) -> Array:
        """f_ρ at positions of shape `(m, d)`, of shape `(m,)`; NaN where the ball would leave the box."""
        graph = self._graph(radius)
        places = positions - self._shift(positions)
        inside = np.isfinite(places).all(axis=-1)
        inside[inside] = graph.contains(places[inside], radius)
        values = np.full(len(places), np.nan)
        distinct, index = np.unique(places[inside], axis=0, return_inverse=True)
        if len(distinct):
            values[inside] = offset_graph(graph, distinct, radius).values[index.reshape(-1)]
        return values

    def _shift(self, positions: Array) -> Array:
        if self.period is None:
            return np.zeros_like(positions)
        return self.period * np.round(positions / self.period)

    def _graph(self, radius: float) -> Graph:
        box, spacing = next((box, spacing) for largest, box, spacing in self.boxes if radius <= largest)
        return _sampled(self.landscape, box, spacing)


@lru_cache(maxsize=4)
def _sampled(landscape: Landscape, box: tuple[float, float], spacing: float) -> Graph:
    return Graph(landscape, box, spacing)


@dataclass(frozen=True)
class LandscapeProblem:
    """Points of a landscape around three starts.

    Attributes:
        name: Of the problem.
        ground: The landscape, and where it is searched.
        stages: The starts.
    """

    name: str
    ground: Ground
    stages: tuple[tuple[float, ...], ...]

    def stage_name(self, stage: int) -> str:
        """How a stage is called."""
        start = ", ".join(f"{coordinate:g}" for coordinate in self.stages[stage])
        return f"from ({start})" if len(self.stages[stage]) > 1 else f"from {start}"

    def data_name(self, images: Path | None) -> str:
        """There are no data."""
        return ""

    def steps(self, stage: int, seed: int, count: int, images: Path | None) -> Iterator[Step]:
        """Footpoint problems at points drawn around the start."""
        generator = Streams(seed).numpy("init")
        start = np.array(self.stages[stage])
        for _ in range(count):
            point = torch.tensor(start + generator.uniform(-START_NOISE, START_NOISE, start.shape))
            yield Step([point], LandscapeClosure(self.ground.landscape, point))


@lru_cache(maxsize=1)
def _digits(images: Path | None) -> tuple[ImageData, str]:
    return load("digits", DataLocation()), "digits"


@lru_cache(maxsize=1)
def _small_images(images: Path | None) -> tuple[ImageData, str]:
    """The folder's images, or without one the digits, rescaled."""
    if images is not None:
        name = f"folder:{images.resolve()}"
        return load(name, DataLocation(), train_images=FOLDER_IMAGES, image_size=IMAGE_SIZE), images.name
    digits = load("digits", DataLocation())
    train, test = (
        functional.interpolate(part.float(), size=IMAGE_SIZE, mode="bilinear").round().to(torch.uint8)
        for part in (digits.train_images, digits.test_images)
    )
    name = f"digits rescaled to {IMAGE_SIZE}×{IMAGE_SIZE}"
    return ImageData(name, train, digits.train_labels, test, digits.test_labels, digits.classes), name


PROBLEMS: dict[str, NetworkProblem | LandscapeProblem] = {
    problem.name: problem
    for problem in (
        NetworkProblem("digits MLP", "mlp", 128, 0.05, (20, 300, 2000), _digits),
        NetworkProblem("ResNet-8", "resnet8", 32, 0.05, (20, 100, 400), _small_images, {"stem_stride": 2}),
        LandscapeProblem(
            "Eq. 13",
            Ground(
                Eq13(),
                (
                    (3.0, (-math.pi - 4.7, math.pi + 4.7), Eq13.spacing),
                    (10.0, (-math.pi - 10.1, math.pi + 10.1), Eq13.spacing),
                ),
                period=2.0 * math.pi,
            ),
            ((2.0,), (0.7,), (-1.0,)),
        ),
        LandscapeProblem(
            "Eq. 14",
            # A ball of radius 10 in this bowl rests on its rim, which needs no fine grid: its center is above
            # 80, and within the wells f + 10 is below 30.
            Ground(Eq14(), ((3.0, (-9.0, 9.0), 0.02), (10.0, (-40.0, 40.0), 0.1))),
            ((2.0, 0.0), (1.0, 1.0), (-0.5, 1.5)),
        ),
    )
}
"""Every problem by name."""
