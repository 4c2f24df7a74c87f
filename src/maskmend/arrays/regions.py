"""Connected regions of flagged pixels: how large each is, where it lies, how sure it is.

Pixels are connected where they touch at all: through 8 neighbours in a picture, 26 in a volume.
An error at a boundary is a ragged rim, of which edge-only neighbours would make many findings.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from maskmend.core import BoolArray, FloatArray, IntArray, LabelArray
from maskmend.errors import GridMismatchError

SMALL = 1000
"""Pixels below which regions that touch are told apart together, not one by one."""


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

    One pass over the box around all that is flagged, then only regions that touch.
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
    split, following = numbers.astype(np.int64), int(numbers.max()) + 1
    for members, parts in _parts_of_mixed(numbers, places, pairs):
        split[members] = following + parts
        following += int(parts.max()) + 1
    return np.unique(split, return_inverse=True)[1]


def _parts_of_mixed(
    numbers: IntArray, places: IntArray, pairs: IntArray
) -> Iterator[tuple[IntArray, IntArray]]:
    """Pixels of components with several pairs, and numbers, 0, 1, ..., of their parts."""
    order, starts = _grouped(numbers)
    ends = np.append(starts[1:], len(order))
    mixed = np.minimum.reduceat(pairs[order], starts) != np.maximum.reduceat(pairs[order], starts)
    small = ends - starts < SMALL
    # the many small ones at once; a large one by its box, once a pair
    members = np.flatnonzero((mixed & small)[numbers])
    if len(members):
        yield members, _linked(places[:, members], pairs[members])
    for component in np.flatnonzero(mixed & ~small).tolist():
        inside = order[starts[component] : ends[component]]
        for pair in np.unique(pairs[inside]).tolist():
            members = inside[pairs[inside] == pair]
            yield members, _components(places[:, members])


def _linked(places: IntArray, pairs: IntArray) -> IntArray:
    """As `_components`, of pixels linked to neighbours of their pair; places in C order."""
    low = places.min(axis=1)
    # one more at each end, so that no neighbour lies in the next row
    shape = places.max(axis=1) - low + 3
    flat = np.ravel_multi_index(tuple(places - low[:, None] + 1), tuple(shape.tolist()))
    steps = np.append(np.cumprod(shape[:0:-1])[::-1], 1)
    here, there = [], []
    for offset in itertools.product((-1, 0, 1), repeat=len(shape)):
        step = int(np.dot(offset, steps))
        if step <= 0:
            continue
        near = np.searchsorted(flat, flat + step).clip(max=len(flat) - 1)
        linked = np.flatnonzero((flat[near] == flat + step) & (pairs[near] == pairs))
        here.append(linked)
        there.append(near[linked])
    ends = (np.concatenate(here), np.concatenate(there))
    links = coo_array((np.ones(len(ends[0]), bool), ends), shape=(len(flat), len(flat)))
    numbers: IntArray = connected_components(links, directed=False)[1]
    return numbers


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
