"""Work spread over processes of one thread each, how many threads torch may use, and how precisely."""

from __future__ import annotations

import multiprocessing
import os
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from typing import Any


def process_pool(jobs: int | None = None) -> ProcessPoolExecutor:
    """Processes of one thread each, spawned, for threads do not survive a fork.

    Args:
        jobs: How many; by default one for each core that this process may use.
    """
    context = multiprocessing.get_context("spawn")
    return ProcessPoolExecutor(jobs or _cores(), context, initializer=one_thread)


def one_thread() -> None:
    """Hold torch to one thread in this process."""
    import torch

    torch.set_num_threads(1)


@contextmanager
def threads(count: int) -> Iterator[None]:
    """Let torch use so many threads inside the block."""
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)


@contextmanager
def full_precision() -> Iterator[None]:
    """Let single precision be it on CUDA, where convolutions would be TensorFloat-32 by default."""
    import torch

    backends: tuple[Any, ...] = (torch.backends.cuda.matmul, torch.backends.cudnn)
    before = [backend.allow_tf32 for backend in backends]
    try:
        for backend in backends:
            backend.allow_tf32 = False
        yield
    finally:
        for backend, allowed in zip(backends, before, strict=True):
            backend.allow_tf32 = allowed


def _cores() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
