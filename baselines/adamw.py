"""Adam with decoupled weight decay."""

from __future__ import annotations

from typing import Any

import torch

from rbobench import OptimizerInfo, register_optimizer


def adamw(
    params: Any,
    lr: float = 1e-3,
    betas: tuple[float, float] = (0.9, 0.999),
    eps: float = 1e-8,
    weight_decay: float = 0.01,
) -> torch.optim.AdamW:
    """AdamW as torch has it."""
    return torch.optim.AdamW(params, lr, betas, eps, weight_decay)


def register() -> None:
    """Register `adamw`."""
    register_optimizer(
        OptimizerInfo(
            name="adamw",
            factory=adamw,
            description="Adam with decoupled weight decay",
            reference="arXiv 1711.05101",
            search_space={"lr": ("log", 1e-4, 1e-1), "weight_decay": [0.0, 0.01, 0.1]},
            parameter_copies=2.0,
        )
    )
