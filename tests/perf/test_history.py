from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from rbobench.analysis.style import save
from rbobench.errors import UsageError
from rbobench.perf.history import changes, history, plot, shown

pytest.importorskip("asv")

COMMITS = [f"{number:040x}" for number in range(0xA0, 0xAC)]
STEP = "step.Step.track_time"
TRIAL = "trial.Trial.time_trial"
MEMORY = "memory.Peak.track_copies"
BENCHMARKS = {
    STEP: {"version": "1", "param_names": ["model", "optimizer"], "unit": "gradient evaluations"},
    TRIAL: {"version": "1", "param_names": [], "unit": "seconds"},
    MEMORY: {"version": "1", "param_names": [], "unit": "parameter copies"},
}


def write(
    folder: Path,
    commit: str,
    date: int,
    values: list[Any],
    *,
    width: float = 0.05,
    copies: float = 2.0,
    **environment: str,
) -> None:
    params = {"machine": "here", "python": "3.11", "torch": "2", **environment}
    content = {
        "commit_hash": commit,
        "date": date,
        "params": params,
        "result_columns": ["result", "params", "version", "stats_ci_99_a", "stats_ci_99_b", "samples"],
        "results": {
            STEP: [
                values,
                [["'mlp'"], ["'sgd'", "'rbo'"]],
                "1",
                [None if value is None else value - width for value in values],
                [None if value is None else value + width for value in values],
            ],
            TRIAL: [[0.5], [], "1", [0.4], [0.6]],
            MEMORY: [[copies], [], "1"],
            "old.Gone.track_time": [[1.0], [], "1"],
        },
    }
    machine = folder / params["machine"]
    machine.mkdir(parents=True, exist_ok=True)
    name = f"{commit[:3]}{commit[-5:]}-{params['torch']}.json"
    (machine / name).write_text(json.dumps(content))
    (machine / "machine.json").write_text("{}")


@pytest.fixture
def results(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Twelve commits outside of git; rbo takes half as long again from the seventh on."""
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path.parent))
    for place, commit in enumerate(COMMITS):
        noise = 0.01 * (-1) ** place
        # Later ones first: the order is the dates', not the names'.
        write(tmp_path, commit, 1000 * place, [1.0 + noise, (5.0 if place < 6 else 7.5) + noise])
    (tmp_path / "benchmarks.json").write_text(json.dumps({**BENCHMARKS, "version": 2}))
    return tmp_path


def test_every_value_is_a_row_in_the_order_of_the_commits(results: Path) -> None:
    frame = history(results)
    assert list(dict.fromkeys(frame["commit"])) == COMMITS
    assert len(frame) == 4 * len(COMMITS)
    rbo = frame[frame["optimizer"] == "rbo"]
    assert set(rbo["model"]) == {"mlp"}
    assert set(rbo["unit"]) == {"gradient evaluations"}
    assert rbo["value"].iloc[0] == pytest.approx(5.01)
    assert rbo["high"].iloc[0] == pytest.approx(5.06)
    exact = frame[frame["benchmark"] == MEMORY]
    assert (exact["low"] == exact["high"]).all()
    assert frame.loc[frame["benchmark"] == TRIAL, "model"].isna().all()
    assert isinstance(frame["date"].dtype, pd.DatetimeTZDtype)


def test_a_step_is_laid_on_the_commit_that_brought_it(results: Path) -> None:
    (row,) = changes(history(results)).to_dict("records")
    assert (row["benchmark"], row["optimizer"]) == (STEP, "rbo")
    assert (row["previous"], row["commit"]) == (COMMITS[5], COMMITS[6])
    assert row["ratio"] == pytest.approx(1.5, rel=0.01)


def test_another_torch_is_no_commits_doing(results: Path) -> None:
    for path in results.glob("here/*.json"):
        content = json.loads(path.read_text())
        if content and content["date"] >= 6000:
            content["params"]["torch"] = "3"
            path.write_text(json.dumps(content))
    assert changes(history(results)).empty


def test_small_steps_are_not_marked(results: Path) -> None:
    for place, commit in enumerate(COMMITS):
        write(results, commit, 1000 * place, [1.0, 5.0 if place < 6 else 5.2])
    assert changes(history(results)).empty


@pytest.mark.parametrize("last", [1, 2])
def test_a_step_in_noise_is_marked_once_two_commits_hold_it(results: Path, last: int) -> None:
    for place, commit in enumerate(COMMITS):
        write(results, commit, 1000 * place, [1.0, 5.0 if place < len(COMMITS) - last else 7.5])
    assert len(changes(history(results))) == last - 1


def test_a_single_bad_run_is_no_step_and_hides_none(results: Path) -> None:
    write(results, COMMITS[3], 3000, [1.0, 10.0])
    write(results, COMMITS[6], 6000, [1.0, 10.0])
    (row,) = changes(history(results)).to_dict("records")
    assert (row["previous"], row["commit"]) == (COMMITS[5], COMMITS[7])


def test_a_step_within_the_intervals_is_not_marked(results: Path) -> None:
    for place, commit in enumerate(COMMITS):
        write(results, commit, 1000 * place, [1.0, 5.0 if place < 6 else 7.5], width=2.0)
    assert changes(history(results)).empty


def test_noise_makes_no_steps(results: Path) -> None:
    rng = np.random.default_rng(0)
    for place, commit in enumerate(COMMITS):
        write(results, commit, 1000 * place, [1.0 + 0.1 * rng.normal(), 5.0 * (1.0 + 0.1 * rng.normal())])
    assert changes(history(results)).empty


def test_an_exact_value_steps_at_once(results: Path) -> None:
    write(results, COMMITS[-1], 11000, [1.0, 7.5], copies=3.0)
    stepped = changes(history(results)).set_index("benchmark")
    assert stepped.loc[MEMORY, "commit"] == COMMITS[-1]
    assert stepped.loc[MEMORY, "ratio"] == 1.5


def test_skipped_values_are_left_out_and_failed_ones_are_missing(results: Path) -> None:
    write(results, COMMITS[0], 0, [math.nan, None])
    first = history(results).query("commit == @COMMITS[0]")
    assert list(first["optimizer"].dropna()) == ["rbo"]
    assert first.loc[first["optimizer"] == "rbo", "value"].isna().all()


def test_values_of_another_version_of_a_benchmark_are_left_out(results: Path) -> None:
    changed = {**BENCHMARKS, STEP: {**BENCHMARKS[STEP], "version": "2"}}
    (results / "benchmarks.json").write_text(json.dumps(changed))
    assert set(history(results)["benchmark"]) == {TRIAL, MEMORY}


def test_what_is_shown_is_relative_to_the_first(results: Path) -> None:
    frame = shown(history(results))
    rbo = frame[frame["optimizer"] == "rbo"]
    assert rbo["relative"].iloc[0] == 1.0
    assert rbo["relative"].iloc[-1] == pytest.approx(1.5, rel=0.01)
    assert list(frame.loc[frame["changed"], "commit"]) == [COMMITS[6]]


def test_the_figure_names_the_commit_of_a_step(results: Path, tmp_path: Path) -> None:
    frame = history(results)
    figure = plot(frame)
    texts = [text.get_text().strip() for axes in figure.axes for text in axes.texts]
    assert texts == [COMMITS[6][:8]]
    (path,) = save(figure, shown(frame), tmp_path / "history", ["png"])
    assert path.is_file()
    assert len(pd.read_csv(tmp_path / "history.csv")) == len(frame)


@pytest.mark.parametrize(
    ("text", "message"),
    [("{", "no readable result file"), ("[]", "no result file"), ('{"params": {}}', "damaged result file")],
)
def test_a_damaged_file_is_named(results: Path, text: str, message: str) -> None:
    (results / "here/00000000-x.json").write_text(text)
    with pytest.raises(UsageError, match=message):
        history(results)


def test_an_empty_folder_is_told(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="nothing is recorded"):
        history(tmp_path)
