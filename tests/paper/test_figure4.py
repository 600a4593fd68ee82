from __future__ import annotations

import math

import numpy as np
import pandas as pd
import pytest
import torch

from rbobench.errors import UsageError
from rbobench.paper.figure4 import LR, RADII, draw, farthest, measure, starts
from rbobench.paper.figure4_speed import paired_speed
from rbobench.tasks.landscapes import Eq14

# Measured with another program: the fifth smallest of the ten farthest distances.
STUCK = {math.nan: 0.19, 0.1: 0.16, 1.0: 0.18, 3.0: 0.25}


@pytest.fixture(scope="module")
def short() -> pd.DataFrame:
    return measure(steps=2, projection_steps=3)


def distances(frame: pd.DataFrame, radius: float) -> np.ndarray:
    """Of the ten trajectories of one radius, NaN for SGD, ascending."""
    table = farthest(frame)
    chosen = table["radius"].isna() if math.isnan(radius) else table["radius"] == radius
    return np.sort(table.loc[chosen, "farthest"].to_numpy())


def check_the_transition(frame: pd.DataFrame) -> None:
    for radius, expected in STUCK.items():
        assert distances(frame, radius)[4] == pytest.approx(expected, rel=0.15)
    for radius in (5.0, 6.0, 8.0):
        assert np.median(distances(frame, radius)) > 1.0


def test_small_balls_are_stuck_and_large_ones_explore() -> None:
    check_the_transition(measure(steps=50))


@pytest.mark.slow
def test_the_whole_figure() -> None:
    check_the_transition(measure())


def test_frame_is_tidy(short: pd.DataFrame) -> None:
    assert len(short) == 3 * 10 * (1 + len(RADII))
    assert not short.duplicated(["optimizer", "radius", "start", "step"]).any()
    assert set(short["step"]) == {0, 1, 2}
    assert set(short["start"]) == set(range(10))
    assert list(short.loc[short["optimizer"] == "rbo", "radius"].unique()) == list(RADII)
    sgd = short[short["optimizer"] == "sgd"]
    assert len(sgd) == 30
    assert sgd[["radius", "center_x", "center_y"]].isna().all(axis=None)
    assert short[["x", "y", "loss"]].notna().all(axis=None)


def test_all_begin_at_the_starts(short: pd.DataFrame) -> None:
    for _, begin in short[short["step"] == 0].groupby(["optimizer", "radius"], dropna=False):
        np.testing.assert_array_equal(begin.sort_values("start")[["x", "y"]], starts())


def test_sgd_descends(short: pd.DataFrame) -> None:
    theta = torch.from_numpy(starts())
    for step in range(3):
        value, gradient = Eq14().value_and_grad(theta)
        rows = short[(short["optimizer"] == "sgd") & (short["step"] == step)]
        np.testing.assert_allclose(rows[["x", "y"]], theta, rtol=0.0, atol=1e-14)
        np.testing.assert_allclose(rows["loss"], value, rtol=0.0, atol=1e-13)
        theta = theta - LR * gradient


def test_center_is_a_radius_away_along_the_normal(short: pd.DataFrame) -> None:
    balls = short[short["optimizer"] == "rbo"]
    theta = torch.tensor(balls[["x", "y"]].to_numpy())
    _, gradient = Eq14().value_and_grad(theta)
    away = torch.tensor(balls[["center_x", "center_y"]].to_numpy()) - theta
    radius = torch.tensor(balls["radius"].to_numpy())
    height = radius / (1.0 + gradient.square().sum(dim=1)).sqrt()
    torch.testing.assert_close(away.square().sum(dim=1) + height.square(), radius.square())
    assert ((away * gradient).sum(dim=1) < 0.0).all()


def test_radius_does_not_alter_the_others() -> None:
    both, alone = measure(3, 5, radii=(1.0, 8.0)), measure(3, 5, radii=(8.0,))
    pd.testing.assert_frame_equal(
        both[both["radius"] == 8.0].reset_index(drop=True),
        alone[alone["radius"] == 8.0].reset_index(drop=True),
    )


def test_no_steps() -> None:
    with pytest.raises(UsageError, match=r"^steps must be at least 1, not 0$"):
        measure(steps=0)


def test_farthest_is_from_the_start_and_not_the_end() -> None:
    frame = pd.DataFrame(
        {
            "optimizer": ["sgd"] * 3 + ["rbo"] * 2,
            "radius": [np.nan] * 3 + [2.0] * 2,
            "start": [0] * 5,
            "step": [2, 1, 0, 0, 1],
            "x": [1.0, 4.0, 1.0, 0.0, 1.0],
            "y": [2.0, 6.0, 2.0, 0.0, 0.0],
        }
    )
    table = farthest(frame).set_index("optimizer")
    assert table["farthest"].to_dict() == {"sgd": 5.0, "rbo": 1.0}
    assert table.loc["rbo", "radius"] == 2.0


def test_figure(short: pd.DataFrame) -> None:
    figure = draw(short)
    assert figure.get_figwidth() == 7.0
    panels = [axes for axes in figure.axes if axes.get_title()]
    names = [axes.get_title().partition(" (")[0] for axes in panels]
    assert names == ["SGD", *(f"RBO, ρ = {radius:g}" for radius in RADII)]
    for axes, radius in zip(panels, [math.nan, *RADII], strict=True):
        assert axes.get_title().endswith(f"({np.median(distances(short, radius)):.2f})")
        paths = [line for line in axes.lines if line.get_linestyle() == "-"]
        assert [len(line.get_xdata()) for line in paths] == [3] * 10
        (image,) = axes.images
        left, right, bottom, top = image.get_extent()
        assert short["x"].between(left, right).all()
        assert short["y"].between(bottom, top).all()
    figure.canvas.draw()


def test_background_is_eq14(short: pd.DataFrame) -> None:
    image = next(axes for axes in draw(short).axes if axes.get_title()).images[0]
    left, right, bottom, top = image.get_extent()
    corners = torch.tensor([[left, bottom], [right, top], [left, top]], dtype=torch.float64)
    pixels = np.asarray(image.get_array())
    shown = [pixels[0, 0], pixels[-1, -1], pixels[-1, 0]]
    np.testing.assert_allclose(shown, Eq14().value(corners), rtol=0.0, atol=1e-12)


def test_short_trajectories_are_magnified(short: pd.DataFrame) -> None:
    wide = short.copy()
    wide.loc[(wide["radius"] == 8.0) & (wide["step"] == 2), "x"] -= 2.0
    panels = [axes for axes in draw(wide).axes if axes.get_title()]
    assert [len(axes.child_axes) for axes in panels] == [1] * 7 + [0]


def test_batched_program_agrees_with_numpy() -> None:
    speed = paired_speed(steps=2, rounds=2, projection_steps=10)
    assert speed.difference < 1e-9
    assert speed.difference_beyond < 1e-9
    assert len(speed.batched_seconds) == len(speed.numpy_seconds) == 2
    assert speed.ratio > 0.0


def test_no_rounds() -> None:
    with pytest.raises(UsageError, match=r"^steps and rounds must be at least 1, not 2 and 0$"):
        paired_speed(steps=2, rounds=0)
