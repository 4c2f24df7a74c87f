"""From labels back to files: the layout, the names and the encoding of the input.

A data set is never written into its own folder.
"""

from __future__ import annotations

from pathlib import Path
from typing import Literal

import numpy as np

from maskmend import files, formats
from maskmend.core import IGNORED, Case, Dataset, FloatArray, IntArray, LabelArray
from maskmend.datasets.tree import NAMES, SOFT
from maskmend.datasets.values import (
    BINARY_VALUES,
    binary_values,
    classes_of,
    has_free_values,
    read_class_names,
)
from maskmend.errors import (
    GridMismatchError,
    LayoutError,
    MaskValueError,
    MissingFileError,
    NotFiniteError,
    SettingsError,
)


def write_labels(dataset: Dataset, case: Case, labels: LabelArray, out_root: Path) -> None:
    """Write the masks of a case below another root, as they lie below the data set's own.

    labels: (planes, *S).  Only pixels whose class differs from the source's are changed; a mask
    without any is copied byte for byte.  A pixel that becomes IGNORED takes the ignore value.

    Raises LayoutError (out_root in the data set), GridMismatchError, MaskValueError (a class that
    the scheme or the file cannot hold), SettingsError (IGNORED, but there is no ignore value),
    MissingFileError (labels for a structure without a mask in this case).
    """
    planes = dataset.scheme.planes
    if len(labels) != len(planes):
        raise GridMismatchError(
            case.id,
            expected=f"one plane for each of {', '.join(planes)}",
            got=f"labels of shape {labels.shape}",
            remedy="Give labels as (planes, *S).",
        )
    for plane, wanted in zip(planes, labels, strict=True):
        if plane in case.masks:
            _write_plane(dataset, case, plane, wanted, out_root)
        elif (wanted != IGNORED).any():
            raise MissingFileError(
                case.id,
                expected=f"no labels of {plane}, which this case has no mask of",
                got=f"{int((wanted != IGNORED).sum())} labelled pixels",
                remedy="Leave the plane IGNORED, or add a mask file to the source.",
            )


def write_soft_labels(dataset: Dataset, case: Case, soft: FloatArray, out_root: Path) -> None:
    """Write soft/<case id>.npy below another root.

    soft: (num_channels, *S) float32, finite.  Raises LayoutError, GridMismatchError,
    NotFiniteError.
    """
    channels = dataset.scheme.num_channels
    if len(soft) != channels or soft.dtype != np.float32:
        raise GridMismatchError(
            case.id,
            expected=f"soft labels of {channels} channels, float32",
            got=f"{soft.shape}, {soft.dtype}",
            remedy="Give one channel a structure, or one a class where classes are exclusive.",
        )
    if not np.isfinite(soft).all():
        raise NotFiniteError(
            case.id,
            expected="finite soft labels",
            got=f"NaN or infinity in {int((~np.isfinite(soft)).sum())} places",
            remedy="Give ignored pixels a finite value too.",
        )
    target = _target(dataset, dataset.root / SOFT / f"{case.id}.npy", out_root)
    files.write_array(target, soft)


def copy_images(dataset: Dataset, out_root: Path, how: Literal["copy", "link"] = "copy") -> None:
    """Put the images of all cases below another root, and the names of the classes.

    With the masks of `write_labels` the folder is a complete data set of the same layout, in which
    each value keeps its class even if a class has lost its last pixel.  how: "link" makes symbolic
    links to the source.  Raises LayoutError (out_root in the data set).
    """
    place = files.link_file_atomic if how == "link" else files.copy_file_atomic
    for case in dataset.cases:
        place(case.image, _target(dataset, case.image, out_root))
    if not has_free_values(dataset):
        _write_class_names(dataset, out_root)


def _write_plane(
    dataset: Dataset, case: Case, plane: str, wanted: LabelArray, out_root: Path
) -> None:
    source = case.masks[plane]
    target = _target(dataset, source, out_root)
    stored, grid = formats.read_mask(source)
    if wanted.shape != grid.shape:
        raise GridMismatchError(
            case.id,
            expected=f"labels of {plane} of the mask's shape, {grid.shape}",
            got=f"{wanted.shape}",
            remedy="Resample the labels to the grid of the source.",
        )
    encoding = _encoding(dataset, plane, stored, source)
    changed = wanted != classes_of(stored, encoding, dataset.ignore_value, case.id)
    if not changed.any():
        files.copy_file_atomic(source, target)
        return
    values = _values_of_classes(encoding, dataset.ignore_value, wanted[changed], case)
    mended = stored.astype(np.int64)
    mended[changed] = values[wanted[changed]]
    formats.write_mask(target, mended, source)


def _encoding(dataset: Dataset, plane: str, stored: IntArray, source: Path) -> tuple[int, ...]:
    """Stored value of each class in one file."""
    usual = dataset.values.get(plane)
    if usual is not None and not has_free_values(dataset):
        return usual
    foreground = [value for value in BINARY_VALUES if value != dataset.ignore_value]
    if usual is None or np.isin(stored, foreground).any():
        usual = binary_values(stored, dataset.ignore_value)
    # an empty file may have too few bits for the value that the others use
    return usual if formats.largest_value(source) >= usual[1] else (0, 1)


def _values_of_classes(
    encoding: tuple[int, ...], ignore_value: int | None, wanted: LabelArray, case: Case
) -> IntArray:
    """Table from class to stored value, for the classes in `wanted`."""
    table = np.zeros(256, np.int64)
    table[: len(encoding)] = encoding
    unknown = sorted(set(np.unique(wanted).tolist()) - set(range(len(encoding))) - {IGNORED})
    if unknown:
        raise MaskValueError(
            case.id,
            expected=f"classes 0 to {len(encoding) - 1}, or {IGNORED} for ignored pixels",
            got=f"{unknown}",
            remedy="Write labels by the scheme of the data set.",
        )
    if ignore_value is not None:
        table[IGNORED] = ignore_value
    elif (wanted == IGNORED).any():
        raise SettingsError(
            case.id,
            expected="an ignore value, to write pixels that are to be ignored",
            got=f"{int((wanted == IGNORED).sum())} of them and no such value",
            remedy="Open the data set with ignore_value.",
        )
    return table


def _write_class_names(dataset: Dataset, out_root: Path) -> None:
    plane = dataset.scheme.planes[0]
    values = dataset.values[plane] or ()
    names = dict(zip(dataset.scheme.structures, values[1:], strict=True))
    source = dataset.root / NAMES
    target = _target(dataset, source, out_root)
    if source.is_file() and read_class_names(None, source, dataset.ignore_value) == names:
        files.copy_file_atomic(source, target)
    else:
        files.write_json(target, names)


def _target(dataset: Dataset, source: Path, out_root: Path) -> Path:
    """Where a file of the data set goes below out_root; LayoutError if that is in the data set."""
    target = out_root / source.relative_to(dataset.root)
    root = dataset.root.resolve()
    folder = target.parent.resolve()
    if root in (folder, *folder.parents):
        raise LayoutError(
            str(out_root),
            expected="a folder outside the data set, which is never written",
            got=f"one that leads into {dataset.root}",
            remedy="Choose another folder for the output.",
        )
    return target
