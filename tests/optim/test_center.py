"""The center form against its limits, Algorithm 1 with exact footpoints, and transcriptions."""

from __future__ import annotations

import gc
import math
import pickle
from functools import partial
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn

from rbobench import RBO, CenterRBO, LandscapeClosure, UsageError, create_optimizer
from rbobench.geometry.graph import graph_of
from rbobench.geometry.landscape import Formula, Landscape
from rbobench.geometry.offset import offset_graph
from rbobench.optim.center import CONTACTS, contact_length
from rbobench.optim.sgd import SGD
from rbobench.randomness import seeded_default_generators
from rbobench.tasks.landscapes import Eq13
from rbobench.tasks.models import create_model
from rbobench.testing.problems import Regression

EVERY_CONTACT = pytest.mark.parametrize("contact", CONTACTS)


def wavy(point: Tensor, scale: float = 1.0, stretch: float = 1.0) -> Tensor:
    x = point / stretch
    return scale * (x.square().sum() + torch.sin(3 * x).sum() + 0.5 * torch.cos(x[0] * x[1]))


def closure_on(point: Tensor, function: Any) -> Any:
    def closure() -> Tensor:
        point.grad = None
        loss = function(point)
        loss.backward()
        return loss

    return closure


def rolled(start: tuple[float, ...], steps: int, function: Any = wavy, **settings: Any) -> Tensor:
    """The centers of `CenterRBO` on `function`, `(steps + 1, d)`, in float64."""
    point = nn.Parameter(torch.tensor(start, dtype=torch.float64))
    optimizer = CenterRBO([point], **settings)
    trajectory = [point.detach().clone()]
    for _ in range(steps):
        optimizer.step(closure_on(point, function))
        trajectory.append(point.detach().clone())
    return torch.stack(trajectory)


def wavy_gradient(x: np.ndarray) -> np.ndarray:
    """Of `wavy`, by hand."""
    return 2 * x + 3 * np.cos(3 * x) - 0.5 * np.sin(x[0] * x[1]) * x[::-1]


def transcribed(
    start: tuple[float, ...], steps: int, contact: str, lr: float, radius: float, loss_scale: float
):
    """The four contacts as the issue writes them, in NumPy: shares no code with `CenterRBO`."""

    def phi(g: np.ndarray) -> np.ndarray:
        return radius * loss_scale * g / np.sqrt(1 + loss_scale**2 * (g @ g))

    c, past = np.array(start), []
    trajectory = [c.copy()]
    for _ in range(steps):
        if contact == "search":
            s = phi(wavy_gradient(c + phi(wavy_gradient(c))))  # two fixed-point steps
        elif contact == "lagged":
            s = phi(past[-2]) if len(past) > 1 else np.zeros(2)
        else:
            s = (1 if contact == "previous" else -1) * phi(past[-1]) if past else np.zeros(2)
        past.append(wavy_gradient(c + s))
        c = c - lr * past[-1]
        trajectory.append(c.copy())
    return np.array(trajectory)


@EVERY_CONTACT
def test_agrees_with_a_transcription(contact: str) -> None:
    settings: dict[str, Any] = {"contact": contact, "lr": 0.05, "radius": 0.3, "loss_scale": 1.7}
    actual = rolled((1.0, -2.0), 15, contact_steps=2, **settings)
    expected = transcribed((1.0, -2.0), 15, **settings)
    np.testing.assert_allclose(actual.numpy(), expected, rtol=0, atol=1e-12)


@pytest.mark.parametrize("contact", ["previous", "mirrored", "lagged"])
@pytest.mark.parametrize("descent", [{}, {"momentum": 0.9, "weight_decay": 0.1, "nesterov": True}])
def test_the_step_in_one_pass_is_the_base_s_own_bit_for_bit(contact: str, descent: dict[str, Any]) -> None:
    """A base that is observed steps by itself; one that is not is stepped for in the same pass."""
    ends = []
    for observed in (False, True):
        problem = Regression()
        optimizer = CenterRBO(problem.parameters, 0.1, 0.5, contact=contact, **descent)
        if observed:
            optimizer.base.register_step_post_hook(lambda *_: None)
        for _ in range(10):
            problem.next_step()
            optimizer.step(problem)
        ends.append(problem.parameters)
    assert all(map(torch.equal, *ends))


@EVERY_CONTACT
@pytest.mark.parametrize(
    "descent", [{}, {"momentum": 0.9, "weight_decay": 1e-2}, {"momentum": 0.9, "nesterov": True}]
)
def test_without_a_radius_it_is_sgd_bit_for_bit(contact: str, descent: dict[str, Any]) -> None:
    ends = []
    for make in (partial(CenterRBO, lr=0.1, radius=0.0, contact=contact), partial(SGD, lr=0.1)):
        problem = Regression()
        optimizer = make(problem.parameters, **descent)
        for _ in range(10):
            problem.next_step()
            optimizer.step(problem)
        ends.append(problem.parameters)
    assert all(map(torch.equal, *ends))


@pytest.mark.parametrize(("dtype", "steps", "apart"), [(torch.float32, 1, 1e-6), (torch.float64, 50, 1e-5)])
def test_an_infinite_loss_scale_is_sam_on_a_resnet(dtype: torch.dtype, steps: int, apart: float) -> None:
    generator = torch.Generator().manual_seed(0)
    images = torch.randn(8, 3, 16, 16, generator=generator).to(dtype)
    labels = torch.arange(8) % 10
    ends = []
    for name, own in (("rbo-center", {"radius": 0.1, "loss_scale": math.inf}), ("sam", {"rho": 0.1})):
        with seeded_default_generators(0, torch.device("cpu")):
            network = create_model("resnet8", num_classes=10, in_chans=3, image_size=16).to(dtype)
        optimizer = create_optimizer(name, network.parameters(), lr=0.05, momentum=0.9, **own)

        def closure(network=network) -> Tensor:
            network.zero_grad()
            loss = nn.functional.cross_entropy(network(images), labels)
            loss.backward()
            return loss

        for _ in range(steps):
            optimizer.step(closure)
        ends.append(torch.cat([each.detach().flatten() for each in network.parameters()]))
    assert (ends[0] - ends[1]).abs().max() <= apart


def test_a_small_loss_scale_is_sam_without_its_normalization() -> None:
    """φ(g) → ρλg for λ → 0: with ρλ held, the ascent is by a multiple of the gradient."""
    gradient = torch.tensor([3.0, -4.0], dtype=torch.float64)
    for scale in (1e-3, 1e-5):
        length = contact_length(gradient.norm(), 0.2 / scale, scale)
        assert length.item() == pytest.approx(0.2, rel=20 * scale**2 + 1e-12)


@EVERY_CONTACT
def test_scaling_the_loss_and_its_scale_changes_nothing(contact: str) -> None:
    plain = rolled(
        (1.0, -2.0), 30, contact=contact, lr=0.1, radius=0.4, loss_scale=1.5, momentum=0.5, weight_decay=0.25
    )
    scaled = rolled(
        (1.0, -2.0),
        30,
        partial(wavy, scale=8.0),
        contact=contact,
        lr=0.1 / 8,
        radius=0.4,
        loss_scale=1.5 / 8,
        momentum=0.5,
        weight_decay=8 * 0.25,
    )
    assert torch.equal(plain, scaled)


@EVERY_CONTACT
def test_stretching_the_parameters_stretches_the_trajectory(contact: str) -> None:
    plain = rolled((1.0, -2.0), 30, contact=contact, lr=0.1, radius=0.4, loss_scale=1.5, weight_decay=0.25)
    stretched = rolled(
        (4.0, -8.0),
        30,
        partial(wavy, stretch=4.0),
        contact=contact,
        lr=16 * 0.1,
        radius=4 * 0.4,
        loss_scale=4 * 1.5,
        weight_decay=0.25 / 16,
    )
    assert torch.equal(4 * plain, stretched)


def exact_centers(
    landscape: Landscape, domain: tuple[float, float], start: float, lr: float, radius: float, time: float
):
    """Algorithm 1 with exact footpoints: the parameters of the ball's center along the way."""
    point = nn.Parameter(torch.tensor([start], dtype=torch.float64))
    optimizer = RBO([point], lr, radius, projection="exact", projection_domain=domain)
    closure, centers = LandscapeClosure(landscape, point), []
    for _ in range(round(time / lr)):
        gradient = landscape.value_and_grad(point.detach())[1].item()
        centers.append(point.item() - radius * gradient / math.hypot(1.0, gradient))
        optimizer.step(closure)
    return np.array(centers)


@pytest.mark.parametrize(("radius", "start", "contact_steps"), [(0.5, 2.0, 8), (3.0, 2.5, 20)])
def test_follows_algorithm_1_on_sin_to_first_order(radius: float, start: float, contact_steps: int) -> None:
    sin, domain = Formula("sin", lambda x: torch.sin(x[..., 0])), (-12.0, 20.0)
    apart = []
    for lr in (0.1, 0.05, 0.02):
        expected = exact_centers(sin, domain, start, lr, radius, time=4.0)
        point = nn.Parameter(torch.tensor([expected[0]], dtype=torch.float64))
        optimizer = CenterRBO([point], lr, radius, contact_steps=contact_steps)
        closure, centers = LandscapeClosure(sin, point), []
        for _ in expected:
            centers.append(point.item())
            optimizer.step(closure)
        apart.append(np.abs(np.array(centers) - expected).max() / lr)
    assert apart[0] > 0.01  # they do differ
    assert max(apart) < 1.1 * min(apart)


def test_the_search_loses_the_contact_where_the_surface_bends_down_more_than_the_ball() -> None:
    """Around the top of sin ρ|κ₋| is above 1 for ρ = 3, and the fixed point is unstable."""
    sin = Formula("sin", lambda x: torch.sin(x[..., 0]))
    residuals = []
    for radius in (0.5, 3.0):
        point = nn.Parameter(torch.tensor([2.2], dtype=torch.float64))
        optimizer = CenterRBO([point], 0.0, radius, contact_steps=50)
        optimizer.tracks_residual = True
        optimizer.step(LandscapeClosure(sin, point))
        residuals.append(optimizer.residual.item() / radius)
    assert residuals[0] < 1e-6
    assert residuals[1] > 0.1


@pytest.mark.parametrize(
    ("radius", "center", "lr", "time"),
    [(0.0316, 2.6, 2e-4, 5e-3), (0.316, 2.0, 2e-3, 0.05), (0.316, 1.0, 2e-3, 0.05)],
)
def test_with_the_exact_contact_it_follows_algorithm_1_on_eq13_to_first_order(
    radius: float, center: float, lr: float, time: float
) -> None:
    """From a point that the ball can touch; the search does not find its contact."""
    landscape, domain = Eq13(), (0.0, 4.0)
    graph = graph_of(landscape, domain)
    start = offset_graph(graph, [[center]], radius).contacts[0][0].item()
    apart = []
    for rate in (lr, lr / 2, lr / 4):
        expected = exact_centers(landscape, domain, start, rate, radius, time)
        centers, c = [], np.array([[center]])
        for _ in expected:
            centers.append(c.item())
            contact = offset_graph(graph, c, radius).contacts[0][:1]
            c = c - rate * landscape.value_and_grad(torch.from_numpy(contact))[1].numpy()
        assert abs(centers[-1] - center) > 2 * np.abs(np.array(centers) - expected).max()
        apart.append(np.abs(np.array(centers) - expected).max() / rate)
    assert max(apart) < 1.5 * min(apart)  # a kink on the way is met a step sooner or later


@given(
    start=st.tuples(st.floats(-3, 3), st.floats(-3, 3)),
    radius=st.floats(0.1, 5.0),
    contact_steps=st.integers(1, 6),
    loss_scale=st.sampled_from([0.3, 1.0, math.inf]),
)
def test_the_safeguard_descends_by_the_best_contact_it_has_seen(
    start, radius, contact_steps, loss_scale
) -> None:
    def psi(s: np.ndarray, c: np.ndarray) -> float:
        return wavy(torch.from_numpy(c + s)).item() + math.sqrt(max(radius**2 - s @ s, 0.0)) / loss_scale

    c = np.array(start)
    s, seen = np.zeros(2), []
    for _ in range(contact_steps + 1):
        g = wavy_gradient(c + s)
        seen.append((psi(s, c), g))
        s = g * float(contact_length(torch.tensor(np.linalg.norm(g)), radius, loss_scale))
    values = [value for value, _ in seen]
    end = rolled(
        start, 1, lr=0.1, radius=radius, contact_steps=contact_steps, loss_scale=loss_scale, safeguard=True
    )
    descended = (end[0] - end[1]).numpy() / 0.1
    close = [g for value, g in seen if value >= max(values) - 1e-9 * (1 + abs(max(values)))]
    assert min(np.abs(descended - g).max() for g in close) < 1e-8


@pytest.mark.parametrize("batch_dims", [0, 1])
def test_the_safeguard_keeps_a_finite_contact(batch_dims: int) -> None:
    shape = (2, 2) if batch_dims else (2,)
    point = nn.Parameter(torch.full(shape, 0.5, dtype=torch.float64))
    optimizer = CenterRBO([point], 0.1, 5.0, safeguard=True, batch_dims=batch_dims)

    def closure() -> Tensor:
        point.grad = None
        loss = torch.where(point.abs().amax(dim=-1) > 1.0, torch.inf, 0.5) * point.square().sum(dim=-1)
        loss.sum().backward()
        return loss

    optimizer.step(closure)
    torch.testing.assert_close(point.detach(), torch.full(shape, 0.45, dtype=torch.float64))


@pytest.mark.parametrize("contact", ["previous", "mirrored", "lagged"])
def test_a_batch_survives_one_loss_that_is_not_finite(contact: str) -> None:
    point = nn.Parameter(torch.ones(2, 1, dtype=torch.float64))
    optimizer = CenterRBO([point], 0.1, 0.1, contact=contact, batch_dims=1)
    for step in range(8):
        factor = torch.tensor([1.0, torch.nan if step == 2 else 1.0], dtype=torch.float64)
        optimizer.step(closure_on_batch(point, factor))
    assert torch.isfinite(point).all()
    assert point[1].item() < 0.8
    assert point[0].item() < point[1].item()


def closure_on_batch(point: Tensor, factor: Tensor) -> Any:
    def closure() -> Tensor:
        point.grad = None
        loss = factor * 0.5 * point.square().sum(dim=-1)
        loss.sum().backward()
        return loss

    return closure


def test_groups_keep_their_own_rates_around_another_base() -> None:
    one, two, three = (nn.Parameter(torch.zeros(2)) for _ in range(3))
    groups = [{"params": [one]}, {"params": [two], "lr": 0.01}]
    optimizer = CenterRBO(groups, 0.3, 1.0, base_optimizer=torch.optim.AdamW)
    optimizer.add_param_group({"params": [three]})
    assert [group["lr"] for group in optimizer.param_groups] == [0.3, 0.01, 0.3]


def test_reports_the_contact_and_evaluates_there() -> None:
    point = nn.Parameter(torch.tensor((1.0, -2.0), dtype=torch.float64))
    optimizer = CenterRBO([point], 0.05, 0.2, contact_steps=3)
    optimizer.tracks_residual = True
    with pytest.raises(UsageError, match="no contact before the gradients"), optimizer.contact_parameters():
        pass
    optimizer.step(closure_on(point, wavy))
    assert optimizer.contact_radius.item() < 0.2
    assert 0 < optimizer.residual.item() < 0.2
    center, gradient = point.detach().clone(), point.grad.clone()
    with optimizer.contact_parameters():
        expected = center + 0.2 * gradient / math.sqrt(1 + gradient.square().sum())
        torch.testing.assert_close(point.detach(), expected, rtol=0, atol=1e-14)
    assert torch.equal(point, center)
    assert torch.equal(point.grad, gradient)


def test_the_residual_is_the_distance_from_the_fixed_point() -> None:
    c = np.array((1.0, -2.0))

    def phi(g: np.ndarray) -> np.ndarray:
        return 0.2 * g / math.sqrt(1 + g @ g)

    point = nn.Parameter(torch.from_numpy(c.copy()))
    optimizer = CenterRBO([point], 0.05, 0.2)
    optimizer.tracks_residual = True
    optimizer.step(closure_on(point, wavy))
    s = phi(wavy_gradient(c))
    assert optimizer.contact_radius.item() == pytest.approx(np.linalg.norm(s), rel=1e-12)
    assert optimizer.residual.item() == pytest.approx(np.linalg.norm(s - phi(wavy_gradient(c + s))), rel=1e-9)


@pytest.mark.parametrize("contact_steps", [1, 3])
def test_the_search_takes_its_gradients_from_the_contact_closure(contact_steps: int) -> None:
    point = nn.Parameter(torch.tensor((1.0, -2.0), dtype=torch.float64))
    optimizer = CenterRBO([point], 0.05, 0.3, contact_steps=contact_steps)
    calls = {"whole": 0, "part": 0}

    def counted(name: str, scale: float) -> Any:
        closure = closure_on(point, partial(wavy, scale=scale))

        def count() -> Tensor:
            calls[name] += 1
            return closure()

        return count

    loss = optimizer.step(counted("whole", 1.0), counted("part", 0.5))
    assert calls == {"whole": 1, "part": contact_steps}
    c, s = np.array((1.0, -2.0)), np.zeros(2)
    for _ in range(contact_steps):
        g = 0.5 * wavy_gradient(c + s)
        s = 0.3 * g / math.sqrt(1 + g @ g)
    np.testing.assert_allclose(point.detach().numpy(), c - 0.05 * wavy_gradient(c + s), atol=1e-12)
    assert loss.item() == pytest.approx(wavy(torch.from_numpy(c + s)).item(), rel=1e-12)


def test_another_base_optimizer_descends() -> None:
    ends = []
    for radius in (0.0, 0.3):
        point = nn.Parameter(torch.tensor((1.0, -2.0)))
        build = partial(torch.optim.AdamW, weight_decay=0.1)
        optimizer = CenterRBO([point], 0.01, radius, contact="lagged", base_optimizer=build)
        adamw_point = nn.Parameter(torch.tensor((1.0, -2.0)))
        adamw = torch.optim.AdamW([adamw_point], 0.01, weight_decay=0.1)
        for _ in range(5):
            optimizer.step(closure_on(point, wavy))
            adamw.step(closure_on(adamw_point, wavy))
        ends.append(torch.equal(point, adamw_point))
    assert ends == [True, False]


def test_a_radius_schedule_applies() -> None:
    point = nn.Parameter(torch.tensor((1.0, -2.0), dtype=torch.float64))
    optimizer = CenterRBO([point], 0.0, 0.3, contact="mirrored")
    radii = []
    for radius in (0.3, 0.3, 0.1):
        optimizer.param_groups[0]["radius"] = radius
        optimizer.step(closure_on(point, wavy))
        radii.append(optimizer.contact_radius.item())
    assert radii[0] == 0.0
    assert radii[2] == pytest.approx(radii[1] / 3, rel=0.2)


@pytest.mark.parametrize(
    ("contact", "above"), [("search", 1), ("previous", 1), ("mirrored", 1), ("lagged", 2)]
)
def test_holds_at_most_what_is_promised_above_sgd_with_momentum(contact: str, above: int) -> None:
    """Counted while the closure is called, when memory is scarcest; gradients are not yet there."""
    point = nn.Parameter(torch.full((12_347,), 0.3))
    held = []

    def closure() -> Tensor:
        point.grad = None
        gc.collect()
        storages = {
            each.untyped_storage().data_ptr()
            for each in gc.get_objects()
            if type(each) in (Tensor, nn.Parameter) and each.numel() == point.numel()
        }
        held.append(len(storages))
        loss = torch.cos(point).sum()
        loss.backward()
        return loss

    sgd = SGD([point], 0.01, momentum=0.9)
    for _ in range(2):
        sgd.step(closure)
    expected = held[-1] + above
    del sgd
    held.clear()
    optimizer = CenterRBO([point], 0.01, 0.1, contact=contact, momentum=0.9)
    for _ in range(4):
        optimizer.step(closure)
    assert max(held) == expected


@pytest.mark.parametrize("contact", ["search", "previous", "mirrored", "lagged"])
def test_an_error_in_the_closure_leaves_the_parameters_at_the_center(contact: str) -> None:
    point, calls = nn.Parameter(torch.tensor((1.0, -2.0), dtype=torch.float64)), []
    optimizer = CenterRBO([point], 0.05, 0.3, contact=contact)
    for _ in range(3):
        optimizer.step(closure_on(point, wavy))
    center = point.detach().clone()

    def closure() -> Tensor:
        calls.append(torch.equal(point, center))
        if not calls[-1]:
            raise RuntimeError("no data")
        return closure_on(point, wavy)()

    with pytest.raises(RuntimeError, match="no data"):
        optimizer.step(closure)
    assert calls[-1] is False  # it was away from the center
    assert torch.equal(point, center)
    for _ in range(3):
        optimizer.step(closure_on(point, wavy))
    assert not torch.equal(point, center)
    assert optimizer.contact_radius.item() > 0


@pytest.mark.parametrize("contact", ["previous", "mirrored", "lagged"])
@pytest.mark.parametrize("base", [partial(SGD, lr=0.1, momentum=0.9), torch.optim.AdamW])
def test_the_state_holds_the_gradients_beside_the_base_s_own(contact: str, base: Any) -> None:
    problem = Regression()
    optimizer = CenterRBO(problem.parameters, 0.1, 1.0, contact=contact, base_optimizer=base)
    for _ in range(3):
        problem.next_step()
        optimizer.step(problem)
    state = optimizer.state_dict()["state"]
    for index, parameter in enumerate(problem.parameters[:3]):
        assert torch.equal(state[index]["contact_gradient"], parameter.grad)
        assert ("older_contact_gradient" in state[index]) is (contact == "lagged")
        assert len(state[index]) > 1 + (contact == "lagged")
    assert 3 not in state  # it has no gradient
    fresh = CenterRBO(problem.parameters, 0.1, 1.0, contact=contact, base_optimizer=base)
    fresh.load_state_dict(optimizer.state_dict())
    fresh.step(problem)  # writes into memory of its own
    assert torch.equal(state[0]["contact_gradient"], optimizer.state_dict()["state"][0]["contact_gradient"])
    empty = CenterRBO(problem.parameters, 0.1, 1.0, contact=contact, base_optimizer=base)
    fresh.load_state_dict(empty.state_dict())
    fresh.step(problem)
    assert fresh.contact_radius.item() == 0.0  # nothing is remembered


@pytest.mark.parametrize("contact", ["previous", "mirrored", "lagged"])
def test_a_gradient_that_comes_and_goes_takes_its_contact_along(contact: str) -> None:
    one, two = (nn.Parameter(torch.ones(2, dtype=torch.float64)) for _ in range(2))
    optimizer = CenterRBO([one, two], 0.1, 0.5, contact=contact)
    for step in range(8):
        both, before = step % 4 < 2, two.detach().clone()

        def closure(both: bool = both) -> Tensor:
            one.grad = two.grad = None
            loss = one.square().sum() + (two.square().sum() if both else 0.0)
            loss.backward()
            return loss

        optimizer.step(closure)
        assert torch.equal(two, before) is not both
    assert set(optimizer.state_dict()["state"]) == {0}
    assert all(each.abs().max() < 1 for each in (one, two))


@pytest.mark.parametrize("contact", ["previous", "mirrored", "lagged"])
def test_steps_without_a_gradient_move_nothing(contact: str) -> None:
    point = nn.Parameter(torch.tensor((1.0, -2.0), dtype=torch.float64))
    optimizer = CenterRBO([point], 0.05, 0.3, contact=contact)

    def nothing() -> Tensor:
        point.grad = None
        return torch.zeros(())

    for closure in (nothing, closure_on(point, wavy), closure_on(point, wavy), nothing, nothing, nothing):
        before = point.detach().clone()
        optimizer.step(closure)
        assert torch.equal(point, before) is (closure is nothing)


@pytest.mark.parametrize("contact", ["previous", "mirrored", "lagged"])
def test_an_error_beside_the_closure_leaves_the_parameters_at_the_center(
    contact: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    problem = Regression()
    optimizer = CenterRBO(problem.parameters, 0.1, 0.5, contact=contact)
    for _ in range(3):
        problem.next_step()
        optimizer.step(problem)
    center = [each.detach().clone() for each in problem.parameters]

    def broken(*_: Any) -> Any:
        raise RuntimeError("interrupted")

    monkeypatch.setattr("rbobench.optim.center.with_gradients", broken)
    with pytest.raises(RuntimeError, match="interrupted"):
        optimizer.step(problem)
    assert all(map(torch.equal, problem.parameters, center))


@pytest.mark.parametrize("contact", ["previous", "mirrored", "lagged"])
def test_a_parameter_that_left_its_group_is_not_displaced(contact: str) -> None:
    one, two = (nn.Parameter(torch.ones(2, dtype=torch.float64)) for _ in range(2))
    optimizer, seen = CenterRBO([one, two], 0.1, 0.5, contact=contact), []

    def closure() -> Tensor:
        one.grad = two.grad = None
        seen.append(two.detach().clone())
        loss = one.square().sum() + two.square().sum()
        loss.backward()
        return loss

    for _ in range(4):
        optimizer.step(closure)
    optimizer.param_groups[0]["params"] = [one]
    left = two.detach().clone()
    seen.clear()
    for _ in range(3):
        optimizer.step(closure)
    assert all(torch.equal(each, left) for each in seen)
    assert set(optimizer.state_dict()["state"]) == {0}


@pytest.mark.parametrize("contact", ["previous", "mirrored", "lagged"])
def test_a_model_may_change_its_type_between_steps(contact: str) -> None:
    network = nn.Linear(3, 1)
    optimizer = CenterRBO(network.parameters(), 0.0, 0.5, contact=contact)
    for dtype in (torch.float32, torch.float64):
        network.to(dtype)
        for parameter in network.parameters():
            parameter.grad = None
            parameter.data += 1e-12
        before = [each.detach().clone() for each in network.parameters()]

        def closure(dtype: torch.dtype = dtype) -> Tensor:
            network.zero_grad()
            loss = network(torch.ones(2, 3, dtype=dtype)).square().mean()
            loss.backward()
            return loss

        for _ in range(4):
            optimizer.step(closure)
        assert all(map(torch.equal, network.parameters(), before))


@pytest.mark.parametrize("contact", CONTACTS)
def test_a_vanishing_gradient_in_half_precision_is_no_error(contact: str) -> None:
    point = nn.Parameter(torch.ones(2, dtype=torch.float16))
    optimizer = CenterRBO([point], 0.1, 0.3, contact=contact, loss_scale=math.inf)
    for _ in range(3):
        optimizer.step(closure_on(point, lambda x: (0.0 * x).sum()))


@pytest.mark.parametrize("contact", ["previous", "lagged"])
def test_a_pickled_optimizer_goes_on_as_the_original(contact: str) -> None:
    problem = Regression()
    optimizer = CenterRBO(problem.parameters, 0.1, 0.5, contact=contact, momentum=0.9)
    for _ in range(4):
        problem.next_step()
        optimizer.step(problem)
    other, copied = pickle.loads(pickle.dumps((problem, optimizer)))
    for each, its in ((problem, optimizer), (other, copied)):
        for _ in range(4):
            each.next_step()
            its.step(each)
    assert all(map(torch.equal, problem.parameters, other.parameters))


@pytest.mark.parametrize("contact", CONTACTS)
def test_numbers_of_the_host_go_as_tensors_of_the_device_would(
    contact: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On a CPU the length of the contact is a number; elsewhere it stays a tensor."""
    settings: dict[str, Any] = {"contact": contact, "lr": 0.05, "radius": 0.3, "contact_steps": 2}
    numbers = rolled((1.0, -2.0), 15, **settings)
    monkeypatch.setattr("rbobench.optim.center.at_hand", lambda value: value)
    tensors = rolled((1.0, -2.0), 15, **settings)
    torch.testing.assert_close(numbers, tensors, rtol=0, atol=1e-13)


BAD = {
    "contact": ({"contact": "sideways"}, "contact must be one of search, previous, mirrored, lagged, not"),
    "negative steps": ({"contact_steps": -1}, "contact_steps must be a whole number from 0, not -1"),
    "half a step": ({"contact_steps": 0.5}, "contact_steps must be a whole number from 0, not 0.5"),
    "radius": ({"radius": -1.0}, "radius must be finite and at least 0"),
    "lr": ({"lr": -1.0}, "lr must be finite and at least 0"),
    "scale": ({"loss_scale": 0.0}, "loss_scale must be above 0"),
    "no scale": ({"loss_scale": math.nan}, "loss_scale must be above 0"),
    "safeguard": ({"safeguard": True, "contact": "lagged"}, "safeguard is for contact 'search'"),
    "momentum": (
        {"momentum": 0.9, "base_optimizer": partial(torch.optim.AdamW)},
        "momentum is the default SGD's",
    ),
    "batch": (
        {"batch_dims": 1, "base_optimizer": partial(torch.optim.AdamW)},
        "batch_dims needs sgd as base optimizer, not AdamW",
    ),
}


@pytest.mark.parametrize("name", BAD)
def test_bad_input(name: str) -> None:
    settings, message = BAD[name]
    with pytest.raises(ValueError, match=message):
        CenterRBO([nn.Parameter(torch.zeros(2))], **{"lr": 0.1, "radius": 1.0, **settings})


def test_groups_must_agree_on_the_ball() -> None:
    one, two = nn.Parameter(torch.zeros(2)), nn.Parameter(torch.zeros(2))
    with pytest.raises(ValueError, match="one ball over all parameters, but groups disagree on radius"):
        CenterRBO([{"params": [one]}, {"params": [two], "radius": 2.0}], lr=0.1, radius=1.0)
    optimizer = CenterRBO([one], lr=0.1, radius=1.0)
    with pytest.raises(ValueError, match="groups disagree on radius"):
        optimizer.add_param_group({"params": [two], "radius": 2.0})
    optimizer.add_param_group({"params": [two], "weight_decay": 0.1})


def test_a_contact_closure_where_it_is_of_no_use_is_an_error() -> None:
    point = nn.Parameter(torch.zeros(2))
    closure = closure_on(point, wavy)
    with pytest.raises(ValueError, match="'lagged' searches for nothing; it takes no contact_closure"):
        CenterRBO([point], 0.1, 1.0, contact="lagged").step(closure, closure)
    with pytest.raises(ValueError, match="contact_steps = 0 searches for nothing"):
        CenterRBO([point], 0.1, 1.0, contact_steps=0).step(closure, closure)
    with pytest.raises(ValueError, match="safeguard compares losses of one closure"):
        CenterRBO([point], 0.1, 1.0, safeguard=True).step(closure, closure)
