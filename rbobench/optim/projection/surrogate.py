"""A model of the loss on the span of the gradients seen, and the footpoint of the model's graph.

All of a projection takes place in the span of the few gradients evaluated. There the loss is known exactly,
with its gradient, at a handful of points: a radial basis function r³ with a linear trend interpolates all of
it (Hermite–Birkhoff interpolation; Wendland, Scattered Data Approximation, 2005, Section 16.2). On a graph
that costs nothing to evaluate, the nearest point is found by Newton's method from every known point.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

_ITERATIONS = 10
_DAMPINGS = (1e-6, 0.03, 0.3, 3.0, 30.0)


class Ground(NamedTuple):
    """What makes the footpoint problem in coordinates, with f̃ = λ(f − f_t) and g̃ = λg.

    Attributes:
        start: g̃_t, of shape `(*batch, k)`.
        lr: η/λ, of the batch's shape.
        pull: ρ/s, of the batch's shape.
    """

    start: Tensor
    lr: Tensor
    pull: Tensor

    def growth(self, points: Tensor, values: Tensor) -> Tensor:
        """½ distance² less that of θ_t.

        Args:
            points: u, of shape `(*batch, m, k)`.
            values: f̃ there, of shape `(*batch, m)`.
        """
        along = (points * self.start[..., None, :]).sum(dim=-1)
        lr, pull, squared = self._spread()
        straight = 0.5 * points.square().sum(dim=-1) + lr * along + lr * squared * values
        return straight + 0.5 * values.square() - pull * (values - along)

    def slope(self, points: Tensor, values: Tensor, gradients: Tensor) -> Tensor:
        """Its gradient, of the points' shape."""
        start = self.start[..., None, :]
        lr, pull, _ = self._spread()
        bend = self.bend(values)[..., None]
        return points + (lr + pull)[..., None] * start + bend * gradients

    def bend(self, values: Tensor) -> Tensor:
        """By what ∇²f̃ enters its Hessian I + g̃g̃ᵀ + bend · ∇²f̃."""
        lr, pull, squared = self._spread()
        return lr * squared + values - pull

    def _spread(self) -> tuple[Tensor, Tensor, Tensor]:
        return self.lr[..., None], self.pull[..., None], self.start.square().sum(dim=-1, keepdim=True)


class Interpolant:
    """The function Σ r³ through values and gradients.

    Args:
        points: Of shape `(*batch, n, k)`.
        values: Of shape `(*batch, n)`.
        gradients: Of shape `(*batch, n, k)`.
    """

    def __init__(self, points: Tensor, values: Tensor, gradients: Tensor) -> None:
        # In units of the points' spread, in which the system is best conditioned.
        spread = (points - points[..., :1, :]).square().sum(dim=-1).amax(dim=-1).sqrt()
        self._unit = torch.where(spread > 0.0, spread, 1.0)[..., None, None]
        self._points = points / self._unit
        n, k = points.shape[-2:]
        batch = points.shape[:-2]
        offsets = self._points[..., :, None, :] - self._points[..., None, :, :]
        radii = offsets.square().sum(dim=-1).sqrt()
        safe = torch.where(radii > 0.0, radii, 1.0)
        outer = offsets[..., :, None] * offsets[..., None, :] / safe[..., None, None]
        identity = torch.eye(k, dtype=points.dtype, device=points.device)
        system = points.new_zeros((*batch, n, 1 + k, n, 1 + k))
        system[..., 0, :, 0] = radii**3
        first = 3.0 * radii[..., None] * offsets
        system[..., 1:, :, 0] = first.movedim(-1, -2)
        system[..., 0, :, 1:] = -first
        second = 3.0 * (radii[..., None, None] * identity + outer)
        system[..., 1:, :, 1:] = -second.movedim(-2, -3)
        trend = points.new_zeros((*batch, n, 1 + k, 1 + k))
        trend[..., 0, 0] = 1.0
        trend[..., 0, 1:] = self._points
        trend[..., 1:, 1:] = identity
        size, tail = n * (1 + k), 1 + k
        whole = points.new_zeros((*batch, size + tail, size + tail))
        whole[..., :size, :size] = system.reshape(*batch, size, size)
        flat = trend.reshape(*batch, size, tail)
        whole[..., :size, size:] = flat
        whole[..., size:, :size] = flat.transpose(-1, -2)
        ridge = 1e-12 * torch.eye(size + tail, dtype=points.dtype, device=points.device)
        ridge[size:] = -ridge[size:]
        wanted = torch.cat([values[..., None], gradients * self._unit], dim=-1).reshape(*batch, size)
        wanted = torch.cat([wanted, wanted.new_zeros((*batch, tail))], dim=-1)
        found, _ = torch.linalg.solve_ex(whole + ridge, wanted[..., None])
        found = found[..., 0]
        self._weights = found[..., :size].reshape(*batch, n, 1 + k)
        self._trend = found[..., size:]

    def __call__(self, points: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Values, gradients and Hessians at points of shape `(*batch, m, k)`."""
        here = points / self._unit
        offsets = here[..., :, None, :] - self._points[..., None, :, :]
        radii = offsets.square().sum(dim=-1).sqrt()
        safe = torch.where(radii > 0.0, radii, 1.0)
        directions = offsets / safe[..., None]
        heavy = self._weights[..., None, :, 0]
        pulls = self._weights[..., None, :, 1:].expand(offsets.shape)
        along = (pulls * directions).sum(dim=-1)
        values = (heavy * radii**3 - 3.0 * radii.square() * along).sum(dim=-1)
        values = values + self._trend[..., :1] + (here @ self._trend[..., 1:, None])[..., 0]
        # Of ⟨c, ∇r³⟩ = 3r⟨c, d⟩: its gradient 3(r c + r⟨c, d̂⟩d̂), and once more.
        gradients = (
            3.0 * radii[..., None] * (heavy[..., None] * offsets - pulls - along[..., None] * directions)
        )
        gradients = gradients.sum(dim=-2) + self._trend[..., None, 1:]
        identity = torch.eye(points.shape[-1], dtype=points.dtype, device=points.device)
        outer = directions[..., :, None] * directions[..., None, :]
        mixed = pulls[..., :, None] * directions[..., None, :]
        heavy = heavy[..., None, None]
        lifted = radii[..., None, None]
        bent = 3.0 * heavy * lifted * (identity + outer)
        turned = mixed + mixed.transpose(-1, -2) + along[..., None, None] * (identity - outer)
        hessians = (bent - 3.0 * turned).sum(dim=-3)
        unit = self._unit[..., 0]
        return values, gradients / self._unit, hessians / unit[..., None, None] ** 2


def footpoint_of_model(
    ground: Ground, points: Tensor, values: Tensor, gradients: Tensor, best: Tensor
) -> Tensor:
    """Where the model's graph is nearest to the center; where it fails, Gauss–Newton's next point.

    Args:
        ground: The footpoint problem.
        points: u of the evaluations, of shape `(*batch, n, k)`.
        values: f̃ there, of shape `(*batch, n)`.
        gradients: g̃ there, of shape `(*batch, n, k)`.
        best: Which of them is nearest, of the batch's shape.

    Returns:
        Of shape `(*batch, k)`.
    """
    model = Interpolant(points, values, gradients)
    index = best[..., None, None].expand(*best.shape, 1, points.shape[-1])
    slope = ground.slope(points, values, gradients).gather(-2, index)
    steep = gradients.gather(-2, index)
    share = (steep * slope).sum(dim=-1) / (1.0 + steep.square().sum(dim=-1))
    plain = points.gather(-2, index) - slope + share[..., None] * steep
    here = torch.cat([points, plain], dim=-2)
    identity = torch.eye(points.shape[-1], dtype=points.dtype, device=points.device)
    # Filled on the device: copied there from a list, they would make the host wait.
    damping = torch.cat([points.new_full((1,), each) for each in _DAMPINGS])
    for _ in range(_ITERATIONS):
        height, steep, bent = model(here)
        now = ground.growth(here, height)
        slope = ground.slope(here, height, steep)
        bend = ground.bend(height)[..., None, None]
        matrix = identity + steep[..., :, None] * steep[..., None, :] + bend * bent
        size = 1.0 + matrix.square().sum(dim=(-2, -1)).sqrt()
        shifts = (damping * size[..., None])[..., None, None] * identity
        moves, _ = torch.linalg.solve_ex(matrix[..., None, :, :] + shifts, slope[..., None, :, None])
        tried = here[..., None, :] - moves[..., 0]
        flat = tried.flatten(-3, -2)
        reached = ground.growth(flat, model(flat)[0]).unflatten(-1, (here.shape[-2], len(_DAMPINGS)))
        reached = torch.where(torch.isfinite(reached), reached, torch.inf)
        least, which = reached.min(dim=-1)
        chosen = tried.gather(-2, which[..., None, None].expand(*which.shape, 1, tried.shape[-1]))[..., 0, :]
        here = torch.where((least < now)[..., None], chosen, here)
    final = ground.growth(here, model(here)[0])
    final = torch.where(torch.isfinite(final), final, torch.inf)
    winner = final.argmin(dim=-1)[..., None, None].expand(*final.shape[:-1], 1, here.shape[-1])
    found = here.gather(-2, winner)[..., 0, :]
    sound = torch.isfinite(final).any(dim=-1) & torch.isfinite(found).all(dim=-1)
    return torch.where(sound[..., None], found, plain[..., 0, :])
