"""Small problems with a closure, drawn without the global random streams.

They are drawn on the CPU and moved, so that they are the same problems on every device.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from rbobench.objective import Objective
from rbobench.randomness import seeded_default_generators


class Regression:
    """A small network on data that change from step to step; calling it is a standard torch closure.

    Args:
        dtype: Of weights and data.
        device: Where both are.
        copies: Of the network and its data, side by side along a leading dimension: a batch of problems that
            differ in their weights and data. 0 is one network without that dimension.

    Attributes:
        parameters: The weights: matrices, a bias, and one that never gets a gradient.
        calls: How often the closure was called.
        scales: Factor on each problem's loss, of shape `(copies,)`.
    """

    def __init__(
        self,
        dtype: torch.dtype = torch.float32,
        device: torch.device | str = "cpu",
        copies: int = 0,
        only: int = 0,
    ) -> None:
        self._dtype, self._device, self._copies, self._only = dtype, device, copies, only
        self.parameters = [
            nn.Parameter(self._draw(seed, shape)) for seed, shape in enumerate(((4, 8), (1, 8), (8, 2), (3,)))
        ]
        self.calls = 0
        self.scales = torch.ones(max(copies, 1), dtype=dtype, device=device)
        self._step = -1
        self.next_step()

    def next_step(self) -> None:
        """Draw the data of the next step."""
        self._step += 1
        self._inputs = self._draw(100 + 2 * self._step, (16, 4))
        self._targets = self._draw(101 + 2 * self._step, (16, 2))

    def loss(self) -> Tensor:
        """The loss at the present weights: a scalar, or one for each problem."""
        first, bias, second, _ = self.parameters
        hidden = torch.tanh(self._inputs @ first + bias)
        errors = (hidden @ second - self._targets).square().mean(dim=(-2, -1))
        return errors * self.scales if self._copies else errors

    def __call__(self) -> Tensor:
        """Clear the gradients, evaluate, go backward, return the loss."""
        self.calls += 1
        for parameter in self.parameters:
            parameter.grad = None
        with torch.enable_grad():
            loss = self.loss()
            loss.sum().backward()
        return loss

    def _draw(self, seed: int, shape: tuple[int, ...]) -> Tensor:
        problems = range(self._copies) if self._copies else (self._only,)
        draws = [
            torch.randn(
                shape, generator=torch.Generator().manual_seed(1000 * problem + seed), dtype=torch.float64
            )
            for problem in problems
        ]
        drawn = torch.stack(draws) if self._copies else draws[0]
        return (0.5 * drawn).to(self._dtype).to(self._device)


class NormalizedRegression(Objective):
    """A small network with BatchNorm under rbobench's own objective, which counts and can show a part.

    Args:
        device: Where network and data are.

    Attributes:
        module: The network.
        parameters: Its weights.
    """

    def __init__(self, device: torch.device | str = "cpu") -> None:
        with seeded_default_generators(0, torch.device("cpu")):
            self.module = nn.Sequential(nn.Linear(4, 8), nn.BatchNorm1d(8), nn.Tanh(), nn.Linear(8, 2))
        self.module.to(device)
        self.parameters = list(self.module.parameters())
        self._data, self._device = torch.Generator().manual_seed(0), device
        super().__init__(
            self.parameters, self._draw_data, self._mean_squared_error, module=self.module, device=device
        )

    def _draw_data(self) -> tuple[Tensor, Tensor]:
        inputs, targets = (torch.randn(16, size, generator=self._data) for size in (4, 2))
        return inputs.to(self._device), targets.to(self._device)

    def _mean_squared_error(self, batch: tuple[Tensor, Tensor]) -> Tensor:
        inputs, targets = batch
        return nn.functional.mse_loss(self.module(inputs), targets)
