"""Where a trial runs: device, versions, commit."""

from __future__ import annotations

import platform
import subprocess
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import torch

import rbobench
from rbobench.errors import UsageError, unknown

PACKAGES = ("torchvision", "timm", "numpy", "scikit-learn")
"""Packages beside torch whose version may change a result."""


def choose_device(name: str = "auto") -> torch.device:
    """The device to run on.

    Args:
        name: `"auto"` for CUDA, else MPS, else the CPU; or a device as torch names it.

    Raises:
        UsageError: If the device is unknown or not at hand.
    """
    at_hand = ["cpu"]
    if torch.backends.mps.is_available():
        at_hand.insert(0, "mps")
    if torch.cuda.is_available():
        at_hand.insert(0, "cuda")
    if name.lower() == "auto":
        return torch.device(at_hand[0])
    try:
        device = torch.device(name.lower())
    except RuntimeError:
        raise unknown("device", name, ["auto", *at_hand]) from None
    if device.type not in at_hand:
        raise UsageError(f"device {name!r} is not at hand; use one of: {', '.join(['auto', *at_hand])}")
    count = torch.cuda.device_count() if device.type == "cuda" else 1
    if (device.index or 0) >= count:
        raise UsageError(f"device {name!r} is not at hand; there is {count} of {device.type}")
    return device


def describe(device: torch.device) -> dict[str, Any]:
    """The environment as a record holds it, JSON-able."""
    commit, dirty = checkout(Path(rbobench.__file__).resolve().parent)
    return {
        "commit": commit,
        "dirty": dirty,
        "versions": {
            "rbobench": rbobench.__version__,
            "python": platform.python_version(),
            "torch": torch.__version__,  # names the build, as the package's metadata does not
            **{package: _version(package) for package in PACKAGES},
        },
        "device": device_name(device),
        "threads": torch.get_num_threads(),
        "platform": platform.platform(),
    }


def device_name(device: torch.device) -> str:
    """The device's type and, where it has one, its model."""
    if device.type == "cuda":
        return f"{device} ({torch.cuda.get_device_name(device)})"
    return f"{device} ({platform.machine()})"


def checkout(package: Path) -> tuple[str | None, bool | None]:
    """Commit of the git checkout that holds a package, and whether any file differs from it.

    Returns:
        `(None, None)` where the package is no part of a checkout or there is no git.
    """
    top = _git(package, "rev-parse", "--show-toplevel")
    if top is None or Path(top).resolve() != package.parent:
        return None, None  # installed into a virtual environment that lies in someone else's checkout
    commit = _git(package, "rev-parse", "HEAD")
    if commit is None:
        return None, None
    return commit, bool(_git(package.parent, "status", "--porcelain"))


def _git(folder: Path, *arguments: str) -> str | None:
    try:
        done = subprocess.run(
            ["git", "--no-optional-locks", "-C", str(folder), *arguments],
            capture_output=True,
            text=True,
            timeout=30,
            check=True,
        )
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout.strip()


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None
