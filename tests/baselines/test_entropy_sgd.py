"""Entropy-SGD against an independent transcription of both codes, its reduction, cost, state and errors."""

from __future__ import annotations

import copy
import io
import math
import pickle
import re

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from baselines.entropy_sgd import EntropySGD, EntropySGDPyTorch
from rbobench.errors import UsageError
from rbobench.registry import create_optimizer, get_optimizer
from rbobench.testing import check_optimizer

BOTH = pytest.mark.parametrize("kind", [EntropySGD, EntropySGDPyTorch])
NAMES = pytest.mark.parametrize("name", ["entropy-sgd", "entropy-sgd-pytorch"])

START = np.random.RandomState(0).normal(size=6)
MATRICES = np.random.RandomState(1).normal(size=(400, 6, 6)) / 4
SHIFTS = np.random.RandomState(2).normal(size=(400, 6))


class Batches:
    """½‖A_k x − b_k‖² + Σ cos x over two tensors, another k at every call."""

    def __init__(self, dtype: torch.dtype = torch.float64) -> None:
        start = torch.tensor(START, dtype=dtype)
        self.parameters = [nn.Parameter(start[:4].reshape(2, 2).clone()), nn.Parameter(start[4:].clone())]
        self.calls = 0
        self.dtype = dtype

    @property
    def point(self) -> np.ndarray:
        return torch.cat([each.detach().flatten() for each in self.parameters]).double().numpy()

    def __call__(self) -> Tensor:
        for parameter in self.parameters:
            parameter.grad = None
        matrix, shift = (torch.tensor(each[self.calls], dtype=self.dtype) for each in (MATRICES, SHIFTS))
        self.calls += 1
        point = torch.cat([each.flatten() for each in self.parameters])
        loss = 0.5 * (matrix @ point - shift).square().sum() + point.cos().sum()
        loss.backward()
        return loss


def gradient(point: np.ndarray, call: int) -> np.ndarray:
    matrix = MATRICES[call]
    return matrix.T @ (matrix @ point - SHIFTS[call]) - np.sin(point)


def lua(steps, lr, inner_steps, inner_lr, scope, scoping, momentum, weight_decay, nesterov):
    """`entropy-sgd.lua` without noise, in NumPy: shares no code with the optimizer."""
    x, call = START.copy(), 0
    trajectory = []
    for t in range(1, steps + 1):
        call += 1
        gamma = scope * (1 + scoping) ** t
        walker, mean, buffer = x.copy(), x.copy(), np.zeros_like(x)
        for _ in range(inner_steps):
            dw = gradient(walker, call)
            call += 1
            buffer = momentum * buffer + dw
            dw = dw + momentum * buffer if nesterov else buffer.copy()
            dw = dw + weight_decay * walker
            dw = dw - gamma * (x - walker)
            walker = walker - inner_lr * dw
            mean = 0.75 * mean + 0.25 * walker
        x = x - lr * (x - mean)
        trajectory.append(x)
    return np.array(trajectory)


def pytorch(steps, lr, inner_steps, inner_lr, scope, scoping, momentum, weight_decay, nesterov):
    """`optim.py` without noise and with t counted, in NumPy."""
    x, call, outer = START.copy(), 0, gradient(START, 0)
    trajectory = []
    for t in range(steps):
        call += 1
        gamma = scope * (1 + scoping) ** t
        walker, mean, buffer = x.copy(), x.copy(), np.zeros_like(x)
        for _ in range(inner_steps):
            dw = gradient(walker, call) + weight_decay * walker
            call += 1
            buffer = momentum * buffer + dw
            dw = dw + momentum * buffer if nesterov else buffer.copy()
            dw = dw - gamma * (x - walker)
            walker = walker - inner_lr * dw
            mean = 0.75 * mean + 0.25 * walker
        dw = x - mean + weight_decay * x
        outer = momentum * outer + dw
        x = x - lr * (dw + momentum * outer if nesterov else outer)
        trajectory.append(x)
    return np.array(trajectory)


@pytest.mark.parametrize(("kind", "transcribed"), [(EntropySGD, lua), (EntropySGDPyTorch, pytorch)])
@pytest.mark.parametrize("nesterov", [True, False])
def test_follows_the_transcription(kind, transcribed, nesterov):
    settings = {
        "lr": 0.4,
        "inner_steps": 6,
        "inner_lr": 0.05,
        "scope": 0.7,
        "scoping": 0.2,
        "momentum": 0.8,
        "weight_decay": 0.1,
        "nesterov": nesterov,
    }
    problem = Batches()
    optimizer = kind(problem.parameters, noise=0.0, **settings)
    trajectory = []
    for _ in range(8):
        optimizer.step(problem)
        trajectory.append(problem.point)
    expected = transcribed(8, **settings)
    np.testing.assert_allclose(trajectory, expected, rtol=0, atol=1e-12)
    assert np.abs(expected[-1] - START).max() > 0.1


@BOTH
@pytest.mark.parametrize(
    "settings",
    [
        {"momentum": 0.9, "nesterov": True, "weight_decay": 0.01},
        {"momentum": 0.9, "nesterov": False},
        {"momentum": 0.0, "nesterov": False, "weight_decay": 0.1},
    ],
)
def test_without_inner_steps_it_is_torch_sgd_bit_for_bit(kind, settings):
    ours, torchs = Batches(torch.float32), Batches(torch.float32)
    optimizer = kind(ours.parameters, lr=0.1, inner_steps=0, **settings)
    reference = torch.optim.SGD(torchs.parameters, lr=0.1, **settings)
    for _ in range(10):
        assert torch.equal(optimizer.step(ours), reference.step(torchs))
        assert np.array_equal(ours.point, torchs.point)
    assert ours.calls == 10


@pytest.mark.parametrize(("kind", "first"), [(EntropySGD, 1), (EntropySGDPyTorch, 0)])
def test_the_scope_grows_with_outer_steps(kind, first):
    """On a linear loss and without momentum, two inner steps reveal γ."""
    point = nn.Parameter(torch.ones(1, dtype=torch.float64))

    def closure() -> Tensor:
        optimizer.zero_grad()
        loss = point.sum()
        loss.backward()
        return loss

    optimizer = kind(
        [point],
        lr=1.0,
        inner_steps=2,
        inner_lr=0.1,
        noise=0.0,
        scope=0.5,
        scoping=0.25,
        momentum=0.0,
        nesterov=False,
    )
    for t in range(first, first + 6):
        before = point.item()
        optimizer.step(closure)
        # x'₁ = x − 0.1, x'₂ = x'₁ − 0.1 (1 − 0.1 γ); μ = x − 0.25 (0.75 · 0.1 + 0.2 − 0.01 γ)
        gamma = ((0.25 * (0.75 * 0.1 + 0.2) - (before - point.item())) / 0.25) / 0.01
        assert gamma == pytest.approx(0.5 * 1.25**t, rel=1e-9)


@BOTH
def test_the_noise_has_the_scale_of_langevin(kind):
    """On a zero loss without pull, one inner step is noise of scale η' ε / √(η'/2)."""
    point = nn.Parameter(torch.zeros(100_000, dtype=torch.float64))

    def closure() -> Tensor:
        optimizer.zero_grad()
        loss = 0.0 * point.sum()
        loss.backward()
        return loss

    optimizer = kind(
        [point], inner_steps=1, inner_lr=0.02, noise=3.0, scope=0.0, momentum=0.0, nesterov=False
    )
    optimizer.step(closure)
    scale = 0.25 * 0.02 * 3.0 / math.sqrt(0.01)
    assert point.std().item() == pytest.approx(scale, rel=0.02)
    assert abs(point.mean().item()) < 5 * scale / math.sqrt(100_000)


def run(kind, steps: int, **settings) -> np.ndarray:
    problem = Batches(torch.float32)
    optimizer = kind(problem.parameters, inner_steps=3, noise=0.1, **settings)
    for _ in range(steps):
        optimizer.step(problem)
    return problem.point


@BOTH
def test_the_noise_is_the_seeds(kind):
    torch.manual_seed(0)
    one = run(kind, 3, seed=1)
    torch.manual_seed(1)
    assert np.array_equal(one, run(kind, 3, seed=1))
    assert not np.array_equal(one, run(kind, 3, seed=2))


@BOTH
def test_resumes_bit_equal_with_noise(kind):
    problem = Batches(torch.float32)
    optimizer = kind(problem.parameters, inner_steps=3, noise=0.1, seed=5)
    for _ in range(4):
        optimizer.step(problem)
    stored = io.BytesIO()
    torch.save(optimizer.state_dict(), stored)
    stored.seek(0)
    other = Batches(torch.float32)
    other.calls = problem.calls
    with torch.no_grad():
        for mine, theirs in zip(other.parameters, problem.parameters, strict=True):
            mine.copy_(theirs)
    resumed = kind(other.parameters, inner_steps=3, noise=0.1, seed=5)
    resumed.load_state_dict(torch.load(stored))
    for _ in range(4):
        resumed.step(other)
    assert np.array_equal(other.point, run(kind, 8, seed=5))


@BOTH
@pytest.mark.parametrize("twin_of", [copy.deepcopy, lambda pair: pickle.loads(pickle.dumps(pair))])
def test_a_copied_or_pickled_one_goes_on_as_the_original(kind, twin_of):
    problem = Batches(torch.float32)
    optimizer = kind(problem.parameters, inner_steps=3, noise=0.1, seed=5)
    optimizer.step(problem)
    twin, other = twin_of((optimizer, problem))
    for _ in range(2):
        optimizer.step(problem)
        twin.step(other)
    assert np.array_equal(problem.point, other.point)


@BOTH
def test_lr_zero_moves_nothing_bit_for_bit(kind):
    problem = Batches(torch.float32)
    before = problem.point
    optimizer = kind(problem.parameters, lr=0.0, inner_steps=5, noise=0.1, weight_decay=0.1)
    for _ in range(3):
        optimizer.step(problem)
    assert np.array_equal(before, problem.point)


@BOTH
@pytest.mark.parametrize("inner_steps", [0, 1, 7])
def test_returns_the_first_loss_at_the_declared_cost(kind, inner_steps):
    problem, other = Batches(), Batches()
    optimizer = kind(problem.parameters, inner_steps=inner_steps)
    loss = optimizer.step(problem)
    assert torch.equal(loss, other().detach())
    assert not loss.requires_grad
    name = "entropy-sgd" if kind is EntropySGD else "entropy-sgd-pytorch"
    info = get_optimizer(name)
    assert problem.calls == info.cost(info.resolve({"inner_steps": inner_steps})) == inner_steps + 1


@BOTH
def test_parameters_without_gradient_stay_put(kind):
    problem = Batches()
    idle = nn.Parameter(torch.ones(3))
    optimizer = kind(
        [{"params": problem.parameters}, {"params": [idle]}], inner_steps=2, noise=0.1, weight_decay=0.1
    )
    optimizer.step(problem)
    assert torch.equal(idle, torch.ones(3))
    assert optimizer.param_groups[1]["outer_steps"] == 1


@BOTH
def test_groups_may_differ_in_lr_and_weight_decay(kind):
    problem = Batches()
    first, second = problem.parameters
    before = second.detach().clone()
    groups = [{"params": [first], "weight_decay": 0.1}, {"params": [second], "lr": 0.0}]
    kind(groups, inner_steps=3).step(problem)
    assert torch.equal(second, before)
    assert not np.array_equal(problem.point[:4], START[:4])


@NAMES
def test_is_registered_with_what_the_runner_must_know(name):
    info = get_optimizer(name)
    assert info.resamples
    assert info.randomized
    assert info.batch_norm == "re-estimated"
    assert info.resolve() == {
        "inner_lr": 0.1,
        "inner_steps": 20,
        "lr": 1.0,
        "momentum": 0.9,
        "nesterov": True,
        "noise": 1e-4,
        "scope": 0.03,
        "scoping": 1e-3,
        "weight_decay": 0.0,
    }


@NAMES
def test_keeps_the_contract(name):
    results = check_optimizer(get_optimizer(name))
    assert [result for result in results if result.status not in ("passed", "skipped")] == []


@BOTH
@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"inner_steps": -1}, "inner_steps must be a whole number from 0, not -1"),
        ({"inner_steps": 1.5}, "inner_steps must be a whole number from 0, not 1.5"),
        ({"lr": -0.1}, "lr must be finite and at least 0, not -0.1"),
        ({"lr": math.nan}, "lr must be finite and at least 0, not nan"),
        ({"noise": -1.0}, "noise must be finite and at least 0, not -1.0"),
        ({"scope": math.inf}, "scope must be finite and at least 0, not inf"),
        ({"scoping": -1.0}, "scoping must be finite and at least 0, not -1.0"),
        ({"momentum": -0.9}, "momentum must be finite and at least 0, not -0.9"),
        ({"weight_decay": -1.0}, "weight_decay must be finite and at least 0, not -1.0"),
        ({"inner_lr": 0.0}, "inner_lr must be finite and above 0, not 0.0"),
    ],
)
def test_refuses_values_out_of_range(kind, settings, message):
    with pytest.raises(ValueError, match=f"^{re.escape(message)}$"):
        kind(Batches().parameters, **settings)


@BOTH
def test_groups_must_agree_on_the_walk(kind):
    first, second = Batches().parameters
    message = "groups disagree on inner_steps: 20 and 3"
    with pytest.raises(ValueError, match=message):
        kind([{"params": [first]}, {"params": [second], "inner_steps": 3}])
    optimizer = kind([{"params": [first]}, {"params": [second]}])
    optimizer.param_groups[1]["inner_steps"] = 3
    with pytest.raises(ValueError, match=message):
        optimizer.step(lambda: torch.zeros(()))


@BOTH
def test_needs_a_closure(kind):
    with pytest.raises(TypeError, match="needs a closure"):
        kind(Batches().parameters).step()


@NAMES
def test_a_refused_hyperparameter_is_a_usage_error(name):
    with pytest.raises(UsageError, match=f"optimizer '{name}': inner_lr must be finite and above 0"):
        create_optimizer(name, Batches().parameters, inner_lr=0)
