"""Bytes <-> (array, Grid): one contract for every file format, and who keeps it.

A format is a module with the functions

- `read_header(path) -> Header`: without decoding the pixels where the format allows it, but
  sure that the file holds all of them;
- `read_image(path) -> (array (C, *S), Grid)`: the stored numbers in their stored dtype, or those
  that they stand for where the file states a slope and an intercept;
- `parts(path) -> files`: where an array is more than one file (a header and its raw data, a DICOM
  series in a folder); without it the file is all there is;

and, where it can hold masks, one number a pixel, a module with

- `read_mask(path) -> (array (*S), Grid)`: the stored integers, indices where there is a palette;
- `largest_value(path) -> int`: the largest value that the file's encoding can hold;
- `write_mask(path, values, like)`: values (*S) in the encoding, with the header, of the mask
  `like`;

or, where it holds named segments that may overlap,

- `read_segments(path) -> (name -> bool array (*S), Grid)`: in the order of the file;
- `write_segments(path, masks, like, models)`: the file `like` with the segments that are named
  replaced; one that it lacks is added where a file of `models` describes it.

Each raises UnreadableFileError or MaskValueError that names the file.  The functions below choose
the module by the ending of the file's name; a library is imported when its format is first met.
Axes are those of `core`: slowest first, so that a volume is (slices, rows, columns).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from importlib import import_module
from pathlib import Path
from typing import Any, Protocol, cast

import numpy as np
from numpy.typing import NDArray

from maskmend.core import BoolArray, Grid, IntArray
from maskmend.errors import UnreadableFileError

Models = Mapping[str, Path]
"""Name of a segment -> a file that holds one of this name, and says what it is."""

NO_MODELS: Models = {}


@dataclass(frozen=True)
class Header:
    """What a file says of its array: (channels, *grid.shape) numbers of a dtype.

    palette: the file stores indices into a table of colours.  segments: names of the segments of
    a file that holds some; then channels is 1.
    """

    grid: Grid
    channels: int
    dtype: np.dtype[Any]
    palette: bool = False
    segments: tuple[str, ...] = ()


@dataclass(frozen=True)
class Format:
    """endings: in lower case with the dot.  images, masks: the modules that keep the contract.

    masks: None where it cannot hold masks.  layered: masks are segments that may overlap.
    """

    name: str
    endings: tuple[str, ...]
    images: str
    masks: str | None
    layered: bool = False


def _format(name: str, endings: tuple[str, ...], module: str, **more: Any) -> Format:
    path = f"maskmend.formats.{module}"
    return Format(name, endings, path, **{"masks": path, **more})


FORMATS = (
    _format("PNG", (".png",), "png"),
    _format("TIFF", (".tif", ".tiff"), "tiff"),
    # lossy: a mask in it has lost its values
    _format("JPEG", (".jpg", ".jpeg"), "jpeg", masks=None),
    _format("GIF", (".gif",), "gif"),
    _format("NIfTI", (".nii", ".nii.gz"), "nifti"),
    _format("segmentation NRRD", (".seg.nrrd",), "seg_nrrd", layered=True),
    _format("NRRD", (".nrrd", ".nhdr"), "nrrd"),
    _format("MetaImage", (".mha", ".mhd"), "metaimage"),
    Format(
        "DICOM", (".dcm", ".dicom", ".ima", ".seg"), "maskmend.formats.dicom",
        "maskmend.formats.dicom_seg", layered=True,
    ),
    _format("JSRT", (".img",), "jsrt", masks=None),
)  # fmt: skip

_ENDINGS = sorted((e for entry in FORMATS for e in entry.endings), key=len, reverse=True)

SERIES = next(entry for entry in FORMATS if entry.name == "DICOM")
"""The format of a folder that holds one series of DICOM files."""


class ImageModule(Protocol):
    """What a module of a format has; arrays are (C, *S)."""

    def read_header(self, path: Path, /) -> Header: ...

    def read_image(self, path: Path, /) -> tuple[NDArray[Any], Grid]: ...


class MaskModule(Protocol):
    """What a module of a format that holds masks has; arrays are (*S,)."""

    def read_mask(self, path: Path, /) -> tuple[IntArray, Grid]: ...

    def largest_value(self, path: Path, /) -> int: ...

    def write_mask(self, path: Path, values: IntArray, like: Path, /) -> None: ...


class SegmentModule(Protocol):
    """What a module of a format that holds segments has; arrays are (*S,)."""

    def read_segments(self, path: Path, /) -> tuple[dict[str, BoolArray], Grid]: ...

    def write_segments(
        self, path: Path, masks: Mapping[str, BoolArray], like: Path, models: Models, /
    ) -> None: ...


def find_format(path: Path) -> Format | None:
    """The format that a file's name promises; None where no reader knows the ending."""
    ending = split_name(path.name)[1].lower()
    return next((entry for entry in FORMATS if ending in entry.endings), None)


def split_name(name: str) -> tuple[str, str]:
    """(stem, ending) of a file's name; the ending is the longest known one, else ""."""
    ending = next((e for e in _ENDINGS if name.lower().endswith(e) and len(name) > len(e)), "")
    return name[: len(name) - len(ending)], name[len(name) - len(ending) :]


def read_header(path: Path) -> Header:
    """Of an image, a mask or a folder with a DICOM series."""
    return _image_module(path).read_header(path)


def read_image(path: Path) -> tuple[NDArray[Any], Grid]:
    return _image_module(path).read_image(path)


def parts(path: Path) -> tuple[Path, ...]:
    """The files that an image or a mask consists of, in an order that is always the same."""
    found = getattr(_image_module(path), "parts", None)
    return (path,) if found is None else tuple(found(path))


def is_layered(path: Path) -> bool:
    """Whether a file's masks are segments, read by `read_segments`."""
    entry = find_format(path)
    return entry is not None and entry.layered


def read_mask(path: Path) -> tuple[IntArray, Grid]:
    return _mask_module(path).read_mask(path)


def largest_value(path: Path) -> int:
    return _mask_module(path).largest_value(path)


def write_mask(path: Path, values: IntArray, like: Path) -> None:
    """Write `values` with the encoding and the header of the mask `like`, all or nothing."""
    _check_same_format(path, like)
    _mask_module(like).write_mask(path, values, like)


def read_segments(path: Path) -> tuple[dict[str, BoolArray], Grid]:
    return _segment_module(path).read_segments(path)


def write_segments(
    path: Path, masks: Mapping[str, BoolArray], like: Path, models: Models = NO_MODELS
) -> None:
    """Write `like` with some of its segments replaced, all or nothing.

    A segment that `like` lacks is added, with all that the file in `models` says of it (name,
    codes, colour) but its pixels.  Raises MaskValueError for a name without a segment in either,
    and where `like` can take no more.
    """
    _check_same_format(path, like)
    for model in models.values():
        _check_same_format(path, model)
    _segment_module(like).write_segments(path, masks, like, models)


def is_exclusive(path: Path) -> bool:
    """Whether a file of segments is a label map, in which they cannot overlap."""
    found = getattr(_segment_module(path), "is_exclusive", None)
    return found is not None and bool(found(path))


def holds_more_slices(path: Path) -> bool:
    """Whether `write_more_slices` takes the file: its empty slices need not be stored."""
    return is_layered(path) and hasattr(_segment_module(path), "write_more_slices")


def write_more_slices(
    path: Path, masks: Mapping[str, BoolArray], like: Path, before: int, models: Models = NO_MODELS
) -> None:
    """As `write_segments`, with masks of more slices: `before` in front, and any number behind."""
    _check_same_format(path, like)
    write = getattr(_segment_module(like), "write_more_slices")  # noqa: B009
    write(path, masks, like, before, models)


def _check_same_format(path: Path, like: Path) -> None:
    if find_format(path) != find_format(like):
        raise ValueError(f"{path} and {like} are of different formats")


def _find(path: Path) -> Format:
    entry = SERIES if path.is_dir() else find_format(path)
    if entry is None:
        raise UnreadableFileError(
            str(path),
            expected="one of " + ", ".join(e for known in FORMATS for e in known.endings),
            got=f"the ending {path.suffix!r}",
            remedy="Convert the file to one of these formats.",
        )
    return entry


def _image_module(path: Path) -> ImageModule:
    return cast(ImageModule, _load(_find(path).images))


def _mask_module(path: Path) -> MaskModule:
    entry = _find(path)
    if entry.layered:
        raise ValueError(f"{path} holds segments: read_segments")
    return cast(MaskModule, _load(_masks(path, entry)))


def _segment_module(path: Path) -> SegmentModule:
    entry = _find(path)
    if not entry.layered:
        raise ValueError(f"{path} holds one number a pixel: read_mask")
    return cast(SegmentModule, _load(_masks(path, entry)))


def _masks(path: Path, entry: Format) -> str:
    if entry.masks is None:
        why = "which changes the values at every edge" if entry.name == "JPEG" else "of images"
        raise UnreadableFileError(
            str(path),
            expected="a mask in a lossless format that holds masks",
            got=f"{entry.name}, {why}",
            remedy="Export the mask again, as PNG, TIFF, NIfTI or NRRD for example.",
        )
    return entry.masks


@cache
def _load(module: str) -> Any:
    return import_module(module)
