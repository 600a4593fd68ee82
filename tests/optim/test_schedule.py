"""Schedules are functions of the fraction spent."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import rbobench
from rbobench.errors import UsageError
from rbobench.geometry.landscape import LandscapeClosure
from rbobench.optim.rolling_ball import RBO
from rbobench.optim.schedule import SCHEDULES, Schedules, canonical
from rbobench.tasks.landscapes import Sine


def optimizer(**group: object) -> torch.optim.SGD:
    made = torch.optim.SGD([{"params": [torch.zeros(2)], **group}, {"params": [torch.zeros(2)]}], lr=0.4)
    made.param_groups[1]["lr"] = 0.2
    return made


@pytest.mark.parametrize(
    ("spelling", "wanted"),
    [
        ("constant", [1, 1, 1, 1]),
        ("linear", [1, 0.75, 0.5, 0]),
        ({"name": "linear", "final": 0.2}, [1, 0.8, 0.6, 0.2]),
        ({"name": "linear", "final": 3}, [1, 1.5, 2, 3]),
        ("cosine", [1, 0.5 + math.sqrt(0.125), 0.5, 0]),
        ({"name": "cosine", "final": 0.2}, [1, 0.6 + 0.4 * math.sqrt(0.5), 0.6, 0.2]),
        ("exponential", [1, math.sqrt(0.1), 0.1, 0.01]),
        ({"name": "exponential", "final": 1 / 16}, [1, 0.5, 0.25, 1 / 16]),
        ({"name": "exponential", "final": 1}, [1, 1, 1, 1]),
        ("switch", [1, 1, 0.1, 0.1]),
        ({"name": "switch", "at": 0.25, "final": 0}, [1, 0, 0, 0]),
        ({"name": "switch", "at": 0, "final": 2}, [2, 2, 2, 2]),
        ({"name": "switch", "at": 1}, [1, 1, 1, 0.1]),
    ],
)
def test_ends_and_middle(spelling, wanted: list[float]) -> None:
    made = optimizer()
    made.param_groups[0]["lr"] = 1.0
    schedules = Schedules(made, {"lr": spelling})
    factors = []
    for fraction in (0.0, 0.25, 0.5, 1.0):
        schedules.apply(fraction)
        factors.append(made.param_groups[0]["lr"])
    assert factors == pytest.approx(wanted)
    assert factors[0] == wanted[0], "the first step is at the initial value itself"


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


def test_a_loaded_checkpoint_is_scheduled_on() -> None:
    walked, resumed = optimizer(), optimizer()
    Schedules(walked, {"lr": "linear"}).apply(0.5)
    schedules = Schedules(resumed, {"lr": "linear"})
    resumed.load_state_dict(walked.state_dict())
    schedules.apply(0.75)
    assert [group["lr"] for group in resumed.param_groups] == pytest.approx([0.1, 0.05])


def test_a_radius_for_each_problem_is_scheduled_as_each_alone() -> None:
    def rolled(radius: torch.Tensor | float, starts: list[float]) -> torch.Tensor:
        batch = isinstance(radius, torch.Tensor)
        points = torch.tensor(starts, dtype=torch.float64)
        point = torch.nn.Parameter(points[:, None] if batch else points)
        ball = RBO([point], 0.1, radius, projection_steps=3, projection_lr=0.01, batch_dims=int(batch))
        schedules = rbobench.Schedules(ball, {"radius": {"name": "switch", "at": 0.4}})
        for step in range(5):
            schedules.apply(step / 5)
            ball.step(LandscapeClosure(Sine(), point))
        return point.detach().flatten()

    together = rolled(torch.tensor((2.0, 0.5), dtype=torch.float64), [1.0, -0.3])
    assert torch.equal(together, torch.cat((rolled(2.0, [1.0]), rolled(0.5, [-0.3]))))


def test_groups_that_share_a_tensor_go_on_sharing_one() -> None:
    radius = torch.tensor((2.0, 1.0))
    groups = [{"params": [torch.nn.Parameter(torch.ones(2, size))]} for size in (1, 3)]
    ball = RBO(groups, 0.1, radius, projection_steps=2, batch_dims=1)
    parameters = [group["params"][0] for group in groups]

    def closure() -> torch.Tensor:
        ball.zero_grad()
        losses = torch.stack([parameter.square().sum(1) for parameter in parameters]).sum(0)
        losses.sum().backward()
        return losses.detach()

    Schedules(ball, {"radius": "switch"}).apply(0.5)
    ball.step(closure)  # refuses groups that disagree on the ball
    assert torch.equal(ball.param_groups[1]["radius"], radius * 0.1)
    assert torch.equal(radius, torch.tensor((2.0, 1.0)))


@pytest.mark.parametrize(
    ("spellings", "wanted"),
    [
        (
            ["cosine", {"name": "cosine"}, {"name": "cosine", "final": 0}, {"final": -0.0, "name": "cosine"}],
            "cosine",
        ),
        (["constant", {"name": "constant"}], "constant"),
        (
            ["switch", {"name": "switch", "final": 1e-1}, {"final": 0.1, "at": 0.5, "name": "switch"}],
            "switch",
        ),
        (
            [{"name": "switch", "at": 0.3}, {"at": 0.3, "name": "switch", "final": 0.1}],
            {"name": "switch", "at": 0.3, "final": 0.1},
        ),
        (
            [{"name": "exponential", "final": 1}, {"name": "exponential", "final": 1.0}],
            {"name": "exponential", "final": 1.0},
        ),
    ],
)
def test_a_schedule_has_one_canonical_spelling(spellings, wanted) -> None:
    for spelling in spellings:
        assert canonical(spelling) == wanted
    assert canonical(wanted) == wanted


@pytest.mark.parametrize(
    ("spelling", "message"),
    [
        ("cosin", "unknown schedule 'cosin'; did you mean 'cosine'"),
        ({"name": "swich"}, "unknown schedule 'swich'; did you mean 'switch'"),
        ({"name": ["switch"]}, "unknown schedule"),
        ({"at": 0.3}, "a schedule needs its name, one of constant, linear, cosine, exponential, switch"),
        (0.5, "a schedule is a name, or a mapping of its name and options, not 0.5"),
        (None, "a schedule is a name, or a mapping of its name and options, not None"),
        ({"name": "switch", "att": 1}, "schedule 'switch': unknown option 'att'; did you mean 'at'?"),
        ({"name": "constant", "final": 1}, "schedule 'constant': unknown option 'final'"),
        ({"name": "switch", "at": 1.5}, "option 'at' must be at least 0 and at most 1, not 1.5"),
        ({"name": "switch", "at": -0.1}, "option 'at' must be at least 0 and at most 1, not -0.1"),
        ({"name": "switch", "final": -1}, "option 'final' must be at least 0, not -1"),
        ({"name": "switch", "final": math.inf}, "option 'final' must be a finite number, not inf"),
        ({"name": "linear", "final": -0.1}, "option 'final' must be at least 0, not -0.1"),
        ({"name": "cosine", "final": math.nan}, "option 'final' must be a finite number, not nan"),
        ({"name": "cosine", "final": "half"}, "option 'final' must be a number, not 'half'"),
        ({"name": "exponential", "final": 0}, "option 'final' must be above 0 and at most 1, not 0"),
        ({"name": "exponential", "final": 2}, "option 'final' must be above 0 and at most 1, not 2"),
    ],
)
def test_mistakes_are_told_in_one_line(spelling, message: str) -> None:
    for refuse in (canonical, lambda spelling: Schedules(optimizer(), {"lr": spelling})):
        with pytest.raises(UsageError) as caught:
            refuse(spelling)
        assert message in str(caught.value)
        assert "\n" not in str(caught.value)


def test_an_unknown_key_and_a_fraction_out_of_range_are_told() -> None:
    with pytest.raises(UsageError, match="unknown group key 'momentun'; did you mean 'momentum'"):
        Schedules(optimizer(), {"momentun": "cosine"})
    schedules = Schedules(optimizer(), {"lr": "cosine"})
    for fraction in (-0.1, 2, math.nan):
        with pytest.raises(UsageError, match=r"must be in \[0, 1\], not"):
            schedules.apply(fraction)
