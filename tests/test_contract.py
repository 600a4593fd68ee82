"""The public contract over the whole registry, and the list of what is skipped or expected to fail."""

from __future__ import annotations

import pytest
import torch

from rbobench.registry import get_optimizer, list_optimizers
from rbobench.testing import CHECKS, check_optimizer

OURS = [name for name in list_optimizers() if not name.startswith("timm:")]
TIMMS = list_optimizers("timm:*")

torch.set_num_threads(1)


def describe(results) -> str:
    return "\n".join(f"{each.name}: {each.detail}" for each in results)


@pytest.mark.parametrize("name", OURS + TIMMS)
def test_optimizer(name: str) -> None:
    results = check_optimizer(get_optimizer(name))
    assert [result.name for result in results] == list(CHECKS)
    failed = [result for result in results if result.status == "failed"]
    assert not failed, describe(failed)
