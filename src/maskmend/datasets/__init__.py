"""Folders <-> cases: what lies below a root, what its masks mean, and the way back.

    dataset = open_dataset("jsrt")
    labels = read_labels(dataset, dataset.cases[0])
    write_labels(dataset, dataset.cases[0], labels, Path("mended"))

The layouts, each in the module of its name: `reference` ({training,validation,test}/{images,
<structure>...}), `folders` (images/ and masks/<structure>/, or files of several segments), `label
maps` (images/ and masks/ or labels/, one integer a class), `nnunet` (v2), `decathlon` (and nnU-Net
v1), `datalist` (MONAI), `table` (CSV or JSON, for anything else) and `jsrt` (the original files).
"""

from __future__ import annotations

from maskmend.datasets.images import read_grid, read_image
from maskmend.datasets.labels import read_labels
from maskmend.datasets.places import dataset_digest, place_of
from maskmend.datasets.reading import open_dataset
from maskmend.datasets.writing import (
    copy_images,
    write_fitting,
    write_labels,
    write_soft_labels,
)

__all__ = [
    "copy_images",
    "dataset_digest",
    "open_dataset",
    "place_of",
    "read_grid",
    "read_image",
    "read_labels",
    "write_fitting",
    "write_labels",
    "write_soft_labels",
]
