"""The largest eigenvalues against whole Hessians."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from rbobench.errors import UsageError
from rbobench.measures.eigenvalues import lambda_max, top_eigenpairs, top_eigenvalues
from rbobench.measures.surface import LossSurface


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def quadratic(curvatures: Tensor) -> LossSurface:
    point = nn.Parameter(torch.ones(len(curvatures), dtype=torch.float64))
    return LossSurface([point], [lambda: 0.25 * (curvatures * point.square()).sum()] * 2)


def tanh_network() -> tuple[LossSurface, Tensor]:
    """A network of 115 parameters in two parts, and its Hessian."""
    generator = seeded()
    shapes = {"w": (8, 6), "b": (8,), "v": (5, 8), "c": (5,)}
    parameters = {
        name: nn.Parameter(torch.randn(shape, generator=generator, dtype=torch.float64))
        for name, shape in shapes.items()
    }
    inputs = torch.randn(40, 6, generator=generator, dtype=torch.float64)
    labels = torch.randint(5, (40,), generator=generator)

    def loss(p: dict[str, Tensor], rows: slice) -> Tensor:
        logits = torch.tanh(inputs[rows] @ p["w"].T + p["b"]) @ p["v"].T + p["c"]
        return nn.functional.cross_entropy(logits, labels[rows], reduction="sum") / 40

    halves = (slice(0, 15), slice(15, 40))
    surface = LossSurface(
        list(parameters.values()), [lambda rows=rows: loss(parameters, rows) for rows in halves]
    )
    blocks = torch.func.hessian(lambda p: loss(p, slice(None)))(
        {name: parameter.detach() for name, parameter in parameters.items()}
    )
    rows = [
        torch.cat(
            [
                blocks[row][column].reshape(parameters[row].numel(), parameters[column].numel())
                for column in shapes
            ],
            dim=1,
        )
        for row in shapes
    ]
    return surface, torch.cat(rows)


def test_a_small_network_agrees_with_its_hessian() -> None:
    surface, hessian = tanh_network()
    exact = torch.linalg.eigvalsh(hessian).flip(0)
    assert exact[-1] < 0  # indefinite
    largest = lambda_max(surface, seeded())
    assert largest.converged
    assert largest.value == pytest.approx(float(exact[0]), rel=1e-3)
    assert largest.uncertainty <= 1e-3 * largest.value
    top = top_eigenvalues(surface, 4, seeded(1))
    assert top.converged
    assert top.values == pytest.approx(exact[:4].tolist(), rel=1e-3)
    assert top.cost.hessian_vector_products < 115
    assert (top.value, top.uncertainty) == (top.values[0], top.residuals[0])


def test_the_pairs_are_eigenpairs() -> None:
    surface, hessian = tanh_network()
    values, vectors, residuals = top_eigenpairs(surface, 3, seeded())
    flat = torch.stack([torch.cat([each.reshape(-1) for each in vector]) for vector in vectors])
    assert [each.shape for each in vectors[0]] == [each.shape for each in surface.parameters]
    torch.testing.assert_close(flat @ flat.T, torch.eye(3, dtype=torch.float64), rtol=0, atol=1e-8)
    for value, vector, residual in zip(values, flat, residuals, strict=True):
        assert float((hessian @ vector - value * vector).norm()) == pytest.approx(residual, rel=1e-6)


def test_the_largest_is_the_largest_algebraic() -> None:
    surface = quadratic(torch.linspace(-5.0, 2.0, 60, dtype=torch.float64))
    assert lambda_max(surface, seeded()).value == pytest.approx(2.0, rel=1e-3)
    assert lambda_max(quadratic(-torch.arange(1.0, 61.0)), seeded()).value == pytest.approx(-1.0, rel=1e-3)


@pytest.mark.parametrize("dimension", [1, 2, 12, 13, 14, 15])
def test_few_parameters(dimension: int) -> None:
    curvatures = torch.arange(1.0, dimension + 1.0, dtype=torch.float64)
    count = min(2, dimension)
    top = top_eigenvalues(quadratic(curvatures), count, seeded())
    assert top.values == pytest.approx(curvatures.flip(0)[:count].tolist(), rel=1e-5)


@pytest.mark.parametrize("dimension", [2, 50])
def test_a_linear_loss_has_no_curvature(dimension: int) -> None:
    point, unseen = nn.Parameter(torch.ones(dimension)), nn.Parameter(torch.ones(3))
    top = top_eigenvalues(LossSurface([point, unseen], [lambda: point.sum()]), 2, seeded())
    assert top.values == (0.0, 0.0)
    assert top.residuals == (0.0, 0.0)
    assert top.converged


def test_tiny_curvature_in_single_precision() -> None:
    curvatures = 1e-9 * torch.linspace(0.1, 1.0, 80)
    point = nn.Parameter(torch.ones(80))
    surface = LossSurface([point], [lambda: 0.5 * (curvatures * point.square()).sum()])
    found = lambda_max(surface, seeded())
    assert found.converged
    assert found.value == pytest.approx(1e-9, rel=1e-3)


def test_a_loss_that_is_no_number_gives_none() -> None:
    surface = quadratic(torch.full((30,), torch.nan, dtype=torch.float64))
    found = lambda_max(surface, seeded())
    assert found.value != found.value
    assert not found.converged


def test_what_does_not_converge_says_so() -> None:
    surface = quadratic(1.0 + 1e-4 * torch.arange(3_000.0, dtype=torch.float64) / 3_000)
    found = lambda_max(surface, seeded(), tolerance=1e-9, most_products=60)
    assert not found.converged
    assert found.uncertainty > 1e-9 * found.value
    assert abs(found.value - 1.0) < 1e-3
    assert found.cost.hessian_vector_products <= 60


def test_the_generator_decides() -> None:
    surface = quadratic(torch.linspace(0.0, 1.0, 200, dtype=torch.float64))
    first, again, other = (lambda_max(surface, seeded(seed)) for seed in (0, 0, 1))
    assert first == again
    assert first.value != other.value


def test_bad_arguments() -> None:
    surface = quadratic(torch.ones(3, dtype=torch.float64))
    for count in (0, 4):
        with pytest.raises(UsageError, match=f"{count} eigenvalues asked of a Hessian of 3 parameters"):
            top_eigenvalues(surface, count, seeded())
    with pytest.raises(UsageError, match="tolerance must be positive"):
        lambda_max(surface, seeded(), tolerance=0.0)
