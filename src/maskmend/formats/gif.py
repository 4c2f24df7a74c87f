"""GIF with one picture: the SCR masks of the JSRT radiographs come in it.

Pillow decodes.  A mask is written with every byte of the one that it replaces but those of the
pixels: colour tables, comments and transparency stay, the compressed pixels are Pillow's.
CompuServe, Graphics Interchange Format, version 89a.
"""

from __future__ import annotations

from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from maskmend.core import Grid, IntArray
from maskmend.files import read_bytes, write_bytes_atomic
from maskmend.formats import Header
from maskmend.formats.pictures import (
    Picture,
    check_fits,
    decode,
    header_of,
    image_channels,
    mask_values,
    unreadable,
)

EXTENSION, PICTURE, TRAILER = 0x21, 0x2C, 0x3B


@dataclass(frozen=True)
class _Frame:
    """Where the compressed pixels stand: bytes start..end.  colours: length of the table that
    they index."""

    start: int
    end: int
    colours: int
    interlaced: bool


def read_header(path: Path) -> Header:
    # only decoding shows that the pixels are all there
    return header_of(_decode(path)[0], path)


def read_image(path: Path) -> tuple[NDArray[Any], Grid]:
    picture, _, _ = _decode(path)
    return image_channels(picture, path), Grid(picture.shape)


def read_mask(path: Path) -> tuple[IntArray, Grid]:
    picture, _, _ = _decode(path)
    return mask_values(picture, path), Grid(picture.shape)


def largest_value(path: Path) -> int:
    return _decode(path)[2].colours - 1


def write_mask(path: Path, values: IntArray, like: Path) -> None:
    source, data, frame = _decode(like)
    check_fits(values, source.shape, frame.colours - 1, path)
    assert source.samples is not None
    if np.array_equal(values, source.samples):
        write_bytes_atomic(path, data)
        return
    pixels = _compress(values, frame.interlaced)
    write_bytes_atomic(path, data[: frame.start] + pixels + data[frame.end :])


def _decode(path: Path) -> tuple[Picture, bytes, _Frame]:
    data = read_bytes(path)
    frame = _find_frame(path, data)
    picture = decode(path, "GIF", data)
    if picture.mode not in ("P", "L"):
        raise unreadable(path, "GIF with one table of colours", f"Pillow's mode {picture.mode}")
    return picture, data, frame


def _compress(values: IntArray, interlaced: bool) -> bytes:
    """Indices as the blocks of pixels in a GIF: the size of a code, the blocks, a zero."""
    image = Image.fromarray(values.astype(np.uint8))
    buffer = BytesIO()
    # unoptimised, or Pillow would number the colours anew
    image.save(buffer, "GIF", optimize=False, interlace=int(interlaced))
    written = buffer.getvalue()
    frame = _find_frame(Path("GIF"), written)
    if frame.interlaced != interlaced:
        # Pillow does not interlace small pictures
        order = _interlaced_rows(len(values)) if interlaced else np.arange(len(values))
        return _compress(values[order], interlaced=False)
    return written[frame.start : frame.end]


def _interlaced_rows(rows: int) -> NDArray[np.intp]:
    """The rows of a picture in the order in which an interlaced GIF stores them (appendix E)."""
    passes = ((0, 8), (4, 8), (2, 4), (1, 2))
    return np.concatenate([np.arange(first, rows, step) for first, step in passes])


def _find_frame(path: Path, data: bytes) -> _Frame:
    """The only picture of a GIF.  Raises UnreadableFileError where it is cut off or has others."""
    try:
        return _walk(path, data)
    except IndexError as error:
        raise unreadable(path, "GIF", f"a file cut off after {len(data)} bytes") from error


def _walk(path: Path, data: bytes) -> _Frame:
    if data[:6] not in (b"GIF87a", b"GIF89a"):
        raise unreadable(path, "GIF", f"{len(data)} bytes that do not begin like a GIF")
    screen = data[6:10]
    table = _table_length(data[10])
    at, frames = 13 + 3 * table, []
    while data[at] != TRAILER:
        if data[at] == EXTENSION:
            at = _skip_blocks(data, at + 2)
        elif data[at] == PICTURE:
            flags, place = data[at + 9], data[at + 1 : at + 9]
            local = _table_length(flags)
            start = at + 10 + 3 * local
            at = _skip_blocks(data, start + 1)
            frames.append(_Frame(start, at, local or table or 256, bool(flags & 0x40)))
            if place != bytes(4) + screen:
                raise unreadable(path, "GIF whose picture fills it", "one that fills a part")
        else:
            raise unreadable(path, "GIF", f"an unknown block at byte {at}")
    if len(frames) != 1:
        raise unreadable(path, "GIF", f"{len(frames)} pictures in one file")
    return frames[0]


def _table_length(flags: int) -> int:
    return 2 << (flags & 7) if flags & 0x80 else 0


def _skip_blocks(data: bytes, at: int) -> int:
    """The byte behind a chain of blocks, each after its length, that ends with a zero."""
    while data[at]:
        at += data[at] + 1
    return at + 1
