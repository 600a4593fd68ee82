"""Corruptions change what they say, and nothing else."""

from __future__ import annotations

import pytest

from rbobench.errors import UsageError
from rbobench.tasks.corruption import BACKDOORS, LABEL_NOISE


@pytest.mark.parametrize(
    ("kinds", "options", "message"),
    [
        (LABEL_NOISE, "symmetric", "label_noise must be a mapping with a kind, not 'symmetric'"),
        (LABEL_NOISE, {"rate": 0.4}, "label_noise needs a kind: asymmetric, human, instance-dependent"),
        (
            LABEL_NOISE,
            {"kind": "symetric", "rate": 0.4},
            "unknown kind 'symetric'; did you mean 'symmetric' or 'asymmetric'?",
        ),
        (LABEL_NOISE, {"kind": "symmetric"}, "option 'rate' is required"),
        (LABEL_NOISE, {"kind": "symmetric", "rate": 1.5}, "rate must be above 0 and at most 1, not 1.5"),
        (LABEL_NOISE, {"kind": "symmetric", "rate": 0}, "rate must be above 0 and at most 1, not 0.0"),
        (LABEL_NOISE, {"kind": "symmetric", "rat": 0.1}, "unknown option 'rat'; did you mean 'rate'?"),
        (BACKDOORS, {"kind": "badnets", "rate": 0.1, "size": 0}, "size must be at least 1, not 0"),
        (BACKDOORS, {"kind": "badnets", "rate": 0.1, "place": "middle"}, "place must be one of top-left"),
        (BACKDOORS, {"kind": "badnets", "rate": 0.1, "place": [-1, 0]}, "place must not be negative"),
        (BACKDOORS, {"kind": "badnets", "rate": 0.1, "value": 256}, "value must be from 0 to 255, not 256"),
        (BACKDOORS, {"kind": "badnets", "rate": 0.1, "target": -1}, "target must not be negative, not -1"),
    ],
)
def test_bad_options_are_named(kinds, options, message: str) -> None:
    with pytest.raises(UsageError) as error:
        kinds("label_noise" if kinds is LABEL_NOISE else "backdoor", options)
    assert message in str(error.value)


def test_defaults_are_filled_in() -> None:
    resolved = BACKDOORS("backdoor", {"kind": "badnets", "rate": 1})
    assert resolved == {
        "kind": "badnets",
        "all_to_all": False,
        "place": "bottom-right",
        "rate": 1.0,
        "size": 3,
        "target": 0,
        "value": 255,
    }
