"""Training data in memory, on the network's grid: resizing, normalising, augmenting."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any, Protocol

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Generator, Tensor, nn
from torch.utils.data import Sampler

from maskmend.core import FloatArray, LabelScheme
from maskmend.learning.inference import predict_prepared
from maskmend.learning.losses import channel_shares
from maskmend.learning.networks import NETWORKS, build_network
from maskmend.settings import TrainingSettings


class Way(Protocol):
    """From a case's own grid to the network's and back; of pictures or of volumes."""

    @property
    def axes(self) -> int:
        """Of space: 2 or 3."""

    @property
    def memory_format(self) -> torch.memory_format: ...
    @property
    def spacing(self) -> tuple[float, ...]:
        """Size of a pixel of the network's grid along each axis: in mm; of pictures 1."""

    @property
    def can_be_lonely(self) -> bool:
        """Whether one case alone may have no variance on the coarsest grid to normalise by."""

    def build_network(self, name: str, in_channels: int, out_channels: int) -> nn.Module:
        """A new network with random weights; `last` is the layer whose output is the logits."""

    def multiples(self, name: str) -> tuple[int, ...]:
        """What the sides of an image must divide by for that network."""

    def logits(
        self, network: nn.Module, image: NDArray[np.generic], steps: Sequence[float]
    ) -> Tensor:
        """(1, channels, *S) float32, on the grid of the image (C, *S)."""


class TrainingCases(Protocol):
    """Cases to train on; decides how a batch is drawn and how whole cases are predicted."""

    @property
    def case_ids(self) -> tuple[str, ...]: ...
    @property
    def scheme(self) -> LabelScheme: ...
    @property
    def way(self) -> Way: ...
    @property
    def in_channels(self) -> int: ...
    @property
    def counts(self) -> list[int]:
        """Of the maps of a batch: channels of the images, of the targets, planes."""

    def subset(self, indices: Sequence[int]) -> TrainingCases: ...
    def shares(self) -> Tensor:
        """Share of the pixels that each channel's targets claim, (channels,) float32."""

    def draw(
        self, chosen: Tensor, kept: Tensor, generator: Generator, settings: TrainingSettings
    ) -> Tensor:
        """(B, sum(counts), *S) float32: image, targets x part, part.

        chosen: (B,) indices of cases.  kept: (B, planes) bool, masks that train.
        """

    def known(self) -> Iterator[tuple[FloatArray, FloatArray]]:
        """Of each whole case on the network's grid, float32 in [0, 1]: targets (channels, *S), and
        what takes part (planes, *S)."""

    def probabilities(self, network: nn.Module) -> Iterator[FloatArray]:
        """Of each whole case on the network's grid, (channels, *S) float32."""

    def relabelled(self, targets: Iterable[FloatArray]) -> TrainingCases:
        """The same cases with other targets, in the shapes and the order of `known`."""

    def arrays(self) -> Iterator[NDArray[Any]]:
        """All that a training is made from."""

    def describe(self) -> dict[str, Any]:
        """What a finished training needs beside its settings, for JSON."""


@dataclass(frozen=True)
class PictureWay:
    """Pictures are resized to size x size, whatever their own shape."""

    size: int

    axes = 2
    memory_format = torch.channels_last
    spacing = (1.0, 1.0)

    @property
    def can_be_lonely(self) -> bool:
        """32 x 32 pixels become one."""
        return self.size == 32

    def build_network(self, name: str, in_channels: int, out_channels: int) -> nn.Module:
        """A new network with random weights."""
        return build_network(name, in_channels, out_channels)

    def multiples(self, name: str) -> tuple[int, ...]:
        return (NETWORKS[name].multiple_of,) * 2

    def logits(
        self, network: nn.Module, image: NDArray[np.generic], steps: Sequence[float]
    ) -> Tensor:
        """(1, channels, *S) float32, on the grid of the image (C, *S).  steps: of no meaning."""
        prepared = prepare_image(image, self.size)
        device = next(network.parameters()).device
        height, width = image.shape[1:]
        return resize(network(prepared[None].to(device)).float(), (height, width))


@dataclass(frozen=True)
class TrainingData:
    """Pictures and what a network should say about them.

    images: (N, C, size, size) float32, zero mean and unit variance each.  targets: (N, channels,
    size, size) float32 in [0, 1].  taking_part: (N, planes, size, size) float32, the share of
    each pixel that is not ignored.
    """

    case_ids: tuple[str, ...]
    images: Tensor
    targets: Tensor
    taking_part: Tensor
    scheme: LabelScheme

    def __post_init__(self) -> None:
        assert len(self.case_ids) == len(self.images) == len(self.targets)

    def subset(self, indices: Sequence[int]) -> TrainingData:
        chosen = torch.as_tensor(list(indices), dtype=torch.long)
        return replace(
            self,
            case_ids=tuple(self.case_ids[i] for i in indices),
            images=self.images[chosen],
            targets=self.targets[chosen],
            taking_part=self.taking_part[chosen],
        )

    @property
    def way(self) -> PictureWay:
        return PictureWay(self.images.shape[-1])

    @property
    def in_channels(self) -> int:
        return self.images.shape[1]

    @property
    def counts(self) -> list[int]:
        """Of the maps of a batch: channels of the images, of the targets, planes."""
        return [self.images.shape[1], self.targets.shape[1], self.taking_part.shape[1]]

    def shares(self) -> Tensor:
        return channel_shares(self.targets, self.taking_part)

    def draw(
        self, chosen: Tensor, kept: Tensor, generator: Generator, settings: TrainingSettings
    ) -> Tensor:
        """The chosen pictures whole, (B, sum(counts), size, size): image, targets x part, part."""
        part = self.taking_part[chosen] * kept[:, :, None, None]
        # interpolated together, or an ignored pixel would colour its neighbours
        maps = torch.cat([self.images[chosen], self.targets[chosen] * part, part], dim=1)
        return augment(maps, self.in_channels, generator) if settings.augment else maps

    def known(self) -> Iterator[tuple[FloatArray, FloatArray]]:
        yield from zip(self.targets.numpy(), self.taking_part.numpy(), strict=True)

    def probabilities(self, network: nn.Module) -> Iterator[FloatArray]:
        yield from predict_prepared(network, self.images, self.scheme).numpy()

    def relabelled(self, targets: Iterable[FloatArray]) -> TrainingData:
        return replace(self, targets=torch.stack([torch.from_numpy(maps) for maps in targets]))

    def arrays(self) -> Iterator[NDArray[Any]]:
        """All that a training is made from."""
        yield from (self.images.numpy(), self.targets.numpy(), self.taking_part.numpy())

    def describe(self) -> dict[str, Any]:
        """Nothing: its settings say it all."""
        return {}


def prepare_image(image: NDArray[np.generic], size: int) -> Tensor:
    """(C, *S) of any real dtype -> (C, size, size) float32 with zero mean and unit variance."""
    pixels = torch.from_numpy(np.ascontiguousarray(image, dtype=np.float32))[None]
    small = resize(pixels, (size, size))[0]
    deviation = small.std(dim=(1, 2), keepdim=True).clamp_min(1e-6)
    return (small - small.mean(dim=(1, 2), keepdim=True)) / deviation


def prepare_targets(soft: FloatArray, taking_part: FloatArray, size: int) -> tuple[Tensor, Tensor]:
    """Targets and what takes part on the network's grid, (channels or planes, size, size) each.

    soft: (channels, *S) in [0, 1].  taking_part: (planes, *S).  Each pixel is the mean of those
    it covers; those that take no part have no say in a target.  An edge keeps its place within a
    pixel of the coarser grid.
    """
    part = torch.from_numpy(np.ascontiguousarray(taking_part, dtype=np.float32))[None]
    known = torch.from_numpy(np.ascontiguousarray(soft, dtype=np.float32))[None] * part
    shape = (size, size)
    small_part = resize(part, shape)
    return mean_of_known(resize(known, shape), small_part)[0], small_part[0]


def mean_of_known(sums: Tensor, taking_part: Tensor) -> Tensor:
    """Targets in [0, 1] from interpolated targets x taking_part; 0 where nothing takes part."""
    return (sums / taking_part.clamp_min(1e-6)).clamp(0, 1)


def resize(maps: Tensor, shape: tuple[int, int]) -> Tensor:
    """(N, C, H, W) float -> (N, C, *shape): bilinear, pixel centres kept, averaged if smaller."""
    if maps.shape[-2:] == shape:
        return maps
    return F.interpolate(maps, size=shape, mode="bilinear", align_corners=False, antialias=True)


class SeededOrder(Sampler[int]):
    """A new order of the cases in each epoch, from the seed and the epoch alone.

    So an epoch after a resume sees the order that it would have seen without.  Lightning calls
    set_epoch before each epoch.
    """

    def __init__(self, count: int, seed: int) -> None:
        self._count = count
        self._seed = seed
        self._epoch = 0

    def set_epoch(self, epoch: int) -> None:
        self._epoch = epoch

    def __len__(self) -> int:
        return self._count

    def __iter__(self) -> Iterator[int]:
        order = np.random.default_rng((self._seed, self._epoch)).permutation(self._count)
        return iter(order.tolist())


def augment(maps: Tensor, num_image_channels: int, generator: Generator) -> Tensor:
    """A random rotation, scaling and shift of all maps, and of the images brightness and noise.

    maps: (N, C, H, W) on the CPU, the first num_image_channels of them images.  Rotation up to
    10 degrees, scale e^-0.1 .. e^0.1 for each axis, shift up to 5 %; gain and offset up to 0.2
    and noise of 0.05 in units of the image's standard deviation.  No reflection: the left and
    the right of a body differ.  Outside the image nothing takes part.
    """
    count = len(maps)

    def uniform(limit: float, *shape: int) -> Tensor:
        return (torch.rand(count, *shape, generator=generator) * 2 - 1) * limit

    angle, log_y, log_x = uniform(math.radians(10)), uniform(0.1), uniform(0.1)
    shift_y, shift_x = uniform(0.1), uniform(0.1)  # affine_grid's unit is half of the image
    rows = [
        torch.stack([angle.cos() * log_x.exp(), -angle.sin() * log_y.exp(), shift_x], dim=1),
        torch.stack([angle.sin() * log_x.exp(), angle.cos() * log_y.exp(), shift_y], dim=1),
    ]
    grid = F.affine_grid(torch.stack(rows, dim=1), list(maps.shape), align_corners=False)
    images = F.grid_sample(
        maps[:, :num_image_channels], grid, padding_mode="border", align_corners=False
    )
    others = F.grid_sample(maps[:, num_image_channels:], grid, align_corners=False)
    images = images * (1 + uniform(0.2, 1, 1, 1)) + uniform(0.2, 1, 1, 1)
    images = images + 0.05 * torch.randn(images.shape, generator=generator)
    return torch.cat([images, others], dim=1)


def stack_training_data(
    items: Iterable[tuple[str, NDArray[np.generic], FloatArray, FloatArray]],
    size: int,
    scheme: LabelScheme,
) -> TrainingData:
    """Training data of cases: id, image (C, *S), targets (channels, *S), taking part (planes, *S).

    It is held in memory on the network's grid: 4 * size^2 bytes a map.
    """
    ids, images, targets, parts = [], [], [], []
    for case_id, image, soft, taking_part in items:
        ids.append(case_id)
        images.append(prepare_image(image, size))
        target, part = prepare_targets(soft, taking_part, size)
        targets.append(target)
        parts.append(part)
    return TrainingData(
        tuple(ids), torch.stack(images), torch.stack(targets), torch.stack(parts), scheme
    )
