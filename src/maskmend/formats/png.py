"""PNG: grey of 1, 2, 4, 8 and 16 bits, palettes, and colours of 8 bits.

Pillow decodes.  A mask is encoded here, because Pillow cannot write grey of 2 and 4 bits and
would drop chunks: all chunks but the pixels are copied from the mask that is replaced.
W3C, Portable Network Graphics Specification, third edition, sections 5, 7 and 11.
"""

from __future__ import annotations

import struct
import zlib
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

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

SIGNATURE = b"\x89PNG\r\n\x1a\n"
GREY, COLOUR, PALETTE, GREY_ALPHA, COLOUR_ALPHA = 0, 2, 3, 4, 6


class Layout(NamedTuple):
    """The image header chunk."""

    width: int
    height: int
    depth: int
    colour: int
    compression: int
    filtering: int
    interlace: int


class Chunk(NamedTuple):
    kind: bytes
    body: bytes


def read_header(path: Path) -> Header:
    data = read_bytes(path)
    _check_depth(_chunks(path, data), path)
    return header_of(decode(path, "PNG", data, pixels=False), path)


def read_image(path: Path) -> tuple[NDArray[Any], Grid]:
    picture = _decode(path)
    return image_channels(picture, path), Grid(picture.shape)


def read_mask(path: Path) -> tuple[IntArray, Grid]:
    picture = _decode(path)
    return mask_values(picture, path), Grid(picture.shape)


def largest_value(path: Path) -> int:
    chunks = _chunks(path, read_bytes(path))
    palette = next((chunk.body for chunk in chunks if chunk.kind == b"PLTE"), b"")
    layout = _layout(chunks)
    return len(palette) // 3 - 1 if layout.colour == PALETTE else 2**layout.depth - 1


def write_mask(path: Path, values: IntArray, like: Path) -> None:
    source = _decode(like)
    check_fits(values, source.shape, largest_value(like), path)
    chunks = _chunks(like, read_bytes(like))
    layout = _layout(chunks)
    assert source.samples is not None
    pixels = values
    if layout.colour in (COLOUR, COLOUR_ALPHA, GREY_ALPHA):
        pixels = source.samples.copy()
        colours = 1 if layout.colour == GREY_ALPHA else 3
        pixels[..., :colours] = values[..., None]
    body = zlib.compress(_scanlines(pixels, layout.depth), 9)
    write_bytes_atomic(path, _join(chunks, layout, body))


def encode_png(picture: NDArray[np.uint8] | NDArray[np.uint16], level: int = 6) -> bytes:
    """A new file of 8 or 16 bit.  picture: (rows, columns) grey or (rows, columns, 3) colours.

    level: of zlib, 1 (quick) to 9 (small).
    """
    rows, columns = picture.shape[:2]
    depth = 8 * picture.dtype.itemsize
    layout = Layout(columns, rows, depth, GREY if picture.ndim == 2 else COLOUR, 0, 0, 0)
    chunks = [Chunk(kind, b"") for kind in (b"IHDR", b"IDAT", b"IEND")]
    return _join(chunks, layout, zlib.compress(_scanlines(picture, depth), level))


def _decode(path: Path) -> Picture:
    data = read_bytes(path)
    chunks = _chunks(path, data)
    _check_depth(chunks, path)
    picture = decode(path, "PNG", data)
    layout = _layout(chunks)
    if layout.colour == GREY and layout.depth in (2, 4):
        # Pillow spreads 0..3 and 0..15 over 0..255; the file stores the small number
        assert picture.samples is not None
        picture = replace(picture, samples=picture.samples // (255 // (2**layout.depth - 1)))
    return picture


def _chunks(path: Path, data: bytes) -> list[Chunk]:
    """All chunks, each with a correct checksum.  Raises UnreadableFileError."""
    if not data.startswith(SIGNATURE):
        raise unreadable(path, "PNG", f"{len(data)} bytes that do not begin like a PNG")
    chunks: list[Chunk] = []
    at = len(SIGNATURE)
    while not chunks or chunks[-1].kind != b"IEND":
        if at + 12 > len(data):
            raise unreadable(path, "PNG", f"a file cut off after {len(data)} bytes")
        (length,) = struct.unpack_from(">I", data, at)
        end = at + 12 + length
        if end > len(data):
            raise unreadable(path, "PNG", f"a file cut off after {len(data)} bytes")
        (checksum,) = struct.unpack_from(">I", data, end - 4)
        if zlib.crc32(data[at + 4 : end - 4]) != checksum:
            raise unreadable(path, "PNG", f"a wrong checksum at byte {at}")
        chunks.append(Chunk(data[at + 4 : at + 8], data[at + 8 : end - 4]))
        at = end
    if chunks[0].kind != b"IHDR" or len(chunks[0].body) != 13:
        raise unreadable(path, "PNG", "a file without an image header")
    if 0 in _layout(chunks)[:2]:
        raise unreadable(path, "PNG", "a picture without pixels")
    return chunks


def _layout(chunks: list[Chunk]) -> Layout:
    return Layout(*struct.unpack(">IIBBBBB", chunks[0].body))


def _check_depth(chunks: list[Chunk], path: Path) -> None:
    layout = _layout(chunks)
    if layout.depth == 16 and layout.colour != GREY:
        # Pillow would cut them to 8 bits without a word
        raise unreadable(
            path, "grey, or 8-bit colour, PNG", "16 bits a channel with colour or transparency"
        )


def _scanlines(pixels: NDArray[Any], depth: int) -> bytes:
    """Rows of packed samples, each after a zero: "no filter"."""
    rows = pixels.reshape(len(pixels), -1)
    if depth == 16:
        packed = rows.astype(">u2").view(np.uint8)
    elif depth == 8:
        packed = rows.astype(np.uint8)
    else:
        bits = np.unpackbits(rows.astype(np.uint8)[..., None], axis=-1)[..., -depth:]
        packed = np.packbits(bits.reshape(len(rows), -1), axis=1)
    return np.pad(packed, ((0, 0), (1, 0))).tobytes()


def _join(chunks: list[Chunk], layout: Layout, body: bytes) -> bytes:
    """The file with its pixels replaced; those of an interlaced one are no longer so."""
    header = Chunk(b"IHDR", struct.pack(">IIBBBBB", *layout._replace(interlace=0)))
    first = next(number for number, chunk in enumerate(chunks) if chunk.kind == b"IDAT")
    rest = [chunk for chunk in chunks[first:] if chunk.kind != b"IDAT"]
    return SIGNATURE + b"".join(
        struct.pack(">I", len(chunk.body))
        + chunk.kind
        + chunk.body
        + struct.pack(">I", zlib.crc32(chunk.kind + chunk.body))
        for chunk in (header, *chunks[1:first], Chunk(b"IDAT", body), *rest)
    )
