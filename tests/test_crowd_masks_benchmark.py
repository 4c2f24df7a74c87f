"""How the benchmark of crowd masks splits and writes its images."""

from __future__ import annotations

import importlib
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

from maskmend.datasets import open_dataset, read_labels
from maskmend.files import write_bytes_atomic
from maskmend.formats.png import encode_png

BENCHMARKS = Path(__file__).parents[1] / "benchmarks"


@pytest.fixture
def crowd(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    return importlib.import_module("crowd_masks")


@pytest.fixture
def cells(tmp_path: Path) -> Path:
    """20 images, whose masks have as many pixels as the number of the crowd; 8 of gold."""
    data = tmp_path / "cells"
    for number in range(20):
        name = f"c{number:02}.png"
        write_bytes_atomic(data / "images" / name, encode_png(np.zeros((4, 4), np.uint8)))
        for folder, pixels in (*((f"crowd{k}", k) for k in range(1, 8)), ("gold", 8)):
            mask = np.zeros((4, 4), np.uint8)
            mask.flat[:pixels] = 255
            write_bytes_atomic(data / folder / name, encode_png(mask))
    return data


def test_each_draw_splits_anew(crowd: ModuleType, cells: Path) -> None:
    first, again, other = (crowd.split(cells, draw) for draw in (0, 0, 1))
    assert first == again != other
    assert [len(first[part]) for part in ("training", "validation")] == [12, 8]
    whole = [path.stem for path in sorted((cells / "images").iterdir())]
    assert sorted(first["training"] + first["validation"]) == whole


def test_training_has_crowd_masks_and_gold_only_scores(
    crowd: ModuleType, cells: Path, tmp_path: Path
) -> None:
    crowd.write_draw(cells, tmp_path / "work", 0)
    given, gold = (open_dataset(tmp_path / "work" / name) for name in ("crowd", "gold"))
    parts, drawn = crowd.split(cells, 0), crowd.draw_crowd(cells, 0)
    assert [case.id for case in given.cases] == parts["training"]
    for case in given.cases:
        assert int((read_labels(given, case) == 1).sum()) == int(drawn[case.id][-1])
    for part, images in parts.items():
        assert [case.id for case in gold.cases if case.split == part] == images
    assert all(int((read_labels(gold, case) == 1).sum()) == 8 for case in gold.cases)


def test_gain_is_told_apart_by_what_was_done(crowd: ModuleType) -> None:
    dices = {"kept": (0.9, 0.9), "moved": (0.6, 0.8), "worse": (0.7, 0.4), "better": (0.1, 0.2)}
    scores = [
        {"what": what, "case": case, "dice": str(dice)}
        for case, both in dices.items()
        for what, dice in zip(("given", "mended"), both, strict=True)
    ]
    redrawn = {"kept": set(), "moved": set(), "worse": {"cell"}, "better": {"cell"}}
    found = crowd.gains(scores, redrawn)
    assert found == {
        "moved_gain": pytest.approx(0.2 / 4), "redrawn_gain": pytest.approx(-0.2 / 4),
    }  # fmt: skip
