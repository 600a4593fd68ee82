"""SAM's kin of two gradients against their equations, other code and what they reduce to."""

from __future__ import annotations

import math
from functools import partial

import numpy as np
import pytest
import pytorch_optimizer
import torch
from torch import Tensor, nn

from baselines.sam import SAM
from baselines.sam_kin import GSAM, WSAM, FriendlySAM, UnifiedSAM
from rbobench.errors import UsageError
from rbobench.registry import create_optimizer, get_optimizer
from rbobench.testing import check_optimizer
from rbobench.testing.problems import Regression
from rbobench.testing.subject import Subject

KIN = ("unified-sam", "gsam", "wsam", "friendly-sam")
LR, MOMENTUM, RHO, STEPS = 0.05, 0.9, 0.2, 6
BASE = partial(torch.optim.SGD, lr=LR, momentum=MOMENTUM)


def unit(vector: np.ndarray) -> np.ndarray:
    return vector / np.sqrt((vector * vector).sum())


def unified_sam(quartic, alpha: float) -> np.ndarray:
    w, v = quartic.start, 0.0
    for t in range(STEPS):
        g = quartic.gradient(w, t)
        v = MOMENTUM * v + quartic.gradient(w + RHO * ((1 - alpha) * g + alpha * unit(g)), t)
        w = w - LR * v
    return w


def gsam(quartic, alpha: float) -> np.ndarray:
    w, v = quartic.start, 0.0
    for t in range(STEPS):
        g = quartic.gradient(w, t)
        p = quartic.gradient(w + RHO * unit(g), t)
        orthogonal = g - (g @ unit(p)) * unit(p)
        v = MOMENTUM * v + p - alpha * orthogonal
        w = w - LR * v
    return w


def wsam(quartic, gamma: float) -> np.ndarray:
    w, v = quartic.start, 0.0
    for t in range(STEPS):
        g = quartic.gradient(w, t)
        sharpness = quartic.gradient(w + RHO * unit(g), t) - g
        v = MOMENTUM * v + g
        w = w - LR * (v + gamma / (1 - gamma) * sharpness)
    return w


def friendly_sam(quartic, sigma: float, decay: float) -> np.ndarray:
    w, v, m = quartic.start, 0.0, None
    for t in range(STEPS):
        g = quartic.gradient(w, t)
        d = g if m is None else g - sigma * (decay * m + (1 - decay) * g)
        m = g if m is None else decay * m + (1 - decay) * g
        v = MOMENTUM * v + quartic.gradient(w + RHO * unit(d), t)
        w = w - LR * v
    return w


@pytest.mark.parametrize(
    ("kind", "transcription", "settings"),
    [
        (UnifiedSAM, unified_sam, {"alpha": 0.0}),
        (UnifiedSAM, unified_sam, {"alpha": 0.3}),
        (GSAM, gsam, {"alpha": 0.4}),
        (WSAM, wsam, {"gamma": 0.8}),
        (FriendlySAM, friendly_sam, {"sigma": 1.0, "decay": 0.9}),
        (FriendlySAM, friendly_sam, {"sigma": 0.7, "decay": 0.6}),
    ],
)
def test_follows_its_equations(kind, transcription, settings: dict[str, float], quartic) -> None:
    ours = quartic.run(kind(quartic.parameters, BASE, RHO, **settings), STEPS)
    theirs = transcription(quartic, **settings)
    np.testing.assert_allclose(ours, theirs, rtol=1e-10)
    plain = transcription(quartic, **{name: 0.999 * value + 1e-3 for name, value in settings.items()})
    assert np.abs(plain - theirs).max() > 1e-7  # the settings matter on this problem


def driven_by_hand(optimizer, problem: Regression) -> list[Tensor]:
    for _ in range(STEPS):
        problem.next_step()
        problem()
        optimizer.first_step()
        problem()
        optimizer.second_step()
    return [parameter.detach().clone() for parameter in problem.parameters]


def gsam_driven_by_hand(optimizer, problem: Regression, rho: float) -> list[Tensor]:
    """Its own `step` wants a closure that returns outputs and loss."""
    for _ in range(STEPS):
        problem.next_step()
        problem()
        optimizer.perturb_weights(rho)
        problem()
        optimizer.gradient_decompose(optimizer.alpha)
        optimizer.un_perturb()
        optimizer.base_optimizer.step()
    return [parameter.detach().clone() for parameter in problem.parameters]


class Constant:
    """What `pytorch_optimizer`'s GSAM asks for its radius."""

    def step(self) -> float:
        return 0.05


def after(optimizer: torch.optim.Optimizer, problem: Regression) -> list[Tensor]:
    for _ in range(STEPS):
        problem.next_step()
        optimizer.step(problem)
    return [parameter.detach().clone() for parameter in problem.parameters]


def test_agrees_with_another_implementation() -> None:
    """All three are right once driven by hand; their norm is taken in single precision."""
    sgd = {"lr": 0.1, "momentum": 0.9}

    def friendly(problem: Regression) -> list[Tensor]:
        other = pytorch_optimizer.FriendlySAM(
            problem.parameters, torch.optim.SGD, rho=0.05, sigma=1.0, lmbda=0.8, **sgd
        )
        return driven_by_hand(other, problem)

    def weighted(problem: Regression) -> list[Tensor]:
        other = pytorch_optimizer.WSAM(
            nn.Module(), problem.parameters, torch.optim.SGD, rho=0.05, gamma=0.8, **sgd
        )
        return driven_by_hand(other, problem)

    def surrogate(problem: Regression) -> list[Tensor]:
        base = torch.optim.SGD(problem.parameters, **sgd)
        other = pytorch_optimizer.GSAM(problem.parameters, base, nn.Module(), Constant(), alpha=0.3)
        return gsam_driven_by_hand(other, problem, 0.05)

    base = partial(torch.optim.SGD, **sgd)
    for theirs, ours in (
        (friendly, partial(FriendlySAM, rho=0.05, decay=0.8)),
        (weighted, partial(WSAM, rho=0.05, gamma=0.8)),
        (surrogate, partial(GSAM, rho=0.05, alpha=0.3)),
    ):
        problem = Regression(torch.float64)
        mine = after(ours(problem.parameters, base), problem)
        for one, two in zip(mine, theirs(Regression(torch.float64)), strict=True):
            torch.testing.assert_close(one, two, rtol=1e-6, atol=1e-7)


def test_half_and_half_wsam_is_sam_without_momentum() -> None:
    ends = []
    for kind, settings in ((SAM, {}), (WSAM, {"gamma": 0.5})):
        problem = Regression(torch.float64)
        base = partial(torch.optim.SGD, lr=0.1)
        ends.append(after(kind(problem.parameters, base, 0.3, **settings), problem))
    for one, two in zip(*ends, strict=True):
        torch.testing.assert_close(one, two, rtol=1e-12, atol=1e-14)


def test_wsam_leaves_the_bases_momentum_to_the_gradients_at_the_start(quartic) -> None:
    WSAM(quartic.parameters, partial(torch.optim.SGD, lr=0.0, momentum=0.5), 0.3).step(quartic)
    momentum = torch.cat([each.grad.flatten() for each in quartic.parameters]).numpy()
    np.testing.assert_allclose(momentum, quartic.gradient(quartic.start, 0), rtol=1e-12)


@pytest.mark.parametrize("name", KIN)
@pytest.mark.parametrize("base", [{"base_optimizer": "adamw"}, {"momentum": 0.9, "weight_decay": 1e-3}])
def test_around_any_base(name: str, base: dict[str, object]) -> None:
    torch.set_num_threads(1)
    subject = Subject(name, lambda params: create_optimizer(name, params, **base), cost=2)
    checks = (
        "resume_is_bit_equal",
        "a_copy_goes_on_as_the_original",
        "runs_on_meta",
        "lr_zero_moves_nothing",
    )
    assert [each.detail for each in check_optimizer(subject, checks) if each.status != "passed"] == []


@pytest.mark.parametrize("name", ["sam", *KIN])
def test_a_radius_for_each_problem(name: str) -> None:
    radii = torch.tensor([0.0, 0.1, 0.4], dtype=torch.float64)
    batch = Regression(torch.float64, copies=3)
    optimizer = create_optimizer(name, batch.parameters, rho=radii, batch_dims=1)
    together = after(optimizer, batch)
    for problem, rho in enumerate(radii.tolist()):
        alone = Regression(torch.float64, only=problem)
        ends = after(create_optimizer(name, alone.parameters, rho=rho), alone)
        for one, row in zip(ends, together, strict=True):
            torch.testing.assert_close(row[problem], one, rtol=0, atol=1e-13)


def test_a_contact_closure_is_for_those_that_ascend_alone(quartic) -> None:
    for name in KIN:
        optimizer = create_optimizer(name, quartic.parameters)
        quartic.seen.clear()
        if get_optimizer(name).looks_around:
            optimizer.step(quartic, contact_closure=quartic.part)
            assert len(quartic.seen) == 2
        else:
            with pytest.raises(ValueError, match="descends by the gradient at w too; it takes no contact"):
                optimizer.step(quartic, contact_closure=quartic.part)


@pytest.mark.parametrize(
    ("name", "settings", "message"),
    [
        ("unified-sam", {"rho": -1.0}, "rho must be finite and at least 0, not -1.0"),
        ("unified-sam", {"alpha": 1.5}, "alpha must be from 0 to 1, not 1.5"),
        ("gsam", {"alpha": -0.1}, "alpha must be finite and at least 0, not -0.1"),
        ("wsam", {"gamma": 1.0}, "gamma must be at least 0 and below 1, not 1.0"),
        ("wsam", {"gamma": -0.5}, "gamma must be at least 0 and below 1, not -0.5"),
        ("friendly-sam", {"sigma": -1.0}, "sigma must be finite and at least 0, not -1.0"),
        ("friendly-sam", {"decay": 1.0}, "decay must be at least 0 and below 1, not 1.0"),
        ("gsam", {"base_optimizer": "adamw", "batch_dims": 1}, "batch_dims needs sgd as base optimizer"),
        ("wsam", {"base_optimizer": "sam"}, "it has a base itself"),
        ("gsam", {"rho": torch.tensor([0.1, -0.1]), "batch_dims": 1}, "rho must be finite and at least 0"),
        ("gsam", {"rho": torch.tensor([0.1, 0.2])}, "rho is one for each problem, but batch_dims is 0"),
    ],
)
def test_bad_values_are_named(name: str, settings: dict[str, object], message: str) -> None:
    with pytest.raises(UsageError) as error:
        create_optimizer(name, Regression().parameters, **settings)
    assert message in str(error.value)


def test_a_setting_that_the_base_has_too_is_an_error() -> None:
    base = partial(torch.optim.RMSprop, alpha=0.9)
    with pytest.raises(ValueError, match="alpha is a setting of RMSprop too"):
        GSAM(Regression().parameters, base)


def test_a_setting_set_out_of_range_is_an_error(quartic) -> None:
    optimizer = WSAM(quartic.parameters, BASE)
    optimizer.param_groups[0]["gamma"] = math.nan
    with pytest.raises(ValueError, match="gamma must be at least 0 and below 1, not nan"):
        optimizer.step(quartic)
