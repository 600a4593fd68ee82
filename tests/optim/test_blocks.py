"""Lists in pieces: everything once, in order, aligned, and never more than a block."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from rbobench.optim import blocks
from rbobench.optim.blocks import in_blocks

SHAPE = st.lists(st.integers(1, 9), min_size=0, max_size=4).map(tuple)


@pytest.fixture(autouse=True)
def small_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(blocks, "BLOCK", 20)


def numbered(shapes: list[tuple[int, ...]]) -> list[Tensor]:
    return [torch.arange(torch.Size(shape).numel()).reshape(shape).double() for shape in shapes]


@given(shapes=st.lists(SHAPE, min_size=1, max_size=6), last=st.booleans(), cut=st.booleans())
def test_what_is_done_to_the_pieces_is_done_to_the_tensors(shapes, last: bool, cut: bool) -> None:
    targets, sources = numbered(shapes), numbered(shapes)
    if last:
        formats = [torch.channels_last if each.ndim == 4 else torch.contiguous_format for each in targets]
        targets = [each.contiguous(memory_format=kind) for each, kind in zip(targets, formats, strict=True)]
    expected = [target + 10 * source for target, source in zip(targets, sources, strict=True)]
    for here, there in in_blocks(targets, sources, cut=cut):
        assert [each.shape for each in here] == [each.shape for each in there]
        torch._foreach_add_(here, there, alpha=10)
    assert all(map(torch.equal, targets, expected))


@pytest.mark.parametrize("memory_format", [torch.contiguous_format, torch.channels_last])
def test_large_tensors_are_cut_and_small_ones_put_together(memory_format: torch.memory_format) -> None:
    large = torch.zeros(3, 2, 3, 3).contiguous(memory_format=memory_format)
    tensors = [torch.zeros(7), torch.zeros(8), torch.zeros(9), large, torch.zeros(2)]
    pieces = [[each.numel() for each in piece] for (piece,) in in_blocks(tensors)]
    assert sorted(sum(piece) for piece in pieces) == [11, 14, 15, 20, 20]
    assert [7, 8] in pieces
    whole = [[each.numel() for each in piece] for (piece,) in in_blocks(tensors, cut=False)]
    assert [54] in whole


def test_tensors_that_lie_in_different_orders_are_not_cut() -> None:
    plain, turned = (
        torch.zeros(3, 2, 3, 3),
        torch.zeros(3, 2, 3, 3).contiguous(memory_format=torch.channels_last),
    )
    assert [len(piece) for piece, _ in in_blocks([plain], [turned])] == [1]
    assert next(iter(in_blocks([plain], [turned])))[0][0] is plain


def test_what_fits_into_a_block_stays_as_it_is() -> None:
    tensors = [torch.zeros(7), torch.zeros(13)]
    ((piece,),) = in_blocks(tensors)
    assert piece is tensors


def test_an_accelerator_gets_one_piece() -> None:
    tensors = [torch.zeros(100, device="meta"), torch.zeros(7, device="meta")]
    ((piece,),) = in_blocks(tensors)
    assert piece is tensors
