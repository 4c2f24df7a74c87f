"""Each kind of bad input: the case is named, the others go on, and the message says what to do."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from maskmend.core import Dataset
from maskmend.datasets import open_dataset, read_labels
from maskmend.errors import GridMismatchError, LayoutError, MaskValueError, MissingFileError

DISC = np.array([[0, 255, 255, 0], [0, 255, 0, 0]])


def put(path: Path, values: NDArray[np.generic], dtype: type[np.generic] = np.uint8) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(values.astype(dtype)).save(path)
    return path


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """Three sound cases; the tests spoil `bad`."""
    for stem in ("bad", "good", "sound"):
        put(tmp_path / "training" / "images" / f"{stem}.png", np.arange(8).reshape(2, 4))
        for structure in ("heart", "lung"):
            put(tmp_path / "training" / structure / f"{stem}.png", DISC)
    return tmp_path


@pytest.fixture
def training(root: Path) -> Path:
    return root / "training"


def reason(dataset: Dataset) -> str:
    """Why `bad`, and nothing else, was left out; the others are checked to be there, readable."""
    assert [case.id for case in dataset.cases] == ["good", "sound"]
    assert [entry.case for entry in dataset.left_out] == ["bad"]
    for case in dataset.cases:
        assert read_labels(dataset, case).sum() == 6
    return dataset.left_out[0].reason


def holds(message: str, *parts: str) -> bool:
    """Whether the parts stand in the message, in this order."""
    places = [message.find(part) for part in parts]
    return places == sorted(places) and places[0] >= 0


def test_the_cases_are_sound_before_they_are_spoilt(root: Path) -> None:
    dataset = open_dataset(root)
    assert [case.id for case in dataset.cases] == ["bad", "good", "sound"]
    assert dataset.left_out == ()


def test_a_mask_without_an_image(root: Path, training: Path) -> None:
    (training / "images" / "bad.png").unlink()
    assert holds(
        reason(open_dataset(root)),
        "bad: expected an image for the mask",
        str(training / "heart" / "bad.png"),
        "got a mask without an image",
        "take the mask out",
    )


def test_an_image_without_a_mask(root: Path, training: Path) -> None:
    for structure in ("heart", "lung"):
        (training / structure / "bad.png").unlink()
    assert holds(
        reason(open_dataset(root)),
        "bad: expected a mask for the image",
        "got an image without a mask",
        "Add its mask",
    )


def test_sizes_that_differ(root: Path, training: Path) -> None:
    put(training / "lung" / "bad.png", DISC.T)
    assert holds(
        reason(open_dataset(root)),
        "bad: expected a mask of lung",
        "(2, 4)",
        "got (4, 2)",
        "Export the mask on the image's grid",
    )


@pytest.mark.parametrize("folder", ["images", "lung"])
def test_a_truncated_file(root: Path, training: Path, folder: str) -> None:
    path = training / folder / "bad.png"
    path.write_bytes(path.read_bytes()[:-20])
    assert holds(
        reason(open_dataset(root)),
        f"{path}: expected a whole PNG",
        "got a file cut off",
        "Replace the file",
    )


@pytest.mark.parametrize("folder", ["images", "lung"])
@pytest.mark.parametrize(
    "spoil", [lambda path: path.write_text("no picture"), lambda path: path.write_bytes(b"")]
)
def test_no_picture(
    root: Path, training: Path, folder: str, spoil: Callable[[Path], object]
) -> None:
    path = training / folder / "bad.png"
    spoil(path)
    message = reason(open_dataset(root))
    assert holds(message, f"{path}: expected a whole PNG", "got", "bytes", "Replace the file")


@pytest.mark.parametrize("strange", [np.nan, np.inf])
def test_a_float_image_with_nan(root: Path, training: Path, strange: float) -> None:
    (training / "images" / "bad.png").unlink()
    pixels = np.zeros((2, 4))
    pixels[0, 1] = strange
    put(training / "images" / "bad.tif", pixels, np.float32)
    assert holds(
        reason(open_dataset(root)),
        "bad: expected finite numbers",
        "bad.tif",
        "got NaN or infinity in 1 of 8 pixels",
        "Fill them",
    )


def test_an_unknown_mask_value(root: Path, training: Path) -> None:
    put(training / "lung" / "bad.png", np.array([[0, 255, 7, 7], [0, 0, 0, 0]]))
    assert holds(
        reason(open_dataset(root)),
        "bad: expected only 0 and 1, or only 0 and 255, in the binary mask of lung",
        "got the values 0 in 5 pixels, 7 in 2 pixels, 255 in 1 pixel",
        "ignore_value=7",
    )


def test_0_1_and_255_in_one_binary_mask(root: Path, training: Path) -> None:
    put(training / "lung" / "bad.png", np.array([[0, 255, 1, 1], [0, 0, 0, 0]]))
    assert holds(reason(open_dataset(root)), "bad: expected", "got the values 0", "1 in 2 pixels")


def test_a_smoothed_mask(root: Path, training: Path) -> None:
    put(training / "lung" / "bad.png", np.arange(8).reshape(2, 4) * 30)
    assert holds(
        reason(open_dataset(root)), "bad: expected", "got the values 0", "without smoothing"
    )


def test_a_coloured_mask(root: Path, training: Path) -> None:
    colours = np.zeros((2, 4, 3))
    colours[0, 0, 0] = 255
    put(training / "lung" / "bad.png", colours)
    assert holds(
        reason(open_dataset(root)),
        "bad.png: expected a grey or palette mask",
        "got 1 coloured pixels",
        "one integer a class",
    )


def test_a_lossy_mask(root: Path, training: Path) -> None:
    (training / "lung" / "bad.png").unlink()
    put(training / "lung" / "bad.jpg", DISC)
    assert holds(
        reason(open_dataset(root)), "bad.jpg: expected", "lossless", "got JPEG", "as PNG, TIFF"
    )


@pytest.mark.parametrize("folder", ["images", "lung"])
def test_two_files_of_one_stem(root: Path, training: Path, folder: str) -> None:
    put(training / folder / "bad.tif", DISC)
    assert holds(
        reason(open_dataset(root)),
        f"bad: expected one file of this name in {training / folder}",
        "got bad.png, bad.tif",
        "Keep one of them",
    )


def test_an_image_with_other_channels(root: Path, training: Path) -> None:
    put(training / "images" / "bad.png", np.zeros((2, 4, 3)))
    assert holds(
        reason(open_dataset(root)),
        "bad: expected images of 1 channel, as most cases have",
        "got 3 in",
        "Convert all images",
    )


def test_all_faults_of_a_case_are_told(root: Path, training: Path) -> None:
    put(training / "lung" / "bad.png", DISC.T)
    (training / "heart" / "bad.png").write_bytes(b"")
    message = reason(open_dataset(root))
    assert len(message.splitlines()) == 2
    assert "heart" in message
    assert "lung" in message


class TestLabelMaps:
    @pytest.fixture
    def maps(self, tmp_path: Path) -> Path:
        for stem in ("bad", "good", "sound"):
            put(tmp_path / "images" / f"{stem}.png", np.zeros((10, 10)))
            put(tmp_path / "masks" / f"{stem}.png", np.tile([0, 1, 2, 2, 2], (10, 2)))
        return tmp_path

    def test_a_value_without_a_name(self, maps: Path) -> None:
        put(maps / "masks" / "bad.png", np.tile([0, 1, 2, 2, 9], (10, 2)))
        dataset = open_dataset(maps, classes={"liver": 1, "spleen": 2})
        assert [case.id for case in dataset.cases] == ["good", "sound"]
        assert holds(
            dataset.left_out[0].reason,
            "bad: expected only the named values 0, 1, 2",
            "got the value 9 in 20 pixels",
            "ignore_value=9",
            "labels.json",
        )

    def test_an_instance_map(self, maps: Path) -> None:
        put(maps / "masks" / "bad.png", np.arange(100).reshape(10, 10))
        dataset = open_dataset(maps)
        assert dataset.scheme.structures == ("class_1", "class_2")
        assert holds(
            dataset.left_out[0].reason,
            "bad: expected a label map of at most 64 values",
            "got 100 values",
            "and 92 more",
            "Instance maps",
        )


class TestWholeDataSet:
    def test_nothing_there(self, tmp_path: Path) -> None:
        with pytest.raises(MissingFileError, match=r"expected a folder.*got nothing there.*path"):
            open_dataset(tmp_path / "gone")

    def test_a_file(self, root: Path) -> None:
        with pytest.raises(MissingFileError, match=r"expected a folder.*got a file"):
            open_dataset(root / "training" / "images" / "bad.png")

    def test_an_empty_folder(self, tmp_path: Path) -> None:
        with pytest.raises(LayoutError) as caught:
            open_dataset(tmp_path)
        assert holds(
            str(caught.value),
            f"{tmp_path}: expected one of the known layouts",
            "got an empty folder",
            "{training,validation,test}/",
            "<structure>/NAME.png",
            "masks/NAME.png",
        )

    @pytest.mark.parametrize("folders", [["pictures", "labels"], ["images"], ["training/images"]])
    def test_another_layout(self, tmp_path: Path, folders: list[str]) -> None:
        for folder in folders:
            put(tmp_path / folder / "a.png", DISC)
        with pytest.raises(LayoutError, match=f"got a folder with .*{folders[0].split('/')[0]}"):
            open_dataset(tmp_path)

    def test_folders_without_pictures(self, tmp_path: Path) -> None:
        (tmp_path / "images").mkdir()
        (tmp_path / "masks").mkdir()
        with pytest.raises(LayoutError, match="known layouts"):
            open_dataset(tmp_path)

    def test_no_usable_case(self, root: Path, training: Path) -> None:
        for path in (training / "images").iterdir():
            path.write_bytes(b"")
        with pytest.raises(LayoutError) as caught:
            open_dataset(root)
        assert holds(
            str(caught.value),
            "expected at least one case",
            "got 3 cases, none of them usable",
            "bad.png: expected a whole PNG",
            "Correct the files",
        )


class TestSpoiltAfterOpening:
    def test_an_unknown_value(self, root: Path, training: Path) -> None:
        dataset = open_dataset(root)
        put(training / "lung" / "good.png", np.array([[0, 255, 7, 0], [0, 0, 0, 0]]))
        with pytest.raises(MaskValueError, match=r"good \(lung\): expected only the values 0, 255"):
            read_labels(dataset, dataset.cases[1])

    def test_masks_of_different_sizes(self, root: Path, training: Path) -> None:
        dataset = open_dataset(root)
        put(training / "lung" / "good.png", DISC.T)
        with pytest.raises(GridMismatchError, match=r"good: .*heart \(2, 4\), lung \(4, 2\)"):
            read_labels(dataset, dataset.cases[1])
