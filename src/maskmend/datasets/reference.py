"""The layout of the reference code: splits, in each `images` and one folder a structure."""

from __future__ import annotations

from pathlib import Path

from maskmend.datasets.found import SPLITS
from maskmend.datasets.tree import IMAGES, MASK_FOLDERS, FolderTree, list_pictures, visible_folders

TREE = """\
  {training,validation,test}/    any of these
    images/NAME.png
    <structure>/NAME.png         one folder a structure, binary masks
"""


def find_reference(root: Path) -> FolderTree | None:
    """The tree of a root in this layout, else None.

    Every folder with pictures beside `images` is a structure.  A single one called `masks` or
    `labels` is the layout `folders`.
    """
    images = {split: root / split / IMAGES for split in SPLITS if (root / split / IMAGES).is_dir()}
    masks = {
        split: {
            folder.name: folder
            for folder in visible_folders(root / split)
            if folder.name != IMAGES and list_pictures(folder)
        }
        for split in images
    }
    tree = FolderTree(root, "reference", images, masks)
    alone = tree.planes in [(name,) for name in MASK_FOLDERS]
    return tree if tree.planes and not alone else None
