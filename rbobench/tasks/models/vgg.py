"""VGG for small images."""

from __future__ import annotations

from torch import nn

from rbobench.tasks.models.entry import initialize_convolutions, model_entry


@model_entry
def vgg9(in_chans: int = 3, num_classes: int = 10) -> nn.Module:
    """Six convolutions and three linear layers, with BatchNorm.

    Widths 32, 64, 128, 128, 256, 256, a maximum over 2×2 after every second one, then two layers of 512. The
    paper does not say which VGG-9 it means; this is our choice. The last features are averaged over the
    image, so that any size from 8×8 on will do.
    """
    layers: list[nn.Module] = []
    inputs = in_chans
    for index, width in enumerate((32, 64, 128, 128, 256, 256)):
        layers += [
            nn.Conv2d(inputs, width, 3, padding=1, bias=False),
            nn.BatchNorm2d(width),
            nn.ReLU(inplace=True),
        ]
        if index % 2 == 1:
            layers.append(nn.MaxPool2d(2))
        inputs = width
    model = nn.Sequential(
        *layers,
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Linear(inputs, 512),
        nn.ReLU(inplace=True),
        nn.Linear(512, 512),
        nn.ReLU(inplace=True),
        nn.Linear(512, num_classes),
    )
    initialize_convolutions(model)
    return model
