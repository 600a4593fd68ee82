"""Solvers of the footpoint problem, one a file.

A solver moves the problem's parameters from θ_t towards the footpoint within `steps` gradient evaluations,
the one at θ_t that the step began with included, and says how it ended.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from rbobench.optim.footpoint import FootpointProblem
from rbobench.optim.projection.anderson import Anderson
from rbobench.optim.projection.auto import project_automatically
from rbobench.optim.projection.exact import project_exactly
from rbobench.optim.projection.gauss_newton import GaussNewton
from rbobench.optim.projection.lbfgs import LBFGS
from rbobench.optim.projection.newton_cg import project_by_newton_cg
from rbobench.optim.projection.outcome import Outcome
from rbobench.optim.projection.safeguarded import projection_along
from rbobench.optim.projection.sgd import project_by_sgd


class Projection(Protocol):
    """Moves the parameters of `problem` towards the footpoint."""

    def __call__(
        self, problem: FootpointProblem, *, steps: int, lr: float, tolerance: float | None = None
    ) -> Outcome | None:
        """Project within `steps` evaluations, at the step size `lr` where the solver has one.

        A `tolerance` stops it where ‖r‖ is at most this share of ‖r‖ at θ_t, and makes the host look at every
        evaluation; without one the host never waits. `None` if the problem is not tracked, and to say how it
        ended would take more than the projection needs.
        """
        ...


@dataclass(frozen=True)
class ProjectionInfo:
    """A solver, and what it takes.

    Attributes:
        project: The solver.
        parameter_copies: The most it holds while the closure is called, when memory is scarcest, beyond the
            parameters; θ_t and g_t included.
        safeguarded: Whether it returns the nearest point that it evaluated, which is θ_t at worst.
        least_steps: The least budget with which it can move.
    """

    project: Projection
    parameter_copies: float
    safeguarded: bool = False
    least_steps: int = 1


PROJECTIONS: dict[str, ProjectionInfo] = {
    "sgd": ProjectionInfo(project_by_sgd, parameter_copies=2.0),
    "gauss-newton": ProjectionInfo(projection_along(GaussNewton), 4.0, safeguarded=True, least_steps=2),
    "anderson": ProjectionInfo(projection_along(Anderson), 12.0, safeguarded=True, least_steps=2),
    "lbfgs": ProjectionInfo(projection_along(LBFGS), 12.0, safeguarded=True, least_steps=2),
    "newton-cg": ProjectionInfo(project_by_newton_cg, 11.0, safeguarded=True, least_steps=2),
    "auto": ProjectionInfo(project_automatically, 13.0, safeguarded=True, least_steps=2),
    "exact": ProjectionInfo(project_exactly, parameter_copies=2.0),
}
"""Every solver by name."""

__all__ = ["PROJECTIONS", "Outcome", "Projection", "ProjectionInfo"]
