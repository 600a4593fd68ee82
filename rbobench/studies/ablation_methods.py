"""What the ablation compares: each method with its grid of learning rate and radius, and its control."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from rbobench.registry import get_optimizer

BATCH = 64
"""Samples of a batch: one gradient evaluation is as many."""

_SLOW = (0.01, 0.03, 0.1, 0.3)
_BRISK = (0.001, 0.003, 0.01, 0.03, 0.1)
_MOMENTUM = "sgd, momentum 0.9"
_RATES = (0.03, 0.1, 0.3)
_BALLS = (0.3, 1.0, 3.0, 10.0)
_ASCENTS = (0.03, 0.1, 0.3, 1.0)
_PARTS = (2, 4, 8, 16)


@dataclass(frozen=True)
class Method:
    """One optimizer with its grid.

    Args:
        name: What tables and figures call it.
        optimizer: Registered name.
        rates: Learning rates of the grid.
        radii: Radii of the grid; one 0 where the method has none.
        radius: The parameter group's key that the radii are put into; `None` where there is none.
        hyperparameters: The rest, where not the default.
        control: The method that takes as many steps with the idea taken out: another one of the table at
            equal cost, or `"sgd"`, which is looked at where it has taken as many steps.
        contact_fraction: The part of the batch that it looks around on.
        batch_size: Samples of its batches.
    """

    name: str
    optimizer: str
    rates: tuple[float, ...] = _RATES
    radii: tuple[float, ...] = (0.0,)
    radius: str | None = None
    hyperparameters: Mapping[str, Any] = field(default_factory=dict)
    control: str | None = "sgd"
    contact_fraction: float = 1.0
    batch_size: int = BATCH

    @property
    def cost(self) -> float:
        """Gradient evaluations of a step, in those of a batch of `BATCH` samples."""
        return get_optimizer(self.optimizer).cost(self.resolved) * self.batch_size / BATCH

    @property
    def resolved(self) -> dict[str, Any]:
        """All its hyperparameters, learning rate and radius those of the grid's first cell."""
        info = get_optimizer(self.optimizer)
        given: dict[str, Any] = {"lr": self.rates[0], **self.hyperparameters}
        if self.radius is not None:
            given[self.radius] = self.radii[0]
        if info.looks_around:
            given["contact_fraction"] = self.contact_fraction
        return info.resolve(given)


def _ball(name: str, solver: str, steps: int, projection_lr: float | None = None) -> list[Method]:
    """Algorithm 1 with a solver at a number of projection steps, and its control, tuned more finely."""
    settings: dict[str, Any] = {"projection": solver, "projection_steps": steps}
    if projection_lr is not None:
        settings["projection_lr"] = projection_lr
    rates = (0.3, 1.0, 3.0) if solver == "sgd" else (0.1, 0.3, 1.0, 3.0)
    null = f"null of {name}"
    return [
        Method(name, "rbo", rates, _BALLS, "radius", settings, control=null),
        Method(null, "rbo-null", (0.03, 0.1, 0.3, 1.0, 3.0, 10.0), hyperparameters=settings, control=None),
    ]


METHODS: tuple[Method, ...] = (
    Method("sgd", "sgd", (0.003, *_SLOW), control=None),
    Method("sgd, batch 32", "sgd", (0.003, *_SLOW), control=None, batch_size=32),
    Method("sgd, batch 16", "sgd", (0.003, *_SLOW), control=None, batch_size=16),
    Method(_MOMENTUM, "sgd", _BRISK, hyperparameters={"momentum": 0.9}, control=None),
    Method("adamw", "adamw", (1e-4, 3e-4, 1e-3, 3e-3), control=None),
    *_ball("rbo sgd, P = 20", "sgd", 20),
    *_ball("rbo sgd, P = 20, γ = 0.01", "sgd", 20, 0.01),
    *_ball("rbo sgd, P = 5", "sgd", 5),
    *_ball("rbo sgd, P = 5, γ = 0.2", "sgd", 5, 0.2),
    *_ball("rbo gauss-newton, P = 5", "gauss-newton", 5),
    *_ball("rbo auto, P = 5", "auto", 5),
    Method("search", "rbo-center", _RATES, _BALLS, "radius"),
    *(
        Method(f"search, 1/{part}", "rbo-center", _RATES, _BALLS, "radius", contact_fraction=1 / part)
        for part in _PARTS
    ),
    Method("previous", "rbo-previous", _RATES, _BALLS, "radius"),
    Method("mirrored", "rbo-mirrored", _RATES, _BALLS, "radius"),
    Method("lagged", "rbo-lagged", _RATES, _BALLS, "radius"),
    Method("sam", "sam", _RATES, _ASCENTS, "rho"),
    *(Method(f"sam, 1/{part}", "sam", _RATES, _ASCENTS, "rho", contact_fraction=1 / part) for part in _PARTS),
    Method("unified-sam", "unified-sam", _RATES, _ASCENTS, "rho"),
    Method("gsam", "gsam", _RATES, _ASCENTS, "rho"),
    Method("wsam", "wsam", _RATES, _ASCENTS, "rho"),
    Method("friendly-sam", "friendly-sam", _RATES, _ASCENTS, "rho"),
    Method("s2-sam", "s2-sam", _RATES, _ASCENTS, "rho"),
    Method(
        "momentum-sam", "momentum-sam", _BRISK[1:4], _ASCENTS, "rho", {"momentum": 0.9}, control=_MOMENTUM
    ),
    Method("rwp", "rwp", _RATES, _ASCENTS, "rho"),
)
"""In the order of tables and figures."""

BY_NAME = {method.name: method for method in METHODS}
