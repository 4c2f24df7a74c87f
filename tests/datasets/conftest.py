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

    def series(self, folder: Path, pixels: NDArray[Any]) -> list[Any]:
        """One CT file a slice, first slice lowest; 0.5 x 0.75 x 2.5 mm, at (-10, -20, -30) LPS."""
        from pydicom.dataset import Dataset as DicomDataset
        from pydicom.dataset import FileMetaDataset
        from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian

        folder.mkdir(parents=True, exist_ok=True)
        slices = []
        for index, plane in enumerate(pixels):
            image = DicomDataset()
            image.file_meta = FileMetaDataset()
            image.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
            image.SOPClassUID, image.SOPInstanceUID = CTImageStorage, f"1.2.3.{index + 1}"
            image.file_meta.MediaStorageSOPClassUID = image.SOPClassUID
            image.file_meta.MediaStorageSOPInstanceUID = image.SOPInstanceUID
            image.StudyInstanceUID, image.SeriesInstanceUID = "1.2.4", "1.2.5"
            image.FrameOfReferenceUID, image.Modality = "1.2.6", "CT"
            image.PatientID, image.PatientName, image.StudyID = "1", "No^Body", "1"
            image.PatientBirthDate = image.PatientSex = image.StudyDate = image.StudyTime = ""
            image.AccessionNumber = image.ReferringPhysicianName = ""
            image.Rows, image.Columns = plane.shape
            image.ImagePositionPatient = [-10, -20, -30 + 2.5 * index]
            image.ImageOrientationPatient = [1, 0, 0, 0, 1, 0]
            image.PixelSpacing, image.SliceThickness = [0.75, 0.5], 2.5
            image.SamplesPerPixel, image.PhotometricInterpretation = 1, "MONOCHROME2"
            image.BitsAllocated = image.BitsStored = 16
            image.HighBit, image.PixelRepresentation = 15, 0
            image.InstanceNumber = index + 1
            image.PixelData = np.ascontiguousarray(plane, "<u2").tobytes()
            # names in another order than the slices
            image.save_as(folder / f"{chr(ord('z') - index)}.dcm", enforce_file_format=True)
            slices.append(image)
        return slices

    def segmentation(
        self, path: Path, slices: list[Any], masks: Mapping[str, NDArray[Any]],
        kind: str = "BINARY",
    ) -> Path:  # fmt: skip
        """A DICOM SEG on some slices of a series."""
        from highdicom import AlgorithmIdentificationSequence
        from highdicom.seg import Segmentation, SegmentDescription
        from pydicom.sr.codedict import codes

        algorithm = AlgorithmIdentificationSequence(
            "by hand", codes.DCM.ArtificialIntelligence, "1"
        )
        described = [
            SegmentDescription(
                number, name, codes.SCT.Organ, codes.SCT.Liver, "AUTOMATIC",
                algorithm_identification=algorithm,
            )
            for number, name in enumerate(masks, start=1)
        ]  # fmt: skip
        path.parent.mkdir(parents=True, exist_ok=True)
        Segmentation(
            source_images=slices, pixel_array=np.stack(list(masks.values()), -1).astype(np.uint8),
            segmentation_type=kind, segment_descriptions=described,
            series_instance_uid="1.2.8", series_number=2, sop_instance_uid=f"1.2.9.{len(slices)}",
            instance_number=1, manufacturer="nobody", manufacturer_model_name="none",
            software_versions="1", device_serial_number="1",
        ).save_as(path)  # fmt: skip
        return path

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
