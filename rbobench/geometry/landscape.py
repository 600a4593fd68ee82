"""Landscapes: explicit functions of few parameters, for batches of points.

A landscape maps points of shape `(..., d)` to values of shape `(...)`, in the points' dtype and on their
device. Nothing here synchronizes with the host, and values are differentiable to any order.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import ClassVar

import torch
from torch import Tensor

Domain = tuple[float, float]
"""A box of parameters, [low, high] in every coordinate."""


class Landscape(ABC):
    """A function to minimize.

    Attributes:
        name: Its registered name.
        description: One line.
        reference: Where the definition comes from.
        minimum: The global minimum's value; `None` where it is not known in closed form.
        domain: The box in which it is usually searched; `None` where it has no bounds.
        spacing: Of a grid that resolves its finest features; `None` where none does in double precision, or
            none can be held.
    """

    name: str
    description: str
    reference: str = ""
    minimum: ClassVar[float | None] = None
    domain: Domain | None = None
    spacing: float | None = None

    @property
    @abstractmethod
    def dimension(self) -> int:
        """Number of parameters, d."""

    @property
    @abstractmethod
    def start(self) -> tuple[float, ...]:
        """The default starting point."""

    @abstractmethod
    def value(self, points: Tensor) -> Tensor:
        """The function at `points` of shape `(..., d)`: a tensor of shape `(...)`."""

    def value_and_grad(self, points: Tensor) -> tuple[Tensor, Tensor]:
        """The function and its gradient at `points` of shape `(..., d)`, both detached.

        Returns:
            Values of shape `(...)` and gradients of shape `(..., d)`.
        """
        with torch.enable_grad():
            leaf = points.detach().requires_grad_()
            value = self.value(leaf)
            # Points are independent, so the sum's gradient is each point's own.
            (gradient,) = torch.autograd.grad(value.sum(), leaf)
        return value.detach(), gradient

    def hessian(self, points: Tensor) -> Tensor:
        """The second derivatives at `points` of shape `(..., d)`, of shape `(..., d, d)`, detached."""
        with torch.enable_grad():
            leaf = points.detach().requires_grad_()
            (gradient,) = torch.autograd.grad(self.value(leaf).sum(), leaf, create_graph=True)
            rows = [
                torch.autograd.grad(
                    gradient[..., row].sum(), leaf, retain_graph=True, materialize_grads=True
                )[0]
                if gradient.requires_grad
                else torch.zeros_like(points)  # a linear landscape
                for row in range(points.shape[-1])
            ]
        return torch.stack(rows, dim=-2).detach()


class Formula(Landscape):
    """A landscape from a formula in torch.

    Args:
        name: What to call it.
        formula: From points of shape `(..., d)` to values of shape `(...)`, differentiable twice.
        dimension: Number of parameters.
        domain: The box in which to search; `None` for none.
        spacing: Of a grid that resolves its finest features.

    Example:
        >>> parabola = Formula("parabola", lambda points: points.square().sum(dim=-1), domain=(-2.0, 2.0))
    """

    dimension: int = 1
    start: tuple[float, ...] = ()

    def __init__(
        self,
        name: str,
        formula: Callable[[Tensor], Tensor],
        *,
        dimension: int = 1,
        domain: Domain | None = None,
        spacing: float = 1e-2,
    ) -> None:
        self.name = self.description = name
        self.dimension = dimension
        self.domain = domain
        self.spacing = spacing
        self.start = (0.0,) * dimension
        self._formula = formula

    def value(self, points: Tensor) -> Tensor:
        """The function at `points` of shape `(..., d)`."""
        return self._formula(points)


class Scaled(Landscape):
    """λf, the landscape on whose graph a ball with a loss scale rolls.

    Args:
        landscape: f.
        scale: λ.
    """

    dimension: int = 1
    start: tuple[float, ...] = ()

    def __init__(self, landscape: Landscape, scale: float) -> None:
        self.name = self.description = f"{scale:g} × {landscape.name}"
        self.dimension = landscape.dimension
        self.start = landscape.start
        self.domain = landscape.domain
        self.spacing = landscape.spacing
        self._landscape = landscape
        self._scale = scale

    def value(self, points: Tensor) -> Tensor:
        """The function at `points` of shape `(..., d)`."""
        return self._scale * self._landscape.value(points)

    def value_and_grad(self, points: Tensor) -> tuple[Tensor, Tensor]:
        """The function and its gradient at `points` of shape `(..., d)`, both detached."""
        value, gradient = self._landscape.value_and_grad(points)
        return self._scale * value, self._scale * gradient


class LandscapeClosure:
    """A standard torch closure on a landscape, for one's own loop: one point, or a batch of points.

    Args:
        landscape: The function.
        points: The parameter, of shape `(*batch, d)`; an optimizer with `batch_dims = len(batch)` moves it.

    Attributes:
        landscape: The function, for optimizers that search it as a whole.
        calls: Evaluations so far.
    """

    def __init__(self, landscape: Landscape, points: Tensor) -> None:
        self.landscape = landscape
        self.calls = 0
        self._points = points

    def __call__(self) -> Tensor:
        """Leave the gradient in the parameter's `grad`; the losses, of shape `batch`, detached."""
        self.calls += 1
        value, self._points.grad = self.landscape.value_and_grad(self._points)
        return value
