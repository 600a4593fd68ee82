"""Claims on ironing: how a growing ball flattens the landscape it rolls on (Sections 2.1, 4.2, 5.1)."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

from rbobench.geometry.footpoint import distance
from rbobench.geometry.graph import Array, Graph
from rbobench.geometry.landscape import Domain, Formula, Landscape, LandscapeClosure
from rbobench.geometry.offset import ironing, offset_graph
from rbobench.geometry.reach import critical_radii
from rbobench.optim.rolling_ball import RBO
from rbobench.paper.claim import Claim, Finding, Numbers, Ruling
from rbobench.tasks.landscapes import Eq13, Rastrigin, Sine


def _line(name: str, formula: Callable[[Tensor], Tensor], spacing: float = 1e-2) -> Formula:
    """A landscape on the line, from a formula in θ."""
    return Formula(name, lambda points: formula(points[..., 0]), spacing=spacing)


SINE = Sine()
WRINKLED_SINE = _line("sin θ + 0.3 sin 7θ", lambda x: x.sin() + 0.3 * (7.0 * x).sin())
TWO_WAVES = _line("sin θ + 0.05 cos 8θ", lambda x: x.sin() + 0.05 * (8.0 * x).cos())
ALMOST_PERIODIC = _line("sin θ + sin √2 θ", lambda x: x.sin() + (math.sqrt(2.0) * x).sin(), 0.1)
BUMP = _line("exp(−θ²)", lambda x: torch.exp(-x.square()), 0.05)
ARCTAN = _line("arctan θ", torch.atan, 0.05)
SINE_OF_SQUARE = _line("sin θ²", lambda x: x.square().sin(), 2e-3)
STEP = _line("step", torch.sign, 1e-3)
PERIOD = (-math.pi, math.pi)

_ROUNDING = 1e-9
_FIRST_ORDER = -0.9
"""A power of ρ above this is slower than 1/ρ."""


def offset(landscape: Landscape, positions: Array, radius: float, spacing: float | None = None) -> Array:
    """f_ρ at `positions` of shape `(m,)`, on a graph that holds every ball."""
    domain = (float(positions.min()) - radius, float(positions.max()) + radius)
    return offset_graph(Graph(landscape, domain, spacing), positions, radius).values


def exponent(radii: Sequence[float] | Array, values: Sequence[float] | Array) -> float:
    """The power p of the law c ρᵖ that fits best in logarithms."""
    return float(np.polyfit(np.log(radii), np.log(values), 1)[0])


# Lemma 2.1: Γ_ρ is the graph of a function.


class _Case(NamedTuple):
    name: str
    landscape: Landscape
    window: Domain
    radii: tuple[float, float]  # below and above the critical radius


_CASES = (
    _Case("sine", SINE, PERIOD, (0.5, 3.0)),
    _Case("eq13", Eq13(), (-0.04, 0.04), (2e-6, 0.05)),
    _Case("rastrigin", Rastrigin(), (-0.4, 0.4), (1e-3, 0.3)),
    _Case("step", STEP, (-0.9, 0.9), (0.1, 0.35)),
)
_LINES, _HEIGHTS = 7, 80


def vertical_lines(landscape: Landscape, window: Domain, radius: float) -> dict[str, float]:
    """d_Γ along vertical lines above Γ.

    Returns:
        `crossings`, the most heights on a line with d_Γ = ρ; `rise`, the least growth of d_Γ per unit of
        height; `miss`, how far the crossing is from f_ρ, in steps of the height.
    """
    graph = Graph(landscape, (window[0] - 2.0 * radius, window[1] + 2.0 * radius))
    axis = np.linspace(*window, _LINES)
    # In two dimensions along a slanted line, so that nothing is met by symmetry.
    lines = np.stack([axis * (1.0 - 0.3 * k) for k in range(landscape.dimension)], axis=-1)
    ground = graph.evaluate(lines)[0]
    found = offset_graph(graph, lines, radius).values
    # To ρ above the offset graph: there Γ is at most 2ρ away, and in the box.
    climb = np.linspace(0.0, 1.0, _HEIGHTS + 1)[1:] * (found - ground + radius)[:, None]
    centers = np.concatenate(
        [np.repeat(lines, _HEIGHTS, axis=0), (ground[:, None] + climb).reshape(-1, 1)], axis=-1
    )
    distances = distance(graph, centers).reshape(_LINES, _HEIGHTS)
    step = climb[:, 1] - climb[:, 0]
    outside = distances >= radius * (1.0 - _ROUNDING)
    crossing = climb[np.arange(_LINES), outside.argmax(axis=1)]
    return {
        "crossings": float((outside[:, 1:] != outside[:, :-1]).sum(axis=1).max()),
        "rise": float((np.diff(distances, axis=1) / step[:, None]).min()),
        "miss": float((np.abs(crossing - (found - ground)) / step).max()),
    }


def measure_graph() -> Numbers:
    """`vertical_lines` for every case and radius."""
    return {
        f"{case.name}_{quantity}_{radius:g}": value
        for case in _CASES
        for radius in case.radii
        for quantity, value in vertical_lines(case.landscape, case.window, radius).items()
    }


def judge_graph(numbers: Numbers) -> Finding:
    """One crossing on every line, d_Γ rising on the way."""
    smooth = [case for case in _CASES if case.name != "step"]
    keys = [(case, f"{radius:g}") for case in smooth for radius in case.radii]
    crossings = max(numbers[f"{case.name}_crossings_{radius}"] for case, radius in keys)
    rise = min(numbers[f"{case.name}_rise_{radius}"] for case, radius in keys)
    miss = max(numbers[f"{case.name}_miss_{radius}"] for case, radius in keys)
    step = max(numbers[f"step_crossings_{radius:g}"] for radius in _CASES[-1].radii)
    value = (
        f"at most {crossings:.0f} crossing of d_Γ = ρ on a line; d_Γ rises by at least {rise:.2g} per unit"
    )
    uncertainty = (
        f"{_LINES} lines × {_HEIGHTS} heights a case; crossings within {miss:.1f} height steps of f_ρ; "
        f"a step function, which is not continuous, has {step:.0f}"
    )
    if crossings == 1.0 and rise > 0.0 and miss <= 1.0 + 1e-6:
        return Finding(value, uncertainty, Ruling.HOLDS)
    worst = max(keys, key=lambda key: numbers[f"{key[0].name}_crossings_{key[1]}"])
    reason = f"{worst[0].name} at ρ = {worst[1]}: {crossings:.0f} crossings, least rise {rise:.2g}"
    return Finding(value, uncertainty, Ruling.REFUTED, reason)


# Section 2.1: Γ_ρ is a smooth submanifold.

_SMALL_RADII = (0.1, 0.01, 0.001)


def kink(landscape: Landscape, position: float, radius: float, spacing: float | None = None) -> float:
    """The jump of f_ρ's slope near a valley: what is left of its rise over an interval halved 25 times.

    Args:
        landscape: f.
        position: The valley; the kink is sought within ρ/4 of it.
        radius: ρ.
        spacing: Of the graph's grid.
    """
    graph = Graph(landscape, (position - 2.0 * radius, position + 2.0 * radius), spacing)

    def slope(center: float) -> float:
        (contacts,) = offset_graph(graph, [center], radius).contacts
        return float(graph.evaluate(contacts)[1].max())

    low, high = position - 0.25 * radius, position + 0.25 * radius
    below, above = slope(low), slope(high)
    for _ in range(25):
        middle = 0.5 * (low + high)
        here = slope(middle)
        if here - below > above - here:
            high, above = middle, here
        else:
            low, below = middle, here
    return above - below


def measure_smoothness() -> Numbers:
    """Kinks of f_ρ over valleys of sin θ, and over ever farther valleys of sin θ² for ever smaller balls."""
    numbers = {f"sine_kink_{radius:g}": kink(SINE, -0.5 * math.pi, radius) for radius in (0.5, 0.99, 3.0)}
    for radius in _SMALL_RADII:
        # The valleys of sin θ² are at θ² = 3π/2 + 2πn and bend by 4θ²; this one bends by 2/ρ or more.
        n = math.ceil((0.5 / radius - 1.5 * math.pi) / (2.0 * math.pi))
        valley = math.sqrt(1.5 * math.pi + 2.0 * math.pi * max(n, 0))
        numbers[f"square_valley_{radius:g}"] = valley
        numbers[f"square_kink_{radius:g}"] = kink(SINE_OF_SQUARE, valley, radius, radius / 500.0)
    return numbers


def judge_smoothness(numbers: Numbers) -> Finding:
    """Smooth for small radii unless a kink stays at every radius."""
    below, above = max(numbers["sine_kink_0.5"], numbers["sine_kink_0.99"]), numbers["sine_kink_3"]
    square = [numbers[f"square_kink_{radius:g}"] for radius in _SMALL_RADII]
    told = ", ".join(f"{jump:.2f}" for jump in square)
    value = (
        f"jump of slope over the valley of sin θ: {below:.1g} up to ρ = 0.99, {above:.2f} at ρ = 3; "
        f"of sin θ²: {told} at ρ = 0.1, 0.01, 0.001"
    )
    uncertainty = "slopes at contacts on both sides, 1e-8 ρ apart; one valley a radius"
    if min(square) > 1e-3:
        reason = (
            f"the reach is above 0: sin θ² has none, and at ρ = {_SMALL_RADII[-1]:g}, too, f_ρ has a kink of "
            f"{square[-1]:.2f}, over the valley at {numbers['square_valley_0.001']:.1f}"
        )
        ruling = Ruling.HOLDS_WHEN if below < 1e-3 else Ruling.REFUTED
        return Finding(value, uncertainty, ruling, reason)
    if above > 1e-3:
        return Finding(value, uncertainty, Ruling.HOLDS_WHEN, "ρ is below the reach")
    return Finding(value, uncertainty, Ruling.HOLDS)


# Section 4.2: the landscape is smoothed.

_VALLEY, _HILL = -0.5 * math.pi, 0.5 * math.pi
_CURVED = (0.25, 0.5, 0.9)
_KINKED = (2.0, 10.0)


def curvature(landscape: Landscape, position: float, radius: float) -> float:
    """f_ρ″ at a position of the center, by second differences."""
    step = 3e-4 * radius
    below, here, above = offset(landscape, position + step * np.array([-1.0, 0.0, 1.0]), radius, radius / 100)
    return float((below - 2.0 * here + above) / step**2)


def measure_smoothing() -> Numbers:
    """Curvature of the sine's f_ρ in the valley and on the hill, kinks beyond the reach, and Δ."""
    numbers = {}
    for radius in _CURVED:
        numbers[f"valley_{radius:g}"] = curvature(SINE, _VALLEY, radius)
        numbers[f"hill_{radius:g}"] = curvature(SINE, _HILL, radius)
    positions = np.linspace(*PERIOD, 41)
    for radius in (_CURVED[0], *_KINKED):
        numbers[f"delta_{radius:g}"] = float(np.ptp(offset(SINE, positions, radius)))
    return numbers | {f"kink_{radius:g}": kink(SINE, _VALLEY, radius) for radius in _KINKED}


def judge_smoothing(numbers: Numbers) -> Finding:
    """Flatter by Δ; smoother only if no valley becomes sharper."""
    valley = numbers["valley_0.9"]
    sharper = max(numbers[f"valley_{radius:g}"] for radius in _CURVED) > 1.01
    kinked = max(numbers[f"kink_{radius:g}"] for radius in _KINKED) > 1e-3
    flatter = numbers["delta_10"] < numbers["delta_2"] < numbers["delta_0.25"]
    bends = {
        place: ", ".join(f"{numbers[f'{place}_{radius:g}']:.2f}" for radius in _CURVED)
        for place in ("valley", "hill")
    }
    value = (
        f"ρ = 0.25, 0.5, 0.9: valley bends by {bends['valley']}, hill by {bends['hill']}; ρ = 0.25, 2, 10: "
        f"Δ = {numbers['delta_0.25']:.2f}, {numbers['delta_2']:.2f}, {numbers['delta_10']:.2f}"
    )
    uncertainty = "second differences, 1e-3 relative"
    if not flatter:
        return Finding(value, uncertainty, Ruling.REFUTED, f"Δ(10) = {numbers['delta_10']:.2f} on sin θ")
    if sharper or kinked:
        reason = (
            f"smooth means low: Δ falls, but valleys sharpen ({valley:.1f} times at ρ = 0.9) "
            f"and fold (slopes jump by {numbers['kink_2']:.2f} at ρ = 2, {numbers['kink_10']:.2f} at 10)"
        )
        return Finding(value, uncertainty, Ruling.HOLDS_WHEN, reason)
    return Finding(value, uncertainty, Ruling.HOLDS)


# Figure 2: Δ = O(1/ρ) for the sine.

_SINE_RADII = (20.0, 60.0, 200.0)


def measure_sine() -> Numbers:
    """Δ of the sine on the whole line, the power law that fits it, and its constant."""
    deltas = []
    for radius in _SINE_RADII:
        graph = Graph(SINE, (PERIOD[0] - radius, PERIOD[1] + radius))
        deltas.append(ironing(graph, radius, PERIOD, positions=21).delta)
    numbers = {f"delta_{radius:g}": delta for radius, delta in zip(_SINE_RADII, deltas, strict=True)}
    return numbers | {
        "exponent": exponent(1.0 + np.array(_SINE_RADII), deltas),
        "constant": deltas[-1] * (1.0 + _SINE_RADII[-1]),
        "predicted": 0.5 * math.pi**2,
    }


def judge_sine(numbers: Numbers) -> Finding:
    """The first power, and the constant of two hills at distance π from the valley between them."""
    gap = abs(numbers["constant"] / numbers["predicted"] - 1.0)
    value = (
        f"Δ ∝ (1+ρ)^{numbers['exponent']:.3f}; Δ(200)·201 = {numbers['constant']:.4f}, "
        f"π²/2 = {numbers['predicted']:.4f}"
    )
    uncertainty = f"constant {gap:.0e} off at ρ = 200; the sine is continued beyond the plotted ±3π"
    if abs(numbers["exponent"] + 1.0) < 0.02 and gap < 1e-3:
        return Finding(value, uncertainty, Ruling.HOLDS)
    reason = f"sin θ itself: Δ(200) = {numbers['delta_200']:.3g}"
    return Finding(value, uncertainty, Ruling.REFUTED, reason)


# Lemma 2.2: Δ = O(1/ρ) for every bounded f.

_FLAT_RADII = (100.0, 1e3, 1e4)
_WAVE_RADII = (30.0, 100.0, 300.0, 1000.0)
_BUMP_RADII = (1.0, 10.0, 100.0)


def bump_window(radius: float) -> float:
    """How far from the top of exp(−θ²) a ball no longer touches the bump: √(2ρ), and its width."""
    return math.sqrt(2.0 * radius) + 6.0


def bump_gap(radius: float) -> float:
    """The gap sup f − inf (f_ρ − ρ) of exp(−θ²) on a window that grows like √ρ."""
    edge = bump_window(radius)
    return 1.0 - float((offset(BUMP, np.linspace(-edge, edge, 41), radius) - radius).min())


def almost_periodic_gap(radius: float) -> float:
    """The gap sup f − inf (f_ρ − ρ) of sin θ + sin √2 θ, whose supremum is 2, over 600 places."""
    return 2.0 - float((offset(ALMOST_PERIODIC, np.arange(-150.0, 150.0, 0.5), radius) - radius).min())


def measure_bounded() -> Numbers:
    """Δ of four bounded landscapes; since sup f_ρ = sup f + ρ, on the line Δ is sup f − inf (f_ρ − ρ)."""
    period, edges, window = np.linspace(*PERIOD, 41), np.array([-1.0, 1.0]), np.linspace(-3.0, 3.0, 41)
    flat = [float(np.ptp(offset(ARCTAN, edges, radius))) for radius in _FLAT_RADII]
    samples = np.linspace(-1.0, 1.0, 201)
    apart = np.square(samples[:, None] - samples)
    cut = [np.ptp((np.arctan(samples) + np.sqrt(radius**2 - apart)).max(axis=1)) for radius in _FLAT_RADII]
    waves = [almost_periodic_gap(radius) for radius in _WAVE_RADII]
    return {
        "sine_exponent": exponent(
            _SINE_RADII, [float(np.ptp(offset(SINE, period, radius))) for radius in _SINE_RADII]
        ),
        **{f"bump_{radius:g}": bump_gap(radius) for radius in _BUMP_RADII},
        "bump_window": bump_window(_BUMP_RADII[-1]),
        "bump_exponent": exponent(_BUMP_RADII, [bump_gap(radius) for radius in _BUMP_RADII]),
        "bump_on_3_exponent": exponent(
            _FLAT_RADII[:2], [float(np.ptp(offset(BUMP, window, radius))) for radius in _FLAT_RADII[:2]]
        ),
        "arctan_exponent": exponent(_FLAT_RADII, flat),
        "arctan_cut_exponent": exponent(_FLAT_RADII, cut),
        "almost_periodic_1000": waves[-1],
        "almost_periodic_exponent": exponent(_WAVE_RADII, waves),
    }


def judge_bounded(numbers: Numbers) -> Finding:
    """Every landscape that decays more slowly than 1/ρ is a counterexample."""
    value = (
        f"powers of ρ: sin {numbers['sine_exponent']:.2f}, exp(−θ²) {abs(numbers['bump_exponent']):.2f} "
        f"(on [−3, 3] {numbers['bump_on_3_exponent']:.2f}), sin θ + sin √2 θ "
        f"{numbers['almost_periodic_exponent']:.2f}, arctan on [−1, 1] {numbers['arctan_exponent']:.2f}"
    )
    uncertainty = (
        f"fits of 2 to 4 radii, ±0.03; exp(−θ²) on ±(√(2ρ)+6); arctan goes on beyond [−1, 1], "
        f"cut there it has {numbers['arctan_cut_exponent']:.2f}"
    )
    slow = {
        "sin θ": numbers["sine_exponent"],
        "exp(−θ²)": numbers["bump_exponent"],
        "sin θ + sin √2 θ": numbers["almost_periodic_exponent"],
        "arctan on [−1, 1]": numbers["arctan_exponent"],
    }
    against = [name for name, power in slow.items() if power > _FIRST_ORDER]
    if not against:
        return Finding(value, uncertainty, Ruling.HOLDS)
    reason = ", ".join(
        f"{name} (Δ = {numbers['bump_100']:.2f} at ρ = 100)" if name == "exp(−θ²)" else name
        for name in against
    )
    if "sin θ" not in against:
        reason += "; holds where a maximum is within a bounded distance of every center, as for periodic f"
    return Finding(value, uncertainty, Ruling.REFUTED, reason)


# Lemma 2.2: f_ρ − ρ → sup f uniformly.


def measure_limit() -> Numbers:
    """How far f_ρ − ρ stays below sup f: uniformly, and for exp(−θ²) at one place."""
    period, edges, place = np.linspace(*PERIOD, 41), np.array([-1.0, 1.0]), np.array([3.0])
    sine = [1.0 - float((offset(SINE, period, radius) - radius).min()) for radius in _SINE_RADII]
    flat = [0.5 * math.pi - float((offset(ARCTAN, edges, radius) - radius).min()) for radius in _FLAT_RADII]
    return {
        "sine_200": sine[-1],
        "sine_exponent": exponent(_SINE_RADII, sine),
        "bump_100": bump_gap(100.0),
        "bump_1000": bump_gap(1000.0),
        "bump_1000_at_3": 1.0 - float(offset(BUMP, place, 1000.0)[0] - 1000.0),
        "arctan_10000": flat[-1],
        "arctan_exponent": exponent(_FLAT_RADII, flat),
    }


def judge_limit(numbers: Numbers) -> Finding:
    """A gap that stays refutes uniform convergence; one that closes slowly refutes its O(1/ρ)."""
    value = (
        f"sin {numbers['sine_200']:.3f} at ρ = 200; exp(−θ²) {numbers['bump_1000']:.2f} at ρ = 1000 (θ = 3 "
        f"alone: {numbers['bump_1000_at_3']:.4f}); arctan on [−1, 1] like ρ^{numbers['arctan_exponent']:.2f}"
    )
    uncertainty = "lower bounds from 2 to 41 places; exp(−θ²) on ±(√(2ρ)+6); beyond ρ = 10⁴ not looked"
    stays = numbers["bump_1000"] > 0.5 * numbers["bump_100"] and numbers["bump_1000"] > 0.1
    if numbers["sine_exponent"] > _FIRST_ORDER:
        reason = f"sin θ itself: ρ^{numbers['sine_exponent']:.2f}"
        return Finding(value, uncertainty, Ruling.REFUTED, reason)
    if stays:
        pointwise = numbers["bump_1000_at_3"] < 0.1 * numbers["bump_1000"]
        reason = f"exp(−θ²): the gap stays {numbers['bump_1000']:.2f}"
        if pointwise:
            reason += f"; at a fixed θ it closes ({numbers['bump_1000_at_3']:.4f} at θ = 3)"
        return Finding(value, uncertainty, Ruling.REFUTED, reason)
    if numbers["arctan_exponent"] > _FIRST_ORDER:
        reason = f"O(1/ρ) is not asked: arctan has ρ^{numbers['arctan_exponent']:.2f}"
        return Finding(value, uncertainty, Ruling.HOLDS_WHEN, reason)
    return Finding(value, uncertainty, Ruling.HOLDS)


# Section 5.1: the plateau of Δ ends at the reach.

_DEPARTURE = 1e-9
_SAME_RADIUS = 1e-3
_FIRST_VALLEY = math.sqrt(1.5 * math.pi)


def plateau_end(landscape: Landscape, window: Domain, extrema: Sequence[float]) -> float:
    """The radius at which Δ falls below its value for a small ball by more than 10⁻⁹, to 10⁻⁶ relative.

    Args:
        landscape: f.
        window: Of the center.
        extrema: Where f is lowest and highest in the window: Δ is sampled there and on a grid.
    """
    graph = Graph(landscape, (window[0] - 2.0, window[1] + 2.0))
    positions = np.concatenate([np.linspace(*window, 101), extrema])

    def delta(radius: float) -> float:
        return float(np.ptp(offset_graph(graph, positions, radius).values))

    low, high = 0.01, 2.0
    plateau = delta(low)
    while high - low > 1e-6 * high:
        middle = 0.5 * (low + high)
        low, high = (low, middle) if delta(middle) < plateau - _DEPARTURE else (middle, high)
    return high


def measure_plateau() -> Numbers:
    """Where the plateau ends, and the three radii that might end it."""
    numbers = {}
    first = (_FIRST_VALLEY - 1.6, _FIRST_VALLEY + 0.8)
    cases = {
        "sine": (SINE, PERIOD, Graph(SINE, (-5.0, 5.0)), _HILL),
        "two_waves": (TWO_WAVES, PERIOD, Graph(TWO_WAVES, (-5.0, 5.0)), _HILL),
        "square": (SINE_OF_SQUARE, first, Graph(SINE_OF_SQUARE, (-2.5, 2.5)), math.sqrt(0.5 * math.pi)),
    }
    for name, (landscape, window, graph, hill) in cases.items():
        radii = critical_radii(graph, points=400)
        numbers[f"{name}_two_sided"] = radii.two_sided
        numbers[f"{name}_upper"] = radii.upper
        numbers[f"{name}_minimum"] = radii.touching_minimum
        # The lowest valley, moved into the window by a period or by symmetry.
        valley = _FIRST_VALLEY if name == "square" else math.remainder(float(radii.minimum[0]), 2.0 * math.pi)
        numbers[f"{name}_end"] = plateau_end(landscape, window, [valley, hill])
    graph = Graph(TWO_WAVES, (-2.0 * math.pi, 2.0 * math.pi))
    small, before, after = (
        ironing(graph, radius, PERIOD, positions=41).delta
        for radius in (0.02, 0.98 * numbers["two_waves_end"], 1.02 * numbers["two_waves_end"])
    )
    numbers |= {"two_waves_drift": abs(before - small), "two_waves_drop": small - after}
    # Farther valleys of sin θ² are narrower, and no deeper.
    numbers["square_two_sided_5"] = critical_radii(Graph(SINE_OF_SQUARE, (-5.0, 5.0)), points=400).two_sided
    numbers["bump_two_sided"] = critical_radii(Graph(BUMP, (-4.0, 4.0), 1e-2), points=400).two_sided
    numbers["bump_100"] = bump_gap(100.0)
    return numbers


def judge_plateau(numbers: Numbers) -> Finding:
    """Which of the radii the plateau's end agrees with, on every landscape."""
    names = {"sine": "sin θ", "two_waves": "sin θ + 0.05 cos 8θ", "square": "sin θ² on ±2.5"}

    def ends_at(kind: str) -> list[str]:
        return [
            name
            for name in names
            if abs(numbers[f"{name}_end"] / numbers[f"{name}_{kind}"] - 1.0) < _SAME_RADIUS
        ]

    two = [numbers[f"two_waves_{kind}"] for kind in ("two_sided", "upper", "minimum")]
    value = (
        f"end, reach: sin θ {numbers['sine_end']:.4f}, {numbers['sine_two_sided']:.4f}; sin θ + 0.05 cos 8θ "
        f"{numbers['two_waves_end']:.4f}, {two[0]:.4f} (from above {two[1]:.4f}, touching the minimum "
        f"{two[2]:.4f})"
    )
    uncertainty = (
        f"end: Δ fell by 1e-9, bisected to 1e-6; equal: within {_SAME_RADIUS:.0e}; Δ drifts by "
        f"{numbers['two_waves_drift']:.0e} up to 0.98 of the end and falls by "
        f"{numbers['two_waves_drop']:.0e} at 1.02"
    )
    if numbers["two_waves_drift"] > 1e-6:
        reason = f"sin θ + 0.05 cos 8θ: Δ drifts by {numbers['two_waves_drift']:.1g} before it falls"
        return Finding(value, uncertainty, Ruling.REFUTED, reason)
    stays = numbers["bump_100"] > 0.99 and numbers["bump_two_sided"] < 10.0
    far = numbers["square_two_sided_5"] < 0.5 * numbers["square_end"]
    if len(ends_at("two_sided")) == len(names) and not (far or stays):
        return Finding(value, uncertainty, Ruling.HOLDS)
    against = [text for name, text in names.items() if name not in ends_at("two_sided")]
    if far:
        reach, end = numbers["square_two_sided_5"], numbers["square_end"]
        against.append(f"sin θ² (reach {reach:.2g} on ±5, end {end:.2g})")
    if stays:
        against.append("exp(−θ²) (no end)")
    reason = ", ".join(against)
    if len(ends_at("minimum")) == len(names):
        reason += "; it ends at the largest radius that touches the global minimum"
    return Finding(value, uncertainty, Ruling.REFUTED, reason)


# Section 4.2: f_ρ − ρ grows with ρ, and offsets are no farther apart than the landscapes.

_RISING_RADII = tuple(float(radius) for radius in np.geomspace(0.03, 30.0, 10))
_RANDOM_PAIRS = 4


def _random_wave(generator: np.random.Generator) -> Formula:
    """Six waves of random amplitude and phase."""
    amplitudes, phases = generator.normal(size=6) / 6.0, generator.uniform(0.0, 2.0 * math.pi, 6)

    def waves(x: Tensor) -> Tensor:
        return sum(
            (
                a * ((k + 1) * x + phase).sin()
                for k, (a, phase) in enumerate(zip(amplitudes, phases, strict=True))
            ),
            start=torch.zeros_like(x),
        )

    return _line("waves", waves)


def measure_order() -> Numbers:
    """The least growth of f_ρ − ρ from a radius to the next, and the largest ‖f_ρ−g_ρ‖∞ / ‖f−g‖∞."""
    generator = np.random.default_rng(0)
    pairs: list[tuple[Landscape, Landscape]] = [(SINE, WRINKLED_SINE), (SINE, TWO_WAVES)]
    pairs += [(_random_wave(generator), _random_wave(generator)) for _ in range(_RANDOM_PAIRS)]
    positions, dense = np.linspace(*PERIOD, 41), torch.linspace(*PERIOD, 20_001, dtype=torch.float64)[:, None]
    rise, ratio = math.inf, 0.0
    for f, g in pairs:
        apart = float((f.value(dense) - g.value(dense)).abs().max())
        offsets = np.array(
            [[offset(h, positions, radius) - radius for radius in _RISING_RADII] for h in (f, g)]
        )
        rise = min(rise, float(np.diff(offsets, axis=1).min()))
        ratio = max(ratio, float(np.abs(offsets[0] - offsets[1]).max()) / apart)
    return {"rise": rise, "ratio": ratio, "pairs": float(len(pairs))}


def judge_order(numbers: Numbers) -> Finding:
    """Neither may fail by more than rounding and the sampling of ‖f−g‖∞."""
    value = f"least growth {numbers['rise']:.1g}; largest ‖f_ρ−g_ρ‖∞ / ‖f−g‖∞ {numbers['ratio']:.4f}"
    uncertainty = (
        f"{numbers['pairs']:.0f} periodic pairs, {len(_RISING_RADII)} radii from 0.03 to 30, 41 places"
    )
    against = []
    if numbers["rise"] < -_ROUNDING:
        against.append(f"a fall of {-numbers['rise']:.1g}")
    if numbers["ratio"] > 1.0 + 1e-5:
        against.append(f"offsets {numbers['ratio']:.3f} times as far apart")
    if against:
        return Finding(value, uncertainty, Ruling.REFUTED, " and ".join(against))
    return Finding(value, uncertainty, Ruling.HOLDS)


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
        f"{numbers['sine_200']:.4f} at 200, ∝ ρ^{numbers['sine_exponent']:.2f}; exp(−θ²), 0: "
        f"{numbers['bump_100']:.2f} at 100, {numbers['bump_1000']:.2f} at 1000"
    )
    uncertainty = "201 places of a period, power from ρ = 50 to 200; exp(−θ²) on ±(√(2ρ)+6), a lower bound"
    if numbers["sine_exponent"] > _FIRST_ORDER:
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
    numbers = {f"steepest_{radius:g}": 0.0 for radius in _SLOPE_RADII} | {"share": 0.0}
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
    told = ", ".join(f"{slope:.3f}" for slope in slopes)
    value = f"largest slope of f_ρ {told} at ρ = 10, 100, 1000, ∝ ρ^{power:.2f}"
    uncertainty = (
        f"{len(_BOUNDED)} landscapes, 241 places; at most {numbers['share']:.2f} of the bound "
        "tan arccos(1 − (sup f − inf f)/ρ) ≈ √(2(sup f − inf f)/ρ)"
    )
    if numbers["share"] <= 1.0 + 1e-6 and slopes[-1] < 0.5 * slopes[0]:
        reason = "isometric means that both metrics become flat, not that f_ρ − g_ρ becomes constant"
        return Finding(value, uncertainty, Ruling.HOLDS_WHEN, reason)
    reason = f"a slope of {slopes[-1]:.2f} at ρ = {_SLOPE_RADII[-1]:g}"
    return Finding(value, uncertainty, Ruling.REFUTED, reason)


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
    pair = _line("θ²", lambda x: x.square()), _line("θ² + sin θ", lambda x: x.square() + x.sin())
    lifted = np.ptp(offset(pair[0], positions, 10.0) - offset(pair[1], positions, 10.0))
    numbers["square_10_lifted"] = float(lifted)
    for growth in _GROWTHS:
        for radius in (1e2, 1e4):
            numbers[f"growth_{growth:g}_{radius:g}"] = _spread(
                lambda x, half=0.5 * growth: (1.0 + x**2) ** half,  # type: ignore[misc]
                radius,
            )
    slope, period = _line("θ", lambda x: x), np.linspace(*PERIOD, 81)
    wavy = _line("θ + sin θ", lambda x: x + x.sin())
    for radius in (10.0, 100.0, 1000.0):
        spread = np.ptp(offset(slope, period, radius, 0.05) - offset(wavy, period, radius, 0.05))
        numbers[f"slope_{radius:g}"] = float(spread)
    return numbers


def judge_unbounded(numbers: Numbers) -> Finding:
    """The spread of θ² and θ² + sin θ must fall; ‖f−g‖∞ = 1 lets it be 2."""
    told = ", ".join(f"{numbers[f'square_{radius:g}']:.3f}" for radius in _STEEP_RADII)
    slope = [numbers[f"slope_{radius:g}"] for radius in (10.0, 1000.0)]
    value = f"f = θ²: {told} (of 2) at ρ = 10, 100, 1000; f = θ: {slope[0]:.2f} at 10, {slope[1]:.3f} at 1000"
    gap = abs(numbers["square_10"] - numbers["square_10_lifted"])
    uncertainty = (
        f"81 places, so a lower bound; contacts by angle, {gap:.0e} from the lifted ball's at ρ = 10"
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
_LR, _STEPS = 0.05, 400
_STARTS = np.linspace(-8.0, 8.0, 9)
_BOX = (-70.0, 70.0)
_MUCH_NEARER = 0.1
"""Trajectories have come together if they part by less than this share of what gradient descent's do."""


class _Pair(NamedTuple):
    landscape: Formula
    wrinkled: Formula


def _wrinkled(name: str, formula: Callable[[Tensor], Tensor]) -> _Pair:
    wrinkled = _line(f"{name}, wrinkled", lambda x: formula(x) + 0.1 * (9.0 * x).sin(), 0.02)
    return _Pair(_line(name, formula, 0.02), wrinkled)


_SLOPE = _wrinkled("0.3 θ + sin θ", lambda x: 0.3 * x + x.sin())
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
    points = nn.Parameter(torch.from_numpy(np.concatenate(contacts)[:, None]))
    balls = torch.tensor(np.repeat(radii, len(starts)))
    optimizer = RBO([points], _LR, balls, projection="exact", projection_domain=_BOX, batch_dims=1)
    closure = LandscapeClosure(landscape, points)
    centers = []
    for _ in range(_STEPS + 1):
        slope = landscape.value_and_grad(points.detach())[1]
        centers.append((points.detach() - balls[:, None] * slope / (1.0 + slope.square()).sqrt())[:, 0])
        optimizer.step(closure)
    return torch.stack(centers).numpy().reshape(_STEPS + 1, len(radii), len(starts))


def farthest_apart(pair: _Pair, *, same_center: bool) -> Array:
    """The largest distance on the way between the two centers, of shape `(radii, starts)`."""
    smooth, wrinkled = (roll(f, _STARTS, _RADII, same_center=same_center) for f in pair)
    return np.asarray(np.abs(smooth - wrinkled).max(axis=0))


def measure_trajectories() -> Numbers:
    """The largest distance between the two centers, on a slope and in a bowl."""
    cases = {
        "slope": farthest_apart(_SLOPE, same_center=True),
        "slope_same_point": farthest_apart(_SLOPE, same_center=False),
        "bowl": farthest_apart(_BOWL, same_center=True),
    }
    return {
        f"{name}_{radius:g}_{kind}": float(summary(apart[index]))
        for name, apart in cases.items()
        for index, radius in enumerate(_RADII)
        for kind, summary in (("largest", np.max), ("median", np.median))
    }


def judge_trajectories(numbers: Numbers) -> Finding:
    """The worst start at the largest radius against gradient descent's, for each reading."""
    told = ", ".join(f"{numbers[f'slope_{radius:g}_largest']:.3g}" for radius in _RADII)
    value = (
        f"slope: {told} at ρ = 0 (gradient descent), 1, 10, 30; from the same contact "
        f"{numbers['slope_same_point_30_largest']:.3g} at 30; bowl {numbers['bowl_0_largest']:.2g} at 0, "
        f"{numbers['bowl_10_largest']:.2g} at 10, {numbers['bowl_30_largest']:.2g} at 30"
    )
    medians = [
        ", ".join(f"{numbers[f'{case}_{radius:g}_median']:.2g}" for radius in _RADII)
        for case in ("slope", "bowl")
    ]
    uncertainty = (
        f"worst of {len(_STARTS)} starts; medians: slope {medians[0]}; bowl {medians[1]}; one wrinkle"
    )

    def falls(name: str) -> bool:
        return numbers[f"{name}_30_largest"] < _MUCH_NEARER * numbers[f"{name}_0_largest"]

    # Algorithm 1 starts from a contact, and a loss is bounded below: the slope is the case outside.
    against = [
        f"{text}: {numbers[f'{name}_30_largest']:.2g} apart at ρ = 30, "
        f"{numbers[f'{control}_0_largest']:.2g} at 0"
        for name, control, text in (
            ("slope_same_point", "slope", "equal contacts on the slope"),
            ("bowl", "bowl", "0.1 θ² + sin θ"),
        )
        if not falls(name)
    ]
    if against:
        reason = "; ".join(against)
        if falls("slope"):
            reason += "; equal centers on the slope do come together"
        return Finding(value, uncertainty, Ruling.REFUTED, reason)
    if not falls("slope"):
        reason = f"f is a bowl, not the slope 0.3 θ + sin θ ({numbers['slope_30_largest']:.2g} apart at 30)"
        return Finding(value, uncertainty, Ruling.HOLDS_WHEN, reason)
    return Finding(value, uncertainty, Ruling.HOLDS)


# Our own: how the offset graph bends.

_BENDS = (1.0, 4.0)
_BENT, _FOLDED = (0.5, 0.9), (2.0, 5.0)


def _parabola(bend: float) -> Formula:
    return _line(f"{bend:g} θ²/2", lambda x: 0.5 * bend * x.square(), 1e-2 / abs(bend))


def measure_bends() -> Numbers:
    """The largest relative errors of the closed forms for κθ²/2 and −κθ²/2."""
    errors = {"minimum": 0.0, "maximum": 0.0, "slope": 0.0, "contacts": 0.0}

    def note(quantity: str, measured: float, predicted: float) -> None:
        errors[quantity] = max(errors[quantity], abs(measured / predicted - 1.0))

    for bend in _BENDS:
        for product in (*_BENT, *_FOLDED):
            radius = product / bend
            note("maximum", curvature(_parabola(-bend), 0.0, radius), -bend / (1.0 + product))
            if product < 1.0:
                note("minimum", curvature(_parabola(bend), 0.0, radius), bend / (1.0 - product))
                continue
            step = 1e-6 * radius
            here, beside = offset(_parabola(bend), np.array([0.0, step]), radius)
            note("slope", float((beside - here) / step), math.sqrt(product**2 - 1.0))
            graph = Graph(_parabola(bend), (-2.0 * radius, 2.0 * radius))
            (contacts,) = offset_graph(graph, [0.0], radius).contacts
            # A ball with one contact would have both ends there, and miss by the whole distance.
            for end in (-contacts.min(), contacts.max()):
                note("contacts", float(end), math.sqrt(radius**2 - 1.0 / bend**2))
    return errors


def judge_bends(numbers: Numbers) -> Finding:
    """Every closed form to one in a thousand."""
    names = {
        "minimum": "κ/(1−ρκ) at minima",
        "maximum": "−κ/(1+ρκ) at maxima",
        "slope": "slope √((ρκ)²−1) of the V",
        "contacts": "contacts at ±√(ρ²−1/κ²)",
    }
    value = "relative errors: " + ", ".join(f"{names[key]} {error:.0e}" for key, error in numbers.items())
    uncertainty = "parabolas of κ = 1 and 4; ρκ = 0.5, 0.9, and 2, 5 for the V; finite differences"
    wrong = [f"{names[key]}: {error:.1g} off" for key, error in numbers.items() if error > 1e-3]
    if wrong:
        return Finding(value, uncertainty, Ruling.REFUTED, ", ".join(wrong))
    return Finding(value, uncertainty, Ruling.HOLDS)


CLAIMS = (
    Claim(
        name="offset-is-smooth",
        section="2.1",
        claim="Γ_ρ is a smooth submanifold, diffeomorphic to Γ for small enough ρ.",
        test=(
            "Jump of f_ρ's slope between the outermost contacts of a ball over a valley: of sin θ, "
            "and of a valley of sin θ², farther out for smaller ρ."
        ),
        measure=measure_smoothness,
        judge=judge_smoothness,
    ),
    Claim(
        name="offset-is-a-graph",
        section="4.2, Lemma 2.1",
        claim="Γ_ρ is the graph of a function: above every θ there is one height with d_Γ = ρ.",
        test=(
            "d_Γ along vertical lines above Γ, below and above the critical radius: sin θ, Eq. 13, "
            "Rastrigin in the plane; a step function as the control."
        ),
        measure=measure_graph,
        judge=judge_graph,
    ),
    Claim(
        name="delta-of-bounded",
        section="4.2, Lemma 2.2",
        claim="Δ(ρ) = O(1/ρ) for every bounded f.",
        test="Power laws fitted to Δ(ρ) of four bounded landscapes, ρ up to 10⁴.",
        measure=measure_bounded,
        judge=judge_bounded,
    ),
    Claim(
        name="uniform-limit",
        section="4.2, Lemma 2.2",
        claim="f_ρ − ρ → sup f uniformly for every bounded f.",
        test=(
            "sup f − inf (f_ρ − ρ) for sin θ, exp(−θ²) on windows that grow like √ρ, and arctan on [−1, 1]."
        ),
        measure=measure_limit,
        judge=judge_limit,
    ),
    Claim(
        name="larger-balls-smooth",
        section="4.2",
        claim="As the radius grows, the shape of the landscape is smoothed.",
        test=(
            "f_ρ″ of sin θ in its valley (1 at ρ = 0) and on its hill (−1), jumps of slope beyond ρ = "
            "1, and Δ(ρ)."
        ),
        measure=measure_smoothing,
        judge=judge_smoothing,
    ),
    Claim(
        name="offsets-rise-and-approach",
        section="4.2 (ours)",
        claim="f_ρ − ρ grows with ρ, and ‖f_ρ − g_ρ‖∞ ≤ ‖f − g‖∞.",
        test="Both on pairs of periodic landscapes, four of them random.",
        measure=measure_order,
        judge=judge_order,
    ),
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
            "Exact balls on f and f + 0.1 sin 9θ (η = 0.05, 400 steps, 9 starts): the largest "
            "distance of the centers on the way, f = 0.3 θ + sin θ and 0.1 θ² + sin θ."
        ),
        measure=measure_trajectories,
        judge=judge_trajectories,
    ),
    Claim(
        name="curvature-of-offset",
        section="4.2 (ours)",
        claim=("f_ρ″ is κ/(1−ρκ) at minima and −κ/(1+ρκ) at maxima; beyond ρκ = 1 a minimum becomes a V."),
        test=("Finite differences of f_ρ, and contacts, on parabolas ±κθ²/2 against the closed forms."),
        measure=measure_bends,
        judge=judge_bends,
    ),
    Claim(
        name="delta-of-sine",
        section="5.1, Figure 2",
        claim="Δ(ρ) of sin θ behaves like 1/ρ for large ρ.",
        test="Power law fitted to Δ at ρ = 20, 60, 200, and Δ(ρ)(1+ρ) against π²/2.",
        measure=measure_sine,
        judge=judge_sine,
    ),
    Claim(
        name="plateau-ends-at-reach",
        section="5.1, Figure 2",
        claim="Δ(ρ) is constant below a critical radius, which in general is the reach of Γ.",
        test=(
            "Bisection for the end of Δ's plateau, against the three radii of `critical_radii`, on "
            "sin θ, sin θ + 0.05 cos 8θ and sin θ²; Δ(100) of exp(−θ²)."
        ),
        measure=measure_plateau,
        judge=judge_plateau,
    ),
)
