"""Figure 2 of the paper: Δ(ρ), how much of sin θ a ball of radius ρ can tell."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
from scipy.optimize import minimize_scalar

from rbobench.analysis.style import WIDTH, paper_style
from rbobench.geometry.graph import Graph
from rbobench.geometry.offset import dilation, ironing
from rbobench.tasks.landscapes import Sine

if TYPE_CHECKING:
    from matplotlib.figure import Figure

INTERVAL = (-3.0 * math.pi, 3.0 * math.pi)
RADII = tuple(float(radius) for radius in np.logspace(-1, 2, 31))


def closed_form(radius: float) -> float:
    """Δ(ρ) = 1 + ρ − max over s of (√(ρ²−s²) − cos s), for sin θ on the whole line.

    The ball over a valley rests on two slopes at distance s, or for ρ ≤ 1 on the bottom, s = 0.
    """
    # The contacts lie between the bottom and the tops beside it.
    farthest = min(radius, math.pi)

    def below(s: float) -> float:
        return math.cos(s) - math.sqrt(max(radius**2 - s**2, 0.0))

    found = minimize_scalar(below, bounds=(0.0, farthest), method="bounded", options={"xatol": 1e-12})
    return 1.0 + radius + min(float(found.fun), below(0.0), below(farthest))


def measure(radii: Sequence[float] = RADII) -> pd.DataFrame:
    """Δ(ρ) over the interval of the paper.

    Args:
        radii: ρ.

    Returns:
        One row for each radius: `radius`; `delta`, with sin continued beyond the interval; `closed_form`;
        `asymptote`, π²/2/(1+ρ); `delta_cut`, where the graph ends with the interval, from the grid alone.
    """
    cut = Graph(Sine(), INTERVAL)
    rows = []
    for radius in radii:
        graph = Graph(Sine(), (INTERVAL[0] - radius, INTERVAL[1] + radius))
        rows.append(
            {
                "radius": radius,
                "delta": ironing(graph, radius, INTERVAL).delta,
                "closed_form": closed_form(radius),
                "asymptote": 0.5 * math.pi**2 / (1.0 + radius),
                "delta_cut": float(np.ptp(dilation(cut, radius))),
            }
        )
    return pd.DataFrame(rows)


def draw(shown: pd.DataFrame) -> Figure:
    """Draw what `measure` gave."""
    from matplotlib.figure import Figure

    with paper_style():
        figure = Figure(figsize=(0.5 * WIDTH, 2.7), layout="constrained")
        axes = figure.subplots()
        radius = shown["radius"]
        axes.plot(radius, shown["closed_form"], color="C0", label="closed form")
        axes.plot(
            radius, shown["delta"], "o", color="C0", markersize=3, markerfacecolor="white", label="measured"
        )
        axes.plot(radius, shown["asymptote"], ":", color="0.3", label="π²/2 / (1 + ρ)")
        axes.plot(radius, shown["delta_cut"], "--", color="C1", label="graph cut at ±3π")
        axes.axvline(1.0, color="0.6", linewidth=0.8)
        axes.annotate(
            "reach",
            (1.0, 0.04),
            xycoords=("data", "axes fraction"),
            xytext=(3, 0),
            textcoords="offset points",
        )
        axes.set(xscale="log", yscale="log", xlabel="radius ρ", ylabel="Δ(ρ)", ylim=(0.03, 6.0))
        axes.set_title("sin θ on [−3π, 3π]")
        figure.legend(loc="outside lower center", ncols=2)
    return figure
