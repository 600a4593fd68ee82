"""Claims on exploration and exploitation, on the paper's plane of wells (Section 5.2, Figure 4)."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterable
from typing import Any

import numpy as np
import pandas as pd
import torch
from scipy.stats import binomtest
from torch import Tensor

from rbobench.analysis.statistics import paired_t
from rbobench.optim.controls import rbo_null
from rbobench.optim.rolling_ball import RBO
from rbobench.optim.schedule import Factor, constant, exponential, switch
from rbobench.optim.sgd import SGD
from rbobench.paper import figure4
from rbobench.paper.claim import Claim, Finding, Numbers, Ruling
from rbobench.paper.trajectories import trajectories
from rbobench.tasks.landscapes import Eq14

EQ14 = Eq14()
SMALL = tuple(radius for radius in figure4.RADII if radius <= 3.0)
LARGE = tuple(radius for radius in figure4.RADII if radius >= 4.0)
"""The paper's two sides: radii that are trapped, and radii that escape."""

FAR = 1.0
"""From the start: several wells away, as their σ is 0.1."""

_STARTS = torch.from_numpy(figure4.starts())
_COST = figure4.PROJECTION_STEPS
"""Gradients of a step of the ball for one of SGD."""


@functools.cache
def _figure() -> pd.DataFrame:
    """The trajectories of Figure 4: three claims look at them."""
    return figure4.measure()


def paths(radius: float) -> Tensor:
    """Of Figure 4, for one radius; NaN is SGD: points of shape `(steps + 1, 10, 2)`."""
    frame = _figure()
    chosen = frame["radius"].isna() if np.isnan(radius) else frame["radius"] == radius
    ordered = frame[chosen].sort_values(["step", "start"])
    return torch.tensor(ordered[["x", "y"]].to_numpy()).reshape(-1, len(_STARTS), 2)


def farthest(visited: Tensor) -> np.ndarray:
    """How far each trajectory gets from its start."""
    return (visited - visited[0]).norm(dim=-1).amax(dim=0).numpy()


def escaped(visited: Tensor) -> float:
    """The share of trajectories that get farther than `FAR`."""
    return float((farthest(visited) > FAR).mean())


def losses(visited: Tensor) -> np.ndarray:
    """Eq. 14 along trajectories, of shape `(steps + 1, m)`."""
    return EQ14.value_and_grad(visited)[0].numpy()


def _descents(rates: Tensor, first: Tensor, steps: int = figure4.STEPS, **options: Any) -> Tensor:
    return trajectories(functools.partial(SGD, lr=rates, batch_dims=1), EQ14, first, steps, **options)


def _balls(radii: Tensor, first: Tensor, steps: int = figure4.STEPS, **options: Any) -> Tensor:
    make = functools.partial(
        RBO,
        lr=figure4.LR,
        radius=radii,
        projection_steps=figure4.PROJECTION_STEPS,
        projection_lr=figure4.PROJECTION_LR,
        batch_dims=1,
    )
    return trajectories(make, EQ14, first, steps, **options)


def _named(radius: float) -> str:
    return f"ρ = {radius:g}"


def _listed(values: Iterable[float]) -> str:
    return ", ".join(f"{value:g}" for value in values)


def _each(values: tuple[float, ...], count: int) -> Tensor:
    return torch.tensor(values, dtype=torch.float64).repeat_interleave(count)


# Trapped or free.

_ELSEWHERE = ((-2.0, 0.0), (0.0, 2.0), (0.0, -2.0))
_RADII_ELSEWHERE = (3.0, 4.0, 5.0)


def measure_escape() -> Numbers:
    """How many of the ten starts get far, for SGD and each radius, and from three other places."""
    numbers: dict[str, float] = {"starts": len(_STARTS)}
    for name, radius in (("SGD", np.nan), *((f"ρ = {radius:g}", radius) for radius in figure4.RADII)):
        visited = paths(radius)
        numbers[f"escaped, {name}"] = escaped(visited)
        numbers[f"median farthest, {name}"] = float(np.median(farthest(visited)))
    around = _STARTS[:5] - torch.tensor([2.0, 0.0], dtype=torch.float64)
    first = torch.cat([around + torch.tensor(place, dtype=torch.float64) for place in _ELSEWHERE])
    visited = _balls(_each(_RADII_ELSEWHERE, len(first)), first.repeat(len(_RADII_ELSEWHERE), 1))
    for index, radius in enumerate(_RADII_ELSEWHERE):
        part = visited[:, index * len(first) : (index + 1) * len(first)]
        numbers[f"escaped elsewhere, ρ = {radius:g}"] = escaped(part)
    numbers["escaped elsewhere, SGD"] = escaped(_descents(_each((figure4.LR,), len(first)), first))
    numbers["starts elsewhere"] = len(first)
    return numbers


def _interval(share: float, count: float) -> tuple[float, float]:
    """The exact two-sided 95 % interval of a share of `count` starts."""
    interval = binomtest(round(share * count), round(count)).proportion_ci(confidence_level=0.95)
    return float(interval.low), float(interval.high)


def judge_escape(numbers: Numbers) -> Finding:
    """Whether small radii are trapped and large ones escape, from the paper's starts and from others."""
    count, elsewhere = numbers["starts"], numbers["starts elsewhere"]
    trapped = {name: numbers[f"escaped, {name}"] for name in ("SGD", *map(_named, SMALL))}
    free = {radius: numbers[f"escaped, ρ = {radius:g}"] for radius in LARGE}
    value = (
        f"escaped of {count:.0f}: at most {count * max(trapped.values()):.0f} with SGD and ρ ≤ 3; "
        f"{_listed(count * share for share in free.values())} at ρ = {_listed(LARGE)}; median distance "
        + ", ".join(f"{numbers[f'median farthest, {_named(radius)}']:.2g}" for radius in LARGE)
    )
    uncertainty = (
        f"one draw of wells, paths are chaotic from ρ = 4 on; at three other places, of {elsewhere:.0f}: "
        + _listed(elsewhere * numbers[f"escaped elsewhere, {_named(radius)}"] for radius in _RADII_ELSEWHERE)
        + f" at ρ = {_listed(_RADII_ELSEWHERE)}, {elsewhere * numbers['escaped elsewhere, SGD']:.0f} with SGD"
    )
    loose = max(trapped, key=trapped.__getitem__)
    if trapped[loose] > 0.1:
        reason = f"{count * trapped[loose]:.0f} of {count:.0f} at {loose}, which escape"
        return Finding(value, uncertainty, Ruling.REFUTED, reason)
    # A radius frees the ball where more than half of all starts would escape, at 95 % (Clopper-Pearson).
    held = [radius for radius in LARGE if _interval(free[radius], count)[0] <= 0.5]
    beyond = [radius for radius in LARGE if not held or radius > max(held)]
    if not beyond:
        reason = f"even at ρ = {LARGE[-1]:g} only {count * free[LARGE[-1]]:.0f} of {count:.0f} escape"
        return Finding(value, uncertainty, Ruling.NOT_REPRODUCED, reason)
    conditions = []
    if held:
        escape = f"at ρ = {max(held):g} {count * free[max(held)]:.0f} of {count:.0f} escape"
        if _interval(free[max(held)], count)[1] > 0.5:
            escape += ", undecided at 95 %"
        conditions.append(f"ρ ≥ {beyond[0]:g} is large ({escape})")
    wider = [
        (radius, elsewhere * numbers[f"escaped elsewhere, {_named(radius)}"])
        for radius in _RADII_ELSEWHERE
        if radius in SMALL
    ]
    for radius, escapes in wider:
        if escapes > 0.1 * elsewhere:
            escape = f"elsewhere {escapes:.0f} of {elsewhere:.0f} escape at ρ = {radius:g}"
            conditions.append(f"the starts are these ({escape})")
    if conditions:
        return Finding(value, uncertainty, Ruling.HOLDS_WHEN, " and ".join(conditions))
    return Finding(value, uncertainty, Ruling.HOLDS)


# Is it the ball?

_RATES = (0.02, 0.05, 0.1)


def measure_point_like() -> Numbers:
    """Whether points escape as well: SGD at larger rates or for longer, and the ball of radius 0."""
    numbers: dict[str, float] = {
        "starts": len(_STARTS),
        "gradients of SGD": figure4.STEPS,
        "gradients of the ball": figure4.STEPS * _COST,
    }
    for radius in LARGE:
        numbers[f"ball, ρ = {radius:g}"] = escaped(paths(radius))
        numbers[f"median farthest, ball, ρ = {radius:g}"] = float(np.median(farthest(paths(radius))))
    rates = (figure4.LR, *_RATES)
    visited = _descents(_each(rates, len(_STARTS)), _STARTS.repeat(len(rates), 1))
    for index, rate in enumerate(rates):
        part = visited[:, index * len(_STARTS) : (index + 1) * len(_STARTS)]
        numbers[f"SGD, η = {rate:g}"] = escaped(part)
        numbers[f"median farthest, SGD, η = {rate:g}"] = float(np.median(farthest(part)))
    null = functools.partial(
        rbo_null,
        lr=figure4.LR,
        projection_steps=figure4.PROJECTION_STEPS,
        projection_lr=figure4.PROJECTION_LR,
        batch_dims=1,
    )
    numbers["radius 0"] = escaped(trajectories(null, EQ14, _STARTS, figure4.STEPS))
    long = _descents(_each((figure4.LR,), len(_STARTS)), _STARTS, figure4.STEPS * _COST)
    numbers["SGD for as many gradients"] = escaped(long)
    numbers["curvature of a well"] = 2.0 + 2.0 / EQ14.sigma**2
    return numbers


def judge_point_like(numbers: Numbers) -> Finding:
    """Whether points are trapped where balls are not."""
    count = numbers["starts"]
    balls = {radius: numbers[f"ball, ρ = {radius:g}"] for radius in LARGE}
    points = {rate: numbers[f"SGD, η = {rate:g}"] for rate in _RATES}
    stays = numbers[f"SGD, η = {figure4.LR:g}"]
    long, null = numbers["SGD for as many gradients"], numbers["radius 0"]
    value = (
        f"escaped of {count:.0f}: {_listed(count * share for share in balls.values())} at "
        f"ρ = {_listed(LARGE)}; "
        f"SGD {_listed(count * share for share in (stays, *points.values()))} at η = "
        f"{_listed((figure4.LR, *_RATES))}; {count * null:.0f} at ρ = 0"
    )
    uncertainty = (
        f"one draw of wells, of curvature {numbers['curvature of a well']:.0f} (2/η = {2 / figure4.LR:.0f}); "
        f"SGD at η = {figure4.LR:g} for the ball's {numbers['gradients of the ball']:,.0f} gradients: "
        f"{count * long:.0f}"
    )
    ball = max(balls.values())
    best = max(points, key=points.__getitem__)
    if points[best] >= ball and points[best] > 0.5:
        reason = (
            f"SGD at η = {best:g}: {count * points[best]:.0f} of {count:.0f} escape, on "
            f"{numbers['gradients of SGD']:.0f} gradients, not {numbers['gradients of the ball']:,.0f}"
        )
        return Finding(value, uncertainty, Ruling.REFUTED, reason)
    if max(points[best], long, null) > 0.1:
        reason = (
            f"points get the same η and gradients: SGD at η = {best:g} frees {count * points[best]:.0f}, "
            f"as many gradients {count * long:.0f}, radius 0 {count * null:.0f}"
        )
        return Finding(value, uncertainty, Ruling.HOLDS_WHEN, reason)
    if ball < 0.5:
        reason = f"balls do not escape either: {count * ball:.0f} of {count:.0f} at best"
        return Finding(value, uncertainty, Ruling.NOT_REPRODUCED, reason)
    return Finding(value, uncertainty, Ruling.HOLDS)


# The global basin.

NEAR = 0.2
"""Of the global minimum: two σ."""
_CANDIDATES = 0.5
_SMALL_RATE = 1e-3


@functools.cache
def global_minimum() -> tuple[Tensor, float]:
    """The lowest point of Eq. 14, and its loss: Newton's method from the lowest points of a grid."""
    axis = torch.linspace(-3.0, 3.0, 601, dtype=torch.float64)
    grid = torch.cartesian_prod(axis, axis)
    on_grid = torch.cat([EQ14.value_and_grad(part)[0] for part in grid.split(20_000)])
    points = grid[on_grid.topk(100, largest=False).indices]
    for _ in range(30):
        gradient = EQ14.value_and_grad(points)[1]
        step = torch.linalg.solve(EQ14.hessian(points), gradient)
        points = points - step.clamp(-0.01, 0.01)
    values, gradients = EQ14.value_and_grad(points)
    values = values.where(gradients.norm(dim=-1) < 1e-9, torch.inf)
    best = int(values.argmin())
    return points[best], float(values[best])


def in_global_basin(points: Tensor) -> Tensor:
    """Which of `points` of shape `(m, 2)` gradient descent in small steps leads to the global minimum."""
    minimum, _ = global_minimum()
    ends = _descents(_each((_SMALL_RATE,), len(points)), points, 1500)[-1]
    return (ends - minimum).norm(dim=-1) < 1e-3


def measure_global_basin() -> Numbers:
    """Where large balls, and SGD at twice the rate, end and pass, as seen from the global minimum."""
    minimum, lowest = global_minimum()
    numbers: dict[str, float] = {
        "starts": len(_STARTS),
        "global minimum": lowest,
        "global minimum, x": minimum[0].item(),
        "global minimum, y": minimum[1].item(),
        "farthest descent that led there": 0.0,
    }
    runs = {f"ρ = {radius:g}": paths(radius) for radius in LARGE}
    runs["SGD, η = 0.02"] = _descents(_each((0.02,), len(_STARTS)), _STARTS)
    for name, visited in runs.items():
        distance = (visited - minimum).norm(dim=-1)
        candidates = distance < _CANDIDATES
        candidates[-1] = True
        inside = torch.zeros_like(candidates)
        inside[candidates] = in_global_basin(visited[candidates])
        if inside.any():
            reach = max(numbers["farthest descent that led there"], float(distance[inside].max()))
            numbers["farthest descent that led there"] = reach
        loss = losses(visited)
        numbers[f"ends in the basin, {name}"] = float(inside[-1].double().mean())
        numbers[f"passes through the basin, {name}"] = float(inside.any(dim=0).double().mean())
        close = distance < NEAR
        numbers[f"ends within {NEAR:g}, {name}"] = float(close[-1].double().mean())
        numbers[f"passes within {NEAR:g}, {name}"] = float(close.any(dim=0).double().mean())
        numbers[f"median distance at the end, {name}"] = float(np.median(distance[-1].numpy()))
        from_origin = visited[-1].norm(dim=-1).numpy()
        numbers[f"median distance from the origin at the end, {name}"] = float(np.median(from_origin))
        numbers[f"median last loss, {name}"] = float(np.median(loss[-1]))
        numbers[f"median lowest loss, {name}"] = float(np.median(loss.min(axis=0)))
    return numbers


def judge_global_basin(numbers: Numbers) -> Finding:
    """Whether large balls find the global basin, on the way and in the end."""
    count = numbers["starts"]
    ends = {radius: numbers[f"ends in the basin, ρ = {radius:g}"] for radius in LARGE}
    passes = [numbers[f"passes through the basin, ρ = {radius:g}"] for radius in LARGE]
    total = count * len(LARGE)
    ended, passed = count * sum(ends.values()), count * sum(passes)

    def medians(what: str) -> str:
        return ", ".join(f"{numbers[f'median {what}, ρ = {radius:g}']:.2g}" for radius in LARGE)

    value = (
        f"of {total:.0f}, {ended:.0f} end in it, {passed:.0f} pass through; median loss at the end "
        f"{medians('last loss')}, lowest {medians('lowest loss')} (ρ = {_listed(LARGE)}); its minimum "
        f"{numbers['global minimum']:.2f}"
    )
    sgd = "SGD, η = 0.02"
    uncertainty = (
        f"σ, wells and starts are ours, {count:.0f} starts a radius; they end "
        f"{medians('distance from the origin at the end')} from the bowl's center; {sgd}: "
        f"{count * numbers[f'passes through the basin, {sgd}']:.0f} of {count:.0f} pass, "
        f"loss {numbers[f'median last loss, {sgd}']:.2g}"
    )
    if min(ends.values()) >= 0.5:
        return Finding(value, uncertainty, Ruling.HOLDS)
    if passed >= 0.5 * total:
        reason = f"passing through counts: {passed:.0f} of {total:.0f} do, {ended:.0f} are there at the end"
        return Finding(value, uncertainty, Ruling.HOLDS_WHEN, reason)
    reason = f"of {total:.0f} balls {passed:.0f} enter the basin of the deepest well, {ended:.0f} end there"
    return Finding(value, uncertainty, Ruling.NOT_REPRODUCED, reason)


# Chaos.

_APART = 1e-12
_WITHIN = (1e-15, 1e-3)
"""Where a distance between two trajectories is neither rounding nor as large as a well."""
_CHAOS_STEPS = 150


def exponents(visited: Tensor, twins: Tensor) -> np.ndarray:
    """Growth of the distance between each trajectory and its twin, in e-folds a step.

    Over the steps that the distance stays within `_WITHIN`: a finite-time Lyapunov exponent.

    Args:
        visited: Of shape `(steps + 1, m, 2)`.
        twins: Of the same shape, from starts nearby.

    Returns:
        Of shape `(m,)`.
    """
    distances = (visited - twins).norm(dim=-1).numpy()
    outside = (distances < _WITHIN[0]) | (distances > _WITHIN[1])
    last = np.where(outside.any(axis=0), outside.argmax(axis=0), len(distances) - 1)
    reached = np.maximum(distances[last, np.arange(distances.shape[1])], 1e-17)
    return np.log(reached / distances[0]) / last


def measure_chaos() -> Numbers:
    """How starts 1e-12 apart part, for each radius and for SGD."""
    numbers: dict[str, float] = {}
    shift = torch.tensor([_APART, 0.0], dtype=torch.float64)
    runs: tuple[tuple[str, tuple[float, ...], Callable[..., Tensor]], ...] = (
        ("ρ", figure4.RADII, _balls),
        ("SGD, η", (figure4.LR, *_RATES), _descents),
    )
    for kind, values, run in runs:
        first = _STARTS.repeat(len(values), 1)
        visited = run(_each(values, len(_STARTS)).repeat(2), torch.cat([first, first + shift]), _CHAOS_STEPS)
        grown = exponents(*visited.chunk(2, dim=1)).reshape(len(values), -1)
        for setting, found in zip(values, grown, strict=True):
            numbers[f"median exponent, {kind} = {setting:g}"] = float(np.median(found))
            numbers[f"share that parts, {kind} = {setting:g}"] = float((found > 0.0).mean())
    return numbers


def judge_chaos(numbers: Numbers) -> Finding:
    """Whether large radii are chaotic, and small ones and SGD are not."""
    large = {radius: numbers[f"median exponent, ρ = {radius:g}"] for radius in LARGE}
    small = {f"ρ = {radius:g}": numbers[f"median exponent, ρ = {radius:g}"] for radius in SMALL}
    small["SGD"] = numbers[f"median exponent, SGD, η = {figure4.LR:g}"]
    parts = [numbers[f"share that parts, ρ = {radius:g}"] for radius in LARGE]
    value = (
        f"e-folds a step, median: {', '.join(f'{exponent:+.2f}' for exponent in large.values())} at ρ = "
        f"{_listed(LARGE)}; at most {max(small.values()):+.2f} at ρ ≤ 3 and for SGD"
    )
    rates = ", ".join(f"{numbers[f'median exponent, SGD, η = {rate:g}']:+.2f}" for rate in _RATES)
    uncertainty = (
        f"finite time, {_CHAOS_STEPS} steps; at ρ ≥ 4 {100 * min(parts):.0f} % of the starts part or more; "
        f"SGD at η = {_listed(_RATES)}: {rates}"
    )
    calm = [radius for radius in LARGE if large[radius] <= 0.0]
    if len(calm) == len(LARGE):
        reason = f"starts {_APART:g} apart, which do not part at any ρ"
        return Finding(value, uncertainty, Ruling.REFUTED, reason)
    if calm:
        chaotic = [radius for radius in LARGE if radius not in calm]
        return Finding(value, uncertainty, Ruling.HOLDS_WHEN, f"ρ is {_listed(chaotic)}")
    wild = [name for name, exponent in small.items() if exponent > 0.0]
    if wild:
        return Finding(value, uncertainty, Ruling.HOLDS, f"but so is {', '.join(wild)}")
    if min(numbers[f"median exponent, SGD, η = {rate:g}"] for rate in _RATES) > 0.0:
        return Finding(value, uncertainty, Ruling.HOLDS, f"but so is SGD from η = {_RATES[0]:g} on")
    return Finding(value, uncertainty, Ruling.HOLDS)


# Explore early, exploit late.

_EXPLORE, _EXPLOIT = 5.0, 0.1
_BALL_SCHEDULES: dict[str, tuple[float, Factor]] = {
    f"ρ = {_EXPLORE:g}": (_EXPLORE, constant()),
    f"ρ = {_EXPLOIT:g}": (_EXPLOIT, constant()),
    "switch": (_EXPLORE, switch(at=0.5, final=_EXPLOIT / _EXPLORE)),
    "exponential": (_EXPLORE, exponential(final=_EXPLOIT / _EXPLORE)),
}
_SGD_SCHEDULES: dict[str, tuple[float, Factor]] = {
    f"SGD, η = {figure4.LR:g}": (figure4.LR, constant()),
    **{f"SGD, η = {rate:g} to {0.1 * rate:g}": (rate, switch(at=0.5, final=0.1)) for rate in _RATES},
}
_MORE_STARTS = torch.from_numpy(
    np.concatenate(
        [figure4.starts(), np.array([2.0, 0.0]) + np.random.default_rng(2).uniform(-0.1, 0.1, (10, 2))]
    )
)


def measure_schedule() -> Numbers:
    """The last loss of balls with and without a schedule, and of SGD with one, from twenty starts."""
    last: dict[str, np.ndarray] = {}
    for key, schedules, run in (("radius", _BALL_SCHEDULES, _balls), ("lr", _SGD_SCHEDULES, _descents)):
        ends = losses(_scheduled(run, key, list(schedules.values()))[-1:])[0]
        last |= dict(zip(schedules, ends.reshape(len(schedules), -1), strict=True))
    numbers: dict[str, float] = {"starts": len(_MORE_STARTS)}
    for name, found in last.items():
        for quartile, fraction in (("lower quartile", 0.25), ("median", 0.5), ("upper quartile", 0.75)):
            numbers[f"{quartile}, {name}"] = float(np.quantile(found, fraction))
    controls = [name for name in _SGD_SCHEDULES if "to" in name]
    numbers["best control"] = min(range(len(controls)), key=lambda index: float(last[controls[index]].mean()))
    best = controls[int(numbers["best control"])]
    for schedule in ("switch", "exponential"):
        rivals = {**{name: name for name in last if name != schedule}, "best control": best}
        for name, rival in rivals.items():
            difference = paired_t(last[schedule], last[rival])
            numbers[f"{schedule} − {name}"] = difference.difference
            numbers[f"{schedule} − {name}, low"] = difference.low
            numbers[f"{schedule} − {name}, high"] = difference.high
            numbers[f"{schedule} below {name}"] = float((last[schedule] < last[rival]).mean())
    return numbers


def _scheduled(run: Callable[..., Tensor], key: str, schedules: list[tuple[float, Factor]]) -> Tensor:
    """Trajectories of all schedules as one batch."""

    def set_value(optimizer: Any, fraction: float) -> None:
        values = tuple(initial * factor(fraction) for initial, factor in schedules)
        optimizer.param_groups[0][key] = _each(values, len(_MORE_STARTS))

    initial = _each(tuple(initial for initial, _ in schedules), len(_MORE_STARTS))
    return run(initial, _MORE_STARTS.repeat(len(schedules), 1), before_step=set_value)


def judge_schedule(numbers: Numbers) -> Finding:
    """Whether a radius that falls ends lower than either radius kept, and than SGD with a falling rate."""
    constants = (f"ρ = {_EXPLORE:g}", f"ρ = {_EXPLOIT:g}")
    controls = [name for name in _SGD_SCHEDULES if "to" in name]
    control = controls[int(numbers["best control"])]
    value = (
        f"median last loss {numbers['median, switch']:.2f} (ρ 5 to 0.1 at half), "
        f"{numbers['median, exponential']:.2f} (exponentially), {numbers[f'median, {constants[0]}']:.2f} "
        f"(ρ = 5), {numbers[f'median, {constants[1]}']:.2f} (ρ = 0.1), {numbers[f'median, {control}']:.2f} "
        f"({control})"
    )

    def interval(schedule: str, rival: str) -> str:
        name = f"{schedule} − {rival}"
        return f"{numbers[name]:+.2f} [{numbers[f'{name}, low']:+.2f}, {numbers[f'{name}, high']:+.2f}]"

    uncertainty = (
        f"mean differences over {numbers['starts']:.0f} starts, paired 95 %: switch − constant 5 "
        f"{interval('switch', constants[0])}, − constant 0.1 {interval('switch', constants[1])}, "
        f"− that SGD, the best of {len(controls)} {interval('switch', 'best control')}"
    )
    better = {
        schedule: all(numbers[f"{schedule} − {rival}, high"] < 0.0 for rival in constants)
        for schedule in ("switch", "exponential")
    }
    if better["switch"] or better["exponential"]:
        schedule = "switch" if better["switch"] else "exponential"
        if numbers[f"{schedule} − best control, low"] > 0.0:
            reason = f"balls are compared with balls: {control} ends lower, on 1/{_COST} of the gradients"
            return Finding(value, uncertainty, Ruling.HOLDS_WHEN, reason)
        if not better["switch"]:
            return Finding(value, uncertainty, Ruling.HOLDS_WHEN, "the radius falls exponentially")
        if numbers["switch − best control, high"] < 0.0:
            return Finding(value, uncertainty, Ruling.HOLDS)
        return Finding(
            value,
            uncertainty,
            Ruling.HOLDS,
            f"but {control} ends as low as can be told, on 1/{_COST} of the gradients",
        )
    worse = [rival for rival in constants if numbers[f"switch − {rival}, low"] > 0.0]
    if worse:
        return Finding(value, uncertainty, Ruling.REFUTED, f"a constant {worse[0]}, which ends lower")
    level = [rival for rival in constants if numbers[f"switch − {rival}, high"] >= 0.0]
    reason = f"not told apart from a constant {level[0]}"
    return Finding(value, uncertainty, Ruling.NOT_REPRODUCED, reason)


CLAIMS = (
    Claim(
        name="escape",
        section="5.2",
        claim="SGD and balls of radius ≤ 3 stay in the local minimum; balls of radius ≥ 4 escape it.",
        test="Figure 4: of ten starts, how many get farther than 1 (wells are 0.1 wide); three other places",
        measure=measure_escape,
        judge=judge_escape,
    ),
    Claim(
        name="point-like",
        section="5.2",
        claim="What is trapped is trapped because it is a point: size sets the ball free.",
        test=(
            "The same for points: SGD at η = 0.02, 0.05, 0.1 in 300 steps, SGD for the ball's 30,000 "
            "gradients, the ball of radius 0 at equal cost"
        ),
        measure=measure_point_like,
        judge=judge_point_like,
    ),
    Claim(
        name="global-basin",
        section="5.2",
        claim="Balls of radius ≥ 4 eventually find the global basin of attraction.",
        test=(
            "From which points of Figure 4's trajectories gradient descent in small steps leads to the "
            "global minimum of Eq. 14 (grid 0.01, Newton's method)"
        ),
        measure=measure_global_basin,
        judge=judge_global_basin,
    ),
    Claim(
        name="chaos",
        section="5.2",
        claim="Large radii are chaotic.",
        test="Growth of the distance between ten starts of Figure 4 and twins 1e-12 beside them",
        measure=measure_chaos,
        judge=judge_chaos,
    ),
    Claim(
        name="explore-then-exploit",
        section="5.2",
        claim="A large radius early and a small one late do better than either throughout.",
        test=(
            "Last loss on Eq. 14 after 300 steps, ρ from 5 to 0.1 against constant ρ; control: SGD whose η "
            "falls to a tenth at half"
        ),
        measure=measure_schedule,
        judge=judge_schedule,
    ),
)
