"""Many trainings of one multilayer perceptron as a single tensor program.

A grid of hyperparameters times seeds on a small network is bound by Python, not by arithmetic. Here its
members stand along a leading dimension of every tensor, as a batch of problems (`batch_dims = 1`); each has
its seed's split, flipped labels, initial weights and batch order, the very ones of a single trial.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from rbobench.tasks.images import ImageTask
from rbobench.tasks.task import Settings

METRICS = ("validation_accuracy", "test_accuracy", "memorization")


class StackedPerceptrons:
    """Trainings of an `ImageTask` on an MLP, each seed `copies` times; calling it is a closure.

    Members are numbered seed by seed: member i has seed `seeds[i // copies]`.

    Args:
        task: Its model must be a chain of `Linear` and `ReLU`.
        seeds: Of the trials.
        copies: Members of each seed.

    Attributes:
        parameters: Weights `(members, out, in)` and biases `(members, out)`.
        losses: Of the last call on the whole batch, of shape `(members,)`.
    """

    def __init__(self, task: ImageTask, seeds: Sequence[int], copies: int) -> None:
        self._copies = copies
        self._problems = [task.problem(seed, Settings()) for seed in seeds]
        layers = [each for each in self._problems[0].module.children() if not isinstance(each, nn.Flatten)]
        if any(not isinstance(layer, nn.Linear | nn.ReLU) for layer in layers):
            raise ValueError(f"model {task.model!r} is no chain of Linear and ReLU")
        stacks = zip(*(problem.parameters() for problem in self._problems), strict=True)
        self.parameters = [
            nn.Parameter(torch.stack(list(each)).detach().repeat_interleave(copies, dim=0)) for each in stacks
        ]
        self._measured = [
            [self._flat(problem.prepared(problem.measured.images)) for problem in self._problems],
            [problem.measured for problem in self._problems],
        ]
        self.losses: Tensor | None = None

    def next_step(self) -> None:
        """Draw each seed's next batch."""
        drawn = [problem.draw() for problem in self._problems]
        images = torch.stack([self._flat(images) for images, _ in drawn])
        self._images = images.repeat_interleave(self._copies, dim=0)
        self._labels = torch.stack([labels for _, labels in drawn]).repeat_interleave(self._copies, dim=0)

    def __call__(self) -> Tensor:
        """Clear the gradients, evaluate on the whole batch, go backward; one loss a member."""
        self.losses = self._evaluate(self._images, self._labels)
        return self.losses

    def part(self, fraction: float) -> Callable[[], Tensor]:
        """A closure on the first samples of each batch."""

        def closure() -> Tensor:
            taken = max(1, round(fraction * self._labels.shape[1]))
            return self._evaluate(self._images[:, :taken], self._labels[:, :taken])

        return closure

    @torch.no_grad()
    def measure(self) -> dict[str, np.ndarray]:
        """Each of `METRICS` by member; memorization is NaN where no label was flipped."""
        rows: dict[str, list[Tensor]] = {name: [] for name in METRICS}
        for index, (images, measured) in enumerate(zip(*self._measured, strict=True)):
            members = slice(index * self._copies, (index + 1) * self._copies)
            weights = [parameter[members] for parameter in self.parameters]
            guesses = self._logits(images.expand(self._copies, -1, -1), weights).argmax(dim=-1)
            parts = dict(
                zip(measured.parts, guesses.split(list(measured.parts.values()), dim=1), strict=True)
            )
            for name, part in (("validation_accuracy", "validation"), ("test_accuracy", "test")):
                rows[name].append((parts[part] == measured.labels[part]).float().mean(dim=1))
            if "flipped" in parts:
                flipped = (parts["flipped"] == measured.labels["flipped"]).float().mean(dim=1)
            else:
                flipped = torch.full((self._copies,), torch.nan)
            rows["memorization"].append(flipped)
        return {name: torch.cat(values).numpy() for name, values in rows.items()}

    def _evaluate(self, images: Tensor, labels: Tensor) -> Tensor:
        for parameter in self.parameters:
            parameter.grad = None
        with torch.enable_grad():
            logits = self._logits(images, self.parameters).flatten(end_dim=1)
            losses = functional.cross_entropy(logits, labels.flatten(), reduction="none")
            losses = losses.reshape(labels.shape).mean(dim=1)
            losses.sum().backward()
        return losses.detach()

    @staticmethod
    def _flat(images: Tensor) -> Tensor:
        return images.flatten(start_dim=1)

    @staticmethod
    def _logits(images: Tensor, parameters: Sequence[Tensor]) -> Tensor:
        pairs = list(zip(parameters[::2], parameters[1::2], strict=True))
        for index, (weight, bias) in enumerate(pairs):
            images = torch.baddbmm(bias.unsqueeze(1), images, weight.transpose(1, 2))
            if index < len(pairs) - 1:
                images = images.relu()
        return images
