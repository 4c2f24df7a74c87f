"""NIfTI-1 and NIfTI-2 in one file, plain or gzip.

nibabel reads the header; the voxels are taken from the bytes behind it, so that a mask is written
with the header and the extensions of the one that it replaces, bit for bit.

- Axes: x, the first of the header, is our last.  Axes beyond the third are channels, the fourth
  fastest.  A header of two axes is a picture; three axes of which one has length 1 are a volume.
- Place: the sform where its code is set, else the qform; neither is set: the file does not know
  its orientation, and the affine is None.  (There nibabel would put the centre of the volume at
  the origin and flip x, ITK would do neither: no two tools agree.)
- Spacing: the header's, where the affine agrees to 0.1 %, else the length of the affine's steps.
  Metres and micrometres become millimetres; an unknown unit is taken for millimetres.
- Values: slope and intercept are applied where they change anything: float32 for integers of up
  to 16 bits and float32, else float64.  In a mask the label is what the stored number stands for:
  tools that fit 0..1 into uint8 store 255 with a slope of 1 / 255.

NIfTI-1 and NIfTI-2 data format, nifti.nimh.nih.gov.
"""

from __future__ import annotations

import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
from nibabel.spatialimages import HeaderDataError
from numpy.typing import NDArray

from maskmend.core import Grid, IntArray
from maskmend.errors import MaskValueError, UnreadableFileError
from maskmend.files import write_bytes_atomic
from maskmend.formats import Header
from maskmend.formats.volumes import (
    GZIP,
    affine_rows,
    check_inflatable,
    check_values,
    deflate,
    ends_of_file,
    inflate,
    largest_of,
    native,
    numbers,
    one_channel,
    read_raw,
    unreadable,
    whole_numbers,
)

KINDS = {348: (nib.Nifti1Header, b"n+1\0"), 540: (nib.Nifti2Header, b"n+2\0")}
"""Size of the header, its first number -> nibabel's class, the magic of a single file."""

FIRST_BYTES = 1 << 14
MILLIMETRES = {"meter": 1000.0, "mm": 1.0, "micron": 0.001, "unknown": 1.0}
COLOURS = 3


@dataclass(frozen=True)
class _Layout:
    """What a header says.  sizes: of each axis in our order, channels first.  slope, inter: None
    where they change nothing.  at: byte of the first voxel.  colours: RGB or RGBA voxels."""

    header: Any
    grid: Grid
    sizes: tuple[int, ...]
    stored: np.dtype[Any]
    slope: float | None
    inter: float
    at: int

    @property
    def colours(self) -> bool:
        return self.stored.names is not None

    @property
    def channels(self) -> int:
        return int(np.prod(self.sizes[: -len(self.grid.shape)])) * (COLOURS if self.colours else 1)

    @property
    def end(self) -> int:
        """Byte behind the last voxel."""
        count = 1
        for size in self.sizes:
            count *= size
        return self.at + count * self.stored.itemsize

    @property
    def dtype(self) -> np.dtype[Any]:
        """Of the numbers that the voxels stand for."""
        if self.colours:
            return np.dtype(np.uint8)
        if self.slope is not None:
            return np.result_type(self.stored.newbyteorder("="), np.float32)
        return self.stored.newbyteorder("=")


def read_header(path: Path) -> Header:
    layout = _layout(path)
    _check_complete(path, layout)
    return Header(layout.grid, layout.channels, layout.dtype)


def read_image(path: Path) -> tuple[NDArray[Any], Grid]:
    layout = _layout(path)
    voxels = _voxels(_bytes(path, layout), layout)
    shape = layout.grid.shape
    if layout.colours:
        planes = [voxels[name].reshape(-1, *shape) for name in "RGB"]
        return np.stack(planes, axis=1).reshape(-1, *shape), layout.grid
    values = native(voxels).reshape(-1, *shape)
    if layout.slope is not None:
        values = values.astype(layout.dtype, copy=False) * layout.dtype.type(layout.slope)
        values += layout.dtype.type(layout.inter)
    return values, layout.grid


def read_mask(path: Path) -> tuple[IntArray, Grid]:
    layout = _layout(path)
    return _labels(_voxels(_bytes(path, layout), layout), layout, path), layout.grid


def largest_value(path: Path) -> int:
    return _largest(_layout(path))


def write_mask(path: Path, values: IntArray, like: Path) -> None:
    """Voxels whose value is the old one keep their bytes, all others take the value's.

    Raises GridMismatchError, and MaskValueError where the slope of `like` cannot give a value.
    """
    layout = _layout(like)
    data = _bytes(like, layout)
    voxels = _voxels(data, layout)
    old = _labels(voxels, layout, like)
    check_values(values, old, _largest(layout), path)
    changed = values != old
    if changed.any():
        new = _encoded(values[changed], layout, path)
        voxels.reshape(old.shape)[changed] = new
        # where the voxels are not aligned in the file, they are a copy
        data[layout.at : layout.end] = voxels.reshape(-1).view(np.uint8)
    write_bytes_atomic(path, deflate(data.data, GZIP) if _is_gzip(like) else data.tobytes())


def _is_gzip(path: Path) -> bool:
    return path.name.lower().endswith(".gz")


def _layout(path: Path) -> _Layout:
    """Raises MissingFileError, UnreadableFileError."""
    first, _, size = ends_of_file(path, FIRST_BYTES)
    if _is_gzip(path):
        try:
            first = zlib.decompressobj(GZIP).decompress(first, FIRST_BYTES)
        except zlib.error as error:
            raise unreadable(path, "a gzip file", str(error)) from error
    header = _parse(path, first, size)
    sizes = _sizes(header, path)
    stored = _stored_dtype(header, path)
    at = float(header["vox_offset"])
    if not (np.isfinite(at) and at >= len(header.binaryblock) and at == int(at)):
        raise unreadable(path, "voxels behind the header", f"voxels from byte {at}")
    slope, inter = _scaling(header, stored, path)
    axes = max(min(int(header["dim"][0]), 3), 2)
    grid = _grid(header, sizes[len(sizes) - axes :], path)
    return _Layout(header, grid, sizes, stored, slope, inter, int(at))


def _parse(path: Path, first: bytes, size: int) -> Any:
    for order in ("<", ">"):
        number = int(np.frombuffer(first[:4].ljust(4, b"\0"), order + "i4")[0])
        if number in KINDS and len(first) >= number:
            kind, magic = KINDS[number]
            # nibabel's own checks would write to a log, and mend what they can without asking
            header = kind(first[:number], endianness=order, check=False)
            if header["magic"].tobytes() == magic:
                return header
    raise unreadable(
        path, "a NIfTI header with its voxels in the same file", f"{size} bytes of another kind"
    )


def _sizes(header: Any, path: Path) -> tuple[int, ...]:
    axes = int(header["dim"][0])
    sizes = tuple(int(size) for size in header["dim"][1 : axes + 1][::-1]) if axes <= 7 else ()
    if len(sizes) < 2 or min(sizes) < 1:
        raise unreadable(path, "2 to 7 axes of positive length", f"dim = {header['dim'].tolist()}")
    return sizes


def _stored_dtype(header: Any, path: Path) -> np.dtype[Any]:
    try:
        dtype: np.dtype[Any] = header.get_data_dtype()
    except (HeaderDataError, KeyError) as error:
        raise unreadable(
            path, "a type of voxels that NIfTI knows", f"datatype {int(header['datatype'])}"
        ) from error
    floats = dtype.kind == "f" and dtype.itemsize in (4, 8)
    if dtype.kind not in "ui" and dtype.names is None and not floats:
        raise unreadable(
            path, "integers, floats of 32 or 64 bits, or colours", f"voxels of {dtype}"
        )
    if dtype.itemsize * 8 != int(header["bitpix"]):
        raise unreadable(
            path, f"{dtype.itemsize * 8} bits a voxel of {dtype}", f"bitpix = {header['bitpix']}"
        )
    return dtype


def _scaling(header: Any, stored: np.dtype[Any], path: Path) -> tuple[float | None, float]:
    slope, inter = float(header["scl_slope"]), float(header["scl_inter"])
    # 0 and NaN stand for no slope; colours have none (NIfTI-1, "data scaling")
    if slope == 0 or np.isnan(slope) or (slope, inter) == (1, 0) or stored.names:
        return None, 0.0
    if not (np.isfinite(slope) and np.isfinite(inter)):
        raise unreadable(path, "a finite slope and intercept", f"{slope} and {inter}")
    return slope, inter


def _grid(header: Any, shape: tuple[int, ...], path: Path) -> Grid:
    unit = MILLIMETRES.get(str(header.get_xyzt_units()[0]), 1.0)
    zooms = np.abs(np.asarray(header["pixdim"][1 : len(shape) + 1], np.float64)[::-1]) * unit
    known = bool(np.isfinite(zooms).all() and (zooms > 0).all())
    matrix = _matrix(header, path) if len(shape) == 3 else None
    if matrix is None:
        return Grid(shape, tuple(zooms.tolist()) if known else None)
    matrix[:3] *= unit
    rows = affine_rows(matrix, path)
    steps = np.linalg.norm(matrix[:3, :3], axis=0)
    if not known or (np.abs(zooms - steps) > 1e-3 * steps).any():
        zooms = steps
    return Grid(shape, tuple(zooms.tolist()), rows)


def _matrix(header: Any, path: Path) -> NDArray[np.float64] | None:
    """(4, 4) that takes (z, y, x, 1) to the header's unit; None where the file does not know."""
    try:
        if int(header["sform_code"]) > 0:
            matrix = header.get_sform()
        elif int(header["qform_code"]) > 0:
            matrix = header.get_qform()
        else:
            return None
    except (HeaderDataError, ValueError) as error:
        raise UnreadableFileError(
            str(path),
            expected="a rotation in the header",
            got=str(error),
            remedy="Correct the orientation in the header, as from the original scan.",
        ) from error
    reordered: NDArray[np.float64] = np.asarray(matrix, np.float64)[:, [2, 1, 0, 3]]
    return reordered


def _check_complete(path: Path, layout: _Layout) -> None:
    """Raises UnreadableFileError unless the file holds every voxel."""
    _, last, size = ends_of_file(path, 0)
    if not _is_gzip(path):
        if size < layout.end:
            raise _too_short(path, layout, f"a file of {size} bytes")
        return
    check_inflatable(path, size, layout.end)
    # gzip ends with the length of what it holds, modulo 4 GB; anything else stands there where it
    # was cut, or has several members, which only inflating can tell apart
    if int.from_bytes(last, "little") != layout.end % 2**32:
        _bytes(path, layout)


def _bytes(path: Path, layout: _Layout) -> NDArray[np.uint8]:
    """The whole file, inflated, as an array that may be written to."""
    raw = read_raw(path)
    if _is_gzip(path):
        return inflate(path, raw.data, layout.end, GZIP)
    if len(raw) < layout.end:
        raise _too_short(path, layout, f"a file of {len(raw)} bytes")
    return raw


def _too_short(path: Path, layout: _Layout, got: str) -> UnreadableFileError:
    return unreadable(
        path,
        f"{layout.end} bytes, for the header and {layout.sizes[::-1]} voxels of {layout.stored}",
        got,
    )


def _voxels(data: NDArray[np.uint8], layout: _Layout) -> NDArray[Any]:
    """As stored, channels first; a view of `data` where it is aligned."""
    return numbers(data, layout.at, layout.stored, layout.sizes)


def _labels(voxels: NDArray[Any], layout: _Layout, path: Path) -> IntArray:
    """(*S,) integers that the voxels stand for."""
    if layout.colours:
        raise MaskValueError(
            str(path),
            expected="a mask with one number a voxel",
            got="colours, RGB",
            remedy="Save one integer a class.",
        )
    stored = one_channel(voxels.reshape(-1, *layout.grid.shape), path)
    if layout.slope is None:
        return whole_numbers(native(stored), path)
    scaled = stored * np.float64(layout.slope) + layout.inter
    nearest = np.rint(scaled)
    # the slope is mostly a float32: 255 times its 1 / 255 is not quite 1
    close = np.abs(scaled - nearest) <= 2.0**-20 * np.maximum(1, np.abs(scaled))
    return whole_numbers(np.where(close, nearest, scaled), path)


def _encoded(values: IntArray, layout: _Layout, path: Path) -> NDArray[Any]:
    """The stored numbers for labels."""
    if layout.slope is None:
        return values.astype(layout.stored)
    stored = (values - layout.inter) / layout.slope
    stored = stored if layout.stored.kind == "f" else np.rint(stored)
    lost = np.rint(stored * layout.slope + layout.inter) != values
    if layout.stored.kind in "ui":
        limits = np.iinfo(layout.stored)
        lost |= (stored < limits.min) | (stored > limits.max)
        lost |= np.abs(stored * layout.slope + layout.inter - values) > 2.0**-20 * np.maximum(
            1, np.abs(values)
        )
    if lost.any():
        raise MaskValueError(
            str(path),
            expected=f"values that {layout.stored} with the slope {layout.slope:g} and the "
            f"intercept {layout.inter:g} of the mask that is replaced can hold",
            got=f"{int(lost.sum())} voxels, such as {values[lost][0]}",
            remedy="Save the source masks without slope and intercept.",
        )
    return stored.astype(layout.stored)


def _largest(layout: _Layout) -> int:
    if layout.colours:
        return 255
    if layout.slope is None:
        return largest_of(layout.stored)
    if layout.stored.kind == "f":
        return largest_of(layout.stored)
    limits = np.iinfo(layout.stored)
    ends = [end * layout.slope + layout.inter for end in (limits.min, limits.max)]
    return min(int(max(ends) + 2.0**-10), 2**31 - 1)
