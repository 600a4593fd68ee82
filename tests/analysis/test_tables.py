from __future__ import annotations

import io
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pytest

from rbobench.analysis.leaderboard import leaderboard
from rbobench.analysis.tables import WIDTH, render
from rbobench.errors import UsageError

Write = Callable[..., Path]


@pytest.fixture
def board(suite_folder: Path) -> pd.DataFrame:
    return leaderboard(suite_folder)


def test_text_is_for_a_terminal(board: pd.DataFrame) -> None:
    text = render(board)
    assert max(map(len, text.splitlines())) <= WIDTH
    assert "digits-noise: test accuracy in %, 3 seeds" in text
    (best,) = [
        line for line in text.split("digits-noise:")[1].split("\n\n")[0].splitlines() if line.startswith("* ")
    ]
    assert best.split()[1:5] == ["rbo", "94.9", "±", "0.3"]
    assert "rbo-null" in best
    assert best.endswith("better")
    assert "adamw: of 3 seeds 1 diverged; not in its means." in text
    assert "All seeds agree" in text
    assert "nan" not in text.lower()


def test_long_names_cost_columns(suite_folder: Path) -> None:
    board = leaderboard(suite_folder)
    board["optimizer"] = board["optimizer"].str.replace("entropy-sgd", "entropy-sgd [lr=0.1, inner_steps=20]")
    text = render(board)
    assert max(map(len, text.splitlines())) <= WIDTH
    assert "Left out for the width: sam_gap" in text


def test_no_difference_says_what_would_have_been_seen(accuracies: Write) -> None:
    board = leaderboard(accuracies({"rbo": (0.7, 0.95, 0.86), "rbo-null": (0.85, 0.81, 0.83)}))
    detectable = f"{100 * board.set_index('optimizer').loc['rbo', 'detectable']:.1f}"
    assert f"n.d. (≥ {detectable})" in render(board)
    assert f"no difference seen (≥ {detectable} would have been)" in render(board, "markdown")


def test_markdown_tables_are_even(board: pd.DataFrame) -> None:
    text = render(board, "markdown")
    for block in text.split("**\n\n|")[1:]:
        lines = [line for line in f"|{block}".splitlines() if line.startswith("|")]
        assert len({line.count("|") for line in lines}) == 1
        assert len(lines) == 2 + 7
    assert "| **rbo** | **94.9 ± 0.3** |" in text


def test_latex_is_escaped(accuracies: Write) -> None:
    folder = accuracies({"sgd": (0.5, 0.6, 0.7)}, task="noise_40%")
    accuracies({"rbo": (0.9, 0.9, 0.9)}, task="noise_40%", label="r&d_[x]")
    text = render(leaderboard(folder), "latex")
    assert r"noise\_40\%" in text
    assert r"r\&d\_{[}x{]}" in text
    assert r"60.0 $\pm$ 10.0 &" in text
    for line in text.splitlines()[1:]:
        assert "%" not in line.replace(r"\%", "")
    assert text.count(r"\begin{table}") == text.count(r"\end{table}") == 1
    assert text.count("{") == text.count("}")


@pytest.mark.skipif(shutil.which("pdflatex") is None, reason="needs pdflatex")
def test_latex_compiles(board: pd.DataFrame, tmp_path: Path) -> None:
    source = "\\documentclass{article}\\usepackage{booktabs}\\begin{document}\n%s\\end{document}"
    (tmp_path / "table.tex").write_text(source % render(board, "latex"), encoding="utf-8")
    subprocess.run(["pdflatex", "-interaction=batchmode", "table.tex"], cwd=tmp_path, check=True)


def test_csv_keeps_every_digit(board: pd.DataFrame) -> None:
    back = pd.read_csv(io.StringIO(render(board, "csv")))
    assert list(back.columns) == list(board.columns)
    assert back["mean"].to_numpy() == pytest.approx(board["mean"].to_numpy(), rel=1e-15)


def test_unknown_format(board: pd.DataFrame) -> None:
    with pytest.raises(UsageError, match="unknown format 'markdwn'; did you mean 'markdown'"):
        render(board, "markdwn")  # type: ignore[arg-type]


def test_a_board_of_failures(write: Write) -> None:
    text = render(leaderboard(write(status="failed")))
    assert "sgd: of 1 seed 1 failed; not in its means." in text
