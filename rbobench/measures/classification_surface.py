"""A classifier's loss on stored samples as a function of its weights."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.nn.modules.batchnorm import _BatchNorm

from rbobench.errors import UsageError
from rbobench.measures.surface import LossSurface

BATCH_SIZE = 128
"""Samples of a part; as in arXiv 2302.07011."""

SMALLEST_LOGITS = 1e-10
"""Norm of centered logits below which they are not scaled up any further."""


def classification_surface(
    module: nn.Module,
    inputs: Tensor,
    labels: Tensor,
    *,
    batch_size: int = BATCH_SIZE,
    normalize_logits: bool = False,
) -> LossSurface:
    """Mean cross-entropy of a module in evaluation mode, a part for each batch.

    θ is every parameter that requires a gradient. Each evaluation puts the module into evaluation mode,
    without autocast, and each layer's own mode back.

    Args:
        module: Maps inputs to logits of shape (n, classes); looked at, never copied.
        inputs: Prepared floating-point samples, of shape (n, ...), on the module's device.
        labels: Class indices, of shape (n,).
        batch_size: Samples of a part; the last may have fewer.
        normalize_logits: Whether each sample's logits are centered and scaled to Euclidean norm 1
            (`normalized_logits`), so that sharpness is blind to the scale of the last layer.

    Raises:
        UsageError: If there are no samples, no label for each, or no parameter to displace, or if a BatchNorm
            layer uses the batch's statistics even in evaluation mode.
    """
    if batch_size < 1:
        raise UsageError(f"batch_size must be at least 1, not {batch_size}")
    if not len(inputs):
        raise UsageError("a loss surface needs at least one sample")
    if labels.shape != inputs.shape[:1]:
        raise UsageError(
            f"{len(inputs)} samples need labels of shape ({len(inputs)},), not {tuple(labels.shape)}"
        )
    parameters = [parameter for parameter in module.parameters() if parameter.requires_grad]
    if not parameters:
        raise UsageError(f"no parameter of {type(module).__name__} requires a gradient")
    for name, layer in module.named_modules():
        if isinstance(layer, _BatchNorm) and layer.running_mean is None:
            raise UsageError(
                f"BatchNorm layer {name!r} keeps no running statistics, so that a sample's loss depends on "
                "its batch; set track_running_stats=True"
            )
    count = len(inputs)

    def part(batch: Tensor, classes: Tensor) -> Tensor:
        with evaluation_mode(module), torch.autocast(batch.device.type, enabled=False):
            logits = module(batch)
            if normalize_logits:
                logits = normalized_logits(logits)
            return functional.cross_entropy(logits, classes, reduction="sum") / count

    batches = list(zip(inputs.split(batch_size), labels.split(batch_size), strict=True))
    return LossSurface(
        parameters,
        [partial(part, batch, classes) for batch, classes in batches],
        [len(batch) / count for batch, _ in batches],
    )


def normalized_logits(logits: Tensor) -> Tensor:
    """Each sample's logits less their mean, divided by their Euclidean norm, as in arXiv 2302.07011's code.

    Args:
        logits: Of shape (n, classes).
    """
    centered = logits - logits.mean(dim=1, keepdim=True)
    norms = torch.linalg.vector_norm(centered, dim=1, keepdim=True)
    return centered / norms.clamp_min(SMALLEST_LOGITS)


@contextmanager
def evaluation_mode(module: nn.Module) -> Iterator[None]:
    """Inside the block the module is in evaluation mode; each layer's own mode is put back."""
    training = [layer for layer in module.modules() if layer.training]
    try:
        if training:
            module.eval()
        yield
    finally:
        for layer in training:
            layer.training = True
