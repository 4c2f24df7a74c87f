"""The figures that the ranking benchmarks print, and their loaders, on data made here."""

from __future__ import annotations

import importlib
import math
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

from maskmend import files
from maskmend.datasets import open_dataset, read_image, read_labels
from maskmend.formats.png import encode_png

BENCHMARKS = Path(__file__).parents[1] / "benchmarks"


@pytest.fixture
def effort(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    return importlib.import_module("review_effort")


@pytest.fixture
def errors(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    return importlib.import_module("real_errors")


def test_effort_counts_to_95_percent(effort: ModuleType) -> None:
    wrong = np.arange(100) < 20
    perfect = -np.arange(100.0)
    assert effort.effort(wrong, perfect) == 0.19
    assert effort.least_effort(wrong) == 0.19
    # the last two of the wrong ones come at the very end: one of them must be found
    late = perfect.copy()
    late[[18, 19]] = -200, -300
    assert effort.effort(wrong, late) == 0.99


def test_equal_scores_are_all_looked_at(effort: ModuleType) -> None:
    assert effort.effort(np.arange(10) < 2, np.zeros(10)) == 1


def test_what_has_no_score_is_looked_at_last(effort: ModuleType) -> None:
    wrong = np.array([True, False, False, True])
    found = effort.measures(wrong, np.array([0.9, 0.2, 0.1, math.nan]))
    assert found == {"average_precision": pytest.approx((1 + 2 / 4) / 2), "effort": 1.0}


def test_seeds_are_joined_and_structures_averaged(effort: ModuleType) -> None:
    seeds = [{"s": {"a": {"x": 1.0}, "b": {"x": 3.0}}}, {"s": {"a": {"x": 2.0}, "b": {"x": 6.0}}}]
    found = effort.joined(seeds)
    assert found == {"s": {"a": {"x": [1, 2]}, "b": {"x": [3, 6]}, "mean": {"x": [2, 4]}}}


def test_radii_are_a_pixel_at_least(effort: ModuleType) -> None:
    assert effort.radii(1.0)["lung"] == (20, 30)
    assert effort.radii(0.1)["clavicle"] == (1, 1)


def test_nuclei_become_masks_on_a_dark_ground(errors: ModuleType, tmp_path: Path) -> None:
    instances = np.zeros((8, 8), np.uint16)
    instances[1:3, 1:3], instances[5:7, 5:7] = 1, 300
    dark = np.where(instances > 0, 200, 10).astype(np.uint8)
    bright = np.stack([255 - dark] * 3, axis=-1)
    data = tmp_path / "fixes"
    files.write_csv(data / "changes.csv", ["id", "status"],
                    [["dark", "changed"], ["bright", "unchanged"]])  # fmt: skip
    for name, picture in (("dark", encode_png(dark)), ("bright", None)):
        if picture is None:
            pillow = pytest.importorskip("PIL.Image")
            pillow.fromarray(bright).save(data / "images" / "bright.png")
        else:
            files.write_bytes_atomic(data / "images" / f"{name}.png", picture)
        for folder in ("labels_original", "labels_corrected"):
            path = data / folder / f"{name}.png"
            files.write_bytes_atomic(path, encode_png(instances))
    fixed = instances.copy()
    fixed[0, :3] = 7
    files.write_bytes_atomic(data / "labels_corrected" / "dark.png", encode_png(fixed))
    errors.write_nuclei(data, tmp_path / "out")
    dataset = open_dataset(tmp_path / "out")
    assert [case.id for case in dataset.cases] == ["bright", "dark"]
    for case in dataset.cases:
        assert (read_image(case)[0] == dark).all()
        assert ((read_labels(dataset, case)[0] == 1) == (instances > 0)).all()
    assert errors.corrected(data) == {"dark": True, "bright": False}
    assert errors.changed_nuclei(data) == {"dark": 3, "bright": 0}


def test_cells_are_drawn_by_the_seed(errors: ModuleType, tmp_path: Path) -> None:
    data = tmp_path / "cells"
    for number in range(20):
        name = f"c{number:02}.png"
        files.write_bytes_atomic(data / "images" / name, encode_png(np.zeros((4, 4), np.uint8)))
        for crowd in range(1, 8):
            mask = np.zeros((4, 4), np.uint8)
            mask.flat[:crowd] = 255
            files.write_bytes_atomic(data / f"crowd{crowd}" / name, encode_png(mask))
    for draw in (0, 1):
        errors.write_cells(data, tmp_path / f"draw{draw}", errors.draw_crowd(data, draw))
    errors.write_cells(data, tmp_path / "again", errors.draw_crowd(data, 0))
    drawn = [files.read_json(tmp_path / n / "complete.json") for n in ("draw0", "draw1", "again")]
    assert drawn[0] == drawn[2] != drawn[1]
    assert set(drawn[0].values()) == {f"crowd{number}" for number in range(1, 8)}
    dataset = open_dataset(tmp_path / "draw0")
    for case in dataset.cases:
        assert int((read_labels(dataset, case) == 1).sum()) == int(drawn[0][case.id][-1])


def test_visible_corrections_are_counted(errors: ModuleType) -> None:
    wrong = {"a": True, "b": True, "c": True, "d": False, "e": True}
    changed = {"a": 0, "b": 9, "c": 10, "d": 0, "e": 5000}
    assert errors.visible(wrong, changed) == {
        "none": 1, "1 to 9": 1, "10 to 99": 1, "100 to 999": 0, "1000 and more": 1,
    }  # fmt: skip


def test_figures_of_a_ranking(errors: ModuleType) -> None:
    wrong = np.zeros(60, bool)
    wrong[[0, 5, 15, 30, 50]] = True
    found = errors.figures(wrong, -np.arange(60.0), np.zeros(60, int))
    assert [found[f"first_{n}"] for n in (10, 20, 40)] == [0.4, 0.6, 0.8]
    assert "average_precision_visible" not in found
    assert math.isnan(errors.figures(~wrong & wrong, np.zeros(60), wrong)["average_precision"])


def test_intervals_say_what_chance_gives(errors: ModuleType) -> None:
    wrong = np.arange(40) < 10
    low, high = errors.random_interval(wrong)
    assert 0.15 < low < 0.25 < high < 0.6
    gap = errors.difference(wrong, -np.arange(40.0), np.arange(40.0))
    assert gap["difference"] > 0.7
    assert gap["interval"][0] > 0.5
    same = errors.difference(wrong, np.arange(40.0), np.arange(40.0))
    assert same == {"difference": 0, "interval": [0, 0]}
    assert errors.random_interval(wrong & ~wrong) is None
