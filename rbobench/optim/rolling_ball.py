"""The Rolling Ball Optimizer (arXiv 2505.19527), Algorithm 1."""

from __future__ import annotations

import math
from collections.abc import Collection
from typing import Any, ClassVar

import torch
from torch import Tensor

from rbobench.optim.footpoint import Decay, FootpointProblem, Memory
from rbobench.optim.groups import check_agreement, check_range
from rbobench.optim.observed import observed
from rbobench.optim.projection import PROJECTIONS, Outcome
from rbobench.optim.tensors import Closure, active, evaluate, freeze_diverged, require_closure

# What makes the ball: one for all parameters. Weight decay is f's, and may differ between groups.
_ONE = "RBO rolls one ball over all parameters"
_BALL = (
    "lr",
    "radius",
    "projection",
    "projection_steps",
    "projection_lr",
    "projection_domain",
    "projection_tolerance",
    "loss_scale",
    "batch_dims",
)


class RBO(torch.optim.Optimizer):
    """Roll a ball of radius ρ over the loss surface instead of moving a point.

    One step moves the ball's center along the tangent of the surface (Eq. 2, 7) and projects it back onto the
    surface (Eq. 8). It costs exactly `projection_steps` gradient evaluations of one fixed function, unless a
    tolerance stops it earlier: `closure` must see the same batch at every call of a step.

    The step size and the radius are read from the parameter groups at every step, so that any scheduler may
    change them. All groups together carry one ball: they must agree on everything but `weight_decay`.

    Args:
        params: Parameters or parameter groups.
        lr: η, the step of the center, ≥ 0; a number, or a tensor with one for each problem of a batch.
        radius: ρ, the radius, ≥ 0; a number, or a tensor with one for each problem. 0 takes the ball out.
        projection: The solver of the footpoint problem: `"sgd"`, the paper's; `"gauss-newton"`,
            `"anderson"`, `"lbfgs"`, `"newton-cg"` or `"auto"`, which never end farther from the center than
            θ_t; or `"exact"`, a search of the whole graph for study, on closures with a `landscape` of one or
            two parameters. It evaluates the closure once a step, and what it searches is not counted.
        projection_steps: P, the gradient evaluations of a step, ≥ 1, ≥ 2 where trial points are compared; not
            of `"exact"`. Hessian-vector products of `"newton-cg"` count as evaluations.
        projection_lr: γ, the step size of the projection, > 0; of `"sgd"`.
        projection_domain: The box (low, high) of every coordinate that `"exact"` searches; by default the
            landscape's own.
        loss_scale: λ > 0: the ball rolls on the graph of λf. It weighs loss units against parameter units.
        weight_decay: wd ≥ 0: ½wd‖θ‖² is part of f, in its value and in its gradient.
        batch_dims: How many leading dimensions of every parameter number independent problems; the closure
            then returns one loss for each. A problem that leaves the finite numbers stays where it was.
        projection_tolerance: Stop projecting where ‖r‖, the gradient of ½ distance², is at most this share of
            what it is at θ_t; > 0. The host then waits for every evaluation. `None` spends the whole budget.

    Attributes:
        tracks_outcome: Whether `outcome` is there for `"sgd"` without a tolerance too, which knows it only at
            the cost of some projection steps' arithmetic. False unless set.
        outcome: How the last projection ended; `None` before the first step, and where it is not tracked.

    Raises:
        ValueError: If a value is out of range, or groups disagree on the ball.

    Example:
        >>> optimizer = RBO(model.parameters(), lr=1.0, radius=1.0)  # doctest: +SKIP
        >>> def closure():  # doctest: +SKIP
        ...     optimizer.zero_grad()
        ...     loss = loss_function(model(inputs), targets)
        ...     loss.backward()
        ...     return loss
        >>> loss = optimizer.step(closure)  # doctest: +SKIP
    """

    projections: ClassVar[Collection[str]] = PROJECTIONS.keys()

    def __init__(
        self,
        params: Any,
        lr: float | Tensor,
        radius: float | Tensor,
        projection: str = "sgd",
        projection_steps: int = 20,
        projection_lr: float = 0.05,
        projection_domain: tuple[float, float] | None = None,
        loss_scale: float = 1.0,
        weight_decay: float = 0.0,
        batch_dims: int = 0,
        projection_tolerance: float | None = None,
    ) -> None:
        defaults = {
            "lr": lr,
            "radius": radius,
            "projection": projection,
            "projection_steps": projection_steps,
            "projection_lr": projection_lr,
            "projection_domain": projection_domain,
            "projection_tolerance": projection_tolerance,
            "loss_scale": loss_scale,
            "weight_decay": weight_decay,
            "batch_dims": batch_dims,
        }
        self._memory: dict[Tensor, Memory] = {}
        self._compiled = False
        self.tracks_outcome = False
        self.outcome: Outcome | None = None
        super().__init__(params, defaults)

    def compile(self) -> None:
        """From now on let `torch.compile` make one program of what `"sgd"` does between two evaluations.

        On a `LandscapeClosure` the evaluation is part of it. It moves the parameters as before but for
        rounding. The first two steps take seconds; the closure of a network compiles its own model.
        """
        self._compiled = True

    def __setstate__(self, state: dict[str, Any]) -> None:
        super().__setstate__(state)
        self._memory = {}
        # torch copies an optimizer's groups and state alone.
        self._compiled = self.tracks_outcome = False
        self.outcome = None

    def add_param_group(self, param_group: dict[str, Any]) -> None:
        """Add parameters to the ball.

        Raises:
            ValueError: If a value is out of range, or disagrees with the groups that are there.
        """
        settings = {**self.defaults, **param_group}
        _check(settings, self.projections)
        for group in self.param_groups:
            check_agreement(_ONE, _BALL, group, settings)
        super().add_param_group(param_group)

    @observed
    def step(self, closure: Closure | None = None) -> Tensor:  # type: ignore[override]
        """Roll the ball once.

        Args:
            closure: Clears the gradients, evaluates the loss, calls backward and returns the loss; called
                `projection_steps` times at most.

        Returns:
            The loss at θ_t, where the step began, detached.

        Raises:
            TypeError: If there is no closure.
            ValueError: If groups disagree on the ball.
        """
        closure = require_closure(self, closure)
        ball = self.param_groups[0]
        for group in self.param_groups[1:]:
            check_agreement(_ONE, _BALL, ball, group)
        loss = evaluate(closure)
        parameters = active(self.param_groups)
        if not parameters:
            return loss
        self._roll(ball, parameters, closure, loss)
        return loss

    def _roll(self, ball: dict[str, Any], parameters: list[Tensor], closure: Closure, loss: Tensor) -> None:
        """Move the parameters, whose gradients are there, from θ_t to θ_{t+1}."""
        problem = FootpointProblem(
            parameters,
            closure,
            loss,
            [self._memory_of(parameter) for parameter in parameters],
            lr=ball["lr"],
            radius=ball["radius"],
            loss_scale=ball["loss_scale"],
            decays=self._decays(),
            domain=ball["projection_domain"],
            batch_dims=ball["batch_dims"],
            compiled=self._compiled,
            tracked=self.tracks_outcome,
        )
        self.outcome = PROJECTIONS[ball["projection"]].project(
            problem,
            steps=ball["projection_steps"],
            lr=ball["projection_lr"],
            tolerance=ball["projection_tolerance"],
        )
        if ball["batch_dims"] > 0:
            freeze_diverged(parameters, problem.start, loss, ball["batch_dims"])

    def _memory_of(self, parameter: Tensor) -> Memory:
        memory = self._memory.get(parameter)
        if memory is None or not memory.fits(parameter):
            memory = self._memory[parameter] = Memory.like(parameter)
        return memory

    def _decays(self) -> list[Decay]:
        decays, begin = [], 0
        for group in self.param_groups:
            end = begin + len(active([group]))
            if group["weight_decay"] != 0.0 and end > begin:
                decays.append(Decay(slice(begin, end), group["weight_decay"]))
            begin = end
        return decays


def _check(settings: dict[str, Any], projections: Collection[str]) -> None:
    """Refuse values out of range, by name."""
    check_range(settings, "lr", "radius", "weight_decay")
    check_range(settings, "projection_lr", "loss_scale", above=True)
    if settings["projection_steps"] < 1 or settings["projection_steps"] != int(settings["projection_steps"]):
        raise ValueError(
            f"projection_steps must be a whole number from 1, not {settings['projection_steps']}"
        )
    if settings["batch_dims"] < 0:
        raise ValueError(f"batch_dims must be at least 0, not {settings['batch_dims']}")
    if settings["projection"] not in projections:
        known = ", ".join(sorted(projections))
        raise ValueError(f"projection must be one of {known}, not {settings['projection']!r}")
    least = PROJECTIONS[settings["projection"]].least_steps
    if settings["projection_steps"] < least:
        raise ValueError(
            f"projection {settings['projection']!r} compares trial points with θ_t: projection_steps must be "
            f"at least {least}, not {settings['projection_steps']}"
        )
    if settings["projection_tolerance"] is not None:
        check_range(settings, "projection_tolerance", above=True)
    domain = settings["projection_domain"]
    if domain is not None and not (len(domain) == 2 and -math.inf < domain[0] < domain[1] < math.inf):
        raise ValueError(f"projection_domain must be (low, high) with low < high, both finite, not {domain}")
    if settings["projection"] == "exact" and settings["weight_decay"] != 0.0:
        raise ValueError("projection 'exact' searches the landscape alone; it takes no weight_decay")
