"""The checks that every optimizer must pass."""

from __future__ import annotations

import copy
import io
import traceback
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LambdaLR

from rbobench.errors import UsageError, unknown
from rbobench.randomness import default_generators, seeded_default_generators
from rbobench.registry import OptimizerInfo
from rbobench.testing.problems import NormalizedRegression, Regression
from rbobench.testing.subject import Make, Subject

STEPS = 7
"""More than the periods and warm-ups that optimizers have by default."""
UNWATCHED_STEPS = 2
"""At the beginning, in which what is made only once may make the host wait."""

Status = Literal["passed", "failed", "skipped", "expected failure"]


@dataclass(frozen=True)
class CheckResult:
    """What came of one check.

    Args:
        name: The check.
        status: `"expected failure"` is one that was declared, with its reason.
        detail: What went wrong, or why it was skipped; empty where it passed.
    """

    name: str
    status: Status
    detail: str = ""


class Skip(Exception):
    """Raised by a check that does not apply; its text is the reason."""


def step_without_a_closure_is_an_error(subject: Subject, device: torch.device) -> None:
    """An optimizer that evaluates for itself says so when it is given no closure."""
    if subject.cost == 1:
        raise Skip("takes one evaluation, which may have been made already")
    optimizer = subject.make(Regression(device=device).parameters)
    message = ""
    try:
        optimizer.step()
    except (TypeError, ValueError, RuntimeError) as error:
        message = str(error)
    else:
        raise AssertionError("step() without a closure raised nothing")
    assert "closure" in message, f"the error does not speak of a closure: {message}"


def returns_the_loss_at_the_start(subject: Subject, device: torch.device) -> None:
    """`step` returns the loss where the step began."""
    problem = Regression(device=device)
    optimizer = subject.make(problem.parameters)
    for _ in range(3):
        problem.next_step()
        expected = problem.loss().detach()
        returned = optimizer.step(problem)  # type: ignore[arg-type]
        assert returned is not None, "step returned None"
        found = torch.as_tensor(returned).detach().to(device)
        assert torch.equal(found, expected), (
            f"{found} is not {expected}; they differ by {_difference([found], [expected]):g}"
        )


def declared_gradient_evaluations(subject: Subject, device: torch.device) -> None:
    """Every step calls the closure as often as was declared, looks at a part of the batch included."""
    problem = Regression(device=device)
    optimizer = subject.make(problem.parameters)
    for _ in _stepping(problem, optimizer, STEPS):
        calls, problem.calls = problem.calls, 0
        assert calls == subject.cost, f"{calls} evaluations in a step, {subject.cost} declared"
    objective = NormalizedRegression(device)
    optimizer = subject.make(objective.parameters)
    for step, _ in enumerate(_stepping(objective, optimizer, STEPS)):
        spent = objective.gradient_evaluations - step * subject.cost
        assert spent == subject.cost, f"the objective counts {spent:g} in a step, {subject.cost} declared"


def lr_zero_moves_nothing(subject: Subject, device: torch.device) -> None:
    """With `lr` set to 0 in the groups nothing moves, bit for bit."""
    problem = Regression(device=device)
    optimizer = subject.make(problem.parameters)
    for group in optimizer.param_groups:
        group["lr"] = 0.0
    before = _clones(problem.parameters)
    for _ in _stepping(problem, optimizer, STEPS):
        pass
    moved = _difference(before, problem.parameters)
    assert _equal(before, problem.parameters), f"moved by {moved:g}"


def moves(subject: Subject, device: torch.device) -> None:
    """With its own `lr` it does move, and to finite weights."""
    problem = Regression(device=device)
    optimizer = subject.make(problem.parameters)
    before = _clones(problem.parameters)
    for _ in _stepping(problem, optimizer, STEPS):
        pass
    assert not _equal(before[:3], problem.parameters[:3]), "no parameter moved"
    assert all(torch.isfinite(each).all() for each in problem.parameters), "left the finite numbers"


def resume_is_bit_equal(subject: Subject, device: torch.device) -> None:
    """Interrupted and resumed from a stored `state_dict`, it ends at the same weights, bit for bit."""
    whole = Regression(device=device)
    optimizer = subject.make(whole.parameters)
    for _ in _stepping(whole, optimizer, 2 * STEPS):
        pass

    first = Regression(device=device)
    interrupted = subject.make(first.parameters)
    for _ in _stepping(first, interrupted, STEPS):
        pass
    stored = io.BytesIO()
    torch.save(interrupted.state_dict(), stored)
    stored.seek(0)

    second = copy.deepcopy(first)
    for parameter in second.parameters:
        parameter.grad = None
    resumed = subject.make(second.parameters)
    resumed.load_state_dict(torch.load(stored, weights_only=False))
    for _ in _stepping(second, resumed, STEPS):
        pass
    difference = _difference(whole.parameters, second.parameters)
    assert _equal(whole.parameters, second.parameters), f"weights differ by {difference:g} after resuming"


def a_copy_goes_on_as_the_original(subject: Subject, device: torch.device) -> None:
    """A deep copy, as snapshots of a training are made, ends at the same weights, bit for bit."""
    problem = Regression(device=device)
    optimizer = subject.make(problem.parameters)
    for _ in _stepping(problem, optimizer, STEPS):
        pass
    for parameter in problem.parameters:
        parameter.grad = None
    copied_problem, copied = copy.deepcopy((problem, optimizer))
    for each in ((problem, optimizer), (copied_problem, copied)):
        for _ in _stepping(*each, STEPS):
            pass
    difference = _difference(problem.parameters, copied_problem.parameters)
    assert _equal(problem.parameters, copied_problem.parameters), f"weights differ by {difference:g}"


def schedulers_work(subject: Subject, device: torch.device) -> None:
    """A torch scheduler changes `lr` after the first step, and the steps that come follow."""
    ends = []
    for factor in (1.0, 0.5):
        problem = Regression(device=device)
        optimizer = subject.make(problem.parameters)
        wanted = [factor * float(group["lr"]) for group in optimizer.param_groups]
        scheduler = LambdaLR(optimizer, partial(_factor_from_the_second_step, factor))
        for _ in _stepping(problem, optimizer, STEPS):
            scheduler.step()
        lrs = [float(group["lr"]) for group in optimizer.param_groups]
        assert lrs == wanted, f"lr is {lrs} where the schedule says {wanted}"
        ends.append(_clones(problem.parameters))
    assert not _equal(*ends), "the schedule halved lr, and the steps stayed the same"


def parameters_without_gradient_stay_put(subject: Subject, device: torch.device) -> None:
    """A parameter that the loss does not see is left alone, whatever weight decay says."""
    problem = Regression(device=device)
    optimizer = subject.make(problem.parameters)
    before = problem.parameters[3].detach().clone()
    for _ in _stepping(problem, optimizer, STEPS):
        pass
    assert torch.equal(before, problem.parameters[3]), "moved a parameter without a gradient"


def leaves_the_global_random_stream_alone(subject: Subject, device: torch.device) -> None:
    """A step neither draws from torch's default generators nor depends on them, the device's own included."""
    ends = []
    for seed in (0, 1):
        with seeded_default_generators(seed, device):
            problem = Regression(device=device)
            optimizer = subject.make(problem.parameters)
            before = [generator.get_state() for generator in default_generators(device)]
            for _ in _stepping(problem, optimizer, STEPS):
                pass
            after = [generator.get_state() for generator in default_generators(device)]
            assert _equal(before, after), "drew from torch's default generator"
            ends.append(_clones(problem.parameters))
    difference = _difference(*ends)
    assert _equal(*ends), f"depends on torch's default generator; weights differ by {difference:g}"


def runs_on_meta(subject: Subject, device: torch.device) -> None:
    """A step runs on torch's `meta` device, where every look of the host at a tensor raises.

    On a GPU such a look makes the host wait. Which device the others are checked on does not matter here.
    """
    problem = Regression(device="meta")
    optimizer = subject.make(problem.parameters)
    try:
        for _ in _stepping(problem, optimizer, STEPS):
            pass
    except (RuntimeError, NotImplementedError, TypeError) as error:
        raise AssertionError(
            f"the host looks at a tensor, or the step assumes a device: {_first_line(error)}"
        ) from error


def never_waits_for_the_device(subject: Subject, device: torch.device) -> None:
    """On CUDA no step makes the host wait for the device, as far as torch can tell, but the first two.

    Of `torch.cuda.set_sync_debug_mode`. Drawing the data of a step may wait; it is no part of the step.
    """
    if device.type != "cuda":
        raise Skip("torch tells on CUDA alone who waits; elsewhere runs_on_meta is the check")
    if "runs_on_meta" in subject.exceptions:
        raise Skip(f"runs_on_meta is declared to fail: {subject.exceptions['runs_on_meta']}")
    for network in (Regression, NormalizedRegression):
        problem = network(device=device)
        optimizer = subject.make(problem.parameters)
        for _ in _stepping(problem, optimizer, UNWATCHED_STEPS):
            pass
        for step in range(UNWATCHED_STEPS, UNWATCHED_STEPS + STEPS):
            problem.next_step()
            try:
                with waiting_is_an_error():
                    optimizer.step(problem)  # type: ignore[arg-type]
            except RuntimeError as error:
                frame = traceback.extract_tb(error.__traceback__)[-1]
                place = f"{Path(frame.filename).name}:{frame.lineno} in {frame.name}"
                raise AssertionError(
                    f"step {step + 1} on {network.__name__}: {_first_line(error)} ({place})"
                ) from error


@contextmanager
def waiting_is_an_error() -> Iterator[None]:
    """Inside the block torch raises where the host would wait for CUDA, wherever it can tell."""
    before = torch.cuda.get_sync_debug_mode()
    torch.cuda.set_sync_debug_mode("error")
    try:
        yield
    finally:
        torch.cuda.set_sync_debug_mode(before)


def batch_of_problems(subject: Subject, device: torch.device) -> None:
    """A batch of problems goes as each would alone, to 1e-12 in float64; a diverging one harms no other."""
    if subject.make_batched is None:
        raise Skip("takes no batch of problems")
    if device.type == "mps":
        raise Skip("mps has no float64")
    count, steps = 4, 20
    batch = Regression(torch.float64, device, copies=count)
    batch.scales[-1] = 1e200
    optimizer = subject.make_batched(batch.parameters)
    for _ in _stepping(batch, optimizer, steps):
        pass
    for problem in range(count - 1):
        alone = Regression(torch.float64, device, only=problem)
        single = subject.make(alone.parameters)
        for _ in _stepping(alone, single, steps):
            pass
        rows = [parameter[problem] for parameter in batch.parameters]
        difference = _difference(rows, alone.parameters)
        assert difference <= 1e-12, (
            f"problem {problem} of the batch differs from itself alone by {difference:g}"
        )
    last = [parameter[-1] for parameter in batch.parameters]
    assert all(torch.isfinite(each).all() for each in last), "a diverged problem was not frozen"


def is_its_control_when_its_idea_is_taken_out(subject: Subject, device: torch.device) -> None:
    """Each declared reduction holds, bit for bit, BatchNorm's running statistics included."""
    if not subject.reductions:
        raise Skip("declares no reduction")
    for claim, make_reduced, make_other in subject.reductions:
        for network in (Regression, NormalizedRegression):
            ends = []
            for make in (make_reduced, make_other):
                problem = network(device=device)
                optimizer = make(problem.parameters)
                for _ in _stepping(problem, optimizer, STEPS):
                    pass
                buffers = problem.module.buffers() if isinstance(problem, NormalizedRegression) else ()
                ends.append([*problem.parameters, *buffers])
            assert _equal(*ends), f"not true: {claim}; weights differ by {_difference(*ends):g}"


def parameter_copies(subject: Subject, device: torch.device) -> None:
    """Between steps it holds no more memory than it declares."""
    if subject.parameter_copies is None:
        raise Skip("declares no memory")
    problem = Regression(device=device)
    optimizer = subject.make(problem.parameters)
    for _ in _stepping(problem, optimizer, STEPS):
        pass
    owned = [tensor for p in problem.parameters for tensor in (p, p.grad) if tensor is not None]
    known = {_place(tensor) for tensor in owned}
    # Storages, so that views of one count once; a number kept as a tensor is no copy.
    held = {
        _place(t): t.untyped_storage().nbytes() for t in _tensors(vars(optimizer), set()) if t.numel() > 1
    }
    size = sum(p.numel() * p.element_size() for p in problem.parameters)
    copies = sum(own for place, own in held.items() if place not in known) / size
    assert copies <= subject.parameter_copies + 0.01, (
        f"holds {copies:.2f} copies of the parameters, {subject.parameter_copies:g} declared"
    )


CHECKS: dict[str, Callable[[Subject, torch.device], None]] = {
    check.__name__: check
    for check in (
        step_without_a_closure_is_an_error,
        returns_the_loss_at_the_start,
        declared_gradient_evaluations,
        lr_zero_moves_nothing,
        moves,
        resume_is_bit_equal,
        a_copy_goes_on_as_the_original,
        schedulers_work,
        parameters_without_gradient_stay_put,
        leaves_the_global_random_stream_alone,
        runs_on_meta,
        never_waits_for_the_device,
        batch_of_problems,
        is_its_control_when_its_idea_is_taken_out,
        parameter_copies,
    )
}
"""Every check by name; its docstring says what it demands."""


def check_optimizer(
    optimizer: Subject | OptimizerInfo | type[Optimizer] | str,
    checks: Iterable[str] | None = None,
    device: torch.device | str = "cpu",
) -> list[CheckResult]:
    """Put an optimizer through the contract.

    Args:
        optimizer: A registered info, a class, or a class's name as `"package.module:Class"`.
        checks: Names of checks; all of `CHECKS` by default.
        device: Where the problems are that it is checked on.

    Returns:
        A result for each check, in order. A check that was declared to fail and does not is `"failed"`, so
        that a list of exceptions stays true.

    Raises:
        UsageError: If the name leads to no class, the optimizer cannot be built, or there is no check of a
            name given or declared.
    """
    subject = Subject.of(optimizer)
    names = list(CHECKS) if checks is None else list(checks)
    for name in (*names, *subject.exceptions):
        if name not in CHECKS:
            raise unknown("check", name, CHECKS)
    device = torch.device(device)
    missing = [need for need in subject.requires if need != device.type]
    if missing:
        reason = f"requires {', '.join(missing)}"
        return [CheckResult(name, "skipped", reason) for name in names]
    # What an optimizer draws from the default generator is no draw of the caller's.
    with seeded_default_generators(0, device):
        try:
            subject.make(Regression(device=device).parameters)
        except Exception as error:
            raise UsageError(
                f"{subject.name}(params) cannot be built: {type(error).__name__}: {error}"
            ) from error
        return [_result(subject, name, device) for name in names]


def _result(subject: Subject, name: str, device: torch.device) -> CheckResult:
    excuse = subject.exceptions.get(name)
    try:
        CHECKS[name](subject, device)
    except Skip as reason:
        return CheckResult(name, "skipped", str(reason))
    except Exception as error:
        if excuse is not None:
            return CheckResult(name, "expected failure", excuse)
        return failure(name, error)
    if excuse is not None:
        return CheckResult(name, "failed", f"passes, though declared to fail: {excuse}")
    return CheckResult(name, "passed")


def failure(name: str, error: Exception) -> CheckResult:
    """What a check that raised `error` has found, in one line."""
    text = str(error) if isinstance(error, AssertionError) else f"{type(error).__name__}: {error}"
    return CheckResult(name, "failed", " ".join(text.split()))


def _stepping(problem: Regression | NormalizedRegression, optimizer: Optimizer, steps: int) -> Iterator[None]:
    for _ in range(steps):
        problem.next_step()
        optimizer.step(problem)  # type: ignore[arg-type]
        yield


def _first_line(error: Exception) -> str:
    return str(error).splitlines()[0] if str(error) else type(error).__name__


def _factor_from_the_second_step(factor: float, step: int) -> float:
    return factor if step else 1.0


def _clones(parameters: Iterable[Tensor]) -> list[Tensor]:
    return [parameter.detach().clone() for parameter in parameters]


def _equal(one: Iterable[Tensor], two: Iterable[Tensor]) -> bool:
    return all(torch.equal(a, b) for a, b in zip(one, two, strict=True))


def _difference(one: Iterable[Tensor], two: Iterable[Tensor]) -> float:
    """The largest difference of any entry; NaN where there is one, which Python's `max` may lose."""
    differences = [(a - b).detach().abs().max().cpu().double() for a, b in zip(one, two, strict=True)]
    return float(torch.stack(differences).max())


def _place(tensor: Tensor) -> int:
    return tensor.untyped_storage().data_ptr()


def _tensors(value: Any, seen: set[int]) -> Iterator[Tensor]:
    """Every tensor that containers and objects lead to."""
    if id(value) in seen:
        return
    seen.add(id(value))
    if isinstance(value, Tensor):
        yield value
    elif isinstance(value, dict):
        for each in value.values():
            yield from _tensors(each, seen)
    elif isinstance(value, list | tuple):
        for each in value:
            yield from _tensors(each, seen)
    elif hasattr(value, "__dict__") and not isinstance(value, type | torch.nn.Module):
        yield from _tensors(vars(value), seen)


__all__ = ["CHECKS", "CheckResult", "Make", "Skip", "check_optimizer", "waiting_is_an_error"]
