"""What a step costs, of its own gradient evaluations and beyond."""

from __future__ import annotations

import time

from .optimizers import OPTIMIZERS, Found, each, value
from .paired import Ratios, ratio
from .training import Training, create_optimizer

# Rounds, and calls for one timing: a step on digits is too short to be timed alone.
_EFFORT = {"mlp": (15, 10), "resnet8": (7, 1), "vit": (15, 2)}


class Step:
    """The time of a step as a multiple of one bare gradient evaluation of the same model and batch."""

    params = (("mlp", "resnet8", "vit"), OPTIMIZERS)
    param_names = ("model", "optimizer")
    unit = "gradient evaluations"
    version = "2"
    timeout = 900

    def measure(self, model: str, optimizer: str) -> Ratios:
        """Measure it afresh."""
        training = Training(model)
        method = create_optimizer(optimizer, training.parameters)
        # The processor's time: a busy machine takes the processor away, which wall time counts.
        rounds, calls = _EFFORT[model]
        return ratio(
            lambda: method.step(training), training, rounds=rounds, calls=calls, clock=time.process_time
        )

    def setup_cache(self) -> dict[str, Found]:
        """Measure all in one process: importing torch takes longer than a measurement."""
        return {model: each(lambda name, model=model: self.measure(model, name)) for model in _EFFORT}

    def setup(self, found: dict[str, Found], model: str, optimizer: str) -> None:
        """Skip what the commit does not have."""
        value(found[model], optimizer)

    def track_time(self, found: dict[str, Found], model: str, optimizer: str) -> object:
        """The multiple."""
        return value(found[model], optimizer)
