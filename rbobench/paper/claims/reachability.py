"""Claims on the points that a ball can and cannot touch (Section 4.1), and on small balls (Section 5.1)."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np

from rbobench.geometry.curvature import principal_curvatures
from rbobench.geometry.footpoint import distance
from rbobench.geometry.graph import Array, Graph, ball_centers, graph_of
from rbobench.geometry.landscape import Formula, Landscape
from rbobench.geometry.reach import contact_radius, reachable
from rbobench.paper import figure4
from rbobench.paper.claim import Claim, Finding, Numbers, Ruling
from rbobench.paper.claims.invariant import SINE, TWO_SINES, contacts, reachable_starts
from rbobench.paper.power_law import order
from rbobench.tasks.landscapes import Eq13, Eq14

WRINKLED = Formula(
    "sin θ + 0.05 cos 8θ",
    lambda points: points[..., 0].sin() + 0.05 * (8.0 * points[..., 0]).cos(),
    spacing=5e-3,
)
CRATE = Formula(
    "sin θ₁ sin θ₂", lambda points: points[..., 0].sin() * points[..., 1].sin(), dimension=2, spacing=5e-2
)
SPIKE = Formula("exp(−100θ²)", lambda points: (-100.0 * points[..., 0].square()).exp(), spacing=5e-3)
FAST = Formula("sin 10θ", lambda points: (10.0 * points[..., 0]).sin(), spacing=5e-3)
PLANE = Formula("θ", lambda points: points[..., 0])
CAP = Formula("−θ²", lambda points: -points[..., 0].square())
BOWL = Formula("θ²", lambda points: points[..., 0].square())
CHAIN = Formula("sin θ − 0.05 θ²", lambda points: points[..., 0].sin() - 0.05 * points[..., 0].square())
"""A chain of tops on a concave hill."""

MINIMUM, MAXIMUM = -0.5 * math.pi, 0.5 * math.pi
"""Of sin θ."""

_DEEP = 1e-6
_DEEPER = 1e-2
"""Depths of Γ in the ball, in units of ρ, from which a contact counts as unreachable."""


class Study(NamedTuple):
    """A landscape, the radii at which it is studied, and the points of Γ, in the box [−π, π]ᵈ or another."""

    landscape: Landscape
    radii: tuple[float, ...]
    points: Array

    def graph(self, radius: float) -> Graph:
        """Γ over a box that holds every ball that touches the points."""
        farthest = float(np.abs(self.points).max()) + 2.0 * radius + 0.1
        return Graph(self.landscape, (-farthest, farthest))


def _line(count: int, half_width: float = math.pi) -> Array:
    """Points at random rather than on a grid, which could hit extrema; of shape `(count, 1)`."""
    return np.sort(np.random.default_rng(0).uniform(-half_width, half_width, (count, 1)), axis=0)


def _square(count: int) -> Array:
    return np.random.default_rng(0).uniform(-math.pi, math.pi, (count, 2))


def _depth(graph: Graph, points: Array, radius: float) -> Array:
    """How deep Γ enters the ball that lies on each point from above, in units of ρ; 0 if it does not."""
    return 1.0 - distance(graph, ball_centers(graph, points, radius)) / radius


# Lemma 1


def _open_studies() -> tuple[Study, ...]:
    return (
        Study(SINE, (1.05, 3.0, 10.0), _line(400)),
        Study(WRINKLED, (0.3, 1.0, 3.0), _line(400)),
        Study(CRATE, (1.5, 3.0), _square(150)),
    )


_STEPS = (1e-3, 1e-5, 1e-7)
_HALVINGS = 45


def measure_open() -> Numbers:
    """Unreachable points with reachable neighbors, and how deep Γ is in the ball where the one ends."""
    numbers = {"unreachable": 0.0, "boundaries": 0.0, "depth at the boundary": 0.0}
    numbers |= {f"with a reachable neighbor at {step:g}": 0.0 for step in _STEPS}
    for study in _open_studies():
        for radius in study.radii:
            graph = study.graph(radius)
            touched = reachable(graph, study.points, radius)
            inner = study.points[~touched]
            numbers["unreachable"] += len(inner)
            axes = np.eye(graph.dimension)
            for step in _STEPS:
                around = (inner[:, None] + step * np.concatenate([axes, -axes])).reshape(-1, graph.dimension)
                beside = reachable(graph, around, radius).reshape(len(inner), -1).any(axis=-1)
                numbers[f"with a reachable neighbor at {step:g}"] += float(beside.sum())
            ends = _boundary(graph, study.points, touched, radius)
            numbers["boundaries"] += len(ends)
            if len(ends):
                deepest = float(_depth(graph, ends, radius).max())
                numbers["depth at the boundary"] = max(numbers["depth at the boundary"], deepest)
    return numbers


def _boundary(graph: Graph, points: Array, touched: Array, radius: float) -> Array:
    """Unreachable points next to reachable ones, to rounding, by bisection between neighbors in the list."""
    pairs = np.flatnonzero(touched[1:] != touched[:-1])
    first, second = points[pairs], points[pairs + 1]
    unreached = np.where(touched[pairs][:, None], second, first)
    reached = np.where(touched[pairs][:, None], first, second)
    for _ in range(_HALVINGS if len(pairs) else 0):
        middle = 0.5 * (unreached + reached)
        inside = reachable(graph, middle, radius)[:, None]
        reached, unreached = np.where(inside, middle, reached), np.where(inside, unreached, middle)
    return unreached


def judge_open(numbers: Numbers) -> Finding:
    """Open if no unreachable point has reachable ones arbitrarily near, and depth begins at zero."""
    isolated = numbers[f"with a reachable neighbor at {_STEPS[-1]:g}"]
    depth = numbers["depth at the boundary"]
    value = (
        f"{isolated:.0f} of {numbers['unreachable']:.0f} unreachable points have a reachable neighbor "
        f"{_STEPS[-1]:g} away; at {numbers['boundaries']:.0f} boundaries Γ is at most {depth:.1g} ρ deep in "
        "the ball"
    )
    uncertainty = (
        "touching is told to 1e-9 ρ; sin, sin + 0.05 cos 8θ, sin θ₁ sin θ₂ at 8 radii; the lemma is proved"
    )
    if not numbers["unreachable"] or not numbers["boundaries"]:
        return Finding(value, uncertainty, Ruling.OPEN, "no boundary of the unreachable points was met")
    if isolated or depth > _DEEP:
        what = "an unreachable point among reachable ones" if isolated else "an unreachable boundary point"
        return Finding(value, uncertainty, Ruling.REFUTED, what)
    return Finding(value, uncertainty, Ruling.HOLDS)


# Property (ii)


def _growth_studies() -> tuple[Study, ...]:
    return (
        Study(SINE, (0.5, 1.01, 1.5, 2.5, 5.0, 10.0, 20.0), _line(200)),
        Study(WRINKLED, (0.2, 0.3, 0.5, 1.0, 2.0, 5.0), _line(200)),
        Study(CRATE, (0.7, 1.1, 1.5, 2.5), _square(100)),
    )


def measure_growth() -> Numbers:
    """Points that a larger ball touches and a smaller one does not."""
    numbers = {
        "returned": 0.0,
        "compared": 0.0,
        "unreachable at the smallest": 0.0,
        "unreachable at the largest": 0.0,
    }
    for study in _growth_studies():
        graph = study.graph(study.radii[-1])
        touched = np.stack([reachable(graph, study.points, radius) for radius in study.radii])
        missed_before = np.logical_or.accumulate(~touched, axis=0)[:-1]
        numbers["returned"] += float((missed_before & touched[1:]).any(axis=0).sum())
        numbers["compared"] += len(study.points)
        numbers["unreachable at the smallest"] += float((~touched[0]).sum())
        numbers["unreachable at the largest"] += float((~touched[-1]).sum())
    return numbers


def judge_growth(numbers: Numbers) -> Finding:
    """Growing if no point ever returns, and some are lost."""
    value = (
        f"{numbers['returned']:.0f} of {numbers['compared']:.0f} points return at a larger radius; "
        f"unreachable are {numbers['unreachable at the smallest']:.0f} at the smallest radius, "
        f"{numbers['unreachable at the largest']:.0f} at the largest"
    )
    uncertainty = "touching is told to 1e-9 ρ; 3 landscapes, 4 to 7 radii each"
    if numbers["returned"]:
        reason = "points that a larger ball touches and a smaller one does not"
        return Finding(value, uncertainty, Ruling.REFUTED, reason)
    if numbers["unreachable at the largest"] <= numbers["unreachable at the smallest"]:
        return Finding(value, uncertainty, Ruling.OPEN, "no point was lost, so the test shows nothing")
    return Finding(value, uncertainty, Ruling.HOLDS)


# Property (i), to the letter

_LITERAL_RADII = (1.05, 1.5, 3.0)


def measure_literal() -> Numbers:
    """How many unreachable points of sin θ have a reachable one within ρ in the ambient space."""
    points = _line(600)
    heights = np.column_stack([points, np.sin(points)])
    numbers: dict[str, float] = {}
    for radius in _LITERAL_RADII:
        touched = reachable(Study(SINE, (radius,), points).graph(radius), points, radius)
        inner = heights[~touched]
        nearest = np.linalg.norm(inner[:, None] - heights[touched], axis=-1).min(axis=-1)
        numbers[f"unreachable, radius {radius:g}"] = len(inner)
        numbers[f"with a reachable one within the radius, radius {radius:g}"] = float(
            (nearest <= radius).sum()
        )
        numbers[f"farthest from the reachable, radius {radius:g}"] = float(nearest.max(initial=0.0))
    return numbers


def judge_literal(numbers: Numbers) -> Finding:
    """True if no unreachable point has a reachable one within ρ."""
    unreachable = [numbers[f"unreachable, radius {radius:g}"] for radius in _LITERAL_RADII]
    beside = [
        numbers[f"with a reachable one within the radius, radius {radius:g}"] for radius in _LITERAL_RADII
    ]
    farthest = [numbers[f"farthest from the reachable, radius {radius:g}"] for radius in _LITERAL_RADII]
    shares = ", ".join(f"{a:.0f} of {b:.0f}" for a, b in zip(beside, unreachable, strict=True))
    radii = ", ".join(f"{radius:g}" for radius in _LITERAL_RADII)
    value = (
        f"sin, ρ = {radii}: {shares} unreachable points have a reachable one within ρ; it is at most "
        + ", ".join(f"{reach:.2f}" for reach in farthest)
        + " away"
    )
    uncertainty = f"600 points, about {2.0 * math.pi / 600:.2f} apart; distances in the ambient space"
    if not sum(unreachable):
        return Finding(value, uncertainty, Ruling.OPEN, "every point was reachable")
    for radius, count in zip(_LITERAL_RADII, beside, strict=True):
        if count:
            reason = f"some ε > 0 is meant, as in Lemma 1; within ρ itself it fails: sin at ρ = {radius:g}"
            return Finding(value, uncertainty, Ruling.HOLDS_WHEN, reason)
    return Finding(value, uncertainty, Ruling.HOLDS)


# Definition 1, to the letter

_DEFINITION_RADII = (3.0, 30.0)


def measure_definition() -> Numbers:
    """Points that no ball from above touches, and points that none from either side touches."""
    numbers: dict[str, float] = {}
    for landscape, name, minimum in ((SINE, "sin", MINIMUM), (BOWL, "bowl", 0.0)):
        for radius in _DEFINITION_RADII:
            study = Study(landscape, (radius,), _line(200))
            graph = study.graph(radius)
            touched = [reachable(graph, study.points, radius, above=above) for above in (True, False)]
            numbers[f"untouched from above, {name}, radius {radius:g}"] = float((~touched[0]).mean())
            numbers[f"untouched, {name}, radius {radius:g}"] = float((~touched[0] & ~touched[1]).mean())
            bottom = np.array([[minimum]])
            for side, above in (("above", True), ("below", False)):
                found = reachable(graph, bottom, radius, above=above)
                numbers[f"minimum touched from {side}, {name}, radius {radius:g}"] = float(found[0])
    return numbers


def judge_definition(numbers: Numbers) -> Finding:
    """To the letter, if balls from below touch nothing that balls from above cannot."""
    radius = _DEFINITION_RADII[0]
    parts = [
        f"{label}: {numbers[f'untouched, {name}, radius {radius:g}']:.0%} untouched from either side, "
        f"{numbers[f'untouched from above, {name}, radius {radius:g}']:.0%} from above"
        for name, label in (("sin", "sin"), ("bowl", "θ²"))
    ]
    rescued = [
        label
        for name, label in (("sin", "sin"), ("bowl", "θ²"))
        if any(
            numbers[f"minimum touched from below, {name}, radius {radius:g}"]
            and not numbers[f"minimum touched from above, {name}, radius {radius:g}"]
            for radius in _DEFINITION_RADII
        )
    ]
    differ = any(
        numbers[f"untouched, {name}, radius {radius:g}"]
        != numbers[f"untouched from above, {name}, radius {radius:g}"]
        for name in ("sin", "bowl")
        for radius in _DEFINITION_RADII
    )
    value = f"ρ = {radius:g}: " + "; ".join(parts)
    uncertainty = "200 points each; the minima themselves at ρ = 3 and 30"
    if rescued:
        minima = " and of ".join(rescued)
        reason = f"only balls from above count; as written, a ball from below touches the minimum of {minima}"
        return Finding(value, uncertainty, Ruling.HOLDS_WHEN, reason)
    if differ:
        return Finding(value, uncertainty, Ruling.HOLDS_WHEN, "only balls from above count")
    return Finding(value, uncertainty, Ruling.HOLDS)


# The limit of large radii

_LIMIT_RADII = (3.0, 10.0, 30.0, 100.0)


def _limit_studies() -> dict[str, Study]:
    return {
        "sin": Study(SINE, _LIMIT_RADII, _line(300)),
        "plane": Study(PLANE, _LIMIT_RADII, _line(100)),
        "cap": Study(CAP, _LIMIT_RADII, _line(100)),
        "chain": Study(CHAIN, _LIMIT_RADII, _line(300, 3.0 * math.pi)),
    }


def measure_limit() -> Numbers:
    """What larger and larger balls still touch, beside the points that carry the concave envelope."""
    numbers: dict[str, float] = {}
    for name, study in _limit_studies().items():
        graph = study.graph(_LIMIT_RADII[-1])
        values, gradients = graph.evaluate(study.points)
        tangents = values[:, None] + gradients * (graph.points[:, 0] - study.points)
        carries = (graph.values <= tangents + 1e-9 * (1.0 + np.abs(tangents))).all(axis=-1)
        numbers[f"carry the envelope, {name}"] = float(carries.mean())
        for radius in _LIMIT_RADII:
            touched = reachable(graph, study.points, radius)
            numbers[f"reachable, {name}, radius {radius:g}"] = float(touched.mean())
        numbers[f"carry the envelope and are lost, {name}"] = float((carries & ~touched).mean())
        if name == "sin":
            away = np.abs(study.points[touched] - MAXIMUM)
            numbers["farthest from a maximum, sin"] = float(away.max(initial=0.0))
    return numbers


def judge_limit(numbers: Numbers) -> Finding:
    """True if less and less is reachable on every landscape."""
    smallest, largest = _LIMIT_RADII[0], _LIMIT_RADII[-1]
    ends = {
        name: numbers[f"reachable, {name}, radius {largest:g}"] for name in ("sin", "plane", "cap", "chain")
    }
    begin = numbers[f"reachable, sin, radius {smallest:g}"]
    value = (
        f"reachable at ρ = {largest:g}: sin {ends['sin']:.1%} ({begin:.0%} at {smallest:g}), within "
        f"{numbers['farthest from a maximum, sin']:.2f} of the maxima; θ {ends['plane']:.0%}; "
        f"−θ² {ends['cap']:.0%}; sin θ − 0.05 θ² {ends['chain']:.0%} "
        f"({numbers['carry the envelope, chain']:.0%} carry the envelope)"
    )
    uncertainty = f"100 to 300 points a landscape, ρ ≤ {largest:g}; the limit itself is beyond a test"
    stay = [
        label
        for name, label in (("plane", "θ"), ("cap", "−θ²"), ("chain", "sin θ − 0.05 θ²"))
        if numbers[f"carry the envelope, {name}"] > 0.01
        and ends[name] >= numbers[f"carry the envelope, {name}"]
    ]
    if ends["sin"] > 0.5 * begin:
        return Finding(value, uncertainty, Ruling.REFUTED, "sin: what is reachable does not shrink")
    if stay:
        # Reachable at every ρ, a point has Γ below its tangent plane: of an f bounded below, a constant.
        reason = f"f is bounded below, as a positive loss is; {', '.join(stay)} are not"
        if not any(numbers[f"carry the envelope and are lost, {name}"] for name in ends):
            reason += ", and keep every point whose tangent lies above Γ"
        return Finding(value, uncertainty, Ruling.HOLDS_WHEN, reason)
    return Finding(value, uncertainty, Ruling.HOLDS)


# Sharpness


def _sharp_studies() -> tuple[Study, ...]:
    return (
        Study(SINE, (1.05, 3.0, 10.0), _line(300)),
        Study(WRINKLED, (0.3, 1.0, 3.0), _line(300)),
        Study(CRATE, (1.5, 3.0), _square(150)),
        Study(SPIKE, (0.3, 1.0, 3.0), _line(300, 0.5)),
    )


_PEAK_RADII = (1.0, 10.0, 100.0)
_MARGIN = 0.03
"""A curvature so near 1/ρ lets the ball in by less than can be told."""


def measure_sharpness() -> Numbers:
    """Points sharper than the ball that it touches, points flatter that it does not, and sharp peaks."""
    numbers = {"sharper": 0.0, "sharper and touched": 0.0, "flatter": 0.0, "flatter and untouched": 0.0}
    smallest = np.inf
    for study in _sharp_studies():
        for radius in study.radii:
            graph = study.graph(radius)
            curvature = radius * principal_curvatures(graph, study.points).max(axis=-1)
            touched = reachable(graph, study.points, radius)
            sharp, flat = curvature > 1.0 + _MARGIN, curvature < 1.0 - _MARGIN
            numbers["sharper"] += float(sharp.sum())
            numbers["sharper and touched"] += float((sharp & touched).sum())
            numbers["flatter"] += float(flat.sum())
            numbers["flatter and untouched"] += float((flat & ~touched).sum())
            if study.landscape is SINE:
                bent = flat & ~touched & (curvature > 0.1)
                fits = contact_radius(graph, study.points[bent]) * curvature[bent] / radius
                smallest = min(smallest, float(fits.min(initial=np.inf)))
    numbers["smallest contact radius over radius of curvature"] = smallest
    numbers["peaks touched"] = numbers["peaks"] = 0.0
    numbers["curvature of the bluntest peak"] = np.inf
    for landscape, top in ((SPIKE, 0.0), (FAST, 0.05 * math.pi)):
        for radius in _PEAK_RADII:
            study = Study(landscape, (radius,), np.array([[top]]))
            graph = study.graph(radius)
            bend = float(np.abs(principal_curvatures(graph, study.points)).min())
            numbers["curvature of the bluntest peak"] = min(numbers["curvature of the bluntest peak"], bend)
            numbers["peaks touched"] += float(reachable(graph, study.points, radius)[0])
            numbers["peaks"] += 1.0
    return numbers


def judge_sharpness(numbers: Numbers) -> Finding:
    """True if no point sharper than the ball is touched, of whichever sign the curvature is."""
    value = (
        f"bent up more than 1/ρ: {numbers['sharper and touched']:.0f} of {numbers['sharper']:.0f} touched; "
        f"less: {numbers['flatter and untouched']:.0f} of {numbers['flatter']:.0f} untouched; peaks of "
        f"curvature ≥ {numbers['curvature of the bluntest peak']:.0f}: "
        f"{numbers['peaks touched']:.0f} of {numbers['peaks']:.0f} touched"
    )
    uncertainty = (
        f"curvatures within {_MARGIN:.0%} of 1/ρ left out; the ball that fits can be "
        f"{numbers['smallest contact radius over radius of curvature']:.2g} of the radius of curvature (sin)"
    )
    if numbers["sharper and touched"]:
        reason = "points that bend upward more than the ball and that it touches"
        return Finding(value, uncertainty, Ruling.REFUTED, reason)
    if not numbers["sharper"]:
        return Finding(value, uncertainty, Ruling.OPEN, "no point was sharper than the ball")
    conditions = []
    if numbers["peaks touched"]:
        conditions.append("it bends upward (sharp peaks stay reachable at any ρ)")
    if numbers["flatter and untouched"]:
        conditions.append("the converse fails: flat points can be unreachable")
    if conditions:
        return Finding(value, uncertainty, Ruling.HOLDS_WHEN, "; ".join(conditions))
    return Finding(value, uncertainty, Ruling.HOLDS)


# Iterates with exact footpoints

_LINE = (-16.0, 19.0)
_RATES = (0.02, 0.005)
_LINE_RADII = (1.0, 3.0)
_EQ13 = Eq13()
_EQ13_DOMAIN = (2.0 - math.pi - 2.0, 2.0 + math.pi + 2.0)
"""A period around Figure 3's start, and more on both sides."""
_EQ13_RADII = tuple(float(radius) for radius in np.logspace(-2, 0, 5))
_EQ13_STARTS = np.full((len(_EQ13_RADII), 1), 2.0)
_EQ13_RATES = (1e-6, 1e-8)
_EQ13_STEPS = 150
_SETTLED = 1e-2


def _depths(graph: Graph, visited: Array, radius: float) -> Array:
    """The depth at every contact but the start, of shape `(steps, m)`."""
    later = visited[1:]
    return _depth(graph, later.reshape(-1, later.shape[-1]), radius).reshape(later.shape[:2])


def measure_exact_iterates() -> Numbers:
    """How deep Γ is in the ball along the way, from starts that the ball can touch and from Figure 3's."""
    numbers: dict[str, float] = {}
    count = 4
    for landscape, name in ((SINE, "sin"), (WRINKLED, "wrinkled"), (TWO_SINES, "two sines")):
        graph = graph_of(landscape, _LINE)
        starts = np.concatenate([reachable_starts(graph, rho, _line(200), count) for rho in _LINE_RADII])
        radii = np.repeat(_LINE_RADII, count)
        deepest = []
        for lr in _RATES:
            steps = round(2.0 / lr)
            visited = contacts(landscape, starts, radii, lr=lr, steps=steps, projection="exact", domain=_LINE)
            of_radius = [_depths(graph, visited[:, radii == radius], radius) for radius in _LINE_RADII]
            deepest.append(float(np.max(of_radius)))
            numbers[f"deepest, {name}, lr {lr:g}"] = deepest[-1]
        numbers[f"order, {name}"] = order(_RATES, deepest)
    graph = graph_of(_EQ13, _EQ13_DOMAIN)
    for radius, start in zip(_EQ13_RADII, _EQ13_STARTS, strict=True):
        numbers[f"depth at Eq. 13's start, radius {radius:.3g}"] = float(
            _depth(graph, start[None], radius)[0]
        )
    for lr in _EQ13_RATES:
        visited = contacts(
            _EQ13,
            _EQ13_STARTS,
            np.array(_EQ13_RADII),
            lr=lr,
            steps=_EQ13_STEPS,
            projection="exact",
            domain=_EQ13_DOMAIN,
        )
        for place, radius in enumerate(_EQ13_RADII):
            depths = _depths(graph, visited[:, [place]], radius)
            deep = np.flatnonzero(depths[:, 0] > _SETTLED)
            numbers[f"steps until settled, Eq. 13, radius {radius:.3g}, lr {lr:g}"] = float(
                deep.max(initial=-1) + 2
            )
            numbers[f"last depth, Eq. 13, radius {radius:.3g}, lr {lr:g}"] = float(depths[-1, 0])
    return numbers


def judge_exact_iterates(numbers: Numbers) -> Finding:
    """Confined in the limit if depth vanishes with η from reachable starts, and in the end from others."""
    names = ("sin", "wrinkled", "two sines")
    coarse, fine = (max(numbers[f"deepest, {name}, lr {lr:g}"] for name in names) for lr in _RATES)
    buried = sum(numbers[f"depth at Eq. 13's start, radius {radius:.3g}"] > _DEEP for radius in _EQ13_RADII)
    settled = [
        numbers[f"steps until settled, Eq. 13, radius {radius:.3g}, lr {lr:g}"]
        for radius in _EQ13_RADII
        for lr in _EQ13_RATES
    ]
    ends = [
        max(numbers[f"last depth, Eq. 13, radius {radius:.3g}, lr {lr:g}"] for radius in _EQ13_RADII)
        for lr in _EQ13_RATES
    ]
    value = (
        f"reachable starts: Γ ≤ {coarse:.2g} ρ deep at η = {_RATES[0]:g}, {fine:.2g} at {_RATES[1]:g}; "
        f"Eq. 13, θ₀ = 2 (unreachable at {buried} of {len(_EQ13_RADII)} ρ): in the end {ends[0]:.1g} at "
        f"η = {_EQ13_RATES[0]:g}, {ends[1]:.1g} at {_EQ13_RATES[1]:g}"
    )
    uncertainty = (
        f"sin, sin + 0.05 cos 8θ, two sines, ρ = 1 and 3, 4 starts, flow time 2; "
        f"Eq. 13 at {len(_EQ13_RADII)} radii, {_EQ13_STEPS} steps"
    )
    for name in names:
        if numbers[f"deepest, {name}, lr {_RATES[1]:g}"] > _DEEP and numbers[f"order, {name}"] < 0.5:
            return Finding(value, uncertainty, Ruling.REFUTED, f"{name}: depth does not vanish with η")
    if max(settled) > _EQ13_STEPS:
        reason = "the start is reachable; from Figure 3's the ball stays in the wall whatever η"
        return Finding(value, uncertainty, Ruling.HOLDS_WHEN, reason)
    if buried:
        reason = (
            "footpoints are exact and the start is reachable; from Figure 3's the ball leaves the wall "
            f"within {max(settled):.0f} steps"
        )
        return Finding(value, uncertainty, Ruling.HOLDS_WHEN, reason)
    return Finding(value, uncertainty, Ruling.HOLDS)


# Iterates as the paper runs them

_RUN_RADII = {"sin": (0.5, 3.0), "Eq. 13": _EQ13_RADII, "Eq. 14": (1.0, 3.0, 5.0)}
_SINE_STARTS = np.linspace(-1.5, 4.6, 12)[:, None]
_EQ14_DOMAIN = (-8.0, 8.0)


class Run(NamedTuple):
    """Contacts at a radius, of `"rbo"`, of its `"null"`, or from `"reachable"` starts."""

    name: str
    radius: float
    who: str
    graph: Graph
    visited: Array


def measure_sgd_iterates() -> Numbers:
    """The share of contacts with Γ inside the ball, as the paper projects, beside the same at radius 0."""
    numbers: dict[str, float] = {}
    for run in _runs():
        depths = _depths(run.graph, run.visited, run.radius)
        where = f"{run.name}, radius {run.radius:.3g}, {run.who}"
        for limit in (_DEEP, _DEEPER):
            numbers[f"{where}, deeper than {limit:g}"] = float((depths > limit).mean())
        numbers[f"{where}, deepest"] = float(depths.max())
    return numbers


def _runs() -> Iterator[Run]:
    """The ball at the paper's settings, the ball taken out, and the ball from starts that it can touch."""

    def sine(starts: Array, radius: float) -> Array:
        return contacts(SINE, starts, radius, lr=0.02, steps=300, projection="sgd")

    graph = graph_of(SINE, _LINE)
    null = sine(_SINE_STARTS, 0.0)
    for radius in _RUN_RADII["sin"]:
        yield Run("sin", radius, "rbo", graph, sine(_SINE_STARTS, radius))
        yield Run("sin", radius, "null", graph, null)
        starts = reachable_starts(graph, radius, _line(200), 12)
        yield Run("sin", radius, "reachable", graph, sine(starts, radius))

    def eq13(radius: float | Array) -> Array:
        visited = contacts(_EQ13, _EQ13_STARTS, radius, lr=1e-3, steps=400, projection="sgd")
        # It has the period 2π, and so Γ over one period serves for all.
        return 2.0 + np.remainder(visited - 2.0 + math.pi, 2.0 * math.pi) - math.pi

    graph = graph_of(_EQ13, _EQ13_DOMAIN)
    balls, null = eq13(np.array(_EQ13_RADII)), eq13(0.0)[:, :1]
    for place, radius in enumerate(_EQ13_RADII):
        yield Run("Eq. 13", radius, "rbo", graph, balls[:, [place]])
        yield Run("Eq. 13", radius, "null", graph, null)

    eq14 = Eq14()

    def every_fourth(starts: Array, radius: float | Array) -> Array:
        visited = contacts(
            eq14,
            starts,
            radius,
            lr=figure4.LR,
            steps=100,
            projection="sgd",
            projection_steps=figure4.PROJECTION_STEPS,
            projection_lr=figure4.PROJECTION_LR,
        )
        return visited[::4]

    graph = Graph(eq14, _EQ14_DOMAIN, spacing=0.02)
    starts = figure4.starts()[:3]
    radii = _RUN_RADII["Eq. 14"]
    balls = every_fourth(np.tile(starts, (len(radii), 1)), np.repeat(radii, len(starts)))
    null = every_fourth(starts, 0.0)
    for place, radius in enumerate(radii):
        yield Run("Eq. 14", radius, "rbo", graph, balls[:, place * len(starts) :][:, : len(starts)])
        yield Run("Eq. 14", radius, "null", graph, null)
    starts = reachable_starts(graph, radii[0], _square(200), 3)
    yield Run("Eq. 14", radii[0], "reachable", graph, every_fourth(starts, radii[0]))


def judge_sgd_iterates(numbers: Numbers) -> Finding:
    """Confined if no contact has Γ deeper than 1e-2 ρ in its ball."""
    table = _RUN_RADII

    def share(name: str, radius: float, who: str) -> float:
        return numbers[f"{name}, radius {radius:.3g}, {who}, deeper than {_DEEPER:g}"]

    def shares(name: str, who: str) -> list[float]:
        return [share(name, radius, who) for radius in table[name]]

    def span(found: Sequence[float]) -> str:
        return f"{min(found):.0%}" if min(found) == max(found) else f"{min(found):.0%} to {max(found):.0%}"

    value = "unreachable, ball (null): " + "; ".join(
        [
            *(
                f"sin, ρ = {rho:g}: {share('sin', rho, 'rbo'):.0%} ({share('sin', rho, 'null'):.0%})"
                for rho in table["sin"]
            ),
            *(
                f"{name} {span(shares(name, 'rbo'))} ({span(shares(name, 'null'))})"
                for name in ("Eq. 13", "Eq. 14")
            ),
        ]
    )
    slightly = max(
        numbers[f"{name}, radius {radius:.3g}, rbo, deeper than {_DEEP:g}"]
        - numbers[f"{name}, radius {radius:.3g}, rbo, deeper than {_DEEPER:g}"]
        for name, radii in table.items()
        for radius in radii
    )
    uncertainty = (
        f"Γ deeper than 0.01 ρ in the ball; at 1e-6 ρ up to {slightly:.1%} more; chaotic on Eq. 13. From "
        f"reachable starts: sin, ρ = 3 {share('sin', 3.0, 'reachable'):.0%}, "
        f"Eq. 14, ρ = 1 {share('Eq. 14', 1.0, 'reachable'):.0%}"
    )
    found = {name: shares(name, "rbo") for name in table}
    worst = max(found, key=lambda name: max(found[name]))
    if max(found[worst]) == 0.0:
        return Finding(value, uncertainty, Ruling.HOLDS)
    if max(found[worst]) < 0.05:
        reason = f"under 5 % of contacts may be unreachable ({worst}: {max(found[worst]):.1%})"
        return Finding(value, uncertainty, Ruling.HOLDS_WHEN, reason)
    which = table[worst][int(np.argmax(found[worst]))]
    reason = f"{worst} at ρ = {which:.3g}: {max(found[worst]):.0%} of the contacts have Γ inside the ball"
    return Finding(value, uncertainty, Ruling.REFUTED, reason)


# Below the critical radius

_SMALL_RADII = (0.1, 0.5, 0.9)
_SMALL_LR = 0.01
_LARGE_LR = 1.5
"""Stable for gradient descent at a curvature of 1, up to 2, and not for a ball of ρ = 0.5, up to 1."""


_RATE_TOLERANCE = 0.05


def measure_small_balls() -> Numbers:
    """Rates near extrema, limit points, distance of trajectories, and a large step, against radius 0."""
    numbers: dict[str, float] = {"lr": _SMALL_LR, "large lr": _LARGE_LR}

    def roll(
        starts: Array, radius: float | Array, lr: float, steps: int, landscape: Landscape = SINE
    ) -> Array:
        return contacts(landscape, starts, radius, lr=lr, steps=steps, projection="exact", domain=_LINE)

    radii, steps = (0.0, *_SMALL_RADII), 10
    for name, place in (("minimum", MINIMUM), ("maximum", MAXIMUM)):
        near = np.full((len(radii), 1), place + 1e-4)
        away = np.abs(roll(near, np.array(radii), _SMALL_LR, steps) - place)[..., 0]
        growth = (away[-1] / away[0]) ** (1.0 / steps)
        for radius, factor in zip(radii, growth, strict=True):
            numbers[f"rate at the {name}, radius {radius:g}"] = abs(1.0 - float(factor)) / _SMALL_LR
    starts = _line(12, 4.0)
    balls = np.repeat([True, False], len(starts))
    for name, landscape, radius in (
        ("below", SINE, 0.5),
        ("below, wrinkled", WRINKLED, 0.2),
        ("above, wrinkled", WRINKLED, 1.0),
    ):
        visited = roll(np.tile(starts, (2, 1)), np.where(balls, radius, 0.0), 0.05, 300, landscape)
        same = np.abs(visited[-1, balls] - visited[-1, ~balls]) < 1e-2
        numbers[f"same limit point, {name}"] = float(same.mean())
    pair = np.array([0.5, 0.0])
    for lr in (2.0 * _SMALL_LR, _SMALL_LR):
        visited = roll(np.ones((2, 1)), pair, lr, round(6.0 / lr))
        numbers[f"distance of trajectories, lr {lr:g}"] = float(np.abs(np.diff(visited, axis=1)).max())
    visited = roll(np.full((2, 1), MINIMUM + 0.3), pair, _LARGE_LR, 60)
    ends = np.abs(visited[-5:, :, 0] - MINIMUM).max(axis=0)
    numbers |= {
        f"distance from the minimum at the large lr, {who}": float(end)
        for who, end in zip(("ball", "point"), ends, strict=True)
    }
    return numbers


def judge_small_balls(numbers: Numbers) -> Finding:
    """Like gradient descent in where it ends, and in how it gets there."""
    radius = 0.5
    point, ball = (numbers[f"rate at the minimum, radius {rho:g}"] for rho in (0.0, radius))
    away_point, away_ball = (numbers[f"rate at the maximum, radius {rho:g}"] for rho in (0.0, radius))
    ends = min(numbers["same limit point, below"], numbers["same limit point, below, wrinkled"])
    apart = numbers[f"distance of trajectories, lr {_SMALL_LR:g}"]
    rest = {who: numbers[f"distance from the minimum at the large lr, {who}"] for who in ("point", "ball")}
    predicted = {"minimum": lambda rho: 1.0 / (1.0 - rho), "maximum": lambda rho: 1.0 / (1.0 + rho)}
    off = max(
        abs(numbers[f"rate at the {place}, radius {rho:g}"] / (base * factor(rho)) - 1.0)
        for (place, factor), base in zip(predicted.items(), (point, away_point), strict=True)
        for rho in _SMALL_RADII
    )
    value = (
        f"ρ = {radius:g} against 0 on sin: {ends:.0%} same limit points; rate into the minimum {ball:.3g} "
        f"against {point:.3g}, off the maximum {away_ball:.3g} against {away_point:.3g}; {apart:.2f} apart "
        "on the way"
    )
    uncertainty = (
        f"exact projection, η = {numbers['lr']:g}; rates within {off:.1%} of 1/(1∓ρκ) up to ρ = 0.9; above "
        f"critical {numbers['same limit point, above, wrinkled']:.0%} same ends (sin + 0.05 cos 8θ, ρ = 1)"
    )
    if ends < 1.0:
        return Finding(value, uncertainty, Ruling.REFUTED, "other limit points than gradient descent's")
    if abs(ball / point - 1.0) < 0.05 and abs(away_ball / away_point - 1.0) < 0.05 and apart < 0.05:
        return Finding(value, uncertainty, Ruling.HOLDS)
    reason = "η is small and only limit points count"
    if off < _RATE_TOLERANCE:
        reason += ": it is 1/(1−ρκ) times as fast in valleys, 1/(1+ρκ) times on tops"
    else:
        reason += (
            f": it is {ball / point:.2g} times as fast in valleys, {away_ball / away_point:.2g} times on tops"
        )
    if rest["point"] < 1e-3 < rest["ball"]:
        reason += f"; at η = {numbers['large lr']:g} it does not settle"
    return Finding(value, uncertainty, Ruling.HOLDS_WHEN, reason)


CLAIMS = (
    Claim(
        name="unreachable-is-open",
        section="4.1, Lemma 1",
        claim="Around every unreachable point all points near enough are unreachable.",
        test=(
            "Balls laid on points from above and tested for emptiness: neighbors of unreachable points, and "
            "boundaries found by bisection"
        ),
        measure=measure_open,
        judge=judge_open,
    ),
    Claim(
        name="unreachable-grows",
        section="4.1 (ii)",
        claim="The set of unreachable points grows with the radius.",
        test="Balls of 4 to 7 radii laid on the same points: does any point return?",
        measure=measure_growth,
        judge=judge_growth,
    ),
    Claim(
        name="unreachable-within-the-radius",
        section="4.1 (i)",
        claim="All points of the graph within ρ of an unreachable point are unreachable (to the letter).",
        test="Distance from each unreachable point of sin to the nearest reachable one, against ρ",
        measure=measure_literal,
        judge=judge_literal,
    ),
    Claim(
        name="definition-of-unreachable",
        section="4.1, Definition 1",
        claim="The rolling ball cannot touch just those points where every touching ball enters the graph.",
        test="Balls from above and from below on sin and θ²: the definition admits both sides",
        measure=measure_definition,
        judge=judge_definition,
    ),
    Claim(
        name="only-maxima-stay-reachable",
        section="4.1",
        claim="As ρ → ∞ all points that are not local maxima become unreachable.",
        test=(
            "Share of points that balls up to ρ = 100 touch on sin, θ, −θ² and sin θ − 0.05 θ², beside the "
            "share whose tangent stays above the graph"
        ),
        measure=measure_limit,
        judge=judge_limit,
    ),
    Claim(
        name="sharp-is-unreachable",
        section="4.1",
        claim="Where Γ is sharper than the ball (curvature above 1/ρ), it is unreachable.",
        test="Graph curvature against balls laid on random points of 4 landscapes, and on sharp peaks",
        measure=measure_sharpness,
        judge=judge_sharpness,
    ),
    Claim(
        name="iterates-are-reachable",
        section="4",
        claim="In the continuous-time limit contacts keep to the reachable points.",
        test=(
            "Depth of the graph inside the ball at every contact of RBO with exact footpoints, two η; from "
            "reachable starts, and from Figure 3's"
        ),
        measure=measure_exact_iterates,
        judge=judge_exact_iterates,
    ),
    Claim(
        name="iterates-are-reachable-as-run",
        section="4",
        claim="RBO as the paper runs it, projecting by SGD, (approximately) avoids unreachable points.",
        test=(
            "Share of contacts with the graph inside the ball: sin, Eq. 13 (Figure 3's settings, 400 steps), "
            "Eq. 14 (Figure 4's, 100 steps, 3 starts)"
        ),
        measure=measure_sgd_iterates,
        judge=judge_sgd_iterates,
    ),
    Claim(
        name="small-balls-are-gradient-descent",
        section="5.1",
        claim="Every radius below the critical one behaves essentially as ρ = 0 does.",
        test=(
            "sin at ρ = 0.5 with exact footpoints against ρ = 0: limit points, rates at the extrema, "
            "distance of the trajectories, a large η"
        ),
        measure=measure_small_balls,
        judge=judge_small_balls,
    ),
)
