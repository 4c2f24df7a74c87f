"""Data sets that lie elsewhere, hold segments or are left out in part."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import pytest
import SimpleITK
from monai.data import load_decathlon_datalist
from numpy.typing import NDArray
from PIL import Image

from maskmend import stages
from maskmend.core import FoldPlan, Grid
from maskmend.datasets import open_dataset, read_labels
from maskmend.errors import LayoutError, SettingsError
from maskmend.exporting.options import ExportOptions
from maskmend.formats.seg_nrrd import create_segments, read_segments
from maskmend.settings import CrossfitSettings, FlagSettings, Settings
from maskmend.store import Run, Source

SETTINGS = Settings(crossfit=CrossfitSettings(folds=2), flag=FlagSettings(method="argmax"))


def judged(data: Path, root: Path, shifted: int = 2) -> Run:
    """A run whose predictions are the given labels, shifted in some cases by three columns."""
    run = Run.create(root, Source(str(data), ("training",)), SETTINGS)
    scheme = run.dataset.scheme
    plan = FoldPlan(2, 0, {case.id: index % 2 for index, case in enumerate(run.cases)})
    run.write_folds(plan)
    for number, case in enumerate(run.cases):
        labels = run.read_given(case)
        labels = np.roll(labels, 3, axis=-1) if number < shifted else labels
        hot = labels == 1 if scheme.overlapping else labels == np.arange(
            scheme.num_classes
        ).reshape(-1, *(1,) * (labels.ndim - 1))  # fmt: skip
        rest = 0.1 if scheme.overlapping else 0.1 / (scheme.num_classes - 1)
        probs = np.where(hot, 0.9, rest).astype(np.float32)
        run.write_probabilities(case, probs, plan.folds[case.id], plan)
    stages.flag(run)
    stages.correct(run)
    return run


def picture(path: Path, pixels: NDArray[np.uint8]) -> str:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(path)
    return str(path)


def test_a_table_of_files_from_elsewhere_becomes_a_folder(tmp_path: Path) -> None:
    """The copy holds the files, and its table their places in it."""
    rows = []
    for number in range(4):
        mask = np.zeros((20, 30), np.uint8)
        mask[5:12, 6 + number : 15 + number] = 1
        # images far from the table, all masks under one name in folders of their own
        image = picture(tmp_path / "scanner" / f"img{number}.png", mask * 90 + 20)
        label = picture(tmp_path / "reader" / str(number) / "mask.png", mask)
        rows.append([f"c{number}", image, label])
    (tmp_path / "data").mkdir()
    with (tmp_path / "data" / "cases.csv").open("w", newline="") as table:
        csv.writer(table).writerows([["case", "image", "label:lung"], *rows])
    run = judged(tmp_path / "data" / "cases.csv", tmp_path / "run")
    exported = stages.export(run, tmp_path / "out", ExportOptions("soft"))
    assert (exported.files.changed, exported.files.unchanged) == (2, 2)
    found = open_dataset(tmp_path / "out" / "cases.csv")
    assert found.left_out == ()
    for case, copy in zip(run.cases, found.cases, strict=True):
        assert copy.image.resolve().is_relative_to(tmp_path / "out")
        np.testing.assert_array_equal(read_labels(found, copy), run.read_mended(case))
    listed = load_decathlon_datalist(str(tmp_path / "out" / "soft_datalist.json"))
    for item, case in zip(listed, run.cases, strict=True):
        assert Path(item["image"]).read_bytes() == case.image.read_bytes()
        assert Path(item["hard_label"]).exists()


def segments_data(root: Path) -> None:
    """Four volumes in NIfTI; their masks in .seg.nrrd, of organs that overlap."""
    affine = np.diag([-0.8, -0.8, 2.5, 1.0])
    affine[:3, 3] = (12, -7, 40)
    rows = ((0, 0, -0.8, 12), (0, -0.8, 0, -7), (2.5, 0, 0, 40), (0, 0, 0, 1))
    grid = Grid((8, 20, 24), (2.5, 0.8, 0.8), tuple(tuple(map(float, row)) for row in rows))
    for number in range(4):
        lung, heart = np.zeros(grid.shape, bool), np.zeros(grid.shape, bool)
        lung[1:7, 4:14, 3:14] = True
        heart[2:6, 8:16, 8 + number : 17 + number] = True
        for name in ("images", "masks"):
            (root / name).mkdir(parents=True, exist_ok=True)
        image = (lung * 50 + heart * 80).astype(np.int16).T
        nibabel.save(nibabel.Nifti1Image(image, affine), root / "images" / f"c{number}.nii.gz")
        create_segments(
            root / "masks" / f"c{number}.seg.nrrd", {"lung": lung, "heart": heart}, grid
        )


def test_segments_are_mended_in_their_own_file(tmp_path: Path) -> None:
    segments_data(tmp_path / "data")
    run = judged(tmp_path / "data", tmp_path / "run")
    exported = stages.export(run, tmp_path / "out", ExportOptions(segments=True))
    assert (exported.files.changed, exported.files.unchanged) == (2, 2)
    differing = 0
    for number, case in enumerate(run.cases):
        source, copy = (root / "masks" / f"c{number}.seg.nrrd"
                        for root in (tmp_path / "data", tmp_path / "out"))  # fmt: skip
        assert (source.read_bytes() == copy.read_bytes()) == (number >= 2)
        (old, grid), (new, other) = read_segments(source), read_segments(copy)
        assert (list(old), grid) == (list(new), other)
        mended = run.read_mended(case)
        for plane, name in enumerate(run.dataset.scheme.structures):
            np.testing.assert_array_equal(new[name], mended[plane] == 1)
            differing += int((new[name] != old[name]).sum())
        assert SimpleITK.ReadImage(str(copy)).GetSpacing() == pytest.approx((0.8, 0.8, 2.5))
    with (tmp_path / "out" / "changes.csv").open(newline="") as table:
        rows = list(csv.DictReader(table))
    assert sum(int(row["voxels"]) for row in rows) == differing == exported.pixels > 0
    assert {row["structure"] for row in rows} == {"lung", "heart"}


def test_segments_cannot_ignore_a_voxel(tmp_path: Path) -> None:
    segments_data(tmp_path / "data")
    run = judged(tmp_path / "data", tmp_path / "run")
    with pytest.raises(SettingsError, match="only say yes or no"):
        stages.export(run, tmp_path / "out", ExportOptions("ignore", ignore_value=9))
    assert not (tmp_path / "out").exists()


def nnunet(root: Path, broken: bool = False) -> None:
    """Four pictures in nnU-Net's layout, whose masks never show the class that is named last."""
    for number in range(4):
        labels = np.zeros((20, 30), np.uint8)
        labels[5:12, 6 + number : 15 + number] = 1
        picture(root / "imagesTr" / f"c{number}_0000.png", labels * 90 + 20)
        picture(root / "labelsTr" / f"c{number}.png", labels)
    if broken:
        (root / "labelsTr" / "c3.png").write_bytes(b"no picture")
    description: dict[str, Any] = {
        "channel_names": {"0": "X"}, "labels": {"background": 0, "lung": 1, "rare": 2},
        "numTraining": 4, "file_ending": ".png",
    }  # fmt: skip
    (root / "dataset.json").write_text(json.dumps(description))


@pytest.mark.parametrize("images", ["copy", "none"])
def test_what_nnunet_counts_and_names_stays_right(tmp_path: Path, images: Any) -> None:
    """A case that was left out is not counted; the ignore label is above a class without pixels."""
    nnunet(tmp_path / "data", broken=True)
    run = judged(tmp_path / "data", tmp_path / "run")
    assert [left_out.case for left_out in run.dataset.left_out] == ["c3"]
    stages.export(run, tmp_path / "out", ExportOptions("ignore", images=images))
    described = json.loads((tmp_path / "out" / "dataset.json").read_text())
    assert described["numTraining"] == len(list((tmp_path / "out" / "labelsTr").iterdir())) == 3
    assert described["labels"] == {"background": 0, "lung": 1, "rare": 2, "ignore": 3}
    values = {
        int(value)
        for path in (tmp_path / "out" / "labelsTr").iterdir()
        for value in np.unique(np.array(Image.open(path)))
    }
    assert values == {0, 1, 3}


def test_an_ignore_label_that_is_there_is_kept(tmp_path: Path) -> None:
    nnunet(tmp_path / "data")
    described = json.loads((tmp_path / "data" / "dataset.json").read_text())
    described["labels"]["ignore"] = 3
    (tmp_path / "data" / "dataset.json").write_text(json.dumps(described))
    run = judged(tmp_path / "data", tmp_path / "run")
    stages.export(run, tmp_path / "out", ExportOptions("ignore"))
    copy = (tmp_path / "out" / "dataset.json").read_bytes()
    assert copy == (tmp_path / "data" / "dataset.json").read_bytes()
    pixels = np.array(Image.open(tmp_path / "out" / "labelsTr" / "c0.png"))
    assert (pixels == 3).any()


def test_a_file_that_would_be_overwritten_is_named(tmp_path: Path) -> None:
    rows = []
    for number in range(2):
        mask = np.zeros((10, 12), np.uint8)
        mask[2:6, 2:6] = 1
        image = picture(tmp_path / "data" / "images" / f"c{number}.png", mask * 9)
        rows.append([image, picture(tmp_path / "data" / "soft" / f"c{number}.png", mask)])
    with (tmp_path / "data" / "cases.csv").open("w", newline="") as table:
        csv.writer(table).writerows([["image", "label:lung"], *rows])
    run = judged(tmp_path / "data" / "cases.csv", tmp_path / "run")
    with pytest.raises(LayoutError, match="nothing called soft"):
        stages.export(run, tmp_path / "out")
    assert not (tmp_path / "out").exists()
