"""TIFF with one page: grey of 1, 8, 16 and 32 bits, floats, palettes, and colours.

Pillow reads and writes.  Images that it cannot read, or would cut to 8 bits (colours of 16 bits),
are read by tifffile where that is installed.
"""

from __future__ import annotations

from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from PIL.TiffImagePlugin import ImageFileDirectory_v2

from maskmend.core import Grid, IntArray
from maskmend.errors import UnreadableFileError
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

BITS, STRIP_OFFSETS, STRIP_BYTES, TILE_OFFSETS, TILE_BYTES = 258, 273, 279, 324, 325
DESCRIPTION, X_RESOLUTION, Y_RESOLUTION, RESOLUTION_UNIT, SAMPLE_FORMAT = 270, 282, 283, 296, 339

LOSSY = {"jpeg", "tiff_jpeg", "webp"}

STORED = {
    "1": np.dtype(np.bool_),
    "L": np.dtype(np.uint8),
    "P": np.dtype(np.uint8),
    "LA": np.dtype(np.uint8),
    "RGB": np.dtype(np.uint8),
    "RGBA": np.dtype(np.uint8),
    "I;16": np.dtype("<u2"),
    "I;16B": np.dtype(">u2"),
    "I": np.dtype(np.int32),
    "F": np.dtype(np.float32),
}
"""Pillow's mode of a mask -> dtype of the bytes that it takes."""


def read_header(path: Path) -> Header:
    data = read_bytes(path)
    picture = _peek(path, data)
    if picture is None:
        channels = _read_by_tifffile(path)
        return Header(Grid(channels.shape[1:]), len(channels), channels.dtype)
    for offsets, lengths in ((STRIP_OFFSETS, STRIP_BYTES), (TILE_OFFSETS, TILE_BYTES)):
        pieces = zip(picture.tags.get(offsets, ()), picture.tags.get(lengths, ()), strict=False)
        if any(offset + length > len(data) for offset, length in pieces):
            raise unreadable(path, "TIFF", f"a file cut off after {len(data)} bytes")
    if picture.tags.get("compression", "raw") != "raw":
        # only decoding shows that compressed pixels are whole
        decode(path, "TIFF", data)
    return header_of(picture, path)


def read_image(path: Path) -> tuple[NDArray[Any], Grid]:
    data = read_bytes(path)
    if _peek(path, data) is None:
        channels = _read_by_tifffile(path)
        return channels, Grid(channels.shape[1:])
    picture = decode(path, "TIFF", data)
    return image_channels(picture, path), Grid(picture.shape)


def read_mask(path: Path) -> tuple[IntArray, Grid]:
    picture = _decode_mask(path)
    return mask_values(picture, path), Grid(picture.shape)


def largest_value(path: Path) -> int:
    return _largest(_decode_mask(path))


def write_mask(path: Path, values: IntArray, like: Path) -> None:
    """Values (*S,) in the mode, palette, compression and tags of the mask at `like`."""
    source = _decode_mask(like)
    check_fits(values, source.shape, _largest(source), path)
    assert source.samples is not None
    pixels = source.samples.astype(STORED[source.mode])
    if pixels.ndim == 3:
        pixels[..., : 1 if source.mode == "LA" else 3] = values[..., None]
    else:
        pixels[...] = values
    packed = np.packbits(pixels, axis=1) if source.mode == "1" else pixels
    rows, columns = source.shape
    image = Image.frombytes(source.mode, (columns, rows), packed.tobytes())
    if source.palette is not None:
        image.putpalette(source.palette.tobytes(), "RGB")
    written = BytesIO()
    compression = source.tags.get("compression", "raw")
    image.save(written, "TIFF", compression=compression, tiffinfo=_kept_tags(source))
    write_bytes_atomic(path, written.getvalue())


def _peek(path: Path, data: bytes) -> Picture | None:
    """What Pillow reads of the header; None where tifffile has to read the image."""
    try:
        picture = decode(path, "TIFF", data, pixels=False)
    except UnreadableFileError as error:
        if "another kind" in error.got and data[:2] in (b"II", b"MM"):
            return None
        raise
    deep_colours = picture.mode.startswith("RGB") and max(_tag(picture, BITS)) > 8
    return None if deep_colours else picture


def _decode_mask(path: Path) -> Picture:
    picture = decode(path, "TIFF", read_bytes(path))
    bits = max(_tag(picture, BITS))
    # Pillow reads these, but would write them back as something else
    odd = bits not in (1, 8, 16, 32) or (bits > 8 and picture.mode.startswith("RGB"))
    odd |= picture.mode == "I" and (bits, _signed(picture)) != (32, 2)
    if odd or picture.mode not in STORED:
        raise unreadable(
            path,
            "mask of 1, 8 or 16 bits without sign, or 32 bits, as TIFF",
            f"{bits} bits in Pillow's mode {picture.mode}",
        )
    if picture.tags.get("compression") in LOSSY:
        raise unreadable(path, "losslessly compressed TIFF", str(picture.tags["compression"]))
    return picture


def _tag(picture: Picture, tag: int) -> tuple[int, ...]:
    found = picture.tags.get(tag, (1,))
    return found if isinstance(found, tuple) else (found,)


def _signed(picture: Picture) -> int:
    return max(_tag(picture, SAMPLE_FORMAT))


def _largest(picture: Picture) -> int:
    # 2 ** 24: up to there a float32 tells whole numbers apart
    return {"1": 1, "I;16": 65535, "I;16B": 65535, "I": 2**31 - 1, "F": 2**24}.get(
        picture.mode, 255
    )


def _kept_tags(source: Picture) -> ImageFileDirectory_v2:
    tags = ImageFileDirectory_v2()
    for tag in (DESCRIPTION, X_RESOLUTION, Y_RESOLUTION, RESOLUTION_UNIT):
        if tag in source.tags:
            tags[tag] = source.tags[tag]
    return tags


def _read_by_tifffile(path: Path) -> NDArray[Any]:
    """(C, rows, columns) of a TIFF that is beyond Pillow."""
    try:
        import tifffile
    except ImportError as error:
        raise unreadable(
            path, "TIFF of up to 8 bits a colour", "more; pip install tifffile reads it"
        ) from error
    try:
        with tifffile.TiffFile(path) as file:
            pages, series = len(file.pages), file.series[0]
            axes, array = series.axes, series.asarray()
    except (tifffile.TiffFileError, ValueError, OSError, IndexError, KeyError) as error:
        raise unreadable(path, "TIFF", str(error)) from error
    if pages > 1 or axes not in ("YX", "YXS", "SYX", "CYX"):
        raise unreadable(path, "TIFF of one page", f"{pages} pages with the axes {axes}")
    channels = np.moveaxis(array, -1, 0) if axes == "YXS" else array.reshape(-1, *array.shape[-2:])
    return np.ascontiguousarray(channels[:3] if len(channels) == 4 else channels)
