"""Named random streams: every draw of a trial comes from the seed through a name.

All streams but `optimizer` are independent of the optimizer, so that two optimizers under one seed see the
same split, the same flipped labels, the same initial weights and the same batch order.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import torch

STREAMS = ("split", "corruption", "init", "order", "augment", "optimizer")


class Streams:
    """The random streams of one trial.

    Args:
        seed: The trial's seed; any integer.
    """

    def __init__(self, seed: int) -> None:
        self._seed = int(seed)

    def seed(self, name: str, *keys: str) -> int:
        """A 63-bit seed for the stream `name`, or for a substream of it named by `keys`.

        Substreams are independent of each other: adding a draw to one leaves the others unchanged.

        Raises:
            ValueError: If `name` is not one of `STREAMS`.
        """
        if name not in STREAMS:
            raise ValueError(f"unknown random stream {name!r}; known: {', '.join(STREAMS)}")
        text = "/".join((str(self._seed), name, *keys))
        return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big") >> 1

    def numpy(self, name: str, *keys: str) -> np.random.Generator:
        """The stream as a NumPy generator."""
        return np.random.default_rng(self.seed(name, *keys))

    def torch(self, name: str, *keys: str, device: torch.device | str = "cpu") -> torch.Generator:
        """The stream as a torch generator on `device`."""
        return torch.Generator(device=device).manual_seed(self.seed(name, *keys))


def default_generators(device: torch.device) -> list[torch.Generator]:
    """The default generators that code on `device` may draw from: the CPU's, and the device's own."""
    generators = [torch.default_generator]
    if device.type == "cuda":
        torch.cuda.init()
        index = device.index if device.index is not None else torch.cuda.current_device()
        generators.append(torch.cuda.default_generators[index])
    elif device.type == "mps":
        generators.append(torch.mps._get_default_mps_generator())
    return generators


@contextmanager
def seeded_default_generators(seed: int, device: torch.device) -> Iterator[None]:
    """Seed torch's default generators inside the block, and put their states back after it.

    Layers draw their initial weights from the default generator and take no other; this keeps the draw
    reproducible without touching the caller's random state.
    """
    generators = default_generators(device)
    saved = [generator.get_state() for generator in generators]
    try:
        for generator in generators:
            generator.manual_seed(seed)
        yield
    finally:
        for generator, state in zip(generators, saved, strict=True):
            generator.set_state(state)
