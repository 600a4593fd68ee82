"""Models by timm's names; importing this registers ours with timm.

Each file has one family: `mlp`, `resnet6`, `resnet8` and `resnet20`, `vgg9`, `wrn16_4` and `wrn28_10`.
"""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from typing import Any

import timm
import timm.models
from timm.models.resnet import ResNet
from torch import nn

from rbobench.errors import UsageError, unknown
from rbobench.tasks.models import mlp, resnet, vgg, wide_resnet

OURS = ("mlp", "resnet6", "resnet8", "resnet20", "vgg9", "wrn16_4", "wrn28_10")
"""Names of the models that are written here."""

SMALL_IMAGE = 64
"""Up to this side in pixels a stem made for ImageNet throws most of an image away."""
_REFUSALS = (
    ArithmeticError,
    AssertionError,
    AttributeError,
    LookupError,
    RuntimeError,
    TypeError,
    ValueError,
)  # what timm's models raise over an option they cannot use


def list_models(pattern: str = "*") -> list[str]:
    """Names of models, ours and timm's, that match a shell pattern."""
    return list(timm.list_models(pattern))


def create_model(
    name: str,
    *,
    in_chans: int,
    num_classes: int,
    image_size: int,
    cifar_stem: bool = False,
    model_options: Mapping[str, Any] | None = None,
) -> nn.Module:
    """Build a model with fresh weights, drawn from torch's default generator.

    A stock ResNet stem on small images is a warning, once for each name.

    Args:
        name: Any name that timm knows.
        in_chans: Channels of the images.
        num_classes: Classes.
        image_size: Side of the images in pixels; told to models that are built for one size.
        cifar_stem: Replace a ResNet's stem by a 3×3 convolution of stride 1 without pooling.
        model_options: What else `timm.create_model` is given, such as `patch_size` of a ViT.

    Raises:
        UsageError: If the name is unknown, an option is refused or follows from the data, or there is no stem
            to replace.
    """
    if not timm.is_model(name):
        raise unknown("model", name, list_models())
    options: dict[str, Any] = {"in_chans": in_chans, "num_classes": num_classes}
    config = timm.models.get_pretrained_cfg(name, allow_unregistered=True)
    if config is not None and config.fixed_input_size:
        options["img_size"] = image_size
    for option in model_options or {}:
        if option in ("in_chans", "num_classes"):
            raise UsageError(f"model {name!r}: {option} follows from the data and is no model option")
    options |= model_options or {}
    try:
        model: nn.Module = timm.create_model(name, pretrained=False, **options)
    except _REFUSALS as error:
        reason = " ".join(str(error).split()) or type(error).__name__
        raise UsageError(f"model {name!r} cannot be built: {reason}") from error
    if cifar_stem:
        _replace_stem(name, model, in_chans)
    elif isinstance(model, ResNet) and image_size <= SMALL_IMAGE:
        warnings.warn(
            f"model {name!r}: its stem is made for large images, and these are {image_size}×{image_size}; "
            "set cifar_stem: true",
            stacklevel=2,
        )
    return model


def _replace_stem(name: str, model: nn.Module, in_chans: int) -> None:
    if not isinstance(model, ResNet):
        raise UsageError(f"model {name!r} has no ResNet stem that cifar_stem could replace")
    width: Any = model.bn1.num_features
    stem = nn.Conv2d(in_chans, width, kernel_size=3, padding=1, bias=False)
    nn.init.kaiming_normal_(stem.weight, mode="fan_out", nonlinearity="relu")
    model.set_submodule("conv1", stem)
    model.set_submodule("maxpool", nn.Identity())


__all__ = ["OURS", "create_model", "list_models", "mlp", "resnet", "vgg", "wide_resnet"]
