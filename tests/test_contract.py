"""The public contract over the whole registry, and the list of what is skipped or expected to fail."""

from __future__ import annotations

import functools

import pytest
import torch

from rbobench.registry import get_optimizer, get_task, list_optimizers, list_tasks
from rbobench.testing import CHECKS, TASK_CHECKS, CheckResult, check_optimizer, check_task

OPTIMIZERS = list_optimizers()

NO_BATCH = "takes no batch of problems"
ONE_EVALUATION = "takes one evaluation, which may have been made already"
NO_REDUCTION = "declares no reduction"

SKIPPED = {
    "adamw": {NO_BATCH, ONE_EVALUATION, NO_REDUCTION},
    "asam": {NO_BATCH},
    "asam-w2": {NO_BATCH},
    "entropy-sgd": {NO_BATCH},
    "entropy-sgd-pytorch": {NO_BATCH},
    "lookahead": {NO_BATCH, ONE_EVALUATION, NO_REDUCTION},
    "rbo": set(),
    "rbo-null": {NO_REDUCTION},
    "sam": set(),
    "sam-null": set(),
    "sam-random": {NO_BATCH},
    "sgd": {ONE_EVALUATION, NO_REDUCTION},
    "sgd-early": {ONE_EVALUATION, NO_REDUCTION},
    "sgd-repeat": {NO_BATCH},
    "sgd-short": {ONE_EVALUATION, NO_REDUCTION},
    "swa": {NO_BATCH, ONE_EVALUATION, NO_REDUCTION},
}
"""Our own optimizers to the reasons why a check does not apply to them."""

RNG = {"leaves_the_global_random_stream_alone", "resume_is_bit_equal", "a_copy_goes_on_as_the_original"}
EXPECTED_TO_FAIL = {
    "lookahead": {"a_copy_goes_on_as_the_original"},
    **{f"timm:{name}": {"runs_on_meta"} for name in ("adamp", "cadamp", "csgdp", "sgdp")},
    **{f"timm:{name}": {"runs_on_meta"} for name in ("novograd", "novogradc", "novogradw")},
    **{f"timm:{name}": {"runs_on_meta", *RNG} for name in ("kron", "kronc", "kronw")},
    **{f"timm:{name}": {"lr_zero_moves_nothing"} for name in ("madgrad", "madgradw")},
}
"""Checks that are declared to fail; each declaration has a reason, and is a fault where the check passes."""

CANNOT_RUN = {"apex": 5, "bitsandbytes": 10, "second-order gradients": 1}
"""What timm's optimizers need that is not at hand, and how many of them do."""


@functools.cache
def results_of(name: str) -> tuple[CheckResult, ...]:
    torch.set_num_threads(1)
    return tuple(check_optimizer(get_optimizer(name)))


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_optimizer(name: str) -> None:
    results = results_of(name)
    assert [result.name for result in results] == list(CHECKS)
    assert [result for result in results if result.status == "failed"] == []
    found = {result.name for result in results if result.status == "expected failure"}
    assert found == EXPECTED_TO_FAIL.get(name, set())
    skipped = {result.detail for result in results if result.status == "skipped"}
    if name in SKIPPED:
        assert skipped == SKIPPED[name]
    else:
        assert name.startswith("timm:")
        usual = {NO_BATCH, ONE_EVALUATION, NO_REDUCTION, "declares no memory"}
        assert skipped == usual or all(detail.startswith("requires ") for detail in skipped)


def test_what_cannot_run_and_why() -> None:
    reasons = [get_optimizer(name).requires for name in OPTIMIZERS]
    for need, count in CANNOT_RUN.items():
        missing = sum(need in reason for reason in reasons)
        # Where a package is installed its optimizers need a device alone.
        assert missing in (0, count)
    assert sum(bool(reason) for reason in reasons) == sum(CANNOT_RUN.values())


OPTIONS = {
    "digits": {
        "label_noise": {"kind": "symmetric", "rate": 0.4},
        "backdoor": {"kind": "badnets", "rate": 0.02},
    },
    "mnist-5k": {"model": "resnet6", "batch_size": 32, "train_images": 200, "augmentation": "crop-flip"},
}
"""Of the tasks whose data are at hand."""


@pytest.mark.parametrize(
    "name", [name for name in list_tasks() if get_task(name).kind == "landscape" or name in OPTIONS]
)
def test_task(name: str) -> None:
    torch.set_num_threads(1)
    results = check_task(get_task(name), OPTIONS.get(name))
    assert [result.name for result in results] == list(TASK_CHECKS)
    assert [result for result in results if result.status == "failed"] == []
