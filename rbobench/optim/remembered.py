"""Gradients that are remembered from step to step, and where the parameters wait while they are displaced."""

from __future__ import annotations

import operator
from collections.abc import Sequence

import torch
from torch import Tensor

from rbobench.optim.blocks import in_blocks, is_one_piece
from rbobench.optim.tensors import global_norm, spread_over


class RememberedGradients:
    """One gradient for each of some parameters, all of a type in one piece of memory.

    Their norm is one operation then, which on a small network takes a third of the time. A parameter that is
    displaced along its gradient waits in the gradient's memory: no other is needed, but for a piece of the
    parameters while they are moved.

    Args:
        parameters: Whose gradients.

    Attributes:
        parameters: Those.
        gradients: Theirs, in the same order; of whatever values until some are kept.
    """

    def __init__(self, parameters: Sequence[Tensor]) -> None:
        self.parameters = list(parameters)
        self._is_one_piece = is_one_piece(self.parameters)
        places: dict[tuple[torch.dtype, torch.device], int] = {}
        begins = []
        for each in self.parameters:
            kind = (each.dtype, each.device)
            begins.append(places.get(kind, 0))
            places[kind] = begins[-1] + each.numel()
        memory = {kind: torch.empty(size, dtype=kind[0], device=kind[1]) for kind, size in places.items()}
        self._begins, self._whole = begins, list(memory.values())
        self.gradients = [
            _laid_out(memory[each.dtype, each.device], begin, each)
            for each, begin in zip(self.parameters, begins, strict=True)
        ]
        # Where each tensor that is made takes as long as a pass over the parameters.
        self._moves_as_one = len(self._whole) == 1 and not self._whole[0].is_cpu

    def norm(self, batch_dims: int = 0) -> Tensor:
        """Of all gradients as one vector, of the batch's shape."""
        if batch_dims == 0 and len(self._whole) == 1:
            return torch.linalg.vector_norm(self._whole[0])
        return global_norm(self._whole if batch_dims == 0 else self.gradients, batch_dims)

    def is_of(self, parameters: Sequence[Tensor]) -> bool:
        """Whether it remembers the gradients of these parameters, in this order."""
        return len(parameters) == len(self.parameters) and all(map(operator.is_, parameters, self.parameters))

    def keep(self, gradients: list[Tensor]) -> None:
        """Copy new gradients, for a closure may write into memory that it has given as gradients."""
        torch._foreach_copy_(self.gradients, gradients)

    def displace(self, factor: Tensor | float, batch_dims: int = 0) -> None:
        """Move the parameters by `factor` · gradients; these give their memory to where they were.

        Args:
            factor: A number, or a tensor of the batch's shape.
            batch_dims: How many leading dimensions number the problems.
        """
        if self._moves_as_one and batch_dims == 0:
            self._displace_as_one(factor)
            return
        if self._is_one_piece:
            _exchange(self.parameters, self.gradients, factor, batch_dims)
            return
        cut = not isinstance(factor, Tensor) or factor.ndim == 0
        for here, away in in_blocks(self.parameters, self.gradients, cut=cut):
            _exchange(here, away, factor, batch_dims)

    def _displace_as_one(self, factor: Tensor | float) -> None:
        """`displace` by operations on the one piece of memory, with one other for a while."""
        (whole,) = self._whole
        moved = whole * factor
        self.keep(self.parameters)
        moved += whole
        parts = [_laid_out(moved, *each) for each in zip(self._begins, self.parameters, strict=True)]
        torch._foreach_copy_(self.parameters, parts)

    def restore(self) -> None:
        """Put the parameters back by copy; the gradients are lost."""
        torch._foreach_copy_(self.parameters, self.gradients)

    def restore_and_keep(
        self, gradients: list[Tensor], directions: list[Tensor] | None = None, step: float = 0.0
    ) -> None:
        """Put the parameters back by copy, and keep new gradients.

        Args:
            gradients: The new ones.
            directions: Take the parameters a step along these, too, from where they were.
            step: What the directions are multiplied by.
        """
        lists = [self.parameters, self.gradients, gradients]
        if directions is not None:
            lists.append(directions)
        if self._is_one_piece:
            _replace(*lists, step=step)
            return
        for piece in in_blocks(*lists):
            _replace(*piece, step=step)


def _exchange(here: list[Tensor], away: list[Tensor], factor: Tensor | float, batch_dims: int) -> None:
    """Move tensors by `factor` times others, which then hold what they were."""
    if isinstance(factor, Tensor):
        moved = torch._foreach_addcmul(here, away, spread_over(here, factor, batch_dims))
    else:
        moved = torch._foreach_add(here, away, alpha=factor)
    torch._foreach_copy_(away, here)
    torch._foreach_copy_(here, moved)


def _replace(
    here: list[Tensor],
    away: list[Tensor],
    new: list[Tensor],
    directions: list[Tensor] | None = None,
    *,
    step: float,
) -> None:
    """Put tensors where others are, a step along directions, and the new ones in these others' place."""
    if directions is not None:
        torch._foreach_add_(away, directions, alpha=step)
    torch._foreach_copy_(here, away)
    torch._foreach_copy_(away, new)


def _laid_out(memory: Tensor, begin: int, like: Tensor) -> Tensor:
    """A part of flat memory, of a tensor's shape and, where its numbers lie without gaps, in its order."""
    if like.is_contiguous() or like.is_contiguous(memory_format=torch.channels_last):
        return memory.as_strided(like.shape, like.stride(), begin)
    return memory[begin : begin + like.numel()].view(like.shape)
