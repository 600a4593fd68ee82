"""YAML 1.2 in, plain data with places out."""

from __future__ import annotations

import math
from pathlib import Path

import pytest

from rbobench.errors import UsageError
from rbobench.runner.yaml_reader import read_yaml


def read(tmp_path: Path, content: str | bytes):
    path = tmp_path / "file.yaml"
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return read_yaml(path)


@pytest.mark.parametrize(
    ("written", "value"),
    [
        ("1e-3", 1e-3),
        ("1E3", 1000.0),
        (".5", 0.5),
        ("-2.", -2.0),
        ("+1.5e+2", 150.0),
        (".inf", math.inf),
        ("-.Inf", -math.inf),
        ("12", 12),
        ("-7", -7),
        ("0x1F", 31),
        ("0o17", 15),
        ("017", 17),
        ("true", True),
        ("False", False),
        ("null", None),
        ("~", None),
        ("", None),
        ("no", "no"),
        ("yes", "yes"),
        ("on", "on"),
        ("off", "off"),
        ("1_000", "1_000"),
        ("12:30:45", "12:30:45"),
        ("2001-12-14", "2001-12-14"),
        ("'1e-3'", "1e-3"),
        ('"true"', "true"),
        ("!!str 5", "5"),
        ("!!float 5", 5.0),
        ("|-\n  1", "1"),
        ("[1, 2.0, a]", [1, 2.0, "a"]),
        ("{a: {b: 1}}", {"a": {"b": 1}}),
    ],
)
def test_scalars_are_those_of_yaml_1_2(tmp_path: Path, written: str, value: object) -> None:
    read_value = read(tmp_path, f"key: {written}\n").data["key"]
    assert read_value == value
    assert type(read_value) is type(value)


def test_nan_is_a_number(tmp_path: Path) -> None:
    assert math.isnan(read(tmp_path, "key: .nan").data["key"])


def test_aliases_are_followed(tmp_path: Path) -> None:
    assert read(tmp_path, "a: &x {b: 1}\nc: *x").data == {"a": {"b": 1}, "c": {"b": 1}}


def test_a_byte_order_mark_is_no_content(tmp_path: Path) -> None:
    assert read(tmp_path, b"\xef\xbb\xbfa: 1").data == {"a": 1}


@pytest.mark.parametrize(
    ("content", "place", "message"),
    [
        ("a: 1\nb:\n  c: 1\n  c: 2\n", "4:3", "duplicate key 'c', which is on line 3 already"),
        ("a: 1\n'a': 2\n", "2:1", "duplicate key 'a'"),
        ("", "1:1", "the file is empty"),
        ("# nothing but this\n", "1:1", "the file is empty"),
        ("- a\n- b\n", "1:1", "a mapping of keys to values is expected"),
        ("just text", "1:1", "a mapping of keys to values is expected"),
        ("a: 1\n1: 2\n", "2:1", "a key must be text"),
        ("a: {true: 2}\n", "1:5", "a key must be text"),
        ("? [a]\n: 1\n", "1:3", "a key must be text"),
        ("a: [1, 2\nb: 3\n", "2:2", "expected ',' or ']'"),
        ("a: 1\n\tb: 2\n", "2:1", "cannot start any token"),
        ("a: 1\n---\nb: 2\n", "2:1", "one document is expected, and here a second one begins"),
        ("a: !!python/object:os.system x\n", "1:4", "the tag 'tag:yaml.org,2002:python/object:os.system'"),
        ("a: !!int word\n", "1:4", "the tag"),
        ("a: !!set {b}\n", "1:4", "the tag"),
        ("a: &x [*x]\n", "1:4", "an alias to what contains it"),
        ("a: *x\n", "1:4", "undefined alias"),
        (f"a: {'9' * 5000}\n", "1:4", "not a number that can be read"),
        ("a: " + "[" * 5000, "1:1", "nested too deeply"),
        (b"a: 1\nb: \xff\xfe\n", "2:4", "not text: a byte that is not UTF-8"),
        (b"a: 1\nb: \x00\n", "2:4", "not text: there is a control character"),
        (b"\x89PNG\r\n\x1a\n", "1:1", "not text"),
    ],
)
def test_what_cannot_be_read_is_told_with_its_place(
    tmp_path: Path, content: str | bytes, place: str, message: str
) -> None:
    with pytest.raises(UsageError) as caught:
        read(tmp_path, content)
    assert str(caught.value).startswith(f"{tmp_path / 'file.yaml'}:{place}: ")
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_folder_and_a_missing_file_are_told(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="cannot read"):
        read_yaml(tmp_path)
    with pytest.raises(UsageError, match="cannot read"):
        read_yaml(tmp_path / "none.yaml")


def test_places_of_keys_and_values(tmp_path: Path) -> None:
    document = read(tmp_path, "a:\n  - x\n  - {b: 1}\n")
    assert document.position(("a",), at_key=True) == (1, 1)
    assert document.position(("a",)) == (2, 3)
    assert document.position(("a", 1, "b")) == (3, 9)
    assert document.position(("a", 1, "b"), at_key=True) == (3, 6)
    assert document.position(("a", 1, "missing")) == (3, 5), "the nearest thing around it"
    assert str(document.error(("a", 1, "b"), "is odd")).endswith("file.yaml:3:9: a.1.b: is odd")
