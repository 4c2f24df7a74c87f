"""Segments as values in layers: pure arrays, no file.

A segment is the voxels of one layer that hold its value; the segments of a layer do not overlap, so
masks that do need several layers.  This is how 3D Slicer keeps a segmentation.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import chain
from typing import Any

import numpy as np
from numpy.typing import NDArray

from maskmend.core import BoolArray


@dataclass(frozen=True)
class Segment:
    """The voxels of a layer that hold a value.  number: in the names of its fields in a file; None
    where it has none."""

    number: int | None
    name: str
    layer: int
    value: int


def pack_masks(masks: Mapping[str, BoolArray]) -> tuple[NDArray[Any], list[Segment]]:
    """Few layers that hold the masks without overlap: (layers, *S) uint8 or uint16, segments.

    masks: name -> bool with two or three axes of space; the layers have three.
    """
    dtype = np.uint8 if len(masks) < 256 else np.uint16
    layers: list[NDArray[Any]] = []
    segments: list[Segment] = []
    for number, (name, mask) in enumerate(masks.items()):
        volume = mask if mask.ndim == 3 else mask[None]
        layer = next((n for n, other in enumerate(layers) if not other[volume].any()), len(layers))
        if layer == len(layers):
            layers.append(np.zeros(volume.shape, dtype))
        value = 1 + sum(segment.layer == layer for segment in segments)
        layers[layer][volume] = value
        segments.append(Segment(number, name, layer, value))
    return np.stack(layers), segments


def free_place(
    layers: NDArray[Any], segments: Sequence[Segment], largest: int
) -> tuple[int, int] | None:
    """(layer, value) that no segment and no voxel has; None where every value is taken.

    layers: (layers, *S) integers.  largest: value that a layer can hold.
    """
    for layer, volume in enumerate(layers):
        used = {segment.value for segment in segments if segment.layer == layer}
        used |= set(np.unique(volume).tolist())
        value = next((value for value in range(1, largest + 1) if value not in used), None)
        if value is not None:
            return layer, value
    return None


def replace_masks(
    layers: NDArray[Any],
    segments: Sequence[Segment],
    wanted: Mapping[Segment, BoolArray],
    largest: int,
) -> tuple[NDArray[Any], list[Segment]]:
    """New (layers, segments), in which some segments have other masks.

    layers: (layers, *S) integers.  wanted: segment -> (*S,) bool.  largest: value that a layer can
    hold.  A segment that would overlap another one of its layer moves: to the first layer that is
    free where it lies, else to a new one; it keeps its value where nothing else has it there.
    """
    layers = layers.copy()
    places = Counter((segment.layer, segment.value) for segment in segments)
    for segment, mask in wanted.items():
        if places[segment.layer, segment.value] == 1:
            volume = layers[segment.layer]
            volume[(volume == segment.value) & ~mask] = 0
    after = list(segments)
    for number, segment in enumerate(segments):
        if segment not in wanted:
            continue
        mask, volume = wanted[segment], layers[segment.layer]
        shared = places[segment.layer, segment.value] > 1
        if not shared and not (mask & (volume != 0) & (volume != segment.value)).any():
            volume[mask] = segment.value
            continue
        if not shared:
            volume[volume == segment.value] = 0
        places[segment.layer, segment.value] -= 1
        others = after[:number] + after[number + 1 :]
        layers, after[number] = _moved(layers, segment, mask, others, largest)
    return layers, after


def _moved(
    layers: NDArray[Any],
    segment: Segment,
    mask: BoolArray,
    others: Sequence[Segment],
    largest: int,
) -> tuple[NDArray[Any], Segment]:
    """The segment in the first layer that is free where it lies, else in a new one."""
    for layer in range(len(layers) + 1):
        if layer == len(layers):
            layers = np.concatenate([layers, np.zeros_like(layers[:1])])
        if layers[layer][mask].any():
            continue
        used = {other.value for other in others if other.layer == layer}
        used |= set(np.unique(layers[layer]).tolist())
        values = chain((segment.value,), range(1, largest + 1))
        value = next((value for value in values if value not in used), None)
        if value is not None:
            break
    assert value is not None, "a new layer has every value to give"
    layers[layer][mask] = value
    return layers, replace(segment, layer=layer, value=value)


def extent_of(volume: NDArray[Any]) -> str:
    """First and last column, row and slice that are not empty; "0 -1" three times if all are."""
    ends = []
    for axis in (2, 1, 0):
        filled = np.flatnonzero(volume.any(axis=tuple({0, 1, 2} - {axis})))
        ends += [int(filled[0]), int(filled[-1])] if len(filled) else [0, -1]
    return " ".join(map(str, ends))
