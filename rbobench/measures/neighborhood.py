"""The ball around θ that worst-case and average-case sharpness look at: plain or scaled by |θ|, ℓ2 or ℓ∞."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Literal, get_args

import torch
from torch import Tensor

from rbobench.errors import UsageError, unknown

Norm = Literal["l2", "linf"]
"""Of a displacement."""


def flat(tensors: Sequence[Tensor]) -> Tensor:
    """All tensors as one vector of shape (d,)."""
    return torch.cat([tensor.detach().flatten() for tensor in tensors])


def shaped(vector: Tensor, parameters: Sequence[Tensor]) -> list[Tensor]:
    """A vector of shape (d,) as one tensor for each parameter."""
    parts = vector.split([parameter.numel() for parameter in parameters])
    return [part.view_as(parameter) for part, parameter in zip(parts, parameters, strict=True)]


def scales(parameters: Sequence[Tensor], adaptive: bool) -> Tensor:
    """The length of each of the ball's axes at radius 1, of shape (d,): |θ| where `adaptive`, else 1.

    An adaptive ball leaves parameters alone that are zero.
    """
    theta = flat(parameters)
    return theta.abs() if adaptive else torch.ones_like(theta)


def normal(vector: Tensor, generator: torch.Generator) -> Tensor:
    """Independent standard normal entries, of a vector's shape, dtype and device."""
    drawn = torch.randn(vector.shape, generator=generator, dtype=vector.dtype, device=generator.device)
    return drawn.to(vector.device)


def check(norm: str, radius: float) -> None:
    """See that there is such a ball.

    Raises:
        UsageError: If nobody knows the norm, or the radius is not positive and finite.
    """
    if norm not in get_args(Norm):
        raise unknown("norm", norm, get_args(Norm))
    if not (radius > 0.0 and math.isfinite(radius)):
        raise UsageError(f"radius must be positive and finite, not {radius}")


def uniform(vector: Tensor, generator: torch.Generator) -> Tensor:
    """Independent entries, uniform in [−1, 1), of a vector's shape, dtype and device."""
    drawn = torch.rand(vector.shape, generator=generator, dtype=vector.dtype, device=generator.device)
    return (2.0 * drawn - 1.0).to(vector.device)
