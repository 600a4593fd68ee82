"""The ablation: what better projection buys, and whether the center form keeps the ball's properties.

Digits, clean and with 40 % of the labels flipped. Every method has the same budgets of gradient evaluations
and a grid of learning rate and radius; the cell of each is chosen by accuracy on the noisy validation
split, never on the test set, and stands beside its control.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from concurrent.futures import as_completed
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any, cast

import numpy as np
import pandas as pd

from rbobench.analysis.leaderboard import leaderboard
from rbobench.analysis.statistics import detectable_difference, paired_t, t_interval
from rbobench.analysis.tables import markdown_row, render
from rbobench.processes import process_pool
from rbobench.runner.record import write_atomically
from rbobench.runner.trial import PROTOCOL, digest
from rbobench.studies import ablation_figures
from rbobench.studies.ablation_images import run_images
from rbobench.studies.ablation_methods import BY_NAME, METHODS, Method
from rbobench.studies.ablation_training import HIDDEN, train_grid

NOISES = (0.0, 0.4)
SEEDS = tuple(range(5))
BUDGETS = (2000, 4000, 8000)
EVERY = 100
LEVELS = (0.2, 0.35, 0.5)
"""Shares of the flipped labels at whose memorization methods are compared: well above the tenth of a network
that guesses."""

CELL = ["noise", "method", "lr", "radius"]


def run(
    out: Path,
    *,
    small: bool = False,
    jobs: int | None = None,
    say: Callable[[str], None] = print,
    images: Path | None = None,
) -> list[Path]:
    """Train, choose, compare and draw.

    Args:
        out: Folder for tables (CSV, Markdown), figures (PDF, PNG) and `cells.parquet`, every cell and seed;
            `curves` in it keeps the trainings, so that a study that was interrupted goes on.
        small: Four methods, two seeds and small budgets, to see that it works.
        jobs: Processes side by side; by default one for each core.
        say: Is told of each method when it is done.
        images: Folder of images, `train|test/<class>/*`: the best cells are then run on them too, with
            records and leaderboard in `images`.

    Returns:
        What was written.
    """
    out.mkdir(parents=True, exist_ok=True)
    methods: Iterable[Method] = METHODS
    seeds: tuple[int, ...] = SEEDS
    budgets: tuple[int, ...] = BUDGETS
    if small:
        methods = [BY_NAME[name] for name in ("sgd", "search", "rbo sgd, P = 5", "null of rbo sgd, P = 5")]
        seeds, budgets = (0, 1), (200, 400)
    curves = train_all(methods, seeds, budgets[-1], out / "curves", jobs=jobs, say=say)
    rows = at_budgets(curves, budgets)
    chosen = choose(rows)
    summary = compare(chosen, curves)
    levels = at_equal_memorization(curves)
    files = []
    rows.to_parquet(out / "cells.parquet", index=False)
    files.append(out / "cells.parquet")
    for name, table in (("summary", summary), ("equal_memorization", levels)):
        table.to_csv(out / f"{name}.csv", index=False, float_format="%.5g")
        (out / f"{name}.md").write_text(markdown(table) + "\n", encoding="utf-8")
        files += [out / f"{name}.csv", out / f"{name}.md"]
    files += ablation_figures.draw(out, summary, levels, rows)
    if images is not None:
        board = leaderboard(run_images(summary, images, out / "images", jobs=jobs, say=say))
        files += [out / "images" / "leaderboard.md", out / "images" / "leaderboard.csv"]
        files[-2].write_text(render(board, "markdown"), encoding="utf-8")
        files[-1].write_text(render(board, "csv"), encoding="utf-8")
    return files


def train_all(
    methods: Iterable[Method],
    seeds: tuple[int, ...],
    budget: int,
    folder: Path,
    *,
    jobs: int | None = None,
    say: Callable[[str], None] = lambda message: None,
) -> pd.DataFrame:
    """Train every method's grid with and without noise; what `folder` holds already is not trained again.

    Args:
        methods: What to train.
        seeds: Of the trials.
        budget: Gradient evaluations of each training.
        folder: Keeps one Parquet file for each method and noise, named by a digest of all that decides it.
        jobs: Processes side by side.
        say: Is told of each when it is done.

    Returns:
        One row for each cell, seed and measurement.
    """
    folder.mkdir(parents=True, exist_ok=True)
    places = {}
    for method in methods:
        for noise in NOISES:
            decides = [PROTOCOL, asdict(method), method.resolved, noise, seeds, budget, EVERY, HIDDEN]
            places[method.name, noise] = folder / f"{digest(decides)[:16]}.parquet"
    with process_pool(jobs) as pool:
        running = {
            pool.submit(train_grid, BY_NAME[name], noise, seeds, budget, EVERY): (name, noise)
            for (name, noise), path in places.items()
            if not path.exists()
        }
        for done, future in enumerate(as_completed(running), start=1):
            frame = future.result()
            write_atomically(places[running[future]], partial(frame.to_parquet, index=False))
            name, noise = running[future]
            say(f"[{done}/{len(running)}] {name}, {noise:.0%} noise")
    return pd.concat([pd.read_parquet(path) for path in places.values()], ignore_index=True)


def at_budgets(curves: pd.DataFrame, budgets: Iterable[int]) -> pd.DataFrame:
    """Of each training what it has reached at each budget.

    Returns:
        One row for each cell, seed and budget; `test_chosen` is the test accuracy at the point of the best
        validation accuracy so far, the first of equals.
    """
    rows = []
    for budget in budgets:
        within = curves[curves["gradients"] <= budget]
        last = within[within["gradients"] == budget]
        best = within.loc[within.groupby([*CELL, "seed"])["validation_accuracy"].idxmax()]
        best = best.rename(columns={"test_accuracy": "test_chosen"})[[*CELL, "seed", "test_chosen"]]
        ever = within.groupby([*CELL, "seed"], as_index=False)["diverged"].any()
        last = last.drop(columns="diverged").merge(ever, on=[*CELL, "seed"])
        rows.append(last.merge(best, on=[*CELL, "seed"]).assign(budget=budget))
    renamed = {"test_accuracy": "test_last", "validation_accuracy": "validation_last"}
    return pd.concat(rows, ignore_index=True).drop(columns="gradients").rename(columns=renamed)


def choose(rows: pd.DataFrame) -> pd.DataFrame:
    """The rows of each method's best cell at each budget, by mean validation accuracy at the last step.

    A cell in which a seed diverged is not chosen.

    Returns:
        With `at_edge`, the hyperparameters whose chosen value is at an end of their grid.
    """
    groups = rows.groupby([*CELL, "budget"])
    scores = groups["validation_last"].mean().where(~groups["diverged"].any())
    winners = scores.dropna().groupby(["noise", "method", "budget"]).idxmax()
    cells = pd.DataFrame(list(winners), columns=[*CELL, "budget"])
    at_edge = {}
    for name in ("lr", "radius"):
        tried = rows.groupby("method")[name]
        low, high = (cells["method"].map(end) for end in (tried.min(), tried.max()))
        at_edge[name] = (low < high) & ((cells[name] == low) | (cells[name] == high))
    cells["at_edge"] = [", ".join(name for name in at_edge if at_edge[name][row]) for row in cells.index]
    return rows.merge(cells, on=[*CELL, "budget"])


def compare(chosen: pd.DataFrame, curves: pd.DataFrame) -> pd.DataFrame:
    """Each method's best cell at each budget, beside its control's.

    Args:
        chosen: As `choose` gives them.
        curves: Of all trainings; where a control is SGD, its cell is chosen where it has taken as many steps.

    Returns:
        Means over the seeds; `half_width` of the 95 % t interval; `gain` over the control, paired by seed,
        with its interval (uncorrected for how many there are), and the smallest difference that would have
        been seen with a chance of 80 %.
    """
    table = []
    for key, cell in chosen.sort_values("seed").groupby(["noise", "method", "budget"]):
        noise, name, budget = cast(tuple[float, str, int], key)
        method = BY_NAME[name]
        low, high = t_interval(cell["test_last"])
        row: dict[str, Any] = {
            "noise": noise,
            "budget": budget,
            "method": name,
            "gradients a step": method.cost,
            "lr": cell["lr"].iloc[0],
            "radius": cell["radius"].iloc[0] if method.radius else np.nan,
            "at_edge": cell["at_edge"].iloc[0],
            "test_last": cell["test_last"].mean(),
            "half_width": (high - low) / 2,
            "test_chosen": cell["test_chosen"].mean(),
            "memorization": cell["memorization"].mean(),
        }
        control = _control(method, noise, budget, chosen, curves)
        if control is not None:
            gain = paired_t(cell["test_last"], control["test_accuracy"])
            row |= {
                "control": method.control,
                "control_lr": control["lr"].iloc[0],
                "control_at_edge": control["lr"].iloc[0] in (min(own := _rates(method)), max(own)),
                "control_test": control["test_accuracy"].mean(),
                "gain": gain.difference,
                "gain_low": gain.low,
                "gain_high": gain.high,
                "detectable": detectable_difference(gain.n, gain.sd),
            }
        table.append(row)
    return _ordered(pd.DataFrame(table), ["noise", "budget"])


def _rates(method: Method) -> tuple[float, ...]:
    """The learning rates tried of a method's control."""
    return BY_NAME[method.control].rates if method.control is not None else ()


def _control(
    method: Method, noise: float, budget: int, chosen: pd.DataFrame, curves: pd.DataFrame
) -> pd.DataFrame | None:
    """The control's best cell, by seed; `None` where there is none."""
    if method.control is None or method.control not in set(curves["method"]):
        return None
    if BY_NAME[method.control].cost == method.cost:
        one = chosen[
            (chosen["method"] == method.control) & (chosen["noise"] == noise) & (chosen["budget"] == budget)
        ]
        return None if one.empty else one.rename(columns={"test_last": "test_accuracy"}).sort_values("seed")
    steps = budget / method.cost
    own = curves[(curves["method"] == method.control) & (curves["noise"] == noise)]
    there = own[own["steps"] == own.loc[own["steps"] <= steps, "steps"].max()]
    groups = there.groupby("lr")
    score = groups["validation_accuracy"].mean()[~groups["diverged"].any()]
    return there[there["lr"] == score.idxmax()].sort_values("seed") if len(score) else None


def at_equal_memorization(curves: pd.DataFrame, levels: Iterable[float] = LEVELS) -> pd.DataFrame:
    """Test accuracy where a given share of the flipped labels has been memorized.

    Of each training the first point at which the share is reached; of each method the cell with the best
    validation accuracy there, among those where every seed gets there.

    Returns:
        One row for each method and level; NaN where no cell gets there.
    """
    noisy = curves[curves["memorization"].notna()]
    seeds = noisy["seed"].nunique()
    table = []
    for level in levels:
        reached = noisy[(noisy["memorization"] >= level) & ~noisy["diverged"]].sort_values("gradients")
        first = reached.drop_duplicates([*CELL, "seed"])
        groups = first.groupby(CELL)
        score = groups["validation_accuracy"].mean().where(groups.size() == seeds)
        for name in dict.fromkeys(noisy["method"]):
            own = score[score.index.get_level_values("method") == name].dropna()
            row: dict[str, Any] = {"level": level, "method": name}
            if len(own):
                noise, _, lr, radius = own.idxmax()
                cell = groups.get_group((noise, name, lr, radius))
                low, high = t_interval(cell["test_accuracy"])
                row |= {
                    "lr": lr,
                    "radius": radius,
                    "gradients": cell["gradients"].mean(),
                    "memorization": cell["memorization"].mean(),
                    "test_accuracy": cell["test_accuracy"].mean(),
                    "half_width": (high - low) / 2,
                }
            table.append(row)
    return _ordered(pd.DataFrame(table), ["level"])


def _ordered(table: pd.DataFrame, by: list[str]) -> pd.DataFrame:
    """Rows sorted by columns, and within them as the methods are listed."""
    order = {method.name: index for index, method in enumerate(METHODS)}
    return table.sort_values(
        [*by, "method"], key=lambda column: column.map(order) if column.name == "method" else column
    ).reset_index(drop=True)


def markdown(table: pd.DataFrame) -> str:
    """A table for reading: accuracies to three digits, nothing for what is not there."""
    text = table.copy()
    for column in text:
        if text[column].dtype.kind == "f":
            text[column] = ["" if np.isnan(value) else f"{value:.3g}" for value in text[column]]
    rows = [list(text.columns), ["---"] * len(text.columns), *text.fillna("").to_numpy().tolist()]
    return "\n".join(markdown_row(map(str, row)) for row in rows)
