"""Small volumes on disk, and the way there and back that every layout must survive."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest
from numpy.typing import NDArray

from maskmend.core import Dataset, LabelArray
from maskmend.datasets import copy_images, open_dataset, read_labels, write_labels

OBLIQUE = np.array([[-0.8, 0, 0.1, 11], [0, -0.9, 0, 22], [0.05, 0, 2.5, -33], [0, 0, 0, 1]], float)
"""Two axes flipped, one oblique, three spacings."""


class Maker:
    """Files for tests.  Volumes are given as (z, y, x)."""

    oblique = OBLIQUE
    shape = (3, 4, 5)

    def nifti(
        self, path: Path, array: NDArray[Any], affine: NDArray[Any] = OBLIQUE, dtype: Any = None
    ) -> Path:
        """Channels, if there are four axes, come first."""
        array = np.moveaxis(array, 0, -1).transpose(2, 1, 0, 3) if array.ndim == 4 else array.T
        image = nib.Nifti1Image(np.asarray(array, dtype or array.dtype), affine)
        image.header["descrip"] = b"made for a test"
        path.parent.mkdir(parents=True, exist_ok=True)
        nib.save(image, path)
        return path

    def image(self, path: Path, seed: int = 0, affine: NDArray[Any] = OBLIQUE) -> Path:
        values = np.random.default_rng(seed).normal(100, 20, self.shape).astype(np.float32)
        return self.nifti(path, values, affine)

    def label(self, path: Path, *values: int, affine: NDArray[Any] = OBLIQUE) -> Path:
        """A label map whose first voxels, in memory order, have these values."""
        array = np.zeros(self.shape, np.uint8)
        array.ravel()[: len(values)] = values
        return self.nifti(path, array, affine)

    def json(self, path: Path, content: Any) -> Path:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(content))
        return path

    def header(self, path: Path) -> bytes:
        """All bytes of a NIfTI file before its voxels."""
        loaded: Any = nib.load(path)
        return bytes(loaded.header.binaryblock)

    def contents(self, root: Path) -> dict[str, str]:
        return {
            path.relative_to(root).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()
            for path in sorted(root.rglob("*"))
            if path.is_file()
        }

    def mend(
        self, dataset: Dataset, out: Path, changed: Mapping[str, LabelArray], **settings: Any
    ) -> Dataset:
        """The mended data set, opened again as the source was; other labels as they are."""
        copy_images(dataset, out)
        for case in dataset.cases:
            labels = changed.get(case.id)
            labels = read_labels(dataset, case) if labels is None else labels
            write_labels(dataset, case, labels, out)
        where = out / dataset.descriptions[0].file.name if dataset.descriptions else out
        return open_dataset(where, **settings)

    def labels(self, dataset: Dataset) -> dict[str, LabelArray]:
        return {case.id: read_labels(dataset, case) for case in dataset.cases}

    def check_round_trip(
        self, dataset: Dataset, out: Path, case: str, wanted: LabelArray, **settings: Any
    ) -> Dataset:
        """Only the mask of one case has changed: to what was wanted, under its old header."""
        before = self.contents(dataset.root)
        given = self.labels(dataset)
        assert not np.array_equal(given[case], wanted)
        mended = self.mend(dataset, out, {case: wanted}, **settings)
        assert self.contents(dataset.root) == before
        assert (mended.layout, mended.scheme, mended.values, mended.regions) == (
            dataset.layout, dataset.scheme, dataset.values, dataset.regions,
        )  # fmt: skip
        assert mended.left_out == ()
        after = self.labels(mended)
        assert after.keys() == given.keys()
        for name, labels in after.items():
            np.testing.assert_array_equal(labels, wanted if name == case else given[name])
        for old, new in zip(dataset.cases, mended.cases, strict=True):
            assert new.split == old.split
            assert new.group == old.group
            for plane, file in old.masks.items():
                if old.id != case:
                    assert new.masks[plane].read_bytes() == file.read_bytes()
                elif ".nii" in file.name:
                    assert self.header(new.masks[plane]) == self.header(file)
        return mended


@pytest.fixture
def make() -> Maker:
    return Maker()
