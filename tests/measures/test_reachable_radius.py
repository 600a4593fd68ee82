"""The reachable radius against closed forms, bounds and exhaustive search."""

from __future__ import annotations

import dataclasses
import itertools
import json
import math
from collections.abc import Callable

import numpy as np
import pytest
import timm
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from rbobench.errors import UsageError
from rbobench.geometry.graph import graph_of
from rbobench.geometry.landscape import Formula
from rbobench.geometry.reach import contact_radius
from rbobench.measures.reachable_radius import ReachableRadius, radius_at_scale
from rbobench.measures.surface import LossSurface
from rbobench.tasks.models.resnet import resnet6

Function = Callable[[Tensor], Tensor]


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def eigenpairs(function: Function, point: Tensor) -> tuple[list[float], list[list[Tensor]]]:
    """Of the exact Hessian, the largest first."""
    hessian = torch.autograd.functional.hessian(function, point)
    values, vectors = torch.linalg.eigh(hessian)
    return values.flip(0).tolist(), [[vectors[:, i]] for i in reversed(range(len(values)))]


def radius(
    function: Function, at: list[float] | Tensor, t_min: float = 1e-3, count: int = 3, **settings_: object
) -> ReachableRadius:
    """The measure at a point of a function of one vector."""
    point = torch.as_tensor(at, dtype=torch.float64).clone()
    values, vectors = eigenpairs(function, point)
    point.requires_grad_()
    before = point.detach().clone()
    given_ = {"eigenvectors": vectors[:count], "largest_eigenvalue": values[0], "generator": seeded()}
    found = radius_at_scale(LossSurface([point], [lambda: function(point)]), t_min, **{**given_, **settings_})  # type: ignore[arg-type]
    assert torch.equal(point, before)
    assert point.grad is None
    return found


def basins(x: Tensor) -> Tensor:
    """Of two parameters, with many of them."""
    a, b = x[..., 0], x[..., 1]
    return (
        0.15 * (a.square() + b.square())
        + 0.7 * torch.cos(3 * a) * torch.cos(2 * b)
        + 0.3 * torch.sin(a + 0.5 * b)
    )


def on_a_grid(function: Function, at: Tensor, t_min: float, t_max: float, scale: float = 1.0) -> float:
    """The smallest ratio over a fine polar grid, written down anew: q − p and the normal as vectors."""
    gradient = torch.autograd.functional.jacobian(function, at)
    normal = torch.cat([-scale * gradient, torch.ones(1, dtype=torch.float64)])
    normal = normal / normal.norm()
    distance, angle = np.geomspace(t_min, t_max, 1000)[:, None], np.linspace(0, 2 * np.pi, 721)
    across = np.stack([distance * np.cos(angle), distance * np.sin(angle)], axis=-1)
    moved = at + torch.from_numpy(across)
    rise = scale * (function(moved) - function(at))
    chord = torch.cat([moved - at, rise[..., None]], dim=-1)
    toward = chord @ normal
    return float(torch.where(toward > 0, chord.square().sum(-1) / (2 * toward), math.inf).min())


@pytest.mark.parametrize("k", [0.3, 4.0])
@pytest.mark.parametrize("point", [[0.7], [0.7, -0.4], [0.3, -0.2, 0.1, 0.5, -0.6]])
def test_a_paraboloid(k: float, point: list[float]) -> None:
    def paraboloid(x: Tensor) -> Tensor:
        return 0.5 * k * x.square().sum()

    at_minimum = radius(paraboloid, [0.0] * len(point))
    assert at_minimum.value == pytest.approx(1 / k, rel=1e-4)
    assert at_minimum.contact_distance == pytest.approx(1e-3)
    assert at_minimum.curvature_radius == pytest.approx(1 / k, rel=1e-9)
    norm = math.hypot(*point)
    away = radius(paraboloid, point)
    assert away.value == pytest.approx(math.sqrt(1 + k**2 * norm**2) / k, rel=1e-4)
    # In one dimension only the mirror image does it: the radius of curvature is larger.
    if len(point) == 1:
        assert away.contact_distance == pytest.approx(2 * norm, rel=0.02)
        assert away.rise == pytest.approx(0.0, abs=0.02)
        assert away.value < 0.99 * (1 + k**2 * norm**2) ** 1.5 / k


@pytest.mark.parametrize("a", [0.5, 2.0])
@pytest.mark.parametrize("u", [0.4, 1.5, 2.5, 3.1])
def test_a_cosine(a: float, u: float) -> None:
    found = radius(lambda x: -a * torch.cos(x).sum(), [u])
    assert found.value == pytest.approx(
        u * math.sqrt(1 + (a * math.sin(u)) ** 2) / (a * math.sin(u)), rel=1e-4
    )
    assert found.contact_distance == pytest.approx(2 * u, rel=0.02)


def test_lines_alone_are_refined_where_they_are_lowest() -> None:
    found = radius(lambda x: -2 * torch.cos(x).sum(), [1.5], descents=0)
    assert found.found_by.startswith("line")
    assert found.value == pytest.approx(
        1.5 * math.sqrt(1 + (2 * math.sin(1.5)) ** 2) / (2 * math.sin(1.5)), rel=1e-3
    )


def test_a_wall_at_almost_twice_the_radius() -> None:
    """On a slope the ball reaches far ahead: nearer places must not end the search too early."""

    def slope(x: Tensor) -> Tensor:
        return -5 * x[..., 0] + 2.6 * x[..., 1].square() + 20 * (x[..., 0] - 1.35).relu()

    found = radius(slope, [0.0, 0.0], t_max=10.0)
    assert found.value < 0.95 * found.curvature_radius
    assert found.contact_distance > 1.7 * found.value
    exhaustive = on_a_grid(slope, torch.zeros(2, dtype=torch.float64), 1e-3, 4.0)
    assert found.value == pytest.approx(exhaustive, rel=0.01)


@pytest.mark.parametrize("seed", range(8))
def test_an_exhaustive_search_among_many_basins(seed: int) -> None:
    at = torch.from_numpy(np.random.default_rng(seed).uniform(-3, 3, 2))
    exhaustive = on_a_grid(basins, at, 0.05, 20.0)
    found = radius(basins, at, 0.05)
    assert exhaustive * (1 - 1e-3) <= found.value <= exhaustive * 1.01
    assert found.uncertainty >= 0.0
    scaled = radius(basins, at, 0.05, loss_scale=3.0)
    assert scaled.value == pytest.approx(on_a_grid(basins, at, 0.05, 20.0, scale=3.0), rel=0.01)


def test_the_reach_of_the_geometry() -> None:
    points = np.random.default_rng(5).uniform(-2, 2, (4, 2))
    graph = graph_of(Formula("basins", basins, dimension=2, domain=(-9.0, 9.0), spacing=0.05))
    exact = contact_radius(graph, points)
    assert [radius(basins, list(point), 1e-4).value for point in points] == pytest.approx(exact, rel=0.01)


@settings(max_examples=10, deadline=None)
@given(st.floats(-2.5, 2.5), st.floats(0.2, 3.0), st.integers(0, 1000))
def test_bounds_of_curvature(u: float, a: float, seed: int) -> None:
    """s/L ≤ R ≤ 1/(largest principal curvature), with a Lipschitz constant L of the gradient."""
    weights = torch.from_numpy(np.random.default_rng(seed).uniform(0.2, 1.0, 3))
    at = torch.tensor([u, 0.3, -0.2], dtype=torch.float64)

    def function(x: Tensor) -> Tensor:
        return -a * (weights * torch.cos(x)).sum() + a * x[0] * x[1]

    lipschitz = a * (float(weights.max()) + 1.0)
    gradient = torch.autograd.functional.jacobian(function, at)
    hessian = torch.autograd.functional.hessian(function, at)
    slope = math.sqrt(1 + float(gradient.square().sum()))
    metric = torch.linalg.inv(torch.eye(3, dtype=torch.float64) + torch.outer(gradient, gradient))
    curvature = float(torch.linalg.eigvals(metric @ hessian).real.max()) / slope
    found = radius(function, at).value
    assert found >= slope / lipschitz * (1 - 1e-9)
    assert curvature <= 0 or found <= 1.01 / curvature


def test_descents_find_what_no_line_shows() -> None:
    """At a minimum the steepest direction, from eigenvectors that miss it: gradients turn there."""
    stiffness = torch.tensor([1.0, 2.0, 3.0, 5.0, 20.0], dtype=torch.float64)
    mixed = [[torch.tensor([1.0, 1.0, 1.0, 1.0, 0.05], dtype=torch.float64)]]

    def quadratic(x: Tensor) -> Tensor:
        return 0.5 * (stiffness * x.square()).sum()

    lines = radius(quadratic, [0.0] * 5, eigenvectors=mixed, descents=0)
    assert lines.found_by == "line along eigenvector 1"
    assert lines.value == pytest.approx(
        1 / float((stiffness * mixed[0][0].square()).sum()) * 4.0025, rel=1e-4
    )
    assert math.isnan(lines.uncertainty)
    assert lines.cost.gradient_evaluations == 1
    found = radius(quadratic, [0.0] * 5, eigenvectors=mixed)
    assert found.value == pytest.approx(1 / 20, rel=1e-3)
    assert found.found_by == "L-BFGS"
    assert found.curvature_radius == pytest.approx(1 / 20)


def test_a_wall_beyond_a_flat_floor_stops_the_ball() -> None:
    """Near interpolation no curvature tells the radius."""

    def valley(x: Tensor) -> Tensor:
        return torch.nn.functional.softplus(40 * (x.square().sum(-1) - 1)) / 10

    found = radius(valley, [0.0, 0.0], t_max=10.0)
    assert found.curvature_radius > 1e6
    assert found.value < 1.2
    assert found.contact_distance > 0.5
    assert found.value == pytest.approx(
        on_a_grid(valley, torch.zeros(2, dtype=torch.float64), 1e-3, 5.0), rel=0.01
    )


def test_a_larger_t_min_finds_no_smaller_radius() -> None:
    def kinked(x: Tensor) -> Tensor:
        """Kinks at distances of 1e-4 and 0.3, on a bowl."""
        return 0.5 * x.square().sum() + 0.5 * (x[0] - 1e-4).relu() + 0.4 * (x[1] - 0.3).relu()

    t_mins = (1e-4, 1e-3, 1e-2, 0.1, 0.5, 1.0)
    found = [radius(kinked, [0.0, 0.0], t_min) for t_min in t_mins]
    values = [each.value for each in found]
    assert all(smaller <= larger * 1.001 for smaller, larger in itertools.pairwise(values))
    assert values[0] < 0.01 * values[-2]  # the kink sets it
    assert all(each.contact_distance >= t_min * (1 - 1e-9) for each, t_min in zip(found, t_mins, strict=True))
    # A contact that the larger t_min allows is not lost.
    assert radius(basins, [1.0, 0.5], 0.3).value == pytest.approx(
        radius(basins, [1.0, 0.5], 0.03).value, rel=1e-3
    )


def test_the_loss_scale_is_a_change_of_units() -> None:
    at, scale = [0.9, -0.2], 2.5
    scaled = radius(basins, at, 0.05, loss_scale=scale)
    same = radius(lambda x: scale * basins(x), at, 0.05)
    for field in ("value", "contact_distance", "rise", "curvature_radius"):
        assert getattr(scaled, field) == pytest.approx(getattr(same, field), rel=1e-3)
    assert math.isfinite(scaled.curvature_radius)
    # A common unit of loss and parameters changes all lengths alike.
    stretched = radius(lambda x: 10 * basins(x / 10), [10 * each for each in at], 0.5)
    assert stretched.value == pytest.approx(10 * radius(basins, at, 0.05).value, rel=1e-3)


@pytest.mark.parametrize(
    "function", [lambda x: -x.square().sum(), lambda x: 3 * x.sum(), lambda x: 0 * x.sum()]
)
def test_nothing_stops_the_ball_on_a_cap_or_a_plane(function: Function) -> None:
    found = radius(function, [0.4, -0.3])
    assert found.value == found.curvature_radius == math.inf
    assert found.found_by == "nothing"
    assert math.isnan(found.contact_distance)


def test_an_overflow_far_away_is_no_obstacle() -> None:
    found = radius(lambda x: torch.exp(x.square().sum() * 50) / 50, [0.0, 0.0], t_max=1e6)
    assert 0.0 < found.value <= 1.001 / 2
    steep = radius(lambda x: 1e200 * (x.square().sum() - 1).relu(), [0.0, 0.0], t_max=10.0)
    assert steep.value >= 1.0


def classifier(network: nn.Module, images: Tensor, labels: Tensor) -> LossSurface:
    network.eval()
    halves = zip(images.chunk(2), labels.chunk(2), strict=True)
    parts = [lambda x=x, y=y: 0.5 * cross_entropy(network(x), y) for x, y in halves]
    return LossSurface(list(network.parameters()), parts)


def test_a_tanh_network_whose_loss_is_large() -> None:
    """FACTS: while the loss is large, it is the radius of curvature."""
    images = torch.randn(256, 5, generator=seeded(1))
    labels = torch.randint(3, (256,), generator=seeded(2))
    network = nn.Sequential(nn.Linear(5, 8), nn.Tanh(), nn.Linear(8, 3))
    with torch.no_grad():
        for index, parameter in enumerate(network.parameters()):
            parameter.copy_(0.5 * torch.randn(parameter.shape, generator=seeded(index)))
    surface = classifier(network, images, labels)
    for _ in range(400):
        _, gradient = surface.gradient()
        with torch.no_grad():
            torch._foreach_add_(surface.parameters, gradient, alpha=-0.5)
    assert surface.value() > 0.8
    found = radius_at_scale(surface, generator=seeded())
    assert 0.9 * found.curvature_radius < found.value < 1.01 * found.curvature_radius
    single = radius_at_scale(surface, 1e-6, generator=seeded())
    assert 0.9 * single.value < found.value < 1.1 * single.value  # rounding beside θ is passed over


@pytest.mark.parametrize("name", ["vit", "resnet"])
def test_networks_pass_through_unchanged(name: str) -> None:
    torch.manual_seed(0)
    if name == "vit":
        network = timm.create_model(
            "vit_tiny_patch16_224",
            img_size=16,
            patch_size=8,
            depth=1,
            embed_dim=24,
            num_heads=2,
            num_classes=4,
        )
    else:
        network = resnet6(num_classes=4, stem_stride=2)
    images = torch.randn(16, 3, 16, 16, generator=seeded(3))
    surface = classifier(network, images, torch.arange(16) % 4)
    before = {key: value.clone() for key, value in network.state_dict().items()}
    count = 2
    vectors = [
        [torch.randn(each.shape, generator=seeded(4)) for each in surface.parameters] for _ in range(count)
    ]
    found = radius_at_scale(surface, generator=seeded(), eigenvectors=vectors, gradients=30)
    after = network.state_dict()
    assert all(torch.equal(value, after[key]) for key, value in before.items())
    assert all(parameter.grad is None for parameter in network.parameters())
    assert math.isfinite(found.value)
    assert found.value >= found.contact_distance / 2
    assert math.isnan(found.curvature_radius)
    cost = found.cost
    assert found.evaluations == cost.gradient_evaluations + cost.forward_evaluations
    assert cost.gradient_evaluations <= 30 + 1 + 20
    json.dumps(dataclasses.asdict(found))


def test_the_same_twice() -> None:
    assert radius(basins, [0.2, 0.9], 0.05) == radius(basins, [0.2, 0.9], 0.05)


@pytest.mark.parametrize(
    ("settings_", "message"),
    [
        ({"t_min": 0.0}, "t_min must be positive"),
        ({"t_min": math.nan}, "t_min must be positive"),
        ({"loss_scale": -1.0}, "loss_scale must be positive"),
        ({"t_max": 1e-5}, "t_max must be at least t_min"),
        ({"descents": -1}, "descents must be at least 0"),
        ({"eigenvectors": [[torch.zeros(3)]]}, "eigenvector 1 does not fit"),
    ],
)
def test_mistakes(settings_: dict[str, object], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        radius(basins, [0.2, 0.9], **settings_)  # type: ignore[arg-type]


def test_without_eigenvectors_the_gradient_line_is_left() -> None:
    found = radius(basins, [0.2, 0.9], 0.05, eigenvectors=None, largest_eigenvalue=None, lines=0, descents=0)
    assert found.found_by == "gradient line"
    assert math.isnan(found.curvature_radius)
    assert found.cost.hessian_vector_products == 0


def test_a_loss_that_is_not_finite() -> None:
    point = torch.tensor([math.nan])
    surface = LossSurface([point.requires_grad_()], [lambda: point.sum()])
    with pytest.raises(UsageError, match="not finite"):
        radius_at_scale(surface, generator=seeded(), eigenvectors=[])
