"""Named random streams: every draw of a trial comes from the seed through a name.

All streams but `optimizer` are independent of the optimizer, so that two optimizers under one seed see the
same split, the same flipped labels, the same initial weights and the same batch order.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import numpy as np
import torch
from torch import Tensor

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
        return derived_seed(self._seed, name, *keys)

    def numpy(self, name: str, *keys: str) -> np.random.Generator:
        """The stream as a NumPy generator."""
        return np.random.default_rng(self.seed(name, *keys))

    def torch(self, name: str, *keys: str, device: torch.device | str = "cpu") -> torch.Generator:
        """The stream as a torch generator on `device`."""
        return torch.Generator(device=device).manual_seed(self.seed(name, *keys))


def derived_seed(*keys: int | str) -> int:
    """A 63-bit seed that is a function of `keys`, the same on every machine."""
    digest = hashlib.sha256("/".join(map(str, keys)).encode()).digest()
    return int.from_bytes(digest[:8], "big") >> 1


def normal_like(tensors: Sequence[Tensor], *keys: int | str) -> list[Tensor]:
    """Standard normal tensors that are a function of `keys`, so that a resumed run draws them again.

    Args:
        tensors: Their shapes, types and devices are taken.
        *keys: Say, the seed and the number of steps taken.
    """
    generators: dict[torch.device, torch.Generator] = {}
    drawn = []
    for tensor in tensors:
        normal = torch.empty_like(tensor)
        if not tensor.is_meta:
            if tensor.device not in generators:
                generators[tensor.device] = torch.Generator(tensor.device).manual_seed(derived_seed(*keys))
            normal.normal_(generator=generators[tensor.device])
        drawn.append(normal)
    return drawn


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
