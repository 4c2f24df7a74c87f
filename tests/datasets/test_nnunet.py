"""nnU-Net v2 raw folders: channels, regions, ignore, splits, and what is wrong in them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from maskmend import stages
from maskmend.core import IGNORED, LabelScheme, Regions, StatedFold
from maskmend.datasets import dataset_digest, open_dataset, read_grid, read_image, read_labels
from maskmend.datasets.noise import plan_noise, sample_noise
from maskmend.errors import LayoutError, MaskValueError, SettingsError, UnreadableFileError
from maskmend.formats import read_mask

PLAIN = {
    "channel_names": {"0": "T1", "1": "T2"},
    "labels": {"background": 0, "liver": 1, "spleen": 2},
    "numTraining": 3,
    "file_ending": ".nii.gz",
}
REGIONS = PLAIN | {
    "labels": {"background": 0, "whole": [1, 2, 3], "core": [2, 3], "enhancing": 3, "ignore": 4},
    "regions_class_order": [1, 2, 3],
}
IGNORE = PLAIN | {"labels": {"background": 0, "liver": 1, "spleen": 2, "ignore": 3}}


@pytest.fixture
def root(tmp_path: Path, make: Any) -> Path:
    root = tmp_path / "Dataset001_Test"
    make.json(root / "dataset.json", PLAIN)
    for number, case in enumerate(("a", "b", "c")):
        for channel in (0, 1):
            make.image(root / "imagesTr" / f"{case}_{channel:04d}.nii.gz", 2 * number + channel)
        make.label(root / "labelsTr" / f"{case}.nii.gz", 0, 1, 1, 2)
    return root


def test_it_is_understood(root: Path, make: Any) -> None:
    dataset = open_dataset(root)
    assert dataset.layout == "nnU-Net v2"
    assert dataset.scheme == LabelScheme(("liver", "spleen"), overlapping=False)
    assert dataset.values == {"labels": (0, 1, 2)}
    assert [case.id for case in dataset.cases] == ["a", "b", "c"]
    assert [path.name for path in dataset.cases[1].images] == ["b_0000.nii.gz", "b_0001.nii.gz"]
    image = read_image(dataset.cases[0])
    assert image.shape == (2, *make.shape)
    assert not np.array_equal(image[0], image[1])
    assert read_labels(dataset, dataset.cases[0]).ravel()[:5].tolist() == [0, 1, 1, 2, 0]
    grid = read_grid(dataset.cases[0])
    # (z, y, x); the lengths of the affine's columns
    assert grid.spacing == pytest.approx((2.502, 0.9, 0.80156), abs=1e-4)
    assert "Channels: T1, T2." in dataset.understood
    assert not any("Skipped" in sentence for sentence in dataset.understood)
    assert open_dataset(root / "dataset.json").cases == dataset.cases


def test_only_changed_voxels_change(root: Path, tmp_path: Path, make: Any) -> None:
    dataset = open_dataset(root)
    wanted = read_labels(dataset, dataset.cases[1]).copy()
    wanted[0, 2, 3, 1:4] = (1, 2, 1)
    mended = make.check_round_trip(dataset, tmp_path / "out", "b", wanted)
    assert (tmp_path / "out" / "dataset.json").read_bytes() == (root / "dataset.json").read_bytes()
    assert mended.cases[0].images[1].read_bytes() == dataset.cases[0].images[1].read_bytes()


def test_regions_overlap_and_are_painted_in_order(root: Path, tmp_path: Path, make: Any) -> None:
    make.json(root / "dataset.json", REGIONS)
    make.label(root / "labelsTr" / "a.nii.gz", 0, 1, 2, 3, 4)
    dataset = open_dataset(root)
    assert dataset.scheme == LabelScheme(("whole", "core", "enhancing"), overlapping=True)
    assert dataset.regions == Regions(
        {"whole": (1, 2, 3), "core": (2, 3), "enhancing": (3,)}, (1, 2, 3)
    )
    assert dataset.ignore_value == 4
    labels = read_labels(dataset, dataset.cases[0])
    assert labels.reshape(3, -1)[:, :5].tolist() == [
        [0, 1, 1, 1, IGNORED], [0, 0, 1, 1, IGNORED], [0, 0, 0, 1, IGNORED]
    ]  # fmt: skip
    wanted = labels.copy()
    flat = wanted.reshape(3, -1)
    # whole only; all three; core gone; to be ignored
    flat[:, 10], flat[:, 11], flat[:, 3], flat[:, 2] = (1, 0, 0), (1, 1, 1), (1, 0, 0), IGNORED
    mended = make.check_round_trip(dataset, tmp_path / "out", "a", wanted)
    stored = read_mask(mended.cases[0].masks["core"])[0].ravel()
    assert stored[[0, 1, 2, 3, 4, 10, 11, 12]].tolist() == [0, 1, 4, 1, 4, 1, 3, 0]


def test_unchanged_voxels_of_regions_keep_their_value(
    root: Path, tmp_path: Path, make: Any
) -> None:
    # core is shown by 2 and by 5; only 2 is painted
    labels = {"background": 0, "whole": [1, 2, 5], "core": [2, 5]}
    make.json(root / "dataset.json", REGIONS | {"labels": labels, "regions_class_order": [1, 2]})
    make.label(root / "labelsTr" / "a.nii.gz", 5, 5, 1)
    dataset = open_dataset(root)
    wanted = read_labels(dataset, dataset.cases[0]).copy()
    wanted.reshape(2, -1)[:, 2] = 1
    mended = make.check_round_trip(dataset, tmp_path / "out", "a", wanted)
    assert read_mask(mended.cases[0].masks["whole"])[0].ravel()[:4].tolist() == [5, 5, 2, 0]


def test_ignored_voxels(root: Path, tmp_path: Path, make: Any) -> None:
    make.json(root / "dataset.json", IGNORE)
    make.label(root / "labelsTr" / "c.nii.gz", 3, 3, 1)
    dataset = open_dataset(root)
    assert dataset.scheme.structures == ("liver", "spleen")
    labels = read_labels(dataset, dataset.cases[2])
    assert labels.ravel()[:4].tolist() == [IGNORED, IGNORED, 1, 0]
    wanted = labels.copy()
    wanted.ravel()[2:4] = (IGNORED, 2)
    make.check_round_trip(dataset, tmp_path / "out", "c", wanted)
    assert open_dataset(root, ignore_value=3).ignore_value == 3
    with pytest.raises(SettingsError, match=r"ignore_value: expected 3, as dataset\.json says"):
        open_dataset(root, ignore_value=2)


def test_test_images_take_part_if_they_have_labels(root: Path, make: Any) -> None:
    for case in ("d", "e"):
        for channel in (0, 1):
            make.image(root / "imagesTs" / f"{case}_{channel:04d}.nii.gz")
    make.label(root / "labelsTs" / "e.nii.gz", 1, 2)
    dataset = open_dataset(root)
    assert [(case.id, case.split) for case in dataset.cases][-1] == ("e", "test")
    assert len(dataset.cases) == 4
    assert dataset.left_out == ()
    assert "1 test image without labels: not read." in dataset.understood


def test_files_that_dataset_json_names(root: Path, tmp_path: Path, make: Any) -> None:
    outside = tmp_path / "elsewhere"
    for channel in (0, 1):
        make.image(outside / f"scan{channel}.nii.gz", 7 + channel)
    make.label(outside / "scan0_seg.nii.gz", 1, 2)
    explicit = {
        "x": {"images": [str(outside / f"scan{c}.nii.gz") for c in (0, 1)],
              "label": "../elsewhere/scan0_seg.nii.gz"},
        "a": {"images": [f"imagesTr/a_{c:04d}.nii.gz" for c in (0, 1)],
              "label": str(root / "labelsTr" / "a.nii.gz")},
    }  # fmt: skip
    make.json(root / "dataset.json", PLAIN | {"dataset": explicit, "numTraining": 2})
    dataset = open_dataset(root)
    assert [case.id for case in dataset.cases] == ["x", "a"]
    wanted = read_labels(dataset, dataset.cases[0]).copy()
    wanted[0, 1] = 2
    make.check_round_trip(dataset, tmp_path / "out", "x", wanted)
    written = json.loads((tmp_path / "out" / "dataset.json").read_text())["dataset"]
    assert written["x"] == {
        "images": ["files/x/image_0/scan0.nii.gz", "files/x/image_1/scan1.nii.gz"],
        "label": "files/x/label/scan0_seg.nii.gz",
    }
    assert written["a"] == explicit["a"] | {"label": "labelsTr/a.nii.gz"}


class TestSplits:
    FOLDS = ({"train": ["a", "b"], "val": ["c"]}, {"train": ["c"], "val": ["a", "b"]})
    STATED = (
        StatedFold(frozenset("ab"), frozenset("c")), StatedFold(frozenset("c"), frozenset("ab")),
    )  # fmt: skip

    def test_beside_dataset_json(self, root: Path, tmp_path: Path, make: Any) -> None:
        before = dataset_digest(open_dataset(root))
        make.json(root / "splits_final.json", self.FOLDS)
        dataset = open_dataset(root)
        assert dataset.stated_folds == self.STATED
        assert dataset_digest(dataset) != before
        wanted = 1 - read_labels(dataset, dataset.cases[0]).clip(max=1)
        mended = make.check_round_trip(dataset, tmp_path / "out", "a", wanted)
        assert mended.stated_folds == self.STATED

    def test_given(self, root: Path, tmp_path: Path, make: Any) -> None:
        splits = make.json(tmp_path / "mine.json", self.FOLDS)
        assert open_dataset(root, splits=splits).stated_folds == self.STATED
        assert open_dataset(root).stated_folds == ()

    def test_of_the_preprocessed_folder(
        self, root: Path, tmp_path: Path, make: Any, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        where = tmp_path / "preprocessed"
        make.json(where / root.name / "splits_final.json", self.FOLDS)
        monkeypatch.setenv("nnUNet_preprocessed", str(where))
        dataset = open_dataset(root)
        assert dataset.stated_folds == self.STATED
        assert any("Folds from" in sentence for sentence in dataset.understood)

    @pytest.mark.parametrize(
        ("folds", "got"),
        [
            ([{"train": ["a", "ghost"], "val": ["b"]}], "ghost in fold 0, which the data set"),
            ([{"train": ["a", "b"], "val": ["b"]}], "b in train and in val of fold 0"),
            ([{"train": ["a"]}], "expected a list of folds"),
            ({"train": []}, "expected a list of folds"),
        ],
    )
    def test_that_make_no_sense(self, root: Path, make: Any, folds: Any, got: str) -> None:
        make.json(root / "splits_final.json", folds)
        with pytest.raises(SettingsError, match=rf"splits_final\.json: .*{got}"):
            open_dataset(root)

    def test_of_a_case_that_was_left_out(self, root: Path, tmp_path: Path, make: Any) -> None:
        make.json(root / "splits_final.json", self.FOLDS)
        (root / "labelsTr" / "b.nii.gz").unlink()
        dataset = open_dataset(root)
        assert dataset.stated_folds == self.STATED
        assert [left_out.case for left_out in dataset.left_out] == ["b"]
        out = tmp_path / "out"
        make.mend(dataset, out, {})
        # what nnU-Net would refuse: another number of cases, a fold with a case that is not there
        assert json.loads((out / "dataset.json").read_text())["numTraining"] == 2
        folds = json.loads((out / "splits_final.json").read_text())
        assert folds == [{"train": ["a"], "val": ["c"]}, {"train": ["c"], "val": ["a"]}]

    def test_for_another_layout(self, tmp_path: Path, make: Any) -> None:
        make.image(tmp_path / "data" / "images" / "a.nii.gz")
        make.label(tmp_path / "data" / "masks" / "a.nii.gz", 1)
        splits = make.json(tmp_path / "splits_final.json", [])
        with pytest.raises(SettingsError, match="layout of nnU-Net"):
            open_dataset(tmp_path / "data", splits=splits)


class TestBadInput:
    def reason(self, root: Path, case: str) -> str:
        (left_out,) = open_dataset(root).left_out
        assert left_out.case == case
        return left_out.reason

    def test_a_class_that_dataset_json_does_not_name(self, root: Path, make: Any) -> None:
        make.label(root / "labelsTr" / "b.nii.gz", 1, 7, 7)
        reason = self.reason(root, "b")
        assert "expected only the named values 0, 1, 2" in reason
        assert "7 in 2 pixels" in reason
        assert "dataset.json" in reason

    def test_a_description_that_lacks_what_tells_its_kind(self, root: Path, make: Any) -> None:
        make.json(root / "dataset.json", {"labels": PLAIN["labels"]})
        with pytest.raises(LayoutError, match=r"its dataset\.json has neither channel_names and"):
            open_dataset(root)

    def test_a_label_on_another_grid(self, root: Path, make: Any) -> None:
        moved = make.oblique.copy()
        moved[0, 3] += 1.5
        make.label(root / "labelsTr" / "b.nii.gz", 1, affine=moved)
        reason = self.reason(root, "b")
        assert "b: expected a mask of labels on the image's grid, (3, 4, 5)" in reason
        assert "origin (11, 22, -33) mm" in reason
        assert "origin (12.5, 22, -33) mm" in reason

    def test_a_label_turned_about_its_origin(self, root: Path, make: Any) -> None:
        turned = make.oblique.copy()
        turned[:3, 0] *= -1
        make.label(root / "labelsTr" / "b.nii.gz", 1, affine=turned)
        assert "axes" in self.reason(root, "b")

    def test_rounding_is_no_other_grid(self, root: Path, make: Any) -> None:
        make.label(root / "labelsTr" / "b.nii.gz", 1, affine=np.round(make.oblique + 1e-4, 4))
        assert open_dataset(root).left_out == ()

    def test_a_channel_on_another_grid(self, root: Path, make: Any) -> None:
        moved = make.oblique.copy()
        moved[2, 3] = 0
        make.image(root / "imagesTr" / "b_0001.nii.gz", affine=moved)
        assert "b: expected all channels on the grid of b_0000.nii.gz" in self.reason(root, "b")

    def test_a_channel_that_is_missing(self, root: Path) -> None:
        (root / "imagesTr" / "b_0001.nii.gz").unlink()
        reason = self.reason(root, "b")
        assert "expected images of 2 channels, as the data set states; got 1" in reason

    def test_the_first_channel_is_missing(self, root: Path) -> None:
        (root / "imagesTr" / "b_0000.nii.gz").unlink()
        assert "b_0000.nii.gz; got no such file" in self.reason(root, "b")

    def test_a_label_without_an_image(self, root: Path) -> None:
        for channel in (0, 1):
            (root / "imagesTr" / f"b_{channel:04d}.nii.gz").unlink()
        assert "got a mask without an image" in self.reason(root, "b")

    @pytest.mark.parametrize(
        ("change", "expected"),
        [
            ({"labels": {"liver": "one"}}, "a whole number"),
            ({"labels": {"liver": []}}, "a whole number"),
            ({"labels": []}, "labels, such as"),
            ({"labels": {"background": 0, "x": [1, 2], "y": 2}}, "regions_class_order, 2 values"),
            ({"labels": REGIONS["labels"], "regions_class_order": [1, 2, 9]}, "belong to regions"),
            ({"file_ending": None}, "file_ending, such as"),
            ({"channel_names": ["T1"]}, "channel_names, such as"),
            ({"labels": {"a": 1, "b": 1}}, "each with its own whole number"),
            ({"dataset": {"a": {"images": [1], "label": "a.nii.gz"}}}, "images, a list of paths"),
            ({"dataset": {"a": {"images": ["a.nii.gz"]}}}, "images, a list of paths"),
        ],
    )
    def test_a_description_that_makes_no_sense(
        self, root: Path, make: Any, change: dict[str, Any], expected: str
    ) -> None:
        make.json(root / "dataset.json", PLAIN | change)
        with pytest.raises(SettingsError, match=rf"dataset\.json: expected .*{expected}"):
            open_dataset(root)

    def test_a_description_that_is_cut(self, root: Path) -> None:
        path = root / "dataset.json"
        path.write_text(path.read_text()[:-20])
        with pytest.raises(UnreadableFileError, match=r"dataset\.json: expected a JSON file"):
            open_dataset(root)

    def test_more_classes_than_fit(self, root: Path, make: Any) -> None:
        labels = {"background": 0} | {f"c{value}": value for value in range(1, 300)}
        make.json(root / "dataset.json", PLAIN | {"labels": labels})
        with pytest.raises(MaskValueError, match="at most 254 classes"):
            open_dataset(root)


@pytest.mark.parametrize("content", [PLAIN, REGIONS])
def test_a_noisy_copy_is_a_whole_folder_of_nnunet(
    root: Path, tmp_path: Path, make: Any, content: dict[str, Any]
) -> None:
    make.json(root / "dataset.json", content)
    ball = np.zeros(make.shape, np.uint8)
    ball[:, 1:3, 1:4] = 1
    ball[1, 1:3, 2] = 2
    for case in ("a", "b", "c"):
        make.nifti(root / "labelsTr" / f"{case}.nii.gz", ball)
    make.json(root / "splits_final.json", TestSplits.FOLDS)
    source = open_dataset(root)
    noise = plan_noise(source, "mixed", {"": 1.0}, {}, ("training",))
    record = stages.corrupt(source, tmp_path / "out", noise, seed=3)
    assert {corruption.case for corruption in record} == {"a", "b", "c"}
    noisy = open_dataset(tmp_path / "out")
    assert (noisy.scheme, noisy.layout, noisy.left_out) == (source.scheme, source.layout, ())
    names = {path.relative_to(tmp_path / "out").as_posix() for path in noisy.root.rglob("*.*")}
    sources = {path.relative_to(root).as_posix() for path in root.rglob("*.*")}
    assert names == {*sources, "corruptions.csv"}
    for old, new in zip(source.cases, noisy.cases, strict=True):
        assert [p.read_bytes() for p in old.images] == [p.read_bytes() for p in new.images]
        assert not np.array_equal(read_labels(source, old), read_labels(noisy, new))


def test_some_structures_are_not_corrupted_where_nobody_looked(tmp_path: Path, make: Any) -> None:
    for case in ("a", "b"):
        make.image(tmp_path / f"{case}.nii.gz")
        make.label(tmp_path / f"{case}-l.nii.gz", 1, 1, 0 if case == "a" else 2)
    make.json(tmp_path / "labels.json", {"liver": 1, "spleen": 2})
    (tmp_path / "t.csv").write_text(
        "image,label,labelled\na.nii.gz,a-l.nii.gz,liver\nb.nii.gz,b-l.nii.gz,\n"
    )
    dataset = open_dataset(tmp_path / "t.csv")
    noise = plan_noise(dataset, "mixed", {"": 1.0}, {}, ("training",))
    hit = {(c.case, c.structure) for c in sample_noise(dataset, noise, 1, ("training",))}
    assert ("a", "spleen") not in hit
    assert ("b", "spleen") in hit
