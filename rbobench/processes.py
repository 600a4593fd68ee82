"""Work spread over processes of one thread each."""

from __future__ import annotations

import multiprocessing
import os
from concurrent.futures import ProcessPoolExecutor


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


def _cores() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
