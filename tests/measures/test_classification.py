"""Accuracy, calibration and their kin."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from rbobench.errors import UsageError
from rbobench.measures.classification import (
    accuracy,
    attack_success_rate,
    expected_calibration_error,
    has_collapsed,
)


def logits(*classes: int) -> torch.Tensor:
    return torch.nn.functional.one_hot(torch.tensor(classes), 4).float()


def test_accuracy_counts_hits() -> None:
    assert accuracy(logits(0, 1, 2, 3), torch.tensor([0, 1, 1, 1])).item() == 0.5


def test_attack_success_counts_what_the_attacker_wants() -> None:
    assert attack_success_rate(logits(0, 0, 2, 3), torch.tensor([0, 0, 0, 0])).item() == pytest.approx(0.5)
    own = torch.tensor([3, 1, 1, 2])
    assert attack_success_rate(logits(0, 0, 2, 3), (own + 1) % 4).item() == pytest.approx(0.75)


def test_a_model_of_one_answer_has_collapsed() -> None:
    assert has_collapsed(logits(*[1] * 100))
    assert not has_collapsed(logits(*[1] * 99, 2))


def sure(confidence: float, classes: int = 2) -> torch.Tensor:
    """Logits of class 0 with that probability, the rest shared out evenly."""
    rest = (1 - confidence) / (classes - 1)
    return torch.tensor([confidence, *[rest] * (classes - 1)], dtype=torch.float64).log()


def test_calibration_error_of_one_bin_is_confidence_less_accuracy() -> None:
    labels = torch.tensor([0, 0, 0, 1])  # right three times of four
    assert expected_calibration_error(sure(0.9).expand(4, 2), labels).item() == pytest.approx(0.15, abs=1e-6)
    assert expected_calibration_error(sure(0.75).expand(4, 2), labels).item() == pytest.approx(0, abs=1e-6)


def test_calibration_error_does_not_cancel_across_bins() -> None:
    many = torch.cat([sure(0.9).expand(10, 2), sure(0.6).expand(10, 2)])
    labels = torch.tensor(
        [0] * 7 + [1] * 3 + [0] * 8 + [1] * 2
    )  # too sure by 0.2, then not sure enough by 0.2
    assert expected_calibration_error(many, labels).item() == pytest.approx(0.2, abs=1e-6)
    assert expected_calibration_error(many, labels, bins=1).item() == pytest.approx(0, abs=1e-6)


@given(seed=st.integers(0, 1000), n=st.integers(1, 60), classes=st.integers(2, 6), bins=st.integers(1, 20))
def test_calibration_error_is_that_of_the_paper(seed: int, n: int, classes: int, bins: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    drawn = 2 * torch.randn(n, classes, generator=generator)
    labels = torch.randint(classes, (n,), generator=generator)
    probabilities = drawn.softmax(dim=1).numpy()
    confidence, predicted = probabilities.max(axis=1), probabilities.argmax(axis=1)
    expected = 0.0
    for m in range(1, bins + 1):  # Guo et al., Eq. 3
        bin_m = (confidence > np.float32((m - 1) / bins)) & (confidence <= np.float32(m / bins))
        if bin_m.any():
            acc, conf = (predicted == labels.numpy())[bin_m].mean(), confidence[bin_m].mean()
            expected += bin_m.sum() / n * abs(acc - conf)
    assert expected_calibration_error(drawn, labels, bins).item() == pytest.approx(expected, abs=1e-5)


def test_calibration_error_makes_no_host_wait() -> None:
    result = expected_calibration_error(
        torch.zeros(8, 3, device="meta"), torch.zeros(8, dtype=torch.long, device="meta")
    )
    assert result.shape == ()


def test_calibration_needs_a_bin() -> None:
    with pytest.raises(UsageError, match="bins must be at least 1, not 0"):
        expected_calibration_error(torch.zeros(2, 2), torch.zeros(2, dtype=torch.long), bins=0)
