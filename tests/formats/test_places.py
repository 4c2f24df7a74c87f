"""Three formats by three libraries, one place: any shape, rotation, reflection and spacing."""

from __future__ import annotations

import nibabel as nib
import nrrd
import numpy as np
import pytest
import SimpleITK as sitk  # noqa: N813
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.spatial.transform import Rotation

from maskmend import formats

SPACINGS = st.floats(0.05, 12.0)
SIZES = st.integers(1, 6)


@st.composite
def places(draw: st.DrawFn) -> np.ndarray:
    """(4, 4) of (x, y, z, 1) to RAS+, in 32 bits: a rotation, axes exchanged, spacings."""
    angles = draw(st.tuples(*[st.sampled_from([0, 90, 180]) | st.floats(-180, 180)] * 3))
    flips = draw(st.tuples(*[st.sampled_from([-1, 1])] * 3))
    spacing = draw(st.tuples(*[SPACINGS] * 3))
    turn = Rotation.from_euler("xyz", angles, degrees=True).as_matrix()
    affine = np.eye(4)
    affine[:3, :3] = turn @ np.diag(flips) @ np.diag(spacing)
    affine[:3, 3] = draw(st.tuples(*[st.floats(-500, 500)] * 3))
    return affine


@given(affine=places(), shape=st.tuples(SIZES, SIZES, SIZES), seed=st.integers(0, 99))
@settings(max_examples=60)
def test_one_volume_in_three_formats(
    tmp_path_factory: pytest.TempPathFactory, affine: np.ndarray, shape: tuple[int, ...], seed: int
) -> None:
    folder = tmp_path_factory.getbasetemp()
    values = np.random.default_rng(seed).integers(0, 300, shape, np.int16)
    nib.Nifti1Image(values.T, affine).to_filename(folder / "a.nii.gz")
    lps = np.diag([-1, -1, 1, 1]) @ affine
    spacing = np.linalg.norm(lps[:3, :3], axis=0)
    image = sitk.GetImageFromArray(values)
    image.SetSpacing(spacing.tolist())
    image.SetOrigin(lps[:3, 3].tolist())
    image.SetDirection((lps[:3, :3] / spacing).reshape(-1).tolist())
    sitk.WriteImage(image, str(folder / "a.mha"), True)
    header = {
        "space": "LPS", "space directions": lps[:3, :3].T, "space origin": lps[:3, 3],
        "kinds": ["domain"] * 3,
    }  # fmt: skip
    nrrd.write(str(folder / "a.nrrd"), values, header, index_order="C")
    expected = affine[:, [2, 1, 0, 3]]
    for name in ("a.nii.gz", "a.mha", "a.nrrd"):
        formats.write_mask(folder / "out" / name, values[::-1], folder / name)
        mask, grid = formats.read_mask(folder / "out" / name)
        assert np.array_equal(mask, values[::-1])
        assert grid == formats.read_mask(folder / name)[1]
        assert grid.affine is not None
        # a float32 of 500 is good to 3e-5; text has 6 digits and more
        assert np.allclose(grid.affine, expected, rtol=1e-5, atol=1e-4), name
        assert np.allclose(grid.spacing or (), spacing[::-1], rtol=1e-4), name
