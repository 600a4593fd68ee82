"""Models by name: ours, timm's, and what is refused."""

from __future__ import annotations

import warnings

import pytest
import torch
from torch import nn

from rbobench.errors import UsageError
from rbobench.tasks.models import OURS, create_model, list_models


def build(name: str, size: int = 32, channels: int = 3, **options) -> nn.Module:
    return create_model(name, in_chans=channels, num_classes=10, image_size=size, **options)


def parameters(model: nn.Module) -> int:
    return sum(parameter.numel() for parameter in model.parameters())


@pytest.mark.parametrize("size", [8, 28, 32])
@pytest.mark.parametrize("name", OURS[:-1])
def test_ours_take_small_images_of_any_size(name: str, size: int) -> None:
    model = build(name, size, channels=1)
    logits = model(torch.randn(4, 1, size, size))
    assert logits.shape == (4, 10)
    logits.sum().backward()
    assert all(parameter.grad is not None for parameter in model.parameters())


def residual(depth: int, widths: tuple[int, ...] = (16, 32, 64)) -> int:
    """Parameters of a CIFAR ResNet with 1×1 shortcuts on three channels and ten classes."""
    blocks, total, inputs = depth, 27 * widths[0] + 2 * widths[0], widths[0]
    for width in widths:
        for block in range(blocks):
            total += 9 * inputs * width + 9 * width * width + 4 * width
            if block == 0 and inputs != width:
                total += inputs * width + 2 * width
            inputs = width
    return total + 10 * inputs + 10


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("mlp", 3072 * 128 + 128 + 128 * 128 + 128 + 1290),
        ("resnet6", residual(1, (16, 32))),
        ("resnet8", residual(1)),
        ("resnet20", residual(3)),
        ("wrn28_10", 36_479_194),  # 36.5 M in arXiv 1605.07146, Table 4
        ("wrn16_4", 2_748_890),  # 2.7 M there
    ],
)
def test_sizes_are_those_of_the_papers(name: str, expected: int) -> None:
    with torch.device("meta"):
        assert parameters(build(name)) == expected


def test_names_are_listed_with_timms() -> None:
    assert set(OURS) <= set(list_models())
    assert "resnet18" in list_models("resnet*")
    assert list_models("wrn*") == ["wrn16_4", "wrn28_10"]


def test_a_stock_stem_on_small_images_is_a_warning_and_cifar_stem_cures_it() -> None:
    with pytest.warns(UserWarning, match=r"model 'resnet18': its stem is made for large images.*cifar_stem"):
        build("resnet18")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        model = build("resnet18", cifar_stem=True)
        build("resnet18", 224)
        build("resnet8")
    stem = model.conv1
    assert (stem.kernel_size, stem.stride) == ((3, 3), (1, 1))
    assert isinstance(model.maxpool, nn.Identity)
    assert model.forward_features(torch.randn(2, 3, 32, 32)).shape == (2, 512, 4, 4)


def test_a_deep_stem_is_replaced_too() -> None:
    model = build("resnet26d", cifar_stem=True)
    assert model(torch.randn(2, 3, 32, 32)).shape == (2, 10)


def test_a_vision_transformer_is_told_the_size() -> None:
    options = {"patch_size": 4, "depth": 1, "embed_dim": 32, "num_heads": 2}
    model = build("vit_tiny_patch16_224", 8, channels=1, model_options=options)
    assert model.patch_embed.num_patches == 4
    assert model(torch.randn(2, 1, 8, 8)).shape == (2, 10)
    told = build("vit_tiny_patch16_224", 8, channels=1, model_options={**options, "img_size": 16})
    assert told.patch_embed.num_patches == 16


def test_weights_are_drawn_from_the_default_generator() -> None:
    models = []
    for _ in range(2):
        torch.manual_seed(3)
        models.append(build("resnet6"))
    assert all(map(torch.equal, models[0].parameters(), models[1].parameters()))


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("resnet81", {}, "unknown model 'resnet81'; did you mean 'resnet8'"),
        ("resnet8", {"model_options": {"depth": 3}}, "model 'resnet8' cannot be built: resnet8"),
        ("resnet18", {"model_options": {"norm_layer": "foo"}}, "model 'resnet18' cannot be built: 'foo'"),
        ("resnet18", {"model_options": {"block": "x"}}, "model 'resnet18' cannot be built"),
        ("vit_tiny_patch16_224", {"model_options": {"patch_size": 0}}, "cannot be built"),
        (
            "mlp",
            {"model_options": {"num_classes": 3}},
            "model 'mlp': num_classes follows from the data and is no model option",
        ),
        ("mlp", {"model_options": {"in_chans": 3}}, "model 'mlp': in_chans follows from the data"),
        ("vgg9", {"cifar_stem": True}, "model 'vgg9' has no ResNet stem that cifar_stem could replace"),
        ("vit_tiny_patch16_224", {"model_options": {"num_heads": 7}}, "cannot be built"),
    ],
)
def test_what_is_refused_is_named(name: str, options: dict, message: str) -> None:
    with pytest.raises(UsageError) as error:
        build(name, **options)
    assert message in str(error.value)
    assert "\n" not in str(error.value)
