"""dataset.json of the Medical Segmentation Decathlon, and of nnU-Net v1, which took it over."""

from __future__ import annotations

from collections.abc import Mapping
from glob import escape
from pathlib import Path
from typing import Any

from maskmend.core import Description
from maskmend.datasets.datalist import bad_entry, class_values
from maskmend.datasets.found import Draft, Found, Places
from maskmend.datasets.nnunet import read_splits
from maskmend.datasets.tree import NUMBERED, number_of
from maskmend.formats import split_name

TREE = """\
  dataset.json                   of the Decathlon: {"training": [{"image": "./imagesTr/a.nii.gz",
                                 "label": "./labelsTr/a.nii.gz"}], "labels": {"1": "liver"}, ...};
                                 several channels in one 4D file, or as CASE_0000 in files of their
                                 own (nnU-Net v1)
"""


def find_decathlon(file: Path, content: Mapping[str, Any], splits: Path | None) -> Found:
    """The data set of a dataset.json.  splits: as in `find_nnunet`.  Raises SettingsError."""
    root, places = file.parent, Places(file.parent)
    entries = content["training"]
    if not isinstance(entries, list) or not all(_is_pair(entry) for entry in entries):
        raise bad_entry(file, 'training, a list of {"image": ..., "label": ...}', entries)
    modality = content["modality"]
    if not isinstance(modality, dict) or not modality:
        raise bad_entry(file, 'modality, such as {"0": "MRI"}', modality)
    drafts, numbered = [], False
    for entry in entries:
        case = split_name(Path(entry["image"]).name)[0]
        image = places.take(entry["image"], case, "image_0")
        channels = () if image.exists() else _channels(image)
        numbered = numbered or bool(channels)
        masks = {"labels": (places.take(entry["label"], case, "label"),)}
        images = tuple((path,) for path in channels or (image,))
        drafts.append(Draft(case, "training", images, masks))
    folds, source, described = read_splits(root, splits, drafts)
    said = ["Channels: " + ", ".join(str(name) for name in modality.values()) + "."]
    test = content.get("test", [])
    if isinstance(test, list) and test:
        said.append(f"{number_of(len(test), 'test image')} without labels: not read.")
    if source is not None:
        said.append(f"Folds from {source}.")
    return Found(
        root, "nnU-Net v1" if numbered else "Medical Segmentation Decathlon", tuple(drafts),
        classes=class_values(file, content), named_in=file.name, channels=len(modality),
        stated_folds=folds, understood=tuple(said),
        descriptions=(Description(file, places.renamed), *described), places=places.places,
    )  # fmt: skip


def _is_pair(entry: Any) -> bool:
    return isinstance(entry, dict) and all(
        isinstance(entry.get(side), str) for side in ("image", "label")
    )


def _channels(image: Path) -> tuple[Path, ...]:
    """CASE_0000, CASE_0001, ... for the stated name CASE, as nnU-Net v1 stores them."""
    stem, ending = split_name(image.name)
    found = (
        sorted(image.parent.glob(f"{escape(stem)}_????{ending}")) if image.parent.is_dir() else []
    )
    return tuple(path for path in found if NUMBERED.fullmatch(split_name(path.name)[0]))
