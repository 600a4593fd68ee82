"""SGD with momentum."""

from __future__ import annotations

from rbobench import OptimizerInfo, register_optimizer
from rbobench.optim.sgd import SGD


def register() -> None:
    """Register `sgd`."""
    register_optimizer(
        OptimizerInfo(
            name="sgd",
            factory=SGD,
            description="stochastic gradient descent with momentum, plain or Nesterov's",
            reference="Robbins and Monro 1951; Sutskever et al., ICML 2013",
            search_space={"lr": ("log", 1e-3, 1.0), "momentum": [0.0, 0.9], "weight_decay": [0.0, 5e-4]},
            batched=True,
            parameter_copies=1.0,
        )
    )
