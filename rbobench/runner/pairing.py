"""Digests by which one sees that two trials had the same random draws."""

from __future__ import annotations

import hashlib

import torch
from torch import Tensor, nn

from rbobench.tasks.task import Problem


def pairing_digests(problem: Problem) -> dict[str, str | None]:
    """Digests of a fresh problem's initial weights and of its batch order (`None` where there is none)."""
    order = problem.batch_order()
    return {
        "initial_weights": weights_digest(problem.module),
        "batch_order": None if order is None else hashlib.sha256(_bytes(order)).hexdigest(),
    }


def weights_digest(module: nn.Module) -> str:
    """SHA-256 over names and bytes of a module's state, whatever the memory format."""
    hashed = hashlib.sha256()
    for name, tensor in module.state_dict().items():
        hashed.update(name.encode())
        hashed.update(_bytes(tensor))
    return hashed.hexdigest()


def _bytes(tensor: Tensor) -> bytes:
    flat = tensor.detach().cpu().contiguous().reshape(-1)
    return flat.view(torch.uint8).numpy().tobytes()
