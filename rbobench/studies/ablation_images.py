"""The ablation's cells on real images: each method at its best cell of the digits, not tuned again."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import as_completed
from pathlib import Path
from typing import Any

import pandas as pd

from rbobench.processes import process_pool
from rbobench.registry import get_optimizer
from rbobench.runner.execution import run_suite
from rbobench.runner.schema import Suite
from rbobench.studies.ablation_methods import BY_NAME

METHODS = (
    "sgd",
    "adamw",
    "rbo sgd, P = 20",
    "null of rbo sgd, P = 20",
    "rbo auto, P = 5",
    "null of rbo auto, P = 5",
    "search",
    "search, 1/4",
    "search, 1/16",
    "previous",
    "mirrored",
    "lagged",
    "sam",
    "sam, 1/4",
    "friendly-sam",
    "momentum-sam",
    "s2-sam",
)
"""One or two of each family: a training takes a hundred times as long as on the digits."""

BUDGET = 2000
SEEDS = 3
IMAGES = 2000
TASK = "images-noise"


def run_images(
    summary: pd.DataFrame, images: Path, out: Path, *, jobs: int | None, say: Callable[[str], None]
) -> Path:
    """Run one suite of all methods on an image folder with 40 % of the labels flipped.

    Args:
        summary: As `ablation.compare` gives it; the cells of its largest noise and middle budget are run.
        images: Folder of images, `train|test/<class>/*`.
        out: Folder of the records.
        jobs: Processes side by side, each with methods of its own.
        say: Is told of each method when it is done.

    Returns:
        `out`.
    """
    suite = image_suite(summary, images)
    with process_pool(jobs) as pool:
        running = {pool.submit(run_suite, suite, out, only=f"*/{name}/*"): name for name in suite.optimizers}
        for done, future in enumerate(as_completed(running), start=1):
            statuses = ", ".join(f"{count} {status}" for status, count in future.result().statuses.items())
            say(f"[{done}/{len(running)}] {running[future]} on images: {statuses}")
    return out


def image_suite(summary: pd.DataFrame, images: Path) -> Suite:
    """The suite that `run_images` runs."""
    noisy = summary[summary["noise"] == summary["noise"].max()]
    budgets = sorted(noisy["budget"].unique())
    cells = noisy[noisy["budget"] == budgets[len(budgets) // 2]]
    optimizers: dict[str, Any] = {}
    for cell in cells.to_dict("records"):
        method = BY_NAME[cell["method"]]
        if method.name not in METHODS:
            continue
        entry: dict[str, Any] = {
            "optimizer": method.optimizer,
            "lr": float(cell["lr"]),
            **method.hyperparameters,
        }
        if method.radius is not None:
            entry[method.radius] = float(cell["radius"])
        if get_optimizer(method.optimizer).looks_around:
            entry["contact_fraction"] = method.contact_fraction
        optimizers[label(method.name)] = entry
    # What takes as many steps as a search or SAM with the idea taken out: SGD that evaluates in vain.
    rate = next(cell["lr"] for cell in cells.to_dict("records") if cell["method"] == "sgd")
    null = {"lr": float(rate), "optimizer": "rbo-center-null"}
    for part in sorted({entry.get("contact_fraction", 0.0) for entry in optimizers.values()} - {0.0}):
        optimizers[f"null, {part:g} of the batch"] = {**null, "contact_fraction": part}
    return Suite.model_validate(
        {
            "name": "ablation-images",
            "description": "Best cells of the digits on real images with noisy labels",
            "seeds": SEEDS,
            "budget": {"gradient_evaluations": BUDGET},
            "evaluations": 4,
            "optimizers": optimizers,
            "tasks": {
                TASK: {
                    "task": f"folder:{images.resolve()}",
                    "model": "resnet8",
                    "model_options": {"stem_stride": 2},
                    "batch_size": 64,
                    "train_images": IMAGES,
                    "label_noise": {"kind": "symmetric", "rate": 0.4},
                }
            },
        }
    )


def label(name: str) -> str:
    """A method's name as a suite's label."""
    return name.lower().replace("1/", "1 of ").replace("γ", "step")
