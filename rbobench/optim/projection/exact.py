"""The exact projection: the nearest of all points of the graph, where f is a landscape of few parameters.

The paper assumes such an oracle (Section 3.1). It is a means of study: its search is not counted in gradient
evaluations, waits for the host, and exists in one and two dimensions alone.
"""

from __future__ import annotations

import math
from typing import Protocol

import torch
from torch import Tensor

from rbobench.errors import UsageError
from rbobench.optim.projection.outcome import Outcome
from rbobench.optim.tensors import Closure


class Centered(Protocol):
    """A footpoint problem that can say where its center is.

    Attributes:
        parameters: θ, one tensor, of shape `(*batch, d)`.
        closure: Has f as its `landscape`.
        loss_scale: λ.
        domain: The box to search; `None` is the landscape's own.
        batch_dims: How many leading dimensions number the problems.
    """

    parameters: list[Tensor]
    closure: Closure
    loss_scale: float
    domain: tuple[float, float] | None
    batch_dims: int

    def center(self) -> tuple[list[Tensor], Tensor]:
        """The center (a, b), b in units of λf: one tensor for each parameter, and the batch's shape."""
        ...


def project_exactly(problem: Centered, *, steps: int, lr: float, tolerance: float | None = None) -> Outcome:
    """Move the parameters to the footpoint of the ball's center (Eq. 8), found by search of the whole graph.

    In a batch, a problem whose footpoint may lie outside the box becomes NaN, as one that diverged.

    Args:
        problem: The footpoint problem; its closure must have a `landscape`.
        steps: Not used: no evaluation of the closure is needed.
        lr: Not used.
        tolerance: Not used.

    Returns:
        How it ended; converged where the footpoint is certain to lie inside the box. The one evaluation is
        that at θ_t.

    Raises:
        UsageError: If there is no landscape of one or two parameters with a bounded domain, or the footpoint
            of a single problem may lie outside the domain.
    """
    import numpy as np  # and SciPy: of no use to any other projection

    from rbobench.geometry.footpoint import footpoint
    from rbobench.geometry.graph import graph_of

    landscape = getattr(problem.closure, "landscape", None)
    if landscape is None:
        raise UsageError(
            "projection 'exact' searches the whole of f: its closure must be on a landscape, such as "
            "rbobench.LandscapeClosure(landscape, point)"
        )
    shapes = [tuple(parameter.shape) for parameter in problem.parameters]
    if len(shapes) != 1 or shapes[0][problem.batch_dims :] != (landscape.dimension,):
        raise UsageError(
            "projection 'exact' moves one point: a single parameter of shape (*batch, dimension) with "
            f"dimension {landscape.dimension}, not {', '.join(map(str, shapes))}"
        )
    domain = None if problem.domain is None else tuple(problem.domain)
    graph = graph_of(landscape, domain, scale=problem.loss_scale)
    (point,), ((position,), b) = problem.parameters, problem.center()
    centers = torch.cat([position, b.unsqueeze(-1)], dim=-1).to("cpu", torch.float64)
    found = footpoint(graph, centers.reshape(-1, graph.dimension + 1).numpy())
    # A center that is not finite has diverged; one beyond the edge was given too narrow a box.
    if problem.batch_dims == 0 and math.isfinite(found.distances[0]) and not found.certain[0]:
        raise UsageError(
            f"the ball's center at {position.tolist()} is {found.distances[0]:.6g} from the graph, and "
            f"nearer to the edge of the search domain ({graph.low:g}, {graph.high:g}); "
            "widen projection_domain"
        )
    nearest = np.where(found.certain[:, None], found.points, np.nan)
    point.copy_(torch.from_numpy(nearest).reshape(point.shape))
    value, gradient = landscape.value_and_grad(point)
    height = problem.loss_scale * value - b
    r = point - position + (problem.loss_scale * height).unsqueeze(-1) * gradient
    distance = torch.hypot(torch.linalg.vector_norm(point - position, dim=-1), height)
    converged = torch.from_numpy(found.certain).reshape(b.shape).to(b.device)
    return Outcome(1, distance, torch.linalg.vector_norm(r, dim=-1), converged)
