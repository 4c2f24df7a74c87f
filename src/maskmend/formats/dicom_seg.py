"""DICOM segmentations (SEG): binary, fractional and label map; sparse, tiled, overlapping.

The name of a segment is its SegmentLabel; of equal ones, the later have their number added:
"Liver", "Liver (2)".  Segment 0 of a label map is its background and no segment.  The grid is the
file's own: from its first to its last slice, those between that were not stored being empty; the
total pixel matrix of a slide; (rows, columns) of a picture without a position in a patient.

A pixel of a fractional segmentation is in its segment from half of the maximum on.  Written back,
pixels whose state did not change keep their fraction, others become 0 or the maximum.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from maskmend.core import BoolArray, Grid
from maskmend.errors import GridMismatchError, MaskValueError
from maskmend.files import copy_file_atomic, write_bytes_atomic
from maskmend.formats import NO_MODELS, Header, Models
from maskmend.formats.dicom_files import (
    frames_of,
    named_errors,
    open_header,
    open_whole,
    unreadable,
)
from maskmend.formats.dicom_seg_layout import (
    LABELMAP,
    Layout,
    layout_of,
    segments_in,
    with_more_slices,
)
from maskmend.formats.dicom_seg_writing import add_descriptions, rewritten

if TYPE_CHECKING:
    from pydicom.dataset import Dataset, FileDataset


def segments_header(path: Path, dataset: FileDataset) -> Header:
    """dataset: of `open_header`."""
    layout = layout_of(path, dataset)
    return Header(layout.grid, 1, np.dtype(np.bool_), segments=tuple(layout.names.values()))


def read_header(path: Path) -> Header:
    """Raises UnreadableFileError; MaskValueError where the file is an image."""
    dataset = open_header(path)
    with named_errors(path):
        return segments_header(path, dataset)


def read_segments(path: Path) -> tuple[dict[str, BoolArray], Grid]:
    """Name -> mask (*S) in the order of the file, and the file's grid.

    Raises UnreadableFileError; MaskValueError where the file is an image, or a label map holds
    numbers that it does not describe.
    """
    dataset = open_whole(path)
    with named_errors(path):
        layout = layout_of(path, dataset)
        masks = {number: np.zeros(layout.grid.shape, np.bool_) for number in layout.names}
        decoded = 0
        for (number, place), frame in zip(layout.frames, frames_of(dataset), strict=False):
            for segment, mask in segments_in(path, layout, number, frame):
                target = layout.window(masks[segment], place)
                # the last tiles may reach beyond the matrix
                target |= mask[: target.shape[0], : target.shape[1]]
            decoded += 1
        if decoded != len(layout.frames):
            raise unreadable(path, f"{decoded} of {len(layout.frames)} frames")
    return {layout.names[number]: mask for number, mask in masks.items()}, layout.grid


def is_exclusive(path: Path) -> bool:
    """Whether no pixel can be in two segments, as the file is a label map."""
    dataset = open_header(path)
    with named_errors(path):
        return layout_of(path, dataset).kind == LABELMAP


def write_segments(
    path: Path, masks: Mapping[str, BoolArray], like: Path, models: Models = NO_MODELS
) -> None:
    """The segmentation `like` with the segments that are named replaced, all or nothing.

    masks: (*S) on the grid of `like`.  All that is not a pixel stays: segments and their codes,
    references, private elements, dates; frames are added and left out as slices fill and empty.
    The SOPInstanceUID is derived from the content, so that the same masks give the same bytes;
    where nothing changes the file is copied.

    models: a segment that `like` lacks is added with the next number and the description (label,
    category, type, algorithm, colour) that it has in the file of `models`.  It is not said to be
    the same lesion as there: its tracking identifiers are left out.

    Raises MaskValueError at an unknown name, at a new one where a slide's tiles or a palette leave
    no room for it, at masks that are not bool and at segments that
    overlap in a label map; GridMismatchError at another shape; UnreadableFileError.
    """
    _write(path, masks, like, None, models)


def write_more_slices(
    path: Path, masks: Mapping[str, BoolArray], like: Path, before: int, models: Models = NO_MODELS
) -> None:
    """As `write_segments`, with masks that reach beyond the first and the last stored slice.

    Segmentations are often stored without their empty slices.  masks: (slices, rows, columns) on
    the grid of `like` with `before` more slices at its beginning, and any number at its end.
    Raises GridMismatchError also where `like` is no volume, or its slice step is not known.
    """
    _write(path, masks, like, before, models)


def _write(
    path: Path, masks: Mapping[str, BoolArray], like: Path, before: int | None, models: Models
) -> None:
    dataset = open_whole(like)
    with named_errors(like):
        layout = layout_of(like, dataset)
        known = set(layout.names.values())
        added = {name: models[name] for name in masks if name in models and name not in known}
        if added:
            items = {name: _described(name, model) for name, model in added.items()}
            add_descriptions(like, dataset, layout, items)
            layout = layout_of(like, dataset)
        if before is not None:
            layout = _with_more_slices(like, layout, masks, before)
        wanted = _by_number(like, layout, masks)
        data = rewritten(like, dataset, layout, wanted)
    if data is None:
        copy_file_atomic(like, path)
    else:
        write_bytes_atomic(path, data)


def _described(name: str, model: Path) -> Dataset:
    """The description of a segment, (SegmentSequence item), in another file."""
    dataset = open_header(model)
    with named_errors(model):
        names = layout_of(model, dataset).names
        numbers = [number for number, known in names.items() if known == name]
        found = [item for item in dataset.SegmentSequence if int(item.SegmentNumber) in numbers]
    if not found:
        raise MaskValueError(
            str(model),
            expected=f"the segment {name!r}",
            got=f"{list(names.values())}",
            remedy="Name a file that has it.",
        )
    return found[0]


def _with_more_slices(
    like: Path, layout: Layout, masks: Mapping[str, BoolArray], before: int
) -> Layout:
    slices = next(iter(masks.values())).shape[0] if masks else layout.grid.shape[0] + before
    stored = layout.grid.shape[0]
    known = layout.stack is not None and layout.stack.step is not None
    if not known or before < 0 or slices < before + stored:
        raise GridMismatchError(
            str(like),
            expected=f"at least the {stored} slices of a segmentation whose slice step is known",
            got=f"{slices} slices, {before} of them before its first",
            remedy="Give masks on the grid of the segmentation.",
        )
    return with_more_slices(layout, before, slices)


def _by_number(like: Path, layout: Layout, masks: Mapping[str, BoolArray]) -> dict[int, BoolArray]:
    numbers = {name: number for number, name in layout.names.items()}
    for name, mask in masks.items():
        if name not in numbers:
            raise MaskValueError(
                str(like),
                expected=f"the segments {list(numbers)}",
                got=f"{name!r}",
                remedy="Name a segment of the file, or another file that describes it.",
            )
        if mask.shape != layout.grid.shape:
            raise GridMismatchError(
                str(like),
                expected=f"the shape of the segmentation that is replaced, {layout.grid.shape}",
                got=f"{mask.shape} for {name!r}",
                remedy="Resample the labels to the grid of the source.",
            )
        if mask.dtype != np.bool_:
            raise MaskValueError(
                str(like),
                expected="a mask of bool",
                got=f"{mask.dtype} for {name!r}",
                remedy="Say which pixels belong to the segment.",
            )
    return {numbers[name]: mask for name, mask in masks.items()}
