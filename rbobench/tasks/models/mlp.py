"""A multilayer perceptron for small images."""

from __future__ import annotations

import itertools

from timm.models import generate_default_cfgs
from torch import nn

from rbobench.tasks.models.entry import model_entry

default_cfgs = generate_default_cfgs({"mlp": {"fixed_input_size": True}})


@model_entry
def mlp(
    in_chans: int = 1, num_classes: int = 10, img_size: int = 28, hidden: tuple[int, ...] = (128, 128)
) -> nn.Module:
    """An MLP with ReLU; the paper does not say its widths, and two layers of 128 are our choice."""
    widths = [in_chans * img_size**2, *hidden]
    layers: list[nn.Module] = [nn.Flatten()]
    for inputs, outputs in itertools.pairwise(widths):
        layers += [nn.Linear(inputs, outputs), nn.ReLU()]
    return nn.Sequential(*layers, nn.Linear(widths[-1], num_classes))
