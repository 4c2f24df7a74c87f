"""Bytes <-> (array, Grid): one contract for every file format, and who keeps it.

A format is a module with the functions

- `read_header(path) -> Header`: without decoding the pixels where the format allows it, but
  sure that the file holds all of them;
- `read_image(path) -> (array (C, *S), Grid)`: the stored numbers in their stored dtype;

and, where it can hold masks,

- `read_mask(path) -> (array (*S), Grid)`: the stored integers, indices where there is a palette;
- `largest_value(path) -> int`: the largest value that the file's encoding can hold;
- `write_mask(path, values, like)`: values (*S) in the encoding of the mask `like`.

Each raises UnreadableFileError or MaskValueError that names the file.  The functions below choose
the module by the ending of the file's name; a library is imported when its format is first met.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from importlib import import_module
from pathlib import Path
from typing import Any, Protocol, cast

import numpy as np
from numpy.typing import NDArray

from maskmend.core import Grid, IntArray
from maskmend.errors import UnreadableFileError


@dataclass(frozen=True)
class Header:
    """What a file says of its array: (channels, *grid.shape) numbers of a dtype.

    palette: the file stores indices into a table of colours.
    """

    grid: Grid
    channels: int
    dtype: np.dtype[Any]
    palette: bool = False


@dataclass(frozen=True)
class Format:
    """endings: in lower case with the dot.  module: what keeps the contract."""

    name: str
    endings: tuple[str, ...]
    module: str
    holds_masks: bool


FORMATS = (
    Format("PNG", (".png",), "maskmend.formats.png", holds_masks=True),
    Format("TIFF", (".tif", ".tiff"), "maskmend.formats.tiff", holds_masks=True),
    # lossy: a mask in it has lost its values
    Format("JPEG", (".jpg", ".jpeg"), "maskmend.formats.jpeg", holds_masks=False),
)


class FormatModule(Protocol):
    """What a module of a format has; arrays are (C, *S) for images and (*S,) for masks."""

    def read_header(self, path: Path, /) -> Header: ...

    def read_image(self, path: Path, /) -> tuple[NDArray[Any], Grid]: ...

    def read_mask(self, path: Path, /) -> tuple[IntArray, Grid]: ...

    def largest_value(self, path: Path, /) -> int: ...

    def write_mask(self, path: Path, values: IntArray, like: Path, /) -> None: ...


def find_format(path: Path) -> Format | None:
    """The format that a file's name promises; None where no reader knows the ending."""
    ending = split_name(path.name)[1].lower()
    return next((entry for entry in FORMATS if ending in entry.endings), None)


def split_name(name: str) -> tuple[str, str]:
    """(stem, ending) of a file's name; the ending is the longest known one, else ""."""
    known = sorted((e for entry in FORMATS for e in entry.endings), key=len, reverse=True)
    ending = next((e for e in known if name.lower().endswith(e) and len(name) > len(e)), "")
    return name[: len(name) - len(ending)], name[len(name) - len(ending) :]


def read_header(path: Path) -> Header:
    return _module(path).read_header(path)


def read_image(path: Path) -> tuple[NDArray[Any], Grid]:
    return _module(path).read_image(path)


def read_mask(path: Path) -> tuple[IntArray, Grid]:
    return _mask_module(path).read_mask(path)


def largest_value(path: Path) -> int:
    return _mask_module(path).largest_value(path)


def write_mask(path: Path, values: IntArray, like: Path) -> None:
    """Write `values` with the mode, bit depth and palette of the mask `like`, all or nothing."""
    if find_format(path) != find_format(like):
        raise ValueError(f"{path} and {like} are of different formats")
    _mask_module(like).write_mask(path, values, like)


def _module(path: Path) -> FormatModule:
    entry = find_format(path)
    if entry is None:
        raise UnreadableFileError(
            str(path),
            expected="one of " + ", ".join(e for known in FORMATS for e in known.endings),
            got=f"the ending {path.suffix!r}",
            remedy="Convert the file to one of these formats.",
        )
    return _load(entry.module)


def _mask_module(path: Path) -> FormatModule:
    entry = find_format(path)
    if entry is not None and not entry.holds_masks:
        raise UnreadableFileError(
            str(path),
            expected="a mask in a lossless format",
            got=f"{entry.name}, which changes the values at every edge",
            remedy="Export the mask again as PNG or TIFF.",
        )
    return _module(path)


@cache
def _load(module: str) -> FormatModule:
    return cast(FormatModule, import_module(module))
