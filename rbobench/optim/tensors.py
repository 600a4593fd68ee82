"""Lists of tensors as one vector, or as a batch of vectors, without a host synchronization."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any

import torch
from torch import Tensor
from torch._C import _set_grad_enabled

Closure = Callable[[], Any]


def require_closure(optimizer: object, closure: Closure | None) -> Closure:
    """The closure, or a clear error where an optimizer that evaluates for itself was given none.

    Raises:
        TypeError: If `closure` is `None`.
    """
    if closure is None:
        raise TypeError(
            f"{type(optimizer).__name__}.step() needs a closure that clears the gradients, evaluates the "
            "loss, calls backward and returns the loss"
        )
    return closure


def evaluate(closure: Closure) -> Tensor:
    """Call a closure with gradients enabled; its loss, detached, as a tensor whatever it returns."""
    before = torch.is_grad_enabled()  # and no context manager: see `observed`
    _set_grad_enabled(True)
    try:
        loss = closure()
    finally:
        _set_grad_enabled(before)
    if not isinstance(loss, Tensor):
        return torch.as_tensor(loss)
    return loss.detach() if loss.requires_grad else loss


def active(param_groups: Iterable[dict[str, Any]]) -> list[Tensor]:
    """The parameters that have a gradient; the others stay put."""
    return with_gradients(param_groups)[0]


def with_gradients(param_groups: Iterable[dict[str, Any]]) -> tuple[list[Tensor], list[Tensor]]:
    """The parameters that have a gradient, and their gradients."""
    parameters, gradients = [], []
    for group in param_groups:
        for parameter in group["params"]:
            gradient = parameter.grad
            if gradient is not None:
                parameters.append(parameter)
                gradients.append(gradient)
    return parameters, gradients


def taken(parameters: Iterable[Tensor]) -> list[Tensor]:
    """The gradients of parameters that have one, theirs no more: a closure may clear gradients in place."""
    gradients = []
    for parameter in parameters:
        if parameter.grad is not None:
            gradients.append(parameter.grad)
            parameter.grad = None
    return gradients


def clones(tensors: Iterable[Tensor]) -> list[Tensor]:
    """A copy of each tensor, detached."""
    # Not `torch._foreach_clone`, which torch 2.11 has not: copying is one kernel for all of them.
    sources = [tensor.detach() for tensor in tensors]
    copies = [torch.empty_like(source) for source in sources]
    if copies:
        torch._foreach_copy_(copies, sources)
    return copies


def inner_product(left: Sequence[Tensor], right: Sequence[Tensor], batch_dims: int = 0) -> Tensor:
    """⟨left, right⟩ over all tensors, per problem of the batch.

    Args:
        left: Tensors of shape `(*batch, ...)`.
        right: Tensors of the same shapes.
        batch_dims: How many leading dimensions number the problems.

    Returns:
        A tensor of the batch's shape; 0-dimensional where `batch_dims` is 0.
    """
    if batch_dims == 0:
        return torch.stack([a.flatten() @ b.flatten() for a, b in zip(left, right, strict=True)]).sum()
    return torch.stack([_flat(a * b, batch_dims).sum(dim=-1) for a, b in zip(left, right, strict=True)]).sum(
        dim=0
    )


def global_norm(tensors: Sequence[Tensor], batch_dims: int = 0) -> Tensor:
    """The Euclidean norm of all tensors as one vector, per problem of the batch.

    Returns:
        A tensor of the batch's shape; 0-dimensional where `batch_dims` is 0.
    """
    if batch_dims == 0:
        return torch.linalg.vector_norm(torch.stack(torch._foreach_norm(list(tensors))))
    norms = [torch.linalg.vector_norm(_flat(tensor, batch_dims), dim=-1) for tensor in tensors]
    return torch.linalg.vector_norm(torch.stack(norms), dim=0)


def spread(values: Tensor, tensor: Tensor, batch_dims: int) -> Tensor:
    """Reshape one value for each problem so that it broadcasts against `tensor`; 0-dimensional ones stay."""
    if values.ndim == 0:
        return values
    return values.reshape(values.shape + (1,) * (tensor.ndim - batch_dims))


def at_hand(value: Tensor) -> Tensor | float:
    """A number where the host has it, the tensor itself where the host would wait for the device.

    Arithmetic with it then costs a small network on a CPU nothing, where every operation on a tensor of one
    number takes as long as a pass over the parameters.

    Args:
        value: 0-dimensional; others are given back. So are those in half precision, in which a number can be
            too large for a tensor to be multiplied by.
    """
    if value.is_cpu and value.ndim == 0 and value.dtype is not torch.float16:
        return value.item()
    return value


def add_scaled(
    targets: Sequence[Tensor],
    tensors: Sequence[Tensor],
    coefficient: Tensor | float,
    *,
    batch_dims: int = 0,
    scale: float = 1.0,
) -> None:
    """`targets += scale · coefficient · tensors` in place, a tensor's coefficient staying on the device.

    `_foreach_add_(alpha=tensor)` would synchronize with the host.
    """
    if isinstance(coefficient, Tensor):
        coefficients = spread_over(targets, coefficient, batch_dims)
        torch._foreach_addcmul_(list(targets), list(tensors), coefficients, value=scale)
    else:
        torch._foreach_add_(list(targets), list(tensors), alpha=scale * coefficient)


def spread_over(tensors: Sequence[Tensor], values: Tensor, batch_dims: int) -> list[Tensor]:
    """One value for each problem, for every tensor in a shape that broadcasts against it."""
    if values.ndim == 0:
        return [values] * len(tensors)
    return [spread(values, each, batch_dims) for each in tensors]


def freeze_diverged(
    parameters: Sequence[Tensor], before: Sequence[Tensor], losses: Tensor, batch_dims: int
) -> None:
    """Put the problems of a batch back to `before` whose loss or new parameters are not finite."""
    finite = torch.isfinite(losses)
    for parameter in parameters:
        # One pass: a sum is finite where every entry is, but for entries near the largest of all numbers.
        finite = finite & torch.isfinite(_flat(parameter, batch_dims).sum(dim=-1))
    for parameter, old in zip(parameters, before, strict=True):
        parameter.copy_(torch.where(spread(finite, parameter, batch_dims), parameter, old))


def _flat(tensor: Tensor, batch_dims: int) -> Tensor:
    return tensor.reshape(*tensor.shape[:batch_dims], -1)
