"""Figure 2 against the closed form, which is checked against a dense grid of its own."""

from __future__ import annotations

import math

import numpy as np
import pytest

from rbobench.paper.figure2 import closed_form, draw, measure


@pytest.mark.parametrize("radius", [0.2, 1.0, 1.3, 2.0, 10.0, 100.0, 200.0])
def test_the_closed_form_is_the_maximum_over_a_dense_grid(radius: float) -> None:
    s = np.linspace(0.0, min(radius, 4.0), 400_001)
    dense = 1.0 + radius - (np.sqrt(radius**2 - s**2) - np.cos(s)).max()
    assert closed_form(radius) == pytest.approx(dense, abs=1e-9)


def test_measured_and_closed_form_agree_and_a_cut_graph_does_not() -> None:
    shown = measure([0.5, 1.0, 10.0, 100.0])
    assert shown["delta"].to_numpy() == pytest.approx(shown["closed_form"].to_numpy(), abs=1e-9)
    assert list(shown["delta"][:2]) == pytest.approx([2.0, 2.0], abs=1e-6)
    assert round(shown["delta"].iloc[-1], 6) == 0.048871
    assert shown["delta_cut"][2] == pytest.approx(1.0, abs=2e-3)
    assert shown["asymptote"].iloc[-1] == pytest.approx(math.pi**2 / 2 / 101)


def test_the_figure_has_paper_size_and_a_line_for_each_column() -> None:
    figure = draw(measure([0.5, 2.0, 20.0]))
    assert figure.get_size_inches()[0] == pytest.approx(3.5)
    labels = [text.get_text() for text in figure.legends[0].get_texts()]
    assert labels == ["closed form", "measured", "π²/2 / (1 + ρ)", "graph cut at ±3π"]
