"""Where the images and masks of a data set lie, and which files belong together."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from maskmend.core import Case
from maskmend.errors import DuplicateCaseError, MissingFileError
from maskmend.formats import find_format, split_name

SPLITS = ("training", "validation", "test")
IMAGES, MASKS, SOFT, NAMES = "images", "masks", "soft", "labels.json"
LABEL_MAP = "labels"
"""Plane of a mask that holds all classes."""

LABEL_MAPS = "label maps"
"""Layout in which each mask holds all classes."""


@dataclass(frozen=True)
class FolderTree:
    """What a layout found.

    layout: "reference", "folders" or LABEL_MAPS.  images: split -> folder.  masks: split ->
    plane -> folder; label maps are the one plane LABEL_MAP.
    """

    root: Path
    layout: str
    images: Mapping[str, Path]
    masks: Mapping[str, Mapping[str, Path]]

    @property
    def planes(self) -> tuple[str, ...]:
        return tuple(sorted({plane for folders in self.masks.values() for plane in folders}))


@dataclass(frozen=True)
class Draft:
    """The files of one name, before anything is checked.  masks: plane -> files."""

    id: str
    split: str
    images: tuple[Path, ...]
    masks: Mapping[str, tuple[Path, ...]]


def visible_folders(root: Path) -> list[Path]:
    return [path for path in _entries(root) if path.is_dir() and not path.name.startswith(".")]


def list_pictures(folder: Path) -> list[Path]:
    """The files of a folder that a format knows, hidden ones left out."""
    return [path for path in _entries(folder) if _is_picture(path)]


def pair_files(tree: FolderTree) -> list[Draft]:
    """One draft for each name in each split, in the order of splits, then names.

    The id is the name without its ending; where two splits have a name in common, every id of the
    data set begins with the split.
    """
    drafts = [draft for split in tree.images for draft in _pair_split(tree, split)]
    if len({draft.id for draft in drafts}) == len(drafts):
        return drafts
    return [Draft(f"{d.split}-{d.id}", d.split, d.images, d.masks) for d in drafts]


def check_draft(draft: Draft, group: str) -> Case:
    """The case of a draft.  Raises DuplicateCaseError, MissingFileError."""
    for files in (draft.images, *draft.masks.values()):
        check_single(draft.id, files)
    masks = {plane: files[0] for plane, files in draft.masks.items() if files}
    if not draft.images:
        raise MissingFileError(
            draft.id,
            expected=f"an image for the mask {next(iter(masks.values()))}",
            got="a mask without an image",
            remedy=f"Put the image of the same name into {IMAGES}/, or take the mask out.",
        )
    if not masks:
        raise MissingFileError(
            draft.id,
            expected=f"a mask for the image {draft.images[0]}",
            got="an image without a mask",
            remedy="Add its mask under the same name, or take the image out.",
        )
    return Case(draft.id, group, draft.split, draft.images[0], masks)


def check_single(case: str, files: tuple[Path, ...]) -> None:
    """Raises DuplicateCaseError for two files of one name."""
    if len(files) > 1:
        raise DuplicateCaseError(
            case,
            expected=f"one file of this name in {files[0].parent}",
            got=", ".join(path.name for path in files),
            remedy="Keep one of them, or give them names of their own.",
        )


def describe_skipped(tree: FolderTree) -> list[str]:
    """Sentences on what in the data set's folders was not read."""
    read = {*tree.images.values(), *(f for planes in tree.masks.values() for f in planes.values())}
    around = {tree.root} | {parent for folder in read for parent in folder.parents}
    parents = {folder for folder in around if folder == tree.root or tree.root in folder.parents}
    known = read | parents | {tree.root / SOFT}
    if tree.layout == LABEL_MAPS:
        known.add(tree.root / NAMES)
    unread = [path for folder in sorted(parents) for path in _entries(folder) if path not in known]
    unread += [path for folder in sorted(read) for path in _entries(folder)]
    unread = [path for path in unread if not (path.parent in read and _is_picture(path))]
    hidden = [path for path in unread if path.name.startswith(".")]
    names = [str(path.relative_to(tree.root)) for path in unread if path not in hidden]
    sentences = [f"Skipped {number_of(len(hidden), 'hidden file')}."] if hidden else []
    return sentences + ([f"Skipped, as no part of the layout: {shorten(names)}."] if names else [])


def shorten(names: list[str], most: int = 5) -> str:
    """The first names, and how many more there are."""
    rest = f" and {len(names) - most} more" if len(names) > most else ""
    return ", ".join(names[:most]) + rest


def number_of(count: int, noun: str) -> str:
    return f"{count} {noun}" if count == 1 else f"{count} {noun}s"


def _pair_split(tree: FolderTree, split: str) -> Iterator[Draft]:
    images = by_stem(tree.images[split])
    masks = {plane: by_stem(folder) for plane, folder in tree.masks.get(split, {}).items()}
    for stem in sorted({*images, *(stem for files in masks.values() for stem in files)}):
        found = {plane: files.get(stem, ()) for plane, files in masks.items()}
        yield Draft(stem, split, images.get(stem, ()), found)


def by_stem(folder: Path) -> dict[str, tuple[Path, ...]]:
    """Name without its ending -> the pictures of that name."""
    stems: dict[str, tuple[Path, ...]] = {}
    for path in list_pictures(folder):
        stem = split_name(path.name)[0]
        stems[stem] = (*stems.get(stem, ()), path)
    return stems


def _is_picture(path: Path) -> bool:
    return not path.name.startswith(".") and find_format(path) is not None and path.is_file()


def _entries(folder: Path) -> list[Path]:
    return sorted(folder.iterdir())
