"""timm's optimizers through the registry: all of them, unchanged, or with the reason why they cannot run."""

from __future__ import annotations

import importlib.util
import inspect
import subprocess
import sys

import pytest
import timm
import timm.optim
import torch

from baselines.timm import _TimmOptimizer
from rbobench.errors import UsageError
from rbobench.registry import create_optimizer, get_optimizer, list_optimizers
from rbobench.testing import CHECKS, check_optimizer
from rbobench.testing.problems import Regression

APEX = ("fusedadam", "fusedadamw", "fusedlamb", "fusednovograd", "fusedsgd")
BITSANDBYTES = (
    "bnbadam",
    "bnbadam8bit",
    "bnbadamw",
    "bnbadamw8bit",
    "bnbademamix",
    "bnbademamix8bit",
    "bnblion",
    "bnblion8bit",
    "bnbsgd",
    "bnbsgd8bit",
)
NAMES = timm.optim.list_optimizers()
RUNNABLE = [name for name in NAMES if name not in (*APEX, *BITSANDBYTES)]


@pytest.fixture(autouse=True)
def _no_packages_of_gpu_optimizers(monkeypatch):
    """The reasons to skip as on a machine with neither apex nor bitsandbytes."""
    find_spec = importlib.util.find_spec
    monkeypatch.setattr(
        "importlib.util.find_spec",
        lambda name, *rest: None if name in ("apex", "bitsandbytes") else find_spec(name, *rest),
    )


def weights_after(optimizer, problem: Regression, steps: int = 5) -> list[torch.Tensor]:
    for _ in range(steps):
        problem.next_step()
        optimizer.step(problem)
    return [parameter.detach().clone() for parameter in problem.parameters]


def test_our_module_does_not_hide_timm():
    assert timm.optim.__name__ == "timm.optim"
    assert "baselines" not in (timm.__file__ or "")


def test_registering_does_not_import_timm():
    code = "import sys, baselines.timm; baselines.timm.register(); assert 'timm' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True)


def test_lists_all_of_timms():
    assert list_optimizers("timm:*") == sorted(f"timm:{name}" for name in NAMES)
    assert list_optimizers("TIMM:kron*") == ["timm:kron", "timm:kronc", "timm:kronw"]


@pytest.mark.parametrize("name", NAMES)
def test_every_name_has_an_info(name):
    info = get_optimizer(f"timm:{name}")
    assert info.name == f"timm:{name}"
    assert info.description == timm.optim.get_optimizer_info(name).description
    lr = info.resolve()["lr"]
    assert lr > 0
    assert info.search_space["lr"] == ("log", pytest.approx(lr / 10), pytest.approx(10 * lr))
    assert set(info.exceptions) <= set(CHECKS)


def test_what_cannot_run_everywhere_says_why():
    found = {name: get_optimizer(f"timm:{name}").requires for name in NAMES}
    assert {name: requires for name, requires in found.items() if requires} == {
        "adahessian": ("second-order gradients",),
        **dict.fromkeys(APEX, ("apex", "cuda")),
        **dict.fromkeys(BITSANDBYTES, ("bitsandbytes", "cuda")),
    }


def test_the_contract_skips_those_with_the_reason():
    results = check_optimizer(get_optimizer("timm:bnblion"))
    assert {(result.status, result.detail) for result in results} == {
        ("skipped", "requires bitsandbytes, cuda")
    }


@pytest.mark.parametrize("name", [name for name in RUNNABLE if name != "adahessian"])
def test_is_timms_own_object_bit_for_bit(name):
    info = get_optimizer(f"timm:{name}")
    ours, theirs = Regression(), Regression()
    kind = timm.optim.get_optimizer_class(name, bind_defaults=True)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        mine = info.create(ours.parameters, info.resolve())
        ends = weights_after(mine, ours)
        torch.manual_seed(0)
        timms = weights_after(kind(theirs.parameters, **info.defaults), theirs)
    assert type(mine) is timm.optim.get_optimizer_class(name, bind_defaults=False)
    assert all(map(torch.equal, ends, timms))


def test_supplies_only_what_timms_classes_leave_open():
    supplied = {name: dict(get_optimizer(f"timm:{name}").defaults) for name in RUNNABLE}
    assert {name for name, defaults in supplied.items() if "lr" in defaults} == {
        "adafactor",
        "cadafactor",
        "csgdp",
        "sgdp",
    }
    for name, defaults in supplied.items():
        parameters = inspect.signature(timm.optim.get_optimizer_class(name)).parameters
        momentum = parameters["momentum"].default if "momentum" in parameters else None
        assert ("momentum" in defaults) == (momentum == 0), name


def test_hyperparameters_pass_through():
    optimizer = create_optimizer("timm:Lion", Regression().parameters, lr=1, betas=[0.8, 0.9], caution=True)
    (group,) = optimizer.param_groups
    assert (group["lr"], group["betas"], group["caution"]) == (1.0, (0.8, 0.9), True)


def test_a_default_written_out_changes_nothing():
    info = get_optimizer("timm:adopt")
    assert info.resolve() == info.resolve({"lr": 0.001, "clip_exp": 0.333, "weight_decay": 0})


def test_every_default_can_be_written_to_a_trial():
    allowed = (bool, int, float, str, tuple, type(None))
    for name in RUNNABLE:
        for hyperparameter, value in get_optimizer(f"timm:{name}").resolve().items():
            assert isinstance(value, allowed), (name, hyperparameter, value)


@pytest.mark.parametrize(
    ("name", "given", "message"),
    [
        ("timm:loin", {}, "unknown optimizer 'timm:loin'; did you mean 'timm:lion'"),
        ("timm:lion", {"beta": 0.9}, "optimizer 'timm:lion': unknown hyperparameter 'beta'; did you mean"),
        ("timm:lion", {"lr": "fast"}, "optimizer 'timm:lion': hyperparameter 'lr' must be a number"),
        ("timm:lion", {"lr": -1.0}, "optimizer 'timm:lion': Invalid learning rate: -1.0"),
        ("timm:adamw", {"fused": True}, "optimizer 'timm:adamw': unknown hyperparameter 'fused'"),
    ],
)
def test_mistakes_are_usage_errors(name, given, message):
    with pytest.raises(UsageError) as caught:
        create_optimizer(name, Regression().parameters, **given)
    assert str(caught.value).startswith(message)


def test_a_class_that_cannot_be_imported_takes_its_step_size_alone(monkeypatch):
    def refuse(*_, **__):
        raise ImportError("APEX optimizers require apex to be installed")

    monkeypatch.setattr("timm.optim.get_optimizer_class", refuse)
    assert list(_TimmOptimizer("fusedadam").hyperparameter_signature) == ["lr"]
