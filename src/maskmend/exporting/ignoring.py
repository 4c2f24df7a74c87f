"""The value that ignored pixels take in the files, and how the data set states it."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path
from typing import Any

from maskmend import files, formats
from maskmend.core import Case, Dataset
from maskmend.datasets import place_of
from maskmend.errors import SettingsError

NNUNET = "nnU-Net v2"
"""Layout whose description names the ignore label."""

IGNORE = "ignore"
"""Name of the ignore label in the dataset.json of nnU-Net v2."""


def with_ignore_value(dataset: Dataset, cases: Iterable[Case], wanted: int | None) -> Dataset:
    """The data set with an ignore value: its own, else nnU-Net's next one, else the wanted one.

    cases: whose masks may have to hold it.  Raises SettingsError where there is none, where it
    is the value of a class, or where a mask cannot hold it.
    """
    own = dataset.ignore_value
    description = _description(dataset)
    if own is None and description is not None:
        own = _highest_label(description) + 1
    if own is not None and wanted not in (None, own):
        raise _refused(f"{own}, the ignore value of this data set", str(wanted), "Leave it out.")
    value = own if wanted is None else wanted
    masks = [path for case in cases for path in case.masks.values()]
    _check_sayable(masks)
    if value is None:
        raise _refused(
            "a value for ignored pixels, since the data set has none", "none",
            f"Add --ignore-value with a value that is no class: not {_said(_used(dataset))}.",
        )  # fmt: skip
    if dataset.ignore_value is None:
        _check_free(dataset, value)
    for path in masks:
        _check_holds(path, value)
    return replace(dataset, ignore_value=value)


def declare_ignored(dataset: Dataset, out: Path) -> None:
    """Name the ignore label of nnU-Net v2 in the dataset.json below OUT, after all others.

    It has to be the highest value there is.  The labels keep their order, which for regions is
    that of `regions_class_order`.  Nothing to do for other layouts, or where it is named already.
    """
    path = _description(dataset)
    if path is None:
        return
    copy = out / place_of(dataset, path)
    described = files.read_json(copy)
    if IGNORE not in described["labels"]:
        described["labels"] = {**described["labels"], IGNORE: dataset.ignore_value}
        files.write_bytes_atomic(copy, files.json_bytes(described, str(copy)))


def _description(dataset: Dataset) -> Path | None:
    """The dataset.json of nnU-Net v2, which says what the labels are."""
    return dataset.descriptions[0].file if dataset.layout == NNUNET else None


def _highest_label(description: Path) -> int:
    """Of those that are stated, whether or not a mask has them."""
    labels = files.read_json(description)["labels"]
    values = [value if isinstance(value, list) else [value] for value in labels.values()]
    return max(value for some in values for value in some)


def _used(dataset: Dataset) -> list[int]:
    """Stored values that mean a class somewhere."""
    used = {0}
    for values in dataset.values.values():
        used |= {0, 1, 255} if values is None else set(values)
    if dataset.regions is not None:
        used |= {value for values in dataset.regions.values.values() for value in values}
        used |= set(dataset.regions.order)
    return sorted(used)


def _check_free(dataset: Dataset, value: int) -> None:
    if value in _used(dataset) or value < 0:
        raise _refused(
            f"a value that is no class, so none of {_said(_used(dataset))}", str(value),
            "Choose another one.",
        )  # fmt: skip


def _check_sayable(masks: Iterable[Path]) -> None:
    for path in masks:
        if formats.is_layered(path):
            raise SettingsError(
                "--as", expected="masks that can say of a pixel that it is ignored",
                got=f"{path}, whose segments only say yes or no",
                remedy="Export as mended, or convert the masks to label maps (NIfTI, NRRD) first.",
            )  # fmt: skip


def _check_holds(path: Path, value: int) -> None:
    largest = formats.largest_value(path)
    if value > largest:
        raise _refused(
            f"at most {largest}, the largest value that {path} can hold", str(value),
            "Choose a smaller one, or convert the masks to files with more bits.",
        )  # fmt: skip


def _refused(expected: str, got: str, remedy: str) -> SettingsError:
    return SettingsError("--ignore-value", expected=expected, got=got, remedy=remedy)


def _said(values: Iterable[Any]) -> str:
    return ", ".join(map(str, values))
