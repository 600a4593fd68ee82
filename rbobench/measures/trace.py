"""The trace of the Hessian."""

from __future__ import annotations

import torch
from torch import Tensor

from rbobench.errors import UsageError
from rbobench.measures.hessian_operator import HessianOperator
from rbobench.measures.surface import Estimate, LossSurface

EXACT_DIMENSION = 1_000
"""Up to which each unit vector is tried."""


def trace(surface: LossSurface, generator: torch.Generator, products: int = 99) -> Estimate:
    """The trace of ∇²f(θ), by Hutch++ (Meyer et al., arXiv 2010.09649, Algorithm 1).

    A third of the products finds a subspace Q, a third its share of the trace, exactly, and a third samples
    what is left with random signs. It keeps two matrices of `products` / 3 vectors of all parameters. Where θ
    is small it takes unit vectors instead. (curvlinops's Hutch++ gives no error and draws from the default
    generator.)

    Args:
        surface: f and θ.
        generator: Draws the signs.
        products: Hessian-vector products, in threes, at least 6.

    Returns:
        The trace in loss units over squared parameter units. Its uncertainty is the standard error of the
        samples, given Q; 0 up to `EXACT_DIMENSION` parameters, where it is exact.

    Raises:
        UsageError: If `products` is no multiple of 3, or below 6.
    """
    if products < 6 or products % 3:
        raise UsageError(f"the trace takes a multiple of 3 products, at least 6, not {products}")
    before = surface.cost
    operator = HessianOperator(surface)
    if surface.dimension <= EXACT_DIMENSION:
        exact = sum(float((operator @ unit)[index]) for index, unit in enumerate(_units(operator)))
        return Estimate(exact, 0.0, surface.cost - before)
    samples = products // 3
    found = torch.linalg.qr(operator @ _signs(operator, samples, generator)).Q
    inside = sum(float(column @ (operator @ column)) for column in found.unbind(dim=1))
    rest = _signs(operator, samples, generator)
    rest -= found @ (found.T @ rest)
    outside = torch.stack([column @ (operator @ column) for column in rest.unbind(dim=1)]).double()
    return Estimate(
        inside + float(outside.mean()), float(outside.std() / samples**0.5), surface.cost - before
    )


def _units(operator: HessianOperator) -> Tensor:
    return torch.eye(operator.shape[0], dtype=operator.dtype, device=operator.device)


def _signs(operator: HessianOperator, count: int, generator: torch.Generator) -> Tensor:
    """Random signs, of shape (d, count)."""
    size = (operator.shape[0], count)
    drawn = torch.randint(0, 2, size, generator=generator, device=generator.device)
    return (2 * drawn - 1).to(operator.device, operator.dtype)
