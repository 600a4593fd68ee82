"""The growth study: its fits against known laws, and what it writes."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from torch import nn

from rbobench.registry import create_optimizer
from rbobench.studies import growth, speed


def law(panel: str, curve: str, sizes: list[int], seconds: np.ndarray) -> pd.DataFrame:
    frame = pd.DataFrame({"panel": panel, "curve": curve, "size": sizes, "seconds": seconds})
    return frame.assign(low=frame["seconds"], high=frame["seconds"], rounds=1)


def test_fits_find_the_law() -> None:
    sizes = [1, 10, 100, 1000, 10_000]
    line = 1e-3 + 2e-6 * np.array(sizes)
    frames = [
        law("balls", "eq14", sizes, line),
        law("dimension", "whitley", sizes, 3e-9 * np.array(sizes, dtype=float) ** 2),
    ]
    linear, square = growth.fit(pd.concat(frames)).to_dict("records")
    assert linear["r_squared"] == pytest.approx(1.0)
    assert linear["slope"] == pytest.approx(2e-6)
    assert linear["exponent"] < 0.5 < linear["exponent_largest"] < 1.0
    assert linear["expected"] == 1.0
    assert square["exponent"] == pytest.approx(2.0)
    assert square["exponent_largest"] == pytest.approx(2.0)
    assert square["expected"] == 2.0
    assert square["slope"] == pytest.approx(3e-9)
    wrong = growth.fit(law("balls", "eq14", sizes, 3e-9 * np.array(sizes, dtype=float) ** 2))
    assert wrong["r_squared"].item() < 0.99


@pytest.mark.parametrize("name", growth.OPTIMIZERS)
def test_a_free_closure_serves_every_optimizer(name: str) -> None:
    parameters = [nn.Parameter(torch.ones(3, 2)), nn.Parameter(torch.zeros(4))]
    closure, calls = growth.FreeClosure(parameters), 0

    def counted() -> torch.Tensor:
        nonlocal calls
        calls += 1
        return closure()

    optimizer = create_optimizer(name, parameters, **speed.hyperparameters(name))
    for _ in range(50):
        closure.begin()
        optimizer.step(counted)  # type: ignore[arg-type]
    assert calls == 50 * speed.gradient_evaluations(name, speed.hyperparameters(name))
    assert all(bool(torch.isfinite(each).all()) for each in parameters)
    assert not torch.equal(parameters[1], torch.zeros(4))


def test_a_free_closure_begins_each_step_at_other_gradients() -> None:
    parameter = nn.Parameter(torch.zeros(3))
    closure = growth.FreeClosure([parameter])
    seen = []
    for _ in range(2):
        closure.begin()
        for _ in range(3):
            closure()
            assert parameter.grad is not None
            seen.append(parameter.grad.clone())
    assert torch.equal(seen[0], seen[3])
    assert torch.equal(seen[1], seen[2])
    assert not torch.equal(seen[0], seen[1])


def test_short_programs_are_repeated() -> None:
    frame = growth.measure("balls", (1, 2), 2, least_seconds=0.0)
    assert set(frame["size"]) == {1, 2}
    assert set(frame["curve"]) == {"eq14", "rastrigin", "weierstrass", "rosenbrock"}
    assert (frame["seconds"] > 0.0).all()


def test_the_study_writes_times_fits_and_figure(tmp_path: Path) -> None:
    said: list[str] = []
    files = growth.run(tmp_path, small=True, say=said.append)
    assert [path.name for path in files] == [
        "growth.pdf",
        "growth.png",
        "growth.csv",
        "fits.csv",
        "growth.md",
    ]
    assert all(path.stat().st_size > 0 for path in files)
    frame, fits = pd.read_csv(tmp_path / "growth.csv"), pd.read_csv(tmp_path / "fits.csv")
    assert list(frame["panel"].unique()) == list(growth.PANELS)
    assert (frame["low"] <= frame["seconds"]).all()
    assert (frame["seconds"] <= frame["high"]).all()
    assert len(fits) == len(frame[["panel", "curve"]].drop_duplicates())
    assert not fits.isna().any(axis=None)
    assert len(said) == len(growth.PANELS)
    text = (tmp_path / "growth.md").read_text(encoding="utf-8")
    assert all(panel.name in text for panel in growth.PANELS.values())
