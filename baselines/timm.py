"""Every optimizer that timm lists, as `timm:<name>`."""

from __future__ import annotations

import importlib.util
import typing
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from rbobench import hyperparameters
from rbobench.errors import unknown
from rbobench.hyperparameters import REQUIRED, Hyperparameter
from rbobench.registry import Family, OptimizerInfo, register_optimizer_family

if TYPE_CHECKING:
    from torch.optim import Optimizer

PREFIX = "timm:"

# They say how a step is computed, not which step it is, or have it climb.
_NOT_HYPERPARAMETERS = frozenset({"capturable", "differentiable", "foreach", "fused", "maximize", "verbose"})

_META = {"runs_on_meta": "the step looks at a tensor's value from the host"}
_KRON = {
    **_META,
    "leaves_the_global_random_stream_alone": "draws its probes from torch's default generator",
    "resume_is_bit_equal": "what it draws from torch's default generator is not in its state",
    "a_copy_goes_on_as_the_original": "what it draws from torch's default generator is not in its state",
}
_MADGRAD = {"lr_zero_moves_nothing": "adds eps to lr"}

EXCEPTIONS: Mapping[str, Mapping[str, str]] = {
    **dict.fromkeys(("adamp", "cadamp", "csgdp", "sgdp", "novograd", "novogradc", "novogradw"), _META),
    **dict.fromkeys(("kron", "kronc", "kronw"), _KRON),
    **dict.fromkeys(("madgrad", "madgradw"), _MADGRAD),
}
"""timm's name to the checks of `rbobench.testing` that the optimizer is known to fail, with the reason."""


class _TimmOptimizer:
    """Builds one of timm's optimizers; carries its hyperparameters, which `functools.partial` would hide."""

    def __init__(self, name: str) -> None:
        self._name = name
        self.hyperparameter_signature = _signature(name)

    def __call__(self, params: Any, **given: Any) -> Optimizer:
        import timm.optim

        optimizer: Optimizer = timm.optim.get_optimizer_class(self._name)(params, **given)
        return optimizer


def _signature(name: str) -> dict[str, Hyperparameter]:
    """The hyperparameters of the class with timm's bound defaults; `lr` alone where it cannot be imported."""
    import timm.optim
    from torch.optim.optimizer import required

    info = timm.optim.get_optimizer_info(name)
    try:
        kind = timm.optim.get_optimizer_class(name, bind_defaults=False)
    except (AssertionError, ImportError):
        return {"lr": Hyperparameter(float, REQUIRED)}
    declared = {}
    for each, hyperparameter in hyperparameters.signature(kind, info.defaults).items():
        if hyperparameter.default is required:
            hyperparameter = Hyperparameter(float, REQUIRED)
        if each not in _NOT_HYPERPARAMETERS and not _is_a_dtype(hyperparameter.hint):
            declared[each] = hyperparameter
    return declared


def _is_a_dtype(hint: Any) -> bool:
    """Whether it takes a `torch.dtype`, which no suite file can hold."""
    import torch

    return torch.dtype in (hint, *typing.get_args(hint))


def _defaults(declared: Mapping[str, Hyperparameter]) -> dict[str, Any]:
    """What timm's classes leave open, or cannot be built with.

    `lr` is 0.01 where a class has none or finds its own. `momentum` is 0.9 where a class has 0, as in timm's
    own `create_optimizer_v2`: Nesterov's, which timm binds for `sgd` and its kin, cannot do without.
    """
    defaults: dict[str, Any] = {}
    if declared["lr"].default in (REQUIRED, None):
        defaults["lr"] = 0.01
    if "momentum" in declared and declared["momentum"].default == 0:
        defaults["momentum"] = 0.9
    return defaults


def _requires(name: str) -> tuple[str, ...]:
    """Why it cannot run everywhere."""
    import timm.optim

    info = timm.optim.get_optimizer_info(name)
    if info.second_order:
        return ("second-order gradients",)
    if not isinstance(info.opt_class, str):
        return ()
    package = info.opt_class.partition(".")[0]
    missing = () if importlib.util.find_spec(package) else (package,)
    return (*missing, "cuda")


def _info(name: str) -> OptimizerInfo:
    import timm.optim

    name = name.lower()
    names = _names()
    if name not in names:
        raise unknown("optimizer", PREFIX + name, [PREFIX + each for each in names])
    factory = _TimmOptimizer(name)
    defaults = _defaults(factory.hyperparameter_signature)
    lr = defaults.get("lr", factory.hyperparameter_signature["lr"].default)
    return OptimizerInfo(
        name=PREFIX + name,
        factory=factory,
        description=timm.optim.get_optimizer_info(name).description,
        reference="timm (huggingface.co/docs/timm)",
        defaults=defaults,
        search_space={"lr": ("log", lr / 10, lr * 10)},
        requires=_requires(name),
        exceptions=EXCEPTIONS.get(name, {}),
    )


def _names() -> list[str]:
    import timm.optim

    return [str(name) for name in timm.optim.list_optimizers()]


def register() -> None:
    """Register the family `timm:`; timm is imported when a name of it is asked for."""
    register_optimizer_family(Family(prefix=PREFIX, make=_info, names=_names))


__all__ = ["EXCEPTIONS", "PREFIX", "register"]
