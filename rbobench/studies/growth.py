"""How a step's time grows: with P, parameters and batch; on landscapes with dimension and number of balls.

All sizes of a panel are timed in turns, in one process on one thread. Each curve is told by the exponent of a
power law, over all sizes and over the largest ones, where what every step costs whatever its size no longer
counts, and by how well a + b · size fits.
"""

from __future__ import annotations

import functools
import math
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import torch
from torch import Tensor, nn

from rbobench.analysis.style import WIDTH, paper_style, save
from rbobench.analysis.tables import markdown_row
from rbobench.geometry.landscape import Landscape, LandscapeClosure
from rbobench.optim.rolling_ball import RBO
from rbobench.paper.power_law import exponent
from rbobench.processes import threads
from rbobench.registry import create_optimizer
from rbobench.studies.speed import (
    PROJECTION_LR,
    PROJECTION_STEPS,
    Network,
    bare_evaluation,
    hyperparameters,
)
from rbobench.tasks.landscapes import Eq14, Rastrigin, Rosenbrock, Weierstrass, Whitley
from rbobench.timing import interleaved

if TYPE_CHECKING:
    from matplotlib.figure import Figure

OPTIMIZERS = ("rbo", "rbo-center", "rbo-previous", "sam", "sgd")
"""On networks."""

LEAST_SECONDS = 0.01
"""A program is repeated until it takes as long, so that the clock's own time is nothing beside it."""
MOST_REPEATS = 200

LARGEST = 10.0
"""The exponent at the end is over sizes that are at most this many times smaller than the largest."""

Timed = dict[tuple[str, float], Callable[[], object]]
"""Curve and size to what is timed."""


@dataclass(frozen=True)
class Panel:
    """One of the figure's panels.

    Attributes:
        name: Stands above it.
        size: What the abscissa is.
        programs: From the sizes to time to what is timed.
        expected: Exponent of the time in the size where it is large; by curve, where they differ.
    """

    name: str
    size: str
    programs: Callable[[Sequence[int]], Timed]
    expected: float | Mapping[str, float] = 1.0

    def expected_of(self, curve: str) -> float:
        """The exponent that a curve should have."""
        return self.expected if isinstance(self.expected, float) else self.expected.get(curve, 1.0)


class FreeClosure:
    """A closure that costs nothing: it hands out gradients that are there, and an old loss.

    Args:
        parameters: Get gradients of their shapes, drawn with a fixed seed.
    """

    def __init__(self, parameters: Sequence[Tensor]) -> None:
        generator = torch.Generator().manual_seed(0)
        self._parameters = list(parameters)
        # A ball holds its first gradient while it asks for more, and may write into those it was given.
        self._gradients = [
            [0.1 * torch.randn(each.shape, generator=generator) for each in parameters] for _ in range(2)
        ]
        self._loss = torch.tensor(1.0)
        self._first = True

    def begin(self) -> None:
        """Hand out the gradients of the step's first point next."""
        self._first = True

    def __call__(self) -> Tensor:
        """Leave gradients in the parameters' `grad`; the loss."""
        for parameter, gradient in zip(self._parameters, self._gradients[not self._first], strict=True):
            parameter.grad = gradient
        self._first = False
        return self._loss


def _perceptron(width: int) -> Network:
    """Two hidden layers of `width` on digits."""
    return Network("MLP", "mlp", 64, channels=1, side=8, options={"hidden": (width, width)})


def _step(name: str, network: Network, projection_steps: int = PROJECTION_STEPS) -> Callable[[], object]:
    model, images, labels = network.build()
    optimizer = create_optimizer(name, model.parameters(), **hyperparameters(name, projection_steps))
    return functools.partial(optimizer.step, bare_evaluation(model, images, labels))


def _update(name: str, parameters: Sequence[nn.Parameter]) -> Callable[[], object]:
    """A step without its evaluations."""
    optimizer = create_optimizer(name, parameters, **hyperparameters(name))
    closure = FreeClosure(parameters)

    def program() -> None:
        closure.begin()
        optimizer.step(closure)  # type: ignore[arg-type]

    return program


def projection_steps(sizes: Sequence[int]) -> Timed:
    """Steps of `rbo` on the digits MLP and on ResNet-8, by P."""
    networks = (
        Network("digits MLP, batch 64", "mlp", 64, channels=1, side=8),
        Network("ResNet-8, batch 8", "resnet8", 8),
    )
    return {(network.label, steps): _step("rbo", network, steps) for network in networks for steps in sizes}


def parameter_traffic(sizes: Sequence[int]) -> Timed:
    """Updates alone, by the parameters of an MLP of the given widths."""
    timed: Timed = {}
    for width in sizes:
        for name in OPTIMIZERS:
            parameters = list(_perceptron(width).build()[0].parameters())
            timed[name, _count(parameters)] = _update(name, parameters)
    return timed


def parameters(sizes: Sequence[int]) -> Timed:
    """Whole steps, by the parameters of an MLP of the given widths."""
    timed: Timed = {}
    for width in sizes:
        network = _perceptron(width)
        count = _count(network.build()[0].parameters())
        for name in OPTIMIZERS:
            timed[name, count] = _step(name, network)
    return timed


def batches(sizes: Sequence[int]) -> Timed:
    """Whole steps on ResNet-8, by the images of a batch; the ball's has P = 5."""
    return {
        (name, batch): _step(name, Network("ResNet-8", "resnet8", batch), projection_steps=5)
        for name in OPTIMIZERS
        for batch in sizes
    }


def dimensions(sizes: Sequence[int]) -> Timed:
    """Steps of 64 balls on landscapes, by dimension; of 1 where memory grows with its square."""
    timed: Timed = {}
    for dimension in sizes:
        landscapes = (Rastrigin(dimension), Weierstrass(dimension), Rosenbrock(dimension), Whitley(dimension))
        for landscape in landscapes:
            balls = 1 if isinstance(landscape, Whitley) else 64
            timed[landscape.name, dimension] = _roll(landscape, balls)
    return timed


def balls(sizes: Sequence[int]) -> Timed:
    """Steps on landscapes of two parameters, by the number of balls."""
    landscapes = (Eq14(), Rastrigin(2), Weierstrass(2), Rosenbrock(2))
    return {(landscape.name, count): _roll(landscape, count) for landscape in landscapes for count in sizes}


def _roll(landscape: Landscape, balls: int) -> Callable[[], object]:
    """A step of a batch of balls, from near the landscape's start."""
    generator = torch.Generator().manual_seed(0)
    start = torch.tensor(landscape.start, dtype=torch.float64)
    spread = torch.randn(balls, landscape.dimension, generator=generator, dtype=torch.float64)
    points = nn.Parameter(start + 0.1 * spread)
    optimizer = RBO([points], 1e-6, 0.1, projection_lr=PROJECTION_LR, batch_dims=1)
    return functools.partial(optimizer.step, LandscapeClosure(landscape, points))


def _count(parameters: Iterator[nn.Parameter] | Sequence[nn.Parameter]) -> int:
    return sum(each.numel() for each in parameters)


PANELS = {
    "P": Panel("projection steps", "P", projection_steps),
    "update": Panel("update alone, MLPs", "parameters", parameter_traffic),
    "step": Panel("whole step, MLPs at batch 64", "parameters", parameters),
    "batch": Panel("whole step, ResNet-8", "batch", batches),
    "dimension": Panel("balls on a landscape", "dimension", dimensions, {"whitley": 2.0}),
    "balls": Panel("balls as one batch", "balls", balls),
}
FULL: dict[str, tuple[tuple[int, ...], int]] = {
    "P": ((2, 5, 10, 20, 40, 80), 5),
    "update": ((16, 32, 64, 128, 256, 512, 1024, 2048), 9),
    "step": ((16, 32, 64, 128, 256, 512, 1024, 2048), 5),
    "batch": ((4, 8, 16, 32, 64, 128), 5),
    "dimension": ((2, 4, 8, 16, 32, 64, 128, 256, 512, 1024), 5),
    "balls": ((1, 3, 10, 30, 100, 300, 1000, 3000, 10000), 5),
}
"""Sizes and rounds of each panel."""
SMALL: dict[str, tuple[tuple[int, ...], int]] = {
    "P": ((1, 2, 3), 1),
    "update": ((4, 8, 16), 1),
    "step": ((4, 8, 16), 1),
    "batch": ((1, 2), 1),
    "dimension": ((2, 4, 8), 1),
    "balls": ((1, 4, 16), 1),
}


def measure(
    name: str, sizes: Sequence[int], rounds: int, least_seconds: float = LEAST_SECONDS
) -> pd.DataFrame:
    """Time one panel, all its curves and sizes in turns.

    Args:
        name: Of `PANELS`.
        sizes: What the panel's programs are built for.
        rounds: How often each is timed.
        least_seconds: A program that takes less is repeated until it takes as long.

    Returns:
        One row for each curve and size: `panel`, `curve`, `size`, `seconds` (of one step, the median), `low`
        and `high` (the quartiles), `rounds`.
    """
    timed = PANELS[name].programs(sizes)
    repeats = {key: _repeats(program, least_seconds) for key, program in timed.items()}
    programs = {str(key): functools.partial(_repeat, program, repeats[key]) for key, program in timed.items()}
    seconds = interleaved(programs, rounds=rounds, warm_up=0)
    rows = []
    for (curve, size), count in repeats.items():
        each = np.array(seconds[str((curve, size))]) / count
        low, median, high = np.quantile(each, (0.25, 0.5, 0.75))
        rows.append(
            {
                "panel": name,
                "curve": curve,
                "size": size,
                "seconds": median,
                "low": low,
                "high": high,
                "rounds": rounds,
            }
        )
    return pd.DataFrame(rows)


def _repeats(program: Callable[[], object], least_seconds: float) -> int:
    for _ in range(2):  # the second of them with most buffers there
        began = time.perf_counter()
        program()
        elapsed = time.perf_counter() - began
    return max(1, min(MOST_REPEATS, math.ceil(least_seconds / elapsed)))


def _repeat(program: Callable[[], object], times: int) -> None:
    for _ in range(times):
        program()


def fit(frame: pd.DataFrame) -> pd.DataFrame:
    """How each curve grows.

    Args:
        frame: What `measure` gave, of any panels.

    Returns:
        One row for each curve: `panel`, `curve`, `size` (what it is), `smallest`, `largest`,
        `seconds_smallest`, `seconds_largest`, `exponent` (over all sizes), `exponent_largest` (over those up
        to `LARGEST` times smaller than the largest), `expected`, and of a + b · size^expected, fitted to
        relative errors, `r_squared` and `slope`, b in seconds.
    """
    rows = []
    for (name, curve), group in frame.groupby(["panel", "curve"], sort=False):
        sizes, seconds = group["size"].to_numpy(dtype=float), group["seconds"].to_numpy(dtype=float)
        end = sizes >= sizes.max() / LARGEST
        panel = PANELS[str(name)]
        expected = panel.expected_of(str(curve))
        line = np.polyfit(sizes**expected, seconds, 1, w=1.0 / seconds)
        fitted = np.polyval(line, sizes**expected)
        explained = 1.0 - np.square(seconds - fitted).sum() / np.square(seconds - seconds.mean()).sum()
        rows.append(
            {
                "panel": name,
                "curve": curve,
                "size": panel.size,
                "smallest": int(sizes[0]),
                "largest": int(sizes[-1]),
                "seconds_smallest": seconds[0],
                "seconds_largest": seconds[-1],
                "exponent": exponent(sizes, seconds),
                "exponent_largest": exponent(sizes[end], seconds[end]),
                "expected": expected,
                "r_squared": explained,
                "slope": line[0],
            }
        )
    return pd.DataFrame(rows)


_NOTE = """# How a step's time grows

`rbobench study growth` made this, on one thread of the CPU, by torch {version}. Times are medians of rounds
in which all sizes of a panel run one after the other. The exponent is of a power law in the size, over all
sizes and over the largest ones (those within a factor of {largest:g} of the largest); where a step costs
something whatever its size, only the second nears what is expected. R² is of a + b · size^expected.

{table}
"""


def report(fits: pd.DataFrame) -> str:
    """The fits as Markdown.

    Args:
        fits: What `fit` made.
    """
    names = ["panel", "curve", "size", "from", "to", "ms at the smallest", "ms at the largest"]
    names += ["exponent", "of the largest", "expected", "R²"]
    rows = [names, ["---"] * 3 + ["---:"] * (len(names) - 3)]
    for each in fits.to_dict("records"):
        cells = [PANELS[each["panel"]].name, each["curve"], each["size"]]
        cells += [f"{each['smallest']:,}", f"{each['largest']:,}"]
        cells += [f"{1e3 * each[name]:.3g}" for name in ("seconds_smallest", "seconds_largest")]
        cells += [f"{each[name]:.2f}" for name in ("exponent", "exponent_largest")]
        cells += [f"{each['expected']:g}", f"{each['r_squared']:.4f}"]
        rows.append(cells)
    return _NOTE.format(
        version=torch.__version__.split("+")[0],
        largest=LARGEST,
        table="\n".join(markdown_row(row) for row in rows),
    )


_MARKERS = "osD^vP"


def draw(frame: pd.DataFrame) -> Figure:
    """Time of a step against each size; medians with quartiles, and a guide with the expected slope.

    Args:
        frame: What `measure` gave, of all panels together.

    Returns:
        A figure of paper size, one panel for each of `PANELS` that is there.
    """
    from matplotlib.figure import Figure

    names = list(dict.fromkeys(frame["panel"]))
    with paper_style():
        rows = math.ceil(len(names) / 3)
        figure = Figure(figsize=(WIDTH, 2.45 * rows), layout="constrained")
        grid = figure.subplots(rows, 3, squeeze=False)
        for axes in grid.flat[len(names) :]:
            axes.set_axis_off()
        for axes, name in zip(grid.flat, names, strict=False):
            _draw_panel(axes, PANELS[name], frame[frame["panel"] == name])
        for row in grid:
            row[0].set_ylabel("milliseconds a step")
    return figure


def _draw_panel(axes: Any, panel: Panel, frame: pd.DataFrame) -> None:
    for place, (curve, group) in enumerate(frame.groupby("curve", sort=False)):
        milliseconds = 1e3 * group[["seconds", "low", "high"]]
        axes.errorbar(
            group["size"],
            milliseconds["seconds"],
            yerr=[
                milliseconds["seconds"] - milliseconds["low"],
                milliseconds["high"] - milliseconds["seconds"],
            ],
            marker=_MARKERS[place % len(_MARKERS)],
            markersize=3,
            linewidth=1.0,
            elinewidth=0.6,
            color=f"C{place}",
            label=str(curve),
        )
    _draw_guides(axes, panel, frame)
    axes.set(title=panel.name, xlabel=panel.size, xscale="log", yscale="log")
    axes.xaxis.set_minor_formatter("")  # short axes would crowd
    axes.legend(loc="upper left", handlelength=1.4, labelspacing=0.25, fontsize=6)


def _draw_guides(axes: Any, panel: Panel, frame: pd.DataFrame) -> None:
    """A line of each expected slope over the largest sizes, a little above the slowest curve that has it."""
    last = frame[frame["size"] == frame["size"].max()].sort_values("seconds")
    ends = {panel.expected_of(str(end["curve"])): end for _, end in last.iterrows()}
    for slope, end in sorted(ends.items()):
        sizes = np.array([end["size"] / LARGEST, end["size"]])
        axes.plot(
            sizes,
            1.6e3 * end["seconds"] * (sizes / end["size"]) ** slope,
            color="0.4",
            linestyle=":" if slope == 1.0 else "--",
            linewidth=0.9,
            label=f"∝ {panel.size}" + ("" if slope == 1.0 else f"$^{{{slope:g}}}$"),
        )


def run(
    out: Path, *, small: bool = False, jobs: int | None = None, say: Callable[[str], None] = print
) -> list[Path]:
    """Time everything, and write times, fits and figure.

    Args:
        out: Folder for the figure `growth`, its CSV (one row for each curve and size), `fits.csv` and
            `growth.md`.
        small: A few tiny sizes of each panel, once. To see that it works.
        jobs: Taken for the other studies' sake and not used: times are taken in one process, on one thread.
        say: Is told of each panel when it is done.

    Returns:
        The files.

    Raises:
        OSError: If they cannot be written.
    """
    del jobs
    out.mkdir(parents=True, exist_ok=True)
    began, frames = time.perf_counter(), []
    with threads(1):
        for name, (sizes, rounds) in (SMALL if small else FULL).items():
            frames.append(measure(name, sizes, rounds, 0.0 if small else LEAST_SECONDS))
            say(f"[{len(frames)}/{len(PANELS)}] {PANELS[name].name} ({time.perf_counter() - began:.0f} s)")
    frame = pd.concat(frames, ignore_index=True)
    fits = fit(frame)
    with paper_style():
        files = save(draw(frame), frame, out / "growth", ("pdf", "png"))
    table, note = out / "fits.csv", out / "growth.md"
    fits.to_csv(table, index=False)
    note.write_text(report(fits), encoding="utf-8")
    return [*files, out / "growth.csv", table, note]
