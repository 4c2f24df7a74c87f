"""Noise maps as files: PNG of 0 and 255 for pictures, NIfTI of 0 and 1 for volumes.

A volume's map has the geometry of its image, so that any viewer lays it over the image, whatever
format the image is in.
"""

from __future__ import annotations

import gzip
import io
from pathlib import Path

import nibabel as nib
import numpy as np

from maskmend import files
from maskmend.core import BoolArray, Grid, LabelArray
from maskmend.formats import read_mask
from maskmend.formats.png import encode_png

PICTURE, VOLUME = ".png", ".nii.gz"


def write_noise_map(stem: Path, flagged: BoolArray, grid: Grid) -> None:
    """STEM.png or STEM.nii.gz.  flagged: (*S,).  grid: of the image."""
    if flagged.ndim == 2:
        picture = flagged.view(np.uint8) * np.uint8(255)
        files.write_bytes_atomic(_with(stem, PICTURE), encode_png(picture))
    else:
        volume = encode_nifti(np.ascontiguousarray(flagged).view(np.uint8), grid)
        files.write_bytes_atomic(_with(stem, VOLUME), volume)


def read_noise_map(stem: Path) -> BoolArray:
    """(*S,).  Raises MissingFileError, UnreadableFileError."""
    volume = _with(stem, VOLUME)
    flagged: BoolArray = read_mask(volume if volume.exists() else _with(stem, PICTURE))[0] != 0
    return flagged


def encode_nifti(labels: LabelArray, grid: Grid) -> bytes:
    """The bytes of a .nii.gz; the same labels on the same grid always give the same bytes.

    labels: (slices, rows, columns).  Where the grid does not know its place, neither does the file;
    without a spacing a voxel measures 1 of an unknown unit.
    """
    header = nib.Nifti1Header()
    header.set_data_dtype(np.uint8)
    header.set_data_shape(labels.shape[::-1])
    header.set_zooms(grid.steps[::-1])
    if grid.spacing is not None:
        header.set_xyzt_units("mm")
    if grid.affine is not None:
        # columns: the file lists x first, we list it last
        affine = np.array(grid.affine)[:, [2, 1, 0, 3]]
        header.set_sform(affine, code="scanner")
        header.set_qform(affine, code="scanner", strip_shears=True)
    header["vox_offset"] = 352
    header["magic"] = b"n+1"
    buffer = io.BytesIO()
    # mostly zeros: the lowest level is nearly as small as the highest, and ten times as fast
    with gzip.GzipFile(filename="", mode="wb", compresslevel=1, fileobj=buffer, mtime=0) as handle:
        handle.write(header.binaryblock + bytes(4))
        handle.write(np.ascontiguousarray(labels).data)
    return buffer.getvalue()


def _with(stem: Path, ending: str) -> Path:
    # not with_suffix: a case may have dots in its name
    return stem.with_name(stem.name + ending)
