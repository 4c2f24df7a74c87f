"""DICOM images: a file, or a folder that holds one series.

- A folder is a volume (slices, rows, columns), its slices in order of their positions along the
  normal; files that are no DICOM, DICOMDIR, hidden files, segmentations and objects without pixels
  are passed over.  A single file without a position in a patient stays two-dimensional.
- A file with one frame is a picture (rows, columns), whatever lies beside it; its spacing is
  PixelSpacing, else ImagerPixelSpacing (which is at the detector); no affine.
- A file with several frames is a volume; where they have no positions (a film loop), its spacing
  and affine are not known.
- A tiled file (a slide) is its total pixel matrix (rows, columns); a tile that was left out has
  the PixelPaddingValue, else 0.

The numbers are those that the stored ones stand for: slope and intercept applied, palettes and
YBR as RGB.  MONOCHROME1, in which low values are white, is turned round (least + greatest value
that the bits can hold - value), so that bright is bright in all files.  Windows (VOI LUT) and
real-world value maps are not applied.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from maskmend.core import Grid
from maskmend.errors import MaskValueError, MissingFileError
from maskmend.formats import Header
from maskmend.formats.dicom_files import (
    check_decodable,
    check_undivided,
    class_name,
    count_frames,
    frames_of,
    has_pixels,
    is_segmentation,
    looks_like_dicom,
    named_errors,
    open_header,
    open_whole,
    unreadable,
)
from maskmend.formats.dicom_seg import segments_header
from maskmend.formats.dicom_space import (
    Plane,
    first_item,
    pixel_spacing,
    plane_of,
    planes_of,
    stack_all,
    volume_grid,
)
from maskmend.formats.dicom_tiles import frame_corners, is_tiled, matrix_grid
from maskmend.formats.dicom_values import Values, channels_of, common_dtype, values_of

if TYPE_CHECKING:
    from pydicom.dataset import FileDataset

ENDINGS = (".dcm", ".dicom", ".ima", ".seg")
"""A file that is named so, but is no DICOM, is an error and not passed over."""

NO_IMAGES = (
    "SR", "Presentation State", "Document", "RT ", "Directory", "Encapsulated", "Raw Data",
    "Registration", "Waveform", "Surface", "Fiducials", "Notes", "Measurements",
)  # fmt: skip
"""Words in the names of SOP classes of objects that may lie beside a series."""

TAGS: tuple[int | str, ...] = (
    "SOPClassUID", "SOPInstanceUID", "SeriesInstanceUID", "ImagePositionPatient",
    "ImageOrientationPatient", "PixelSpacing", "ImagerPixelSpacing", "SpacingBetweenSlices",
    "SliceThickness", "Rows", "Columns", "SamplesPerPixel", "PhotometricInterpretation",
    "PlanarConfiguration", "NumberOfFrames", "BitsAllocated", "BitsStored", "HighBit",
    "PixelRepresentation", "RescaleSlope", "RescaleIntercept", "ModalityLUTSequence",
    "RedPaletteColorLookupTableDescriptor", "TotalPixelMatrixColumns",
)  # fmt: skip
"""What is read of each slice of a series."""


@dataclass(frozen=True)
class Slice:
    """A file of a series.  headers: the elements in TAGS."""

    path: Path
    header: FileDataset
    values: Values


@dataclass(frozen=True)
class Series:
    """slices: in order of their positions.  shape: rows, columns."""

    slices: tuple[Slice, ...]
    grid: Grid
    dtype: np.dtype[Any]

    @property
    def channels(self) -> int:
        return self.slices[0].values.channels


def read_header(path: Path) -> Header:
    """Raises UnreadableFileError, MissingFileError."""
    if path.is_dir():
        found = _find_series(path)
        if isinstance(found, Path):
            return read_header(found)
        return Header(found.grid, found.channels, found.dtype)
    dataset = open_header(path)
    with named_errors(path):
        if is_segmentation(dataset):
            return segments_header(path, dataset)
        _check_image(path, dataset)
        values = values_of(path, dataset)
        return Header(_file_grid(path, dataset)[0], values.channels, values.dtype)


def read_image(path: Path) -> tuple[NDArray[Any], Grid]:
    """(C, *S) and its Grid.  Raises UnreadableFileError, MissingFileError, MaskValueError."""
    if path.is_dir():
        found = _find_series(path)
        return read_image(found) if isinstance(found, Path) else _read_series(found)
    dataset = open_whole(path)
    with named_errors(path):
        if is_segmentation(dataset):
            raise MaskValueError(
                str(path),
                expected="an image",
                got="a segmentation",
                remedy="Name it as a mask, and the image that it was drawn on as the image.",
            )
        _check_image(path, dataset)
        return _read_file(path, dataset)


def parts(path: Path) -> tuple[Path, ...]:
    """The file itself, or those of a series in order of their names."""
    if not path.is_dir():
        return (path,)
    return tuple(file for file, _ in _image_headers(path))


def _check_image(path: Path, dataset: FileDataset) -> None:
    if not has_pixels(dataset):
        raise unreadable(path, f"{class_name(dataset)} without pixel data", expected="an image")
    check_undivided(path, dataset)
    check_decodable(path, dataset)


def _file_grid(path: Path, dataset: FileDataset) -> tuple[Grid, list[tuple[Any, ...]]]:
    """The grid of a file, and where on it each of its frames belongs."""
    rows, columns = int(dataset.Rows), int(dataset.Columns)
    if is_tiled(dataset):
        grid = matrix_grid(dataset)
        places: list[tuple[Any, ...]] = [
            (slice(row, row + rows), slice(column, column + columns))
            for row, column in frame_corners(path, dataset)
        ]
        return grid, places
    count = count_frames(dataset)
    if count == 1:
        return Grid((rows, columns), _picture_spacing(dataset)), [()]
    planes = planes_of(dataset)
    if planes is None:
        return Grid((count, rows, columns)), [(k,) for k in range(count)]
    if len(planes) != count:
        raise unreadable(path, f"positions for {len(planes)} of {count} frames")
    stack = stack_all(path, planes, [f"frame {k + 1}" for k in range(count)])
    return volume_grid(stack, planes[0], rows, columns), [(slot,) for slot in stack.slots]


def _picture_spacing(dataset: FileDataset) -> tuple[float, ...] | None:
    shared = first_item(dataset, "SharedFunctionalGroupsSequence")
    frame = first_item(dataset, "PerFrameFunctionalGroupsSequence")
    groups = [first_item(group, "PixelMeasuresSequence") for group in (frame, shared)]
    found = (pixel_spacing(source) for source in (dataset, *groups))
    return next((spacing for spacing in found if spacing is not None), None)


def _read_file(path: Path, dataset: FileDataset) -> tuple[NDArray[Any], Grid]:
    values = values_of(path, dataset)
    grid, places = _file_grid(path, dataset)
    padding = dataset.get("PixelPaddingValue", None) if is_tiled(dataset) else None
    image = np.full((values.channels, *grid.shape), padding or 0, values.dtype)
    decoded = 0
    for number, (place, frame) in enumerate(zip(places, frames_of(dataset), strict=False)):
        target = image[(slice(None), *place)]
        # the last tiles may reach beyond the matrix
        rows, columns = target.shape[-2:]
        target[...] = channels_of(frame, number, values, dataset, values.dtype)[:, :rows, :columns]
        decoded += 1
    if decoded != len(places):
        raise unreadable(path, f"{decoded} of {len(places)} frames")
    return image, grid


def _image_headers(folder: Path) -> list[tuple[Path, FileDataset]]:
    """The files of a folder that are images, in order of their names."""
    found = []
    for path in sorted(folder.iterdir()):
        if path.name.startswith(".") or not path.is_file():
            continue
        named_dicom = path.name.lower().endswith(ENDINGS)
        if path.name == "DICOMDIR" or not (named_dicom or looks_like_dicom(path)):
            continue
        header = open_header(path, TAGS)
        if is_segmentation(header):
            continue
        if not has_pixels(header):
            if any(word in class_name(header) for word in NO_IMAGES):
                continue
            raise unreadable(path, f"{class_name(header)} without pixel data", "an image")
        found.append((path, header))
    return found


def _find_series(folder: Path) -> Series | Path:
    """The one series of a folder, or the one file that it consists of.

    Raises UnreadableFileError where the files are no whole series.
    """
    headers = _image_headers(folder)
    if not headers:
        raise MissingFileError(
            str(folder),
            expected="the files of a DICOM series",
            got="none",
            remedy="Check the path; files in folders below it are not looked for.",
        )
    with named_errors(folder):
        _check_one_series(folder, headers)
        first = headers[0][1]
        alone = len(headers) == 1 and (
            count_frames(first) > 1 or is_tiled(first) or plane_of(first) is None
        )
        if alone:
            return headers[0][0]
        _check_slices(folder, headers)
        return _ordered(folder, headers)


def _ordered(folder: Path, headers: Sequence[tuple[Path, FileDataset]]) -> Series:
    planes = [_plane(folder, path, header) for path, header in headers]
    stack = stack_all(folder, planes, [path.name for path, _ in headers])
    slices = [Slice(path, header, values_of(path, header)) for path, header in headers]
    first = slices[0]
    for other in slices[1:]:
        if _kind(other.values) != _kind(first.values):
            raise unreadable(
                folder,
                f"{_kind(first.values)} in {first.path.name}, {_kind(other.values)} in "
                f"{other.path.name}",
                expected="slices of one kind of pixel",
            )
    by_slot = sorted(range(len(slices)), key=lambda k: stack.slots[k])
    return Series(
        slices=tuple(slices[k] for k in by_slot),
        grid=volume_grid(stack, planes[0], int(first.header.Rows), int(first.header.Columns)),
        dtype=common_dtype([part.values for part in slices]),
    )


def _kind(values: Values) -> str:
    kind = f"{values.channels} x {values.stored}"
    kind += " with a palette" if values.palette is not None else ""
    return kind + (" MONOCHROME1" if values.inverted else "")


def _plane(folder: Path, path: Path, header: FileDataset) -> Plane:
    plane = plane_of(header)
    if plane is None:
        raise unreadable(
            folder,
            f"{path.name} without a position",
            expected="slices that know their positions in the patient",
            remedy="Name the pictures one by one: they are no volume.",
        )
    return plane


def _check_one_series(folder: Path, headers: Sequence[tuple[Path, FileDataset]]) -> None:
    series: dict[str, list[str]] = {}
    instances: dict[str, str] = {}
    for path, header in headers:
        series.setdefault(str(header.get("SeriesInstanceUID", "")), []).append(path.name)
    if len(series) > 1:
        listed = [f"{uid} ({len(names)} files, {names[0]})" for uid, names in series.items()]
        more = [f"and {len(listed) - 5} more"] if len(listed) > 5 else []
        raise unreadable(
            folder,
            f"{len(series)} series: " + "; ".join([*listed[:5], *more]),
            expected="one DICOM series in a folder",
            remedy="Move each series into a folder of its own.",
        )
    for path, header in headers:
        uid = str(header.get("SOPInstanceUID", ""))
        if uid and uid in instances:
            raise unreadable(
                folder,
                f"{instances[uid]} and {path.name} with the SOPInstanceUID {uid}",
                expected="each image once",
                remedy="Remove the copy, or replace the file from its source.",
            )
        instances[uid] = path.name


def _check_slices(folder: Path, headers: Sequence[tuple[Path, FileDataset]]) -> None:
    first_path, first = headers[0]
    for path, header in headers:
        check_decodable(path, header)
        if count_frames(header) > 1 or is_tiled(header):
            raise unreadable(
                folder,
                f"{path.name} with {count_frames(header)} frames among {len(headers)} files",
                expected="files with one slice each, or one file with all",
                remedy="Name the file itself.",
            )
        size, expected = ((int(h.Rows), int(h.Columns)) for h in (header, first))
        if size != expected:
            raise unreadable(
                folder,
                f"{size} in {path.name}, {expected} in {first_path.name}",
                expected="slices of one size",
                remedy="Move the localizers, or the other series, into a folder of their own.",
            )


def _read_series(series: Series) -> tuple[NDArray[Any], Grid]:
    image = np.empty((series.channels, *series.grid.shape), series.dtype)
    for slot, part in enumerate(series.slices):
        dataset = open_whole(part.path)
        with named_errors(part.path):
            frame = next(frames_of(dataset), None)
            if frame is None:
                raise unreadable(part.path, "no frame")
            image[:, slot] = channels_of(frame, 0, part.values, dataset, series.dtype)
    return image, series.grid
