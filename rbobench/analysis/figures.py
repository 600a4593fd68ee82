"""Figures for a paper, each with a CSV of exactly what it shows.

A `Chart` selects from the results, curves and measures what it shows, as a data frame, and draws that frame.
Only trials that `finished` are shown. Colors belong to methods: a control has its method's color, hollow or
dashed.
"""

from __future__ import annotations

from pathlib import Path

from rbobench.analysis import rate_figures, sharpness_figures, training_figures
from rbobench.analysis.charts import Chart, Style, styles
from rbobench.analysis.results import finished, load_curves, load_measures, load_results
from rbobench.analysis.style import FORMATS, paper_style, save
from rbobench.errors import UsageError, unknown

FIGURES: dict[str, Chart] = {
    "accuracy": training_figures.ACCURACY,
    "curves": training_figures.CURVES,
    "accuracy_vs_memorization": training_figures.ACCURACY_VS_MEMORIZATION,
    "accuracy_vs_rate": rate_figures.ACCURACY_VS_RATE,
    "clean_vs_attack": rate_figures.CLEAN_VS_ATTACK,
    "sharpness_vs_gap": sharpness_figures.SHARPNESS_VS_GAP,
    "spectral_density": sharpness_figures.SPECTRAL_DENSITY,
    "cost": training_figures.COST,
    "landscapes": training_figures.LANDSCAPES,
}
"""Name to figure: called with results, curves and measures, each gives a matplotlib `Figure` or `None`."""


def save_figures(folder: str | Path, format: str = "png", out: str | Path | None = None) -> list[Path]:
    """Draw every figure that a folder of records has the data for.

    Args:
        folder: Of records.
        format: One of `FORMATS`.
        out: Folder for the figures; `figures` inside `folder` by default.

    Returns:
        The figures' files; beside each is a CSV of what it shows.

    Raises:
        UsageError: If the format is unknown, there are no records, none has anything to show, or `out` cannot
            be written.
    """
    if format not in FORMATS:
        raise unknown("format", format, FORMATS)
    results, curves, measures = load_results(folder), load_curves(folder), load_measures(folder)
    if not finished(results).any():
        raise UsageError(f"no trial in {folder} finished, so there is nothing to plot")
    looks = styles(results)
    target = Path(folder) / "figures" if out is None else Path(out)
    paths = []
    try:
        target.mkdir(parents=True, exist_ok=True)
        for name, chart in FIGURES.items():
            shown = chart.select(results, curves, measures)
            if shown.empty:
                continue
            with paper_style():
                paths += save(chart.draw(shown, looks), shown, target / name, [format])
    except OSError as error:
        raise UsageError(f"cannot write figures to {target}: {error.strerror or error}") from None
    return paths


__all__ = ["FIGURES", "FORMATS", "Chart", "Style", "save_figures", "styles"]
