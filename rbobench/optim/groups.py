"""Settings of parameter groups: in range, and one for all parameters where they must be."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from typing import Any

import torch
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


def check_range(settings: Mapping[str, Any], *names: str, above: bool = False) -> None:
    """See that settings are finite and at least 0; of a tensor, every entry, where there are any.

    Args:
        settings: Name to value.
        *names: Those that are looked at.
        above: Whether 0 itself is out of range.

    Raises:
        ValueError: If one is not.
    """
    for name in names:
        if not _in_range(settings[name], above=above):
            least = "above 0" if above else "at least 0"
            raise ValueError(f"{name} must be finite and {least}, not {settings[name]}")


def _in_range(value: float | Tensor, *, above: bool) -> bool:
    if isinstance(value, Tensor):
        if value.is_meta:
            return True
        large = value > 0 if above else value >= 0
        return bool((torch.isfinite(value) & large).all())
    return math.isfinite(value) and (value > 0 if above else value >= 0)
