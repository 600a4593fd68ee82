"""The trace against known spectra."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from rbobench.errors import UsageError
from rbobench.measures.surface import LossSurface
from rbobench.measures.trace import EXACT_DIMENSION, trace


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def rotated(curvatures: Tensor) -> LossSurface:
    """A quadratic of these curvatures whose axes are random (Householder), so that random signs err."""
    normal = torch.randn(len(curvatures), generator=seeded(9), dtype=torch.float64)
    normal /= normal.norm()
    point = nn.Parameter(torch.ones(len(curvatures), dtype=torch.float64))

    def loss() -> Tensor:
        across = point - 2 * (point @ normal) * normal
        return 0.25 * (curvatures * across.square()).sum()

    return LossSurface([point], [loss] * 2)


def test_up_to_a_thousand_parameters_it_is_exact() -> None:
    curvatures = torch.linspace(-2.0, 5.0, 150, dtype=torch.float64)
    found = trace(rotated(curvatures), seeded())
    assert found.value == pytest.approx(float(curvatures.sum()), rel=1e-12)
    assert found.uncertainty == 0.0
    assert found.cost.hessian_vector_products == 150


@pytest.mark.parametrize("seed", range(5))
def test_beyond_it_is_within_three_standard_errors(seed: int) -> None:
    curvatures = torch.randn(EXACT_DIMENSION + 500, generator=seeded(5), dtype=torch.float64) + 0.3
    curvatures[:5] += 200.0
    found = trace(rotated(curvatures), seeded(seed), products=60)
    truth = float(curvatures.sum())
    assert 0 < found.uncertainty < 0.05 * truth
    assert abs(found.value - truth) <= 3 * found.uncertainty
    assert found.cost.hessian_vector_products == 60


def test_the_standard_error_is_that_of_the_estimate() -> None:
    curvatures = torch.randn(EXACT_DIMENSION + 1, generator=seeded(5), dtype=torch.float64)
    found = [trace(rotated(curvatures), seeded(seed), products=30) for seed in range(40)]
    values = torch.tensor([each.value for each in found])
    claimed = torch.tensor([each.uncertainty for each in found])
    assert float(values.std()) == pytest.approx(float(claimed.square().mean().sqrt()), rel=0.35)
    assert float(values.mean()) == pytest.approx(
        float(curvatures.sum()), abs=3 * float(values.std()) / 40**0.5
    )


def test_a_few_large_eigenvalues_cost_no_precision() -> None:
    curvatures = torch.zeros(EXACT_DIMENSION + 200, dtype=torch.float64)
    curvatures[:4] = torch.tensor([100.0, -40.0, 7.0, 3.0])
    found = trace(rotated(curvatures), seeded(), products=18)
    assert found.value == pytest.approx(70.0, rel=1e-9)
    assert found.uncertainty < 1e-6


@pytest.mark.parametrize("products", [0, 3, 10])
def test_products_come_in_threes(products: int) -> None:
    with pytest.raises(UsageError, match=f"a multiple of 3 products, at least 6, not {products}"):
        trace(rotated(torch.ones(3, dtype=torch.float64)), seeded(), products=products)
