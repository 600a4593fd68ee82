"""One step's loss as a function of the parameters: replayable and counted.

The closure that the runner passes to every optimizer. It is a standard torch closure (clear the gradients,
evaluate, backward, return the loss); what it adds is that every call within one step sees the same function.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from rbobench.geometry.landscape import Landscape
from rbobench.randomness import default_generators

Batch = Any
"""Whatever `draw` returns: a tuple of tensors with the samples in front, or `None` where there are none."""


class Objective:
    """The loss of the present step as a closure.

    Within one step (from one `next_step()` to the next) it is one fixed function of the parameters: the same
    batch, augmentation and dropout mask at every call. The default generators' states are swapped in and out
    around each call. BatchNorm running statistics move once a step, at the first call on the whole batch.

    Args:
        parameters: What the gradient is taken of.
        draw: Draws the next batch, augmented already.
        loss: From a batch to the loss, a scalar, or a tensor of shape `batch_dims` for a batch of problems.
        value_and_grad: A hand-written gradient instead of autograd: from a batch to the loss and one gradient
            for each parameter.
        landscape: The loss as an explicit function of the one parameter, for methods that search it as a
            whole; kept as an attribute.
        module: Its BatchNorm layers are the ones meant above; `None` where there are none.
        resamples: Draw a fresh batch at every gradient evaluation instead (Entropy-SGD's inner loop).
        seed: For what the model draws while it is evaluated (dropout).
        device: Where the model is.

    Attributes:
        gradient_evaluations: Whole-batch gradients so far; one on part of a batch counts by its share.
        forward_evaluations: Losses without a gradient so far.
        hessian_vector_products: Hessian-vector products so far.
        samples_drawn: Samples of the batches drawn so far.
        samples_evaluated: Samples whose gradient was taken so far.
        gradient_seconds: What the gradients so far took; `None` off the CPU, where the host does not wait.
    """

    def __init__(
        self,
        parameters: Sequence[Tensor],
        draw: Callable[[], Batch],
        loss: Callable[[Batch], Tensor],
        *,
        value_and_grad: Callable[[Batch], tuple[Tensor, Sequence[Tensor]]] | None = None,
        landscape: Landscape | None = None,
        module: nn.Module | None = None,
        resamples: bool = False,
        seed: int = 0,
        device: torch.device | str = "cpu",
    ) -> None:
        self._parameters = list(parameters)
        self._draw = draw
        self._loss = loss
        self._value_and_grad = value_and_grad
        self.landscape = landscape
        modules = [] if module is None else module.modules()
        self._batch_norms = [
            layer for layer in modules if isinstance(layer, _BatchNorm) and layer.track_running_stats
        ]
        self._resamples = resamples
        self._generators = default_generators(torch.device(device))
        self._noise = [
            torch.Generator(device=generator.device).manual_seed(seed).get_state()
            for generator in self._generators
        ]
        self._noise_after: list[Tensor] | None = None
        self._batch: Batch = None
        self._drawn_ahead = False
        self._calls = 0
        self.gradient_evaluations = 0.0
        self.forward_evaluations = 0.0
        self.hessian_vector_products = 0.0
        self.samples_drawn = 0
        self.samples_evaluated = 0
        self.gradient_seconds: float | None = 0.0 if torch.device(device).type == "cpu" else None

    def next_step(self) -> None:
        """Draw the batch of the next step and go on in the random stream of the model."""
        if not self._drawn_ahead:
            self._draw_batch()
        self._drawn_ahead = False
        self._calls = 0
        if self._noise_after is not None:
            self._noise, self._noise_after = self._noise_after, None

    def __call__(self) -> Tensor:
        """Evaluate the loss and leave its gradient in the parameters' `grad`.

        Returns:
            The loss, detached.
        """
        if self._resamples and self._calls > 0:
            self.next_step()
            self._calls = 1  # a fresh batch, but still the same step
        return self._counted(self._batch, 1.0, moves_statistics=self._calls_once())

    def part(self, fraction: float) -> Callable[[], Tensor]:
        """A closure on the first samples of this step's batch, for methods that look around on a part of it.

        A call counts as the share of the samples it takes, and leaves BatchNorm statistics alone.

        Args:
            fraction: In (0, 1]; at least one sample is taken.

        Raises:
            ValueError: If `fraction` is out of range.
        """
        if not 0.0 < fraction <= 1.0:
            raise ValueError(f"fraction must be in (0, 1], not {fraction}")

        def closure() -> Tensor:
            size = batch_size(self._batch)
            taken = max(1, round(fraction * size))
            batch = tuple(tensor[:taken] for tensor in self._batch) if size > 1 else self._batch
            return self._counted(batch, taken / size, moves_statistics=False)

        return closure

    @torch.no_grad()
    def value(self) -> Tensor:
        """The loss of this step's batch without its gradient, counted as a forward evaluation."""
        self.forward_evaluations += 1.0
        with self._same_noise(), self._statistics(moving=False):
            return self._loss(self._batch)

    def hessian_vector_product(self, vectors: Sequence[Tensor]) -> tuple[Tensor, ...]:
        """The Hessian of this step's loss times `vectors`, one for each parameter, counted."""
        self.hessian_vector_products += 1.0
        with torch.enable_grad(), self._same_noise(), self._statistics(moving=False):
            gradients = torch.autograd.grad(
                self._loss(self._batch).sum(), self._parameters, create_graph=True
            )
            return torch.autograd.grad(gradients, self._parameters, list(vectors), allow_unused=True)

    def warm_up(self) -> None:
        """Evaluate once on the first batch, uncounted and without a trace in the model.

        For what only the first call pays: compilation, kernel selection, allocation.
        """
        if not self._drawn_ahead:
            self._draw_batch()
            self._drawn_ahead = True
        buffers = [tensor for layer in self._batch_norms for tensor in layer.buffers()]
        before = [buffer.clone() for buffer in buffers]
        self._evaluate(self._batch, moves_statistics=True)
        self._evaluate(self._batch, moves_statistics=False)  # compiled apart from the first
        for buffer, old in zip(buffers, before, strict=True):
            buffer.copy_(old)
        for parameter in self._parameters:
            parameter.grad = None
        self._noise_after = None

    def _draw_batch(self) -> None:
        self._batch = self._draw()
        self.samples_drawn += batch_size(self._batch)

    def _calls_once(self) -> bool:
        self._calls += 1
        return self._calls == 1

    def _counted(self, batch: Batch, share: float, *, moves_statistics: bool) -> Tensor:
        self.gradient_evaluations += share
        self.samples_evaluated += batch_size(batch)
        if self.gradient_seconds is None:
            return self._evaluate(batch, moves_statistics=moves_statistics)
        began = time.perf_counter()
        loss = self._evaluate(batch, moves_statistics=moves_statistics)
        self.gradient_seconds += time.perf_counter() - began
        return loss

    def _evaluate(self, batch: Batch, *, moves_statistics: bool) -> Tensor:
        if self._value_and_grad is not None:
            loss, gradients = self._value_and_grad(batch)
            for parameter, gradient in zip(self._parameters, gradients, strict=True):
                parameter.grad = gradient
            return loss
        for parameter in self._parameters:
            parameter.grad = None
        with torch.enable_grad(), self._same_noise(), self._statistics(moving=moves_statistics):
            loss = self._loss(batch)
            (loss.sum() if loss.ndim else loss).backward()
        return loss.detach()

    @contextmanager
    def _same_noise(self) -> Iterator[None]:
        """Give the model this step's random state, and the caller its own back."""
        outside = [generator.get_state() for generator in self._generators]
        for generator, state in zip(self._generators, self._noise, strict=True):
            generator.set_state(state)
        try:
            yield
        finally:
            if self._noise_after is None:
                self._noise_after = [generator.get_state() for generator in self._generators]
            for generator, state in zip(self._generators, outside, strict=True):
                generator.set_state(state)

    @contextmanager
    def _statistics(self, *, moving: bool) -> Iterator[None]:
        """Let BatchNorm normalize by the batch and, unless `moving`, leave its running statistics alone."""
        if moving or not self._batch_norms:
            yield
            return
        for layer in self._batch_norms:
            layer.track_running_stats = False
        try:
            yield
        finally:
            for layer in self._batch_norms:
                layer.track_running_stats = True


def batch_size(batch: Batch) -> int:
    """Samples in a batch; 1 where the task has no samples."""
    return 1 if batch is None else len(batch[0])
