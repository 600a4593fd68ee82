"""Small networks with one synthetic batch each, and a bare gradient evaluation of them."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

from .commit import offered

MODELS: Mapping[str, tuple[str, Mapping[str, Any], tuple[int, ...]]] = MappingProxyType(
    {
        # As on digits in suites/quick.yaml, the vision transformer too.
        "mlp": ("mlp", {"in_chans": 1, "img_size": 8}, (64, 1, 8, 8)),
        "resnet8": ("resnet8", {"in_chans": 3}, (32, 3, 32, 32)),
        "vit": (
            "vit_tiny_patch16_224",
            {"in_chans": 1, "img_size": 8, "patch_size": 4, "depth": 1, "embed_dim": 32, "num_heads": 2},
            (64, 1, 8, 8),
        ),
    }
)
"""Name to timm's name, options, and the shape of a batch."""

CLASSES = 10

SETTINGS: Mapping[str, Any] = MappingProxyType(
    {"lr": 1e-3, "radius": 1.0, "projection_steps": 5, "inner_steps": 5, "repeats": 5}
)
"""Hyperparameters, wherever an optimizer takes them: small, so that a step is short and nothing diverges."""


class Training:
    """A network in training and its batch; calling it is a bare gradient evaluation, the standard closure.

    Args:
        name: Of `MODELS`.
        samples: In the batch; as `MODELS` says if not given.

    Attributes:
        parameters: The weights.
    """

    def __init__(self, name: str, samples: int | None = None) -> None:
        import timm
        import torch

        offered("rbobench.tasks.models")  # registers ours with timm
        model, options, (usual, *size) = MODELS[name]
        count = samples or usual
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            self._model = timm.create_model(model, num_classes=CLASSES, **options).train()
        generator = torch.Generator().manual_seed(0)
        self._images = torch.randn(count, *size, generator=generator)
        self._labels = torch.randint(CLASSES, (count,), generator=generator)
        self.parameters = list(self._model.parameters())

    def loss(self) -> Any:
        """The mean cross-entropy of the batch."""
        import torch

        return torch.nn.functional.cross_entropy(self._model(self._images), self._labels)

    def __call__(self) -> Any:
        """Clear the gradients, evaluate, go backward, return the loss."""
        import torch

        for parameter in self.parameters:
            parameter.grad = None
        with torch.enable_grad():
            loss = self.loss()
            loss.backward()
        return loss


def create_optimizer(name: str, parameters: Any) -> Any:
    """A registered optimizer at `SETTINGS`, its defaults elsewhere.

    Raises:
        NotImplementedError: If the commit has none of that name.
    """
    registry = offered("rbobench.registry")
    if name not in registry.list_optimizers(name):
        raise NotImplementedError(f"this commit has no optimizer {name}")
    info = registry.get_optimizer(name)
    taken = dict(info.as_signature())
    if getattr(info, "wraps", None) is not None:
        taken |= registry.get_optimizer(str(taken[info.wraps].default)).as_signature()
    given = {key: value for key, value in SETTINGS.items() if key in taken}
    return info.create(parameters, info.resolve(given))
