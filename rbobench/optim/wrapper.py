"""An optimizer around another one."""

from __future__ import annotations

from typing import Any

import torch


class OptimizerWrapper(torch.optim.Optimizer):
    """Shares parameter groups and state with a base optimizer.

    The wrapper's settings stand in the base's groups, so that schedulers reach both through either. What the
    wrapper keeps for a parameter stands in the base's state beside the base's own, so that `state_dict` is
    the base's. Where a base takes an empty state for its first step, the wrapper must write there after it.

    Args:
        base: Built already, on the parameters.
        settings: The wrapper's own, written into the groups.
    """

    def __init__(self, base: torch.optim.Optimizer, settings: dict[str, Any]) -> None:
        self.base = base
        self._settings = settings
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

    def _link(self) -> None:
        """Take the base's groups and state, which loading has replaced, for one's own."""
        for group in self.base.param_groups:
            for name, value in self._settings.items():
                group.setdefault(name, value)
        self.param_groups = self.base.param_groups
        self.state = self.base.state
