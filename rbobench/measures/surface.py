"""The loss on a stored subset as a function of the parameters: what every measure of sharpness looks at."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.attention import SDPBackend, sdpa_kernel

from rbobench.optim.perturbation import perturbed

Part = Callable[[], Tensor]


@dataclass(frozen=True)
class Cost:
    """What a measure has evaluated; each counts the whole subset once.

    Attributes:
        gradient_evaluations: Gradients.
        forward_evaluations: Losses without a gradient.
        hessian_vector_products: Hessian-vector products.
    """

    gradient_evaluations: float = 0.0
    forward_evaluations: float = 0.0
    hessian_vector_products: float = 0.0

    def __sub__(self, earlier: Cost) -> Cost:
        return Cost(
            self.gradient_evaluations - earlier.gradient_evaluations,
            self.forward_evaluations - earlier.forward_evaluations,
            self.hessian_vector_products - earlier.hessian_vector_products,
        )


class LossSurface:
    """f(θ), a sum of parts, with everything but θ held fixed; counts what is evaluated.

    Args:
        parameters: θ, changed in place while something is measured and put back by copy.
        parts: Losses on parts of the subset, whose sum is f. Whoever makes them sees to it that they are
            functions of θ alone: evaluation mode, single precision or better, no augmentation.
        shares: The part of the samples that each holds, summing to 1; equal by default. For the spread of
            the samples.

    Attributes:
        parameters: θ.
        cost: What has been evaluated so far.
    """

    def __init__(
        self, parameters: Sequence[Tensor], parts: Sequence[Part], shares: Sequence[float] | None = None
    ) -> None:
        self.parameters = list(parameters)
        self._parts = list(parts)
        self.shares = [1.0 / len(self._parts)] * len(self._parts) if shares is None else list(shares)
        self.cost = Cost()

    @property
    def dimension(self) -> int:
        """How many numbers θ has."""
        return sum(parameter.numel() for parameter in self.parameters)

    @torch.no_grad()
    def values(self) -> Tensor:
        """The parts of f, of shape (parts,), in double precision."""
        self._count(forward=1.0)
        return torch.stack([part().double() for part in self._parts])

    def value(self) -> float:
        """f(θ)."""
        return float(self.values().sum())

    def gradient(self) -> tuple[Tensor, list[Tensor]]:
        """The parts of f, of shape (parts,), in double precision, and ∇f, zeros where f sees no parameter.

        The parameters' own `grad` is left alone.
        """
        self._count(gradient=1.0)
        total = [torch.zeros_like(parameter) for parameter in self.parameters]
        values = []
        for part in self._parts:
            with torch.enable_grad():
                loss = part()
                gradients = torch.autograd.grad(loss, self.parameters, allow_unused=True)
            values.append(loss.detach().double())
            for sum_, gradient in zip(total, gradients, strict=True):
                if gradient is not None:
                    sum_.add_(gradient)
        return torch.stack(values), total

    def hessian_vector_product(self, vectors: Sequence[Tensor]) -> list[Tensor]:
        """∇²f times `vectors`, one for each parameter."""
        self._count(products=1.0)
        total = [torch.zeros_like(parameter) for parameter in self.parameters]
        # The default attention kernel has no second derivative on a CPU.
        with torch.enable_grad(), sdpa_kernel(SDPBackend.MATH):
            for part in self._parts:
                gradients = torch.autograd.grad(
                    part(), self.parameters, create_graph=True, allow_unused=True, materialize_grads=True
                )
                curved = [
                    (gradient, vector)
                    for gradient, vector in zip(gradients, vectors, strict=True)
                    if gradient.requires_grad
                ]
                if not curved:  # f is linear
                    continue
                products = torch.autograd.grad(
                    [gradient for gradient, _ in curved],
                    self.parameters,
                    [vector for _, vector in curved],
                    allow_unused=True,
                )
                for sum_, product in zip(total, products, strict=True):
                    if product is not None:
                        sum_.add_(product)
        return total

    def displaced(self, displacement: Sequence[Tensor]) -> AbstractContextManager[object]:
        """Inside the block θ is displaced; it is put back by copy."""
        return perturbed(self.parameters, displacement)

    def standard_error(self, parts: Tensor) -> float:
        """Of a sum over the parts, as an estimate for samples that were not drawn; NaN below two parts.

        Args:
            parts: What each contributes to the sum, of shape (parts,).
        """
        shares = torch.tensor(self.shares, dtype=torch.float64, device=parts.device)
        if len(shares) < 2:
            return float("nan")
        means = parts.double() / shares  # each an estimate of the sum
        deviations = shares * (means - parts.double().sum())
        return float((deviations.square().sum() * len(shares) / (len(shares) - 1)).sqrt())

    def _count(self, gradient: float = 0.0, forward: float = 0.0, products: float = 0.0) -> None:
        self.cost = Cost(
            self.cost.gradient_evaluations + gradient,
            self.cost.forward_evaluations + forward,
            self.cost.hessian_vector_products + products,
        )


@dataclass(frozen=True)
class Estimate:
    """A number, how sure it is, and what it cost.

    Attributes:
        value: The estimate.
        uncertainty: Its standard error, residual or spread, as the measure says; NaN where there is none.
        cost: What it took.
    """

    value: float
    uncertainty: float
    cost: Cost
