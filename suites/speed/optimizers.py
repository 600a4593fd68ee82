"""The optimizers of ours, a value measured for each of them in one process."""

from __future__ import annotations

from collections.abc import Callable

from .paired import Ratios

OPTIMIZERS = (
    "adamw",
    "asam",
    "asam-w2",
    "entropy-sgd",
    "entropy-sgd-pytorch",
    "friendly-sam",
    "gaussian-smoothing",
    "gsam",
    "lookahead",
    "momentum-sam",
    "rbo",
    "rbo-center",
    "rbo-center-null",
    "rbo-distance",
    "rbo-lagged",
    "rbo-mirrored",
    "rbo-null",
    "rbo-previous",
    "rwp",
    "s2-sam",
    "sam",
    "sam-null",
    "sam-random",
    "sgd",
    "sgd-early",
    "sgd-repeat",
    "sgd-short",
    "swa",
    "unified-sam",
    "wsam",
)
"""Every name that rbobench and baselines register; written out, for asv keeps results by it."""

Found = dict[str, Ratios | float | str]
"""Name to what was measured, or to the text of what went wrong; without what the commit does not have."""


def each(measure: Callable[[str], Ratios | float]) -> Found:
    """Measure every optimizer, whatever becomes of the others."""
    found: Found = {}
    for name in OPTIMIZERS:
        try:
            found[name] = measure(name)
        except NotImplementedError:
            continue
        except Exception as error:
            found[name] = f"{type(error).__name__}: {error}"
    return found


def value(found: Found, name: str) -> Ratios | float:
    """What was measured.

    Raises:
        NotImplementedError: If the commit does not have it, which makes asv skip it.
        RuntimeError: If it went wrong.
    """
    if name not in found:
        raise NotImplementedError(f"this commit has no {name}")
    measured = found[name]
    if isinstance(measured, str):
        raise RuntimeError(measured)
    return measured
