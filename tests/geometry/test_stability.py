"""Edges of stability against the spectral radius of each recurrence, and against the optimizer itself."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from rbobench.errors import UsageError
from rbobench.geometry import stability
from rbobench.optim.center import CenterRBO

LRS = st.floats(1e-3, 10.0)
SHARES = st.floats(0.0, 20.0)
"""r in units of η."""

Edge = Callable[[float, float], float]


def _search(steps: int) -> Edge:
    return lambda lr, r: stability.search(lr, r, steps)


EDGES: dict[str, Edge] = {
    "gradient descent": lambda lr, r: stability.gradient_descent(lr),
    "exact": stability.exact_ball,
    "search 1": stability.search,
    "search 2": _search(2),
    "search 7": _search(7),
    "previous": stability.previous,
    "mirrored": stability.mirrored,
    "lagged": stability.lagged,
}


def companion(method: str, lr: float, r: float, curvature: float) -> np.ndarray:
    """What a step does to the state (c_t, g_{t−1}, g_{t−2}), written from the step itself."""
    state = np.eye(3)
    center, last, older = state
    if method == "gradient descent":
        gradient = curvature * center
    elif method == "exact":  # g = κ(c + rg)
        gradient = curvature * center / (1.0 - r * curvature)
    elif method.startswith("search"):
        gradient = curvature * center
        for _ in range(int(method.split()[1])):
            gradient = curvature * (center + r * gradient)
    else:
        offset = {"previous": r * last, "mirrored": -r * last, "lagged": r * older}[method]
        gradient = curvature * (center + offset)
    return np.stack([center - lr * gradient, gradient, last])


def spectral_radius(method: str, lr: float, r: float, curvature: float) -> float:
    return float(np.abs(np.linalg.eigvals(companion(method, lr, r, curvature))).max())


@pytest.mark.parametrize("method", EDGES)
@settings(max_examples=60, deadline=None)
@given(lr=LRS, share=SHARES, below=st.floats(1e-3, 1.0 - 1e-4), above=st.floats(1e-4, 0.5))
def test_it_is_stable_up_to_its_edge_and_not_beyond(
    method: str, lr: float, share: float, below: float, above: float
) -> None:
    """Roots that meet on the circle (r = 0, or r ≈ η/4 for previous) are told apart to the fourth digit."""
    r = share * lr
    edge = EDGES[method](lr, r)
    assert spectral_radius(method, lr, r, below * edge) < 1.0
    beyond = (1.0 + above) * edge
    if method != "exact" or r * beyond < 1.0:  # beyond it the ball has left the minimum
        assert spectral_radius(method, lr, r, beyond) > 1.0


@pytest.mark.parametrize("method", EDGES)
@pytest.mark.parametrize("share", [0.0, 0.1, 0.25, 0.4, 0.5, 1.0, 4.0])
def test_a_scan_finds_the_same_edge(method: str, share: float) -> None:
    """The first of many curvatures at which the recurrence grows."""
    lr = 0.2
    edge = EDGES[method](lr, share * lr)
    scale = np.linspace(0.005, 1.2, 240) + 1e-4
    unstable = [spectral_radius(method, lr, share * lr, each * edge) > 1.0 + 1e-9 for each in scale]
    assert scale[int(np.argmax(unstable))] == pytest.approx(1.0, abs=0.0052)


@given(lr=LRS, share=SHARES, part=st.floats(0.0, 1.0))
def test_lagged_fulfils_the_jury_conditions_exactly_up_to_the_balls_edge(
    lr: float, share: float, part: float
) -> None:
    """Of z³ + a₂z² + a₁z + a₀; at the edge the last one's margin is (1−rκ)²."""
    r = share * lr
    edge = stability.lagged(lr, r)

    def margins(curvature: float) -> tuple[float, float, float, float]:
        a, b = lr * curvature, r * curvature
        a2, a1, a0 = a - 1.0, -b, b
        return (
            1.0 + a2 + a1 + a0,
            1.0 - a2 + a1 - a0,
            1.0 - abs(a0),
            (1.0 - a0**2) - abs(a0 * a2 - a1),
        )

    at_one, at_minus_one, product, last = margins(edge)
    assert at_one > 0.0
    assert product > 0.0
    assert at_minus_one == pytest.approx(0.0, abs=1e-12)
    assert last == pytest.approx((1.0 - r * edge) ** 2, abs=1e-12)
    inside = margins(part * (1.0 - 1e-6) * edge)
    assert min(inside[1:]) > 0.0
    assert margins((1.0 + 1e-6) * edge)[1] < 0.0


@given(lr=LRS, share=st.floats(1e-6, 20.0), steps=st.integers(0, 40))
def test_searches_lie_between_gradient_descent_and_the_exact_ball(
    lr: float, share: float, steps: int
) -> None:
    r = share * lr
    found = [stability.search(lr, r, each) for each in (steps, steps + 1)]
    assert stability.gradient_descent(lr) * (1.0 + 1e-12) >= found[0] >= found[1] * (1.0 - 1e-12)
    assert found[1] >= stability.exact_ball(lr, r) * (1.0 - 1e-12)
    curvature = found[0]
    assert lr * curvature * sum((r * curvature) ** i for i in range(steps + 1)) == pytest.approx(2.0)


@given(lr=LRS, share=st.floats(0.01, 20.0))
def test_previous_is_sharper_than_gradient_descent_exactly_below_half_the_learning_rate(
    lr: float, share: float
) -> None:
    sharper = stability.previous(lr, share * lr) > stability.gradient_descent(lr) * (1.0 + 1e-9)
    assert sharper == (share < 0.5 * (1.0 - 1e-9))


@pytest.mark.parametrize(
    ("contact", "steps", "method"),
    [
        ("search", 0, "gradient descent"),
        ("search", 1, "search 1"),
        ("search", 7, "search 7"),
        ("previous", 1, "previous"),
        ("mirrored", 1, "mirrored"),
        ("lagged", 1, "lagged"),
    ],
)
@pytest.mark.parametrize("share", [0.1, 0.4, 1.0])
def test_the_optimizer_settles_below_its_edge_and_leaves_above_it(
    contact: str, steps: int, method: str, share: float
) -> None:
    """On quadratics of 0.97 and 1.03 times the edge, with gradients so small that r = ρλ."""
    lr, scale = 0.2, 2.0
    edge = EDGES[method](lr, share * lr)
    curvature = torch.tensor([0.97, 1.03], dtype=torch.float64) * edge
    center = torch.nn.Parameter(torch.full((2, 1), 1e-40, dtype=torch.float64))

    def closure() -> torch.Tensor:
        center.grad = None
        loss = 0.5 * curvature * center[:, 0].square()
        loss.sum().backward()
        return loss

    ball = CenterRBO(
        [center], lr, share * lr / scale, contact, contact_steps=steps, loss_scale=scale, batch_dims=1
    )
    for _ in range(600):
        ball.step(closure)
    below, above = center.detach()[:, 0].abs().tolist()
    assert below < 1e-42
    assert above > 1e-38


@pytest.mark.parametrize("lr", [0.0, -1.0, float("nan"), float("inf")])
def test_a_learning_rate_is_positive(lr: float) -> None:
    with pytest.raises(UsageError, match="learning rate"):
        stability.gradient_descent(lr)


@pytest.mark.parametrize("edge", [stability.exact_ball, stability.search, stability.previous])
def test_r_is_not_negative(edge: Edge) -> None:
    with pytest.raises(UsageError, match="r must be"):
        edge(0.1, -0.1)


@pytest.mark.parametrize("steps", [-1, 1.5])
def test_a_search_takes_whole_steps(steps: float) -> None:
    with pytest.raises(UsageError, match="whole number"):
        stability.search(0.1, 0.1, steps)  # type: ignore[arg-type]
