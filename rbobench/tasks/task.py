"""What the runner asks of a task, and what a task is told.

A task is a light description; `problem` builds the model, the data and the objective of one trial.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal, Protocol, runtime_checkable

import torch
from torch import Tensor, nn

from rbobench.objective import Objective


@dataclass(frozen=True)
class DataLocation:
    """Where data sets are kept.

    Args:
        root: Folder under which torchvision's data sets and relative image folders are found.
        download: Whether a missing data set may be fetched from the network.
    """

    root: Path = Path("data")
    download: bool = False


@dataclass(frozen=True)
class Settings:
    """What a problem is built under, beside its options and its seed.

    Args:
        device: Where everything lives.
        precision: `"fp32"`, or `"bf16"` for mixed precision by autocast.
        channels_last: Memory format of images and convolutions.
        compile: Whether the model goes through `torch.compile`.
        resamples: Whether the optimizer wants a fresh batch at every gradient evaluation.
        location: Where the data are.
    """

    device: torch.device = field(default_factory=lambda: torch.device("cpu"))
    precision: Literal["fp32", "bf16"] = "fp32"
    channels_last: bool = False
    compile: bool = False
    resamples: bool = False
    location: DataLocation = field(default_factory=DataLocation)


@dataclass(frozen=True)
class Manifest:
    """What a corruption did, to be stored beside the results.

    Args:
        kind: The corruption, e.g. `"symmetric label noise"`.
        part: The split it was applied to: `"train"` covers training and validation.
        nominal_rate: The rate that was asked for.
        realized_rate: The share of samples that were in fact changed.
        indices: Changed samples, as positions among the training images, ascending.
        details: Everything else that is needed to repeat it: new labels, patch size and place, target.
        data: Digest of the data set that it was applied to.
    """

    kind: str
    part: str
    nominal_rate: float
    realized_rate: float
    indices: tuple[int, ...]
    details: dict[str, Any]
    data: str | None = None

    @property
    def touched(self) -> tuple[int, ...]:
        """Samples that were changed in any way: of WaNet, also those whose label was left right."""
        return (*self.indices, *self.details.get("noise_indices", ()))

    def as_dict(self) -> dict[str, Any]:
        """As JSON-able data."""
        return asdict(self)


@runtime_checkable
class Problem(Protocol):
    """One trial's problem: weights, closure and measurements.

    Attributes:
        module: Holds all weights, the parameters to train among them, and the buffers.
        objective: The closure.
        samples_per_batch: Samples of one batch; 1 where the task has none.
        samples_per_epoch: Samples of one pass through the data; `None` where the task has none.
        has_validation: Whether `evaluate` reports `validation_accuracy`.
    """

    module: nn.Module
    objective: Objective
    samples_per_batch: int
    samples_per_epoch: int | None
    has_validation: bool

    def parameters(self) -> list[nn.Parameter]:
        """The parameters to train."""
        ...

    def evaluate(self) -> dict[str, float]:
        """Metrics at the present weights, one point of the curves. Leaves the weights alone."""
        ...

    def final(self) -> dict[str, Any]:
        """Metrics that are taken once, at the end: JSON-able, flat."""
        ...

    def test_correct(self) -> Tensor | None:
        """Which test samples are right at the present weights; `None` where there are none."""
        ...

    def reestimate_batch_norm(self) -> None:
        """Recompute BatchNorm running statistics from the training data; nothing where there are none."""
        ...

    def manifests(self) -> list[Manifest]:
        """What each corruption did to the data; empty where there are none."""
        ...

    def batch_order(self) -> Tensor | None:
        """Indices of the first epoch's batches in order, for checking that trials are paired."""
        ...


@runtime_checkable
class Task(Protocol):
    """A task with its options bound. Making one reads no data."""

    def data_digest(self, location: DataLocation) -> str | None:
        """A digest of the content of its data, `"sha256:..."`; `None` where it has none.

        Raises:
            UsageError: If the data are absent; the message says where they should be.
        """
        ...

    def problem(self, seed: int, settings: Settings) -> Problem:
        """Build the problem of one trial.

        Raises:
            UsageError: If the data are absent, or a corruption would change nothing.
        """
        ...
