"""Worst-case sharpness: how much the loss can rise in a ball around the weights."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from rbobench.errors import UsageError
from rbobench.measures.neighborhood import Norm, check, flat, normal, scales, shaped
from rbobench.measures.surface import Cost, LossSurface
from rbobench.measures.trust_region import maximize_in_ball

RADII: Mapping[tuple[Norm, bool], float] = {
    ("l2", False): 0.05,
    ("l2", True): 0.25,
    ("linf", False): 0.0005,
    ("linf", True): 0.001,
}
"""ρ by norm and adaptivity. In plain ℓ2 it is SAM's; else the smallest of the grids in arXiv 2302.07011's
code for ResNets on CIFAR-10 (`sh/eval_sharpness_final.sh`)."""

STEPS = 20
"""Of arXiv 2302.07011."""

MOMENTUM = 0.75
"""α of APGD: the share of the new step; the rest repeats the last one."""
RISING_SHARE = 0.75
"""Of the steps between two checkpoints; where fewer raise the loss, the step is halved."""
NUDGE = 0.01
"""What is random in the first step's direction, so that no symmetry of the loss holds the search."""
NOVELTY = 0.01
"""Share of ρ that a point of an ℓ2 search is from the span of those before it, at least."""


@dataclass(frozen=True)
class WorstCase:
    """The largest rise of the loss that was found in a ball.

    Attributes:
        value: f(θ + δ) − f(θ), in units of the loss; at least 0, and a lower bound on the true maximum.
        uncertainty: Its standard error over the parts of f, δ held fixed. It does not tell how far the search
            has stayed below the maximum.
        cost: What it took.
        radius: ρ.
        norm: Of the displacement δ.
        adaptive: Whether the ball is scaled by |θ|.
        length: ‖δ‖ or ‖δ/|θ|‖ at the largest rise; ρ where it lies on the boundary.
        first_order: The largest rise of the loss's linearization in the same ball, ρ times the dual norm of
            the (scaled) gradient.
    """

    value: float
    uncertainty: float
    cost: Cost
    radius: float
    norm: Norm
    adaptive: bool
    length: float
    first_order: float


def worst_case(
    surface: LossSurface,
    *,
    radius: float | None = None,
    norm: Norm = "l2",
    adaptive: bool = False,
    steps: int = STEPS,
    generator: torch.Generator,
) -> WorstCase:
    """The maximum of f(θ+δ) − f(θ) over ‖δ‖ ≤ ρ, or over ‖δ/|θ|‖ ≤ ρ where `adaptive` (arXiv 2302.07011).

    By projected gradient ascent with APGD's momentum, checkpoints and halvings (Croce & Hein,
    arXiv 2003.01690, Algorithm 1) from δ = 0, in the coordinates δ/|θ|, in which an adaptive ball is round.
    The largest rise seen is a lower bound on the maximum.

    In ℓ2 the slopes seen also make a quadratic model of f on the points' span, whose maximizer is tried at
    the end. On a quadratic that is as good as Lanczos' method of `steps` − 1 products: exact in fewer than
    `steps` dimensions, and nearer than ascent where leading eigenvalues are close. The search keeps
    2 · `steps` vectors of θ's size for it.

    One displacement is sought for all of f, where arXiv 2302.07011's code seeks one for each batch and takes
    the mean, which is no smaller. Whether logits are normalized is up to the surface.

    Args:
        surface: f.
        radius: ρ, in units of the parameters, or, where `adaptive`, as a share of them; by default that of
            `RADII`.
        norm: Of δ, or of δ/|θ|.
        adaptive: Whether the ball is scaled by |θ|; parameters that are zero then stay.
        steps: Gradient evaluations.
        generator: Draws the first step where the gradient vanishes, and a nudge beside it elsewhere.

    Raises:
        UsageError: If the radius, the norm or the number of steps is none.
    """
    radius = RADII.get((norm, adaptive), 1.0) if radius is None else radius
    check(norm, radius)
    if steps < 1:
        raise UsageError(f"steps must be at least 1, not {steps}")
    before = surface.cost
    search = _Search(surface, radius, norm, adaptive)
    search.ascend(steps, generator)
    if norm == "l2":
        search.try_model()
    point, rises = search.best, search.best_rises
    if not rises.sum() > 0.0:  # θ itself is the highest
        point, rises = torch.zeros_like(point), torch.zeros_like(rises)
    return WorstCase(
        value=float(rises.sum()),
        uncertainty=surface.standard_error(rises),
        cost=surface.cost - before,
        radius=radius,
        norm=norm,
        adaptive=adaptive,
        length=float(torch.linalg.vector_norm(point, ord=search.order)),
        first_order=radius * float(torch.linalg.vector_norm(search.slope, ord=search.dual_order)),
    )


class _Search:
    """Ascent in the ball; points and slopes are in the coordinates in which it is round, of shape (d,).

    Args:
        surface: f.
        radius: ρ.
        norm: In which the ball is one.
        adaptive: Whether the coordinates are δ/|θ|.

    Attributes:
        slope: At θ.
        best: Where f was largest, of all points but θ.
        best_rises: How much each part of f rose there, of shape (parts,).
        order: Of the norm.
        dual_order: Of its dual.
    """

    def __init__(self, surface: LossSurface, radius: float, norm: Norm, adaptive: bool) -> None:
        self._surface = surface
        self._radius = radius
        self.order, self.dual_order = (2.0, 2.0) if norm == "l2" else (math.inf, 1.0)
        self._scales = scales(surface.parameters, adaptive)
        self._here, gradient = surface.gradient()
        self.slope = flat(gradient) * self._scales
        self.best = torch.zeros_like(self.slope)
        self.best_rises = torch.full_like(self._here, -math.inf)
        self._best_slope = self._last_slope = self.slope
        # An orthonormal basis of the points' span, and what the Hessian makes of it.
        self._basis: list[Tensor] = []
        self._images: list[Tensor] = []

    def ascend(self, steps: int, generator: torch.Generator) -> None:
        """APGD: `steps` gradients, the one at θ among them, and a loss."""
        point, slope = torch.zeros_like(self.slope), self._nudged(self.slope, generator)
        moved: Tensor | None = None  # the last step, which momentum repeats
        size, rise = 2.0 * self._radius, 0.0
        ends = checkpoints(steps)
        last_end, rising, kept_size, best_then = 0, 0, False, -math.inf
        for step in range(1, steps + 1):
            there = self._projected(point + size * self._direction(slope))
            if moved is not None:
                there = self._projected(point + MOMENTUM * (there - point) + (1.0 - MOMENTUM) * moved)
            if self.order == 2.0:
                there = self._novel(there)
            moved, point, before = there - point, there, rise
            rise, slope = self._at(point, with_slope=step < steps)
            rising += rise > before
            if step not in ends and math.isfinite(rise):
                continue
            best = float(self.best_rises.sum())
            stalled = rising < RISING_SHARE * (step - last_end) or (kept_size and best == best_then)
            if stalled or not math.isfinite(rise):
                size *= 0.5
                point, slope, rise, moved = self.best, self._best_slope, best, None
            last_end, rising, kept_size, best_then = step, 0, not stalled, best

    def try_model(self) -> None:
        """Try the maximizer of the quadratic through the slopes seen, on the points' span; a loss."""
        if not self._basis:
            return
        basis = torch.stack(self._basis)
        hessian = (basis @ torch.stack(self._images).T).double()
        inside = maximize_in_ball((basis @ self.slope).double(), 0.5 * (hessian + hessian.T), self._radius)
        self._at(self._projected(inside.to(basis) @ basis), with_slope=False)

    def _at(self, point: Tensor, with_slope: bool) -> tuple[float, Tensor]:
        """How much f rises at a point, and the slope there or, unless asked for, at θ."""
        surface, slope = self._surface, self.slope
        with surface.displaced(shaped(point * self._scales, surface.parameters)):
            if with_slope:
                there, gradient = surface.gradient()
                slope = flat(gradient) * self._scales
            else:
                there = surface.values()
        rises = there - self._here
        rise = float(rises.sum())
        if math.isfinite(rise):
            if rise > float(self.best_rises.sum()):
                self.best, self.best_rises, self._best_slope = point, rises, slope
            if with_slope and self.order == 2.0:
                self._last_slope = slope
                self._learn(point, slope - self.slope)
        return rise, slope

    def _learn(self, point: Tensor, change: Tensor) -> None:
        """Add a point to the span on which the Hessian is known, by how it changed the slope."""
        rest, image = point.clone(), change.clone()
        for _ in range(2):  # once would leave the basis less than orthogonal
            for each, its_image in zip(self._basis, self._images, strict=True):
                part = float(each @ rest)
                rest.add_(each, alpha=-part)
                image.add_(its_image, alpha=-part)
        length = float(torch.linalg.vector_norm(rest))
        # Nearer than that to the span, rounding would be most of what is learned.
        if length > self._radius * torch.finfo(rest.dtype).eps ** 0.5:
            self._basis.append(rest.div_(length))
            self._images.append(image.div_(length))

    def _novel(self, point: Tensor) -> Tensor:
        """A point moved away from the span of those before it, along the last slope, if it is too near."""
        rest = self._beyond(point)
        if float(torch.linalg.vector_norm(rest)) >= NOVELTY * self._radius:
            return point
        away = self._direction(self._beyond(self._last_slope))
        return self._projected(point - rest + NOVELTY * self._radius * away)

    def _beyond(self, vector: Tensor) -> Tensor:
        """What of a vector is orthogonal to the points' span."""
        rest = vector.clone()
        for _ in range(2):
            for each in self._basis:
                rest.add_(each, alpha=-float(each @ rest))
        return rest

    def _direction(self, slope: Tensor) -> Tensor:
        """The steepest way up, of norm 1; 0 where there is none."""
        if self.order == 2.0:
            return slope / torch.linalg.vector_norm(slope).clamp_min(torch.finfo(slope.dtype).tiny)
        return slope.sign()

    def _nudged(self, slope: Tensor, generator: torch.Generator) -> Tensor:
        """The slope with a little of a random direction, all of it where the slope vanishes."""
        # An adaptive ball has no extent along parameters that are zero.
        drawn = normal(slope, generator) * (self._scales > 0.0)
        if self.order == 2.0 and bool(slope.any()):
            return self._direction(slope) + NUDGE * self._direction(drawn)
        return torch.where(slope == 0.0, drawn, slope)

    def _projected(self, point: Tensor) -> Tensor:
        """The nearest point of the ball."""
        if self.order == 2.0:
            return point * (self._radius / torch.linalg.vector_norm(point).clamp_min(self._radius))
        return point.clamp(-self._radius, self._radius)


def checkpoints(steps: int) -> list[int]:
    """The steps after which APGD may halve its step size (arXiv 2003.01690, Sec. 3), ascending."""
    shares = [0.0, 0.22]
    while shares[-1] < 1.0:
        shares.append(shares[-1] + max(shares[-1] - shares[-2] - 0.03, 0.06))
    # Rounded first: 0.22 + 0.19 + 0.16 is a little more than 0.57.
    return sorted({math.ceil(round(share * steps, 9)) for share in shares[1:] if share < 1.0})
