"""Names, families, plugins."""

from __future__ import annotations

import pytest

from rbobench import registry
from rbobench.errors import UsageError
from rbobench.registry import OptimizerInfo, create_optimizer, get_optimizer, list_optimizers, list_tasks


def test_names_are_found_in_any_case_and_by_pattern() -> None:
    assert get_optimizer("RBO").name == "rbo"
    assert {"rbo", "rbo-null"} <= set(list_optimizers("RBO*"))
    assert "timm:lion" in list_optimizers("timm:*")
    assert {"digits", "eq14"} <= set(list_tasks())


def test_the_six_controls_are_registered() -> None:
    controls = {"rbo-null", "sam-null", "sam-random", "sgd-repeat", "sgd-short", "sgd-early"}
    assert controls <= set(list_optimizers())


def test_every_control_that_is_named_is_registered() -> None:
    for name in list_optimizers():
        for control in get_optimizer(name).controls:
            assert get_optimizer(control).name == control


def test_an_unknown_name_says_what_is_near() -> None:
    with pytest.raises(UsageError, match=r"unknown optimizer 'rbo-nul'; did you mean 'rbo-null'"):
        get_optimizer("rbo-nul")


def test_a_duplicate_is_refused() -> None:
    with pytest.raises(ValueError, match="optimizer 'rbo' is registered already"):
        registry.register_optimizer(OptimizerInfo("RBO", factory=object, description=""))
    with pytest.raises(ValueError, match="optimizer 'timm:mine' is registered already"):
        registry.register_optimizer(OptimizerInfo("timm:mine", factory=object, description=""))


def test_a_broken_plugin_is_a_warning_and_takes_nothing_with_it(monkeypatch) -> None:
    class Point:
        name, value = "broken", "nowhere:register"

        def load(self):
            raise ImportError("no module named 'nowhere'")

    points = [*registry.entry_points(group=registry.PLUGIN_GROUP), Point()]
    monkeypatch.setattr(registry, "entry_points", lambda group: points)
    monkeypatch.setattr(registry, "_OPTIMIZERS", registry._Registry("optimizer"))
    monkeypatch.setattr(registry, "_TASKS", registry._Registry("task"))
    monkeypatch.setattr(registry, "_loaded", False)
    with pytest.warns(UserWarning, match=r"plugin 'broken' \(nowhere:register\) failed: no module"):
        assert {"rbo", "sgd"} <= set(registry.list_optimizers())


def test_create_optimizer_fills_in_defaults_and_refuses_the_rest() -> None:
    import torch

    parameter = torch.nn.Parameter(torch.zeros(2))
    optimizer = create_optimizer("rbo", [parameter], lr=1, radius=2)
    assert optimizer.param_groups[0]["radius"] == 2.0
    assert optimizer.param_groups[0]["projection_steps"] == 20
    with pytest.raises(UsageError, match="unknown hyperparameter 'raduis'; did you mean 'radius'"):
        create_optimizer("rbo", [parameter], lr=1, raduis=2)
    with pytest.raises(UsageError, match=r"radius must be finite and at least 0, not -1\.0"):
        create_optimizer("rbo", [parameter], lr=1, radius=-1)
