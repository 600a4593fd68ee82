"""What every measure of the Hessian, and a slice, promises."""

from __future__ import annotations

import dataclasses
import json
import math
import subprocess
import sys
from collections.abc import Callable
from typing import Any

import pytest
import timm
import torch
from torch import nn

from rbobench.measures.eigenvalues import lambda_max, top_eigenvalues
from rbobench.measures.slices import slice_1d, slice_2d
from rbobench.measures.spectral_density import spectral_density
from rbobench.measures.surface import LossSurface
from rbobench.measures.trace import trace
from rbobench.tasks.models.resnet import CifarResNet

Measure = Callable[[LossSurface, torch.Generator], Any]

MEASURES: dict[str, Measure] = {
    "lambda_max": lambda_max,
    "top_eigenvalues": lambda surface, generator: top_eigenvalues(surface, 2, generator),
    "trace": lambda surface, generator: trace(surface, generator, products=9),
    "spectral_density": lambda surface, generator: spectral_density(surface, generator, 6, 2, 16),
    "slice_1d": lambda surface, generator: slice_1d(surface, generator, points=3),
    "slice_1d along an eigenvector": lambda surface, generator: slice_1d(
        surface, generator, "eigenvectors", points=3
    ),
    "slice_2d": lambda surface, generator: slice_2d(surface, generator, points=3),
    "slice_2d along eigenvectors": lambda surface, generator: slice_2d(
        surface, generator, "eigenvectors", points=3
    ),
}
every_measure = pytest.mark.parametrize("measure", MEASURES.values(), ids=MEASURES)


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


@pytest.fixture(scope="module", params=["resnet", "vit"])
def model(request: pytest.FixtureRequest) -> nn.Module:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        if request.param == "resnet":
            made: nn.Module = CifarResNet(1, (4, 8), num_classes=3, stem_stride=2)
        else:
            made = timm.create_model(
                "vit_tiny_patch16_224",
                img_size=16,
                patch_size=8,
                embed_dim=12,
                depth=1,
                num_heads=2,
                num_classes=3,
            )
    return made.eval()


def surface_of(model: nn.Module) -> LossSurface:
    images = torch.randn(6, 3, 16, 16, generator=seeded())
    labels = torch.arange(6) % 3
    return LossSurface(
        list(model.parameters()),
        [
            lambda rows=rows: (
                nn.functional.cross_entropy(model(images[rows]), labels[rows], reduction="sum") / 6
            )
            for rows in (slice(0, 4), slice(4, 6))
        ],
        [4 / 6, 2 / 6],
    )


@every_measure
def test_networks_pass_and_are_left_as_they_were(model: nn.Module, measure: Measure) -> None:
    surface = surface_of(model)
    assert surface.dimension > 1_000
    before = {name: each.clone() for name, each in model.state_dict().items()}
    state = torch.get_rng_state()
    found = measure(surface, seeded())
    assert math.isfinite(found.value)
    assert 0 <= found.uncertainty < math.inf
    assert found.cost == surface.cost
    assert found.cost.hessian_vector_products + found.cost.forward_evaluations > 0
    assert [field.name for field in dataclasses.fields(found)][:3] == ["value", "uncertainty", "cost"]
    json.dumps(dataclasses.asdict(found), allow_nan=False)
    assert measure(surface, seeded()) == found
    assert all(torch.equal(each, before[name]) for name, each in model.state_dict().items())
    assert all(parameter.grad is None for parameter in model.parameters())
    assert torch.equal(torch.get_rng_state(), state)


@every_measure
@pytest.mark.parametrize("dimension", [2, 1_001])
def test_a_linear_loss_does_not_crash(measure: Measure, dimension: int) -> None:
    point = nn.Parameter(torch.ones(dimension))
    found = measure(LossSurface([point], [lambda: 0.5 * point.sum()] * 2), seeded())
    assert math.isfinite(found.value)
    if found.cost.forward_evaluations == 0:
        assert (found.value, found.uncertainty) == (0.0, 0.0)


@every_measure
def test_a_loss_that_is_no_number_does_not_crash(measure: Measure) -> None:
    point = nn.Parameter(torch.full((1_001,), torch.nan))
    assert math.isnan(measure(LossSurface([point], [lambda: point.pow(3).sum()]), seeded()).value)


def test_importing_them_does_not_import_curvlinops() -> None:
    modules = ", ".join(
        f"rbobench.measures.{each}" for each in ("eigenvalues", "trace", "spectral_density", "slices")
    )
    code = f"import sys, {modules}; sys.exit('curvlinops' in sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)
