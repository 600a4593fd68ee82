from __future__ import annotations

import math

import numpy as np
import pandas as pd
import pytest

from rbobench.errors import UsageError
from rbobench.geometry.footpoint import footpoint
from rbobench.geometry.graph import graph_of
from rbobench.geometry.offset import offset_graph
from rbobench.paper.figure3 import (
    DOMAIN,
    ROWS,
    centers,
    completing_learning_rate,
    descent,
    draw,
    measure,
    roll,
    valley_below,
)
from rbobench.paper.published import LR, RADII, published_trajectory
from rbobench.tasks.landscapes import Eq13

CURVE = 50


@pytest.fixture(scope="module")
def short() -> pd.DataFrame:
    return measure(steps=3, learning_rates=(1e-3, 4e-3), curve_points=CURVE)


def test_frame_is_tidy(short: pd.DataFrame) -> None:
    counts = short["row"].value_counts().to_dict()
    paths = dict.fromkeys(ROWS, 4 * len(RADII))
    assert counts == {**paths, "loss": CURVE, "offset_graph": CURVE * len(RADII), "descent": 2, "valley": 1}
    rolled = short[short["row"].isin(ROWS)]
    assert not rolled.duplicated(["row", "radius", "step"]).any()
    assert rolled.notna().all(axis=None)
    assert (rolled.loc[rolled["step"] == 0, "theta"] == 2.0).all()


def test_first_row_is_the_published_code(short: pd.DataFrame) -> None:
    run = published_trajectory(steps=3)
    shown = short[short["row"] == "published"]
    np.testing.assert_array_equal(shown["theta"], run.points.ravel())
    np.testing.assert_array_equal(shown[["center_theta", "center_y"]], run.centers.reshape(-1, 2))


def test_exact_contacts_are_the_footpoints_of_the_candidates() -> None:
    radii, rates = [0.1, 1.0], [1e-3, 2e-3]
    points = roll(radii, rates, 2, "exact")
    graph = graph_of(Eq13(), DOMAIN)
    for ball, (radius, lr) in enumerate(zip(radii, rates, strict=True)):
        for before, after in zip(points[:-1, ball], points[1:, ball], strict=True):
            (value,), ((slope,),) = graph.evaluate([[before]])
            length = math.hypot(1.0, slope)
            candidate = (
                before - radius * slope / length - lr * slope,
                value + radius / length - lr * slope**2,
            )
            assert after == pytest.approx(footpoint(graph, [candidate]).points[0, 0], abs=1e-9)


def test_center_is_a_radius_above_the_contact() -> None:
    points = np.linspace(-1.0, 2.0, 12).reshape(6, 2)
    radii = [0.3, 1.0]
    above = centers(points, radii)
    values, slopes = graph_of(Eq13(), DOMAIN).evaluate(points.reshape(-1, 1))
    away = above - np.stack([points, values.reshape(6, 2)], axis=-1)
    np.testing.assert_allclose(np.linalg.norm(away, axis=-1), np.broadcast_to(radii, (6, 2)))
    np.testing.assert_allclose(away[..., 0] + away[..., 1] * slopes.reshape(6, 2), 0.0, atol=1e-9)
    assert (away[..., 1] > 0.0).all()


def test_nudged_balls_begin_beside_the_start() -> None:
    assert roll([0.1], [LR], 1, "sgd", nudge=0.25)[0] == pytest.approx(2.25)


def test_valley_below_is_a_local_minimum_downhill() -> None:
    graph = graph_of(Eq13(), DOMAIN)
    where, height = valley_below(graph, 1.2, 1.0)
    assert where < 1.2
    around = offset_graph(graph, where + np.linspace(-0.02, 0.02, 9), 1.0).values
    assert around[4] == pytest.approx(height, abs=1e-9)
    assert (around[[0, 1, 2, 3, 5, 6, 7, 8]] > height).all()
    between = offset_graph(graph, np.linspace(where, 1.2, 60), 1.0).values
    assert (np.diff(between) > 0.0).all()


def test_large_learning_rate_reaches_the_valley_and_the_published_does_not() -> None:
    ends = descent((LR, 2e-2), steps=250)
    assert len(ends[ends["row"] == "descent"]) == 2
    assert completing_learning_rate(ends) == 2e-2


@pytest.mark.parametrize(
    ("ends", "expected"),
    [
        ([0.3, 0.01, 0.0], 0.2),
        ([0.0, 0.0, 0.0], 0.1),
        ([0.3, 0.3, 0.3], math.nan),
        ([0.0, 0.3, 0.04], 0.3),  # by luck does not count
        ([0.0, 0.0, 0.3], math.nan),
    ],
)
def test_completing_learning_rate(ends: list[float], expected: float) -> None:
    frame = pd.DataFrame(
        {
            "row": ["descent"] * 3 + ["valley", "exact"],
            "lr": [0.1, 0.2, 0.3, math.nan, 0.05],
            "center_theta": [-1.0 + end for end in ends] + [-1.0, -1.0],
        }
    )
    shuffled = frame.iloc[[2, 0, 4, 3, 1]]
    assert completing_learning_rate(shuffled) == pytest.approx(expected, nan_ok=True)


def test_no_steps() -> None:
    with pytest.raises(UsageError, match=r"^steps must be at least 1, not 0$"):
        measure(steps=0)


def test_figure_has_a_panel_for_each_ball_and_counts_what_it_cuts(short: pd.DataFrame) -> None:
    wide = short.copy()
    gone = (wide["row"] == "sgd") & (wide["radius"] == RADII[3]) & (wide["step"] > 1)
    wide.loc[gone, "center_theta"] = -9.0
    figure = draw(wide)
    assert figure.get_figwidth() == 7.0
    panels = [axes for axes in figure.axes if axes.collections and axes.get_lines()]
    assert len(panels) == len(ROWS) * len(RADII)
    titles = [axes.get_title() for axes in panels[: len(RADII)]]
    assert titles == [f"ρ = {radius:.3g}" for radius in RADII]
    for axes, (row, radius) in zip(panels, [(r, q) for r in ROWS for q in RADII], strict=True):
        shown = wide[(wide["row"] == row) & (wide["radius"] == radius)]
        (marks,) = axes.collections
        np.testing.assert_array_equal(marks.get_offsets(), shown[["center_theta", "center_y"]])
        curve = wide[(wide["row"] == "offset_graph") & (wide["radius"] == radius)]
        np.testing.assert_array_equal(axes.get_lines()[1].get_ydata(), curve["center_y"])
    cut = [text.get_text() for text in panels[len(RADII) + 3].texts]
    assert cut
    assert cut[0].startswith("2 of 4 beyond,\nθ in [-9.0, ")
    figure.canvas.draw()


def test_figure_says_where_no_descent_is_complete(short: pd.DataFrame) -> None:
    titles = [axes.get_title() for axes in draw(short).axes]
    assert "exact footpoint, ρ = 1: the center after 3 steps; descent nowhere complete" in titles
