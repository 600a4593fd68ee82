"""The spectral density of known spectra."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from rbobench.errors import UsageError
from rbobench.measures.spectral_density import SpectralDensity, spectral_density
from rbobench.measures.surface import LossSurface


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def quadratic(curvatures: Tensor) -> LossSurface:
    point = nn.Parameter(torch.ones_like(curvatures))
    return LossSurface([point], [lambda: 0.25 * (curvatures * point.square()).sum()] * 2)


def moment(found: SpectralDensity, order: int, low: float = -math.inf, high: float = math.inf) -> float:
    grid, density = np.array(found.grid), np.array(found.density)
    return float(np.trapezoid(grid**order * density * ((grid >= low) & (grid <= high)), grid))


def test_the_moments_of_a_uniform_spectrum() -> None:
    curvatures = torch.linspace(-1.0, 3.0, 2_000, dtype=torch.float64)
    found = spectral_density(quadratic(curvatures), seeded())
    assert found.cost.hessian_vector_products == 4 * 32
    assert abs(found.value - 1.0) <= 4 * found.uncertainty
    assert found.uncertainty < 0.05
    assert found.root_mean_square == pytest.approx(float(curvatures.square().mean().sqrt()), rel=0.05)
    assert found.negative == pytest.approx(0.25 - 0.03 / 4, abs=0.04)
    assert moment(found, 0) == pytest.approx(1.0, abs=0.01)
    assert moment(found, 1) == pytest.approx(found.value, abs=0.02)
    assert moment(found, 0, high=1.0) == pytest.approx(0.5, abs=0.04)
    assert found.grid[0] == pytest.approx(-1.2, abs=0.05)
    assert found.grid[-1] == pytest.approx(3.2, abs=0.05)


def test_two_levels() -> None:
    curvatures = torch.cat([torch.zeros(900), torch.full((100,), 10.0)])
    found = spectral_density(quadratic(curvatures), seeded(), steps=40, starts=6)
    assert moment(found, 0, low=5.0) == pytest.approx(0.1, abs=0.03)
    assert moment(found, 0, low=1.0, high=9.0) == pytest.approx(0.0, abs=1e-3)
    assert found.value == pytest.approx(1.0, abs=4 * found.uncertainty)


def test_its_error_is_the_spread_of_the_starts() -> None:
    curvatures = torch.linspace(-1.0, 3.0, 300, dtype=torch.float64)
    found = [spectral_density(quadratic(curvatures), seeded(seed), 3, 4, 8) for seed in range(60)]
    spread = np.std([each.value for each in found])
    assert np.sqrt(np.mean([each.uncertainty**2 for each in found])) == pytest.approx(spread, rel=0.35)
    assert math.isnan(spectral_density(quadratic(curvatures), seeded(), starts=1).uncertainty)


@pytest.mark.parametrize("curvature", [2.0, -3.0, 1e-12])
@pytest.mark.parametrize("dimension", [1, 4, 5, 64])
def test_a_single_eigenvalue(curvature: float, dimension: int) -> None:
    found = spectral_density(quadratic(torch.full((dimension,), curvature)), seeded(), starts=2)
    assert found.value == pytest.approx(curvature, rel=1e-5)
    assert found.root_mean_square == pytest.approx(abs(curvature), rel=1e-5)
    assert found.negative == pytest.approx(float(curvature < 0), abs=1e-9)
    assert moment(found, 0) == pytest.approx(1.0, abs=0.01)


def test_few_parameters_are_resolved_exactly() -> None:
    curvatures = torch.tensor([-4.0, 1.0, 1.5, 8.0], dtype=torch.float64)
    found = spectral_density(quadratic(curvatures), seeded(), starts=400)
    assert found.value == pytest.approx(float(curvatures.mean()), abs=4 * found.uncertainty)
    assert found.negative == pytest.approx(0.25, abs=0.06)
    assert found.cost.hessian_vector_products <= 4 * 400
    assert moment(found, 0) == pytest.approx(1.0, abs=0.01)


@pytest.mark.parametrize("bad", [{"steps": 1}, {"starts": 0}, {"points": 1}])
def test_bad_arguments(bad: dict[str, int]) -> None:
    ((name, value),) = bad.items()
    with pytest.raises(UsageError, match=rf"at least \d {name}, not {value}"):
        spectral_density(quadratic(torch.ones(3)), seeded(), **bad)
