"""Every measure that can be taken at the weights of a trial, by name."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

import torch

from rbobench.errors import unknown
from rbobench.measures.measurable import Measurable
from rbobench.measures.neighborhood import Norm
from rbobench.randomness import Streams

Take = Callable[[Measurable, torch.Generator], Any]
"""From a problem and a random stream to a frozen result: a `value`, its `uncertainty`, its `cost`."""


@dataclass(frozen=True)
class Measure:
    """A measure.

    Args:
        description: One line.
        take: Takes it.
        sharpness: Whether it is a property of the loss surface, which BatchNorm's statistics change: it is
            then taken with the statistics as trained and as re-estimated.
    """

    description: str
    take: Take
    sharpness: bool = True


def _sam_gap(problem: Measurable, generator: torch.Generator) -> Any:
    from rbobench.measures.sharpness import sam_gap

    return sam_gap(problem.surface())


def _worst_case(norm: Norm, *, adaptive: bool) -> Take:
    def take(problem: Measurable, generator: torch.Generator) -> Any:
        from rbobench.measures.worst_case import worst_case

        surface = problem.surface(normalize_logits=True)
        return worst_case(surface, norm=norm, adaptive=adaptive, generator=generator)

    return take


def _average_case(*, adaptive: bool) -> Take:
    def take(problem: Measurable, generator: torch.Generator) -> Any:
        from rbobench.measures.average_case import average_case

        return average_case(problem.surface(normalize_logits=True), adaptive=adaptive, generator=generator)

    return take


def _lambda_max(problem: Measurable, generator: torch.Generator) -> Any:
    from rbobench.measures.eigenvalues import lambda_max

    return lambda_max(problem.surface(), generator)


def _top_eigenvalues(problem: Measurable, generator: torch.Generator) -> Any:
    from rbobench.measures.eigenvalues import top_eigenvalues

    return top_eigenvalues(problem.surface(), 5, generator)


def _trace(problem: Measurable, generator: torch.Generator) -> Any:
    from rbobench.measures.trace import trace

    return trace(problem.surface(), generator)


def _spectral_density(problem: Measurable, generator: torch.Generator) -> Any:
    from rbobench.measures.spectral_density import spectral_density

    return spectral_density(problem.surface(), generator)


def _slice_1d(problem: Measurable, generator: torch.Generator) -> Any:
    from rbobench.measures.slices import slice_1d

    return slice_1d(problem.surface(), generator)


def _slice_2d(problem: Measurable, generator: torch.Generator) -> Any:
    from rbobench.measures.slices import slice_2d

    return slice_2d(problem.surface(), generator)


def _reachable_radius(problem: Measurable, generator: torch.Generator) -> Any:
    from rbobench.measures.reachable_radius import radius_at_scale

    return radius_at_scale(problem.surface(), generator=generator)


def _membership(problem: Measurable, generator: torch.Generator) -> Any:
    from rbobench.measures.membership import membership_inference

    return membership_inference(*problem.membership_losses())


MEASURES: dict[str, Measure] = {
    "sam_gap": Measure("f(θ + ρg/‖g‖) − f(θ), ρ = 0.05", _sam_gap),
    "worst_case_l2": Measure(
        "largest rise of the loss in a ball, by APGD", _worst_case("l2", adaptive=False)
    ),
    "worst_case_l2_adaptive": Measure(
        "the same, each weight in units of itself", _worst_case("l2", adaptive=True)
    ),
    "lambda_max": Measure("largest eigenvalue of the Hessian", _lambda_max),
    "worst_case_linf": Measure(
        "largest rise of the loss in a cube, by APGD", _worst_case("linf", adaptive=False)
    ),
    "worst_case_linf_adaptive": Measure(
        "the same, each weight in units of itself", _worst_case("linf", adaptive=True)
    ),
    "average_case": Measure("mean rise of the loss under Gaussian noise", _average_case(adaptive=False)),
    "average_case_adaptive": Measure(
        "the same, each weight in units of itself", _average_case(adaptive=True)
    ),
    "top_eigenvalues": Measure("the five largest eigenvalues of the Hessian", _top_eigenvalues),
    "trace": Measure("trace of the Hessian", _trace),
    "spectral_density": Measure("density of the Hessian's eigenvalues", _spectral_density),
    "slice_1d": Measure("the loss along a line", _slice_1d),
    "slice_2d": Measure("the loss on a plane", _slice_2d),
    "reachable_radius": Measure("how large a ball touches the loss graph here, at most", _reachable_radius),
    "membership": Measure(
        "how well the loss tells training samples from others: AUC", _membership, sharpness=False
    ),
}
"""Name to measure."""

GROUPS: dict[str, tuple[str, ...]] = {
    "core": ("sam_gap", "worst_case_l2", "worst_case_l2_adaptive", "lambda_max"),
    "full": tuple(name for name, measure in MEASURES.items() if measure.sharpness),
}
"""Names for several measures at once."""


def expand(names: Iterable[str]) -> tuple[str, ...]:
    """The measures that names of measures and groups stand for, each once, in the order given.

    Raises:
        UsageError: If a name is unknown.
    """
    expanded: dict[str, None] = {}
    for name in names:
        if name in GROUPS:
            expanded |= dict.fromkeys(GROUPS[name])
        elif name in MEASURES:
            expanded[name] = None
        else:
            raise unknown("measure", name, [*GROUPS, *MEASURES])
    return tuple(expanded)


def take(name: str, problem: Measurable, streams: Streams) -> dict[str, Any]:
    """Take a measure, its draws from a stream of its own.

    Args:
        name: One of `MEASURES`.
        problem: At the weights to be measured.
        streams: The trial's.

    Returns:
        The fields of its result, JSON-able.
    """
    result = MEASURES[name].take(problem, streams.torch("split", "measure", name))
    return dataclasses.asdict(result)
