"""YAML as of version 1.2, with the place of every key and value.

PyYAML follows YAML 1.1, where `1e-3` is text, `no` is false and a duplicate key wins in silence. Here `1e-3`
is a number, only `true` and `false` are booleans, and a duplicate key is refused.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml
from yaml.nodes import MappingNode, Node, ScalarNode, SequenceNode

from rbobench.errors import UsageError

Place = tuple[str | int, ...]
"""Where something stands in a file: the keys and indices that lead to it."""


@dataclass(frozen=True)
class Document:
    """A file's content as plain data.

    Args:
        source: The file.
        data: The mapping in it.
        keys: Line and column of each key, from 1.
        values: Line and column of each value, from 1.
    """

    source: Path
    data: dict[str, Any]
    keys: dict[Place, tuple[int, int]] = field(default_factory=dict)
    values: dict[Place, tuple[int, int]] = field(default_factory=dict)

    def error(self, place: Place, message: str, *, at_key: bool = False) -> UsageError:
        """An error that begins with `file:line:column: the.place`.

        Args:
            place: What is wrong; the file need not hold it (a missing key), then the nearest thing around it
                gives line and column.
            message: What is wrong with it.
            at_key: Point at the key rather than at its value.
        """
        line, column = self.position(place, at_key=at_key)
        where = ".".join(map(str, place))
        return _error(self.source, line, column, f"{where}: {message}" if where else message)

    def position(self, place: Place, *, at_key: bool = False) -> tuple[int, int]:
        """Line and column of `place`, or of the nearest thing around it."""
        positions = self.keys if at_key else self.values
        for end in range(len(place), -1, -1):
            if place[:end] in positions:
                return positions[place[:end]]
        return self.values.get((), (1, 1))


def read_yaml(path: Path) -> Document:
    """Read a file that holds one YAML mapping.

    Raises:
        UsageError: If it cannot be read, is no UTF-8 text, is empty, is no mapping, or breaks YAML's rules; a
            duplicate key does.
    """
    return parse_yaml(_read_text(path), path)


def parse_yaml(text: str, path: Path) -> Document:
    """Read text that holds one YAML mapping.

    Args:
        text: The text.
        path: Where it is from, for errors.

    Raises:
        UsageError: As `read_yaml`.
    """
    try:
        node = yaml.compose(text, Loader=_Loader)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        line, column = (mark.line + 1, mark.column + 1) if mark else (1, 1)
        raise _error(path, line, column, _spelled(error.problem)) from None
    except yaml.reader.ReaderError as error:
        line, column = _position(text, error.position)
        raise _error(path, line, column, "not text: there is a control character") from None
    except RecursionError:
        raise _error(path, 1, 1, "nested too deeply") from None
    if node is None:
        raise _error(path, 1, 1, "the file is empty")
    line, column = node.start_mark.line + 1, node.start_mark.column + 1
    if not isinstance(node, MappingNode):
        raise _error(path, line, column, "a mapping of keys to values is expected")
    document = Document(path, {})
    document.values[()] = (line, column)
    _Builder(document).mapping(node, (), document.data)
    return document


def _spelled(problem: str | None) -> str:
    """PyYAML's words, where they stand alone."""
    if problem == "but found another document":
        return "one document is expected, and here a second one begins"
    return problem or "is not YAML"


def _read_text(path: Path) -> str:
    try:
        content = path.read_bytes()
    except OSError as error:
        raise UsageError(f"cannot read {path}: {error.strerror or error}") from None
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line, column = _position(content[: error.start].decode(errors="replace"), error.start)
        raise _error(path, line, column, "not text: a byte that is not UTF-8") from None


def _position(text: str, offset: int) -> tuple[int, int]:
    before = text[:offset]
    return before.count("\n") + 1, len(before) - (before.rfind("\n") + 1) + 1


def _error(path: Path, line: int, column: int, message: str) -> UsageError:
    return UsageError(f"{path}:{line}:{column}: {' '.join(message.split())}")


class _Loader(yaml.SafeLoader):
    """Parses only: scalars get their types from YAML 1.2's core schema, below."""

    def resolve(self, kind: type[Node], value: Any, implicit: Any) -> str:
        """Mark what has neither quotation marks nor a tag."""
        if kind is ScalarNode:
            return _PLAIN if implicit[0] else _TAG + "str"
        return _TAG + ("map" if kind is MappingNode else "seq")


_TAG = "tag:yaml.org,2002:"
_PLAIN = "plain"


def _integer(text: str) -> int:
    base = {"0x": 16, "0o": 8}.get(text[:2], 10)
    return int(text[2:] if base != 10 else text, base)


def _special(text: str) -> float:
    value = math.nan if text.lower() == ".nan" else math.inf
    return -value if text.startswith("-") else value


# Section 10.3.2 of the YAML 1.2.2 specification.
_CORE_SCHEMA: tuple[tuple[str, str, Callable[[str], Any]], ...] = (
    ("null", r"null|Null|NULL|~|", lambda text: None),
    ("bool", r"true|True|TRUE|false|False|FALSE", lambda text: text.lower() == "true"),
    ("int", r"[-+]?[0-9]+|0o[0-7]+|0x[0-9a-fA-F]+", _integer),
    ("float", r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?", float),
    ("float", r"[-+]?\.(inf|Inf|INF)|\.nan|\.NaN|\.NAN", _special),
)


class _Builder:
    """Turns the tree of nodes into plain data and notes where everything stands."""

    def __init__(self, document: Document) -> None:
        self._document = document
        self._open: set[int] = set()  # containers being built, to notice an alias to one of them

    def value(self, node: Node, place: Place) -> Any:
        self._document.values[place] = self._at(node)
        if isinstance(node, ScalarNode):
            return self._scalar(node)
        if node.tag not in (_TAG + "map", _TAG + "seq"):
            raise self._error(node, f"the tag {node.tag!r} is not allowed here")
        if id(node) in self._open:
            raise self._error(node, "an alias to what contains it")
        self._open.add(id(node))
        try:
            if isinstance(node, MappingNode):
                return self.mapping(node, place, {})
            assert isinstance(node, SequenceNode)
            return [self.value(item, (*place, index)) for index, item in enumerate(node.value)]
        finally:
            self._open.discard(id(node))

    def mapping(self, node: MappingNode, place: Place, into: dict[str, Any]) -> dict[str, Any]:
        for key_node, value_node in node.value:
            key = self._scalar(key_node) if isinstance(key_node, ScalarNode) else None
            if not isinstance(key, str):
                raise self._error(key_node, "a key must be text; put it in quotation marks")
            here = (*place, key)
            if key in into:
                first, _ = self._document.keys[here]
                raise self._error(key_node, f"duplicate key {key!r}, which is on line {first} already")
            self._document.keys[here] = self._at(key_node)
            into[key] = self.value(value_node, here)
        return into

    def _scalar(self, node: ScalarNode) -> Any:
        text: str = node.value
        for name, pattern, construct in _CORE_SCHEMA:
            if node.tag in (_PLAIN, _TAG + name) and re.fullmatch(pattern, text):
                try:
                    return construct(text)
                except ValueError:  # Python refuses integers of thousands of digits
                    raise self._error(node, "not a number that can be read") from None
        if node.tag in (_PLAIN, _TAG + "str"):
            return text
        raise self._error(node, f"the tag {node.tag!r} is not allowed here")

    def _at(self, node: Node) -> tuple[int, int]:
        return node.start_mark.line + 1, node.start_mark.column + 1

    def _error(self, node: Node, message: str) -> UsageError:
        return _error(self._document.source, *self._at(node), message)
