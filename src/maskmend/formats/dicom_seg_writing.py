"""A DICOM segmentation with other pixels: an edited copy, so that all else stays as it was."""

from __future__ import annotations

import hashlib
import uuid
from collections.abc import Iterator, Mapping, Sequence
from copy import deepcopy
from dataclasses import dataclass, replace
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydicom import dcmwrite
from pydicom.dataset import Dataset, FileDataset
from pydicom.encaps import encapsulate, generate_frames
from pydicom.pixels import get_encoder
from pydicom.uid import UID, ExplicitVRBigEndian
from pydicom.valuerep import DSfloat

from maskmend.core import BoolArray
from maskmend.errors import MaskValueError, UnreadableFileError
from maskmend.formats.dicom_files import frames_of, transfer_syntax, unreadable
from maskmend.formats.dicom_seg_groups import revise_groups
from maskmend.formats.dicom_seg_layout import FRACTIONAL, LABELMAP, Layout, Place
from maskmend.formats.dicom_space import stack_sparse
from maskmend.formats.dicom_tiles import is_tiled_full

Pixels = NDArray[np.integer]

LOSSLESS = (
    "1.2.840.10008.1.2.5",
    "1.2.840.10008.1.2.4.80",
    "1.2.840.10008.1.2.4.90",
    "1.2.840.10008.1.2.4.201",
)
"""Compressed transfer syntaxes written back, where an encoder is installed: RLE, JPEG-LS,
JPEG 2000 and HTJ2K, all lossless."""

DTYPES: dict[int, np.dtype[Any]] = {
    1: np.dtype(np.uint8),
    8: np.dtype(np.uint8),
    16: np.dtype("<u2"),
    32: np.dtype("<u4"),
}
"""BitsAllocated -> dtype of a frame."""


@dataclass(frozen=True)
class Frame:
    """number, place: as in Layout.frames.  data: its pixels as they are stored, little-endian, bits
    packed (and filled up to a byte).  source: index of the stored frame that it was, None for a new
    one.  changed: against what was stored.  emptied: it held something before, and holds nothing
    now."""

    number: int
    place: Place
    data: bytes
    source: int | None
    changed: bool = True
    emptied: bool = False


SAME_LESION = ("TrackingID", "TrackingUID")
"""What says that segments of several objects are one and the same thing."""


def add_descriptions(
    path: Path, dataset: FileDataset, layout: Layout, items: Mapping[str, Dataset]
) -> None:
    """Describe more segments, which have no pixels yet, with the next numbers.

    items: name -> item of SegmentSequence, as another file has it.  dataset: edited in place.
    Raises MaskValueError where the file can hold no more.
    """
    bits, kind = int(dataset.BitsAllocated), layout.kind
    last = max((int(item.SegmentNumber) for item in dataset.SegmentSequence), default=0)
    why = None
    if kind != LABELMAP and is_tiled_full(dataset):
        why = "tiles that are stored for each of the segments that it has"
    elif str(dataset.get("PhotometricInterpretation", "")) == "PALETTE COLOR":
        why = "a palette without a colour for it"
    elif kind == LABELMAP and (last + len(items) >= 2**bits or last + 1 in layout.background):
        why = f"no number left in {bits} bits"
    if why is not None:
        raise MaskValueError(
            str(path),
            expected="room for " + ", ".join(items),
            got=why,
            remedy="Add an empty segment of this name to the file.",
        )
    for number, (name, item) in enumerate(items.items(), start=last + 1):
        copied = deepcopy(item)
        copied.remove_private_tags()
        for keyword in SAME_LESION:
            if keyword in copied:
                delattr(copied, keyword)
        copied.SegmentNumber = number
        # in its own file it may have its number behind it
        copied.SegmentLabel = name
        dataset.SegmentSequence.append(copied)


def rewritten(
    path: Path, dataset: FileDataset, layout: Layout, wanted: Mapping[int, BoolArray]
) -> bytes | None:
    """The bytes of a segmentation with other pixels; None where none changes.

    dataset: of `open_whole`; edited in place.  wanted: segment number -> mask (*S).
    Raises MaskValueError, UnreadableFileError.
    """
    frames = [*_stored_frames(path, dataset, layout, wanted)]
    frames += _new_frames(path, frames, layout, wanted, bits=int(dataset.BitsAllocated))
    if not any(frame.changed for frame in frames):
        return None
    frames = _without_emptied(path, dataset, layout, frames)
    if not is_tiled_full(dataset):
        keys = [(frame.number, frame.place, frame.source) for frame in frames]
        frames = [frames[k] for k in revise_groups(dataset, layout, keys)]
    dataset.PixelData = _encoded(path, dataset, frames)
    dataset.NumberOfFrames = len(frames)
    _mark_overlap(dataset, layout, frames)
    _set_instance(dataset, frames)
    buffer = BytesIO()
    dcmwrite(buffer, dataset, enforce_file_format=True)
    return buffer.getvalue()


def _stored_frames(
    path: Path, dataset: FileDataset, layout: Layout, wanted: Mapping[int, BoolArray]
) -> Iterator[Frame]:
    decoded = zip(layout.frames, frames_of(dataset), strict=True)
    bits = int(dataset.BitsAllocated)
    for index, ((number, place), pixels) in enumerate(decoded):
        if layout.kind != LABELMAP and number not in wanted:
            yield Frame(number, place, _stored(pixels, bits), index, changed=False)
            continue
        revised = _revised(path, layout, number, place, pixels, wanted)
        changed = not np.array_equal(revised, pixels)
        emptied = changed and not _holds(layout, revised) and _holds(layout, pixels)
        yield Frame(number, place, _stored(revised, bits), index, changed, emptied)


def _new_frames(
    path: Path,
    stored: Sequence[Frame],
    layout: Layout,
    wanted: Mapping[int, BoolArray],
    bits: int,
) -> Iterator[Frame]:
    taken = {(frame.number, frame.place) for frame in stored}
    numbers = (0,) if layout.kind == LABELMAP else tuple(wanted)
    empty = np.full(layout.size, layout.background[0], DTYPES[bits])
    covered = _covered(stored, layout)
    for number in numbers:
        for place in layout.places:
            if (number, place) in taken or layout.window(covered[number], place).all():
                continue
            pixels = _revised(path, layout, number, place, empty, wanted)
            if _holds(layout, pixels):
                yield Frame(number, place, _stored(pixels, bits), None)


def _covered(stored: Sequence[Frame], layout: Layout) -> dict[int, BoolArray]:
    """Segment number -> where its stored tiles lie; tiles need not lie at the regular places."""
    numbers = {0, *layout.names}
    if not layout.corners:
        nowhere = np.broadcast_to(np.zeros((), np.bool_), layout.grid.shape)
        return dict.fromkeys(numbers, nowhere)
    covered = {number: np.zeros(layout.grid.shape, np.bool_) for number in numbers}
    for frame in stored:
        layout.window(covered[frame.number], frame.place)[...] = True
    return covered


def _holds(layout: Layout, pixels: Pixels) -> bool:
    """Whether a frame holds more than background; fractions below the half count."""
    return not np.isin(pixels, layout.background).all()


def _revised(
    path: Path,
    layout: Layout,
    number: int,
    place: Place,
    pixels: Pixels,
    wanted: Mapping[int, BoolArray],
) -> Pixels:
    """Stored pixels of a frame, those whose state changes replaced.  A new array."""
    rows, columns = layout.extent(place)
    inside = pixels[:rows, :columns]
    if layout.kind == LABELMAP:
        new = _relabelled(path, layout, place, inside, wanted)
    else:
        mask = layout.window(wanted[number], place)
        half = layout.kind == FRACTIONAL
        now = inside.astype(np.int64) * 2 >= layout.maximum if half else inside != 0
        new = np.where(now == mask, inside, mask.astype(pixels.dtype) * layout.maximum)
    revised = pixels.copy()
    revised[:rows, :columns] = new
    return revised


def _relabelled(
    path: Path, layout: Layout, place: Place, inside: Pixels, wanted: Mapping[int, BoolArray]
) -> Pixels:
    masks = {
        number: layout.window(wanted[number], place) if number in wanted else inside == number
        for number in layout.names
    }
    claims = np.sum(list(masks.values()), axis=0)
    if (claims > 1).any():
        both = [layout.names[n] for n, mask in masks.items() if mask[claims > 1].any()]
        raise MaskValueError(
            str(path),
            expected="segments that do not overlap, as this is a label map",
            got=f"{int((claims > 1).sum())} pixels in several of {both}, at {place}",
            remedy="Give each pixel to one segment, or store the source as BINARY.",
        )
    # a pixel that no segment claims keeps its value, unless it is that of a segment
    freed = np.isin(inside, list(masks)) & (claims == 0)
    new = np.where(freed, np.asarray(layout.background[0], inside.dtype), inside)
    for number, mask in masks.items():
        new[mask] = number
    return new


def _without_emptied(
    path: Path, dataset: FileDataset, layout: Layout, frames: Sequence[Frame]
) -> list[Frame]:
    """The frames to store: without those that became empty, unless the grid would then be another,
    or none be left."""
    if is_tiled_full(dataset):
        return list(frames)
    kept = [frame for frame in frames if not frame.emptied]
    if layout.stack is None:
        return kept or list(frames[:1])
    if kept and _same_grid(path, layout, kept):
        return kept
    slots = {frame.place for frame in kept}
    held = []
    for frame in frames:
        if not frame.emptied or frame.place not in slots:
            held.append(frame)
            slots.add(frame.place)
    if not _same_grid(path, layout, held):
        _state_step(dataset, layout)
    return held


def _same_grid(path: Path, layout: Layout, kept: Sequence[Frame]) -> bool:
    """Whether the slices of these frames, read again, are the same ones, and no fewer."""
    assert layout.stack is not None
    assert layout.plane is not None
    places = [frame.place[0] for frame in kept]
    first, last = min(layout.stack.slots), max(layout.stack.slots)
    if min(places) > first or max(places) < last:
        return False
    planes = [
        replace(layout.plane, position=tuple(layout.stack.position(place).tolist()))
        for place in places
    ]
    try:
        stack = stack_sparse(path, planes, [str(place) for place in places])
    except UnreadableFileError:
        return False
    return stack.slots == tuple(place - min(places) for place in places)


def _state_step(dataset: FileDataset, layout: Layout) -> None:
    """Write down the slice step, where the positions alone would no longer tell it."""
    assert layout.stack is not None
    assert layout.stack.step is not None
    step = DSfloat(float(np.linalg.norm(layout.stack.step)), auto_format=True)
    groups = [*dataset.SharedFunctionalGroupsSequence, *dataset.PerFrameFunctionalGroupsSequence]
    for group in groups:
        for measures in group.get("PixelMeasuresSequence", None) or []:
            measures.SpacingBetweenSlices = step


def _encoded(path: Path, dataset: FileDataset, frames: Sequence[Frame]) -> bytes:
    syntax = transfer_syntax(dataset)
    if syntax.is_encapsulated:
        return _encapsulated(path, dataset, frames, syntax)
    if syntax == ExplicitVRBigEndian:
        raise _not_written(path, syntax)
    data = b"".join(frame.data for frame in frames)
    size = int(dataset.Rows) * int(dataset.Columns)
    if int(dataset.BitsAllocated) == 1 and size % 8:
        # there is no gap between the bits of two frames; PS3.5, 8.1.1
        padded = np.frombuffer(data, np.uint8).reshape(len(frames), -1)
        bits = np.unpackbits(padded, axis=1, count=size, bitorder="little")
        data = np.packbits(bits.ravel(), bitorder="little").tobytes()
    return data + b"\0" * (len(data) % 2)


def _stored(pixels: Pixels, bits: int) -> bytes:
    if bits == 1:
        return np.packbits(pixels.ravel() != 0, bitorder="little").tobytes()
    return pixels.astype(DTYPES[bits]).tobytes()


def _pixels(frame: Frame, dataset: FileDataset) -> Pixels:
    shape, bits = (int(dataset.Rows), int(dataset.Columns)), int(dataset.BitsAllocated)
    if bits > 1:
        return np.frombuffer(frame.data, DTYPES[bits]).reshape(shape)
    packed = np.frombuffer(frame.data, np.uint8)
    return np.unpackbits(packed, count=shape[0] * shape[1], bitorder="little").reshape(shape)


def _encapsulated(path: Path, dataset: FileDataset, frames: Sequence[Frame], syntax: UID) -> bytes:
    """Unchanged frames keep their bytes; a changed one is encoded anew."""
    bits = int(dataset.BitsAllocated) == 1
    if bits or str(syntax) not in LOSSLESS or not get_encoder(syntax).is_available:
        raise _not_written(path, syntax)
    count = int(dataset.NumberOfFrames)
    offsets = None
    if "ExtendedOffsetTable" in dataset:
        offsets = (dataset.ExtendedOffsetTable, dataset.ExtendedOffsetTableLengths)
        # the new frames are found by the basic table
        del dataset.ExtendedOffsetTable, dataset.ExtendedOffsetTableLengths
    stored = list(
        generate_frames(dataset.PixelData, number_of_frames=count, extended_offsets=offsets)
    )
    return encapsulate(
        [
            stored[frame.source]
            if frame.source is not None and not frame.changed
            else _compressed(frame, dataset, syntax)
            for frame in frames
        ]
    )


def _compressed(frame: Frame, dataset: FileDataset, syntax: UID) -> bytes:
    encoded: bytes = get_encoder(syntax).encode(
        frame.data,
        rows=int(dataset.Rows),
        columns=int(dataset.Columns),
        number_of_frames=1,
        samples_per_pixel=1,
        bits_allocated=int(dataset.BitsAllocated),
        bits_stored=int(dataset.BitsStored),
        pixel_representation=0,
        photometric_interpretation=str(dataset.PhotometricInterpretation),
    )
    return encoded


def _not_written(path: Path, syntax: UID) -> UnreadableFileError:
    return unreadable(
        path,
        f"the transfer syntax {syntax.name} ({syntax})",
        expected="a transfer syntax that can be written without loss",
        remedy="Store the source segmentation uncompressed (Explicit VR Little Endian).",
    )


def _mark_overlap(dataset: FileDataset, layout: Layout, frames: Sequence[Frame]) -> None:
    """SegmentsOverlap must not go on saying NO where segments now overlap."""
    if layout.kind == LABELMAP or str(dataset.get("SegmentsOverlap", "")) != "NO":
        return
    taken = np.zeros(layout.grid.shape, np.bool_)
    for number in layout.names:
        own = np.zeros(layout.grid.shape, np.bool_)
        for frame in frames:
            if frame.number == number:
                target = layout.window(own, frame.place)
                target |= _pixels(frame, dataset)[: target.shape[0], : target.shape[1]] != 0
        if (taken & own).any():
            dataset.SegmentsOverlap = "YES"
            return
        taken |= own


def _set_instance(dataset: FileDataset, frames: Sequence[Frame]) -> None:
    """A UID from the content: a changed object must not have the one of its source.

    PS3.5, B.2: 2.25 and the number of a UUID.
    """
    digest = hashlib.sha256(str(dataset.SOPInstanceUID).encode())
    for frame in frames:
        digest.update(repr((frame.number, frame.place)).encode())
        digest.update(frame.data)
    number = uuid.UUID(bytes=digest.digest()[:16], version=5).int
    dataset.SOPInstanceUID = UID(f"2.25.{number}")
    dataset.file_meta.MediaStorageSOPInstanceUID = dataset.SOPInstanceUID
