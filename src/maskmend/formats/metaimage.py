"""MetaImage: a header of text and the numbers, in one file (`.mha`) or two (`.mhd`).

SimpleITK reads the geometry; the numbers are taken from the bytes, so that a file that was cut is
noticed, and a mask is written with the text of the header that it replaces: every field stays,
only the number of compressed bytes changes.

- Axes: the first of the header, the fastest, is our last.  The channels of an element, and the
  fourth axis, are channels.
- Place: always known; what a header leaves out is 0 for the offset, the axes of the scanner for the
  directions and 1 for the spacing, as ITK takes it.  LPS becomes RAS+.

MetaIO documentation, itk.org/Wiki/ITK/MetaIO/Documentation.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from maskmend.core import Grid, IntArray
from maskmend.errors import MissingExtraError, UnreadableFileError
from maskmend.files import write_bytes_atomic
from maskmend.formats import Header
from maskmend.formats.volumes import (
    RIGHT_TO_LEFT,
    ZLIB,
    affine_of_axes,
    affine_rows,
    beside,
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

TYPES = {
    "MET_CHAR": "i1", "MET_UCHAR": "u1", "MET_SHORT": "i2", "MET_USHORT": "u2",
    "MET_INT": "i4", "MET_UINT": "u4", "MET_LONG": "i4", "MET_ULONG": "u4",
    "MET_LONG_LONG": "i8", "MET_ULONG_LONG": "u8", "MET_FLOAT": "f4", "MET_DOUBLE": "f8",
}  # fmt: skip
"""MetaIO's name -> NumPy's; a "long" has 32 bits in every MetaImage."""

GEOMETRY = {
    "Offset", "Position", "Origin", "TransformMatrix", "Rotation", "Orientation",
    "ElementSpacing", "ElementSize",
}  # fmt: skip
LARGEST_HEADER = 1 << 20


@dataclass(frozen=True)
class _File:
    """What a header says.  lines: its text, line ends kept.  sizes: of the spatial axes and the
    fourth, in our order.  per_voxel: numbers in an element.  data: the file with the numbers.
    head: bytes in it before them.
    """

    path: Path
    lines: tuple[str, ...]
    stored: np.dtype[Any]
    sizes: tuple[int, ...]
    per_voxel: int
    grid: Grid
    data: Path
    head: int
    compressed: bool

    @property
    def shape(self) -> tuple[int, ...]:
        """Of the array in the file, slowest axis first."""
        return (*self.sizes, self.per_voxel)

    @property
    def byte_count(self) -> int:
        count = self.stored.itemsize
        for size in self.shape:
            count *= size
        return count


def read_header(path: Path) -> Header:
    file = _parse(path)
    if file.compressed:
        # a zlib stream does not say how long it is: only inflating shows that it is whole
        _numbers(file)
    else:
        _check_raw(file, ends_of_file(file.data, 0)[2])
    volumes = 1
    for size in file.sizes[: -len(file.grid.shape)]:
        volumes *= size
    return Header(file.grid, volumes * file.per_voxel, file.stored.newbyteorder("="))


def read_image(path: Path) -> tuple[NDArray[Any], Grid]:
    file = _parse(path)
    return np.ascontiguousarray(_channels_first(file, native(_numbers(file)))), file.grid


def read_mask(path: Path) -> tuple[IntArray, Grid]:
    file = _parse(path)
    return _labels(file, _numbers(file)), file.grid


def largest_value(path: Path) -> int:
    return largest_of(_parse(path).stored)


def write_mask(path: Path, values: IntArray, like: Path) -> None:
    file = _parse(like)
    stored = _numbers(file)
    old = _labels(file, stored)
    check_values(values, old, largest_of(file.stored), path)
    changed = values != old
    stored.reshape(old.shape)[changed] = values[changed]
    body = deflate(stored.tobytes(), ZLIB) if file.compressed else stored.tobytes()
    name = beside(path, like, file.data)
    lines = _edited(file, len(body), name)
    if file.data == like:
        write_bytes_atomic(path, lines + body)
        return
    write_bytes_atomic(path.parent / name, read_raw(file.data)[: file.head].tobytes() + body)
    write_bytes_atomic(path, lines)


def parts(path: Path) -> tuple[Path, ...]:
    """The header, and the file with the numbers where that is another one."""
    file = _parse(path)
    return (path,) if file.data == path else (path, file.data)


def _edited(file: _File, compressed: int, name: str) -> bytes:
    """The header with the new number of compressed bytes, and the name of the numbers."""
    text = []
    for line in file.lines:
        field, _, value = line.partition("=")
        end = line[len(line.rstrip()) :]
        if field.strip() == "CompressedDataSize":
            line = f"{field}= {compressed}{end}"
        elif field.strip() == "ElementDataFile" and file.data != file.path:
            line = line if value.strip() == name else f"{field}= {name}{end}"
        text.append(line)
    return "".join(text).encode("utf-8", "surrogateescape")


def _parse(path: Path) -> _File:
    """Raises MissingFileError, UnreadableFileError, MissingExtraError (no SimpleITK)."""
    lines, at = _header_lines(path)
    fields = {
        field.strip(): value.strip() for field, _, value in (line.partition("=") for line in lines)
    }
    reference = fields.get("ElementDataFile", "")
    if reference in ("", "LIST") or "%" in reference:
        raise unreadable(path, "all numbers in one file", f"ElementDataFile = {reference}")
    stored = _stored_dtype(path, fields)
    _check_geometry(path, fields)
    local = reference.upper() == "LOCAL"
    sizes, per_voxel = _sizes(path, fields)
    data = path if local else path.parent / reference
    file = _File(
        path, lines, stored, sizes, per_voxel, _grid(path, sizes), data, at if local else 0,
        _flag(fields, "CompressedData"),
    )  # fmt: skip
    return _after_skip(file, fields)


def _header_lines(path: Path) -> tuple[tuple[str, ...], int]:
    first, _, size = ends_of_file(path, LARGEST_HEADER)
    lines, at = [], 0
    for line in first.splitlines(keepends=True):
        lines.append(line.decode("utf-8", "surrogateescape"))
        at += len(line)
        if b"=" not in line:
            break
        if line.partition(b"=")[0].strip() == b"ElementDataFile":
            return tuple(lines), at
    raise unreadable(
        path, "a MetaImage header that ends with ElementDataFile", f"{size} bytes without one"
    )


def _flag(fields: Mapping[str, str], *names: str) -> bool:
    return any(fields.get(name, "").lower() in ("true", "1") for name in names)


def _stored_dtype(path: Path, fields: Mapping[str, str]) -> np.dtype[Any]:
    if not _flag({"BinaryData": "True"} | dict(fields), "BinaryData"):
        raise unreadable(path, "binary numbers", "BinaryData = False")
    name = fields.get("ElementType", "")
    if name not in TYPES:
        raise unreadable(path, f"one of {', '.join(TYPES)}", f"ElementType = {name}")
    big = _flag(fields, "BinaryDataByteOrderMSB", "ElementByteOrderMSB")
    return np.dtype(TYPES[name]).newbyteorder(">" if big else "<")


def _sizes(path: Path, fields: Mapping[str, str]) -> tuple[tuple[int, ...], int]:
    """(sizes of the axes, slowest first; numbers in an element)."""
    try:
        sizes = tuple(int(size) for size in fields.get("DimSize", "").split())[::-1]
        per_voxel = int(fields.get("ElementNumberOfChannels", "1"))
    except ValueError as error:
        raise unreadable(path, "whole numbers in DimSize", str(error)) from error
    whole = len(sizes) in (2, 3, 4) and str(len(sizes)) == fields.get("NDims")
    if not whole or min(*sizes, per_voxel) < 1:
        raise unreadable(
            path,
            "2 to 4 axes of positive length",
            f"NDims = {fields.get('NDims')}, DimSize = {fields.get('DimSize')}",
        )
    return sizes, per_voxel


def _check_geometry(path: Path, fields: Mapping[str, str]) -> None:
    """Raises UnreadableFileError where ITK would take something for 0 that is no number."""
    for name in sorted(GEOMETRY & fields.keys()):
        try:
            finite = bool(np.isfinite([float(word) for word in fields[name].split()]).all())
        except ValueError:
            finite = False
        if not finite:
            raise UnreadableFileError(
                str(path),
                expected="a finite affine in the header",
                got=f"{name} = {fields[name]}",
                remedy="Correct the orientation in the header, as from the original scan.",
            )


def _grid(path: Path, sizes: tuple[int, ...]) -> Grid:
    try:
        import SimpleITK
    except ImportError as error:
        raise MissingExtraError(
            str(path), expected="SimpleITK to read MetaImage", got="it is not installed",
            remedy="pip install 'maskmend[io]'",
        ) from error  # fmt: skip
    reader = SimpleITK.ImageFileReader()
    reader.SetImageIO("MetaImageIO")
    reader.SetFileName(str(path))
    try:
        reader.ReadImageInformation()
    except RuntimeError as error:
        why = str(error).strip().splitlines()[-1]
        raise unreadable(path, "a MetaImage header that ITK reads", why) from error
    if tuple(reader.GetSize()) != sizes[::-1]:
        raise unreadable(path, f"the axes {sizes[::-1]}", f"{reader.GetSize()} as ITK reads them")
    spacing = np.array(reader.GetSpacing())
    axes = len(sizes)
    space = min(axes, 3)
    lengths = tuple(spacing[:space][::-1].tolist())
    if space == 2:
        return Grid(sizes, lengths)
    directions = np.array(reader.GetDirection()).reshape(axes, axes)[:3, :3]
    steps = [directions[:, axis] * spacing[axis] for axis in (2, 1, 0)]
    matrix = RIGHT_TO_LEFT @ affine_of_axes(steps, np.array(reader.GetOrigin())[:3])
    return Grid(sizes[-3:], lengths, affine_rows(matrix, path))


def _after_skip(file: _File, fields: Mapping[str, str]) -> _File:
    """With the bytes that HeaderSize leaves out; -1: all but the last ones."""
    try:
        skip = int(fields.get("HeaderSize", "0"))
    except ValueError as error:
        raise unreadable(file.path, "a whole number", f"HeaderSize: {error}") from error
    if skip == 0 or file.data == file.path:
        return file
    size = ends_of_file(file.data, 0)[2]
    head = size - file.byte_count if skip == -1 and not file.compressed else max(skip, 0)
    return replace(file, head=head)


def _check_raw(file: _File, size: int) -> None:
    if not 0 <= file.head <= size - file.byte_count:
        raise unreadable(
            file.path,
            f"{file.byte_count} bytes for {file.shape[::-1]} numbers of {file.stored}"
            f" in {file.data.name}",
            f"a file of {size} bytes, the numbers from byte {file.head}",
        )


def _numbers(file: _File) -> NDArray[Any]:
    """The numbers as stored, on the axes of the file; they may be written to."""
    raw = read_raw(file.data)
    if file.compressed:
        whole = inflate(file.path, raw[file.head :].data, file.byte_count, ZLIB)
        return numbers(whole, 0, file.stored, file.shape)
    _check_raw(file, len(raw))
    return numbers(raw, file.head, file.stored, file.shape)


def _channels_first(file: _File, stored: NDArray[Any]) -> NDArray[Any]:
    """(C, *S): the numbers of an element, and those of each volume."""
    space = len(file.grid.shape)
    return np.moveaxis(stored, -1, -1 - space).reshape(-1, *file.grid.shape)


def _labels(file: _File, stored: NDArray[Any]) -> IntArray:
    return whole_numbers(native(one_channel(_channels_first(file, stored), file.path)), file.path)
