"""Accuracy and its kin."""

from __future__ import annotations

import pytest
import torch

from rbobench.measures.classification import accuracy, attack_success_rate, has_collapsed


def logits(*classes: int) -> torch.Tensor:
    return torch.nn.functional.one_hot(torch.tensor(classes), 4).float()


def test_accuracy_counts_hits() -> None:
    assert accuracy(logits(0, 1, 2, 3), torch.tensor([0, 1, 1, 1])).item() == 0.5


def test_attack_success_counts_the_target() -> None:
    assert attack_success_rate(logits(0, 0, 2, 3), 0).item() == pytest.approx(0.5)


def test_a_model_of_one_answer_has_collapsed() -> None:
    assert has_collapsed(logits(*[1] * 100))
    assert not has_collapsed(logits(*[1] * 99, 2))
