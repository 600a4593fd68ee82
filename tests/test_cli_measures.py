"""The commands about corruptions and measures, from a suite to what is shown."""

from __future__ import annotations

from pathlib import Path

import pytest

from rbobench.cli import main

SUITE = """
name: noisy
seeds: 1
budget: {gradient_evaluations: 600}
evaluations: 12
save_weights: true
measures: [sam_gap]
optimizers:
  sgd: {lr: 0.1, momentum: 0.9}
  rbo-center: {lr: 0.1, momentum: 0.9, radius: 0.1}
  rbo-center-null: {lr: 0.1, momentum: 0.9}
tasks:
  digits-noise:
    task: digits
    model: mlp
    batch_size: 64
    train_images: 300
    label_noise: {kind: symmetric, rate: 0.4}
"""


@pytest.fixture(scope="module")
def noisy(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of records with weights, run once, two trials side by side."""
    folder = tmp_path_factory.mktemp("noisy")
    suite = folder / "noisy.yaml"
    suite.write_text(SUITE)
    assert main(["run", str(suite), "--out", str(folder / "out"), "--jobs", "2"]) == 0
    return folder / "out"


def refused(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> str:
    """The one line that a mistake is told in."""
    assert main(arguments) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    (line,) = captured.err.splitlines()
    return line


def test_measures_are_added_once(noisy: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["measure", str(noisy), "--metric", "membership", "--metric", "trace"]) == 0
    captured = capsys.readouterr()
    assert captured.out == "3 trials measured\n"
    assert captured.err.splitlines()[0] == "[1/3] digits-noise/rbo-center-null/0: membership, trace"
    assert main(["measure", str(noisy), "--metric", "trace"]) == 0
    assert capsys.readouterr().out == "0 trials measured, 3 had them already\n"


def test_memorization_is_compared(noisy: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["memorization", str(noisy)]) == 0
    out = capsys.readouterr().out
    assert "digits-noise: test accuracy in % at equal memorization, 1 seed" in out
    assert "rbo-center against rbo-center-null" in out
    assert "digits-noise: sgd has memorized 90% in 1 of 1 seeds, within" in out


def test_what_a_corruption_does_is_drawn(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "shown.png"
    assert main(["show", "quick/digits-backdoor", "--out", str(file)]) == 0
    assert capsys.readouterr().out == f"{file}\n"
    assert file.read_bytes().startswith(b"\x89PNG")
    noise = "label_noise: {kind: symmetric, rate: 0.4}"
    assert main(["show", "digits", "--options", noise, "--out", str(tmp_path / "shown.svg")]) == 0
    assert (tmp_path / "shown.svg").exists()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["show", "digits"], "corrupts nothing; give it label_noise or backdoor"),
        (["show", "eq14"], "task 'eq14' has no images to show"),
        (
            ["show", "quick/digits-nois"],
            "suite 'quick': unknown task 'digits-nois'; did you mean 'digits-noise'",
        ),
        (["show", "digits", "--options", "backdor: {}"], "unknown option 'backdor'; did you mean 'backdoor'"),
        (["show", "quick/digits-noise", "--out", "x.bmp"], "unknown format 'bmp'"),
        (
            ["show", "digits", "--options", "backdoor: {kind: badnets, rate: 1.5}"],
            "rate must be above 0 and at most 1, not 1.5",
        ),
        (
            ["show", "digits", "--options", "backdoor: {kind: badnets, rate: 0.1, target: 10}"],
            "target 10 is no class; there are 10, from 0",
        ),
        (
            ["show", "digits", "--options", "backdoor: {kind: badnets, rate: 0.1, size: 9}"],
            "a patch of 9×9 at bottom-right does not fit images of 8×8",
        ),
        (
            ["show", "digits", "--options", "backdoor: {kind: badnets, rate: 0.0001}"],
            "of 1347 samples would change nothing",
        ),
        (["show", "digits", "--options", "backdoor: {kind: sig, rate: 0.01}"], "sig"),
        (["show", "digits", "--options", "label_noise: {kind: asymmetric, rate: 0.4}"], "class_map"),
        (["list", "measures", "nothing"], "unknown measure 'nothing'"),
    ],
)
def test_mistakes_are_told_in_one_line(
    arguments: list[str],
    message: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    assert message in refused(arguments, capsys)
    assert not list(tmp_path.iterdir())


def test_measuring_without_weights_is_refused(
    noisy: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for record in noisy.glob("*.json"):
        (tmp_path / record.name).write_bytes(record.read_bytes())
    line = refused(["measure", str(tmp_path), "--metric", "slice_1d"], capsys)
    assert "3 of 3 trials" in line
    assert "have no saved weights" in line


def test_measures_are_listed(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["list", "measures", "lambda*"]) == 0
    (_, row) = capsys.readouterr().out.splitlines()
    assert row.split()[:3] == ["lambda_max", "core,", "full"]
