"""Hyperparameters resolved from a factory's signature."""

from __future__ import annotations

import math
from typing import Annotated, Any, Literal

import pytest

from rbobench.errors import UsageError
from rbobench.hyperparameters import coerce, resolve


def factory(
    params: Any,
    lr: float,
    momentum: float = 0.0,
    betas: tuple[float, float] = (0.9, 0.999),
    steps: int = 5,
    kind: Literal["a", "b"] = "a",
    nesterov: bool = False,
    limit: float | None = None,
    seed: int = 0,
    eps=0,
    extra: dict[str, Any] | None = None,
) -> None: ...


def test_every_spelling_of_the_same_values_resolves_alike() -> None:
    one = resolve("optimizer 'x'", factory, {"lr": 1, "steps": 5.0, "betas": [0.9, 0.999], "eps": 1.0})
    two = resolve("optimizer 'x'", factory, {"eps": 1, "lr": 1.0, "momentum": 0, "nesterov": False})
    assert one == two
    assert [type(value) for value in one.values()] == [type(value) for value in two.values()]
    assert "seed" not in one
    assert "params" not in one
    assert list(one) == sorted(one)


def test_numbers_within_a_mapping_have_one_spelling_too() -> None:
    one, two = (
        resolve("optimizer 'x'", factory, {"lr": 1, "extra": extra})["extra"]
        for extra in ({"widths": [64.0, 0.5], "rate": 0.0}, {"rate": 0, "widths": (64, 0.5)})
    )
    assert repr(one) == repr(two) == "{'rate': 0, 'widths': (64, 0.5)}"


def test_defaults_of_the_registry_take_the_place_of_the_factorys() -> None:
    resolved = resolve("optimizer 'x'", factory, {}, defaults={"lr": 0.5, "momentum": 0.9})
    assert (resolved["lr"], resolved["momentum"]) == (0.5, 0.9)


BAD = [
    ({"lr": "0.1"}, "optimizer 'x': hyperparameter 'lr' must be a number, not '0.1'"),
    ({"lr": True}, "'lr' must be a number, not True"),
    ({"lr": math.inf}, "'lr' must be a finite number, not inf"),
    ({"lr": math.nan}, "'lr' must be a finite number, not nan"),
    ({"lr": 1, "steps": 2.5}, "'steps' must be a whole number, not 2.5"),
    ({"lr": 1, "nesterov": "no"}, "'nesterov' must be true or false, not 'no'"),
    ({"lr": 1, "nesterov": 1}, "'nesterov' must be true or false, not 1"),
    ({"lr": 1, "betas": 0.9}, "'betas' must be a list, not 0.9"),
    ({"lr": 1, "betas": [0.9]}, "'betas' must be a list of 2"),
    ({"lr": 1, "kind": "c"}, "'kind' must be one of 'a', 'b', not 'c'"),
    ({"lr": 1, "limit": "none"}, "'limit' must be a number, not 'none'"),
    ({"lr": 1, "momentun": 0.9}, "unknown hyperparameter 'momentun'; did you mean 'momentum'?"),
    ({"lr": 1, "seed": 3}, "unknown hyperparameter 'seed'"),
    ({}, "hyperparameter 'lr' is required"),
]


@pytest.mark.parametrize(("given", "message"), BAD)
def test_mistakes_are_named(given: dict[str, Any], message: str) -> None:
    with pytest.raises(UsageError) as error:
        resolve("optimizer 'x'", factory, given)
    assert message in str(error.value)
    assert "\n" not in str(error.value)


def test_an_annotation_may_bring_its_own_resolver() -> None:
    hint = Annotated[dict, lambda what, value: {"asked": what, **value}] | None
    assert coerce("this", {"a": 1}, hint) == {"asked": "this", "a": 1}
    assert coerce("this", None, hint) is None
