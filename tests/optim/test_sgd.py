"""SGD is torch's, bit for bit, by itself and inside another optimizer."""

from __future__ import annotations

import copy
import itertools
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.optim.optimizer import register_optimizer_step_post_hook

from rbobench.optim.center import CenterRBO
from rbobench.optim.sgd import SGD

SETTINGS = [
    {"momentum": momentum, "dampening": dampening, "nesterov": nesterov, "weight_decay": decay}
    for momentum, dampening, nesterov, decay in itertools.product(
        (0.0, 0.9), (0.0, 0.3), (False, True), (0.0, 0.1)
    )
    if not nesterov or (momentum > 0.0 and dampening == 0.0)
]
EVERY_SETTING = pytest.mark.parametrize("settings", SETTINGS, ids=str)


def parameters() -> list[Tensor]:
    generator = torch.Generator().manual_seed(0)
    return [nn.Parameter(torch.randn(shape, generator=generator)) for shape in ((3, 2), (5,), (2,))]


def walk(optimizer: torch.optim.Optimizer, params: list[Tensor], steps: range = range(5)) -> list[Tensor]:
    """Steps by drawn gradients; the last parameter has none at first."""
    for step in steps:
        generator = torch.Generator().manual_seed(step)
        for index, parameter in enumerate(params):
            parameter.grad = torch.randn(parameter.shape, generator=generator)
            if index == 2 and step < 2:
                parameter.grad = None
        optimizer.step()
    return [parameter.detach().clone() for parameter in params]


def equal(one: list[Tensor], two: list[Tensor]) -> bool:
    return all(map(torch.equal, one, two))


@EVERY_SETTING
def test_is_torchs_bit_for_bit(settings: dict[str, Any]) -> None:
    ours, theirs = parameters(), parameters()
    optimizer = SGD(ours, 0.1, **settings)
    assert optimizer.is_plain
    assert equal(walk(optimizer, ours), walk(torch.optim.SGD(theirs, 0.1, **settings), theirs))


@EVERY_SETTING
def test_goes_on_from_torchs_state(settings: dict[str, Any]) -> None:
    theirs = parameters()
    reference = torch.optim.SGD(theirs, 0.1, **settings)
    walk(reference, theirs, range(3))
    ours = [nn.Parameter(parameter.detach().clone()) for parameter in theirs]
    optimizer = SGD(ours, 0.5)
    optimizer.load_state_dict(copy.deepcopy(reference.state_dict()))
    for group in optimizer.param_groups:
        group["batch_dims"] = 0
    assert equal(walk(optimizer, ours, range(3, 6)), walk(reference, theirs, range(3, 6)))


@pytest.mark.parametrize("modes", [{"maximize": True}, {"lr": torch.tensor(0.1)}], ids=str)
def test_leaves_torchs_modes_to_torch(modes: dict[str, Any]) -> None:
    ours, theirs = parameters(), parameters()
    optimizer = SGD([{"params": ours, **modes}], 0.1)
    assert not optimizer.is_plain
    assert equal(walk(optimizer, ours), walk(torch.optim.SGD([{"params": theirs, **modes}], 0.1), theirs))


def center(params: list[Tensor], **modes: Any) -> tuple[CenterRBO, SGD]:
    base = SGD([{"params": params, **modes}], 0.1, momentum=0.9)
    return CenterRBO(params, 0.1, 0.0, "previous", base_optimizer=lambda _: base), base


def roll(optimizer: CenterRBO, params: list[Tensor], steps: int = 4) -> list[Tensor]:
    def closure() -> Tensor:
        optimizer.zero_grad()
        loss = sum((parameter.square().sum() for parameter in params), torch.zeros(()))
        loss.backward()
        return loss

    for _ in range(steps):
        optimizer.step(closure)
    return [parameter.detach().clone() for parameter in params]


def test_inside_another_optimizer_ascent_stays_ascent() -> None:
    params = parameters()
    before = [parameter.detach().clone() for parameter in params]
    after = roll(center(params, maximize=True)[0], params)
    assert all(new.norm() > old.norm() for new, old in zip(after, before, strict=True))


@pytest.mark.parametrize("where", ["base", "everywhere"])
def test_inside_another_optimizer_hooks_are_called(where: str) -> None:
    params, called = parameters(), []
    optimizer, base = center(params)

    def hook(stepped: torch.optim.Optimizer, *_: Any) -> None:
        called.append(stepped)

    if where == "base":
        handle = base.register_step_post_hook(hook)
    else:
        handle = register_optimizer_step_post_hook(hook)
    try:
        hooked = roll(optimizer, params)
    finally:
        handle.remove()
    assert sum(each is base for each in called) == 4
    plain = parameters()
    assert equal(hooked, roll(center(plain)[0], plain))


def test_inside_another_optimizer_a_scheduler_of_the_base_sees_its_steps(
    recwarn: pytest.WarningsRecorder,
) -> None:
    params = parameters()
    optimizer, base = center(params)
    scheduler = torch.optim.lr_scheduler.ExponentialLR(base, 0.5)
    roll(optimizer, params, 1)
    scheduler.step()
    assert [group["lr"] for group in optimizer.param_groups] == [0.05]
    assert not [each for each in recwarn if "lr_scheduler.step()" in str(each.message)]


@pytest.mark.parametrize("contact", ["search", "previous", "mirrored", "lagged"])
def test_a_closure_may_keep_its_gradients_in_one_place(contact: str) -> None:
    """As replayed graphs do; what the ball takes from there must be its own."""
    ends = []
    for static in (False, True):
        params = parameters()
        kept = [torch.zeros_like(parameter) for parameter in params]

        def closure(params=params, kept=kept, static=static) -> Tensor:
            for parameter, place in zip(params, kept, strict=True):
                gradient = 2.0 * parameter.detach()
                parameter.grad = place.copy_(gradient) if static else gradient
            return sum((parameter.detach().square().sum() for parameter in params), torch.zeros(()))

        optimizer = CenterRBO(params, 0.1, 0.5, contact)
        for _ in range(4):
            optimizer.step(closure)
        ends.append([parameter.detach() for parameter in params])
    assert equal(*ends)
