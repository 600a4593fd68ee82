"""SAM's kin of one gradient against their equations, and what they keep."""

from __future__ import annotations

import math
from functools import partial

import numpy as np
import pytest
import torch
from torch import nn

from baselines.one_gradient_sam import S2SAM, MomentumSAM, RandomWeightPerturbation
from rbobench.errors import UsageError
from rbobench.registry import create_optimizer
from rbobench.testing import check_optimizer
from rbobench.testing.problems import Regression
from rbobench.testing.subject import Subject

KIN = ("s2-sam", "momentum-sam", "rwp")
LR, RHO, STEPS = 0.05, 0.2, 6


def sgd(momentum: float) -> partial[torch.optim.SGD]:
    return partial(torch.optim.SGD, lr=LR, momentum=momentum)


def along(vector: np.ndarray) -> np.ndarray:
    norm = math.sqrt(vector @ vector)
    return RHO * vector / norm if norm else vector


def s2_sam(quartic, momentum: float) -> np.ndarray:
    w, v, g = quartic.start, 0.0, np.zeros(7)
    for t in range(STEPS):
        g = quartic.gradient(w + along(g), t)
        v = momentum * v + g
        w = w - LR * v
    return w


def momentum_sam(quartic, momentum: float) -> np.ndarray:
    w, v = quartic.start, np.zeros(7)
    for t in range(STEPS):
        v = momentum * v + quartic.gradient(w - along(v), t)
        w = w - LR * v
    return w


@pytest.mark.parametrize("momentum", [0.0, 0.9])
@pytest.mark.parametrize(("kind", "transcription"), [(S2SAM, s2_sam), (MomentumSAM, momentum_sam)])
def test_follows_its_equations(kind, transcription, momentum: float, quartic) -> None:
    ours = quartic.run(kind(quartic.parameters, sgd(momentum), RHO), STEPS)
    np.testing.assert_allclose(ours, transcription(quartic, momentum), rtol=1e-10)
    assert len(quartic.seen) == STEPS


def test_momentum_sam_takes_adams_first_moment(quartic) -> None:
    optimizer = MomentumSAM(quartic.parameters, partial(torch.optim.AdamW, lr=LR), RHO)
    quartic.run(optimizer, 3)
    moment = torch.cat([optimizer.state[each]["exp_avg"].flatten() for each in quartic.parameters]).numpy()
    before = quartic.weights()
    optimizer.step(quartic)
    np.testing.assert_allclose(quartic.seen[-1] - before, -along(moment), rtol=1e-10)
    assert all("last_gradient" not in optimizer.state[each] for each in quartic.parameters)


def test_random_weight_perturbation_has_a_fresh_gaussian_at_every_step() -> None:
    parameter = nn.Parameter(torch.ones(100, 100, dtype=torch.float64))
    seen = []

    def closure() -> torch.Tensor:
        seen.append(parameter.detach().clone() - 1.0)
        parameter.grad = torch.zeros_like(parameter)
        return torch.zeros(())

    optimizer = RandomWeightPerturbation([parameter], sgd(0.0), rho=0.5)
    for _ in range(2):
        optimizer.step(closure)
    for each in seen:
        assert each.norm().item() == pytest.approx(0.5, rel=0.05)
        assert each.mean().abs().item() < 5 * 0.5 / 100 / 100
        kurtosis = each.pow(4).mean() / each.pow(2).mean().square()
        assert kurtosis.item() == pytest.approx(3.0, abs=0.3)
    correlation = (seen[0] * seen[1]).sum() / (seen[0].norm() * seen[1].norm())
    assert abs(correlation.item()) < 0.05
    assert torch.equal(parameter.detach(), torch.ones(100, 100, dtype=torch.float64))


def test_random_weight_perturbation_descends_by_the_gradient_there(quartic) -> None:
    quartic.run(RandomWeightPerturbation(quartic.parameters, sgd(0.0), RHO), STEPS)
    w = quartic.start
    for t in range(STEPS):
        w = w - LR * quartic.gradient(quartic.seen[t], t)
    np.testing.assert_allclose(quartic.weights(), w, rtol=1e-12)


def run(name: str, problem: Regression, **settings: object) -> list[torch.Tensor]:
    optimizer = create_optimizer(name, problem.parameters, **settings)
    for _ in range(STEPS):
        problem.next_step()
        optimizer.step(problem)
    return [parameter.detach() for parameter in problem.parameters]


@pytest.mark.parametrize("name", KIN)
def test_a_radius_and_a_seed_for_each_problem(name: str) -> None:
    radii, seeds = [0.0, 0.5, 0.5], [3, 4, 5]
    own = [{"seed": seed} if name == "rwp" else {} for seed in seeds]
    many = {"seed": seeds} if name == "rwp" else {}
    together = run(
        name,
        Regression(torch.float64, copies=3),
        rho=torch.tensor(radii, dtype=torch.float64),
        batch_dims=1,
        momentum=0.9,
        **many,
    )
    for problem, rho in enumerate(radii):
        alone = Regression(torch.float64, only=problem)
        ends = run(name, alone, rho=rho, momentum=0.9, **own[problem])
        for one, row in zip(ends, together, strict=True):
            torch.testing.assert_close(row[problem], one, rtol=0, atol=1e-13)


def test_problems_of_one_seed_share_their_draws() -> None:
    parameter = nn.Parameter(torch.zeros(2, 4))
    seen = []

    def closure() -> torch.Tensor:
        seen.append(parameter.detach().clone())
        parameter.grad = torch.zeros_like(parameter)
        return torch.zeros(2)

    for seed in (0, [0, 1]):
        create_optimizer("rwp", [parameter], batch_dims=1, seed=seed).step(closure)
    shared, own = seen
    assert torch.equal(shared[0], shared[1])
    assert torch.equal(own[0], shared[0])
    assert not torch.equal(own[0], own[1])


@pytest.mark.parametrize("name", KIN)
@pytest.mark.parametrize("base", [{"base_optimizer": "adamw"}, {"momentum": 0.9, "weight_decay": 1e-3}])
def test_around_any_base(name: str, base: dict[str, object]) -> None:
    torch.set_num_threads(1)
    subject = Subject(name, lambda params: create_optimizer(name, params, **base))
    checks = (
        "resume_is_bit_equal",
        "a_copy_goes_on_as_the_original",
        "runs_on_meta",
        "lr_zero_moves_nothing",
    )
    assert [each.detail for each in check_optimizer(subject, checks) if each.status != "passed"] == []


def test_momentum_costs_no_memory_where_the_base_has_it() -> None:
    problem = Regression()
    run("momentum-sam", problem, momentum=0.9)
    optimizer = create_optimizer("momentum-sam", problem.parameters, momentum=0.9)
    optimizer.step(problem)
    assert all(set(state) == {"momentum_buffer"} for state in optimizer.state.values())


@pytest.mark.parametrize("name", KIN)
@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"rho": -1.0}, "rho must be finite and at least 0, not -1.0"),
        ({"base_optimizer": "adamw", "batch_dims": 1}, "batch_dims needs sgd as base optimizer, not adamw"),
        ({"base_optimizer": "sgd-repeat"}, "it evaluates the loss itself"),
        ({"rho": torch.tensor([0.1, 0.2])}, "rho is one for each problem, but batch_dims is 0"),
        ({"sigma": 0.1}, "unknown hyperparameter 'sigma'"),
    ],
)
def test_bad_values_are_named(name: str, settings: dict[str, object], message: str) -> None:
    with pytest.raises(UsageError) as error:
        create_optimizer(name, Regression().parameters, **settings)
    assert message in str(error.value)


@pytest.mark.parametrize("batch_dims", [0, 1])
def test_seeds_that_do_not_fit_are_an_error(batch_dims: int) -> None:
    problem = Regression(copies=3)
    optimizer = create_optimizer("rwp", problem.parameters, batch_dims=batch_dims, seed=[1, 2])
    with pytest.raises(ValueError, match="several seeds need batch_dims = 1, and one for each problem"):
        optimizer.step(problem)


@pytest.mark.parametrize("name", KIN)
def test_no_closure_is_an_error(name: str) -> None:
    with pytest.raises(TypeError, match="needs a closure"):
        create_optimizer(name, Regression().parameters).step()
