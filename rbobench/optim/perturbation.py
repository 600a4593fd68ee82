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
        buffers: The direction, one of the same shape for each, in memory that nobody else writes to;
            overwritten.
        factor: Of the batch's shape.
        batch_dims: How many leading dimensions number the problems.
    """
    exchanged: list[tuple[Tensor, Tensor]] = []
    try:
        with torch.no_grad():
            # On a CPU one at a time: a temporary of all of them would be paged in anew at every step.
            for part in _parts(parameters, buffers):
                here, away = [each for each, _ in part], [each for _, each in part]
                if batch_dims == 0:
                    moved = torch._foreach_mul(away, factor)
                else:
                    moved = torch._foreach_mul(away, [spread(factor, each, batch_dims) for each in away])
                torch._foreach_add_(moved, here)
                torch._foreach_copy_(away, here)
                exchanged += part
                torch._foreach_copy_(here, moved)
                del moved  # its memory is free for the next, and while the block evaluates
        yield
    finally:
        with torch.no_grad():
            torch._foreach_copy_([each for each, _ in exchanged], [each for _, each in exchanged])


def _parts(parameters: Sequence[Tensor], buffers: Sequence[Tensor]) -> Iterator[list[tuple[Tensor, Tensor]]]:
    """Pairs of a parameter and its buffer: each by itself on a CPU, all at once elsewhere."""
    pairs = list(zip(parameters, buffers, strict=True))
    if any(each.device.type != "cpu" for each in parameters):
        yield pairs
    else:
        yield from ([pair] for pair in pairs)
