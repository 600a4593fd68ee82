"""Controls: the ball, and what is easily mistaken for it, with the idea taken out.

A gain of RBO over SGD means little by itself: RBO takes P times fewer steps at equal cost. The controls
take as many, so that what is left beside them is the ball's.
"""

from __future__ import annotations

from typing import Any

from torch import Tensor

from rbobench.optim.observed import observed
from rbobench.optim.rolling_ball import RBO
from rbobench.optim.sgd import SGD
from rbobench.optim.tensors import Closure, require_closure


def rbo_null(
    params: Any,
    lr: float,
    projection: str = "sgd",
    projection_steps: int = 20,
    projection_lr: float = 0.05,
    projection_domain: tuple[float, float] | None = None,
    loss_scale: float = 1.0,
    weight_decay: float = 0.0,
    batch_dims: int = 0,
    projection_tolerance: float | None = None,
) -> RBO:
    """`RBO` at radius 0: the same steps, projection and cost, and no ball."""
    return RBO(
        params,
        lr,
        0.0,
        projection=projection,
        projection_steps=projection_steps,
        projection_lr=projection_lr,
        projection_domain=projection_domain,
        loss_scale=loss_scale,
        weight_decay=weight_decay,
        batch_dims=batch_dims,
        projection_tolerance=projection_tolerance,
    )


class RepeatedSGD(SGD):
    """`repeats` steps of SGD on one batch: what P projection steps would be if they were steps of descent.

    Args:
        params: Parameters or parameter groups.
        lr: The step size.
        repeats: Steps on each batch, and gradient evaluations of one `step`, ≥ 1.
        momentum: Of the heavy ball; 0 for none.
        weight_decay: Adds `weight_decay` · θ to the gradient.
        nesterov: Nesterov's momentum.

    Raises:
        ValueError: If a value is out of range.
    """

    def __init__(
        self,
        params: Any,
        lr: float = 0.1,
        repeats: int = 20,
        momentum: float = 0.0,
        weight_decay: float = 0.0,
        nesterov: bool = False,
    ) -> None:
        if repeats < 1:
            raise ValueError(f"repeats must be at least 1, not {repeats}")
        super().__init__(params, lr, momentum, weight_decay=weight_decay, nesterov=nesterov)
        self.defaults["repeats"] = repeats
        for group in self.param_groups:
            group.setdefault("repeats", repeats)

    @observed
    def step(self, closure: Closure | None = None) -> Any:
        """Step `repeats` times on the closure's batch.

        Returns:
            The loss at the start.
        """
        closure = require_closure(self, closure)
        loss: Tensor = self._step_one(closure)
        for _ in range(self.param_groups[0]["repeats"] - 1):
            self._step_one(closure)
        return loss


def sgd_short(
    params: Any,
    lr: float = 0.1,
    momentum: float = 0.0,
    weight_decay: float = 0.0,
    nesterov: bool = False,
    matched_gradient_evaluations: int = 20,
    batch_dims: int = 0,
) -> SGD:
    """SGD held to as many steps as a method gets that spends `matched_gradient_evaluations` on each.

    The runner ends its budget and its schedule there, and records the rest as unspent.
    """
    if matched_gradient_evaluations < 1:
        raise ValueError(
            f"matched_gradient_evaluations must be at least 1, not {matched_gradient_evaluations}"
        )
    return SGD(params, lr, momentum, weight_decay=weight_decay, nesterov=nesterov, batch_dims=batch_dims)


def sgd_early(
    params: Any,
    lr: float = 0.1,
    momentum: float = 0.0,
    weight_decay: float = 0.0,
    nesterov: bool = False,
    patience: int = 3,
    batch_dims: int = 0,
) -> SGD:
    """SGD stopped after `patience` evaluations without a better accuracy on noisy validation.

    The runner stops, restores the best weights and records the rest of the budget as unspent.
    """
    if patience < 1:
        raise ValueError(f"patience must be at least 1, not {patience}")
    return SGD(params, lr, momentum, weight_decay=weight_decay, nesterov=nesterov, batch_dims=batch_dims)
