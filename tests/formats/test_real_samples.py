"""Volumes as they come from scanners and annotators, beside the repository."""

from __future__ import annotations

import gzip
from collections import Counter
from pathlib import Path

import nibabel as nib
import nrrd
import numpy as np
import pytest
import SimpleITK as sitk  # noqa: N813

from maskmend import formats
from maskmend.core import Grid
from maskmend.errors import MaskValueError

SOFT = "mt1_gmseg.nii.gz"
"""Holds probabilities."""


def _distance(one: Grid, other: Grid) -> float:
    """Largest distance in mm between the same voxels of two grids of one shape."""
    assert one.shape == other.shape
    assert one.affine is not None
    assert other.affine is not None
    corners = np.array(np.meshgrid(*[(0, size - 1) for size in one.shape])).reshape(3, -1)
    corners = np.vstack([corners, np.ones(corners.shape[1])])
    apart = (np.array(one.affine) - np.array(other.affine)) @ corners
    return float(np.linalg.norm(apart, axis=0).max())


def _image_of(label: Path) -> Path:
    """The image that a label's name belongs to, in the two layouts of the samples."""
    if "labels" in label.parts:
        folder = Path(str(label.parent).replace("/derivatives/labels", ""))
        return folder / f"{'_'.join(label.name.split('_')[:2])}.nii.gz"
    stem = label.name.split("_gmseg")[0].split("_seg")[0]
    return label.parent / f"{stem}.nii.gz"


def _labels(root: Path) -> list[Path]:
    found = [
        path for path in sorted(root.rglob("*.nii.gz"))
        if "labels" in path.parts or "seg" in path.name
    ]  # fmt: skip
    assert len(found) == 23
    return found


def _changed(mask: np.ndarray) -> np.ndarray:
    """The mask with one corner of it cleared, and one voxel set."""
    other = mask.copy()
    other[tuple(np.argwhere(mask)[0])] = 0
    other[tuple(np.argwhere(mask == 0)[-1])] = mask.max()
    return other


def _by_itk(path: Path) -> np.ndarray:
    found: np.ndarray = sitk.GetArrayFromImage(sitk.ReadImage(str(path)))
    return found


def test_every_nifti_is_read_as_nibabel_reads_it(nifti_samples: Path) -> None:
    paths = sorted(nifti_samples.rglob("*.nii.gz"))
    assert len(paths) == 38
    for path in paths:
        image, grid = formats.read_image(path)
        header = formats.read_header(path)
        assert (header.grid, header.dtype, header.channels) == (grid, image.dtype, 1)
        theirs = nib.Nifti1Image.from_filename(path)
        assert np.array_equal(image[0], np.asanyarray(theirs.dataobj).T)
        assert theirs.affine is not None
        assert np.array_equal(grid.affine or (), theirs.affine[:, [2, 1, 0, 3]])


def test_image_and_label_lie_in_one_place(nifti_samples: Path) -> None:
    for label in _labels(nifti_samples):
        one, other = formats.read_header(_image_of(label)).grid, formats.read_header(label).grid
        # the lesions were drawn by a tool that rounds the orientation
        limit = 0.75 if "lesion" in label.name else 0.001
        assert _distance(one, other) < limit * min(one.steps), label.name


def test_labels_are_written_back(nifti_samples: Path, tmp_path: Path) -> None:
    for label in _labels(nifti_samples):
        if label.name == SOFT:
            with pytest.raises(MaskValueError, match="203 voxels with another value"):
                formats.read_mask(label)
            continue
        mask, grid = formats.read_mask(label)
        target = tmp_path / label.name
        formats.write_mask(target, mask, label)
        before, after = (gzip.decompress(path.read_bytes()) for path in (label, target))
        assert before == after
        # a lesion mask without a lesion has no voxel to clear
        other = _changed(mask) if mask.any() else mask
        formats.write_mask(target, other, label)
        assert formats.read_header(target).grid == grid
        assert np.array_equal(_by_itk(target), other)
        assert gzip.decompress(target.read_bytes())[:352] == before[:352]


def test_the_hippocampi(hippocampi: Path, tmp_path: Path) -> None:
    dtypes: Counter[str] = Counter()
    for image in sorted((hippocampi / "images").iterdir()):
        header = formats.read_header(image)
        dtypes[header.dtype.name] += 1
        label = hippocampi / "labels" / image.name
        if not label.exists():
            assert image.name == "hippocampus_118.nii.gz"
            continue
        mask, grid = formats.read_mask(label)
        assert grid == header.grid
        assert set(np.unique(mask).tolist()) == {0, 1, 2}
        if image.name.endswith("0.nii.gz"):
            other = _changed(mask)
            formats.write_mask(tmp_path / label.name, other, label)
            assert np.array_equal(_by_itk(tmp_path / label.name), other)
    assert dtypes == {"float32": 205, "uint8": 56}


def test_nrrd_pairs(nrrd_samples: Path, tmp_path: Path) -> None:
    labels = sorted(nrrd_samples.glob("*label.nrrd"))
    assert len(labels) == 4
    for label in labels:
        name = label.name.replace("-label", "").replace("_label", "_image")
        image, grid = formats.read_image(label.parent / name)
        mask, place = formats.read_mask(label)
        assert grid == place
        assert image.shape == (1, *mask.shape)
        assert np.array_equal(image[0], nrrd.read(str(label.parent / name), index_order="C")[0])
        _write_back(label, tmp_path, mask)


def test_label_maps_beside_dicom(dcmqi_samples: Path, tmp_path: Path) -> None:
    labels = sorted(dcmqi_samples.rglob("*.nrrd"))
    assert len(labels) == 13
    for label in labels:
        mask, grid = formats.read_mask(label)
        assert formats.read_header(label).grid == grid
        _write_back(label, tmp_path, mask)


def _write_back(label: Path, folder: Path, mask: np.ndarray) -> None:
    target = folder / label.name
    formats.write_mask(target, mask, label)
    before, head = nrrd.read(str(label))
    after, written = nrrd.read(str(target))
    assert after.tobytes() == before.tobytes()
    assert after.dtype == before.dtype
    assert str(written) == str(head)
    other = _changed(mask)
    formats.write_mask(target, other, label)
    assert np.array_equal(_by_itk(target), other)
    assert np.array_equal(nrrd.read(str(target), index_order="C")[0], other)
    assert formats.read_header(target).grid == formats.read_header(label).grid


def test_every_sample_is_read(nifti_samples: Path) -> None:
    found = 0
    for folder in ("dicom_samples", "nrrd_pyradiomics", "nifti_samples"):
        for path in sorted((nifti_samples.parent / folder).rglob("*")):
            if not path.is_file() or formats.find_format(path) is None:
                continue
            header = formats.read_header(path)
            if header.segments:
                segments, grid = formats.read_segments(path)
                assert tuple(segments) == header.segments
                assert all(mask.shape == grid.shape for mask in segments.values())
            else:
                image, grid = formats.read_image(path)
                assert image.shape == (header.channels, *grid.shape)
            assert grid == header.grid
            found += 1
    assert found == 215
