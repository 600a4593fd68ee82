"""A quadratic in a ball, against what a maximum satisfies and a search by angle."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from rbobench.measures.trust_region import maximize_in_ball


@settings(max_examples=60, deadline=None)
@given(
    seed=st.integers(0, 2**31),
    dimension=st.integers(1, 12),
    slope=st.sampled_from([0.0, 1e-9, 0.1, 10.0]),
    shift=st.sampled_from([-3.0, 0.0, 3.0]),
    radius=st.sampled_from([0.01, 1.0, 30.0]),
)
def test_it_satisfies_the_conditions_of_a_maximum(
    seed: int, dimension: int, slope: float, shift: float, radius: float
) -> None:
    random = np.random.default_rng(seed)
    square = random.standard_normal((dimension, dimension))
    hessian = torch.from_numpy(square + square.T + shift * np.eye(dimension))
    gradient = torch.from_numpy(slope * random.standard_normal(dimension))
    found = maximize_in_ball(gradient, hessian, radius)
    length = float(found.norm())
    assert length <= radius * (1 + 1e-9)
    top = float(torch.linalg.eigvalsh(hessian)[-1])
    uphill = gradient + hessian @ found
    multiplier = float(uphill @ found) / length**2 if length else 0.0
    scale = slope + float(hessian.abs().max()) * radius
    assert float((uphill - multiplier * found).norm()) <= 1e-6 * scale
    assert multiplier >= max(0.0, top) - 1e-6 * scale / radius
    if length < radius * (1 - 1e-9):
        assert float(uphill.norm()) <= 1e-6 * scale


def test_the_hard_case_fills_the_ball_with_the_top_eigenvector() -> None:
    hessian = torch.diag(torch.tensor([1.0, 4.0], dtype=torch.float64))
    found = maximize_in_ball(torch.tensor([0.3, 0.0], dtype=torch.float64), hessian, 1.0)
    assert found[0].item() == pytest.approx(0.1)  # (4 − 1) y = 0.3
    assert found[1].abs().item() == pytest.approx(math.sqrt(0.99))


def test_a_cap_has_its_maximum_inside() -> None:
    hessian = torch.diag(torch.tensor([-2.0, -1.0], dtype=torch.float64))
    found = maximize_in_ball(torch.tensor([0.2, 0.1], dtype=torch.float64), hessian, 1.0)
    assert found.tolist() == pytest.approx([0.1, 0.1])


def test_it_agrees_with_a_search_on_the_circle() -> None:
    hessian = torch.tensor([[1.0, 2.0], [2.0, -3.0]], dtype=torch.float64)
    gradient = torch.tensor([0.5, -1.0], dtype=torch.float64)
    angles = torch.linspace(0.0, 2.0 * math.pi, 100_001, dtype=torch.float64)
    circle = 0.7 * torch.stack([angles.cos(), angles.sin()])
    expected = (gradient @ circle + 0.5 * (circle * (hessian @ circle)).sum(dim=0)).max()
    found = maximize_in_ball(gradient, hessian, 0.7)
    assert float(gradient @ found + 0.5 * found @ (hessian @ found)) == pytest.approx(
        expected.item(), rel=1e-8
    )
