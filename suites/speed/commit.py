"""What the measured commit has."""

from __future__ import annotations

import importlib
from typing import Any

_MEASURED = ("rbobench", "baselines")


def offered(module: str, name: str | None = None) -> Any:
    """A module of the measured commit, or what it calls `name`.

    Raises:
        NotImplementedError: If the commit has none, which makes asv skip the benchmark.
    """
    try:
        found = importlib.import_module(module)
    except ModuleNotFoundError as error:
        # A missing dependency is a broken environment, no older commit.
        if (error.name or "").split(".")[0] not in _MEASURED or importlib.util.find_spec("rbobench") is None:
            raise
        raise NotImplementedError(f"this commit has no {error.name}") from None
    if name is None:
        return found
    if not hasattr(found, name):
        raise NotImplementedError(f"this commit has no {module}.{name}")
    return getattr(found, name)
