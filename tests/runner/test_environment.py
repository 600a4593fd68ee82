"""Where a trial runs."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import pytest
import torch

from rbobench.errors import UsageError
from rbobench.runner.environment import checkout, choose_device, describe


@pytest.fixture
def machine(monkeypatch: pytest.MonkeyPatch):
    def has(cuda: int, mps: bool) -> None:
        monkeypatch.setattr(torch.cuda, "is_available", lambda: cuda > 0)
        monkeypatch.setattr(torch.cuda, "device_count", lambda: cuda)
        monkeypatch.setattr(torch.backends.mps, "is_available", lambda: mps)

    return has


@pytest.mark.parametrize(
    ("cuda", "mps", "name", "device"),
    [
        (1, True, "auto", "cuda"),
        (0, True, "auto", "mps"),
        (0, False, "Auto", "cpu"),
        (1, False, "cpu", "cpu"),
        (2, False, "CUDA:1", "cuda:1"),
    ],
)
def test_the_device_is_cuda_then_mps_then_cpu(machine, cuda: int, mps: bool, name: str, device: str) -> None:
    machine(cuda, mps)
    assert choose_device(name) == torch.device(device)


@pytest.mark.parametrize(
    ("cuda", "name", "message"),
    [
        (0, "cuda", "device 'cuda' is not at hand; use one of: auto, cpu"),
        (2, "cuda:2", "device 'cuda:2' is not at hand; there is 2 of cuda"),
        (0, "meta", "device 'meta' is not at hand"),
        (0, "gpu", "unknown device 'gpu'; did you mean 'cpu'"),
        (0, "cpu:x", "unknown device 'cpu:x'; did you mean 'cpu'"),
    ],
)
def test_a_device_that_is_not_there_is_told(machine, cuda: int, name: str, message: str) -> None:
    machine(cuda, False)
    with pytest.raises(UsageError) as caught:
        choose_device(name)
    assert message in str(caught.value)


def test_the_environment_is_json() -> None:
    described = describe(torch.device("cpu"))
    assert json.loads(json.dumps(described)) == described
    assert described["versions"]["torch"] == torch.__version__
    assert described["threads"] == torch.get_num_threads()


def test_the_commit_is_that_of_the_package_alone(tmp_path: Path) -> None:
    def git(*arguments: str) -> str:
        identity = ("-c", "user.name=a", "-c", "user.email=a@b.c")
        command = ["git", "-C", str(tmp_path), *identity, *arguments]
        return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()

    package, installed = tmp_path / "package", tmp_path / "lib" / "site-packages" / "package"
    for folder in (package, installed):
        folder.mkdir(parents=True)
        (folder / "__init__.py").write_text("")
    assert checkout(package) == (None, None)
    git("init", "-q")
    git("add", ".")
    git("commit", "-qm", "first")
    assert checkout(package) == (git("rev-parse", "HEAD"), False)
    (package / "new.py").write_text("what git does not know yet runs all the same")
    assert checkout(package) == (git("rev-parse", "HEAD"), True)
    assert checkout(installed) == (None, None)
