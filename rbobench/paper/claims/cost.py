"""Claims on what the projection costs and how far it may be off (Sections 5 and 6.1)."""

from __future__ import annotations

import functools
import math
import time
from collections.abc import Callable, Mapping

import numpy as np
import torch
from scipy.optimize import brentq
from torch import Tensor, nn

from rbobench.geometry.graph import Array, graph_of
from rbobench.geometry.landscape import Formula, LandscapeClosure
from rbobench.geometry.reach import reachable
from rbobench.optim.rolling_ball import RBO
from rbobench.paper.claim import Claim, Finding, Numbers, Ruling
from rbobench.paper.trajectories import trajectories
from rbobench.tasks.landscapes import Sine

EPOCHS = (10, 20, 40)
"""T, one batch each."""
PROJECTION_STEPS = (1, 4, 16, 40)

DIMENSIONS = (2, 10, 100, 1_000, 10_000)
LANDSCAPES = ("plane", "bowl", "ellipsoid")
STEP_SIZES = (1e-3, 0.05)
"""γ of Figures 4 and 3."""
NORMS: dict[str, Callable[[int], float]] = {"fixed": lambda d: 1.0, "growing": lambda d: math.sqrt(0.5 * d)}
"""‖g‖ by dimension; both are 1 in the plane."""

SETTINGS = {"Fig. 3": (20, 0.05), "Fig. 4": (100, 1e-3)}
"""P and γ."""
RADII = {"below": 0.5, "above": 3.0}
"""On either side of the critical radius of sin θ, which is 1."""
MOMENTS = (1, 100, 600)

_RADIUS, _LR = 1.0, 0.01
_ITERATIONS = 100
_DRAWS = 3
_CONDITION = 1e3
_WORSE = 2.0
_LINEAR = 0.1
_FIT = 0.99
_ACCUMULATED = 5.0
_HEALED = 0.5
_DOMAIN = (-10.0, 13.0)


def measure_runtime(rounds: int = 5) -> Numbers:
    """Seconds of T steps with P projection steps, of a small network; every round times the whole grid."""
    generator = torch.Generator().manual_seed(0)
    inputs = torch.randn(64, 64, generator=generator)
    targets = torch.randint(0, 10, (64,), generator=generator)
    model = nn.Sequential(nn.Linear(64, 32), nn.Tanh(), nn.Linear(32, 10))
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.copy_(0.1 * torch.randn(parameter.shape, generator=generator))
    loss_function = nn.CrossEntropyLoss()
    evaluations = 0

    def seconds(steps: int, projection_steps: int) -> float:
        optimizer = RBO(
            model.parameters(), _LR, _RADIUS, projection_steps=projection_steps, projection_lr=1e-3
        )

        def closure() -> Tensor:
            nonlocal evaluations
            evaluations += 1
            optimizer.zero_grad()
            loss: Tensor = loss_function(model(inputs), targets)
            loss.backward()
            return loss

        began = time.perf_counter()
        for _ in range(steps):
            optimizer.step(closure)
        return time.perf_counter() - began

    cells = [(steps, projections) for steps in EPOCHS for projections in PROJECTION_STEPS]
    seconds(EPOCHS[0], PROJECTION_STEPS[-1])  # the first allocations
    evaluations = 0
    table = np.array([[seconds(*cell) for cell in cells] for _ in range(rounds)])
    numbers = {
        f"seconds, T {steps}, P {projections}": float(cell)
        for (steps, projections), cell in zip(cells, np.median(table, axis=0), strict=True)
    }
    numbers["rounds"] = float(rounds)
    spread = np.ptp(np.quantile(table, (0.25, 0.75), axis=0), axis=0)
    numbers["largest interquartile range / median"] = float((spread / np.median(table, axis=0)).max())
    numbers["gradient evaluations"] = float(evaluations)
    numbers["T × P, summed"] = float(rounds * sum(steps * projections for steps, projections in cells))
    return numbers


def judge_runtime(numbers: Numbers) -> Finding:
    """Whether the seconds are a + b·T·P, their exponents 1, and the evaluations exactly T·P."""
    cells = np.array([(steps, projections) for steps in EPOCHS for projections in PROJECTION_STEPS])
    seconds = np.array([numbers[f"seconds, T {steps}, P {projections}"] for steps, projections in cells])
    products = cells.prod(axis=1)
    line = np.polyfit(products, seconds, 1, w=1.0 / seconds)
    fitted = np.polyval(line, products)
    explained = 1.0 - np.square(seconds - fitted).sum() / np.square(seconds - seconds.mean()).sum()
    deviation = np.abs(seconds / fitted - 1.0).max()
    logarithms = np.column_stack([np.ones(len(cells)), np.log(cells)])
    _, of_steps, of_projections = np.linalg.lstsq(logarithms, np.log(seconds))[0]
    exact = numbers["gradient evaluations"] == numbers["T × P, summed"]
    share = numbers["gradient evaluations"] / numbers["T × P, summed"]
    value = (
        f"a + b·T·P: R² {explained:.4f}, largest deviation {100 * deviation:.2g} %; seconds ∝ "
        f"T^{of_steps:.2f} P^{of_projections:.2f}; gradient evaluations / (T·P): {share:.6g}"
    )
    uncertainty = (
        f"medians of {numbers['rounds']:g} alternating rounds, interquartile range up to "
        f"{100 * numbers['largest interquartile range / median']:.2g} %; one network, one thread"
    )
    if not exact:
        return Finding(value, uncertainty, Ruling.REFUTED, "the count of gradient evaluations")
    if max(abs(of_steps - 1.0), abs(of_projections - 1.0)) > _LINEAR:
        return Finding(value, uncertainty, Ruling.REFUTED, "this network: another exponent than 1")
    if explained < _FIT:
        return Finding(
            value, uncertainty, Ruling.OPEN, "the evaluations are T·P, but these seconds tell no line"
        )
    return Finding(value, uncertainty, Ruling.HOLDS)


def quadratic_footpoint(slope: Array, curvatures: Array, position: Array, height: float) -> Array:
    """The footpoint of (position, height) on the graph of f(θ) = ⟨w, θ⟩ + ½Σ h_i θ_i², in any dimension.

    Stationary points are θ(μ) = (a − μw)/(1 + μh) with μ = f(θ) − b. On μ > −1/max h, where the nearest
    point lies, f(θ(μ)) − b − μ falls with a slope of −1 at least, and has one root.

    Args:
        slope: w, of shape `(d,)`.
        curvatures: h ≥ 0, of shape `(d,)`.
        position: a, of shape `(d,)`.
        height: b.

    Raises:
        ArithmeticError: If there is no root: the center is on the medial axis.
    """

    def point(multiplier: float) -> Array:
        return np.asarray((position - multiplier * slope) / (1.0 + multiplier * curvatures))

    def excess(multiplier: float) -> float:
        theta = point(multiplier)
        value = slope @ theta + 0.5 * curvatures @ np.square(theta)
        return float(value - height - multiplier)

    first = excess(0.0)
    if first == 0.0:
        return point(0.0)
    steepest = float(curvatures.max())
    lowest = -(1.0 - 1e-12) / steepest if steepest > 0.0 else -math.inf
    other = max(first, lowest)
    if first * excess(other) > 0.0:
        raise ArithmeticError("the center is on the medial axis, or rounding hides its footpoint")
    low, high = sorted((0.0, other))
    return point(brentq(excess, low, high, xtol=1e-15, rtol=1e-15))


def projection_error(
    landscape: str, dimension: int, norm: float, projection_lr: float, generator: np.random.Generator
) -> tuple[float, float]:
    """How far one projection by SGD ends from the footpoint, of `_ITERATIONS` steps.

    Args:
        landscape: Of `LANDSCAPES`: ⟨w, θ⟩, ½‖θ‖², or ½Σ h_i θ_i² with h from 1/`_CONDITION` to 1.
        dimension: d.
        norm: ‖g‖ where the step begins.
        projection_lr: γ.
        generator: Draws the direction of g.

    Returns:
        The distance to the footpoint in radii, and as a share of what it was before; infinite where the
        projection left the finite numbers.
    """
    gradient = generator.standard_normal(dimension)
    gradient *= norm / np.linalg.norm(gradient)
    flat = landscape == "plane"
    slope = gradient if flat else np.zeros(dimension)
    curvatures = {
        "plane": np.zeros(dimension),
        "bowl": np.ones(dimension),
        "ellipsoid": np.geomspace(1.0 / _CONDITION, 1.0, dimension),
    }[landscape]
    start = np.zeros(dimension) if flat else gradient / curvatures
    w, h = torch.from_numpy(slope), torch.from_numpy(curvatures)
    quadratic = Formula(
        landscape,
        lambda points: (points * w).sum(dim=-1) + 0.5 * (points.square() * h).sum(dim=-1),
        dimension=dimension,
    )
    parameter = nn.Parameter(torch.from_numpy(start.copy()))
    optimizer = RBO([parameter], _LR, _RADIUS, projection_steps=_ITERATIONS, projection_lr=projection_lr)
    optimizer.step(LandscapeClosure(quadratic, parameter))
    length = math.sqrt(1.0 + norm**2)
    value = float(slope @ start + 0.5 * curvatures @ np.square(start))
    target = quadratic_footpoint(
        slope,
        curvatures,
        start - (_RADIUS / length + _LR) * gradient,
        value + _RADIUS / length - _LR * norm**2,
    )
    error = float(np.linalg.norm(parameter.detach().numpy() - target))
    error = error if math.isfinite(error) else math.inf
    return error / _RADIUS, error / float(np.linalg.norm(start - target))


def measure_dimension() -> Numbers:
    """Errors of one projection by landscape, dimension, growth of the gradient and γ; medians of draws."""
    numbers: dict[str, float] = {"draws": float(_DRAWS)}
    spread = 1.0
    for growth, norm in NORMS.items():
        for lr in STEP_SIZES:
            for dimension in DIMENSIONS:
                size = norm(dimension)
                numbers[f"γ(1+‖g‖²), {growth}, γ {lr:g}, d {dimension}"] = lr * (1.0 + size**2)
                for landscape in LANDSCAPES:
                    generator = np.random.default_rng(0)
                    draws = [
                        projection_error(landscape, dimension, size, lr, generator) for _ in range(_DRAWS)
                    ]
                    case = f"{landscape}, {growth}, γ {lr:g}, d {dimension}"
                    error, left = np.median(draws, axis=0)
                    numbers[f"error / ρ, {case}"], numbers[f"share left, {case}"] = float(error), float(left)
                    if growth == "fixed":
                        spread = max(spread, max(drawn for drawn, _ in draws) / error)
    numbers["largest / median of the draws, fixed"] = float(spread)
    return numbers


def judge_dimension(numbers: Numbers) -> Finding:
    """Whether the error grows with the dimension itself, or with the gradient."""
    small, large = DIMENSIONS[0], DIMENSIONS[-1]
    pairs = [(landscape, lr) for landscape in LANDSCAPES for lr in STEP_SIZES]

    def growth_of_error(growth: str) -> float:
        return max(
            numbers[f"error / ρ, {landscape}, {growth}, γ {lr:g}, d {large}"]
            / numbers[f"error / ρ, {landscape}, {growth}, γ {lr:g}, d {small}"]
            for landscape, lr in pairs
        )

    def farther(landscape: str, lr: float, dimension: int) -> bool:
        return numbers[f"share left, {landscape}, growing, γ {lr:g}, d {dimension}"] > 1.0

    def unstable(lr: float, dimension: int) -> bool:
        return numbers[f"γ(1+‖g‖²), growing, γ {lr:g}, d {dimension}"] > 2.0

    fixed, growing = growth_of_error("fixed"), growth_of_error("growing")
    explained = sum(
        farther(*pair, dimension) == unstable(pair[1], dimension)
        for pair in pairs
        for dimension in DIMENSIONS
    )
    cells = len(pairs) * len(DIMENSIONS)
    grown = "∞" if math.isinf(growing) else f"{growing:.2g}"
    value = (
        f"error at d = {large:g} over d = {small}: up to {fixed:.2g} with ‖g‖ fixed, {grown} with ‖g‖ ∝ √d, "
        f"where SGD ends farther off than it began just if γ(1+‖g‖²) > 2 in {explained} of {cells} cells"
    )
    spread = numbers["largest / median of the draws, fixed"]
    uncertainty = (
        f"medians of {numbers['draws']:g} draws, none more than {spread:.2g} times as large; quadratics alone"
    )
    if fixed > _WORSE:
        return Finding(value, uncertainty, Ruling.HOLDS)
    if growing <= _WORSE:
        return Finding(
            value, uncertainty, Ruling.REFUTED, "quadratics, with gradients that grow with d and not"
        )
    reason = "the gradient's norm grows with d"
    if explained == cells:
        reason += ", past γ(1+‖g‖²) = 2; the dimension itself does nothing"
    return Finding(value, uncertainty, Ruling.HOLDS_WHEN, reason)


def measure_accumulation(settings: Mapping[str, tuple[int, float]] = SETTINGS) -> Numbers:
    """Distance between the centers of the exact and the SGD-projected ball on sin θ, over time.

    All starts are near a top and can be touched by the ball.

    Args:
        settings: P and γ of the SGD projection.
    """
    starts = np.linspace(0.2, math.pi - 0.2, 41)
    numbers: dict[str, float] = {}
    graph = graph_of(Sine(), _DOMAIN)
    for side, radius in RADII.items():
        touched = starts[reachable(graph, starts, radius)]
        numbers[f"radius {side}"], numbers[f"starts {side}"] = radius, float(len(touched))
        exact = _centers(touched, radius, "exact")
        for setting, (steps, projection_lr) in settings.items():
            rolled = _centers(touched, radius, "sgd", steps, projection_lr)
            apart = np.linalg.norm(rolled - exact, axis=-1)
            for moment in MOMENTS:
                numbers[f"{side}, {setting}, step {moment}"] = float(np.median(apart[moment]))
            numbers[f"{side}, {setting}, largest median"] = float(np.median(apart, axis=1).max())
            numbers[f"{side}, {setting}, last, largest"] = float(apart[MOMENTS[-1]].max())
            last = np.linalg.norm(rolled[-1] - rolled[-2], axis=-1)
            numbers[f"{side}, {setting}, still rolling"] = float((last > 0.01 * _LR).mean())
    return numbers


def _centers(
    starts: Array, radius: float, projection: str, steps: int = 1, projection_lr: float = 1.0
) -> Array:
    """Centers (Eq. 6) of shape `(moments, starts, 2)`."""
    make = functools.partial(
        RBO,
        lr=_LR,
        radius=radius,
        projection=projection,
        projection_steps=steps,
        projection_lr=projection_lr,
        projection_domain=_DOMAIN,
        batch_dims=1,
    )
    theta = trajectories(make, Sine(), torch.from_numpy(starts)[:, None], MOMENTS[-1])[..., 0].numpy()
    slope = np.cos(theta)
    rise = radius / np.hypot(1.0, slope)
    return np.stack([theta - rise * slope, np.sin(theta) + rise], axis=-1)


def judge_accumulation(numbers: Numbers) -> Finding:
    """Whether the distance grows from step to step, and whether it is made up for in the end."""
    cases = [(side, setting) for side in RADII for setting in SETTINGS]
    first, last = MOMENTS[0], MOMENTS[-1]

    def named(chosen: list[tuple[str, str]]) -> str:
        return ", ".join(f"ρ = {numbers[f'radius {side}']:g} ({setting})" for side, setting in chosen)

    value = "; ".join(
        f"{named([(side, setting)])} "
        + " → ".join(f"{numbers[f'{side}, {setting}, step {moment}']:.2g}" for moment in MOMENTS)
        for side, setting in cases
    )
    largest = max(numbers[f"{side}, {setting}, last, largest"] for side, setting in cases)
    rolling = max(numbers[f"{side}, {setting}, still rolling"] for side, setting in cases)
    uncertainty = (
        f"medians of {numbers['starts below']:g}, {numbers['starts above']:g} starts, at worst {largest:.2g}"
        f"; at the end up to {100 * rolling:.0f} % of SGD's balls still roll; η = {_LR:g}"
    )
    growing = [
        (side, setting)
        for side, setting in cases
        if numbers[f"{side}, {setting}, largest median"]
        > _ACCUMULATED * numbers[f"{side}, {setting}, step {first}"]
    ]
    lasting = [
        (side, setting)
        for side, setting in growing
        if numbers[f"{side}, {setting}, step {last}"]
        > _HEALED * numbers[f"{side}, {setting}, largest median"]
    ]
    if not growing:
        return Finding(
            value, uncertainty, Ruling.REFUTED, "sin θ: the distance never exceeds a few steps' worth"
        )
    if len(lasting) == len(cases):
        return Finding(value, uncertainty, Ruling.HOLDS)
    if not lasting:
        return Finding(
            value, uncertainty, Ruling.HOLDS_WHEN, f"the ball still rolls; by step {last} it is undone"
        )
    reason = f"{named(lasting)}; otherwise the valley makes up for it by step {last}"
    return Finding(value, uncertainty, Ruling.HOLDS_WHEN, reason)


CLAIMS = (
    Claim(
        name="runtime-t-p",
        section="5",
        claim="The runtime is of the order of T × P.",
        test="seconds of RBO on a small network for T = 10, 20, 40 and P = 1, 4, 16, 40, in one process; "
        "count of gradient evaluations",
        measure=measure_runtime,
        judge=judge_runtime,
        timed=True,
    ),
    Claim(
        name="projection-and-dimension",
        section="6.1",
        claim="The dimension makes the errors of the projection worse.",
        test="plane, bowl and ellipsoid (condition 1000), footpoints known, d = 2 to 10⁴: error of the SGD "
        "projection (P = 100, γ = 0.001, 0.05), ‖g‖ fixed or ∝ √d",
        measure=measure_dimension,
        judge=judge_dimension,
    ),
    Claim(
        name="projection-errors-accumulate",
        section="6.1",
        claim="The errors of the projection accumulate over time.",
        test="sin θ: distance between centers of exact and SGD-projected balls from equal reachable starts "
        "at steps 1, 100, 600, below and above the critical radius; P and γ of two figures",
        measure=measure_accumulation,
        judge=judge_accumulation,
    ),
)
