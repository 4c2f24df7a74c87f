"""Images without masks, and the masks that a network gives them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from maskmend import files
from maskmend.core import Case, Dataset, LabelArray, LeftOut
from maskmend.datasets.found import check_single
from maskmend.datasets.images import check_image
from maskmend.datasets.tree import IMAGES, MASKS, NAMES, by_stem, number_of
from maskmend.errors import DuplicateCaseError, GridMismatchError, LayoutError
from maskmend.formats import read_header, read_image
from maskmend.formats.png import encode_png


def image_cases(folder: Path) -> tuple[list[Case], list[LeftOut]]:
    """A case without masks for each image of a folder, or of its images/ if it has one.

    Also those left out, of whose name there is a second image.  Raises LayoutError for a folder
    without images.
    """
    images = folder / IMAGES if (folder / IMAGES).is_dir() else folder
    found = by_stem(images) if images.is_dir() else {}
    if not found:
        raise LayoutError(
            str(folder), expected="a folder of images, or one with images/ in it",
            got="no image", remedy="Name the folder that holds the image files.",
        )  # fmt: skip
    cases, left_out = [], []
    for name, paths in found.items():
        try:
            check_single(name, paths)
        except DuplicateCaseError as error:
            left_out.append(LeftOut(name, str(error)))
        else:
            cases.append(Case(name, name, "training", paths[0]))
    return cases, left_out


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

    Raises UnreadableFileError, NotFiniteError, GridMismatchError (other channels).
    """
    channels = read_header(dataset.cases[0].image).channels
    found = check_image(case).channels
    if found != channels:
        raise GridMismatchError(
            case.id, expected=f"an image of {number_of(channels, 'channel')}, as trained on",
            got=f"{found} in {case.image}", remedy="Convert it to grey or to colour.",
        )  # fmt: skip
    return read_image(case.image)[0]


def write_prediction(dataset: Dataset, case: Case, labels: LabelArray, out: Path) -> None:
    """OUT/images/ (copied) and OUT/masks/, in the layout `folders`, so that it opens as a data set.

    dataset: whose scheme and mask values are used.  labels: (planes, *S) without IGNORED.
    Overlapping: masks/STRUCTURE/NAME.png with 0 and 255; exclusive: masks/NAME.png with the
    values of the data set and their names in labels.json.
    """
    files.copy_file_atomic(case.image, out / IMAGES / case.image.name)
    if dataset.scheme.overlapping:
        for plane, name in enumerate(dataset.scheme.planes):
            path = out / MASKS / name / f"{case.id}.png"
            files.write_bytes_atomic(path, encode_png(labels[plane] * np.uint8(255)))
        return
    values = dataset.values[dataset.scheme.planes[0]] or range(dataset.scheme.num_classes)
    stored = np.array(list(values))[labels[0]]
    dtype = np.uint8 if stored.max(initial=0) < 256 else np.uint16
    files.write_bytes_atomic(out / MASKS / f"{case.id}.png", encode_png(stored.astype(dtype)))
    names = dict(zip(dataset.scheme.structures, list(values)[1:], strict=True))
    files.write_json(out / NAMES, names)
