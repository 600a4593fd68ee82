"""The fidelity study: what a gradient evaluation buys of the projection, solver by solver.

At one θ_t and one batch, every solver of Algorithm 1's footpoint problem (arXiv 2505.19527, Eq. 8) and the
center form's contact search get the same moved center c̃ and the same budgets. What counts is how far from c̃
the point is that they return; the paper's solver after 100 evaluations, at its best γ, is the measure.
"""

from __future__ import annotations

import gzip
import io
import itertools
import math
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from rbobench.analysis.style import WIDTH, paper_style, save
from rbobench.analysis.tables import markdown_row
from rbobench.processes import one_thread, process_pool
from rbobench.studies.fidelity_cells import CENTER, EXACT, PAPER, PAPER_BUDGETS, Part, measure
from rbobench.studies.fidelity_problems import PROBLEMS

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

RADII = (0.5, 1.0, 3.0, 10.0)
LRS = (0.1, 1.0)
SEEDS = (0, 1, 2)
STEPS = {"digits MLP": 2, "ResNet-8": 1, "Eq. 13": 2, "Eq. 14": 2}
"""Footpoint problems of each seed in a cell; of ResNet-8, whose gradients cost most, the fewest."""

CELL = ["problem", "stage", "radius", "lr"]
_POSED = [*CELL, "seed", "step"]
_MEASURE = max(PAPER_BUDGETS)

BARS = (
    ("auto with 5 evaluations, no farther", "auto", 5, 1e-3, 2 / 3),
    ("auto with 10 evaluations, within 1 %", "auto", 10, 1e-2, 5 / 6),
)
"""Name, solver, budget, how much farther than the paper's solver it may end, and in which share of cells."""


def run(
    out: Path,
    *,
    small: bool = False,
    jobs: int | None = None,
    say: Callable[[str], None] = print,
    images: Path | None = None,
) -> list[Path]:
    """Measure, and write what came of it.

    Args:
        out: Folder for `fidelity.csv.gz` (every measurement), `fidelity-cells.csv`, `fidelity-summary.csv`,
            `fidelity-bars.csv`, `fidelity.md`, and the figure with its CSV.
        small: One seed, one step, the outer radii and the first stage of what is quick.
        jobs: Processes side by side.
        say: Is told of each part when it is done.
        images: Folder of images `train|test/<class>/*` for ResNet-8; rescaled digits where there is none.

    Returns:
        The files.
    """
    out.mkdir(parents=True, exist_ok=True)
    frame = measure_all(_parts(small, images), jobs=jobs, say=say)
    cells, reached = medians(frame), bars(frame)
    summed = summary(cells)
    raw = out / "fidelity.csv.gz"
    with gzip.GzipFile(raw, "wb", mtime=0) as file:  # equal measurements are equal files
        frame.to_csv(io.TextIOWrapper(file, encoding="utf-8"), index=False, float_format="%.8g")
    files = [raw]
    for name, table in (("cells", cells), ("summary", summed), ("bars", reached)):
        files.append(out / f"fidelity-{name}.csv")
        table.to_csv(files[-1], index=False, float_format="%.6g")
    files.append(out / "fidelity.md")
    files[-1].write_text(_report(frame, cells, summed, reached), encoding="utf-8")
    shown = _shown(cells)
    with paper_style():
        files += save(draw(shown), shown, out / "fidelity-excess", ("pdf", "png"))
    return [*files, out / "fidelity-excess.csv"]


def _parts(small: bool, images: Path | None) -> list[Part]:
    if small:
        return [
            Part(problem, 0, SEEDS[:1], 1, RADII[::3], LRS[:1], images)
            for problem in ("digits MLP", "Eq. 13")
        ]
    parts = []
    # The longest first, so that no process is left alone with one.
    for problem in ("ResNet-8", "Eq. 14", "digits MLP", "Eq. 13"):
        for stage in reversed(range(len(PROBLEMS[problem].stages))):
            # Landscapes are sampled once in a process; networks are trained for each seed.
            together = [SEEDS] if PROBLEMS[problem].ground else [(seed,) for seed in SEEDS]
            parts += [Part(problem, stage, seeds, STEPS[problem], RADII, LRS, images) for seeds in together]
    return parts


def measure_all(
    parts: Iterable[Part], *, jobs: int | None = None, say: Callable[[str], None] = lambda message: None
) -> pd.DataFrame:
    """Measure parts side by side, one thread a process; what `measure` gives, in the parts' order."""
    parts, frames = list(parts), list[pd.DataFrame]()
    if jobs == 1:
        one_thread()
        results: Iterable[pd.DataFrame] = map(measure, parts)
        for part, frame in zip(parts, results, strict=True):
            say(_told(part, len(frames), len(parts)))
            frames.append(frame)
    else:
        with process_pool(jobs) as pool:
            for part, frame in zip(parts, pool.map(measure, parts), strict=True):
                say(_told(part, len(frames), len(parts)))
                frames.append(frame)
    return pd.concat(frames, ignore_index=True)


def _told(part: Part, done: int, total: int) -> str:
    stage = PROBLEMS[part.problem].stage_name(part.stage)
    return f"[{done + 1}/{total}] {part.problem}, {stage}, seeds {', '.join(map(str, part.seeds))}"


def medians(frame: pd.DataFrame) -> pd.DataFrame:
    """The median of each cell over seeds and steps, for every solver and budget.

    Args:
        frame: What `measure` gave.

    Returns:
        One row for each cell (`problem`, `stage`, `radius`, `lr`), `solver` and `budget`: `gamma`, of the
        paper's solver the one of the least median distance there; the medians of `evaluations`, `distance`,
        `excess`, `residual`, `value` and `offset_value`; and `ratio`, the median over the problems of the
        distance relative to the paper's solver's at its largest budget.
    """
    kinds = ["solver", "budget"]
    by_gamma = frame.groupby([*CELL, *kinds, "gamma"], sort=False, dropna=False)["distance"].median()
    best = by_gamma.reset_index().sort_values("distance", kind="stable").drop_duplicates([*CELL, *kinds])
    chosen = frame.merge(best[[*CELL, *kinds, "gamma"]], on=[*CELL, *kinds, "gamma"])
    paper = chosen[(chosen["solver"] == PAPER) & (chosen["budget"] == _MEASURE)]
    chosen = chosen.merge(paper[[*_POSED, "distance"]], on=_POSED, how="left", suffixes=("", "_paper"))
    chosen["ratio"] = chosen["distance"] / chosen["distance_paper"]
    numbers = ["evaluations", "distance", "excess", "residual", "value", "offset_value", "ratio"]
    grouped = chosen.groupby([*CELL, *kinds], sort=False)
    return pd.concat([grouped["gamma"].first(), grouped[numbers].median()], axis=1).reset_index()


def bars(frame: pd.DataFrame) -> pd.DataFrame:
    """Whether `auto` gets as near to the center as the paper's solver, at a fraction of its cost.

    Args:
        frame: What `measure` gave.

    Returns:
        One row for each of `BARS`: `bar`, `cells`, `reached` (cells in which it is so), their `share`, the
        share `needed`, `passed`, and `missing`, the other cells with how much farther `auto` ends.
    """
    cells = medians(frame)
    every = cells[CELL].drop_duplicates()
    rows = []
    for name, solver, budget, tolerance, needed in BARS:
        of_solver = cells[(cells["solver"] == solver) & (cells["budget"] == budget)]
        # A cell that was not measured counts as one that was not reached.
        ratios = every.merge(of_solver[[*CELL, "ratio"]], on=CELL, how="left")
        missing = ratios[~(ratios["ratio"] <= 1.0 + tolerance)]
        reached = len(ratios) - len(missing)
        share = reached / len(ratios)
        rows.append(
            {
                "bar": name,
                "cells": len(ratios),
                "reached": reached,
                "share": share,
                "needed": needed,
                "passed": bool(share >= needed),
                "missing": "; ".join(
                    f"{row.problem} {row.stage} ρ={row.radius:g} η={row.lr:g}: {_farther(row.ratio)}"  # type: ignore[arg-type]
                    for row in missing.itertuples()
                ),
            }
        )
    return pd.DataFrame(rows)


def _farther(ratio: float) -> str:
    return "not measured" if math.isnan(ratio) else f"{100.0 * (ratio - 1.0):+.2g} %"


def summary(cells: pd.DataFrame) -> pd.DataFrame:
    """How each solver fares over all cells.

    Args:
        cells: What `medians` gave.

    Returns:
        One row for each `solver` and `budget`: `cells`; `no_farther` and `within_1_percent`, the shares of
        cells in which its median `ratio` is at most 1.001 and 1.01; `median_ratio`, `worst_ratio`; and
        `median_excess`, over the cells.
    """
    grouped = cells.groupby(["solver", "budget"], sort=False)
    ratio = grouped["ratio"]
    table = pd.DataFrame(
        {
            "cells": ratio.size(),
            "no_farther": ratio.agg(lambda each: float((each <= 1.001).mean())),
            "within_1_percent": ratio.agg(lambda each: float((each <= 1.01).mean())),
            "median_ratio": ratio.median(),
            "worst_ratio": ratio.max(),
            "median_excess": grouped["excess"].median(),
        }
    ).reset_index()
    order = {solver: place for place, solver in enumerate(_solvers(cells))}
    return table.sort_values(["solver", "budget"], key=lambda each: each.replace(order)).reset_index(
        drop=True
    )


def _solvers(cells: pd.DataFrame) -> list[str]:
    """The paper's solver first, `auto` and what is no solver last."""
    last = ["auto", CENTER, EXACT]
    between = sorted(set(cells["solver"]) - {PAPER, *last})
    return [name for name in (PAPER, *between, *last) if (cells["solver"] == name).any()]


_TEXT = """\
# How near to the moved center each solver ends

Made by `rbobench study fidelity`. Distances are from the moved center c̃ (Eq. 7) to the point that a solver
returned, in {problems} footpoint problems of {cells} cells (problem × stage × ρ × η), {data}. Ratios are to
the paper's solver `sgd` after {measure} gradient evaluations at the best of its γ in the cell; a cell's ratio
is the median over seeds and steps, in pairs. Evaluations count the gradient at θ_t. `center` is the center
form's contact search: it seeks the contact over c̃'s parameters and does not keep c̃'s height.

## The bars

{bars}

{missing}

## Every solver, over all cells

`fidelity-excess.png` shows the excess over the exact distance (Eq. 13, Eq. 14) or over the shortest that any
solver found (networks), as the median over stages and η of the cells' medians.

{summary}
"""


def _report(frame: pd.DataFrame, cells: pd.DataFrame, summed: pd.DataFrame, reached: pd.DataFrame) -> str:
    shown = reached.drop(columns="missing")
    data = frame.loc[frame["data"] != "", ["problem", "data"]].drop_duplicates()
    return _TEXT.format(
        problems=len(frame[_POSED].drop_duplicates()),
        cells=len(frame[CELL].drop_duplicates()),
        data="; ".join(f"{row.problem} on {row.data}" for row in data.itertuples()),
        measure=_MEASURE,
        bars=_markdown(shown),
        missing="\n\n".join(
            f"Not so ({bar}): {missing}."
            for bar, missing in zip(reached["bar"], reached["missing"], strict=True)
            if missing
        ),
        summary=_markdown(summed),
    )


def _markdown(table: pd.DataFrame) -> str:
    def shown(value: object) -> str:
        if isinstance(value, (bool, np.bool_)):
            return "yes" if value else "no"
        return f"{value:.4g}" if isinstance(value, float) else str(value)

    rows = [list(table.columns), ["---"] * table.shape[1], *table.astype(object).to_numpy().tolist()]
    return "\n".join(markdown_row(map(shown, row)) for row in rows)


FLOOR = 1e-4
"""The least excess that is drawn; a smaller one is drawn here."""


def _shown(cells: pd.DataFrame) -> pd.DataFrame:
    """The median excess over stages and learning rates: one row for each mark of the figure."""
    drawn = cells[(cells["solver"] != EXACT) & (cells["budget"] <= _MEASURE)]
    grouped = drawn.groupby(["problem", "radius", "solver", "budget"], sort=False)
    return grouped[["evaluations", "excess"]].median().reset_index()


def draw(shown: pd.DataFrame) -> Figure:
    """Draw excess distance against gradient evaluations, a panel for each problem and radius."""
    from matplotlib.figure import Figure

    problems = [name for name in PROBLEMS if (shown["problem"] == name).any()]
    radii = sorted(shown["radius"].unique())
    others = (name for name in _solvers(shown) if name not in _LOOKS)
    colors = {name: {"color": color} for name, color in zip(others, itertools.cycle(_COLORS), strict=False)}
    looks = {name: _LOOKS.get(name) or colors[name] for name in _solvers(shown)}
    with paper_style():
        figure = Figure(figsize=(WIDTH, 0.9 + 1.45 * len(problems)), layout="constrained")
        grid = figure.subplots(len(problems), len(radii), sharex=True, sharey="row", squeeze=False)
        for row, problem in zip(grid, problems, strict=True):
            for axes, radius in zip(row, radii, strict=True):
                _panel(axes, shown[(shown["problem"] == problem) & (shown["radius"] == radius)], looks)
            row[0].set_ylabel(f"{problem}\nexcess distance")
        for row, problem in zip(grid, problems, strict=True):
            excess = shown.loc[shown["problem"] == problem, "excess"].replace(math.inf, math.nan)
            decades = np.log10([max(excess.min(), FLOOR), excess.max()])
            # Whole decades, so that every row has labels; a little more, so that no mark is cut.
            row[0].set_ylim(0.8 * 10.0 ** math.floor(decades[0]), 1.25 * 10.0 ** math.ceil(decades[1]))
        for axes, radius in zip(grid[0], radii, strict=True):
            axes.set_title(f"ρ = {radius:g}")
        for axes in grid[-1]:
            axes.set_xlabel("gradient evaluations")
        handles, labels = grid[0, 0].get_legend_handles_labels()
        figure.legend(handles, labels, loc="outside lower center", ncols=len(labels))
    return figure


def _panel(axes: Axes, shown: pd.DataFrame, looks: dict[str, dict[str, Any]]) -> None:
    for solver, look in looks.items():
        line = shown[shown["solver"] == solver].sort_values("budget")
        axes.plot(line["budget"], line["excess"].clip(lower=FLOOR), label=solver, **look)
    ticks = [1, 2, 5, 10, 20, 100]
    axes.set(xscale="log", yscale="log", xticks=ticks)
    axes.set_xticklabels(list(map(str, ticks)))
    axes.minorticks_off()


_COLORS = ("C0", "C1", "C2", "C4", "C5", "C8")
_LOOKS: dict[str, dict[str, Any]] = {
    PAPER: {"color": "0.25", "linestyle": "--", "marker": "o", "markersize": 2.5},
    "auto": {"color": "C3", "linewidth": 2.0, "marker": "o", "markersize": 3, "zorder": 3},
    CENTER: {"color": "0.6", "linestyle": ":", "marker": "s", "markersize": 2.5},
}
