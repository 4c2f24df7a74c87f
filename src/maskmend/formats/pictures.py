"""What the picture formats share: Pillow's pixels as arrays, Pillow's errors as ours.

A picture knows no millimetres: the resolution in its header is that of a printer, so the spacing
is None.  Its spatial axes are rows, columns.
"""

from __future__ import annotations

import struct
import warnings
import zlib
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from maskmend.core import Grid, IntArray
from maskmend.errors import GridMismatchError, MaskValueError, UnreadableFileError
from maskmend.formats import Header

CHANNELS = {"1": 1, "L": 1, "LA": 1, "I;16": 1, "I;16B": 1, "I": 1, "F": 1} | {
    "RGB": 3,
    "RGBA": 3,
    "CMYK": 4,
}
"""Pillow's mode -> channels of the image; transparency is no channel.  "P" depends on the file."""

DTYPES = {"I;16": np.uint16, "I;16B": np.uint16, "I": np.int32, "F": np.float32}
"""Pillow's mode -> dtype, where it is not uint8."""

CUT_TAGS = "Corrupt EXIF data|Truncated File Read|Tag data larger than file"

PILLOW_ERRORS = (
    OSError,
    ValueError,
    SyntaxError,
    EOFError,
    struct.error,
    zlib.error,
    Image.DecompressionBombError,
    UserWarning,
)


@dataclass(frozen=True)
class Picture:
    """samples: (rows, columns) or (rows, columns, samples of a pixel), None where only the header
    was read.  palette: (colours, 3) uint8, or None.  tags: what Pillow knows besides.
    """

    mode: str
    shape: tuple[int, int]
    samples: NDArray[Any] | None
    palette: NDArray[np.uint8] | None
    tags: dict[Any, Any]


def decode(path: Path, kind: str, data: bytes, pixels: bool = True) -> Picture:
    """Pillow's view of a file that must be of one kind ("PNG", "TIFF", "JPEG").

    data: the file's bytes.  Raises UnreadableFileError.
    """
    try:
        with warnings.catch_warnings():
            # of a TIFF whose tags are cut off, Pillow only warns
            warnings.filterwarnings("error", CUT_TAGS, UserWarning)
            return _decode(data, kind, pixels)
    except PILLOW_ERRORS as error:
        raise unreadable(path, kind, str(error) or type(error).__name__) from error


def _decode(data: bytes, kind: str, pixels: bool) -> Picture:
    with Image.open(BytesIO(data), formats=(kind,)) as image:
        pages: int = getattr(image, "n_frames", 1)
        if pages > 1:
            raise ValueError(f"{pages} pictures in one file")
        palette = image.getpalette("RGB") if image.mode == "P" else None
        return Picture(
            mode=image.mode,
            shape=(image.height, image.width),
            samples=np.array(image) if pixels else None,
            palette=None if palette is None else np.array(palette, np.uint8).reshape(-1, 3),
            tags=dict(image.info) | dict(getattr(image, "tag_v2", {})),
        )


def unreadable(path: Path, kind: str, got: str) -> UnreadableFileError:
    # Pillow names the buffer in memory, which tells the user nothing
    got = "bytes of another kind, or no picture" if "cannot identify" in got else got
    return UnreadableFileError(
        str(path),
        expected=f"a whole {kind} picture",
        got=got,
        remedy="Replace the file from its source, or take the case out.",
    )


def header_of(picture: Picture, path: Path) -> Header:
    if picture.palette is not None:
        channels = 1 if _is_grey(picture.palette) else 3
    elif picture.mode in CHANNELS:
        channels = CHANNELS[picture.mode]
    else:
        raise unreadable(path, "grey, palette, RGB or CMYK", f"the pixel mode {picture.mode}")
    dtype = np.dtype(DTYPES.get(picture.mode, np.uint8))
    return Header(Grid(picture.shape), channels, dtype, palette=picture.palette is not None)


def image_channels(picture: Picture, path: Path) -> NDArray[Any]:
    """(C, rows, columns) in the stored dtype; a palette gives its colours."""
    header = header_of(picture, path)
    assert picture.samples is not None
    samples = picture.samples
    if picture.palette is not None:
        # an index without a colour is black, as viewers show it
        colours = np.zeros((256, 3), np.uint8)
        colours[: len(picture.palette)] = picture.palette
        samples = colours[samples]
    samples = samples.reshape(*picture.shape, -1)[..., : header.channels]
    return np.ascontiguousarray(np.moveaxis(samples, -1, 0), dtype=header.dtype)


def mask_values(picture: Picture, path: Path) -> IntArray:
    """The stored integers, (rows, columns), in the smallest of uint8, uint16, int32.

    Equal channels are taken as grey, transparency is left out.  Raises MaskValueError for colours
    and for fractions.
    """
    header = header_of(picture, path)
    assert picture.samples is not None
    samples = picture.samples
    if samples.ndim == 3:
        colours = samples[..., : CHANNELS[picture.mode]]
        if (colours != colours[..., :1]).any():
            raise _coloured(path, colours)
        samples = samples[..., 0]
    if header.dtype.kind == "f":
        if not (np.isfinite(samples) & (samples == np.rint(samples))).all():
            raise MaskValueError(
                str(path),
                expected="whole numbers in a mask",
                got="fractions, NaN or infinity",
                remedy="Export the mask as integers; probabilities are no labels.",
            )
        return samples.astype(np.int32)
    return samples.astype(header.dtype)


def _coloured(path: Path, colours: NDArray[Any]) -> MaskValueError:
    differs = (colours != colours[..., :1]).any(axis=-1)
    example = tuple(int(value) for value in colours[differs][0])
    return MaskValueError(
        str(path),
        expected="a grey or palette mask, or one with equal channels",
        got=f"{int(differs.sum())} coloured pixels, such as {example}",
        remedy="Save one integer a class: as grey values or palette indices.",
    )


def _is_grey(palette: NDArray[np.uint8]) -> bool:
    return bool((palette == palette[:, :1]).all())


def check_fits(values: IntArray, shape: tuple[int, ...], largest: int, path: Path) -> None:
    """Raises GridMismatchError, MaskValueError where values do not fit the mask they replace."""
    if values.shape != shape:
        raise GridMismatchError(
            str(path),
            expected=f"the shape of the mask that is replaced, {shape}",
            got=f"{values.shape}",
            remedy="Resample the labels to the grid of the source.",
        )
    lowest, highest = int(values.min()), int(values.max())
    if lowest < 0 or highest > largest:
        raise MaskValueError(
            str(path),
            expected=f"values 0 to {largest}, which the mask that is replaced can hold",
            got=f"{lowest} to {highest}",
            remedy="Save the source masks with more bits, or a longer palette.",
        )
