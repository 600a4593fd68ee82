"""Parameters moved for a while, and put back by copy."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import torch
from torch import Tensor

from rbobench.optim.tensors import add_scaled, clones


@contextmanager
def perturbed(
    parameters: Sequence[Tensor],
    directions: Sequence[Tensor],
    factor: Tensor | float = 1.0,
    batch_dims: int = 0,
) -> Iterator[list[Tensor]]:
    """Add `factor` · `directions` to the parameters inside the block, and restore them after it.

    They are restored by copy. Subtracting what was added would not do: it leaves a few percent of the entries
    changed by rounding.

    Args:
        parameters: Moved in place.
        directions: One of the same shape for each.
        factor: A number, or a tensor of the batch's shape.
        batch_dims: How many leading dimensions number the problems.

    Yields:
        The parameters as they were.
    """
    with torch.no_grad():
        before = clones(parameters)
    try:
        with torch.no_grad():
            add_scaled(parameters, directions, factor, batch_dims=batch_dims)
        del directions  # their memory is free while the block evaluates
        yield before
    finally:
        with torch.no_grad():
            torch._foreach_copy_(list(parameters), before)
