"""The rolling ball, its projection solvers and its controls."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any


def register() -> None:
    """Register the optimizers of this package."""
    from rbobench.optim import controls
    from rbobench.optim.distance_constraint import DistanceConstraintRBO
    from rbobench.optim.rolling_ball import RBO
    from rbobench.registry import OptimizerInfo, Reduction, StoppingRule, register_optimizer

    paper = "arXiv 2505.19527"
    ball = {"lr": ("log", 0.01, 100.0), "projection_lr": ("log", 1e-3, 0.1)}
    descent = {"lr": ("log", 1e-3, 1.0), "momentum": [0.0, 0.9]}
    register_optimizer(
        OptimizerInfo(
            name="rbo",
            factory=RBO,
            description="rolls a ball of finite radius over the loss surface",
            reference=paper,
            gradient_evaluations=_evaluations,
            search_space={**ball, "radius": ("log", 0.01, 10.0)},
            controls=("rbo-null", "sgd-short", "sgd-repeat"),
            batched=True,
            parameter_copies=2.0,
            reductions=(Reduction({"radius": 0.0}, "rbo-null"),),
        )
    )
    register_optimizer(
        OptimizerInfo(
            name="rbo-distance",
            factory=DistanceConstraintRBO,
            description="rolls a ball whose center is the state, held at its distance from the surface",
            reference=f"{paper}, Section 3.2",
            gradient_evaluations=_evaluations,
            search_space={**ball, "radius": ("log", 0.01, 10.0)},
            controls=("rbo-null", "sgd-short", "sgd-repeat"),
            batched=True,
            parameter_copies=1.0,
            exceptions={
                "lr_zero_moves_nothing": "the center stands still while the surface moves with the batch"
            },
        )
    )
    register_optimizer(
        OptimizerInfo(
            name="rbo-null",
            factory=controls.rbo_null,
            description="control: the rolling ball at radius 0, at the same cost",
            reference=paper,
            gradient_evaluations=_evaluations,
            search_space=ball,
            batched=True,
            parameter_copies=2.0,
        )
    )
    register_optimizer(
        OptimizerInfo(
            name="sgd-repeat",
            factory=controls.RepeatedSGD,
            description="control: several steps of SGD on each batch",
            gradient_evaluations=lambda hyperparameters: hyperparameters["repeats"],
            search_space=descent,
            parameter_copies=1.0,
            reductions=(Reduction({"repeats": 1}, "sgd"),),
        )
    )
    register_optimizer(
        OptimizerInfo(
            name="sgd-short",
            factory=controls.sgd_short,
            description="control: SGD held to as many steps as a costlier method gets",
            search_space=descent,
            batched=True,
            parameter_copies=1.0,
            stopping=lambda hyperparameters: StoppingRule(
                budget_share=1.0 / hyperparameters["matched_gradient_evaluations"]
            ),
        )
    )
    register_optimizer(
        OptimizerInfo(
            name="sgd-early",
            factory=controls.sgd_early,
            description="control: SGD stopped early on the noisy validation split",
            search_space=descent,
            batched=True,
            parameter_copies=1.0,
            stopping=lambda hyperparameters: StoppingRule(patience=hyperparameters["patience"]),
        )
    )


def _evaluations(hyperparameters: Mapping[str, Any]) -> int:
    """Of a step of the ball; an exact projection searches for itself."""
    steps: int = hyperparameters["projection_steps"]
    return 1 if hyperparameters["projection"] == "exact" else steps


__all__ = ["register"]
