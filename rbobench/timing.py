"""Programs timed in turns, so that a noisy machine slows all of them alike. Only ratios mean something.

Imports nothing of rbobench: the speed suite measures older versions of it with this file.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Mapping, Sequence

import torch

Program = Callable[[], object]


def interleaved(
    programs: Mapping[str, Program],
    *,
    rounds: int,
    warm_up: int = 1,
    device: torch.device | str = "cpu",
    clock: Callable[[], float] = time.perf_counter,
) -> dict[str, list[float]]:
    """Run every program once a round, every other round in reverse order.

    Args:
        programs: Name to what is timed.
        rounds: How often each is timed, at least 1.
        warm_up: Rounds before, which are not timed.
        device: What to wait for before a time is taken.
        clock: Gives seconds. `time.process_time` leaves out what a busy machine takes for others.

    Returns:
        Name to seconds, one for each round, the same round at the same place.

    Raises:
        ValueError: If there is no round.
    """
    if rounds < 1:
        raise ValueError(f"rounds must be at least 1, not {rounds}")
    seconds: dict[str, list[float]] = {name: [] for name in programs}
    names = list(programs)
    for index in range(warm_up + rounds):
        for name in names if index % 2 == 0 else reversed(names):
            elapsed = _timed(programs[name], device, clock)
            if index >= warm_up:
                seconds[name].append(elapsed)
    return seconds


def median_ratio(numerator: Sequence[float], denominator: Sequence[float]) -> float:
    """The median over rounds of one program's time in units of another's."""
    return statistics.median(a / b for a, b in zip(numerator, denominator, strict=True))


def _timed(program: Program, device: torch.device | str, clock: Callable[[], float]) -> float:
    _wait(device)
    begin = clock()
    program()
    _wait(device)
    return clock() - begin


def _wait(device: torch.device | str) -> None:
    if torch.device(device).type not in ("cpu", "meta"):
        torch.accelerator.synchronize(device)
