"""Gradients that are remembered from step to step, and where the parameters wait while they are displaced."""

from __future__ import annotations

import math
import operator
from collections.abc import Iterable, Sequence
from typing import Any

import torch
from torch import Tensor

from rbobench.optim.blocks import BLOCK, in_blocks, is_one_piece
from rbobench.optim.tensors import at_hand, clones, global_norm, spread_over

_DOTTED = (torch.float32, torch.float64)
"""Types whose inner products keep their digits."""


class RememberedGradients:
    """One gradient for each of some parameters, all of a type in one piece of memory.

    Their norm is one operation then, which on a small network takes a third of the time. A parameter that is
    displaced along its gradient waits in the gradient's memory. No other is needed, but while they are moved:
    for a piece of the parameters, on an accelerator for all of them.

    Args:
        parameters: Whose gradients.

    Attributes:
        parameters: Those.
        gradients: Theirs, in the same order; of whatever values until some are kept.
    """

    def __init__(self, parameters: Sequence[Tensor]) -> None:
        self.parameters = list(parameters)
        places: dict[tuple[torch.dtype, torch.device], int] = {}
        self._begins = []
        for each in self.parameters:
            kind = (each.dtype, each.device)
            self._begins.append(places.get(kind, 0))
            places[kind] = self._begins[-1] + each.numel()
        memory = {kind: torch.empty(size, dtype=kind[0], device=kind[1]) for kind, size in places.items()}
        self.gradients = [
            _laid_out(memory[each.dtype, each.device], begin, each)
            for each, begin in zip(self.parameters, self._begins, strict=True)
        ]
        self._is_one_piece = is_one_piece(self.parameters)
        # In blocks, for the sum of squares of one large tensor on a CPU loses digits.
        self._normed = [
            part
            for whole in memory.values()
            for part in ([whole] if self._is_one_piece else whole.split(BLOCK))
        ]
        # On a small network a product with itself, which the host has at hand, is the fastest norm.
        dotted = self._is_one_piece and len(memory) == 1 and self._normed[0].is_cpu
        self._dotted = self._normed[0] if dotted and self._normed[0].dtype in _DOTTED else None
        # Where each tensor that is made takes as long as a pass over the parameters.
        self._as_one = [each for each in memory.values() if len(memory) == 1 and not each.is_cpu]

    @classmethod
    def holding(cls, parameters: Sequence[Tensor], gradients: list[Tensor]) -> RememberedGradients:
        """Copies of these gradients of these parameters, of which there is at least one."""
        memory = cls(parameters)
        memory.keep(gradients)
        return memory

    def __getstate__(self) -> dict[str, Any]:
        return {"parameters": self.parameters, "gradients": clones(self.gradients)}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__init__(state["parameters"])  # type: ignore[misc]
        self.keep(state["gradients"])

    def norm(self, batch_dims: int = 0) -> Tensor | float:
        """Of all gradients as one vector; of the batch's shape, or a number where the host has it."""
        if self._dotted is not None and batch_dims == 0:
            return math.sqrt(torch.dot(self._dotted, self._dotted).item())
        return at_hand(global_norm(self._normed if batch_dims == 0 else self.gradients, batch_dims))

    def is_of(self, parameters: Sequence[Tensor]) -> bool:
        """Whether it remembers the gradients of these parameters, in this order."""
        return len(parameters) == len(self.parameters) and all(map(operator.is_, parameters, self.parameters))

    def of_those(self, parameters: Sequence[Tensor]) -> RememberedGradients | None:
        """The same gradients, but only of those parameters, and as they were; `None` if there is none."""
        there = set(map(id, parameters))
        kept = [
            (each, gradient)
            for each, gradient in zip(self.parameters, self.gradients, strict=True)
            if id(each) in there
            and (each.shape, each.dtype, each.device) == (gradient.shape, gradient.dtype, gradient.device)
        ]
        if not kept:
            return None
        return self.holding([each for each, _ in kept], [gradient for _, gradient in kept])

    def keep(self, gradients: list[Tensor]) -> None:
        """Copy new gradients, for a closure may write into memory that it has given as gradients."""
        torch._foreach_copy_(self.gradients, gradients)

    def displace(self, factor: Tensor | float, batch_dims: int = 0) -> None:
        """Move the parameters by `factor` · gradients; these give their memory to where they were.

        An error leaves the parameters as they were.

        Args:
            factor: A number, or a tensor of the batch's shape.
            batch_dims: How many leading dimensions number the problems.
        """
        if self._as_one and batch_dims == 0:
            self._displace_as_one(factor)
            return
        exchanged = []
        try:
            for here, away in self._in_blocks(self.parameters, self.gradients, cut=batch_dims == 0):
                if isinstance(factor, Tensor):
                    moved = torch._foreach_addcmul(here, away, spread_over(here, factor, batch_dims))
                else:
                    moved = torch._foreach_add(here, away, alpha=factor)
                torch._foreach_copy_(away, here)
                exchanged.append((here, away))
                torch._foreach_copy_(here, moved)
                del moved  # its memory is free for the next piece, and while a closure is called
        except BaseException:
            for here, away in exchanged:
                torch._foreach_copy_(here, away)
            raise

    def _displace_as_one(self, factor: Tensor | float) -> None:
        """`displace` by operations on the one piece of memory, with one other for a while."""
        (whole,) = self._as_one
        moved = whole * factor
        self.keep(self.parameters)
        moved += whole
        parts = [_laid_out(moved, *each) for each in zip(self._begins, self.parameters, strict=True)]
        torch._foreach_copy_(self.parameters, parts)

    def restore(self) -> None:
        """Put the parameters back by copy; the gradients are lost."""
        torch._foreach_copy_(self.parameters, self.gradients)

    def restore_and_keep(self, gradients: list[Tensor], directions: list[Tensor], step: float) -> None:
        """Put the parameters back, `step` · `directions` from where they were, and keep new gradients.

        Args:
            gradients: The new ones.
            directions: One for each parameter.
            step: A number.
        """
        for here, away, new, direction in self._in_blocks(
            self.parameters, self.gradients, gradients, directions
        ):
            torch._foreach_add_(away, direction, alpha=step)
            torch._foreach_copy_(here, away)
            torch._foreach_copy_(away, new)

    def _in_blocks(self, *lists: list[Tensor], cut: bool = True) -> Iterable[tuple[list[Tensor], ...]]:
        return (lists,) if self._is_one_piece else in_blocks(*lists, cut=cut)


def _laid_out(memory: Tensor, begin: int, like: Tensor) -> Tensor:
    """A part of flat memory, of a tensor's shape and, where its numbers lie without gaps, in its order."""
    if like.is_contiguous() or (like.ndim == 4 and like.is_contiguous(memory_format=torch.channels_last)):
        return memory.as_strided(like.shape, like.stride(), begin)
    return memory[begin : begin + like.numel()].view(like.shape)
