"""Claims on strong ironing: balls on two close landscapes (Section 4.2, Proposition 3)."""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from rbobench.geometry.graph import Array, Graph
from rbobench.geometry.landscape import Formula, Landscape
from rbobench.geometry.offset import offset_graph
from rbobench.optim.rolling_ball import RBO
from rbobench.paper.claim import Claim, Finding, Numbers, Ruling
from rbobench.paper.claims.ironing import (
    ALMOST_PERIODIC,
    ARCTAN,
    BUMP,
    FIRST_ORDER,
    PERIOD,
    SINE,
    WRINKLED_SINE,
    bump_gap,
    line,
    offset,
    told,
)
from rbobench.paper.power_law import exponent
from rbobench.paper.trajectories import trajectories

# Proposition 3: strong ironing.

_STRONG_RADII = (1.0, 10.0, 50.0, 100.0, 200.0)


def measure_strong() -> Numbers:
    """Spread of f_ρ − g_ρ: a periodic pair, and exp(−θ²) against 0, whose offset graph is ρ."""
    positions = np.linspace(*PERIOD, 201)
    spreads = [
        float(np.ptp(offset(SINE, positions, radius) - offset(WRINKLED_SINE, positions, radius)))
        for radius in _STRONG_RADII
    ]
    numbers = {f"sine_{radius:g}": spread for radius, spread in zip(_STRONG_RADII, spreads, strict=True)}
    wrinkles = torch.from_numpy(positions[:, None])
    return numbers | {
        "sine_0": float(np.ptp((SINE.value(wrinkles) - WRINKLED_SINE.value(wrinkles)).numpy())),
        "sine_exponent": exponent(_STRONG_RADII[2:], spreads[2:]),
        "bump_100": bump_gap(100.0),
        "bump_1000": bump_gap(1000.0),
    }


def judge_strong(numbers: Numbers) -> Finding:
    """The spread must close like the offset graphs themselves, on every pair."""
    value = (
        f"sin θ, sin θ + 0.3 sin 7θ: {numbers['sine_0']:.2f} at ρ = 0, {numbers['sine_10']:.3f} at 10, "
        f"{numbers['sine_200']:.4f} at 200, ∝ ρ^{told(numbers['sine_exponent'], '.2f')}; exp(−θ²), 0: "
        f"{numbers['bump_100']:.2f} at 100, {numbers['bump_1000']:.2f} at 1000"
    )
    uncertainty = "201 places of a period, power from ρ = 50 to 200; exp(−θ²) on ±(√(2ρ)+6), a lower bound"
    if numbers["sine_exponent"] > FIRST_ORDER:
        return Finding(value, uncertainty, Ruling.REFUTED, "sin θ against sin θ + 0.3 sin 7θ")
    if numbers["bump_1000"] > 0.5 * numbers["bump_100"] and numbers["bump_1000"] > 0.1:
        reason = (
            f"exp(−θ²) against 0, spread {numbers['bump_1000']:.2f} at ρ = 1000; holds where maxima of both "
            "are within a bounded distance of every center, as for periodic ones"
        )
        return Finding(value, uncertainty, Ruling.REFUTED, reason)
    return Finding(value, uncertainty, Ruling.HOLDS)


_SLOPE_RADII = (10.0, 100.0, 1000.0)
_BOUNDED = (SINE, WRINKLED_SINE, ALMOST_PERIODIC, BUMP, ARCTAN)


def steepest(landscape: Landscape, positions: Array, radius: float) -> float:
    """The largest slope of f_ρ at some positions: a ball stands on its contact at s with slope s/√(ρ²−s²)."""
    domain = (float(positions.min()) - radius, float(positions.max()) + radius)
    contacts = offset_graph(Graph(landscape, domain, 0.05), positions, radius).contacts
    s = np.array([np.abs(near - here).max() for near, here in zip(contacts, positions, strict=True)])
    return float((s / np.sqrt(radius**2 - s**2)).max())


def measure_metric() -> Numbers:
    """The largest slope of f_ρ over five bounded landscapes, and what bounds it.

    A ball is held up by f(θ) at least: ρ − √(ρ²−s²) ≤ sup f − inf f, so that the slope is at most
    tan arccos(1 − (sup f − inf f)/ρ).
    """
    positions = np.linspace(-12.0, 12.0, 241)
    dense = torch.linspace(-200.0, 200.0, 40_001, dtype=torch.float64)[:, None]
    numbers = {f"steepest_{radius:g}": 0.0 for radius in _SLOPE_RADII} | {
        "share": 0.0,
        "bump_1000": bump_gap(1000.0),
    }
    for landscape in _BOUNDED:
        heights = landscape.value(dense)
        span = float(heights.max() - heights.min())
        for radius in _SLOPE_RADII:
            slope = steepest(landscape, positions, radius)
            numbers[f"steepest_{radius:g}"] = max(numbers[f"steepest_{radius:g}"], slope)
            numbers["share"] = max(numbers["share"], slope / math.tan(math.acos(1.0 - span / radius)))
    return numbers


def judge_metric(numbers: Numbers) -> Finding:
    """Both metrics 1 + f_ρ′² become flat if all slopes fall, at least as their bound does."""
    slopes = [numbers[f"steepest_{radius:g}"] for radius in _SLOPE_RADII]
    power = exponent(_SLOPE_RADII, slopes)
    shown = ", ".join(f"{slope:.3f}" for slope in slopes)
    value = f"largest slope of f_ρ {shown} at ρ = 10, 100, 1000, ∝ ρ^{told(power, '.2f')}"
    uncertainty = (
        f"{len(_BOUNDED)} landscapes, 241 places; at most {numbers['share']:.2f} of the bound "
        "tan arccos(1 − (sup f − inf f)/ρ) ≈ √(2(sup f − inf f)/ρ)"
    )
    if numbers["share"] > 1.0 + 1e-6 or slopes[-1] > 0.5 * slopes[0]:
        reason = f"a slope of {slopes[-1]:.2f} at ρ = {_SLOPE_RADII[-1]:g}"
        return Finding(value, uncertainty, Ruling.REFUTED, reason)
    if numbers["bump_1000"] > 0.1:
        reason = (
            "isometric means that both metrics become flat, not that the graphs agree up to a translation, "
            f"as the proof has it (exp(−θ²) against 0: {numbers['bump_1000']:.2f} apart at ρ = 1000)"
        )
        return Finding(value, uncertainty, Ruling.HOLDS_WHEN, reason)
    return Finding(value, uncertainty, Ruling.HOLDS)


_STEEP_RADII = (10.0, 100.0, 1000.0)
_GROWTHS = (1.2, 1.4)


def offset_by_angle(f: Callable[[Array], Array], positions: Array, radius: float) -> Array:
    """f_ρ on steep walls, as the largest f(θ + ρ cos b) + ρ sin b over a dense set of angles b.

    A ball touches a wall near its equator, b = 0, where the angles lie in geometric progression; the values
    are lower bounds.
    """
    angles = np.concatenate([[0.0], np.geomspace(1e-4 / radius, 0.5 * math.pi, 60_000)])
    across, up = radius * np.cos(angles), radius * np.sin(angles)
    return np.array([max((f(x + across) + up).max(), (f(x - across) + up).max()) for x in positions])


def _spread(f: Callable[[Array], Array], radius: float) -> float:
    """Of the offset graphs of f and f + sin θ, over the bottom of the bowl."""
    positions = np.linspace(-4.0, 4.0, 81)
    wavy = offset_by_angle(lambda x: f(x) + np.sin(x), positions, radius)
    return float(np.ptp(wavy - offset_by_angle(f, positions, radius)))


def measure_unbounded() -> Numbers:
    """Spread of f_ρ − g_ρ where g = f + sin θ, for bowls of several growths and for a slope."""
    numbers = {f"square_{radius:g}": _spread(np.square, radius) for radius in _STEEP_RADII}
    # The same by lifting balls, which steeper walls make slow.
    positions = np.linspace(-4.0, 4.0, 81)
    pair = line("θ²", lambda x: x.square()), line("θ² + sin θ", lambda x: x.square() + x.sin())
    lifted = np.ptp(offset(pair[0], positions, 10.0) - offset(pair[1], positions, 10.0))
    numbers["square_10_lifted"] = float(lifted)
    for growth in _GROWTHS:
        for radius in (1e2, 1e4):
            numbers[f"growth_{growth:g}_{radius:g}"] = _spread(
                lambda x, half=0.5 * growth: (1.0 + x**2) ** half,  # type: ignore[misc]
                radius,
            )
    slope, period = line("θ", lambda x: x), np.linspace(*PERIOD, 81)
    wavy = line("θ + sin θ", lambda x: x + x.sin())
    for radius in (10.0, 100.0, 1000.0):
        spread = np.ptp(offset(slope, period, radius, 0.05) - offset(wavy, period, radius, 0.05))
        numbers[f"slope_{radius:g}"] = float(spread)
    return numbers


def judge_unbounded(numbers: Numbers) -> Finding:
    """The spread of θ² and θ² + sin θ must fall; ‖f−g‖∞ = 1 lets it be 2."""
    shown = ", ".join(f"{numbers[f'square_{radius:g}']:.3f}" for radius in _STEEP_RADII)
    slope = [numbers[f"slope_{radius:g}"] for radius in (10.0, 1000.0)]
    value = (
        f"f = θ²: {shown} (of 2) at ρ = 10, 100, 1000; f = θ: {slope[0]:.2f} at 10, {slope[1]:.3f} at 1000"
    )
    gap = abs(numbers["square_10"] - numbers["square_10_lifted"])
    uncertainty = (
        f"81 places, so a lower bound; contacts by angle, {told(gap, '.0e')} from the lifted ball's at ρ = 10"
    )
    if gap > 1e-3:
        return Finding(
            value, uncertainty, Ruling.OPEN, f"contacts by angle and by lifting differ by {gap:.1g}"
        )
    stays = numbers["square_1000"] > 0.5 * numbers["square_10"]
    if not stays and slope[1] < 0.1 * slope[0]:
        return Finding(value, uncertainty, Ruling.HOLDS)
    if not stays:
        reason = f"the slope θ against θ + sin θ: {slope[1]:.2f} at ρ = 1000"
        return Finding(value, uncertainty, Ruling.REFUTED, reason)
    reason = f"θ² against θ² + sin θ: {numbers['square_1000']:.3f} at ρ = 1000"
    slow, fast = ([numbers[f"growth_{growth:g}_{radius}"] for radius in (100, 10000)] for growth in _GROWTHS)
    if slow[1] < 0.5 * slow[0] and fast[1] > 0.9 * fast[0]:
        reason += (
            f"; growth θ^1.2 is ironed ({slow[0]:.2f} at ρ = 10², {slow[1]:.2f} at 10⁴), "
            f"θ^1.4 is not ({fast[0]:.2f}, {fast[1]:.2f})"
        )
    return Finding(value, uncertainty, Ruling.REFUTED, reason)


# Section 4.2: similar trajectories on similar landscapes.

_RADII = (0.0, 1.0, 10.0, 30.0)
"""The first is gradient descent, the control."""
_LR, _STEPS = 0.05, 300
_STARTS = np.linspace(-8.0, 8.0, 7)
_BOX = (-70.0, 70.0)
_MUCH_NEARER = 0.1
"""Trajectories have come together if they part by less than this share of what gradient descent's do."""


class _Pair(NamedTuple):
    landscape: Formula
    wrinkled: Formula


def _wrinkled(name: str, formula: Callable[[Tensor], Tensor]) -> _Pair:
    wrinkled = line(f"{name}, wrinkled", lambda x: formula(x) + 0.1 * (9.0 * x).sin(), 0.02)
    return _Pair(line(name, formula, 0.02), wrinkled)


_WAVE = _wrinkled("sin θ", torch.sin)
_BOWL = _wrinkled("0.1 θ² + sin θ", lambda x: 0.1 * x.square() + x.sin())


def roll(landscape: Landscape, starts: Array, radii: Sequence[float], *, same_center: bool) -> Array:
    """Parameters of the centers of exact balls, of shape `(steps + 1, radii, starts)`.

    Args:
        landscape: f, on the line.
        starts: Of shape `(m,)`.
        radii: ρ; 0 is gradient descent.
        same_center: Whether a start is the center's parameter, else the contact's, as in Algorithm 1.
    """
    graph = Graph(landscape, _BOX)
    contacts = [
        np.array([near[0, 0] for near in offset_graph(graph, starts, radius).contacts])
        if same_center and radius > 0.0
        else starts
        for radius in radii
    ]
    balls = torch.tensor(np.repeat(radii, len(starts)))
    make = functools.partial(
        RBO, lr=_LR, radius=balls, projection="exact", projection_domain=_BOX, batch_dims=1
    )
    path = trajectories(make, landscape, torch.from_numpy(np.concatenate(contacts)[:, None]), _STEPS)
    slope = landscape.value_and_grad(path)[1]
    centers = path - balls[:, None] * slope / (1.0 + slope.square()).sqrt()
    return centers.numpy().reshape(_STEPS + 1, len(radii), len(starts))


def farthest_apart(pair: _Pair, *, same_center: bool) -> Array:
    """The largest distance on the way between the two centers, of shape `(radii, starts)`."""
    smooth, wrinkled = (roll(f, _STARTS, _RADII, same_center=same_center) for f in pair)
    return np.asarray(np.abs(smooth - wrinkled).max(axis=0))


def measure_trajectories() -> Numbers:
    """The largest distance between the two centers, on a wave and in a bowl, from both kinds of start."""
    cases = {
        f"{name}_{start}": farthest_apart(pair, same_center=start == "center")
        for name, pair in (("wave", _WAVE), ("bowl", _BOWL))
        for start in ("contact", "center")
    }
    return {
        f"{name}_{radius:g}_{kind}": float(summary(apart[index]))
        for name, apart in cases.items()
        for index, radius in enumerate(_RADII)
        for kind, summary in (("largest", np.max), ("median", np.median))
    }


def judge_trajectories(numbers: Numbers) -> Finding:
    """The worst start at the largest radius against gradient descent's, from one contact (Algorithm 1)."""
    names = {"wave": _WAVE.landscape.name, "bowl": _BOWL.landscape.name}

    def far(case: str, radius: float) -> str:
        return format(numbers[f"{case}_{radius:g}_largest"], ".2g")

    def falls(case: str) -> bool:
        return numbers[f"{case}_30_largest"] < _MUCH_NEARER * numbers[f"{case}_0_largest"]

    shown = "; ".join(
        f"{name} {', '.join(far(f'{key}_contact', radius) for radius in _RADII)}"
        for key, name in names.items()
    )
    value = f"from one contact, at ρ = 0 (gradient descent), 1, 10, 30: {shown}"
    centers = "; ".join(
        f"{name} {', '.join(far(f'{key}_center', radius) for radius in _RADII)}"
        for key, name in names.items()
    )
    medians = ", ".join(f"{numbers[f'{key}_contact_30_median']:.2g}" for key in names)
    uncertainty = (
        f"worst of {len(_STARTS)} starts, medians at 30 {medians}; one wrinkle; from one center: {centers}"
    )
    against = [key for key in names if not falls(f"{key}_contact")]
    if not against:
        return Finding(value, uncertainty, Ruling.HOLDS)
    reason = "; ".join(
        f"{names[key]}: {far(f'{key}_contact', 30.0)} apart at ρ = 30, gradient descent "
        f"{far(f'{key}_contact', 0.0)}"
        for key in against
    )
    helped = [f"{names[key]} ({far(f'{key}_center', 30.0)})" for key in against if falls(f"{key}_center")]
    if helped:
        reason += f"; from one center they come together on {', '.join(helped)}"
    return Finding(value, uncertainty, Ruling.REFUTED, reason)


CLAIMS = (
    Claim(
        name="strong-ironing-bounded",
        section="4.2, Proposition 3",
        claim="For bounded f and g, f_ρ − g_ρ tends to a constant, uniformly.",
        test=(
            "Spread (sup − inf) of f_ρ − g_ρ for a periodic pair over a period, and for exp(−θ²) against 0."
        ),
        measure=measure_strong,
        judge=judge_strong,
    ),
    Claim(
        name="isometric-bounded",
        section="4.2, Proposition 3",
        claim="For bounded f and g, Γ_ρ and Λ_ρ become globally isometric.",
        test=(
            "Largest slope of f_ρ, hence the largest departure of its metric from the flat one, on "
            "five bounded landscapes."
        ),
        measure=measure_metric,
        judge=judge_metric,
    ),
    Claim(
        name="strong-ironing-unbounded",
        section="4.2, Proposition 3",
        claim="‖f − g‖∞ < ∞ suffices for strong ironing: f and g need not be bounded.",
        test=(
            "Spread of f_ρ − g_ρ on [−4, 4] with g = f + sin θ, f = θ²; bowls (1+θ²)^(a/2) of growth "
            "a; the slope θ as the control."
        ),
        measure=measure_unbounded,
        judge=judge_unbounded,
    ),
    Claim(
        name="strong-ironing-of-trajectories",
        section="4.2",
        claim="Trajectories on two close landscapes come together as ρ grows.",
        test=(
            "Exact balls on f and f + 0.1 sin 9θ from one contact, as Algorithm 1 starts (η = 0.05, "
            "300 steps, 7 starts): the largest distance of the centers on the way, "
            "f = sin θ and 0.1 θ² + sin θ."
        ),
        measure=measure_trajectories,
        judge=judge_trajectories,
    ),
)
