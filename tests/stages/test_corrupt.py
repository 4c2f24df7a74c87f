"""A noisy copy: recorded, replayable to the byte, and nothing else changed."""

from __future__ import annotations

import csv
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from maskmend import stages
from maskmend.core import Dataset
from maskmend.datasets import open_dataset, read_labels
from maskmend.datasets.noise import plan_noise
from maskmend.errors import LayoutError, SettingsError

ALPHA = {"lung": 1.0, "heart": 0.5, "clavicle": 0.0}


def bytes_below(root: Path) -> dict[str, bytes]:
    files = (path for path in root.rglob("*") if path.is_file())
    return {path.relative_to(root).as_posix(): path.read_bytes() for path in files}


def corrupt(dataset: Dataset, out: Path, alpha: dict[str, float] | None = None, seed: int = 1):  # type: ignore[no-untyped-def]
    noise = plan_noise(dataset, "mixed", ALPHA if alpha is None else alpha, {}, ("training",))
    return stages.corrupt(dataset, out, noise, seed)


@pytest.fixture
def source(clean: Path) -> Dataset:
    return open_dataset(clean)


def test_the_record_replays_to_the_same_bytes(source: Dataset, tmp_path: Path) -> None:
    drawn = corrupt(source, tmp_path / "first")
    record = stages.read_corruptions(tmp_path / "first" / "corruptions.csv")
    assert record == drawn
    stages.replay(source, tmp_path / "again", record)
    assert bytes_below(tmp_path / "again") == bytes_below(tmp_path / "first")


def test_the_seed_decides(source: Dataset, tmp_path: Path) -> None:
    first, again, other = (
        corrupt(source, tmp_path / name, seed=seed)
        for name, seed in (("first", 1), ("again", 1), ("other", 2))
    )
    assert first == again != other
    assert bytes_below(tmp_path / "first") == bytes_below(tmp_path / "again")
    assert bytes_below(tmp_path / "first") != bytes_below(tmp_path / "other")


def test_images_and_other_splits_are_the_sources_bytes(
    source: Dataset, clean: Path, tmp_path: Path
) -> None:
    corrupt(source, tmp_path / "out")
    given, noisy = bytes_below(clean), bytes_below(tmp_path / "out")
    assert noisy.keys() - given.keys() == {"corruptions.csv"}
    same = [name for name in given if name.startswith("validation/") or "/images/" in name]
    assert len(same) == 2 * 4 + 8
    assert all(noisy[name] == given[name] for name in same)


def test_alpha_holds_for_each_structure_and_only_recorded_masks_change(
    source: Dataset, tmp_path: Path
) -> None:
    noise = plan_noise(source, "reference", ALPHA, {}, ("training",))
    record = stages.corrupt(source, tmp_path / "out", noise, seed=4)
    hit = {name: {c.case for c in record if c.structure == name} for name in ALPHA}
    assert {name: len(cases) for name, cases in hit.items()} == {
        "lung": 8, "heart": 4, "clavicle": 0,
    }  # fmt: skip
    noisy = open_dataset(tmp_path / "out")
    assert noisy.scheme == source.scheme
    changed: dict[str, set[str]] = {name: set() for name in ALPHA}
    for before, after in zip(source.cases, noisy.cases, strict=True):
        differs = (read_labels(source, before) != read_labels(noisy, after)).any(axis=(1, 2))
        for name in np.array(source.scheme.structures)[differs]:
            changed[name].add(before.id)
    # no lung and no heart is empty, so that every error shows
    assert changed == hit


def test_the_errors_of_one_structure_do_not_depend_on_the_others(
    source: Dataset, tmp_path: Path
) -> None:
    alone = corrupt(source, tmp_path / "alone", {"heart": 0.5})
    beside = corrupt(source, tmp_path / "beside", {"heart": 0.5, "lung": 1.0})
    assert alone == tuple(c for c in beside if c.structure == "heart")
    assert len(alone) == 4


def test_the_record_opens_as_a_table_without_maskmend(source: Dataset, tmp_path: Path) -> None:
    drawn = corrupt(source, tmp_path / "out")
    with (tmp_path / "out" / "corruptions.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [(row["case"], row["structure"], row["kind"]) for row in rows] == [
        (c.case, c.structure, c.kind) for c in drawn
    ]


def test_the_data_set_itself_is_never_written(source: Dataset, clean: Path) -> None:
    there = bytes_below(clean)
    for out in (clean, clean / "noisy", clean / "training" / "noisy"):
        with pytest.raises(LayoutError, match="outside the data set"):
            corrupt(source, out)
    assert bytes_below(clean) == there


@pytest.mark.parametrize(
    "stranger", [{"structure": "liver"}, {"partner": "liver"}, {"case": "training_0099"}]
)
def test_a_record_of_another_data_set_is_refused(
    source: Dataset, tmp_path: Path, stranger: dict[str, str]
) -> None:
    drawn = corrupt(source, tmp_path / "out")
    with pytest.raises(SettingsError, match="the data set that it was drawn for"):
        stages.replay(source, tmp_path / "strange", [replace(drawn[0], **stranger)])
    assert not (tmp_path / "strange").exists()


def test_a_structure_that_does_not_exist_is_refused(source: Dataset) -> None:
    with pytest.raises(SettingsError, match="liver"):
        plan_noise(source, "reference", {"liver": 0.5}, {}, ("training",))


def test_ignored_pixels_stay_and_take_nothing_in(clean: Path, tmp_path: Path) -> None:
    for path in clean.glob("training/*/*.png"):
        copy = tmp_path / "data" / path.relative_to(clean)
        copy.parent.mkdir(parents=True, exist_ok=True)
        pixels = np.array(Image.open(path))
        if "images" not in path.parts:
            pixels[20:40, 20:40] = 128
        Image.fromarray(pixels).save(copy)
    source = open_dataset(tmp_path / "data", ignore_value=128)
    noise = plan_noise(source, "dilate", {"": 1.0}, {}, ("training",))
    stages.corrupt(source, tmp_path / "out", noise, seed=1)
    for path in sorted((tmp_path / "out" / "training" / "lung").iterdir()):
        pixels = np.array(Image.open(path))
        expected = np.zeros((64, 64), bool)
        expected[20:40, 20:40] = True
        np.testing.assert_array_equal(pixels == 128, expected)
