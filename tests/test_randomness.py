"""Named random streams."""

from __future__ import annotations

import pytest
import torch

from rbobench.randomness import STREAMS, Streams, seeded_default_generators


def test_streams_are_reproducible_and_apart() -> None:
    draws = [Streams(3).numpy(name).random() for name in STREAMS]
    assert draws == [Streams(3).numpy(name).random() for name in STREAMS]
    assert len(set(draws)) == len(STREAMS)
    assert Streams(3).seed("split") != Streams(4).seed("split")
    assert Streams(3).seed("corruption", "label noise") != Streams(3).seed("corruption")


def test_stream_seeds_never_change() -> None:
    """Records of old versions stay comparable: a changed derivation is a new protocol version."""
    assert Streams(0).seed("init") == 1519069808562059438


def test_an_unknown_stream_is_named() -> None:
    with pytest.raises(ValueError, match=r"unknown random stream 'shuffle'; known: split, corruption"):
        Streams(0).seed("shuffle")


def test_default_generators_are_seeded_inside_alone() -> None:
    before = torch.get_rng_state()
    with seeded_default_generators(5, torch.device("cpu")):
        first = torch.rand(3)
    assert torch.equal(torch.get_rng_state(), before)
    with seeded_default_generators(5, torch.device("cpu")):
        assert torch.equal(torch.rand(3), first)
