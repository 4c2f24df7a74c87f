"""The original files of the JSRT data base: radiographs of 2048 x 2048 pixels, `.IMG`.

No header; big-endian integers of 16 bits, of which 12 count; a pixel is 0.175 mm wide and high.
The numbers are kept as they are stored.  They grow with the density of the film, so air is high
and bone is low; for the usual look, bone white, most users turn them round (4095 minus the value).

Shiraishi et al., Development of a digital image database for chest radiographs with and without a
lung nodule, AJR 174 (2000).
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from maskmend.core import Grid
from maskmend.errors import UnreadableFileError
from maskmend.formats import Header
from maskmend.formats.volumes import ends_of_file, native, read_raw

SIDE = 2048
STORED = np.dtype(">u2")
LARGEST = 4095
GRID = Grid((SIDE, SIDE), spacing=(0.175, 0.175))
BYTES = SIDE * SIDE * STORED.itemsize


def read_header(path: Path) -> Header:
    _check_size(path, ends_of_file(path, 0)[2])
    return Header(GRID, 1, STORED.newbyteorder("="))


def read_image(path: Path) -> tuple[NDArray[Any], Grid]:
    """(1, 2048, 2048) uint16, 0..4095.  Raises UnreadableFileError, MissingFileError."""
    data = read_raw(path)
    _check_size(path, len(data))
    image = native(data.view(STORED)).reshape(1, SIDE, SIDE)
    if int(image.max()) > LARGEST:
        raise UnreadableFileError(
            str(path),
            expected=f"values 0 to {LARGEST}, most significant byte first, as JSRT stores them",
            got=f"{int((image > LARGEST).sum())} larger values, up to {int(image.max())}",
            remedy="Give the file as the data base has it, or convert it to PNG or TIFF.",
        )
    return image, GRID


def _check_size(path: Path, size: int) -> None:
    if size != BYTES:
        raise UnreadableFileError(
            str(path),
            expected=f"a JSRT radiograph of {SIDE} x {SIDE} pixels, {BYTES} bytes",
            got=f"{size} bytes",
            remedy="Replace the file from its source; convert other .img files to NIfTI or TIFF.",
        )
