"""Wide residual networks (arXiv 1605.07146) without dropout."""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn import functional

from rbobench.tasks.models.entry import initialize_convolutions, model_entry


class WideBlock(nn.Module):
    """BatchNorm and ReLU before each of two 3×3 convolutions."""

    def __init__(self, inputs: int, outputs: int, stride: int) -> None:
        super().__init__()
        self.bn1 = nn.BatchNorm2d(inputs)
        self.conv1 = nn.Conv2d(inputs, outputs, 3, stride, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(outputs)
        self.conv2 = nn.Conv2d(outputs, outputs, 3, padding=1, bias=False)
        self.shortcut = (
            nn.Conv2d(inputs, outputs, 1, stride, bias=False) if stride != 1 or inputs != outputs else None
        )

    def forward(self, x: Tensor) -> Tensor:
        """Images of shape (n, inputs, height, width)."""
        activated = functional.relu(self.bn1(x))
        residual = self.conv2(functional.relu(self.bn2(self.conv1(activated))))
        return residual + (x if self.shortcut is None else self.shortcut(activated))


class WideResNet(nn.Module):
    """WRN-d-k.

    Args:
        depth: d = 6n + 4.
        factor: k, by which the stages are wider than 16, 32 and 64.
        in_chans: Channels of the images.
        num_classes: Classes.
    """

    def __init__(self, depth: int, factor: int, in_chans: int = 3, num_classes: int = 10) -> None:
        super().__init__()
        blocks = (depth - 4) // 6
        self.conv1 = nn.Conv2d(in_chans, 16, 3, padding=1, bias=False)
        layers: list[nn.Module] = []
        inputs = 16
        for stage in range(3):
            for block in range(blocks):
                width = factor * 16 * 2**stage
                layers.append(WideBlock(inputs, width, stride=2 if stage > 0 and block == 0 else 1))
                inputs = width
        self.blocks = nn.Sequential(*layers)
        self.bn = nn.BatchNorm2d(inputs)
        self.fc = nn.Linear(inputs, num_classes)
        initialize_convolutions(self)

    def forward(self, x: Tensor) -> Tensor:
        """Logits of images of shape (n, in_chans, height, width)."""
        features = functional.relu(self.bn(self.blocks(self.conv1(x))))
        return self.fc(features.mean(dim=(-2, -1)))


@model_entry
def wrn16_4(in_chans: int = 3, num_classes: int = 10) -> nn.Module:
    """WRN-16-4, 2.7 million parameters."""
    return WideResNet(16, 4, in_chans, num_classes)


@model_entry
def wrn28_10(in_chans: int = 3, num_classes: int = 10) -> nn.Module:
    """WRN-28-10, 36.5 million parameters."""
    return WideResNet(28, 10, in_chans, num_classes)
