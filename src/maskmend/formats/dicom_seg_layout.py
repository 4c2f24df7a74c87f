"""What a DICOM segmentation holds: its segments, its grid, and which frame is where on it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from pydicom.dataset import Dataset, FileDataset

from maskmend.core import BoolArray, Grid
from maskmend.errors import MaskValueError
from maskmend.formats.dicom_files import (
    check_decodable,
    check_undivided,
    class_name,
    count_frames,
    has_pixels,
    is_segmentation,
    unreadable,
)
from maskmend.formats.dicom_space import (
    Plane,
    Stack,
    first_item,
    group_item,
    pixel_spacing,
    planes_of,
    stack_sparse,
    volume_grid,
)
from maskmend.formats.dicom_tiles import frame_corners, is_tiled, matrix_grid, tile_corners

Place = tuple[int, ...]
"""Of a frame on the grid: (slice,) in a volume, (row, column) of a tile's first pixel from 0 in a
slide, () in a picture."""

BINARY, FRACTIONAL, LABELMAP = "BINARY", "FRACTIONAL", "LABELMAP"


@dataclass(frozen=True)
class Layout:
    """kind: SegmentationType.  names: segment number -> name, in the order of the file.
    frames: (segment number, place) of each; the number is 0 in a label map, whose frames hold all
    segments.  size: rows, columns of a frame.  maximum: stored value of a whole pixel in a
    fractional segmentation, else 1.  background: stored values of no segment.  plane, stack: of a
    volume; plane is that of the first frame.  corners: the regular tiles of a slide.
    """

    kind: str
    names: dict[int, str]
    grid: Grid
    frames: tuple[tuple[int, Place], ...]
    size: tuple[int, int]
    maximum: int = 1
    background: tuple[int, ...] = (0,)
    plane: Plane | None = None
    stack: Stack | None = None
    corners: tuple[Place, ...] = ()

    @property
    def places(self) -> tuple[Place, ...]:
        """All places that a frame can have."""
        if self.stack is not None:
            return tuple((slot,) for slot in range(self.grid.shape[0]))
        return self.corners or ((),)

    def extent(self, place: Place) -> tuple[int, int]:
        """Rows and columns of a frame that are on the grid: the last tiles may reach beyond it."""
        if self.stack is not None or not place:
            return self.size
        (rows, columns), (down, across) = self.grid.shape, place
        return min(self.size[0], rows - down), min(self.size[1], columns - across)

    def window(self, array: NDArray[np.bool_], place: Place) -> BoolArray:
        """The part of an array on the grid that a frame covers; a view."""
        if self.stack is not None or not place:
            view: BoolArray = array[place]
            return view
        row, column = place
        return array[row : row + self.size[0], column : column + self.size[1]]


def layout_of(path: Path, dataset: FileDataset) -> Layout:
    """Raises MaskValueError where the file is no segmentation, UnreadableFileError where it is not
    whole.  dataset: with or without its pixels."""
    _check_segmentation(path, dataset)
    kind = str(dataset.SegmentationType)
    if kind not in (BINARY, FRACTIONAL, LABELMAP):
        raise unreadable(path, f"the type {kind!r}", expected="a known SegmentationType")
    names = _names(dataset, kind)
    size = (int(dataset.Rows), int(dataset.Columns))
    maximum = int(dataset.MaximumFractionalValue) if kind == FRACTIONAL else 1
    if maximum < 1:
        raise ValueError("MaximumFractionalValue")
    numbers = _frame_numbers(dataset, kind, list(names))
    layout = Layout(
        kind, names, Grid(size), (), size, maximum, background=_background(dataset, kind, names)
    )
    if is_tiled(dataset):
        layers = 1 if kind == LABELMAP else len(names)
        places: list[Place] = [*frame_corners(path, dataset, layers)]
        corners: tuple[Place, ...] = tuple(tile_corners(dataset))
        layout = replace(layout, grid=matrix_grid(dataset), corners=corners)
    elif planes := planes_of(dataset):
        stack = stack_sparse(path, planes, [f"frame {k + 1}" for k in range(len(planes))])
        grid = volume_grid(stack, planes[0], *size)
        places = [(slot,) for slot in stack.slots]
        layout = replace(layout, grid=grid, plane=planes[0], stack=stack)
    else:
        shared = first_item(dataset, "SharedFunctionalGroupsSequence")
        spacing = pixel_spacing(first_item(shared, "PixelMeasuresSequence"))
        places = [()] * len(numbers)
        layout = replace(layout, grid=Grid(size, spacing))
    layout = replace(layout, frames=tuple(zip(numbers, places, strict=True)))
    _check_distinct(path, layout)
    return layout


def with_more_slices(layout: Layout, before: int, slices: int) -> Layout:
    """The layout on a grid that begins `before` slices earlier and has `slices` in all.

    layout: of a volume whose slice step is known.
    """
    assert layout.stack is not None
    assert layout.plane is not None
    stack = Stack(
        tuple(slot + before for slot in layout.stack.slots),
        layout.stack.position(-before),
        layout.stack.step,
    )
    return replace(
        layout,
        grid=volume_grid(stack, layout.plane, *layout.size, slices),
        frames=tuple((number, (place[0] + before,)) for number, place in layout.frames),
        stack=stack,
    )


def _background(dataset: Dataset, kind: str, names: dict[int, str]) -> tuple[int, ...]:
    padding = dataset.get("PixelPaddingValue", None) if kind == LABELMAP else None
    values = {0} if padding is None else {0, int(padding)}
    return tuple(sorted(values - names.keys()))


def _check_segmentation(path: Path, dataset: FileDataset) -> None:
    if "SOPClassUID" not in dataset:
        raise unreadable(path, "a file that names no kind of object (SOP class)")
    if not is_segmentation(dataset):
        raise MaskValueError(
            str(path),
            expected="a DICOM segmentation",
            got=f"an image: {class_name(dataset)}",
            remedy="Export the mask as DICOM SEG, or name the file as an image.",
        )
    frames = int(dataset.get("NumberOfFrames", None) or 0)
    if not has_pixels(dataset) or frames < 1:
        raise unreadable(path, f"{frames} frames, {_bytes_text(dataset)}", "at least one frame")
    check_undivided(path, dataset)
    check_decodable(path, dataset)


def _bytes_text(dataset: Dataset) -> str:
    return "with pixel data" if has_pixels(dataset) else "without pixel data"


def _names(dataset: Dataset, kind: str) -> dict[int, str]:
    """Segment number -> label; equal ones, and empty ones, are told apart by the number.

    Segment 0 of a label map is its background, which is no structure.
    """
    names: dict[int, str] = {}
    for segment in dataset.SegmentSequence:
        number = int(segment.SegmentNumber)
        if kind == LABELMAP and number == 0:
            continue
        if number in names:
            raise ValueError("SegmentNumber")
        name = str(segment.get("SegmentLabel", None) or "").strip() or f"Segment {number}"
        while name in names.values():
            name = f"{name} ({number})"
        names[number] = name
    return names


def _frame_numbers(dataset: FileDataset, kind: str, numbers: list[int]) -> list[int]:
    count = count_frames(dataset)
    if kind == LABELMAP:
        return [0] * count
    shared = first_item(dataset, "SharedFunctionalGroupsSequence")
    frames = list(dataset.get("PerFrameFunctionalGroupsSequence", None) or [])
    if not frames and is_tiled(dataset):
        return [number for number in numbers for _ in range(count // len(numbers))]
    if len(frames) != count:
        raise ValueError("PerFrameFunctionalGroupsSequence")
    found = [
        int(group_item(shared, frame, "SegmentIdentificationSequence").ReferencedSegmentNumber)
        for frame in frames
    ]
    if set(found) - set(numbers):
        raise ValueError("ReferencedSegmentNumber")
    return found


def _check_distinct(path: Path, layout: Layout) -> None:
    seen: dict[tuple[int, Place], int] = {}
    for index, key in enumerate(layout.frames):
        if key in seen:
            number, place = key
            what = f"of {layout.names[number]!r} " if number in layout.names else ""
            where = f"at {place}" if place else "without a position"
            raise unreadable(
                path,
                f"the frames {seen[key] + 1} and {index + 1} {what}both {where}",
                expected="each segment at most once at each place",
                remedy="Export one time point to a file, with the positions of its frames.",
            )
        seen[key] = index


def segments_in(
    path: Path, layout: Layout, number: int, frame: NDArray[np.integer]
) -> Iterator[tuple[int, BoolArray]]:
    """(segment number, its pixels) of a stored frame.

    A pixel of a fractional segmentation belongs to its segment from half of the maximum on.
    """
    if layout.kind == FRACTIONAL:
        yield number, frame.astype(np.int64) * 2 >= layout.maximum
    elif layout.kind == BINARY:
        yield number, frame != 0
    else:
        for value in np.unique(frame).tolist():
            if value in layout.names:
                yield value, frame == value
            elif value not in layout.background:
                raise MaskValueError(
                    str(path),
                    expected=f"the segment numbers {sorted(layout.names)}",
                    got=f"pixels with the number {value}",
                    remedy="Describe the segment in the file, or take the case out.",
                )
