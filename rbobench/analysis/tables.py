"""Leaderboards as text, Markdown, LaTeX and CSV."""

from __future__ import annotations

import textwrap
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from itertools import zip_longest
from typing import Any, Literal, get_args

import pandas as pd

from rbobench.analysis.leaderboard import Verdict
from rbobench.errors import unknown

Format = Literal["text", "markdown", "latex", "csv"]

WIDTH = 120
"""Columns of a terminal that a text table keeps to."""

_PERCENT = ("accuracy", "memorization", "recovery", "attack_success")
_SHORT = {
    Verdict.BETTER: "better",
    Verdict.BETTER_WHERE_IT_FINISHED: "better†",
    Verdict.WORSE: "worse",
    Verdict.SLOWER_NOT_MORE_ROBUST: "slower",
    Verdict.SLOWER_NOT_BETTER: "slower",
    Verdict.NO_DIFFERENCE: "n.d.",
    Verdict.TOO_FEW_SEEDS: "few seeds",
    Verdict.NO_SPREAD: "no spread",
    Verdict.CONTROL_DID_NOT_FINISH: "no control",
    Verdict.DID_NOT_FINISH: "",
}
_SECONDARY = {
    "test_accuracy_last": "last\nstep",
    "memorization_last": "memo-\nrized",
    "recovery_last": "recov-\nered",
    "attack_success_last": "attack\nsuccess",
    "membership": "member\nAUC",
    "sam_gap": "SAM\ngap",
    "train_seconds": "train\nseconds",
    "gradient_evaluations": "gradients",
}
_EXPENDABLE = ("membership", "sam_gap", "recovery_last", "gradient_evaluations", "train_seconds")
"""What a text table too wide for the terminal leaves out, in this order."""


@dataclass(frozen=True)
class _Column:
    name: str
    header: str
    cells: list[str]
    left: bool = False

    @property
    def width(self) -> int:
        return max(map(len, (*self.header.split("\n"), *self.cells)))


def render(board: pd.DataFrame, format: Format = "text") -> str:
    """A leaderboard to read.

    Args:
        board: What `leaderboard` gave.
        format: `text` for a terminal, at most `WIDTH` columns wide as far as names allow; `markdown` as
            GitHub reads it; `latex` for the package booktabs, a `table` for each task; `csv` for the
            frame itself in full precision.

    Raises:
        UsageError: If the format is unknown.
    """
    renderers: dict[str, Callable[[pd.DataFrame], str]] = {
        "text": _text,
        "markdown": _markdown,
        "latex": _latex,
        "csv": lambda board: board.to_csv(index=False),
    }
    if format not in renderers:
        raise unknown("format", format, get_args(Format))
    return renderers[format](board)


def _text(board: pd.DataFrame) -> str:
    blocks = []
    left_out: dict[str, None] = {}
    for block in _blocks(board):
        columns = _columns(block, short=True, star=True)
        for name in _EXPENDABLE:
            if _width(columns) > WIDTH and any(column.name == name for column in columns):
                columns = [column for column in columns if column.name != name]
                left_out[name] = None
        headers = zip_longest(*(column.header.split("\n") for column in columns), fillvalue="")
        head = [_line(columns, cells) for cells in headers]
        body = [_line(columns, cells) for cells in _rows(columns)]
        notes = [textwrap.fill(f"  {note}", WIDTH) for note in _block_notes(block)]
        blocks.append("\n".join([_title(block), *head, "─" * _width(columns), *body, *notes]))
    notes = _notes(board, best="*", short=True)
    if left_out:
        notes.append(f"Left out for the width: {', '.join(left_out)}; the csv format has everything.")
    return "\n\n".join([*blocks, "\n".join(textwrap.fill(note, WIDTH) for note in notes)]) + "\n"


def _markdown(board: pd.DataFrame) -> str:
    parts = []
    for block in _blocks(board):
        columns = _columns(block, short=False)
        lines = [
            markdown_row(_flat(column.header) for column in columns),
            markdown_row("---" if column.left else "---:" for column in columns),
        ]
        for best, cells in zip(block["marked_best"], _rows(columns), strict=True):
            name, score, *rest = (cell.replace("|", "\\|") for cell in cells)
            if best:
                name, score = f"**{name}**", f"**{score}**"
            lines.append(markdown_row((name, score, *rest)))
        parts.append("\n".join([f"**{_title(block)}**", "", *lines]))
        if notes := _block_notes(block):
            parts.append(_markdown_list(notes))
    parts.append(_markdown_list(_notes(board, best="bold", short=False)))
    return "\n\n".join(parts) + "\n"


def _markdown_list(notes: list[str]) -> str:
    return "\n".join(f"- {note}" for note in notes)


def markdown_row(cells: Iterable[str]) -> str:
    """One row of a Markdown table."""
    return f"| {' | '.join(cells)} |"


def _latex(board: pd.DataFrame) -> str:
    parts = ["% \\usepackage{booktabs}"]
    for block in _blocks(board):
        columns = _columns(block, short=True)
        lines = []
        for best, cells in zip(block["marked_best"], _rows(columns), strict=True):
            name, score, *rest = map(_escaped, cells)
            if best:
                name, score = f"\\textbf{{{name}}}", f"\\textbf{{{score}}}"
            lines.append(" & ".join((name, score, *rest)) + r" \\")
        header = " & ".join(_stacked(column.header, left=column.left) for column in columns) + r" \\"
        alignment = "".join("l" if column.left else "r" for column in columns)
        notes = [*_block_notes(block), *_notes(block, best="bold", short=True)]
        parts.append(
            "\n".join(
                [
                    r"\begin{table}",
                    r"\centering\footnotesize\setlength{\tabcolsep}{4pt}",
                    f"\\caption{{{_escaped(_title(block))}. {_escaped(' '.join(notes))}}}",
                    f"\\begin{{tabular}}{{@{{}}{alignment}@{{}}}}",
                    r"\toprule",
                    header,
                    r"\midrule",
                    *lines,
                    r"\bottomrule",
                    r"\end{tabular}",
                    r"\end{table}",
                ]
            )
        )
    return "\n\n".join(parts) + "\n"


def _stacked(header: str, *, left: bool) -> str:
    lines = [_escaped(line) for line in header.split("\n") if line]
    if len(lines) == 1:
        return lines[0]
    stack, side = r" \\ ".join(lines), "l" if left else "r"
    return f"\\begin{{tabular}}[b]{{@{{}}{side}@{{}}}}{stack}\\end{{tabular}}"


_LATEX = str.maketrans(
    {
        "\\": r"\textbackslash{}",
        "~": r"\textasciitilde{}",
        "^": r"\textasciicircum{}",
        **{character: f"\\{character}" for character in "&%$#_{}"},
        "±": r"$\pm$",
        "≥": r"$\ge$",
        "−": "$-$",
        "<": "$<$",
        ">": "$>$",
        "|": r"\textbar{}",
        "—": "--",
        "†": r"$^\dagger$",
        "[": "{[}",  # after a row's end it would be taken for a length
        "]": "{]}",
    }
)


def _escaped(text: str) -> str:
    return text.translate(_LATEX)


def _blocks(board: pd.DataFrame) -> list[pd.DataFrame]:
    return [block for _, block in board.groupby("task", sort=False)]


def _columns(block: pd.DataFrame, *, short: bool, star: bool = False) -> list[_Column]:
    """What is shown of one task; the first column is the optimizer's name, the second its score."""
    metric = str(block["metric"].iloc[0])
    rows = block.to_dict("records")
    names = [
        f"{'* ' if row['marked_best'] else '  '}{row['optimizer']}" if star else row["optimizer"]
        for row in rows
    ]
    columns = [
        _Column("optimizer", "  optimizer" if star else "optimizer", names, left=True),
        _Column(metric, _header(metric), [_spread(metric, row["mean"], row["sd"]) for row in rows]),
    ]
    for name, header in _SECONDARY.items():
        if name != metric and f"{name}_mean" in block and block[f"{name}_mean"].notna().any():
            columns.append(_Column(name, header, [_number(name, row[f"{name}_mean"]) for row in rows]))
    if block["control"].notna().any():
        controls = [row["control"] if isinstance(row["control"], str) else "" for row in rows]
        gains = [
            _spread(metric, row["gain"], (row["gain_high"] - row["gain_low"]) / 2, signed=True)
            for row in rows
        ]
        columns += [
            _Column("control", "best\ncontrol", controls, left=True),
            _Column("gain", "gain over\ncontrol", gains),
        ]
        if "attack_success_gain" in block and block["attack_success_gain"].notna().any():
            columns.append(_Column("attack_success_gain", "fewer\nattacks", _attack_gains(rows)))
    verdicts = [_verdict(row, metric, short=short) for row in rows]
    if any(verdicts):
        columns.append(_Column("verdict", "verdict", verdicts, left=True))
    return columns


def _attack_gains(rows: list[dict[Any, Any]]) -> list[str]:
    name = "attack_success_gain"
    return [
        _spread(name, row[name], (row[f"{name}_high"] - row[f"{name}_low"]) / 2, signed=True) for row in rows
    ]


def _header(metric: str) -> str:
    return {
        "test_accuracy_chosen": "chosen\nstep",
        "test_accuracy_last": "last\nstep",
        "loss_last": "loss at the\nlast step",
    }.get(metric, metric.replace("_", " "))


def _verdict(row: dict[Any, Any], metric: str, *, short: bool) -> str:
    verdict = Verdict(row["verdict"])
    text = _SHORT.get(verdict, str(verdict)) if short else str(verdict)
    if verdict is not Verdict.NO_DIFFERENCE or not row["detectable"] > 0:
        return text
    detectable = _number(metric, row["detectable"], digits=1)
    return f"{text} (≥ {detectable})" if short else f"{text} (≥ {detectable} would have been)"


def _title(block: pd.DataFrame) -> str:
    metric, seeds = str(block["metric"].iloc[0]), _seeds(block)
    quantity = {
        "test_accuracy_chosen": "test accuracy in %",
        "test_accuracy_last": "test accuracy in %",
        "loss_last": "loss",
    }.get(metric, metric.replace("_", " ") + (" in %" if _is_percent(metric) else ""))
    return f"{block['task'].iloc[0]}: {quantity}, {seeds} seed{'' if seeds == 1 else 's'}"


def _seeds(block: pd.DataFrame) -> int:
    return int((block["n"] + block["n_diverged"] + block["n_failed"] + block["n_collapsed"]).max())


def _block_notes(block: pd.DataFrame) -> list[str]:
    """Who lost seeds on the way, and whether seeds matter at all."""
    notes = []
    lost = {"n_diverged": "diverged", "n_failed": "failed", "n_collapsed": "collapsed to one class"}
    for row in block.to_dict("records"):
        told = [f"{row[name]} {text}" for name, text in lost.items() if row[name]]
        if told:
            total = row["n"] + sum(row[name] for name in lost)
            seeds = "seed" if total == 1 else "seeds"
            notes.append(f"{row['optimizer']}: of {total} {seeds} {', '.join(told)}; not in its means.")
    if _seeds(block) > 1 and (block["sd"].dropna() == 0).all() and block["sd"].notna().any():
        notes.append("All seeds agree, so that they are one trial: nothing is judged.")
    return notes


def _notes(board: pd.DataFrame, *, best: str, short: bool) -> list[str]:
    """What the tables mean, as far as it applies to them."""
    metrics = set(board["metric"])
    verdicts = set(board["verdict"])
    compared = board["control"].notna().any()
    notes = ["Mean ± sd over seeds."]
    if "test_accuracy_chosen" in metrics:
        notes.append("Images are ranked at the step chosen on validation data as noisy as the training data.")
    marked = "*" if best == "*" else "Bold"
    if board["marked_best"].any():
        notes.append(f"{marked}: better than every other optimizer (paired t over seeds, p < 0.05 for each).")
    if not board.groupby("task")["marked_best"].any().all():
        notes.append("Where none is marked best, the seeds cannot tell.")
    if compared:
        notes.append(
            "Gain over control: against the best of the method's controls (its idea taken out), paired by "
            "seed, ± half the 95 % t interval; positive is better."
        )
        if "attack_success_gain" in board and board["attack_success_gain"].notna().any():
            notes.append(
                "Attack success is at the last step; fewer attacks: how far it is below that of the same "
                "control."
            )
    if Verdict.NO_DIFFERENCE in verdicts:
        notes.append(
            f"{'n.d.' if short else 'No difference seen'} (≥ x{'' if short else ' would have been'}): "
            f"{'no difference seen; ' if short else ''}x is what these seeds would have shown at 80 % power."
        )
    if verdicts & {Verdict.SLOWER_NOT_MORE_ROBUST, Verdict.SLOWER_NOT_BETTER}:
        notes.append(
            f"{'slower' if short else 'Slower'}: beats sgd, and so does a control that takes as few steps; "
            "or beats its control at one budget of a ladder alone, and not at equal memorization."
        )
    if short and Verdict.BETTER_WHERE_IT_FINISHED in verdicts:
        notes.append("†: on the seeds where it finished.")
    return notes


def _rows(columns: list[_Column]) -> list[tuple[str, ...]]:
    return list(zip(*(column.cells for column in columns), strict=True))


def _line(columns: list[_Column], cells: Iterable[str]) -> str:
    parts = [
        cell.ljust(column.width) if column.left else cell.rjust(column.width)
        for column, cell in zip(columns, cells, strict=True)
    ]
    return "  ".join(parts).rstrip()


def _width(columns: list[_Column]) -> int:
    return sum(column.width for column in columns) + 2 * (len(columns) - 1)


def _flat(header: str) -> str:
    return header.replace("-\n", "").replace("\n", " ").strip()


def _is_percent(metric: str) -> bool:
    return any(word in metric for word in _PERCENT)


def _spread(metric: str, mean: float, spread: float, *, signed: bool = False) -> str:
    """A mean and what surrounds it; the mean alone where there is no spread."""
    if pd.isna(mean):
        return ""
    text = _number(metric, mean, signed=signed, digits=1 if signed else 3)
    if pd.isna(spread) or spread == 0:
        return text
    return f"{text} ± {_number(metric, spread, digits=0)}"


def _number(metric: str, value: float, *, signed: bool = False, digits: int = 3) -> str:
    """A value in its metric's units; shares in percent, what has no scale in powers of ten with `digits`."""
    if pd.isna(value):
        return ""
    sign = "+" if signed else ""
    if _is_percent(metric):
        text = f"{100 * value:{sign}.1f}"
    elif metric == "membership":
        text = f"{value:{sign}.3f}"
    elif metric == "gradient_evaluations":
        text = f"{value:{sign},.0f}"
    elif metric == "sam_gap":
        text = f"{value:{sign}.1e}"
    elif metric == "train_seconds":
        text = f"{value:{sign},.{2 if value < 1 else 1}f}"
    else:
        text = f"{value:{sign}.{digits}e}"
    return f"−{text[1:]}" if value < 0 else text


__all__ = ["Format", "render"]
