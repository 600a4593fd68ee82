"""Records as data frames: one row for each trial, or for each point of its curves."""

from __future__ import annotations

import json
import math
from collections import defaultdict
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pandas as pd

from rbobench.errors import UsageError
from rbobench.runner.record import read_record, record_files

STATUSES = ("ok", "diverged", "failed", "timeout", "out_of_memory")
"""How a trial can end."""

_METRICS = ("test_accuracy_last", "test_accuracy_chosen", "loss_last")
_COSTS = (
    "gradient_evaluations",
    "forward_evaluations",
    "hessian_vector_products",
    "samples_drawn",
    "steps",
    "unspent",
    "train_seconds",
    "warm_up_seconds",
    "evaluation_seconds",
    "gradient_seconds",
    "seconds",
    "overhead_share",
    "peak_memory_bytes",
)
_AXES = ("gradient_evaluations", "fraction")


def load_results(*folders: str | Path) -> pd.DataFrame:
    """One row for each trial, sorted by task, optimizer and seed.

    Args:
        *folders: Folders of records, not searched below. A trial found in several of them counts once.

    Returns:
        Columns `key`, `suite`, `task` and `optimizer` (as the suite calls them), `ladder` and `rung` (the
        task without its rung, and the budget as a multiple of the one that the suite states), `task_name` and
        `optimizer_name` (as the registry does), `setting` (equal for tasks that differ in their corruption
        alone), `controls` (a tuple of registered names), `seed`, `status`, `error`, `budget`, `budget_unit`;
        then one for each metric, where `test_accuracy_last`, `test_accuracy_chosen` and `loss_last` are
        always there, missing where a task has none; then the costs, `gradient_evaluations` and
        `train_seconds` among them; `hp_<name>` for each hyperparameter; `corruption_kind`, as manifests call
        it; `label_noise_rate` and `poison_rate`, nominal, `label_noise_realized` and `poison_realized`, 0
        where there is none; and `corruption_hash`. Where one label stands for several configurations, what
        tells them apart is added to it: `rbo [radius=5.0]`.

    Raises:
        UsageError: If a folder is missing or without records, or a record is damaged.
    """
    records = _read(folders)
    metrics = _names(records, "metrics", _METRICS)
    costs = _names(records, "cost", _COSTS)
    rows = []
    for record in records:
        trial = record["trial"]
        ((unit, limit),) = trial["budget"].items()
        hashes = sorted(manifest["hash"] for manifest in record["corruption"])
        rows.append(
            {
                "key": record["key"],
                "suite": record["suite"],
                "task": record["labels"]["task"],
                "ladder": record["labels"].get("ladder", record["labels"]["task"]),
                "rung": float(record["labels"].get("rung", 1.0)),
                "task_name": trial["task"]["name"],
                "setting": _setting(trial),
                "optimizer": record["labels"]["optimizer"],
                "optimizer_name": trial["optimizer"]["name"],
                "controls": tuple(record["labels"]["controls"]),
                "seed": trial["seed"],
                "status": record["status"],
                "error": record["error"],
                "budget": limit,
                "budget_unit": unit,
                **{name: record["metrics"].get(name) for name in metrics},
                **{name: record["cost"].get(name) for name in costs},
                **{f"hp_{name}": value for name, value in trial["optimizer"]["hyperparameters"].items()},
                **_corruption(record),
                "corruption_hash": " ".join(hashes) or None,
            }
        )
    frame = pd.DataFrame(rows)
    for name in (*metrics, *costs):
        frame[name] = frame[name].astype("boolean" if name == "collapsed" else "float64")
    # Hyperparameters arrive as they are first met; the hash goes last.
    frame["corruption_hash"] = frame.pop("corruption_hash")
    return frame


def load_curves(*folders: str | Path) -> pd.DataFrame:
    """One row for each point of each curve of each trial, in the order of `load_results`.

    Args:
        *folders: Folders of records, as for `load_results`.

    Returns:
        Columns `key`, `task`, `optimizer`, `seed`, `gradient_evaluations`, `fraction` (of the budget),
        `metric`, `value`.

    Raises:
        UsageError: As `load_results`.
    """
    columns: dict[str, list[Any]] = {
        name: [] for name in ("key", "task", "optimizer", "seed", *_AXES, "metric", "value")
    }
    for record in _read(folders):
        curves = record["curves"]
        for metric, values in curves.items():
            if metric in _AXES:
                continue
            count = len(values)
            columns["key"] += [record["key"]] * count
            columns["task"] += [record["labels"]["task"]] * count
            columns["optimizer"] += [record["labels"]["optimizer"]] * count
            columns["seed"] += [record["trial"]["seed"]] * count
            columns["metric"] += [metric] * count
            columns["value"] += values
            for axis in _AXES:
                columns[axis] += curves[axis]
    frame = pd.DataFrame(columns)
    return frame.astype(dict.fromkeys((*_AXES, "value"), "float64"))


def load_measures(*folders: str | Path) -> pd.DataFrame:
    """One row for each measure of each trial, in the order of `load_results`.

    Args:
        *folders: Folders of records, as for `load_results`.

    Returns:
        Columns `key`, `task`, `optimizer`, `seed`, `measure`, and `result`: a mapping of its `value`, its
        `uncertainty`, its `cost` in evaluations, its `seconds` and whatever else it tells, a spectral
        density's grid for one.

    Raises:
        UsageError: As `load_results`.
    """
    rows = [
        {**_labels(record), "measure": name, "result": result}
        for record in _read(folders)
        for name, result in record.get("measures", {}).items()
        if result is not None and "value" in result
    ]
    return pd.DataFrame(rows, columns=["key", "task", "optimizer", "seed", "measure", "result"])


def load_memorization(*folders: str | Path) -> pd.DataFrame:
    """One row for each flipped label that was followed in each trial, in the order of `load_results`.

    Args:
        *folders: Folders of records, as for `load_results`.

    Returns:
        Columns `key`, `task`, `optimizer`, `seed`, `position` among the training images, and
        `gradient_evaluations`: at the first point of the curves where the model gave the flipped label back,
        NaN where it never did.

    Raises:
        UsageError: As `load_results`.
    """
    rows = [
        {**_labels(record), "position": position, "gradient_evaluations": spent}
        for record in _read(folders)
        if (found := record.get("memorized_at"))
        for position, spent in zip(found["positions"], found["gradient_evaluations"], strict=True)
    ]
    columns = ["key", "task", "optimizer", "seed", "position", "gradient_evaluations"]
    return pd.DataFrame(rows, columns=columns).astype({"gradient_evaluations": "float64"})


def _labels(record: Mapping[str, Any]) -> dict[str, Any]:
    labels = record["labels"]
    return {
        "key": record["key"],
        "task": labels["task"],
        "optimizer": labels["optimizer"],
        "seed": record["trial"]["seed"],
    }


def status(*folders: str | Path) -> pd.DataFrame:
    """How the trials of each task and optimizer ended.

    Returns:
        Columns `task`, `optimizer`, `trials`, one for each of `STATUSES`, with how many ended so, and
        `overhead`: the share of their time that was neither a gradient nor a measure, NaN where none of them
        tells it.

    Raises:
        UsageError: As `load_results`.
    """
    results = load_results(*folders)
    counts = results.groupby(["task", "optimizer", "status"]).size().unstack(fill_value=0)
    counts = counts.reindex(columns=list(STATUSES), fill_value=0)
    counts.insert(0, "trials", results.groupby(["task", "optimizer"]).size())
    told = results[results["overhead_share"].notna()]
    overhead = told.assign(overhead=told["overhead_share"] * told["seconds"])
    sums = overhead.groupby(["task", "optimizer"])[["overhead", "seconds"]].sum()
    counts["overhead"] = sums["overhead"] / sums["seconds"]
    return counts.rename_axis(columns=None).reset_index()


def finished(results: pd.DataFrame) -> pd.Series[bool]:
    """Which rows of `load_results` are averaged: they ended `ok`, with a model that tells classes apart.

    The others are counted, never averaged in silence.
    """
    ended = results["status"] == "ok"
    if "collapsed" in results:
        ended &= ~results["collapsed"].fillna(False).astype(bool)
    return ended


def _read(folders: tuple[str | Path, ...]) -> list[dict[str, Any]]:
    """The records of all folders, sorted, their labels told apart."""
    records: dict[str, dict[str, Any]] = {}
    for folder in map(Path, folders):
        if not folder.is_dir():
            raise UsageError(f"there is no folder {folder}")
        paths = record_files(folder)
        if not paths:
            raise UsageError(f"no records in {folder}")
        for path in paths:
            record = read_record(path)
            _check(record, path)
            records.setdefault(record["key"], record)
    _tell_apart(list(records.values()))
    return sorted(records.values(), key=_order)


def _setting(trial: Mapping[str, Any]) -> str:
    """A task without its corruptions: equal for tasks that differ in these alone."""
    task = trial["task"]
    options = task.get("options", {})
    kept = {name: options[name] for name in options if name not in ("label_noise", "backdoor")}
    return json.dumps([task["name"], task.get("data"), kept], sort_keys=True)


def _corruption(record: Mapping[str, Any]) -> dict[str, Any]:
    """Kinds of the corruptions, nominal and realized rates; 0 where there is none."""
    kinds = " + ".join(manifest["kind"] for manifest in record["corruption"])
    rates: dict[str, Any] = {
        "corruption_kind": kinds or None,
        "label_noise_rate": 0.0,
        "label_noise_realized": 0.0,
        "poison_rate": 0.0,
        "poison_realized": 0.0,
    }
    for manifest in record["corruption"]:
        name = "label_noise" if "label noise" in manifest["kind"] else "poison"
        rates[f"{name}_rate"] = float(manifest.get("nominal_rate", math.nan))
        rates[f"{name}_realized"] = float(manifest.get("realized_rate", math.nan))
    return rates


def _order(record: dict[str, Any]) -> tuple[Any, ...]:
    labels = record["labels"]
    return labels["task"], labels["optimizer"], record["trial"]["seed"], record["key"]


def _check(record: dict[str, Any], path: Path) -> None:
    """See that everything is there that is read here, so that nothing later meets a damaged record.

    Raises:
        UsageError: If not.
    """
    try:
        trial, labels, curves = record["trial"], record["labels"], record["curves"]
        lengths = {len(values) for values in curves.values()}
        right = (
            record["status"] in STATUSES
            and {"suite", "error"} <= record.keys()
            and len(trial["budget"]) == 1
            and isinstance(trial["seed"], int)
            and all(isinstance(trial[part]["name"], str) for part in ("task", "optimizer"))
            and isinstance(trial["optimizer"]["hyperparameters"], dict)
            and all(isinstance(labels[name], str) for name in ("task", "optimizer"))
            and isinstance(labels["controls"], list)
            and len(lengths) <= 1
            and (not curves or set(_AXES) <= curves.keys())
            and all(isinstance(record[name], dict) for name in ("metrics", "cost"))
            and all(isinstance(value, float | int | None) for value in record["metrics"].values())
            and all(isinstance(manifest["hash"], str) for manifest in record["corruption"])
        )
    except (KeyError, TypeError, AttributeError) as error:
        raise UsageError(f"{path} is a damaged record: {type(error).__name__}: {error}") from None
    if not right:
        raise UsageError(f"{path} is a damaged record: its parts do not fit together")


def _names(records: list[dict[str, Any]], part: str, always: tuple[str, ...]) -> list[str]:
    """`always`, then whatever else any record has in `part`, in order of appearance."""
    found = dict.fromkeys(name for record in records for name in record[part])
    return list(dict.fromkeys((*always, *found)))


def _tell_apart(records: list[dict[str, Any]]) -> None:
    """Extend labels that stand for several configurations, as after a suite was edited and run again."""
    for label, parts in (("task", _task_parts), ("optimizer", _optimizer_parts)):
        groups: dict[tuple[str, ...], list[dict[str, Any]]] = defaultdict(list)
        for record in records:
            labels = record["labels"]
            group = (labels["task"],) if label == "task" else (labels["task"], labels["optimizer"])
            groups[group].append(record)
        for group_records in groups.values():
            described = [_flatten(parts(record["trial"])) for record in group_records]
            names = sorted({name for description in described for name in description})
            differing = [
                name for name in names if len({description.get(name) for description in described}) > 1
            ]
            if differing:
                for record, description in zip(group_records, described, strict=True):
                    told = ", ".join(f"{name}={description.get(name, 'none')}" for name in differing)
                    record["labels"][label] += f" [{told}]"


def _task_parts(trial: Mapping[str, Any]) -> dict[str, Any]:
    task = trial["task"]
    return {
        "task": task["name"],
        **task.get("options", {}),
        "data": (task.get("data") or "")[-8:],
        "budget": trial["budget"],
        "evaluations": trial.get("evaluations"),
        **trial.get("numerics", {}),
        "protocol": trial.get("protocol"),
    }


def _optimizer_parts(trial: Mapping[str, Any]) -> dict[str, Any]:
    optimizer = trial["optimizer"]
    return {
        "optimizer": optimizer["name"],
        **optimizer["hyperparameters"],
        "schedules": {key: _schedule_text(value) for key, value in trial.get("schedules", {}).items()},
    }


def _schedule_text(schedule: str | Mapping[str, Any]) -> str:
    """`cosine`, or `switch(at=0.3, final=0.1)`."""
    if isinstance(schedule, str):
        return schedule
    options = ", ".join(f"{name}={value}" for name, value in schedule.items() if name != "name")
    return f"{schedule['name']}({options})"


def _flatten(values: Mapping[str, Any], prefix: str = "") -> dict[str, str]:
    """Nested settings as `{"label_noise.rate": "0.4"}`."""
    flat: dict[str, str] = {}
    for name, value in values.items():
        if isinstance(value, Mapping):
            flat |= _flatten(value, f"{prefix}{name}.")
        else:
            flat[prefix + name] = value if isinstance(value, str) else json.dumps(value)
    return flat


__all__ = [
    "STATUSES",
    "finished",
    "load_curves",
    "load_measures",
    "load_memorization",
    "load_results",
    "status",
]
