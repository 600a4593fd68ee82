"""The largest value of a quadratic in a Euclidean ball, in few dimensions."""

from __future__ import annotations

import torch
from torch import Tensor

BISECTIONS = 200
"""Halvings of the multiplier's bracket; double precision is spent well before."""


def maximize_in_ball(gradient: Tensor, hessian: Tensor, radius: float) -> Tensor:
    """The maximizer of g·y + y·Hy/2 over ‖y‖ ≤ ρ, for any symmetric H: the trust-region subproblem.

    It satisfies (μI − H)y = g with μ ≥ max(0, λmax) and μ(ρ − ‖y‖) = 0 (Moré & Sorensen 1983, Lemmas 2.1 and
    2.3); ‖y‖ falls in μ, which is found by bisection. Where g has nothing along the top eigenvector and even
    μ = λmax leaves room (the hard case), that eigenvector fills it.

    Args:
        gradient: g, of shape (d,), in double precision.
        hessian: H, of shape (d, d), in double precision.
        radius: ρ.

    Returns:
        y, of shape (d,).
    """
    eigenvalues, vectors = torch.linalg.eigh(hessian)
    coefficients = vectors.T @ gradient
    # μ = max(0, λmax) + excess: their sum would lose what a small excess has beside a large λmax.
    gaps = eigenvalues[-1].clamp_min(0.0) - eigenvalues

    def length(excess: float) -> float:
        return float(torch.linalg.vector_norm(_over(coefficients, gaps + excess)))

    low, high = 0.0, float(torch.linalg.vector_norm(gradient)) / radius
    for _ in range(BISECTIONS):
        middle = 0.5 * (low + high)
        if length(middle) > radius:
            low = middle
        else:
            high = middle
    solution = _over(coefficients, gaps + high)
    room = radius**2 - float(solution.square().sum())
    if eigenvalues[-1] > 0.0 and room > 0.0:
        top = solution[-1].abs()
        others = solution[:-1].square().sum()
        top = (radius**2 - others).clamp_min(top.square()).sqrt()
        solution[-1] = torch.where(coefficients[-1] < 0.0, -top, top)
    return vectors @ solution


def _over(numerator: Tensor, denominator: Tensor) -> Tensor:
    """The quotient, and 0 for 0/0."""
    return torch.where(numerator == 0.0, torch.zeros_like(numerator), numerator / denominator)
