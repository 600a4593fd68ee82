"""A classifier's loss surface, and every sharpness on a ViT and a ResNet."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from torch import nn
from torch.nn import functional

from rbobench.errors import UsageError
from rbobench.measures.average_case import average_case
from rbobench.measures.classification_surface import (
    classification_surface,
    evaluation_mode,
    normalized_logits,
)
from rbobench.measures.sharpness import sam_gap
from rbobench.measures.surface import Estimate
from rbobench.measures.worst_case import WorstCase, worst_case
from rbobench.tasks.models import create_model

VIT = {"embed_dim": 16, "depth": 1, "num_heads": 2, "patch_size": 4}


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def samples(count: int = 12, size: int = 8) -> tuple[torch.Tensor, torch.Tensor]:
    random = generator(5)
    return torch.randn(count, 3, size, size, generator=random), torch.arange(count) % 4


def model(name: str, **options: Any) -> nn.Module:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return create_model(name, in_chans=3, num_classes=4, image_size=8, model_options=options)


def test_it_is_the_mean_loss_in_evaluation_mode() -> None:
    network, (inputs, labels) = model("resnet6"), samples()
    surface = classification_surface(network, inputs, labels, batch_size=5)
    network.eval()
    expected = functional.cross_entropy(network(inputs), labels)
    network.train()
    assert surface.value() == pytest.approx(expected.item(), rel=1e-5)
    assert surface.shares == pytest.approx([5 / 12, 5 / 12, 2 / 12])
    parts, gradient = surface.gradient()
    for found, exact in zip(gradient, torch.autograd.grad(expected, surface.parameters), strict=True):
        torch.testing.assert_close(found, exact, rtol=1e-4, atol=1e-6)
    assert len(parts) == 3


def test_normalized_logits_are_blind_to_shift_and_scale() -> None:
    logits = torch.randn(6, 5, generator=generator())
    found = normalized_logits(logits)
    assert found.mean(dim=1).abs().max() < 1e-6
    torch.testing.assert_close(found.norm(dim=1), torch.ones(6))
    torch.testing.assert_close(normalized_logits(7.0 * logits + 3.0), found)
    assert normalized_logits(torch.full((1, 3), 2.0)).tolist() == [[0.0, 0.0, 0.0]]


def test_a_surface_of_normalized_logits() -> None:
    network, (inputs, labels) = nn.Sequential(nn.Flatten(), nn.Linear(192, 4)), samples()
    plain, normalized = (
        classification_surface(network, inputs, labels, normalize_logits=each) for each in (False, True)
    )
    before, after = plain.value(), normalized.value()
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.mul_(10.0)
    assert normalized.value() == pytest.approx(after, rel=1e-5)
    assert plain.value() != pytest.approx(before, rel=1e-2)


@pytest.mark.parametrize(
    ("name", "options"),
    [("resnet6", {}), ("resnet10t", {}), ("vit_tiny_patch16_224", VIT)],
)
def test_every_sharpness_of_a_network(name: str, options: dict[str, Any]) -> None:
    network, (inputs, labels) = model(name, **options), samples()
    surface = classification_surface(network, inputs, labels, batch_size=6, normalize_logits=True)
    state = {key: value.clone() for key, value in network.state_dict().items()}
    random = torch.get_rng_state()
    found: list[Estimate | WorstCase] = [
        sam_gap(surface),
        worst_case(surface, steps=4, generator=generator()),
        worst_case(surface, steps=4, norm="linf", adaptive=True, generator=generator()),
        average_case(surface, samples=4, adaptive=True, generator=generator()),
    ]
    for each in found:
        assert math.isfinite(each.value)
        assert math.isfinite(each.uncertainty)
    assert all(each.value > 0.0 for each in found[:3])
    assert torch.equal(torch.get_rng_state(), random)
    for key, value in network.state_dict().items():
        assert torch.equal(value, state[key]), key
    assert all(parameter.grad is None for parameter in network.parameters())
    assert network.training


def test_each_layer_keeps_its_mode() -> None:
    network = nn.Sequential(nn.BatchNorm1d(2), nn.Dropout(), nn.Linear(2, 2))
    network.train()
    network[1].eval()
    with evaluation_mode(network):
        assert not any(layer.training for layer in network.modules())
    assert [layer.training for layer in network.modules()] == [True, True, False, True]


def test_it_is_in_single_precision_within_autocast() -> None:
    network, (inputs, labels) = nn.Sequential(nn.Flatten(), nn.Linear(192, 4)), samples()
    surface = classification_surface(network, inputs, labels)
    expected = surface.value()
    with torch.autocast("cpu", torch.bfloat16):
        assert surface.value() == expected


def test_frozen_parameters_stay() -> None:
    network, (inputs, labels) = nn.Sequential(nn.Flatten(), nn.Linear(192, 4)), samples()
    network[1].bias.requires_grad_(False)
    assert classification_surface(network, inputs, labels).dimension == 4 * 192


def test_what_is_refused() -> None:
    network, (inputs, labels) = nn.Sequential(nn.Flatten(), nn.Linear(192, 4)), samples()
    with pytest.raises(UsageError, match="batch_size must be at least 1, not 0"):
        classification_surface(network, inputs, labels, batch_size=0)
    with pytest.raises(UsageError, match="at least one sample"):
        classification_surface(network, inputs[:0], labels[:0])
    with pytest.raises(UsageError, match="12 samples need labels of shape"):
        classification_surface(network, inputs, labels[:3])
    with pytest.raises(UsageError, match="no parameter of Sequential requires a gradient"):
        classification_surface(network.requires_grad_(False), inputs, labels)
    batched = nn.Sequential(nn.BatchNorm2d(3, track_running_stats=False), nn.Flatten(), nn.Linear(192, 4))
    with pytest.raises(UsageError, match="BatchNorm layer '0' keeps no running statistics"):
        classification_surface(batched, inputs, labels)
