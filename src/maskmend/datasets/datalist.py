"""MONAI datalists: JSON with lists of {"image": ..., "label": ..., "fold": ...}."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from maskmend.core import Description, StatedFold
from maskmend.datasets.found import SPLITS, Draft, Found, Places, ids_of_files, resolve
from maskmend.datasets.tree import number_of
from maskmend.errors import SettingsError

TREE = """\
  NAME.json                      a MONAI datalist: {"training": [{"image": "images/a.nii.gz",
                                 "label": "labels/a.nii.gz", "fold": 0}, ...]}; several channels as
                                 a list of images; "validation" and "test" likewise
"""

SECTIONS = {"training": "training", "validation": "validation", "test": "test", "testing": "test"}
"""Key of a datalist -> split."""


def find_datalist(file: Path, content: Mapping[str, Any]) -> Found:
    """The data set of a datalist.  Paths are relative to the file, or absolute.

    The id of a case is the name of its image, with as many of its folders as tell it apart.
    `fold` of the training entries gives the stated folds, each trained on all others.  Entries of
    the test section without a label are not read.  Raises SettingsError.
    """
    entries = _entries(file, content)
    unlabelled = sum(_is_unlabelled_test(split, entry) for split, entry in entries)
    entries = [(s, e) for s, e in entries if not _is_unlabelled_test(s, e)]
    firsts = [resolve(file.parent, _images(file, entry)[0]) for _, entry in entries]
    ids, said = _ids(file, ids_of_files(file.parent, firsts), [split for split, _ in entries])
    places = Places(file.parent)
    drafts = []
    folds: dict[int, set[str]] = {}
    for case, (split, entry) in zip(ids, entries, strict=True):
        images = tuple(
            (places.take(image, case, f"image_{number}"),)
            for number, image in enumerate(_images(file, entry))
        )
        label = entry.get("label")
        masks = {"labels": (places.take(label, case, "label"),)} if label else {}
        drafts.append(Draft(case, split, images, masks))
        if split == "training" and isinstance(entry.get("fold"), int):
            folds.setdefault(entry["fold"], set()).add(case)
    if unlabelled:
        said.append(f"{number_of(unlabelled, 'test image')} without labels: not read.")
    return Found(
        file.parent, "MONAI datalist", tuple(drafts), SPLITS, classes=class_values(file, content),
        named_in=file.name if "labels" in content else "labels.json", stated_folds=_stated(folds),
        understood=tuple(said),
        descriptions=(Description(file, places.renamed),), places=places.places,
    )  # fmt: skip


def class_values(file: Path, content: Mapping[str, Any]) -> dict[str, int] | None:
    """The key `labels`, {"1": "liver"} or {"liver": 1}, as class -> value; None without it."""
    labels = content.get("labels")
    if labels is None:
        return None
    if not isinstance(labels, dict) or not labels:
        raise bad_entry(file, 'labels, such as {"0": "background", "1": "liver"}', labels)
    if all(type(value) is int for value in labels.values()):
        return {str(name): value for name, value in labels.items()}
    if any(not str(key).isdigit() or not isinstance(name, str) for key, name in labels.items()):
        raise bad_entry(file, 'labels, such as {"0": "background", "1": "liver"}', labels)
    found = {name: int(key) for key, name in labels.items()}
    if len(found) < len(labels):
        raise bad_entry(file, "a name of its own for each label", labels)
    return found


def bad_entry(file: Path, expected: str, got: Any) -> SettingsError:
    return SettingsError(
        str(file), expected=expected, got="nothing" if got is None else repr(got)[:200],
        remedy="Correct the file.",
    )  # fmt: skip


def _entries(file: Path, content: Mapping[str, Any]) -> list[tuple[str, dict[str, Any]]]:
    """(split, entry), a file name alone standing for an image."""
    found = []
    for section, split in SECTIONS.items():
        listed = content.get(section, [])
        if not isinstance(listed, list):
            raise bad_entry(file, f"a list under {section}", listed)
        for entry in listed:
            entry = {"image": entry} if isinstance(entry, str) else entry
            if not isinstance(entry, dict):
                raise bad_entry(file, f'entries {{"image": ..., "label": ...}} in {section}', entry)
            if not isinstance(entry.get("label", ""), str):
                raise bad_entry(file, "one file under label", entry["label"])
            found.append((split, entry))
    return found


def _ids(file: Path, names: list[str], splits: list[str]) -> tuple[list[str], list[str]]:
    """Ids that differ, with the split in front where an image stands in two, and what was done."""
    if len(set(names)) == len(names):
        return names, []
    # a copy may have the split in the name already
    ids = [
        f"{split}-{name.removeprefix(f'{split}-')}"
        for split, name in zip(splits, names, strict=True)
    ]
    twice = sorted(case for case, count in Counter(ids).items() if count > 1)
    if twice:
        raise bad_entry(file, "each image once in a list", ", ".join(twice[:5]))
    return ids, ["Images recur between lists: each case id begins with its split."]


def _is_unlabelled_test(split: str, entry: Mapping[str, Any]) -> bool:
    return split == "test" and not entry.get("label")


def _images(file: Path, entry: Mapping[str, Any]) -> list[str]:
    images = entry.get("image")
    images = [images] if isinstance(images, str) else images
    if not isinstance(images, list) or not images or not all(isinstance(i, str) for i in images):
        raise bad_entry(file, "the file of an image, or a list of them, under image", entry)
    return images


def _stated(folds: Mapping[int, set[str]]) -> tuple[StatedFold, ...]:
    everyone = frozenset(case for cases in folds.values() for case in cases)
    if len(folds) < 2:
        return ()
    return tuple(
        StatedFold(everyone - folds[number], frozenset(folds[number])) for number in sorted(folds)
    )
