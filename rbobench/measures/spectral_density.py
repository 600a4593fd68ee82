"""The density of the Hessian's eigenvalues."""

from __future__ import annotations

import math
import warnings
from dataclasses import dataclass

import numpy as np
import torch
from scipy.linalg import eigh_tridiagonal
from torch import Tensor

from rbobench.errors import UsageError
from rbobench.measures.hessian_operator import HessianOperator
from rbobench.measures.surface import Cost, LossSurface

KAPPA, MARGIN = 3.0, 0.05
"""Width of the Gaussians, and what the grid adds at both ends relative to the spectrum (Papyan, D.2)."""

NEGLIGIBLE = 0.01
"""Relative to the largest magnitude: an eigenvalue above the negative of that does not count as negative."""


@dataclass(frozen=True)
class SpectralDensity:
    """p(λ) = 1/d Σ δ(λ − λᵢ), smoothed.

    Attributes:
        value: The mean eigenvalue, tr H / d, in loss units over squared parameter units.
        uncertainty: Its standard error over the starting vectors, rough as these are few; NaN with one.
        cost: What it took.
        root_mean_square: √(Σ λᵢ² / d), in the same units.
        negative: The share of eigenvalues below −1 % of the largest magnitude.
        grid: λ, ascending, evenly spaced.
        density: p there; its integral is 1.
    """

    value: float
    uncertainty: float
    cost: Cost
    root_mean_square: float
    negative: float
    grid: tuple[float, ...]
    density: tuple[float, ...]


def spectral_density(
    surface: LossSurface, generator: torch.Generator, steps: int = 32, starts: int = 4, points: int = 512
) -> SpectralDensity:
    """The spectral density of ∇²f(θ) by Lanczos quadrature (Papyan, JMLR 21, 2020, Algorithm 2).

    The nodes become Gaussians (by curvlinops) whose standard deviation is 0.34 / (`steps` − 1) of the
    spectrum's width: what the density shows below that is smoothing. The moments are those of the nodes,
    without it.

    Args:
        surface: f and θ.
        generator: Draws the starting vectors.
        steps: Lanczos steps from each, at least 2.
        starts: Starting vectors that the density is averaged over, at least 1.
        points: Of the grid, at least 2.

    Raises:
        UsageError: If an argument is below its least.
    """
    # It imports much that nobody else needs, and what it imports warns of itself.
    with warnings.catch_warnings(action="ignore", category=FutureWarning):
        from curvlinops.papyan2020traces.spectrum import lanczos_approximate_spectrum_from_iter

    for name, given, least in (("steps", steps, 2), ("starts", starts, 1), ("points", points, 2)):
        if given < least:
            raise UsageError(f"the spectral density takes at least {least} {name}, not {given}")
    before = surface.cost
    operator = HessianOperator(surface)
    runs = [_quadrature(operator, steps, generator) for _ in range(starts)]
    nodes, weights = torch.stack([each for each, _ in runs]), torch.stack([each for _, each in runs])
    cost = surface.cost - before
    if not nodes.isfinite().all():
        return SpectralDensity(math.nan, math.nan, cost, math.nan, math.nan, (), ())
    means = (weights * nodes).sum(dim=1)
    magnitude = float(nodes.abs().max())
    low, high = float(nodes.min()), float(nodes.max())
    if high - low <= 1e-6 * magnitude or magnitude == 0.0:  # one eigenvalue: a width to draw it with
        low, high = low - (magnitude or 1.0), high + (magnitude or 1.0)
    densities = []
    for each, weight in zip(nodes, weights, strict=True):
        # Of the vectors only the first components are looked at, squared.
        decomposition = each, weight.sqrt().unsqueeze(0)
        grid, density = lanczos_approximate_spectrum_from_iter(
            decomposition, (low, high), num_points=points, kappa=KAPPA, margin=MARGIN
        )
        densities.append(density)
    return SpectralDensity(
        value=float(means.mean()),
        uncertainty=float(means.std() / starts**0.5) if starts > 1 else math.nan,
        cost=cost,
        root_mean_square=float((weights * nodes.square()).sum(dim=1).mean().sqrt()),
        negative=float((weights * (nodes < -NEGLIGIBLE * magnitude)).sum(dim=1).mean()),
        grid=tuple(grid.tolist()),
        density=tuple(torch.stack(densities).mean(dim=0).tolist()),
    )


def _quadrature(operator: HessianOperator, steps: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """Nodes and weights of a Lanczos quadrature, of shape (steps,), in double precision on the CPU.

    Without reorthogonalization: copies of a node share its weight. (That of curvlinops draws from the default
    generator and divides by zero where the Krylov space ends, as a linear f has it do at once.)
    """
    vector = operator.normal(generator)
    vector /= vector.norm()
    previous = torch.zeros_like(vector)
    diagonal: list[float] = []
    beside: list[float] = []
    for _ in range(min(steps, operator.shape[0])):
        product = operator @ vector
        if beside:
            product -= beside[-1] * previous
        diagonal.append(float(product @ vector))
        product -= diagonal[-1] * vector
        beside.append(float(product.norm()))
        if not 0.0 < beside[-1] < math.inf:
            break
        previous, vector = vector, product / beside[-1]
    nodes = torch.full((steps,), diagonal[0], dtype=torch.float64)
    weights = torch.zeros_like(nodes)  # what is not filled weighs nothing
    if not np.isfinite(diagonal).all():
        return nodes.fill_(math.nan), weights
    values, vectors = eigh_tridiagonal(diagonal, beside[:-1])
    nodes[: len(values)] = torch.from_numpy(values)
    weights[: len(values)] = torch.from_numpy(vectors[0] ** 2)
    return nodes, weights
