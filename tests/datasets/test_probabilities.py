"""Probabilities as they are stored, found and placed, and where they come from."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from maskmend import files
from maskmend.core import Case, LabelScheme, StatedFold
from maskmend.datasets.probabilities.converting import (
    TOLERANCE,
    Extent,
    as_probabilities,
    bring,
    extent_of,
)
from maskmend.datasets.probabilities.finding import Prediction, find_predictions
from maskmend.datasets.probabilities.origin import (
    BY_SPLITS,
    BY_USER,
    check_origins,
    pick,
    read_splits,
)
from maskmend.datasets.probabilities.placing import (
    Cropping,
    Layout,
    common_layouts,
    placed_view,
    possible_places,
)
from maskmend.datasets.probabilities.stored import (
    BLOCK_BYTES,
    HeldArray,
    open_stored,
    read_whole,
)
from maskmend.errors import (
    InSampleError,
    NotFiniteError,
    ProbabilityError,
    SettingsError,
    UnreadableFileError,
)

THREE = LabelScheme(("liver", "spleen"), overlapping=False)
TWO = LabelScheme(("liver",), overlapping=False)
ONE = LabelScheme(("liver",), overlapping=True)
PAIR = LabelScheme(("lung", "heart"), overlapping=True)
GRID = (4, 5, 6)


def case(name: str, group: str = "") -> Case:
    return Case(name, group or name, "training", Path(f"{name}.nii.gz"))


# -- stored arrays


@pytest.mark.parametrize("shape", [(3, 4, 5, 6), (7,), (3, 0, 2), (2, 600, 700, 9)])
@pytest.mark.parametrize("order", ["C", "F"])
@pytest.mark.parametrize("ending", [".npy", ".npz", "stored.npz"])
def test_blocks_cover_an_array_once(
    tmp_path: Path, shape: tuple[int, ...], order: Any, ending: str
) -> None:
    array = np.asarray(np.arange(np.prod(shape)).reshape(shape), np.float32, order=order)
    path = tmp_path / f"a{ending}"
    if ending == ".npy":
        np.save(path, array)
    else:
        save = np.savez if ending == "stored.npz" else np.savez_compressed
        save(path, other=np.zeros(2), probabilities=array)
    stored = open_stored(path)
    assert stored.shape == shape
    assert stored.dtype == np.float32
    seen = np.zeros(shape, int)
    for index, block in stored.blocks():
        seen[index] += 1
        assert block.nbytes <= BLOCK_BYTES
        np.testing.assert_array_equal(block, array[index])
    assert (seen == 1).all()
    np.testing.assert_array_equal(read_whole(stored), array)


@pytest.mark.parametrize(
    ("arrays", "words"),
    [
        ({"a": np.zeros(2), "b": np.zeros(2)}, "the arrays a, b"),
        ({}, "none"),
        ({"probabilities": np.array([None], object)}, "unpickled"),
    ],
)
def test_an_npz_without_the_array_is_refused(
    tmp_path: Path, arrays: dict[str, Any], words: str
) -> None:
    np.savez(tmp_path / "a.npz", **arrays)
    with pytest.raises(UnreadableFileError, match=words):
        open_stored(tmp_path / "a.npz")


@pytest.mark.parametrize("version", [2, 3])
@pytest.mark.parametrize("others", [(), ("entropy",)])
def test_a_zarr_group(tmp_path: Path, others: tuple[str, ...], version: Any) -> None:
    zarr = pytest.importorskip("zarr")
    array = np.random.default_rng(0).random((3, 4, 5, 6)).astype(np.float32)
    group = zarr.open_group(str(tmp_path / "a.zarr"), mode="w", zarr_format=version)
    for name in (*others, "probabilities"):
        group.create_array(name, data=array if name == "probabilities" else array[0])
    np.testing.assert_array_equal(read_whole(open_stored(tmp_path / "a.zarr")), array)
    group = zarr.open_group(str(tmp_path / "b.zarr"), mode="w", zarr_format=version)
    for name in ("x", "y"):
        group.create_array(name, data=array)
    with pytest.raises(UnreadableFileError, match=r"b\.zarr.*the arrays x, y, and none probab"):
        open_stored(tmp_path / "b.zarr")


@pytest.mark.parametrize("name", ["a.npz", "a.npy", "a.nii.gz", "a.nii"])
def test_a_file_of_another_kind_is_refused(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_bytes(b"no array at all" * 30)
    with pytest.raises(UnreadableFileError, match=name):
        open_stored(tmp_path / name)


def test_a_zip_whose_member_is_damaged_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.npz"
    np.savez_compressed(path, probabilities=np.random.default_rng(0).random((3, 40, 40)))
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 255
    path.write_bytes(data)
    with pytest.raises(UnreadableFileError, match=r"a\.npz"):
        read_whole(open_stored(path))


# -- places


@pytest.mark.parametrize(
    ("stored", "grid", "scheme", "expected"),
    [
        ((3, 4, 5, 6), GRID, THREE, ("first", False)),
        ((4, 5, 6, 3), GRID, THREE, ("last", False)),
        ((3, 6, 5, 4), GRID, THREE, ("first", True)),
        ((6, 5, 4, 3), GRID, THREE, ("last", True)),
        ((3, 1, 5, 6), (5, 6), THREE, ("first", False)),
        ((5, 6, 3), (5, 6), THREE, ("last", False)),
        ((3, 5, 6), (1, 5, 6), THREE, ("first", False)),
        ((4, 5, 6), GRID, TWO, ("none", False)),
        ((2, 4, 5, 6), GRID, TWO, ("first", False)),
        ((4, 5, 6), GRID, ONE, ("none", False)),
        ((6, 5, 4), GRID, ONE, ("none", True)),
        ((1, 4, 5, 6), GRID, ONE, ("first", False)),
        ((2, 4, 5, 6), GRID, PAIR, ("first", False)),
    ],
)
def test_where_a_shape_fits(
    stored: tuple[int, ...], grid: tuple[int, ...], scheme: LabelScheme, expected: Any
) -> None:
    place = possible_places(stored, grid, scheme)[0]
    assert (place.layout.classes, place.layout.reversed) == expected
    target = np.zeros((scheme.num_channels, *grid))
    assert placed_view(target, place, stored).shape == stored
    assert np.shares_memory(placed_view(target, place, stored), target)


@pytest.mark.parametrize(
    ("stored", "scheme"),
    [((4, 4, 5, 6), THREE), ((3, 4, 5), THREE), ((4, 5, 6), THREE), ((4, 5, 6), PAIR), ((), ONE)],
)
def test_where_it_does_not(stored: tuple[int, ...], scheme: LabelScheme) -> None:
    assert possible_places(stored, GRID, scheme) == []


def test_each_order_puts_every_value_where_it_belongs() -> None:
    wanted = np.random.default_rng(0).random((3, *GRID)).astype(np.float32)
    wanted /= wanted.sum(axis=0)
    variants = [wanted, np.moveaxis(wanted, 0, -1), wanted.transpose(0, 3, 2, 1), wanted.T]
    for variant in variants:
        place = possible_places(variant.shape, GRID, THREE)[0]
        out = np.zeros_like(wanted)
        bring(HeldArray(variant), place, THREE, "a", out)
        np.testing.assert_array_equal(out, wanted)


def test_a_lone_foreground_of_two_classes_is_completed() -> None:
    foreground = np.random.default_rng(0).random(GRID).astype(np.float32)
    (place, *_) = possible_places(GRID, GRID, TWO)
    out = np.zeros((2, *GRID), np.float32)
    bring(HeldArray(foreground), place, TWO, "a", out)
    np.testing.assert_array_equal(out, [1 - foreground, foreground])


def test_a_crop_only_counts_where_the_array_has_its_shape() -> None:
    cropping = Cropping(GRID, (slice(1, 3), slice(0, 5), slice(2, 6)), (2, 5, 4))
    (place,) = possible_places((3, 2, 5, 4), GRID, THREE, cropping)
    assert place.box == cropping.box
    assert possible_places((3, *GRID), GRID, THREE, cropping)[0].box is None
    assert possible_places((3, 2, 5, 5), GRID, THREE, cropping) == []
    other = Cropping((9, 9, 9), cropping.box, (2, 5, 4))
    assert possible_places((3, 2, 5, 4), GRID, THREE, other) == []


def test_one_layout_for_all_cases() -> None:
    cube = possible_places((3, 4, 4, 4), (4, 4, 4), THREE)
    turned = possible_places((3, 6, 5, 4), GRID, THREE)
    assert common_layouts({"a": cube}) == [Layout("first", False), Layout("first", True)]
    assert common_layouts({"a": cube, "b": turned}) == [Layout("first", True)]


# -- values


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
def test_ranges(dtype: Any) -> None:
    def extent(*values: float) -> Extent:
        return extent_of(np.array(values, dtype), "a")

    assert extent(0, 0.5, 1).is_exact
    for slightly in (1 + TOLERANCE / 2, -TOLERANCE / 2):
        found = extent(0.5, slightly)
        assert not found.is_logits
        assert not found.is_exact
    for far in (1.1, -0.1, 7):
        assert extent(0.5, far).is_logits
    assert extent(0.5, -0.0).is_exact
    for bad in (np.nan, np.inf, -np.inf):
        with pytest.raises(NotFiniteError, match="a: "):
            extent(0.5, bad)
    with pytest.raises(ProbabilityError, match="int64"):
        extent_of(np.array([1]), "a")


def test_logits_become_probabilities() -> None:
    logits = np.random.default_rng(0).normal(0, 30, (3, 50)).astype(np.float16)
    soft = as_probabilities(logits, THREE)
    exact = np.exp(logits.astype(np.float64) - logits.astype(np.float64).max(axis=0))
    np.testing.assert_allclose(soft, exact / exact.sum(axis=0), atol=1e-6)
    far = np.array([[-1e4, 0, 1e4], [3, -3, 0]], np.float32)
    np.testing.assert_allclose(
        as_probabilities(far, PAIR), 1 / (1 + np.exp(-far.astype(np.longdouble))), atol=1e-6
    )


# -- origin


FOLDS = (
    StatedFold(frozenset({"c", "d"}), frozenset({"a", "b"})),
    StatedFold(frozenset({"a", "b"}), frozenset({"c", "d"})),
)


def predictions(**folds: int | None) -> dict[str, Prediction]:
    return {name: Prediction(name, Path(f"{name}.npz"), fold) for name, fold in folds.items()}


CASES = [case(name) for name in "abcde"]


def test_held_out_by_the_splits() -> None:
    found = check_origins(predictions(a=0, b=0, c=1, d=1), CASES, FOLDS, stated=False)
    assert set(found.values()) == {BY_SPLITS}


def test_a_statement_fills_what_the_splits_do_not_say() -> None:
    mixed = predictions(a=0, e=1, b=None)
    found = check_origins(mixed, CASES, FOLDS, stated=True)
    assert found == {"a": BY_SPLITS, "e": BY_USER, "b": BY_USER}
    with pytest.raises(InSampleError, match=r"2 of which it is not.*\(e, b\)"):
        check_origins(mixed, CASES, FOLDS, stated=False)


@pytest.mark.parametrize("stated", [False, True])
def test_the_splits_are_believed_before_the_user(stated: bool) -> None:
    with pytest.raises(InSampleError, match=r"a \(fold 1\), c \(fold 0\)") as caught:
        check_origins(predictions(a=1, b=0, c=0), CASES, FOLDS, stated)
    assert caught.value.case == "a"


def test_a_case_of_the_same_patient_counts_as_the_case() -> None:
    pairs = [case("a", "P1"), case("b"), case("c", "P1"), case("d"), case("e", "P1")]
    with pytest.raises(InSampleError, match="a through c"):
        check_origins(predictions(a=0), pairs, FOLDS, stated=True)
    with pytest.raises(InSampleError, match="e through"):
        check_origins(predictions(e=0), pairs, FOLDS, stated=True)


def test_a_fold_that_the_splits_do_not_have() -> None:
    with pytest.raises(SettingsError, match="fold 7"):
        check_origins(predictions(a=7), CASES, FOLDS, stated=True)


def test_of_two_predictions_that_of_the_fold_that_holds_it_out() -> None:
    both = [Prediction("a", Path("0/a.npz"), 0), Prediction("a", Path("1/a.npz"), 1)]
    assert pick(both, FOLDS) == both[0]
    assert pick(both, ()) is None
    assert pick(both[:1], ()) == both[0]


def test_splits_are_read_and_checked(tmp_path: Path) -> None:
    path = tmp_path / "splits_final.json"
    path.write_text(json.dumps([{"train": ["a"], "val": ["b"]}]))
    assert read_splits(path) == (StatedFold(frozenset({"a"}), frozenset({"b"})),)
    for wrong in ({"train": ["a"]}, [{"train": ["a"]}], [["a"]], 3):
        path.write_text(json.dumps(wrong))
        with pytest.raises(UnreadableFileError, match="splits_final"):
            read_splits(path)


# -- finding


def test_the_array_is_taken_before_the_segmentation_beside_it(tmp_path: Path) -> None:
    for name in ("a.nii.gz", "a.npz", "a.pkl", "b.nii.gz", "b.npy", "c.zarr", "plans.json"):
        (tmp_path / name).write_bytes(b"")
    found = find_predictions(tmp_path, [case(name) for name in "abcd"])
    paths = {name: files[0].path.name for name, files in found.predictions.items()}
    assert paths == {"a": "a.npz", "b": "b.npy", "c": "c.zarr"}
    assert found.predictions["a"][0].properties == tmp_path / "a.pkl"
    assert found.predictions["b"][0].properties is None
    assert [entry.case for entry in found.missing] == ["d"]
    assert not found.nnunet


def test_case_names_with_dots(tmp_path: Path) -> None:
    (tmp_path / "scan.v1.npz").write_bytes(b"")
    found = find_predictions(tmp_path, [case("scan.v1"), case("scan")])
    assert list(found.predictions) == ["scan.v1"]


def test_folds_are_numbered_by_their_folders(tmp_path: Path) -> None:
    for fold, name in ((0, "a"), (1, "b"), (10, "c")):
        folder = tmp_path / f"fold_{fold}" / "validation"
        folder.mkdir(parents=True)
        (folder / f"{name}.npz").write_bytes(b"")
    everything = tmp_path / "fold_all" / "validation"
    everything.mkdir(parents=True)
    (everything / "a.npz").write_bytes(b"")
    found = find_predictions(tmp_path, [case(name) for name in "abc"])
    assert {name: each[0].fold for name, each in found.predictions.items()} == {
        "a": 0, "b": 1, "c": 10,
    }  # fmt: skip
    assert found.nnunet
    assert any("fold_all is not used" in sentence for sentence in found.understood)


def test_of_v1_the_folder_with_the_arrays_is_taken(tmp_path: Path) -> None:
    # beside it, v1 keeps the segmentations after postprocessing
    for name, ending in (("validation_raw", "npz"), ("validation", "nii.gz")):
        folder = tmp_path / "fold_0" / name
        folder.mkdir(parents=True)
        (folder / f"a.{ending}").write_bytes(b"")
    for root in (tmp_path, tmp_path / "fold_0", tmp_path / "fold_0" / "validation_raw"):
        found = find_predictions(root, [case("a")])
        (prediction,) = found.predictions["a"]
        assert prediction.path.parent.name == "validation_raw"
        assert prediction.fold == 0


# -- arrays on the disk


def test_an_atomic_array_is_there_at_the_end_or_not_at_all(tmp_path: Path) -> None:
    path = tmp_path / "sub" / "a.npy"
    with files.atomic_array(path, (2, 3), np.dtype(np.float16)) as array:
        assert not path.exists()
        assert (array == 0).all()
        array[1] = 4
    np.testing.assert_array_equal(np.load(path), [[0, 0, 0], [4, 4, 4]])
    before = path.read_bytes()
    with (
        pytest.raises(RuntimeError, match="killed"),
        files.atomic_array(path, (5,), np.dtype(np.uint8)),
    ):
        raise RuntimeError("killed")
    assert path.read_bytes() == before
    with files.scratch_array(tmp_path, (4,), np.dtype(np.float32)) as scratch:
        scratch[:] = 1
        assert len(list(tmp_path.glob(".*"))) == 1
    assert sorted(p.name for p in tmp_path.rglob("*")) == ["a.npy", "sub"]
