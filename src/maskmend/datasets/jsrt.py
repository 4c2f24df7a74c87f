"""The JSRT radiographs as they are distributed, with the masks of the SCR database.

Images: JPCLN001.IMG, 2048 x 2048.  Masks: heart/JPCLN001.gif and so on, 1024 x 1024.  Shiraishi et
al., AJR 2000; van Ginneken, Stegmann, Loog, Medical Image Analysis 2006.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

from maskmend.datasets.found import Draft, Found
from maskmend.datasets.tree import FolderTree, is_picture, list_pictures
from maskmend.formats import find_format, split_name

TREE = """\
  .../NAME.IMG                   the original radiographs of JSRT, 2048 x 2048
  .../<structure>/NAME.gif       the masks of SCR, 1024 x 1024: heart, left lung, ...
"""

DEPTH = 5
"""Folders below the root in which files are looked for."""

IMAGE = ".img"


def is_original(tree: FolderTree) -> bool:
    """Whether images and masks lie in folders of another layout, but are those of JSRT."""
    return any(
        path.suffix.lower() == IMAGE
        for folder in tree.images.values()
        for path in list_pictures(folder)
    )


def find_jsrt(root: Path) -> Found | None:
    """The radiographs below a root, else None.

    Each folder of masks is a structure, by its name; both halves of the SCR database (fold1 and
    fold2) go together.  The images are brought to the grid of the masks.
    """
    images: dict[str, tuple[Path, ...]] = {}
    masks: dict[str, dict[str, tuple[Path, ...]]] = {}
    for path in _pictures(root):
        stem = split_name(path.name)[0].upper()
        if path.suffix.lower() == IMAGE:
            images[stem] = (*images.get(stem, ()), path)
        elif _holds_masks(path) and path.parent != root:
            of_structure = masks.setdefault(path.parent.name, {})
            of_structure[stem] = (*of_structure.get(stem, ()), path)
    if not images or not masks:
        return None
    stems = sorted({*images, *(stem for found in masks.values() for stem in found)})
    planes = tuple(sorted(masks))
    drafts = tuple(
        Draft(
            stem, "training", (images[stem],) if stem in images else (),
            {plane: masks[plane].get(stem, ()) for plane in planes}, shrinks=True,
        )
        for stem in stems
    )  # fmt: skip
    return Found(root, "jsrt", drafts, ("training",), planes, label_maps=False)


def _pictures(root: Path) -> Iterator[Path]:
    for folder, names, files in os.walk(root):
        here = Path(folder)
        names[:] = sorted(name for name in names if not name.startswith("."))
        if len(here.relative_to(root).parts) >= DEPTH:
            names.clear()
        yield from (path for name in sorted(files) if is_picture(path := here / name))


def _holds_masks(path: Path) -> bool:
    entry = find_format(path)
    return entry is not None and entry.masks is not None and not entry.layered
