"""Records are whole or absent."""

from __future__ import annotations

import json
import math
from pathlib import Path

import pytest

from rbobench.errors import UsageError
from rbobench.runner.record import read_record, record_files, record_path, write_atomically, write_record

KEY = "ab" * 32


def record(**content: object) -> dict:
    return {"key": KEY, "record_version": 1, **content}


def test_a_record_reads_back(tmp_path: Path) -> None:
    path = write_record(tmp_path, record(metrics={"a": 1.5, "b": math.nan, "c": [math.inf, True]}))
    assert path == record_path(tmp_path, KEY)
    assert read_record(path) == record(metrics={"a": 1.5, "b": None, "c": [None, True]})
    assert list(tmp_path.iterdir()) == [path], "nothing is left beside it"


def test_an_interrupted_write_leaves_the_old_file(tmp_path: Path) -> None:
    path = write_record(tmp_path, record(metrics={}))
    before = path.read_text()

    def interrupted(part: Path) -> None:
        part.write_text('{"half')
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write_atomically(path, interrupted)
    assert path.read_text() == before
    assert list(tmp_path.iterdir()) == [path]


def test_what_json_cannot_hold_is_not_half_written(tmp_path: Path) -> None:
    with pytest.raises(TypeError):
        write_record(tmp_path, record(metrics={"a": object()}))
    assert not list(tmp_path.iterdir())


def test_other_files_are_no_records(tmp_path: Path) -> None:
    path = write_record(tmp_path, record())
    for name in ("notes.json", f"{KEY}.txt", f"{KEY[:-1]}.json", f".{KEY}.json.1.part"):
        (tmp_path / name).write_text("{}")
    assert record_files(tmp_path) == [path]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('{"key": "ab', "is no readable record"),
        ("[]", "is no record of the trial"),
        (json.dumps({"key": "cd" * 32, "record_version": 1}), "is no record of the trial"),
        (json.dumps({"key": KEY, "record_version": 2}), "has record version 2; this is for 1"),
    ],
)
def test_a_damaged_record_is_named(tmp_path: Path, text: str, message: str) -> None:
    path = record_path(tmp_path, KEY)
    path.write_text(text)
    with pytest.raises(UsageError, match=f"{KEY}.json {message}"):
        read_record(path)
