"""The training loop: one path for every optimizer."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field

import torch
from torch import Tensor
from torch.optim import Optimizer

from rbobench.errors import UsageError
from rbobench.optim.schedule import Schedules, Spelling
from rbobench.optim.tensors import Closure
from rbobench.runner.budget import Budget, spent
from rbobench.runner.clock import Clock
from rbobench.tasks.task import Problem

EXPLODED = 1000.0
"""A loss above this many times (1 + |first loss|) is divergence, as one that is not finite."""

_EXTREMES = {
    "loss": ("loss_best", min),
    "distance": ("distance_farthest", max),
    "test_accuracy": ("test_accuracy_oracle", max),
}


@dataclass
class Training:
    """How a training went.

    Attributes:
        status: `"ok"` or `"diverged"`.
        steps: Steps taken.
        curves: One list for each metric, beside `gradient_evaluations`, `fraction` (of the whole budget) and
            `loss` (of the steps since the point before, or of the task where it measures one).
        measured: Names of the metrics that the task measured.
        best_weights: The state of `problem.module` at the chosen point, where the optimizer stops early.
    """

    status: str = "ok"
    steps: int = 0
    curves: dict[str, list[float]] = field(default_factory=dict)
    measured: tuple[str, ...] = ()
    best_weights: dict[str, Tensor] | None = None

    @property
    def chosen(self) -> int | None:
        """The point with the best accuracy on noisy validation, the first of equals; `None` without any."""
        accuracies = self.curves.get("validation_accuracy")
        if not accuracies:
            return None
        return max(range(len(accuracies)), key=lambda index: (_ranked(accuracies[index]), -index))

    def metrics(self) -> dict[str, float]:
        """Flat metrics: each at the last step and at the chosen one, and the extremes.

        Where the best weights were kept, the last step is the chosen one. The best test accuracy on the way
        is an oracle's, which nobody without the test set can reach.
        """
        chosen, metrics = self.chosen, {}
        for name in self.measured:
            curve = self.curves[name]
            metrics[f"{name}_last"] = curve[-1 if self.best_weights is None or chosen is None else chosen]
            if chosen is not None:
                metrics[f"{name}_chosen"] = curve[chosen]
            if name in _EXTREMES:
                extreme, best = _EXTREMES[name]
                metrics[extreme] = best((value for value in curve if math.isfinite(value)), default=math.nan)
        if chosen is not None:
            metrics["chosen_fraction"] = self.curves["fraction"][chosen]
        return metrics


def train(
    problem: Problem,
    optimizer: Optimizer,
    budget: Budget,
    clock: Clock,
    *,
    step_cost: float,
    schedules: Mapping[str, Spelling] | None = None,
    evaluations: int = 20,
    reestimate: bool = False,
    patience: int | None = None,
    contact_fraction: float = 1.0,
) -> Training:
    """Spend a budget.

    A loss that is not finite or has exploded is noticed at the points of the curves alone, since a look at
    every step would make the host wait for the device.

    Args:
        problem: What to train.
        optimizer: On the problem's parameters.
        budget: What may be spent; what was spent is noted in it.
        clock: Takes the time of warm-up, training and evaluation.
        step_cost: Of one step, in the budget's unit.
        schedules: Group key to schedule, as `Schedules` takes them.
        evaluations: Points on the curves, spread evenly over the share of the budget that may be spent.
        reestimate: Whether BatchNorm statistics are re-estimated before a point is measured.
        patience: Stop after this many points without a better accuracy on noisy validation, and keep the
            weights of the best.
        contact_fraction: The part of each batch that the optimizer looks around on; 1 gives it no closure of
            its own for that.

    Raises:
        UsageError: If a schedule's key is in no group, or not one step fits the budget.
    """
    if not budget.fits(step_cost):
        raise UsageError(f"the budget of {budget.limit} {budget.unit} does not buy one step ({step_cost:g})")
    part = {} if contact_fraction == 1.0 else {"contact_closure": problem.objective.part(contact_fraction)}
    return _Trainer(
        problem, optimizer, budget, clock, step_cost, evaluations, reestimate, patience, part
    ).run(Schedules(optimizer, schedules or {}))


class _Trainer:
    def __init__(
        self,
        problem: Problem,
        optimizer: Optimizer,
        budget: Budget,
        clock: Clock,
        step_cost: float,
        evaluations: int,
        reestimate: bool,
        patience: int | None,
        part: Mapping[str, Closure],
    ) -> None:
        self._problem = problem
        self._optimizer = optimizer
        self._budget = budget
        self._clock = clock
        self._step_cost = step_cost
        self._evaluations = evaluations
        self._reestimate = reestimate
        self._patience = patience
        self._part = part
        self._losses: list[Tensor] = []  # of the steps since the last point, on the device
        self._first_loss: float | None = None
        self._points = 0  # of the evenly spread ones, passed
        self._training = Training()

    def run(self, schedules: Schedules) -> Training:
        budget, clock, problem, training = self._budget, self._clock, self._problem, self._training
        objective, losses = problem.objective, self._losses
        with clock.phase("warm_up"):
            objective.warm_up()
        with clock.phase("training"):
            while budget.fits(self._step_cost):
                objective.next_step()
                schedules.apply(budget.fraction())
                # Optimizers type their closure as returning a float; torch's own return what it returned.
                losses.append(self._optimizer.step(objective, **self._part))  # type: ignore[arg-type]
                training.steps += 1
                budget.spent = spent(budget.unit, problem, clock)
                if self._at_point() and self._measure():
                    return training
            if losses:
                self._measure()
        return training

    def _at_point(self) -> bool:
        passed = math.floor(self._budget.fraction() * self._evaluations + 1e-9)
        if passed == self._points:
            return False
        self._points = passed
        return True

    def _measure(self) -> bool:
        """Add a point to the curves; returns whether training is to end here."""
        with self._clock.phase("evaluation"):
            losses: list[float] = torch.stack([torch.as_tensor(loss) for loss in self._losses]).tolist()
            self._losses.clear()
            mean = sum(losses) / len(losses)
            if self._first_loss is None:
                self._first_loss = losses[0]
            training = self._training
            with evaluation_weights(self._problem, self._optimizer, reestimate=self._reestimate):
                measured = self._problem.evaluate()
                point = {
                    "gradient_evaluations": self._problem.objective.gradient_evaluations,
                    "fraction": self._budget.spent / self._budget.limit,
                    "loss": mean,
                    **measured,
                }
                training.measured = tuple(measured)
                for name, value in point.items():
                    training.curves.setdefault(name, []).append(float(value))
                if self._has_diverged(mean, measured):
                    training.status = "diverged"
                    return True
                return self._patience is not None and self._waited_enough(self._patience)

    def _has_diverged(self, mean: float, measured: Mapping[str, float]) -> bool:
        assert self._first_loss is not None
        bound = EXPLODED * (1.0 + abs(self._first_loss))
        own = [value for name, value in measured.items() if name.endswith("loss")]
        return (
            not math.isfinite(self._first_loss)
            or not all(map(math.isfinite, (mean, *own)))
            or max(mean, measured.get("loss", mean)) > bound
        )

    def _waited_enough(self, patience: int) -> bool:
        chosen, points = self._training.chosen, len(self._training.curves["fraction"])
        if chosen is None:
            raise UsageError("an optimizer that stops early needs a task with a validation split")
        if chosen == points - 1:
            state = self._problem.module.state_dict()
            self._training.best_weights = {name: tensor.clone() for name, tensor in state.items()}
        return points - 1 - chosen >= patience


@contextmanager
def evaluation_weights(problem: Problem, optimizer: Optimizer, *, reestimate: bool) -> Iterator[None]:
    """Give the model the weights and the statistics it is measured at, and put the old ones back.

    Args:
        problem: Its module is changed inside the block.
        optimizer: Its `evaluation_parameters()` is entered, where it has one.
        reestimate: Whether BatchNorm statistics are re-estimated at these weights.
    """
    with ExitStack() as stack:
        swap = getattr(optimizer, "evaluation_parameters", None)
        if swap is not None:
            stack.enter_context(swap())
        if reestimate:
            stack.enter_context(reestimated(problem))
        yield


@contextmanager
def reestimated(problem: Problem) -> Iterator[None]:
    """Inside the block BatchNorm has statistics re-estimated at the present weights."""
    buffers = list(problem.module.buffers())
    before = [buffer.clone() for buffer in buffers]
    problem.reestimate_batch_norm()
    try:
        yield
    finally:
        with torch.no_grad():
            for buffer, old in zip(buffers, before, strict=True):
                buffer.copy_(old)


def _ranked(accuracy: float) -> float:
    return accuracy if math.isfinite(accuracy) else -math.inf
