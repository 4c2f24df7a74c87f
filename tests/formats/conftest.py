"""Where the real volumes are."""

from __future__ import annotations

from pathlib import Path

import pytest

DATA = Path(__file__).parents[3] / "shared" / "data"


def _folder(name: str) -> Path:
    if not (DATA / name).is_dir():
        pytest.skip(f"no real volumes at {DATA / name}")
    return DATA / name


@pytest.fixture(scope="session")
def nifti_samples() -> Path:
    """Spinal cords, a spleen: MR and CT with labels."""
    return _folder("nifti_samples")


@pytest.fixture(scope="session")
def hippocampi() -> Path:
    """Task 4 of the Medical Segmentation Decathlon."""
    return _folder("msd_hippocampus")


@pytest.fixture(scope="session")
def nrrd_samples() -> Path:
    """Images and labels of pyradiomics."""
    return _folder("nrrd_pyradiomics")


@pytest.fixture(scope="session")
def dcmqi_samples() -> Path:
    """Label maps beside DICOM segmentations."""
    return _folder("dicom_samples") / "dcmqi"
