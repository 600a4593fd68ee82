"""The reachable radius: how large a ball touches the loss graph at a model's weights without crossing it."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from rbobench.errors import UsageError
from rbobench.measures.surface import Cost, LossSurface

_GROWTH = 1.3
"""From one distance on a line to the next."""

_REFINEMENTS = 8
"""Losses along a line, to place its contact to about a percent."""

_RESOLVED = 100.0
"""A remainder of the loss counts where it is that many times its rounding error: within a percent or so."""

_PROBES = 4
"""Losses beside θ that show the rounding error."""

_FAINT = 0.1
"""The share of the start's inverse ratio below which a descent takes no more logarithms."""


@dataclass(frozen=True)
class ReachableRadius:
    """The largest ball that rests on the loss graph from above, as far as a search has seen.

    Attributes:
        value: An upper bound of R, the smallest ratio that was found; infinite where nothing was found that
            stops the ball.
        uncertainty: How far above the lowest of the descents from several starts the second lowest ended;
            NaN below two. Near 0, another search confirms the value. It bounds nothing: how far below the
            true minimum lies, no search can say.
        cost: What it took.
        inverse: 1/`value`, 0 where nothing stops the ball: to rank and to average by.
        contact_distance: ‖d‖ of the displacement of the parameters at which the ball meets the graph again;
            NaN where it does not.
        rise: λ(f(θ+d) − f(θ)) there; as large as `contact_distance` and more, the contact is a wall.
        found_by: `line along eigenvector k`, `gradient line`, `L-BFGS` or `nothing`.
        curvature_radius: s/(λ·λmax), to compare: R at a minimum, for small `t_min`, where no farther part of
            the graph stops the ball first. NaN where the largest eigenvalue is not known, infinite where it
            is not positive.
        loss_scale: λ.
        t_min: The least ‖d‖ that was looked at.
        t_max: The largest one allowed.
        evaluations: Losses and gradients together, without what the eigenvectors took.
    """

    value: float
    uncertainty: float
    cost: Cost
    inverse: float
    contact_distance: float
    rise: float
    found_by: str
    curvature_radius: float
    loss_scale: float
    t_min: float
    t_max: float
    evaluations: int


def radius_at_scale(
    surface: LossSurface,
    t_min: float = 0.01,
    *,
    generator: torch.Generator,
    loss_scale: float = 1.0,
    t_max: float | None = None,
    eigenvectors: Sequence[Sequence[Tensor]] | None = None,
    largest_eigenvalue: float | None = None,
    lines: int = 3,
    descents: int = 6,
    gradients: int = 120,
) -> ReachableRadius:
    """An upper bound of the radius of the largest ball that touches the graph of λf at θ from above.

    With g = ∇f(θ), s = √(1+λ²‖g‖²), p = (θ, λf(θ)) and the normal ν = (−λg, 1)/s, the radius is

        R = inf over q on the graph of ‖q−p‖² / (2⟨q−p, ν⟩) where positive
          = inf over d of s(‖d‖² + λ²Δ²) / (2λ(Δ − ⟨g, d⟩)) where positive,  Δ = f(θ+d) − f(θ),

    here over displacements of norm at least `t_min`. It generalizes the radius of curvature: where ∇f has the
    Lipschitz constant L, R ≥ s/(λL); for `t_min` → 0 it is at most the inverse of the largest principal
    curvature; but a wall far away may stop the ball first. `rbobench.geometry.reach.contact_radius` is the
    same for landscapes of one or two parameters, exact.

    The search is along lines, both ways, in the directions of the top Hessian eigenvectors and the gradient,
    then L-BFGS on the logarithm of the ratio from the best places of the lines (SciPy's L-BFGS-B in direction
    and log-distance, which keeps ‖d‖ ≥ `t_min` as a bound). As a ratio is at least ‖q−p‖/2, nothing farther
    than twice the smallest one needs a look.

    How to read it:
        - It is an upper bound, as that of any search in many dimensions. Random directions overshoot 40 to
          700 times and are not used.
        - It depends on the units of the loss (`loss_scale`) and on the parametrization, as λmax does: a
          rescaled ReLU network computes the same function and has another radius. Compare networks of one
          architecture alone.
        - Without `t_min` the kinks of ReLU, at a distance of 1e-4, set it and reverse rankings. And the
          losses of single-precision networks are noisy: beside θ their difference is rounding. Scalars are
          in double precision here, yet the losses are what they are: displacements whose remainder
          Δ − ⟨g, d⟩ is less than 100 times its rounding error, measured by four losses beside θ, are passed
          over.

    With the eigenvectors given, a call costs at most about `gradients` gradients and, by default, 100 to 200
    losses; without them, `top_eigenpairs` comes on top. L-BFGS holds some 25 copies of θ in double
    precision in the host's memory.

    Args:
        surface: f at θ.
        t_min: The least ‖d‖, in units of the parameters.
        generator: For the losses beside θ that show the rounding error, and for the eigenvectors.
        loss_scale: λ, units of the parameters per unit of the loss.
        t_max: The largest ‖d‖; by default 10‖θ‖, or 1000 `t_min` if that is more.
        eigenvectors: Of the Hessian at θ, largest eigenvalue first, each a list with one tensor for each
            parameter; computed by default. They need not be normalized.
        largest_eigenvalue: λmax, where `eigenvectors` are given, for `curvature_radius`.
        lines: How many eigenvectors to compute where none are given.
        descents: The most runs of L-BFGS; 0 for lines alone.
        gradients: The most that they take, but for the end of an iteration; a run takes a third at most.

    Raises:
        UsageError: If a scale is not positive and finite, a count is negative, an eigenvector does not fit
            the parameters, or the loss is not finite at θ.
    """
    for name, scale in (("t_min", t_min), ("loss_scale", loss_scale), ("t_max", t_max)):
        if scale is not None and not (math.isfinite(scale) and scale > 0.0):
            raise UsageError(f"{name} must be positive and finite, not {scale}")
    for name, count in (("lines", lines), ("descents", descents), ("gradients", gradients)):
        if count < 0:
            raise UsageError(f"{name} must be at least 0, not {count}")
    before = surface.cost
    if eigenvectors is None and lines == 0:
        eigenvectors = []
    if eigenvectors is None:
        from rbobench.measures.eigenvalues import top_eigenpairs

        eigenvalues, eigenvectors, _ = top_eigenpairs(surface, min(lines, surface.dimension), generator)
        largest_eigenvalue = eigenvalues[0]
    _check(surface, eigenvectors)
    if t_max is None:
        size = math.sqrt(_inner(surface.parameters, surface.parameters))
        t_max = max(10.0 * size, 1000.0 * t_min)
    if t_max < t_min:
        raise UsageError(f"t_max must be at least t_min, not {t_max} < {t_min}")

    ball = _Ball(surface, loss_scale, generator)
    starts = _lines(ball, _directions(ball, eigenvectors), t_min, t_max, descents)
    ends = sorted(_descents(ball, starts[:descents], t_min, t_max, gradients))
    contact = ball.contact
    curvature_radius = math.nan
    if largest_eigenvalue is not None:
        bend = loss_scale * largest_eigenvalue
        curvature_radius = ball.slope / bend if bend > 0.0 else math.inf
    return ReachableRadius(
        value=1.0 / contact.inverse if contact.inverse > 0.0 else math.inf,
        uncertainty=ends[1] - ends[0] if len(ends) > 1 else math.nan,
        cost=surface.cost - before,
        inverse=max(contact.inverse, 0.0),
        contact_distance=contact.distance,
        rise=contact.rise,
        found_by=contact.found_by,
        curvature_radius=curvature_radius,
        loss_scale=loss_scale,
        t_min=t_min,
        t_max=t_max,
        evaluations=ball.evaluations,
    )


@dataclass(frozen=True)
class _Contact:
    """Where the ball meets the graph again.

    Attributes:
        inverse: 2⟨q−p, ν⟩ / ‖q−p‖², at most 0 where q does not stop the ball.
        distance: ‖d‖.
        rise: λΔ.
        found_by: By which search.
    """

    inverse: float = 0.0
    distance: float = math.nan
    rise: float = math.nan
    found_by: str = "nothing"


class _Ball:
    """The ball that touches the graph at θ: evaluates points of the graph, and keeps the one that stops it.

    Attributes:
        gradient: ∇f(θ).
        slope: s.
        contact: The best so far.
        evaluations: Losses and gradients so far.
    """

    def __init__(self, surface: LossSurface, loss_scale: float, generator: torch.Generator) -> None:
        self.surface = surface
        self._scale = loss_scale
        values, self.gradient = surface.gradient()
        self._value = float(values.sum())
        squared = _inner(self.gradient, self.gradient)
        if not math.isfinite(self._value + squared):
            raise UsageError(
                f"the loss ({self._value}) or its gradient is not finite at these weights, so that no ball "
                "touches its graph there: measure a trial that did not diverge"
            )
        self.slope = math.sqrt(1.0 + loss_scale**2 * squared)
        self.contact = _Contact()
        self.evaluations = 1
        self._epsilon = max(torch.finfo(parameter.dtype).eps for parameter in surface.parameters)
        self._rounding = self._noise(generator)

    def look(self, displacement: Sequence[Tensor], found_by: str) -> float:
        """1/ratio at θ + `displacement`, where it can be told from rounding, else 0."""
        with self.surface.displaced(displacement):
            value = self.surface.value()
        inverse, _, _, told = self._measured(displacement, value, found_by)
        return inverse if told else 0.0

    def look_closely(self, displacement: Sequence[Tensor], found_by: str) -> tuple[float, list[Tensor], bool]:
        """1/ratio, its gradient with respect to the displacement, and whether it can be told from rounding.

        It and the gradient are 0 where something is not finite.
        """
        with self.surface.displaced(displacement):
            values, gradient = self.surface.gradient()
        inverse, squared, rise, told = self._measured(displacement, float(values.sum()), found_by)
        # ∇(2λb/sN) = (2λ/sN)(∇f − g) − (2/(ratio·N))(d + λ²Δ∇f)
        weight = 2.0 * self._scale / (self.slope * squared)
        pull = 2.0 * inverse / squared
        along = torch._foreach_sub(gradient, self.gradient)
        torch._foreach_mul_(along, weight)
        torch._foreach_add_(along, torch._foreach_mul(list(displacement), -pull))
        torch._foreach_add_(along, torch._foreach_mul(gradient, -pull * self._scale * rise))
        if not (math.isfinite(inverse) and math.isfinite(sum(float(each.sum()) for each in along))):
            return 0.0, [torch.zeros_like(each) for each in along], False
        return inverse, list(along), told

    def _measured(
        self, displacement: Sequence[Tensor], value: float, found_by: str
    ) -> tuple[float, float, float, bool]:
        """1/ratio, ‖q−p‖², λΔ and whether rounding allows to tell; the best contact is kept."""
        self.evaluations += 1
        descent = _inner(self.gradient, displacement)
        change = value - self._value
        remainder, rise = change - descent, self._scale * change
        distance = math.sqrt(_inner(displacement, displacement))
        squared = distance * distance + rise * rise  # `**` would raise where it overflows
        inverse = 2.0 * self._scale * remainder / (self.slope * squared)
        told = remainder > _RESOLVED * (self._rounding + self._epsilon * (abs(change) + abs(descent)))
        if told and inverse > self.contact.inverse:
            self.contact = _Contact(inverse, distance, rise, found_by)
        return inverse, squared, rise, told

    def _noise(self, generator: torch.Generator) -> float:
        """The rounding error of a difference of losses, from points a few units in the last place from θ."""
        parameters = self.surface.parameters
        size = math.sqrt(_inner(parameters, parameters))
        errors = []
        for _ in range(_PROBES):
            step = [
                torch.randn(each.shape, generator=generator, device=generator.device).to(each)
                for each in parameters
            ]
            shorten = 8.0 * self._epsilon * size / math.sqrt(_inner(step, step))
            torch._foreach_mul_(step, shorten)
            with self.surface.displaced(step):
                value = self.surface.value()
            self.evaluations += 1
            errors.append(value - self._value - _inner(self.gradient, step))
        measured = math.sqrt(sum(error**2 for error in errors) / _PROBES)
        # Of a few losses all may round alike: never less than the rounding of the loss itself.
        least = 0.25 * self._epsilon * abs(self._value)
        return max(measured, least) if math.isfinite(measured) else math.inf


@dataclass(frozen=True)
class _Line:
    """A half-line from θ.

    Attributes:
        direction: A unit vector, one tensor for each parameter.
        sign: 1 or -1.
        name: What `found_by` says.
    """

    direction: list[Tensor]
    sign: float
    name: str

    def at(self, distance: float) -> list[Tensor]:
        return list(torch._foreach_mul(self.direction, self.sign * distance))


@dataclass(frozen=True)
class _Start:
    """A place on a half-line where a descent begins."""

    line: _Line
    distance: float
    inverse: float


def _directions(ball: _Ball, eigenvectors: Sequence[Sequence[Tensor]]) -> Iterator[_Line]:
    """Both ways along the eigenvectors and the gradient, those that are not 0."""
    named = [(f"line along eigenvector {rank}", vector) for rank, vector in enumerate(eigenvectors, 1)]
    for name, vector in [*named, ("gradient line", ball.gradient)]:
        length = math.sqrt(_inner(vector, vector))
        if length > 0.0:
            direction = list(torch._foreach_mul(list(vector), 1.0 / length))
            yield from (_Line(direction, sign, name) for sign in (1.0, -1.0))


def _lines(ball: _Ball, lines: Iterator[_Line], t_min: float, t_max: float, count: int) -> list[_Start]:
    """Look along all lines outwards, and refine the `count` best local minima of the ratio on them."""
    seen: list[tuple[_Line, list[float]]] = [(line, []) for line in lines]
    distances: list[float] = []
    distance, farthest = t_min, t_max
    while not distances or distances[-1] < farthest:
        for line, inverses in seen:
            inverses.append(ball.look(line.at(distance), line.name))
        distances.append(distance)
        if ball.contact.inverse > 0.0:  # a ratio is at least half the distance
            farthest = min(t_max, 2.0 / ball.contact.inverse)
        distance = min(_GROWTH * distance, farthest)
    starts = []
    for line, inverses in seen:
        around = [0.0, *inverses, 0.0]
        starts += [
            _Start(line, distance, inverse)
            for distance, (before, inverse, after) in zip(
                distances, zip(around, around[1:], around[2:], strict=False), strict=True
            )
            if inverse > 0.0 and inverse >= before and inverse > after
        ]
    starts.sort(key=lambda start: -start.inverse)
    return [_refined(ball, start, t_min, t_max) for start in starts[: max(count, 1)]]


def _descents(
    ball: _Ball, starts: Sequence[_Start], t_min: float, t_max: float, gradients: int
) -> Iterator[float]:
    """The lowest ratios that L-BFGS finds from the best starts, as many as the gradients are enough for."""
    end = ball.evaluations + gradients
    for start in starts:
        allowed = min(math.ceil(gradients / 3), end - ball.evaluations)
        if allowed > 0:
            yield 1.0 / _descend(ball, start, t_min, t_max, allowed)


def _refined(ball: _Ball, start: _Start, t_min: float, t_max: float) -> _Start:
    """The lowest ratio between the two neighbors of a distance on a line."""
    from scipy.optimize import minimize_scalar

    best = start

    def negative(log_distance: float) -> float:
        nonlocal best
        distance = math.exp(log_distance)
        inverse = ball.look(start.line.at(distance), start.line.name)
        if inverse > best.inverse:
            best = _Start(start.line, distance, inverse)
        return -inverse / start.inverse

    low = math.log(max(t_min, start.distance / _GROWTH))
    high = math.log(min(t_max, start.distance * _GROWTH))
    if low < high:
        minimize_scalar(
            negative,
            bounds=(low, high),
            method="bounded",
            options={"maxiter": _REFINEMENTS, "xatol": 1e-2},
        )
    return best


def _descend(ball: _Ball, start: _Start, t_min: float, t_max: float, gradients: int) -> float:
    """The inverse of the lowest ratio that L-BFGS finds from `start`.

    Its coordinates are a direction u of any length and log ‖d‖, in which the ratio of a quadratic is well
    conditioned. Where the ratio is faint beside the start's, or not positive, the logarithm goes on as a line
    in 1/ratio: everywhere finite, and as smooth.
    """
    from scipy.optimize import Bounds, minimize

    parameters = ball.surface.parameters
    best = start.inverse

    def objective(point: Any) -> tuple[float, Any]:
        nonlocal best
        direction, distance = point[:-1], math.exp(point[-1])
        length = float(np.linalg.norm(direction))
        displacement = _split(direction * (distance / length), parameters)
        inverse, slopes, told = ball.look_closely(displacement, "L-BFGS")
        if told:
            best = max(best, inverse)
        relative = inverse / start.inverse
        floored = max(relative, _FAINT)
        value = -math.log(floored) + (floored - relative) / _FAINT
        slope = _flat(slopes) * (-1.0 / (floored * start.inverse))
        unit = direction / length
        radial = float(unit @ slope)
        return value, np.append((slope - radial * unit) * (distance / length), distance * radial)

    point = np.append(_flat(start.line.at(1.0)), math.log(start.distance))
    low, high = np.full(len(point), -np.inf), np.full(len(point), np.inf)
    low[-1], high[-1] = math.log(t_min), math.log(t_max)
    point[-1] = min(max(point[-1], low[-1]), high[-1])
    minimize(
        objective,
        point,
        jac=True,
        method="L-BFGS-B",
        bounds=Bounds(low, high),
        options={"maxcor": 5, "maxfun": gradients, "maxiter": gradients, "ftol": 1e-5, "gtol": 1e-4},
    )
    return best


def _check(surface: LossSurface, eigenvectors: Sequence[Sequence[Tensor]]) -> None:
    """Whether each eigenvector has the parameters' shapes."""
    wanted = [tuple(parameter.shape) for parameter in surface.parameters]
    for rank, vector in enumerate(eigenvectors, 1):
        if [tuple(each.shape) for each in vector] != wanted:
            raise UsageError(
                f"eigenvector {rank} does not fit the parameters: give one tensor for each, of its shape"
            )


def _inner(left: Sequence[Tensor], right: Sequence[Tensor]) -> float:
    """⟨left, right⟩ in double precision."""
    products = [
        a.detach().flatten().double() @ b.detach().flatten().double()
        for a, b in zip(left, right, strict=True)
    ]
    return float(torch.stack(products).sum())


def _flat(tensors: Sequence[Tensor]) -> Any:
    """One NumPy vector in double precision."""
    return np.concatenate([each.detach().flatten().to("cpu", torch.float64).numpy() for each in tensors])


def _split(vector: Any, parameters: Sequence[Tensor]) -> list[Tensor]:
    """A NumPy vector as one tensor for each parameter, in its dtype and on its device."""
    pieces = torch.from_numpy(vector).split([each.numel() for each in parameters])
    return [piece.to(each).view(each.shape) for piece, each in zip(pieces, parameters, strict=True)]
