"""Average-case sharpness: how much the loss rises on average in a random neighborhood of the weights."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from rbobench.errors import UsageError
from rbobench.measures.neighborhood import Norm, check, normal, scales, shaped, uniform
from rbobench.measures.surface import Estimate, LossSurface

RADII: Mapping[tuple[Norm, bool], float] = {
    ("l2", False): 0.005,
    ("l2", True): 0.05,
    ("linf", False): 0.01,
    ("linf", True): 0.1,
}
"""ρ by norm and adaptivity: the smallest that arXiv 2302.07011's code has for CIFAR-10
(`sh/eval_sharpness_final.sh`), of a vision transformer or a ResNet."""

SAMPLES = 20
"""Draws of arXiv 2302.07011's code."""


def average_case(
    surface: LossSurface,
    *,
    radius: float | None = None,
    norm: Norm = "l2",
    adaptive: bool = False,
    samples: int = SAMPLES,
    generator: torch.Generator,
) -> Estimate:
    """E f(θ+δ) − f(θ), where δ has independent entries of scale ρ, or ρ|θ| if `adaptive` (arXiv 2302.07011).

    In ℓ2 an entry is normal of standard deviation ρ (not ρ/√d: ‖δ‖ is about ρ√d); in ℓ∞ it is uniform in
    [−ρ, ρ], as in the paper's code. Draws come in pairs δ, −δ: the mean stays unbiased and is free of the
    gradient's and every other odd term. To second order it is ρ²/2 times the trace of the (scaled) Hessian,
    a third of that in ℓ∞.

    Args:
        surface: f.
        radius: ρ, in units of the parameters, or, where `adaptive`, as a share of them; by default that of
            `RADII`.
        norm: Which of the two distributions.
        adaptive: Whether it is scaled by |θ|.
        samples: How many displacements, an even number of at least 4.
        generator: Draws them.

    Returns:
        The mean rise in units of the loss; its uncertainty is the standard error over the pairs.

    Raises:
        UsageError: If the radius, the norm or the number of samples is none.
    """
    radius = RADII.get((norm, adaptive), 1.0) if radius is None else radius
    check(norm, radius)
    if samples < 4 or samples % 2:
        raise UsageError(f"samples must be even and at least 4, not {samples}")
    before = surface.cost
    deviations = radius * scales(surface.parameters, adaptive)
    draw = normal if norm == "l2" else uniform
    here = surface.value()

    def rise(displacement: Tensor) -> float:
        with surface.displaced(shaped(displacement, surface.parameters)):
            return surface.value() - here

    pairs = []
    for _ in range(samples // 2):
        displacement = deviations * draw(deviations, generator)
        pairs.append(0.5 * (rise(displacement) + rise(-displacement)))
    rises = torch.tensor(pairs, dtype=torch.float64)
    return Estimate(float(rises.mean()), float(rises.std() / len(rises) ** 0.5), surface.cost - before)
