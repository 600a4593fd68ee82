"""Where optimizers go on a landscape, many starts as one batch."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from rbobench.geometry.landscape import Landscape, LandscapeClosure

Make = Callable[[list[Tensor]], Any]
"""From the parameters to an optimizer of a batch of problems."""


def trajectories(
    make: Make,
    landscape: Landscape,
    first: Tensor,
    steps: int,
    before_step: Callable[[Any, float], None] = lambda optimizer, fraction: None,
    compiled: bool = False,
) -> Tensor:
    """Where an optimizer goes from each of `first`, of shape `(m, d)`, as one batch.

    Args:
        make: The optimizer, with `batch_dims=1`.
        landscape: f.
        first: The starts.
        steps: How many.
        before_step: Is given the optimizer and the fraction of the steps that are done.
        compiled: Whether an optimizer that can compile itself does.

    Returns:
        Points of shape `(steps + 1, m, d)`.
    """
    points = first.clone()
    optimizer, closure = make([points]), LandscapeClosure(landscape, points)
    if compiled and hasattr(optimizer, "compile"):
        optimizer.compile()
    visited = [first.clone()]
    for step in range(steps):
        before_step(optimizer, step / steps)
        optimizer.step(closure)
        visited.append(points.clone())
    return torch.stack(visited)
