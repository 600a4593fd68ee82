from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from rbobench.analysis.leaderboard import Verdict, leaderboard, lower_is_better
from rbobench.analysis.results import load_results
from rbobench.errors import UsageError

Write = Callable[..., Path]

LOW, MIDDLE, HIGH = (0.60, 0.61, 0.62), (0.80, 0.811, 0.82), (0.90, 0.911, 0.919)
WIDE = (0.70, 0.95, 0.86)


def row(board: pd.DataFrame, optimizer: str) -> pd.Series[Any]:
    (found,) = [row for _, row in board.iterrows() if row["optimizer"] == optimizer]
    return found


def test_ranks_by_accuracy_at_the_chosen_step(accuracies: Write) -> None:
    board = leaderboard(accuracies({"sgd": MIDDLE, "rbo": HIGH, "rbo-null": LOW}))
    assert list(board["optimizer"]) == ["rbo", "sgd", "rbo-null"]
    assert list(board["rank"]) == [1, 2, 3]
    assert list(board["metric"].unique()) == ["test_accuracy_chosen"]
    assert list(board["marked_best"]) == [True, False, False]
    assert list(board["is_control"]) == [False, False, True]
    best = row(board, "rbo")
    assert best["mean"] == pytest.approx(np.mean(HIGH))
    assert best["sd"] == pytest.approx(np.std(HIGH, ddof=1))
    assert best["gain"] == pytest.approx(np.mean(HIGH) - np.mean(LOW))
    assert best["gain_low"] < best["gain"] < best["gain_high"]


def test_landscapes_rank_by_the_lowest_loss(accuracies: Write) -> None:
    folder = accuracies(
        {"rbo": (1.0, 1.1, 1.2), "rbo-null": (2.0, 2.1, 2.3), "sgd": (3.0, 3.2, 3.1)},
        metric="loss_last",
        task="eq14",
        data=None,
    )
    board = leaderboard(folder)
    assert list(board["optimizer"]) == ["rbo", "rbo-null", "sgd"]
    assert row(board, "rbo")["gain"] == pytest.approx(np.mean((1.0, 1.0, 1.1)))
    assert row(board, "rbo")["verdict"] == Verdict.BETTER


VERDICTS: dict[Verdict, dict[str, tuple[float, ...]]] = {
    Verdict.BETTER: {"rbo": HIGH, "rbo-null": MIDDLE, "sgd": LOW},
    Verdict.WORSE: {"rbo": MIDDLE, "rbo-null": HIGH, "sgd": LOW},
    Verdict.SLOWER_NOT_MORE_ROBUST: {"rbo": HIGH, "rbo-null": (0.909, 0.905, 0.917), "sgd": LOW},
    Verdict.NO_DIFFERENCE: {"rbo": WIDE, "rbo-null": (0.85, 0.81, 0.83), "sgd": MIDDLE},
    Verdict.TOO_FEW_SEEDS: {"rbo": HIGH[:1], "rbo-null": MIDDLE[:1]},
    Verdict.NO_SPREAD: {"rbo": (0.75, 0.75, 0.75), "rbo-null": (0.5, 0.5, 0.5), "sgd": LOW},
    Verdict.NO_CONTROL_RUN: {"rbo": HIGH, "sgd": LOW},
}


@pytest.mark.parametrize("verdict", VERDICTS)
def test_verdicts(accuracies: Write, verdict: Verdict) -> None:
    board = leaderboard(accuracies(VERDICTS[verdict], corrupted=True))
    assert row(board, "rbo")["verdict"] == verdict
    if "sgd" in VERDICTS[verdict]:
        assert row(board, "sgd")["verdict"] == Verdict.NONE
    if "rbo-null" in VERDICTS[verdict]:
        assert row(board, "rbo-null")["verdict"] == Verdict.CONTROL


def test_slower_on_clean_data_is_not_better(accuracies: Write) -> None:
    board = leaderboard(accuracies(VERDICTS[Verdict.SLOWER_NOT_MORE_ROBUST]))
    assert row(board, "rbo")["verdict"] == Verdict.SLOWER_NOT_BETTER


def test_a_control_that_does_not_beat_sgd_explains_no_win(accuracies: Write) -> None:
    """Too few seeds to tell it from a noisy control is not evidence that it is merely slower."""
    board = leaderboard(accuracies({"rbo": HIGH, "rbo-null": (0.2, 0.9, 0.5), "sgd": LOW}, corrupted=True))
    assert row(board, "rbo")["verdict"] == Verdict.NO_DIFFERENCE


def test_a_control_of_another_number_of_steps_is_none(accuracies: Write, write: Write) -> None:
    folder = accuracies({"rbo": HIGH})
    for seed, value in enumerate(LOW):
        write(
            optimizer="sgd-short",
            seed=seed,
            metrics={"test_accuracy_chosen": value},
            cost={"steps": 20.0},
        )
    assert row(leaderboard(folder), "rbo")["verdict"] == Verdict.NO_CONTROL_RUN


def test_two_seeds_mark_nothing(accuracies: Write) -> None:
    board = leaderboard(accuracies({"rbo": HIGH[:2], "rbo-null": MIDDLE[:2], "sgd": LOW[:2]}))
    assert not board["marked_best"].any()
    assert row(board, "rbo")["verdict"] == Verdict.TOO_FEW_SEEDS


def test_the_best_control_counts_whatever_it_is_called(accuracies: Write, write: Write) -> None:
    folder = accuracies({"rbo": HIGH, "sgd-short": LOW})
    for seed, value in enumerate(MIDDLE):
        write(
            optimizer="rbo-null",
            label="no ball",
            seed=seed,
            hyperparameters={"lr": 3.0},
            metrics={"test_accuracy_chosen": value},
        )
    assert row(leaderboard(folder), "rbo")["control"] == "no ball"


def test_a_control_with_too_few_seeds_is_taken_last(accuracies: Write) -> None:
    scores = {"rbo": [0.9, 0.91, 0.92], "rbo-null": [0.8, 0.82, 0.81], "sgd-short": [0.85]}
    board = leaderboard(accuracies(scores)).set_index("optimizer")
    assert board.loc["rbo", "control"] == "rbo-null"
    alone = {"rbo": [0.9, 0.91, 0.92], "sgd-short": [0.85]}
    assert (
        leaderboard(accuracies(alone, task="other")).query("task == 'other'")["control"].iloc[0]
        == "sgd-short"
    )


def test_differences_are_paired_by_seed(accuracies: Write) -> None:
    board = leaderboard(accuracies({"rbo": (0.11, 0.512, 0.909), "rbo-null": (0.1, 0.5, 0.9)}))
    assert row(board, "rbo")["verdict"] == Verdict.BETTER
    assert row(board, "rbo")["marked_best"]


def test_lost_seeds_are_counted_and_not_averaged(accuracies: Write, write: Write) -> None:
    folder = accuracies({"rbo": HIGH, "rbo-null": MIDDLE})
    write(optimizer="rbo", seed=3, status="diverged", metrics={"test_accuracy_chosen": 0.1})
    write(optimizer="rbo", seed=4, metrics={"test_accuracy_chosen": 0.1, "collapsed": True})
    write(optimizer="rbo", seed=5, status="failed")
    write(optimizer="rbo", seed=6, status="timeout")
    ball = row(leaderboard(folder), "rbo")
    assert (ball["n"], ball["n_diverged"], ball["n_collapsed"], ball["n_failed"]) == (3, 1, 1, 2)
    assert ball["mean"] == pytest.approx(np.mean(HIGH))
    assert ball["verdict"] == Verdict.BETTER_WHERE_IT_FINISHED
    assert not ball["marked_best"]


def test_what_never_finished_has_no_rank(accuracies: Write, write: Write) -> None:
    folder = accuracies({"sam": HIGH, "sgd": MIDDLE, "rbo-null": LOW})
    for seed in range(3):
        write(optimizer="rbo", seed=seed, status="diverged", metrics={"test_accuracy_chosen": None})
        write(optimizer="sam-null", seed=seed, status="failed")
    board = leaderboard(folder)
    assert row(board, "rbo")["verdict"] == Verdict.DID_NOT_FINISH
    assert row(board, "sam")["verdict"] == Verdict.CONTROL_DID_NOT_FINISH
    assert row(board, "sam")["marked_best"]
    assert board["rank"].isna().tolist() == [False, False, False, True, True]


def test_a_folder_of_failures_has_a_board(write: Write) -> None:
    board = leaderboard(write(status="failed"))
    assert board["mean"].isna().all()
    assert board["n_failed"].tolist() == [1]


def test_secondary_metrics_and_the_backdoor(suite_folder: Path) -> None:
    board = leaderboard(suite_folder)
    assert len(board) == 6 * 7
    assert list(board["task"].unique()[-2:]) == ["eq14", "sine"]
    noise = board[board["task"] == "digits-noise"].set_index("optimizer")
    assert noise.loc["sgd", "memorization_last_mean"] == pytest.approx(1.0, abs=0.01)
    assert noise["attack_success_last_mean"].isna().all()
    backdoor = board[board["task"] == "digits-badnets"].set_index("optimizer")
    gain = (
        backdoor.loc["rbo-null", "attack_success_last_mean"] - backdoor.loc["rbo", "attack_success_last_mean"]
    )
    assert backdoor.loc["rbo", "attack_success_gain"] == pytest.approx(gain)


def test_another_metric(suite_folder: Path) -> None:
    board = leaderboard(load_results(suite_folder), metric="memorization_last")
    assert set(board["task"]) == {"digits-noise", "digits-vit-noise"}
    assert board["optimizer"].iloc[0] == "sgd-short"


def test_the_oracle_never_ranks(suite_folder: Path) -> None:
    with pytest.raises(UsageError, match="never ranks"):
        leaderboard(suite_folder, metric="test_accuracy_oracle")
    with pytest.raises(UsageError, match="did you mean 'test_accuracy_last'"):
        leaderboard(suite_folder, metric="test_acuracy_last")


def test_two_results_for_one_seed(accuracies: Write) -> None:
    results = load_results(accuracies({"sgd": LOW}))
    with pytest.raises(UsageError, match="two results for task 'clean', optimizer 'sgd', seed 0"):
        leaderboard(pd.concat([results, results]))


def test_directions() -> None:
    assert lower_is_better("loss_last")
    assert lower_is_better("attack_success_last")
    assert not lower_is_better("test_accuracy_last")
    assert not lower_is_better("recovery_last")


@pytest.mark.parametrize(
    ("later", "verdict"), [(0.8, "slower, not more robust"), (0.9, "better than its control")]
)
def test_a_win_at_one_rung_alone_is_slower(write, later: float, verdict: str) -> None:
    """The ball beats its null at the first rung; at the second it does where `later` says so."""
    for rung, scores in ((1.0, {"rbo": 0.9, "rbo-null": 0.8}), (2.0, {"rbo": later, "rbo-null": 0.8})):
        for optimizer, score in scores.items():
            for seed, noise in enumerate((0.0, 0.01, -0.012)):
                spread = noise if optimizer == "rbo" else 0.5 * noise
                folder = write(
                    task=f"noise {rung:g}x",
                    optimizer=optimizer,
                    seed=seed,
                    metrics={"test_accuracy_chosen": score + spread, "collapsed": False},
                    rung=rung,
                    corrupted=True,
                )
    board = leaderboard(folder).set_index(["task", "optimizer"])
    assert board.loc[("noise 1x", "rbo"), "verdict"] == verdict
    assert board.loc[("noise 1x", "rbo"), "noisy"]
    assert board["rung"].tolist() == [1.0, 1.0, 2.0, 2.0]
