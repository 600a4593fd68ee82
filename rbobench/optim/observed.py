"""What torch puts around every optimizer's step, where somebody looks."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any, TypeVar

import torch
from torch._C import _set_grad_enabled
from torch.optim import optimizer

Step = TypeVar("Step", bound=Callable[..., Any])


def observed(step: Step) -> Step:
    """Decorate an optimizer's `step`: torch's hooks and its profiler's record, only where there are any.

    `torch.optim.Optimizer` puts them around the step of every class that does not say it has them. The
    record alone, which nobody reads unless a profiler runs, takes a tenth of a small network's gradient.

    Args:
        step: The method; it runs without gradients, as under `torch.no_grad()`.
    """
    recorded = torch.optim.Optimizer.profile_hook_step(torch.no_grad()(step))

    @functools.wraps(step)
    def wrapper(self: torch.optim.Optimizer, *args: Any, **kwargs: Any) -> Any:
        if torch.autograd.profiler._is_profiler_enabled or has_hooks(self):
            return recorded(self, *args, **kwargs)
        # Not by torch's context manager, which takes a small network as long as an operation does.
        before = torch.is_grad_enabled()
        _set_grad_enabled(False)
        try:
            return step(self, *args, **kwargs)
        finally:
            _set_grad_enabled(before)

    wrapper.hooked = True  # type: ignore[attr-defined]
    return wrapper  # type: ignore[return-value]


def has_hooks(of: torch.optim.Optimizer) -> bool:
    """Whether an optimizer's step has hooks, its own or those of all optimizers."""
    return bool(
        of._optimizer_step_pre_hooks
        or of._optimizer_step_post_hooks
        or optimizer._global_optimizer_pre_hooks
        or optimizer._global_optimizer_post_hooks
    )
