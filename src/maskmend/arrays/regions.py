"""Connected regions of flagged pixels.

Pixels are connected where they touch at all: through 8 neighbours in a picture, 26 in a volume.
An error at a boundary is a ragged rim, of which edge-only neighbours would make many findings.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from maskmend.core import IntArray
from maskmend.errors import GridMismatchError

SMALL = 1000
"""Pixels below which regions that touch are told apart together, not one by one."""


def number_regions(places: IntArray, kinds: IntArray) -> IntArray:
    """Of each pixel the number, 0, 1, ..., of its region.

    places: (axes, pixels), in C order.  kinds: (pixels,), of each pixel what it is; pixels of
    other kinds are of other regions, even where they touch.  One pass over the box around all
    pixels, then only regions that touch.  GridMismatchError where there is not one kind a pixel.
    """
    if kinds.shape != (places.shape[1],):
        raise GridMismatchError(
            "regions", expected=f"what each of the {places.shape[1]} pixels is",
            got=f"an array {kinds.shape}", remedy="Give the arrays of one and the same case.",
        )  # fmt: skip
    if not kinds.size:
        return np.zeros(0, np.int64)
    return _split_by_kind(_components(places), places, kinds)


def indices_by_number(numbers: IntArray) -> list[NDArray[np.intp]]:
    """Of each number, 0, 1, ..., the indices that have it, ascending."""
    order = np.argsort(numbers, kind="stable")
    return np.split(order, np.cumsum(np.bincount(numbers))[:-1]) if len(numbers) else []


def fullest_slice(slices: IntArray) -> int:
    """The slice with most of the pixels, the first of equals.  slices: (pixels,), not empty."""
    first = int(slices.min())
    return first + int(np.argmax(np.bincount(slices - first)))


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


def _split_by_kind(numbers: IntArray, places: IntArray, kinds: IntArray) -> IntArray:
    """New numbers of components, each of which has one kind of pixel.  All: (pixels,)."""
    split, following = numbers.astype(np.int64), int(numbers.max()) + 1
    for members, parts in _parts_of_mixed(numbers, places, kinds):
        split[members] = following + parts
        following += int(parts.max()) + 1
    return np.unique(split, return_inverse=True)[1]


def _parts_of_mixed(
    numbers: IntArray, places: IntArray, kinds: IntArray
) -> Iterator[tuple[IntArray, IntArray]]:
    """Pixels of components with several kinds, and numbers, 0, 1, ..., of their parts."""
    order, starts = _grouped(numbers)
    ends = np.append(starts[1:], len(order))
    mixed = np.minimum.reduceat(kinds[order], starts) != np.maximum.reduceat(kinds[order], starts)
    small = ends - starts < SMALL
    # the many small ones at once; a large one by its box, once a kind
    members = np.flatnonzero((mixed & small)[numbers])
    if len(members):
        yield members, _linked(places[:, members], kinds[members])
    for component in np.flatnonzero(mixed & ~small).tolist():
        inside = order[starts[component] : ends[component]]
        for kind in np.unique(kinds[inside]).tolist():
            members = inside[kinds[inside] == kind]
            yield members, _components(places[:, members])


def _linked(places: IntArray, kinds: IntArray) -> IntArray:
    """As `_components`, of pixels linked to neighbours of their kind; places in C order."""
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
        linked = np.flatnonzero((flat[near] == flat + step) & (kinds[near] == kinds))
        here.append(linked)
        there.append(near[linked])
    ends = (np.concatenate(here), np.concatenate(there))
    links = coo_array((np.ones(len(ends[0]), bool), ends), shape=(len(flat), len(flat)))
    numbers: IntArray = connected_components(links, directed=False)[1]
    return numbers


def _grouped(numbers: IntArray) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """An order that brings pixels of one number together, and where each number starts in it."""
    order = np.argsort(numbers, kind="stable")
    counts = np.bincount(numbers)
    return order, np.cumsum(counts) - counts
