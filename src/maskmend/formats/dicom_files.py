"""DICOM files opened with our errors: what is no DICOM, cut off, or in a code nobody here decodes.

No message holds what a file says of a patient: only file names, UIDs, positions and tag names.
"""

from __future__ import annotations

import struct
import warnings
import zlib
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from os import SEEK_CUR
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from maskmend.errors import MissingExtraError, UnreadableFileError
from maskmend.files import missing

try:
    from pydicom import dcmread
    from pydicom.dataset import Dataset, FileDataset
    from pydicom.errors import BytesLengthException, InvalidDicomError
    from pydicom.pixels import get_decoder, iter_pixels
    from pydicom.pixels.utils import get_expected_length
    from pydicom.tag import Tag
    from pydicom.uid import UID, DeflatedExplicitVRLittleEndian, ExplicitVRBigEndian
except ImportError as error:
    raise MissingExtraError(
        "DICOM files",
        expected="the package pydicom 3",
        got=str(error),
        remedy="pip install 'maskmend[dicom]'",
    ) from error

FLOATS, DOUBLES, PIXELS = 0x7FE00008, 0x7FE00009, 0x7FE00010
"""Tags of the element that holds the pixels; a file has one of them."""

SEGMENTATIONS = ("1.2.840.10008.5.1.4.1.1.66.4", "1.2.840.10008.5.1.4.1.1.66.7")
"""SOP classes of segmentations: Segmentation Storage, Label Map Segmentation Storage."""

NATIVE = ("1.2.840.10008.1.2", "1.2.840.10008.1.2.1", "1.2.840.10008.1.2.1.99",
          "1.2.840.10008.1.2.2")  # fmt: skip
"""Transfer syntaxes whose pixels are stored as they are, so that their length is known."""

UNDEFINED, ITEM, DELIMITER = 0xFFFFFFFF, 0xE000FFFE, 0xE0DDFFFE
"""Length of an element that ends at a delimiter, and the tags within it as little-endian words."""

DEFERRED_BYTES = 4096
"""A header is read without the elements that are longer, which are the pixels and tables."""

PARSER_ERRORS = (
    InvalidDicomError,
    BytesLengthException,
    OSError,
    EOFError,
    ValueError,
    KeyError,
    AttributeError,
    NotImplementedError,
    RuntimeError,
    OverflowError,
    TypeError,
    IndexError,
    struct.error,
    zlib.error,
)
"""What pydicom and its decoders raise at garbled bytes and at attributes that are not there."""


@contextmanager
def named_errors(path: Path) -> Iterator[None]:
    """Errors of pydicom as UnreadableFileError, without its warnings about odd values."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)
            yield
    except FileNotFoundError as error:
        raise missing(path) from error
    except PARSER_ERRORS as error:
        raise unreadable(path, _reason(error)) from error


def _reason(error: Exception) -> str:
    if isinstance(error, AttributeError):
        return str(error).replace("'FileDataset' object has", "a file that has")
    if isinstance(error, OSError | NotImplementedError | InvalidDicomError):
        return str(error) or type(error).__name__
    # the text of other errors may quote the value of any element
    return f"bytes that are garbled ({type(error).__name__})"


def unreadable(
    path: Path | str,
    got: str,
    expected: str = "a whole DICOM file",
    remedy: str = "Replace the file from its source, or take the case out.",
) -> UnreadableFileError:
    return UnreadableFileError(str(path), expected=expected, got=got, remedy=remedy)


def looks_like_dicom(path: Path) -> bool:
    """Whether a file begins as DICOM does: with "DICM" after 128 bytes, or with group 0008."""
    with path.open("rb") as handle:
        start = handle.read(132)
    return start[128:] == b"DICM" or start[:2] == b"\x08\x00"


def open_header(path: Path, tags: Iterable[int | str] | None = None) -> FileDataset:
    """All of a file, or the elements named, without its pixels, which are known to be complete.

    Raises UnreadableFileError, MissingFileError.
    """
    with named_errors(path):
        dataset = _parse(path, None if tags is None else [*tags, FLOATS, DOUBLES, PIXELS])
        if has_pixels(dataset):
            _check_whole(path, dataset)
        return dataset


def open_whole(path: Path) -> FileDataset:
    """A file with its pixels, not yet decoded, but complete.  Errors as in `open_header`."""
    with named_errors(path):
        dataset = dcmread(path, force=_begins_without_preamble(path))
        _complete_meta(dataset)
        if has_pixels(dataset):
            _check_whole(path, dataset)
        return dataset


def _parse(path: Path, tags: list[int | str] | None) -> FileDataset:
    force = _begins_without_preamble(path)
    wanted = None if tags is None else [Tag(tag) for tag in tags]
    dataset = dcmread(path, defer_size=DEFERRED_BYTES, specific_tags=wanted, force=force)
    _complete_meta(dataset)
    if dataset.file_meta.TransferSyntaxUID == DeflatedExplicitVRLittleEndian:
        # what was deferred lies in the inflated bytes, at no place of the file
        dataset = dcmread(path, specific_tags=wanted)
    return dataset


def _begins_without_preamble(path: Path) -> bool:
    if not looks_like_dicom(path):
        with path.open("rb") as handle:
            start = handle.read(2)
        if start in (b"\x30\x80", b"\x30\x82", b"\x30\x83", b"\x30\x84"):
            raise unreadable(path, "what seems to be an encrypted (CMS) file")
        raise unreadable(path, "bytes of another kind" if start else "an empty file")
    with path.open("rb") as handle:
        return handle.read(132)[128:] != b"DICM"


def _complete_meta(dataset: FileDataset) -> None:
    """Files from before part 10 of the standard have no header that names the transfer syntax."""
    if "TransferSyntaxUID" not in dataset.file_meta:
        implicit, little = dataset.original_encoding
        if not implicit and not little:
            raise ValueError("no transfer syntax")
        dataset.file_meta.TransferSyntaxUID = UID(
            "1.2.840.10008.1.2" if implicit else "1.2.840.10008.1.2.1"
        )


def has_pixels(dataset: Dataset) -> bool:
    return any(tag in dataset for tag in (PIXELS, FLOATS, DOUBLES))


def _check_whole(path: Path, dataset: FileDataset) -> None:
    element: Any = dataset.get_item(_pixel_tag(dataset), keep_deferred=True)
    stated, size = element.length, path.stat().st_size
    if stated == UNDEFINED:
        if not _fragments_are_whole(path, element.value_tell):
            raise unreadable(path, "compressed pixel data cut off")
        return
    # deferred: its bytes were passed over, whether they are there or not
    held = size - element.value_tell if element.value is None else len(element.value)
    needed = max(stated, 1)
    if transfer_syntax(dataset) in NATIVE:
        needed = max(needed, get_expected_length(dataset))
    if min(held, stated) < needed:
        raise unreadable(path, f"pixel data cut off: {max(min(held, stated), 0)} of {needed} bytes")


def _fragments_are_whole(path: Path, start: int) -> bool:
    """Whether the items of compressed pixel data reach to their delimiter; PS3.5, A.4."""
    with path.open("rb") as handle:
        handle.seek(start)
        while len(head := handle.read(8)) == 8:
            tag, length = struct.unpack("<II", head)
            if tag == DELIMITER:
                return True
            if tag != ITEM:
                return False
            handle.seek(length, SEEK_CUR)
    return False


def _pixel_tag(dataset: Dataset) -> int:
    return next(tag for tag in (PIXELS, FLOATS, DOUBLES) if tag in dataset)


def transfer_syntax(dataset: FileDataset) -> UID:
    return UID(str(dataset.file_meta.TransferSyntaxUID))


def check_decodable(path: Path, dataset: FileDataset) -> None:
    """Raises UnreadableFileError that names the transfer syntax and the packages that decode it."""
    syntax = transfer_syntax(dataset)
    try:
        decoder = get_decoder(syntax)
    except NotImplementedError as error:
        raise unreadable(
            path,
            f"the transfer syntax {syntax.name} ({syntax}), which no package here decodes",
            remedy="Export the file uncompressed and unencrypted.",
        ) from error
    if not decoder.is_available:
        needs = "; ".join(decoder.missing_dependencies)
        raise unreadable(
            path,
            f"the transfer syntax {syntax.name} ({syntax}), whose decoder is not installed",
            remedy=f"Install one of: {needs}; or export the file uncompressed.",
        )


def frames_of(dataset: FileDataset) -> Iterator[NDArray[Any]]:
    """The stored numbers of each frame, (rows, columns) or (rows, columns, samples), in file order.

    dataset: of `open_whole`.  Unused bits above BitsStored are cleared; YBR is converted to RGB.
    """
    if int(dataset.BitsAllocated) == 1 and transfer_syntax(dataset) in NATIVE:
        yield from _unpacked_frames(dataset)
        return
    for frame in iter_pixels(dataset):
        yield _without_unused_bits(np.asarray(frame), dataset)


def _unpacked_frames(dataset: FileDataset) -> Iterator[NDArray[Any]]:
    """Frames of bits without a gap between them: one may begin within a byte; PS3.5, 8.1.1."""
    if transfer_syntax(dataset) == ExplicitVRBigEndian:
        raise NotImplementedError("bits in big-endian words")
    rows, columns = int(dataset.Rows), int(dataset.Columns)
    stored = np.frombuffer(dataset.PixelData, np.uint8)
    for frame in range(count_frames(dataset)):
        first, after = frame * rows * columns, (frame + 1) * rows * columns
        bits = np.unpackbits(stored[first // 8 : -(-after // 8)], bitorder="little")
        yield bits[first % 8 :][: rows * columns].reshape(rows, columns)


def _without_unused_bits(frame: NDArray[Any], dataset: Dataset) -> NDArray[Any]:
    unused = int(dataset.BitsAllocated) - int(dataset.get("BitsStored", dataset.BitsAllocated))
    if frame.dtype.kind not in "iu" or unused <= 0:
        return frame
    shift = frame.dtype.type(unused)
    # a right shift of a signed number repeats the sign bit
    return np.right_shift(np.left_shift(frame, shift), shift)


def count_frames(dataset: Dataset) -> int:
    """NumberOfFrames; 1 for a file that has none."""
    return int(dataset.get("NumberOfFrames", None) or 1)


def check_undivided(path: Path, dataset: Dataset) -> None:
    """Raises UnreadableFileError where a file holds only some of the frames of an object."""
    files = int(dataset.get("InConcatenationTotalNumber", None) or 1)
    if files > 1:
        raise unreadable(
            path,
            f"one of {files} files of a concatenation",
            expected="all frames in one file",
            remedy="Join the files of the concatenation.",
        )


def class_name(dataset: Dataset) -> str:
    """What kind of object a file holds, for a message."""
    return UID(str(dataset.get("SOPClassUID", ""))).name or "an object without SOP class"


def is_segmentation(dataset: Dataset) -> bool:
    return str(dataset.get("SOPClassUID", "")) in SEGMENTATIONS
