"""Runs one trial: trains, measures, and says what became of it."""

from __future__ import annotations

import base64
import dataclasses
import gc
import time
import traceback
from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import save_file

from rbobench.measures.measurable import Measurable
from rbobench.randomness import Streams
from rbobench.registry import CONTACT_FRACTION, OptimizerInfo, StoppingRule, get_optimizer
from rbobench.runner.budget import Budget, Unit, step_cost
from rbobench.runner.clock import Clock
from rbobench.runner.measuring import as_metrics, file_digest, take_measures
from rbobench.runner.pairing import pairing_digests
from rbobench.runner.record import weights_path, write_atomically, write_json
from rbobench.runner.training import Training, evaluation_weights, train
from rbobench.runner.trial import PlannedTrial, Trial, digest
from rbobench.tasks.task import Manifest, Problem, Settings, Task


def run_trial(
    planned: PlannedTrial,
    task: Task,
    settings: Settings,
    folder: Path,
    *,
    save_weights: bool = False,
    measures: Sequence[str] = (),
) -> dict[str, Any]:
    """Run a trial and say what its record says about the run; a failure is one of the things it can say.

    Args:
        planned: The trial.
        task: Its task.
        settings: Device, numerics and data.
        folder: Where manifests, and weights if asked for, are written.
        save_weights: Whether to keep the final weights.
        measures: Names of what is measured at the final weights.
    """
    if settings.device.type == "cuda":
        gc.collect()  # what the trial before has left would count as this one's peak memory
    try:
        return _train_and_measure(planned, task, settings, folder, save_weights, measures)
    except Exception as error:
        out_of_memory = _is_out_of_memory(error)
        text = _one_line(error)
    # Outside the handler the traceback is gone; the problem and its objective still hold each other.
    if out_of_memory:
        gc.collect()
        if settings.device.type == "cuda":
            torch.cuda.empty_cache()
    return {
        "status": "out_of_memory" if out_of_memory else "failed",
        "error": text,
        "metrics": {},
        "measures": {},
        "curves": {},
        "weights": None,
        "memorized_at": None,
        "cost": {},
        "test_correct": None,
        "corruption": [],
        "pairing": {},
    }


def _train_and_measure(
    planned: PlannedTrial,
    task: Task,
    settings: Settings,
    folder: Path,
    save_weights: bool,
    measures: Sequence[str],
) -> dict[str, Any]:
    began, trial, clock = time.perf_counter(), planned.trial, Clock(settings.device)
    info = get_optimizer(trial.optimizer)
    rule = stopping_rule(info, trial)
    problem = task.problem(trial.seed, dataclasses.replace(settings, resamples=info.resamples))
    pairing = pairing_digests(problem)
    optimizer = info.create(
        _parameters(problem, info), trial.hyperparameters, seed=Streams(trial.seed).seed("optimizer")
    )
    budget = trial_budget(trial, rule)
    reestimate = info.batch_norm == "re-estimated"
    training = train(
        problem,
        optimizer,
        budget,
        clock,
        step_cost=trial_step_cost(trial, info, problem),
        schedules=trial.schedules,
        evaluations=trial.evaluations,
        reestimate=reestimate,
        patience=rule.patience,
        contact_fraction=trial.hyperparameters.get(CONTACT_FRACTION, 1.0) if info.looks_around else 1.0,
    )
    # Before measurements that may ask the objective too.
    spent, gradient_seconds = _spent(problem, training, budget), problem.objective.gradient_seconds
    at_measured_weights: AbstractContextManager[None]
    if training.best_weights is None:
        at_measured_weights = evaluation_weights(problem, optimizer, reestimate=reestimate)
    else:
        problem.module.load_state_dict(training.best_weights)
        at_measured_weights = nullcontext()
    with clock.phase("evaluation"), at_measured_weights:
        ok = training.status == "ok"
        weights = None
        if save_weights:  # before anything that may fail
            weights = _save_weights(weights_path(folder, trial.key), problem)
        taken = take_measures(problem, measures, trial.seed) if ok else {}
        metrics = training.metrics() | (problem.final() if ok else {}) | as_metrics(taken)
        correct = problem.test_correct() if ok else None
    corruption = [_stored_manifest(folder / "manifests", manifest) for manifest in problem.manifests()]
    times = _times(clock, gradient_seconds, time.perf_counter() - began)
    return {
        "status": training.status,
        "error": None,
        "metrics": metrics,
        "measures": taken,
        "curves": training.curves,
        "weights": weights,
        "memorized_at": problem.memorized_at() if isinstance(problem, Measurable) else None,
        "cost": {**spent, **times, "peak_memory_bytes": clock.peak_memory},
        "test_correct": None if correct is None else _packed(correct),
        "corruption": corruption,
        "pairing": pairing,
    }


def _parameters(problem: Problem, info: OptimizerInfo) -> list[Any]:
    """What the optimizer is built on: the parameters, with their names for one that goes by them."""
    parameters = problem.parameters()
    if not info.named:
        return parameters
    names = {id(parameter): name for name, parameter in problem.module.named_parameters()}
    return [(names[id(parameter)], parameter) for parameter in parameters]


def _spent(problem: Problem, training: Training, budget: Budget) -> dict[str, Any]:
    objective = problem.objective
    return {
        "gradient_evaluations": objective.gradient_evaluations,
        "forward_evaluations": objective.forward_evaluations,
        "hessian_vector_products": objective.hessian_vector_products,
        "samples_drawn": objective.samples_drawn,
        "steps": training.steps,
        "unspent": budget.unspent,
    }


def _times(clock: Clock, gradient_seconds: float | None, seconds: float) -> dict[str, float | None]:
    """Seconds by phase, of the gradients and of the whole trial, and the share that is overhead.

    Overhead is what is neither a gradient nor a measure: building the problem, drawing batches, warming up,
    the optimizer's own arithmetic and bookkeeping.
    """
    evaluation = clock.elapsed("evaluation")
    share = None if gradient_seconds is None else 1.0 - (gradient_seconds + evaluation) / seconds
    return {
        "seconds": seconds,
        "train_seconds": clock.elapsed("training"),
        "warm_up_seconds": clock.elapsed("warm_up"),
        "evaluation_seconds": evaluation,
        "gradient_seconds": gradient_seconds,
        "overhead_share": share,
    }


def _packed(correct: torch.Tensor) -> dict[str, Any]:
    bits = np.packbits(correct.cpu().numpy().astype(bool))
    return {"count": correct.numel(), "bits": base64.b64encode(bits.tobytes()).decode("ascii")}


def _stored_manifest(folder: Path, manifest: Manifest) -> dict[str, Any]:
    content = manifest.as_dict()
    name = digest(content)
    path = folder / f"{name}.json"
    if not path.exists():
        folder.mkdir(exist_ok=True)
        write_json(path, content)
    return {
        "kind": manifest.kind,
        "part": manifest.part,
        "hash": name,
        "nominal_rate": manifest.nominal_rate,
        "realized_rate": manifest.realized_rate,
        "changed": len(manifest.indices),
    }


def _save_weights(path: Path, problem: Problem) -> str:
    """Keep the present weights; returns the file's digest."""
    state = {
        name: tensor.detach().cpu().contiguous().clone()
        for name, tensor in problem.module.state_dict().items()
    }
    return file_digest(write_atomically(path, lambda part: save_file(state, part)))


def trial_budget(trial: Trial, rule: StoppingRule) -> Budget:
    """The trial's budget with nothing spent, held to the share that the optimizer may spend."""
    return Budget(_unit(trial), next(iter(trial.budget.values())), rule.budget_share)


def trial_step_cost(trial: Trial, info: OptimizerInfo, problem: Problem) -> float:
    """The declared cost of one step in the budget's unit.

    Raises:
        UsageError: If epochs are counted and the task has none.
    """
    return step_cost(_unit(trial), problem, info.cost(trial.hyperparameters), info.resamples)


def stopping_rule(info: OptimizerInfo, trial: Trial) -> StoppingRule:
    """When the optimizer ends before its budget does."""
    return StoppingRule() if info.stopping is None else info.stopping(trial.hyperparameters)


def _unit(trial: Trial) -> Unit:
    return next(iter(trial.budget))


def _is_out_of_memory(error: Exception) -> bool:
    if isinstance(error, MemoryError | torch.OutOfMemoryError):
        return True
    # The CPU's and MPS's allocators raise a plain RuntimeError.
    return isinstance(error, RuntimeError) and any(
        text in str(error) for text in ("can't allocate memory", "out of memory")
    )


def _one_line(error: Exception) -> str:
    """The error's type, text and the place it came from."""
    text = " ".join(str(error).split()) or "no message"
    frames = traceback.extract_tb(error.__traceback__)
    place = f" ({Path(frames[-1].filename).name}:{frames[-1].lineno} in {frames[-1].name})" if frames else ""
    return f"{type(error).__name__}: {text}{place}"
