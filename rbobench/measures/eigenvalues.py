"""The largest eigenvalues of the Hessian, by Lanczos iterations."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from scipy.sparse.linalg import ArpackNoConvergence, eigsh
from torch import Tensor

from rbobench.errors import UsageError
from rbobench.measures.hessian_operator import HessianOperator
from rbobench.measures.surface import Cost, LossSurface

TOLERANCE = 1e-3
"""Of the residual relative to the eigenvalue; the eigenvalue's own error is of its square."""

MOST_PRODUCTS = 300


@dataclass(frozen=True)
class Eigenvalue:
    """The largest eigenvalue of the Hessian.

    Attributes:
        value: λ, in loss units over squared parameter units.
        uncertainty: ‖Hv − λv‖ for its unit vector v: some eigenvalue lies that near to λ.
        cost: What it took.
        converged: Whether the residual is within the tolerance.
    """

    value: float
    uncertainty: float
    cost: Cost
    converged: bool


@dataclass(frozen=True)
class Eigenvalues:
    """The largest eigenvalues of the Hessian.

    Attributes:
        value: The largest.
        uncertainty: Its residual ‖Hv − λv‖.
        cost: What they took.
        values: All, the largest first, in loss units over squared parameter units.
        residuals: Of each.
        converged: Whether each residual is within the tolerance, relative to the largest.
    """

    value: float
    uncertainty: float
    cost: Cost
    values: tuple[float, ...]
    residuals: tuple[float, ...]
    converged: bool


def lambda_max(
    surface: LossSurface,
    generator: torch.Generator,
    tolerance: float = TOLERANCE,
    most_products: int = MOST_PRODUCTS,
) -> Eigenvalue:
    """λmax of ∇²f(θ), the largest *algebraic* eigenvalue, as the field means it: not the largest magnitude.

    At a point where all curvature is negative it is negative. It depends on loss units and on the
    parametrization.

    Args:
        surface: f and θ.
        generator: Draws the starting vector.
        tolerance: Of the residual, relative to the eigenvalue.
        most_products: Hessian-vector products to stop at; the result then says that it has not converged.

    Raises:
        UsageError: If `tolerance` is not positive.
    """
    before = surface.cost
    (value,), _, (residual,) = top_eigenpairs(surface, 1, generator, tolerance, most_products)
    return Eigenvalue(value, residual, surface.cost - before, residual <= tolerance * abs(value))


def top_eigenvalues(
    surface: LossSurface,
    count: int,
    generator: torch.Generator,
    tolerance: float = TOLERANCE,
    most_products: int = MOST_PRODUCTS,
) -> Eigenvalues:
    """The `count` largest algebraic eigenvalues of ∇²f(θ), with residuals.

    An eigenvalue that occurs several times may be found once only: a Krylov space holds one vector of each
    eigenspace.

    Args:
        surface: f and θ.
        count: How many; at most the dimension.
        generator: Draws the starting vector.
        tolerance: Of a residual, relative to the eigenvalue.
        most_products: Hessian-vector products to stop at; the result then says that it has not converged.

    Raises:
        UsageError: If `count` is not between 1 and the dimension, or `tolerance` is not positive.
    """
    before = surface.cost
    values, _, residuals = top_eigenpairs(surface, count, generator, tolerance, most_products)
    largest = max(abs(value) for value in values)
    return Eigenvalues(
        values[0],
        residuals[0],
        surface.cost - before,
        values,
        residuals,
        all(residual <= tolerance * largest for residual in residuals),
    )


def top_eigenpairs(
    surface: LossSurface,
    count: int,
    generator: torch.Generator,
    tolerance: float = TOLERANCE,
    most_products: int = MOST_PRODUCTS,
) -> tuple[tuple[float, ...], list[list[Tensor]], tuple[float, ...]]:
    """The largest algebraic eigenvalues of ∇²f(θ) and their vectors (ARPACK's implicitly restarted Lanczos).

    It keeps 2·`count` + 10 vectors of all parameters in double precision. Where the parameters are fewer, the
    Hessian is built and solved whole.

    Args:
        surface: f and θ.
        count: How many; at most the dimension.
        generator: Draws the starting vector.
        tolerance: Of a residual, relative to the eigenvalue.
        most_products: Hessian-vector products to stop at, 5·`count` + 23 always being allowed; the residuals
            then say how near it came.

    Returns:
        Eigenvalues, the largest first (Rayleigh quotients); for each the unit vector as tensors of the
        parameters' shapes; for each the residual ‖Hv − λv‖.

    Raises:
        UsageError: If `count` is not between 1 and the dimension, or `tolerance` is not positive.
    """
    if not 1 <= count <= surface.dimension:
        raise UsageError(
            f"{count} eigenvalues asked of a Hessian of {surface.dimension} parameters: ask for 1 to "
            f"{surface.dimension}"
        )
    if not tolerance > 0:
        raise UsageError(f"the eigenvalues' tolerance must be positive, not {tolerance}")
    operator = HessianOperator(surface)
    start = operator.normal(generator)
    curved = operator @ start
    if not curved.any() or not curved.isfinite().all():
        # f is linear, or nowhere near a number: any vectors will do, and the solvers would refuse.
        others = torch.eye(len(start), count - 1).to(start)
        basis = torch.linalg.qr(torch.column_stack([start, others]).double()).Q
    elif surface.dimension <= _kept(count):
        basis = torch.linalg.eigh(operator.dense().double()).eigenvectors.flip(1)[:, :count]
    else:
        basis = _krylov(operator, count, start, tolerance, most_products)
    pairs = [_rayleigh(operator, vector) for vector in basis.unbind(dim=1)]
    pairs.sort(key=lambda pair: pair[0], reverse=True)
    return (
        tuple(value for value, _, _ in pairs),
        [operator.unflatten(vector) for _, vector, _ in pairs],
        tuple(residual for _, _, residual in pairs),
    )


def _kept(count: int) -> int:
    """How many Lanczos vectors to keep: few, as the top of a trained network's spectrum stands apart."""
    return 2 * count + 10


def _krylov(
    operator: HessianOperator, count: int, start: Tensor, tolerance: float, most_products: int
) -> Tensor:
    """Orthonormal approximate eigenvectors, of shape (d, count), in double precision."""
    hessian, first, kept = operator.to_scipy(), start.double().cpu().numpy(), _kept(count)
    # Beside the restarts: two first runs of kept + 1, the product before and those of the residuals.
    restarts = (most_products - 2 * (kept + 1) - 1 - count) // (kept - count)
    try:
        _, vectors = eigsh(
            hessian, count, which="LA", v0=first, ncv=kept, tol=tolerance, maxiter=1 + max(0, restarts)
        )
    except ArpackNoConvergence:
        # With this tolerance the first Krylov space is good enough: a poor answer, and its residual says so.
        _, vectors = eigsh(hessian, count, which="LA", v0=first, ncv=kept, tol=1e9, maxiter=1)
    return torch.as_tensor(np.ascontiguousarray(vectors)).to(operator.device)


def _rayleigh(operator: HessianOperator, vector: Tensor) -> tuple[float, Tensor, float]:
    """λ = ⟨v, Hv⟩, v and ‖Hv − λv‖ for a unit vector in double precision."""
    unit = vector / vector.norm()
    product = (operator @ unit.to(operator.dtype)).double()
    value = unit @ product
    return float(value), unit, float((product - value * unit).norm())
