"""Copies of the parameters that an optimizer holds, and that a step takes for a while."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable
from typing import Any

from .optimizers import OPTIMIZERS, Found, each, value
from .paired import one_thread
from .training import Training, create_optimizer

_STEPS = 4
_NUMBER = 8  # bytes

# asv keeps what a `setup_cache` returns by the line on which it stands: were it inherited, both classes would
# be given what was measured for one of them. So each spells out its own.


class Held:
    """Memory held between steps, in copies of the parameters; parameters and gradients apart."""

    params = (OPTIMIZERS,)
    param_names = ("optimizer",)
    unit = "parameter copies"
    version = "1"
    timeout = 300

    def measure(self, optimizer: str) -> float:
        """Measure it afresh."""
        return _held(optimizer)

    def setup_cache(self) -> Found:
        """Measure all in one process."""
        return each(self.measure)

    def setup(self, found: Found, optimizer: str) -> None:
        """Skip what the commit does not have."""
        value(found, optimizer)

    def track_copies(self, found: Found, optimizer: str) -> object:
        """The copies."""
        return value(found, optimizer)


class Peak:
    """Memory at its highest beyond that of bare gradient evaluations, in copies of the parameters."""

    params = (OPTIMIZERS,)
    param_names = ("optimizer",)
    unit = "parameter copies"
    version = "1"
    timeout = 300

    def measure(self, optimizer: str) -> float:
        """Measure it afresh."""
        return _peak(optimizer)

    def setup_cache(self) -> Found:
        """Measure all in one process."""
        return each(self.measure)

    def setup(self, found: Found, optimizer: str) -> None:
        """Skip what the commit does not have."""
        value(found, optimizer)

    def track_copies(self, found: Found, optimizer: str) -> object:
        """The copies."""
        return value(found, optimizer)


def _held(name: str) -> float:
    training, optimizer = _train(name)
    known = {id(each) for p in training.parameters for each in (p, p.grad)}
    tensors = [each for each in _tensors(vars(optimizer), set()) if id(each) not in known]
    # Storages, so that two views of one buffer count once; a number kept as a tensor is no copy.
    storages = {each.untyped_storage().data_ptr(): each.untyped_storage() for each in tensors}
    held = sum(each.nbytes() for each in storages.values() if each.nbytes() > _NUMBER)
    return held / _bytes(training)


def _peak(name: str) -> float:
    parameters = _bytes(Training("mlp"))
    return (_highest(lambda: _train(name)) - _highest(lambda: _train(None))) / parameters


def _train(name: str | None) -> tuple[Training, Any]:
    """A few steps on one sample, whose activations are small beside the parameters; without a name, none."""
    one_thread()
    training = Training("mlp", samples=1)
    optimizer = None if name is None else create_optimizer(name, training.parameters)
    for _ in range(_STEPS):
        if optimizer is None:
            training()
        else:
            optimizer.step(training)
    return training, optimizer


def _bytes(training: Training) -> int:
    return sum(parameter.numel() * parameter.element_size() for parameter in training.parameters)


def _highest(program: Callable[[], object]) -> int:
    """The most bytes of tensors that a program holds at once."""
    import torch

    activities = [torch.profiler.ProfilerActivity.CPU]
    with torch.profiler.profile(activities=activities, profile_memory=True) as profile:
        held = program()
    del held
    events = profile.profiler.kineto_results.events()
    changes = sorted((each.start_ns(), each.nbytes()) for each in events if each.name() == "[memory]")
    return max(itertools.accumulate(change for _, change in changes))


def _tensors(value: Any, seen: set[int]) -> Iterable[Any]:
    """Every tensor that an object's attributes, lists and dictionaries lead to."""
    import torch

    if id(value) in seen:
        return
    seen.add(id(value))
    if isinstance(value, torch.Tensor):
        yield value
    elif isinstance(value, dict):
        for key, entry in value.items():
            yield from _tensors(key, seen)
            yield from _tensors(entry, seen)
    elif isinstance(value, list | tuple | set):
        for entry in value:
            yield from _tensors(entry, seen)
    elif hasattr(value, "__dict__") and not isinstance(value, type | torch.nn.Module):
        yield from _tensors(vars(value), seen)
