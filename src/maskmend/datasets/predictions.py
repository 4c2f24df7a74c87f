"""Images without masks, and the masks that a network gives them."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from maskmend import files
from maskmend.core import Case, Dataset, LabelArray
from maskmend.datasets.tree import IMAGES, MASKS, NAMES, list_pictures
from maskmend.errors import LayoutError
from maskmend.formats import split_name
from maskmend.formats.png import encode_png


def image_cases(folder: Path) -> list[Case]:
    """A case without masks for each image of a folder, or of its images/ if it has one.

    Raises LayoutError for a folder without images.
    """
    images = folder / IMAGES if (folder / IMAGES).is_dir() else folder
    found = list_pictures(images) if images.is_dir() else []
    if not found:
        raise LayoutError(
            str(folder), expected="a folder of images, or one with images/ in it",
            got="no image", remedy="Name the folder that holds the image files.",
        )  # fmt: skip
    names = [split_name(path.name)[0] for path in found]
    return [Case(name, name, "training", path) for name, path in zip(names, found, strict=True)]


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
