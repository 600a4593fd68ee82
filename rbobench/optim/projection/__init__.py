"""Solvers of the footpoint problem, one a file.

A solver moves the problem's parameters from θ_t towards the footpoint within `steps` gradient evaluations,
the one at θ_t that the step began with included.
"""

from __future__ import annotations

from typing import Protocol

from rbobench.optim.footpoint import FootpointProblem
from rbobench.optim.projection.exact import project_exactly
from rbobench.optim.projection.sgd import project_by_sgd


class Projection(Protocol):
    """Moves the parameters of `problem` towards the footpoint."""

    def __call__(self, problem: FootpointProblem, *, steps: int, lr: float) -> None:
        """Project within `steps` evaluations, at the step size `lr` where the solver has one."""
        ...


PROJECTIONS: dict[str, Projection] = {"exact": project_exactly, "sgd": project_by_sgd}

__all__ = ["PROJECTIONS", "Projection", "project_by_sgd", "project_exactly"]
