"""Files of several segments: which one a plane means, and where it lies on the image's grid."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from maskmend import formats
from maskmend.arrays.geometry import (
    GridPart,
    cut_mask,
    part_of_grid,
    place_mask,
    with_slices,
)
from maskmend.core import BoolArray, Grid
from maskmend.datasets.images import say_grid
from maskmend.errors import GridMismatchError, MaskValueError


def read_placed(
    case: str, path: Path, grid: Grid, names: Mapping[str, str] | None = None
) -> dict[str, BoolArray]:
    """Masks of a file's segments on the grid of the image, each (*grid.shape).

    names: what to call each -> its segment, by default all by their own names.
    Raises GridMismatchError where the file's voxels are not those of the image, or where it shows
    something outside of the image.
    """
    segments, own = formats.read_segments(path)
    part = _part(case, path, own, grid)
    found: dict[str, BoolArray] = {}
    for plane, name in (names or {name: name for name in segments}).items():
        found[plane], outside = place_mask(segments[name], part, grid.shape)
        if outside:
            raise GridMismatchError(
                case,
                expected=f"the segment {name} inside of the image, {say_grid(grid)}",
                got=f"{outside} of its voxels outside, in {path}",
                remedy="Give the whole image, or cut the segment.",
            )
    return found


def segments_of(case: str, path: Path, planes: Sequence[str]) -> dict[str, str]:
    """Structure -> its segment in a file that is the mask of these structures only.

    The segment of that name; where there is one structure and one segment, that one.  Raises
    MaskValueError where there is none.
    """
    segments = formats.read_header(path).segments
    if len(planes) == len(segments) == 1:
        return {planes[0]: segments[0]}
    for plane in planes:
        if plane not in segments:
            raise MaskValueError(
                case,
                expected=f"a segment called {plane} in {path}",
                got=f"the segments {', '.join(segments)}",
                remedy="Rename the segment, or keep one in a file.",
            )
    return {plane: plane for plane in planes}


def write_placed(
    case: str, target: Path, source: Path, grid: Grid, changed: Mapping[str, BoolArray],
    models: Mapping[str, Path],
) -> None:  # fmt: skip
    """The file `source` with some segments replaced, all in one write.

    changed: segment -> mask on the image's grid.  Where a mask reaches beyond the slices of a
    file that need not store empty ones (DICOM), the file gets more.  models: segment that it lacks
    -> file of another case that says what it is.  Raises GridMismatchError where a mask reaches
    beyond the file's own grid otherwise, MaskValueError for a name without a segment in either.
    """
    segments, own = formats.read_segments(source)
    part = _part(case, source, own, grid)
    before, volumes = 0, len(own.shape) == len(grid.shape) == 3
    if volumes and formats.holds_more_slices(source) and own.affine is not None:
        part, before = with_slices(part, np.any(np.stack(list(changed.values())), axis=0))
    # a file of one slice may belong to a picture, whose first axis are rows
    more = volumes and part.shape[part.axes.index(0)] > own.shape[0]
    masks: dict[str, BoolArray] = {}
    for name, mask in changed.items():
        if name not in segments and name not in models:
            raise MaskValueError(
                case,
                expected=f"no voxels of {name}, of which {source} has no segment",
                got=f"{np.count_nonzero(mask)} voxels",
                remedy="Add an empty segment of this name to the file.",
            )
        cut, beyond = cut_mask(mask, part)
        if beyond:
            raise GridMismatchError(
                case,
                expected=f"{name} inside of the part of the image that its file covers, "
                f"{say_grid(own)}",
                got=f"{beyond} voxels beyond it",
                remedy=f"Export {source.name} on the whole grid of the image.",
            )
        masks[name] = cut if more else cut.reshape(own.shape)
    if more:
        formats.write_more_slices(target, masks, source, before, models)
    else:
        formats.write_segments(target, masks, source, models)


def _part(case: str, path: Path, own: Grid, grid: Grid) -> GridPart:
    part = part_of_grid(own, grid)
    if part is None:
        raise GridMismatchError(
            case,
            expected=f"segments on whole voxels of the image, {say_grid(grid)}",
            got=f"{say_grid(own)} in {path}",
            remedy="Export the segments on the image's grid.",
        )
    return part
