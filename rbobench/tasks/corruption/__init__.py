"""Corruptions of training data, one a file, chosen in a suite by `kind`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Any, Generic, TypeVar

from rbobench.errors import UsageError, unknown
from rbobench.hyperparameters import resolve
from rbobench.tasks.corruption.badnets import Backdoor, BadNets
from rbobench.tasks.corruption.label_noise import LabelNoise, SymmetricNoise

Corruption = TypeVar("Corruption", LabelNoise, Backdoor)


@dataclass(frozen=True, eq=False)  # by identity, so that type hints that hold one can be hashed
class Kinds(Generic[Corruption]):
    """The corruptions of one sort, by kind.

    Args:
        classes: Kind to the class that is built from its options.
    """

    classes: Mapping[str, type[Corruption]]

    def __call__(self, what: str, given: Any) -> dict[str, Any]:
        """Resolve the options of a suite file: the defaults filled in, the values coerced and in range.

        Raises:
            UsageError: If the kind or an option is unknown, or a value is refused.
        """
        if not isinstance(given, Mapping):
            raise UsageError(f"{what} must be a mapping with a kind, not {given!r}")
        if "kind" not in given:
            raise UsageError(f"{what} needs a kind: {', '.join(sorted(self.classes))}")
        kind = str(given["kind"])
        if kind not in self.classes:
            raise UsageError(f"{what}: {unknown('kind', kind, self.classes)}")
        rest = {name: value for name, value in given.items() if name != "kind"}
        resolved = {"kind": kind, **resolve(f"{what} {kind!r}", self.classes[kind], rest, kind="option")}
        try:
            self.create(resolved)
        except ValueError as error:
            raise UsageError(f"{what} {kind!r}: {error}") from None
        return resolved

    def create(self, resolved: Mapping[str, Any]) -> Corruption:
        """Build the corruption from resolved options."""
        options = {name: value for name, value in resolved.items() if name != "kind"}
        return self.classes[resolved["kind"]](**options)


LABEL_NOISE: Kinds[LabelNoise] = Kinds({"symmetric": SymmetricNoise})
BACKDOORS: Kinds[Backdoor] = Kinds({"badnets": BadNets})

LabelNoiseOptions = Annotated[dict, LABEL_NOISE]
"""A mapping with `kind: symmetric` and its options."""
BackdoorOptions = Annotated[dict, BACKDOORS]
"""A mapping with `kind: badnets` and its options."""

__all__ = ["BACKDOORS", "LABEL_NOISE", "Backdoor", "BackdoorOptions", "LabelNoise", "LabelNoiseOptions"]
