"""Claims on ironing: how a growing ball flattens the landscape it rolls on (Sections 2.1, 4.2, 5.1)."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from rbobench.geometry.footpoint import distance
from rbobench.geometry.graph import Array, Graph
from rbobench.geometry.landscape import Domain, Formula, Landscape
from rbobench.geometry.offset import dilation, ironing, offset_graph
from rbobench.geometry.reach import contact_radius, critical_radii
from rbobench.paper.claim import Claim, Finding, Numbers, Ruling
from rbobench.paper.figure2 import INTERVAL
from rbobench.paper.power_law import exponent
from rbobench.tasks.landscapes import Eq13, Rastrigin, Sine


def line(name: str, formula: Callable[[Tensor], Tensor], spacing: float = 1e-2) -> Formula:
    """A landscape on the line, from a formula in θ."""
    return Formula(name, lambda points: formula(points[..., 0]), spacing=spacing)


SINE = Sine()
WRINKLED_SINE = line("sin θ + 0.3 sin 7θ", lambda x: x.sin() + 0.3 * (7.0 * x).sin())
TWO_WAVES = line("sin θ + 0.05 cos 8θ", lambda x: x.sin() + 0.05 * (8.0 * x).cos())
ALMOST_PERIODIC = line("sin θ + sin √2 θ", lambda x: x.sin() + (math.sqrt(2.0) * x).sin(), 0.1)
BUMP = line("exp(−θ²)", lambda x: torch.exp(-x.square()), 0.05)
ARCTAN = line("arctan θ", torch.atan, 0.05)
SINE_OF_SQUARE = line("sin θ²", lambda x: x.square().sin(), 2e-3)
STEP = line("step", torch.sign, 1e-3)


def parabola(bend: float) -> Formula:
    """κθ²/2."""
    return line(f"{bend:g} θ²/2", lambda x: 0.5 * bend * x.square(), 1e-2 / abs(bend))


PERIOD = (-math.pi, math.pi)

_ROUNDING = 1e-9
FIRST_ORDER = -0.9
"""A power of ρ above this is slower than 1/ρ."""


def offset(landscape: Landscape, positions: Array, radius: float, spacing: float | None = None) -> Array:
    """f_ρ at `positions` of shape `(m,)`, on a graph that holds every ball."""
    domain = (float(positions.min()) - radius, float(positions.max()) + radius)
    return offset_graph(Graph(landscape, domain, spacing), positions, radius).values


def scatter(radii: Sequence[float] | Array, values: Sequence[float] | Array) -> float:
    """By how much the powers between neighboring radii differ: 0 for a law c ρᵖ."""
    return float(np.ptp(np.diff(np.log(values)) / np.diff(np.log(radii))))


def told(number: float, spec: str) -> str:
    """A number for a cell, with a minus sign in place of a hyphen."""
    return format(number, spec).replace("-", "−")


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
    step = min(numbers[f"step_crossings_{radius:g}"] for radius in _CASES[-1].radii)
    value = (
        f"at most {crossings:.0f} crossing of d_Γ = ρ on a line; d_Γ rises by at least "
        f"{told(rise, '.2g')} per unit"
    )
    uncertainty = (
        f"{_LINES} lines × {_HEIGHTS} heights a case; crossings within {miss:.1f} height steps of f_ρ; "
        f"a step function, which is not continuous, has {step:.0f} or more"
    )
    if step <= 1.0:
        return Finding(value, uncertainty, Ruling.OPEN, "the step function, the control, was not told apart")
    if crossings == 1.0 and rise > 0.0 and miss <= 1.0 + 1e-6:
        return Finding(value, uncertainty, Ruling.HOLDS)
    worst = max(keys, key=lambda key: numbers[f"{key[0].name}_crossings_{key[1]}"])
    reason = f"{worst[0].name} at ρ = {worst[1]}: {crossings:.0f} crossings, least rise {told(rise, '.2g')}"
    return Finding(value, uncertainty, Ruling.REFUTED, reason)


# Section 2.1: Γ_ρ is a smooth submanifold.

_SMALL_RADII = (0.1, 0.01, 0.001)
_HALVINGS = 25
_SMOOTH = 1e-3
"""A jump of slope below it is none."""
_CONTROLS = (0.5, 3.0)
"""ρκ of a parabola whose f_ρ is smooth, and of one whose f_ρ has a V of slopes ±√((ρκ)²−1)."""


def kink(landscape: Landscape, position: float, radius: float, spacing: float | None = None) -> float:
    """The jump of f_ρ's slope near a valley: what is left of its rise over an interval that is halved.

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
    for _ in range(_HALVINGS):
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
    numbers |= {f"parabola_kink_{radius:g}": kink(parabola(1.0), 0.0, radius) for radius in _CONTROLS}
    numbers["parabola_predicted"] = 2.0 * math.sqrt(_CONTROLS[1] ** 2 - 1.0)
    for radius in _SMALL_RADII:
        # The valleys of sin θ² are at θ² = 3π/2 + 2πn and bend by 4θ²; this one bends by 2/ρ or more.
        n = math.ceil((0.5 / radius - 1.5 * math.pi) / (2.0 * math.pi))
        valley = math.sqrt(1.5 * math.pi + 2.0 * math.pi * max(n, 0))
        numbers[f"square_valley_{radius:g}"] = valley
        numbers[f"square_kink_{radius:g}"] = kink(SINE_OF_SQUARE, valley, radius, radius / 500.0)
    return numbers


def judge_smoothness(numbers: Numbers) -> Finding:
    """Smooth below the reach; the claim's "small enough" asks for a reach, which sin θ² does not have."""
    below, above = max(numbers["sine_kink_0.5"], numbers["sine_kink_0.99"]), numbers["sine_kink_3"]
    square = [numbers[f"square_kink_{radius:g}"] for radius in _SMALL_RADII]
    jumps = ", ".join(f"{jump:.2f}" for jump in square)
    value = (
        f"jump of slope over the valley of sin θ: {told(below, '.1g')} up to ρ = 0.99, {above:.2f} at ρ = 3; "
        f"of sin θ²: {jumps} at ρ = 0.1, 0.01, 0.001"
    )
    flat, folded = (numbers[f"parabola_kink_{radius:g}"] for radius in _CONTROLS)
    predicted = numbers["parabola_predicted"]
    uncertainty = (
        f"slopes at contacts {told(0.5 ** (_HALVINGS + 1), '.0e')} ρ apart; one valley a radius; control "
        f"θ²/2: {told(flat, '.0e')} at ρ = {_CONTROLS[0]:g}, {folded:.3f} at {_CONTROLS[1]:g} "
        f"({predicted:.3f} in theory)"
    )
    if flat > _SMOOTH or abs(folded - predicted) > _SMOOTH:
        return Finding(
            value, uncertainty, Ruling.OPEN, "the parabola, the control, does not have its known jumps"
        )
    if below > _SMOOTH:
        reason = f"sin θ at a radius below its reach: a kink of {below:.2f}"
        return Finding(value, uncertainty, Ruling.REFUTED, reason)
    if min(square) > _SMOOTH:
        reason = (
            "the reach of Γ is positive, and ρ below it: sin θ², of reach 0, has a kink of "
            f"{square[-1]:.2f} at ρ = {_SMALL_RADII[-1]:g}, too, over the valley at "
            f"{numbers['square_valley_0.001']:.1f}"
        )
        return Finding(value, uncertainty, Ruling.HOLDS_WHEN, reason)
    if above > _SMOOTH:
        return Finding(value, uncertainty, Ruling.HOLDS_WHEN, "ρ is below the reach")
    return Finding(value, uncertainty, Ruling.HOLDS)


# Section 4.2: the landscape is smoothed.

_VALLEY, _HILL = -0.5 * math.pi, 0.5 * math.pi
_CURVED = (0.25, 0.5, 0.9)
_KINKED = (2.0, 10.0)


_STEP = 3e-4
"""Of second differences, in ρ."""


def curvature(landscape: Landscape, position: float, radius: float, step: float = _STEP) -> float:
    """f_ρ″ at a position of the center, by second differences over `step` times ρ."""
    step *= radius
    below, here, above = offset(landscape, position + step * np.array([-1.0, 0.0, 1.0]), radius, radius / 100)
    return float((below - 2.0 * here + above) / step**2)


def measure_smoothing() -> Numbers:
    """Curvature of the sine's f_ρ in the valley and on the hill, kinks beyond the reach, and Δ."""
    numbers = {"difference_error": 0.0}
    for radius in _CURVED:
        for name, place in (("valley", _VALLEY), ("hill", _HILL)):
            fine, coarse = (curvature(SINE, place, radius, step) for step in (_STEP, 2.0 * _STEP))
            numbers[f"{name}_{radius:g}"] = fine
            numbers["difference_error"] = max(numbers["difference_error"], abs(coarse / fine - 1.0))
    positions = np.linspace(*PERIOD, 41)
    for radius in (_CURVED[0], *_KINKED):
        numbers[f"delta_{radius:g}"] = float(np.ptp(offset(SINE, positions, radius)))
    return numbers | {f"kink_{radius:g}": kink(SINE, _VALLEY, radius) for radius in _KINKED}


def judge_smoothing(numbers: Numbers) -> Finding:
    """Flatter by Δ and on hills; smoother only if no valley becomes sharper."""
    valley = numbers["valley_0.9"]
    sharper = max(numbers[f"valley_{radius:g}"] for radius in _CURVED) > 1.01
    kinked = max(numbers[f"kink_{radius:g}"] for radius in _KINKED) > _SMOOTH
    lower = numbers["delta_10"] < numbers["delta_2"] < numbers["delta_0.25"]
    hills = [abs(numbers[f"hill_{radius:g}"]) for radius in _CURVED]
    flatter = 1.0 > hills[0] > hills[1] > hills[2]
    bends = {
        place: ", ".join(told(numbers[f"{place}_{radius:g}"], ".2f") for radius in _CURVED)
        for place in ("valley", "hill")
    }
    value = (
        f"ρ = 0.25, 0.5, 0.9: valley bends by {bends['valley']}, hill by {bends['hill']}; ρ = 0.25, 2, 10: "
        f"Δ = {numbers['delta_0.25']:.2f}, {numbers['delta_2']:.2f}, {numbers['delta_10']:.2f}"
    )
    error = told(numbers["difference_error"], ".0e")
    uncertainty = f"second differences: twice the step changes them by {error} at most"
    if not lower:
        return Finding(value, uncertainty, Ruling.REFUTED, f"sin θ: Δ(10) = {numbers['delta_10']:.2f}")
    if not flatter:
        return Finding(value, uncertainty, Ruling.REFUTED, f"sin θ: its hill bends by {bends['hill']}")
    if sharper or kinked:
        reason = (
            f"height is meant: Δ falls and hills flatten, but valleys become sharper ({valley:.1f} times "
            f"at ρ = 0.9) and fold (slopes jump by {numbers['kink_2']:.2f} at ρ = 2, "
            f"{numbers['kink_10']:.2f} at 10)"
        )
        return Finding(value, uncertainty, Ruling.HOLDS_WHEN, reason)
    return Finding(value, uncertainty, Ruling.HOLDS)


# Figure 2: Δ = O(1/ρ) for the sine.

_SINE_RADII = (20.0, 60.0, 200.0)


def measure_sine() -> Numbers:
    """Δ of the sine, on the line and cut to the paper's interval: the power law that fits, its constant."""
    deltas = []
    for radius in _SINE_RADII:
        graph = Graph(SINE, (PERIOD[0] - radius, PERIOD[1] + radius))
        deltas.append(ironing(graph, radius, PERIOD, positions=21).delta)
    numbers = {f"delta_{radius:g}": delta for radius, delta in zip(_SINE_RADII, deltas, strict=True)}
    graph = Graph(SINE, INTERVAL)
    cut = [float(np.ptp(dilation(graph, radius))) for radius in _SINE_RADII]
    larger = 1.0 + np.array(_SINE_RADII)
    return numbers | {
        "exponent": exponent(larger, deltas),
        "constant": deltas[-1] * larger[-1],
        "predicted": 0.5 * math.pi**2,
        "cut_200": cut[-1],
        "cut_exponent": exponent(larger, cut),
        "cut_constant": cut[-1] * larger[-1],
        # The last hill is 3π/2 from the end of the interval.
        "cut_predicted": 0.5 * (1.5 * math.pi) ** 2,
    }


def judge_sine(numbers: Numbers) -> Finding:
    """The first power, and the constant of a hill at distance x from the lowest center, x²/2."""
    gaps = {
        case: abs(numbers[f"{case}constant"] / numbers[f"{case}predicted"] - 1.0) for case in ("cut_", "")
    }
    value = (
        f"cut at ±3π: Δ ∝ (1+ρ)^{told(numbers['cut_exponent'], '.3f')}, Δ(200)·201 = "
        f"{numbers['cut_constant']:.3f} (9π²/8 = {numbers['cut_predicted']:.3f}); sin continued: "
        f"{told(numbers['exponent'], '.3f')}, {numbers['constant']:.4f} (π²/2 = {numbers['predicted']:.4f})"
    )
    uncertainty = (
        f"constants {told(gaps['cut_'], '.0e')} and {told(gaps[''], '.0e')} off at ρ = 200; the cut graph on "
        f"a grid of {SINE.spacing:g}"
    )
    against = [
        f"sin θ {words}: Δ(200) = {delta:.3g}, power {told(numbers[f'{case}exponent'], '.2f')}"
        for case, words, delta in (
            ("cut_", "cut at ±3π", numbers["cut_200"]),
            ("", "itself", numbers["delta_200"]),
        )
        if abs(numbers[f"{case}exponent"] + 1.0) > 0.02 or gaps[case] > 1e-3
    ]
    if against:
        return Finding(value, uncertainty, Ruling.REFUTED, "; ".join(against))
    return Finding(value, uncertainty, Ruling.HOLDS)


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
    sine = [float(np.ptp(offset(SINE, period, radius))) for radius in _SINE_RADII]
    return {
        "sine_exponent": exponent(_SINE_RADII, sine),
        "sine_scatter": scatter(_SINE_RADII, sine),
        **{f"bump_{radius:g}": bump_gap(radius) for radius in _BUMP_RADII},
        "bump_window": bump_window(_BUMP_RADII[-1]),
        "bump_exponent": exponent(_BUMP_RADII, [bump_gap(radius) for radius in _BUMP_RADII]),
        "bump_on_3_exponent": exponent(
            _FLAT_RADII[:2], [float(np.ptp(offset(BUMP, window, radius))) for radius in _FLAT_RADII[:2]]
        ),
        "arctan_exponent": exponent(_FLAT_RADII, flat),
        "arctan_cut_exponent": exponent(_FLAT_RADII, cut),
        "arctan_scatter": scatter(_FLAT_RADII, flat),
        "almost_periodic_scatter": scatter(_WAVE_RADII, waves),
        "almost_periodic_1000": waves[-1],
        "almost_periodic_exponent": exponent(_WAVE_RADII, waves),
    }


def judge_bounded(numbers: Numbers) -> Finding:
    """Every landscape that decays more slowly than 1/ρ is a counterexample."""
    value = (
        f"powers of ρ: sin {told(numbers['sine_exponent'], '.2f')}, exp(−θ²) "
        f"{abs(numbers['bump_exponent']):.2f} (on [−3, 3] "
        f"{told(numbers['bump_on_3_exponent'], '.2f')}), sin θ + sin √2 θ "
        f"{told(numbers['almost_periodic_exponent'], '.2f')}, arctan on [−1, 1] "
        f"{told(numbers['arctan_exponent'], '.2f')}"
    )
    spread = max(numbers[f"{name}_scatter"] for name in ("sine", "arctan", "almost_periodic"))
    uncertainty = (
        f"2 to 4 finite radii: powers between neighbors differ by {spread:.2f} at most; exp(−θ²) on "
        f"±(√(2ρ)+6); arctan goes on beyond [−1, 1], cut there it has "
        f"{told(numbers['arctan_cut_exponent'], '.2f')}"
    )
    slow = {
        "sin θ": numbers["sine_exponent"],
        "exp(−θ²)": numbers["bump_exponent"],
        "sin θ + sin √2 θ": numbers["almost_periodic_exponent"],
        "arctan on [−1, 1]": numbers["arctan_exponent"],
    }
    against = [name for name, power in slow.items() if power > FIRST_ORDER]
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
        "arctan_last_exponent": exponent(_FLAT_RADII[1:], flat[1:]),
    }


def judge_limit(numbers: Numbers) -> Finding:
    """A gap that stays refutes uniform convergence; one that closes slowly refutes its O(1/ρ)."""
    value = (
        f"sin {numbers['sine_200']:.3f} at ρ = 200; exp(−θ²) {numbers['bump_1000']:.2f} at ρ = 1000 (θ = 3 "
        f"alone: {numbers['bump_1000_at_3']:.4f}); arctan on [−1, 1] like "
        f"ρ^{told(numbers['arctan_exponent'], '.2f')}"
    )
    uncertainty = (
        "lower bounds from 2 to 41 places; exp(−θ²) on ±(√(2ρ)+6); ρ ≤ 10⁴: from 10³ on the power of "
        f"arctan is {told(numbers['arctan_last_exponent'], '.2f')}"
    )
    stays = numbers["bump_1000"] > 0.5 * numbers["bump_100"] and numbers["bump_1000"] > 0.1
    if numbers["sine_exponent"] > FIRST_ORDER:
        reason = f"sin θ itself: ρ^{told(numbers['sine_exponent'], '.2f')}"
        return Finding(value, uncertainty, Ruling.REFUTED, reason)
    if stays:
        pointwise = numbers["bump_1000_at_3"] < 0.1 * numbers["bump_1000"]
        reason = f"exp(−θ²): the gap stays {numbers['bump_1000']:.2f}"
        if pointwise:
            reason += f"; at a fixed θ it closes ({numbers['bump_1000_at_3']:.4f} at θ = 3)"
        return Finding(value, uncertainty, Ruling.REFUTED, reason)
    if numbers["arctan_exponent"] > FIRST_ORDER:
        reason = f"O(1/ρ) is not asked: arctan has ρ^{told(numbers['arctan_exponent'], '.2f')}"
        return Finding(value, uncertainty, Ruling.HOLDS_WHEN, reason)
    return Finding(value, uncertainty, Ruling.HOLDS)


# Section 5.1: Δ has a plateau, and it ends at the reach.

_DEPARTURE = 1e-9
_BISECTED = 1e-6
_SAME_RADIUS = 1e-3
_SAME_DELTA, _GRID_DELTA = 1e-6, 1e-5
"""How much Δ may vary on a plateau, and where contacts are sought on a grid alone."""
_FIRST_VALLEY = math.sqrt(1.5 * math.pi)
_SHARES = (0.1, 0.3, 0.6, 0.9, 0.99)
"""Of the plateau's end, where Δ is looked at."""


class _Wave(NamedTuple):
    name: str
    landscape: Landscape
    window: Domain
    extrema: tuple[float, float]  # where f is lowest, at its widest minimum, and highest


def _waves() -> dict[str, _Wave]:
    # The lowest valley of the two waves is near −π/2.
    near = np.linspace(_VALLEY - 0.5, _VALLEY + 0.5, 100_001)
    lowest = float(near[(np.sin(near) + 0.05 * np.cos(8.0 * near)).argmin()])
    return {
        "sine": _Wave("sin θ", SINE, PERIOD, (_VALLEY, _HILL)),
        "two_waves": _Wave("sin θ + 0.05 cos 8θ", TWO_WAVES, PERIOD, (lowest, _HILL)),
        "square": _Wave("sin θ²", SINE_OF_SQUARE, (-5.0, 5.0), (_FIRST_VALLEY, math.sqrt(0.5 * math.pi))),
    }


def deltas(landscape: Landscape, window: Domain, extrema: Sequence[float]) -> Callable[[float], float]:
    """Δ as a function of ρ ≤ 2, from a grid over the window of the center and the extrema of f there."""
    graph = Graph(landscape, (window[0] - 2.0, window[1] + 2.0))
    positions = np.concatenate([np.linspace(*window, 101), extrema])
    return lambda radius: float(np.ptp(offset_graph(graph, positions, radius).values))


def plateau_end(landscape: Landscape, window: Domain, extrema: Sequence[float]) -> float:
    """The radius at which Δ falls below its value for a small ball by more than 10⁻⁹, to 10⁻⁶ relative.

    Args:
        landscape: f.
        window: Of the center.
        extrema: Where f is lowest and highest in the window.
    """
    delta = deltas(landscape, window, extrema)
    low, high = 0.01, 2.0
    plateau = delta(low)
    while high - low > _BISECTED * high:
        middle = 0.5 * (low + high)
        low, high = (low, middle) if delta(middle) < plateau - _DEPARTURE else (middle, high)
    return high


def measure_plateau() -> Numbers:
    """How Δ varies below the radius that still touches the global minimum, and by what it falls beyond it."""
    numbers: dict[str, float] = {}
    for key, wave in _waves().items():
        lowest = np.array([[wave.extrema[0]]])
        end = float(contact_radius(Graph(wave.landscape, (-5.0, 5.0)), lowest)[0])
        delta = deltas(*wave[1:])
        plateau = [delta(share * end) for share in _SHARES]
        numbers |= {f"{key}_drift": float(np.ptp(plateau)), f"{key}_drop": plateau[0] - delta(1.1 * end)}
    # The paper's graph ends at ±3π; dilation knows its grid alone.
    graph = Graph(SINE, INTERVAL, 1e-3)
    plateau = [float(np.ptp(dilation(graph, share))) for share in _SHARES]
    cut = {"cut_drift": float(np.ptp(plateau)), "cut_drop": plateau[0] - float(np.ptp(dilation(graph, 1.1)))}
    return numbers | cut


def judge_plateau(numbers: Numbers) -> Finding:
    """Δ must stay below some radius, and fall beyond it."""
    names = {key: wave.name for key, wave in _waves().items()} | {"cut": "sin θ cut at ±3π"}
    drift = max(numbers[f"{key}_drift"] for key in names if key != "cut")
    drop = min(numbers[f"{key}_drop"] for key in names)
    value = (
        f"Δ varies by {told(drift, '.0e')} at most up to {_SHARES[-1]:g} of the plateau's end (cut at ±3π, "
        f"on a grid: {told(numbers['cut_drift'], '.0e')}); at 1.1 of it fallen by {told(drop, '.0e')} or more"
    )
    uncertainty = f"{len(_SHARES)} radii from {_SHARES[0]:g} of the end on; 101 centers and the extrema of f"
    drifting = [
        f"{name}: Δ drifts by {told(numbers[f'{key}_drift'], '.1g')}"
        for key, name in names.items()
        if numbers[f"{key}_drift"] > (_GRID_DELTA if key == "cut" else _SAME_DELTA)
    ]
    if drifting:
        return Finding(value, uncertainty, Ruling.REFUTED, "; ".join(drifting))
    endless = [name for key, name in names.items() if numbers[f"{key}_drop"] < _SAME_DELTA]
    if endless:
        return Finding(value, uncertainty, Ruling.OPEN, f"no end of the plateau seen: {', '.join(endless)}")
    return Finding(value, uncertainty, Ruling.HOLDS)


def measure_reach() -> Numbers:
    """Where the plateau ends, and the three radii that might end it, of the graph over the same interval."""
    numbers = {}
    for key, wave in _waves().items():
        graph = Graph(wave.landscape, (-5.0, 5.0))
        radii = critical_radii(graph, points=400)
        numbers[f"{key}_two_sided"], numbers[f"{key}_upper"] = radii.two_sided, radii.upper
        # Farther valleys of sin θ² are as deep, and narrower.
        numbers[f"{key}_minimum"] = float(contact_radius(graph, np.array([[wave.extrema[0]]]))[0])
        numbers[f"{key}_end"] = plateau_end(*wave[1:])
    numbers["bump_two_sided"] = critical_radii(Graph(BUMP, (-4.0, 4.0), 1e-2), points=400).two_sided
    numbers["bump_100"] = bump_gap(100.0)
    return numbers


def judge_reach(numbers: Numbers) -> Finding:
    """Which of the radii the plateau's end agrees with, on every landscape."""
    names = {key: wave.name for key, wave in _waves().items()}

    def ends_at(kind: str) -> list[str]:
        return [
            key for key in names if abs(numbers[f"{key}_end"] / numbers[f"{key}_{kind}"] - 1.0) < _SAME_RADIUS
        ]

    two = [numbers[f"two_waves_{kind}"] for kind in ("two_sided", "upper", "minimum")]
    value = (
        f"end, reach: sin θ {numbers['sine_end']:.4f}, {numbers['sine_two_sided']:.4f}; sin θ² on ±5 "
        f"{numbers['square_end']:.4f}, {numbers['square_two_sided']:.4f}; sin θ + 0.05 cos 8θ "
        f"{numbers['two_waves_end']:.4f}, {two[0]:.4f} (from above {two[1]:.4f}, at the minimum {two[2]:.4f})"
    )
    uncertainty = (
        f"end: Δ fell by {told(_DEPARTURE, '.0e')}, bisected to {told(_BISECTED, '.0e')}; equal: within "
        f"{told(_SAME_RADIUS, '.0e')}; exp(−θ²), of reach {numbers['bump_two_sided']:.2g}: ρ = 100 alone"
    )
    against = [name for key, name in names.items() if key not in ends_at("two_sided")]
    if numbers["bump_100"] > 1.0 - _SAME_RADIUS and numbers["bump_two_sided"] < 100.0:
        against.append("exp(−θ²) (none up to ρ = 100)")
    if not against:
        return Finding(value, uncertainty, Ruling.HOLDS)
    reason = ", ".join(against)
    if len(ends_at("minimum")) == len(names):
        reason += "; where it ends, it is at the largest radius that touches a global minimum"
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

    return line("waves", waves)


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
    value = f"least growth {told(numbers['rise'], '.1g')}; largest ‖f_ρ−g_ρ‖∞ / ‖f−g‖∞ {numbers['ratio']:.4f}"
    uncertainty = (
        f"{numbers['pairs']:.0f} periodic pairs, {len(_RISING_RADII)} radii from 0.03 to 30, 41 places"
    )
    against = []
    if numbers["rise"] < -_ROUNDING:
        against.append(f"a fall of {told(-numbers['rise'], '.1g')}")
    if numbers["ratio"] > 1.0 + 1e-5:
        against.append(f"offsets {numbers['ratio']:.3f} times as far apart")
    if against:
        return Finding(value, uncertainty, Ruling.REFUTED, " and ".join(against))
    return Finding(value, uncertainty, Ruling.HOLDS)


# Our own: how the offset graph bends.

_BENDS = (1.0, 4.0)
_BENT, _FOLDED = (0.5, 0.9), (2.0, 5.0)


def measure_bends() -> Numbers:
    """The largest relative errors of the closed forms for κθ²/2 and −κθ²/2."""
    errors = {"minimum": 0.0, "maximum": 0.0, "slope": 0.0, "contacts": 0.0}

    def note(quantity: str, measured: float, predicted: float) -> None:
        errors[quantity] = max(errors[quantity], abs(measured / predicted - 1.0))

    for bend in _BENDS:
        for product in (*_BENT, *_FOLDED):
            radius = product / bend
            note("maximum", curvature(parabola(-bend), 0.0, radius), -bend / (1.0 + product))
            if product < 1.0:
                note("minimum", curvature(parabola(bend), 0.0, radius), bend / (1.0 - product))
                continue
            step = 1e-6 * radius
            here, beside = offset(parabola(bend), np.array([0.0, step]), radius)
            note("slope", float((beside - here) / step), math.sqrt(product**2 - 1.0))
            graph = Graph(parabola(bend), (-2.0 * radius, 2.0 * radius))
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
    value = "relative errors: " + ", ".join(
        f"{names[key]} {told(error, '.0e')}" for key, error in numbers.items()
    )
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
            "and of a valley of sin θ², farther out for smaller ρ; a parabola as the control."
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
        test=(
            "Power law fitted to Δ at ρ = 20, 60, 200, and Δ(ρ)(1+ρ) against its limit: the graph cut at "
            "±3π, as in the paper, and sin continued beyond."
        ),
        measure=measure_sine,
        judge=judge_sine,
    ),
    Claim(
        name="delta-has-a-plateau",
        section="5.1, Figure 2",
        claim="Δ(ρ) is constant below a critical radius.",
        test=(
            "Δ at five radii below the largest that touches the lowest minimum and at one beyond it: sin θ "
            "(also cut at ±3π), sin θ + 0.05 cos 8θ, sin θ²."
        ),
        measure=measure_plateau,
        judge=judge_plateau,
    ),
    Claim(
        name="plateau-ends-at-reach",
        section="5.1, Figure 2",
        claim="In general, the critical radius at which the plateau of Δ(ρ) ends is the reach of Γ.",
        test=(
            "Bisection for the end of Δ's plateau, against the three radii of `critical_radii`, on "
            "sin θ, sin θ + 0.05 cos 8θ and sin θ²; Δ(100) of exp(−θ²)."
        ),
        measure=measure_reach,
        judge=judge_reach,
    ),
)
