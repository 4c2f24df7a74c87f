from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from maskmend.core import IGNORED, Grid, LabelScheme
from maskmend.datasets import (
    copy_images,
    dataset_digest,
    open_dataset,
    read_grid,
    read_image,
    read_labels,
    write_labels,
)
from maskmend.errors import MissingFileError, SettingsError

JSRT = Path(__file__).parents[2].parent / "shared" / "data" / "jsrt"
DISC = np.array([[0, 1, 1], [0, 1, 0]])


def put(path: Path, values: NDArray[np.integer] | list[list[int]]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.asarray(values).astype(np.uint8)).save(path)


def put_case(root: Path, split: str, stem: str, **masks: NDArray[np.integer]) -> None:
    put(root / split / "images" / f"{stem}.png", np.arange(6).reshape(2, 3))
    for structure, mask in masks.items():
        put(root / split / structure / f"{stem}.png", mask)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    put_case(tmp_path, "training", "p1_a", lung=DISC * 255, clavicle=DISC)
    put_case(tmp_path, "training", "p1_b", lung=DISC * 0, clavicle=DISC)
    put_case(tmp_path, "validation", "p2_a", lung=DISC * 255, clavicle=DISC)
    return tmp_path


def said(understood: tuple[str, ...], *words: str) -> bool:
    return any(all(word in sentence for word in words) for sentence in understood)


def test_splits_and_structures_are_discovered(root: Path) -> None:
    dataset = open_dataset(root)
    assert dataset.layout == "reference"
    assert dataset.scheme == LabelScheme(("clavicle", "lung"), overlapping=True)
    assert [case.id for case in dataset.split("training")] == ["p1_a", "p1_b"]
    assert [case.id for case in dataset.split("validation")] == ["p2_a"]
    assert dataset.split("test") == ()
    assert dataset.cases[0].masks == {
        "clavicle": root / "training" / "clavicle" / "p1_a.png",
        "lung": root / "training" / "lung" / "p1_a.png",
    }
    assert dataset.left_out == ()
    assert said(dataset.understood, "reference", "3 cases", "2 training", "1 validation")
    assert said(dataset.understood, "overlap", "clavicle, lung")


def test_planes_images_and_grid(root: Path) -> None:
    dataset = open_dataset(root)
    case = dataset.cases[0]
    labels = read_labels(dataset, case)
    assert labels.dtype == np.dtype(np.uint8)
    assert labels.tolist() == [DISC.tolist(), DISC.tolist()]
    assert read_image(case).tolist() == [[[0, 1, 2], [3, 4, 5]]]
    assert read_grid(case) == Grid((2, 3))


def test_the_stored_values_are_recognised_and_said(root: Path) -> None:
    dataset = open_dataset(root)
    assert dataset.values == {"clavicle": (0, 1), "lung": (0, 255)}
    assert said(dataset.understood, "lung", "0/255")
    assert said(dataset.understood, "clavicle", "0/1")


def test_each_file_may_use_its_own_values(root: Path) -> None:
    put(root / "training" / "lung" / "p1_b.png", DISC)
    dataset = open_dataset(root)
    assert dataset.values["lung"] is None
    assert said(dataset.understood, "lung", "each file")
    for case in dataset.cases:
        assert read_labels(dataset, case)[1].tolist() == DISC.tolist()


def test_palette_masks_are_their_indices(root: Path) -> None:
    image = Image.fromarray(DISC.astype(np.uint8))
    image.putpalette([0, 0, 0, 250, 100, 5])
    image.save(root / "training" / "lung" / "p1_a.png")
    dataset = open_dataset(root)
    assert read_labels(dataset, dataset.cases[0])[1].tolist() == DISC.tolist()
    assert said(dataset.understood, "Palette", "1 case")


def test_a_structure_without_a_file_is_not_labelled(root: Path) -> None:
    (root / "training" / "lung" / "p1_a.png").unlink()
    dataset = open_dataset(root)
    assert [case.id for case in dataset.cases] == ["p1_a", "p1_b", "p2_a"]
    labels = read_labels(dataset, dataset.cases[0])
    assert labels[0].tolist() == DISC.tolist()
    assert (labels[1] == IGNORED).all()
    assert said(dataset.understood, "lung is not labelled in 1 case", "p1_a")


def test_ignored_pixels(root: Path) -> None:
    put(root / "training" / "lung" / "p1_a.png", [[0, 7, 255], [7, 255, 0]])
    dataset = open_dataset(root, ignore_value=7)
    assert dataset.left_out == ()
    assert read_labels(dataset, dataset.cases[0])[1].tolist() == [[0, IGNORED, 1], [IGNORED, 1, 0]]
    assert said(dataset.understood, "value 7", "1 case")


def test_255_can_be_the_ignore_value(root: Path) -> None:
    for stem in ("training/lung/p1_a", "validation/lung/p2_a"):
        put(root / f"{stem}.png", [[0, 1, 255], [1, 0, 0]])
    dataset = open_dataset(root, ignore_value=255)
    assert dataset.left_out == ()
    assert read_labels(dataset, dataset.cases[0])[1].tolist() == [[0, 1, IGNORED], [1, 0, 0]]


def test_the_background_cannot_be_ignored(root: Path) -> None:
    with pytest.raises(SettingsError, match="ignore_value: expected a value other than 0"):
        open_dataset(root, ignore_value=0)


def test_patients(root: Path) -> None:
    dataset = open_dataset(root, group_pattern=r"^(p\d)_")
    assert [case.group for case in dataset.cases] == ["p1", "p1", "p2"]
    assert said(dataset.understood, "2 patients")
    assert [case.group for case in open_dataset(root).cases] == ["p1_a", "p1_b", "p2_a"]


@pytest.mark.parametrize(
    ("pattern", "got"), [("(p", "p"), (r"p\d", "without a group"), (r"(p1)", "p2_a")]
)
def test_a_pattern_that_does_not_fit(root: Path, pattern: str, got: str) -> None:
    with pytest.raises(SettingsError, match=f"group_pattern: expected .*; got .*{got}"):
        open_dataset(root, group_pattern=pattern)


def test_names_for_classes_belong_to_label_maps(root: Path) -> None:
    with pytest.raises(SettingsError, match="classes: expected"):
        open_dataset(root, classes={"lung": 1})


def test_names_that_recur_between_splits_are_told_apart(root: Path) -> None:
    put_case(root, "validation", "p1_a", lung=DISC * 255, clavicle=DISC)
    dataset = open_dataset(root)
    assert [case.id for case in dataset.cases] == [
        "training-p1_a",
        "training-p1_b",
        "validation-p1_a",
        "validation-p2_a",
    ]
    assert said(dataset.understood, "recur", "split")


def test_what_is_skipped_is_said(root: Path) -> None:
    (root / "README.txt").write_text("about")
    (root / "training" / "images" / "Thumbs.db").write_text("")
    (root / "training" / "lung" / ".hidden.png").write_text("")
    (root / "training" / "notes").mkdir()
    dataset = open_dataset(root)
    assert len(dataset.cases) == 3
    assert dataset.left_out == ()
    assert dataset.scheme.structures == ("clavicle", "lung")
    assert said(
        dataset.understood, "README.txt", str(Path("training/images/Thumbs.db")), "training/notes"
    )
    assert said(dataset.understood, "1 hidden file")


def test_nothing_is_said_to_be_skipped_where_nothing_is(root: Path) -> None:
    assert not said(open_dataset(root).understood, "Skipped")


def test_a_single_structure_called_masks_is_the_other_layout(tmp_path: Path) -> None:
    put_case(tmp_path, "training", "a", masks=DISC)
    assert open_dataset(tmp_path).layout == "label maps"


class TestDigest:
    def test_place_and_time_do_not_matter(self, root: Path, tmp_path: Path) -> None:
        moved = tmp_path / "elsewhere" / "moved"
        dataset = open_dataset(root)
        copy_images(dataset, tmp_path.parent / f"{tmp_path.name}-copy")
        for case in dataset.cases:
            write_labels(
                dataset, case, read_labels(dataset, case), tmp_path.parent / f"{tmp_path.name}-copy"
            )
        copy = open_dataset(tmp_path.parent / f"{tmp_path.name}-copy")
        assert dataset_digest(copy) == dataset_digest(dataset)
        assert re.fullmatch("[0-9a-f]{64}", dataset_digest(dataset))
        assert not moved.exists()

    @pytest.mark.parametrize("name", ["images/p1_a.png", "lung/p1_a.png"])
    def test_one_changed_pixel_matters(self, root: Path, name: str) -> None:
        before = dataset_digest(open_dataset(root))
        put(root / "training" / name, [[0, 0, 0], [255, 255, 0]])
        assert dataset_digest(open_dataset(root)) != before

    def test_a_changed_name_matters(self, root: Path) -> None:
        before = dataset_digest(open_dataset(root))
        for path in list(root.glob("validation/*/p2_a.png")):
            path.rename(path.with_name("p3_a.png"))
        assert dataset_digest(open_dataset(root)) != before

    def test_a_file_that_has_gone(self, root: Path) -> None:
        dataset = open_dataset(root)
        dataset.cases[0].image.unlink()
        with pytest.raises(MissingFileError, match=r"p1_a\.png"):
            dataset_digest(dataset)


@pytest.mark.skipif(not JSRT.is_dir(), reason=f"no JSRT data set at {JSRT}")
class TestJsrt:
    def test_as_described(self) -> None:
        dataset = open_dataset(JSRT)
        assert dataset.scheme == LabelScheme(("clavicle", "heart", "lung"), overlapping=True)
        assert dataset.values == {"clavicle": (0, 255), "heart": (0, 255), "lung": (0, 255)}
        assert (len(dataset.split("training")), len(dataset.split("validation"))) == (197, 50)
        assert dataset.left_out == ()
        assert {read_grid(case).shape for case in dataset.cases[::50]} == {(256, 256)}

    def test_the_shares_of_the_data_readme(self) -> None:
        dataset = open_dataset(JSRT)
        labels = np.stack([read_labels(dataset, case) for case in dataset.split("training")])
        clavicle, heart, lung = np.moveaxis(labels == 1, 1, 0)
        assert lung.mean() == pytest.approx(0.307, abs=5e-4)
        assert heart.mean() == pytest.approx(0.090, abs=5e-4)
        assert clavicle.mean() == pytest.approx(0.020, abs=5e-4)
        assert lung[clavicle].mean() == pytest.approx(0.88, abs=5e-3)
