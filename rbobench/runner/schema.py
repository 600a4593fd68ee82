"""What a suite file may hold."""

from __future__ import annotations

import inspect
import math
from typing import Annotated, Any, Literal

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    StringConstraints,
    WithJsonSchema,
    field_validator,
    model_validator,
)

from rbobench.hyperparameters import signature
from rbobench.measures.catalog import GROUPS, MEASURES, expand
from rbobench.optim.schedule import SCHEDULES, Range
from rbobench.runner.budget import Unit

MOST_SEEDS = 10_000
MOST_THREADS = 1024


def _whole(value: Any) -> Any:
    """A whole number may be written `3000`, `3e3` or `3000.0`."""
    return int(value) if isinstance(value, float) and value.is_integer() else value


def _real(value: Any) -> Any:
    return float(value) if type(value) is int else value


def _mapping(value: Any) -> Any:
    """`sgd:` with nothing after it takes every default."""
    return {} if value is None else value


def _seeds(value: Any) -> Any:
    value = _whole(value)
    if isinstance(value, list | tuple):
        seeds = tuple(_whole(seed) for seed in value)
        if not seeds:
            raise ValueError("give at least one seed")
        if any(type(seed) is not int for seed in seeds):
            raise ValueError("a list of seeds holds whole numbers")
        if len(set(seeds)) < len(seeds):
            raise ValueError("a seed is given twice")
        return seeds
    if type(value) is not int:
        raise ValueError("must be a number of seeds or a list of them")
    if not 1 <= value <= MOST_SEEDS:
        raise ValueError(f"there must be 1 to {MOST_SEEDS} seeds")
    return tuple(range(value))


def _measures(value: Any) -> Any:
    if not isinstance(value, list | tuple) or not all(isinstance(name, str) for name in value):
        raise ValueError("must be a list of measures")
    return expand(value)


def _ladder(value: Any) -> Any:
    if not isinstance(value, list | tuple) or not value:
        raise ValueError("must be a list of multiples of the budget")
    rungs = tuple(_real(_whole(rung)) for rung in value)
    if any(type(rung) is not float or not (math.isfinite(rung) and rung > 0) for rung in rungs):
        raise ValueError("multiples of the budget are numbers above 0")
    if list(rungs) != sorted(set(rungs)):
        raise ValueError("multiples of the budget must ascend")
    return rungs


def _schedule_schema() -> dict[str, Any]:
    name: dict[str, Any] = {"type": "string", "enum": list(SCHEDULES)}
    return {"anyOf": [name, *(_mapping_schema(name) for name in SCHEDULES)]}


def _mapping_schema(name: str) -> dict[str, Any]:
    options = {
        option: _number_schema(declared.hint.__metadata__[0], declared.default)
        for option, declared in signature(SCHEDULES[name]).items()
    }
    return {
        "type": "object",
        "description": inspect.getdoc(SCHEDULES[name]),
        "properties": {"name": {"const": name}, **options},
        "required": ["name"],
        "additionalProperties": False,
    }


def _number_schema(limits: Range, default: float) -> dict[str, Any]:
    least = "exclusiveMinimum" if limits.above else "minimum"
    most = {} if math.isinf(limits.most) else {"maximum": limits.most}
    return {"type": "number", least: 0.0, **most, "default": default}


Whole = Annotated[int, BeforeValidator(_whole), Field(ge=1)]
Real = Annotated[float, BeforeValidator(_real), Field(gt=0, allow_inf_nan=False)]
Label = Annotated[
    str,
    StringConstraints(pattern=r"^[a-z0-9]([a-z0-9 ._:,;=+%()-]*[a-z0-9.%)+])?$", max_length=100),
    Field(description="A lower-case name."),
]
Seeds = Annotated[
    tuple[int, ...],
    BeforeValidator(_seeds),
    WithJsonSchema(
        {
            "anyOf": [
                {"type": "integer", "minimum": 1},
                {"type": "array", "items": {"type": "integer"}, "minItems": 1, "uniqueItems": True},
            ]
        }
    ),
]
Measures = Annotated[
    tuple[str, ...],
    BeforeValidator(_measures),
    WithJsonSchema({"type": "array", "items": {"type": "string", "enum": [*GROUPS, *MEASURES]}}),
]
Ladder = Annotated[
    tuple[float, ...],
    BeforeValidator(_ladder),
    WithJsonSchema(
        {
            "type": "array",
            "items": {"type": "number", "exclusiveMinimum": 0},
            "minItems": 1,
            "uniqueItems": True,
        }
    ),
]
# Checked by planning, as hyperparameters are: there a wrong option is told with its own place.
Schedule = Annotated[Any, WithJsonSchema(_schedule_schema())]


class _Section(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)


class Budget(_Section):
    """What one trial may spend: exactly one of the three."""

    gradient_evaluations: Whole | None = Field(default=None, description="Gradients of whole batches.")
    epochs: Real | None = Field(default=None, description="Samples drawn, in sizes of the training data.")
    seconds: Real | None = Field(default=None, description="Synchronized seconds of training alone.")

    @model_validator(mode="after")
    def _exactly_one(self) -> Budget:
        if len(self.model_dump(exclude_none=True)) != 1:
            raise ValueError("give exactly one of gradient_evaluations, epochs and seconds")
        return self

    @property
    def unit(self) -> Unit:
        """What is counted."""
        units: tuple[Unit, ...] = ("gradient_evaluations", "epochs", "seconds")
        return next(unit for unit in units if getattr(self, unit) is not None)

    @property
    def limit(self) -> float:
        """How much of it."""
        value: float = getattr(self, self.unit)
        return value


class Numerics(_Section):
    """How it is computed; all of it changes results, so all of it is part of a trial's key."""

    threads: Whole = Field(default=1, le=MOST_THREADS, description="CPU threads of a trial.")
    precision: Literal["fp32", "bf16"] = Field(
        default="fp32", description="bf16 is mixed precision by autocast."
    )
    channels_last: bool = Field(default=False, description="Memory format of images and convolutions.")
    compile: bool = Field(default=False, description="Whether models go through torch.compile.")


class OptimizerEntry(_Section):
    """An optimizer: hyperparameters by name, the rest at their defaults."""

    model_config = ConfigDict(extra="allow")

    optimizer: str | None = Field(
        default=None, description="The registered optimizer, where the label is not its name."
    )

    @property
    def hyperparameters(self) -> dict[str, Any]:
        """What the file gives."""
        return dict(self.model_extra or {})


class TaskEntry(_Section):
    """A task: options by name, the rest at their defaults."""

    model_config = ConfigDict(extra="allow")

    task: str | None = Field(
        default=None, description="The registered task, where the label is not its name."
    )
    budget: Budget | None = Field(default=None, description="Instead of the suite's.")
    optimizers: Annotated[dict[str, dict[str, Any] | Literal[False]], BeforeValidator(_mapping)] = Field(
        default_factory=dict,
        description="Optimizer label to hyperparameters that differ on this task, or false to leave it out.",
    )

    @field_validator("optimizers", mode="before")
    @classmethod
    def _overrides(cls, value: Any) -> Any:
        if isinstance(value, dict):
            for label, override in value.items():
                if override is not False and not isinstance(override, dict):
                    raise ValueError(
                        f"{label} must be a mapping of hyperparameters, or false to leave it out"
                    )
        return value

    @property
    def options(self) -> dict[str, Any]:
        """What the file gives."""
        return dict(self.model_extra or {})


class Suite(_Section):
    """A grid of optimizers × tasks × seeds."""

    name: Annotated[str, StringConstraints(pattern=r"^[a-z0-9][a-z0-9._-]*$", max_length=100)] = Field(
        description="Lower case; results go to results/runs/NAME unless told otherwise."
    )
    description: str = Field(default="", description="What the suite is for.")
    seeds: Seeds = Field(description="How many seeds, counted from 0, or a list of them.")
    budget: Budget = Field(description="What each trial may spend.")
    schedules: dict[str, Schedule] = Field(
        default_factory=dict,
        description="Parameter-group key (lr, radius, ...) to a schedule over the budget spent: a name, or a "
        "mapping of its name and options; an optimizer without the key is left alone.",
    )
    evaluations: Whole = Field(
        default=20,
        description="Points on each trial's curves, spread evenly over the budget; of a rung in proportion.",
    )
    numerics: Numerics = Field(default=Numerics(), description="Threads, precision, memory format.")
    save_weights: bool = Field(
        default=False, description="Keep each trial's final weights beside its record."
    )
    measures: Measures = Field(
        default=("sam_gap",),
        description="What is measured at the final weights: measures, or groups of them.",
    )
    ladder: Ladder = Field(
        default=(1.0,), description="Multiples of the budgets: every task is run at each, a trial of its own."
    )
    optimizers: dict[Label, Annotated[OptimizerEntry, BeforeValidator(_mapping)]] = Field(
        min_length=1, description="Label to hyperparameters."
    )
    tasks: dict[Label, Annotated[TaskEntry, BeforeValidator(_mapping)]] = Field(
        min_length=1, description="Label to options."
    )


def suite_schema() -> dict[str, Any]:
    """The JSON Schema of suite files."""
    return Suite.model_json_schema()
