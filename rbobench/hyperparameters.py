"""Hyperparameters as a factory's signature declares them: names, types, defaults.

A trial's key is a hash over *resolved* hyperparameters, so that a default written out and a default left out,
`1` and `1.0`, are the same trial, and a changed default is another one.
"""

from __future__ import annotations

import inspect
import math
import types
import typing
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from rbobench.errors import UsageError, unknown

REQUIRED = inspect.Parameter.empty


@dataclass(frozen=True)
class Hyperparameter:
    """One hyperparameter: its type (`Any` where nothing tells it) and its default (`REQUIRED` if none)."""

    hint: Any
    default: Any


def signature(
    factory: Callable[..., Any], defaults: Mapping[str, Any] | None = None
) -> dict[str, Hyperparameter]:
    """The hyperparameters that a factory takes, in its order.

    `params`, `seed` and `**rest` are not among them. A factory may carry
    `hyperparameter_signature`, a dict of this kind, where its Python signature does not say it.
    """
    declared: dict[str, Hyperparameter] | None = getattr(factory, "hyperparameter_signature", None)
    if declared is None:
        target = factory.__init__ if inspect.isclass(factory) else factory
        hints = typing.get_type_hints(target, include_extras=True)
        declared = {
            name: Hyperparameter(hints.get(name, _hint_of(parameter.default)), parameter.default)
            for name, parameter in inspect.signature(factory).parameters.items()
            if name not in ("params", "seed")
            and parameter.kind not in (parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD)
        }
    merged = dict(declared)
    for name, default in (defaults or {}).items():
        hint = merged[name].hint if name in merged else _hint_of(default)
        merged[name] = Hyperparameter(hint, default)
    return merged


def resolve(
    owner: str,
    factory: Callable[..., Any],
    given: Mapping[str, Any],
    *,
    defaults: Mapping[str, Any] | None = None,
    inner: Mapping[str, Hyperparameter] | None = None,
    kind: str = "hyperparameter",
) -> dict[str, Any]:
    """Check `given` against the factory's signature, fill in the defaults and coerce the values.

    Args:
        owner: Whose they are, for messages: `"optimizer 'rbo'"`.
        factory: The factory whose signature counts.
        given: Name to value.
        defaults: Defaults that take the place of the factory's own.
        inner: Hyperparameters accepted beside the factory's (a wrapped optimizer's).
        kind: What to call one in messages.

    Returns:
        Every hyperparameter by name, sorted by name; lists as tuples.

    Raises:
        UsageError: If a name is unknown, a type is wrong or a required value is missing.
    """
    declared = {**(inner or {}), **signature(factory, defaults)}
    for name in given:
        if name not in declared:
            raise UsageError(f"{owner}: {unknown(kind, str(name), declared)}")
    resolved = {}
    for name in sorted(declared):
        if name in given:
            resolved[name] = coerce(f"{owner}: {kind} {name!r}", given[name], declared[name].hint)
        elif declared[name].default is REQUIRED:
            raise UsageError(f"{owner}: {kind} {name!r} is required")
        else:
            resolved[name] = coerce(
                f"{owner}: default of {kind} {name!r}", declared[name].default, declared[name].hint
            )
    return resolved


def coerce(what: str, value: Any, hint: Any) -> Any:
    """Bring a value from a suite file to the declared type without guessing.

    An int becomes a float where a float is wanted, an integral float an int, a list a tuple. A string never
    becomes a number and a bool is no number. `Annotated[type, resolver]` asks `resolver(what, value)`.

    Raises:
        UsageError: If the value does not fit; the message begins with `what`.
    """
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if origin is typing.Annotated:
        resolver = next(filter(callable, hint.__metadata__), None)
        return resolver(what, value) if resolver else coerce(what, value, arguments[0])
    if hint is Any or hint is inspect.Parameter.empty:
        return _frozen(value)
    if origin in (typing.Union, types.UnionType):
        if value is None and type(None) in arguments:
            return None
        if len(arguments) == 2 and type(None) in arguments:
            (only,) = (option for option in arguments if option is not type(None))
            return coerce(what, value, only)
        for option in arguments:
            try:
                return coerce(what, value, option)
            except UsageError:
                continue
        raise _misfit(what, value, " or ".join(filter(None, map(_spell, arguments))))
    if origin is typing.Literal:
        if value in arguments and not isinstance(value, bool):
            return value
        raise _misfit(what, value, "one of " + ", ".join(repr(option) for option in arguments))
    if hint is None or hint is type(None):
        if value is None:
            return None
        raise _misfit(what, value, "null")
    if hint is bool:
        if isinstance(value, bool):
            return value
        raise _misfit(what, value, "true or false")
    if hint is int:
        whole = isinstance(value, int) or (isinstance(value, float) and value.is_integer())
        if whole and not isinstance(value, bool):
            return int(value)
        raise _misfit(what, value, "a whole number")
    if hint is float:
        if isinstance(value, int | float) and not isinstance(value, bool):
            if not math.isfinite(value):
                raise _misfit(what, value, "a finite number")
            return float(value)
        raise _misfit(what, value, "a number")
    if hint is str:
        if isinstance(value, str):
            return value
        raise _misfit(what, value, "text")
    if origin is tuple or hint is tuple:
        return _tuple(what, value, arguments)
    if (origin or hint) in (dict, Mapping):
        if isinstance(value, Mapping):
            return {str(name): _frozen(entry) for name, entry in sorted(value.items())}
        raise _misfit(what, value, "a mapping")
    if isinstance(hint, type) and not isinstance(value, hint):
        raise _misfit(what, value, f"a {hint.__name__}")
    return _frozen(value)


def _tuple(what: str, value: Any, arguments: tuple[Any, ...]) -> tuple[Any, ...]:
    if not isinstance(value, list | tuple):
        raise _misfit(what, value, "a list")
    if not arguments:
        return tuple(_frozen(entry) for entry in value)
    if len(arguments) == 2 and arguments[1] is Ellipsis:
        return tuple(coerce(what, entry, arguments[0]) for entry in value)
    if len(value) != len(arguments):
        raise _misfit(what, value, f"a list of {len(arguments)}")
    return tuple(coerce(what, *pair) for pair in zip(value, arguments, strict=True))


def _frozen(value: Any) -> Any:
    if isinstance(value, list | tuple):
        return tuple(_frozen(entry) for entry in value)
    if isinstance(value, Mapping):
        return {str(name): _frozen(entry) for name, entry in sorted(value.items())}
    # Nothing tells an int from a float here: one spelling for both.
    return int(value) if isinstance(value, float) and value.is_integer() else value


def _hint_of(default: Any) -> Any:
    if default is REQUIRED or default is None:
        return Any
    if isinstance(default, bool | int | float | str):
        # An undeclared int default may stand for a float (`eps=0`), so ints there stay open.
        return Any if type(default) is int else type(default)
    return Any


def _spell(hint: Any) -> str:
    """The type as a suite file's author knows it; empty for what no suite file can hold."""
    names = {
        int: "a whole number",
        float: "a number",
        str: "text",
        bool: "true or false",
        type(None): "null",
        dict: "a mapping",
        tuple: "a list",
    }
    return names.get(typing.get_origin(hint) or hint, "")


def _misfit(what: str, value: Any, wanted: str) -> UsageError:
    return UsageError(f"{what} must be {wanted}, not {value!r}")
