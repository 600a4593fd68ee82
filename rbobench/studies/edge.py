"""The edge of stability: how sharp a minimum each form of the ball settles in, against its predicted edge.

Small smooth networks learn digits by full-batch steps. Their largest Hessian eigenvalue λ_max rises until the
method grows unstable there, and stays. `rbobench.geometry.stability` predicts where, from the learning rate
η and r = ρλ/√(1+λ²‖g‖²), with ‖g‖ as measured.

- λ_max is taken at the mean of the centers over a window of steps: the point that the ball oscillates about,
  which is where the theory linearizes.
- A run is *at the edge* where its gradients oscillate, by `OSCILLATION`, and λ_max has settled, by `DRIFT`.
  The rule does not know the prediction: a run whose λ_max has not risen so far converges smoothly.
- Where several eigenvalues have reached the edge, the direction that oscillates need not be the top
  eigenvector. The Hessian's Rayleigh quotient along the oscillation is stored beside λ_max to tell.
- The exact ball is a search of many steps. SAM is a search of one step at an infinite loss scale, which
  `CenterRBO` equals; its radii are a tenth of the ball's, so that r = ρ/‖g‖ comes out about as large.

All runs of a model and method are one batch of problems.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from concurrent.futures import as_completed
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from rbobench.analysis.style import WIDTH, paper_style, save
from rbobench.analysis.tables import markdown_row
from rbobench.geometry import stability
from rbobench.processes import process_pool
from rbobench.studies.edge_training import (
    CROWD,
    DRIFT,
    METHODS,
    OSCILLATION,
    SETTINGS,
    TOLERANCE,
    WINDOW,
    train,
    without_ball,
)

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure


def summarize(runs: pd.DataFrame) -> pd.DataFrame:
    """One row for each model and method: how far the runs at the edge are from their prediction.

    Args:
        runs: What `train` gave.

    Returns:
        `model`, `method`, `runs`, `at_edge` (how many), `within` (of these, within `TOLERANCE`),
        `median_ratio`, `worst_ratio` (the farthest from 1), `worst_along` (the same of the Rayleigh quotient
        along the oscillation), `most_crowded` (eigenvalues at the edge, at most), `highest_elsewhere` (the
        largest ratio among the runs that are not at the edge).
    """
    rows = []
    for (model, method), group in runs.groupby(["model", "method"], sort=False):
        there = group[group["at_edge"]]
        elsewhere = group[~group["at_edge"]]["ratio"]
        rows.append(
            {
                "model": model,
                "method": method,
                "runs": len(group),
                "at_edge": len(there),
                "within": int(((there["ratio"] - 1.0).abs() <= TOLERANCE).sum()),
                "median_ratio": there["ratio"].median(),
                "worst_ratio": _farthest(there["ratio"]),
                "worst_along": _farthest(there["ratio_along"]),
                "most_crowded": there["crowd"].max(),
                "highest_elsewhere": elsewhere.max(),
            }
        )
    return pd.DataFrame(rows)


def _farthest(ratios: pd.Series) -> float:
    values = ratios.to_numpy()
    return float(values[np.abs(values - 1.0).argmax()]) if len(values) else math.nan


_NOTE = """# How sharp a minimum each method settles in

`rbobench study edge` made this: {runs} runs of full-batch training on digits, measured over their last steps.

*At the edge*: the gradients oscillate by at least {oscillation:.0%} of their norm, and λ_max has changed by
at most {drift:.0%} over the measurements. The others are on their way up, have converged below the edge, or
have diverged. Ratios are of the measured λ_max to the predicted edge; *along* has the Hessian's Rayleigh
quotient along the oscillation in place of λ_max; *crowd* is the most eigenvalues found within {crowd:.0%} of
λ_max.

{table}

{verdict}
"""


def report(runs: pd.DataFrame, summary: pd.DataFrame) -> str:
    """The summary as Markdown, with a sentence on each method that leaves the tolerance.

    Args:
        runs: What `train` gave.
        summary: What `summarize` made of them.
    """
    names = ["model", "method", "runs", "at the edge", f"within {TOLERANCE:.0%}", "median ratio"]
    names += ["worst ratio", "worst along", "crowd", "highest ratio elsewhere"]
    rows = [names, ["---"] * 2 + ["---:"] * (len(names) - 2)]
    for each in summary.to_dict("records"):
        numbers = [each[name] for name in ("median_ratio", "worst_ratio", "worst_along")]
        cells = [str(each[name]) for name in ("model", "method", "runs", "at_edge", "within")]
        cells += [_number(ratio, ".3f") for ratio in numbers]
        rows.append([*cells, _number(each["most_crowded"], ".0f"), _number(each["highest_elsewhere"], ".3f")])
    there = runs[runs["at_edge"]]
    far = there[(there["ratio"] - 1.0).abs() > TOLERANCE]
    lines = [
        f"Of {len(there)} runs at the edge, {len(there) - len(far)} are within {TOLERANCE:.0%} of it."
    ] + [
        f"- {row.model}, {row.method}, lr {row.lr:g}, radius {row.radius:g}, seed {row.seed}: ratio "
        f"{row.ratio:.3f}, along the oscillation {row.ratio_along:.3f}, {row.crowd:.0f} eigenvalues together."
        for row in far.itertuples(index=False)
    ]
    return _NOTE.format(
        runs=len(runs),
        oscillation=OSCILLATION,
        drift=DRIFT,
        crowd=1.0 - CROWD,
        table="\n".join(markdown_row(row) for row in rows),
        verdict="\n".join(lines),
    )


def _number(value: float, format: str) -> str:
    return "" if math.isnan(value) else f"{value:{format}}"


_MARKERS = {
    "exact ball": "o",
    "search": "^",
    "previous": "D",
    "mirrored": "s",
    "lagged": "v",
    "SAM": "P",
    "gradient descent": "X",
}


def draw(runs: pd.DataFrame) -> Figure:
    """ηλ_max over r/η, where one curve holds for all learning rates; measured / predicted below.

    Hollow marks are runs that are not at the edge. Gradient descent, where r is 0, stands at the left; below,
    methods are moved aside a little to tell them apart.

    Args:
        runs: What `train` gave.
    """
    import matplotlib.pyplot as plt
    import seaborn as sns

    palette = [*sns.color_palette("colorblind", len(_MARKERS) - 1), (0.0, 0.0, 0.0)]
    colors = dict(zip(_MARKERS, palette, strict=True))
    models = list(runs["model"].unique())
    with paper_style():
        figure, grid = plt.subplots(
            2,
            len(models),
            figsize=(WIDTH, 4.8),
            sharex=True,
            sharey="row",
            squeeze=False,
            height_ratios=(2.2, 1.0),
            layout="constrained",
        )
        shares = (runs["r"] / runs["lr"]).replace(0.0, np.nan)
        low, high = 0.75 * shares.min(), 1.35 * shares.max()
        for (above, below), model in zip(grid.T, models, strict=True):
            _draw_curves(above, np.geomspace(low, high, 300))
            below.axhspan(1.0 - TOLERANCE, 1.0 + TOLERANCE, color="0.92", zorder=0)
            below.axhline(1.0, color="0.4", linewidth=0.8)
            for place, (name, marker) in enumerate(_MARKERS.items()):
                chosen = runs[(runs["model"] == model) & (runs["method"] == name)]
                if chosen["measured"].notna().any():
                    _draw_runs(above, below, chosen, marker, colors[name], 1.03 ** (place - 3), low)
            above.set(title=model, xscale="log", xlim=(low, high))
            below.set(xlabel="r / η", xlim=(low, high))
        grid[0, 0].set_ylabel(r"$\eta\,\lambda_{\max}$")
        grid[0, 0].set_ylim(0.0, 4.2)
        grid[1, 0].set_ylabel("measured / predicted", fontsize=7)
        handles, labels = grid[0, 0].get_legend_handles_labels()
        figure.legend(handles, labels, loc="outside lower center", ncols=4, columnspacing=1.2)
    return figure


def _draw_curves(axes: Axes, shares: np.ndarray) -> None:
    """The theory at η = 1."""
    curves: tuple[tuple[str, Callable[[float, float], float], Any], ...] = (
        ("theory: gradient descent", without_ball, ":"),
        ("theory: previous", stability.previous, (0, (4, 1.5))),
        ("theory: search, SAM", stability.search, "-."),
        ("theory: exact, mirrored, lagged", stability.exact_ball, "-"),
    )
    for label, edge, line in curves:
        values = [edge(1.0, share) for share in shares]
        axes.plot(shares, values, color="0.35", linewidth=1.0, linestyle=line, label=label, zorder=1)


def _draw_runs(
    above: Axes,
    below: Axes,
    runs: pd.DataFrame,
    marker: str,
    color: tuple[float, float, float],
    aside: float,
    leftmost: float,
) -> None:
    name = str(runs["method"].iloc[0])
    shares = (runs["r"] / runs["lr"]).where(runs["r"] > 0.0, 1.12 * leftmost)
    look: dict[str, Any] = {
        "linestyle": "none",
        "marker": marker,
        "color": color,
        "markersize": 4.2,
        "markeredgewidth": 0.7,
    }
    there = runs["at_edge"].to_numpy(dtype=bool)
    scaled = runs["lr"] * runs["measured"]
    if there.any():
        above.plot(shares[there], scaled[there], label=name, **look)
    above.plot(shares[~there], scaled[~there], markerfacecolor="none", **look)
    below.plot(aside * shares[there], runs["ratio"][there], **{**look, "markersize": 3.2})


def run(
    out: Path, *, small: bool = False, jobs: int | None = None, say: Callable[[str], None] = print
) -> list[Path]:
    """Train everything, and write runs, summary and figure.

    Args:
        out: Folder for `edge.csv` (one row for each run), `summary.csv`, `summary.md` and the figure `edge`,
            whose CSV the runs are.
        small: Two methods, one learning rate, two radii and a few hundred steps of the MLP.
        jobs: Processes side by side, of one thread each; by default one for each core.
        say: Is told of each method when it is done.

    Returns:
        The files.

    Raises:
        OSError: If they cannot be written.
    """
    out.mkdir(parents=True, exist_ok=True)
    settings, methods = SETTINGS, METHODS
    if small:
        methods = {name: METHODS[name] for name in ("lagged", "gradient descent")}
        few = replace(
            SETTINGS["MLP"],
            lrs=(0.3,),
            radii=(0.05, 0.2),
            seeds=(0,),
            steps=dict.fromkeys(methods, 200),
            measurements=3,
            every=WINDOW,
        )
        settings = {"MLP": few}
    plans = [(model, method) for model in settings for method in methods.values()]
    by_plan: dict[tuple[str, str], pd.DataFrame] = {}
    began = time.perf_counter()
    with process_pool(jobs) as pool:
        pending = {
            pool.submit(train, model, method, settings[model]): (model, method.name)
            # The longest first.
            for model, method in sorted(plans, key=lambda plan: -plan[1].gradients)
        }
        for future in as_completed(pending):
            model, name = pending[future]
            by_plan[model, name] = found = future.result()
            there, seconds = int(found["at_edge"].sum()), time.perf_counter() - began
            say(
                f"[{len(by_plan)}/{len(plans)}] {model}, {name}: {there} of {len(found)} at the edge "
                f"({seconds:.0f} s)"
            )
    runs = pd.concat([by_plan[model, method.name] for model, method in plans], ignore_index=True)
    summary = summarize(runs)
    with paper_style():
        files = save(draw(runs), runs, out / "edge", ("pdf", "png"))
    table, note = out / "summary.csv", out / "summary.md"
    summary.to_csv(table, index=False)
    note.write_text(report(runs, summary), encoding="utf-8")
    return [*files, out / "edge.csv", table, note]
