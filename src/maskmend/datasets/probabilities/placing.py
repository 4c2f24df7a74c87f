"""How the axes of a stored array lie against the labels', and where a cropped one belongs.

Ours are (channels, *S), S slowest first, as in nnU-Net's own files: (C, z, y, x).  Other programs
store (x, y, z), the classes last, a lone foreground without classes, or an axis of length 1.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from maskmend.core import Grid, LabelScheme
from maskmend.errors import GridMismatchError, UnreadableFileError
from maskmend.plain_pickle import read_plain_pickle

Shape = tuple[int, ...]
Crop = tuple[slice, ...]


@dataclass(frozen=True)
class Layout:
    """classes: "first", "last", or "none" for a lone foreground.  reversed: (x, y, z).

    paired: background and foreground of a lone structure that our scheme has one channel for.
    """

    classes: str
    reversed: bool
    paired: bool = False

    def __str__(self) -> str:
        axes = "axes as the labels'" if not self.reversed else "axes in reverse, (x, y, z)"
        named = {"first": "classes first", "last": "classes last", "none": "foreground alone"}
        return f"{named[self.classes]}, {axes}"

    def scheme(self, scheme: LabelScheme) -> LabelScheme:
        """What the channels of an array say; other than ours where they are paired."""
        return LabelScheme(scheme.structures, overlapping=False) if self.paired else scheme

    @property
    def is_stated(self) -> bool:
        """Whether it needs no words: (channels, *S)."""
        return self.classes == "first" and not self.reversed


STATED = Layout("first", False)

LAYOUTS = tuple(
    Layout(classes, turned, paired)
    for classes, turned in (("first", False), ("last", False), ("none", False),
                            ("last", True), ("first", True), ("none", True))
    for paired in ((False,) if classes == "none" else (False, True))
)  # fmt: skip
"""In the order in which they are believed where several fit."""


@dataclass(frozen=True)
class Cropping:
    """whole: shape of the image.  box: the part of it that the network saw.  inside: its shape."""

    whole: Shape
    box: Crop
    inside: Shape


@dataclass(frozen=True)
class Frame:
    """How a volume is turned so that its axes run to the head, the front and the right (RAS+).

    axes: which of its axes comes at each place.  flipped: whether it then runs backwards.
    """

    axes: tuple[int, ...]
    flipped: tuple[bool, ...]

    def turned(self, shape: Shape) -> Shape:
        """Shape of a turned volume."""
        return tuple(shape[axis] for axis in self.axes)

    def turn(self, maps: NDArray[Any]) -> NDArray[Any]:
        """(channels, *S) turned; a view."""
        moved = maps.transpose(0, *(axis + 1 for axis in self.axes))
        steps = tuple(slice(None, None, -1 if flip else 1) for flip in self.flipped)
        return moved[(slice(None), *steps)]


@dataclass(frozen=True)
class Place:
    """Where a stored array goes.

    box: of the grid that it covers, None for all of it.  frame: how the grid is turned in the
    file, None for not at all; the box is that of the turned grid.
    """

    layout: Layout
    box: Crop | None = None
    frame: Frame | None = None

    @property
    def is_plain(self) -> bool:
        """Whether the stored array already is (channels, *S)."""
        return self.layout == STATED and self.box is None and self.frame is None


def frame_of(case: str, grid: Grid) -> Frame | None:
    """How readers that reorient turn a grid; None where it lies so already.

    It is nibabel's `as_closest_canonical`, with our axes, slowest first.  GridMismatchError for
    a volume that does not know where it lies.
    """
    if len(grid.shape) < 3:
        return None
    if grid.affine is None:
        raise GridMismatchError(
            case, expected="a label that knows where it lies, since the reader turned it",
            got="no affine in its header", remedy="Predict with a reader that does not reorient.",
        )  # fmt: skip
    from nibabel.orientations import io_orientation

    orientation = io_orientation(np.array(grid.affine))
    towards = [int(axis) for axis in orientation[:, 0]]
    axes = tuple(towards.index(world) for world in (2, 1, 0))
    flipped = tuple(bool(orientation[axis, 1] < 0) for axis in axes)
    return None if axes == (0, 1, 2) and not any(flipped) else Frame(axes, flipped)


def read_cropping(properties: Path) -> Cropping:
    """What nnU-Net's properties say (v2: `bbox_used_for_cropping`, v1: `crop_bbox`).

    v2 lists the axes in its plan's order, which only differs where the plan transposes them.
    UnreadableFileError, MissingFileError; GridMismatchError where they say nothing of cropping.
    """
    said = read_plain_pickle(properties)
    for whole, box, inside in (
        ("shape_before_cropping", "bbox_used_for_cropping",
         "shape_after_cropping_and_before_resampling"),
        ("original_size_of_raw_data", "crop_bbox", "size_after_cropping"),
    ):  # fmt: skip
        if isinstance(said, Mapping) and whole in said and box in said:
            return _cropping(properties, said[whole], said[box], said.get(inside))
    raise GridMismatchError(
        str(properties), expected="the properties of an nnU-Net prediction, with its cropping",
        got="none of bbox_used_for_cropping, crop_bbox", remedy="Predict the case again.",
    )  # fmt: skip


def _cropping(path: Path, whole: Any, box: Any, inside: Any) -> Cropping:
    try:
        lengths = tuple(int(n) for n in whole)
        starts = [int(pair[0]) for pair in box] if box is not None else [0] * len(lengths)
        if inside is not None:
            # v1 corrects the end of its box by the array, so the array's shape has the last word
            shape = tuple(int(n) for n in inside)
        else:
            shape = tuple(int(b) - int(a) for a, b in box)
        parts = tuple(slice(a, a + n) for a, n in zip(starts, shape, strict=True))
        fits = all(0 <= p.start < p.stop <= n for p, n in zip(parts, lengths, strict=True))
    except (TypeError, ValueError, IndexError) as error:
        raise UnreadableFileError(
            str(path), expected="shapes and a box of whole numbers", got=str(error),
            remedy="Predict the case again.",
        ) from error  # fmt: skip
    if not fits:
        raise GridMismatchError(
            str(path), expected=f"a box inside of the image's {lengths}", got=f"{parts}",
            remedy="Predict the case again.",
        )  # fmt: skip
    return Cropping(lengths, parts, shape)


def possible_places(
    stored: Shape, grid: Shape, scheme: LabelScheme, cropping: Cropping | None = None
) -> list[Place]:
    """The ways in which a stored shape can hold the probabilities of a grid, best first."""
    found = [
        Place(layout) for layout in LAYOUTS if _holds(stored, layout, grid, scheme)
    ]  # fmt: skip
    if found or cropping is None or _squeezed(cropping.whole) != _squeezed(grid):
        return found
    box = cropping.box if len(cropping.box) == len(grid) else _without_ones(cropping)
    inside = [Layout("first", False, paired) for paired in (False, True)]
    return [Place(each, box) for each in inside if _holds(stored, each, cropping.inside, scheme)]


def placed_view(target: NDArray[Any], place: Place, stored: Shape) -> NDArray[Any]:
    """The part of (channels, *S) that a stored array fills, with the array's axes; a view.

    A lone foreground fills the last channel.
    """
    view = target if place.frame is None else place.frame.turn(target)
    view = view if place.box is None else view[(slice(None), *place.box)]
    spatial = tuple(range(1, view.ndim))
    if place.layout.reversed:
        view = view.transpose(0, *spatial[::-1])
    if place.layout.classes == "last":
        view = np.moveaxis(view, 0, -1)
    elif place.layout.classes == "none":
        view = view[-1]
    return _with_ones(view, stored)


def has_foreground_only(scheme: LabelScheme) -> bool:
    """Whether one map says everything: two exclusive classes, or a single structure."""
    return len(scheme.structures) == 1


def no_place(case: str, path: str, stored: Shape, grid: Shape, scheme: LabelScheme) -> Exception:
    """GridMismatchError that says what would fit."""
    names = scheme.structures if scheme.overlapping else scheme.class_names(0)
    count = scheme.num_channels
    channels = f"{count} channels ({', '.join(names)})"
    if has_foreground_only(scheme):
        count, channels = 2, f"background and {names[-1]}, or of {names[-1]} alone,"
    return GridMismatchError(
        case,
        expected=f"probabilities of {channels} on the labels' grid {grid}, so {(count, *grid)}",
        got=f"{stored} in {path}",
        remedy="Predict the channels of this data set, in this order, resampled to its grid.",
    )


def _holds(stored: Shape, layout: Layout, grid: Shape, scheme: LabelScheme) -> bool:
    if layout.paired and not (scheme.overlapping and has_foreground_only(scheme)):
        return False
    spatial, channels = stored, layout.scheme(scheme).num_channels
    if layout.classes == "none":
        if not has_foreground_only(scheme):
            return False
    elif not stored or stored[0 if layout.classes == "first" else -1] != channels:
        return False
    else:
        spatial = stored[1:] if layout.classes == "first" else stored[:-1]
    wanted = grid[::-1] if layout.reversed else grid
    return spatial in set(_paddings(wanted))


def _paddings(grid: Shape) -> Iterator[Shape]:
    """The grid, with an axis of length 1 at either end, or without those that it has there."""
    yield grid
    yield (1, *grid)
    yield (*grid, 1)
    if len(grid) == 3 and grid[0] == 1:
        yield grid[1:]
    if len(grid) == 3 and grid[-1] == 1:
        yield grid[:-1]


def _with_ones(view: NDArray[Any], stored: Shape) -> NDArray[Any]:
    """The view with axes of length 1 put in or taken out, so that its shape is the stored one."""
    if view.shape == stored:
        return view
    keep = tuple(0 if n == 1 else slice(None) for n in view.shape)
    small = view[keep]
    rest = iter(range(small.ndim))
    index: list[Any] = [None if n == 1 else (next(rest), slice(None))[1] for n in stored]
    return small[tuple(index)]


def _squeezed(shape: Shape) -> Shape:
    return tuple(n for n in shape if n != 1)


def _without_ones(cropping: Cropping) -> Crop:
    pairs = zip(cropping.box, cropping.whole, strict=True)
    return tuple(part for part, n in pairs if n != 1)


def common_layouts(places: Mapping[str, Sequence[Place]]) -> list[Layout]:
    """The layouts that fit the most cases, best first; one data set is stored in one way."""
    votes = {
        layout: sum(any(place.layout == layout for place in some) for some in places.values())
        for layout in LAYOUTS
    }
    most = max(votes.values(), default=0)
    return [layout for layout in LAYOUTS if votes[layout] == most and most]


def voxels(shape: Shape) -> int:
    return math.prod(shape)
