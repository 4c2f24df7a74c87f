"""Arrays as they are stored, whatever holds them: shape and dtype first, then block by block.

Nothing is ever unpickled, and no more than a block is in memory.
"""

from __future__ import annotations

import math
import zipfile
import zlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from maskmend import files
from maskmend.errors import MissingExtraError, UnreadableFileError
from maskmend.formats import read_header

Index = tuple[slice | int, ...]
Block = tuple[Index, NDArray[Any]]

BLOCK_BYTES = 1 << 24
_BROKEN: tuple[type[Exception], ...] = (
    ValueError, EOFError, OSError, KeyError, zipfile.BadZipFile, zlib.error,
)  # fmt: skip
"""What reading a broken file raises."""

KEYS = ("probabilities", "softmax")
"""Of the array in an .npz or a Zarr group: what nnU-Net v2 and v1 call it."""


class StoredArray(Protocol):
    """An array that can be read block by block.  shape: of the axes as stored."""

    @property
    def shape(self) -> tuple[int, ...]: ...

    @property
    def dtype(self) -> np.dtype[Any]: ...

    def blocks(self) -> Iterator[Block]:
        """Every part once, with its place: array[index] is the block."""


@dataclass(frozen=True)
class HeldArray:
    """An array in memory, or mapped into it from `path`."""

    array: NDArray[Any]
    path: Path | None = None

    @property
    def shape(self) -> tuple[int, ...]:
        return self.array.shape

    @property
    def dtype(self) -> np.dtype[Any]:
        return self.array.dtype

    def blocks(self) -> Iterator[Block]:
        # along the axis that lies furthest apart, so that pages are read once
        order = sorted(range(self.array.ndim), key=lambda axis: -abs(self.array.strides[axis]))
        for index in _indices(tuple(self.shape[axis] for axis in order), self.dtype.itemsize):
            place = dict(zip(order, index, strict=False))
            whole = tuple(place.get(axis, slice(None)) for axis in range(self.array.ndim))
            yield whole, self.array[whole]


@dataclass(frozen=True)
class NpzMember:
    """One array of an .npz, decompressed as it is read."""

    path: Path
    key: str
    stored_shape: tuple[int, ...]
    dtype: np.dtype[Any]
    fortran: bool

    @property
    def shape(self) -> tuple[int, ...]:
        return self.stored_shape

    def blocks(self) -> Iterator[Block]:
        """Raises UnreadableFileError where the file ends before its array does."""
        # in Fortran order the last axis is the slowest in the file
        shape = self.shape[::-1] if self.fortran else self.shape
        with (
            _refusing(self.path),
            zipfile.ZipFile(self.path) as archive,
            archive.open(f"{self.key}.npy") as handle,
        ):
            _read_header(handle)
            for index in _indices(shape, self.dtype.itemsize):
                yield self._block(handle, index, shape)

    def _block(self, handle: Any, index: Index, shape: tuple[int, ...]) -> Block:
        part = np.empty(_lengths(index, shape), self.dtype)
        content = memoryview(part.reshape(-1).view(np.uint8))  # type: ignore[arg-type]
        done = 0
        while done < len(content):
            count = handle.readinto(content[done:])
            if not count:
                raise EOFError(f"{self.key} ends early")
            done += count
        if not self.fortran:
            return index, part
        return (*(slice(None),) * (len(shape) - len(index)), *index[::-1]), part.T


@dataclass(frozen=True)
class NiftiArray:
    """A NIfTI image, class by class where it has a class axis, which is the last in the file.

    shape: slowest axis first, so (C, z, y, x), or (z, y, x) of one map.  affine: of (z, y, x), as
    in `Grid`, or None where the file does not know it.
    """

    path: Path
    shape: tuple[int, ...]
    dtype: np.dtype[Any]
    affine: tuple[tuple[float, ...], ...] | None

    def blocks(self) -> Iterator[Block]:
        import nibabel

        with _refusing(self.path, also=_nifti_errors()):
            values = nibabel.load(self.path, keep_file_open=True).dataobj  # type: ignore[attr-defined]
            if len(self.shape) < 4:
                yield (), np.asarray(values).T
                return
            for k in range(self.shape[0]):
                yield (k,), np.asarray(values[..., k]).T


@dataclass(frozen=True)
class ZarrArray:
    """A Zarr array, read by whole chunks."""

    path: Path
    shape: tuple[int, ...]
    dtype: np.dtype[Any]
    chunks: tuple[int, ...]

    def blocks(self) -> Iterator[Block]:
        values = _open_zarr(self.path)
        counts = [math.ceil(n / chunk) for n, chunk in zip(self.shape, self.chunks, strict=True)]
        with _refusing(self.path):
            for number in np.ndindex(*counts):
                index = tuple(
                    slice(k * chunk, min((k + 1) * chunk, n))
                    for k, chunk, n in zip(number, self.chunks, self.shape, strict=True)
                )
                yield index, np.asarray(values[index])


def open_stored(path: Path) -> StoredArray:
    """What a file or a Zarr folder holds.

    Of an .npz or a Zarr group `probabilities`, `softmax` or its only array.

    Raises MissingFileError; UnreadableFileError (cut off, not of its kind, needs pickle, several
    arrays of which none is called so); MissingExtraError without zarr.
    """
    if path.name.endswith(".npz"):
        return _open_npz(path)
    if path.name.endswith(".zarr"):
        values = _open_zarr(path)
        return ZarrArray(path, tuple(values.shape), np.dtype(values.dtype), tuple(values.chunks))
    if path.name.endswith((".nii", ".nii.gz")):
        return _open_nifti(path)
    return HeldArray(files.read_array(path, mmap=True), path)


def read_whole(stored: StoredArray) -> NDArray[Any]:
    """All of it in memory."""
    whole = np.empty(stored.shape, stored.dtype)
    for index, block in stored.blocks():
        whole[index] = block
    return whole


def _open_npz(path: Path) -> NpzMember:
    with _refusing(path), zipfile.ZipFile(path) as archive:
        name = _named([n.removesuffix(".npy") for n in archive.namelist() if n.endswith(".npy")])
        with archive.open(f"{name}.npy") as handle:
            shape, fortran, dtype = _read_header(handle)
    return NpzMember(path, name, shape, dtype, fortran)


def _named(names: Sequence[str]) -> str:
    """Which of several arrays holds the probabilities.  ValueError where none is called so."""
    wanted = [key for key in KEYS if key in names] or (names if len(names) == 1 else [])
    if not wanted:
        raise ValueError(f"the arrays {', '.join(names) or 'none'}, and none {KEYS[0]}")
    return wanted[0]


def _read_header(handle: Any) -> tuple[tuple[int, ...], bool, np.dtype[Any]]:
    version = np.lib.format.read_magic(handle)
    if version == (1, 0):
        shape, fortran, dtype = np.lib.format.read_array_header_1_0(handle)
    elif version == (2, 0):
        shape, fortran, dtype = np.lib.format.read_array_header_2_0(handle)
    else:
        raise ValueError(f"a .npy array of version {version}")
    if dtype.hasobject:
        raise ValueError("an array of objects, which would have to be unpickled")
    return shape, fortran, dtype


def _open_nifti(path: Path) -> NiftiArray:
    import nibabel

    with _refusing(path, also=_nifti_errors()):
        image = nibabel.load(path)
        shape, slope = image.shape, image.dataobj  # type: ignore[attr-defined]
        scaled = (slope.slope, slope.inter) != (1, 0)
        dtype = np.dtype(np.float64) if scaled else np.dtype(slope.dtype)
    header = read_header(path)
    return NiftiArray(path, tuple(shape[::-1]), dtype.newbyteorder("="), header.grid.affine)


def _nifti_errors() -> tuple[type[Exception], ...]:
    from nibabel.filebasedimages import ImageFileError
    from nibabel.spatialimages import HeaderDataError

    return ImageFileError, HeaderDataError


def _open_zarr(path: Path) -> Any:
    try:
        import zarr
    except ImportError as error:
        raise MissingExtraError(
            str(path), expected="the package zarr, to read a Zarr array", got="it is not installed",
            remedy="pip install zarr, or store the array as .npy.",
        ) from error  # fmt: skip
    # of a bad folder zarr raises errors of many kinds
    with _refusing(path, also=(Exception,)):
        stored = zarr.open(str(path), mode="r")
        if isinstance(stored, zarr.Array):
            return stored
        return stored[_named(sorted(stored.array_keys()))]


@contextmanager
def _refusing(path: Path, also: tuple[type[Exception], ...] = ()) -> Iterator[None]:
    """A named error for whatever a library says of a bad file; also: errors of its own."""
    broken = (*_BROKEN, *also)
    try:
        yield
    except UnreadableFileError:
        raise
    except FileNotFoundError as error:
        raise files.missing(path) from error
    except broken as error:
        raise UnreadableFileError(
            str(path), expected="a whole array of numbers", got=str(error) or type(error).__name__,
            remedy="Write it again with numpy.save, numpy.savez_compressed(probabilities=...), "
            "nibabel or zarr.",
        ) from error  # fmt: skip


def _indices(shape: tuple[int, ...], itemsize: int) -> Iterator[Index]:
    """Places of blocks of at most BLOCK_BYTES (one row of the last axis at least), in C order."""
    if not math.prod(shape):
        return
    axis = 0
    while axis < len(shape) - 1 and math.prod(shape[axis + 1 :]) * itemsize > BLOCK_BYTES:
        axis += 1
    if axis == len(shape):
        yield ()
        return
    rows = max(BLOCK_BYTES // (math.prod(shape[axis + 1 :]) * itemsize), 1)
    for outer in np.ndindex(*shape[:axis]):
        for start in range(0, shape[axis], rows):
            yield (*outer, slice(start, min(start + rows, shape[axis])))


def _lengths(index: Index, shape: tuple[int, ...]) -> tuple[int, ...]:
    """Shape of array[index]."""
    cut = [
        part.stop - part.start if isinstance(part, slice) else None
        for part in index
    ]  # fmt: skip
    return (*(length for length in cut if length is not None), *shape[len(index) :])
