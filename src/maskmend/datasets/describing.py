"""The files that describe a data set, in a copy of it: paths and numbers that hold there."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from maskmend import files
from maskmend.core import Dataset, Description
from maskmend.datasets.found import resolve
from maskmend.datasets.places import place_of, target_of
from maskmend.datasets.sheets import read_sheet
from maskmend.datasets.tree import NAMES
from maskmend.datasets.values import has_free_values, read_class_names

CASES_COUNTED = "numTraining"
"""Key of dataset.json; nnU-Net refuses a folder with another number of training cases."""

LISTED = {
    "training": CASES_COUNTED, "validation": "numValidation", "test": "numTest",
    "testing": "numTest",
}  # fmt: skip
"""Key of a list of cases -> key that counts them, in a dataset.json or a datalist."""

NAMED_INSIDE = ("nnU-Net v2", "nnU-Net v1", "Medical Segmentation Decathlon")
"""Layouts whose description names the classes."""


def write_descriptions(dataset: Dataset, out_root: Path) -> None:
    """The descriptions of a data set below another root, and the names of classes.

    A description is copied byte for byte where it holds for the copy: unless it names files
    outside of the data set's folder, or cases that were left out.
    """
    for description in dataset.descriptions:
        target = target_of(dataset, place_of(dataset, description.file), out_root)
        changed = _described(dataset, description)
        if changed is None:
            files.copy_file_atomic(description.file, target)
        else:
            files.write_bytes_atomic(target, changed)
    plain = dataset.label_maps and None not in dataset.values.values()
    if plain and dataset.layout not in NAMED_INSIDE and not has_free_values(dataset):
        _write_class_names(dataset, out_root)


def split_cell(cell: str) -> list[str]:
    """The entries of a table's cell, which stand between semicolons."""
    return [entry.strip() for entry in cell.split(";") if entry.strip()]


def _described(dataset: Dataset, description: Description) -> bytes | None:
    """A description for a copy; None where the source's own holds."""
    if description.file.suffix.lower() != ".json":
        return _table_for_copy(dataset, description)
    content = files.read_json(description.file)
    new = _renamed(_without_cases(content, dataset, description.file), description.renamed)
    return None if new == content else files.json_bytes(new)


def _without_cases(content: Any, dataset: Dataset, file: Path) -> Any:
    """A JSON description without the cases that were left out.

    Test images without a label are not read, and stay listed.
    """
    held = _Held.of(dataset, file)
    if isinstance(content, list):
        if all(isinstance(each, dict) and "train" in each for each in content):
            return _folds_without_cases(content, dataset)
        return [each for each in content if held.has(each)]
    new = dict(content)
    for section, counted in LISTED.items():
        if isinstance(new.get(section), list):
            tested = section.startswith("test")
            kept = [each for each in new[section] if held.has(each, unlabelled=tested)]
            if len(kept) < len(new[section]) and isinstance(new.get(counted), int):
                new[counted] = len(kept)
            new[section] = kept
    if dataset.layout == "nnU-Net v2":
        out = {left_out.case for left_out in dataset.left_out}
        if out and isinstance(new.get(CASES_COUNTED), int):
            new[CASES_COUNTED] = len(dataset.split("training"))
        if isinstance(new.get("dataset"), dict):
            new["dataset"] = {c: entry for c, entry in new["dataset"].items() if c not in out}
    return new


def _folds_without_cases(content: list[Any], dataset: Dataset) -> list[Any]:
    """splits_final.json."""
    out = {left_out.case for left_out in dataset.left_out}
    return [{side: [c for c in ids if c not in out] for side, ids in f.items()} for f in content]


@dataclass(frozen=True)
class _Held:
    """The files of the cases that a copy holds.

    folder: of the description.  images: of each mask's case.
    """

    folder: Path
    images: Mapping[Path, frozenset[Path]]

    @classmethod
    def of(cls, dataset: Dataset, file: Path) -> _Held:
        images = {
            path: frozenset(case.images) for case in dataset.cases for path in case.masks.values()
        }
        return cls(file.parent, images)

    def has(self, entry: Any, unlabelled: bool = False) -> bool:
        """Whether an entry of a list, or a row of a table, is of a case that is held.

        unlabelled: what to say of one without a label; outside of a test section it is no case.
        """
        if not isinstance(entry, dict):
            return unlabelled
        labels = _paths(value for key, value in entry.items() if key.split(":")[0] == "label")
        stated = _paths(value for key, value in entry.items() if key.startswith("image"))
        files = [resolve(self.folder, path) for path in stated]
        # the image that nnU-Net v1 states is not there, but CASE_0000, CASE_0001, ...
        there = {file for file in files if file.exists()}
        known = [self.images.get(resolve(self.folder, path)) for path in labels]
        return any(each is not None and there <= each for each in known) if labels else unlabelled


def _paths(values: Iterable[Any]) -> list[str]:
    """Of entries that are a path, a list of them, or a cell with semicolons."""
    each = (part for value in values for part in (value if isinstance(value, list) else [value]))
    return [path for part in each if isinstance(part, str) for path in split_cell(part)]


def _renamed(value: Any, renamed: Mapping[str, str]) -> Any:
    """A JSON value with every text that is a path of `renamed` replaced, alone or between ";"."""
    if isinstance(value, dict):
        return {key: _renamed(each, renamed) for key, each in value.items()}
    if isinstance(value, list):
        return [_renamed(each, renamed) for each in value]
    return _renamed_cell(value, renamed) if isinstance(value, str) else value


def _renamed_cell(cell: str, renamed: Mapping[str, str]) -> str:
    entries = split_cell(cell)
    if not any(entry in renamed for entry in entries):
        return cell
    return ";".join(renamed.get(entry, entry) for entry in entries)


def _table_for_copy(dataset: Dataset, description: Description) -> bytes | None:
    """A CSV with the rows and the paths that a copy holds; None where the source's own does."""
    sheet = read_sheet(description.file)
    held = _Held.of(dataset, description.file)
    kept = [row for row in sheet.rows if held.has(dict(zip(sheet.names, row, strict=True)))]
    if len(kept) == len(sheet.rows) and not description.renamed:
        return None
    return sheet.content([_renamed_cell(cell, description.renamed) for cell in row] for row in kept)


def _write_class_names(dataset: Dataset, out_root: Path) -> None:
    plane = dataset.scheme.planes[0]
    values = dataset.values[plane] or ()
    names = dict(zip(dataset.scheme.structures, values[1:], strict=True))
    source = dataset.root / NAMES
    target = target_of(dataset, Path(NAMES), out_root)
    if source.is_file() and read_class_names(None, source, dataset.ignore_value) == names:
        files.copy_file_atomic(source, target)
    else:
        files.write_json(target, names)
