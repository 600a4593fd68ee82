"""Membership inference against independent transcriptions and closed forms."""

from __future__ import annotations

import dataclasses
import json
import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import roc_auc_score, roc_curve

from rbobench.errors import UsageError
from rbobench.measures.membership import FEWEST_NON_MEMBERS, membership_inference

Losses = st.lists(st.integers(0, 12).map(float), min_size=2, max_size=30)


def roc(members: np.ndarray, others: np.ndarray) -> tuple[float, np.ndarray, np.ndarray]:
    truth = np.r_[np.ones(len(members)), np.zeros(len(others))]
    scores = -np.r_[members, others]
    false, true, _ = roc_curve(truth, scores, drop_intermediate=False)
    return float(roc_auc_score(truth, scores)), false, true


def delong(members: np.ndarray, others: np.ndarray) -> float:
    """DeLong et al. (1988) for one curve, as it is written: over all pairs."""
    psi = np.array([[1.0 if x < y else 0.5 if x == y else 0.0 for y in others] for x in members])
    theta = psi.mean()
    s10 = ((psi.mean(axis=1) - theta) ** 2).sum() / (len(members) - 1)
    s01 = ((psi.mean(axis=0) - theta) ** 2).sum() / (len(others) - 1)
    return math.sqrt(s10 / len(members) + s01 / len(others))


@given(members=Losses, others=Losses)
def test_agrees_with_independent_transcriptions(members: list[float], others: list[float]) -> None:
    low, high = np.array(members), np.array(others)
    result = membership_inference(low, high)
    area, false, true = roc(low, high)
    assert result.value == pytest.approx(area)
    assert result.uncertainty == pytest.approx(delong(low, high), abs=1e-12)
    assert result.advantage == pytest.approx((true - false).max())
    assert (result.members, result.non_members) == (len(members), len(others))
    assert result.true_positives_at_1_percent is None


@given(members=Losses, others=Losses)
def test_is_the_same_from_the_other_side_and_on_any_scale(members: list[float], others: list[float]) -> None:
    result, mirrored = membership_inference(members, others), membership_inference(others, members)
    assert result.value + mirrored.value == pytest.approx(1)
    assert result.uncertainty == pytest.approx(mirrored.uncertainty, abs=1e-12)
    rescaled = membership_inference(np.exp(np.array(members)), np.exp(np.array(others)))
    assert dataclasses.asdict(rescaled) == dataclasses.asdict(result)


def test_a_small_case_by_hand() -> None:
    result = membership_inference(torch.tensor([0.0, 1.0, 2.0]), torch.tensor([1.0, 3.0]))
    assert result.value == pytest.approx((1 + 1 + 0.5 + 1 + 0 + 1) / 6)
    assert result.advantage == pytest.approx(0.5)  # at 0 ≤ t: 1/3; at 1: 2/3 − 1/2; at 2: 1 − 1/2
    assert result.cost.forward_evaluations == 1.0
    assert result.cost.gradient_evaluations == result.cost.hessian_vector_products == 0.0


def test_true_positives_at_few_false_ones() -> None:
    generator = np.random.default_rng(0)
    # Rounded, so that many losses coincide: a threshold takes all equal ones or none.
    members = generator.exponential(0.5, 3000).round(2)
    others = generator.exponential(1.0, FEWEST_NON_MEMBERS).round(2)
    _, false, true = roc(members, others)
    found = membership_inference(members, others).true_positives_at_1_percent
    assert found == pytest.approx(true[false <= 0.01].max())
    assert membership_inference(members, others[1:]).true_positives_at_1_percent is None


def test_true_positives_may_use_the_whole_percent() -> None:
    others = np.arange(1000.0)
    found = membership_inference(np.array([-1.0, 8.5, 9.5, 10.5]), others).true_positives_at_1_percent
    assert found == 0.75  # a threshold below 10 lets 0 to 9 pass, ten of a thousand


def test_a_model_that_saw_neither_is_at_chance() -> None:
    """The errors are what the facts file says, and the advantage what chance alone gives."""
    n = 200
    draws = np.random.default_rng(1).normal(size=(400, 2, n))
    results = [membership_inference(*draw) for draw in draws]
    areas = np.array([result.value for result in results])
    expected = 1 / math.sqrt(6 * n)
    assert areas.mean() == pytest.approx(0.5, abs=4 * expected / math.sqrt(len(areas)))
    assert areas.std() == pytest.approx(expected, rel=0.15)
    assert np.mean([result.uncertainty for result in results]) == pytest.approx(expected, rel=0.02)
    assert np.mean([result.advantage for result in results]) == pytest.approx(
        results[0].advantage_null, rel=0.06
    )


@pytest.mark.parametrize(("n", "tolerance"), [(100, 0.06), (1000, 0.02), (10_000, 0.006)])
def test_chance_advantage_tends_to_the_exact_one(n: int, tolerance: float) -> None:
    """Gnedenko and Korolyuk: P(D⁺ ≥ k/n) = C(2n, n − k) / C(2n, n), whose sum is a closed form."""
    exact = (4**n / math.comb(2 * n, n) - 1) / (2 * n) if n < 500 else None
    if exact is None:  # in logarithms
        ratio = math.exp(2 * n * math.log(2) - math.lgamma(2 * n + 1) + 2 * math.lgamma(n + 1))
        exact = (ratio - 1) / (2 * n)
    losses = np.arange(2.0 * n)
    null = membership_inference(losses[::2], losses[1::2]).advantage_null
    assert null == pytest.approx(exact, rel=tolerance)
    assert null > exact


def test_losses_that_do_not_overlap_are_told_apart() -> None:
    result = membership_inference([0.0, 0.1, 0.2], [1.0, 2.0])
    assert (result.value, result.uncertainty, result.advantage) == (1.0, 0.0, 1.0)


def test_one_sample_of_a_kind_has_no_error() -> None:
    assert math.isnan(membership_inference([0.0], [1.0, 2.0]).uncertainty)


def test_takes_tensors_of_any_kind_and_goes_into_a_record() -> None:
    members = torch.tensor([0.5, 1.0, 1.5], dtype=torch.bfloat16, requires_grad=True)
    result = membership_inference(members, np.array([1.0, 2.0], dtype=np.float32))
    assert result.value == pytest.approx((2 + 1.5 + 1) / 6)
    assert json.loads(json.dumps(dataclasses.asdict(result)))["members"] == 3


@pytest.mark.parametrize(
    ("members", "others", "message"),
    [
        ([math.nan, 1.0], [1.0], "1 of 2 member losses are not finite"),
        ([1.0], [math.inf], "1 of 1 non-member losses are not finite"),
        ([], [1.0], r"member losses must be a vector with at least one entry, not of shape \(0,\)"),
        ([1.0], [[1.0, 2.0]], r"non-member losses must be a vector .* not of shape \(1, 2\)"),
    ],
)
def test_bad_losses(members: list[float], others: list[float], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        membership_inference(members, others)
