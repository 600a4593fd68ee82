from __future__ import annotations

import pytest

from rbobench.timing import interleaved, median_ratio


def test_programs_run_in_turns_each_as_often_first() -> None:
    calls: list[str] = []
    programs = {name: (lambda name=name: calls.append(name)) for name in ("a", "b", "c")}
    seconds = interleaved(programs, rounds=3, warm_up=1)
    assert calls == ["a", "b", "c", "c", "b", "a", "a", "b", "c", "c", "b", "a"]
    assert {name: len(each) for name, each in seconds.items()} == {"a": 3, "b": 3, "c": 3}
    assert all(each >= 0.0 for times in seconds.values() for each in times)


def test_no_round_is_refused() -> None:
    with pytest.raises(ValueError, match="rounds must be at least 1, not 0"):
        interleaved({"a": lambda: None}, rounds=0)


def test_a_ratio_is_the_median_of_the_rounds_own() -> None:
    # One slow round of both moves it not at all; the ratio of medians would be 2.5.
    assert median_ratio([2.0, 50.0, 3.0], [1.0, 10.0, 3.0]) == 2.0
    with pytest.raises(ValueError, match="zip"):
        median_ratio([1.0], [1.0, 2.0])
