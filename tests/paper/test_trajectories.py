"""Trajectories are those that the optimizer takes by itself."""

from __future__ import annotations

import functools

import torch

from rbobench.optim.sgd import SGD
from rbobench.paper import figure4
from rbobench.paper.trajectories import trajectories
from rbobench.tasks.landscapes import Eq14


def test_trajectories_are_those_of_the_optimizer() -> None:
    first = torch.from_numpy(figure4.starts())[:3]
    fractions = []
    visited = trajectories(
        functools.partial(SGD, lr=0.003, batch_dims=1),
        Eq14(),
        first,
        4,
        lambda optimizer, fraction: fractions.append(fraction),
    )
    expected = first.clone()
    for step in range(5):
        torch.testing.assert_close(visited[step], expected, rtol=0.0, atol=1e-14)
        expected = expected - 0.003 * Eq14().value_and_grad(expected)[1]
    assert fractions == [0.0, 0.25, 0.5, 0.75]
    torch.testing.assert_close(first, torch.from_numpy(figure4.starts())[:3])
