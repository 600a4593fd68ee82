"""Measures at the weights of trials: right after training, or later from weights that were kept."""

from __future__ import annotations

import dataclasses
import hashlib
import math
import time
from collections.abc import Callable, Iterable, Mapping
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
from rbobench.processes import full_precision, threads
from rbobench.randomness import Streams
from rbobench.registry import get_task
from rbobench.runner.environment import choose_device
from rbobench.runner.record import read_record, record_files, record_path, weights_path, write_record
from rbobench.runner.training import reestimated
from rbobench.runner.trial import canonical_json, digest
from rbobench.tasks.datasets import FOLDER
from rbobench.tasks.task import DataLocation, Problem, Settings

REESTIMATED = "_reestimated"
"""Ends the name of a measure that was taken with re-estimated BatchNorm statistics."""


def take_measures(problem: Problem, names: Iterable[str], seed: int) -> dict[str, Any]:
    """Take measures at a problem's present weights.

    Sharpness is taken with BatchNorm's statistics as they are and, where the model has any, as re-estimated
    from the training data. A measure that fails loses no training: what it said is kept in its place.

    Args:
        problem: At the weights to be measured; they are left alone.
        names: Of measures.
        seed: The trial's.

    Returns:
        Name to the fields of the result, the `seconds` it took and the `device`; `{"error": ...}` where it
        failed, and `None` where there is nothing to measure.
    """
    if not isinstance(problem, Measurable):
        return dict.fromkeys(names)
    streams, taken = Streams(seed), {}
    device = str(problem.parameters()[0].device)
    normalized = _has_statistics(problem.module)
    for name in names:
        taken[name] = _taken(name, problem, streams, device)
        if normalized and catalog.MEASURES[name].sharpness:
            with reestimated(problem):
                taken[name + REESTIMATED] = _taken(name, problem, streams, device)
    return taken


def as_metrics(taken: Mapping[str, Any]) -> dict[str, float]:
    """Values and uncertainties of measures as flat metrics: `lambda_max`, `lambda_max_uncertainty`."""
    metrics = {}
    for name, result in taken.items():
        if result is not None and "value" in result:
            metrics[name] = result["value"]
            if not math.isnan(result["uncertainty"]):
                metrics[f"{name}_uncertainty"] = result["uncertainty"]
    return metrics


def missing_measures(record: Mapping[str, Any], names: Iterable[str], *, failed: bool = False) -> list[str]:
    """The measures that a record lacks; none where its trial did not end `ok`.

    Args:
        record: The record.
        names: Of measures.
        failed: Whether one that failed counts as missing.
    """
    if record["status"] != "ok":
        return []
    taken = record.get("measures", {})

    def lacks(name: str) -> bool:
        if name not in taken:
            return True
        results = (taken[name], taken.get(name + REESTIMATED))
        return failed and any(result is not None and "error" in result for result in results)

    return [name for name in names if lacks(name)]


def measure_record(
    folder: Path, record: Mapping[str, Any], names: Iterable[str], settings: Settings
) -> dict[str, Any]:
    """Take measures at the kept weights of a finished trial, and write them into its record.

    Args:
        folder: Of the record and the weights.
        record: The trial's.
        names: Of measures.
        settings: Device and data; the numerics are the trial's.

    Returns:
        What `take_measures` gave.

    Raises:
        UsageError: If the data, their corruption or the weights are not those of the trial.
    """
    with threads(int(record["trial"]["numerics"].get("threads", 1))), full_precision():
        problem = _problem(record, settings)
        _load_weights(folder, record, problem, settings)
        taken = take_measures(problem, names, record["trial"]["seed"])
    # Read again: another process may have added measures in the meantime.
    latest = read_record(record_path(folder, record["key"]))
    write_record(
        folder,
        {
            **latest,
            "measures": {**latest.get("measures", {}), **taken},
            "metrics": {**latest["metrics"], **as_metrics(taken)},
        },
    )
    return taken


@dataclass(frozen=True)
class MeasureSummary:
    """What became of adding measures.

    Attributes:
        added: Trials that were measured.
        found: Trials that had all of them already.
        passed_over: Trials that did not end `ok`, or whose task has nothing to measure.
        errors: `task/optimizer/seed: measure: what it said`, for each measure that failed.
    """

    added: int
    found: int
    passed_over: int
    errors: tuple[str, ...] = ()


def measure_records(
    out: str | Path,
    names: Iterable[str],
    *,
    device: str = "auto",
    data_root: str | Path = "data",
    say: Callable[[str], None] = lambda _: None,
) -> MeasureSummary:
    """Add measures to the finished trials of a folder, from the weights kept beside their records.

    Data and manifests of all of them are checked before any weights are loaded.

    Args:
        out: Folder of records.
        names: Of measures and groups of them.
        device: `"auto"` for CUDA, else MPS, else the CPU; or a device as torch names it.
        data_root: Folder of the data sets.
        say: Is told of each trial.

    Raises:
        UsageError: If a name is unknown, there are no records, weights were not kept or are not the trial's,
            or the data or what a corruption does to them are not those of the trial.
    """
    folder, wanted = Path(out), catalog.expand(names)
    records = _records(folder)
    pending = [record for record in records if missing_measures(record, wanted, failed=True)]
    without = [record for record in pending if not weights_path(folder, record["key"]).exists()]
    if without:
        raise UsageError(
            f"{len(without)} of {len(records)} trials in {folder} have no saved weights, "
            f"{_name(without[0])} for one; a suite keeps them by `save_weights: true`"
        )
    settings = Settings(device=choose_device(device), location=DataLocation(Path(data_root)))
    distinct = {
        canonical_json([record["trial"]["task"], record["trial"]["seed"]]): record for record in pending
    }
    for record in distinct.values():
        _problem(record, settings)
    added, errors = 0, []
    for number, record in enumerate(pending, 1):
        missing = missing_measures(record, wanted, failed=True)
        taken = measure_record(folder, record, missing, settings)
        added += any(result is not None for result in taken.values())
        errors += [
            f"{_name(record)}: {name}: {result['error']}"
            for name, result in taken.items()
            if result is not None and "error" in result
        ]
        say(f"[{number}/{len(pending)}] {_name(record)}: {', '.join(missing)}")
    finished = sum(record["status"] == "ok" for record in records)
    return MeasureSummary(
        added,
        finished - len(pending),
        len(records) - finished + len(pending) - added,
        tuple(errors),
    )


def file_digest(path: Path) -> str:
    """SHA-256 of a file, `"sha256:..."`."""
    return f"sha256:{hashlib.sha256(path.read_bytes()).hexdigest()}"


def _records(folder: Path) -> list[dict[str, Any]]:
    if not folder.is_dir():
        raise UsageError(f"there is no folder {folder}")
    paths = record_files(folder)
    if not paths:
        raise UsageError(f"no records in {folder}")
    records = []
    for path in paths:
        record = read_record(path)
        try:
            records.append((_name(record), record["status"], record["metrics"], record))
        except (KeyError, TypeError) as error:
            raise UsageError(f"{path} is a damaged record: {type(error).__name__}: {error}") from None
    return [record for *_, record in sorted(records, key=lambda entry: (entry[0], entry[-1]["key"]))]


def _problem(record: Mapping[str, Any], settings: Settings) -> Problem:
    """The problem of a finished trial, its weights the initial ones.

    Raises:
        UsageError: If the data or what a corruption does to them are not those of the trial.
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
    return problem


def _load_weights(folder: Path, record: Mapping[str, Any], problem: Problem, settings: Settings) -> None:
    path = weights_path(folder, record["key"])
    expected = record.get("weights")
    if expected is not None and file_digest(path) != expected:
        raise UsageError(f"{_name(record)}: {path} is not the file of weights that the trial wrote")
    try:
        problem.module.load_state_dict(load_file(path, device=str(settings.device)))
    except (OSError, SafetensorError, RuntimeError) as error:
        reason = " ".join(str(error).split())
        raise UsageError(f"{_name(record)}: {path} has no weights of its model: {reason}") from None


def _taken(name: str, problem: Measurable, streams: Streams, device: str) -> dict[str, Any]:
    began = time.perf_counter()
    try:
        taken = catalog.take(name, problem, streams)
    except Exception as error:
        return {"error": " ".join(f"{type(error).__name__}: {error}".split())}
    return {
        **taken,
        "seconds": time.perf_counter() - began,
        "device": device,
    }


def _has_statistics(module: nn.Module) -> bool:
    return any(isinstance(layer, _BatchNorm) and layer.track_running_stats for layer in module.modules())


def _name(record: Mapping[str, Any]) -> str:
    labels = record["labels"]
    return f"{labels['task']}/{labels['optimizer']}/{record['trial']['seed']}"


__all__ = [
    "REESTIMATED",
    "MeasureSummary",
    "as_metrics",
    "file_digest",
    "measure_record",
    "measure_records",
    "missing_measures",
    "take_measures",
]
