"""Records: one JSON file for each trial, named by its key, written whole or not at all."""

from __future__ import annotations

import json
import math
import os
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

from rbobench.errors import UsageError

RECORD_VERSION = 1
FINAL = ("ok", "diverged")
"""Statuses of trials that are never run again."""

_KEY = re.compile(r"[0-9a-f]{64}")


def record_path(folder: Path, key: str) -> Path:
    """Where the record of the trial `key` is."""
    return folder / f"{key}.json"


def weights_path(folder: Path, key: str) -> Path:
    """Where the weights of the trial `key` are, if they are kept."""
    return folder / f"{key}.safetensors"


def record_files(folder: Path) -> list[Path]:
    """The records in a folder, sorted by key; other files are passed over."""
    return sorted(path for path in folder.glob("*.json") if _KEY.fullmatch(path.stem))


def write_record(folder: Path, record: dict[str, Any]) -> Path:
    """Write a record into a folder that exists, over an older one of the same key.

    What is not finite becomes `null`.

    Returns:
        The file.
    """
    return write_json(record_path(folder, record["key"]), record)


def write_json(path: Path, content: dict[str, Any]) -> Path:
    """Write JSON that any parser reads, atomically."""
    text = json.dumps(_finite(content), indent=1, allow_nan=False, ensure_ascii=False) + "\n"
    return write_atomically(path, lambda file: file.write_text(text, encoding="utf-8"))


def write_atomically(path: Path, write: Callable[[Path], object]) -> Path:
    """Let `write` fill a file beside `path`, and put it in its place once it is whole.

    Returns:
        `path`.
    """
    part = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        write(part)
        part.replace(path)
    finally:
        part.unlink(missing_ok=True)
    return path


def read_record(path: Path) -> dict[str, Any]:
    """Read a record.

    Raises:
        UsageError: If the file is damaged, or its version is not the one that is read here.
    """
    try:
        record: Any = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise UsageError(f"{path} is no readable record: {error}") from None
    if not isinstance(record, dict) or record.get("key") != path.stem:
        raise UsageError(f"{path} is no record of the trial that it is named after")
    if record.get("record_version") != RECORD_VERSION:
        raise UsageError(
            f"{path} has record version {record.get('record_version')!r}; this is for {RECORD_VERSION}"
        )
    return record


def _finite(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: _finite(entry) for name, entry in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(entry) for entry in value]
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value
