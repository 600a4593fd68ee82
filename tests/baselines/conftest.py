"""A problem whose gradient NumPy can write down."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor, nn


class Quartic:
    """f_t(w) = ½⟨w, A_t w⟩ + ¼Σw⁴ + ⟨b_t, w⟩ over two parameters, with new A_t and b_t at every step.

    Attributes:
        parameters: Of shapes (3,) and (2, 2).
        seen: The weights at every call, flat.
        part: The same problem on other data: a closure for part of the batch.
    """

    def __init__(self) -> None:
        draws = np.random.default_rng(0)
        self._curvatures = draws.normal(size=(20, 7, 7))
        self._slopes = draws.normal(size=(20, 7))
        self.start = draws.normal(size=7)
        flat = torch.from_numpy(self.start.copy())
        self.parameters = [nn.Parameter(flat[:3].clone()), nn.Parameter(flat[3:].clone().reshape(2, 2))]
        self.seen: list[np.ndarray] = []
        self.step = 0

    def gradient(self, w: np.ndarray, step: int, *, part: bool = False) -> np.ndarray:
        curvature, slope = self._data(step, part)
        return (curvature + curvature.T) / 2 @ w + w**3 + slope

    def value(self, w: np.ndarray, step: int, *, part: bool = False) -> float:
        curvature, slope = self._data(step, part)
        return float(w @ curvature @ w / 2 + (w**4).sum() / 4 + slope @ w)

    def weights(self) -> np.ndarray:
        return torch.cat([each.detach().flatten() for each in self.parameters]).numpy()

    def __call__(self) -> Tensor:
        return self._evaluate(part=False)

    def part(self) -> Tensor:
        return self._evaluate(part=True)

    def run(self, optimizer: torch.optim.Optimizer, steps: int) -> np.ndarray:
        for self.step in range(steps):
            optimizer.step(self)
        return self.weights()

    def _data(self, step: int, part: bool) -> tuple[np.ndarray, np.ndarray]:
        return self._curvatures[step + 10 * part] / 5, self._slopes[step + 10 * part]

    def _evaluate(self, *, part: bool) -> Tensor:
        curvature, slope = map(torch.from_numpy, self._data(self.step, part))
        self.seen.append(self.weights())
        for parameter in self.parameters:
            parameter.grad = None
        with torch.enable_grad():
            flat = torch.cat([each.flatten() for each in self.parameters])
            loss = flat @ curvature @ flat / 2 + flat.pow(4).sum() / 4 + slope @ flat
            loss.backward()
        return loss


@pytest.fixture
def quartic() -> Quartic:
    return Quartic()
