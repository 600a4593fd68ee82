"""A slow copy of SGD is told from a robust method."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import ArrayLike

from rbobench.analysis.leaderboard import Verdict, leaderboard
from rbobench.analysis.memorization import (
    accuracy_at_memorization,
    budget_of_memorization,
    equal_memorization,
    ladder_verdicts,
    render_equal_memorization,
)
from rbobench.analysis.results import load_curves, load_results
from rbobench.analysis.statistics import paired_t
from rbobench.analysis.tables import WIDTH
from rbobench.errors import UsageError

CONTROLS = {"rbo": ("rbo-null", "sgd-short"), "sam": ("sam-null",)}


def curve(
    memorization: ArrayLike,
    accuracy: ArrayLike | None = None,
    *,
    task: str = "noise",
    optimizer: str = "sgd",
    seed: int = 0,
    budget: float = 1000,
) -> pd.DataFrame:
    """One trial's rows of `load_curves`."""
    count = len(np.atleast_1d(memorization))
    metrics: dict[str, ArrayLike] = {"memorization": memorization, "loss": [1.0] * count}
    if accuracy is not None:
        metrics["test_accuracy"] = accuracy
    fraction = np.arange(1, count + 1) / count
    return pd.concat(
        [
            pd.DataFrame(
                {
                    "key": f"{task}/{optimizer}/{seed}",
                    "task": task,
                    "optimizer": optimizer,
                    "seed": seed,
                    "gradient_evaluations": budget * fraction,
                    "fraction": fraction,
                    "metric": metric,
                    "value": np.asarray(values, dtype=float),
                }
            )
            for metric, values in metrics.items()
        ],
        ignore_index=True,
    )


def trials(curves: pd.DataFrame, **changed: Mapping[str, Any]) -> pd.DataFrame:
    """The rows of `load_results` that belong to curves; `changed` sets columns by optimizer."""
    names = curves.drop_duplicates("key")[["key", "task", "optimizer", "seed"]]
    last = curves[curves["metric"] == "test_accuracy"].groupby("key")["value"].last()
    frame = names.assign(
        optimizer_name=names["optimizer"],
        controls=names["optimizer"].map(lambda name: CONTROLS.get(name, ())),
        status="ok",
        steps=1000.0,
        test_accuracy_chosen=math.nan,
        test_accuracy_last=names["key"].map(last),
        loss_last=math.nan,
        corruption_hash="ab",
        corruption_kind="symmetric label noise",
        ladder=names["task"],
        rung=1.0,
    )
    for optimizer, columns in changed.items():
        for column, value in columns.items():
            frame.loc[frame["optimizer"] == optimizer, column] = value
    return frame.reset_index(drop=True)


def course(speed: float, *, gain: float = 0.0, points: int = 20) -> tuple[np.ndarray, np.ndarray]:
    """Memorization saturates in time; accuracy falls linearly with it from a height that is the method's."""
    memorization = 1 - np.exp(-4 * speed * np.arange(1, points + 1) / points)
    return memorization, 0.95 + gain - 0.4 * memorization


def suite(
    methods: Mapping[str, tuple[float, float]], *, task: str = "noise", budget: float = 1.0, seeds: int = 4
) -> pd.DataFrame:
    """Curves from `optimizer: (speed, gain)`; each seed its own height, shared by all, and a little noise."""
    parts = []
    for number, (optimizer, (speed, gain)) in enumerate(methods.items()):
        for seed in range(seeds):
            height = 0.01 * seed + 0.001 * np.random.default_rng([number, seed]).normal()
            memorization, accuracy = course(speed * budget, gain=gain + height)
            parts.append(
                curve(memorization, accuracy, task=task, optimizer=optimizer, seed=seed, budget=1000 * budget)
            )
    return pd.concat(parts, ignore_index=True)


def row(frame: pd.DataFrame, **where: Any) -> pd.Series[Any]:
    for name, value in where.items():
        frame = frame[frame[name] == value]
    (found,) = [row for _, row in frame.iterrows()]
    return found


def at(memorization: ArrayLike, accuracy: ArrayLike, level: float) -> float:
    frame = accuracy_at_memorization(curve(memorization, accuracy), [level])
    assert list(frame.columns) == ["task", "optimizer", "seed", "level", "test_accuracy"]
    return float(frame["test_accuracy"].iloc[0])


@pytest.mark.parametrize(
    ("memorization", "level", "expected"),
    [
        ([0.0, 0.2, 0.4, 0.8], 0.3, 0.75),  # halfway between the second and third point
        ([0.0, 0.2, 0.4, 0.8], 0.4, 0.7),  # at a point
        ([0.0, 0.2, 0.4, 0.8], 0.9, math.nan),  # never
        ([0.3, 0.4, 0.5, 0.8], 0.3, 0.9),  # at the first point
        ([0.3, 0.4, 0.5, 0.8], 0.2, math.nan),  # passed before the first point
        ([0.1, 0.5, 0.2, 0.8], 0.3, 0.85),  # the first of two crossings
        ([0.25, 0.1, 0.3, 0.8], 0.2, 0.75),  # an untrained model's chance, unlearned first: from below alone
        ([0.25, 0.2, 0.35, 0.8], 0.3, 0.8 - 0.1 * 2 / 3),  # from the valley, not from the peak before it
        ([0.0, math.nan, 0.4, 0.8], 0.2, 0.8),  # a point that nobody knows
    ],
)
def test_accuracy_where_the_course_first_crosses(
    memorization: list[float], level: float, expected: float
) -> None:
    assert at(memorization, [0.9, 0.8, 0.7, 0.6], level) == pytest.approx(expected, nan_ok=True)


Points = st.lists(st.tuples(st.floats(0, 1), st.floats(0, 1)), min_size=2, max_size=12)


@settings(max_examples=40)
@given(points=Points, level=st.floats(0.05, 1), cuts=st.lists(st.floats(0.01, 0.99), max_size=5))
def test_the_course_counts_and_not_its_points(
    points: list[tuple[float, float]], level: float, cuts: list[float]
) -> None:
    """More points on the same polygon, as a slower method or more evaluations give, change nothing."""
    course = np.array(points)
    time = np.sort(np.r_[np.arange(len(course)), [cut * (len(course) - 1) for cut in cuts]])
    finer = np.array([np.interp(time, np.arange(len(course)), column) for column in course.T])
    coarse = at(course[:, 0], course[:, 1], level)
    slopes = np.abs(np.diff(course[:, 0]))
    if (np.abs(course[:, 0] - level) < 1e-6).any() or (slopes[slopes > 0] < 1e-6).any():
        return  # rounding decides on which side a point lies
    assert at(finer[0], finer[1], level) == pytest.approx(coarse, abs=1e-6, nan_ok=True)


def test_levels_are_shares() -> None:
    for level in (0.0, 1.1, math.nan):
        with pytest.raises(UsageError, match=r"a level of memorization must be in \(0, 1\]"):
            accuracy_at_memorization(curve([0.1], [0.9]), [level])
        with pytest.raises(UsageError, match="a level of memorization"):
            budget_of_memorization(curve([0.1]), level)


def test_trials_without_flipped_labels_are_left_out() -> None:
    clean = curve([0.5, 0.9], [0.9, 0.8], task="clean")
    clean = clean[clean["metric"] != "memorization"]
    curves = pd.concat([clean, curve([0.1, 0.9], [0.9, 0.8])], ignore_index=True)
    assert set(accuracy_at_memorization(curves)["task"]) == {"noise"}
    assert accuracy_at_memorization(clean).empty
    assert budget_of_memorization(clean).empty
    assert equal_memorization(trials(clean), clean).empty
    assert "Nothing to compare" in render_equal_memorization(equal_memorization(trials(clean), clean))


@pytest.mark.parametrize(
    ("memorization", "expected"),
    [
        ([0.0, 0.5, 0.8, 1.0], 875),
        ([0.0, 0.9, 0.5, 1.0], 500),
        ([0.95, 1, 1, 1], 250),
        ([0, 0, 0, 0.5], math.nan),
    ],
)
def test_budget_of_memorization(memorization: list[float], expected: float) -> None:
    frame = budget_of_memorization(curve(memorization))
    assert list(frame.columns) == ["task", "optimizer", "seed", "gradient_evaluations"]
    assert frame["gradient_evaluations"].iloc[0] == pytest.approx(expected, nan_ok=True)


def test_a_method_of_half_the_speed_takes_twice_the_budget() -> None:
    curves = suite({"sgd": (1.0, 0.0), "rbo": (0.5, 0.0)}, budget=2.0, seeds=1)
    spent = budget_of_memorization(curves).set_index("optimizer")["gradient_evaluations"]
    # 1 − exp(−4t/1000) = 0.9 at t = 576, but for the polygon's chords.
    assert spent["sgd"] == pytest.approx(1000 * math.log(10) / 4, rel=0.01)
    assert spent["rbo"] / spent["sgd"] == pytest.approx(2.0, rel=0.01)


def test_a_slow_copy_of_sgd_gains_nothing_at_equal_memorization() -> None:
    """The same curve, stretched in time: it wins at the last step alone."""
    curves = pd.concat(
        [
            curve(memorization, accuracy, optimizer=optimizer, seed=seed)
            for optimizer, speed in {"sgd": 1.0, "rbo-null": 1.0, "rbo": 0.37}.items()
            for seed in range(3)
            for memorization, accuracy in [course(speed, gain=0.01 * seed)]
        ],
        ignore_index=True,
    )
    results = trials(curves)
    last = row(leaderboard(results), optimizer="rbo")
    assert last["gain"] > 0.05
    equal = equal_memorization(results, curves, [0.3, 0.5, 0.7])
    slow = equal[equal["optimizer"] == "rbo"]
    assert slow["gain"].to_numpy() == pytest.approx(0.0, abs=1e-12)
    assert slow["over_sgd"].to_numpy() == pytest.approx(0.0, abs=1e-12)
    assert slow["n"].tolist() == slow["pairs"].tolist() == slow["over_sgd_pairs"].tolist() == [3, 3, 3]


def test_a_robust_method_gains_at_equal_memorization() -> None:
    curves = suite({"sgd": (1.0, 0.0), "rbo-null": (0.6, 0.0), "rbo": (0.5, 0.05)})
    equal = equal_memorization(trials(curves), curves, [0.3, 0.5, 0.95])
    for level in (0.3, 0.5):
        robust = row(equal, optimizer="rbo", level=level)
        assert robust["control"] == "rbo-null"
        assert robust["gain_low"] < 0.05 < robust["gain_high"]
        assert robust["gain"] == pytest.approx(0.05, abs=0.003)
        assert robust["over_sgd"] == pytest.approx(0.05, abs=0.003)
        assert max(robust["gain_p"], robust["over_sgd_p"]) < 1e-3
        assert 0 < robust["detectable"] < 0.01
    never = row(equal, optimizer="rbo", level=0.95)  # 1 − exp(−2) = 0.86 at the end
    assert (never["n"], never["pairs"], never["over_sgd_pairs"]) == (0, 0, 0)
    assert math.isnan(never["mean"])
    assert math.isnan(never["gain"])
    assert row(equal, optimizer="sgd", level=0.95)["n"] == 4


def test_numbers_are_those_of_the_paired_t() -> None:
    curves = suite(
        {"sgd": (1.0, 0.0), "rbo-null": (0.6, 0.01), "rbo": (0.5, 0.02), "sgd-short": (0.9, 0.015)}
    )
    results = trials(curves, **{"sgd-short": {"steps": 50.0}})  # not matched
    values = accuracy_at_memorization(curves, [0.5]).pivot(
        index="optimizer", columns="seed", values="test_accuracy"
    )
    own = row(equal_memorization(results, curves, [0.5]), optimizer="rbo")
    over_control = paired_t(values.loc["rbo"], values.loc["rbo-null"])
    over_sgd = paired_t(values.loc["rbo"], values.loc["sgd"])
    assert own["control"] == "rbo-null"
    assert own["mean"] == pytest.approx(values.loc["rbo"].mean())
    assert own["sd"] == pytest.approx(values.loc["rbo"].std(ddof=1))
    assert own[["gain", "gain_low", "gain_high", "gain_p"]].tolist() == pytest.approx(
        [over_control.difference, over_control.low, over_control.high, over_control.p]
    )
    assert own[["over_sgd", "over_sgd_low", "over_sgd_high", "over_sgd_p"]].tolist() == pytest.approx(
        [over_sgd.difference, over_sgd.low, over_sgd.high, over_sgd.p]
    )
    sgd = row(equal_memorization(results, curves, [0.5]), optimizer="sgd")
    assert math.isnan(sgd["over_sgd"])
    assert pd.isna(sgd["control"])


def test_the_control_is_the_best_at_the_level() -> None:
    curves = suite(
        {"sgd": (1.0, 0.0), "rbo": (0.8, 0.02), "rbo-null": (0.3, 0.01), "sgd-short": (1.0, -0.01)}
    )
    equal = equal_memorization(trials(curves), curves, [0.5, 0.9])
    assert row(equal, optimizer="rbo", level=0.5)["control"] == "rbo-null"
    assert row(equal, optimizer="rbo", level=0.9)["control"] == "sgd-short"  # the other never gets there


def test_only_what_finished_is_compared() -> None:
    curves = suite({"sgd": (1.0, 0.0), "rbo": (0.8, 0.02), "rbo-null": (1.0, 0.0)})
    results = trials(curves)
    results.loc[(results["optimizer"] == "rbo") & (results["seed"] == 2), "status"] = "diverged"
    own = row(equal_memorization(results, curves, [0.5]), optimizer="rbo")
    assert (own["n"], own["pairs"], own["over_sgd_pairs"]) == (3, 3, 3)
    two = pd.concat([results, results.assign(key="again " + results["key"])])
    again = pd.concat([curves, curves.assign(key="again " + curves["key"])])
    with pytest.raises(UsageError, match="two results for task 'noise'"):
        equal_memorization(two, again, [0.5])


def test_levels_that_nobody_reached_are_there_and_empty() -> None:
    curves = suite({"sgd": (0.01, 0.0), "rbo": (0.01, 0.0)})
    equal = equal_memorization(trials(curves), curves)
    assert len(equal) == 2 * 5
    assert (equal["n"] == 0).all()
    assert equal["mean"].isna().all()
    assert "nan" not in render_equal_memorization(equal).lower()


def ladder(verdicts: Mapping[float, Verdict], optimizer: str = "rbo") -> pd.DataFrame:
    return pd.DataFrame(
        {
            "task": [f"noise ×{rung:g}" for rung in verdicts],
            "ladder": "noise",
            "rung": list(verdicts),
            "optimizer": optimizer,
            "verdict": list(verdicts.values()),
        }
    )


B, N, W = Verdict.BETTER, Verdict.NO_DIFFERENCE, Verdict.WORSE
SLOW, CLEAN = Verdict.SLOWER_NOT_MORE_ROBUST, Verdict.SLOWER_NOT_BETTER


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ([B, N, N, N], [SLOW, N, N, N]),
        ([N, N, B, W], [N, N, SLOW, W]),
        ([B, B, N, N], [B, B, N, N]),
        ([B], [B]),
        (
            [B, Verdict.TOO_FEW_SEEDS, Verdict.DID_NOT_FINISH],
            [B, Verdict.TOO_FEW_SEEDS, Verdict.DID_NOT_FINISH],
        ),
        ([Verdict.BETTER_WHERE_IT_FINISHED, SLOW], [SLOW, SLOW]),
        ([Verdict.BETTER_WHERE_IT_FINISHED, B], [Verdict.BETTER_WHERE_IT_FINISHED, B]),
        ([N, SLOW, W], [N, SLOW, W]),
    ],
)
def test_a_win_at_one_budget_alone_is_slowness(before: list[Verdict], after: list[Verdict]) -> None:
    board = ladder(dict(zip((1.0, 2.0, 4.0, 8.0), before, strict=False)))
    assert ladder_verdicts(board)["verdict"].tolist() == after
    assert board["verdict"].tolist() == before  # a copy


def test_ladders_and_methods_are_apart() -> None:
    board = pd.concat(
        [
            ladder({1.0: B, 2.0: N}),
            ladder({1.0: N, 2.0: B}, "sam"),
            ladder({1.0: B, 2.0: N}).assign(ladder="other"),
            ladder({1.0: B, 2.0: N}).assign(ladder="clean", noisy=False),
            ladder({1.0: B, 2.0: N}).assign(ladder=None),
        ],
        ignore_index=True,
    ).fillna({"noisy": True})
    told = ladder_verdicts(board)["verdict"].tolist()
    assert told == [SLOW, N, N, SLOW, SLOW, N, CLEAN, N, B, N]


def gains(
    better: int, same: int, *, pairs: int = 3, task: str = "noise ×1", sign: float = 1.0
) -> pd.DataFrame:
    count = better + same
    return pd.DataFrame(
        {
            "task": task,
            "optimizer": "rbo",
            "level": np.linspace(0.1, 0.9, count),
            "pairs": pairs,
            "gain": 0.05 * sign,
            "gain_p": [0.01] * better + [0.3] * same,
        }
    )


@pytest.mark.parametrize(
    ("equal", "stands"),
    [
        (gains(3, 2), True),
        (gains(2, 3), False),
        (gains(2, 2), True),
        (gains(1, 0), True),
        (gains(0, 1), False),
        (gains(5, 0, sign=-1.0), False),
        (gains(5, 0, pairs=2), False),
        (gains(5, 0, task="noise ×2"), False),
        (pd.concat([gains(1, 0), gains(0, 4, pairs=2)]), True),
    ],
)
def test_a_win_stands_where_it_is_one_at_equal_memorization(equal: pd.DataFrame, stands: bool) -> None:
    board = ladder({1.0: B, 2.0: N})
    assert ladder_verdicts(board, equal)["verdict"].tolist() == [B if stands else SLOW, N]


@pytest.mark.parametrize("shared", [0.0, 0.7])
def test_chance_lets_few_wins_stand(shared: float) -> None:
    """Whether levels agree or not, at most one win in twenty stands where there is no gain."""
    generator, count = np.random.default_rng(0), 200
    boards, frames = [], []
    for number in range(count):
        common, own = generator.normal(size=(3, 1)), generator.normal(size=(3, 5))
        drawn = math.sqrt(shared) * common + math.sqrt(1 - shared) * own
        outcomes = [paired_t(column, np.zeros(3)) for column in drawn.T]
        frame = gains(5, 0).assign(optimizer=f"method {number}")
        frames.append(frame.assign(gain=[o.difference for o in outcomes], gain_p=[o.p for o in outcomes]))
        boards.append(ladder({1.0: B, 2.0: N}, f"method {number}"))
    told = ladder_verdicts(pd.concat(boards, ignore_index=True), pd.concat(frames, ignore_index=True))
    assert (told["verdict"] == B).mean() < 0.05 + 2 * math.sqrt(0.05 * 0.95 / count)


def test_a_ladder_from_its_curves() -> None:
    """Slow wins where the budget is short and is found out; robust is better at equal memorization."""
    parts = []
    for rung in (1.0, 8.0):
        methods = {
            "sgd": (1.0, 0.0),
            "rbo": (0.3, 0.0),
            "rbo-null": (1.0, 0.0),
            "sam": (0.9, 0.03 if rung == 1.0 else 0.0),
            "sam-null": (0.9, 0.0),
        }
        parts.append(suite(methods, task=f"noise ×{rung:g}", budget=rung))
    curves = pd.concat(parts, ignore_index=True)
    results = trials(curves)
    board = leaderboard(results)
    board = board.assign(ladder="noise", rung=board["task"].str.split("×").str[1].astype(float))
    for method in ("rbo", "sam"):
        assert row(board, optimizer=method, rung=1.0)["verdict"] == B
        assert row(board, optimizer=method, rung=8.0)["verdict"] not in (B, Verdict.BETTER_WHERE_IT_FINISHED)
    told = ladder_verdicts(board, equal_memorization(results, curves))
    assert row(told, optimizer="rbo", rung=1.0)["verdict"] == SLOW
    assert row(told, optimizer="sam", rung=1.0)["verdict"] == B
    assert row(ladder_verdicts(board), optimizer="sam", rung=1.0)["verdict"] == SLOW


def test_the_table_fits_a_terminal() -> None:
    curves = pd.concat(
        [
            suite(
                {"sgd": (1.0, 0.0), "rbo": (0.8, 0.05), "rbo-null": (0.3, 0.01), "sgd-short": (1.0, -0.01)}
            ),
            suite({"sgd": (1.0, 0.0), "sam": (0.8, -0.02), "sam-null": (0.9, 0.0)}, task="other"),
        ],
        ignore_index=True,
    )
    text = render_equal_memorization(equal_memorization(trials(curves), curves))
    assert max(map(len, text.splitlines())) <= WIDTH
    assert "noise: test accuracy in % at equal memorization, 4 seeds" in text
    assert "at 50 %" in text
    assert "nan" not in text.lower()
    assert "Left out" not in text
    assert "rbo against rbo-null (20 %, 30 %, 50 %) and sgd-short (70 %, 90 %)." in text
    first, second = text.split("\n\n")[:2]
    ball = next(line for line in first.splitlines() if line.startswith("rbo "))
    assert all(part in ball for part in ("*", "+", "± 0."))
    assert "−2." in next(line for line in second.splitlines() if line.startswith("sam "))
    assert "*" not in next(line for line in second.splitlines() if line.startswith("sam "))


def test_long_names_cost_levels() -> None:
    curves = suite({"sgd": (1.0, 0.0), "rbo": (0.8, 0.05), "rbo-null": (0.9, 0.01)})
    equal = equal_memorization(trials(curves), curves)
    equal["optimizer"] = equal["optimizer"].replace("rbo", f"rbo [{'x' * 50}]")
    text = render_equal_memorization(equal)
    assert max(map(len, text.splitlines())) <= WIDTH
    assert "Left out for the width: 30 %, 50 %, 70 %" in text


def test_records_of_a_suite(suite_folder: Path) -> None:
    results, curves = load_results(suite_folder), load_curves(suite_folder)
    equal = equal_memorization(results, curves)
    assert set(equal["task"]) == {"digits-noise", "digits-vit-noise"}
    assert set(equal["optimizer"]) == set(results["optimizer"])
    assert max(map(len, render_equal_memorization(equal).splitlines())) <= WIDTH


def test_frames_of_a_folder_of_failures(write: Callable[..., Path]) -> None:
    folder = write(status="failed")
    assert equal_memorization(load_results(folder), load_curves(folder)).empty
