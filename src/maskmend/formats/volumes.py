"""What the volume formats share: inflating, whole numbers, coordinates, values in an old encoding.

Nothing is trusted that a header says of sizes: no memory is taken for voxels that the file cannot
hold, and no voxel is left to whatever the memory held before.
"""

from __future__ import annotations

import bz2
import zlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from maskmend.core import IntArray
from maskmend.errors import GridMismatchError, MaskValueError, UnreadableFileError
from maskmend.files import missing

GZIP, ZLIB = 31, 15
"""Window bits that zlib takes for each kind of stream."""

LEVEL = 6
"""Of deflate.  For a label of 512 x 512 x 300 uint8 with five structures and ragged edges on one
core: level 1 takes 0.16 s and 3.7 MB, 3 0.14 s and 1.7 MB, 6 0.29 s and 0.9 MB, 9 1.4 s and 0.6 MB.
"""

LARGEST_RATIO = 1032
"""Deflate cannot shrink data more than this (zlib, technical details)."""

PIECE = 1 << 16

LARGEST_WHOLE = {2: 2**11, 4: 2**24, 8: 2**31 - 1}
"""Bytes of a float -> the largest whole number that a mask in it may hold: up to there the floats
tell whole numbers apart, and a mask read from floats is int32."""

RIGHT_TO_LEFT = np.diag([-1.0, -1.0, 1.0, 1.0])
"""Takes LPS coordinates to RAS, and back."""


def unreadable(path: Path, expected: str, got: str) -> UnreadableFileError:
    return UnreadableFileError(
        str(path),
        expected=expected,
        got=got,
        remedy="Replace the file from its source, or take the case out.",
    )


def ends_of_file(path: Path, count: int) -> tuple[bytes, bytes, int]:
    """(the first `count` bytes, the last four, how many there are).

    Raises MissingFileError, UnreadableFileError.
    """
    try:
        with path.open("rb") as handle:
            first = handle.read(count)
            size = handle.seek(0, 2)
            handle.seek(max(size - 4, 0))
            return first, handle.read(), size
    except FileNotFoundError as error:
        raise missing(path) from error
    except OSError as error:
        raise unreadable(path, "a readable file", str(error)) from error


def check_inflatable(path: Path, compressed: int, size: int) -> None:
    """Before memory is taken: `compressed` bytes can stand for `size` bytes.

    Raises UnreadableFileError.
    """
    if size > compressed * LARGEST_RATIO:
        raise unreadable(
            path,
            f"a file with the {size} bytes that its header promises",
            f"{compressed} compressed bytes, which hold {compressed * LARGEST_RATIO} at most",
        )


def inflate(path: Path, data: bytes | memoryview, size: int, bits: int) -> NDArray[np.uint8]:
    """All bytes that a compressed stream stands for, at least `size` of them.

    path: named in errors.  bits: GZIP or ZLIB.  A gzip file may have several members; zeros after
    the last are padding.  Returns a new array.  Raises UnreadableFileError where the stream is cut
    off, damaged, or shorter than `size`.
    """
    check_inflatable(path, len(data), size)
    whole, at, surplus = np.empty(size, np.uint8), 0, []
    source, taken, stream = memoryview(data), 0, zlib.decompressobj(bits)
    while taken < len(source):
        try:
            piece = stream.decompress(source[taken : taken + PIECE])
        except zlib.error as error:
            raise unreadable(path, "a whole compressed file", str(error)) from error
        kept = min(len(piece), size - at)
        whole[at : at + kept] = np.frombuffer(piece, np.uint8, kept)
        at += kept
        surplus.append(piece[kept:])
        taken = min(taken + PIECE, len(source)) - len(stream.unused_data)
        if stream.eof:
            if bits != GZIP or not any(source[taken:]):
                break
            stream = zlib.decompressobj(bits)
    if at < size or not stream.eof:
        raise _cut_off(path, len(data), size, at)
    rest = b"".join(surplus)
    return np.concatenate([whole, np.frombuffer(rest, np.uint8)]) if rest else whole


def _cut_off(path: Path, compressed: int, size: int, at: int) -> UnreadableFileError:
    return unreadable(
        path,
        f"a whole compressed file with the {size} bytes that its header promises",
        f"a file cut off after {compressed} bytes, or one with fewer voxels: {at} bytes came out",
    )


def deflate(data: bytes | memoryview, bits: int) -> bytes:
    """The same bytes for the same data: gzip's header has neither a time nor a name."""
    stream = zlib.compressobj(LEVEL, zlib.DEFLATED, bits)
    return stream.compress(data) + stream.flush()


def inflate_bzip2(path: Path, data: bytes | memoryview, size: int) -> NDArray[np.uint8]:
    """As `inflate`, for bzip2."""
    stream = bz2.BZ2Decompressor()
    try:
        whole = bytearray(stream.decompress(data))
    except OSError as error:
        raise unreadable(path, "a whole compressed file", str(error)) from error
    if not stream.eof or len(whole) < size:
        raise _cut_off(path, len(data), size, len(whole))
    return np.frombuffer(whole, np.uint8)


def beside(path: Path, like: Path, data: Path) -> str:
    """Name of the file with the numbers of a header at `path`, as `data` belongs to `like`.

    A header of another name gives its own to the numbers, so that no two share a file.
    """
    if path.name == like.name:
        return data.name
    ending = data.name.partition(".")[2]
    return f"{path.stem}.{ending or 'raw'}"


def read_raw(path: Path) -> NDArray[np.uint8]:
    """The bytes of a file, as an array that may be written to.

    Raises MissingFileError, UnreadableFileError.
    """
    try:
        return np.fromfile(path, np.uint8)
    except FileNotFoundError as error:
        raise missing(path) from error
    except OSError as error:
        raise unreadable(path, "a readable file", str(error)) from error


def numbers(
    data: NDArray[np.uint8], at: int, dtype: np.dtype[Any], shape: Sequence[int]
) -> NDArray[Any]:
    """A view of the numbers that stand in `data` from byte `at`, in C order, aligned."""
    size = dtype.itemsize * int(np.prod(shape, dtype=np.int64))
    return np.require(data[at : at + size].view(dtype).reshape(shape), requirements="A")


def native(array: NDArray[Any]) -> NDArray[Any]:
    """The same numbers in the byte order of this machine; no copy where they are in it."""
    return array.astype(array.dtype.newbyteorder("="), copy=False)


def one_channel(channels: NDArray[Any], path: Path) -> NDArray[Any]:
    """(*S,) of (1, *S).  Raises MaskValueError where a voxel has several numbers."""
    if len(channels) != 1:
        raise MaskValueError(
            str(path),
            expected="a mask with one number a voxel",
            got=f"{len(channels)} numbers a voxel: colours, vectors, or several volumes",
            remedy="Save one integer a class, in one volume.",
        )
    first: NDArray[Any] = channels[0]
    return first


def whole_numbers(array: NDArray[Any], path: Path) -> IntArray:
    """A mask's numbers as integers: floats that are all whole become int32.

    Raises MaskValueError, with an example and a count, for fractions, NaN and infinity.
    """
    if array.dtype.kind in "ui":
        return array
    with np.errstate(invalid="ignore"):
        whole = array.astype(np.int32)
    wrong = whole != array
    if wrong.any():
        raise MaskValueError(
            str(path),
            expected="whole numbers of up to 32 bits in a mask",
            got=f"{int(wrong.sum())} voxels with another value, such as {array[wrong][0]}",
            remedy="Export the mask as integers; probabilities are no labels.",
        )
    return whole


def largest_of(dtype: np.dtype[Any]) -> int:
    """The largest whole number that a mask of a stored dtype can hold."""
    if dtype.kind == "f":
        return LARGEST_WHOLE[dtype.itemsize]
    return int(np.iinfo(dtype).max)


def check_values(values: IntArray, old: IntArray, largest: int, path: Path) -> None:
    """Raises GridMismatchError, MaskValueError where values do not fit the mask `old`.

    Negative values are let through only where the mask has held them already.
    """
    if values.shape != old.shape:
        raise GridMismatchError(
            str(path),
            expected=f"the shape of the mask that is replaced, {old.shape}",
            got=f"{values.shape}",
            remedy="Resample the labels to the grid of the source.",
        )
    lowest, highest = int(values.min()), int(values.max())
    if lowest < min(0, int(old.min())) or highest > largest:
        raise MaskValueError(
            str(path),
            expected=f"values 0 to {largest}, which the mask that is replaced can hold",
            got=f"{lowest} to {highest}",
            remedy="Save the source masks in a wider type of integer.",
        )


def affine_rows(matrix: NDArray[np.float64], path: Path) -> tuple[tuple[float, ...], ...]:
    """Rows of a (4, 4) matrix for a Grid.  Raises UnreadableFileError where it is no geometry."""
    if not np.isfinite(matrix).all():
        raise UnreadableFileError(
            str(path),
            expected="a finite affine in the header",
            got=f"{matrix.tolist()}",
            remedy="Correct the orientation in the header, as from the original scan.",
        )
    if abs(np.linalg.det(matrix[:3, :3])) == 0:
        raise UnreadableFileError(
            str(path),
            expected="an affine whose three axes span space",
            got=f"{matrix.tolist()}",
            remedy="Correct the orientation in the header, as from the original scan.",
        )
    # + 0.0: no negative zeros from a change of sign
    return tuple(tuple(float(value) + 0.0 for value in row) for row in matrix)


def affine_of_axes(
    axes: Sequence[NDArray[np.float64]], origin: NDArray[np.float64]
) -> NDArray[np.float64]:
    """(4, 4) of the step along each axis, in our order, and the place of the first voxel."""
    matrix = np.eye(4)
    matrix[:3, :3] = np.stack(axes, axis=1)
    matrix[:3, 3] = origin
    return matrix
