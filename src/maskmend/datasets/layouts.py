"""Which layout a folder or a file has, and what the user may say beside it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from maskmend.datasets import datalist, decathlon, folders, jsrt, nnunet, reference, table
from maskmend.datasets.found import Found, refuse_shared
from maskmend.datasets.tree import NAMES, shorten
from maskmend.datasets.values import read_class_names
from maskmend.errors import LayoutError, MissingFileError, SettingsError, UnreadableFileError
from maskmend.files import read_json

DESCRIPTION = "dataset.json"


def find_layout(root: Path, splits: Path | None = None) -> Found:
    """What a folder, or the file that describes a data set, holds.

    splits: a splits_final.json.  Raises MissingFileError, LayoutError, SettingsError,
    UnreadableFileError.
    """
    found = _from_file(root, splits) if root.is_file() else _from_folder(root, splits)
    if splits is not None and not found.stated_folds:
        raise SettingsError(
            str(splits),
            expected=f"the folds of a data set in the layout of nnU-Net ({DESCRIPTION})",
            got=f"one in the layout {found.layout}",
            remedy="Leave the option out.",
        )
    return replace(found, drafts=refuse_shared(found.drafts))


def known_layouts() -> str:
    parts = {
        "reference": reference.TREE, "folders": folders.TREE, "nnU-Net": nnunet.TREE,
        "Medical Segmentation Decathlon": decathlon.TREE, "MONAI datalist": datalist.TREE,
        "table": table.TREE, "jsrt": jsrt.TREE,
    }  # fmt: skip
    return "\n".join(f"{name}:\n{tree}" for name, tree in parts.items())


def stated_ignore(found: Found, ignore_value: int | None) -> int | None:
    """The ignore value of the user or of the layout.  Raises SettingsError where they differ."""
    if ignore_value == 0:
        raise SettingsError(
            "ignore_value",
            expected="a value other than 0",
            got="0, which is the background",
            remedy="Give the value that marks ignored pixels.",
        )
    if found.ignore_value is not None and ignore_value not in (None, found.ignore_value):
        raise SettingsError(
            "ignore_value",
            expected=f"{found.ignore_value}, as {found.named_in} says",
            got=str(ignore_value),
            remedy="Leave the option out, or correct the file.",
        )
    return found.ignore_value if ignore_value is None else ignore_value


def class_names(
    found: Found, classes: Mapping[str, int] | None, ignore_value: int | None
) -> dict[str, int] | None:
    """Class -> stored value of label maps, or None where nobody says.

    From the user, the layout's description or labels.json, in this order.  Raises SettingsError.
    """
    if found.label_maps and found.regions is None:
        if classes is None and found.classes is not None:
            source = found.root / found.named_in
            return read_class_names(found.classes, source, ignore_value, str(source))
        return read_class_names(classes, found.root / NAMES, ignore_value)
    if classes is not None:
        got = "a data set with one folder a structure, which names them"
        raise SettingsError(
            "classes",
            expected="names for the values of label maps",
            got=got if found.regions is None else f"regions, which {found.named_in} names",
            remedy="Leave the option out, or rename the folders.",
        )
    return None


def _from_file(file: Path, splits: Path | None) -> Found:
    if file.suffix.lower() == ".csv":
        return table.find_table(file)
    if file.suffix.lower() == ".json":
        found = _from_json(file, read_json(file), splits)
        if found is not None:
            return found
        expected = "the description of a data set: dataset.json, a datalist or a list of cases"
        raise LayoutError(
            str(file), expected=expected, got="other JSON",
            remedy="Write it like one of these:\n" + known_layouts(),
        )  # fmt: skip
    raise MissingFileError(
        str(file),
        expected="a folder with a data set, or a CSV or JSON file that describes one",
        got="a file",
        remedy="Check the path.",
    )


def _from_json(file: Path, content: Any, splits: Path | None) -> Found | None:
    """None where the content describes no data set."""
    if isinstance(content, list):
        return table.find_table(file) if table.is_table(content) else None
    if not isinstance(content, dict):
        return None
    if "channel_names" in content or ("labels" in content and "file_ending" in content):
        return nnunet.find_nnunet(file, content, splits)
    if "labels" in content and "modality" in content and "training" in content:
        return decathlon.find_decathlon(file, content, splits)
    if isinstance(content.get("training"), list):
        return datalist.find_datalist(file, content)
    return None


UNDESCRIBED = (
    f"; its {DESCRIPTION} has neither channel_names and labels, as of nnU-Net v2, nor modality, "
    "labels and training, as of the Decathlon and nnU-Net v1"
)
"""What is wrong with a description that none of the layouts knows."""


def _from_folder(root: Path, splits: Path | None) -> Found:
    if not root.is_dir():
        raise MissingFileError(
            str(root),
            expected="a folder with a data set",
            got="nothing there",
            remedy="Check the path.",
        )
    described = root / DESCRIPTION
    found = _from_json(described, read_json(described), splits) if described.is_file() else None
    if found is not None:
        return found
    tree = reference.find_reference(root) or folders.find_folders(root)
    if tree is not None and not jsrt.is_original(tree):
        return tree.found()
    found = jsrt.find_jsrt(root) or _described(root)
    if found is None:
        inside = shorten(sorted(path.name for path in root.iterdir()))
        lacking = UNDESCRIBED if described.is_file() else ""
        raise LayoutError(
            str(root),
            expected="one of the known layouts",
            got=(f"a folder with {inside}" if inside else "an empty folder") + lacking,
            remedy="Arrange the files like one of these:\n" + known_layouts(),
        )
    return found


def _described(root: Path) -> Found | None:
    """The one table or datalist in a folder; None without one.  Raises LayoutError for two."""
    described = [path for path in sorted(root.iterdir()) if _describes(path)]
    if len(described) > 1:
        raise LayoutError(
            str(root),
            expected="one description of a data set",
            got=", ".join(path.name for path in described),
            remedy="Name the file instead of the folder.",
        )
    return _from_file(described[0], None) if described else None


def _describes(path: Path) -> bool:
    if not path.is_file() or path.name.startswith("."):
        return False
    if path.suffix.lower() == ".csv":
        return table.has_columns(path)
    if path.suffix.lower() != ".json":
        return False
    try:
        content = read_json(path)
    except UnreadableFileError:
        # some other file; where it is meant, the user names it
        return False
    return table.is_table(content) or (isinstance(content, dict) and "training" in content)
