"""Claims on what the ball is close to: at radius 0, in other units, at sharp minima, on one batch."""

from __future__ import annotations

import functools
import itertools
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from scipy.optimize import brentq
from scipy.special import logsumexp
from torch import Tensor, nn

from rbobench.geometry.landscape import Domain, Formula, Landscape, LandscapeClosure, Scaled
from rbobench.optim.controls import RepeatedSGD, rbo_null
from rbobench.optim.rolling_ball import RBO
from rbobench.optim.sgd import SGD
from rbobench.paper import figure4
from rbobench.paper.claim import Claim, Finding, Numbers, Ruling
from rbobench.randomness import derived_seed, seeded_default_generators
from rbobench.tasks.landscapes import Eq14, Sine

Make = Callable[[list[Tensor]], Any]
"""From the parameters to an optimizer of a batch of problems."""

_ROUNDING = 1e-9
"""Of a distance or a rate: far above rounding, far below what is told apart here."""


class Settings(NamedTuple):
    """Of a ball whose projection is the paper's: η, ρ, γ and P."""

    lr: float
    radius: float
    projection_lr: float
    projection_steps: int

    def __str__(self) -> str:
        return f"η {self.lr:g}, ρ {self.radius:g}, γ {self.projection_lr:g}, P {self.projection_steps}"


def trajectories(
    make: Make,
    landscape: Landscape,
    first: Tensor,
    steps: int,
    before_step: Callable[[Any, float], None] = lambda optimizer, fraction: None,
) -> Tensor:
    """Where an optimizer goes from each of `first`, of shape `(m, d)`, as one batch.

    Args:
        make: The optimizer, with `batch_dims=1`.
        landscape: f.
        first: The starts.
        steps: How many.
        before_step: Is given the optimizer and the fraction of the steps that are done.

    Returns:
        Points of shape `(steps + 1, m, d)`.
    """
    points = first.clone()
    optimizer, closure = make([points]), LandscapeClosure(landscape, points)
    visited = [first.clone()]
    for step in range(steps):
        before_step(optimizer, step / steps)
        optimizer.step(closure)
        visited.append(points.clone())
    return torch.stack(visited)


def gap(left: Tensor, right: Tensor) -> float:
    """The largest distance between trajectories at the same step."""
    return float((left - right).norm(dim=-1).max())


def order(scales: Sequence[float], errors: Sequence[float]) -> float:
    """The exponent k of errors ∝ scaleᵏ, by least squares in logarithms; infinite where all are rounding."""
    if max(errors) < _ROUNDING:
        return float("inf")
    return float(np.polyfit(np.log(scales), np.log(np.maximum(errors, 1e-300)), 1)[0])


def _sgd(lr: float) -> Make:
    return functools.partial(SGD, lr=lr, batch_dims=1)


def _exact(lr: float, radius: float | Tensor, domain: Domain | None = None, loss_scale: float = 1.0) -> Make:
    return functools.partial(
        RBO,
        lr=lr,
        radius=radius,
        projection="exact",
        projection_domain=domain,
        loss_scale=loss_scale,
        batch_dims=1,
    )


# ρ → 0, exact footpoint.

_SINE = Sine()
_SINE_STARTS = torch.tensor([[-1.0], [-0.3], [0.5], [1.2], [2.5], [4.0]], dtype=torch.float64)
_DOMAIN = (-20.0, 20.0)


class _Limit(NamedTuple):
    """Where and how finely ρ → 0 and η → 0 are taken."""

    name: str
    landscape: Landscape
    starts: Tensor
    domain: Domain | None
    radii: tuple[float, ...]
    rates: tuple[float, ...]
    flow: float


_LIMITS = (
    _Limit("sin", _SINE, _SINE_STARTS, _DOMAIN, (0.1, 0.01, 1e-3, 1e-4), (0.1, 0.05, 0.025), 2.0),
    # Its wells have curvatures of 400: all of ρ, η and the time are below their inverse.
    _Limit(
        "Eq. 14",
        Eq14(),
        torch.from_numpy(figure4.starts())[:5],
        None,
        (1e-3, 1e-4, 1e-5),
        (1e-3, 5e-4, 2.5e-4),
        5e-3,
    ),
)


def measure_zero_radius() -> Numbers:
    """How an exact ball departs from gradient descent as ρ and η vanish, over one step and whole paths."""
    numbers: dict[str, float] = {}
    for limit in _LIMITS:
        to_ball: dict[str, list[float]] = {}
        to_descent: dict[str, list[float]] = {"step": [], "path": []}
        for lr in limit.rates:
            steps = round(limit.flow / lr)
            descent = trajectories(_sgd(lr), limit.landscape, limit.starts, steps)
            radii = torch.tensor((0.0, *limit.radii), dtype=torch.float64)
            balls = trajectories(
                _exact(lr, radii.repeat_interleave(len(limit.starts)), limit.domain),
                limit.landscape,
                limit.starts.repeat(len(radii), 1),
                steps,
            ).unflatten(1, (len(radii), -1))
            point = balls[:, 0]
            length = (descent[1] - descent[0]).norm(dim=-1)
            to_descent["step"].append(float(((point[1] - descent[1]).norm(dim=-1) / length).max()))
            to_descent["path"].append(gap(point, descent))
            if lr == limit.rates[0]:
                to_ball["step"] = [gap(balls[:2, k], point[:2]) for k in range(1, len(radii))]
                to_ball["path"] = [gap(balls[:, k], point) for k in range(1, len(radii))]
        numbers[f"largest η, {limit.name}"] = limit.rates[0]
        for of in ("step", "path"):
            numbers[f"order in ρ, {of}, {limit.name}"] = order(limit.radii, to_ball[of])
            numbers[f"gap at ρ = 0, {of}, {limit.name}"] = to_descent[of][0]
            numbers[f"order in η at ρ = 0, {of}, {limit.name}"] = order(limit.rates, to_descent[of])
    return numbers


def judge_zero_radius(numbers: Numbers) -> Finding:
    """Whether ρ → 0 ends at gradient descent, and whether that takes η → 0."""
    names = [limit.name for limit in _LIMITS]
    every = [f"{of}, {name}" for of in ("step", "path") for name in names]
    in_radius = min(numbers[f"order in ρ, {where}"] for where in every)
    in_rate = min(numbers[f"order in η at ρ = 0, {where}"] for where in every)
    left = max(numbers[f"gap at ρ = 0, {where}"] for where in every)
    largest = {
        name: (100 * numbers[f"gap at ρ = 0, step, {name}"], numbers[f"largest η, {name}"]) for name in names
    }
    told = ", ".join(f"{percent:.2g} % on {name} (η = {lr:g})" for name, (percent, lr) in largest.items())
    value = (
        f"paths tend to that of ρ = 0 as ρ^{in_radius:.2f}; "
        f"a step at ρ = 0 is off gradient descent's by {told}"
    )
    uncertainty = (
        f"worst of the starts, fits over 3 to 4 radii and 3 rates; what is left falls as η^{in_rate:.2f}"
    )
    if in_radius < 0.5:
        reason = f"paths that do not settle as ρ → 0 (order {in_radius:.2f})"
        return Finding(value, uncertainty, Ruling.REFUTED, reason)
    if left < _ROUNDING:
        return Finding(value, uncertainty, Ruling.HOLDS)
    if in_rate > 0.5:
        reason = "η → 0 too: at ρ = 0 the step is along the tangent and back onto the graph, not η∇f"
        return Finding(value, uncertainty, Ruling.HOLDS_WHEN, reason)
    reason = f"the step at ρ = 0, which stays off gradient descent's as η → 0 (order {in_rate:.2f})"
    return Finding(value, uncertainty, Ruling.REFUTED, reason)


# ρ → 0, the paper's projection.

FIGURE_4 = Settings(figure4.LR, 0.0, figure4.PROJECTION_LR, figure4.PROJECTION_STEPS)
FIGURE_3 = Settings(1e-3, 0.0, 0.05, 20)
_SLOPES = (0.01, 1.0, 4.0)


def effective_rate(settings: Settings, slope: float | Tensor) -> float | Tensor:
    """η(1−(1−γs²)^P): at which P steps of projection follow a slope, s² = 1 + slope²."""
    left = (1.0 - settings.projection_lr * (1.0 + slope**2)) ** settings.projection_steps
    return settings.lr * (1.0 - left)


def _projected(settings: Settings) -> Make:
    return functools.partial(RBO, **settings._asdict(), batch_dims=1)


def _null(settings: Settings) -> Make:
    options = settings._asdict()
    del options["radius"]
    return functools.partial(rbo_null, **options, batch_dims=1)


def _descent_at_effective_rate(landscape: Landscape, first: Tensor, steps: int, settings: Settings) -> Tensor:
    visited = [first]
    for _ in range(steps):
        gradient = landscape.value_and_grad(visited[-1])[1]
        rate = effective_rate(settings, gradient.norm(dim=-1, keepdim=True))
        visited.append(visited[-1] - rate * gradient)
    return torch.stack(visited)


def measure_projected_zero_radius() -> Numbers:
    """At which rate the ball of radius 0 descends when P steps of SGD project it."""
    numbers: dict[str, float] = {}
    slopes = torch.tensor(_SLOPES, dtype=torch.float64)
    plane = Formula("planes", lambda points: slopes * points[..., 0])
    error = 0.0
    for name, settings in (("Fig. 4", FIGURE_4), ("Fig. 3", FIGURE_3)):
        moved = trajectories(_null(settings), plane, torch.zeros(len(slopes), 1, dtype=torch.float64), 1)[
            1, :, 0
        ]
        rates = -moved / (settings.lr * slopes)
        expected = torch.as_tensor(effective_rate(settings, slopes)) / settings.lr
        error = max(error, float((rates - expected).abs().max()))
        for slope, rate in zip(_SLOPES, rates.tolist(), strict=True):
            numbers[f"rate / η on slope {slope:g}, {name}"] = rate
    numbers["error of the formula"] = error
    # On sin a longer η, so that a path is as long as the way into the valley.
    runs = (
        ("sin", _SINE, _SINE_STARTS, 60, FIGURE_4._replace(lr=0.05)),
        ("Eq. 14", Eq14(), torch.from_numpy(figure4.starts()), 50, FIGURE_4),
    )
    for name, landscape, first, steps, settings in runs:
        ball = trajectories(_null(settings), landscape, first, steps)
        numbers[f"gap to descent at η, {name}"] = gap(
            ball, trajectories(_sgd(settings.lr), landscape, first, steps)
        )
        numbers[f"gap to descent at the effective rate, {name}"] = gap(
            ball, _descent_at_effective_rate(landscape, first, steps, settings)
        )
    return numbers


def judge_projected_zero_radius(numbers: Numbers) -> Finding:
    """Whether the ball of radius 0, as evaluated, descends at η."""
    rates = [number for name, number in numbers.items() if name.startswith("rate / η")]
    error = numbers["error of the formula"]
    flat = f"on slope {_SLOPES[0]:g}"
    value = (
        f"{flat}: {numbers[f'rate / η {flat}, Fig. 4']:.3f} η (γ, P of Fig. 4), "
        f"{numbers[f'rate / η {flat}, Fig. 3']:.3f} η (Fig. 3); paths on sin: "
        f"{numbers['gap to descent at η, sin']:.2g} from descent at η, "
        f"{numbers['gap to descent at the effective rate, sin']:.2g} from it at η(1−(1−γs²)^P)"
    )
    uncertainty = (
        f"the formula is exact to {error:.0e} on planes; where f curves it is an approximation (Eq. 14: "
        f"{numbers['gap to descent at the effective rate, Eq. 14']:.2g} against "
        f"{numbers['gap to descent at η, Eq. 14']:.2g})"
    )
    if max(abs(rate - 1.0) for rate in rates) < 0.01:
        return Finding(value, uncertainty, Ruling.HOLDS)
    if error < _ROUNDING:
        reason = (
            "η(1−(1−γs²)^P) is meant by the learning rate: flat places are crossed slower than steep ones"
        )
        return Finding(value, uncertainty, Ruling.HOLDS_WHEN, reason)
    worst = min(rates)
    return Finding(value, uncertainty, Ruling.REFUTED, f"a plane, descended at {worst:.3g} η")


# Below the critical radius.

_CRITICAL = 1.0
"""Of sin θ: its reach (Section 5.1)."""
_BELOW = (0.1, 0.5, 0.9)
_SETTLED = 1e-3


def measure_below_critical() -> Numbers:
    """Exact balls below the critical radius of sin θ beside gradient descent, at a small and a large η."""
    numbers: dict[str, float] = {"critical radius": _CRITICAL}
    radii = torch.tensor(_BELOW, dtype=torch.float64).repeat_interleave(len(_SINE_STARTS))
    first = _SINE_STARTS.repeat(len(_BELOW), 1)
    for lr, steps in ((0.02, 250), (0.5, 100)):
        descent = trajectories(_sgd(lr), _SINE, _SINE_STARTS, steps)
        balls = trajectories(_exact(lr, radii, _DOMAIN), _SINE, first, steps).unflatten(1, (len(_BELOW), -1))
        numbers[f"descent settled, η = {lr:g}"] = _share_settled(descent)
        for index, radius in enumerate(_BELOW):
            numbers[f"gap, ρ = {radius:g}, η = {lr:g}"] = gap(balls[:, index], descent)
            numbers[f"settled, ρ = {radius:g}, η = {lr:g}"] = _share_settled(balls[:, index])
            together = (balls[-1, index] - descent[-1]).norm(dim=-1) < 0.5
            numbers[f"same valley, ρ = {radius:g}, η = {lr:g}"] = float(together.double().mean())
    return numbers


def _share_settled(paths: Tensor) -> float:
    """Of the paths, those whose last step was none."""
    return float(((paths[-1] - paths[-2]).norm(dim=-1) < _SETTLED).double().mean())


def judge_below_critical(numbers: Numbers) -> Finding:
    """Whether a ball below the critical radius goes and stays where gradient descent does."""
    small, large = 0.02, 0.5
    gaps = {radius: numbers[f"gap, ρ = {radius:g}, η = {small:g}"] for radius in _BELOW}
    together = min(numbers[f"same valley, ρ = {radius:g}, η = {small:g}"] for radius in _BELOW)
    restless = [
        radius
        for radius in _BELOW
        if numbers[f"settled, ρ = {radius:g}, η = {large:g}"]
        < numbers[f"descent settled, η = {large:g}"] - 0.5
    ]
    apart = ", ".join(f"{distance:.2g}" for distance in gaps.values())
    value = (
        f"on sin {apart} from gradient descent at equal steps "
        f"(ρ = {', '.join(f'{radius:g}' for radius in _BELOW)}; η = {small:g}); "
        f"{100 * together:.0f} % end in the same valley"
    )
    uncertainty = f"the worst of {len(_SINE_STARTS)} starts; the critical radius of sin is {_CRITICAL:g}"
    if restless:
        name = f"ρ = {restless[-1]:g}, η = {large:g}"
        settled = numbers[f"descent settled, η = {large:g}"], numbers[f"settled, {name}"]
        reason = (
            f"sin at {name}: gradient descent comes to rest from {100 * settled[0]:.0f} % of the starts, "
            f"the ball from {100 * settled[1]:.0f} %"
        )
        return Finding(value, uncertainty, Ruling.REFUTED, reason)
    if max(gaps.values()) < 0.01:
        return Finding(value, uncertainty, Ruling.HOLDS)
    if together == 1.0:
        reason = f"its last valley is meant: at equal steps they are up to {max(gaps.values()):.2g} apart"
        return Finding(value, uncertainty, Ruling.HOLDS_WHEN, reason)
    reason = f"{100 * (1 - together):.0f} % of the starts, which lead into another valley"
    return Finding(value, uncertainty, Ruling.REFUTED, reason)


# Units of the loss.

_UNIT = 10.0
_UNIT_LR, _UNIT_STEPS = 0.1, 30
_UNIT_RADII = (0.5, 3.0)
_OTHER_RADII = 36


class _Stretched(Landscape):
    """f(θ/m)."""

    start: tuple[float, ...] = ()

    def __init__(self, landscape: Landscape, factor: float) -> None:
        self.name = self.description = f"{landscape.name}, {factor:g} times as wide"
        self._landscape, self._factor = landscape, factor

    @property
    def dimension(self) -> int:
        return self._landscape.dimension

    def value(self, points: Tensor) -> Tensor:
        return self._landscape.value(points / self._factor)

    def value_and_grad(self, points: Tensor) -> tuple[Tensor, Tensor]:
        value, gradient = self._landscape.value_and_grad(points / self._factor)
        return value, gradient / self._factor


def measure_loss_units() -> Numbers:
    """How far trajectories on 10 f are from those on f, and what restores them."""
    lr, steps, starts = _UNIT_LR, _UNIT_STEPS, _SINE_STARTS
    tenfold = Scaled(_SINE, _UNIT)
    numbers: dict[str, float] = {
        "SGD, η / 10": gap(
            trajectories(_sgd(lr), _SINE, starts, steps),
            trajectories(_sgd(lr / _UNIT), tenfold, starts, steps),
        )
    }
    others = torch.logspace(-2.0, 1.5, _OTHER_RADII, dtype=torch.float64)
    of_others = trajectories(
        _exact(lr / _UNIT, others.repeat_interleave(len(starts)), (-60.0, 60.0)),
        tenfold,
        starts.repeat(len(others), 1),
        steps,
    ).unflatten(1, (len(others), -1))
    for radius in _UNIT_RADII:
        there = trajectories(_exact(lr, radius, _DOMAIN), _SINE, starts, steps)
        for name, rate, scale in (
            ("η", lr, 1.0),
            ("η / 10", lr / _UNIT, 1.0),
            ("η / 10, λ / 10", lr / _UNIT, 1 / _UNIT),
        ):
            ball = trajectories(_exact(rate, radius, _DOMAIN, scale), tenfold, starts, steps)
            numbers[f"ρ = {radius:g}, {name}"] = gap(there, ball)
        gaps = [gap(there, of_others[:, index]) for index in range(len(others))]
        numbers[f"ρ = {radius:g}, η / 10, best other radius"] = min(gaps)
        numbers[f"ρ = {radius:g}, the best other radius"] = float(others[int(np.argmin(gaps))])
    numbers |= _exact_rescalings()
    return numbers


def _exact_rescalings() -> Numbers:
    """What two rescalings change that ought to change nothing: Eq. 14, the paper's projection."""
    landscape, first, steps = Eq14(), torch.from_numpy(figure4.starts()), 20
    settings = FIGURE_4._replace(radius=5.0)

    def ball(**changed: float) -> Make:
        return functools.partial(RBO, **{**settings._asdict(), **changed}, batch_dims=1)

    there = trajectories(ball(), landscape, first, steps)
    k, m = 8.0, 4.0
    louder = trajectories(ball(loss_scale=1 / k, lr=settings.lr / k), Scaled(landscape, k), first, steps)
    wider = trajectories(
        ball(radius=settings.radius * m, loss_scale=m, lr=settings.lr * m**2),
        _Stretched(landscape, m),
        m * first,
        steps,
    )
    return {"(8 f, λ / 8, η / 8)": gap(there, louder), "(f(θ/4), 4 ρ, 4 λ, 16 η)": gap(there, wider / m)}


def judge_loss_units(numbers: Numbers) -> Finding:
    """Whether a radius means the same in all units of the loss."""
    small, large = (f"ρ = {radius:g}, η / 10" for radius in _UNIT_RADII)
    moved = max(numbers[small], numbers[large])
    restored = max(numbers[f"{name}, λ / 10"] for name in (small, large))
    exact = max(numbers["(8 f, λ / 8, η / 8)"], numbers["(f(θ/4), 4 ρ, 4 λ, 16 η)"])
    other = min(numbers[f"{name}, best other radius"] for name in (small, large))
    value = (
        f"10 f at η/10 moves the ball's path by {numbers[small]:.2g} (ρ = {_UNIT_RADII[0]:g}) and "
        f"{numbers[large]:.2g} (ρ = {_UNIT_RADII[1]:g}), SGD's by {numbers['SGD, η / 10']:.0e}; "
        f"the two exact rescalings by {exact:g}"
    )
    uncertainty = (
        f"the worst of {len(_SINE_STARTS)} starts over {_UNIT_STEPS} steps; λ/10 restores the path to "
        f"{restored:.0e}; the best of {_OTHER_RADII} other radii leaves {other:.2g}"
    )
    if moved < 1e-6:
        return Finding(value, uncertainty, Ruling.HOLDS)
    if exact == 0.0 and restored < 1e-6:
        way = "which a loss scale λ states" if other > 0.01 else "or another radius is taken"
        return Finding(
            value, uncertainty, Ruling.HOLDS_WHEN, f"loss and parameters are given a common unit, {way}"
        )
    return Finding(
        value, uncertainty, Ruling.REFUTED, f"ten times the loss, which moves the path by {moved:.2g}"
    )


# Sharp minima.

_NEAR = 1e-6
"""From the minimum, where the runs start: slopes are still small where the curvature is thousands."""
_STEPS_NEAR = 8
_BALLS = ((0.1, 0.1), (0.1, 1.0), (0.5, 0.1), (0.5, 1.0))
"""η and ρ."""


def well(curvature: float | Tensor) -> Formula:
    """κ(√(1+θ²) − 1): curvature κ at its minimum 0 and less beside it, slopes below κ."""
    return Formula(
        "well", lambda points: curvature * ((1.0 + points[..., 0].square()).sqrt() - 1.0), domain=(-8.0, 8.0)
    )


def _departures(make: Make, curvature: float | Tensor) -> Tensor:
    """How many times as far from the minimum each run is at its end as at its start."""
    first = torch.full_like(torch.as_tensor(curvature, dtype=torch.float64).reshape(-1, 1), _NEAR)
    return trajectories(make, well(curvature), first, _STEPS_NEAR)[-1, :, 0].abs() / _NEAR


def sharpest(make: Make, highest: float) -> float:
    """The largest curvature, below `highest`, of a minimum that the runs do not leave: bisection to 1e-4."""
    low, high = 1e-3 * highest, highest
    while high / low > 1.0001:
        middle = (low * high) ** 0.5
        if float(_departures(make, middle)) < 1.0:
            low = middle
        else:
            high = middle
    return low


def _sharpest_side_by_side(make: Make, highest: float) -> float:
    """As `sharpest`, many curvatures in one batch: for optimizers that do not search the landscape."""
    low, high = 1e-3 * highest, highest
    for _ in range(2):
        curvatures = torch.logspace(np.log10(low), np.log10(high), 300, dtype=torch.float64)
        left = (_departures(make, curvatures) >= 1.0).nonzero()
        index = max(1, int(left[0])) if len(left) else len(curvatures) - 1
        low, high = curvatures[index - 1].item(), curvatures[index].item()
    return low


def measure_sharp_minima() -> Numbers:
    """The sharpest minimum that an exact ball can sit in, beside gradient descent at η and at η + 2ρ."""
    numbers: dict[str, float] = {}
    for lr, radius in _BALLS:
        name = f"η = {lr:g}, ρ = {radius:g}"
        highest = 3.0 / lr
        ball, descent, faster = _exact(lr, radius), _sgd(lr), _sgd(lr + 2.0 * radius)
        numbers[f"predicted, {name}"] = 2.0 / (lr + 2.0 * radius)
        numbers[f"ball, {name}"] = sharpest(ball, highest)
        numbers[f"descent at η, {name}"] = sharpest(descent, highest)
        numbers[f"descent at η + 2ρ, {name}"] = sharpest(faster, highest)
        # Contraction on a minimum a tenth as sharp.
        speeds = [
            -np.log(float(_departures(make, 0.1 * numbers[f"predicted, {name}"])))
            for make in (ball, descent, faster)
        ]
        numbers[f"speed of the ball / of descent at η, {name}"] = speeds[0] / speeds[1]
        numbers[f"speed of the ball / of descent at η + 2ρ, {name}"] = speeds[0] / speeds[2]
    return numbers


def judge_sharp_minima(numbers: Numbers) -> Finding:
    """Whether the exact ball leaves minima that gradient descent keeps, and what else would."""
    names = [f"η = {lr:g}, ρ = {radius:g}" for lr, radius in _BALLS]
    shares = [numbers[f"ball, {name}"] / numbers[f"descent at η, {name}"] for name in names]
    off = max(abs(numbers[f"ball, {name}"] / numbers[f"predicted, {name}"] - 1.0) for name in names)
    alike = max(abs(numbers[f"ball, {name}"] / numbers[f"descent at η + 2ρ, {name}"] - 1.0) for name in names)
    to_slow = [numbers[f"speed of the ball / of descent at η, {name}"] for name in names]
    to_fast = [numbers[f"speed of the ball / of descent at η + 2ρ, {name}"] for name in names]
    largest = names[1]
    value = (
        f"{largest}: the ball stays up to κ = {numbers[f'ball, {largest}']:.3f} (2/(η+2ρ) = "
        f"{numbers[f'predicted, {largest}']:.3f}), descent at η up to "
        f"{numbers[f'descent at η, {largest}']:.2f}, at η + 2ρ up to "
        f"{numbers[f'descent at η + 2ρ, {largest}']:.3f}"
    )
    uncertainty = f"bisection to 1e-4; {len(_BALLS)} pairs of η, ρ, all within {100 * off:.1g} % of 2/(η+2ρ)"
    if max(shares) >= 0.99:
        worst = names[int(np.argmax(shares))]
        reason = f"a minimum of κ = {numbers[f'ball, {worst}']:.3g} ({worst}), where the ball stays, too"
        return Finding(value, uncertainty, Ruling.REFUTED, reason)
    if off > 0.02:
        reason = f"the edge is measured: 2/(η+2ρ) is up to {100 * off:.2g} % away"
        return Finding(value, uncertainty, Ruling.HOLDS_WHEN, reason)
    reason = "with an exact footpoint"
    if alike < 0.02:
        reason += (
            f"; descent at η + 2ρ avoids the same, but flat minima are approached at {min(to_slow):.2f}–"
            f"{max(to_slow):.2f} of the speed at η, {min(to_fast):.2g}–{max(to_fast):.2g} of that at η + 2ρ"
        )
    return Finding(value, uncertainty, Ruling.HOLDS, reason)


_EVALUATED = (
    FIGURE_3._replace(radius=1.0),
    FIGURE_4._replace(radius=1.0),
    FIGURE_4._replace(radius=5.0),
    Settings(1.0, 1.0, 1e-3, 100),
    Settings(1.0, 1.0, 0.05, 20),
    Settings(1.0, 10.0, 1e-3, 100),
)
"""The paper's settings of Figures 3 and 4, and those of its later runs on networks."""


def projected_edge(settings: Settings) -> float:
    """The curvature κ at which P projection steps overshoot a minimum by as much as they began beside it.

    To first order at a minimum, a step is −ηκ(1−q^P)/(1−ρκ) times the distance, q = 1 − γ(1−ρκ); the edge of
    stability is where that is −2.
    """
    lr, radius, projection_lr, count = settings

    def excess(logarithm: float) -> float:
        curvature = np.exp(logarithm)
        powers = np.arange(count) * np.log1p(-projection_lr * (1.0 - radius * curvature))
        return float(np.log(0.5 * lr * curvature * projection_lr) + logsumexp(powers))

    return float(np.exp(brentq(excess, np.log(1e-6), np.log(1e6))))


def measure_projected_sharp_minima() -> Numbers:
    """The sharpest minimum that a ball can sit in when P steps of SGD project it."""
    numbers: dict[str, float] = {}
    for settings in _EVALUATED:
        null = settings._replace(radius=0.0)
        highest = 3.0 / float(effective_rate(null, 0.0))
        numbers[f"ball, {settings}"] = _sharpest_side_by_side(_projected(settings), highest)
        numbers[f"predicted, {settings}"] = projected_edge(settings)
        numbers[f"radius 0, {settings}"] = _sharpest_side_by_side(_projected(null), highest)
        numbers[f"descent at η, {settings}"] = sharpest(_sgd(settings.lr), highest)
        numbers[f"exact, {settings}"] = 2.0 / (settings.lr + 2.0 * settings.radius)
    return numbers


def judge_projected_sharp_minima(numbers: Numbers) -> Finding:
    """Whether the ball as evaluated leaves minima that gradient descent keeps."""
    ratios = {str(s): numbers[f"ball, {s}"] / numbers[f"descent at η, {s}"] for s in _EVALUATED}
    to_null = [numbers[f"ball, {s}"] / numbers[f"radius 0, {s}"] for s in _EVALUATED]
    beyond = [numbers[f"ball, {s}"] / numbers[f"exact, {s}"] for s in _EVALUATED]
    off = max(abs(numbers[f"ball, {s}"] / numbers[f"predicted, {s}"] - 1.0) for s in _EVALUATED)
    worst, best = max(ratios, key=ratios.__getitem__), min(ratios, key=ratios.__getitem__)
    value = (
        f"sharpest minimum kept, over gradient descent's: {ratios[best]:.2g} ({best}) to {ratios[worst]:.2g} "
        f"({worst}); over the exact ball's: {min(beyond):.2g} to {max(beyond):.2g}"
    )
    uncertainty = (
        f"curvatures to 1e-4, within {100 * off:.1g} % of a linear prediction; over radius 0's at the same "
        f"γ, P: {min(to_null):.2g} to {max(to_null):.2g}"
    )
    if max(ratios.values()) < 0.99:
        return Finding(value, uncertainty, Ruling.HOLDS)
    stays, leaves = numbers[f"ball, {worst}"], numbers[f"descent at η, {worst}"]
    if min(ratios.values()) < 0.99:
        reason = (
            f"the projection gets far enough; at {worst} the ball stays up to κ = {stays:.3g}, gradient "
            f"descent up to {leaves:.3g}"
        )
        return Finding(value, uncertainty, Ruling.HOLDS_WHEN, reason)
    reason = f"a minimum of κ = {stays:.3g} ({worst}), which gradient descent leaves"
    return Finding(value, uncertainty, Ruling.REFUTED, reason)


# P projection steps, and P steps of SGD.

_BATCH = 128
_RADII_ON_DIGITS = (1.0, 10.0)
_PROJECTION_LRS = (1e-3, 0.05)
_REPEATS = 100
_RATES_ON_DIGITS = (1e-4, 1e-3, 1e-2, 0.1)
_STAGES = (0, 20, 300)
"""Steps of SGD before."""
_SEEDS = (0, 1, 2)


def measure_projection_as_descent() -> Numbers:
    """The cosine between one step of the ball and P steps of SGD on one batch of digits."""
    numbers: dict[str, float] = {}
    pairs = list(itertools.product(_RADII_ON_DIGITS, _PROJECTION_LRS))
    to_sgd: dict[tuple[float, float], list[float]] = {pair: [] for pair in pairs}
    to_gradient: dict[tuple[float, float], list[float]] = {pair: [] for pair in pairs}
    for seed, stage in itertools.product(_SEEDS, _STAGES):
        batch = _DigitsBatch(seed, stage)
        gradient = batch.displacement(functools.partial(SGD, lr=1.0))
        descents = [
            batch.displacement(functools.partial(RepeatedSGD, lr=lr, repeats=_REPEATS))
            for lr in _RATES_ON_DIGITS
        ]
        for radius, projection_lr in pairs:
            step = batch.displacement(
                functools.partial(RBO, **Settings(1.0, radius, projection_lr, _REPEATS)._asdict())
            )
            # No step size of SGD matches the ball's: the one that serves the claim best is taken.
            to_sgd[radius, projection_lr].append(max(_cosine(step, descent) for descent in descents))
            to_gradient[radius, projection_lr].append(_cosine(step, gradient))
    for radius, projection_lr in pairs:
        name = f"ρ = {radius:g}, γ = {projection_lr:g}"
        cosines = to_sgd[radius, projection_lr]
        numbers[f"lowest cosine, {name}"] = min(cosines)
        numbers[f"highest cosine, {name}"] = max(cosines)
        numbers[f"mean cosine, {name}"] = float(np.mean(cosines))
        numbers[f"mean cosine with one gradient, {name}"] = float(np.mean(to_gradient[radius, projection_lr]))
    numbers["batches"] = len(_SEEDS) * len(_STAGES)
    return numbers


class _DigitsBatch:
    """One batch of scikit-learn's digits, and a small network after some steps of SGD on others."""

    def __init__(self, seed: int, stage: int) -> None:
        from sklearn.datasets import load_digits

        images, labels = load_digits(return_X_y=True)
        self._images, self._labels = torch.from_numpy(images / 16.0), torch.from_numpy(labels)
        with seeded_default_generators(derived_seed(seed, "init"), torch.device("cpu")):
            layers = [nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 10)]
        self._model = nn.Sequential(*layers).double()
        self._order = np.random.default_rng(derived_seed(seed, "order"))
        optimizer = SGD(self._model.parameters(), lr=0.1)
        for _ in range(stage):
            self._draw()
            optimizer.step(self._closure)
        self._draw()
        self._start = self._vector()

    def displacement(self, make: Callable[..., torch.optim.Optimizer]) -> Tensor:
        """What one step of an optimizer does to the weights, which are put back before."""
        nn.utils.vector_to_parameters(self._start.clone(), self._model.parameters())
        make(self._model.parameters()).step(self._closure)
        return self._vector() - self._start

    def _draw(self) -> None:
        self._chosen = torch.from_numpy(self._order.permutation(len(self._labels))[:_BATCH])

    def _vector(self) -> Tensor:
        return nn.utils.parameters_to_vector(self._model.parameters()).detach().clone()

    def _closure(self) -> Any:
        self._model.zero_grad()
        loss = nn.functional.cross_entropy(
            self._model(self._images[self._chosen]), self._labels[self._chosen]
        )
        loss.backward()
        return loss


def _cosine(left: Tensor, right: Tensor) -> float:
    return float(torch.nn.functional.cosine_similarity(left, right, dim=0))


def judge_projection_as_descent(numbers: Numbers) -> Finding:
    """Whether P projection steps go where P steps of SGD go."""
    names = {
        (radius, lr): f"ρ = {radius:g}, γ = {lr:g}" for radius in _RADII_ON_DIGITS for lr in _PROJECTION_LRS
    }
    lowest = {pair: numbers[f"lowest cosine, {name}"] for pair, name in names.items()}
    told = "; ".join(
        f"{numbers[f'lowest cosine, {name}']:.2f} to {numbers[f'highest cosine, {name}']:.2f} ({name})"
        for name in names.values()
    )
    alike = max(
        abs(numbers[f"mean cosine, {name}"] - numbers[f"mean cosine with one gradient, {name}"])
        for name in names.values()
    )
    uncertainty = (
        f"range over {numbers['batches']:.0f} batches, γ′ the best of {len(_RATES_ON_DIGITS)}; the cosine "
        f"with one gradient alone differs by at most {alike:.2g} on average"
    )
    value = f"cosine {told}"
    close = [name for pair, name in names.items() if lowest[pair] > 0.95]
    if len(close) == len(names):
        return Finding(value, uncertainty, Ruling.HOLDS)
    if close:
        way = "; a single gradient points as near" if alike < 0.05 else ""
        return Finding(value, uncertainty, Ruling.HOLDS_WHEN, f"ρ and γP are small ({', '.join(close)}){way}")
    worst = min(lowest, key=lowest.__getitem__)
    reason = f"a batch of digits with {names[worst]}: cosine {lowest[worst]:.2f}"
    return Finding(value, uncertainty, Ruling.REFUTED, reason)


CLAIMS = (
    Claim(
        name="zero-radius",
        section="3.1",
        claim="The ball generalizes gradient descent: as ρ → 0 it becomes gradient descent at η.",
        test="Exact balls against gradient descent on sin and Eq. 14, a step and whole paths, ρ, η → 0",
        measure=measure_zero_radius,
        judge=judge_zero_radius,
    ),
    Claim(
        name="zero-radius-projected",
        section="5",
        claim="With P steps of SGD as its projection, too, the ball of radius 0 is SGD at η.",
        test="The ball of radius 0 with γ, P of Figures 3 and 4: its rate on planes; paths on sin and Eq. 14",
        measure=measure_projected_zero_radius,
        judge=judge_projected_zero_radius,
    ),
    Claim(
        name="below-the-critical-radius",
        section="1",
        claim="Below a critical radius the ball behaves as standard SGD.",
        test="Exact balls on sin θ against gradient descent: positions at η = 0.02, rest at η = 0.5",
        measure=measure_below_critical,
        judge=judge_below_critical,
    ),
    Claim(
        name="loss-units",
        section="1",
        claim="The radius is a scale of the loss landscape.",
        test=(
            "Exact balls on sin θ and on 10 sin θ at η/10; control: SGD. Beside it two rescalings that "
            "should change nothing, bit for bit (Eq. 14, ρ = 5)"
        ),
        measure=measure_loss_units,
        judge=judge_loss_units,
    ),
    Claim(
        name="sharp-minima",
        section="Abstract, 1",
        claim="The ball avoids sharp minima.",
        test=(
            "Largest curvature κ of the minimum of κ(√(1+θ²)−1) that an exact ball, started beside it, does "
            "not leave; controls: gradient descent at η and at η + 2ρ"
        ),
        measure=measure_sharp_minima,
        judge=judge_sharp_minima,
    ),
    Claim(
        name="sharp-minima-projected",
        section="Abstract, 1",
        claim="The ball avoids sharp minima with P steps of SGD as its projection, too.",
        test=(
            "The same with the paper's projection, at six settings of η, ρ, γ, P; controls: gradient "
            "descent at η, and radius 0"
        ),
        measure=measure_projected_sharp_minima,
        judge=judge_projected_sharp_minima,
    ),
    Claim(
        name="projection-as-descent",
        section="3.1 (ours)",
        claim="P projection steps are much like P steps of SGD on one batch.",
        test=(
            "Cosine between a step of the ball (η = 1, P = 100) and 100 steps of SGD at γ′ on the same batch "
            "of digits, MLP, float64; control: a single gradient"
        ),
        measure=measure_projection_as_descent,
        judge=judge_projection_as_descent,
    ),
)
