"""Each faulty task fails exactly the checks that are there to catch it."""

from __future__ import annotations

import itertools
from dataclasses import replace

import pytest
import torch

from rbobench.registry import get_task
from rbobench.tasks.landscape_task import LandscapeProblem
from rbobench.tasks.task import DataLocation, Settings
from rbobench.testing import TASK_CHECKS, check_task


class Right:
    """Rastrigin, handed on."""

    def __init__(self) -> None:
        info = get_task("rastrigin")
        self.task = info.create(info.resolve({"start_noise": 0.5}))

    def data_digest(self, location: DataLocation) -> str | None:
        return "sha256:0"

    def problem(self, seed: int, settings: Settings) -> LandscapeProblem:
        return self.task.problem(seed, settings)


class HasNoData(Right):
    def data_digest(self, location):
        return None


class ChangesItsData(Right):
    looks = itertools.count()

    def data_digest(self, location):
        return f"sha256:{next(self.looks)}"


class IgnoresTheSeed(Right):
    def problem(self, seed, settings):
        return super().problem(0, settings)


class DrawsGlobally(Right):
    def problem(self, seed, settings):
        problem = super().problem(seed, settings)
        with torch.no_grad():
            problem.module.point.add_(torch.rand(2, dtype=torch.float64))
        return problem


class MovesWhileMeasuring(Right):
    def problem(self, seed, settings):
        problem = super().problem(seed, settings)
        problem.final = lambda: problem.module.point.data.add_(1e-3)
        return problem


class DriftsWithinAStep(Right):
    def problem(self, seed, settings):
        problem = super().problem(seed, settings)
        steady, calls = problem.objective._value_and_grad, itertools.count(1)

        def drifting(batch):
            value, gradients = steady(batch)
            return value * next(calls), gradients

        problem.objective._value_and_grad = drifting
        return problem


class StartsElsewhereToResample(Right):
    def problem(self, seed, settings):
        return super().problem(seed + settings.resamples, replace(settings, resamples=False))


class OrdersOtherwiseToResample(Right):
    def problem(self, seed, settings):
        problem = super().problem(seed, settings)
        problem.batch_order = lambda: torch.arange(4).roll(int(settings.resamples))
        return problem


FAULTS: dict[type[Right], set[str]] = {
    Right: set(),
    HasNoData: set(),
    ChangesItsData: {"data_digest_is_stable"},
    IgnoresTheSeed: {"seeds_differ"},
    DrawsGlobally: {
        "a_seed_decides_everything",
        "the_global_random_stream_changes_nothing",
        "resampling_changes_no_first_batch",
    },
    MovesWhileMeasuring: {"measuring_leaves_the_weights_alone"},
    DriftsWithinAStep: {"a_step_sees_one_function"},
    StartsElsewhereToResample: {"resampling_changes_no_first_batch"},
    OrdersOtherwiseToResample: {"resampling_changes_no_first_batch"},
}


@pytest.mark.parametrize("kind", FAULTS, ids=lambda kind: kind.__name__)
def test_faults_are_found(kind: type[Right]) -> None:
    before = torch.get_rng_state()
    results = check_task(kind())
    assert [result.name for result in results] == list(TASK_CHECKS)
    assert {result.name for result in results if result.status == "failed"} == FAULTS[kind]
    assert torch.equal(before, torch.get_rng_state())


def test_a_task_without_data_has_no_digest_to_check() -> None:
    skipped = [result for result in check_task(HasNoData()) if result.status == "skipped"]
    assert [(result.name, result.detail) for result in skipped] == [("data_digest_is_stable", "has no data")]
