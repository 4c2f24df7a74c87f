"""New label maps, for predictions of images that have no mask whose encoding could be kept."""

from __future__ import annotations

from pathlib import Path

import nibabel as nib
import numpy as np

from maskmend.core import Grid, IntArray
from maskmend.errors import GridMismatchError
from maskmend.files import write_bytes_atomic
from maskmend.formats.volumes import GZIP, deflate

SMALLEST = (np.uint8, np.uint16, np.int32)


def create_nifti(path: Path, values: IntArray, grid: Grid) -> None:
    """A label map of a volume as NIfTI, all or nothing; compressed where the name ends in .gz.

    values: (slices, rows, columns), 0 or more.  grid: theirs; without an affine the header says
    only the spacing.  The same values give the same bytes.  Raises GridMismatchError.
    """
    if values.shape != grid.shape or values.ndim != 3:
        raise GridMismatchError(
            str(path), expected=f"labels of a volume, {grid.shape}", got=f"{values.shape}",
            remedy="Give the labels on the grid of the image.",
        )  # fmt: skip
    dtype = next(each for each in SMALLEST if values.max(initial=0) <= np.iinfo(each).max)
    affine = None if grid.affine is None else np.array(grid.affine)[:, [2, 1, 0, 3]]
    image = nib.Nifti1Image(values.astype(dtype).T, affine)
    if affine is None:
        image.header.set_sform(None, code=0)
        image.header.set_qform(None, code=0)
    if grid.spacing is not None:
        image.header.set_zooms(grid.spacing[::-1])
    image.header.set_xyzt_units("mm")
    data: bytes = image.to_bytes()
    write_bytes_atomic(path, deflate(data, GZIP) if path.name.endswith(".gz") else data)
