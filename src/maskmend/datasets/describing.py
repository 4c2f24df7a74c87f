"""The files that describe a data set, in a copy of it: paths and numbers that hold there."""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from maskmend import files
from maskmend.core import Dataset, Description
from maskmend.datasets.places import place_of, target_of
from maskmend.datasets.tree import NAMES
from maskmend.datasets.values import has_free_values, read_class_names

CASES_COUNTED = "numTraining"
"""Key of dataset.json; nnU-Net refuses a folder with another number of training cases."""

NAMED_INSIDE = ("nnU-Net v2", "nnU-Net v1", "Medical Segmentation Decathlon")
"""Layouts whose description names the classes."""


def write_descriptions(dataset: Dataset, out_root: Path) -> None:
    """The descriptions of a data set below another root, and the names of classes.

    A description is copied byte for byte where it holds for the copy: unless it names files
    outside of the data set's folder, or counts cases that were left out.
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
        return _renamed_table(description) if description.renamed else None
    content = files.read_json(description.file)
    new = _without_cases(_renamed(content, description.renamed), dataset)
    return None if new == content else files.json_bytes(new)


def _without_cases(content: Any, dataset: Dataset) -> Any:
    """nnU-Net's dataset.json and splits_final.json without the cases that were left out."""
    out = {left_out.case for left_out in dataset.left_out}
    if not out or not dataset.layout.startswith("nnU-Net"):
        return content
    if isinstance(content, list):
        return [
            {side: [c for c in ids if c not in out] for side, ids in f.items()} for f in content
        ]
    new = dict(content)
    if isinstance(new.get(CASES_COUNTED), int):
        new[CASES_COUNTED] = len(dataset.split("training"))
    if isinstance(new.get("dataset"), dict):
        new["dataset"] = {c: entry for c, entry in new["dataset"].items() if c not in out}
    return new


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


def _renamed_table(description: Description) -> bytes:
    text = files.read_bytes(description.file).decode("utf-8-sig")
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    for row in csv.reader(io.StringIO(text, newline="")):
        writer.writerow([_renamed_cell(cell, description.renamed) for cell in row])
    return out.getvalue().encode()


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
