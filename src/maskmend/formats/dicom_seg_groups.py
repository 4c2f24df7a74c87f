"""The functional groups of the frames of a rewritten segmentation: positions, indices, sources."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from copy import deepcopy
from itertools import pairwise
from typing import Any

import numpy as np
from pydicom.dataset import Dataset, FileDataset
from pydicom.sequence import Sequence as Items
from pydicom.valuerep import DSfloat

from maskmend.formats.dicom_seg_layout import LABELMAP, Layout, Place
from maskmend.formats.dicom_seg_sources import Sources, ordinal, value_on_line
from maskmend.formats.dicom_space import first_item

Key = tuple[int, Place, int | None]
"""Segment number, place and index of the stored frame (None for a new one)."""

KEPT = ("PixelMeasuresSequence", "PlaneOrientationSequence", "PlanePositionSequence",
        "PlanePositionSlideSequence", "DerivationImageSequence")  # fmt: skip
"""What a new frame takes over from its neighbour, besides its content."""

SEGMENT, STACK_ID = 0x0062000B, 0x00209056
SLICES = (0x00200032, 0x00209057)
ROW, COLUMN = 0x0048021F, 0x0048021E
OFFSETS = {0x0040072A: 0, 0x0040073A: 1, 0x0040074A: 2}
OFFSET_NAMES = (
    "XOffsetInSlideCoordinateSystem",
    "YOffsetInSlideCoordinateSystem",
    "ZOffsetInSlideCoordinateSystem",
)


def revise_groups(dataset: FileDataset, layout: Layout, keys: Sequence[Key]) -> list[int]:
    """Set the per-frame functional groups for the frames in `keys`; returns their new order.

    Groups of stored frames stay as they are, but for indices that count slices, tiles or segments
    where there are now others.  Frames that were in order of their indices stay so.
    """
    old = list(dataset.PerFrameFunctionalGroupsSequence)
    was_sorted = _is_sorted([_indices(item) for item in old])
    new = iter(_new_items(dataset, layout, old, keys))
    items = [next(new) if source is None else old[source] for *_, source in keys]
    added_or_left_out = [source for *_, source in keys] != list(range(len(old)))
    if added_or_left_out:
        _renumber(dataset, layout, keys, items, old)
    order = list(range(len(items)))
    if was_sorted:
        order.sort(key=lambda k: _indices(items[k]))
    dataset.PerFrameFunctionalGroupsSequence = Items([items[k] for k in order])
    return order


def _is_sorted(indices: list[tuple[int, ...]]) -> bool:
    return all(a <= b for a, b in pairwise(indices))


def _indices(item: Dataset) -> tuple[int, ...]:
    values = first_item(item, "FrameContentSequence").get("DimensionIndexValues", None)
    if values is None:
        return ()
    return tuple(int(v) for v in np.atleast_1d(values))


def _new_items(
    dataset: FileDataset, layout: Layout, old: Sequence[Dataset], keys: Sequence[Key]
) -> list[Dataset]:
    """Of the frames in `keys` that were not stored, in order."""
    new = [(number, place) for number, place, source in keys if source is None]
    sources = Sources.of(dataset, layout, old) if new else Sources()
    at: dict[Place, int] = {}
    of: dict[int, int] = {}
    for k, (number, place) in enumerate(layout.frames):
        at.setdefault(place, k)
        of.setdefault(number, k)
    items = []
    for number, place in new:
        # a frame of another segment at this place says most of it
        near = at.get(place, of.get(number, 0))
        item = _copied(old[near])
        if place not in at:
            _move(dataset, layout, item, layout.frames[near][1], place)
            if "DerivationImageSequence" in item:
                item.DerivationImageSequence = sources.derivation(ordinal(layout, place))
        if layout.kind != LABELMAP:
            segment = Dataset()
            segment.ReferencedSegmentNumber = number
            item.SegmentIdentificationSequence = Items([segment])
        items.append(item)
    return items


def _copied(template: Dataset) -> Dataset:
    """What a new frame has in common with a stored one, and no more: not its times, nor private
    elements."""
    item = Dataset()
    if "FrameContentSequence" in template:
        content = Dataset()
        for keyword in ("StackID", "InStackPositionNumber", "DimensionIndexValues"):
            found = first_item(template, "FrameContentSequence")
            if keyword in found:
                setattr(content, keyword, deepcopy(found[keyword].value))
        item.FrameContentSequence = Items([content])
    for keyword in KEPT:
        if keyword in template:
            setattr(item, keyword, deepcopy(template[keyword].value))
    return item


def _move(dataset: FileDataset, layout: Layout, item: Dataset, source: Place, place: Place) -> None:
    """Set the position of an item, copied from a frame at `source`, to that of `place`."""
    if layout.stack is not None:
        position = layout.stack.position(place[0])
        item.PlanePositionSequence[0].ImagePositionPatient = [_decimal(v) for v in position]
    elif place:
        slide = item.PlanePositionSlideSequence[0]
        slide.RowPositionInTotalImagePixelMatrix = place[0] + 1
        slide.ColumnPositionInTotalImagePixelMatrix = place[1] + 1
        directions = np.asarray([float(v) for v in dataset.ImageOrientationSlide]).reshape(2, 3)
        spacing = layout.grid.spacing
        if spacing is None:
            raise AttributeError("tiles, but no PixelSpacing")
        down, across = (
            (new - before) * step for new, before, step in zip(place, source, spacing, strict=True)
        )
        moved = across * directions[0] + down * directions[1]
        for keyword, by in zip(OFFSET_NAMES, moved.tolist(), strict=True):
            if keyword in slide and by:
                setattr(slide, keyword, _decimal(float(getattr(slide, keyword)) + by))


def _decimal(value: float) -> DSfloat:
    # the sums of decimal numbers have no digits beyond these; DS takes 16 characters
    return DSfloat(round(float(value), 9) + 0.0, auto_format=True)


def _renumber(
    dataset: FileDataset,
    layout: Layout,
    keys: Sequence[Key],
    items: Sequence[Dataset],
    old: Sequence[Dataset],
) -> None:
    """DimensionIndexValues and InStackPositionNumber for slices, tiles and segments as they are."""
    contents = [first_item(item, "FrameContentSequence") for item in items]
    if layout.stack is not None and all("InStackPositionNumber" in c for c in contents):
        stored = {
            place[0]: {int(first_item(item, "FrameContentSequence").InStackPositionNumber)}
            for (_, place), item in zip(layout.frames, old, strict=True)
        }
        numbers = _numbered([place[0] for _, place, _ in keys], stored)
        for content, number in zip(contents, numbers, strict=True):
            content.InStackPositionNumber = number
    pointers = [
        int(dimension.DimensionIndexPointer)
        for dimension in dataset.get("DimensionIndexSequence", None) or []
    ]
    before, now = [_indices(item) for item in old], [list(_indices(item)) for item in items]
    if any(len(indices) != len(pointers) for indices in (*before, *now)):
        return
    for d, pointer in enumerate(pointers):
        was = [_value(pointer, item, *key) for item, key in zip(old, layout.frames, strict=True)]
        values = [_value(pointer, item, n, p) for item, (n, p, _) in zip(items, keys, strict=True)]
        if None in was:
            continue
        known: dict[Any, set[int]] = {}
        for value, indices in zip(was, before, strict=True):
            known.setdefault(value, set()).add(indices[d])
        for revised, number in zip(now, _numbered(values, known), strict=True):
            revised[d] = number
    for content, revised in zip(contents, now, strict=True):
        content.DimensionIndexValues = revised


def _value(pointer: int, item: Dataset, number: int, place: Place) -> float | None:
    """What a dimension counts, of a frame; None for one that new frames cannot differ in."""
    if pointer == SEGMENT:
        return float(number)
    if pointer in SLICES and len(place) == 1:
        return float(place[0])
    if pointer in (ROW, COLUMN) and len(place) == 2:
        return float(place[0] if pointer == ROW else place[1])
    if pointer in OFFSETS and len(place) == 2:
        slide = first_item(item, "PlanePositionSlideSequence")
        offset = slide.get(OFFSET_NAMES[OFFSETS[pointer]], None)
        return None if offset is None else round(float(offset), 6)
    return None


def _numbered(values: Sequence[Any], known: Mapping[Any, set[int]]) -> list[int]:
    """The index of each value, counted as before: the same where the values are, or where each
    step was one; else their rank, in the direction that it had.

    known: value -> indices that it had.
    """
    unique = {value: next(iter(found)) for value, found in known.items() if len(found) == 1}
    if len(unique) == len(known):
        if set(values) <= set(known) and _on_line_or_sparse(unique, set(values)):
            return [unique[value] for value in values]
        if all(float(value).is_integer() for value in (*values, *unique)):
            whole = {int(value): index for value, index in unique.items()}
            on_line = [value_on_line(whole, int(value)) for value in values]
            if all(index is not None and index > 0 for index in on_line):
                return [index for index in on_line if index is not None]
    pairs = sorted((value, min(found)) for value, found in known.items())
    falling = pairs[0][1] > pairs[-1][1]
    ranked = sorted(set(values), reverse=falling)
    return [ranked.index(value) + 1 for value in values]


def _on_line_or_sparse(unique: Mapping[Any, int], values: set[Any]) -> bool:
    """Whether indices may stay where some values went: none went, or they had gaps before."""
    return values == set(unique) or sorted(unique.values()) != list(range(1, len(unique) + 1))
