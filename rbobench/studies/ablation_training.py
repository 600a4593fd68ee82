"""The ablation's trainings: a method's grid times seeds as one batch of problems, at a constant rate.

At a constant rate a training on a small budget is the beginning of one on a large budget, so that one run
gives every budget; and where a control is SGD at as many steps, SGD's own run gives it too.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
import torch

from rbobench.randomness import Streams
from rbobench.registry import get_optimizer
from rbobench.studies.ablation_methods import Method
from rbobench.studies.stacked import StackedPerceptrons
from rbobench.tasks.images import ImageTask

HIDDEN = (64, 64)
"""Widths of the MLP; it memorizes every label."""


def train_grid(method: Method, noise: float, seeds: Sequence[int], budget: int, every: int) -> pd.DataFrame:
    """Train the whole grid of a method.

    Args:
        method: What to train.
        noise: Rate of symmetric label noise on the digits, 0 for none.
        seeds: Of the trials.
        budget: Gradient evaluations of each training.
        every: Gradient evaluations between two measurements.

    Returns:
        One row for each cell, seed and measurement.
    """
    task = ImageTask(
        "digits",
        model="mlp",
        model_options={"hidden": HIDDEN},
        batch_size=method.batch_size,
        label_noise={"kind": "symmetric", "rate": noise} if noise else None,
    )
    cells = [(rate, radius) for rate in method.rates for radius in method.radii]
    if get_optimizer(method.optimizer).batched:
        frames = [_train(method, task, cells, seeds, budget, every)]
    else:
        # An optimizer that works entry by entry takes the seeds of one rate as it would take one network.
        frames = [_train(method, task, [cell], seeds, budget, every) for cell in cells]
    return pd.concat(frames).assign(noise=noise, method=method.name)


def _train(
    method: Method,
    task: ImageTask,
    cells: Sequence[tuple[float, float]],
    seeds: Sequence[int],
    budget: int,
    every: int,
) -> pd.DataFrame:
    stack = StackedPerceptrons(task, seeds, len(cells))
    each_seed = [seed for seed in seeds for _ in cells]
    optimizer = _optimizer(method, stack, list(cells) * len(seeds), each_seed)
    part: dict[str, Any] = {}
    if method.contact_fraction < 1.0:
        part["contact_closure"] = stack.part(method.contact_fraction)
    rows, steps, cost = [], 0, method.cost
    members = pd.DataFrame(
        [(seed, rate, radius) for seed in seeds for rate, radius in cells], columns=["seed", "lr", "radius"]
    )
    for point in range(every, budget + 1, every):
        while (steps + 1) * cost <= point * (1 + 1e-9):
            stack.next_step()
            optimizer.step(stack, **part)  # type: ignore[arg-type]
            steps += 1
        assert stack.losses is not None
        diverged = ~torch.isfinite(stack.losses).numpy()
        rows.append(members.assign(gradients=point, steps=steps, diverged=diverged, **stack.measure()))
    return pd.concat(rows, ignore_index=True)


def _optimizer(
    method: Method, stack: StackedPerceptrons, cells: Sequence[tuple[float, float]], seeds: Sequence[int]
) -> torch.optim.Optimizer:
    info = get_optimizer(method.optimizer)
    given: dict[str, Any] = {"lr": cells[0][0], **method.hyperparameters}
    if method.radius is not None:
        given[method.radius] = cells[0][1]
    if info.batched:
        given["batch_dims"] = 1
    seed: Any = [Streams(seed).seed("optimizer") for seed in seeds] if info.randomized else 0
    optimizer = info.create(stack.parameters, info.resolve(given), seed=seed)
    if info.batched:
        for group in optimizer.param_groups:
            group["lr"] = torch.tensor(np.array([rate for rate, _ in cells]), dtype=torch.float32)
            if method.radius is not None:
                group[method.radius] = torch.tensor(np.array([r for _, r in cells]), dtype=torch.float32)
    return optimizer
