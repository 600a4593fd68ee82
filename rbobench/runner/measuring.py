"""Measures at the weights of trials: right after training, or later from weights that were kept."""

from __future__ import annotations

import dataclasses
import math
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

from rbobench.errors import UsageError
from rbobench.measures import catalog
from rbobench.measures.measurable import Measurable
from rbobench.processes import threads
from rbobench.randomness import Streams
from rbobench.registry import get_task
from rbobench.runner.environment import choose_device
from rbobench.runner.record import read_record, record_files, write_record
from rbobench.runner.training import reestimated
from rbobench.runner.trial import digest
from rbobench.tasks.datasets import FOLDER
from rbobench.tasks.task import DataLocation, Problem, Settings

REESTIMATED = "_reestimated"
"""Ends the name of a measure that was taken with re-estimated BatchNorm statistics."""


def take_measures(problem: Problem, names: Iterable[str], seed: int) -> dict[str, Any]:
    """Take measures at a problem's present weights.

    Sharpness is taken with BatchNorm's statistics as they are and, where the model has any, as re-estimated
    from the training data.

    Args:
        problem: At the weights to be measured; they are left alone.
        names: Of measures.
        seed: The trial's.

    Returns:
        Name to the fields of the result and the `seconds` it took; `None` where there is nothing to measure.
    """
    if not isinstance(problem, Measurable):
        return dict.fromkeys(names)
    streams, taken = Streams(seed), {}
    normalized = _has_statistics(problem.module)
    for name in names:
        taken[name] = _timed(name, problem, streams)
        if normalized and catalog.MEASURES[name].sharpness:
            with reestimated(problem):
                taken[name + REESTIMATED] = _timed(name, problem, streams)
    return taken


def as_metrics(taken: Mapping[str, Any]) -> dict[str, float]:
    """Values and uncertainties of measures as flat metrics: `lambda_max`, `lambda_max_uncertainty`."""
    metrics = {}
    for name, result in taken.items():
        if result is not None:
            metrics[name] = result["value"]
            if not math.isnan(result["uncertainty"]):
                metrics[f"{name}_uncertainty"] = result["uncertainty"]
    return metrics


def has_measures(record: Mapping[str, Any], names: Iterable[str]) -> bool:
    """Whether a record has these measures, or is one of a trial that none is taken of."""
    taken = record.get("measures", {})
    return record["status"] != "ok" or all(name in taken for name in names)


@dataclass(frozen=True)
class MeasureSummary:
    """What became of adding measures.

    Attributes:
        added: Trials that were measured.
        found: Trials that had all of them already.
        passed_over: Trials that did not end `ok`, or whose task has nothing to measure.
    """

    added: int
    found: int
    passed_over: int


def measure_records(
    out: str | Path,
    names: Iterable[str],
    *,
    device: str = "auto",
    data_root: str | Path = "data",
    say: Any = None,
) -> MeasureSummary:
    """Add measures to the finished trials of a folder, from the weights kept beside their records.

    Everything is checked before any weights are loaded.

    Args:
        out: Folder of records.
        names: Of measures and groups of them.
        device: `"auto"` for CUDA, else MPS, else the CPU; or a device as torch names it.
        data_root: Folder of the data sets.
        say: Is told of each trial; `None` for silence.

    Raises:
        UsageError: If a name is unknown, there are no records, weights were not kept or are not of the model,
            or the data or what a corruption does to them are not those of the trial.
    """
    folder, wanted = Path(out), catalog.expand(names)
    records = _records(folder)
    pending = [record for record in records if not has_measures(record, wanted)]
    missing = [record for record in pending if not _weights(folder, record).exists()]
    if missing:
        raise UsageError(
            f"{len(missing)} of {len(records)} trials in {folder} have no saved weights, {_name(missing[0])} "
            "for one; a suite keeps them by `save_weights: true`"
        )
    settings = Settings(device=choose_device(device), location=DataLocation(Path(data_root)))
    added = 0
    for record in pending:
        lacking = [name for name in wanted if name not in record.get("measures", {})]
        with threads(int(record["trial"]["numerics"].get("threads", 1))):
            taken = take_measures(_restored(folder, record, settings), lacking, record["trial"]["seed"])
        write_record(
            folder,
            {
                **record,
                "measures": {**record.get("measures", {}), **taken},
                "metrics": {**record["metrics"], **as_metrics(taken)},
            },
        )
        if any(result is not None for result in taken.values()):
            added += 1
        if say is not None:
            say(f"[{added}/{len(pending)}] {_name(record)}: {', '.join(lacking)}")
    finished = sum(record["status"] == "ok" for record in records)
    return MeasureSummary(added, finished - len(pending), len(records) - finished + len(pending) - added)


def _records(folder: Path) -> list[dict[str, Any]]:
    if not folder.is_dir():
        raise UsageError(f"there is no folder {folder}")
    records = [read_record(path) for path in record_files(folder)]
    if not records:
        raise UsageError(f"no records in {folder}")
    return sorted(records, key=lambda record: (_name(record), record["key"]))


def _restored(folder: Path, record: Mapping[str, Any], settings: Settings) -> Problem:
    """The problem of a finished trial at its final weights.

    Raises:
        UsageError: If the data, their corruption or the weights are not those of the trial.
    """
    trial, name = record["trial"], _name(record)
    task_name = record["labels"].get("task_name", trial["task"]["name"])
    if task_name == FOLDER:
        raise UsageError(f"{name}: its record does not say which image folder it was; run the suite again")
    info = get_task(task_name)
    task = info.create(info.resolve(trial["task"]["options"]))
    if task.data_digest(settings.location) != trial["task"]["data"]:
        raise UsageError(f"{name}: the data under {settings.location.root} are not those of the trial")
    numerics = trial["numerics"]
    problem = task.problem(
        trial["seed"],
        dataclasses.replace(settings, channels_last=bool(numerics.get("channels_last", False))),
    )
    hashes = [digest(manifest.as_dict()) for manifest in problem.manifests()]
    if hashes != [entry["hash"] for entry in record["corruption"]]:
        raise UsageError(f"{name}: its manifests do not match what its corruption does to this data set")
    path = _weights(folder, record)
    try:
        problem.module.load_state_dict(load_file(path, device=str(settings.device)))
    except (OSError, SafetensorError, RuntimeError) as error:
        reason = " ".join(str(error).split())
        raise UsageError(f"{name}: {path} has no weights of its model: {reason}") from None
    return problem


def _timed(name: str, problem: Measurable, streams: Streams) -> dict[str, Any]:
    began = time.perf_counter()
    taken = catalog.take(name, problem, streams)
    return {**taken, "seconds": time.perf_counter() - began}


def _has_statistics(module: nn.Module) -> bool:
    return any(isinstance(layer, _BatchNorm) and layer.track_running_stats for layer in module.modules())


def _weights(folder: Path, record: Mapping[str, Any]) -> Path:
    return folder / f"{record['key']}.safetensors"


def _name(record: Mapping[str, Any]) -> str:
    labels = record["labels"]
    return f"{labels['task']}/{labels['optimizer']}/{record['trial']['seed']}"


__all__ = [
    "REESTIMATED",
    "MeasureSummary",
    "as_metrics",
    "has_measures",
    "measure_records",
    "take_measures",
]
