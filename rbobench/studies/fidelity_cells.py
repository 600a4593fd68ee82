"""Measurements of the fidelity study: how near to the moved center each solver ends, at which cost."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from rbobench.optim.center import CenterRBO
from rbobench.optim.projection import PROJECTIONS
from rbobench.optim.rolling_ball import RBO
from rbobench.optim.tensors import evaluate
from rbobench.studies.fidelity_problems import PROBLEMS, Ground, Step, flat

PAPER = "sgd"
"""The paper's solver."""
GAMMAS = (1e-3, 1e-2, 5e-2)
PAPER_BUDGETS = (5, 10, 20, 50, 100)
BUDGETS = (2, 3, 5, 10, 20)
CENTER = "center"
CONTACT_STEPS = (0, 1, 2, 4, 8)
REFERENCE = "newton-cg"
REFERENCE_BUDGET = 100
EXACT = "exact"


@dataclass(frozen=True)
class Part:
    """What one process measures.

    Attributes:
        problem: Its name.
        stage: Its position among the problem's stages.
        seeds: Of training, or of points.
        steps: Footpoint problems of each seed.
        radii: ρ.
        lrs: η.
        images: Folder of images for ResNet-8; `None` for rescaled digits.
    """

    problem: str
    stage: int
    seeds: tuple[int, ...]
    steps: int
    radii: tuple[float, ...]
    lrs: tuple[float, ...]
    images: Path | None = None


@dataclass(frozen=True)
class Measured:
    """Where the ball would rest if a point p were its contact.

    Attributes:
        distance: From the moved center c̃ to (p, f(p)).
        residual: ‖r‖, the gradient of half the squared distance.
        value: ψ at the contact: the height of the center of the ball that rests on p.
        position: That center's parameters.
    """

    distance: float
    residual: float
    value: float
    position: Tensor


class MovedCenter:
    """c̃ = c − ητ (Eq. 7), measured from in displacements from θ_t, in double precision.

    Args:
        gradient: g_t as one vector in double precision.
        radius: ρ.
        lr: η.
    """

    def __init__(self, gradient: Tensor, radius: float, lr: float) -> None:
        self._gradient = gradient
        self._radius, self._lr = radius, lr
        self._squared = float(gradient @ gradient)
        self._pull = radius / math.sqrt(1.0 + self._squared)

    @property
    def displacement(self) -> Tensor:
        """From θ_t to the parameters of c̃, a − θ_t."""
        return -(self._pull + self._lr) * self._gradient

    @property
    def lift(self) -> float:
        """From f(θ_t) to the height of c̃, b − f(θ_t)."""
        return self._pull - self._lr * self._squared

    def distance(self, moved: Tensor, rise: float) -> float:
        """From c̃ to the point of the graph at θ_t + `moved`, where f is `rise` above f(θ_t)."""
        along = torch.linalg.vector_norm(moved - self.displacement)
        return math.hypot(float(along), rise - self.lift)

    def residual(self, moved: Tensor, rise: float, gradient: Tensor) -> float:
        """‖r‖ there, with the `gradient` there."""
        r = moved + self._lr * self._gradient + self._pull * (self._gradient - gradient)
        r += (rise + self._lr * self._squared) * gradient
        return float(torch.linalg.vector_norm(r))

    def measure(self, step: Step, value: float, *, position: Tensor | None = None) -> Measured:
        """Measure the point that the parameters are at, with f and its gradient there.

        Args:
            step: Its parameters are at the point and hold the gradient.
            value: f there.
            position: Parameters of the center where they are known, as those of the center form are; else
                the ball rests on the point.
        """
        point = flat(step.parameters)
        gradient = flat([parameter.grad for parameter in step.parameters if parameter.grad is not None])
        moved, rise = point - step.flat_start, value - float(step.value)
        if position is None:
            contact = self._radius / math.sqrt(1.0 + float(gradient @ gradient)) * gradient
            position = point - contact
        else:
            contact = point - position
        height = math.sqrt(max(self._radius**2 - float(contact @ contact), 0.0))
        distance = self.distance(moved, rise)
        if not math.isfinite(distance):
            return Measured(math.inf, math.inf, math.nan, torch.full_like(point, math.nan))
        return Measured(distance, self.residual(moved, rise, gradient), value + height, position)


class _Watched:
    """A step's closure that takes the known gradient at the first call, and shows every later one.

    Hessian-vector products, where the closure offers them, count as calls.

    Args:
        step: Its closure and what is known at θ_t.
        show: Is given the number of this call and f there, while the parameters hold point and gradient.
        first_known: Whether the first call is at θ_t.
    """

    def __init__(
        self, step: Step, show: Callable[[int, float], None] | None = None, *, first_known: bool = True
    ) -> None:
        self._step, self._show, self._first_known = step, show, first_known
        self.calls = 0
        landscape = getattr(step.closure, "landscape", None)
        if landscape is not None:
            self.landscape = landscape
        product = getattr(step.closure, "hessian_vector_product", None)
        if product is not None:
            self.hessian_vector_product = self._counted(product)

    def __call__(self) -> Tensor:
        self.calls += 1
        if self.calls == 1 and self._first_known:
            for parameter, gradient in zip(self._step.parameters, self._step.gradients, strict=True):
                parameter.grad = gradient.clone()
            return self._step.value
        value = evaluate(self._step.closure)
        if self._show is not None:
            self._show(self.calls, float(value))
        return value

    def _counted(self, product: Callable[..., Any]) -> Callable[..., Any]:
        def counted(*arguments: Any) -> Any:
            self.calls += 1
            return product(*arguments)

        return counted


def measure(part: Part) -> pd.DataFrame:
    """Solve every footpoint problem of a part by every solver, at every budget.

    Returns:
        One row for each: `problem`, `data`, `stage`, `seed`, `step`, `radius`, `lr`, `solver`, `gamma`,
        `budget`, `evaluations`, `distance`, `excess`, `residual`, `value` (ψ at the contact) and
        `offset_value` (f_ρ at the center of the ball that rests there, on landscapes). The excess is relative
        to the exact distance on landscapes, elsewhere to the shortest that any solver found.
    """
    problem = PROBLEMS[part.problem]
    rows: list[dict[str, Any]] = []
    places: list[Tensor] = []
    for seed in part.seeds:
        for number, step in enumerate(problem.steps(part.stage, seed, part.steps, part.images)):
            for radius in part.radii:
                for lr in part.lrs:
                    of_cell = {
                        "problem": part.problem,
                        "data": problem.data_name(part.images),
                        "stage": problem.stage_name(part.stage),
                        "seed": seed,
                        "step": number,
                        "radius": radius,
                        "lr": lr,
                    }
                    found = list(_solved(step, radius, lr, problem.ground))
                    best = _shortest(found, exact=problem.ground is not None)
                    for ended, measured in found:
                        numbers = {
                            "distance": measured.distance,
                            "excess": measured.distance / best - 1.0,
                            "residual": measured.residual,
                            "value": measured.value,
                        }
                        rows.append({**of_cell, **ended, **numbers})
                        places.append(measured.position)
    frame = pd.DataFrame(rows)
    frame["offset_value"] = math.nan
    if problem.ground is not None:
        positions = torch.stack(places).numpy()
        for radius in part.radii:
            where = np.flatnonzero(frame["radius"] == radius)
            frame.loc[where, "offset_value"] = problem.ground.offset(positions[where], radius)
    return frame


def _shortest(found: Sequence[tuple[dict[str, Any], Measured]], *, exact: bool) -> float:
    if exact:
        return next(measured.distance for ended, measured in found if ended["solver"] == EXACT)
    return min(measured.distance for _, measured in found)


def _solved(
    step: Step, radius: float, lr: float, ground: Ground | None
) -> Iterator[tuple[dict[str, Any], Measured]]:
    """How each solver ended, and where."""
    center = MovedCenter(step.flat_gradient, radius, lr)
    for gamma in GAMMAS:
        yield from _paper(step, center, radius, lr, gamma)
    for solver, info in PROJECTIONS.items():
        if solver not in (PAPER, EXACT):
            # In high dimension the reference is this with a large budget.
            large = (REFERENCE_BUDGET,) if solver == REFERENCE and ground is None else ()
            for budget in (*BUDGETS, *large):
                if budget >= info.least_steps:
                    yield _projected(step, center, radius, lr, solver, budget)
    yield from _contacts(step, center, radius)
    if ground is not None:
        yield _exact(step, center, ground)


def _paper(
    step: Step, center: MovedCenter, radius: float, lr: float, gamma: float
) -> Iterator[tuple[dict[str, Any], Measured]]:
    """The paper's solver, which passes through the ends of all its shorter runs."""
    found: list[tuple[dict[str, Any], Measured]] = []

    def note(steps: int, value: float) -> None:
        if steps in PAPER_BUDGETS:
            found.append((_ended(PAPER, steps, steps, gamma), center.measure(step, value)))

    most = max(PAPER_BUDGETS)
    watched = _Watched(step, lambda calls, value: note(calls - 1, value))
    _roll(step, watched, radius, lr, projection=PAPER, projection_steps=most, projection_lr=gamma)
    note(most, float(evaluate(step.closure)))
    yield from found


def _projected(
    step: Step, center: MovedCenter, radius: float, lr: float, solver: str, budget: int
) -> tuple[dict[str, Any], Measured]:
    watched = _Watched(step)
    _roll(step, watched, radius, lr, projection=solver, projection_steps=budget)
    measured = center.measure(step, float(evaluate(step.closure)))
    return _ended(solver, budget, watched.calls), measured


def _roll(step: Step, closure: _Watched, radius: float, lr: float, **projection: Any) -> None:
    step.move_to()
    RBO(step.parameters, lr, radius, **projection).step(closure)


def _contacts(step: Step, center: MovedCenter, radius: float) -> Iterator[tuple[dict[str, Any], Measured]]:
    """The center form's contacts with c̃'s parameters as the center, each on the way to the next."""
    found: list[tuple[dict[str, Any], Measured]] = []

    def note(calls: int, value: float) -> None:
        searched = calls - 1  # the gradient at θ_t was paid for, the one at the contact is the next step's
        if searched in CONTACT_STEPS:
            ended = _ended(CENTER, 1 + searched, 1 + searched)
            found.append((ended, center.measure(step, value, position=position)))

    step.move_to(center.displacement)
    position = flat(step.parameters)
    most = max(CONTACT_STEPS)
    CenterRBO(step.parameters, 0.0, radius, contact_steps=most).step(_Watched(step, note, first_known=False))
    yield from found


def _exact(step: Step, center: MovedCenter, ground: Ground) -> tuple[dict[str, Any], Measured]:
    parameters = (step.flat_start + center.displacement).numpy()
    nearest = ground.footpoint(np.append(parameters, float(step.value) + center.lift))
    step.move_to(torch.from_numpy(nearest) - step.flat_start)
    return _ended(EXACT, 0, 1), center.measure(step, float(evaluate(step.closure)))


def _ended(solver: str, budget: int, evaluations: int, gamma: float = math.nan) -> dict[str, Any]:
    return {"solver": solver, "gamma": gamma, "budget": budget, "evaluations": evaluations}
