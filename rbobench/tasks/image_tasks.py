"""Every data set as a task."""

from __future__ import annotations

from typing import Any

from rbobench.hyperparameters import signature
from rbobench.registry import Family, TaskInfo, register_task, register_task_family
from rbobench.tasks.datasets import DATASETS, FOLDER
from rbobench.tasks.images import ImageTask


class _OnDataset:
    """`ImageTask` with its data set bound; its options are the rest."""

    def __init__(self, dataset: str) -> None:
        self._dataset = dataset
        bound = {"dataset"} if dataset.startswith(FOLDER) else {"dataset", "image_size"}
        options = signature(ImageTask)
        self.hyperparameter_signature = {name: options[name] for name in options if name not in bound}

    def __call__(self, **options: Any) -> ImageTask:
        return ImageTask(self._dataset, **options)


def register() -> None:
    """Register a task for each data set, and `folder:PATH` for image folders."""
    for dataset in DATASETS.values():
        register_task(_info(dataset.name, dataset.description, dataset.reference))
    register_task_family(Family(FOLDER, lambda path: _info(FOLDER + path, "images in train|test/<class>/*")))


def _info(name: str, description: str, reference: str = "") -> TaskInfo:
    return TaskInfo(
        name=name, factory=_OnDataset(name), description=description, kind="image", reference=reference
    )
