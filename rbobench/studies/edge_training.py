"""Full-batch trainings to the edge of stability, many at once, and the curvature that they settle at.

`rbobench.studies.edge` says what is measured and why.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
import torch
from torch import Tensor, nn

from rbobench.geometry import stability
from rbobench.optim.center import CenterRBO, contact_length
from rbobench.optim.tensors import global_norm
from rbobench.randomness import seeded_default_generators

if TYPE_CHECKING:
    pass

RADII = (0.02, 0.05, 0.1, 0.2)
SEEDS = (0, 1, 2)
TOLERANCE = 0.03
"""How far λ_max may be from the predicted edge, relatively."""

WINDOW = 20
"""Steps that one measurement averages over."""

OSCILLATION = 0.1
"""Least root-mean-square deviation of a window's gradients from their mean, in units of their norm."""

DRIFT = 0.02
"""Largest relative change of λ_max from the first half of the measurements to the second."""

_LANCZOS = 30
"""Hessian-vector products of one measurement."""

CROWD = 0.95
"""Eigenvalues above this share of λ_max count as being with it."""


@dataclass(frozen=True)
class Method:
    """One way to find the contact.

    Attributes:
        name: In tables and figures.
        contact: Of `CenterRBO`.
        contact_steps: Of `CenterRBO`.
        edge: The predicted λ_max from η and r.
        loss_scale: λ.
        radius_scale: Its radii in units of `RADII`; 0 has one run in place of one for each radius.
    """

    name: str
    contact: str
    contact_steps: int
    edge: Callable[[float, float], float]
    loss_scale: float = 1.0
    radius_scale: float = 1.0

    @property
    def gradients(self) -> int:
        """Evaluations a step."""
        return 1 + self.contact_steps if self.contact == "search" else 1


def without_ball(lr: float, r: float) -> float:
    """Gradient descent's edge, whatever r is."""
    return stability.gradient_descent(lr)


METHODS = {
    method.name: method
    for method in (
        Method("exact ball", "search", 12, stability.exact_ball),
        Method("search", "search", 1, stability.search),
        Method("previous", "previous", 1, stability.previous),
        Method("mirrored", "mirrored", 1, stability.mirrored),
        Method("lagged", "lagged", 1, stability.lagged),
        Method("SAM", "search", 1, stability.search, loss_scale=math.inf, radius_scale=0.1),
        Method("gradient descent", "search", 0, without_ball, radius_scale=0.0),
    )
}


@dataclass(frozen=True)
class Setting:
    """What is trained, and how long.

    Attributes:
        network: Builds the model.
        lrs: Learning rates.
        steps: Of training, by method; the last `measurements` · `every` are measured.
        samples: Of the digits, the first ones.
        radii: The ball's.
        seeds: Of the initial weights.
        measurements: How many there are of λ_max.
        every: Steps from one to the next, at least `WINDOW`.
    """

    network: Callable[[], nn.Module]
    lrs: tuple[float, ...]
    steps: dict[str, int]
    samples: int
    radii: tuple[float, ...] = RADII
    seeds: tuple[int, ...] = SEEDS
    measurements: int = 20
    every: int = 40


def tanh_mlp() -> nn.Module:
    """Two hidden layers of 32."""
    return nn.Sequential(
        nn.Flatten(), nn.Linear(64, 32), nn.Tanh(), nn.Linear(32, 32), nn.Tanh(), nn.Linear(32, 10)
    )


def tanh_convolutional_net() -> nn.Module:
    """Two convolutions, of 4 and 8 channels, each with average pooling, and a linear layer."""
    return nn.Sequential(
        nn.Conv2d(1, 4, 3, padding=1),
        nn.Tanh(),
        nn.AvgPool2d(2),
        nn.Conv2d(4, 8, 3, padding=1),
        nn.Tanh(),
        nn.AvgPool2d(2),
        nn.Flatten(),
        nn.Linear(32, 10),
    )


def _steps(by_gradients: dict[int, int]) -> dict[str, int]:
    """Steps of training for each method, by the gradient evaluations of one step."""
    return {method.name: by_gradients[method.gradients] for method in METHODS.values()}


SETTINGS = {
    "MLP": Setting(tanh_mlp, (0.15, 0.3), _steps({1: 10_000, 2: 8_000, 13: 2_500}), samples=200),
    "convolutional net": Setting(
        tanh_convolutional_net, (0.3,), _steps({1: 6_000, 2: 4_000, 13: 1_500}), samples=100
    ),
}


class DigitsBatch:
    """Networks that learn digits side by side, half the squared error to the one-hot label: a torch closure.

    Args:
        network: Builds one.
        seeds: Of the initial weights, one for each problem.
        samples: How many digits.
        dtype: Of weights and data.

    Attributes:
        parameters: Each of shape `(problems, ...)`.
        norms: ‖g‖ of every evaluation since it was last emptied, each of shape `(problems,)`.
    """

    def __init__(
        self,
        network: Callable[[], nn.Module],
        seeds: Sequence[int],
        samples: int,
        dtype: torch.dtype = torch.float32,
    ) -> None:
        from sklearn.datasets import load_digits

        images, labels = load_digits(return_X_y=True)
        self._images = torch.as_tensor(images[:samples] / 16.0, dtype=dtype).reshape(-1, 1, 8, 8)
        self._targets = nn.functional.one_hot(torch.as_tensor(labels[:samples]), 10).to(dtype)
        networks = []
        for seed in seeds:
            with seeded_default_generators(seed, torch.device("cpu")):
                networks.append(network().to(dtype))
        self._network = networks[0]
        stacked, _ = torch.func.stack_module_state(networks)
        self._names = list(stacked)
        self.parameters = [nn.Parameter(each.detach().clone()) for each in stacked.values()]
        self.norms: list[Tensor] = []

    def losses(self, parameters: Sequence[Tensor]) -> Tensor:
        """The loss of each problem, of shape `(problems,)`."""

        def loss(weights: dict[str, Tensor]) -> Tensor:
            outputs = torch.func.functional_call(self._network, weights, (self._images,))
            return 0.5 * (outputs - self._targets).square().sum(dim=-1).mean()

        return torch.vmap(loss)(dict(zip(self._names, parameters, strict=True)))

    def __call__(self) -> Tensor:
        """Clear the gradients, evaluate, go backward, note the norm, return the losses."""
        for parameter in self.parameters:
            parameter.grad = None
        losses = self.losses(self.parameters)
        losses.sum().backward()
        self.norms.append(global_norm(self.gradients(), 1))
        return losses

    def gradients(self) -> list[Tensor]:
        """Those of the last evaluation."""
        return [parameter.grad for parameter in self.parameters if parameter.grad is not None]


@dataclass(frozen=True)
class Curvature:
    """Of a batch of problems at a point.

    Attributes:
        largest: λ_max, of shape `(problems,)`.
        crowd: How many eigenvalues are above `CROWD` · λ_max.
        along: The Rayleigh quotient along the direction given.
    """

    largest: Tensor
    crowd: Tensor
    along: Tensor


def curvature(
    losses: Callable[[Sequence[Tensor]], Tensor],
    point: Sequence[Tensor],
    direction: Tensor,
    steps: int = _LANCZOS,
) -> Curvature:
    """Largest Hessian eigenvalues by the Lanczos method with full reorthogonalization.

    Args:
        losses: Of a batch of problems, of shape `(problems,)`, from tensors like `point`.
        point: Tensors of shape `(problems, ...)`.
        direction: Of shape `(problems, d)`, d parameters of a problem.
        steps: Hessian-vector products, at most d.
    """
    at = [each.detach().clone().requires_grad_() for each in point]
    gradients = torch.autograd.grad(losses(at).sum(), at, create_graph=True)
    sizes = [each[0].numel() for each in at]

    def product(vector: Tensor) -> Tensor:
        parts = [part.reshape(each.shape) for part, each in zip(vector.split(sizes, dim=1), at, strict=True)]
        return _flat(torch.autograd.grad(gradients, at, parts, retain_graph=True))

    drawn = torch.randn(direction.shape, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    vector = drawn.to(direction) / torch.linalg.vector_norm(drawn, dim=1, keepdim=True).to(direction)
    basis, diagonal, off_diagonal = [vector], [], []
    for _ in range(min(steps, direction.shape[1])):
        image = product(basis[-1])
        diagonal.append((image * basis[-1]).sum(dim=1))
        known = torch.stack(basis, dim=1)
        for _ in range(2):  # once is not enough in floating point
            image = image - (known * (known @ image[:, :, None])).sum(dim=1)
        length = torch.linalg.vector_norm(image, dim=1)
        off_diagonal.append(length)
        basis.append(image / length.clamp(min=torch.finfo(length.dtype).tiny)[:, None])
    beside = torch.diag_embed(torch.stack(off_diagonal, dim=1)[:, :-1], offset=1)
    tridiagonal = torch.diag_embed(torch.stack(diagonal, dim=1)) + beside + beside.mT
    values = torch.linalg.eigvalsh(tridiagonal.double().nan_to_num())  # a diverged problem has none
    largest = values[:, -1]
    along = (direction * product(direction)).sum(dim=1) / direction.square().sum(dim=1)
    return Curvature(largest, (values >= CROWD * largest[:, None]).sum(dim=1), along.double())


def _flat(tensors: Sequence[Tensor]) -> Tensor:
    return torch.cat([each.detach().flatten(1) for each in tensors], dim=1)


def train(model: str, method: Method, setting: Setting) -> pd.DataFrame:
    """Train every learning rate, radius and seed of one method as a batch of problems, and measure the end.

    Args:
        model: Its name, for the table.
        method: How the contact is found.
        setting: What is trained, and how long.

    Returns:
        One row for each run: `model`, `method`, `lr`, `radius`, `seed`, `measured` (λ_max, the mean over the
        measurements), `spread` (their standard deviation), `predicted`, `ratio` (measured / predicted), `r`,
        `gradient_norm`, `loss`, `oscillation`, `drift`, `crowd`, `ratio_along` (Rayleigh quotient along the
        oscillation / predicted), `at_edge`.
    """
    scales = setting.radii if method.radius_scale else (0.0,)
    cells = [
        (lr, method.radius_scale * radius, seed)
        for lr in setting.lrs for radius in scales for seed in setting.seeds
    ]  # fmt: skip
    lrs, radii = (torch.tensor([cell[i] for cell in cells]) for i in (0, 1))
    problems = DigitsBatch(setting.network, [seed for _, _, seed in cells], setting.samples)
    ball = CenterRBO(
        problems.parameters,
        lrs,
        radii,
        method.contact,
        contact_steps=method.contact_steps,
        loss_scale=method.loss_scale,
        batch_dims=1,
    )
    # An inexact search takes its contact from the gradient before the last one.
    source = -2 if method.contact == "search" and method.contact_steps == 1 else -1
    steps = setting.steps[method.name]
    begin = steps - setting.measurements * setting.every
    found: list[dict[str, Tensor]] = []
    window: list[tuple[Tensor, Tensor, Tensor, Tensor]] = []
    for step in range(steps):
        measured = step >= begin and (step - begin) % setting.every >= setting.every - WINDOW
        center = _flat(problems.parameters) if measured else None
        problems.norms.clear()
        losses = ball.step(problems)
        if center is None:
            continue
        window.append((center, _flat(problems.gradients()), problems.norms[source], losses))
        if len(window) == WINDOW:
            found.append(_measure(problems, window, radii, method.loss_scale))
            window.clear()
    columns = {name: torch.stack([each[name].double() for each in found]).numpy() for name in found[0]}
    return pd.DataFrame(
        [
            row(model, method, cell, {name: values[:, i] for name, values in columns.items()})
            for i, cell in enumerate(cells)
        ]
    )


def _measure(
    problems: DigitsBatch,
    window: Sequence[tuple[Tensor, Tensor, Tensor, Tensor]],
    radii: Tensor,
    loss_scale: float,
) -> dict[str, Tensor]:
    """What a window of (center, gradient, ‖g‖ that the contact is taken from, loss) shows."""
    centers, gradients, norms, losses = (torch.stack([each[i] for each in window]) for i in range(4))
    sizes = [each[0].numel() for each in problems.parameters]
    middle = [
        part.reshape(each.shape)
        for part, each in zip(centers.mean(dim=0).split(sizes, dim=1), problems.parameters, strict=True)
    ]
    found = curvature(problems.losses, middle, gradients[-1] - gradients[-2])
    deviation = (gradients - gradients.mean(dim=0)).square().sum(dim=-1).mean(dim=0)
    lengths = torch.stack([torch.as_tensor(contact_length(each, radii, loss_scale)) for each in norms])
    return {
        "largest": found.largest,
        "crowd": found.crowd,
        "along": found.along,
        "oscillation": (deviation / gradients.square().sum(dim=-1).mean(dim=0)).sqrt(),
        "r": lengths.mean(dim=0),
        "gradient_norm": norms.mean(dim=0),
        "loss": losses.mean(dim=0),
    }


def row(
    model: str, method: Method, cell: tuple[float, float, int], found: dict[str, np.ndarray]
) -> dict[str, object]:
    """One run as a row of the table.

    Args:
        model: Its name.
        method: How the contact was found.
        cell: Learning rate, radius and seed.
        found: Every measurement by name, in the order of the steps.
    """
    lr, radius, seed = cell
    largest, r = found["largest"], float(found["r"].mean())
    finite = bool(np.isfinite(found["loss"]).all() and np.isfinite(largest).all() and math.isfinite(r))
    predicted = method.edge(lr, r) if finite else math.nan
    measured = float(largest.mean()) if finite else math.nan
    first, second = np.array_split(largest, 2)
    oscillation = float(np.median(found["oscillation"]))
    drift = float(second.mean() / first.mean() - 1.0)
    return {
        "model": model,
        "method": method.name,
        "lr": lr,
        "radius": round(radius, 6),
        "seed": seed,
        "measured": measured,
        "spread": float(largest.std()),
        "predicted": predicted,
        "ratio": measured / predicted,
        "r": r,
        "gradient_norm": float(found["gradient_norm"].mean()),
        "loss": float(found["loss"].mean()),
        "oscillation": oscillation,
        "drift": drift,
        "crowd": float(np.median(found["crowd"])),
        "ratio_along": float(found["along"].mean()) / predicted,
        "at_edge": finite and oscillation >= OSCILLATION and abs(drift) <= DRIFT,
    }
