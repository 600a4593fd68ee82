"""A program's time in units of a reference's, measured in turns on one thread."""

from __future__ import annotations

import importlib.util
import statistics
import time
from collections.abc import Callable, Sequence
from functools import lru_cache
from pathlib import Path
from types import ModuleType
from typing import Any

# Beside this file, not in the commit that is measured: older ones have none, and all are to be timed alike.
TIMING = Path(__file__).resolve().parents[2] / "rbobench" / "timing.py"


def one_thread() -> None:
    """Hold torch to one thread."""
    import torch

    torch.set_num_threads(1)


@lru_cache
def timing() -> ModuleType:
    """`rbobench/timing.py` of the checkout that holds this file."""
    spec = importlib.util.spec_from_file_location("speed_timing", TIMING)
    if spec is None or spec.loader is None:
        raise FileNotFoundError(TIMING)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


class Ratios(dict[str, Any]):
    """Ratios in the form in which asv takes samples: of them it keeps the median and a 99 % interval.

    As a number it is the median.

    Args:
        samples: One for each round.
    """

    def __init__(self, samples: Sequence[float]) -> None:
        super().__init__(samples=list(samples), number=1)

    def __float__(self) -> float:
        return float(statistics.median(self["samples"]))

    def __reduce__(self) -> tuple[type[Ratios], tuple[list[float]]]:
        return Ratios, (self["samples"],)


def ratio(
    program: Callable[[], object],
    reference: Callable[[], object],
    *,
    rounds: int,
    calls: int = 1,
    warm_up: int = 1,
    clock: Callable[[], float] = time.perf_counter,
    scale: float = 1.0,
) -> Ratios:
    """The time of `program` in units of `reference`'s.

    Args:
        program: What is measured.
        reference: The unit.
        rounds: How often both are timed.
        calls: How often each is called for one timing.
        warm_up: Rounds before, which do not count.
        clock: Gives seconds.
        scale: Factor on the ratios.
    """
    one_thread()
    programs = {"program": _repeated(program, calls), "reference": _repeated(reference, calls)}
    seconds = timing().interleaved(programs, rounds=rounds, warm_up=warm_up, clock=clock)
    pairs = zip(seconds["program"], seconds["reference"], strict=True)
    return Ratios([scale * mine / other for mine, other in pairs])


def _repeated(program: Callable[[], object], calls: int) -> Callable[[], object]:
    def repeat() -> None:
        for _ in range(calls):
            program()

    return repeat
