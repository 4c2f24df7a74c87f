"""Images without masks, and the masks that a network gives them."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from maskmend import files
from maskmend.core import Case, Dataset, LabelArray, LeftOut
from maskmend.datasets.found import check_single
from maskmend.datasets.images import check_image, image_header, read_grid, read_image
from maskmend.datasets.tree import IMAGES, MASKS, NAMES, NUMBERED, by_stem, number_of
from maskmend.errors import (
    DuplicateCaseError,
    GridMismatchError,
    LayoutError,
    MissingFileError,
)
from maskmend.formats import parts, split_name
from maskmend.formats.png import encode_png


def image_cases(folder: Path, like: Case | None = None) -> tuple[list[Case], list[LeftOut]]:
    """A case without masks for each image of a folder, or of its images/ if it has one.

    like: a case of the data set that the network was trained on: where its images are files of
    one channel each, CASE_0000, those of a new image are likewise; an image finer than its masks
    is brought to their grid in the same way.  Also those left out: of whose name there is a second
    image, or a channel is missing.  Raises LayoutError for a folder without images.
    """
    images = folder / IMAGES if (folder / IMAGES).is_dir() else folder
    found = by_stem(images, series=True) if images.is_dir() else {}
    if not found:
        raise LayoutError(
            str(folder), expected="a folder of images, or one with images/ in it",
            got="no image", remedy="Name the folder that holds the image files.",
        )  # fmt: skip
    cases, left_out = [], []
    factor = 1 if like is None else like.image_factor
    for name, channels in _channels(found, like).items():
        try:
            for number, files_of_channel in sorted(channels.items()):
                check_single(name, files_of_channel)
                if number >= len(channels):
                    raise _missing_channel(name, channels)
        except (DuplicateCaseError, MissingFileError) as error:
            left_out.append(LeftOut(name, str(error)))
        else:
            first, *more = (channels[number][0] for number in sorted(channels))
            cases.append(
                Case(
                    name, name, "training", first, more_images=tuple(more), image_factor=factor
                )
            )  # fmt: skip
    return cases, left_out


def _channels(
    found: Mapping[str, tuple[Path, ...]], like: Case | None
) -> dict[str, dict[int, tuple[Path, ...]]]:
    """Case -> channel -> its files.  found: stem -> files."""
    numbered = like is not None and all(
        NUMBERED.fullmatch(split_name(image.name)[0]) for image in like.images
    )
    numbered = numbered and like is not None and split_name(like.image.name)[0] != like.id
    cases: dict[str, dict[int, tuple[Path, ...]]] = {}
    for stem, paths in found.items():
        match = NUMBERED.fullmatch(stem) if numbered else None
        name, channel = (match[1], int(match[2])) if match else (stem, 0)
        cases.setdefault(name, {})[channel] = paths
    return cases


def _missing_channel(case: str, channels: Mapping[int, object]) -> MissingFileError:
    lacking = next(number for number in range(len(channels)) if number not in channels)
    return MissingFileError(
        case, expected=f"a file {case}_{lacking:04d}", got="none of this channel",
        remedy="Add it, or take the image out.",
    )  # fmt: skip


def check_out(images: Path, dataset: Dataset, out: Path) -> None:
    """Raises LayoutError where predictions would be written into the images' folder or data set."""
    target = out.resolve()
    sources = [dataset.root.resolve(), images.resolve()]
    # images in OUT/images would be copied onto themselves, with masks beside them
    if (target / IMAGES) in sources or any(s in (target, *target.parents) for s in sources):
        raise LayoutError(
            str(out), expected="a folder outside of the images and the data set",
            got="one in which they lie", remedy="Choose another folder for the predictions.",
        )  # fmt: skip


def read_new_image(dataset: Dataset, case: Case) -> NDArray[Any]:
    """(C, *S): an image, unseen so far, for a network that was trained on a data set.

    Raises UnreadableFileError, NotFiniteError, GridMismatchError (other channels, or a picture for
    a volume).
    """
    known, found = image_header(dataset.cases[0]), check_image(case)
    if found.channels != known.channels:
        raise GridMismatchError(
            case.id, expected=f"an image of {number_of(known.channels, 'channel')}, as trained on",
            got=f"{found.channels} in {', '.join(str(path) for path in case.images)}",
            remedy="Convert it to grey or to colour.",
        )  # fmt: skip
    if len(found.grid.shape) != len(known.grid.shape):
        raise GridMismatchError(
            case.id, expected=f"an image of {len(known.grid.shape)} axes, as trained on",
            got=f"{found.grid.shape} in {case.image}", remedy="Give images of the same kind.",
        )  # fmt: skip
    return read_image(case)


def write_prediction(dataset: Dataset, case: Case, labels: LabelArray, out: Path) -> None:
    """OUT/images/ (copied) and OUT/masks/, in the layout `folders`, so that it opens as a data set.

    dataset: whose scheme and mask values are used.  labels: (planes, *S) without IGNORED.
    Overlapping: masks/STRUCTURE/NAME with 0 and 255; exclusive: masks/NAME with the values of the
    data set and their names in labels.json.  A mask is a PNG, that of a volume a NIfTI file
    NAME.nii.gz with the geometry of the image.
    """
    for image in case.images:
        for part in parts(image):
            place = Path(image.name, part.relative_to(image)) if image.is_dir() else Path(part.name)
            files.copy_file_atomic(part, out / IMAGES / place)
    if dataset.scheme.overlapping:
        for plane, name in enumerate(dataset.scheme.planes):
            _write_mask(out / MASKS / name, case, labels[plane] * np.uint8(255))
        return
    values = dataset.values[dataset.scheme.planes[0]] or range(dataset.scheme.num_classes)
    stored = np.array(list(values))[labels[0]]
    _write_mask(out / MASKS, case, stored.astype(np.uint8 if stored.max(initial=0) < 256 else
                                                 np.uint16))  # fmt: skip
    names = dict(zip(dataset.scheme.structures, list(values)[1:], strict=True))
    files.write_json(out / NAMES, names)


def _write_mask(folder: Path, case: Case, values: LabelArray) -> None:
    if values.ndim == 2:
        files.write_bytes_atomic(folder / f"{case.id}.png", encode_png(values))
    else:
        # nibabel is for those who have volumes
        from maskmend.formats.creating import create_nifti

        create_nifti(folder / f"{case.id}.nii.gz", values, read_grid(case))
