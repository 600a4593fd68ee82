"""Curvature of a graph, seen from above."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

from rbobench.geometry.graph import Array, Graph, as_points


def principal_curvatures(graph: Graph, points: ArrayLike) -> Array:
    """Principal curvatures of Γ, positive where it bends upward, in ascending order.

    The eigenvalues of the shape operator s⁻¹(I+ggᵀ)⁻¹∇²f; in one dimension f″/s³. Its inverse is the radius
    of the ball from above that fits a valley to second order.

    Args:
        graph: Γ.
        points: Parameters, of shape `(m, d)`.

    Returns:
        Of shape `(m, d)`, in units of 1 / length.
    """
    points = as_points(points, graph.dimension)
    _, gradient = graph.evaluate(points)
    metric = np.eye(graph.dimension) + gradient[:, :, None] * gradient[:, None, :]
    length = np.sqrt(1.0 + np.square(gradient).sum(axis=-1))
    # Symmetric: L⁻¹ H L⁻ᵀ with the metric LLᵀ has the shape operator's eigenvalues.
    lower = np.linalg.inv(np.linalg.cholesky(metric))
    shape = lower @ graph.hessian(points) @ lower.swapaxes(-1, -2)
    return np.linalg.eigvalsh(shape) / length[:, None]
