"""An optimizer around another one."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, TypeGuard

import torch
from torch import Tensor

from rbobench.optim.observed import has_hooks
from rbobench.optim.sgd import SGD


class OptimizerWrapper(torch.optim.Optimizer):
    """Shares parameter groups and state with a base optimizer.

    The wrapper's settings stand in the base's groups, so that schedulers reach both through either. What the
    wrapper keeps for a parameter stands in the base's state beside the base's own, so that `state_dict` is
    the base's, unless the wrapper adds it there. Where a base takes an empty state for its first step, the
    wrapper must write there after it.

    Args:
        base: Built already, on the parameters.
        settings: The wrapper's own, written into the groups.
        batch_dims: How many leading dimensions of every parameter number independent problems; needs
            `rbobench.optim.sgd.SGD` as base, with the same `batch_dims`.

    Raises:
        ValueError: If a setting is the base's own too, or the base takes no such batch of problems.
    """

    def __init__(self, base: torch.optim.Optimizer, settings: Mapping[str, Any], batch_dims: int = 0) -> None:
        for name in settings:
            if name in base.defaults:
                raise ValueError(
                    f"{name} is a setting of {type(base).__name__} too, and one would hide the other"
                )
        if batch_dims != 0 and not isinstance(base, SGD):
            raise ValueError(f"batch_dims needs sgd as base optimizer, not {type(base).__name__}")
        of_base = base.defaults.get("batch_dims", 0)
        if of_base != batch_dims:
            raise ValueError(f"batch_dims is {batch_dims}, but {of_base} in the base optimizer")
        self.base = base
        self._batch_dims = batch_dims
        self._settings = dict(settings)
        super().__init__(base.param_groups, {**base.defaults, **settings})
        self._link()

    def __getstate__(self) -> dict[str, Any]:
        hooks = ("_optimizer_", "_warned")  # torch makes them anew
        scheduled = ("step", "_opt_called")  # a scheduler's, whose `step` is bound to this very optimizer
        return {
            name: value
            for name, value in vars(self).items()
            if name not in scheduled and not name.startswith(hooks)
        }

    def add_param_group(self, param_group: dict[str, Any]) -> None:
        """Add parameters to the base, with the wrapper's settings."""
        if all(param_group is not group for group in self.base.param_groups):
            self.base.add_param_group(param_group)
            self._link()

    def zero_grad(self, set_to_none: bool = True) -> None:
        """Clear the gradients."""
        self.base.zero_grad(set_to_none)

    def state_dict(self) -> dict[str, Any]:
        """The state of both."""
        return self.base.state_dict()

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Restore both."""
        self.base.load_state_dict(state_dict)
        self._link()

    def _parameters(self) -> list[Tensor]:
        """Of all groups, in order."""
        return [parameter for group in self.param_groups for parameter in group["params"]]

    def _base_step(self, loss: Tensor) -> None:
        """Let the base descend by the gradients that are there; `loss` tells diverged problems of a batch."""
        base = self.base
        if self._batch_dims > 0:
            assert isinstance(base, SGD)
            base.step_batch(loss)
        elif descends_alone(base):
            base.descend()
        else:
            base.step()

    def _link(self) -> None:
        """Take the base's groups and state, which loading has replaced, for one's own."""
        for group in self.base.param_groups:
            for name, value in self._settings.items():
                group.setdefault(name, value)
        self.param_groups = self.base.param_groups
        self.state = self.base.state


def descends_alone(base: torch.optim.Optimizer) -> TypeGuard[SGD]:
    """Whether a step of the base is `SGD.descend` and no more: nobody hooks it, no scheduler counts it."""
    return type(base) is SGD and "step" not in vars(base) and base.is_plain and not has_hooks(base)
