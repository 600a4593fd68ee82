"""Corruptions of training data, one a file, chosen in a suite by `kind`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Any, Generic, TypeVar

from rbobench.errors import UsageError, unknown
from rbobench.hyperparameters import resolve
from rbobench.tasks.corruption.asymmetric import AsymmetricNoise
from rbobench.tasks.corruption.backdoor import Backdoor, Poisoning
from rbobench.tasks.corruption.badnets import BadNets
from rbobench.tasks.corruption.blended import Blended
from rbobench.tasks.corruption.human import HumanNoise
from rbobench.tasks.corruption.instance_dependent import InstanceDependentNoise
from rbobench.tasks.corruption.label_flip import TargetedFlip
from rbobench.tasks.corruption.label_noise import LabelNoise
from rbobench.tasks.corruption.manifest_noise import ManifestNoise
from rbobench.tasks.corruption.pair_flip import PairFlipNoise
from rbobench.tasks.corruption.sig import Sig
from rbobench.tasks.corruption.symmetric import SymmetricNoise
from rbobench.tasks.corruption.wanet import WaNet

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


LABEL_NOISE: Kinds[LabelNoise] = Kinds(
    {
        "symmetric": SymmetricNoise,
        "asymmetric": AsymmetricNoise,
        "pair-flip": PairFlipNoise,
        "instance-dependent": InstanceDependentNoise,
        "human": HumanNoise,
        "manifest": ManifestNoise,
    }
)
BACKDOORS: Kinds[Backdoor] = Kinds(
    {"badnets": BadNets, "blended": Blended, "sig": Sig, "wanet": WaNet, "targeted-flip": TargetedFlip}
)

LabelNoiseOptions = Annotated[dict, LABEL_NOISE]
"""A mapping with a kind of label noise and its options."""
BackdoorOptions = Annotated[dict, BACKDOORS]
"""A mapping with a kind of backdoor and its options."""

__all__ = [
    "BACKDOORS",
    "LABEL_NOISE",
    "Backdoor",
    "BackdoorOptions",
    "LabelNoise",
    "LabelNoiseOptions",
    "Poisoning",
]
