"""The competitors of the rolling ball, registered as anyone's optimizers would be."""

from __future__ import annotations


def register() -> None:
    """Register every baseline; named by the entry point of the group `rbobench.plugins`."""
    from baselines import adamw, averaging, entropy_sgd, one_gradient_sam, sam, sam_kin, sgd, smoothing, timm

    families = (sgd, adamw, sam, sam_kin, one_gradient_sam, smoothing, entropy_sgd, averaging, timm)
    for family in families:
        family.register()
