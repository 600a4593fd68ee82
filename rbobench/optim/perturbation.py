"""Parameters moved for a while, and put back by copy."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import torch
from torch import Tensor


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
