"""What all figures share: what a chart is, how optimizers look, panels, lines and legends."""

from __future__ import annotations

import math
import textwrap
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pandas as pd

from rbobench.analysis.results import finished
from rbobench.analysis.style import WIDTH, paper_style

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_CONTROL_DASHES = ((3, 1.2), (1, 1), (5, 1, 1, 1), (2, 2))
_CONTROL_MARKERS = ("s", "^", "D", "v")

LABELS = {
    "test_accuracy": "test accuracy (%)",
    "memorization": "flipped labels\nmemorized (%)",
    "attack_success": "attack success (%)",
}
"""Curve to the label of its axis."""


_TITLE_POINTS = 7.5
_LETTERS = 16
"""Of a legend that fit an inch."""
_LINE_INCHES = 0.16
"""Height of a line of a legend."""
_KEY_INCHES = 0.48
"""Of a legend's line or marker, and the space around it."""


@dataclass(frozen=True)
class Style:
    """How an optimizer looks in every figure.

    Attributes:
        color: Of its method.
        dashes: Lengths of dash and gap; empty for a solid line.
        marker: As matplotlib names it.
        hollow: Whether markers are filled with white: controls.
    """

    color: tuple[float, float, float]
    dashes: tuple[float, ...]
    marker: str
    hollow: bool

    @property
    def line(self) -> dict[str, Any]:
        """Arguments of `plot` for a line."""
        return {"color": self.color, "linestyle": (0, self.dashes) if self.dashes else "-"}

    @property
    def points(self) -> dict[str, Any]:
        """Arguments of `plot` for markers without a line."""
        return {
            "linestyle": "none",
            "marker": self.marker,
            "color": self.color,
            "markerfacecolor": "white" if self.hollow else self.color,
        }


@dataclass(frozen=True)
class Frames:
    """What is known of the trials of a folder.

    Attributes:
        results: From `load_results`.
        curves: From `load_curves`.
        measures: From `load_measures`.
    """

    results: pd.DataFrame
    curves: pd.DataFrame
    measures: pd.DataFrame

    @property
    def finished(self) -> pd.DataFrame:
        """Results of the trials that `finished`: no others are shown."""
        return self.results[finished(self.results)]


@dataclass(frozen=True)
class Chart:
    """A figure.

    Attributes:
        selection: From frames to what is shown; empty where they do not apply.
        draw: From what is shown and the optimizers' styles to the figure.
    """

    selection: Callable[[Frames], pd.DataFrame]
    draw: Callable[[pd.DataFrame, dict[str, Style]], Figure]

    def select(
        self, results: pd.DataFrame, curves: pd.DataFrame, measures: pd.DataFrame | None = None
    ) -> pd.DataFrame:
        """What is shown of what `load_results`, `load_curves` and `load_measures` gave: the CSV.

        Args:
            results: Of any trials; those that did not finish are left out.
            curves: Of the same.
            measures: Of the same; none by default.

        Returns:
            One row for each mark; empty where there is nothing to show.
        """
        none = pd.DataFrame(columns=["key", "task", "optimizer", "seed", "measure", "result"])
        return self.selection(Frames(results, curves, none if measures is None else measures))

    def __call__(
        self, results: pd.DataFrame, curves: pd.DataFrame, measures: pd.DataFrame | None = None
    ) -> Figure | None:
        """Draw what `select` gives; `None` where there is nothing to show."""
        shown = self.select(results, curves, measures)
        if shown.empty:
            return None
        with paper_style():
            return self.draw(shown, styles(results))


def styles(results: pd.DataFrame) -> dict[str, Style]:
    """Label to style: each method a color of its own, each control that of the method it serves, or gray.

    Methods stand in alphabetical order, each before its controls; so do the keys. A control that serves
    several methods is gray, and comes after them all.
    """
    import seaborn as sns

    registered = dict(zip(results["optimizer"], results["optimizer_name"], strict=True))
    controls = dict(zip(results["optimizer"], results["controls"], strict=True))
    serves: dict[str, list[str]] = {}
    for method in sorted(registered):
        for label in sorted(registered):
            if registered[label] in controls[method] and label != method:
                serves.setdefault(label, []).append(method)
    methods = [label for label in sorted(registered) if label not in serves]
    # Beyond the palette for the color-blind there is only telling hues apart.
    palette = sns.color_palette("colorblind" if len(methods) <= 10 else "husl", len(methods))
    looks: dict[str, Style] = {}
    for method, color in zip(methods, palette, strict=True):
        looks[method] = Style(color, (), "o", hollow=False)
        served = [label for label, served in serves.items() if served == [method]]
        for index, label in enumerate(served):
            turn = index % len(_CONTROL_DASHES)
            looks[label] = Style(color, _CONTROL_DASHES[turn], _CONTROL_MARKERS[turn], hollow=True)
    for index, label in enumerate(sorted(set(registered) - set(looks))):
        turn = index % len(_CONTROL_DASHES)
        looks[label] = Style((0.45, 0.45, 0.45), _CONTROL_DASHES[turn], _CONTROL_MARKERS[turn], hollow=True)
    return looks


def plain_ticks(axes: Axes) -> None:
    """Numbers as 0.3, 1, 3: a log axis of little more than a decade has too few powers of ten."""
    from matplotlib.ticker import FuncFormatter, Locator, LogLocator, MaxNLocator, NullLocator

    low, high = axes.get_xlim()
    subs = (1, 2, 5) if high / low < 20 else (1, 3) if high / low < 200 else (1,)
    # Within a factor of 5 it may hold only one of those.
    locator: Locator = MaxNLocator(3) if high / low < 5 else LogLocator(subs=subs, numticks=12)
    axes.xaxis.set_major_locator(locator)
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axes.xaxis.set_minor_locator(NullLocator())


def lines(axes: Axes, rows: pd.DataFrame, looks: dict[str, Style], scale: float, x: str = "fraction") -> None:
    """Seeds thin, their mean thick, its end marked: some end before the budget does."""
    for name in drawn(rows, looks):
        own, look = rows[rows["optimizer"] == name], looks[name]
        if own["seed"].nunique() > 1:
            for _, seed in own.groupby("seed"):
                axes.plot(seed[x], scale * seed["value"], color=look.color, linewidth=0.5, alpha=0.3)
        mean = own.drop_duplicates("point")
        axes.plot(mean[f"mean_{x}"], scale * mean["mean"], **look.line)
        mark_end(axes, mean[f"mean_{x}"], scale * mean["mean"], look)


def mark_end(axes: Axes, x: pd.Series[float], y: pd.Series[float], look: Style) -> None:
    """Mark where a line ends."""
    axes.plot(x.iloc[-1:], y.iloc[-1:], **look.points, markersize=4, zorder=3, clip_on=False)


def drawn(rows: pd.DataFrame, looks: dict[str, Style]) -> Iterator[str]:
    """The optimizers that are there, in the order of their styles."""
    present = set(rows["optimizer"])
    return (name for name in looks if name in present)


def panels(
    count: int,
    *,
    height: float,
    columns: int | None = None,
    most_columns: int = 4,
    share_y: bool = False,
    narrow: bool = False,
) -> tuple[Figure, list[Axes]]:
    """A figure with one panel for each task, evenly filled rows, room for a legend below.

    Args:
        count: Panels.
        height: Of a row, in inches.
        columns: How many; as many as fit by default.
        most_columns: That fit.
        share_y: Whether panels of a row have one y axis.
        narrow: Whether few panels make a narrow figure rather than wide panels.
    """
    from matplotlib.figure import Figure

    rows = math.ceil(count / (columns or most_columns))
    columns = columns or math.ceil(count / rows)
    width = min(WIDTH, 3.4 * columns) if narrow or columns == 1 else max(WIDTH, 1.6 * columns)
    figure = Figure(figsize=(width, rows * height + 0.4), layout="constrained")
    grid = figure.subplots(rows, columns, squeeze=False, sharey="row" if share_y else False)
    panels: list[Axes] = list(grid.flat)
    for spare in panels[count:]:
        spare.set_axis_off()
    return figure, panels


def legend_of(
    figure: Figure,
    shown: pd.DataFrame,
    looks: dict[str, Style],
    *,
    line: bool = True,
    markers: bool = True,
    title: str | None = None,
) -> None:
    """Name the optimizers that are shown, by the lines and markers that they are drawn with."""
    entries = []
    for name in drawn(shown, looks):
        look: dict[str, Any] = {**looks[name].points, "markersize": 5} if markers else {}
        entries.append((look | (looks[name].line if line else {}), name))
    legend(figure, entries, title)


def legend(figure: Figure, entries: list[tuple[dict[str, Any], str]], title: str | None = None) -> None:
    """Below the panels, where it covers nothing."""
    from matplotlib.lines import Line2D

    if title is not None:
        letters = int(_LETTERS * figure.get_figwidth())
        title = "\n".join(textwrap.fill(line, letters) for line in title.split("\n"))
    columns = _columns([label for _, label in entries], figure.get_figwidth())
    lines = math.ceil(len(entries) / columns) + (0 if title is None else 1 + title.count("\n"))
    # A figure has room for one by itself.
    figure.set_figheight(figure.get_figheight() + _LINE_INCHES * (lines - 1))
    placed = figure.legend(
        handles=[Line2D([], [], label=label, **look) for look, label in entries],
        loc="outside lower center",
        ncols=columns,
        title=title,
        title_fontsize=_TITLE_POINTS,
        handlelength=2.4,
        columnspacing=1.4,
    )
    placed.get_title().set_multialignment("center")


def _columns(labels: Sequence[str], width: float) -> int:
    """How many columns of a legend fit the width, in inches; it is filled column by column."""
    for columns in range(min(len(labels), int(1.05 * width)), 1, -1):
        rows = math.ceil(len(labels) / columns)
        longest = [max(map(len, labels[start : start + rows])) for start in range(0, len(labels), rows)]
        if sum(_KEY_INCHES + letters / _LETTERS for letters in longest) <= width:
            return columns
    return 1
