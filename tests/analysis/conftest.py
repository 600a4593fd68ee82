"""Records as the runner writes them, made up: quick to make, with known truth."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from rbobench.runner.record import write_record
from rbobench.runner.trial import digest

CONTROLS = {"rbo": ["rbo-null", "sgd-short", "sgd-repeat"], "sam": ["sam-null", "sam-random"]}


def make_record(
    task: str = "clean",
    optimizer: str = "sgd",
    seed: int = 0,
    *,
    metrics: Mapping[str, Any] | None = None,
    curves: Mapping[str, Sequence[float]] | None = None,
    status: str = "ok",
    label: str | None = None,
    options: Mapping[str, Any] | None = None,
    hyperparameters: Mapping[str, Any] | None = None,
    data: str | None = "sha256:0011223344",
    corrupted: bool = False,
    corruption: tuple[str, float] | None = None,
    measures: Mapping[str, Mapping[str, Any]] | None = None,
    rung: float | None = None,
    cost: Mapping[str, Any] | None = None,
) -> dict[str, Any]:
    trial = {
        "protocol": 1,
        "task": {
            "name": "digits" if data else "sine",
            "options": {"label_noise": {"kind": task}} if options is None else dict(options),
            "data": data,
        },
        "optimizer": {"name": optimizer, "hyperparameters": dict(hyperparameters or {"lr": 0.1})},
        "budget": {"gradient_evaluations": 3000},
        "schedules": {"lr": "cosine"},
        "evaluations": 20,
        "numerics": {"precision": "fp32", "channels_last": False, "compile": False, "threads": 1},
        "seed": seed,
    }
    ran = status in ("ok", "diverged")
    manifest: dict[str, Any] = {"kind": "symmetric label noise", "part": "train", "hash": "ab" * 32}
    if corruption is not None:
        manifest["kind"], manifest["nominal_rate"] = corruption
    ladder = {} if rung is None else {"ladder": task.removesuffix(f" {rung:g}x"), "rung": rung}
    return {
        "key": digest(trial),
        "record_version": 1,
        "suite": "made-up",
        "status": status,
        "error": None if ran else "ValueError: no",
        "trial": trial,
        "labels": {
            "task": task,
            "optimizer": label or optimizer,
            "controls": CONTROLS.get(optimizer, []),
            **ladder,
        },
        "metrics": dict(metrics or {}) if ran else {},
        "measures": dict(measures or {}) if ran else {},
        "curves": {name: list(values) for name, values in (curves or {}).items()} if ran else {},
        "cost": ({"gradient_evaluations": 3000, "train_seconds": 2.0, "steps": 3000} | dict(cost or {}))
        if ran
        else {},
        "test_correct": None,
        "corruption": [manifest] if corrupted or corruption else [],
        "pairing": {},
        "environment": {},
    }


@pytest.fixture
def write(tmp_path: Path) -> Callable[..., Path]:
    """Writes records made of `make_record`'s arguments; returns their folder."""

    def write_one(**arguments: Any) -> Path:
        return write_record(tmp_path, make_record(**arguments)).parent

    return write_one


@pytest.fixture
def accuracies(write: Callable[..., Path]) -> Callable[..., Path]:
    """Writes one task's trials from `optimizer: accuracies, one for each seed`."""

    def write_all(
        table: Mapping[str, Sequence[float]], metric: str = "test_accuracy_chosen", **arguments: Any
    ) -> Path:
        folder = Path()
        for optimizer, values in table.items():
            for seed, value in enumerate(values):
                folder = write(
                    optimizer=optimizer, seed=seed, metrics={metric: value, "collapsed": False}, **arguments
                )
        return folder

    return write_all


@pytest.fixture
def suite_folder(tmp_path: Path) -> Path:
    """A folder like the one that the quick suite fills."""
    return write_quick(tmp_path / "quick")


def write_quick(folder: Path, seeds: int = 3) -> Path:
    """The quick suite's shape: four image tasks, two landscapes, seven optimizers."""
    folder.mkdir(parents=True)
    # (final accuracy on clean, memorized share in the end, speed, seconds, share of the budget spent)
    optimizers = {
        "sgd": (0.965, 1.0, 1.0, 1.0, 1.0),
        "adamw": (0.96, 1.0, 1.4, 1.3, 1.0),
        "sam": (0.97, 0.6, 0.7, 1.1, 1.0),
        "entropy-sgd": (0.955, 0.3, 0.4, 1.4, 1.0),
        "rbo": (0.95, 0.03, 0.25, 1.6, 1.0),
        "rbo-null": (0.945, 0.05, 0.22, 1.55, 1.0),
        "sgd-short": (0.94, 0.04, 1.0, 0.05, 0.05),
    }
    tasks = {
        "digits": "clean",
        "digits-noise": "noise",
        "digits-badnets": "backdoor",
        "digits-vit-noise": "noise",
    }
    for task, kind in tasks.items():
        for optimizer, (final, memorized, speed, seconds, share) in optimizers.items():
            for seed in range(seeds):
                curves, metrics = _image_curves(kind, final, memorized, speed, share, seed)
                write_record(
                    folder,
                    make_record(
                        task=task,
                        optimizer=optimizer,
                        seed=seed,
                        curves=curves,
                        metrics=metrics,
                        corrupted=kind != "clean",
                        status="diverged" if (task, optimizer, seed) == ("digits", "adamw", 1) else "ok",
                        cost={
                            "train_seconds": 4 * seconds * (1 + 0.05 * seed),
                            "gradient_evaluations": 3000 * share,
                        },
                    ),
                )
    for task, minimum in {"eq14": -1.2, "sine": 1e-3}.items():
        for index, optimizer in enumerate(optimizers):
            for seed in range(seeds):
                fraction = np.linspace(0.05, 1, 20) * optimizers[optimizer][4]
                loss = minimum + (2 - 0.2 * index) * np.exp(-6 * fraction)
                curves = {"gradient_evaluations": 3000 * fraction, "fraction": fraction, "loss": loss}
                metrics = {"loss_last": loss[-1], "loss_best": loss.min(), "distance_last": 1.0}
                write_record(
                    folder,
                    make_record(
                        task=task,
                        optimizer=optimizer,
                        seed=seed,
                        data=None,
                        curves={name: [float(v) for v in values] for name, values in curves.items()},
                        metrics={name: float(value) for name, value in metrics.items()},
                    ),
                )
    return folder


SWEPT = {
    "swept-clean": None,
    "swept-symmetric-20": ("symmetric label noise", 0.2),
    "swept-symmetric-60": ("symmetric label noise", 0.6),
    "swept-badnets-0.25": ("BadNets", 0.0025),
    "swept-badnets-1": ("BadNets", 0.01),
    "swept-badnets-2": ("BadNets", 0.02),
}
"""Tasks that differ in nothing but their corruption: its kind and rate."""


@pytest.fixture
def sweep_folder(tmp_path: Path) -> Path:
    """A folder of trials along corruption rates, with sharpness where labels are noisy."""
    return write_sweep(tmp_path / "sweep")


def write_sweep(folder: Path, seeds: int = 3) -> Path:
    """Tasks along the rates of two corruptions; the flatter an optimizer's minima, the smaller its gap."""
    folder.mkdir(parents=True, exist_ok=True)
    flatness = {"sgd": 0.0, "adamw": 0.1, "sam": 0.5, "rbo": 0.9, "rbo-null": 0.2}
    for task, corruption in SWEPT.items():
        kind, rate = corruption or ("", 0.0)
        for optimizer, flat in flatness.items():
            for seed in range(seeds):
                generator = np.random.default_rng([seed, int(10 * flat), int(1e4 * rate)])
                lost = (1 - 0.6 * flat) * 0.4 * rate if "noise" in kind else 0.01
                last = 0.95 - 1.5 * lost + generator.normal(0, 0.01)
                gap = 0.04 + 1.2 * lost + generator.normal(0, 0.004)
                metrics: dict[str, Any] = {
                    "test_accuracy_last": last,
                    "test_accuracy_chosen": 0.96 - lost + generator.normal(0, 0.01),
                }
                measures = {}
                if kind != "BadNets":
                    largest = 900 * gap * np.exp(generator.normal(0, 0.4))
                    metrics |= {
                        "train_accuracy_last": last + gap,
                        "sam_gap": gap**2 * np.exp(generator.normal(0, 0.3)),
                        "lambda_max": largest,
                    }
                    measures["spectral_density"] = _spectrum(float(largest))
                else:
                    success = (0.95 - 0.3 * flat) * (1 - np.exp(-200 * rate)) + generator.normal(0, 0.02)
                    metrics |= {"attack_success_chosen": success, "attack_success_last": 0.95 * success}
                write_record(
                    folder,
                    make_record(
                        task=task,
                        optimizer=optimizer,
                        seed=seed,
                        corruption=corruption,
                        metrics={name: float(value) for name, value in metrics.items()}
                        | {"collapsed": False},
                        measures=measures,
                    ),
                )
    return folder


def _spectrum(largest: float) -> dict[str, Any]:
    """A bulk at zero and an outlier, as of a trained network."""
    grid = np.linspace(-0.1 * largest, 1.1 * largest, 128)
    width = 0.02 * largest
    bulk, outlier = (np.exp(-(((grid - at) / width) ** 2) / 2) for at in (0.0, largest))
    density = (bulk + 1e-4 * outlier) / (width * np.sqrt(2 * np.pi))
    return {"value": 1.0, "uncertainty": 0.1, "grid": grid.tolist(), "density": density.tolist()}


def _image_curves(
    kind: str, final: float, memorized: float, speed: float, share: float, seed: int
) -> tuple[dict[str, list[float]], dict[str, Any]]:
    generator = np.random.default_rng([seed, int(1e4 * final)])
    fraction = np.linspace(0.05, 1, 20) * share
    progress = np.maximum(fraction, 0.05)
    accuracy = final * (1 - 0.5 * np.exp(-40 * speed * progress)) + generator.normal(0, 0.004, 20)
    curves = {"gradient_evaluations": 3000 * fraction, "fraction": fraction, "loss": np.exp(-3 * progress)}
    if kind == "noise":
        curves["memorization"] = memorized * (1 - np.exp(-2 * progress / (1.1 - memorized)))
        accuracy = accuracy - 0.32 * curves["memorization"]
        curves["recovery"] = 1 - curves["memorization"]
    if kind == "backdoor":
        curves["attack_success"] = np.clip(memorized * progress + generator.normal(0, 0.03, 20), 0, 1)
    curves["validation_accuracy"] = accuracy - 0.02
    curves["test_accuracy"] = accuracy
    metrics: dict[str, Any] = {
        "test_accuracy_last": accuracy[-1],
        "test_accuracy_chosen": accuracy.max(),
        "test_accuracy_oracle": accuracy.max(),
        "sam_gap": 0.02 * memorized,
    }
    for name in ("memorization", "recovery", "attack_success"):
        if name in curves:
            metrics |= {f"{name}_last": curves[name][-1], f"{name}_chosen": curves[name][5]}
    plain = {name: [float(value) for value in values] for name, values in curves.items()}
    return plain, {name: float(value) for name, value in metrics.items()} | {"collapsed": False}


@pytest.fixture
def record_maker() -> Callable[..., dict[str, Any]]:
    return make_record
