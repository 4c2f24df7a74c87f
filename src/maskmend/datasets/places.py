"""Where the files of a data set go in a copy of it."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator
from pathlib import Path

from maskmend import files, formats
from maskmend.core import Dataset
from maskmend.errors import LayoutError


def place_of(dataset: Dataset, file: Path) -> Path:
    """Path of a file of the data set relative to the root of a copy.

    Where it lies below the data set's own root; one from elsewhere goes to files/CASE/ROLE/NAME.
    """
    place = dataset.places.get(file)
    return file.relative_to(dataset.root) if place is None else place


def target_of(dataset: Dataset, place: Path, out_root: Path) -> Path:
    """A path below the root of a copy; LayoutError if that leads into the data set."""
    target = out_root / place
    root = dataset.root.resolve()
    folder = target.parent.resolve()
    if root in (folder, *folder.parents):
        raise LayoutError(
            str(out_root),
            expected="a folder outside the data set, which is never written",
            got=f"one that leads into {dataset.root}",
            remedy="Choose another folder for the output.",
        )
    if target.exists() and target.resolve() in {file.resolve() for file in dataset.places}:
        raise LayoutError(
            str(out_root),
            expected="a folder without files of the data set, which are never written",
            got=f"one in which {target} lies",
            remedy="Choose another folder for the output.",
        )
    return target


def parts_of(dataset: Dataset, file: Path) -> Iterator[tuple[Path, Path]]:
    """The files that an image or a mask consists of, each with its place in a copy.

    Raises LayoutError where a header names a file that lies outside of its own folder.
    """
    place = place_of(dataset, file)
    beside = file if file.is_dir() else file.parent
    for part in formats.parts(file):
        if part == file:
            yield part, place
        elif part.is_relative_to(beside):
            yield part, (place if file.is_dir() else place.parent) / part.relative_to(beside)
        elif part.is_relative_to(dataset.root) and place == file.relative_to(dataset.root):
            yield part, part.relative_to(dataset.root)
        else:
            raise LayoutError(
                str(file),
                expected="the files that it names in its own folder",
                got=str(part),
                remedy="Move the file there, and correct the header.",
            )


def dataset_digest(
    dataset: Dataset, sha256_of: Callable[[Path], bytes] = files.sha256_of
) -> str:  # fmt: skip
    """SHA-256, in hexadecimal, of the names and contents of all files in use.

    Of all channels, all files of a series, all masks and the files that describe the data set.
    Where the data set lies and when its files were written do not matter.  sha256_of: of a file.
    """
    sources = {file for case in dataset.cases for file in (*case.images, *case.masks.values())}
    used = {part: place for file in sources for part, place in parts_of(dataset, file)}
    for description in dataset.descriptions:
        used[description.file] = place_of(dataset, description.file)
    digest = hashlib.sha256()
    for name, file in sorted((place.as_posix(), file) for file, place in used.items()):
        digest.update(name.encode() + b"\0" + sha256_of(file))
    return digest.hexdigest()
