"""Membership inference: whether a model's losses tell the samples that it was trained on from others."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray
from torch import Tensor

from rbobench.errors import UsageError
from rbobench.measures.surface import Cost

FEWEST_NON_MEMBERS = 1000
"""Below, 1 % of false positives are a handful of samples, and true positives beside them mean nothing."""


@dataclass(frozen=True)
class MembershipInference:
    """How well the loss gives members away.

    Attributes:
        value: Area under the attack's ROC curve: the chance that a member has a lower loss than a non-member,
            ties counted half. 0.5 is private.
        uncertainty: Its standard error by DeLong et al. (1988), computed exactly from all pairs: over samples
            of this one model. About 1/√(6n) for a model that has not seen the n members and n others; 0 where
            losses do not overlap at all; NaN below two samples of a kind.
        cost: The losses, each evaluated once.
        advantage: True less false positive rate at the best threshold (Yeom et al., arXiv 1709.01604).
            The threshold is chosen on the samples that it is judged on, so it is positive even
            where nothing can be told.
        advantage_null: What `advantage` is then expected to be: the mean of the one-sided two-sample
            Kolmogorov-Smirnov statistic, √(π (m + n) / (8mn)) for large m and n and no ties; a little too
            much for few.
        true_positives_at_1_percent: Share of members found at no more than 1 % false positives (Carlini et
            al., arXiv 2112.03570); `None` below `FEWEST_NON_MEMBERS`.
        members: m, how many.
        non_members: n, how many.
    """

    value: float
    uncertainty: float
    cost: Cost
    advantage: float
    advantage_null: float
    true_positives_at_1_percent: float | None
    members: int
    non_members: int


def membership_inference(
    member_losses: Tensor | ArrayLike, non_member_losses: Tensor | ArrayLike
) -> MembershipInference:
    """Attack by the loss: a sample below a threshold is called a member (Yeom et al., arXiv 1709.01604).

    Members and non-members must come from one pool that went through the same corruption; else they differ
    whether a model has seen them or not. Losses of memorized samples are tiny: taken in double precision
    (`functional.cross_entropy(logits.double(), labels, reduction="none")`), fewer of them coincide.

    Args:
        member_losses: Of samples trained on, of shape (m,).
        non_member_losses: Of samples held out, of shape (n,).

    Raises:
        UsageError: If there are none of a kind, they are not one-dimensional, or one is not finite.
    """
    members = _sorted(member_losses, "member")
    others = _sorted(non_member_losses, "non-member")
    # For each member the share of non-members above it, and for each non-member that of members below.
    caught = 1.0 - _rank(others, members)
    catching = _rank(members, others)
    thresholds = np.concatenate([members, others])
    rates = [np.searchsorted(kind, thresholds, "right") / kind.size for kind in (members, others)]
    true_positives = None
    if others.size >= FEWEST_NON_MEMBERS:
        # One false positive more than allowed starts here.
        limit = others[others.size // 100]
        true_positives = float(np.searchsorted(members, limit, "left") / members.size)
    return MembershipInference(
        value=float(caught.mean()),
        uncertainty=math.sqrt(_variance_of_mean(caught) + _variance_of_mean(catching)),
        cost=Cost(forward_evaluations=1.0),
        advantage=float((rates[0] - rates[1]).max()),
        advantage_null=math.sqrt(math.pi / 8 * (1 / members.size + 1 / others.size)),
        true_positives_at_1_percent=true_positives,
        members=members.size,
        non_members=others.size,
    )


def _sorted(losses: Tensor | ArrayLike, whose: str) -> NDArray[np.float64]:
    """Ascending, in double precision.

    Raises:
        UsageError: If they are not what an attack can work with.
    """
    values = losses.detach().cpu().double().numpy() if isinstance(losses, Tensor) else losses
    array = np.asarray(values, dtype=np.float64)
    if array.ndim != 1 or not array.size:
        raise UsageError(
            f"{whose} losses must be a vector with at least one entry, not of shape {array.shape}"
        )
    if wrong := int((~np.isfinite(array)).sum()):
        raise UsageError(
            f"{wrong} of {array.size} {whose} losses are not finite; a diverged model is not attacked"
        )
    return np.sort(array)


def _rank(ascending: NDArray[np.float64], values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Share of `ascending` below each of `values`, equal ones counted half."""
    below = np.searchsorted(ascending, values, "left")
    not_above = np.searchsorted(ascending, values, "right")
    return (below + not_above) / (2 * ascending.size)


def _variance_of_mean(values: NDArray[np.float64]) -> float:
    return float(values.var(ddof=1)) / values.size if values.size > 1 else math.nan


__all__ = ["FEWEST_NON_MEMBERS", "MembershipInference", "membership_inference"]
