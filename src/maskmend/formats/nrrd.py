"""NRRD: a header of text and the numbers, in one file (`.nrrd`) or two (`.nhdr`).

pynrrd reads the header; the numbers are decoded here, so that a file that was cut is noticed, and
a mask is written with the text of the header that it replaces, bit for bit.

- Axes: the first of the header, the fastest, is our last.  An axis that is no place (a kind such
  as "vector" or "list", or "none" among the space directions) holds channels.
- Place: LPS, RAS and LAS become RAS+; a missing space origin is zero.  Any other space, or none,
  is not known: then the affine is None and the spacing is the length of the directions, or the
  spacings.

Teem, Definition of NRRD File Format, teem.sourceforge.net/nrrd/format.html.
"""

from __future__ import annotations

import bz2
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from maskmend.core import Grid, IntArray
from maskmend.errors import MissingExtraError
from maskmend.files import read_bytes, write_bytes_atomic
from maskmend.formats import Header
from maskmend.formats.volumes import (
    GZIP,
    affine_of_axes,
    affine_rows,
    beside,
    check_inflatable,
    check_values,
    deflate,
    ends_of_file,
    inflate,
    inflate_bzip2,
    largest_of,
    native,
    numbers,
    one_channel,
    read_raw,
    unreadable,
    whole_numbers,
)

TYPES = {
    "i1": ("signed char", "int8", "int8_t"),
    "u1": ("uchar", "unsigned char", "uint8", "uint8_t"),
    "i2": ("short", "short int", "signed short", "signed short int", "int16", "int16_t"),
    "u2": ("ushort", "unsigned short", "unsigned short int", "uint16", "uint16_t"),
    "i4": ("int", "signed int", "int32", "int32_t"),
    "u4": ("uint", "unsigned int", "uint32", "uint32_t"),
    "i8": ("longlong", "long long", "long long int", "signed long long", "signed long long int",
           "int64", "int64_t"),
    "u8": ("ulonglong", "unsigned long long", "unsigned long long int", "uint64", "uint64_t"),
    "f4": ("float",),
    "f8": ("double",),
}  # fmt: skip
"""NumPy's name -> the specification's; "block" has no numbers."""

TO_RAS = {
    "right-anterior-superior": (1, 1, 1), "RAS": (1, 1, 1),
    "left-anterior-superior": (-1, 1, 1), "LAS": (-1, 1, 1),
    "left-posterior-superior": (-1, -1, 1), "LPS": (-1, -1, 1),
}  # fmt: skip

ENCODINGS = {"raw": "raw", "gzip": "gzip", "gz": "gzip", "bzip2": "bzip2", "bz2": "bzip2"} | {
    name: "ascii" for name in ("ascii", "text", "txt")
}
PLACES = {"domain", "space"}
"""Kinds of an axis that is a place."""


@dataclass(frozen=True)
class NrrdFile:
    """What a header says.  lines: its text, line ends kept.  sizes: of each axis in our order.
    channels: those of our axes that are no places.  data: the file with the numbers.  head: bytes
    in it before them (of an encoding that is not compressed: those that are skipped, too).
    skip: bytes to skip once they are inflated; -1: all but the last ones.
    """

    path: Path
    lines: tuple[str, ...]
    fields: Mapping[str, Any]
    stored: np.dtype[Any]
    encoding: str
    sizes: tuple[int, ...]
    channels: tuple[int, ...]
    grid: Grid
    data: Path
    head: int
    skip: int

    @property
    def byte_count(self) -> int:
        """Of the numbers."""
        count = self.stored.itemsize
        for size in self.sizes:
            count *= size
        return count

    @property
    def detached(self) -> bool:
        return self.data != self.path


def read_header(path: Path) -> Header:
    file = parse(path)
    check_complete(file)
    channels = 1
    for axis in file.channels:
        channels *= file.sizes[axis]
    return Header(file.grid, channels, file.stored.newbyteorder("="))


def read_image(path: Path) -> tuple[NDArray[Any], Grid]:
    file = parse(path)
    return np.ascontiguousarray(channels_first(file, native(read_numbers(file)))), file.grid


def read_mask(path: Path) -> tuple[IntArray, Grid]:
    file = parse(path)
    return _labels(file, read_numbers(file)), file.grid


def largest_value(path: Path) -> int:
    return largest_of(parse(path).stored)


def write_mask(path: Path, values: IntArray, like: Path) -> None:
    file = parse(like)
    stored = read_numbers(file)
    old = _labels(file, stored)
    check_values(values, old, largest_of(file.stored), path)
    changed = values != old
    stored.reshape(old.shape)[changed] = values[changed]
    write_numbers(path, stored, file, file.lines)


def parts(path: Path) -> tuple[Path, ...]:
    """The header, and the file with the numbers where that is another one."""
    file = parse(path)
    return (path, file.data) if file.detached else (path,)


def parse(path: Path) -> NrrdFile:
    """Raises MissingFileError, UnreadableFileError, MissingExtraError (no pynrrd)."""
    lines, at = _header_lines(path)
    fields = _fields(path, lines)
    sizes = tuple(int(size) for size in fields["sizes"][::-1])
    encoding = ENCODINGS.get(str(fields["encoding"]).lower())
    if encoding is None:
        raise unreadable(path, "raw, gzip, bzip2 or ascii numbers", str(fields["encoding"]))
    stored = _stored_dtype(path, fields, encoding)
    reference = fields.get("data file", fields.get("datafile"))
    if reference is not None and (str(reference).startswith("LIST") or "%" in str(reference)):
        raise unreadable(path, "all numbers in one file", f"data file: {reference}")
    data = path if reference is None else path.parent / str(reference)
    channels = tuple(len(sizes) - 1 - axis for axis in _no_places(path, fields))[::-1]
    shape = tuple(size for axis, size in enumerate(sizes) if axis not in channels)
    if min(sizes) < 1 or len(shape) not in (2, 3):
        raise unreadable(
            path, "2 or 3 spatial axes of positive length", f"sizes {sizes[::-1]}, kinds "
            f"{fields.get('kinds', 'not stated')}",
        )  # fmt: skip
    file = NrrdFile(
        path, lines, fields, stored, encoding, sizes, channels,
        _grid(path, fields, shape), data, at if reference is None else 0, 0,
    )  # fmt: skip
    return _after_skips(file)


def _header_lines(path: Path) -> tuple[tuple[str, ...], int]:
    """(lines with their ends, up to and with the blank one; bytes that they take)."""
    count = 1 << 16
    while True:
        first, _, size = ends_of_file(path, count)
        lines, at = [], 0
        for line in first.splitlines(keepends=True):
            # not UTF-8: kept as it is, and written back so
            lines.append(line.decode("utf-8", "surrogateescape"))
            at += len(line)
            # at the very end of what was read, the second half of a line end may be missing
            if not line.strip() and (at < count or count >= size):
                return tuple(lines), at
        if count >= size:
            # a detached header may end with the file
            return tuple(lines), at
        count *= 16


def _fields(path: Path, lines: Sequence[str]) -> dict[str, Any]:
    try:
        import nrrd
        from nrrd.errors import NRRDError
    except ImportError as error:
        raise MissingExtraError(
            str(path), expected="pynrrd to read NRRD", got="it is not installed",
            remedy="pip install 'maskmend[io]'",
        ) from error  # fmt: skip
    # pynrrd reads lines of text as they are, where it would drop what is not ASCII from bytes
    text = [line.rstrip("\r\n") for line in lines]
    try:
        fields = dict(nrrd.read_header(text))
        missing = {"dimension", "type", "encoding", "sizes"} - fields.keys()
        if missing:
            raise ValueError(f"no {', '.join(sorted(missing))}")
        if len(fields["sizes"]) != fields["dimension"]:
            raise ValueError(f"{len(fields['sizes'])} sizes of {fields['dimension']} axes")
    except (NRRDError, ValueError, IndexError, KeyError, StopIteration) as error:
        raise unreadable(path, "a NRRD header", str(error) or "an empty file") from error
    return fields


def _stored_dtype(path: Path, fields: Mapping[str, Any], encoding: str) -> np.dtype[Any]:
    name = next((n for n, names in TYPES.items() if fields["type"] in names), None)
    if name is None:
        raise unreadable(path, "integers or floats", f"the type {fields['type']!r}")
    dtype = np.dtype(name)
    if dtype.itemsize == 1 or encoding == "ascii":
        return dtype
    endian = fields.get("endian")
    if endian not in ("little", "big"):
        raise unreadable(path, "endian: little, or big", f"{endian!r}")
    return dtype.newbyteorder("<" if endian == "little" else ">")


def _no_places(path: Path, fields: Mapping[str, Any]) -> list[int]:
    """The header's axes that are no places, its first axis being 0."""
    count = int(fields["dimension"])
    kinds = fields.get("kinds")
    directions = fields.get("space directions")
    if directions is not None:
        if len(directions) != count:
            raise unreadable(path, f"{count} space directions", f"{len(directions)}")
        return [axis for axis, step in enumerate(directions) if _is_none(step)]
    if kinds is not None and len(kinds) == count and "???" not in kinds:
        return [axis for axis, kind in enumerate(kinds) if kind.lower() not in PLACES]
    spacings = fields.get("spacings", ())
    return [axis for axis, step in enumerate(spacings) if np.isnan(step)]


def _is_none(step: NDArray[np.float64] | None) -> bool:
    """Whether a direction is the header's "none": NaN, or None from pynrrd's next version on."""
    return step is None or bool(np.isnan(step).all())


def _grid(path: Path, fields: Mapping[str, Any], shape: tuple[int, ...]) -> Grid:
    directions = fields.get("space directions")
    if directions is None:
        spacings = np.abs(np.asarray(fields.get("spacings", ()), np.float64))
        spacings = spacings[~np.isnan(spacings)][::-1]
        known = len(spacings) == len(shape) and bool((spacings > 0).all())
        return Grid(shape, tuple(spacings.tolist()) if known else None)
    # a step, (3,), along each of our axes
    steps = np.asarray([step for step in directions if not _is_none(step)], np.float64)[::-1]
    lengths = np.linalg.norm(steps, axis=1)
    signs = TO_RAS.get(str(fields.get("space", "")))
    if signs is None or len(shape) != 3:
        known = bool(np.isfinite(lengths).all() and (lengths > 0).all())
        return Grid(shape, tuple(lengths.tolist()) if known else None)
    origin = np.asarray(fields.get("space origin", np.zeros(3)), np.float64)
    if steps.shape != (3, 3) or origin.shape != (3,):
        raise unreadable(
            path, "space directions and an origin of three numbers", f"{directions}, {origin}"
        )
    rows = affine_rows(affine_of_axes(list(steps * signs), origin * signs), path)
    return Grid(shape, tuple(lengths.tolist()), rows)


def _after_skips(file: NrrdFile) -> NrrdFile:
    """The file with what "line skip" and "byte skip" leave out."""
    fields = file.fields
    line_skip = int(fields.get("line skip", fields.get("lineskip", 0)))
    byte_skip = int(fields.get("byte skip", fields.get("byteskip", 0)))
    if line_skip < 0 or byte_skip < -1:
        raise unreadable(file.path, "skips of no less than 0", f"{line_skip}, {byte_skip}")
    head, skip = file.head, byte_skip
    if line_skip:
        rest = read_bytes(file.data)[head:].splitlines(keepends=True)
        head += sum(len(line) for line in rest[:line_skip])
    if file.encoding in ("raw", "ascii"):
        size = ends_of_file(file.data, 0)[2]
        head = (
            size - file.byte_count
            if byte_skip == -1 and file.encoding == "raw"
            else head + max(byte_skip, 0)
        )
        skip = 0
    return replace(file, head=head, skip=skip)


def check_complete(file: NrrdFile) -> None:
    """Raises UnreadableFileError unless the file holds every number."""
    _, last, size = ends_of_file(file.data, 0)
    if file.encoding == "raw":
        _check_raw(file, size)
        return
    if file.encoding == "gzip":
        check_inflatable(file.path, size - file.head, file.byte_count)
        # gzip ends with the length of what it holds, modulo 4 GB
        if int.from_bytes(last, "little") == (file.byte_count + max(file.skip, 0)) % 2**32:
            return
    read_numbers(file)


def _check_raw(file: NrrdFile, size: int) -> None:
    if not 0 <= file.head <= size - file.byte_count:
        raise unreadable(
            file.path,
            f"{file.byte_count} bytes for {file.sizes[::-1]} numbers of {file.stored}"
            f" in {file.data.name}",
            f"a file of {size} bytes, the numbers from byte {file.head}",
        )


def read_numbers(file: NrrdFile) -> NDArray[Any]:
    """The numbers as stored, on the axes of the file, slowest first; they may be written to."""
    data, at = _inflated(file)
    return numbers(data, at, file.stored, file.sizes)


def _inflated(file: NrrdFile) -> tuple[NDArray[np.uint8], int]:
    """(all bytes behind the head, inflated; where in them the numbers begin)."""
    raw = read_raw(file.data)
    if file.encoding == "raw":
        _check_raw(file, len(raw))
        return raw[file.head :], 0
    if file.encoding == "ascii":
        return _from_text(file, raw[file.head :].tobytes()).view(np.uint8), 0
    size = file.byte_count + max(file.skip, 0)
    body = raw[file.head :].data
    if file.encoding == "gzip":
        whole = inflate(file.path, body, size, GZIP)
    else:
        whole = inflate_bzip2(file.path, body, size)
    return whole, len(whole) - file.byte_count if file.skip < 0 else file.skip


def _from_text(file: NrrdFile, text: bytes) -> NDArray[Any]:
    """Raises UnreadableFileError; only a line end shows that the last number was not cut."""
    words = text.replace(b",", b" ").split()
    count = file.byte_count // file.stored.itemsize
    try:
        if len(words) != count:
            raise ValueError(f"{len(words)} numbers")
        if not text[-1:].isspace():
            raise ValueError("no line end behind the last number, which may be cut off")
        kind = int if file.stored.kind in "ui" else float
        found: NDArray[Any] = np.array([kind(word) for word in words], file.stored)
    except (ValueError, OverflowError) as error:
        raise unreadable(
            file.path, f"{count} numbers of {file.stored} as text", str(error)
        ) from error
    return found


def channels_first(file: NrrdFile, stored: NDArray[Any]) -> NDArray[Any]:
    """(C, *S) of an array on the axes of the file."""
    moved = np.moveaxis(stored, file.channels, range(len(file.channels)))
    return moved.reshape(-1, *file.grid.shape)


def _labels(file: NrrdFile, stored: NDArray[Any]) -> IntArray:
    return whole_numbers(native(one_channel(channels_first(file, stored), file.path)), file.path)


def write_numbers(path: Path, stored: NDArray[Any], like: NrrdFile, lines: Sequence[str]) -> None:
    """Numbers on the axes of the file, in the encoding of `like`, behind a header's lines.

    The file with the numbers of a detached header stands beside the header.
    """
    body = _encoded(stored, like)
    if not like.detached:
        write_bytes_atomic(path, _joined(lines) + body)
        return
    name, text = beside(path, like.path, like.data), list(lines)
    for number, line in enumerate(lines):
        field, _, reference = line.partition(":")
        if field.lower() in ("data file", "datafile") and reference.strip() != name:
            text[number] = f"{field}: {name}{line[len(line.rstrip()) :]}"
    write_bytes_atomic(path.parent / name, body)
    write_bytes_atomic(path, _joined(text))


def _joined(lines: Sequence[str]) -> bytes:
    return "".join(lines).encode("utf-8", "surrogateescape")


def _encoded(stored: NDArray[Any], like: NrrdFile) -> bytes:
    """What stands behind the header, skipped bytes included."""
    if like.encoding == "ascii":
        text = "\n".join(repr(number) for number in stored.reshape(-1).tolist())
        return read_bytes(like.data)[_body(like) : like.head] + text.encode() + b"\n"
    if like.encoding == "raw":
        source = read_bytes(like.data)
        return (
            source[_body(like) : like.head]
            + stored.tobytes()
            + source[like.head + like.byte_count :]
        )
    whole, at = _inflated(like)
    data = whole[:at].tobytes() + stored.tobytes() + whole[at + like.byte_count :].tobytes()
    head = read_bytes(like.data)[_body(like) : like.head]
    return head + (deflate(data, GZIP) if like.encoding == "gzip" else bz2.compress(data))


def _body(like: NrrdFile) -> int:
    """Byte of the data file behind the header."""
    return 0 if like.detached else len(_joined(like.lines))
