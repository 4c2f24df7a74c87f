"""From a folder to a Dataset: recognise the layout, check every case, say what was understood."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from maskmend import files, formats
from maskmend.core import IGNORED, Case, Dataset, Grid, LabelArray, LeftOut
from maskmend.datasets import folders, reference
from maskmend.datasets.checks import Faults, Inspection, check_channels, inspect
from maskmend.datasets.summary import describe_cases, describe_masks, describe_settings
from maskmend.datasets.tree import (
    LABEL_MAP,
    LABEL_MAPS,
    NAMES,
    Draft,
    FolderTree,
    describe_skipped,
    number_of,
    pair_files,
    shorten,
)
from maskmend.datasets.values import (
    Recognition,
    classes_of,
    has_free_values,
    read_class_names,
    recognise_label_maps,
    recognise_structures,
)
from maskmend.errors import GridMismatchError, LayoutError, MissingFileError, SettingsError


def open_dataset(
    root: str | Path,
    *,
    ignore_value: int | None = None,
    group_pattern: str | None = None,
    classes: Mapping[str, int] | None = None,
) -> Dataset:
    """The cases below a folder, checked one by one; what was recognised is in `understood`.

    ignore_value: stored mask value of pixels that take no part.  group_pattern: regular
    expression whose first group, searched in the case id, is the patient; by default each case
    is its own.  classes: class -> stored value in label maps, before any labels.json.

    A case with a fault is in `left_out`, the others go on.  Raises MissingFileError, LayoutError
    (no usable case), SettingsError, UnreadableFileError, MaskValueError (too many classes).
    """
    tree = _find_tree(Path(root))
    names = _class_names(tree, classes, ignore_value)
    whole, faults = _inspect_all(pair_files(tree), group_pattern)
    recognition = _recognise(tree, whole, names, ignore_value)
    left_out = _left_out(faults, recognition)
    usable = _without(whole, left_out)
    if not usable:
        raise _nothing_usable(tree, left_out)
    return Dataset(
        root=tree.root,
        layout=tree.layout,
        scheme=recognition.scheme,
        cases=tuple(_named_planes(inspection.case, recognition) for inspection in usable),
        values=recognition.values,
        ignore_value=ignore_value,
        left_out=left_out,
        understood=(
            *describe_cases(tree, usable),
            *recognition.understood,
            *describe_masks(tree, usable),
            *describe_settings(usable, ignore_value, group_pattern),
            *describe_skipped(tree),
        ),
    )


def read_image(case: Case) -> NDArray[Any]:
    """(C, *S) in the stored dtype."""
    return formats.read_image(case.image)[0]


def read_grid(case: Case) -> Grid:
    return formats.read_header(case.image).grid


def read_labels(dataset: Dataset, case: Case) -> LabelArray:
    """(planes, *S); a plane without a mask is IGNORED throughout.

    Raises MaskValueError, GridMismatchError, UnreadableFileError, MissingFileError.
    """
    planes = dataset.scheme.planes
    found = {plane: _read_plane(dataset, case, plane) for plane in planes if plane in case.masks}
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


def dataset_digest(dataset: Dataset) -> str:
    """SHA-256, in hexadecimal, of the names and contents of all images and masks in use.

    Where the data set lies and when its files were written do not matter.
    """
    used = {file for case in dataset.cases for file in (case.image, *case.masks.values())}
    digest = hashlib.sha256()
    for name, file in sorted((file.relative_to(dataset.root).as_posix(), file) for file in used):
        digest.update(name.encode() + b"\0" + files.sha256_of(file))
    return digest.hexdigest()


def _read_plane(dataset: Dataset, case: Case, plane: str) -> LabelArray:
    stored, _ = formats.read_mask(case.masks[plane])
    encoding = None if has_free_values(dataset) else dataset.values.get(plane)
    return classes_of(stored, encoding, dataset.ignore_value, f"{case.id} ({plane})")


def _find_tree(root: Path) -> FolderTree:
    if not root.is_dir():
        raise MissingFileError(
            str(root),
            expected="a folder with a data set",
            got="a file" if root.exists() else "nothing there",
            remedy="Check the path.",
        )
    tree = reference.find_reference(root) or folders.find_folders(root)
    if tree is None:
        inside = shorten(sorted(path.name for path in root.iterdir()))
        raise LayoutError(
            str(root),
            expected="one of the known layouts",
            got=f"a folder with {inside}" if inside else "an empty folder",
            remedy="Arrange the files like one of these:\n" + _known_layouts(),
        )
    return tree


def _known_layouts() -> str:
    return f"reference:\n{reference.TREE}\nfolders:\n{folders.TREE}"


def _class_names(
    tree: FolderTree, classes: Mapping[str, int] | None, ignore_value: int | None
) -> dict[str, int] | None:
    if ignore_value == 0:
        raise SettingsError(
            "ignore_value",
            expected="a value other than 0",
            got="0, which is the background",
            remedy="Give the value that marks ignored pixels.",
        )
    if tree.layout == LABEL_MAPS:
        return read_class_names(classes, tree.root / NAMES, ignore_value)
    if classes is not None:
        raise SettingsError(
            "classes",
            expected="names for the values of label maps",
            got="a data set with one folder a structure, which names them",
            remedy="Leave the option out, or rename the folders.",
        )
    return None


def _groups(case_ids: Sequence[str], pattern: str | None) -> dict[str, str]:
    """Case id -> what must not be split between folds."""
    if pattern is None:
        return {case: case for case in case_ids}
    try:
        compiled = re.compile(pattern)
    except re.error as error:
        raise _bad_pattern(f"{pattern!r}: {error}") from error
    if compiled.groups < 1:
        raise _bad_pattern(f"{pattern!r}, without a group in parentheses")
    found = {case: compiled.search(case) for case in case_ids}
    strangers = [case for case, match in found.items() if not (match and match[1])]
    if strangers:
        raise _bad_pattern(f"{pattern!r}, which finds no patient in {shorten(strangers)}")
    return {case: match[1] for case, match in found.items() if match}


def _bad_pattern(got: str) -> SettingsError:
    return SettingsError(
        "group_pattern",
        expected="a regular expression whose first group is the patient in every case id",
        got=got,
        remedy=r"Write one like '^(P\d+)_', or leave it out: then each case is its own patient.",
    )


def _inspect_all(
    drafts: Sequence[Draft], group_pattern: str | None
) -> tuple[list[Inspection], Faults]:
    """The cases whose files are readable, and what is wrong with each case."""
    groups = _groups([draft.id for draft in drafts], group_pattern)
    faults: Faults = {draft.id: [] for draft in drafts}
    found = [inspect(draft, groups[draft.id], faults[draft.id]) for draft in drafts]
    whole = [inspection for inspection in found if inspection is not None]
    check_channels(whole, faults)
    return whole, faults


def _recognise(
    tree: FolderTree,
    whole: Sequence[Inspection],
    names: Mapping[str, int] | None,
    ignore_value: int | None,
) -> Recognition:
    if tree.layout != LABEL_MAPS:
        structures = {inspection.case.id: inspection.counts for inspection in whole}
        return recognise_structures(structures, tree.planes, ignore_value)
    maps = {inspection.case.id: inspection.counts[LABEL_MAP] for inspection in whole}
    return recognise_label_maps(maps, names, ignore_value, tree.root)


def _left_out(faults: Faults, recognition: Recognition) -> tuple[LeftOut, ...]:
    """The cases with faults, each with all its messages, one a line."""
    found = {case: [*own, *recognition.faults.get(case, ())] for case, own in faults.items()}
    reasons = {case: "\n".join(str(error) for error in errors) for case, errors in found.items()}
    return tuple(LeftOut(case, reason) for case, reason in reasons.items() if reason)


def _without(whole: Sequence[Inspection], left_out: Sequence[LeftOut]) -> list[Inspection]:
    out = {entry.case for entry in left_out}
    return [inspection for inspection in whole if inspection.case.id not in out]


def _named_planes(case: Case, recognition: Recognition) -> Case:
    """A label map that turned out to be one binary structure goes by the structure's name."""
    if set(case.masks) == {LABEL_MAP}:
        return replace(case, masks={recognition.scheme.planes[0]: case.masks[LABEL_MAP]})
    return case


def _nothing_usable(tree: FolderTree, left_out: Sequence[LeftOut]) -> LayoutError:
    reasons = "\n".join(entry.reason for entry in left_out[:3])
    return LayoutError(
        str(tree.root),
        expected="at least one case with an image and a mask",
        got=f"{number_of(len(left_out), 'case')}, none of them usable:\n{reasons}\n",
        remedy="Correct the files, or check that the layout is the one that was meant:\n"
        + _known_layouts(),
    )
