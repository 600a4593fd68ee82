"""The paper's central claim: what the ball cannot touch does not move it (Sections 1 and 4)."""

from __future__ import annotations

import math

import numpy as np
import torch
from torch import Tensor

from rbobench.geometry.graph import Array, graph_of
from rbobench.geometry.landscape import Formula, Landscape
from rbobench.geometry.reach import reachable
from rbobench.paper.claim import Claim, Finding, Numbers, Ruling
from rbobench.paper.claims.invariant import SINE, contacts, reachable_starts

_RADIUS = 3.0
_LR = 0.02
_STEPS = 300
_DOMAIN = (-16.0, 19.0)
_MINIMUM = -0.5 * math.pi
_DEEPER = 1.0
_SAME = 1e-9
_NARROWER = 0.9
"""Of the unreachable part of the valley, so that no rounding at its ends counts."""


def _deepened(half_width: float) -> Landscape:
    """Sin θ with one valley deeper by `_DEEPER`, smoothly, within `half_width` of its minimum."""

    def formula(points: Tensor) -> Tensor:
        away = ((points[..., 0] - _MINIMUM) / half_width).square()
        inside = away < 1.0
        bump = torch.exp(1.0 - 1.0 / (1.0 - torch.where(inside, away, 0.0)))
        return points[..., 0].sin() - _DEEPER * torch.where(inside, bump, 0.0)

    return Formula("sin θ, a valley deepened", formula)


def measure_unseen() -> Numbers:
    """How far apart paths on sin θ and on sin θ with an unreachable part of a valley deepened get."""
    graph = graph_of(SINE, _DOMAIN)
    near = _MINIMUM + np.linspace(0.0, math.pi, 1000)[:, None]
    touched = reachable(graph, near, _RADIUS)
    half_width = _NARROWER * float(near[touched.argmax(), 0] - _MINIMUM)
    deepened = _deepened(half_width)
    deep = graph_of(deepened, _DOMAIN)
    places = np.linspace(_MINIMUM - half_width, _MINIMUM + half_width, 200)[:, None]
    starts = reachable_starts(graph, _RADIUS, np.linspace(-4.0, 1.0, 400)[:, None], 12)
    numbers = {
        "half width": half_width,
        "touched where deepened": float(reachable(deep, places, _RADIUS).sum()),
        "starts": float(len(starts)),
    }

    def apart(starts: Array, radius: float, projection: str) -> tuple[float, float]:
        paths = [
            contacts(f, starts, radius, lr=_LR, steps=_STEPS, projection=projection, domain=_DOMAIN)
            for f in (SINE, deepened)
        ]
        farthest = np.abs(paths[0] - paths[1]).max(axis=(0, 2))
        return float(farthest.max()), float((farthest > _SAME).sum())

    for name, radius, projection in (
        ("exact", _RADIUS, "exact"),
        ("sgd", _RADIUS, "sgd"),
        ("radius 0", 0.0, "exact"),
    ):
        numbers[f"apart, {name}"], numbers[f"moved, {name}"] = apart(starts, radius, projection)
    return numbers


def judge_unseen(numbers: Numbers) -> Finding:
    """Whether the unreachable change moves the ball, where it moves a point."""
    apart = {name: numbers[f"apart, {name}"] for name in ("exact", "sgd", "radius 0")}
    moved = {name: numbers[f"moved, {name}"] for name in apart}
    value = (
        f"paths apart by {apart['exact']:.1g} with exact footpoints, {apart['sgd']:.2g} with the SGD "
        f"projection ({moved['sgd']:.0f} of {numbers['starts']:.0f} starts); radius 0: "
        f"{apart['radius 0']:.2g} ({moved['radius 0']:.0f})"
    )
    uncertainty = (
        f"sin θ, one valley deeper by {_DEEPER:g} within {numbers['half width']:.2f} of its minimum; "
        f"ρ = {_RADIUS:g}, η = {_LR:g}, {_STEPS} steps"
    )
    if numbers["touched where deepened"]:
        return Finding(value, uncertainty, Ruling.OPEN, "the ball touches what was changed")
    if apart["radius 0"] <= _SAME:
        return Finding(value, uncertainty, Ruling.OPEN, "the change does not move a point either")
    if apart["exact"] > _SAME:
        reason = f"sin θ with a valley deepened: exact balls are moved by {apart['exact']:.2g}"
        return Finding(value, uncertainty, Ruling.REFUTED, reason)
    if apart["sgd"] > _SAME:
        reason = (
            "footpoints are exact; the SGD projection, started at θ_t, goes down into what no ball touches"
        )
        return Finding(value, uncertainty, Ruling.HOLDS_WHEN, reason)
    return Finding(value, uncertainty, Ruling.HOLDS)


CLAIMS = (
    Claim(
        name="unreachable-features-do-not-matter",
        section="1, 4",
        claim="Features of the landscape that the ball cannot touch do not influence its trajectory.",
        test=(
            "Paths on sin θ against paths on sin θ with the unreachable part of a valley deepened, from "
            "reachable starts: exact footpoints, the paper's SGD projection, and radius 0 as the control"
        ),
        measure=measure_unseen,
        judge=judge_unseen,
    ),
)
