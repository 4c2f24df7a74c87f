"""New label maps: what nibabel and our own reader find in them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest

from maskmend.core import Grid
from maskmend.errors import GridMismatchError
from maskmend.formats import read_header, read_mask
from maskmend.formats.creating import create_nifti

VALUES = np.arange(24).reshape(2, 3, 4)
AFFINE = ((0.0, -0.8, 0.1, 5.0), (0.05, 0.0, -0.9, 7.0), (2.5, 0.0, 0.0, -9.0), (0.0, 0, 0, 1.0))
SPACING = tuple(np.linalg.norm(np.array(AFFINE)[:3, :3], axis=0).tolist())


@pytest.mark.parametrize("name", ["a.nii", "a.nii.gz"])
@pytest.mark.parametrize(("scale", "dtype"), [(1, np.uint8), (20, np.uint16), (9000, np.int32)])
def test_values_and_geometry(tmp_path: Path, name: str, scale: int, dtype: Any) -> None:
    path = tmp_path / name
    create_nifti(path, VALUES * scale, Grid((2, 3, 4), SPACING, AFFINE))
    loaded: Any = nib.load(path)
    assert loaded.get_data_dtype() == np.dtype(dtype)
    np.testing.assert_array_equal(np.asarray(loaded.dataobj).T, VALUES * scale)
    for at in np.ndindex(2, 3, 4):
        expected = np.array(AFFINE) @ [*at, 1]
        np.testing.assert_allclose(loaded.affine @ [*at[::-1], 1], expected, atol=1e-5)
    values, grid = read_mask(path)
    np.testing.assert_array_equal(values, VALUES * scale)
    np.testing.assert_allclose(grid.affine or (), AFFINE, atol=1e-6)


def test_a_place_that_is_not_known(tmp_path: Path) -> None:
    create_nifti(tmp_path / "a.nii.gz", VALUES, Grid((2, 3, 4), (2.5, 0.9, 0.8)))
    grid = read_header(tmp_path / "a.nii.gz").grid
    assert grid.affine is None
    assert grid.spacing == pytest.approx((2.5, 0.9, 0.8))


def test_another_shape(tmp_path: Path) -> None:
    with pytest.raises(GridMismatchError, match="labels of a volume"):
        create_nifti(tmp_path / "a.nii.gz", VALUES, Grid((2, 4, 3)))
    assert list(tmp_path.iterdir()) == []
