"""A plain pair of folders, `images` and `masks`: label maps, or one subfolder a structure."""

from __future__ import annotations

from pathlib import Path

from maskmend.datasets.found import LABEL_MAP, LABEL_MAPS, SPLITS
from maskmend.datasets.tree import (
    IMAGES,
    MASK_FOLDERS,
    MASKS,
    FolderTree,
    by_stem,
    list_pictures,
    visible_folders,
)
from maskmend.errors import LayoutError

TREE = """\
  images/NAME.png                or the same under {training,validation,test}/
  masks/NAME.png                 label maps: 0 is background, each other value a class; the
                                 folder may be called labels/, an image may be the folder of a
                                 DICOM series, a mask a .seg.nrrd or DICOM SEG of several segments,
                                 alone in a folder NAME/ if you like
  labels.json                    their names, if you like: {"lung": 1, "heart": 2}

  images/NAME.png
  masks/<structure>/NAME.png     one subfolder a structure, binary masks that may overlap
"""


def find_folders(root: Path) -> FolderTree | None:
    """The tree of a root in this layout, else None; without splits all cases are "training".

    Raises LayoutError where `masks` holds both label maps and subfolders with masks.
    """
    places = {"training": root} if _is_pair(root) else {}
    places = places or {split: root / split for split in SPLITS if _is_pair(root / split)}
    images = {split: place / IMAGES for split, place in places.items()}
    folders = {split: _mask_folder(place) for split, place in places.items()}
    structures = {split: _structures(folder) for split, folder in folders.items()}
    maps = {split: {LABEL_MAP: folder} for split, folder in folders.items() if _has_files(folder)}
    for split, found in structures.items():
        if found and found.keys() <= by_stem(images[split], series=True).keys():
            # named as the images: a folder a case
            maps[split], structures[split] = {LABEL_MAP: folders[split]}, {}
    if maps and any(structures.values()):
        raise LayoutError(
            str(root),
            expected=f"either label maps in {MASKS}/ or one subfolder a structure",
            got="files beside the subfolders "
            + ", ".join(sorted({name for found in structures.values() for name in found})),
            remedy="Move one of the two out.",
        )
    tree = FolderTree(root, LABEL_MAPS if maps else "folders", images, maps or structures)
    return tree if tree.planes else None


def _is_pair(place: Path) -> bool:
    return (place / IMAGES).is_dir() and _mask_folder(place).is_dir()


def _mask_folder(place: Path) -> Path:
    there = (place / name for name in MASK_FOLDERS if (place / name).is_dir())
    return next(there, place / MASKS)


def _structures(masks: Path) -> dict[str, Path]:
    return {folder.name: folder for folder in visible_folders(masks) if list_pictures(folder)}


def _has_files(masks: Path) -> bool:
    return bool(list_pictures(masks))
