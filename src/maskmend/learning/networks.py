"""The segmentation networks.  Input (N, C, *S) float32, output logits (N, channels, *S)."""

from __future__ import annotations

import math

import torch
from monai.networks.nets import BasicUNet, DynUNet
from torch import Tensor, nn

from maskmend.arrays.patches import halvings, kernels


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


class VolumeUNet(nn.Module):
    """The CompactUNet of volumes: MONAI's DynUNet on a grid folded once, laid out by the voxels.

    Which axes are folded into channels, halved level by level and looked across is decided by
    the patch and the spacing (`arrays.patches`), so that thick slices are met by kernels of one
    slice and stay whole until the rows and columns are as coarse.  S must divide by what the
    patch divides by.
    """

    def __init__(
        self, in_channels: int, out_channels: int, patch: tuple[int, ...],
        spacing: tuple[float, ...], width: int = 16,
    ) -> None:  # fmt: skip
        super().__init__()
        levels = halvings(patch, spacing)
        sizes = kernels(levels, spacing)
        # DynUNet has three levels at least
        while len(levels) < 3:
            levels, sizes = (*levels, (1, 1, 1)), (*sizes, (3, 3, 3))
        self.fold = levels[0]
        parts = math.prod(self.fold)
        body = DynUNet(
            3, in_channels * parts, out_channels * parts,
            kernel_size=sizes, strides=((1, 1, 1), *levels[1:]), upsample_kernel_size=levels[1:],
            filters=[width * min(2**level, 16) for level in range(len(levels))],
            norm_name=("batch", {"affine": True}),
        )  # fmt: skip
        # its blocks stand in it twice, by level and nested; a weights file names each tensor once
        self.path = body.skip_layers
        self.head = body.output_block

    def forward(self, images: Tensor) -> Tensor:
        return unfold(self.head(self.path(fold(images, self.fold))), self.fold)

    @property
    def last(self) -> nn.Conv3d:
        """The layer whose output is the logits; its channels are out_channels x folded voxels."""
        layer = self.head.conv.conv
        assert isinstance(layer, nn.Conv3d)
        return layer


def fold(maps: Tensor, by: tuple[int, ...]) -> Tensor:
    """(N, C, D, H, W) -> (N, C x d x h x w, D/d, H/h, W/w) for by = (d, h, w); nothing is lost.

    The volume's `pixel_unshuffle`; a channel's parts stay together.
    """
    count, channels, *shape = maps.shape
    d, h, w = by
    depth, height, width = (n // each for n, each in zip(shape, by, strict=True))
    parts = maps.reshape(count, channels, depth, d, height, h, width, w)
    return parts.permute(0, 1, 3, 5, 7, 2, 4, 6).reshape(count, -1, depth, height, width)


def unfold(maps: Tensor, by: tuple[int, ...]) -> Tensor:
    """The inverse of `fold`."""
    count, channels, depth, height, width = maps.shape
    d, h, w = by
    parts = maps.reshape(count, channels // math.prod(by), d, h, w, depth, height, width)
    return parts.permute(0, 1, 5, 2, 6, 3, 7, 4).reshape(
        count, -1, depth * d, height * h, width * w
    )


NETWORKS: dict[str, type[CompactUNet] | type[ReferenceVNet]] = {
    "compact": CompactUNet,
    "vnet": ReferenceVNet,
}
"""Of pictures.  Volumes have the VolumeUNet."""


def build_network(name: str, in_channels: int, out_channels: int) -> CompactUNet | ReferenceVNet:
    """A new network for pictures, with random weights from torch's current generator.

    name: a key of NETWORKS.
    """
    return NETWORKS[name](in_channels, out_channels)
