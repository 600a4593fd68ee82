"""Remembered gradients: one piece of memory, and parameters that wait in it."""

from __future__ import annotations

import copy
import pickle
from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from rbobench.optim import blocks
from rbobench.optim.remembered import RememberedGradients


def drawn(seed: int, *, dtype: torch.dtype = torch.float32) -> list[Tensor]:
    generator = torch.Generator().manual_seed(seed)
    shapes = [(5, 3), (4,), (), (2, 3, 4, 4), (7, 2)]
    tensors = [torch.randn(shape, generator=generator).to(dtype) for shape in shapes]
    tensors[3] = tensors[3].contiguous(memory_format=torch.channels_last)
    tensors[4] = tensors[4].t()  # in neither order
    return tensors


@pytest.fixture(params=[1 << 18, 10], ids=["one piece", "many"])
def block(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(blocks, "BLOCK", request.param)


@pytest.mark.usefixtures("block")
@pytest.mark.parametrize("as_tensor", [False, True])
def test_parameters_move_along_their_gradients_and_come_back_bit_for_bit(as_tensor: bool) -> None:
    parameters, gradients = drawn(0), drawn(1)
    before = copy.deepcopy(parameters)
    memory = RememberedGradients(parameters)
    memory.keep(gradients)
    memory.displace(torch.tensor(0.3) if as_tensor else 0.3)
    for parameter, start, gradient in zip(parameters, before, gradients, strict=True):
        torch.testing.assert_close(parameter, start + 0.3 * gradient)
    memory.restore()
    assert all(map(torch.equal, parameters, before))


@pytest.mark.parametrize("as_tensor", [False, True])
def test_the_way_of_accelerators_leads_to_the_same_place(as_tensor: bool) -> None:
    parameters, gradients = drawn(0), drawn(1)
    before, memory = copy.deepcopy(parameters), RememberedGradients(parameters)
    memory.keep(gradients)
    memory._as_one = memory._normed
    memory.displace(torch.tensor(0.3) if as_tensor else 0.3)
    for parameter, start, gradient in zip(parameters, before, gradients, strict=True):
        torch.testing.assert_close(parameter, start + 0.3 * gradient)
    memory.restore()
    assert all(map(torch.equal, parameters, before))


@pytest.mark.usefixtures("block")
def test_new_gradients_take_the_place_of_where_the_parameters_were() -> None:
    parameters, first, second = drawn(0), drawn(1), drawn(2)
    before = copy.deepcopy(parameters)
    memory = RememberedGradients(parameters)
    memory.keep(first)
    memory.displace(-2.0)
    memory.restore()
    memory.keep(second)
    assert all(map(torch.equal, parameters, before))
    assert all(map(torch.equal, memory.gradients, second))
    assert memory.gradients[0].data_ptr() != second[0].data_ptr()


@pytest.mark.usefixtures("block")
def test_parameters_come_back_a_step_away() -> None:
    parameters, first, second, directions = (drawn(seed) for seed in range(4))
    expected = [each.add(along, alpha=-0.1) for each, along in zip(parameters, directions, strict=True)]
    memory = RememberedGradients(parameters)
    memory.keep(first)
    memory.displace(0.7)
    memory.restore_and_keep(second, directions, -0.1)
    assert all(map(torch.equal, parameters, expected))
    assert all(map(torch.equal, memory.gradients, second))


def test_the_norm_is_of_all_types_together() -> None:
    single, double = drawn(0), drawn(1, dtype=torch.float64)
    memory = RememberedGradients([*single, *double])
    memory.keep([*single, *double])
    expected = torch.cat([each.flatten().double() for each in [*single, *double]]).norm()
    assert memory.norm() == pytest.approx(expected.item(), rel=1e-6)
    assert len({each.untyped_storage().data_ptr() for each in memory.gradients}) == 2


def test_each_problem_of_a_batch_has_its_own_norm_and_length() -> None:
    generator = torch.Generator().manual_seed(0)
    parameters = [torch.randn(3, 4, generator=generator), torch.randn(3, generator=generator)]
    before, memory = copy.deepcopy(parameters), RememberedGradients(parameters)
    memory.keep([torch.ones(3, 4), torch.zeros(3)])
    torch.testing.assert_close(memory.norm(1), torch.full((3,), 2.0))
    memory.displace(torch.tensor([0.0, 1.0, 2.0]), 1)
    torch.testing.assert_close(parameters[0] - before[0], torch.tensor([0.0, 1.0, 2.0])[:, None].expand(3, 4))
    assert torch.equal(parameters[1], before[1])


@pytest.mark.parametrize("copied_by", [copy.deepcopy, lambda memory: pickle.loads(pickle.dumps(memory))])
def test_a_copy_is_in_one_piece_too(copied_by: Callable[[RememberedGradients], RememberedGradients]) -> None:
    parameters = drawn(0)
    memory = RememberedGradients(parameters)
    memory.keep(drawn(1))
    copied = copied_by(memory)
    copied.keep(drawn(2))
    assert copied.norm() == pytest.approx(torch.cat([each.flatten() for each in drawn(2)]).norm().item())
    assert all(map(torch.equal, memory.gradients, drawn(1)))


def test_the_norm_of_a_large_network_keeps_its_digits() -> None:
    parameters = [torch.rand(3_000_000, generator=torch.Generator().manual_seed(0)) for _ in range(4)]
    memory = RememberedGradients(parameters)
    memory.keep(parameters)
    expected = torch.stack([each.double().square().sum() for each in parameters]).sum().sqrt()
    assert memory.norm() == pytest.approx(expected.item(), rel=1e-5)


def test_an_error_on_the_way_leaves_the_parameters_where_they_were(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(blocks, "BLOCK", 10)
    parameters = drawn(0)
    memory = RememberedGradients(parameters)
    memory.keep(drawn(1))
    parameters[-1].resize_(3, 3)
    before = copy.deepcopy(parameters)
    with pytest.raises(RuntimeError, match="must match the size"):
        memory.displace(0.5)
    assert all(map(torch.equal, parameters, before))


def test_it_knows_whose_gradients_they_are() -> None:
    parameters = drawn(0)
    memory = RememberedGradients(parameters)
    assert memory.is_of(parameters)
    assert not memory.is_of(parameters[:-1])
    assert not memory.is_of(parameters[::-1])
    assert not memory.is_of(copy.deepcopy(parameters))
