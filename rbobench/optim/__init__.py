"""The rolling ball, its projection solvers and its controls."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any


def register() -> None:
    """Register the optimizers of this package."""
    from rbobench.optim import center_forms, controls
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
    wrapped = {"lr": ("log", 1e-3, 1.0), "radius": ("log", 0.01, 10.0)}
    register_optimizer(
        OptimizerInfo(
            name="rbo-center",
            factory=center_forms.rbo_center,
            description="descends by the gradient where a ball at the parameters touches the surface",
            reference=f"{paper}, Eq. 6; docs/center-form.md",
            gradient_evaluations=_searching,
            looks_around=True,
            search_space=wrapped,
            controls=("rbo-center-null", "sgd-short"),
            batched=True,
            wraps="base_optimizer",
            parameter_copies=1.0,
            reductions=(
                Reduction({"radius": 0.0}, "sgd"),
                Reduction({"radius": 0.0}, "rbo-center-null"),
                Reduction({"contact_steps": 0}, "sgd"),
            ),
        )
    )
    for contact, factory, which, copies in (
        ("previous", center_forms.rbo_previous, "the last gradient", 2.0),
        ("mirrored", center_forms.rbo_mirrored, "minus the last gradient", 2.0),
        ("lagged", center_forms.rbo_lagged, "the gradient before the last", 3.0),
    ):
        register_optimizer(
            OptimizerInfo(
                name=f"rbo-{contact}",
                factory=factory,
                description=f"the ball whose contact is taken from {which}, at one gradient a step",
                reference=f"{paper}, Eq. 6; docs/center-form.md",
                search_space=wrapped,
                controls=("sgd",),
                batched=True,
                wraps="base_optimizer",
                parameter_copies=copies,
                reductions=(Reduction({"radius": 0.0}, "sgd"),),
                exceptions={
                    "returns_the_loss_at_the_start": "evaluates at the contact alone, and returns that loss"
                },
            )
        )
    register_optimizer(
        OptimizerInfo(
            name="rbo-center-null",
            factory=center_forms.rbo_center_null,
            description="control: the center form at radius 0, at the same cost",
            reference=paper,
            gradient_evaluations=_searching,
            looks_around=True,
            search_space={"lr": wrapped["lr"]},
            batched=True,
            wraps="base_optimizer",
            parameter_copies=1.0,
            reductions=(Reduction({}, "sgd"),),
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


def _searching(hyperparameters: Mapping[str, Any]) -> int:
    """Of a step of the center form that searches its contact."""
    steps: int = hyperparameters["contact_steps"]
    return 1 + steps


def _evaluations(hyperparameters: Mapping[str, Any]) -> int:
    """Of a step of the ball; an exact projection searches for itself."""
    steps: int = hyperparameters["projection_steps"]
    return 1 if hyperparameters["projection"] == "exact" else steps


__all__ = ["register"]
