"""SAM's sharpness: the loss one step up the gradient."""

from __future__ import annotations

from rbobench.measures.surface import Estimate, LossSurface
from rbobench.optim.tensors import global_norm

SAM_GAP_RADIUS = 0.05
"""ρ of Foret et al. on CIFAR-10."""


def sam_gap(surface: LossSurface, radius: float = SAM_GAP_RADIUS) -> Estimate:
    """f(θ + ρg/‖g‖) − f(θ) with g = ∇f(θ): the first-order worst case of SAM (arXiv 2010.01412, Eq. 2).

    Args:
        surface: f.
        radius: ρ, in units of the parameters.

    Returns:
        The gap in units of the loss, 0 where the gradient vanishes; its uncertainty is the standard error
        over the parts of f, the step held fixed.
    """
    before = surface.cost
    here, gradient = surface.gradient()
    factor = radius / global_norm(gradient).clamp_min(1e-12)
    with surface.displaced([each.mul_(factor) for each in gradient]):
        gaps = surface.values() - here
    return Estimate(float(gaps.sum()), surface.standard_error(gaps), surface.cost - before)
