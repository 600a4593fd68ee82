"""The center forms by their registered names, around a registered base optimizer."""

from __future__ import annotations

import math
from typing import Annotated, Any

from rbobench.hyperparameters import coerce
from rbobench.optim.base_optimizer import gradient_base
from rbobench.optim.center import CenterRBO


def _loss_scale(what: str, value: Any) -> float:
    if isinstance(value, float) and math.isinf(value):
        return value  # the range is checked where the ball is built
    scale: float = coerce(what, value, float)
    return scale


LossScale = Annotated[float, _loss_scale]
"""λ, which may be infinite (`.inf` in a suite)."""


def rbo_center(
    params: Any,
    radius: float,
    contact_steps: int = 1,
    loss_scale: LossScale = 1.0,
    safeguard: bool = False,
    base_optimizer: str = "sgd",
    batch_dims: int = 0,
    **base: Any,
) -> CenterRBO:
    """The ball that searches its contact, around a registered optimizer whose hyperparameters are `base`."""
    return _around(
        params,
        "search",
        radius,
        loss_scale,
        base_optimizer,
        batch_dims,
        base,
        contact_steps=contact_steps,
        safeguard=safeguard,
    )


def rbo_center_null(
    params: Any, contact_steps: int = 1, base_optimizer: str = "sgd", batch_dims: int = 0, **base: Any
) -> CenterRBO:
    """`rbo-center` at radius 0: the same evaluations, and no ball."""
    return rbo_center(
        params, 0.0, contact_steps, base_optimizer=base_optimizer, batch_dims=batch_dims, **base
    )


def rbo_previous(
    params: Any,
    radius: float,
    loss_scale: LossScale = 1.0,
    base_optimizer: str = "sgd",
    batch_dims: int = 0,
    **base: Any,
) -> CenterRBO:
    """The ball whose contact is +φ(g_{t−1}), around a registered optimizer."""
    return _around(params, "previous", radius, loss_scale, base_optimizer, batch_dims, base)


def rbo_mirrored(
    params: Any,
    radius: float,
    loss_scale: LossScale = 1.0,
    base_optimizer: str = "sgd",
    batch_dims: int = 0,
    **base: Any,
) -> CenterRBO:
    """The ball whose contact is −φ(g_{t−1}), around a registered optimizer."""
    return _around(params, "mirrored", radius, loss_scale, base_optimizer, batch_dims, base)


def rbo_lagged(
    params: Any,
    radius: float,
    loss_scale: LossScale = 1.0,
    base_optimizer: str = "sgd",
    batch_dims: int = 0,
    **base: Any,
) -> CenterRBO:
    """The ball whose contact is +φ(g_{t−2}), around a registered optimizer."""
    return _around(params, "lagged", radius, loss_scale, base_optimizer, batch_dims, base)


def _around(
    params: Any,
    contact: str,
    radius: float,
    loss_scale: float,
    base_optimizer: str,
    batch_dims: int,
    base: dict[str, Any],
    **search: Any,
) -> CenterRBO:
    return CenterRBO(
        params,
        base["lr"],
        radius,
        contact,
        loss_scale=loss_scale,
        batch_dims=batch_dims,
        base_optimizer=gradient_base(base_optimizer, base, batch_dims),
        **search,
    )
