"""From labels back to files: the layout, the names and the encoding of the input.

A data set is never written into its own folder.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Literal

import numpy as np

from maskmend import files, formats
from maskmend.core import (
    IGNORED,
    BoolArray,
    Case,
    Dataset,
    FloatArray,
    IntArray,
    LabelArray,
    LeftOut,
)
from maskmend.datasets.describing import write_descriptions
from maskmend.datasets.images import read_grid
from maskmend.datasets.labels import planes_by_file, read_file, segment_names
from maskmend.datasets.places import parts_of, place_of, target_of
from maskmend.datasets.regions import paint_regions
from maskmend.datasets.segments import write_placed
from maskmend.datasets.tree import SOFT
from maskmend.datasets.values import BINARY_VALUES, binary_values, has_free_values
from maskmend.errors import (
    GridMismatchError,
    MaskValueError,
    MissingFileError,
    NotFiniteError,
    SettingsError,
    UnreadableFileError,
)

CANNOT_HOLD = (MaskValueError, GridMismatchError, UnreadableFileError)
"""Errors of one mask file that cannot be written with the labels wanted."""


def write_labels(dataset: Dataset, case: Case, labels: LabelArray, out_root: Path) -> None:
    """Write the masks of a case below another root, as they lie below the data set's own.

    labels: (planes, *S).  Only pixels whose class differs from the source's are changed; a mask
    file without any is copied byte for byte.  A pixel that becomes IGNORED takes the ignore value.
    Where structures of a label map are not labelled, its background stays as it is.  Of regions, a
    pixel in which some plane changed is painted anew from all of them.  Of the segments of a label
    map (DICOM), a pixel that would be in several stays as it was.

    Raises LayoutError (out_root in the data set), GridMismatchError (also for a segment beyond the
    part of the image that its file covers), MaskValueError (a class that the scheme or the file
    cannot hold), SettingsError (IGNORED, but there is no ignore value), MissingFileError (labels
    for a structure without a mask in this case, or where nobody looked for it).
    """
    for source, wanted in _wanted_files(dataset, case, labels):
        given = _given(dataset, case, source, wanted)
        _write_file(dataset, case, source, given, wanted, out_root)


def write_fitting(
    dataset: Dataset, case: Case, labels: LabelArray, out_root: Path
) -> tuple[LeftOut, ...]:
    """As `write_labels`, but a mask file that cannot hold its labels is copied as it was given.

    Such as segments that a file has no room for, that would overlap in a label map, or that lie
    beyond the part of the image that the file covers; or a compression that cannot be written.
    Returns these masks, a reason each; the other masks of the case are written.
    """
    kept = []
    for source, wanted in _wanted_files(dataset, case, labels):
        given = _given(dataset, case, source, wanted)
        try:
            _write_file(dataset, case, source, given, wanted, out_root)
        except CANNOT_HOLD as error:
            _copy_file(dataset, source, out_root)
            kept.append(LeftOut(case.id, f"{source.name} stays as it was given. {error}"))
    return tuple(kept)


def _wanted_files(
    dataset: Dataset, case: Case, labels: LabelArray
) -> list[tuple[Path, dict[str, LabelArray]]]:
    """Mask file -> its planes of `labels`.  Raises GridMismatchError, MissingFileError."""
    planes = dataset.scheme.planes
    if len(labels) != len(planes):
        raise GridMismatchError(
            case.id,
            expected=f"one plane for each of {', '.join(planes)}",
            got=f"labels of shape {labels.shape}",
            remedy="Give labels as (planes, *S).",
        )
    wanted = dict(zip(planes, labels, strict=True))
    for plane in planes:
        if plane not in case.masks and (wanted[plane] != IGNORED).any():
            raise _unlabelled(case, plane, int((wanted[plane] != IGNORED).sum()))
    return [
        (source, {name: wanted[name] for name in names})
        for source, names in planes_by_file(dataset, case).items()
    ]


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
    target = target_of(dataset, Path(SOFT, f"{case.id}.npy"), out_root)
    files.write_array(target, soft)


def copy_images(dataset: Dataset, out_root: Path, how: Literal["copy", "link"] = "copy") -> None:
    """Put the images of all cases below another root, and the files that describe the data set.

    With the masks of `write_labels` the folder is a complete data set of the same layout, in which
    each value keeps its class even if a class has lost its last pixel.  A file from outside of the
    data set's folder goes to files/CASE/, and the description says so.  how: "link" makes symbolic
    links to the source.  Raises LayoutError (out_root in the data set).
    """
    place = files.link_file_atomic if how == "link" else files.copy_file_atomic
    for case in dataset.cases:
        for image in case.images:
            for part, where in parts_of(dataset, image):
                place(part, target_of(dataset, where, out_root))
    write_descriptions(dataset, out_root)


def _given(
    dataset: Dataset, case: Case, source: Path, wanted: Mapping[str, LabelArray]
) -> dict[str, LabelArray]:
    """What a mask file holds of the planes wanted.  Raises GridMismatchError at another shape."""
    given = read_file(dataset, case, source, tuple(wanted))
    for plane, labels in wanted.items():
        if labels.shape != given[plane].shape:
            raise GridMismatchError(
                case.id,
                expected=f"labels of {plane} of the mask's shape, {given[plane].shape}",
                got=f"{labels.shape}",
                remedy="Resample the labels to the grid of the source.",
            )
    return given


def _write_file(
    dataset: Dataset, case: Case, source: Path, given: dict[str, LabelArray],
    wanted: dict[str, LabelArray], out_root: Path,
) -> None:  # fmt: skip
    """One mask file with the planes that it holds."""
    changed = {plane: labels != given[plane] for plane, labels in wanted.items()}
    if not any(pixels.any() for pixels in changed.values()):
        _copy_file(dataset, source, out_root)
        return
    target = target_of(dataset, place_of(dataset, source), out_root)
    if formats.is_layered(source):
        if formats.is_exclusive(source):
            wanted = _without_overlap(given, wanted)
        hit = {plane: wanted[plane] for plane in wanted if (wanted[plane] != given[plane]).any()}
        if hit:
            _write_segments(dataset, case, source, hit, target)
        else:
            _copy_file(dataset, source, out_root)
    elif dataset.regions is not None:
        _write_regions(dataset, case, source, given, wanted, target)
    else:
        ((plane, labels),) = wanted.items()
        _check_known(case, source, given[plane], changed[plane], dataset.ignore_value)
        _write_plane(dataset, case, source, plane, labels, changed[plane], target)


def _copy_file(dataset: Dataset, source: Path, out_root: Path) -> None:
    for part, where in parts_of(dataset, source):
        files.copy_file_atomic(part, target_of(dataset, where, out_root))


def _write_plane(
    dataset: Dataset, case: Case, source: Path, plane: str, wanted: LabelArray,
    changed: BoolArray, target: Path,
) -> None:  # fmt: skip
    stored, _ = formats.read_mask(source)
    encoding = _encoding(dataset, plane, stored, source)
    values = _values_of_classes(encoding, dataset.ignore_value, wanted[changed], case)
    mended = stored.astype(np.int64)
    mended[changed] = values[wanted[changed]]
    formats.write_mask(target, mended, source)


def _without_overlap(
    given: Mapping[str, LabelArray], wanted: Mapping[str, LabelArray]
) -> dict[str, LabelArray]:
    """The labels wanted; where a pixel would be in several segments, those given."""
    several = np.sum([labels == 1 for labels in wanted.values()], axis=0) > 1
    return {plane: np.where(several, given[plane], labels) for plane, labels in wanted.items()}


def _write_segments(
    dataset: Dataset, case: Case, source: Path, hit: dict[str, LabelArray], target: Path
) -> None:
    for labels in hit.values():
        _values_of_classes((0, 1), None, labels, case)
    held = planes_by_file(dataset, case)[source]
    names = segment_names(dataset, case, source, held)
    masks = {names.get(plane, plane): labels == 1 for plane, labels in hit.items()}
    lacking = [plane for plane in hit if plane not in names]
    models = _namesakes(dataset, source, lacking) if lacking else {}
    write_placed(case.id, target, source, read_grid(case), masks, models)


def _namesakes(dataset: Dataset, source: Path, names: Sequence[str]) -> dict[str, Path]:
    """Segment -> the first other file of the data set that says what a segment of this name is."""
    entry, found = formats.find_format(source), dict[str, Path]()
    for other in dataset.cases:
        for path in {other.masks[name] for name in names if name in other.masks}:
            if path == source or formats.find_format(path) != entry:
                continue
            there = formats.read_header(path).segments
            for name in names:
                if name in there:
                    found.setdefault(name, path)
        if len(found) == len(names):
            break
    return found


def _write_regions(
    dataset: Dataset, case: Case, source: Path, given: dict[str, LabelArray],
    wanted: dict[str, LabelArray], target: Path,
) -> None:  # fmt: skip
    assert dataset.regions is not None
    planes = np.stack(list(wanted.values()))
    changed = (planes != np.stack(list(given.values()))).any(axis=0)
    ignored = (planes == IGNORED).any(axis=0)
    # checks the classes, and that there is an ignore value where it is needed
    _values_of_classes((0, 1), dataset.ignore_value, planes[:, changed], case)
    stored, _ = formats.read_mask(source)
    mended = stored.astype(np.int64)
    painted = paint_regions(planes, dataset.regions)
    mended[changed] = np.where(ignored, dataset.ignore_value or 0, painted)[changed]
    formats.write_mask(target, mended, source)


def _check_known(
    case: Case, source: Path, given: LabelArray, changed: BoolArray, ignore_value: int | None
) -> None:
    """Raises MissingFileError where the background of a partly labelled map would be changed."""
    if not case.unlabelled:
        return
    hit = changed & (given == IGNORED)
    if ignore_value is not None and hit.any():
        hit &= formats.read_mask(source)[0] != ignore_value
    if hit.any():
        raise _unlabelled(case, ", ".join(sorted(case.unlabelled)), int(hit.sum()))


def _unlabelled(case: Case, structure: str, pixels: int) -> MissingFileError:
    return MissingFileError(
        case.id,
        expected=f"no labels of {structure}, which this case has no mask of",
        got=f"{pixels} labelled pixels",
        remedy="Leave the plane IGNORED, or add a mask file to the source.",
    )


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
