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

BUDGET = 800
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
        if method.batch_size != BY_NAME["sgd"].batch_size:
            continue  # another batch is another task
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
    return Suite.model_validate(
        {
            "name": "ablation-images",
            "description": "Best cells of the digits on real images with noisy labels",
            "seeds": SEEDS,
            "budget": {"gradient_evaluations": BUDGET},
            "evaluations": 2,
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
    return name.replace("1/", "1 of ")
