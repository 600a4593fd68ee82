"""Claims on the invariant d_Γ(c) = ρ, of Algorithm 1 and of its variant (Sections 3.1 and 3.2)."""

from __future__ import annotations

import functools

import numpy as np
import torch
from torch import nn

from rbobench.geometry.footpoint import distance, footpoint
from rbobench.geometry.graph import Array, Graph, ball_centers, graph_of
from rbobench.geometry.landscape import Domain, Formula, Landscape, LandscapeClosure
from rbobench.geometry.reach import reachable
from rbobench.optim.distance_constraint import DistanceConstraintRBO
from rbobench.optim.rolling_ball import RBO
from rbobench.paper.claim import Claim, Finding, Numbers, Ruling
from rbobench.paper.power_law import order
from rbobench.paper.trajectories import trajectories
from rbobench.tasks.landscapes import Sine

SINE = Sine()
TWO_SINES = Formula(
    "sin θ + 0.7 sin(2.3θ + 0.4)",
    lambda points: points[..., 0].sin() + 0.7 * (2.3 * points[..., 0] + 0.4).sin(),
    spacing=5e-3,
)
"""Its valleys have unlike slopes, as sin θ's have not."""

BELOW, ABOVE = 0.5, 3.0
"""Radii on either side of the critical radius of sin θ, which is 1."""

RATES = (0.1, 0.05, 0.02)
PROJECTIONS = ("exact", "sgd")
_FLOW = 12.0
# Near a top, where a ball of either radius can lie: it then rolls into a valley on one side or the other.
_STARTS = np.array([[1.2], [1.4], [1.8], [2.0]])
_DOMAIN = (-16.0, 19.0)
_FINE_RATES = (0.02, 0.005)
_NEGLIGIBLE = 1e-9
"""Of a distance or of a cosine: far above rounding, far below any η."""
_QUOTIENT = 1e-6
"""The same for difference quotients."""
_SMALL = 0.02
"""Of ρ: what may pass as approximate."""


def contacts(
    landscape: Landscape,
    starts: Array,
    radius: float | Array,
    *,
    lr: float,
    steps: int,
    projection: str,
    domain: Domain | None = None,
    projection_steps: int = 20,
    projection_lr: float = 0.05,
) -> Array:
    """Where balls that `RBO` rolls in float64 touch the graph.

    Args:
        landscape: f.
        starts: Of shape `(m, d)`.
        radius: ρ, one for all or of shape `(m,)`.
        lr: η.
        steps: How many.
        projection: `"exact"` or `"sgd"`.
        domain: The box that the exact projection searches; wide enough for every candidate center.
        projection_steps: P, of the SGD projection.
        projection_lr: γ, of the SGD projection.

    Returns:
        Of shape `(steps + 1, m, d)`, the starts first.

    Raises:
        RuntimeError: If a candidate's footpoint may lie outside the box: that ball was frozen, not at rest.
    """
    make = functools.partial(
        RBO,
        lr=lr,
        radius=torch.from_numpy(radius) if isinstance(radius, np.ndarray) else radius,
        projection=projection,
        projection_steps=projection_steps,
        projection_lr=projection_lr,
        projection_domain=domain,
        batch_dims=1,
    )
    path = trajectories(make, landscape, torch.tensor(starts, dtype=torch.float64), steps).numpy()
    if projection == "exact" and not _held(graph_of(landscape, domain), path, radius, lr):
        raise RuntimeError(f"the box {domain} is too narrow for these balls on {landscape.name!r}")
    return path


def _held(graph: Graph, path: Array, radius: float | Array, lr: float) -> bool:
    """Whether the box holds all candidates' footpoints, which are no farther than the contacts they left."""
    _, gradients = graph.evaluate(path.reshape(-1, path.shape[-1]))
    gradients = gradients.reshape(path.shape)
    steepness = np.sqrt(1.0 + np.square(gradients).sum(axis=-1))
    rho = np.broadcast_to(radius, steepness.shape)
    candidates = path - (rho / steepness + lr)[..., None] * gradients
    slopes = np.sqrt(np.square(steepness) - 1.0)
    farthest = np.hypot(rho, lr * slopes * steepness)
    return bool(graph.contains(candidates.reshape(-1, path.shape[-1]), farthest.ravel()).all())


def reachable_starts(graph: Graph, radius: float, candidates: Array, count: int) -> Array:
    """Of `candidates` of shape `(m, d)`, `count` that a ball can touch from above, spread over them all."""
    touched = candidates[reachable(graph, candidates, radius)]
    return touched[np.linspace(0, len(touched) - 1, count).round().astype(int)]


def _errors_of_algorithm(
    landscape: Landscape, starts: Array, radius: float, *, lr: float, projection: str, flow: float
) -> tuple[float, float]:
    """The largest |d_Γ − ρ| of the centers (Eq. 6) and of the candidates (Eq. 7)."""
    visited = contacts(
        landscape,
        starts,
        radius,
        lr=lr,
        steps=round(flow / lr),
        projection=projection,
        domain=_DOMAIN,
    ).reshape(-1, 1)
    graph = graph_of(landscape, _DOMAIN)
    _, gradients = graph.evaluate(visited)
    balls = ball_centers(graph, visited, radius)
    candidates = balls - lr * np.column_stack([gradients, np.square(gradients)])
    return _error(graph, balls, radius), _error(graph, candidates, radius)


def _error(graph: Graph, centers: Array, radius: float) -> float:
    return float(np.abs(distance(graph, centers) - radius).max())


def measure_algorithm() -> Numbers:
    """|d_Γ − ρ| of the centers and candidates of Algorithm 1."""
    numbers: dict[str, float] = {"radius below": BELOW, "radius above": ABOVE}
    for projection in PROJECTIONS:
        for side, radius in (("below", BELOW), ("above", ABOVE)):
            errors = [
                _errors_of_algorithm(SINE, _STARTS, radius, lr=lr, projection=projection, flow=0.5 * _FLOW)
                for lr in RATES
            ]
            numbers[f"center, {projection}, {side}"] = max(center for center, _ in errors)
            for lr, (_, candidate) in zip(RATES, errors, strict=True):
                numbers[f"candidate, {projection}, {side}, lr {lr:g}"] = candidate
            candidates = [candidate for _, candidate in errors]
            numbers[f"order of the candidate, {projection}, {side}"] = order(RATES, candidates)
    starts = reachable_starts(graph_of(TWO_SINES, _DOMAIN), 1.0, np.linspace(-3.0, 3.0, 200)[:, None], 6)
    errors = [
        _errors_of_algorithm(TWO_SINES, starts, 1.0, lr=lr, projection="exact", flow=2.0)
        for lr in _FINE_RATES
    ]
    for lr, (center, _) in zip(_FINE_RATES, errors, strict=True):
        numbers[f"center, two sines, lr {lr:g}"] = center
    numbers["order of the center, two sines"] = order(_FINE_RATES, [center for center, _ in errors])
    return numbers


def judge_algorithm(numbers: Numbers) -> Finding:
    """Whether d_Γ(c) = ρ, on either side of the critical radius and with either projection."""
    below = max(numbers["center, exact, below"], numbers["center, sgd, below"])
    coarse, fine = (numbers[f"center, two sines, lr {lr:g}"] for lr in _FINE_RATES)
    sgd = numbers["center, sgd, above"]
    exact = numbers["center, exact, above"]
    small = _SMALL * numbers["radius above"]
    small_below = _SMALL * numbers["radius below"]
    vanishes = exact <= small and (coarse <= _NEGLIGIBLE or numbers["order of the center, two sines"] > 0.5)
    value = (
        f"|d−ρ| of c on sin: ≤ {below:.1g} at ρ = {numbers['radius below']:g}; at ρ = "
        f"{numbers['radius above']:g} {exact:.1g} (exact), {sgd:.2f} (SGD); two sines, exact: "
        f"{coarse:.2g}, {fine:.2g}"
    )
    uncertainty = (
        f"4 to 6 starts, η = 0.02 to 0.1 on sin, {_FINE_RATES[0]:g} and {_FINE_RATES[1]:g} on two sines; "
        "below the critical radius it holds of every p + ρν, whoever put it there"
    )
    if below > small_below:
        return Finding(value, uncertainty, Ruling.REFUTED, "sin θ below its critical radius")
    if vanishes and sgd <= small:
        return Finding(value, uncertainty, Ruling.HOLDS)
    if vanishes:
        reason = (
            "ρ is below the critical radius, or footpoints are exact and η → 0; not with the SGD projection"
        )
    else:
        reason = "ρ is below the critical radius; above it not even exact footpoints keep it as η → 0"
    return Finding(value, uncertainty, Ruling.HOLDS_WHEN, reason)


def _constrained(radius: float, *, lr: float, projection: str) -> tuple[Array, Array]:
    """Centers `(steps, m, 2)` of `DistanceConstraintRBO` on sin θ, and the contacts from which they moved."""
    points = nn.Parameter(torch.tensor(_STARTS, dtype=torch.float64))
    optimizer = DistanceConstraintRBO(
        [points], lr, radius, projection=projection, projection_domain=_DOMAIN, batch_dims=1
    )
    closure = LandscapeClosure(SINE, points)
    centers, visited = [], []
    for _ in range(round(_FLOW / lr)):
        visited.append(points.detach().clone())
        optimizer.step(closure)
        a, b = optimizer.center()
        centers.append(torch.cat([a, b.unsqueeze(-1)], dim=-1))
    return torch.stack(centers).numpy(), torch.stack(visited).numpy()


def measure_constraint() -> Numbers:
    """|d_Γ − ρ| of the centers of the distance-constraint variant."""
    graph = graph_of(SINE, _DOMAIN)
    numbers: dict[str, float] = {"radius below": BELOW, "radius above": ABOVE}
    for projection in PROJECTIONS:
        for side, radius in (("below", BELOW), ("above", ABOVE)):
            errors = []
            for lr in RATES:
                centers, _ = _constrained(radius, lr=lr, projection=projection)
                away = distance(graph, centers.reshape(-1, 2)) - radius
                errors.append(float(np.abs(away).max()))
                numbers[f"{projection}, {side}, lr {lr:g}"] = errors[-1]
                numbers[f"lowest, {projection}, {side}, lr {lr:g}"] = float(away.min())
            numbers[f"order, {projection}, {side}"] = order(RATES, errors)
    return numbers


def judge_constraint(numbers: Numbers) -> Finding:
    """Whether the variant's centers keep their distance as Algorithm 1's do."""
    orders = {
        side: min(numbers[f"order, {projection}, {side}"] for projection in PROJECTIONS)
        for side in ("below", "above")
    }
    finest = RATES[-1]
    fallen = min(numbers[f"lowest, {projection}, above, lr {finest:g}"] for projection in PROJECTIONS)
    exact, sgd = (numbers[f"{projection}, below, lr {finest:g}"] for projection in PROJECTIONS)
    value = (
        f"ρ = {numbers['radius below']:g}: |d−ρ| ≤ {exact:.2g} (exact), {sgd:.2g} (SGD) at η = {finest:g}, "
        f"∝ η^{orders['below']:.2f} at least; ρ = {numbers['radius above']:g}: d−ρ falls to {fallen:.2f}, "
        f"∝ η^{orders['above']:.2f}"
    )
    uncertainty = (
        f"4 starts, η = {RATES[0]:g}, {RATES[1]:g}, {RATES[2]:g} over the same flow time; sin θ alone"
    )
    kept = {side: exponent > 0.5 for side, exponent in orders.items()}
    if kept["below"] and kept["above"]:
        return Finding(value, uncertainty, Ruling.HOLDS)
    if kept["below"]:
        reason = (
            "ρ is below the critical radius; above it the center falls through the two contacts, whatever η"
        )
        return Finding(value, uncertainty, Ruling.HOLDS_WHEN, reason)
    return Finding(
        value, uncertainty, Ruling.REFUTED, "sin θ below its critical radius: no smaller η mends it"
    )


def _unconstrained(radius: float, *, lr: float) -> Array:
    """Centers `(steps, m, 2)` on sin θ that move by δ̃ alone, with exact footpoints: Eq. 11 left out."""
    graph = graph_of(SINE, _DOMAIN)
    centers = ball_centers(graph, _STARTS, radius)
    visited = []
    for step in range(round(_FLOW / lr)):
        # The first contact is the start, whatever is nearest to its center.
        points = footpoint(graph, centers).points if step else _STARTS
        _, gradients = graph.evaluate(points)
        centers = centers - lr * np.column_stack([gradients, np.square(gradients)])
        visited.append(centers)
    return np.stack(visited)


def _cosine(graph: Graph, centers: Array, visited: Array) -> float:
    """The largest |cos(u, δ̃)| along the way, u from the contact to the center."""
    points = visited[1:].reshape(-1, 1)
    values, gradients = graph.evaluate(points)
    away = centers[:-1].reshape(-1, 2) - np.column_stack([points, values])
    step = np.column_stack([gradients, np.square(gradients)])
    lengths = np.linalg.norm(away, axis=-1) * np.linalg.norm(step, axis=-1)
    # At rest there is no direction left.
    moving = lengths > 1e-6
    return float((np.abs((away * step).sum(axis=-1))[moving] / lengths[moving]).max())


def _cosine_of_quotients(graph: Graph, centers: Array, visited: Array) -> float:
    """The same with u from difference quotients of d_Γ, which know of no contact, at some of the centers."""
    here, points = centers[:-1:8].reshape(-1, 2), visited[1::8].reshape(-1, 1)
    shifts = 1e-5 * np.eye(2)
    slope = np.stack(
        [distance(graph, here + shift) - distance(graph, here - shift) for shift in shifts], axis=-1
    )
    _, gradients = graph.evaluate(points)
    step = np.column_stack([gradients, np.square(gradients)])
    lengths = np.linalg.norm(slope, axis=-1) * np.linalg.norm(step, axis=-1)
    moving = np.linalg.norm(step, axis=-1) > 1e-6
    return float((np.abs((slope * step).sum(axis=-1))[moving] / lengths[moving]).max())


def measure_subtraction() -> Numbers:
    """What Eq. 11 takes out of a step, and what is different without it."""
    lr = RATES[1]
    graph = graph_of(SINE, _DOMAIN)
    numbers: dict[str, float] = {"lr": lr}
    for side, radius in (("below", BELOW), ("above", ABOVE)):
        centers, visited = _constrained(radius, lr=lr, projection="exact")
        free = _unconstrained(radius, lr=lr)
        numbers[f"cosine, {side}"] = _cosine(graph, centers, visited)
        numbers[f"error with, {side}"] = _error(graph, centers.reshape(-1, 2), radius)
        numbers[f"error without, {side}"] = _error(graph, free.reshape(-1, 2), radius)
        if radius == BELOW:
            numbers["cosine of quotients, below"] = _cosine_of_quotients(graph, centers, visited)
            numbers["difference of the centers, below"] = float(np.abs(centers - free).max())
    numbers["cosine, sgd, below"] = _cosine(graph, *_constrained(BELOW, lr=lr, projection="sgd"))
    return numbers


def judge_subtraction(numbers: Numbers) -> Finding:
    """Whether Eq. 11 takes anything out, and whether the distance is the better kept for it."""
    cosine = max(numbers["cosine, below"], numbers["cosine, above"])
    quotient = numbers["cosine of quotients, below"]
    errors = {
        side: (numbers[f"error with, {side}"], numbers[f"error without, {side}"])
        for side in ("below", "above")
    }
    value = (
        f"exact footpoints: |cos(u, δ̃)| ≤ {max(cosine, quotient):.1g}; |d−ρ| with, without Eq. 11: "
        f"{errors['below'][0]:.3g}, {errors['below'][1]:.3g} (ρ = {BELOW:g}), "
        f"{errors['above'][0]:.3g}, {errors['above'][1]:.3g} (ρ = {ABOVE:g})"
    )
    uncertainty = (
        f"sin θ, η = {numbers['lr']:g}, 4 starts; after 20 SGD projection steps the cosine reaches "
        f"{numbers['cosine, sgd, below']:.2g}, the projection's own error"
    )
    if cosine <= _NEGLIGIBLE and quotient <= _QUOTIENT:
        reason = "u = ±ν at every footpoint, and δ̃ is orthogonal to it: nothing is subtracted"
        return Finding(value, uncertainty, Ruling.REFUTED, reason)
    if all(constrained < 0.5 * free for constrained, free in errors.values()):
        return Finding(value, uncertainty, Ruling.HOLDS)
    return Finding(
        value, uncertainty, Ruling.NOT_REPRODUCED, "something is subtracted, and the distance is no better"
    )


CLAIMS = (
    Claim(
        name="invariant",
        section="3.1, Eq. 9",
        claim="The center of Algorithm 1 stays (approximately) at distance ρ from the graph.",
        test=(
            "Largest |d_Γ(c)−ρ| by global search, exact and paper's SGD projection (P = 20, γ = 0.05), "
            "sin at ρ = 0.5 and 3, two sines at ρ = 1; starts that the ball can touch"
        ),
        measure=measure_algorithm,
        judge=judge_algorithm,
    ),
    Claim(
        name="invariant-of-the-distance-constraint",
        section="3.2, Eq. 12",
        claim="The distance-constraint variant keeps the same approximate invariant as Algorithm 1.",
        test=(
            "Largest |d_Γ(c)−ρ| of rbo-distance on sin at ρ = 0.5 and 3, exact and SGD projection, and how "
            "it falls with η = 0.1, 0.05, 0.02"
        ),
        measure=measure_constraint,
        judge=judge_constraint,
    ),
    Claim(
        name="distance-constraint-subtracts",
        section="3.2, Eq. 11",
        claim="The step δ̃ breaks the invariant, and taking out its part along u = ∇d_Γ(c) mends that.",
        test=(
            "Largest |cos(u, δ̃)| of rbo-distance at exact footpoints on sin, ρ = 0.5 and 3; control: the "
            "same without Eq. 11"
        ),
        measure=measure_subtraction,
        judge=judge_subtraction,
    ),
)
