"""Budgets are never overspent."""

from __future__ import annotations

import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rbobench.errors import UsageError
from rbobench.runner.budget import Budget, fitting_steps, spent, step_cost


@settings(deadline=None)
@given(limit=st.integers(1, 5000), cost=st.integers(1, 60), part=st.integers(1, 60))
def test_whole_costs_are_never_overspent_and_nothing_that_fits_is_left(
    limit: int, cost: int, part: int
) -> None:
    budget, steps = Budget("gradient_evaluations", limit, share=1 / part), 0
    while budget.fits(cost):
        assert 0.0 <= budget.fraction() < 1.0
        budget.spent += cost
        steps += 1
    assert steps == limit // part // cost if limit % part == 0 else steps * cost <= limit / part
    assert budget.spent <= limit / part + 1e-9
    assert budget.spent + cost > limit / part
    assert budget.unspent == limit - budget.spent
    assert steps == fitting_steps(limit, 1 / part, cost)


@settings(deadline=None)
@given(limit=st.floats(0.1, 100), batch=st.integers(1, 64), samples=st.integers(64, 1000))
def test_epochs_are_never_overspent(limit: float, batch: int, samples: int) -> None:
    budget, drawn = Budget("epochs", limit), 0
    while budget.fits(batch / samples) and drawn < 50 * batch:
        drawn += batch
        budget.spent = drawn / samples
    assert budget.spent <= limit * (1 + 1e-9)
    assert math.isclose(budget.unspent, max(0.0, limit - budget.spent))


def test_seconds_end_with_the_step_in_which_they_run_out() -> None:
    budget = Budget("seconds", 2.0, share=0.5)
    assert budget.fits(0.0)
    budget.spent = 0.99
    assert budget.fits(0.0)
    budget.spent = 1.2
    assert not budget.fits(0.0)
    assert budget.fraction() == 1.0
    assert budget.unspent == pytest.approx(0.8)


def test_the_cost_of_a_step_in_each_unit(blobs) -> None:
    problem = blobs(batch_size=8)
    assert step_cost("gradient_evaluations", problem, 4, False) == 4
    assert step_cost("epochs", problem, 4, False) == 8 / 48
    assert step_cost("epochs", problem, 4, True) == 4 * 8 / 48, "every evaluation draws a batch"
    assert step_cost("seconds", problem, 4, False) == 0
    problem.objective.next_step()
    problem.objective()
    assert spent("epochs", problem, None) == 8 / 48
    assert spent("gradient_evaluations", problem, None) == 1


def test_epochs_need_data(blobs) -> None:
    problem = blobs()
    problem.samples_per_epoch = None
    with pytest.raises(UsageError, match="an epoch budget needs a task with data"):
        step_cost("epochs", problem, 1, False)
