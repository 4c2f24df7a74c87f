"""The labels of a case, from the values of its mask files."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from maskmend import formats
from maskmend.core import IGNORED, Case, Dataset, LabelArray
from maskmend.datasets.images import read_grid
from maskmend.datasets.regions import regions_of
from maskmend.datasets.segments import read_placed, segments_of
from maskmend.datasets.values import classes_of, has_free_values
from maskmend.errors import GridMismatchError


def read_labels(dataset: Dataset, case: Case) -> LabelArray:
    """(planes, *S); a plane without a mask is IGNORED throughout.

    So is the background of a label map in a case of which some structures are not labelled.
    Raises MaskValueError, GridMismatchError, UnreadableFileError, MissingFileError.
    """
    planes = dataset.scheme.planes
    found: dict[str, LabelArray] = {}
    for path, names in planes_by_file(dataset, case).items():
        found |= read_file(dataset, case, path, names)
    shapes = {labels.shape for labels in found.values()} or {read_grid(case).shape}
    if len(shapes) > 1:
        raise GridMismatchError(
            case.id,
            expected="masks of one shape",
            got=", ".join(f"{plane} {labels.shape}" for plane, labels in found.items()),
            remedy="Export all masks on the grid of the image.",
        )
    ignored = np.full(shapes.pop(), IGNORED, np.uint8)
    return np.stack([found.get(plane, ignored) for plane in planes])


def planes_by_file(dataset: Dataset, case: Case) -> dict[Path, tuple[str, ...]]:
    """Mask file -> the planes that it holds, in the order of the scheme."""
    held: dict[Path, tuple[str, ...]] = {}
    for plane in dataset.scheme.planes:
        if plane in case.masks:
            held[case.masks[plane]] = (*held.get(case.masks[plane], ()), plane)
    return held


def read_file(
    dataset: Dataset, case: Case, path: Path, planes: tuple[str, ...]
) -> dict[str, LabelArray]:
    """Plane -> labels (*S,) uint8 of one mask file of a case."""
    if formats.is_layered(path):
        return _read_segments(dataset, case, path, planes)
    stored, _ = formats.read_mask(path)
    if dataset.regions is not None:
        found = regions_of(stored, dataset.regions, dataset.ignore_value)
        return {plane: found[plane] for plane in planes}
    (plane,) = planes
    encoding = None if has_free_values(dataset) else dataset.values.get(plane)
    labels = classes_of(stored, encoding, dataset.ignore_value, f"{case.id} ({plane})")
    if case.unlabelled:
        labels[labels == 0] = IGNORED
    return {plane: labels}


def segment_names(
    dataset: Dataset, case: Case, path: Path, planes: tuple[str, ...]
) -> dict[str, str]:
    """Plane -> segment of a file; without the planes of which a shared file has none."""
    if not dataset.label_maps:
        return segments_of(case.id, path, planes)
    there = formats.read_header(path).segments
    return {plane: plane for plane in planes if plane in there}


def _read_segments(
    dataset: Dataset, case: Case, path: Path, planes: tuple[str, ...]
) -> dict[str, LabelArray]:
    grid = read_grid(case)
    names = segment_names(dataset, case, path, planes)
    placed = read_placed(case.id, path, grid, names) if names else {}
    absent = np.zeros(grid.shape, bool)
    return {plane: placed.get(plane, absent).view(np.uint8) for plane in planes}
