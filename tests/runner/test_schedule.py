"""Schedules are functions of the fraction spent."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from rbobench.errors import UsageError
from rbobench.runner.schedule import SCHEDULES, Schedules


def optimizer(**group: object) -> torch.optim.SGD:
    made = torch.optim.SGD([{"params": [torch.zeros(2)], **group}, {"params": [torch.zeros(2)]}], lr=0.4)
    made.param_groups[1]["lr"] = 0.2
    return made


def test_ends_and_middle() -> None:
    values = {name: [schedule(x) for x in (0.0, 0.5, 1.0)] for name, schedule in SCHEDULES.items()}
    assert values["constant"] == [1, 1, 1]
    assert values["linear"] == [1, 0.5, 0]
    assert values["cosine"] == pytest.approx([1, 0.5, 0])


@settings(deadline=None)
@given(st.sampled_from(sorted(SCHEDULES)), st.lists(st.floats(0, 1), min_size=1, max_size=5))
def test_only_the_fraction_counts(name: str, fractions: list[float]) -> None:
    walked, direct = optimizer(), optimizer()
    schedules = Schedules(walked, {"lr": name})
    for fraction in fractions:
        schedules.apply(fraction)
    Schedules(direct, {"lr": name}).apply(fractions[-1])
    assert [group["lr"] for group in walked.param_groups] == [group["lr"] for group in direct.param_groups]


def test_each_group_keeps_its_own_initial_value_and_progress_is_told() -> None:
    made = optimizer(progress=0.0, momentum=0.8)
    Schedules(made, {"lr": "linear", "momentum": "cosine"}).apply(0.25)
    first, second = made.param_groups
    assert first["lr"] == pytest.approx(0.3)
    assert second["lr"] == pytest.approx(0.15)
    assert first["momentum"] == pytest.approx(0.8 * 0.5 * (1 + math.cos(math.pi / 4)))
    assert first["progress"] == 0.25
    assert "progress" not in second


def test_unknown_names_are_told() -> None:
    with pytest.raises(UsageError, match="unknown group key 'momentun'; did you mean 'momentum'"):
        Schedules(optimizer(), {"momentun": "cosine"})
    with pytest.raises(UsageError, match="unknown schedule 'cosin'; did you mean 'cosine'"):
        Schedules(optimizer(), {"lr": "cosin"})
