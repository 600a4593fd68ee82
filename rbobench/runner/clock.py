"""A clock that waits for the device and keeps training apart from evaluation and warm-up."""

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
    """

    def __init__(self, device: torch.device) -> None:
        self._device = device
        self._seconds: dict[Phase, float] = {"warm_up": 0.0, "training": 0.0, "evaluation": 0.0}
        self._phase: Phase | None = None
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
        now = time.perf_counter()
        if self._phase is not None:
            self._seconds[self._phase] += now - self._since
        self._phase, self._since = phase, now
