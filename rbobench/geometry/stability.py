"""How sharp a minimum each method can sit in: the largest Hessian eigenvalue κ at which it is stable.

Around a minimum at 0 a Hessian's eigendirections evolve apart. In that of κ the gradient at the contact is
g_t = κ(c_t + s_t), and the center moves by c_{t+1} = c_t − ηg_t. The contact is s = rg for one of the
gradients, with r = ρλ/√(1+λ²‖g‖²) (for SAM ρ/‖g‖), which is taken as constant. Substituting s leaves a linear
recurrence; its edge is the κ up to which all its roots lie in the unit disc:

- gradient descent, s = 0: |1 − ηκ| < 1;
- search, k steps from s = 0: |1 − ηκΣ_{i≤k}(rκ)^i| < 1;
- the exact ball, s_t = rg_t: |1 − ηκ/(1−rκ)| < 1;
- previous, s_t = rg_{t−1}: z² − (1+rκ−ηκ)z + rκ;
- mirrored, s_t = −rg_{t−1}: z² − (1−rκ−ηκ)z − rκ;
- lagged, s_t = rg_{t−2}: z³ − (1−ηκ)z² − rκz + rκ.

docs/center-form.md proves each. Learning rates η > 0 and r ≥ 0 are in the same unit, κ in its inverse.
"""

from __future__ import annotations

import math

from scipy.optimize import brentq

from rbobench.errors import UsageError


def gradient_descent(lr: float) -> float:
    """2/η.

    Args:
        lr: η > 0.

    Raises:
        UsageError: If η is out of range.
    """
    _check(lr, 0.0)
    return 2.0 / lr


def exact_ball(lr: float, r: float) -> float:
    """2/(η+2r): the tightest stable radius of curvature, 1/κ, is gradient descent's plus r.

    Args:
        lr: η > 0.
        r: ρλ/√(1+λ²‖g‖²) ≥ 0, with g the gradient at the contact.

    Raises:
        UsageError: If η or r is out of range.
    """
    _check(lr, r)
    return 2.0 / (lr + 2.0 * r)


def search(lr: float, r: float, steps: int = 1) -> float:
    """The root of ηκΣ_{i≤k}(rκ)^i = 2; for k = 1, (√(1+8r/η)−1)/(2r).

    It falls with k, from gradient descent's edge at k = 0 towards the exact ball's. SAM is k = 1 with
    r = ρ/‖g‖, whose edge Long and Bartlett found (arXiv 2309.12488).

    Args:
        lr: η > 0.
        r: ρλ/√(1+λ²‖g‖²) ≥ 0, with g the gradient that the search takes its contact from.
        steps: k ≥ 0, fixed-point steps.

    Raises:
        UsageError: If an argument is out of range.
    """
    _check(lr, r)
    if steps < 0 or steps != int(steps):
        raise UsageError(f"a search takes a whole number of steps from 0, not {steps}")
    if steps == 1:
        return 4.0 / (lr * (1.0 + math.sqrt(1.0 + 8.0 * r / lr)))  # the same, and good at r = 0
    low, high = exact_ball(lr, r), gradient_descent(lr)
    if steps == 0 or low == high:
        return high

    def excess(curvature: float) -> float:
        return lr * curvature * sum((r * curvature) ** i for i in range(steps + 1)) - 2.0

    # The sum is below 1/(1−rκ), so that the exact ball's edge is below the root.
    return float(brentq(excess, low, high, xtol=1e-15 * high)) if excess(low) < 0.0 else low


def previous(lr: float, r: float) -> float:
    """min(1/r, 2/(η−2r)), the second for r < η/2 alone: sharper than gradient descent's for r < η/2.

    Args:
        lr: η > 0.
        r: ρλ/√(1+λ²‖g‖²) ≥ 0.

    Raises:
        UsageError: If η or r is out of range.
    """
    _check(lr, r)
    flip = 2.0 / (lr - 2.0 * r) if lr > 2.0 * r else math.inf
    return min(flip, 1.0 / r) if r > 0.0 else flip


def mirrored(lr: float, r: float) -> float:
    """2/(η+2r), the exact ball's: it is right about g_t = −g_{t−1}, how oscillation begins.

    Args:
        lr: η > 0.
        r: ρλ/√(1+λ²‖g‖²) ≥ 0.

    Raises:
        UsageError: If η or r is out of range.
    """
    return exact_ball(lr, r)


def lagged(lr: float, r: float) -> float:
    """2/(η+2r), the exact ball's: it is right about g_t = g_{t−2}, how oscillation begins.

    Args:
        lr: η > 0.
        r: ρλ/√(1+λ²‖g‖²) ≥ 0.

    Raises:
        UsageError: If η or r is out of range.
    """
    return exact_ball(lr, r)


def _check(lr: float, r: float) -> None:
    if not 0.0 < lr < math.inf:
        raise UsageError(f"the learning rate must be above 0, not {lr}")
    if not 0.0 <= r < math.inf:
        raise UsageError(f"r must be at least 0, not {r}")
