from __future__ import annotations

import hashlib
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from numpy.typing import NDArray
from PIL import Image

from maskmend.core import IGNORED, Dataset, LabelArray
from maskmend.datasets import (
    copy_images,
    open_dataset,
    read_labels,
    write_labels,
    write_soft_labels,
)
from maskmend.errors import (
    GridMismatchError,
    LayoutError,
    MaskValueError,
    MissingFileError,
    NotFiniteError,
    SettingsError,
)
from maskmend.files import read_json

DISC = np.array([[0, 1, 1, 0], [0, 1, 0, 0]])


def put(path: Path, values: NDArray[np.generic], dtype: type[np.generic] = np.uint8) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(values.astype(dtype)).save(path)
    return path


def contents(root: Path) -> dict[str, str]:
    return {
        path.relative_to(root).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(root.rglob("*"))
        if path.is_file()
    }


def write_all(dataset: Dataset, labels: dict[str, LabelArray], out: Path) -> Dataset:
    """The mended data set, opened again with the same settings."""
    copy_images(dataset, out)
    for case in dataset.cases:
        write_labels(dataset, case, labels.get(case.id, read_labels(dataset, case)), out)
    return open_dataset(out, ignore_value=dataset.ignore_value)


@pytest.fixture
def reference(tmp_path: Path) -> Path:
    root = tmp_path / "source"
    for stem in ("a", "b"):
        put(root / "training" / "images" / f"{stem}.png", DISC * 9)
        put(root / "training" / "lung" / f"{stem}.png", DISC * 255)
    put(root / "training" / "heart" / "a.png", DISC * 255)
    return root


@pytest.fixture
def maps(tmp_path: Path) -> Path:
    root = tmp_path / "source"
    for stem, mask in (("a", DISC * 3), ("b", DISC * 7)):
        put(root / "images" / f"{stem}.png", DISC)
        put(root / "masks" / f"{stem}.png", mask)
    return root


def test_unchanged_labels_are_the_same_files(reference: Path, tmp_path: Path) -> None:
    before = contents(reference)
    # bytes that no encoder would give again
    odd = reference / "training" / "lung" / "a.png"
    Image.open(odd).save(odd, compress_level=0)
    assert contents(reference) != before
    before = contents(reference)
    write_all(open_dataset(reference), {}, tmp_path / "out")
    assert contents(tmp_path / "out") == before == contents(reference)


def test_only_the_wrong_pixels_change(reference: Path, tmp_path: Path) -> None:
    dataset = open_dataset(reference)
    before = contents(reference)
    labels = read_labels(dataset, dataset.cases[0])
    labels[1, 1, 3] = 1
    mended = write_all(dataset, {"a": labels}, tmp_path / "out")
    assert np.array_equal(read_labels(mended, mended.cases[0]), labels)
    with Image.open(tmp_path / "out" / "training" / "lung" / "a.png") as image:
        assert (image.mode, np.array(image).tolist()) == (
            "L",
            [[0, 255, 255, 0], [0, 255, 0, 255]],
        )
    changed = [
        name for name, digest in contents(tmp_path / "out").items() if digest != before[name]
    ]
    assert changed == ["training/lung/a.png"]
    assert contents(reference) == before


def test_an_unlabelled_structure_gets_no_file(reference: Path, tmp_path: Path) -> None:
    mended = write_all(open_dataset(reference), {}, tmp_path / "out")
    assert not (tmp_path / "out" / "training" / "heart" / "b.png").exists()
    assert set(mended.cases[1].masks) == {"lung"}


def test_labels_for_an_unlabelled_structure(reference: Path, tmp_path: Path) -> None:
    dataset = open_dataset(reference)
    labels = np.zeros((2, 2, 4), np.uint8)
    with pytest.raises(MissingFileError, match=r"b: expected no labels of heart.*got 8 labelled"):
        write_labels(dataset, dataset.cases[1], labels, tmp_path / "out")


def test_ignored_pixels_keep_their_value(reference: Path, tmp_path: Path) -> None:
    put(reference / "training" / "lung" / "a.png", np.array([[0, 9, 255, 0], [9, 0, 0, 0]]))
    dataset = open_dataset(reference, ignore_value=9)
    labels = read_labels(dataset, dataset.cases[0])
    labels[1, 0, 0] = 1
    labels[1, 0, 3] = IGNORED
    mended = write_all(dataset, {"a": labels}, tmp_path / "out")
    with Image.open(tmp_path / "out" / "training" / "lung" / "a.png") as image:
        assert np.array(image).tolist() == [[255, 9, 255, 9], [9, 0, 0, 0]]
    assert np.array_equal(read_labels(mended, mended.cases[0]), labels)


def test_to_ignore_without_an_ignore_value(reference: Path, tmp_path: Path) -> None:
    dataset = open_dataset(reference)
    labels = read_labels(dataset, dataset.cases[0])
    labels[0, 0, 0] = IGNORED
    with pytest.raises(SettingsError, match=r"a: expected an ignore value.*got 1 of them"):
        write_labels(dataset, dataset.cases[0], labels, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_a_class_beyond_the_scheme(reference: Path, tmp_path: Path) -> None:
    dataset = open_dataset(reference)
    labels = read_labels(dataset, dataset.cases[0])
    labels[0, 0, 0] = 2
    with pytest.raises(MaskValueError, match=r"a: expected classes 0 to 1.*got \[2\]"):
        write_labels(dataset, dataset.cases[0], labels, tmp_path / "out")


@pytest.mark.parametrize("shape", [(1, 2, 4), (2, 4, 2)])
def test_labels_of_another_shape(reference: Path, tmp_path: Path, shape: tuple[int, ...]) -> None:
    dataset = open_dataset(reference)
    with pytest.raises(GridMismatchError, match="a: expected"):
        write_labels(dataset, dataset.cases[0], np.zeros(shape, np.uint8), tmp_path / "out")


class TestEmptyBinaryMasks:
    """What an empty mask is filled with: the value that the other files use, if it fits."""

    @pytest.mark.parametrize(("others", "expected"), [([1], 1), ([255], 255), ([1, 255], 255)])
    def test_the_usual_value(self, tmp_path: Path, others: list[int], expected: int) -> None:
        root = tmp_path / "source"
        for number, value in enumerate([0, *others]):
            put(root / "images" / f"{number}.png", DISC)
            put(root / "masks" / "lung" / f"{number}.png", DISC * value)
        mended = write_all(open_dataset(root), {"0": DISC[None].astype(np.uint8)}, tmp_path / "out")
        with Image.open(tmp_path / "out" / "masks" / "lung" / "0.png") as image:
            assert np.array(image).max() == expected
        assert np.array_equal(read_labels(mended, mended.cases[0])[0], DISC)

    def test_one_bit_among_eight(self, tmp_path: Path) -> None:
        root = tmp_path / "source"
        put(root / "images" / "0.png", DISC)
        put(root / "images" / "1.png", DISC)
        put(root / "masks" / "lung" / "0.png", DISC * 0, np.bool_)
        put(root / "masks" / "lung" / "1.png", DISC * 255)
        dataset = open_dataset(root)
        mended = write_all(dataset, {"0": DISC[None].astype(np.uint8)}, tmp_path / "out")
        target = tmp_path / "out" / "masks" / "lung" / "0.png"
        with Image.open(target) as image:
            assert image.mode == "1"
        # the run reads what it wrote by the data set that it was opened with
        moved = replace(dataset.cases[0], masks={"lung": target})
        assert np.array_equal(read_labels(dataset, moved)[0], DISC)
        assert np.array_equal(read_labels(mended, mended.cases[0])[0], DISC)

    def test_only_ignored_pixels(self, tmp_path: Path) -> None:
        root = tmp_path / "source"
        for stem, value in (("0", 9), ("1", 1)):
            put(root / "images" / f"{stem}.png", DISC)
            put(root / "masks" / "lung" / f"{stem}.png", DISC * value)
        dataset = open_dataset(root, ignore_value=9)
        wanted = np.where(DISC == 1, IGNORED, 1).astype(np.uint8)[None]
        mended = write_all(dataset, {"0": wanted}, tmp_path / "out")
        with Image.open(tmp_path / "out" / "masks" / "lung" / "0.png") as image:
            assert np.array_equal(np.array(image), np.where(DISC == 1, 9, 1))
        assert np.array_equal(read_labels(mended, mended.cases[0]), wanted)

    def test_where_255_is_ignored(self, tmp_path: Path) -> None:
        root = tmp_path / "source"
        put(root / "images" / "0.png", DISC)
        put(root / "masks" / "lung" / "0.png", np.array([[0, 255, 0, 0], [0, 0, 0, 0]]))
        dataset = open_dataset(root, ignore_value=255)
        labels = np.array([[[1, IGNORED, 0, 0], [0, 0, 0, 0]]], np.uint8)
        mended = write_all(dataset, {"0": labels}, tmp_path / "out")
        assert np.array_equal(read_labels(mended, mended.cases[0]), labels)


class TestLabelMaps:
    def test_stored_values_come_back(self, maps: Path, tmp_path: Path) -> None:
        dataset = open_dataset(maps)
        labels = np.array([[[0, 1, 2, 2], [1, 0, 0, 0]]], np.uint8)
        mended = write_all(dataset, {"a": labels}, tmp_path / "out")
        with Image.open(tmp_path / "out" / "masks" / "a.png") as image:
            assert np.array(image).tolist() == [[0, 3, 7, 7], [3, 0, 0, 0]]
        assert np.array_equal(read_labels(mended, mended.cases[0]), labels)

    def test_a_class_that_lost_its_last_pixel_keeps_its_value(
        self, maps: Path, tmp_path: Path
    ) -> None:
        dataset = open_dataset(maps)
        nothing = np.zeros((1, 2, 4), np.uint8)
        mended = write_all(dataset, {"a": nothing}, tmp_path / "out")
        assert mended.scheme == dataset.scheme
        assert mended.values == dataset.values
        assert read_json(tmp_path / "out" / "labels.json") == {"class_3": 3, "class_7": 7}

    def test_the_file_of_names_is_copied(self, maps: Path, tmp_path: Path) -> None:
        text = '{"liver":3,   "spleen":7, "background": 0}'
        (maps / "labels.json").write_text(text)
        mended = write_all(open_dataset(maps), {}, tmp_path / "out")
        assert (tmp_path / "out" / "labels.json").read_text() == text
        assert mended.scheme.structures == ("liver", "spleen")

    def test_names_given_by_hand_are_kept(self, maps: Path, tmp_path: Path) -> None:
        (maps / "labels.json").write_text('{"x": 3}')
        dataset = open_dataset(maps, classes={"liver": 3, "spleen": 7})
        assert write_all(dataset, {}, tmp_path / "out").scheme == dataset.scheme

    def test_one_unnamed_structure_needs_no_names(self, maps: Path, tmp_path: Path) -> None:
        for stem in ("a", "b"):
            put(maps / "masks" / f"{stem}.png", DISC * 255)
        dataset = open_dataset(maps)
        mended = write_all(dataset, {"a": np.zeros((1, 2, 4), np.uint8)}, tmp_path / "out")
        assert not (tmp_path / "out" / "labels.json").exists()
        assert mended.scheme == dataset.scheme


@settings(max_examples=25, deadline=None)
@given(data=st.data())
def test_what_is_written_is_what_is_read(
    tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    tmp_path = tmp_path_factory.mktemp("round-trip")
    classes = st.integers(0, 3)
    stored = np.array([0, 2, 5, 250])
    given_classes, wanted = (
        data.draw(hnp.arrays(np.uint8, (3, 5), elements=classes | st.just(IGNORED)), label)
        for label in ("given", "wanted")
    )
    masks = np.where(given_classes == IGNORED, 200, stored[given_classes % 4])
    put(tmp_path / "source" / "images" / "a.png", masks)
    put(tmp_path / "source" / "masks" / "a.png", masks)
    names = {"two": 2, "five": 5, "more": 250}
    dataset = open_dataset(tmp_path / "source", ignore_value=200, classes=names)
    assert np.array_equal(read_labels(dataset, dataset.cases[0])[0], given_classes)
    mended = write_all(dataset, {"a": wanted[None]}, tmp_path / "out")
    assert np.array_equal(read_labels(mended, mended.cases[0])[0], wanted)


class TestTheSourceIsNeverWritten:
    @pytest.mark.parametrize("inside", [".", "training", "mended", "x/../mended"])
    def test_an_output_in_the_source(self, reference: Path, inside: str) -> None:
        dataset = open_dataset(reference)
        before = contents(reference)
        case = dataset.cases[0]
        out = reference / inside
        with pytest.raises(LayoutError, match="outside the data set"):
            write_labels(dataset, case, 1 - read_labels(dataset, case), out)
        with pytest.raises(LayoutError, match="outside the data set"):
            copy_images(dataset, out)
        with pytest.raises(LayoutError, match="outside the data set"):
            write_soft_labels(dataset, case, np.zeros((2, 2, 4), np.float32), out)
        assert contents(reference) == before

    def test_an_output_that_leads_into_the_source(self, reference: Path, tmp_path: Path) -> None:
        dataset = open_dataset(reference)
        (tmp_path / "link").symlink_to(reference)
        (tmp_path / "out").mkdir()
        (tmp_path / "out" / "training").symlink_to(reference / "training")
        for out in (tmp_path / "link", tmp_path / "out"):
            with pytest.raises(LayoutError, match="outside the data set"):
                copy_images(dataset, out)

    def test_a_folder_around_the_source_is_allowed(self, reference: Path) -> None:
        dataset = open_dataset(reference)
        before = contents(reference)
        write_all(dataset, {}, reference.parent)
        assert contents(reference) == before
        assert (reference.parent / "training" / "lung" / "a.png").is_file()


class TestImages:
    def test_links(self, reference: Path, tmp_path: Path) -> None:
        dataset = open_dataset(reference)
        copy_images(dataset, tmp_path / "out", how="link")
        copies = sorted((tmp_path / "out" / "training" / "images").iterdir())
        assert [path.name for path in copies] == ["a.png", "b.png"]
        assert all(path.is_symlink() for path in copies)
        assert copies[0].read_bytes() == dataset.cases[0].image.read_bytes()

    def test_copying_over_links_does_not_write_through(
        self, reference: Path, tmp_path: Path
    ) -> None:
        dataset = open_dataset(reference)
        before = contents(reference)
        copy_images(dataset, tmp_path / "out", how="link")
        copy_images(dataset, tmp_path / "out")
        assert not any(path.is_symlink() for path in (tmp_path / "out").rglob("*"))
        assert contents(reference) == before


class TestSoftLabels:
    def test_beside_the_masks(self, reference: Path, tmp_path: Path) -> None:
        dataset = open_dataset(reference)
        soft = np.linspace(0, 1, 16, dtype=np.float32).reshape(2, 2, 4)
        write_soft_labels(dataset, dataset.cases[0], soft, tmp_path / "out")
        back = np.load(tmp_path / "out" / "soft" / "a.npy", allow_pickle=False)
        assert back.dtype == np.dtype(np.float32)
        assert np.array_equal(back, soft)

    def test_they_do_not_disturb_the_layout(self, reference: Path, tmp_path: Path) -> None:
        dataset = open_dataset(reference)
        soft = np.zeros((2, 2, 4), np.float32)
        write_soft_labels(dataset, dataset.cases[0], soft, tmp_path / "out")
        mended = write_all(dataset, {}, tmp_path / "out")
        assert mended.scheme == dataset.scheme
        assert not any("soft" in sentence for sentence in mended.understood)

    @pytest.mark.parametrize(
        "soft", [np.zeros((3, 2, 4), np.float32), np.zeros((2, 2, 4), np.float64)]
    )
    def test_of_another_kind(
        self, reference: Path, tmp_path: Path, soft: NDArray[np.floating]
    ) -> None:
        dataset = open_dataset(reference)
        with pytest.raises(GridMismatchError, match="a: expected soft labels of 2 channels"):
            write_soft_labels(dataset, dataset.cases[0], soft, tmp_path / "out")

    def test_nan(self, reference: Path, tmp_path: Path) -> None:
        dataset = open_dataset(reference)
        soft = np.full((2, 2, 4), np.nan, np.float32)
        with pytest.raises(
            NotFiniteError, match=r"a: expected finite soft labels; got .* 16 places"
        ):
            write_soft_labels(dataset, dataset.cases[0], soft, tmp_path / "out")


def test_a_case_without_any_mask_is_ignored_throughout(reference: Path) -> None:
    dataset = open_dataset(reference)
    labels = read_labels(dataset, replace(dataset.cases[0], masks={}))
    assert labels.shape == (2, 2, 4)
    assert (labels == IGNORED).all()
