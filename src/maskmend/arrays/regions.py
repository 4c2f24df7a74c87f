"""Connected regions of flagged pixels: how large each is, where it lies, how sure it is.

Pixels are connected where they touch at all: through 8 neighbours in a picture, 26 in a volume.
An error at a boundary is a ragged rim, of which edge-only neighbours would make many findings.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from maskmend.core import BoolArray, FloatArray, IntArray, LabelArray
from maskmend.errors import GridMismatchError


@dataclass(frozen=True)
class Region:
    """Connected pixels of one given and one suggested class.

    given, suggested: the classes.  size: pixels.  box: first index and the one after the last,
    along each axis.  centroid: mean index along each axis.  best_slice: index along the first axis
    of the slice that has most of the pixels, the first of equals.  margin: mean over the pixels of
    the probability of the suggested class minus that of the given one, in [-1, 1].
    """

    given: int
    suggested: int
    size: int
    box: tuple[tuple[int, int], ...]
    centroid: tuple[float, ...]
    best_slice: int
    margin: float

    @property
    def score(self) -> float:
        """size x margin: how many pixels' worth of conviction."""
        return self.size * self.margin


def find_regions(
    given: LabelArray, suggested: LabelArray, flagged: BoolArray, margins: FloatArray
) -> tuple[Region, ...]:
    """The regions of one plane, highest score first, then by their place.

    given, suggested, flagged: (*S,).  margins: (flagged pixels,), of each in C order.  Pixels of
    other given or suggested classes are other regions, even where they touch.  Nothing flagged:
    no regions.  GridMismatchError where the arrays do not belong together.

    One pass over the box around all that is flagged, then only the boxes of regions that touch.
    """
    if not given.shape == suggested.shape == flagged.shape:
        raise _mismatch(f"{given.shape}, {suggested.shape} and {flagged.shape}")
    places = np.array(np.nonzero(flagged))
    if margins.shape != (places.shape[1],):
        raise _mismatch(f"margins of shape {margins.shape} for {places.shape[1]} flagged pixels")
    if not places.size:
        return ()
    pairs = given[flagged].astype(np.int64) << 32 | suggested[flagged]
    numbers = _split_by_pair(_components(places), places, pairs)
    found = _describe(numbers, places, pairs, margins)
    return tuple(sorted(found, key=lambda region: (-region.score, region.box, region.given)))


def world_position(
    index: tuple[float, ...], affine: tuple[tuple[float, ...], ...]
) -> tuple[float, ...]:
    """Where an index lies in mm, RAS+, by the affine of a Grid."""
    return tuple((np.array(affine) @ (*index, 1))[:-1].tolist())


def _components(places: IntArray) -> IntArray:
    """Of each pixel the number, 0, 1, ..., of its connected component.  places: (axes, pixels)."""
    low = places.min(axis=1)
    local = tuple(places - low[:, None])
    crop = np.zeros(places.max(axis=1) - low + 1, dtype=bool)
    crop[local] = True
    labelled, _ = ndimage.label(crop, structure=np.ones((3,) * crop.ndim))
    numbers: IntArray = labelled[local] - 1
    return numbers


def _split_by_pair(numbers: IntArray, places: IntArray, pairs: IntArray) -> IntArray:
    """New numbers of components, each of which has one pair of classes.  All: (pixels,)."""
    order, starts = _grouped(numbers)
    lowest = np.minimum.reduceat(pairs[order], starts)
    mixed = np.flatnonzero(lowest != np.maximum.reduceat(pairs[order], starts))
    ends = np.append(starts[1:], len(order))
    split, following = numbers.astype(np.int64), len(starts)
    for component in mixed.tolist():
        members = order[starts[component] : ends[component]]
        for pair in np.unique(pairs[members]).tolist():
            mine = members[pairs[members] == pair]
            parts = _components(places[:, mine])
            split[mine] = following + parts
            following += int(parts.max()) + 1
    return np.unique(split, return_inverse=True)[1]


def _describe(
    numbers: IntArray, places: IntArray, pairs: IntArray, margins: FloatArray
) -> list[Region]:
    order, starts = _grouped(numbers)
    sizes = np.bincount(numbers)
    means = np.bincount(numbers, weights=margins) / sizes
    centroids = np.stack([np.bincount(numbers, weights=axis) / sizes for axis in places], axis=1)
    lows = np.minimum.reduceat(places[:, order], starts, axis=1).T.tolist()
    highs = (np.maximum.reduceat(places[:, order], starts, axis=1).T + 1).tolist()
    classes = pairs[order][starts]
    columns = zip(
        (classes >> 32).tolist(), (classes & 0xFFFFFFFF).tolist(), sizes.tolist(),
        (tuple(zip(low, high, strict=True)) for low, high in zip(lows, highs, strict=True)),
        map(tuple, centroids.tolist()), _fullest_slices(numbers, places[0]).tolist(),
        means.tolist(), strict=True,
    )  # fmt: skip
    return [Region(*values) for values in columns]


def _grouped(numbers: IntArray) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """An order that brings pixels of one number together, and where each number starts in it."""
    order = np.argsort(numbers, kind="stable")
    counts = np.bincount(numbers)
    return order, np.cumsum(counts) - counts


def _fullest_slices(numbers: IntArray, slices: IntArray) -> NDArray[Any]:
    """Of each component, 0, 1, ..., the slice with most of its pixels, the first of equals."""
    depth = int(slices.max()) + 1
    keys, counts = np.unique(numbers.astype(np.int64) * depth + slices, return_counts=True)
    components, found = np.divmod(keys, depth)
    order = np.lexsort((found, -counts, components))
    first = np.unique(components[order], return_index=True)[1]
    fullest: NDArray[Any] = found[order][first]
    return fullest


def _mismatch(got: str) -> GridMismatchError:
    return GridMismatchError(
        "regions", expected="given and suggested classes, flags and margins of one plane",
        got=got, remedy="Give the arrays of one and the same case.",
    )  # fmt: skip
