"""How every figure looks, and how it is stored: at paper size, with a CSV of exactly what it shows."""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import AbstractContextManager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd

if TYPE_CHECKING:
    from matplotlib.figure import Figure

FORMATS = ("pdf", "png", "svg")

WIDTH = 7.0
"""Inches: the text of a two-column paper."""

_RC: dict[Any, Any] = {
    "font.size": 8,
    "axes.titlesize": 8,
    "axes.labelsize": 8,
    "xtick.labelsize": 7,
    "ytick.labelsize": 7,
    "legend.fontsize": 7.5,
    "axes.linewidth": 0.6,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": "0.9",
    "grid.linewidth": 0.5,
    "xtick.major.width": 0.6,
    "ytick.major.width": 0.6,
    "lines.linewidth": 1.4,
    "legend.frameon": False,
    "savefig.dpi": 200,
    "pdf.fonttype": 42,  # text stays text
    "svg.fonttype": "none",
    "svg.hashsalt": "rbobench",  # equal figures are equal files
}
_WITHOUT_DATE = {"pdf": {"CreationDate": None}, "svg": {"Date": None}, "png": {}}


def paper_style() -> AbstractContextManager[None]:
    """The style of all figures, for as long as one is drawn and stored."""
    import matplotlib as mpl

    return mpl.rc_context(_RC)


def save(figure: Figure, shown: pd.DataFrame, path: Path, formats: Iterable[str]) -> list[Path]:
    """Store a figure, and what it shows as a CSV beside it.

    Args:
        figure: The figure.
        shown: What it shows, one row for each mark.
        path: Of the files, without a suffix.
        formats: Of `FORMATS`.

    Returns:
        The figure's files.

    Raises:
        OSError: If they cannot be written.
    """
    paths = [path.with_suffix(f".{format}") for format in formats]
    for written in paths:
        kind = written.suffix.removeprefix(".")
        figure.savefig(written, metadata=_WITHOUT_DATE[kind])
    shown.to_csv(path.with_suffix(".csv"), index=False)
    return paths
