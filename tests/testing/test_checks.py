"""Each faulty optimizer fails exactly the checks that are there to catch it."""

from __future__ import annotations

import math
import subprocess
import sys
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from rbobench.errors import UsageError
from rbobench.optim.center import CenterRBO
from rbobench.optim.sgd import SGD
from rbobench.testing import CHECKS, CheckResult, Subject, check_optimizer
from rbobench.testing.checks import Skip, _difference, waiting_is_an_error


class Descent(torch.optim.Optimizer):
    """Gradient descent, right."""

    def __init__(self, params: Any, lr: float = 0.05) -> None:
        super().__init__(params, {"lr": lr})

    @torch.no_grad()
    def step(self, closure=None):
        with torch.enable_grad():
            loss = closure()
        for group in self.param_groups:
            for parameter in group["params"]:
                if parameter.grad is not None:
                    self.move(group, parameter, parameter.grad)
        return loss.detach()

    def move(self, group: dict[str, Any], parameter: Tensor, gradient: Tensor) -> None:
        parameter.sub_(group["lr"] * gradient)


class LooksAtATensor(Descent):
    def move(self, group, parameter, gradient):
        if gradient.norm().item() > 0:
            super().move(group, parameter, gradient)


class EvaluatesTwice(Descent):
    def step(self, closure=None):
        with torch.enable_grad():
            closure()
        return super().step(closure)


class DeclaresTwo(EvaluatesTwice):
    gradient_evaluations = 2


class ForgetsItsMomentum(Descent):
    def __init__(self, params, lr=0.05):
        super().__init__(params, lr)
        self.buffers: dict[Tensor, Tensor] = {}

    def move(self, group, parameter, gradient):
        buffer = self.buffers.setdefault(parameter, torch.zeros_like(parameter))
        buffer.mul_(0.9).add_(gradient)
        super().move(group, parameter, buffer)


class AddsAndSubtracts(Descent):
    def move(self, group, parameter, gradient):
        parameter.add_(gradient)
        parameter.sub_(gradient)
        super().move(group, parameter, gradient)


class DrawsGlobally(Descent):
    def move(self, group, parameter, gradient):
        super().move(group, parameter, gradient + 1e-3 * torch.randn_like(gradient))


class KeepsItsOwnRate(Descent):
    def move(self, group, parameter, gradient):
        parameter.sub_(0.05 * gradient)


class ReadsItsRateOnce(Descent):
    rate = None

    def move(self, group, parameter, gradient):
        if self.rate is None:
            self.rate = group["lr"]
        parameter.sub_(self.rate * gradient)


class LooksAtTheSixthStep(Descent):
    steps = 0

    def step(self, closure=None):
        loss = super().step(closure)
        self.steps += 1
        if self.steps % 6 == 0:
            loss.item()
        return loss


class LooksAroundUncounted(Descent):
    def step(self, closure=None):
        if hasattr(closure, "part"):
            closure.part(0.5)()
        return super().step(closure)


class ReturnsNothing(Descent):
    def step(self, closure=None):
        super().step(closure)


class DecaysEverything(Descent):
    @torch.no_grad()
    def step(self, closure=None):
        loss = super().step(closure)
        for group in self.param_groups:
            for parameter in group["params"]:
                parameter.mul_(1 - 0.1 * group["lr"])
        return loss


class StandsStill(Descent):
    def move(self, group, parameter, gradient):
        pass


FAULTS: dict[type[Descent], set[str]] = {
    Descent: set(),
    DeclaresTwo: {"step_without_a_closure_is_an_error"},
    LooksAtATensor: {"runs_on_meta"},
    EvaluatesTwice: {"declared_gradient_evaluations"},
    ForgetsItsMomentum: {"resume_is_bit_equal", "a_copy_goes_on_as_the_original"},
    AddsAndSubtracts: {"lr_zero_moves_nothing"},
    DrawsGlobally: {
        "leaves_the_global_random_stream_alone",
        "resume_is_bit_equal",
        "a_copy_goes_on_as_the_original",
    },
    KeepsItsOwnRate: {"lr_zero_moves_nothing", "schedulers_work"},
    ReadsItsRateOnce: {"schedulers_work"},
    LooksAtTheSixthStep: {"runs_on_meta"},
    LooksAroundUncounted: {"declared_gradient_evaluations"},
    ReturnsNothing: {"returns_the_loss_at_the_start"},
    DecaysEverything: {"parameters_without_gradient_stay_put"},
    StandsStill: {"moves", "schedulers_work"},
}


@pytest.mark.parametrize("kind", FAULTS, ids=lambda kind: kind.__name__)
def test_faults_are_found(kind: type[Descent]) -> None:
    failed = {result.name for result in check_optimizer(kind) if result.status == "failed"}
    assert failed == FAULTS[kind]


def test_a_batch_that_is_one_big_problem_is_found() -> None:
    class OneNorm(SGD):
        def step_batch(self, losses: Tensor) -> None:
            gradients = [p.grad for p in self.param_groups[0]["params"] if p.grad is not None]
            norm = torch.stack([gradient.norm() for gradient in gradients]).norm()
            for gradient in gradients:
                gradient.div_(norm)
            super().step_batch(losses)

    subject = Subject(
        "one norm", lambda p: SGD(p, 0.05), make_batched=lambda p: OneNorm(p, 0.05, batch_dims=1)
    )
    (result,) = check_optimizer(subject, ["batch_of_problems"])
    assert result.status == "failed"
    assert "differs from itself alone" in result.detail


def test_memory_and_reductions_are_held_to_what_is_declared() -> None:
    momentum = partial(SGD, lr=0.05, momentum=0.9)
    subject = Subject(
        "momentum",
        momentum,
        parameter_copies=0.5,
        reductions=(("momentum is none", momentum, lambda params: SGD(params, 0.05)),),
    )
    memory, reduction = check_optimizer(
        subject, ["parameter_copies", "is_its_control_when_its_idea_is_taken_out"]
    )
    assert memory.status == "failed"
    assert "0.5 declared" in memory.detail
    assert reduction.status == "failed"
    assert "not true: momentum is none" in reduction.detail


@pytest.mark.parametrize(("contact", "copies"), [("previous", 1.0), ("lagged", 2.0)])
def test_memory_in_views_and_in_objects_of_ones_own_is_counted_once(contact: str, copies: float) -> None:
    """Copies of the four parameters, of which one never has a gradient to be remembered."""
    for declared, status in ((copies, "passed"), (0.7 * copies, "failed")):
        subject = Subject(
            contact, lambda p: CenterRBO(p, 0.05, 0.1, contact=contact), parameter_copies=declared
        )
        (result,) = check_optimizer(subject, ["parameter_copies"])
        assert result.status == status, result.detail


def test_only_cuda_tells_who_waits() -> None:
    (result,) = check_optimizer(Descent, ["never_waits_for_the_device"])
    assert (result.status, result.detail) == (
        "skipped",
        "torch tells on CUDA alone who waits; elsewhere runs_on_meta is the check",
    )


def test_what_is_declared_to_look_is_not_asked_whether_it_waits() -> None:
    subject = Subject("looks", LooksAtATensor, exceptions={"runs_on_meta": "looks at the norm"})
    with pytest.raises(Skip, match="runs_on_meta is declared to fail: looks at the norm"):
        CHECKS["never_waits_for_the_device"](subject, torch.device("cuda"))


def test_waiting_is_an_error_inside_the_block_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    modes: list[str | int] = [1]
    monkeypatch.setattr(torch.cuda, "get_sync_debug_mode", lambda: modes[-1])
    monkeypatch.setattr(torch.cuda, "set_sync_debug_mode", modes.append)
    with pytest.raises(RuntimeError, match="waits"), waiting_is_an_error():
        raise RuntimeError("waits")
    assert modes == [1, "error", 1]


def test_a_declared_failure_is_expected_and_must_happen() -> None:
    subject = Subject("looks", LooksAtATensor, exceptions={"runs_on_meta": "looks at the norm"})
    assert check_optimizer(subject, ["runs_on_meta"]) == [
        CheckResult("runs_on_meta", "expected failure", "looks at the norm")
    ]
    subject = Subject("right", Descent, exceptions={"runs_on_meta": "looks at the norm"})
    (result,) = check_optimizer(subject, ["runs_on_meta"])
    assert result.status == "failed"
    assert "passes, though declared to fail" in result.detail


def test_checking_leaves_the_callers_random_stream_alone() -> None:
    before = torch.get_rng_state()
    check_optimizer(DrawsGlobally)
    assert torch.equal(before, torch.get_rng_state())


@pytest.mark.parametrize(
    ("subject", "checks"),
    [
        (Subject("descent", Descent), ["run_on_meta"]),
        (Subject("descent", Descent, exceptions={"run_on_meta": "looks at the norm"}), None),
    ],
    ids=["asked for", "declared to fail"],
)
def test_a_misspelled_check_is_told(subject: Subject, checks: list[str] | None) -> None:
    with pytest.raises(UsageError, match="unknown check 'run_on_meta'; did you mean 'runs_on_meta'"):
        check_optimizer(subject, checks)


def test_a_module_that_breaks_on_import_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "broken_optimizer_module.py").write_text("undefined_name\n")
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(UsageError, match="cannot import 'broken_optimizer_module': NameError: name 'undef"):
        check_optimizer("broken_optimizer_module:Optimizer")


def test_a_difference_that_is_no_number_is_not_lost() -> None:
    zeros = [torch.zeros(2), torch.zeros(2)]
    assert math.isnan(_difference(zeros, [torch.zeros(2), torch.tensor([0.0, math.nan])]))


def test_the_contract_needs_no_pytest() -> None:
    code = "import sys, rbobench.testing; assert 'pytest' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True)


def test_what_cannot_run_is_skipped_with_the_reason() -> None:
    results = check_optimizer(Subject("fused", Descent, requires=("cuda",)))
    assert [result.name for result in results] == list(CHECKS)
    assert {(result.status, result.detail) for result in results} == {("skipped", "requires cuda")}


def test_on_a_device_that_is_there_only_the_rest_is_missing() -> None:
    results = check_optimizer(Subject("fused", Descent, requires=("apex", "cuda")), device="cuda")
    assert {(result.status, result.detail) for result in results} == {("skipped", "requires apex")}


@pytest.mark.parametrize(
    ("spelled", "message"),
    [
        ("torch.optim.SGD", "an optimizer is named as package.module:Class, not 'torch.optim.SGD'"),
        ("no_such_package:SGD", "cannot import 'no_such_package'"),
        ("torch.optim:SDG", "module 'torch.optim' has no 'SDG'"),
        ("torch.nn:Linear", "'torch.nn:Linear' is no torch.optim.Optimizer class"),
    ],
)
def test_bad_names_are_told(spelled: str, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        check_optimizer(spelled)


def test_a_class_that_needs_more_than_parameters_is_told() -> None:
    with pytest.raises(UsageError, match=r"RBO\(params\) cannot be built"):
        check_optimizer("rbobench:RBO")


def test_torchs_own_pass() -> None:
    assert all(result.status in ("passed", "skipped") for result in check_optimizer("torch.optim:Adam"))
