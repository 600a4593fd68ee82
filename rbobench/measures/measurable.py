"""What a problem offers to be measured."""

from __future__ import annotations

from typing import Any, Protocol, runtime_checkable

from torch import Tensor

from rbobench.measures.surface import LossSurface


@runtime_checkable
class Measurable(Protocol):
    """A problem of classification at whose weights measures can be taken."""

    def surface(self, *, normalize_logits: bool = False) -> LossSurface:
        """The mean loss on a stored subset of the training data, in evaluation mode."""
        ...

    def membership_losses(self) -> tuple[Tensor, Tensor]:
        """Losses of training samples, and of samples held out of the same pool."""
        ...

    def memorized_at(self) -> dict[str, list[Any]]:
        """When each flipped label was first memorized: `positions` and `gradient_evaluations`."""
        ...
