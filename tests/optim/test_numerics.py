"""Optimizers under what speeds training up: compiled programs, bfloat16 autocast, channels_last."""

from __future__ import annotations

import functools
from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn
from torch._dynamo.utils import counters
from torch.nn import functional

from rbobench.geometry.landscape import Landscape, LandscapeClosure
from rbobench.optim.rolling_ball import RBO
from rbobench.registry import get_optimizer, list_optimizers
from rbobench.tasks.landscapes import Eq14
from rbobench.testing.subject import Subject

OWN = [name for name in list_optimizers() if not name.startswith("timm:")]


def network(dtype: torch.dtype = torch.float32) -> nn.Module:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return nn.Sequential(nn.Conv2d(3, 4, 3), nn.Tanh(), nn.Flatten(), nn.Linear(64, 3)).to(dtype)


def images(dtype: torch.dtype = torch.float32) -> Tensor:
    return torch.randn(8, 3, 6, 6, generator=torch.Generator().manual_seed(1)).to(dtype)


def closure_of(model: nn.Module, evaluate: Callable[[], Tensor]) -> Callable[[], Tensor]:
    def closure() -> Tensor:
        model.zero_grad()
        loss = evaluate()
        loss.backward()
        return loss

    return closure


def trained(name: str, model: nn.Module, forward: Callable[[Tensor], Tensor], inputs: Tensor) -> nn.Module:
    """The model after four steps of a registered optimizer."""
    optimizer = Subject.of(get_optimizer(name)).make(list(model.parameters()))
    labels = torch.arange(len(inputs)) % 3
    closure = closure_of(model, lambda: functional.cross_entropy(forward(inputs), labels))
    for _ in range(4):
        optimizer.step(closure)
    return model


@pytest.mark.parametrize("name", OWN)
def test_a_compiled_closure_changes_rounding_alone(name: str) -> None:
    model = network(torch.float64)
    # Traced as for any backend, and run without a compiler's rounding.
    compiled = torch.compile(model, backend="aot_eager")
    got = trained(name, model, compiled, images(torch.float64))
    expected = network(torch.float64)
    trained(name, expected, expected, images(torch.float64))
    for one, two in zip(got.parameters(), expected.parameters(), strict=True):
        torch.testing.assert_close(one, two, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("name", OWN)
def test_bfloat16_and_channels_last(name: str) -> None:
    model = network().to(memory_format=torch.channels_last)
    inputs = images().contiguous(memory_format=torch.channels_last)

    def forward(inputs: Tensor) -> Tensor:
        with torch.autocast("cpu", torch.bfloat16):
            return model(inputs).float()

    before = [parameter.detach().clone() for parameter in model.parameters()]
    trained(name, model, forward, inputs)
    (weight, *_), first = model.parameters(), before[0]
    assert weight.is_contiguous(memory_format=torch.channels_last)
    assert weight.dtype == torch.float32
    assert torch.isfinite(weight).all()
    assert not torch.equal(weight, first)


def graphs() -> int:
    """Programs compiled since `torch._dynamo.reset()` and `counters.clear()`."""
    return int(counters["stats"]["unique_graphs"])


def balls(landscape: Landscape, *, compiled: bool, steps: int = 6) -> Tensor:
    """Where a batch of balls of three radii goes, the step size falling."""
    torch._dynamo.reset()
    counters.clear()
    points = torch.tensor([[2.0, 0.1], [-1.0, 0.5], [0.3, 0.3]], dtype=torch.float64)
    radius = torch.tensor([0.5, 3.0, 1.0], dtype=torch.float64)
    rbo = RBO([points], lr=0.01, radius=radius, projection_steps=10, projection_lr=1e-3, batch_dims=1)
    if compiled:
        rbo.compile()
    closure = LandscapeClosure(landscape, points)
    known = []
    for step in range(steps):
        rbo.param_groups[0]["lr"] = 0.01 / (1 + step)
        rbo.step(closure)
        known.append(graphs())
    assert closure.calls == 10 * steps
    # Not one more for a step size of another value: beyond some, torch goes on without a compiler.
    assert (known[1] > 0, known[-1]) == (compiled, known[1])
    return points


def test_compiled_balls_on_a_landscape_differ_by_rounding() -> None:
    torch.testing.assert_close(
        balls(Eq14(), compiled=True), balls(Eq14(), compiled=False), rtol=0, atol=1e-12
    )


def test_a_compiled_projection_of_a_network_differs_by_rounding() -> None:
    ends = []
    for compiled in (False, True):
        model, inputs = network(torch.float64), images(torch.float64)
        rbo = RBO(model.parameters(), lr=0.5, radius=1.0, projection_steps=4, weight_decay=1e-2)
        torch._dynamo.reset()
        counters.clear()
        if compiled:
            rbo.compile()
        loss = functools.partial(lambda model, inputs: model(inputs).square().mean(), model, inputs)
        for _ in range(3):
            rbo.step(closure_of(model, loss))
        assert (graphs() > 0) == compiled
        ends.append(list(model.parameters()))
    for one, two in zip(*ends, strict=True):
        torch.testing.assert_close(one, two, rtol=0, atol=1e-12)
