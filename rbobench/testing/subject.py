"""What is checked: an optimizer with what is declared about it."""

from __future__ import annotations

import importlib
import inspect
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from torch.optim import Optimizer

from rbobench.errors import UsageError
from rbobench.hyperparameters import REQUIRED
from rbobench.registry import OptimizerInfo, get_optimizer

Make = Callable[[Any], Optimizer]

REQUIRED_VALUES: Mapping[str, Any] = {"lr": 0.05, "radius": 1.0}
"""What a hyperparameter without a default is set to in the checks."""


@dataclass(frozen=True)
class Subject:
    """An optimizer under test.

    Args:
        name: What to call it.
        make: Builds it on parameters.
        cost: Gradient evaluations of one step, as declared.
        make_batched: Builds it for a batch of problems (`batch_dims = 1`); `None` where it takes none.
        parameter_copies: Memory held between steps, as declared; `None` where not.
        reductions: What it is called when its idea is taken out, with the optimizer it then is.
        exceptions: Checks it is known to fail, each with the reason.
        requires: Why it cannot run here; empty where it can.
    """

    name: str
    make: Make
    cost: float = 1
    make_batched: Make | None = None
    parameter_copies: float | None = None
    reductions: tuple[tuple[str, Make, Make], ...] = ()
    exceptions: Mapping[str, str] = field(default_factory=dict)
    requires: tuple[str, ...] = ()

    @classmethod
    def of(cls, optimizer: Subject | OptimizerInfo | type[Optimizer] | str) -> Subject:
        """A subject from a registered info, a class, or a class's name as `"package.module:Class"`.

        A class is built as `Class(params)`; its attribute `gradient_evaluations` is its cost, 1 if absent.

        Raises:
            UsageError: If the name leads to no class, or `Class(params)` cannot be built.
        """
        if isinstance(optimizer, Subject):
            return optimizer
        if isinstance(optimizer, OptimizerInfo):
            return cls._registered(optimizer)
        return cls._bare(_import(optimizer) if isinstance(optimizer, str) else optimizer)

    @classmethod
    def _registered(cls, info: OptimizerInfo) -> Subject:
        def maker(of: OptimizerInfo, **given: Any) -> Make:
            hyperparameters = of.resolve({**_required(of), **given})
            return lambda params: of.create(params, hyperparameters)

        return cls(
            name=info.name,
            make=maker(info),
            cost=info.cost(info.resolve(_required(info))),
            make_batched=maker(info, batch_dims=1) if info.batched else None,
            parameter_copies=info.parameter_copies,
            reductions=tuple(
                (
                    f"{info.name} with {dict(each.hyperparameters)} is {each.to}",
                    maker(info, **each.hyperparameters),
                    maker(get_optimizer(each.to), **each.to_hyperparameters),
                )
                for each in info.reductions
            ),
            exceptions=info.exceptions,
            requires=info.requires,
        )

    @classmethod
    def _bare(cls, kind: type[Optimizer]) -> Subject:
        cost = getattr(kind, "gradient_evaluations", 1)
        if not isinstance(cost, int) or cost < 1:
            raise UsageError(
                f"{kind.__name__}.gradient_evaluations must be a whole number from 1, not {cost!r}"
            )
        return cls(name=kind.__name__, make=kind, cost=cost)


def _required(info: OptimizerInfo) -> dict[str, Any]:
    """Values for the hyperparameters that have no default, those of a wrapped optimizer included."""
    missing = [name for name, declared in _declared(info) if declared is REQUIRED]
    return {name: REQUIRED_VALUES[name] for name in missing if name in REQUIRED_VALUES}


def _declared(info: OptimizerInfo) -> Iterable[tuple[str, Any]]:
    signature = info.as_signature()
    if info.wraps is not None:
        signature = {**get_optimizer(str(signature[info.wraps].default)).as_signature(), **signature}
    return [(name, declared.default) for name, declared in signature.items()]


def _import(spelled: str) -> type[Optimizer]:
    module_name, colon, class_name = spelled.partition(":")
    if not (module_name and colon and class_name):
        raise UsageError(f"an optimizer is named as package.module:Class, not {spelled!r}")
    try:
        module = importlib.import_module(module_name)
    except (Exception, SystemExit) as error:  # whatever a module that is being written may raise
        text = str(error) if isinstance(error, ImportError) else f"{type(error).__name__}: {error}"
        raise UsageError(f"cannot import {module_name!r}: {' '.join(text.split())}") from error
    kind = getattr(module, class_name, None)
    if kind is None:
        raise UsageError(f"module {module_name!r} has no {class_name!r}")
    if not (inspect.isclass(kind) and issubclass(kind, Optimizer)):
        raise UsageError(f"{spelled!r} is no torch.optim.Optimizer class")
    return kind
