"""The methods as one writes them in one's own loop: a parameter at a time, with stored copies.

The speed study times the optimizers against these. They follow the equations as they stand, and so are a
second implementation to compare with. Each has `step(closure)`; the closure clears the gradients,
evaluates, calls backward and returns the loss.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from rbobench.optim.tensors import Closure
from rbobench.tasks.augmentation import Augmentation, augment


class PlainRBO:
    """Algorithm 1 of arXiv 2505.19527 as it stands: a stored center, and descent on the distance to it.

    Args:
        parameters: To train.
        lr: η, the step of the center.
        radius: ρ.
        projection_steps: P.
        projection_lr: γ.
    """

    def __init__(
        self,
        parameters: Sequence[Tensor],
        lr: float,
        radius: float,
        projection_steps: int,
        projection_lr: float,
    ) -> None:
        self._parameters = list(parameters)
        self._lr = lr
        self._radius = radius
        self._projection_steps = projection_steps
        self._projection_lr = projection_lr

    def step(self, closure: Closure) -> Tensor:
        """Move the center (Eq. 6 and 7) and project it back (Eq. 8); the loss where the step began."""
        loss = closure()
        with torch.no_grad():
            gradients = _gradients(self._parameters)
            squared = _squared_norm(gradients)
            length = torch.sqrt(1.0 + squared)
            center = [
                p - self._radius * g / length - self._lr * g
                for p, g in zip(self._parameters, gradients, strict=True)
            ]
            height = loss + self._radius / length - self._lr * squared
            self._approach(center, height, loss)
        for _ in range(self._projection_steps - 1):
            value = closure()
            with torch.no_grad():
                self._approach(center, height, value)
        return loss

    def _approach(self, center: Sequence[Tensor], height: Tensor, value: Tensor) -> None:
        for p, a, g in zip(self._parameters, center, _gradients(self._parameters), strict=True):
            p -= self._projection_lr * ((p - a) + (value - height) * g)


class PlainSGD:
    """SGD with momentum.

    Args:
        parameters: To train.
        lr: The step size.
        momentum: Of the heavy ball.
    """

    def __init__(self, parameters: Sequence[Tensor], lr: float, momentum: float = 0.0) -> None:
        self._parameters = list(parameters)
        self._lr = lr
        self._momentum = momentum
        self._buffers: list[Tensor] | None = None

    def step(self, closure: Closure) -> Tensor:
        """Evaluate and descend; the loss where the step began."""
        loss: Tensor = closure()
        self.descend()
        return loss

    @torch.no_grad()
    def descend(self) -> None:
        """Descend by the gradients that are there."""
        gradients = _gradients(self._parameters)
        if self._momentum == 0.0:
            for p, g in zip(self._parameters, gradients, strict=True):
                p.sub_(g, alpha=self._lr)
            return
        if self._buffers is None:
            self._buffers = [torch.zeros_like(p) for p in self._parameters]
        for p, g, buffer in zip(self._parameters, gradients, self._buffers, strict=True):
            buffer.mul_(self._momentum).add_(g)
            p.sub_(buffer, alpha=self._lr)


class PlainSearch:
    """The center form that searches its contact: c ← c − η∇f(c+s), s ← φ(∇f(c+s)) from s = 0.

    Args:
        parameters: To train; the center's.
        lr: η.
        radius: ρ.
        contact_steps: k, the fixed-point steps.
        momentum: Of the descent.
    """

    def __init__(
        self,
        parameters: Sequence[Tensor],
        lr: float,
        radius: float,
        contact_steps: int = 1,
        momentum: float = 0.0,
    ) -> None:
        self._parameters = list(parameters)
        self._radius = radius
        self._contact_steps = contact_steps
        self._sgd = PlainSGD(parameters, lr, momentum)

    def step(self, closure: Closure) -> Tensor:
        """Look for the contact and descend by the gradient there; the loss at the center."""
        loss: Tensor = closure()
        center = [p.detach().clone() for p in self._parameters]
        for _ in range(self._contact_steps):
            with torch.no_grad():
                gradients = _gradients(self._parameters)
                length = self._radius / torch.sqrt(1.0 + _squared_norm(gradients))
                for p, c, g in zip(self._parameters, center, gradients, strict=True):
                    p.copy_(c + length * g)
            closure()
        with torch.no_grad():
            for p, c in zip(self._parameters, center, strict=True):
                p.copy_(c)
        self._sgd.descend()
        return loss


class PlainRemembered:
    """The center forms that take the contact from an earlier gradient: ±φ(g_{t−1}) or φ(g_{t−2}).

    Args:
        parameters: To train; the center's.
        lr: η.
        radius: ρ.
        contact: `"previous"`, `"mirrored"` or `"lagged"`.
        momentum: Of the descent.
    """

    def __init__(
        self,
        parameters: Sequence[Tensor],
        lr: float,
        radius: float,
        contact: Literal["previous", "mirrored", "lagged"],
        momentum: float = 0.0,
    ) -> None:
        self._parameters = list(parameters)
        self._radius = -radius if contact == "mirrored" else radius
        self._lagged = contact == "lagged"
        self._last: list[Tensor] | None = None
        self._older: list[Tensor] | None = None
        self._sgd = PlainSGD(parameters, lr, momentum)

    def step(self, closure: Closure) -> Tensor:
        """Evaluate at the contact and descend from the center; the loss at the contact."""
        remembered = self._older if self._lagged else self._last
        if remembered is None:
            loss: Tensor = closure()
        else:
            center = [p.detach().clone() for p in self._parameters]
            with torch.no_grad():
                length = self._radius / torch.sqrt(1.0 + _squared_norm(remembered))
                for p, g in zip(self._parameters, remembered, strict=True):
                    p += length * g
            loss = closure()
            with torch.no_grad():
                for p, c in zip(self._parameters, center, strict=True):
                    p.copy_(c)
        self._older = self._last
        self._last = [g.clone() for g in _gradients(self._parameters)]
        self._sgd.descend()
        return loss


def _gradients(parameters: Sequence[Tensor]) -> list[Tensor]:
    return [p.grad for p in parameters if p.grad is not None]


def _squared_norm(gradients: Sequence[Tensor]) -> Tensor:
    return torch.stack([g.square().sum() for g in gradients]).sum()


class PlainTraining:
    """A training loop on images in memory, as one writes it by hand with `torch.optim.SGD`.

    Args:
        model: In training mode.
        images: All training images, prepared, of shape (n, channels, height, width).
        labels: Of shape (n,).
        batch_size: Images of a batch; what fills none at the end of an epoch is left out.
        lr: Of SGD.
        momentum: Of SGD.
        augmentation: What is done to each batch.
        order: Shuffles each epoch.
        augment_generator: Draws the augmentation.
    """

    def __init__(
        self,
        model: nn.Module,
        images: Tensor,
        labels: Tensor,
        batch_size: int,
        *,
        lr: float,
        momentum: float,
        augmentation: Augmentation,
        order: torch.Generator,
        augment_generator: torch.Generator,
    ) -> None:
        self.model = model
        self.losses: list[float] = []
        self._images = images
        self._labels = labels
        self._batch_size = batch_size
        self._augmentation = augmentation
        self._order = order
        self._augment = augment_generator
        self._optimizer = torch.optim.SGD(model.parameters(), lr, momentum)
        self._shuffled = torch.empty(0, dtype=torch.int64)
        self._place = 0

    def train(self, steps: int) -> None:
        """Take `steps` steps, and note each one's loss."""
        for _ in range(steps):
            if self._place + self._batch_size > len(self._shuffled):
                self._shuffled = torch.randperm(len(self._images), generator=self._order)
                self._place = 0
            batch = self._shuffled[self._place : self._place + self._batch_size]
            self._place += self._batch_size
            images = augment(self._images[batch], self._augmentation, self._augment)
            self._optimizer.zero_grad()
            loss = functional.cross_entropy(self.model(images), self._labels[batch])
            loss.backward()
            self._optimizer.step()
            self.losses.append(loss.item())


def eq14(theta: np.ndarray, centers: np.ndarray, sigma: float) -> tuple[float, np.ndarray]:
    """The value and gradient of Eq. 14 at one point.

    Args:
        theta: Of shape (2,).
        centers: θ_k, of shape (1000, 2).
        sigma: σ.
    """
    d = theta - centers
    w = np.exp(-(d**2).sum(axis=1) / sigma**2)
    return theta @ theta - w.sum(), 2.0 * theta + 2.0 / sigma**2 * (w[:, None] * d).sum(axis=0)
