"""Suite files: read, checked, and every mistake told with file, line and column."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from rbobench.errors import UsageError, unknown
from rbobench.runner.planning import expand
from rbobench.runner.schema import Budget, Numerics, OptimizerEntry, Suite, TaskEntry, suite_schema
from rbobench.runner.suite_files import suite_path
from rbobench.runner.yaml_reader import Document, Place, read_yaml

_WANTED = {
    "bool_type": "true or false",
    "dict_type": "a mapping",
    "finite_number": "finite",
    "float_type": "a number",
    "greater_than": "greater than {gt}",
    "greater_than_equal": "at least {ge}",
    "less_than_equal": "at most {le}",
    "int_type": "a whole number",
    "literal_error": "one of {expected}",
    "model_type": "a mapping",
    "string_type": "text",
}
_SECTIONS: dict[str, type[BaseModel]] = {"budget": Budget, "numerics": Numerics}


def load_suite(name_or_file: str | Path) -> Suite:
    """Read a suite by file or, for a shipped one, by bare name, and check all that needs no data.

    Raises:
        UsageError: At the first mistake, as `file:line:column: place: what is wrong`.
    """
    document = read_yaml(suite_path(name_or_file))
    try:
        suite = Suite.model_validate(document.data)
    except ValidationError as error:
        raise _first_error(document, error) from None
    expand(suite, suite.seeds, document.error)
    return suite


def _first_error(document: Document, error: ValidationError) -> UsageError:
    found = []
    for details in error.errors(include_url=False):
        place, at_key = _place(document, details)
        # A key is often missing because it is misspelled: what is there comes before what is not.
        order = (details["type"] == "missing", document.position(place, at_key=at_key))
        found.append((order, place, at_key, _message(details)))
    _, place, at_key, message = min(found, key=lambda entry: entry[0])
    rest = len({entry[1] for entry in found}) - 1
    more = f" (and {rest} more mistake{'s' if rest > 1 else ''})" if rest else ""
    return document.error(place, message + more, at_key=at_key)


def _place(document: Document, details: ErrorDetails) -> tuple[Place, bool]:
    """Where an error is in the file: pydantic's `loc` also holds the names of types it has tried."""
    kind, loc = details["type"], details["loc"]
    place: Place = ()
    data: Any = document.data
    for step in loc:
        inside = step in data if isinstance(data, dict) else isinstance(data, list) and isinstance(step, int)
        if inside:
            place, data = (*place, step), data[step]
    if kind == "missing":
        return (*place, loc[-1]), False
    return place, kind == "extra_forbidden" or loc[-1:] == ("[key]",)


def _message(details: ErrorDetails) -> str:
    kind, loc, value = details["type"], details["loc"], details["input"]
    if kind == "extra_forbidden":
        section = next((_SECTIONS[str(step)] for step in reversed(loc[:-1]) if step in _SECTIONS), Suite)
        return str(unknown("key", str(loc[-1]), section.model_fields))
    if kind == "missing":
        return "this key is required"
    if kind == "string_too_long":
        return f"is longer than {details['ctx']['max_length']} letters"
    if kind == "too_short":
        return "there must be at least one"
    if kind == "string_pattern_mismatch":
        hint = f"; did you mean {value.lower()!r}?" if str(value) != str(value).lower() else ""
        return f"{value!r} is no name: lower-case letters, digits and signs such as - . _{hint}"
    if kind in _WANTED:
        wanted = _WANTED[kind].format(**details.get("ctx", {}))
        return f"must be {wanted}, not {_shown(value)}"
    return details["msg"].removeprefix("Value error, ")


def _shown(value: Any) -> str:
    if isinstance(value, dict | list):
        return "a mapping" if isinstance(value, dict) else "a list"
    if value is None:
        return "nothing"
    return str(value).lower() if isinstance(value, bool) else repr(value)


__all__ = [
    "Budget",
    "Numerics",
    "OptimizerEntry",
    "Suite",
    "TaskEntry",
    "load_suite",
    "suite_schema",
]
