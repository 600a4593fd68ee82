"""Claims on what the ball is close to: at radius 0, in other units, at sharp minima, on one batch."""

from __future__ import annotations

import functools
import itertools
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
import torch
from scipy.optimize import brentq
from scipy.special import logsumexp
from torch import Tensor, nn

from rbobench.geometry.landscape import Domain, Formula, Landscape, Scaled
from rbobench.optim.controls import RepeatedSGD, rbo_null
from rbobench.optim.rolling_ball import RBO
from rbobench.optim.sgd import SGD
from rbobench.paper import figure4
from rbobench.paper.claim import Claim, Finding, Numbers, Ruling
from rbobench.paper.power_law import order
from rbobench.paper.trajectories import Make, trajectories
from rbobench.randomness import derived_seed, seeded_default_generators
from rbobench.tasks.landscapes import Eq14, Sine

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


def gap(left: Tensor, right: Tensor) -> float:
    """The largest distance between trajectories at the same step."""
    return float((left - right).norm(dim=-1).max())


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
        meant = "η(1−(1−γs²)^P) is meant by the learning rate"
        # Closer by half: what is left of the gap is then less than what the formula explains.
        closer = {
            name: numbers[f"gap to descent at the effective rate, {name}"]
            < 0.5 * numbers[f"gap to descent at η, {name}"]
            for name in ("sin", "Eq. 14")
        }
        if all(closer.values()):
            reason = f"{meant}: flat places are crossed slower than steep ones"
        else:
            missed = " and ".join(name for name, is_closer in closer.items() if not is_closer)
            reason = f"{meant} and the landscape is flat within a step: on {missed} neither rate fits"
        return Finding(value, uncertainty, Ruling.HOLDS_WHEN, reason)
    worst = min(rates)
    return Finding(value, uncertainty, Ruling.REFUTED, f"a plane, descended at {worst:.3g} η")


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


# Sharp minima: which one a ball leaves.

_SHARP = (20.0, 80.0, 320.0, 1280.0)
"""κ of the sharp well: 2/η and more, so that gradient descent is unstable in each."""
_SHARP_LR, _SHARP_STEPS, _LAST = 0.2, 100, 20
_SHARP_RADII = (0.1, 1.0)
_PLACE, _BESIDE = 1.5, 1.0
"""Where the sharp well is, and how far around 0 is over the flatter valley."""
_SIZES: dict[str, Callable[[float], tuple[float, float]]] = {
    "depth 0.3": lambda curvature: (0.3, (0.3 / curvature) ** 0.5),
    "width 0.2": lambda curvature: (0.04 * curvature, 0.2),
}
"""Depth and width of a well of curvature κ = depth / width²."""


def two_valleys(depth: float, width: float) -> Formula:
    """0.1 θ² − depth · exp(−(θ−1.5)²/(2 width²)): a flat valley at 0 (κ = 0.2), a sharp one on its slope."""
    return Formula(
        "two valleys",
        lambda points: (
            0.1 * points[..., 0].square()
            - depth * torch.exp(-0.5 * ((points[..., 0] - _PLACE) / width).square())
        ),
        domain=(-4.0, 4.0),
        spacing=min(1e-2, width / 5.0),
    )


def measure_two_valleys() -> Numbers:
    """How many of the starts end over the flatter valley, the rest over the sharp well or moving about."""
    numbers: dict[str, float] = {}
    outside = torch.tensor([2.2, 2.6, 3.0], dtype=torch.float64)
    within = torch.tensor([-0.5, 0.02, 0.5], dtype=torch.float64)
    for (size, of), curvature in itertools.product(_SIZES.items(), _SHARP):
        depth, width = of(curvature)
        landscape = two_valleys(depth, width)
        first = torch.cat([_PLACE + width * within, outside])[:, None]
        radii = torch.tensor(_SHARP_RADII, dtype=torch.float64).repeat_interleave(len(first))
        contacts = trajectories(
            _exact(_SHARP_LR, radii, (-4.0, 4.0)),
            landscape,
            first.repeat(len(_SHARP_RADII), 1),
            _SHARP_STEPS,
        )
        slopes = landscape.value_and_grad(contacts)[1]
        centers = contacts - radii[:, None] * slopes / (1.0 + slopes.square()).sqrt()
        of_balls = zip(_SHARP_RADII, centers.split(len(first), dim=1), strict=True)
        visited = {f"ρ = {radius:g}": part for radius, part in of_balls}
        fast = _SHARP_LR + 2.0 * _SHARP_RADII[-1]
        for name, lr in (("descent at η", _SHARP_LR), ("descent at η + 2ρ", fast)):
            visited[name] = trajectories(_sgd(lr), landscape, first, _SHARP_STEPS)
        for name, points in visited.items():
            last = points[-_LAST:, :, 0]
            flatter = (last.abs() < _BESIDE).all(dim=0)
            numbers[f"flatter, {name}, {size}, κ = {curvature:g}"] = float(flatter.sum())
            sharp = ((last - _PLACE).abs() < 0.5).all(dim=0)
            numbers[f"sharp, {name}, {size}, κ = {curvature:g}"] = float(sharp.sum())
        numbers["starts"] = len(first)
    return numbers


def judge_two_valleys(numbers: Numbers) -> Finding:
    """Whether balls end over the flatter of two valleys, whatever makes the other sharp."""
    count = numbers["starts"]
    wells = [f"{size}, κ = {curvature:g}" for size in _SIZES for curvature in _SHARP]
    small, large = (f"ρ = {radius:g}" for radius in _SHARP_RADII)

    def listed(name: str, size: str) -> str:
        return ", ".join(
            f"{numbers[f'flatter, {name}, {size}, κ = {curvature:g}']:.0f}" for curvature in _SHARP
        )

    def told(name: str) -> str:
        return " and ".join(listed(name, size) for size in _SIZES)

    value = (
        f"of {count:.0f} starts ending over the flatter valley, by rising κ, at {' and at '.join(_SIZES)}: "
        f"{told(large)} ({large}), {told(small)} ({small})"
    )
    uncertainty = (
        f"κ = {', '.join(f'{curvature:g}' for curvature in _SHARP)} at {' and '.join(_SIZES)}; η = "
        f"{_SHARP_LR:g}; descent at η {told('descent at η')}, at η + 2ρ {told('descent at η + 2ρ')}"
    )
    kept = {
        name: [well for well in wells if numbers[f"sharp, {name}, {well}"] >= 0.5 * count]
        for name in (small, large)
    }
    if kept[large]:
        sharpest_kept = kept[large][-1]
        stays = numbers[f"sharp, {large}, {sharpest_kept}"]
        of_descent = numbers[f"sharp, descent at η, {sharpest_kept}"]
        reason = (
            f"a well of {sharpest_kept}: {stays:.0f} of {count:.0f} balls of {large} end over it, "
            f"{of_descent:.0f} with gradient descent"
        )
        left = [size for size in _SIZES if not any(well.startswith(size) for well in kept[large])]
        if left:
            reason += f"; wells that narrow as they sharpen ({left[0]}) are left"
        return Finding(value, uncertainty, Ruling.REFUTED, reason)
    if kept[small]:
        reason = f"ρ is large: with {small} most end over a well of {kept[small][-1]}"
        return Finding(value, uncertainty, Ruling.HOLDS_WHEN, reason)
    alike = all(numbers[f"sharp, descent at η, {well}"] < 0.5 * count for well in wells)
    reason = "so does gradient descent at η" if alike else ""
    return Finding(value, uncertainty, Ruling.HOLDS, reason)


# Sharp minima: where a contact is stable.

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
    """Whether the edge of stability of the exact ball's contact is 2/(η+2ρ), and what else has that edge."""
    names = [f"η = {lr:g}, ρ = {radius:g}" for lr, radius in _BALLS]
    shares = [numbers[f"ball, {name}"] / numbers[f"descent at η, {name}"] for name in names]
    off = max(abs(numbers[f"ball, {name}"] / numbers[f"predicted, {name}"] - 1.0) for name in names)
    alike = max(abs(numbers[f"ball, {name}"] / numbers[f"descent at η + 2ρ, {name}"] - 1.0) for name in names)
    to_slow = [numbers[f"speed of the ball / of descent at η, {name}"] for name in names]
    to_fast = [numbers[f"speed of the ball / of descent at η + 2ρ, {name}"] for name in names]
    largest = names[1]
    value = (
        f"{largest}: the contact stays up to κ = {numbers[f'ball, {largest}']:.3f} (2/(η+2ρ) = "
        f"{numbers[f'predicted, {largest}']:.3f}), descent at η up to "
        f"{numbers[f'descent at η, {largest}']:.2f}, at η + 2ρ up to "
        f"{numbers[f'descent at η + 2ρ, {largest}']:.3f}"
    )
    uncertainty = (
        f"bisection to 1e-4 over {_STEPS_NEAR} steps from {_NEAR:g}; {len(_BALLS)} pairs of η, ρ, all within "
        f"{100 * off:.1g} % of 2/(η+2ρ); the center may stay while the contact jumps"
    )
    if max(shares) >= 0.99:
        worst = names[int(np.argmax(shares))]
        reason = f"a minimum of κ = {numbers[f'ball, {worst}']:.3g} ({worst}), where the contact stays, too"
        return Finding(value, uncertainty, Ruling.REFUTED, reason)
    if off > 0.02:
        reason = f"the edge is measured: 2/(η+2ρ) is up to {100 * off:.2g} % away"
        return Finding(value, uncertainty, Ruling.REFUTED, reason)
    reason = ""
    if alike < 0.02:
        reason = (
            f"descent at η + 2ρ has the same edge, but nears flat minima faster: the ball at "
            f"{min(to_slow):.2f}–{max(to_slow):.2f} of the speed of η, {min(to_fast):.2g}–"
            f"{max(to_fast):.2g} of that of η + 2ρ"
        )
    return Finding(value, uncertainty, Ruling.HOLDS, reason)


_OF_THE_PAPER = (
    FIGURE_3._replace(radius=1.0),
    FIGURE_4._replace(radius=1.0),
    FIGURE_4._replace(radius=5.0),
)
"""Settings of Figures 3 and 4."""
_OF_NETWORKS = (
    Settings(1.0, 1.0, 1e-3, 100),
    Settings(1.0, 1.0, 0.05, 20),
    Settings(1.0, 10.0, 1e-3, 100),
)
"""Settings of runs on networks, which are ours."""
_EVALUATED = _OF_THE_PAPER + _OF_NETWORKS


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
        numbers[f"way onto a plane, {settings}"] = float(effective_rate(null, 0.0)) / settings.lr
    return numbers


def judge_projected_sharp_minima(numbers: Numbers) -> Finding:
    """Whether the ball as the paper evaluates it is unstable at minima where gradient descent is stable."""
    of_all = {str(s): numbers[f"ball, {s}"] / numbers[f"descent at η, {s}"] for s in _EVALUATED}
    ratios = {name: of_all[name] for name in map(str, _OF_THE_PAPER)}
    ours = [of_all[name] for name in map(str, _OF_NETWORKS)]
    to_null = [numbers[f"ball, {s}"] / numbers[f"radius 0, {s}"] for s in _OF_THE_PAPER]
    beyond = [numbers[f"ball, {s}"] / numbers[f"exact, {s}"] for s in _OF_THE_PAPER]
    off = max(abs(numbers[f"ball, {s}"] / numbers[f"predicted, {s}"] - 1.0) for s in _EVALUATED)
    worst = max(ratios, key=ratios.__getitem__)
    value = (
        f"sharpest stable minimum, over gradient descent's: {', '.join(f'{r:.2g}' for r in ratios.values())} "
        f"({'; '.join(ratios)})"
    )
    uncertainty = (
        f"to 1e-4, within {100 * off:.1g} % of a linear prediction; over the exact ball's: "
        f"{min(beyond):.2g} to {max(beyond):.2g}, over radius 0's: {min(to_null):.2g} to "
        f"{max(to_null):.2g}; on networks (ours, η = 1): {', '.join(f'{ratio:.2g}' for ratio in ours)}"
    )
    kept = [name for name in of_all if of_all[name] >= 0.99]
    if worst not in kept:
        if not kept:
            return Finding(value, uncertainty, Ruling.HOLDS)
        edge = numbers[f"ball, {kept[0]}"], numbers[f"descent at η, {kept[0]}"]
        reason = (
            f"but not at every setting of ours: at {kept[0]} the ball is stable up to κ = {edge[0]:.3g}, "
            f"gradient descent up to {edge[1]:.3g}"
        )
        return Finding(value, uncertainty, Ruling.HOLDS, reason)
    stays, leaves = numbers[f"ball, {worst}"], numbers[f"descent at η, {worst}"]
    left = [name for name in ratios if name not in kept]
    if left:
        ways = {name: numbers[f"way onto a plane, {name}"] for name in (worst, left[0])}
        reason = (
            f"the setting is {left[0]} ({ways[left[0]]:.2g} of the way onto a plane); at {worst} "
            f"({ways[worst]:.2g}) κ = {stays:.3g} is stable, over gradient descent's {leaves:.3g}"
        )
        return Finding(value, uncertainty, Ruling.HOLDS_WHEN, reason)
    reason = f"a minimum of κ = {stays:.3g} ({worst}), where gradient descent is not stable"
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
        reason = f"ρ and γP are small ({', '.join(close)})"
        if alike < 0.05:
            reason += "; one gradient points as near, so nothing shows that the steps are P"
        return Finding(value, uncertainty, Ruling.HOLDS_WHEN, reason)
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
        name="loss-units",
        section="1 (ours)",
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
            "A flat valley (κ = 0.2) with a sharp well on its slope: over which do an exact ball's center "
            "and gradient descent (η, η + 2ρ) end? 3 starts in the well, 3 above"
        ),
        measure=measure_two_valleys,
        judge=judge_two_valleys,
    ),
    Claim(
        name="edge-of-stability",
        section="Abstract, 1 (ours)",
        claim="A minimum is linearly stable for an exact ball's contact only up to a curvature of 2/(η+2ρ).",
        test=(
            "Largest curvature κ of the minimum of κ(√(1+θ²)−1) that the contact, started 1e-6 beside it, "
            "does not leave; controls: gradient descent at η and at η + 2ρ"
        ),
        measure=measure_sharp_minima,
        judge=judge_sharp_minima,
    ),
    Claim(
        name="edge-of-stability-projected",
        section="5 (ours)",
        claim="As the paper projects it, the ball is stable only at flatter minima than gradient descent is.",
        test=(
            "The same with P steps of SGD as projection, η, ρ, γ, P of Figures 3 and 4 (beside them three "
            "settings of runs on networks); controls: gradient descent at η, radius 0"
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
