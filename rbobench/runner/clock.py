"""A clock that waits for the device and keeps training apart from evaluation and warm-up; memory alike."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Literal

import torch

Phase = Literal["warm_up", "training", "evaluation"]


class Clock:
    """Seconds by phase. At every change of phase it waits until the device has done what it was given.

    Args:
        device: What to wait for.

    Attributes:
        peak_memory: Bytes allocated at most while training, on CUDA; `None` elsewhere, where no allocator can
            tell it for one trial of many.
    """

    def __init__(self, device: torch.device) -> None:
        self._device = device
        self._seconds: dict[Phase, float] = {"warm_up": 0.0, "training": 0.0, "evaluation": 0.0}
        self._phase: Phase | None = None
        self.peak_memory: int | None = 0 if device.type == "cuda" else None
        self._since = 0.0

    @contextmanager
    def phase(self, phase: Phase) -> Iterator[None]:
        """Count the block as `phase`; the phase around it stands still meanwhile."""
        outer = self._phase
        self._switch(phase)
        try:
            yield
        finally:
            self._switch(outer)

    def elapsed(self, phase: Phase) -> float:
        """Seconds of a phase so far, the device's work included."""
        if self._phase == phase:
            self._switch(phase)
        return self._seconds[phase]

    def _switch(self, phase: Phase | None) -> None:
        if self._device.type != "cpu":
            torch.accelerator.synchronize(self._device)
        if self.peak_memory is not None:
            if self._phase == "training":
                peak = torch.cuda.max_memory_allocated(self._device)
                self.peak_memory = max(self.peak_memory, peak)
            torch.cuda.reset_peak_memory_stats(self._device)
        now = time.perf_counter()
        if self._phase is not None:
            self._seconds[self._phase] += now - self._since
        self._phase, self._since = phase, now
