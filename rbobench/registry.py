"""Names of optimizers and tasks, and what is declared about each.

rbobench's own optimizers and tasks, the shipped baselines and any third party's are registered alike: an
entry point of the group `rbobench.plugins` names a function without arguments that calls
`register_optimizer` and `register_task`.
"""

from __future__ import annotations

import fnmatch
import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from importlib.metadata import entry_points
from types import MappingProxyType
from typing import TYPE_CHECKING, Annotated, Any, Generic, Literal, TypeVar

from rbobench import hyperparameters as _hyperparameters
from rbobench.errors import UsageError, unknown

if TYPE_CHECKING:
    from torch.optim import Optimizer

    from rbobench.tasks.task import Task

PLUGIN_GROUP = "rbobench.plugins"

CONTACT_FRACTION = "contact_fraction"
"""What a trial says of an optimizer that looks around: the part of the batch on which it does."""


def _fraction(what: str, value: Any) -> float:
    fraction: float = _hyperparameters.coerce(what, value, float)
    if not 0.0 < fraction <= 1.0:
        raise UsageError(f"{what} must be in (0, 1], not {value!r}")
    return fraction


_FRACTION = Annotated[float, _fraction]


def _nothing() -> Mapping[str, Any]:
    return MappingProxyType({})


@dataclass(frozen=True)
class StoppingRule:
    """When the runner ends a trial before its budget does; what is left is recorded as unspent.

    Args:
        budget_share: The part of the budget that the method may spend, in (0, 1]. Its schedules end there.
        patience: Stop after this many evaluations without a better noisy validation accuracy, and keep the
            best weights; `None` never stops.
    """

    budget_share: float = 1.0
    patience: int | None = None


@dataclass(frozen=True)
class Reduction:
    """What an optimizer is when its idea is taken out: another one, bit for bit.

    Args:
        hyperparameters: That take it out.
        to: The registered optimizer that is left.
        to_hyperparameters: Of that one.
    """

    hyperparameters: Mapping[str, Any]
    to: str
    to_hyperparameters: Mapping[str, Any] = field(default_factory=_nothing)


@dataclass(frozen=True)
class OptimizerInfo:
    """What is declared about an optimizer.

    Args:
        name: Lower-case name, unique in the registry.
        factory: Called as `factory(params, **hyperparameters)`; its signature and type hints say which
            hyperparameters there are, of what type, and with what default.
        description: One line.
        reference: The paper, as a citation or an arXiv number.
        gradient_evaluations: Cost of one step: a number, or a function of the resolved hyperparameters.
        looks_around: Whether its `step` takes a second closure, `contact_closure`, on which all evaluations
            of a step but one are then made. A trial may set `contact_fraction`, the part of the batch that
            it sees.
        defaults: Hyperparameters that differ from the factory's own defaults, or that it leaves required.
        search_space: Hyperparameter name to the values worth trying: `("log", low, high)`,
            `("uniform", low, high)` or a list of choices.
        controls: Registered names of its controls: the same method with its idea taken out.
        batched: Whether it takes `batch_dims`: a batch of independent problems.
        requires: Why it cannot run everywhere (e.g. `"cuda"`); empty where it can. Any of it but a device
            type that is at hand is a stated reason to skip it.
        batch_norm: Whether running statistics are kept during training or re-estimated before evaluation.
        resamples: Whether every gradient evaluation needs a fresh batch (Entropy-SGD's inner loop).
        randomized: Whether the factory takes `seed`, which the runner draws from the `optimizer` stream and
            which is no hyperparameter.
        named: Whether it wants `(name, parameter)` pairs where the runner has them.
        wraps: The hyperparameter that names a registered optimizer inside this one, whose hyperparameters are
            then accepted too (`sam` around `sgd` takes `momentum`); `None` for most.
        parameter_copies: Memory in copies of the parameters held between steps, beyond the parameters and
            their gradients; `None` where not declared.
        reductions: What it is when its idea is taken out; `rbobench.testing` holds it to them.
        stopping: The runner's stopping rule, from the resolved hyperparameters; `None` spends all.
        exceptions: Names of checks of `rbobench.testing` that it is known to fail, each with the reason.
    """

    name: str
    factory: Callable[..., Optimizer]
    description: str
    reference: str = ""
    gradient_evaluations: int | Callable[[Mapping[str, Any]], float] = 1
    looks_around: bool = False
    defaults: Mapping[str, Any] = field(default_factory=_nothing)
    search_space: Mapping[str, Any] = field(default_factory=_nothing)
    controls: tuple[str, ...] = ()
    batched: bool = False
    requires: tuple[str, ...] = ()
    batch_norm: Literal["running", "re-estimated"] = "running"
    resamples: bool = False
    randomized: bool = False
    named: bool = False
    wraps: str | None = None
    parameter_copies: float | None = None
    reductions: tuple[Reduction, ...] = ()
    stopping: Callable[[Mapping[str, Any]], StoppingRule] | None = None
    exceptions: Mapping[str, str] = field(default_factory=_nothing)

    def resolve(self, given: Mapping[str, Any] | None = None) -> dict[str, Any]:
        """Fill in the defaults and coerce every value to its type.

        Raises:
            UsageError: If a name is unknown, a value is of the wrong type, or a required one is missing.
        """
        given = dict(given or {})
        inner = None
        if self.wraps is not None:
            declared = _hyperparameters.signature(self.factory)
            name = given.get(self.wraps, self.defaults.get(self.wraps, declared[self.wraps].default))
            inner = get_optimizer(str(name)).as_signature()
        if self.looks_around:
            inner = {**(inner or {}), CONTACT_FRACTION: _hyperparameters.Hyperparameter(_FRACTION, 1.0)}
        return _hyperparameters.resolve(
            f"optimizer {self.name!r}", self.factory, given, defaults=self.defaults, inner=inner
        )

    def as_signature(self) -> dict[str, _hyperparameters.Hyperparameter]:
        """Its hyperparameters with their types and defaults, the info's defaults over the factory's."""
        return _hyperparameters.signature(self.factory, self.defaults)

    def cost(self, hyperparameters: Mapping[str, Any]) -> float:
        """Gradient evaluations of one step under resolved `hyperparameters`."""
        declared = self.gradient_evaluations
        whole = declared if isinstance(declared, int) else declared(hyperparameters)
        fraction: float = hyperparameters.get(CONTACT_FRACTION, 1.0) if self.looks_around else 1.0
        return whole if fraction == 1.0 else 1.0 + (whole - 1) * fraction

    def create(self, params: Any, hyperparameters: Mapping[str, Any], *, seed: int = 0) -> Optimizer:
        """Build the optimizer from resolved hyperparameters.

        Raises:
            UsageError: If the factory refuses a value.
        """
        extra = {"seed": seed} if self.randomized else {}
        own = dict(hyperparameters)
        if self.looks_around:
            own.pop(CONTACT_FRACTION, None)
        try:
            return self.factory(params, **own, **extra)
        except UsageError:
            raise
        except ValueError as error:
            raise UsageError(f"optimizer {self.name!r}: {error}") from error


@dataclass(frozen=True)
class TaskInfo:
    """What is declared about a task.

    Args:
        name: Lower-case name, unique in the registry.
        factory: Called as `factory(**options)`; its signature and type hints say which options there are.
        description: One line.
        kind: What is optimized.
        reference: Where the task or its data come from.
        defaults: Options that differ from the factory's own defaults.
    """

    name: str
    factory: Callable[..., Task]
    description: str
    kind: Literal["landscape", "image", "other"] = "other"
    reference: str = ""
    defaults: Mapping[str, Any] = field(default_factory=_nothing)

    def resolve(self, given: Mapping[str, Any] | None = None) -> dict[str, Any]:
        """Fill in the defaults and coerce every option to its type.

        Raises:
            UsageError: If a name is unknown, a value is of the wrong type, or a required one is missing.
        """
        return _hyperparameters.resolve(
            f"task {self.name!r}",
            self.factory,
            dict(given or {}),
            defaults=self.defaults,
            kind="option",
        )

    def create(self, options: Mapping[str, Any]) -> Task:
        """Build the task from resolved options.

        Raises:
            UsageError: If the factory refuses a value.
        """
        try:
            return self.factory(**options)
        except UsageError:
            raise
        except ValueError as error:
            raise UsageError(f"task {self.name!r}: {error}") from error


Info = TypeVar("Info", OptimizerInfo, TaskInfo)


@dataclass(frozen=True)
class Family(Generic[Info]):
    """Names that share a prefix, `timm:adamw`, made when asked for rather than registered one by one.

    Args:
        prefix: What the names begin with, the colon included.
        make: From the rest of the name, as it was spelled, to the info.
        names: The rests that exist, for listing; empty where they cannot be listed (paths).
    """

    prefix: str
    make: Callable[[str], Info]
    names: Callable[[], list[str]] = list


class _Registry(Generic[Info]):
    def __init__(self, kind: str) -> None:
        self._kind = kind
        self._infos: dict[str, Info] = {}
        self._families: dict[str, Family[Info]] = {}

    def register(self, info: Info) -> None:
        name = info.name.lower()
        if name in self._infos or any(name.startswith(prefix) for prefix in self._families):
            raise ValueError(f"{self._kind} {name!r} is registered already")
        self._infos[name] = info

    def register_family(self, family: Family[Info]) -> None:
        prefix = family.prefix.lower()
        if prefix in self._families or any(name.startswith(prefix) for name in self._infos):
            raise ValueError(f"{self._kind} names beginning with {prefix!r} are registered already")
        self._families[prefix] = family

    def get(self, name: str) -> Info:
        _load_plugins()
        if name.lower() in self._infos:
            return self._infos[name.lower()]
        for prefix, family in self._families.items():
            if name.lower().startswith(prefix):
                return family.make(name[len(prefix) :])
        raise unknown(self._kind, name, self.names("*"))

    def names(self, pattern: str) -> list[str]:
        _load_plugins()
        names = list(self._infos)
        for prefix, family in self._families.items():
            names += [prefix + rest for rest in family.names()]
        return sorted(name for name in names if fnmatch.fnmatch(name.lower(), pattern.lower()))


_OPTIMIZERS: _Registry[OptimizerInfo] = _Registry("optimizer")
_TASKS: _Registry[TaskInfo] = _Registry("task")
_loaded = False


def _load_plugins() -> None:
    global _loaded
    if _loaded:
        return
    _loaded = True
    from rbobench import optim, tasks

    optim.register()
    tasks.register()
    for point in sorted(entry_points(group=PLUGIN_GROUP), key=lambda point: point.name):
        try:
            point.load()()
        except Exception as error:  # one broken plugin must not take the others with it
            warnings.warn(f"plugin {point.name!r} ({point.value}) failed: {error}", stacklevel=2)


def register_optimizer(info: OptimizerInfo) -> None:
    """Add an optimizer.

    Raises:
        ValueError: If the name is taken.
    """
    _OPTIMIZERS.register(info)


def register_optimizer_family(family: Family[OptimizerInfo]) -> None:
    """Add a family of optimizers that share a prefix.

    Raises:
        ValueError: If a name with the prefix is taken.
    """
    _OPTIMIZERS.register_family(family)


def register_task(info: TaskInfo) -> None:
    """Add a task.

    Raises:
        ValueError: If the name is taken.
    """
    _TASKS.register(info)


def register_task_family(family: Family[TaskInfo]) -> None:
    """Add a family of tasks that share a prefix.

    Raises:
        ValueError: If a name with the prefix is taken.
    """
    _TASKS.register_family(family)


def get_optimizer(name: str) -> OptimizerInfo:
    """Look an optimizer up, in any case.

    Raises:
        UsageError: If nobody has registered it; near names are named.
    """
    return _OPTIMIZERS.get(name)


def get_task(name: str) -> TaskInfo:
    """Look a task up, in any case.

    Raises:
        UsageError: If nobody has registered it; near names are named.
    """
    return _TASKS.get(name)


def list_optimizers(pattern: str = "*") -> list[str]:
    """Registered optimizer names that match a shell pattern, sorted."""
    return _OPTIMIZERS.names(pattern)


def list_tasks(pattern: str = "*") -> list[str]:
    """Registered task names that match a shell pattern, sorted."""
    return _TASKS.names(pattern)


def create_optimizer(name: str, params: Any, *, seed: int = 0, **hyperparameters: Any) -> Optimizer:
    """Build a registered optimizer for one's own training loop.

    Args:
        name: Registered name, e.g. `"rbo"` or `"timm:lion"`.
        params: Parameters or parameter groups, as any `torch.optim.Optimizer` takes them.
        seed: For randomized optimizers alone.
        **hyperparameters: Its hyperparameters; the rest keep their defaults.

    Raises:
        UsageError: If the name or a hyperparameter is unknown, or a value is refused.
    """
    info = get_optimizer(name)
    if info.looks_around and CONTACT_FRACTION in hyperparameters:
        raise UsageError(
            f"{CONTACT_FRACTION} belongs to a suite's trial; give `step` a contact_closure in your own loop"
        )
    return info.create(params, info.resolve(hyperparameters), seed=seed)


__all__ = [
    "Family",
    "OptimizerInfo",
    "Reduction",
    "StoppingRule",
    "TaskInfo",
    "UsageError",
    "create_optimizer",
    "get_optimizer",
    "get_task",
    "list_optimizers",
    "list_tasks",
    "register_optimizer",
    "register_optimizer_family",
    "register_task",
    "register_task_family",
]
