"""Parameter groups that share one setting."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from torch import Tensor


def check_agreement(
    reason: str, names: Iterable[str], group: Mapping[str, Any], other: Mapping[str, Any]
) -> None:
    """See that two groups agree on settings that are one for all parameters.

    Tensors are compared by identity: to look into them would make the host wait for the device.

    Args:
        reason: Why they must, as the beginning of the error's sentence.
        names: Keys of the groups.
        group: One group.
        other: Another one, or the settings of one to be.

    Raises:
        ValueError: If they do not.
    """
    for name in names:
        one, two = group[name], other[name]
        tensors = isinstance(one, Tensor) or isinstance(two, Tensor)
        if one is not two and (tensors or one != two):
            raise ValueError(f"{reason}, but groups disagree on {name}: {one} and {two}")
