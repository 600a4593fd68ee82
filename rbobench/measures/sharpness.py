"""Sharpness of the loss at a model's weights."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from rbobench.optim.perturbation import perturbed
from rbobench.optim.tensors import global_norm

SAM_GAP_RADIUS = 0.05
"""ρ of Foret et al. on CIFAR-10."""


def sam_gap(
    parts: Sequence[Callable[[], Tensor]], parameters: Sequence[Tensor], radius: float = SAM_GAP_RADIUS
) -> float:
    """f(θ + ρg/‖g‖) − f(θ) with g = ∇f(θ): the first-order worst case of SAM (arXiv 2010.01412, Eq. 2).

    The weights are restored by copy; the gradients are cleared.

    Args:
        parts: Losses on parts of a fixed subset of the data, whose sum is f.
        parameters: θ.
        radius: ρ, in units of the parameters.

    Returns:
        The gap in units of the loss; 0 where the gradient vanishes.
    """
    for parameter in parameters:
        parameter.grad = None
    here = torch.zeros(())
    for part in parts:
        with torch.enable_grad():
            loss = part()
            loss.backward()
        here = here.to(loss) + loss.detach()
    active = [parameter for parameter in parameters if parameter.grad is not None]
    if not active:
        return 0.0
    gradients = [parameter.grad for parameter in active if parameter.grad is not None]
    norm = global_norm(gradients)
    ascent = [gradient * (radius / norm.clamp_min(1e-12)) for gradient in gradients]
    with torch.no_grad(), perturbed(active, ascent):
        there = torch.stack([part() for part in parts]).sum()
    for parameter in parameters:
        parameter.grad = None
    return float(there - here)
