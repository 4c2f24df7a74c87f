"""Masks for new images, and the figures of masks that can be worked out by hand."""

from __future__ import annotations

import csv
import math
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from maskmend import stages, trainings
from maskmend.core import LeftOut
from maskmend.datasets import open_dataset, read_image, read_labels
from maskmend.errors import LayoutError, MissingFileError, SettingsError
from maskmend.settings import CrossfitSettings, Settings
from maskmend.store import Run, Source

# -- predict


def test_predicted_masks_open_as_a_data_set_and_are_the_students(
    audited: Run, clean: Path, tmp_path: Path
) -> None:
    left_out = stages.predict(audited, "believed", clean / "validation", tmp_path / "out")
    assert left_out == []
    found = open_dataset(tmp_path / "out")
    assert found.scheme == audited.dataset.scheme
    assert [case.id for case in found.cases] == ["validation_0000", "validation_0001"]
    student = trainings.load(audited, "students/believed", None)
    for case in found.cases:
        source = clean / "validation" / "images" / case.image.name
        assert case.image.read_bytes() == source.read_bytes()
        probs = trainings.probabilities(student, read_image(case))
        np.testing.assert_array_equal(read_labels(found, case), probs > 0.5)


def test_a_bare_folder_of_images_will_do(audited: Run, clean: Path, tmp_path: Path) -> None:
    for name, images in (("pair", clean / "validation"), ("bare", clean / "validation" / "images")):
        stages.predict(audited, "believed", images, tmp_path / name)
    bytes_of = [
        {p.relative_to(tmp_path / name): p.read_bytes() for p in (tmp_path / name).rglob("*.png")}
        for name in ("pair", "bare")
    ]
    assert bytes_of[0] == bytes_of[1]
    assert len(bytes_of[0]) == 2 * 4


@pytest.fixture
def images(clean: Path, tmp_path: Path) -> Path:
    """Two good images, which the tests put bad ones beside."""
    folder = tmp_path / "new"
    shutil.copytree(clean / "validation" / "images", folder)
    return folder


def truncate(folder: Path) -> str:
    whole = (folder / "validation_0000.png").read_bytes()
    (folder / "bad.png").write_bytes(whole[: len(whole) // 2])
    return "cut off"


def write_text(folder: Path) -> str:
    (folder / "bad.png").write_text("not a picture")
    return "a whole PNG"


def put_nan(folder: Path) -> str:
    pixels = np.zeros((64, 64), np.float32)
    pixels[3, 4] = np.nan
    Image.fromarray(pixels).save(folder / "bad.tif")
    return "NaN or infinity in 1 of 4096 pixels"


def colour(folder: Path) -> str:
    Image.new("RGB", (64, 64), (200, 10, 10)).save(folder / "bad.png")
    return "an image of 1 channel, as trained on; got 3"


def double(folder: Path) -> str:
    for ending in ("png", "tif"):
        Image.new("L", (64, 64)).save(folder / f"bad.{ending}")
    return "one file of this name"


def damage(folder: Path) -> str:
    path = folder / "bad.tif"
    noise = np.random.default_rng(0).integers(0, 255, (64, 64), dtype=np.uint8)
    Image.fromarray(noise).save(path, compression="tiff_deflate")
    data = bytearray(path.read_bytes())
    data[1000:1400] = b"\xff" * 400
    path.write_bytes(data)
    return "a whole TIFF picture"


@pytest.mark.parametrize("spoil", [truncate, write_text, put_nan, colour, double, damage])
def test_a_bad_image_is_left_out_and_named_while_the_others_go_on(
    audited: Run, images: Path, tmp_path: Path, spoil: Callable[[Path], str]
) -> None:
    reason = spoil(images)
    left_out = stages.predict(audited, "believed", images, tmp_path / "out")
    assert [entry.case for entry in left_out] == ["bad"]
    assert "bad" in left_out[0].reason
    assert reason in left_out[0].reason
    found = open_dataset(tmp_path / "out")
    assert [case.id for case in found.cases] == ["validation_0000", "validation_0001"]
    assert not list((tmp_path / "out").rglob("bad*"))


def test_images_and_data_set_are_never_predicted_into(
    audited: Run, images: Path, clean: Path, tmp_path: Path
) -> None:
    pair = tmp_path / "pair"
    shutil.copytree(clean / "validation", pair)
    before = sorted(path for root in (images, pair) for path in root.rglob("*"))
    source = audited.dataset.root
    for where, out in (
        (images, images), (images, images / "out"), (pair, pair), (pair / "images", pair),
        (images, source), (images, source / "out"),
    ):  # fmt: skip
        with pytest.raises(LayoutError, match="outside of the images and the data set"):
            stages.predict(audited, "believed", where, out)
    assert sorted(path for root in (images, pair) for path in root.rglob("*")) == before
    assert not (source / "out").exists()


def test_there_is_no_student_of_that_name_or_no_image(audited: Run, tmp_path: Path) -> None:
    with pytest.raises(MissingFileError, match="nobody"):
        stages.predict(audited, "nobody", audited.dataset.root, tmp_path / "out")
    (tmp_path / "empty").mkdir()
    with pytest.raises(LayoutError, match="a folder of images"):
        stages.predict(audited, "believed", tmp_path / "empty", tmp_path / "out")


# -- evaluate

FULL = ["1100", "1100", "0000", "0000"]
HALF = ["1000", "1000", "0000", "0000"]
NONE = ["0000", "0000", "0000", "0000"]
CORNER = ["0000", "0000", "0000", "0001"]
PART = ["1199", "1199", "9999", "9999"]
"""The right and the lower half are ignored."""


def write_masks(root: Path, masks: dict[str, dict[str, list[str]]]) -> Path:
    """A data set from drawings.  masks: case -> structure -> rows, 9 for an ignored pixel."""
    for case, drawn in masks.items():
        pictures = {"images": np.arange(16).reshape(4, 4).astype(np.uint8)} | {
            name: np.array([[int(pixel) for pixel in row] for row in rows], np.uint8)
            for name, rows in drawn.items()
        }
        for folder, pixels in pictures.items():
            path = root / "training" / folder / f"{case}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(pixels).save(path)
    return root


def rows_of(path: Path) -> dict[tuple[str, str, str], dict[str, float]]:
    """(what, case, structure) -> score -> value; an empty cell is NaN."""
    with path.open(newline="") as file:
        return {
            (row.pop("what"), row.pop("case"), row.pop("structure")): {
                name: float(value or "nan") for name, value in row.items()
            }
            for row in csv.DictReader(file)
        }


def test_scores_of_predicted_masks_are_those_worked_out_by_hand(tmp_path: Path) -> None:
    truth = write_masks(
        tmp_path / "truth",
        {
            "a": {"organ": FULL, "tool": NONE},
            "b": {"organ": FULL, "tool": NONE},
            "c": {"organ": PART, "tool": HALF},
        },
    )
    predicted = write_masks(
        tmp_path / "predicted",
        {
            "a": {"organ": HALF, "tool": NONE},
            "b": {"organ": NONE, "tool": CORNER},
            "c": {"organ": ["1101", "1100", "0000", "1111"], "tool": HALF},
        },
    )
    clean = open_dataset(truth, ignore_value=9)
    evaluation = stages.evaluate(open_dataset(predicted), clean, tmp_path / "scores")
    diagonal = math.hypot(3, 3)
    expected = {
        # two of four pixels; each missed pixel lies one pixel off: (0, 0, 1, 1, 0, 0) on average
        ("a", "organ"): (2 / 3, 1 / 2, 1.0, 1 / 3),
        # nothing there and nothing claimed
        ("a", "tool"): (1, 1, 0, 0),
        # a missed organ, and an invented tool
        ("b", "organ"): (0, 0, diagonal, diagonal),
        ("b", "tool"): (0, 0, diagonal, diagonal),
        # what differs lies in ignored pixels
        ("c", "organ"): (1, 1, 0, 0),
        ("c", "tool"): (1, 1, 0, 0),
    }
    rows = rows_of(tmp_path / "scores" / "evaluation.csv")
    assert set(rows) == {("predicted", case, structure) for case, structure in expected}
    for (case, structure), scores in expected.items():
        assert list(rows["predicted", case, structure].values()) == pytest.approx(scores)
    # the missed organ counts as 0 in the mean
    assert evaluation.mean("predicted", "organ") == pytest.approx((2 / 3 + 0 + 1) / 3)
    assert evaluation.mean("predicted", "tool") == pytest.approx(2 / 3)
    table = {row[1]: row for row in evaluation.mask_table().rows}
    assert table["organ"][2] == 3


def test_a_case_in_which_nothing_is_judged_has_no_score_and_does_not_count(tmp_path: Path) -> None:
    truth = write_masks(tmp_path / "truth", {"a": {"organ": FULL}, "b": {"organ": ["9999"] * 4}})
    predicted = write_masks(tmp_path / "predicted", {"a": {"organ": HALF}, "b": {"organ": FULL}})
    clean = open_dataset(truth, ignore_value=9)
    evaluation = stages.evaluate(open_dataset(predicted), clean, tmp_path)
    assert all(
        map(math.isnan, rows_of(tmp_path / "evaluation.csv")["predicted", "b", "organ"].values())
    )
    assert evaluation.mean("predicted", "organ") == pytest.approx(2 / 3)


def test_cases_without_truth_or_without_a_readable_mask_are_listed(tmp_path: Path) -> None:
    masks = {"a": {"organ": FULL}, "b": {"organ": FULL}, "c": {"organ": FULL}}
    truth = write_masks(tmp_path / "truth", {"a": masks["a"], "b": masks["b"]})
    predicted = write_masks(tmp_path / "predicted", masks)
    (predicted / "training" / "organ" / "b.png").write_text("no picture")
    evaluation = stages.evaluate(open_dataset(predicted), open_dataset(truth), tmp_path)
    assert [row.case for row in evaluation.masks] == ["a"]
    reasons = {entry.case: entry.reason for entry in evaluation.left_out}
    assert reasons.keys() == {"b", "c"}
    assert "a whole PNG" in reasons["b"]
    assert reasons["c"] == "not in the data set with clean labels"


def test_masks_on_another_grid_are_left_out(tmp_path: Path) -> None:
    truth = write_masks(tmp_path / "truth", {"a": {"organ": FULL}, "b": {"organ": FULL}})
    predicted = write_masks(tmp_path / "predicted", {"a": {"organ": FULL}, "b": {"organ": FULL}})
    for folder in ("images", "organ"):
        Image.new("L", (8, 8), 1).save(predicted / "training" / folder / "b.png")
    evaluation = stages.evaluate(open_dataset(predicted), open_dataset(truth), tmp_path)
    assert [(row.case, row.scores.dice) for row in evaluation.masks] == [("a", 1.0)]
    assert [entry.case for entry in evaluation.left_out] == ["b"]
    assert "(1, 8, 8)" in evaluation.left_out[0].reason


def test_other_structures_are_no_truth(tmp_path: Path) -> None:
    truth = write_masks(tmp_path / "truth", {"a": {"organ": FULL}})
    predicted = write_masks(tmp_path / "predicted", {"a": {"tool": FULL}})
    with pytest.raises(SettingsError, match="the structures tool"):
        stages.evaluate(open_dataset(predicted), open_dataset(truth), tmp_path)


def test_predicted_masks_are_scored_without_a_file_beside_them(tmp_path: Path) -> None:
    truth = write_masks(tmp_path / "truth", {"a": {"organ": FULL}})
    predicted = write_masks(tmp_path / "predicted", {"a": {"organ": HALF}})
    before = sorted(predicted.rglob("*"))
    evaluation = stages.evaluate(open_dataset(predicted), open_dataset(truth))
    assert evaluation.mean("predicted", "organ") == pytest.approx(2 / 3)
    assert sorted(predicted.rglob("*")) == before


@pytest.fixture
def mended(tmp_path: Path) -> Run:
    """A run whose mended masks and noise maps are drawn: one error found, one missed, one made."""
    given = write_masks(
        tmp_path / "given",
        {"a": {"organ": HALF}, "b": {"organ": CORNER}, "c": {"organ": FULL}},
    )
    settings = Settings(crossfit=CrossfitSettings(folds=2))
    run = Run.create(tmp_path / "run", Source(str(given), ("training",)), settings)
    drawings = {"a": FULL, "b": CORNER, "c": HALF}
    for case in run.cases:
        labels = np.array([[[int(pixel) for pixel in row] for row in drawings[case.id]]], np.uint8)
        run.write_mended(case, labels)
        run.write_noise_map(case, labels != run.read_given(case))
    return run


def test_scores_of_a_run_are_those_worked_out_by_hand(mended: Run, tmp_path: Path) -> None:
    masks = {"a": {"organ": FULL}, "b": {"organ": NONE}, "c": {"organ": FULL}}
    clean = open_dataset(write_masks(tmp_path / "clean", masks))
    evaluation = stages.evaluate(mended, clean)
    rows = rows_of(mended.root / "evaluation.csv")
    dice = {(what, case): row["dice"] for (what, case, _), row in rows.items()}
    assert dice == {
        ("given", "a"): pytest.approx(2 / 3), ("mended", "a"): 1,
        ("given", "b"): 0, ("mended", "b"): 0,
        ("given", "c"): 1, ("mended", "c"): pytest.approx(2 / 3),
    }  # fmt: skip
    # wrong pixels: 2 in a, found; 1 in b, missed; none in c, where 2 are claimed
    overlap = evaluation.noise_maps["organ"]
    assert (overlap.tp, overlap.fn, overlap.fp, overlap.tn) == (2, 1, 2, 3 * 16 - 5)
    with (mended.root / "noise_maps.csv").open(newline="") as file:
        (row,) = csv.DictReader(file)
    assert row["noise map"] == "organ"
    scores = [float(row[name]) for name in ("precision", "recall", "F1")]
    assert scores == pytest.approx([1 / 2, 2 / 3, 4 / 7])


def test_a_case_of_the_run_without_truth_is_listed(mended: Run, tmp_path: Path) -> None:
    masks = {"a": {"organ": FULL}, "b": {"organ": NONE}}
    evaluation = stages.evaluate(mended, open_dataset(write_masks(tmp_path / "clean", masks)))
    assert evaluation.left_out == (LeftOut("c", "not in the data set with clean labels"),)
    assert {row.case for row in evaluation.masks} == {"a", "b"}
