"""Predictions of background and one structure, as a softmax of two channels, and of it alone."""

from __future__ import annotations

import json
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest
from numpy.typing import NDArray

from maskmend import stages
from maskmend.core import Listener
from maskmend.errors import GridMismatchError, ProbabilityError
from maskmend.settings import FlagSettings, Settings
from maskmend.store import Run, Source

NAMES = [f"liver_{number:03d}" for number in range(4)]
SHAPE = (6, 10, 14)
SETTINGS = Settings(device="cpu", threads=1, flag=FlagSettings(method="argmax"))
"""The model errs nowhere, so every voxel that differs from it is wrong."""

Arrays = dict[str, NDArray[Any]]


class Said(Listener):
    def __init__(self) -> None:
        self.sentences: list[str] = []

    def say(self, text: str) -> None:
        self.sentences.append(text)


def true_labels(number: int) -> NDArray[np.uint8]:
    labels = np.zeros(SHAPE, np.uint8)
    labels[1:5, 2:7, 2 + number : 8 + number] = 1
    return labels


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """An nnU-Net data set of one structure; in the first case a part of it is missing."""
    root = tmp_path / "Dataset001_Liver"
    for folder in ("imagesTr", "labelsTr"):
        (root / folder).mkdir(parents=True)
    for number, name in enumerate(NAMES):
        labels = true_labels(number)
        save(root / "imagesTr" / f"{name}_0000.nii.gz", (labels * 100).astype(np.int16))
        if number == 0:
            labels[:3] = 0
        save(root / "labelsTr" / f"{name}.nii.gz", labels)
    described = {
        "channel_names": {"0": "CT"}, "labels": {"background": 0, "liver": 1},
        "numTraining": len(NAMES), "file_ending": ".nii.gz",
    }  # fmt: skip
    (root / "dataset.json").write_text(json.dumps(described))
    halves = [NAMES[0::2], NAMES[1::2]]
    folds = [{"train": halves[1 - f], "val": halves[f]} for f in range(2)]
    (root / "splits_final.json").write_text(json.dumps(folds))
    return root


def save(path: Path, array: NDArray[Any]) -> None:
    nib.save(nib.Nifti1Image(array.T, np.diag([0.5, 0.5, 3.0, 1.0])), path)


@pytest.fixture
def pairs() -> Arrays:
    """Background and liver, (2, *S) float32, that sum to 1."""
    rng = np.random.default_rng(0)
    foreground = {
        name: (0.05 + 0.8 * true_labels(n) + 0.1 * rng.random(SHAPE)).astype(np.float32)
        for n, name in enumerate(NAMES)
    }
    return {name: np.stack([1 - liver, liver]) for name, liver in foreground.items()}


def audit(data: Path, run: Path, probs: Any, **more: Any) -> Run:
    source = Source(str(data), ("training",))
    return stages.audit(source, run, SETTINGS, probabilities=probs, **more)


def check_found(run: Run, pairs: Arrays, names: list[str] = NAMES) -> None:
    """The missing part is flagged and mended, and nothing else is changed."""
    assert [case.id for case in run.cases] == names
    for case in run.cases:
        truth = true_labels(NAMES.index(case.id))
        probs = run.read_probabilities(case).astype(np.float64)
        probs /= {np.uint8: 255}.get(run.read_probabilities(case).dtype.type, 1)
        np.testing.assert_allclose(probs, pairs[case.id][1:], atol=3e-3)
        np.testing.assert_array_equal(run.read_mended(case)[0], truth, err_msg=case.id)


def write_all(folder: Path, arrays: Arrays) -> Path:
    folder.mkdir()
    for name, array in arrays.items():
        np.save(folder / f"{name}.npy", array)
    return folder


def test_the_softmax_of_nnunet_has_the_background_first(
    data: Path, tmp_path: Path, pairs: Arrays
) -> None:
    trainer = tmp_path / "nnUNetTrainer__nnUNetPlans__3d_fullres"
    for number, (name, array) in enumerate(pairs.items()):
        folder = trainer / f"fold_{number % 2}" / "validation"
        folder.mkdir(parents=True, exist_ok=True)
        np.savez_compressed(folder / f"{name}.npz", probabilities=array.astype(np.float16))
    said = Said()
    run = audit(data, tmp_path / "run", trainer, listener=said)
    check_found(run, pairs)
    assert "Their channels are taken as background, liver." in said.sentences


def test_what_nnunet_v1_cropped_is_background(data: Path, tmp_path: Path, pairs: Arrays) -> None:
    box = (slice(1, 6), slice(2, 9), slice(1, 14))
    trainer = tmp_path / "trainer"
    for number, (name, array) in enumerate(pairs.items()):
        folder = trainer / f"fold_{number % 2}" / "validation_raw"
        folder.mkdir(parents=True, exist_ok=True)
        inside = array[(slice(None), *box)]
        np.savez_compressed(folder / f"{name}.npz", softmax=inside)
        pairs[name] = np.zeros_like(array)
        pairs[name][(slice(None), *box)] = inside
        properties = {
            "original_size_of_raw_data": np.array(SHAPE), "size_after_cropping": inside.shape[1:],
            "crop_bbox": [[part.start, part.stop] for part in box],
        }  # fmt: skip
        (folder / f"{name}.pkl").write_bytes(pickle.dumps(properties))
    check_found(audit(data, tmp_path / "run", trainer), pairs)


VARIANTS: dict[str, Callable[[NDArray[Any]], NDArray[Any]]] = {
    "alone": lambda a: a[1],
    "alone with an axis": lambda a: a[1:],
    "float16": lambda a: a.astype(np.float16),
    "uint8": lambda a: np.rint(a * 255).astype(np.uint8),
    "classes last": lambda a: np.moveaxis(a, 0, -1),
    "x, y, z, classes": lambda a: a.T,
    # any number may be added to both logits of a pixel
    "logits": lambda a: np.log(a) + np.arange(SHAPE[-1], dtype=np.float32) - 7,
}


@pytest.mark.parametrize("in_memory", [False, True])
@pytest.mark.parametrize("variant", VARIANTS)
def test_other_orders_and_types_give_the_same(
    data: Path, tmp_path: Path, pairs: Arrays, variant: str, in_memory: bool
) -> None:
    stored = {name: np.ascontiguousarray(VARIANTS[variant](a)) for name, a in pairs.items()}
    probs = stored if in_memory else write_all(tmp_path / "p", stored)
    check_found(audit(data, tmp_path / "run", probs, out_of_sample=True), pairs)


def test_two_channels_that_do_not_sum_to_one_leave_the_case_out(
    data: Path, tmp_path: Path, pairs: Arrays
) -> None:
    stored = {**pairs, NAMES[2]: pairs[NAMES[2]] * np.float32(0.8)}
    run = audit(data, tmp_path / "run", write_all(tmp_path / "p", stored), out_of_sample=True)
    check_found(run, pairs, [NAMES[0], NAMES[1], NAMES[3]])
    (entry,) = run.left_out
    assert entry.case == NAMES[2]
    assert "sum to 1" in entry.reason
    spoilt = {name: array * np.float32(0.8) for name, array in pairs.items()}
    with pytest.raises(ProbabilityError, match="sum to 1"):
        audit(data, tmp_path / "run2", write_all(tmp_path / "q", spoilt), out_of_sample=True)


def test_three_channels_do_not_fit(data: Path, tmp_path: Path, pairs: Arrays) -> None:
    stored = {name: np.concatenate([array, array[:1] * 0]) for name, array in pairs.items()}
    with pytest.raises(GridMismatchError, match="background and liver, or of liver alone"):
        audit(data, tmp_path / "run", write_all(tmp_path / "p", stored), out_of_sample=True)
