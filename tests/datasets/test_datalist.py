"""MONAI datalists."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from maskmend.core import StatedFold
from maskmend.datasets import open_dataset, read_image, read_labels
from maskmend.errors import LayoutError, SettingsError


@pytest.fixture
def datalist(tmp_path: Path, make: Any) -> Path:
    """Two images a case, in folders of the patients, one patient outside of the list's folder."""
    root = tmp_path / "lists"
    entries = []
    for seed, patient in enumerate(("p1", "p2", "../far/p3")):
        for name in ("t1", "t2"):
            make.image(root / patient / f"{name}.nii.gz", seed)
        make.label(root / patient / "seg.nii.gz", 0, 1, 3)
        images = [f"{patient}/{name}.nii.gz" for name in ("t1", "t2")]
        entries.append({"image": images, "label": f"{patient}/seg.nii.gz", "fold": seed % 2})
    validation = [{"image": entries[1]["image"], "label": "p2/other.nii.gz"}]
    make.label(root / "p2" / "other.nii.gz", 1)
    return make.json(
        root / "list.json",
        {"training": entries, "validation": validation, "test": ["p1/t1.nii.gz"]},
    )


def test_it_is_understood(datalist: Path) -> None:
    dataset = open_dataset(datalist)
    assert dataset.layout == "MONAI datalist"
    assert [(case.id, case.split) for case in dataset.cases] == [
        ("training-p1-t1", "training"),
        ("training-p2-t1", "training"),
        ("training-p3-t1", "training"),
        ("validation-p2-t1", "validation"),
    ]
    assert read_image(dataset.cases[0]).shape[0] == 2
    assert dataset.scheme.structures == ("class_1", "class_3")
    assert "1 test image without labels: not read." in dataset.understood
    assert open_dataset(datalist.parent).cases == dataset.cases


def test_folds(datalist: Path) -> None:
    dataset = open_dataset(datalist)
    one, two, three = (case.id for case in dataset.split("training"))
    assert dataset.stated_folds == (
        StatedFold(frozenset({two}), frozenset({one, three})),
        StatedFold(frozenset({one, three}), frozenset({two})),
    )


def test_there_and_back(datalist: Path, tmp_path: Path, make: Any) -> None:
    dataset = open_dataset(datalist)
    far = dataset.cases[2]
    wanted = read_labels(dataset, far).copy()
    wanted[0, 2, 2, :3] = 2
    before = make.contents(tmp_path / "far")
    mended = make.check_round_trip(dataset, tmp_path / "out", far.id, wanted)
    assert all(path.is_relative_to(tmp_path / "out") for c in mended.cases for path in c.images)
    assert mended.cases[2].masks["labels"].is_relative_to(tmp_path / "out")
    entry = json.loads((tmp_path / "out" / "list.json").read_text())["training"][2]
    assert entry["label"] == f"files/{far.id}/label/seg.nii.gz"
    assert json.loads((tmp_path / "out" / "labels.json").read_text()) == {
        "class_1": 1,
        "class_3": 3,
    }
    assert make.contents(tmp_path / "far") == before


def test_labels_of_the_list(datalist: Path, make: Any) -> None:
    content = json.loads(datalist.read_text())
    make.json(datalist, content | {"labels": {"0": "background", "1": "liver", "3": "spleen"}})
    assert open_dataset(datalist).scheme.structures == ("liver", "spleen")
    make.json(datalist, content | {"labels": {"liver": 1}})
    reasons = [left_out.reason for left_out in open_dataset(datalist).left_out]
    assert len(reasons) == 3
    assert "name it in list.json" in reasons[0]


def test_a_label_of_two_cases_is_refused(datalist: Path, make: Any) -> None:
    content = json.loads(datalist.read_text())
    content["training"][1]["label"] = content["training"][0]["label"]
    make.json(datalist, content)
    (left_out,) = open_dataset(datalist).left_out
    assert "expected a mask file of its own" in left_out.reason


def test_a_copy_does_not_list_what_was_left_out(datalist: Path, tmp_path: Path, make: Any) -> None:
    content = json.loads(datalist.read_text())
    content["training"][1]["label"] = content["training"][0]["label"]
    content["training"][2]["label"] = "p1/gone.nii.gz"
    content["training"].append({"image": content["training"][0]["image"][::-1]})
    make.json(datalist, content | {"numTraining": 4, "numTest": 1})
    dataset = open_dataset(datalist)
    assert len(dataset.left_out) == 3
    mended = make.mend(dataset, tmp_path / "out", {})
    assert mended.left_out == ()
    copied = json.loads((tmp_path / "out" / "list.json").read_text())
    assert copied["training"] == content["training"][:1]
    assert copied["numTraining"] == 1
    for kept in ("validation", "test"):
        assert copied[kept] == content[kept]
    assert copied["numTest"] == 1


@pytest.mark.parametrize(
    "training", ["x", [3], [{"label": "a.nii"}], [{"image": 3}], [{"image": "a", "label": ["b"]}]]
)
def test_a_list_that_makes_no_sense(tmp_path: Path, make: Any, training: Any) -> None:
    path = make.json(tmp_path / "list.json", {"training": training})
    with pytest.raises((SettingsError, LayoutError), match=r"list\.json: expected"):
        open_dataset(path)


def test_json_that_describes_nothing(tmp_path: Path, make: Any) -> None:
    path = make.json(tmp_path / "list.json", {"a": 1})
    with pytest.raises(LayoutError, match="got other JSON"):
        open_dataset(path)
