"""The objective is one fixed function within a step, and counts what it is asked."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from rbobench.objective import Objective


def network() -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(3, 8), nn.BatchNorm1d(8), nn.ReLU(), nn.Dropout(0.5), nn.Linear(8, 2))


def objective(model: nn.Module, **options) -> Objective:
    generator = torch.Generator().manual_seed(1)

    def draw() -> tuple[Tensor, Tensor]:
        return torch.randn(10, 3, generator=generator), torch.randint(2, (10,), generator=generator)

    def loss(batch: tuple[Tensor, Tensor]) -> Tensor:
        return nn.functional.cross_entropy(model(batch[0]), batch[1])

    return Objective(list(model.parameters()), draw, loss, module=model, **options)


def gradients(model: nn.Module) -> list[Tensor]:
    return [parameter.grad.clone() for parameter in model.parameters()]


def test_every_call_of_a_step_sees_the_same_batch_and_the_same_dropout() -> None:
    model = network()
    closure = objective(model)
    losses = []
    for _ in range(3):
        closure.next_step()
        first, first_gradients = closure(), gradients(model)
        torch.rand(7)  # what others draw in between changes nothing
        assert torch.equal(closure(), first)
        assert all(map(torch.equal, gradients(model), first_gradients))
        losses.append(first.item())
    assert len(set(losses)) == 3


def test_the_dropout_of_a_step_does_not_depend_on_how_often_it_was_evaluated() -> None:
    runs = []
    for calls in (1, 4):
        closure = objective(network())
        closure.next_step()
        for _ in range(calls):
            closure()
        closure.next_step()
        runs.append(closure())
    assert torch.equal(*runs)


def test_the_default_generator_is_left_alone() -> None:
    closure = objective(network())
    closure.next_step()
    before = torch.get_rng_state()
    closure()
    assert torch.equal(torch.get_rng_state(), before)


def test_batch_norm_statistics_move_once_a_step_at_the_first_whole_batch() -> None:
    model = network()
    norm = model[1]
    closure = objective(model)
    closure.next_step()
    closure.part(0.5)()
    assert norm.num_batches_tracked == 0
    closure()
    moved = norm.running_mean.clone()
    assert norm.num_batches_tracked == 1
    closure()
    closure.part(0.5)()
    closure.value()
    assert norm.num_batches_tracked == 1
    assert torch.equal(norm.running_mean, moved)
    assert norm.track_running_stats


def test_counts() -> None:
    model = network()
    closure = objective(model)
    closure.next_step()
    closure()
    closure()
    closure.part(0.3)()
    closure.value()
    closure.hessian_vector_product([torch.ones_like(p) for p in model.parameters()])
    assert closure.gradient_evaluations == pytest.approx(2.3)
    assert closure.forward_evaluations == 1
    assert closure.hessian_vector_products == 1
    assert closure.samples_drawn == 10
    assert closure.samples_evaluated == 23


def test_a_part_is_the_first_samples_of_the_batch() -> None:
    weights = nn.Parameter(torch.zeros(1))
    values = torch.arange(8.0)
    closure = Objective([weights], lambda: (values,), lambda batch: (weights * batch[0].mean()).sum())
    closure.next_step()
    closure.part(0.25)()
    assert weights.grad.item() == pytest.approx(values[:2].mean().item())
    with pytest.raises(ValueError, match=r"fraction must be in \(0, 1\], not 0"):
        closure.part(0)


def test_a_resampling_objective_draws_at_every_call_but_moves_statistics_once() -> None:
    model = network()
    closure = objective(model, resamples=True)
    closure.next_step()
    assert not torch.equal(closure(), closure())
    assert closure.samples_drawn == 20
    assert model[1].num_batches_tracked == 1


def test_hessian_vector_products_of_a_quadratic() -> None:
    matrix = torch.tensor([[2.0, 1.0], [1.0, 5.0]])
    point = nn.Parameter(torch.tensor([1.0, -1.0]))
    closure = Objective([point], lambda: None, lambda _: 0.5 * point @ matrix @ point)
    closure.next_step()
    (product,) = closure.hessian_vector_product([torch.tensor([1.0, 2.0])])
    torch.testing.assert_close(product, matrix @ torch.tensor([1.0, 2.0]))


def test_warming_up_leaves_no_trace() -> None:
    runs = []
    for warm in (False, True):
        model = network()
        closure = objective(model)
        if warm:
            closure.warm_up()
            assert closure.gradient_evaluations == 0
            assert model[1].num_batches_tracked == 0
        closure.next_step()
        runs.append((closure(), closure.samples_drawn, model[1].running_mean.clone()))
    assert torch.equal(runs[0][0], runs[1][0])
    assert runs[0][1] == runs[1][1]
    assert torch.equal(runs[0][2], runs[1][2])


def test_a_batch_of_problems_leaves_each_its_own_gradient() -> None:
    points = nn.Parameter(torch.tensor([[1.0, 2.0], [3.0, 4.0]]))
    closure = Objective([points], lambda: None, lambda _: points.square().sum(-1))
    closure.next_step()
    losses = closure()
    torch.testing.assert_close(losses, torch.tensor([5.0, 25.0]))
    torch.testing.assert_close(points.grad, 2 * points.detach())
