"""Parameters moved for a while, and put back by copy."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import torch
from torch import Tensor

from rbobench.optim.tensors import spread


@contextmanager
def perturbed(parameters: Sequence[Tensor], offsets: Sequence[Tensor]) -> Iterator[None]:
    """Add `offsets` to the parameters inside the block, and restore them by copy after it.

    Subtracting what was added would not: it leaves a few percent of the entries changed by rounding.

    Args:
        parameters: Moved in place.
        offsets: One of the same shape for each.
    """
    with torch.no_grad():
        before = torch._foreach_clone(list(parameters))
    try:
        with torch.no_grad():
            torch._foreach_add_(list(parameters), list(offsets))
        del offsets  # their memory is free while the block evaluates
        yield
    finally:
        with torch.no_grad():
            torch._foreach_copy_(list(parameters), before)


@contextmanager
def displaced(
    parameters: Sequence[Tensor], buffers: Sequence[Tensor], factor: Tensor, batch_dims: int = 0
) -> Iterator[None]:
    """Add `factor` · `buffers` to the parameters inside the block, and restore them by copy after it.

    It needs no memory of its own: from then on the buffers hold the parameters as they were. A product, then
    a sum, it rounds as `perturbed` by the product does.

    Args:
        parameters: Moved in place; what the block does to them is undone too.
        buffers: The direction, one of the same shape for each; overwritten.
        factor: Of the batch's shape.
        batch_dims: How many leading dimensions number the problems.
    """
    parameters, buffers = list(parameters), list(buffers)
    with torch.no_grad():
        if parameters[0].device.type == "cpu":
            # One at a time: a temporary of all of them would be paged in anew at every step.
            for parameter, buffer in zip(parameters, buffers, strict=True):
                moved = (buffer * spread(factor, buffer, batch_dims)).add_(parameter)
                buffer.copy_(parameter)
                parameter.copy_(moved)
                del moved  # its memory is free for the next, and while the block evaluates
        else:
            factors = [spread(factor, each, batch_dims) for each in buffers]
            all_moved = torch._foreach_mul(buffers, factors)
            torch._foreach_add_(all_moved, parameters)
            torch._foreach_copy_(buffers, parameters)
            torch._foreach_copy_(parameters, all_moved)
            del all_moved
    try:
        yield
    finally:
        with torch.no_grad():
            torch._foreach_copy_(parameters, buffers)
