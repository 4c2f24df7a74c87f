"""dataset.json of the Decathlon, and of nnU-Net v1."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from maskmend.core import LabelScheme
from maskmend.datasets import open_dataset, read_image, read_labels
from maskmend.errors import SettingsError

CONTENT: dict[str, Any] = {
    "name": "Hippocampus",
    "modality": {"0": "MRI"},
    "labels": {"0": "background", "1": "Anterior", "2": "Posterior"},
    "numTraining": 2,
    "training": [
        {"image": f"./imagesTr/{case}.nii.gz", "label": f"./labelsTr/{case}.nii.gz"}
        for case in ("b", "a")
    ],
    "test": ["./imagesTs/t.nii.gz"],
}


@pytest.fixture
def root(tmp_path: Path, make: Any) -> Path:
    root = tmp_path / "Task04_Test"
    make.json(root / "dataset.json", CONTENT)
    for seed, case in enumerate(("a", "b")):
        make.image(root / "imagesTr" / f"{case}.nii.gz", seed)
        make.label(root / "labelsTr" / f"{case}.nii.gz", 0, 1, 2)
    return root


def test_there_and_back(root: Path, tmp_path: Path, make: Any) -> None:
    dataset = open_dataset(root)
    assert dataset.layout == "Medical Segmentation Decathlon"
    assert dataset.scheme == LabelScheme(("Anterior", "Posterior"), overlapping=False)
    assert [case.id for case in dataset.cases] == ["b", "a"]
    assert "1 test image without labels: not read." in dataset.understood
    wanted = read_labels(dataset, dataset.cases[0]).copy()
    wanted[0, 1, 1] = 2
    make.check_round_trip(dataset, tmp_path / "out", "b", wanted)
    copied = tmp_path / "out" / "dataset.json"
    assert copied.read_bytes() == (root / "dataset.json").read_bytes()


@pytest.mark.parametrize("numbered", ["", "_0000"])
def test_a_copy_does_not_list_what_was_left_out(
    root: Path, tmp_path: Path, make: Any, numbered: str
) -> None:
    for case in ("a", "b"):
        image = root / "imagesTr" / f"{case}.nii.gz"
        image.rename(image.with_name(f"{case}{numbered}.nii.gz"))
    (root / "labelsTr" / "a.nii.gz").write_bytes(b"no volume")
    dataset = open_dataset(root)
    assert [each.case for each in dataset.left_out] == ["a"]
    mended = make.mend(dataset, tmp_path / "out", {})
    assert (mended.layout, mended.left_out) == (dataset.layout, ())
    copied = json.loads((tmp_path / "out" / "dataset.json").read_text())
    assert copied == CONTENT | {"training": CONTENT["training"][:1], "numTraining": 1}


def test_channels_in_one_file(root: Path, tmp_path: Path, make: Any) -> None:
    make.json(root / "dataset.json", CONTENT | {"modality": {"0": "T1", "1": "T2"}})
    channels = np.stack([np.full(make.shape, value, np.float32) for value in (3, 5)])
    for case in ("a", "b"):
        make.nifti(root / "imagesTr" / f"{case}.nii.gz", channels)
    dataset = open_dataset(root)
    assert read_image(dataset.cases[0]).tolist() == channels.tolist()
    wanted = 1 - read_labels(dataset, dataset.cases[1]).clip(max=1)
    make.check_round_trip(dataset, tmp_path / "out", "a", wanted)


def test_other_channels_than_stated(root: Path, make: Any) -> None:
    make.nifti(root / "imagesTr" / "a.nii.gz", np.zeros((2, *make.shape), np.float32))
    (left_out,) = open_dataset(root).left_out
    assert "expected images of 1 channel, as the data set states; got 2" in left_out.reason


def test_channels_in_files_of_nnunet_v1(root: Path, tmp_path: Path, make: Any) -> None:
    make.json(root / "dataset.json", CONTENT | {"modality": {"0": "T1", "1": "T2"}})
    for case in ("a", "b"):
        (root / "imagesTr" / f"{case}.nii.gz").unlink()
        for channel in (0, 1):
            make.image(root / "imagesTr" / f"{case}_{channel:04d}.nii.gz", channel)
    dataset = open_dataset(root)
    assert dataset.layout == "nnU-Net v1"
    assert [path.name for path in dataset.cases[0].images] == ["b_0000.nii.gz", "b_0001.nii.gz"]
    wanted = 1 - read_labels(dataset, dataset.cases[0]).clip(max=1)
    make.check_round_trip(dataset, tmp_path / "out", "b", wanted)


def test_a_file_that_is_missing(root: Path) -> None:
    (root / "labelsTr" / "a.nii.gz").unlink()
    (left_out,) = open_dataset(root).left_out
    assert left_out.case == "a"
    assert "labelsTr/a.nii.gz; got nothing there" in left_out.reason


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ({"training": ["a.nii.gz"]}, "training, a list of"),
        ({"modality": {}}, "modality, such as"),
        ({"labels": {"0": 1.5}}, "labels, such as"),
        ({"labels": {"1": "a", "2": "a"}}, "a name of its own for each label"),
    ],
)
def test_a_description_that_makes_no_sense(
    root: Path, make: Any, change: dict[str, Any], expected: str
) -> None:
    make.json(root / "dataset.json", CONTENT | change)
    with pytest.raises(SettingsError, match=rf"dataset\.json: expected {expected}"):
        open_dataset(root)
