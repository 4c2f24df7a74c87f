"""Folders <-> cases: what lies below a root, what its masks mean, and the way back.

    dataset = open_dataset("jsrt")
    labels = read_labels(dataset, dataset.cases[0])
    write_labels(dataset, dataset.cases[0], labels, Path("mended"))

The layouts: `reference` ({training,validation,test}/{images,<structure>...}), `folders`
(images/ and masks/<structure>/) and `label maps` (images/ and masks/, one integer a class).
"""

from __future__ import annotations

from maskmend.datasets.images import read_grid, read_image
from maskmend.datasets.labels import read_labels
from maskmend.datasets.places import dataset_digest, place_of
from maskmend.datasets.reading import open_dataset
from maskmend.datasets.writing import copy_images, write_labels, write_soft_labels

__all__ = [
    "copy_images",
    "dataset_digest",
    "open_dataset",
    "place_of",
    "read_grid",
    "read_image",
    "read_labels",
    "write_labels",
    "write_soft_labels",
]
