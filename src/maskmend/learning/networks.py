"""The segmentation networks.  Input (N, C, H, W) float32, output logits (N, channels, H, W)."""

from __future__ import annotations

from collections.abc import Callable

import torch
from monai.networks.nets import BasicUNet
from torch import Tensor, nn


class CompactUNet(nn.Module):
    """A MONAI U-Net that works on a grid `fold` times coarser, and answers on the full one.

    Pixels are folded into channels before the first convolution and unfolded after the last, so
    a CPU pays for a quarter (fold = 2) of the positions while edges keep the input's resolution
    (Shi et al., CVPR 2016, sub-pixel convolution).  H and W must divide by 16 * fold.
    """

    multiple_of = 32

    def __init__(self, in_channels: int, out_channels: int, width: int = 16, fold: int = 2) -> None:
        super().__init__()
        features = (width, 2 * width, 4 * width, 8 * width, 8 * width, width)
        self.fold = nn.PixelUnshuffle(fold)
        self.body = BasicUNet(
            spatial_dims=2,
            in_channels=in_channels * fold**2,
            out_channels=out_channels * fold**2,
            features=features,
            act=("RELU", {"inplace": True}),
            norm="batch",
            bias=False,
            upsample="nontrainable",
        )
        self.unfold = nn.PixelShuffle(fold)

    def forward(self, images: Tensor) -> Tensor:
        logits: Tensor = self.unfold(self.body(self.fold(images)))
        return logits

    @property
    def last(self) -> nn.Conv2d:
        """The layer whose output is the logits; its channels are out_channels x fold^2."""
        layer = self.body.final_conv
        assert isinstance(layer, nn.Conv2d)
        return layer


def _conv(in_channels: int, out_channels: int, size: int = 3) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(in_channels, out_channels, size, padding=size // 2), nn.BatchNorm2d(out_channels)
    )


class _Residual(nn.Module):
    def __init__(self, channels: int, depth: int) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        for _ in range(depth - 1):
            layers += [_conv(channels, channels), nn.ReLU(inplace=True)]
        self.layers = nn.Sequential(*layers, _conv(channels, channels))

    def forward(self, features: Tensor) -> Tensor:
        return torch.relu(features + self.layers(features))


class _Down(nn.Module):
    def __init__(self, channels: int, depth: int) -> None:
        super().__init__()
        self.reduce = nn.Sequential(
            nn.Conv2d(channels, 2 * channels, 2, stride=2), nn.BatchNorm2d(2 * channels), nn.ReLU()
        )
        self.refine = _Residual(2 * channels, depth)

    def forward(self, features: Tensor) -> Tensor:
        refined: Tensor = self.refine(self.reduce(features))
        return refined


class _Up(nn.Module):
    def __init__(self, in_channels: int, out_channels: int, depth: int) -> None:
        super().__init__()
        half = out_channels // 2
        self.enlarge = nn.Sequential(
            nn.ConvTranspose2d(in_channels, half, 2, stride=2), nn.BatchNorm2d(half), nn.ReLU()
        )
        self.refine = _Residual(out_channels, depth)

    def forward(self, features: Tensor, skipped: Tensor) -> Tensor:
        refined: Tensor = self.refine(torch.cat([self.enlarge(features), skipped], dim=1))
        return refined


class ReferenceVNet(nn.Module):
    """The 2D V-Net of Zhang et al., MICCAI 2020: 16-32-64-128 channels, residual blocks.

    1,151,932 parameters for 1 channel in, 2 out.  H and W must divide by 8.
    """

    multiple_of = 8

    def __init__(self, in_channels: int, out_channels: int) -> None:
        super().__init__()
        self.enter = nn.Sequential(_conv(in_channels, 16), nn.ReLU())
        self.down = nn.ModuleList([_Down(16, 1), _Down(32, 2), _Down(64, 3)])
        self.up = nn.ModuleList([_Up(128, 128, 3), _Up(128, 64, 2), _Up(64, 32, 1)])
        self.leave = nn.Sequential(_conv(32, out_channels), nn.ReLU())
        self.last = nn.Conv2d(out_channels, out_channels, 1)

    def forward(self, images: Tensor) -> Tensor:
        features = [self.enter(images)]
        for down in self.down:
            features.append(down(features[-1]))
        deepest = features.pop()
        for up in self.up:
            deepest = up(deepest, features.pop())
        logits: Tensor = self.last(self.leave(deepest))
        return logits


NETWORKS: dict[str, Callable[[int, int], CompactUNet | ReferenceVNet]] = {
    "compact": CompactUNet,
    "vnet": ReferenceVNet,
}


def build_network(name: str, in_channels: int, out_channels: int) -> CompactUNet | ReferenceVNet:
    """A new network with random weights from torch's current generator.

    name: a key of NETWORKS.
    """
    return NETWORKS[name](in_channels, out_channels)
