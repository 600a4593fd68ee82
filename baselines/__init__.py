"""The competitors of the rolling ball, registered as anyone's optimizers would be."""

from __future__ import annotations


def register() -> None:
    """Register every baseline; named by the entry point of the group `rbobench.plugins`."""
    from baselines import adamw, averaging, entropy_sgd, sam, sgd, timm

    for family in (sgd, adamw, sam, entropy_sgd, averaging, timm):
        family.register()
