"""How our models enter timm's registry."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

from timm.models import register_model
from torch import nn


def model_entry(build: Callable[..., nn.Module]) -> Callable[..., nn.Module]:
    """Register `build` with timm under its own name; there are no pretrained weights."""

    @functools.wraps(build)
    def entry(
        pretrained: bool = False,
        pretrained_cfg: Any = None,
        pretrained_cfg_overlay: Any = None,
        cache_dir: Any = None,
        **options: Any,
    ) -> nn.Module:
        if pretrained:
            raise ValueError("there are no pretrained weights")
        return build(**options)

    return register_model(entry)


def initialize_convolutions(model: nn.Module) -> None:
    """He initialization (arXiv 1502.01852) of every convolution."""
    for module in model.modules():
        if isinstance(module, nn.Conv2d):
            nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
