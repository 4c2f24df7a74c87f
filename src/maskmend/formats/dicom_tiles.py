"""Where the frames of a tiled (slide) file lie in its total pixel matrix."""

from __future__ import annotations

from itertools import product
from pathlib import Path

from pydicom.dataset import Dataset

from maskmend.core import Grid
from maskmend.formats.dicom_files import count_frames, unreadable
from maskmend.formats.dicom_space import first_item, group_item, pixel_spacing

Corner = tuple[int, int]
"""(row, column) of the first pixel of a tile in the total pixel matrix, from 0."""


def is_tiled(dataset: Dataset) -> bool:
    return bool(dataset.get("TotalPixelMatrixColumns", None))


def is_tiled_full(dataset: Dataset) -> bool:
    """Whether every tile is there, in an order that the standard gives, PS3.3, C.7.6.17.3."""
    return str(dataset.get("DimensionOrganizationType", "")) == "TILED_FULL"


def matrix_grid(dataset: Dataset) -> Grid:
    """The whole slide, (rows, columns)."""
    measures = first_item(
        first_item(dataset, "SharedFunctionalGroupsSequence"), "PixelMeasuresSequence"
    )
    shape = (int(dataset.TotalPixelMatrixRows), int(dataset.TotalPixelMatrixColumns))
    return Grid(shape, pixel_spacing(measures))


def tile_corners(dataset: Dataset) -> list[Corner]:
    """Of all places of a TILED_FULL matrix: columns fastest."""
    rows, columns = int(dataset.Rows), int(dataset.Columns)
    down = range(0, int(dataset.TotalPixelMatrixRows), rows)
    across = range(0, int(dataset.TotalPixelMatrixColumns), columns)
    return list(product(down, across))


def frame_corners(path: Path, dataset: Dataset, layers: int = 1) -> list[Corner]:
    """Of each frame.  layers: how often a TILED_FULL matrix is repeated: once for each segment.

    Raises UnreadableFileError where one place of the matrix has several values: focal planes,
    optical paths.
    """
    if int(dataset.get("TotalPixelMatrixFocalPlanes", None) or 1) > 1:
        raise _several(path, "focal planes")
    if is_tiled_full(dataset):
        corners = tile_corners(dataset) * layers
        if count_frames(dataset) != len(corners):
            raise _several(path, f"{count_frames(dataset)} frames for {len(corners)} tiles")
        return corners
    shared = first_item(dataset, "SharedFunctionalGroupsSequence")
    corners, depths = [], set()
    for frame in dataset.PerFrameFunctionalGroupsSequence:
        place = group_item(shared, frame, "PlanePositionSlideSequence")
        corners.append(
            (
                int(place.RowPositionInTotalImagePixelMatrix) - 1,
                int(place.ColumnPositionInTotalImagePixelMatrix) - 1,
            )
        )
        depths.add(float(place.get("ZOffsetInSlideCoordinateSystem", None) or 0))
    if len(depths) > 1:
        raise _several(path, f"{len(depths)} focal planes")
    shape = (int(dataset.TotalPixelMatrixRows), int(dataset.TotalPixelMatrixColumns))
    if any(not (0 <= row < shape[0] and 0 <= column < shape[1]) for row, column in corners):
        raise unreadable(path, f"a tile outside the total pixel matrix of {shape}")
    return corners


def _several(path: Path, got: str) -> Exception:
    return unreadable(
        path,
        got,
        expected="one focal plane and one optical path",
        remedy="Export each plane or path as a file of its own.",
    )
