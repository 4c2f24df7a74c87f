"""The raw data sets of nnU-Net v2: dataset.json, imagesTr, labelsTr, and its splits_final.json.

Format: documentation/dataset_format.md, region_based_training.md and ignore_label.md of nnU-Net v2.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from maskmend.core import Description, Regions, StatedFold
from maskmend.datasets.found import Draft, Found, Places
from maskmend.datasets.tree import NUMBERED, number_of, say_skipped, shorten
from maskmend.errors import MissingFileError, SettingsError
from maskmend.files import read_json

TREE = """\
  dataset.json                   of nnU-Net v2 or v1
  imagesTr/CASE_0000.nii.gz      one file a channel
  labelsTr/CASE.nii.gz           also imagesTs/ and labelsTs/; splits_final.json, if you like
"""

SPLITS_FILE = "splits_final.json"
FOLDERS = {"training": ("imagesTr", "labelsTr"), "test": ("imagesTs", "labelsTs")}
PREPROCESSED = "nnUNet_preprocessed"
"""Environment variable, as nnU-Net has it, of the folder in which it keeps its splits."""


def find_nnunet(file: Path, content: Mapping[str, Any], splits: Path | None) -> Found:
    """The data set of a dataset.json of version 2.

    splits: of the folds; by default splits_final.json beside it, or in the preprocessed folder.
    Raises SettingsError where dataset.json or the splits make no sense.
    """
    root, places = file.parent, Places(file.parent)
    names, ignore, regions = read_labels_entry(file, content)
    channels = content.get("channel_names")
    if channels is not None and not isinstance(channels, dict):
        raise _bad(file, 'channel_names, such as {"0": "T1"}', channels)
    explicit = content.get("dataset")
    said: list[str] = []
    if explicit is not None:
        drafts = _explicit_drafts(file, explicit, places)
    else:
        ending = content.get("file_ending")
        if not isinstance(ending, str) or not ending.startswith("."):
            raise _bad(file, 'file_ending, such as ".nii.gz"', ending)
        drafts = [d for split in FOLDERS for d in _folder_drafts(root, split, ending, said)]
    folds, source, described = read_splits(root, splits, drafts)
    if source is not None:
        said.append(f"Folds from {source}.")
    if channels:
        said.append("Channels: " + ", ".join(str(name) for name in channels.values()) + ".")
    return Found(
        root, "nnU-Net v2", tuple(drafts), ("training", "test"),
        classes=None if regions else names, named_in=file.name, ignore_value=ignore,
        regions=regions, channels=len(channels) if channels else None, stated_folds=folds,
        understood=tuple(said), skipped=tuple(_skipped(root, file, explicit is not None)),
        descriptions=(Description(file, places.renamed), *described), places=places.places,
    )  # fmt: skip


def read_labels_entry(
    file: Path, content: Mapping[str, Any]
) -> tuple[dict[str, int], int | None, Regions | None]:
    """Classes, ignore value and regions of the key `labels`.  Raises SettingsError."""
    labels = content.get("labels")
    if not isinstance(labels, dict) or not labels:
        raise _bad(file, 'labels, such as {"background": 0, "liver": 1}', labels)
    values = {str(name): _values(file, name, value) for name, value in labels.items()}
    ignored = values.pop("ignore", None)
    if ignored is not None and len(ignored) != 1:
        raise _bad(file, "one value for the label ignore", labels["ignore"])
    ignore = None if ignored is None else ignored[0]
    foreground = {name: value for name, value in values.items() if set(value) != {0}}
    if not any(isinstance(labels[name], list) for name in foreground):
        return {name: value[0] for name, value in foreground.items()}, ignore, None
    order = content.get("regions_class_order")
    whole = isinstance(order, list) and all(type(value) is int for value in order)
    if not isinstance(order, list) or not whole or len(order) != len(foreground):
        raise _bad(file, f"regions_class_order, {len(foreground)} values for the regions", order)
    known = {value for values in foreground.values() for value in values}
    if not set(order) <= known:
        raise _bad(file, "regions_class_order of values that belong to regions", order)
    return {}, ignore, Regions(foreground, tuple(order))


def _values(file: Path, name: str, value: Any) -> tuple[int, ...]:
    values = tuple(value) if isinstance(value, list) else (value,)
    if not values or any(type(each) is not int or each < 0 for each in values):
        raise _bad(file, f"a whole number, or a list of them, for the label {name}", value)
    return values


def _bad(file: Path, expected: str, got: Any) -> SettingsError:
    return SettingsError(
        str(file),
        expected=expected,
        got="nothing" if got is None else repr(got),
        remedy="Correct the file as nnU-Net's description of its data format says.",
    )


def _explicit_drafts(file: Path, explicit: Any, places: Places) -> list[Draft]:
    """Of the key `dataset`: case -> images and label, relative to dataset.json or absolute."""
    if not isinstance(explicit, dict):
        raise _bad(file, 'dataset, such as {"case": {"images": [...], "label": ...}}', explicit)
    drafts = []
    for case, entry in explicit.items():
        images: Any = entry.get("images") if isinstance(entry, dict) else None
        paths = [*images, entry.get("label")] if isinstance(images, list) else [None]
        if not all(isinstance(path, str) for path in paths):
            raise _bad(file, f"images, a list of paths, and label, a path, of {case}", entry)
        channels = tuple(
            (places.take(image, case, f"image_{number}"),) for number, image in enumerate(images)
        )
        masks = {"labels": (places.take(entry["label"], case, "label"),)}
        drafts.append(Draft(case, "training", channels, masks))
    return drafts


def _folder_drafts(root: Path, split: str, ending: str, said: list[str]) -> list[Draft]:
    """Cases of imagesTr and labelsTr, or of the test folders as far as they have labels."""
    images_folder, labels_folder = (root / name for name in FOLDERS[split])
    images: dict[str, dict[int, Path]] = {}
    for stem, path in _files(images_folder, ending).items():
        match = NUMBERED.fullmatch(stem)
        case, channel = (match[1], int(match[2])) if match else (stem, 0)
        images.setdefault(case, {})[channel] = path
    labels = _files(labels_folder, ending)
    if split == "test":
        alone = len(images.keys() - labels.keys())
        if alone:
            said.append(f"{number_of(alone, 'test image')} without labels: not read.")
        images = {case: found for case, found in images.items() if case in labels}
    drafts = []
    for case in sorted({*images, *labels}):
        found = images.get(case, {})
        masks = {"labels": (labels[case],)} if case in labels else {}
        channels = tuple((found[number],) for number in sorted(found))
        gap = sorted(set(range(max(found, default=0) + 1)) - set(found)) if found else []
        fault = None if not gap else MissingFileError(
            case, expected=f"{images_folder / f'{case}_{gap[0]:04d}{ending}'}", got="no such file",
            remedy="Add the file of this channel, or take the case out.",
        )  # fmt: skip
        drafts.append(Draft(case, split, channels, masks, fault=fault))
    return drafts


def _files(folder: Path, ending: str) -> dict[str, Path]:
    """Name without the ending -> file."""
    if not folder.is_dir():
        return {}
    return {
        path.name[: -len(ending)]: path
        for path in sorted(folder.iterdir())
        if path.name.endswith(ending) and not path.name.startswith(".")
    }


def _skipped(root: Path, file: Path, explicit: bool) -> list[str]:
    known = {file.name, SPLITS_FILE, *(name for pair in FOLDERS.values() for name in pair)}
    unread = [path for path in sorted(root.iterdir()) if path.name not in known]
    return [] if explicit else say_skipped(root, unread)


def read_splits(
    root: Path, splits: Path | None, drafts: Sequence[Draft]
) -> tuple[tuple[StatedFold, ...], Path | None, tuple[Description, ...]]:
    """The folds, the file that they come from, and that file if it is a part of the data set.

    Raises MissingFileError, UnreadableFileError, SettingsError: no folds, a case that the data set
    does not have, or one on both sides.
    """
    source = _splits_file(root, splits)
    if source is None:
        return (), None, ()
    content = read_json(source)
    if not isinstance(content, list) or not all(_is_fold(fold) for fold in content):
        raise _bad_splits(source, 'a list of folds, {"train": [...], "val": [...]} each', "others")
    known = {draft.id for draft in drafts}
    folds = []
    for number, fold in enumerate(content):
        sides = {side: frozenset(fold[side]) for side in ("train", "val")}
        strange = sorted((sides["train"] | sides["val"]) - known)
        if strange:
            what = f"{shorten(strange)} in fold {number}, which the data set does not have"
            raise _bad_splits(source, "cases of the data set", what)
        both = sorted(sides["train"] & sides["val"])
        if both:
            what = f"{shorten(both)} in train and in val of fold {number}"
            raise _bad_splits(source, "each case on one side of a fold", what)
        folds.append(StatedFold(sides["train"], sides["val"]))
    inside = source == root / SPLITS_FILE
    return tuple(folds), source, (Description(source),) if inside else ()


def _splits_file(root: Path, splits: Path | None) -> Path | None:
    if splits is not None:
        return splits
    candidates = [root / SPLITS_FILE]
    if os.environ.get(PREPROCESSED):
        candidates.append(Path(os.environ[PREPROCESSED]) / root.resolve().name / SPLITS_FILE)
    return next((path for path in candidates if path.is_file()), None)


def _is_fold(fold: Any) -> bool:
    return isinstance(fold, dict) and all(
        isinstance(fold.get(side), list) and all(isinstance(case, str) for case in fold[side])
        for side in ("train", "val")
    )


def _bad_splits(source: Path, expected: str, got: str) -> SettingsError:
    return SettingsError(
        str(source), expected=expected, got=got,
        remedy="Give the splits_final.json that was made for this data set.",
    )  # fmt: skip
