"""Images without masks, and predictions that open as a data set again."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from maskmend.core import Case, Dataset
from maskmend.datasets import open_dataset, read_image, read_labels
from maskmend.datasets.predictions import (
    check_out,
    image_cases,
    read_new_image,
    write_prediction,
)
from maskmend.errors import GridMismatchError, LayoutError, UnreadableFileError

GREY = np.arange(12, dtype=np.uint8).reshape(3, 4)
MAP = np.array([[0, 3, 3, 0], [0, 0, 7, 7], [7, 0, 0, 3]], dtype=np.uint8)


def put(path: Path, values: np.ndarray) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(values).save(path)


def overlapping(root: Path) -> Dataset:
    put(root / "images" / "a.png", GREY)
    for name in ("lung", "heart"):
        put(root / "masks" / name / "a.png", (MAP > 0).astype(np.uint8))
    return open_dataset(root)


def exclusive(root: Path, scale: int = 1) -> Dataset:
    put(root / "images" / "a.png", GREY)
    put(root / "masks" / "a.png", (MAP.astype(np.uint16) if scale > 1 else MAP) * scale)
    return open_dataset(root)


class TestImageCases:
    def test_a_folder_of_images(self, tmp_path: Path) -> None:
        put(tmp_path / "b.png", GREY)
        put(tmp_path / "a.tif", GREY)
        put(tmp_path / ".hidden.png", GREY)
        (tmp_path / "notes.txt").write_text("none")
        cases, left_out = image_cases(tmp_path)
        assert cases == [
            Case("a", "a", "training", tmp_path / "a.tif"),
            Case("b", "b", "training", tmp_path / "b.png"),
        ]
        assert left_out == []

    def test_images_in_it_come_first(self, tmp_path: Path) -> None:
        put(tmp_path / "cover.png", GREY)
        put(tmp_path / "images" / "a.png", GREY)
        assert [case.id for case in image_cases(tmp_path)[0]] == ["a"]

    def test_two_images_of_one_name_are_left_out(self, tmp_path: Path) -> None:
        for name in ("a.png", "a.tif", "b.png"):
            put(tmp_path / name, GREY)
        cases, (left_out,) = image_cases(tmp_path)
        assert [case.id for case in cases] == ["b"]
        assert left_out.case == "a"
        assert "a.png" in left_out.reason
        assert "a.tif" in left_out.reason

    @pytest.mark.parametrize("name", ["empty", "file.png", "missing"])
    def test_no_image(self, tmp_path: Path, name: str) -> None:
        (tmp_path / "empty").mkdir()
        put(tmp_path / "file.png", GREY)
        with pytest.raises(LayoutError, match=name):
            image_cases(tmp_path / name)


class TestReadNewImage:
    def test_it_is_the_image(self, tmp_path: Path) -> None:
        dataset = exclusive(tmp_path / "known")
        put(tmp_path / "new" / "n.png", GREY[::-1])
        (case,), _ = image_cases(tmp_path / "new")
        assert read_new_image(dataset, case).tolist() == [GREY[::-1].tolist()]

    def test_other_channels_are_refused(self, tmp_path: Path) -> None:
        dataset = exclusive(tmp_path / "known")
        put(tmp_path / "new" / "n.png", np.arange(36, dtype=np.uint8).reshape(3, 4, 3))
        (case,), _ = image_cases(tmp_path / "new")
        with pytest.raises(GridMismatchError, match="n: expected an image of 1 channel"):
            read_new_image(dataset, case)

    def test_what_is_no_image_is_refused(self, tmp_path: Path) -> None:
        dataset = exclusive(tmp_path / "known")
        (tmp_path / "n.png").write_text("no picture")
        with pytest.raises(UnreadableFileError, match=r"n\.png"):
            read_new_image(dataset, Case("n", "n", "training", tmp_path / "n.png"))


class TestCheckOut:
    @pytest.mark.parametrize(
        "out", ["new", "new/masks", "known", "known/predicted", "new/../new", "parent"]
    )
    def test_a_source_is_never_written_into(self, tmp_path: Path, out: str) -> None:
        dataset = exclusive(tmp_path / "known")
        (tmp_path / "parent" / "images").mkdir(parents=True)
        images = tmp_path / ("parent/images" if out == "parent" else "new")
        with pytest.raises(LayoutError, match="Choose another folder"):
            check_out(images, dataset, tmp_path / out)

    def test_a_folder_beside_them_is_taken(self, tmp_path: Path) -> None:
        dataset = exclusive(tmp_path / "known")
        put(tmp_path / "new" / "n.png", GREY)
        for out in ("predicted", "new-predicted", "known2"):
            check_out(tmp_path / "new", dataset, tmp_path / out)
        assert sorted(path.name for path in tmp_path.iterdir()) == ["known", "new"]


class TestWritePrediction:
    def new_case(self, root: Path) -> Case:
        put(root / "new" / "n.tif", GREY * 2)
        return image_cases(root / "new")[0][0]

    def test_overlapping_labels_open_again(self, tmp_path: Path) -> None:
        known = overlapping(tmp_path / "known")
        labels = np.stack([MAP == 3, MAP > 0]).astype(np.uint8)
        write_prediction(known, self.new_case(tmp_path), labels, tmp_path / "out")
        with Image.open(tmp_path / "out" / "masks" / known.scheme.planes[0] / "n.png") as stored:
            assert set(np.unique(np.asarray(stored))) == {0, 255}
        again = open_dataset(tmp_path / "out")
        assert again.scheme == known.scheme
        assert [case.id for case in again.cases] == ["n"]
        np.testing.assert_array_equal(read_labels(again, again.cases[0]), labels)
        np.testing.assert_array_equal(read_image(again.cases[0]), [GREY * 2])

    @pytest.mark.parametrize("scale", [1, 1000])
    def test_exclusive_labels_keep_values_and_names(self, tmp_path: Path, scale: int) -> None:
        known = exclusive(tmp_path / "known", scale)
        # the prediction lacks a class: its name and value must come through all the same
        labels = np.array([[[0, 2, 2, 0], [0, 0, 2, 2], [0, 0, 0, 0]]], dtype=np.uint8)
        write_prediction(known, self.new_case(tmp_path), labels, tmp_path / "out")
        with Image.open(tmp_path / "out" / "masks" / "n.png") as stored:
            assert set(np.unique(np.asarray(stored))) == {0, 7 * scale}
        again = open_dataset(tmp_path / "out")
        assert again.scheme == known.scheme
        assert again.values == known.values
        np.testing.assert_array_equal(read_labels(again, again.cases[0]), labels)

    def test_the_image_is_copied_and_the_same_again(self, tmp_path: Path) -> None:
        known = exclusive(tmp_path / "known")
        case = self.new_case(tmp_path)
        source = case.image.read_bytes()
        labels = np.zeros((1, 3, 4), dtype=np.uint8)
        for _ in range(2):
            write_prediction(known, case, labels, tmp_path / "out")
        assert (tmp_path / "out" / "images" / "n.tif").read_bytes() == source
        assert case.image.read_bytes() == source
        assert sorted(
            path.relative_to(tmp_path / "out").as_posix()
            for path in (tmp_path / "out").rglob("*") if path.is_file()
        ) == ["images/n.tif", "labels.json", "masks/n.png"]  # fmt: skip


class TestVolumes:
    """Images of two channels in files of their own, as nnU-Net has them."""

    @pytest.fixture
    def known(self, tmp_path: Path, make: Any) -> Dataset:
        root = tmp_path / "known"
        labels = {"background": 0, "whole": [1, 2], "core": [2]}
        channels = {"0": "T1", "1": "T2"}
        make.json(
            root / "dataset.json",
            {"channel_names": channels, "labels": labels, "regions_class_order": [1, 2],
             "numTraining": 1, "file_ending": ".nii.gz"},
        )  # fmt: skip
        for channel in (0, 1):
            make.image(root / "imagesTr" / f"a_{channel:04d}.nii.gz", channel)
        make.label(root / "labelsTr" / "a.nii.gz", 1, 2)
        return open_dataset(root)

    @pytest.fixture
    def new(self, tmp_path: Path, make: Any) -> Path:
        for case in ("m", "n"):
            for channel in (0, 1):
                make.image(tmp_path / "new" / f"{case}_{channel:04d}.nii.gz", channel + 5)
        return tmp_path / "new"

    def test_there_and_back(self, known: Dataset, new: Path, tmp_path: Path, make: Any) -> None:
        cases, left_out = image_cases(new, known.cases[0])
        assert ([case.id for case in cases], left_out) == (["m", "n"], [])
        assert read_new_image(known, cases[0]).shape == (2, *make.shape)
        wanted = np.zeros((2, *make.shape), np.uint8)
        wanted[0, 1:], wanted[1, 2, 3] = 1, 1
        for case in cases:
            write_prediction(known, case, wanted, tmp_path / "out")
        again = open_dataset(tmp_path / "out")
        assert again.left_out == ()
        assert [case.id for case in again.cases] == ["m", "n"]
        # folders are in the order of their names
        assert again.scheme.structures == ("core", "whole")
        np.testing.assert_array_equal(read_labels(again, again.cases[0]), wanted[::-1])
        np.testing.assert_array_equal(read_image(again.cases[0]), read_new_image(known, cases[0]))

    def test_scores_know_the_structures_by_name(
        self, known: Dataset, new: Path, tmp_path: Path
    ) -> None:
        from maskmend.scores import score_predictions

        case = image_cases(known.root / "imagesTr", known.cases[0])[0][0]
        write_prediction(known, case, read_labels(known, known.cases[0]), tmp_path / "out")
        found = score_predictions(open_dataset(tmp_path / "out"), known)
        assert [(row.case, row.structure, row.scores.dice) for row in found.masks] == [
            ("a", "whole", 1.0), ("a", "core", 1.0),
        ]  # fmt: skip

    def test_a_missing_channel(self, known: Dataset, new: Path) -> None:
        (new / "m_0000.nii.gz").unlink()
        cases, (left_out,) = image_cases(new, known.cases[0])
        assert [case.id for case in cases] == ["n"]
        assert "m: expected a file m_0000" in left_out.reason
        (new / "n_0001.nii.gz").unlink()
        (case,), _ = image_cases(new, known.cases[0])
        with pytest.raises(GridMismatchError, match="n: expected an image of 2 channels"):
            read_new_image(known, case)

    def test_a_picture_for_a_volume(self, tmp_path: Path, make: Any) -> None:
        make.image(tmp_path / "known" / "images" / "a.nii.gz")
        make.label(tmp_path / "known" / "masks" / "a.nii.gz", 1, 2)
        known = open_dataset(tmp_path / "known")
        put(tmp_path / "new" / "n.png", GREY)
        (case,), _ = image_cases(tmp_path / "new", known.cases[0])
        with pytest.raises(GridMismatchError, match="n: expected an image of 3 axes"):
            read_new_image(known, case)

    def test_a_series_and_many_classes(self, tmp_path: Path, make: Any) -> None:
        make.image(tmp_path / "known" / "images" / "a.nii.gz")
        mask = np.zeros(make.shape, np.uint16)
        mask[0, 0, :3] = (300, 1000, 70)
        make.nifti(tmp_path / "known" / "masks" / "a.nii.gz", mask)
        known = open_dataset(tmp_path / "known")
        make.series(tmp_path / "new" / "images" / "p1", np.arange(60).reshape(make.shape))
        (case,), _ = image_cases(tmp_path / "new", known.cases[0])
        assert read_new_image(known, case)[0].ravel().tolist() == list(range(60))
        wanted = (np.arange(60) % 4).astype(np.uint8).reshape(1, *make.shape)
        write_prediction(known, case, wanted, tmp_path / "out")
        again = open_dataset(tmp_path / "out")
        assert (again.scheme, again.values) == (known.scheme, known.values)
        np.testing.assert_array_equal(read_labels(again, again.cases[0]), wanted)
        before = (tmp_path / "out" / "masks" / "p1.nii.gz").read_bytes()
        write_prediction(known, case, wanted, tmp_path / "out")
        assert (tmp_path / "out" / "masks" / "p1.nii.gz").read_bytes() == before
