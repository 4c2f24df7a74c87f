"""What a layout says of a data set before any pixel is read."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from maskmend.core import Case, Description, Regions, StatedFold
from maskmend.errors import (
    DuplicateCaseError,
    MaskmendError,
    MissingFileError,
    UnreadableFileError,
)
from maskmend.formats import split_name

SPLITS = ("training", "validation", "test")
LABEL_MAP = "labels"
"""Plane of a mask that holds all classes, or several segments."""

LABEL_MAPS = "label maps"
"""Layout of images/ and masks/ in which each mask holds all classes."""

OUTSIDE = "files"
"""Folder, in a copy of a data set, of the files that lie outside of the data set's own."""


@dataclass(frozen=True)
class Draft:
    """The files of one name, before anything is checked.

    images: for each channel, the files that could be it.  masks: plane -> the files that could be
    it.  group: None where only the user may know.  labelled: structures that were looked for in
    this case, None for all.  fault: what the layout found wrong with it.  shrinks: the image may
    have a multiple of the masks' pixels.
    """

    id: str
    split: str
    images: tuple[tuple[Path, ...], ...]
    masks: Mapping[str, tuple[Path, ...]]
    group: str | None = None
    labelled: frozenset[str] | None = None
    fault: MaskmendError | None = None
    shrinks: bool = False


@dataclass(frozen=True)
class Found:
    """What a layout found.

    planes: structures with a mask of their own; (LABEL_MAP,) where `label_maps`, so that each mask
    file holds all classes or several segments.  classes: class -> stored value,
    where the layout says so; named_in: which file does.  channels: of every image, where the
    layout says so.  understood: sentences on the layout; skipped: on what was not read.
    places: as in `Dataset`.
    """

    root: Path
    layout: str
    drafts: tuple[Draft, ...]
    splits: tuple[str, ...] = SPLITS
    planes: tuple[str, ...] = (LABEL_MAP,)
    label_maps: bool = True
    classes: Mapping[str, int] | None = None
    named_in: str = "labels.json"
    ignore_value: int | None = None
    regions: Regions | None = None
    channels: int | None = None
    stated_folds: tuple[StatedFold, ...] = ()
    understood: tuple[str, ...] = ()
    skipped: tuple[str, ...] = ()
    descriptions: tuple[Description, ...] = ()
    places: Mapping[Path, Path] = field(default_factory=dict)


def check_draft(draft: Draft, group: str) -> Case:
    """The case of a draft.

    Raises its fault, DuplicateCaseError, MissingFileError, UnreadableFileError (a folder as mask).
    """
    if draft.fault is not None:
        raise draft.fault
    for files in (*draft.images, *draft.masks.values()):
        check_single(draft.id, files)
    images = tuple(files[0] for files in draft.images if files)
    masks = {plane: files[0] for plane, files in draft.masks.items() if files}
    if not images:
        raise MissingFileError(
            draft.id,
            expected=f"an image for the mask {next(iter(masks.values()), '')}",
            got="a mask without an image",
            remedy="Put the image of the same name into images/, or take the mask out.",
        )
    if not masks:
        raise MissingFileError(
            draft.id,
            expected=f"a mask for the image {images[0]}",
            got="an image without a mask",
            remedy="Add its mask under the same name, or take the image out.",
        )
    for file in (*images, *masks.values()):
        if not file.exists():
            raise MissingFileError(
                draft.id,
                expected=f"the file {file}",
                got="nothing there",
                remedy="Add it, or take the case out of the description of the data set.",
            )
    for file in masks.values():
        if file.is_dir():
            raise UnreadableFileError(
                draft.id,
                expected="the file of a mask",
                got=f"the folder {file}",
                remedy="Name the file in it, such as the .dcm of a DICOM SEG.",
            )
    return Case(draft.id, group, draft.split, images[0], masks, images[1:])


def check_single(case: str, files: tuple[Path, ...]) -> None:
    """Raises DuplicateCaseError for two files of one name."""
    if len(files) > 1:
        raise DuplicateCaseError(
            case,
            expected=f"one file of this name in {files[0].parent}",
            got=", ".join(path.name for path in files),
            remedy="Keep one of them, or give them names of their own.",
        )


def tell_apart(drafts: Sequence[Draft]) -> tuple[tuple[Draft, ...], tuple[str, ...]]:
    """Drafts with ids that differ, and what was done for it.

    Where two splits have a name in common, every id of the data set begins with the split.
    """
    if len({draft.id for draft in drafts}) == len(drafts):
        return tuple(drafts), ()
    prefixed = tuple(replace(draft, id=f"{draft.split}-{draft.id}") for draft in drafts)
    return prefixed, ("File names recur between splits: each case id begins with its split.",)


def ids_of_files(root: Path, paths: Sequence[Path]) -> list[str]:
    """A name for each file: without its ending, or with as many of its folders as tell it apart.

    Folders above `root` count only for files outside of it.  In a copy, such a file lies where
    `Places` puts it, and keeps the id that it has in the source.
    """
    inside = [path.relative_to(root) if path.is_relative_to(root) else path for path in paths]
    copied = [path.parts[1] if path.match(f"{OUTSIDE}/*/image_0/*") and len(path.parts) == 4
              else None for path in inside]  # fmt: skip
    stems = [split_name(path.name)[0] for path in inside]
    names = list(stems)
    for depth in range(1, 5):
        counts = Counter(names)
        if max(counts.values(), default=0) < 2:
            break
        for at, path in enumerate(inside):
            if counts[names[at]] > 1:
                folders = [part.strip("/") for part in path.parts[:-1][-depth:]]
                names[at] = "-".join([*filter(None, folders), stems[at]])
    return [old or name for old, name in zip(copied, names, strict=True)]


def resolve(root: Path, stated: str) -> Path:
    """The file that a description means: below `root` if it lies there, else absolute."""
    whole = Path(os.path.abspath(root / stated))
    base = Path(os.path.abspath(root))
    return root / whole.relative_to(base) if whole.is_relative_to(base) else whole


class Places:
    """Where files outside of a data set's folder go in a copy: files/CASE/ROLE/NAME, below OUTSIDE.

    Collects, while a description is read, which of its paths a copy has to write otherwise.
    """

    def __init__(self, root: Path) -> None:
        self.root = root
        self.places: dict[Path, Path] = {}
        self.renamed: dict[str, str] = {}

    def take(self, stated: str, case: str, role: str) -> Path:
        """The file of a stated path.  role: "image_0", "label", ..."""
        file = resolve(self.root, stated)
        if file.is_relative_to(self.root) and ".." not in file.relative_to(self.root).parts:
            inside = file.relative_to(self.root)
            if Path(os.path.normpath(stated)) != inside:
                self.renamed[stated] = inside.as_posix()
            return file
        place = self.places.setdefault(file, Path(OUTSIDE, case, role, file.name))
        self.renamed[stated] = place.as_posix()
        return file


def refuse_shared(drafts: Iterable[Draft]) -> tuple[Draft, ...]:
    """Drafts of which no two have a mask in common: mending one would change the other."""
    owner: dict[Path, str] = {}
    checked = []
    for draft in drafts:
        files = {file for candidates in draft.masks.values() for file in candidates}
        shared = sorted(file for file in files if owner.setdefault(file, draft.id) != draft.id)
        if shared and draft.fault is None:
            draft = replace(
                draft,
                fault=DuplicateCaseError(
                    draft.id,
                    expected="a mask file of its own",
                    got=f"{shared[0]}, which is also the mask of {owner[shared[0]]}",
                    remedy="Give each case a copy of the file, or take one of them out.",
                ),
            )
        checked.append(draft)
    return tuple(checked)
