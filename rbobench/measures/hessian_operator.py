"""The Hessian as an operator on flat vectors, for libraries of linear algebra."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from scipy.sparse.linalg import LinearOperator
from torch import Tensor

from rbobench.measures.surface import LossSurface


class HessianOperator:
    """∇²f(θ), symmetric, on vectors of all parameters; it offers what curvlinops asks of an operator.

    It has no curvlinops base class, so that importing the measures does not import curvlinops.

    Args:
        surface: f and θ.

    Attributes:
        shape: (d, d).
        dtype: Of the vectors: double where a parameter is, else single.
        device: Of the parameters.
    """

    def __init__(self, surface: LossSurface) -> None:
        self._surface = surface
        self.shape = (surface.dimension, surface.dimension)
        double = any(parameter.dtype == torch.float64 for parameter in surface.parameters)
        self.dtype = torch.float64 if double else torch.float32
        self.device = surface.parameters[0].device

    def __matmul__(self, vectors: Tensor) -> Tensor:
        """∇²f times one vector of shape (d,), or times each column of a matrix of shape (d, k)."""
        if vectors.ndim == 2:
            return torch.stack([self @ column for column in vectors.unbind(dim=1)], dim=1)
        products = self._surface.hessian_vector_product(self.unflatten(vectors))
        return self.flatten(products).to(vectors)

    def flatten(self, tensors: Sequence[Tensor]) -> Tensor:
        """One vector of shape (d,) from tensors of the parameters' shapes."""
        return torch.cat([tensor.detach().reshape(-1).to(self.device, self.dtype) for tensor in tensors])

    def unflatten(self, vector: Tensor) -> list[Tensor]:
        """Tensors of the parameters' shapes, types and devices from a vector of shape (d,)."""
        parameters = self._surface.parameters
        pieces = vector.split([parameter.numel() for parameter in parameters])
        return [
            piece.reshape(each.shape).to(each.device, each.dtype)
            for piece, each in zip(pieces, parameters, strict=True)
        ]

    def normal(self, generator: torch.Generator) -> Tensor:
        """A standard normal vector of shape (d,), drawn where the generator lives."""
        drawn = torch.randn(self.shape[1], generator=generator, dtype=torch.float64, device=generator.device)
        return drawn.to(self.device, self.dtype)

    def dense(self) -> Tensor:
        """∇²f, column by column, symmetrized: d products and d² numbers, for small d."""
        matrix = self @ torch.eye(self.shape[1], dtype=self.dtype, device=self.device)
        return (matrix + matrix.T) / 2

    def to_scipy(self) -> LinearOperator:
        """The operator on NumPy vectors in double precision.

        ARPACK's tolerance has a floor of eps^(2/3), in single precision 2e-5: more than the curvature of a
        network that has memorized its data.
        """

        def product(vector: np.ndarray) -> np.ndarray:
            there = torch.as_tensor(vector.reshape(-1)).to(self.device, self.dtype)
            return (self @ there).double().cpu().numpy()

        return LinearOperator(self.shape, matvec=product, rmatvec=product, dtype=np.float64)
