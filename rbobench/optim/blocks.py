"""Lists of tensors in pieces that a processor's cache holds."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

import torch
from torch import Tensor

BLOCK = 1 << 18
"""Numbers in a piece, at most, unless one tensor that cannot be cut has more."""


def in_blocks(*lists: list[Tensor], cut: bool = True) -> Iterable[tuple[list[Tensor], ...]]:
    """Pieces of aligned lists, the same of each: what several operations do to one stays in the cache.

    On a processor a pass over a large network's parameters takes as long as memory does, so that three
    operations on a piece cost little more than one. Small tensors are taken together, large ones are cut.
    On an accelerator, where a call costs more than it saves, there is one piece.

    Args:
        *lists: Tensors, those at one place of the same shape.
        cut: Whether tensors may be cut: not where an operation is other than elementwise.

    Returns:
        For every piece that of each list, of tensors or of flat views into them.
    """
    return (lists,) if is_one_piece(lists[0]) else _pieces(lists, cut)


def is_one_piece(tensors: Sequence[Tensor]) -> bool:
    """Whether a list is not taken apart: on an accelerator, or because it is small."""
    numbers = 0
    for each in tensors:
        if not each.is_cpu:
            return True
        numbers += each.numel()
    return numbers <= BLOCK


def _pieces(lists: tuple[list[Tensor], ...], cut: bool) -> Iterator[tuple[list[Tensor], ...]]:
    piece: tuple[list[Tensor], ...] = tuple([] for _ in lists)
    size = 0
    for aligned in zip(*lists, strict=True):
        numbers = aligned[0].numel()
        flat = _flat(aligned) if cut and numbers > BLOCK else None
        if flat is not None:
            yield from (tuple([each] for each in part) for part in zip(*flat, strict=True))
            continue
        if size + numbers > BLOCK and size > 0:
            yield piece
            piece, size = tuple([] for _ in lists), 0
        for members, each in zip(piece, aligned, strict=True):
            members.append(each)
        size += numbers
    if size > 0:
        yield piece


def _flat(aligned: Sequence[Tensor]) -> list[tuple[Tensor, ...]] | None:
    """Each tensor's numbers in the order of memory, cut into blocks; `None` where their orders differ."""
    if all(each.is_contiguous() for each in aligned):
        ordered = aligned
    elif all(each.ndim == 4 and each.is_contiguous(memory_format=torch.channels_last) for each in aligned):
        ordered = [each.permute(0, 2, 3, 1) for each in aligned]
    else:
        return None
    return [each.view(-1).split(BLOCK) for each in ordered]
