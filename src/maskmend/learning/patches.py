"""Patches of volumes: where they lie, how they are turned, and their voxels."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Generator, Tensor


def draw_center(
    shape: Sequence[int], patch: Sequence[int], positions: Sequence[NDArray[np.int32]],
    foreground: float, generator: Generator,
) -> Tensor:  # fmt: skip
    """The middle of a patch in a volume, (3,) float64, in voxels.

    positions: of each structure, (n, 3).  With probability `foreground` a voxel of a structure
    (each that is there alike), else any place.  A patch reaches out of the volume only where the
    volume is smaller; then their middles are one.
    """
    draws = torch.rand(6, generator=generator, dtype=torch.float64)
    size, half = (torch.tensor(list(n), dtype=torch.float64) for n in (shape, patch))
    low, high = (half - 1) / 2, size - (half + 1) / 2
    # whole steps from the corner: without augmentation a patch is a part of the volume
    center = low + torch.floor(draws[:3] * (high - low + 1))
    present = [voxels for voxels in positions if len(voxels)]
    if present and draws[3] < foreground:
        voxels = present[int(draws[4] * len(present))]
        chosen = torch.from_numpy(voxels[int(draws[5] * len(voxels))].astype(np.float64))
        center = low + torch.floor(chosen - low)
    center = torch.minimum(torch.maximum(center, low), high)
    return torch.where(high < low, (size - 1) / 2, center)


def random_patch_matrix(
    spacing: Sequence[float], patch: Sequence[int], generator: Generator
) -> tuple[Tensor, Tensor]:
    """How a patch is turned, scaled and moved: (3, 3) and (3,), float64, in voxels.

    Rotation up to 10 degrees about each axis and scale e^-0.1 .. e^0.1 along it, both in mm, so
    that thick slices are not sheared; shift up to 5 % of the patch.  No reflection.
    """
    draws = torch.rand(9, generator=generator, dtype=torch.float64) * 2 - 1
    turn = torch.eye(3, dtype=torch.float64)
    for axis, angle in enumerate((draws[:3] * math.radians(10)).tolist()):
        turn = turn @ _rotation(axis, angle)
    steps = torch.tensor(list(spacing), dtype=torch.float64)
    scaled = turn @ torch.diag((draws[3:6] * 0.1).exp())
    shift = draws[6:] * 0.05 * torch.tensor(list(patch), dtype=torch.float64)
    return scaled * steps / steps[:, None], shift


def _rotation(axis: int, angle: float) -> Tensor:
    first, second = (other for other in range(3) if other != axis)
    matrix = torch.eye(3, dtype=torch.float64)
    matrix[first, first] = matrix[second, second] = math.cos(angle)
    matrix[first, second], matrix[second, first] = -math.sin(angle), math.sin(angle)
    return matrix


def sample_patch(
    image: NDArray[np.float32], masks: NDArray[np.uint8], center: Tensor, matrix: Tensor,
    patch: Sequence[int],
) -> tuple[Tensor, Tensor]:  # fmt: skip
    """The voxels of a patch, linearly interpolated: (C, *patch) and (M, *patch) float32.

    image: (C, *S).  masks: (M, *S).  The voxel at offset u from the patch's middle is that at
    center + matrix u.  Outside of the volume the image goes on as its border, a mask is 0.
    """
    offsets = [torch.arange(n, dtype=torch.float64) - (n - 1) / 2 for n in patch]
    places = torch.stack(torch.meshgrid(*offsets, indexing="ij"), dim=-1) @ matrix.T + center
    shape = torch.tensor(image.shape[1:])
    corners = places.reshape(-1, 3)
    low = torch.minimum(corners.amin(0).floor().long().clamp_min(0), shape - 1)
    stop = torch.minimum(corners.amax(0).ceil().long() + 1, shape)
    stop = torch.maximum(stop, low + 1)
    # only what the patch covers is read: the volume may be much larger
    box = tuple(slice(int(a), int(b)) for a, b in zip(low, stop, strict=True))
    scaled = (2 * (places - low) + 1) / (stop - low) - 1
    # grid_sample names the last axis first
    grid = scaled.flip(-1).float()[None]
    parts = []
    for maps, outside in ((image, "border"), (masks, "zeros")):
        voxels = torch.from_numpy(maps[:, *box].astype(np.float32))[None]
        parts.append(F.grid_sample(voxels, grid, padding_mode=outside, align_corners=False)[0])
    return parts[0], parts[1]


def brighten(image: Tensor, generator: Generator) -> Tensor:
    """(C, *S) with gain and offset up to 0.2 and noise of 0.05, in units of its deviation."""
    gain, offset = (torch.rand(2, generator=generator) * 0.4 - 0.2).tolist()
    noise = torch.randn(image.shape, generator=generator)
    return image * (1 + gain) + offset + 0.05 * noise
