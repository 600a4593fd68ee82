"""Exponents of known power laws."""

from __future__ import annotations

import pytest

from rbobench.paper.power_law import order


def test_order() -> None:
    scales = (0.1, 0.01, 0.001)
    assert order(scales, [3.0 * scale**2 for scale in scales]) == pytest.approx(2.0)
    assert order(scales, [0.0, 1e-16, 0.0]) == float("inf")


def test_order_of_two() -> None:
    assert order((0.1, 0.01), [0.02, 0.0002]) == pytest.approx(2.0)
    assert order((0.1, 0.01), [0.3, 0.3]) == pytest.approx(0.0)
    assert order((0.1, 0.01), [1e-16, 0.0]) == float("inf")
