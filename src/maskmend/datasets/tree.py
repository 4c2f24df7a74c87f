"""Where the images and masks of a data set of folders lie, and which files belong together."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from maskmend.datasets.found import LABEL_MAPS, Draft, Found, tell_apart
from maskmend.errors import MaskmendError
from maskmend.formats import SERIES, find_format, parts, split_name

IMAGES, MASKS, SOFT, NAMES = "images", "masks", "soft", "labels.json"
MASK_FOLDERS = (MASKS, "labels")
"""Names of the folder of masks beside images/, the first one that is there."""

NUMBERED = re.compile(r"(.+)_(\d{4})")
"""Name of a file that holds one channel: CASE_0000."""

SUFFIXES = {
    "image": re.compile(r"(.+?)[-_. ](?:image|img|0000)", re.IGNORECASE),
    "mask": re.compile(
        r"(.+?)[-_. ](?:labels?|masks?|seg|segmentation|gt|ground[-_]?truth)", re.IGNORECASE
    ),
}
"""What is often put behind the name of a case, to say which of its files this is."""


@dataclass(frozen=True)
class FolderTree:
    """What a layout of folders found.

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

    def found(self) -> Found:
        """Its files paired to cases."""
        drafts, sentences = pair_files(self)
        return Found(
            self.root, self.layout, drafts, tuple(self.images), self.planes,
            label_maps=self.layout == LABEL_MAPS, understood=sentences,
            skipped=tuple(describe_skipped(self)),
        )  # fmt: skip


def visible_folders(root: Path) -> list[Path]:
    return [path for path in _entries(root) if path.is_dir() and not path.name.startswith(".")]


def list_pictures(folder: Path) -> list[Path]:
    """The files of a folder that a format knows, hidden ones left out."""
    return [path for path in _entries(folder) if is_picture(path)]


def list_images(folder: Path) -> list[Path]:
    """The files as from `list_pictures`, and the subfolders that hold a DICOM series each."""
    return [path for path in _entries(folder) if is_picture(path) or is_series(path)]


def is_series(path: Path) -> bool:
    """Whether a path is a folder with DICOM files, by their endings or, without one, by content."""
    if path.name.startswith(".") or not path.is_dir():
        return False
    files = [file for file in _entries(path) if file.is_file() and file.name[0] != "."]
    formats = {file: find_format(file) for file in files}
    # archives name files by their UIDs, the last number of which looks like an ending
    return SERIES in formats.values() or any(
        _is_dicom(file) for file, known in formats.items() if known is None
    )


def _is_dicom(file: Path) -> bool:
    with file.open("rb") as handle:
        return handle.read(132)[128:] == b"DICM"


def pair_files(tree: FolderTree) -> tuple[tuple[Draft, ...], tuple[str, ...]]:
    """One draft for each name in each split, in the order of splits, then names; what was done.

    The id is the name without its ending; where two splits have a name in common, every id of the
    data set begins with the split.
    """
    said: list[str] = []
    drafts = [draft for split in tree.images for draft in _pair_split(tree, split, said)]
    apart, sentences = tell_apart(drafts)
    return apart, (*sentences, *said)


def describe_skipped(tree: FolderTree) -> list[str]:
    """Sentences on what in the data set's folders was not read."""
    images = {*tree.images.values()}
    read = images | {f for planes in tree.masks.values() for f in planes.values()}
    around = {tree.root} | {parent for folder in read for parent in folder.parents}
    parents = {folder for folder in around if folder == tree.root or tree.root in folder.parents}
    known = read | parents | {tree.root / SOFT}
    if tree.layout == LABEL_MAPS:
        known.add(tree.root / NAMES)
    unread = [path for folder in sorted(parents) for path in _entries(folder) if path not in known]
    unread += [path for folder in sorted(read) for path in _entries(folder)]
    unread = [path for path in unread if not (path.parent in read and is_picture(path))]
    unread = [path for path in unread if not (path.parent in images and is_series(path))]
    return say_skipped(tree.root, _without_parts(unread, read))


def say_skipped(root: Path, unread: list[Path]) -> list[str]:
    """Sentences on files that are no part of a data set; hidden ones are only counted."""
    hidden = [path for path in unread if path.name.startswith(".")]
    names = [str(path.relative_to(root)) for path in unread if path not in hidden]
    sentences = [f"Skipped {number_of(len(hidden), 'hidden file')}."] if hidden else []
    return sentences + ([f"Skipped, as no part of the layout: {shorten(names)}."] if names else [])


def _without_parts(unread: list[Path], read: set[Path]) -> list[Path]:
    """Without the files that belong to a header, such as the .raw of an .mhd."""
    folders = {path.parent for path in unread if path.parent in read}
    headers = [
        path for folder in sorted(folders) for path in _entries(folder)
        if is_picture(path) and path.suffix.lower() in (".mhd", ".nhdr")
    ]  # fmt: skip
    belonging: set[Path] = set()
    for header in headers:
        try:
            belonging |= set(parts(header))
        except MaskmendError:
            # the case itself is left out with this reason
            continue
    return [path for path in unread if path not in belonging]


def shorten(names: list[str], most: int = 5) -> str:
    """The first names, and how many more there are."""
    rest = f" and {len(names) - most} more" if len(names) > most else ""
    return ", ".join(names[:most]) + rest


def number_of(count: int, noun: str) -> str:
    return f"{count} {noun}" if count == 1 else f"{count} {noun}s"


def _pair_split(tree: FolderTree, split: str, said: list[str]) -> Iterator[Draft]:
    images = by_stem(tree.images[split], series=True)
    masks = {plane: by_stem(folder) for plane, folder in tree.masks.get(split, {}).items()}
    channels = _take_channels(images, masks)
    if channels:
        said.append(
            f"Files NAME_0000, NAME_0001, ... are the channels of the image NAME, in "
            f"{number_of(len(channels), 'case')}."
        )
    names = _common_names(images, masks, set(channels))
    if names:
        first, common = min(names.items())
        said.append(
            f"Names that differ by a usual suffix were paired, such as {first} to the case "
            f"{common}: {number_of(len(set(names.values())), 'case')}."
        )
    images = {names.get(stem, stem): files for stem, files in images.items()}
    masks = {
        plane: {names.get(stem, stem): files for stem, files in found.items()}
        for plane, found in masks.items()
    }
    whole = {stem: (files,) for stem, files in images.items()} | channels
    for stem in sorted({*whole, *(stem for files in masks.values() for stem in files)}):
        found = {plane: files.get(stem, ()) for plane, files in masks.items()}
        yield Draft(stem, split, whole.get(stem, ()), found)


def _take_channels(
    images: dict[str, tuple[Path, ...]], masks: Mapping[str, Mapping[str, tuple[Path, ...]]]
) -> dict[str, tuple[tuple[Path, ...], ...]]:
    """Case -> the files of each of its channels, taken out of `images`.

    Where there are NAME_0000 to NAME_000N and no NAME, and a mask is called NAME.
    """
    stems = {stem for found in masks.values() for stem in found} - set(images)
    numbered: dict[str, dict[int, str]] = {}
    for stem in images:
        match = NUMBERED.fullmatch(stem)
        if match and match[1] in stems:
            numbered.setdefault(match[1], {})[int(match[2])] = stem
    return {
        case: tuple(images.pop(found[number]) for number in range(len(found)))
        for case, found in sorted(numbered.items())
        if sorted(found) == list(range(len(found)))
    }


def _common_names(
    images: Mapping[str, tuple[Path, ...]],
    masks: Mapping[str, Mapping[str, tuple[Path, ...]]],
    paired: set[str],
) -> dict[str, str]:
    """Stem of a file without a partner -> the id that it has with one, but for a usual suffix.

    Only where no other file could be meant by it: CASE_0000 with CASE, CASE_image with CASE_seg.
    paired: ids that have their files already.
    """
    stems = {stem for found in masks.values() for stem in found}
    alone = {"image": set(images) - stems, "mask": stems - set(images)}
    short = {kind: {s: _without_suffix(s, kind) for s in found} for kind, found in alone.items()}
    counts = {kind: Counter(found.values()) for kind, found in short.items()}
    numbered = (NUMBERED.fullmatch(stem) for stem in images)
    taken = paired | (set(images) & stems)
    taken |= {match[1] for match in numbered if match and match[2] != "0000"}
    unique = {
        name
        for name in counts["image"].keys() & counts["mask"].keys()
        if counts["image"][name] == counts["mask"][name] == 1 and name not in taken
    }
    return {
        stem: name
        for found in short.values()
        for stem, name in found.items()
        if name in unique and name != stem
    }


def _without_suffix(stem: str, kind: str) -> str:
    match = SUFFIXES[kind].fullmatch(stem)
    return match[1] if match else stem


def by_stem(folder: Path, series: bool = False) -> dict[str, tuple[Path, ...]]:
    """Name without its ending -> the pictures (and series) of that name."""
    stems: dict[str, tuple[Path, ...]] = {}
    for path in list_images(folder) if series else list_pictures(folder):
        stem = path.name if path.is_dir() else split_name(path.name)[0]
        stems[stem] = (*stems.get(stem, ()), path)
    return stems


def is_picture(path: Path) -> bool:
    return not path.name.startswith(".") and find_format(path) is not None and path.is_file()


def _entries(folder: Path) -> list[Path]:
    return sorted(folder.iterdir())
