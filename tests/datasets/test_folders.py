from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from maskmend.core import IGNORED, LabelScheme
from maskmend.datasets import open_dataset, read_image, read_labels
from maskmend.errors import LayoutError, MaskValueError, SettingsError, UnreadableFileError

MAP = np.array([[0, 3, 3], [7, 7, 0]])


def put(path: Path, values: NDArray[np.integer], dtype: type[np.integer] = np.uint8) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(values.astype(dtype)).save(path)


def put_case(root: Path, stem: str, mask: NDArray[np.integer], under: str = "") -> None:
    put(root / "images" / f"{stem}.png", np.arange(mask.size).reshape(mask.shape))
    put(root / "masks" / under / f"{stem}.png", mask)


def said(understood: tuple[str, ...], *words: str) -> bool:
    return any(all(word in sentence for word in words) for sentence in understood)


class TestLabelMaps:
    def test_values_become_classes_in_ascending_order(self, tmp_path: Path) -> None:
        put_case(tmp_path, "a", MAP)
        put_case(tmp_path, "b", MAP * 0 + 5)
        dataset = open_dataset(tmp_path)
        assert dataset.scheme == LabelScheme(("class_3", "class_5", "class_7"), overlapping=False)
        assert dataset.values == {"labels": (0, 3, 5, 7)}
        labels = read_labels(dataset, dataset.cases[0])
        assert labels.dtype == np.dtype(np.uint8)
        assert labels.tolist() == [[[0, 1, 1], [3, 3, 0]]]
        assert read_labels(dataset, dataset.cases[1]).tolist() == [[[2] * 3] * 2]
        assert {case.split for case in dataset.cases} == {"training"}
        assert said(dataset.understood, "exclusive", "3 = class_3", "7 = class_7")

    def test_names_from_the_file(self, tmp_path: Path) -> None:
        put_case(tmp_path, "a", MAP)
        names = {"background": 0, "spleen": 7, "liver": 3, "kidney": 9}
        (tmp_path / "labels.json").write_text(json.dumps(names))
        dataset = open_dataset(tmp_path)
        assert dataset.scheme == LabelScheme(("liver", "spleen", "kidney"), overlapping=False)
        assert dataset.values == {"labels": (0, 3, 7, 9)}
        assert not said(dataset.understood, "Skipped")

    def test_names_given_come_before_the_file(self, tmp_path: Path) -> None:
        put_case(tmp_path, "a", MAP)
        (tmp_path / "labels.json").write_text('{"wrong": 3}')
        dataset = open_dataset(tmp_path, classes={"liver": 3, "spleen": 7})
        assert dataset.scheme.structures == ("liver", "spleen")

    @pytest.mark.parametrize(
        "names", ["[]", "{}", '{"a": "1"}', '{"a": 1.5}', '{"a": true}', '{"a": 1, "b": 1}', '"a"']
    )
    def test_names_that_make_no_sense(self, tmp_path: Path, names: str) -> None:
        put_case(tmp_path, "a", MAP)
        (tmp_path / "labels.json").write_text(names)
        with pytest.raises(SettingsError, match=r"labels\.json: expected the names"):
            open_dataset(tmp_path)

    def test_names_that_are_no_json(self, tmp_path: Path) -> None:
        put_case(tmp_path, "a", MAP)
        (tmp_path / "labels.json").write_text('{"a": 1')
        with pytest.raises(UnreadableFileError, match=r"labels\.json"):
            open_dataset(tmp_path)

    def test_only_background_is_named(self, tmp_path: Path) -> None:
        put_case(tmp_path, "a", MAP)
        with pytest.raises(SettingsError, match="at least one class"):
            open_dataset(tmp_path, classes={"background": 0, "void": 9}, ignore_value=9)

    def test_ignored_pixels(self, tmp_path: Path) -> None:
        put_case(tmp_path, "a", np.array([[0, 1, 2, 255]]))
        dataset = open_dataset(tmp_path, ignore_value=255)
        assert dataset.scheme.structures == ("class_1", "class_2")
        assert read_labels(dataset, dataset.cases[0]).tolist() == [[[0, 1, 2, IGNORED]]]

    def test_255_without_an_ignore_value_is_asked_about(self, tmp_path: Path) -> None:
        put_case(tmp_path, "a", np.array([[0, 1, 2, 255]]))
        dataset = open_dataset(tmp_path)
        assert dataset.scheme.structures == ("class_1", "class_2", "class_255")
        assert said(dataset.understood, "ignore_value=255")

    def test_16_bits(self, tmp_path: Path) -> None:
        put(tmp_path / "images" / "a.png", np.array([[0, 60000]]), np.uint16)
        put(tmp_path / "masks" / "a.png", np.array([[300, 1000]]), np.uint16)
        dataset = open_dataset(tmp_path)
        assert dataset.values == {"labels": (0, 300, 1000)}
        assert read_labels(dataset, dataset.cases[0]).tolist() == [[[1, 2]]]
        assert read_image(dataset.cases[0]).dtype == np.dtype(np.uint16)
        assert read_image(dataset.cases[0]).tolist() == [[[0, 60000]]]

    def test_as_many_classes_as_fit(self, tmp_path: Path) -> None:
        for number in range(4):
            put_case(tmp_path, f"a{number}", np.arange(64)[None] + 63 * number + 1)
        dataset = open_dataset(tmp_path)
        assert len(dataset.scheme.structures) == 253
        last = read_labels(dataset, dataset.cases[-1])
        assert last.max() == 253

    def test_more_classes_than_fit(self, tmp_path: Path) -> None:
        for number in range(5):
            put_case(tmp_path, f"a{number}", np.arange(51)[None] + 51 * number + 1)
        with pytest.raises(MaskValueError, match="at most 254 classes in the label maps; got 255"):
            open_dataset(tmp_path)

    def test_splits(self, tmp_path: Path) -> None:
        put_case(tmp_path / "training", "a", MAP)
        put_case(tmp_path / "test", "b", MAP)
        dataset = open_dataset(tmp_path)
        assert dataset.layout == "label maps"
        assert [(case.id, case.split) for case in dataset.cases] == [
            ("a", "training"),
            ("b", "test"),
        ]


class TestOneStructure:
    @pytest.mark.parametrize("value", [1, 255])
    def test_a_map_with_one_value_is_binary(self, tmp_path: Path, value: int) -> None:
        put_case(tmp_path, "a", (MAP > 0) * value)
        dataset = open_dataset(tmp_path)
        assert dataset.scheme == LabelScheme(("foreground",), overlapping=True)
        assert dataset.values == {"foreground": (0, value)}
        assert dataset.cases[0].masks == {"foreground": tmp_path / "masks" / "a.png"}
        assert read_labels(dataset, dataset.cases[0]).tolist() == [(MAP > 0).astype(int).tolist()]
        assert said(dataset.understood, "foreground", f"0/{value}")

    def test_files_of_both_kinds(self, tmp_path: Path) -> None:
        put_case(tmp_path, "a", (MAP > 0) * 1)
        put_case(tmp_path, "b", (MAP > 0) * 255)
        dataset = open_dataset(tmp_path)
        assert dataset.scheme.structures == ("foreground",)
        first, second = (read_labels(dataset, case) for case in dataset.cases)
        assert np.array_equal(first, second)

    def test_1_and_255_in_one_file_are_two_classes(self, tmp_path: Path) -> None:
        put_case(tmp_path, "a", np.array([[0, 1, 255]]))
        assert open_dataset(tmp_path).scheme.structures == ("class_1", "class_255")

    def test_another_single_value(self, tmp_path: Path) -> None:
        put_case(tmp_path, "a", (MAP > 0) * 7)
        dataset = open_dataset(tmp_path)
        assert dataset.scheme == LabelScheme(("class_7",), overlapping=True)
        assert read_labels(dataset, dataset.cases[0]).max() == 1

    def test_a_name(self, tmp_path: Path) -> None:
        put_case(tmp_path, "a", (MAP > 0) * 255)
        dataset = open_dataset(tmp_path, classes={"liver": 255})
        assert dataset.scheme == LabelScheme(("liver",), overlapping=True)
        assert dataset.values == {"liver": (0, 255)}

    def test_all_masks_empty(self, tmp_path: Path) -> None:
        put_case(tmp_path, "a", MAP * 0)
        dataset = open_dataset(tmp_path)
        assert not read_labels(dataset, dataset.cases[0]).any()
        assert said(dataset.understood, "empty")


class TestSubfolders:
    def test_structures_may_overlap(self, tmp_path: Path) -> None:
        put_case(tmp_path, "a", np.array([[0, 1, 1]]), under="lung")
        put_case(tmp_path, "a", np.array([[0, 0, 255]]), under="labels")
        dataset = open_dataset(tmp_path)
        assert dataset.layout == "folders"
        assert dataset.scheme == LabelScheme(("labels", "lung"), overlapping=True)
        assert read_labels(dataset, dataset.cases[0]).tolist() == [[[0, 0, 1]], [[0, 1, 1]]]

    def test_endings_need_not_agree(self, tmp_path: Path) -> None:
        put(tmp_path / "images" / "a.jpg", np.full((4, 4), 9))
        put(tmp_path / "masks" / "lung" / "a.tif", np.ones((4, 4), int))
        dataset = open_dataset(tmp_path)
        assert [case.id for case in dataset.cases] == ["a"]
        assert read_image(dataset.cases[0]).shape == (1, 4, 4)
        assert read_labels(dataset, dataset.cases[0]).min() == 1

    def test_files_beside_subfolders_are_ambiguous(self, tmp_path: Path) -> None:
        put_case(tmp_path, "a", MAP)
        put_case(tmp_path, "a", MAP, under="lung")
        with pytest.raises(LayoutError, match="beside the subfolders lung"):
            open_dataset(tmp_path)


def test_another_dataset_json_is_no_description(tmp_path: Path) -> None:
    put_case(tmp_path, "a", MAP)
    (tmp_path / "dataset.json").write_text('{"made by": "someone"}')
    dataset = open_dataset(tmp_path)
    assert dataset.layout == "label maps"
    assert said(dataset.understood, "Skipped", "dataset.json")


@pytest.mark.parametrize("values", [[0, 5, 70], [0, 5, 70_000], [0, 3, 2**30]])
def test_classes_of_values_far_apart(values: list[int]) -> None:
    from maskmend.datasets.values import classes_of

    stored = np.array([values, values[::-1], [values[1]] * 3], np.int32)
    expected = [[0, 1, 2], [2, 1, 0], [1, 1, 1]]
    assert classes_of(stored, tuple(values), None, "x").tolist() == expected
    ignored = classes_of(stored, tuple(values[:2]), values[2], "x")
    assert ignored.tolist() == [[0, 1, IGNORED], [IGNORED, 1, 0], [1, 1, 1]]
    assert classes_of(np.array([[7, -7]], np.int8), (7, -7), None, "x").tolist() == [[0, 1]]
    with pytest.raises(MaskValueError, match="x: expected only the values"):
        classes_of(stored, tuple(values[:2]), None, "x")
