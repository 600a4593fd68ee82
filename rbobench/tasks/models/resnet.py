"""Residual networks for small images (arXiv 1512.03385, Section 4.2), shortcuts by 1×1 convolution."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor, nn

from rbobench.tasks.models.entry import initialize_convolutions, model_entry


class BasicBlock(nn.Module):
    """Two 3×3 convolutions around a shortcut, which is a 1×1 convolution where the shape changes."""

    def __init__(self, inputs: int, outputs: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(inputs, outputs, 3, stride, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(outputs)
        self.conv2 = nn.Conv2d(outputs, outputs, 3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(outputs)
        self.relu = nn.ReLU(inplace=True)
        self.shortcut: nn.Module = nn.Identity()
        if stride != 1 or inputs != outputs:
            self.shortcut = nn.Sequential(
                nn.Conv2d(inputs, outputs, 1, stride, bias=False), nn.BatchNorm2d(outputs)
            )

    def forward(self, x: Tensor) -> Tensor:
        """Images of shape (n, inputs, height, width)."""
        residual = self.bn2(self.conv2(self.relu(self.bn1(self.conv1(x)))))
        return self.relu(residual + self.shortcut(x))


class CifarResNet(nn.Module):
    """A 3×3 stem, a stage for each width, the first at the stem's resolution, and a linear layer.

    Args:
        blocks: In each stage.
        widths: Channels of each stage.
        in_chans: Channels of the images.
        num_classes: Classes.
        stem_stride: 2 halves the images in the stem, at about a quarter of the cost.
    """

    def __init__(
        self,
        blocks: int,
        widths: Sequence[int] = (16, 32, 64),
        in_chans: int = 3,
        num_classes: int = 10,
        stem_stride: int = 1,
    ) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(in_chans, widths[0], 3, stem_stride, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(widths[0])
        self.relu = nn.ReLU(inplace=True)
        layers: list[nn.Module] = []
        inputs = widths[0]
        for stage, width in enumerate(widths):
            for block in range(blocks):
                layers.append(BasicBlock(inputs, width, stride=2 if stage > 0 and block == 0 else 1))
                inputs = width
        self.blocks = nn.Sequential(*layers)
        self.fc = nn.Linear(inputs, num_classes)
        initialize_convolutions(self)

    def forward(self, x: Tensor) -> Tensor:
        """Logits of images of shape (n, in_chans, height, width)."""
        features = self.blocks(self.relu(self.bn1(self.conv1(x))))
        return self.fc(features.mean(dim=(-2, -1)))


@model_entry
def resnet6(in_chans: int = 3, num_classes: int = 10, stem_stride: int = 1) -> nn.Module:
    """Six layers: one block in each of two stages. The paper does not say which; this is our choice."""
    return CifarResNet(1, (16, 32), in_chans, num_classes, stem_stride)


@model_entry
def resnet8(in_chans: int = 3, num_classes: int = 10, stem_stride: int = 1) -> nn.Module:
    """Eight layers: one block in each of three stages."""
    return CifarResNet(1, in_chans=in_chans, num_classes=num_classes, stem_stride=stem_stride)


@model_entry
def resnet20(in_chans: int = 3, num_classes: int = 10, stem_stride: int = 1) -> nn.Module:
    """Twenty layers: three blocks in each of three stages."""
    return CifarResNet(3, in_chans=in_chans, num_classes=num_classes, stem_stride=stem_stride)
