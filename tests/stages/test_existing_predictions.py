"""`audit --probabilities`: found, checked for their origin, placed, judged; nothing is trained."""

from __future__ import annotations

import json
import pickle
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest
from numpy.typing import NDArray
from typer.testing import CliRunner

from maskmend import stages
from maskmend.cli import app
from maskmend.core import Grid, Listener
from maskmend.datasets import open_dataset, read_labels
from maskmend.errors import (
    GridMismatchError,
    InSampleError,
    MaskmendError,
    MissingFileError,
    NotFiniteError,
    ProbabilityError,
    RunMismatchError,
    SettingsError,
    UnreadableFileError,
)
from maskmend.exporting.options import ExportOptions
from maskmend.formats.seg_nrrd import create_segments
from maskmend.settings import FlagSettings, Settings
from maskmend.store import DIGESTS, INSPECTED, Run, Source

SHAPE = (6, 10, 14)
AFFINE = np.diag([-0.5, -0.5, 3.0, 1.0])
"""Slices, rows, columns: no two alike, and no reversal of each other."""

NAMES = [f"case_{n:02d}" for n in range(8)]
SETTINGS = Settings(device="cpu", threads=1, flag=FlagSettings(method="argmax"))
"""The model of these tests errs nowhere, so every pixel that differs from it is wrong."""

Arrays = dict[str, NDArray[Any]]


class Said(Listener):
    """Keeps the sentences."""

    def __init__(self) -> None:
        self.sentences: list[str] = []

    def say(self, text: str) -> None:
        self.sentences.append(text)


def true_labels(number: int, shape: tuple[int, ...] = SHAPE) -> NDArray[np.uint8]:
    """Background, an organ 1 and beside it an organ 2; another place in every case."""
    labels = np.zeros(shape, np.uint8)
    k = number % 3
    labels[1 : shape[0] - 1, 2 : 6 + k % 2, 2 + k : 6 + k] = 1
    labels[1 : shape[0] - 1, 2 : 6 + k % 2, 6 + k : 10 + k] = 2
    return labels


def probabilities(labels: NDArray[np.uint8], seed: int, classes: int = 3) -> NDArray[np.float32]:
    """A model that knows the truth but for some noise, (C, *S), rows that sum to 1."""
    rng = np.random.default_rng(seed)
    raw = 0.3 * rng.random((classes, *labels.shape))
    raw += 2.0 * (labels == np.arange(classes).reshape(-1, *(1,) * labels.ndim))
    probs = (raw / raw.sum(axis=0)).astype(np.float32)
    # one pixel that is certain
    probs[(slice(None), *(0,) * labels.ndim)] = np.eye(classes)[labels.flat[0]]
    return probs


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """Eight volumes with label maps; in the first two the organs are swapped or half missing."""
    root = tmp_path / "data"
    for folder in ("images", "masks"):
        (root / folder).mkdir(parents=True)
    affine = AFFINE
    for number, name in enumerate(NAMES):
        labels = true_labels(number)
        if number == 0:
            labels = np.array([0, 2, 1], np.uint8)[labels]
        if number == 1:
            labels[:3] = 0
        image = (labels * 100).astype(np.int16)
        for folder, array in (("images", image), ("masks", labels)):
            nib.save(nib.Nifti1Image(array.T, affine), root / folder / f"{name}.nii.gz")
    return root


@pytest.fixture
def arrays() -> Arrays:
    return {name: probabilities(true_labels(n), n) for n, name in enumerate(NAMES)}


@pytest.fixture
def source(data: Path) -> Source:
    return Source(str(data), tuple({case.split for case in open_dataset(data).cases}))


def audit(source: Source, tmp_path: Path, probs: Any, **more: Any) -> Run:
    more = {"out_of_sample": True, **more}
    return stages.audit(source, tmp_path / "run", SETTINGS, probabilities=probs, **more)


def write_all(folder: Path, arrays: Arrays, ending: str = ".npy") -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    for name, array in arrays.items():
        if ending == ".npy":
            np.save(folder / f"{name}.npy", array)
        elif ending == ".npz":
            np.savez_compressed(folder / f"{name}.npz", probabilities=array)
        elif ending == ".zarr":
            import zarr

            chunks = tuple(max(n // 2, 1) for n in array.shape)
            made = zarr.create_array(
                str(folder / f"{name}.zarr"), shape=array.shape, chunks=chunks, dtype=array.dtype
            )
            made[...] = array
        else:
            volume = nib.Nifti1Image(array.astype(np.float32).T, AFFINE)
            nib.save(volume, folder / f"{name}{ending}")
    return folder


def nnunet(root: Path, arrays: Arrays, key: str = "probabilities", folds: int = 2) -> Path:
    """A trainer's folder as nnU-Net writes it: npz, properties, and the segmentation beside."""
    for number, (name, array) in enumerate(arrays.items()):
        below = "validation" if key == "probabilities" else "validation_raw"
        folder = root / f"fold_{number % folds}" / below
        folder.mkdir(parents=True, exist_ok=True)
        np.savez_compressed(folder / f"{name}.npz", **{key: array})  # type: ignore[arg-type]
        segmentation = nib.Nifti1Image(array.argmax(axis=0).astype(np.uint8).T, np.eye(4))
        nib.save(segmentation, folder / f"{name}.nii.gz")
        shape = array.shape[1:]
        whole = [[0, n] for n in shape]
        write_properties(
            folder / f"{name}.pkl", shape_before_cropping=shape, bbox_used_for_cropping=whole,
            shape_after_cropping_and_before_resampling=shape,
        )  # fmt: skip
    return root


def write_properties(path: Path, **properties: Any) -> None:
    with path.open("wb") as handle:
        pickle.dump({"spacing": [3.0, 0.5, 0.5], "n": np.int64(1), **properties}, handle)


def write_splits(path: Path, folds: int = 2, swapped: bool = False) -> Path:
    held = [[name for n, name in enumerate(NAMES) if n % folds == f] for f in range(folds)]
    said = [{"train": sorted({*NAMES} - {*held[f]}), "val": held[f]} for f in range(folds)]
    path.write_text(json.dumps(said[::-1] if swapped else said))
    return path


# -- the errors are found and mended


def check_found(run: Run) -> None:
    """The swapped organs and the missing half are flagged, mended, and nothing else is changed."""
    by_id = {case.id: case for case in run.cases}
    assert sorted(by_id) == NAMES
    for number, name in enumerate(NAMES):
        mended = run.read_mended(by_id[name])[0]
        np.testing.assert_array_equal(mended, true_labels(number), err_msg=name)
        flagged = run.read_noise_map(by_id[name])[0]
        given = run.read_given(by_id[name])[0]
        np.testing.assert_array_equal(flagged, given != true_labels(number), err_msg=name)


@pytest.mark.parametrize("ending", [".npy", ".npz", ".nii.gz", ".nii", ".zarr"])
def test_one_file_a_case(source: Source, tmp_path: Path, arrays: Arrays, ending: str) -> None:
    run = audit(source, tmp_path, write_all(tmp_path / "p", arrays, ending))
    check_found(run)
    for name, array in arrays.items():
        case = next(case for case in run.cases if case.id == name)
        np.testing.assert_allclose(run.read_probabilities(case), array, atol=1e-3)
    assert not (run.root / "teachers").exists()
    assert not (run.root / "students").exists()
    assert not (run.root / "folds.json").exists()


def quantised(array: NDArray[Any], top: int, dtype: Any) -> NDArray[Any]:
    return np.rint(array * top).astype(dtype)


def overshot(array: NDArray[Any], by: Any) -> NDArray[Any]:
    """As an interpolation by splines leaves them; the rows still sum to 1."""
    return array + by * (array == 1) - by / 2 * (array == 0)


VARIANTS: dict[str, Callable[[NDArray[Any]], NDArray[Any]]] = {
    "float16": lambda a: a.astype(np.float16),
    "float64": lambda a: a.astype(np.float64),
    "big endian": lambda a: a.astype(">f4"),
    "uint8": lambda a: quantised(a, 255, np.uint8),
    "uint16": lambda a: quantised(a, 65535, np.uint16),
    "classes last": lambda a: np.ascontiguousarray(np.moveaxis(a, 0, -1)),
    "x, y, z": lambda a: np.ascontiguousarray(a.transpose(0, 3, 2, 1)),
    "x, y, z, classes": lambda a: np.ascontiguousarray(a.T),
    "Fortran": np.asfortranarray,
    "slightly outside": lambda a: overshot(a, np.float32(5e-4)),
    "logits": lambda a: np.log(a + 1e-7) + 5,
}


@pytest.mark.parametrize("ending", [".npy", ".npz"])
@pytest.mark.parametrize("variant", VARIANTS)
def test_other_orders_and_types_give_the_same(
    source: Source, tmp_path: Path, arrays: Arrays, variant: str, ending: str
) -> None:
    stored = {name: VARIANTS[variant](array) for name, array in arrays.items()}
    said = Said()
    run = audit(source, tmp_path, write_all(tmp_path / "p", stored, ending), listener=said)
    check_found(run)
    case = run.cases[3]
    probs = run.read_probabilities(case)
    scale = {"uint8": 255, "uint16": 65535}.get(variant, 1)
    np.testing.assert_allclose(
        probs.astype(np.float64) / scale, arrays[case.id], atol=4e-3 if scale == 255 else 1e-3
    )
    text = "\n".join(said.sentences)
    assert ("logits" in text) == (variant == "logits")
    assert ("(x, y, z)" in text) == ("x, y, z" in variant)


def test_a_generator_and_a_mapping(source: Source, tmp_path: Path, arrays: Arrays) -> None:
    def generate() -> Iterator[tuple[str, NDArray[Any]]]:
        yield from arrays.items()
        yield "stranger", np.zeros((3, 1, 1))

    said = Said()
    run = audit(source, tmp_path, generate(), listener=said)
    check_found(run)
    assert any("stranger" in sentence for sentence in said.sentences)
    other = stages.audit(
        source, tmp_path / "again", SETTINGS, probabilities=arrays, out_of_sample=True
    )
    assert (other.root / "masks.csv").read_bytes() == (run.root / "masks.csv").read_bytes()
    again = audit(source, tmp_path, arrays)
    check_found(again)


def test_arrays_need_a_statement(source: Source, tmp_path: Path, arrays: Arrays) -> None:
    with pytest.raises(InSampleError, match="out_of_sample=True"):
        audit(source, tmp_path, arrays, out_of_sample=False)
    assert not (tmp_path / "run").exists()


# -- nnU-Net


@pytest.mark.parametrize("key", ["probabilities", "softmax"])
def test_an_nnunet_trainer_folder_is_checked_by_its_splits(
    source: Source, tmp_path: Path, arrays: Arrays, key: str
) -> None:
    root = nnunet(tmp_path / "trainer", {n: a.astype(np.float16) for n, a in arrays.items()}, key)
    splits = write_splits(tmp_path / "splits_final.json")
    run = audit(source, tmp_path, root, out_of_sample=False, splits=splits)
    check_found(run)
    origin = run.origin_of(run.cases[1])
    assert origin is not None
    assert (origin["fold"], origin["out_of_sample"]) == (1, "held out by the splits")
    assert origin["file"].endswith(f"{run.cases[1].id}.npz")
    assert len(origin["sha256"]) == 64


@pytest.mark.parametrize("below", ["fold_1", "fold_1/validation"])
def test_one_fold_alone_leaves_the_others_out(
    source: Source, tmp_path: Path, arrays: Arrays, below: str
) -> None:
    root = nnunet(tmp_path / "trainer", arrays)
    splits = write_splits(tmp_path / "splits_final.json")
    run = audit(source, tmp_path, root / below, out_of_sample=False, splits=splits)
    assert [case.id for case in run.cases] == NAMES[1::2]
    assert [entry.case for entry in run.left_out] == NAMES[0::2]
    assert all(".npz" in entry.reason for entry in run.left_out)
    # a later command sees the same cases, and the others are handed through unchanged
    again = Run.open(run.root)
    assert [case.id for case in again.cases] == NAMES[1::2]
    given = Path(source.root) / "masks" / f"{NAMES[0]}.nii.gz"
    assert (run.labels_root / "masks" / given.name).read_bytes() == given.read_bytes()


def test_the_fold_that_was_trained_on_a_case_is_refused(
    source: Source, tmp_path: Path, arrays: Arrays
) -> None:
    root = nnunet(tmp_path / "trainer", arrays)
    splits = write_splits(tmp_path / "splits_final.json", swapped=True)
    with pytest.raises(InSampleError) as caught:
        # a statement does not help against the splits
        audit(source, tmp_path, root, splits=splits)
    assert NAMES[0] in str(caught.value)
    assert "trained on" in caught.value.got
    assert not (tmp_path / "run").exists()


def test_another_case_of_the_patient_in_the_training_is_refused(
    data: Path, source: Source, tmp_path: Path, arrays: Arrays
) -> None:
    root = nnunet(tmp_path / "trainer", arrays)
    splits = write_splits(tmp_path / "splits_final.json")
    pairs = Source(str(data), source.splits, group_pattern=r"case_(\d)\d")
    with pytest.raises(InSampleError, match=NAMES[1]):
        audit(pairs, tmp_path, root, splits=splits)


def test_without_splits_a_statement_is_asked_for(
    source: Source, tmp_path: Path, arrays: Arrays
) -> None:
    for root in (nnunet(tmp_path / "trainer", arrays), write_all(tmp_path / "p", arrays)):
        with pytest.raises(InSampleError, match="--out-of-sample yes") as caught:
            audit(source, tmp_path, root, out_of_sample=False)
        assert "8 of which it is not" in caught.value.got
    assert not (tmp_path / "run").exists()


def test_fold_all_is_refused(source: Source, tmp_path: Path, arrays: Arrays) -> None:
    folder = write_all(tmp_path / "trainer" / "fold_all" / "validation", arrays, ".npz")
    for root in (folder, folder.parent, folder.parent.parent):
        with pytest.raises(InSampleError, match="every case"):
            audit(source, tmp_path, root)


def cropped(arrays: Arrays) -> Arrays:
    return {name: np.ascontiguousarray(a[:, 1:5, 1:9, 1:13]) for name, a in arrays.items()}


@pytest.mark.parametrize("key", ["probabilities", "softmax"])
def test_a_cropped_array_is_put_back(
    source: Source, tmp_path: Path, arrays: Arrays, key: str
) -> None:
    inside = cropped(arrays)
    root = nnunet(tmp_path / "trainer", inside, key)
    box = [[1, 5], [1, 9], [1, 13]]
    for path in root.rglob("*.pkl"):
        if key == "probabilities":
            write_properties(
                path, shape_before_cropping=SHAPE, bbox_used_for_cropping=box,
                shape_after_cropping_and_before_resampling=(4, 8, 12),
            )  # fmt: skip
        else:
            write_properties(
                path, original_size_of_raw_data=np.array(SHAPE), crop_bbox=box,
                size_after_cropping=(4, 8, 12),
            )  # fmt: skip
    run = audit(source, tmp_path, root, splits=write_splits(tmp_path / "splits.json"))
    check_found(run)
    case = run.cases[2]
    probs = run.read_probabilities(case)
    np.testing.assert_allclose(probs[:, 1:5, 1:9, 1:13], inside[case.id], atol=1e-3)
    outside = np.ones(SHAPE, bool)
    outside[1:5, 1:9, 1:13] = False
    assert (probs[0][outside] == 1).all()
    assert (probs[1:, outside] == 0).all()


def test_zeros_outside_of_the_crop_are_background(
    source: Source, tmp_path: Path, arrays: Arrays
) -> None:
    # as an early v2 wrote it: in the full shape, 0 in every class where it had cropped
    for array in arrays.values():
        array[:, 0] = 0
    run = audit(source, tmp_path, nnunet(tmp_path / "trainer", arrays))
    probs = run.read_probabilities(run.cases[0])
    assert (probs[0, 0] == 1).all()
    assert (probs[1:, 0] == 0).all()


def test_a_malicious_property_file_is_not_run(
    source: Source, tmp_path: Path, arrays: Arrays
) -> None:
    class Trap:
        def __reduce__(self) -> Any:
            return Path.touch, (tmp_path / "sprung",)

    root = nnunet(tmp_path / "trainer", cropped(arrays))
    for path in root.rglob("*.pkl"):
        path.write_bytes(pickle.dumps(Trap()))
    with pytest.raises(UnreadableFileError, match=r"not unpickled"):
        audit(source, tmp_path, root)
    assert not (tmp_path / "sprung").exists()


# -- faults


def test_an_npz_that_needs_pickle_is_left_out(
    source: Source, tmp_path: Path, arrays: Arrays
) -> None:
    folder = write_all(tmp_path / "p", arrays, ".npz")
    np.savez(folder / f"{NAMES[2]}.npz", probabilities=np.array([{}], dtype=object))
    run = audit(source, tmp_path, folder)
    (entry,) = run.left_out
    assert entry.case == NAMES[2]
    assert "unpickled" in entry.reason


def cut(path: Path, share: float = 0.5) -> None:
    path.write_bytes(path.read_bytes()[: int(path.stat().st_size * share)])


@pytest.mark.parametrize("ending", [".npy", ".npz", ".nii.gz"])
def test_a_file_that_is_cut_off_is_left_out(
    source: Source, tmp_path: Path, arrays: Arrays, ending: str
) -> None:
    folder = write_all(tmp_path / "p", arrays, ending)
    cut(folder / f"{NAMES[5]}{ending}")
    run = audit(source, tmp_path, folder)
    assert [entry.case for entry in run.left_out] == [NAMES[5]]
    assert NAMES[5] in run.left_out[0].reason
    assert not list((run.root / "probabilities").glob(".*"))


FAULTS: dict[str, tuple[Any, type[MaskmendError], str]] = {
    "shape": (lambda a: a[:, :, :-1], GridMismatchError, r"\(3, 6, 9, 14\)"),
    "classes": (lambda a: a[:2], GridMismatchError, "3 channels"),
    "NaN": (lambda a: np.where(a > 0.7, np.nan, a), NotFiniteError, "NaN"),
    "infinity": (lambda a: np.where(a > 0.7, np.inf, a), NotFiniteError, "infinity"),
    "int32": (lambda a: a.astype(np.int32), ProbabilityError, "int32"),
    "text": (lambda a: a.astype("U8"), ProbabilityError, "U8"),
    "label map": (lambda a: (a > 0.5).astype(np.uint8), ProbabilityError, "segmentation"),
}


@pytest.mark.parametrize("ending", [".npy", ".npz"])
@pytest.mark.parametrize("fault", FAULTS)
def test_a_fault_in_one_case_leaves_it_out_and_in_all_is_raised(
    source: Source, tmp_path: Path, arrays: Arrays, fault: str, ending: str
) -> None:
    spoil, kind, words = FAULTS[fault]
    bad = {name: spoil(array) for name, array in arrays.items()}
    mixed = {**arrays, NAMES[4]: bad[NAMES[4]]}
    run = audit(source, tmp_path, write_all(tmp_path / "one", mixed, ending))
    (entry,) = run.left_out
    assert entry.case == NAMES[4]
    assert NAMES[4] not in {case.id for case in run.cases}
    other = stages.audit
    with pytest.raises(kind, match=words):
        other(
            source, tmp_path / "run2", SETTINGS,
            probabilities=write_all(tmp_path / "all", bad, ending), out_of_sample=True,
        )  # fmt: skip


@pytest.mark.parametrize("ending", [".npy", ".npz"])
def test_a_case_whose_rows_do_not_sum_to_one_is_left_out(
    source: Source, tmp_path: Path, arrays: Arrays, ending: str
) -> None:
    """They may stay where they are (.npy), or be copied into the run."""
    arrays = {name: array.astype(np.float16) for name, array in arrays.items()}
    others = {name: array for name, array in arrays.items() if name not in NAMES[6:]}
    # spoilt in the last pixel only, and everywhere
    arrays[NAMES[6]][:, -1, -1, -1] *= np.float16(0.9)
    arrays[NAMES[7]] *= np.float16(0.9)
    run = audit(source, tmp_path, write_all(tmp_path / "p", arrays, ending))
    assert [case.id for case in run.cases] == NAMES[:6]
    assert [entry.case for entry in run.left_out] == NAMES[6:]
    assert all("sum to 1" in entry.reason for entry in run.left_out)
    again = Run.open(run.root)
    assert again.left_out == run.left_out
    without = stages.audit(
        source, tmp_path / "without", SETTINGS, out_of_sample=True,
        probabilities=write_all(tmp_path / "q", others, ending),
    )  # fmt: skip
    for name in ("counts.json", "masks.csv", "findings.csv"):
        assert (run.root / name).read_bytes() == (without.root / name).read_bytes(), name


def test_rows_that_do_not_sum_to_one_in_any_case(
    source: Source, tmp_path: Path, arrays: Arrays
) -> None:
    spoilt = {name: array * np.float32(0.9) for name, array in arrays.items()}
    with pytest.raises(ProbabilityError, match="sum to 1") as caught:
        audit(source, tmp_path, write_all(tmp_path / "p", spoilt))
    assert caught.value.case == NAMES[0]


def test_logits_in_some_cases_only_are_refused(
    source: Source, tmp_path: Path, arrays: Arrays
) -> None:
    for name in NAMES[2:4]:
        arrays[name] = np.log(arrays[name] + 1e-6)
    with pytest.raises(ProbabilityError, match="logits in all") as caught:
        audit(source, tmp_path, write_all(tmp_path / "p", arrays))
    assert "case_02, case_03" in caught.value.case


def test_no_prediction_at_all_says_what_was_looked_for(
    source: Source, tmp_path: Path, arrays: Arrays
) -> None:
    folder = write_all(tmp_path / "p", {f"x{name}": a for name, a in arrays.items()})
    with pytest.raises(MissingFileError) as caught:
        audit(source, tmp_path, folder)
    for words in (str(folder), "case_00.npz", ".zarr", "xcase_00.npy", "fold_0"):
        assert words in str(caught.value)
    with pytest.raises(MissingFileError, match="nothing there"):
        audit(source, tmp_path, tmp_path / "nowhere")
    assert not (tmp_path / "run").exists()


def test_axes_that_agree_far_better_the_other_way_are_refused(tmp_path: Path) -> None:
    # reversed it is (14, 10, 10), which only fits the one way
    side = (10, 10, 14)
    cube = (12, 12, 12)
    for shape, fits in ((cube, False), (side, True)):
        root = tmp_path / str(shape[2]) / "data"
        stored = {}
        for folder in ("images", "masks"):
            (root / folder).mkdir(parents=True)
        for number, name in enumerate(NAMES[:4]):
            labels = np.zeros(shape, np.uint8)
            labels[1:4, 2:9, 3:10] = 1
            labels[5:8, 2:9, 3 + number % 2 : 10] = 2
            for folder in ("images", "masks"):
                nib.save(nib.Nifti1Image(labels.T, np.eye(4)), root / folder / f"{name}.nii.gz")
            stored[name] = np.ascontiguousarray(probabilities(labels, number).transpose(0, 3, 2, 1))
        where_to = write_all(tmp_path / str(shape[2]) / "p", stored)
        splits = tuple({case.split for case in open_dataset(root).cases})
        where = Source(str(root), splits)
        run = tmp_path / f"run{shape[2]}"
        if fits:
            stages.audit(where, run, SETTINGS, probabilities=where_to, out_of_sample=True)
            continue
        with pytest.raises(GridMismatchError, match="agree far better"):
            stages.audit(where, run, SETTINGS, probabilities=where_to, out_of_sample=True)
        # the same folder takes them once they are turned
        turned = {name: np.ascontiguousarray(a.transpose(0, 3, 2, 1)) for name, a in stored.items()}
        there = write_all(tmp_path / "turned", turned)
        audited = stages.audit(where, run, SETTINGS, probabilities=there, out_of_sample=True)
        assert len(audited.cases) == 4


# -- in place, resumed, changed


def test_an_array_that_can_be_mapped_is_not_copied(
    source: Source, tmp_path: Path, arrays: Arrays
) -> None:
    folder = write_all(tmp_path / "p", {n: a.astype(np.float16) for n, a in arrays.items()})
    run = audit(source, tmp_path, folder)
    assert not list((run.root / "probabilities").glob("*.npy"))
    probs = run.read_probabilities(run.cases[0])
    assert isinstance(probs.base, np.memmap)
    assert Path(str(probs.base.filename)) == folder / f"{run.cases[0].id}.npy"


@pytest.mark.parametrize("dtype", [np.float32, np.uint8, np.uint16])
def test_so_are_arrays_of_other_dtypes(
    source: Source, tmp_path: Path, arrays: Arrays, dtype: Any
) -> None:
    top = 1 if dtype == np.float32 else np.iinfo(dtype).max
    stored = {n: np.rint(a * top).astype(dtype) if top > 1 else a for n, a in arrays.items()}
    run = audit(source, tmp_path, write_all(tmp_path / "p", stored))
    check_found(run)
    assert run.read_probabilities(run.cases[0]).dtype == dtype
    assert not list((run.root / "probabilities").glob("*.npy"))


def test_a_file_that_has_changed_is_refused(source: Source, tmp_path: Path, arrays: Arrays) -> None:
    folder = write_all(tmp_path / "p", {n: a.astype(np.float16) for n, a in arrays.items()})
    run = audit(source, tmp_path, folder)
    path = folder / f"{run.cases[0].id}.npy"
    np.save(path, np.load(path)[:, ::-1])
    with pytest.raises(RunMismatchError, match="changed since") as caught:
        stages.flag(Run.open(run.root))
    assert str(path) in caught.value.expected
    path.unlink()
    with pytest.raises(RunMismatchError, match="is gone"):
        run.read_probabilities(run.cases[0])


def files_of(run: Run) -> dict[str, bytes]:
    """File -> bytes, without what is known of the data set's files, and their times."""
    return {
        path.relative_to(run.root).as_posix(): path.read_bytes()
        for path in sorted(run.root.rglob("*"))
        if path.is_file() and path not in (run.root / INSPECTED, run.root / DIGESTS)
    }


def test_a_killed_audit_goes_on_and_ends_in_the_same_bytes(
    source: Source, tmp_path: Path, arrays: Arrays
) -> None:
    class Killed(Exception):  # noqa: N818
        pass

    class Killer(Listener):
        def case(self, stage: str, done: int, total: int) -> None:
            if (stage, done) == (self.stage, 4):
                raise Killed

        def __init__(self, stage: str) -> None:
            self.stage = stage

    folder = write_all(tmp_path / "p", arrays, ".npz")
    whole = stages.audit(
        source, tmp_path / "whole" / "run", SETTINGS, probabilities=folder, out_of_sample=True
    )
    for stage in ("probabilities", "flag", "correct"):
        with pytest.raises(Killed):
            audit(source, tmp_path, folder, listener=Killer(stage))
    imported = next((tmp_path / "run" / "probabilities").glob("*.npy"))
    when = imported.stat().st_mtime_ns
    # a process that is ended at once cannot tidy up
    for folder_of in ("probabilities", "labels/masks"):
        (tmp_path / "run" / folder_of / ".0123456789abcdef.tmp").write_text("half")
    broken = audit(source, tmp_path, folder)
    assert imported.stat().st_mtime_ns == when
    assert files_of(broken) == files_of(whole)


def test_a_run_is_bound_to_its_predictions(source: Source, tmp_path: Path, arrays: Arrays) -> None:
    folder = write_all(tmp_path / "p", arrays)
    run = audit(source, tmp_path, folder)
    other = write_all(tmp_path / "q", arrays)
    for probs in (other, arrays):
        with pytest.raises(RunMismatchError, match="other probabilities"):
            audit(source, tmp_path, probs)
    with pytest.raises(RunMismatchError, match="other probabilities"):
        Run.create(run.root, source, run.settings)
    with pytest.raises(RunMismatchError, match=str(folder)):
        stages.crossfit(run)
    changed = SETTINGS.model_copy(update={"seed": 5})
    with pytest.raises(RunMismatchError, match="other seed"):
        run.with_settings(changed)
    # no teacher is trained, so the device and the threads may be others
    assert run.with_settings(Settings(threads=2)).settings.threads == 2


# -- what it says, and what it costs


def test_predictions_that_agree_too_well_are_warned_of(
    source: Source, tmp_path: Path, data: Path
) -> None:
    learnt = {
        name: probabilities(np.asarray(nib.load(data / "masks" / f"{name}.nii.gz").dataobj).T, 0)  # type: ignore[attr-defined]
        for name in NAMES
    }
    said = Said()
    audit(source, tmp_path, learnt, listener=said)
    assert any("almost perfectly" in sentence for sentence in said.sentences)


def test_channels_in_another_order_are_warned_of(
    source: Source, tmp_path: Path, arrays: Arrays
) -> None:
    said = Said()
    folder = write_all(tmp_path / "p", {name: array[[0, 2, 1]] for name, array in arrays.items()})
    audit(source, tmp_path, folder, listener=said)
    warned = [text for text in said.sentences if "hardly agree" in text]
    assert len(warned) == 2
    assert "the labels of class_1: half of the masks below a Dice of 0.0" in warned[0]
    assert "in the order class_1, class_2" in warned[0]


def test_honest_predictions_are_not_warned_of(
    source: Source, tmp_path: Path, arrays: Arrays
) -> None:
    said = Said()
    audit(source, tmp_path, arrays, listener=said)
    assert not any("almost perfectly" in sentence for sentence in said.sentences)


def test_soft_labels_of_volumes_are_computed_or_written(
    source: Source, tmp_path: Path, arrays: Arrays
) -> None:
    run = audit(source, tmp_path, arrays)
    assert not (run.labels_root / "soft").exists()
    computed = {case.id: run.read_soft(case) for case in run.cases}
    swapped = computed[NAMES[0]]
    truth, given = true_labels(0), run.read_given(run.cases[0])[0]
    wrong = truth != given
    np.testing.assert_allclose(np.take_along_axis(swapped, truth[None], 0)[0][wrong], 0.8)
    np.testing.assert_allclose(np.take_along_axis(swapped, given[None], 0)[0][wrong], 0.2)
    np.testing.assert_allclose(swapped.sum(axis=0), 1, atol=1e-6)
    settings = run.settings.model_copy(
        update={"correct": run.settings.correct.model_copy(update={"soft_files": "always"})}
    )
    written = run.with_settings(settings)
    stages.correct(written)
    for case in written.cases:
        stored = np.load(written.labels_root / "soft" / f"{case.id}.npy")
        np.testing.assert_array_equal(stored, computed[case.id])


def test_noise_maps_of_volumes_lie_on_the_image(
    source: Source, tmp_path: Path, arrays: Arrays, data: Path
) -> None:
    run = audit(source, tmp_path, arrays)
    name = NAMES[0]
    found: Any = nib.load(run.root / "noise_maps" / "labels" / f"{name}.nii.gz")
    image: Any = nib.load(data / "images" / f"{name}.nii.gz")
    np.testing.assert_allclose(found.affine, image.affine, atol=1e-6)
    assert found.header.get_zooms() == image.header.get_zooms()
    assert found.get_data_dtype() == np.uint8
    voxels = np.asarray(found.dataobj)
    assert set(np.unique(voxels)) == {0, 1}
    np.testing.assert_array_equal(voxels.T == 1, run.read_noise_map(run.cases[0])[0])
    pictures = sorted(path.name for path in (run.root / "pictures").iterdir())
    assert len(pictures) == 8
    assert pictures[0].startswith("01_case_0")


def test_the_command_line_tells_and_trains_nothing(
    source: Source, tmp_path: Path, arrays: Arrays
) -> None:
    folder = write_all(tmp_path / "p", arrays)
    command = ["audit", source.root, "--probabilities", str(folder), "--run", str(tmp_path / "r"),
               "--set", "flag.method=argmax"]  # fmt: skip
    refused = CliRunner().invoke(app, command)
    assert isinstance(refused.exception, InSampleError)
    code = (
        "import sys\n"
        f"sys.argv[1:] = {[*command, '--out-of-sample', 'yes']!r}\n"
        "from maskmend.cli import main\n"
        "try:\n    main()\nexcept SystemExit as ended:\n    assert not ended.code\n"
        "print('LOADED', *sorted({n.split('.')[0] for n in sys.modules}))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    loaded = set(done.stdout.split("LOADED")[1].split())
    assert not loaded & {"torch", "lightning", "monai"}
    assert "Estimated label noise" in done.stdout
    assert "of 16 masks are doubted" in done.stdout
    assert "Mended data set" in done.stdout


def test_the_command_line_says_equal_reasons_once(
    source: Source, tmp_path: Path, arrays: Arrays
) -> None:
    root = nnunet(tmp_path / "trainer", arrays, folds=4)
    splits = write_splits(tmp_path / "splits_final.json", folds=4)
    np.savez(root / "fold_0" / "validation" / f"{NAMES[4]}.npz", probabilities=np.zeros((3, 2, 2)))
    done = CliRunner().invoke(
        app,
        ["audit", source.root, "--run", str(tmp_path / "run"), "--set", "flag.method=argmax",
         "--probabilities", str(root / "fold_0"), "--splits", str(splits)],
    )  # fmt: skip
    assert done.exit_code == 0, done.output
    lines = done.stderr.partition("Left out, 7:\n")[2].splitlines()
    assert len(lines) == 2
    assert lines[0].startswith(f"  {NAMES[4]}: expected ") or lines[1].startswith(
        f"  {NAMES[4]}: expected "
    )
    (many,) = [line for line in lines if "6 cases" in line]
    assert many.startswith("  6 cases, case_01, case_02, case_03, case_05, case_06 and 1 more: ")
    assert "expected its probabilities, CASE.npz; got none in" in many


def test_a_misspelt_split_is_named(source: Source, tmp_path: Path, arrays: Arrays) -> None:
    folder = write_all(tmp_path / "p", arrays)
    wrong = Source(source.root, ("trainin",))
    with pytest.raises(SettingsError, match=r"cases in the split trainin; got none\. Choose of"):
        audit(wrong, tmp_path, folder)
    assert not (tmp_path / "run").exists()


def test_a_file_that_cannot_hold_its_labels_does_not_stop_the_others(tmp_path: Path) -> None:
    """Segments; of one case the file covers a part of the image, and lacks one of them."""
    root = tmp_path / "data"
    grid = Grid(SHAPE, (3.0, 0.5, 0.5), ((0.0, 0.0, 0.5, 0.0), (0.0, 0.5, 0.0, 0.0),
                                         (3.0, 0.0, 0.0, 0.0), (0.0, 0.0, 0.0, 1.0)))  # fmt: skip
    affine = np.diag([0.5, 0.5, 3.0, 1.0])
    (root / "images").mkdir(parents=True)
    (root / "masks").mkdir()
    arrays = {}
    for number, name in enumerate(NAMES):
        labels = true_labels(number)
        arrays[name] = 0.1 + 0.8 * np.stack([labels == 1, labels == 2]).astype(np.float32)
        nib.save(nib.Nifti1Image(labels.astype(np.int16).T, affine),
                 root / "images" / f"{name}.nii.gz")  # fmt: skip
        masks, own = {"one": labels == 1, "two": labels == 2}, grid
        if number == 0:
            del masks["two"]
        if number == 1:
            # the first slices only
            masks = {key: mask[:3] for key, mask in masks.items()}
            own = replace(grid, shape=(3, *SHAPE[1:]))
        create_segments(root / "masks" / f"{name}.seg.nrrd", masks, own)
    said = Said()
    run = audit(Source(str(root), ("training",)), tmp_path, arrays, listener=said)
    done = stages.export(run, tmp_path / "out")
    (kept,) = [text for text in said.sentences if "stays as it was given" in text]
    assert kept.startswith(f"{NAMES[1]}: {NAMES[1]}.seg.nrrd stays as it was given.")
    assert done.files.kept == (kept,)
    mended = open_dataset(tmp_path / "out")
    for number, case in enumerate(mended.cases):
        truth = np.stack([true_labels(number) == value for value in (1, 2)])
        if number == 1:
            truth[:, 3:] = False
        np.testing.assert_array_equal(read_labels(mended, case), truth)
    record = json.loads((tmp_path / "out" / "export.json").read_text())
    assert record["masks"]["kept"] == [kept]


def test_soft_targets_know_the_folds_of_the_predictions(
    source: Source, tmp_path: Path, arrays: Arrays
) -> None:
    root = nnunet(tmp_path / "trainer", arrays)
    splits = write_splits(tmp_path / "splits_final.json")
    run = audit(source, tmp_path, root, out_of_sample=False, splits=splits)
    stages.export(Run.open(run.root), tmp_path / "out", ExportOptions("soft"))
    listed = json.loads((tmp_path / "out" / "soft_datalist.json").read_text())["training"]
    assert {item["case"]: item["fold"] for item in listed} == {
        name: number % 2 for number, name in enumerate(NAMES)
    }


# -- pictures, and structures that overlap


def test_pictures_with_a_slice_axis_as_nnunet_has_it(tmp_path: Path) -> None:
    from PIL import Image

    root, stored = tmp_path / "data", {}
    for folder in ("images", "masks"):
        (root / folder).mkdir(parents=True)
    for number, name in enumerate(NAMES):
        labels = true_labels(number)[2]
        given = np.array([0, 2, 1], np.uint8)[labels] if number == 0 else labels
        for folder in ("images", "masks"):
            Image.fromarray(given).save(root / folder / f"{name}.png")
        stored[name] = probabilities(labels, number)[:, None]
    splits = tuple({case.split for case in open_dataset(root).cases})
    run = stages.audit(
        Source(str(root), splits), tmp_path / "run", SETTINGS,
        probabilities=nnunet(tmp_path / "trainer", stored), out_of_sample=True,
    )  # fmt: skip
    assert run.read_probabilities(run.cases[0]).shape == (3, *SHAPE[1:])
    for number, case in enumerate(run.cases):
        np.testing.assert_array_equal(run.read_mended(case)[0], true_labels(number)[2])
    assert (run.labels_root / "soft" / f"{NAMES[0]}.npy").exists()


@pytest.mark.parametrize("logits", [False, True])
def test_structures_that_overlap(tmp_path: Path, logits: bool) -> None:
    root, stored = tmp_path / "data", {}
    (root / "images").mkdir(parents=True)
    for number, name in enumerate(NAMES):
        labels = true_labels(number)
        whole = np.stack([labels > 0, labels == 2])
        rng = np.random.default_rng(number)
        probs = np.clip(np.where(whole, 0.9, 0.1) + rng.normal(0, 0.03, whole.shape), 0.01, 0.99)
        stored[name] = (np.log(probs / (1 - probs)) if logits else probs).astype(np.float32)
        given = whole.copy()
        if number == 0:
            given[1] = False
            given[1, 4:6] = True
        nib.save(nib.Nifti1Image(labels.T, np.eye(4)), root / "images" / f"{name}.nii.gz")
        for plane, structure in enumerate(("a_organ", "b_tumour")):
            folder = root / "masks" / structure
            folder.mkdir(parents=True, exist_ok=True)
            nib.save(
                nib.Nifti1Image(given[plane].astype(np.uint8).T, np.eye(4)),
                folder / f"{name}.nii.gz",
            )
    splits = tuple({case.split for case in open_dataset(root).cases})
    said = Said()
    run = stages.audit(
        Source(str(root), splits), tmp_path / "run", SETTINGS, listener=said,
        probabilities=write_all(tmp_path / "p", stored, ".npz"), out_of_sample=True,
    )  # fmt: skip
    assert run.dataset.scheme.overlapping
    assert ("sigmoid" in "\n".join(said.sentences)) == logits
    for number, case in enumerate(run.cases):
        labels = true_labels(number)
        np.testing.assert_array_equal(run.read_mended(case)[0], labels > 0)
        np.testing.assert_array_equal(run.read_mended(case)[1], labels == 2)
    assert run.read_noise_map(run.cases[0])[1].any()
    assert not run.read_noise_map(run.cases[0])[0].any()


# -- a data set of nnU-Net itself, with its folds


def nnunet_data(root: Path, regions: bool) -> Path:
    """A raw data set with its folds; the label of the first case is wrong."""
    for folder in ("imagesTr", "labelsTr"):
        (root / folder).mkdir(parents=True)
    labels = {"background": 0, "whole": [1, 2], "core": 2} if regions else None
    described: dict[str, Any] = {
        "channel_names": {"0": "CT"}, "numTraining": len(NAMES), "file_ending": ".nii.gz",
        "labels": labels or {"background": 0, "liver": 1, "spleen": 2},
    }  # fmt: skip
    if regions:
        described["regions_class_order"] = [1, 2]
    (root / "dataset.json").write_text(json.dumps(described))
    for number, name in enumerate(NAMES):
        given = true_labels(number)
        if number == 0:
            given[given == 2] = 1
        image = nib.Nifti1Image((true_labels(number) * 50).astype(np.int16).T, np.eye(4))
        nib.save(image, root / "imagesTr" / f"{name}_0000.nii.gz")
        nib.save(nib.Nifti1Image(given.T, np.eye(4)), root / "labelsTr" / f"{name}.nii.gz")
    write_splits(root / "splits_final.json")
    return root


@pytest.mark.parametrize("regions", [False, True])
def test_the_folds_of_the_data_set_itself_are_enough(tmp_path: Path, regions: bool) -> None:
    root = nnunet_data(tmp_path / "Dataset001_Abdomen", regions)
    stored = {}
    for number, name in enumerate(NAMES):
        labels = true_labels(number)
        stored[name] = probabilities(labels, number)
        if regions:
            rng = np.random.default_rng(number)
            sure = np.where(np.stack([labels > 0, labels == 2]), 0.95, 0.05)
            stored[name] = (sure + rng.normal(0, 0.01, sure.shape)).astype(np.float32)
    trainer = nnunet(tmp_path / "trainer", stored)
    opened = open_dataset(root)
    assert opened.scheme.overlapping == regions
    splits = tuple({case.split for case in opened.cases})
    run = stages.audit(Source(str(root), splits), tmp_path / "run", SETTINGS, probabilities=trainer)
    assert {(run.origin_of(case) or {})["out_of_sample"] for case in run.cases} == {
        "held out by the splits"
    }
    for number, name in enumerate(NAMES):
        mended: Any = nib.load(run.labels_root / "labelsTr" / f"{name}.nii.gz")
        np.testing.assert_array_equal(np.asarray(mended.dataobj).T, true_labels(number))


def test_the_folds_of_the_data_set_refuse_what_is_in_sample(tmp_path: Path, arrays: Arrays) -> None:
    root = nnunet_data(tmp_path / "Dataset001_Abdomen", regions=False)
    # the same arrays, but in the folders of the other fold
    trainer = nnunet(tmp_path / "trainer", {name: arrays[name] for name in [*NAMES[1:], NAMES[0]]})
    splits = tuple({case.split for case in open_dataset(root).cases})
    with pytest.raises(InSampleError, match="trained on them"):
        stages.audit(
            Source(str(root), splits), tmp_path / "run", SETTINGS, probabilities=trainer,
            out_of_sample=True,
        )  # fmt: skip


TURNED = {
    "left, posterior, up": np.diag([-0.5, -0.5, 3.0, 1.0]),
    "slices from front to back": np.array(
        [[0.5, 0, 0, 5], [0, 0, -3.0, 7], [0, 0.5, 0, -2], [0, 0, 0, 1.0]]
    ),
    "oblique": np.array(
        [[-0.49, 0.1, 0, 1], [0.1, 0.49, 0.2, 2], [0, 0.05, -3.0, 3], [0, 0, 0, 1.0]]
    ),
}


@pytest.mark.parametrize("reader", ["NibabelIOWithReorient", "SimpleITKIO"])
@pytest.mark.parametrize("affine", TURNED.values(), ids=TURNED)
def test_volumes_that_nnunet_turned_are_turned_back(
    data: Path, tmp_path: Path, arrays: Arrays, reader: str, affine: NDArray[np.float64]
) -> None:
    for path in sorted(data.glob("*/*.nii.gz")):
        stored = nib.load(path)
        volume = np.asarray(stored.dataobj)  # type: ignore[attr-defined]
        nib.save(nib.Nifti1Image(volume, affine), path)
    turned = arrays
    if reader.endswith("WithReorient"):
        turned = {
            name: np.stack([
                np.asarray(nib.as_closest_canonical(nib.Nifti1Image(channel.T, affine)).dataobj).T
                for channel in array
            ])
            for name, array in arrays.items()
        }  # fmt: skip
    folder = nnunet(tmp_path / "trainer", turned)
    (folder / "plans.json").write_text(json.dumps({"image_reader_writer": reader}))
    splits = tuple({case.split for case in open_dataset(data).cases})
    run = audit(Source(str(data), splits), tmp_path, folder)
    check_found(run)
    for case in run.cases:
        np.testing.assert_allclose(run.read_probabilities(case), arrays[case.id], atol=1e-3)


def test_a_file_that_lies_elsewhere_than_the_label_is_left_out(
    source: Source, tmp_path: Path, arrays: Arrays
) -> None:
    folder = write_all(tmp_path / "p", arrays, ".nii.gz")
    flipped = nib.Nifti1Image(arrays[NAMES[3]].T, np.diag([0.5, -0.5, 3.0, 1.0]))
    nib.save(flipped, folder / f"{NAMES[3]}.nii.gz")
    run = audit(source, tmp_path, folder)
    assert [each.case for each in run.left_out] == [NAMES[3]]
    assert "expected probabilities where the label lies" in run.left_out[0].reason
