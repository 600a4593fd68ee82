"""Landscapes as tasks: one point to roll downhill, under the same protocol as a network."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor, nn

from rbobench.errors import UsageError
from rbobench.geometry.landscape import Landscape
from rbobench.objective import Objective
from rbobench.randomness import Streams
from rbobench.registry import TaskInfo, register_task
from rbobench.tasks.landscapes import (
    Eq13,
    Eq14,
    Rastrigin,
    Rosenbrock,
    Sine,
    Weierstrass,
    Whitley,
)
from rbobench.tasks.task import DataLocation, Manifest, Settings

START_NOISE = 0.1
"""The paper's Figure 4 starts that far around its starting point; here it makes seeds replicates."""

Dtype = Literal["float32", "float64"]


@dataclass(frozen=True)
class LandscapeTask:
    """Minimize a landscape from a starting point drawn around a given one.

    Args:
        landscape: The function.
        start: Where to start, one coordinate for each dimension; `None` is the landscape's own start.
        start_noise: Half the side of the cube around `start` from which the starting point is drawn,
            uniformly, by the seed's `init` stream; 0 starts at `start` itself under every seed.
        dtype: Dtype of the point and of everything computed from it.

    Raises:
        UsageError: If `start` has the wrong length or is not finite, or `start_noise` is negative or not
            finite.
    """

    landscape: Landscape
    start: tuple[float, ...] | None = None
    start_noise: float = START_NOISE
    dtype: Dtype = "float64"

    def __post_init__(self) -> None:
        owner, dimension = f"landscape {self.landscape.name!r}", self.landscape.dimension
        if self.start is not None and len(self.start) != dimension:
            coordinates = "coordinate" if dimension == 1 else "coordinates"
            raise UsageError(f"{owner}: start must have {dimension} {coordinates}, not {len(self.start)}")
        if self.start is not None and not all(map(math.isfinite, self.start)):
            raise UsageError(f"{owner}: start must be finite, not {self.start}")
        if not (math.isfinite(self.start_noise) and self.start_noise >= 0.0):
            raise UsageError(f"{owner}: start_noise must be finite and not negative, not {self.start_noise}")

    def data_digest(self, location: DataLocation) -> str | None:
        """`None`: a landscape has no data."""
        return None

    def problem(self, seed: int, settings: Settings) -> LandscapeProblem:
        """Draw the starting point and build the problem.

        Raises:
            UsageError: If `settings` ask for mixed precision, or the device has no such dtype.
        """
        owner = f"landscape {self.landscape.name!r}"
        if settings.precision != "fp32":
            raise UsageError(
                f"{owner}: precision {settings.precision!r} is for networks; "
                "a landscape runs in its option 'dtype'"
            )
        if settings.device.type == "mps" and self.dtype == "float64":
            raise UsageError(f"{owner}: device 'mps' has no float64; set the option 'dtype' to 'float32'")
        center = np.array(self.landscape.start if self.start is None else self.start)
        noise = Streams(seed).numpy("init").uniform(-self.start_noise, self.start_noise, center.shape)
        start = torch.tensor(center + noise, dtype=getattr(torch, self.dtype), device=settings.device)
        return LandscapeProblem(self.landscape, start, resamples=settings.resamples)


class Point(nn.Module):
    """A model whose only parameter, `point`, is where it stands."""

    def __init__(self, start: Tensor) -> None:
        super().__init__()
        self.point = nn.Parameter(start.clone())


class LandscapeProblem:
    """One trial on a landscape; implements `rbobench.tasks.task.Problem`.

    Args:
        landscape: The function.
        start: The starting point, of shape `(d,)`; its dtype and device are the problem's.
        resamples: As of `Objective`; on a landscape every batch is the same.
    """

    samples_per_batch = 1
    samples_per_epoch: int | None = None
    has_validation = False

    def __init__(self, landscape: Landscape, start: Tensor, *, resamples: bool = False) -> None:
        self.landscape = landscape
        self._point = Point(start)
        self.module: nn.Module = self._point
        self._start = start
        self.objective = Objective(
            self.parameters(),
            draw=lambda: None,
            loss=lambda _: landscape.value(self._point.point),
            value_and_grad=self._value_and_grad,
            landscape=landscape,
            resamples=resamples,
            device=start.device,
        )

    def parameters(self) -> list[nn.Parameter]:
        """The point."""
        return [self._point.point]

    @torch.no_grad()
    def evaluate(self) -> dict[str, float]:
        """`loss`, `distance` from the starting point and `gradient_norm` at the present point, uncounted."""
        loss, gradient = self.landscape.value_and_grad(self._point.point)
        distance = torch.linalg.vector_norm(self._point.point - self._start)
        metrics = {"loss": loss, "distance": distance, "gradient_norm": torch.linalg.vector_norm(gradient)}
        return dict(zip(metrics, torch.stack(list(metrics.values())).tolist(), strict=True))

    def final(self) -> dict[str, Any]:
        """Nothing: the curve says it all."""
        return {}

    def test_correct(self) -> Tensor | None:
        """`None`: there are no test samples."""
        return None

    def reestimate_batch_norm(self) -> None:
        """Nothing: there are no running statistics."""

    def manifests(self) -> list[Manifest]:
        """Nothing: no data to corrupt."""
        return []

    def batch_order(self) -> Tensor | None:
        """`None`: there are no batches."""
        return None

    def _value_and_grad(self, _: None) -> tuple[Tensor, list[Tensor]]:
        value, gradient = self.landscape.value_and_grad(self._point.point)
        return value, [gradient]


def register() -> None:
    """Register every landscape as a task."""
    for landscape in (Sine(), Eq13(), Eq14()):
        _register(landscape, _task_on(landscape), start=landscape.start)
    for family in (Weierstrass, Whitley, Rastrigin, Rosenbrock):
        _register(family(), _task_in_any_dimension(family))


def _register(landscape: Landscape, factory: Callable[..., LandscapeTask], **defaults: Any) -> None:
    register_task(
        TaskInfo(
            name=landscape.name,
            factory=factory,
            description=landscape.description,
            kind="landscape",
            reference=landscape.reference,
            defaults=defaults,
        )
    )


def _task_on(landscape: Landscape) -> Callable[..., LandscapeTask]:
    def create(
        start: tuple[float, ...] | None = None, start_noise: float = START_NOISE, dtype: Dtype = "float64"
    ) -> LandscapeTask:
        return LandscapeTask(landscape, start, start_noise, dtype)

    return create


def _task_in_any_dimension(family: Callable[[int], Landscape]) -> Callable[..., LandscapeTask]:
    def create(
        dimension: int = 2,
        start: tuple[float, ...] | None = None,
        start_noise: float = START_NOISE,
        dtype: Dtype = "float64",
    ) -> LandscapeTask:
        return LandscapeTask(family(dimension), start, start_noise, dtype)

    return create
