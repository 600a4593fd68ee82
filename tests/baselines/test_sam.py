"""SAM and its kin against other code, closed forms and what they reduce to."""

from __future__ import annotations

import math
from functools import partial

import numpy as np
import pytest
import pytorch_optimizer
import torch
from torch import Tensor, nn

from baselines.sam import ASAM, SAM, ASAMSquared, RandomSAM
from rbobench.errors import UsageError
from rbobench.objective import Objective
from rbobench.optim.perturbation import perturbed
from rbobench.optim.sgd import SGD
from rbobench.registry import create_optimizer
from rbobench.testing.problems import NormalizedRegression, Regression

BASE = partial(torch.optim.SGD, lr=0.1, momentum=0.9)


def after(optimizer, problem: Regression, steps: int = 6) -> list[Tensor]:
    for _ in range(steps):
        problem.next_step()
        optimizer.step(problem)
    return [parameter.detach().clone() for parameter in problem.parameters]


def driven_by_hand(optimizer, problem: Regression, steps: int = 6) -> list[Tensor]:
    """`pytorch_optimizer`'s SAM takes two evaluations apart."""
    for _ in range(steps):
        problem.next_step()
        problem()
        optimizer.first_step()
        problem()
        optimizer.second_step()
    return [parameter.detach().clone() for parameter in problem.parameters]


@pytest.mark.parametrize("adaptive", [False, True])
def test_agrees_with_another_implementation(adaptive: bool) -> None:
    ours, theirs = Regression(torch.float64), Regression(torch.float64)
    rho = 2.0 if adaptive else 0.05
    mine = (ASAMSquared if adaptive else SAM)(ours.parameters, BASE, rho)
    other = pytorch_optimizer.SAM(
        theirs.parameters, torch.optim.SGD, rho=rho, adaptive=adaptive, lr=0.1, momentum=0.9
    )
    # Its norm is taken in single precision.
    for one, two in zip(after(mine, ours), driven_by_hand(other, theirs), strict=True):
        torch.testing.assert_close(one, two, rtol=1e-6, atol=1e-7)


def test_adaptive_sam_is_the_papers() -> None:
    """Algorithm 1 of arXiv 2102.11600, its T = |w| + η on weights and 1 on biases, in NumPy."""
    weight = nn.Parameter(torch.tensor([[1.0, -2.0], [0.5, 3.0]], dtype=torch.float64))
    bias = nn.Parameter(torch.tensor([0.3, -0.1], dtype=torch.float64))
    x = np.array([0.7, -1.3])

    def loss() -> Tensor:
        for parameter in (weight, bias):
            parameter.grad = None
        value = torch.tanh(weight @ torch.from_numpy(x) + bias).square().sum()
        value.backward()
        return value

    def gradients(w: np.ndarray, b: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        activation = np.tanh(w @ x + b)
        back = 2 * activation * (1 - activation**2)
        return np.outer(back, x), back

    w, b = weight.detach().numpy().copy(), bias.detach().numpy().copy()
    g, h = gradients(w, b)
    scale = np.abs(w) + 0.01
    norm = math.sqrt((scale * g * scale * g).sum() + (h * h).sum())
    g, h = gradients(w + 0.5 * scale**2 * g / norm, b + 0.5 * h / norm)
    ASAM([weight, bias], partial(torch.optim.SGD, lr=0.1), rho=0.5).step(loss)
    np.testing.assert_allclose(weight.detach().numpy(), w - 0.1 * g, rtol=1e-11)
    np.testing.assert_allclose(bias.detach().numpy(), b - 0.1 * h, rtol=1e-11)


def test_adaptive_sam_knows_weights_by_their_names() -> None:
    """A BatchNorm weight has one dimension: it is a weight where names are known, and none where not."""
    module = nn.BatchNorm1d(3)
    nn.init.constant_(module.weight, 2.0)
    named = ASAM(module.named_parameters(), BASE)
    unnamed = ASAM(module.parameters(), BASE)
    parameters = list(module.parameters())
    assert [scale is not None for scale in named._scales(parameters)] == [True, False]
    assert [scale is not None for scale in unnamed._scales(parameters)] == [False, False]


def test_at_radius_zero_it_is_the_base_batch_norm_included() -> None:
    ends = []
    for wrap in (False, True):
        torch.manual_seed(0)
        model = nn.Sequential(nn.Linear(3, 8), nn.BatchNorm1d(8), nn.ReLU(), nn.Dropout(0.3), nn.Linear(8, 2))
        generator = torch.Generator().manual_seed(1)

        def draw(generator=generator) -> tuple[Tensor, Tensor]:
            return torch.randn(16, 3, generator=generator), torch.randint(2, (16,), generator=generator)

        def loss(batch: tuple[Tensor, Tensor], model=model) -> Tensor:
            return nn.functional.cross_entropy(model(batch[0]), batch[1])

        objective = Objective(list(model.parameters()), draw, loss, module=model)
        optimizer = SAM(model.parameters(), BASE, rho=0.0) if wrap else BASE(model.parameters())
        for _ in range(8):
            objective.next_step()
            optimizer.step(objective)
        ends.append(list(model.state_dict().values()))
    assert all(map(torch.equal, *ends))
    assert ends[0][4].abs().max() > 0  # the running statistics moved


def test_the_ascent_has_length_rho_and_the_gradients_direction() -> None:
    problem = Regression(torch.float64)
    seen: list[list[Tensor]] = []

    def closure() -> Tensor:
        seen.append([parameter.detach().clone() for parameter in problem.parameters])
        return problem()

    start = [parameter.detach().clone() for parameter in problem.parameters]
    problem()
    gradients = [parameter.grad.clone() for parameter in problem.parameters[:3]]
    SAM(problem.parameters, partial(torch.optim.SGD, lr=0.0), rho=0.3).step(closure)
    first, second = seen
    assert all(map(torch.equal, first, start))
    moves = [b - a for a, b in zip(first[:3], second[:3], strict=True)]
    norm = torch.cat([gradient.flatten() for gradient in gradients]).norm()
    for move, gradient in zip(moves, gradients, strict=True):
        torch.testing.assert_close(move, 0.3 * gradient / norm, rtol=1e-9, atol=1e-12)
    assert all(map(torch.equal, problem.parameters, start))


def test_restoring_is_exact() -> None:
    parameters = [torch.randn(1000) for _ in range(3)]
    before = [parameter.clone() for parameter in parameters]
    with perturbed(parameters, [1e3 * torch.randn(1000) for _ in range(3)]):
        assert not torch.equal(parameters[0], before[0])
    assert all(map(torch.equal, parameters, before))


def test_restoring_survives_an_exception() -> None:
    parameter = torch.zeros(3)
    with pytest.raises(KeyError), perturbed([parameter], [torch.ones(3)]):
        raise KeyError
    assert torch.equal(parameter, torch.zeros(3))


def test_an_offset_that_does_not_fit_moves_nothing() -> None:
    parameters = [torch.zeros(3), torch.zeros(3)]
    with pytest.raises(RuntimeError), perturbed(parameters, [torch.ones(3), torch.ones(5)]):
        pass
    assert all(torch.equal(parameter, torch.zeros(3)) for parameter in parameters)


def test_random_directions_have_length_rho_and_are_the_seeds() -> None:
    def offsets(seed: int) -> list[Tensor]:
        problem = Regression(torch.float64)
        problem()
        directions, factor = RandomSAM(problem.parameters, BASE, rho=0.3, seed=seed)._ascent(
            problem.parameters[:3], [], {"seed": seed, "random_steps": 0, "rho": 0.3}
        )
        return [factor * direction for direction in directions]

    one, again, other = offsets(0), offsets(0), offsets(1)
    assert all(map(torch.equal, one, again))
    assert not torch.equal(one[0], other[0])
    assert torch.cat([offset.flatten() for offset in one]).norm().item() == pytest.approx(0.3)


def test_any_registered_base() -> None:
    one, two = Regression(), Regression()
    named = create_optimizer("sam", one.parameters, base_optimizer="adamw", lr=0.01, rho=0.1, eps=1e-6)
    built = SAM(two.parameters, partial(torch.optim.AdamW, lr=0.01, eps=1e-6), rho=0.1)
    assert isinstance(named.base, torch.optim.AdamW)
    assert all(map(torch.equal, after(named, one), after(built, two)))


def test_schedulers_reach_base_and_radius() -> None:
    problem = Regression()
    optimizer = create_optimizer("sam", problem.parameters, lr=0.1, rho=0.05)
    optimizer.param_groups[0]["lr"] = 0.02
    optimizer.param_groups[0]["rho"] = 0.5
    assert optimizer.base.param_groups[0]["lr"] == 0.02
    other = Regression()
    assert all(
        map(
            torch.equal,
            after(optimizer, problem),
            after(SAM(other.parameters, partial(SGD, lr=0.02), 0.5), other),
        )
    )


def test_groups_added_later_belong_to_both() -> None:
    one, two = nn.Parameter(torch.ones(2)), nn.Parameter(torch.ones(2))
    optimizer = SAM([one], BASE, rho=0.1)
    optimizer.add_param_group({"params": [two], "lr": 0.5})
    assert [group["lr"] for group in optimizer.param_groups] == [0.1, 0.5]
    assert [group["rho"] for group in optimizer.param_groups] == [0.1, 0.1]
    assert optimizer.param_groups is optimizer.base.param_groups


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda p: SAM(p, BASE, rho=-0.1), "rho must be finite and at least 0, not -0.1"),
        (lambda p: SAM(p, BASE, rho=math.inf), "rho must be finite and at least 0, not inf"),
        (lambda p: ASAM(p, BASE, eta=-1), "eta must be finite and at least 0, not -1"),
        (lambda p: SAM([{"params": p, "rho": -1.0}], BASE), "rho must be finite and at least 0, not -1.0"),
        (lambda p: SAM(p, BASE, batch_dims=1), "batch_dims needs sgd as base optimizer, not SGD"),
        (lambda p: SAM(p, SGD, batch_dims=1), "batch_dims is 1, but 0 in the base optimizer"),
        (lambda p: SAM(p, partial(SGD, batch_dims=1)), "batch_dims is 0, but 1 in the base optimizer"),
        (lambda p: create_optimizer("sam", p, batch_dims=-1), "batch_dims must be at least 0, not -1"),
        (
            lambda p: create_optimizer("sam", p, base_optimizer="adamw", batch_dims=1),
            "batch_dims needs sgd as base optimizer, not adamw",
        ),
        (lambda p: create_optimizer("sam", p, base_optimizer="sdg"), "unknown optimizer 'sdg'; did you mean"),
        (lambda p: create_optimizer("sam", p, betas=[0.9, 0.9]), "unknown hyperparameter 'betas'"),
        (lambda p: create_optimizer("sam", p, base_optimizer="sgd-repeat"), "it evaluates the loss itself"),
        (lambda p: create_optimizer("asam", p, base_optimizer="sam"), "it has a base itself"),
    ],
)
def test_bad_values_are_named(make, message: str) -> None:
    with pytest.raises((UsageError, ValueError)) as error:
        make(Regression().parameters)
    assert message in str(error.value)


def test_groups_that_disagree_on_the_radius_are_an_error() -> None:
    one, two = nn.Parameter(torch.ones(2)), nn.Parameter(torch.ones(2))
    optimizer = SAM([{"params": [one]}, {"params": [two]}], BASE)
    optimizer.param_groups[1]["rho"] = 0.1
    with pytest.raises(ValueError, match="SAM has one rho, but groups disagree"):
        optimizer.step(lambda: torch.zeros(()))


@pytest.mark.parametrize("rho", [-1.0, math.nan])
def test_a_radius_set_out_of_range_is_an_error(rho: float) -> None:
    problem = Regression()
    optimizer = SAM(problem.parameters, BASE)
    optimizer.param_groups[0]["rho"] = rho
    with pytest.raises(ValueError, match="rho must be finite and at least 0"):
        optimizer.step(problem)


def test_a_contact_closure_gives_the_ascent_alone(quartic) -> None:
    w, rho = quartic.start, 0.3
    loss = SAM(quartic.parameters, partial(torch.optim.SGD, lr=0.1), rho).step(quartic, quartic.part)
    g = quartic.gradient(w, 0, part=True)
    there = w + rho * g / math.sqrt(g @ g)
    assert len(quartic.seen) == 2
    np.testing.assert_allclose(quartic.seen[1], there, rtol=1e-12)
    np.testing.assert_allclose(quartic.weights(), w - 0.1 * quartic.gradient(there, 0), rtol=1e-12)
    assert loss.item() == pytest.approx(quartic.value(there, 0))


@pytest.mark.parametrize("name", ["sam", "sam-null", "sam-random", "asam", "asam-w2"])
def test_a_contact_on_part_of_the_batch_costs_its_share(name: str) -> None:
    problem = NormalizedRegression()
    optimizer = create_optimizer(name, problem.parameters)
    statistics = problem.module[1].num_batches_tracked
    for step in range(3):
        problem.next_step()
        optimizer.step(problem, problem.part(0.25))
        assert problem.gradient_evaluations == 1.25 * (step + 1)
        assert statistics.item() == step + 1


def test_without_an_ascent_part_of_the_batch_changes_nothing() -> None:
    ends = []
    for part in (False, True):
        problem = NormalizedRegression()
        optimizer = create_optimizer("sam-null", problem.parameters)
        for _ in range(3):
            problem.next_step()
            optimizer.step(*[problem, problem.part(0.25)][: 1 + part])
        ends.append([*problem.parameters, *problem.module.buffers()])
    assert all(map(torch.equal, *ends))
