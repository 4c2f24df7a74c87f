"""Volumes for training: resampled to one spacing, normalised, and cut into patches."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Generator, Tensor, nn

from maskmend.arrays.patches import halvings
from maskmend.core import FloatArray, LabelScheme
from maskmend.errors import SettingsError
from maskmend.learning.batches import mean_of_known, resize
from maskmend.learning.inference import probabilities_of, window_logits
from maskmend.learning.networks import VolumeUNet
from maskmend.learning.patches import brighten, draw_center, random_patch_matrix, sample_patch
from maskmend.settings import TrainingSettings

CT = "ct"

MOST_POSITIONS = 1000
"""Voxels of each structure of a case that patches are laid around."""

MOST_SAMPLES = 10_000
"""Voxels of the structures of a case that the range of CT numbers is taken from."""


@dataclass(frozen=True)
class Intensities:
    """What the numbers of one channel mean in a whole data set (CT)."""

    low: float
    high: float
    mean: float
    deviation: float


@dataclass(frozen=True)
class VolumeWay:
    """From a case's own grid to the network's, and back.

    spacing: of a voxel of the network's grid.  patch: voxels that it sees at once.  overlap: of
    the windows of a prediction.  intensities: of each channel, or none where each image is
    normalised by itself.
    """

    spacing: tuple[float, ...]
    patch: tuple[int, ...]
    overlap: float
    intensities: tuple[Intensities, ...] = ()

    axes = 3
    memory_format = torch.channels_last_3d
    can_be_lonely = False

    def build_network(self, name: str, in_channels: int, out_channels: int) -> VolumeUNet:
        """A new network with random weights.  Raises SettingsError for one of pictures only."""
        if name != "compact":
            raise SettingsError(
                "network", expected="compact, which takes volumes", got=name,
                remedy="Set network to compact.",
            )  # fmt: skip
        return VolumeUNet(in_channels, out_channels, self.patch, self.spacing)

    def multiples(self, name: str) -> tuple[int, ...]:
        levels = halvings(self.patch, self.spacing)
        return tuple(math.prod(sides) for sides in zip(*levels, strict=True))

    def shape_of(self, shape: Sequence[int], steps: Sequence[float]) -> tuple[int, ...]:
        """The network's grid for a volume of this shape and size of a voxel."""
        wanted = zip(shape, steps, self.spacing, strict=True)
        return tuple(max(1, round(n * step / spacing)) for n, step, spacing in wanted)

    def prepare_image(self, image: NDArray[np.generic], steps: Sequence[float]) -> Tensor:
        """(C, *S) of any real dtype -> (C, *S') float32 on the network's grid, normalised."""
        # a copy: it is clipped in place
        voxels = torch.from_numpy(np.array(image, dtype=np.float32, order="C"))
        for channel, known in zip(voxels, self.intensities, strict=False):
            channel.clamp_(known.low, known.high)
        small = resize_volume(voxels, self.shape_of(image.shape[1:], steps))
        if not self.intensities:
            axes = tuple(range(1, small.ndim))
            # of a single voxel, 0
            deviation = small.std(dim=axes, keepdim=True, correction=0).clamp_min(1e-6)
            return (small - small.mean(dim=axes, keepdim=True)) / deviation
        for channel, known in zip(small, self.intensities, strict=True):
            channel.sub_(known.mean).div_(known.deviation)
        return small

    def logits(
        self, network: nn.Module, image: NDArray[np.generic], steps: Sequence[float]
    ) -> Tensor:
        """(1, channels, *S) float32 on the CPU, on the grid of the image (C, *S)."""
        prepared = self.prepare_image(image, steps)
        found = window_logits(network, prepared, self.patch, self.overlap)
        return resize_volume(found[0], image.shape[1:])[None]

    def to_json(self) -> dict[str, Any]:
        return {
            "spacing": list(self.spacing), "patch": list(self.patch), "overlap": self.overlap,
            "intensities": [asdict(known) for known in self.intensities],
        }  # fmt: skip

    @classmethod
    def from_json(cls, stored: dict[str, Any]) -> VolumeWay:
        known = tuple(Intensities(**channel) for channel in stored["intensities"])
        return cls(tuple(stored["spacing"]), tuple(stored["patch"]), stored["overlap"], known)


@dataclass(frozen=True)
class Volume:
    """One case on the network's grid.

    image: (C, *S) float32.  targets: (channels, *S), taking_part: (planes, *S), both uint8 for
    0..1 in steps of 1/255.  positions: of each structure, (n, 3), some of its voxels.
    """

    image: NDArray[np.float32]
    targets: NDArray[np.uint8]
    taking_part: NDArray[np.uint8]
    positions: tuple[NDArray[np.int32], ...]


@dataclass(frozen=True)
class VolumeData:
    """Volumes and what a network should say about them; in memory, 4 C + channels + planes bytes
    a voxel of the network's grid."""

    case_ids: tuple[str, ...]
    volumes: tuple[Volume, ...]
    scheme: LabelScheme
    way: VolumeWay

    @property
    def in_channels(self) -> int:
        return len(self.volumes[0].image)

    def subset(self, indices: Sequence[int]) -> VolumeData:
        return replace(
            self,
            case_ids=tuple(self.case_ids[i] for i in indices),
            volumes=tuple(self.volumes[i] for i in indices),
        )

    def arrays(self) -> Iterator[NDArray[Any]]:
        """All that a training is made from."""
        for volume in self.volumes:
            yield from (volume.image, volume.targets, volume.taking_part)

    def describe(self) -> dict[str, Any]:
        return {"volumes": self.way.to_json()}

    def shares(self) -> Tensor:
        """As `channel_shares`, of all voxels of all volumes."""
        claimed, known = 0.0, 0.0
        for volume in self.volumes:
            axes = tuple(range(1, volume.targets.ndim))
            part = volume.taking_part.astype(np.float64) / 255
            claimed = claimed + (volume.targets / 255 * part).sum(axis=axes)
            known = known + part.sum(axis=axes)
        shares = np.asarray(claimed) / np.maximum(np.asarray(known), 1e-12)
        return torch.from_numpy(shares.astype(np.float32))

    @property
    def counts(self) -> list[int]:
        """Of the maps of a batch: channels of the images, of the targets, planes."""
        return [self.in_channels, self.scheme.num_channels, len(self.scheme.planes)]

    def draw(
        self, chosen: Tensor, kept: Tensor, generator: Generator, settings: TrainingSettings
    ) -> Tensor:
        """A patch of each chosen case, (B, sum(counts), *patch) float32.

        kept: (B, planes), masks that train.  The maps: image, targets x part, part.
        """
        return torch.stack(
            [
                self._patch(self.volumes[index], mine, generator, settings)
                for index, mine in zip(chosen.tolist(), kept, strict=True)
            ]
        )

    def _patch(
        self, volume: Volume, kept: Tensor, generator: Generator, settings: TrainingSettings
    ) -> Tensor:
        shape = volume.image.shape[1:]
        positions = volume.positions
        center = draw_center(shape, self.way.patch, positions, settings.foreground, generator)
        matrix = torch.eye(3, dtype=torch.float64)
        if settings.augment:
            matrix, shift = random_patch_matrix(self.way.spacing, self.way.patch, generator)
            center = center + shift
        # a doubted mask takes no part, as an ignored voxel does
        masks = np.concatenate([volume.targets, volume.taking_part])
        image, others = sample_patch(volume.image, masks, center, matrix, self.way.patch)
        targets, part = (others / 255).split(self.counts[1:])
        part = part * kept[:, None, None, None]
        if settings.augment:
            image = brighten(image, generator)
        return torch.cat([image, targets * part, part])

    def known(self) -> Iterator[tuple[FloatArray, FloatArray]]:
        for volume in self.volumes:
            yield volume.targets / np.float32(255), volume.taking_part / np.float32(255)

    def probabilities(self, network: nn.Module) -> Iterator[FloatArray]:
        for volume in self.volumes:
            image = torch.from_numpy(volume.image)
            logits = window_logits(network, image, self.way.patch, self.way.overlap)
            yield probabilities_of(logits, self.scheme)[0].numpy()

    def relabelled(self, targets: Iterable[FloatArray]) -> VolumeData:
        """Patches lie around the voxels of the structures in the new targets."""
        volumes = []
        for volume, maps in zip(self.volumes, targets, strict=True):
            shares = _as_bytes(torch.from_numpy(maps))
            positions = _positions(shares, volume.taking_part, self.scheme)
            volumes.append(replace(volume, targets=shares, positions=positions))
        return replace(self, volumes=tuple(volumes))


Item = tuple[str, NDArray[np.generic], tuple[float, ...], FloatArray, FloatArray]
"""Id, image (C, *S), size of a voxel, targets (channels, *S), taking part (planes, *S)."""


def stack_volumes(
    items: Callable[[], Iterable[Item]], scheme: LabelScheme, settings: TrainingSettings
) -> VolumeData:
    """Training data of volumes.  items: called once, or twice where the range of CT is needed.

    Raises SettingsError for settings without patch, spacing or normalisation, and for a patch
    that cannot be halved twice.
    """
    way = _way_of(settings)
    if settings.normalisation == CT:
        way = replace(way, intensities=foreground_intensities(items(), scheme))
    ids, volumes = [], []
    for case_id, image, steps, soft, part in items():
        ids.append(case_id)
        prepared = way.prepare_image(image, steps).numpy()
        targets, taking_part = prepare_targets(soft, part, prepared.shape[1:])
        positions = _positions(targets, taking_part, scheme)
        volumes.append(Volume(prepared, targets, taking_part, positions))
    return VolumeData(tuple(ids), tuple(volumes), scheme, way)


def _way_of(settings: TrainingSettings) -> VolumeWay:
    if not (settings.patch and settings.spacing and settings.normalisation):
        raise SettingsError(
            "patch, spacing, normalisation", expected="a value of each, for volumes",
            got="null", remedy="Let `propose_settings` fill them from the data, or set them.",
        )  # fmt: skip
    if len(halvings(settings.patch, settings.spacing)) < 2:
        raise SettingsError(
            "patch", expected="voxels of which at least one axis divides by 4, and is 16 or more",
            got=str(list(settings.patch)), remedy="For example [64, 64, 64].",
        )  # fmt: skip
    return VolumeWay(settings.spacing, settings.patch, settings.overlap)


def resize_volume(maps: Tensor, shape: Sequence[int]) -> Tensor:
    """(C, *S) float -> (C, *shape): linear along each axis, voxel centres kept, averaged if
    smaller, as `resize` does for pictures."""
    for axis, size in enumerate(shape, start=1):
        if maps.shape[axis] != size:
            # in the last place: torch resizes the last but one wrongly where the last has length 1
            lanes = maps.movedim(axis, -1)
            flat = lanes.reshape(1, len(maps), -1, lanes.shape[-1])
            resized = resize(flat, (flat.shape[2], size))
            maps = resized.reshape(*lanes.shape[:-1], size).movedim(-1, axis)
    return maps.contiguous()


def prepare_targets(
    soft: FloatArray, taking_part: FloatArray, shape: Sequence[int]
) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    """Targets and what takes part on the network's grid, uint8 for 0..1 in steps of 1/255.

    soft: (channels, *S) in [0, 1].  taking_part: (planes, *S).  Each voxel is the mean of those
    it covers; those that take no part have no say in a target.
    """
    part = torch.from_numpy(np.ascontiguousarray(taking_part, dtype=np.float32))
    known = torch.from_numpy(np.ascontiguousarray(soft, dtype=np.float32)) * part
    small_part = resize_volume(part, shape)
    targets = mean_of_known(resize_volume(known, shape), small_part)
    return _as_bytes(targets), _as_bytes(small_part)


def foreground_intensities(items: Iterable[Item], scheme: LabelScheme) -> tuple[Intensities, ...]:
    """Of each channel: 0.5 % and 99.5 % of the numbers inside the structures, mean, deviation.

    All numbers where no case has a structure.  At most MOST_SAMPLES voxels a case.
    Isensee et al., Nature Methods 2021.
    """
    inside, anywhere = [], []
    for _, image, _, soft, part in items:
        structures = soft if scheme.overlapping else soft[1:]
        mask = ((structures > 0.5) & (part > 0)).any(axis=0)
        inside.append(_spread_out(image[:, mask]))
        anywhere.append(_spread_out(image.reshape(len(image), -1)))
    chosen = inside if any(one.size for one in inside) else anywhere
    found = []
    for numbers in np.concatenate(chosen, axis=1):
        low, high = np.percentile(numbers, [0.5, 99.5])
        deviation = max(float(numbers.std()), 1e-6)
        found.append(Intensities(float(low), float(high), float(numbers.mean()), deviation))
    return tuple(found)


def _spread_out(numbers: NDArray[Any]) -> NDArray[np.float64]:
    step = -(-numbers.shape[1] // MOST_SAMPLES) or 1
    return numbers[:, ::step].astype(np.float64)


def _positions(
    targets: NDArray[np.uint8], taking_part: NDArray[np.uint8], scheme: LabelScheme
) -> tuple[NDArray[np.int32], ...]:
    found = []
    first = 0 if scheme.overlapping else 1
    for structure in range(len(scheme.structures)):
        part = taking_part[structure if scheme.overlapping else 0]
        voxels = np.argwhere((targets[first + structure] > 127) & (part > 127)).astype(np.int32)
        step = -(-len(voxels) // MOST_POSITIONS) or 1
        found.append(voxels[::step])
    return tuple(found)


def _as_bytes(shares: Tensor) -> NDArray[np.uint8]:
    return (shares.clamp(0, 1) * 255).round().to(torch.uint8).numpy()
