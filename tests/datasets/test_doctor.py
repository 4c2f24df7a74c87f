"""What `doctor` says: of small data sets with one fault each, and of the real hippocampus."""

from __future__ import annotations

import csv
import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from maskmend import doctor
from maskmend.datasets.doctor import Diagnosis
from maskmend.errors import LayoutError

HIPPOCAMPUS = Path(__file__).parents[3] / "shared" / "data" / "msd_hippocampus"


@pytest.fixture
def root(tmp_path: Path, make: Any) -> Path:
    """Four sound cases; the tests spoil some."""
    for seed, case in enumerate(("a", "b", "c", "d")):
        make.image(tmp_path / "images" / f"{case}.nii.gz", seed)
        make.label(tmp_path / "labels" / f"{case}.nii.gz", 1, 2, 2)
    make.json(tmp_path / "labels.json", {"liver": 1, "spleen": 2})
    return tmp_path


def warned(found: Diagnosis, *words: str) -> bool:
    return any(all(word in sentence for word in words) for sentence in found.warnings)


def test_nothing_is_said_of_a_sound_data_set(root: Path) -> None:
    found = doctor(root)
    assert found.warnings == ()
    assert found.left_out == ()
    assert found.structures() == {"liver": (4, 4, 4), "spleen": (4, 4, 8)}
    facts = found.cases[1]
    assert (facts.case.id, facts.channels, facts.dtype, facts.shape) == (
        "b",
        1,
        "float32",
        (3, 4, 5),
    )
    # z grows to the head, y to the back, x to the left
    assert facts.axes == "SPL"
    assert facts.voxels == {"liver": 1, "spleen": 2}
    assert facts.low < 80 < 120 < facts.high


def test_the_same_image_twice(root: Path, make: Any) -> None:
    # other bytes, the same voxels
    image = np.random.default_rng(0).normal(100, 20, make.shape).astype(np.float32)
    make.nifti(root / "images" / "c.nii", image)
    (root / "images" / "c.nii.gz").unlink()
    assert warned(doctor(root), "The same image: a, c.", "different patients")


def test_the_same_image_of_one_patient(root: Path, make: Any) -> None:
    for name in ("images", "labels"):
        (root / name / "p1-b.nii.gz").write_bytes((root / name / "a.nii.gz").read_bytes())
        for case in "abcd":
            (root / name / f"{case}.nii.gz").rename(root / name / f"p{case == 'a':d}-{case}.nii.gz")
    found = doctor(root, group_pattern="^(p.)-")
    assert found.warnings == ("The same image: p1-a, p1-b.",)


def test_another_type_of_values(root: Path, make: Any) -> None:
    make.nifti(root / "images" / "b.nii.gz", np.arange(60, dtype=np.uint8).reshape(make.shape))
    assert warned(doctor(root), "float32 in 3 cases, uint8 in 1 case", "uint8: b.")


def test_another_range_of_values(root: Path, make: Any) -> None:
    make.nifti(root / "images" / "b.nii.gz", np.linspace(0, 9e4, 60, dtype=np.float32).reshape(
        make.shape))  # fmt: skip
    make.nifti(root / "images" / "c.nii.gz", np.full(make.shape, 7, np.float32))
    found = doctor(root)
    assert warned(found, "over 10 times larger or smaller", "in 1 image: b.")
    assert warned(found, "have one value, in 1 image: c.")


def test_another_spacing(root: Path, make: Any) -> None:
    for folder, put in (
        ("images", make.image),
        ("labels", lambda p, **k: make.label(p, 1, 2, **k)),
    ):
        put(root / folder / "b.nii.gz", affine=make.oblique * [1, 3, 1, 1])
    assert warned(doctor(root), "over 2 times larger", "usual 2.502", "in 1 image: b.")


def test_other_axes(root: Path, make: Any) -> None:
    flipped = make.oblique * [-1, 1, 1, 1]
    make.image(root / "images" / "d.nii.gz", affine=flipped)
    make.label(root / "labels" / "d.nii.gz", 1, 2, affine=flipped)
    assert warned(doctor(root), "directions of the axes: SPL in 3 cases, SPR in 1 case", "SPR: d.")


def test_empty_masks(root: Path, make: Any) -> None:
    make.label(root / "labels" / "a.nii.gz", 0)
    make.label(root / "labels" / "b.nii.gz", 2)
    make.json(root / "labels.json", {"liver": 1, "spleen": 2, "kidney": 3})
    found = doctor(root)
    assert warned(found, "The masks are empty in 1 case: a.")
    assert warned(found, "No voxel of liver in 1 case: b.")
    assert warned(found, "No case has a voxel of kidney.")
    assert found.structures()["kidney"] == (4, 0, 0)
    assert any("No mask shows kidney." in sentence for sentence in found.dataset.understood)


def test_ignored_voxels_and_regions(tmp_path: Path, make: Any) -> None:
    labels = {"background": 0, "whole": [1, 2], "core": [2], "ignore": 3}
    make.json(
        tmp_path / "dataset.json",
        {"channel_names": {"0": "CT"}, "labels": labels, "regions_class_order": [1, 2],
         "numTraining": 1, "file_ending": ".nii.gz"},
    )  # fmt: skip
    make.image(tmp_path / "imagesTr" / "a_0000.nii.gz")
    make.label(tmp_path / "labelsTr" / "a.nii.gz", 1, 1, 2, 3, 3)
    (facts,) = doctor(tmp_path).cases
    assert facts.voxels == {"whole": 3, "core": 1}
    assert facts.ignored == 2


def test_no_case_is_usable(root: Path) -> None:
    for path in (root / "images").iterdir():
        path.unlink()
    (root / "images" / "z.png").write_bytes(b"")
    with pytest.raises(LayoutError, match="none of them usable"):
        doctor(root)


def run(*arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "maskmend.cli", *arguments]
    return subprocess.run(command, capture_output=True, text=True)


def test_the_command_says_it_all(root: Path, tmp_path: Path) -> None:
    (root / "images" / "c.nii.gz").unlink()
    before = sorted(path for path in root.rglob("*"))
    out = tmp_path.parent / f"{tmp_path.name}-out"
    done = run("doctor", str(root), "--json", str(out / "d.json"), "--csv", str(out / "d.csv"))
    assert done.returncode == 1, done.stderr
    assert "Layout label maps: 3 cases, 3 training." in done.stdout
    assert re.search(r"spleen +3 +3 +6", done.stdout)
    assert re.search(r"a +training +a +float32 +3 x 4 x 5", done.stdout)
    assert "Nothing unusual was found." in done.stdout
    assert f"`maskmend audit {root} --run RUN` would train 3 teachers on about 2" in done.stdout
    assert "Left out, 1:\n  c: expected an image" in done.stderr
    with (out / "d.csv").open() as handle:
        rows = list(csv.DictReader(handle))
    assert [(row["case"], row["usable"]) for row in rows] == [
        ("a", "True"), ("b", "True"), ("d", "True"), ("c", "False"),
    ]  # fmt: skip
    assert rows[0]["voxels:spleen"] == "2"
    content = json.loads((out / "d.json").read_text())
    assert [case["case"] for case in content["cases"]] == ["a", "b", "d", "c"]
    assert content["structures"]["liver"] == {"labelled": 3, "present": 3, "voxels": 3}
    assert sorted(path for path in root.rglob("*")) == before


@pytest.mark.parametrize(("gone", "code"), [(None, 0), ("images", 2)])
def test_exit_codes(root: Path, gone: str | None, code: int) -> None:
    if gone:
        for path in (root / gone).iterdir():
            path.write_bytes(b"")
    done = run("doctor", str(root))
    assert done.returncode == code, done.stderr
    assert "Traceback" not in done.stderr


def test_too_few_patients(root: Path) -> None:
    done = run("doctor", str(root), "--group-pattern", "()[a-d]|(.)")
    assert done.returncode == 2
    for folder in ("images", "labels"):
        for case in "cd":
            (root / folder / f"{case}.nii.gz").unlink()
    done = run("doctor", str(root))
    assert "would not start: its 3 folds need as many patients, and there are 2" in done.stdout


@pytest.mark.skipif(not HIPPOCAMPUS.is_dir(), reason=f"no hippocampus data set at {HIPPOCAMPUS}")
def test_the_real_untidiness() -> None:
    found = doctor(HIPPOCAMPUS)
    assert len(found.cases) == 260
    assert {out.case for out in found.left_out} == {
        "hippocampus_010", "hippocampus_118", "hippocampus_281",
    }  # fmt: skip
    assert warned(found, "float32 in 205 cases, uint8 in 55 cases")
    assert warned(found, "over 10 times larger or smaller")
    assert found.structures()["class_1"][:2] == (260, 260)
