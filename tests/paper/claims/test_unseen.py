"""The central claim: the real measurement, and a judge that other numbers sway."""

from __future__ import annotations

import pytest

from rbobench.paper.claim import Ruling
from rbobench.paper.claims.unseen import judge_unseen, measure_unseen

NUMBERS = {
    "half width": 1.0,
    "touched where deepened": 0.0,
    "starts": 12.0,
    **{f"{what}, {name}": 1.0 for what in ("apart", "moved") for name in ("sgd", "radius 0")},
    "apart, exact": 0.0,
    "moved, exact": 0.0,
}


@pytest.mark.parametrize(
    ("changes", "ruling"),
    [
        ({}, Ruling.HOLDS_WHEN),
        ({"apart, sgd": 0.0}, Ruling.HOLDS),
        ({"apart, exact": 0.1}, Ruling.REFUTED),
        ({"apart, radius 0": 0.0}, Ruling.OPEN),
        ({"touched where deepened": 1.0}, Ruling.OPEN),
    ],
)
def test_other_numbers_get_another_ruling(changes: dict[str, float], ruling: Ruling) -> None:
    assert judge_unseen({**NUMBERS, **changes}).ruling == ruling


def test_an_unreachable_change_moves_a_point_and_no_exact_ball() -> None:
    numbers = measure_unseen()
    assert numbers["touched where deepened"] == 0.0
    assert numbers["half width"] > 0.5
    assert numbers["apart, exact"] <= 1e-12
    assert numbers["apart, radius 0"] > 0.1
