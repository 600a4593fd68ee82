"""How a projection ended."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor


@dataclass(frozen=True)
class Outcome:
    """How a projection ended, at the point it returned; of `sgd` at the last point it evaluated.

    Attributes:
        evaluations: Gradient evaluations and Hessian-vector products, the gradient at θ_t included; a tensor
            with one entry a problem where a tolerance may have stopped them at different times.
        distance: From the moved center to the point (θ, λf) of the graph, of the batch's shape.
        residual: ‖r‖, the norm of the gradient of ½ distance², of the batch's shape.
        converged: Whether the residual is within the tolerance; without one, whether it is 0.
    """

    evaluations: int | Tensor
    distance: Tensor
    residual: Tensor
    converged: Tensor
