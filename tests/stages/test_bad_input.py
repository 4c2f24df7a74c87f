"""A data set with every kind of bad case goes through `audit`, and the summary names them all."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from maskmend import cli
from maskmend.datasets.phantom import STRUCTURES
from maskmend.store import Run

BAD = {
    "no_image": "a mask without an image",
    "no_mask": "an image without a mask",
    "other_size": "a mask of lung of the image's shape, (64, 64); got (32, 32)",
    "cut_off": "a file cut off",
    "cut_mask": "a file cut off",
    "text": "a whole PNG",
    "nan": "NaN or infinity in 1 of 4096 pixels",
    "value": "the values 0 in",
    "colour": "images of 1 channel, as most cases have; got 3",
    "twice": "one file of this name",
}
"""Case -> what its message holds."""


def spoil(root: Path) -> None:
    """Ten copies of good cases, each spoilt in its own way."""
    training = root / "training"
    paths = {name: training / name for name in ("images", *STRUCTURES)}
    for case in BAD:
        for folder in paths.values():
            shutil.copy(folder / "training_0000.png", folder / f"{case}.png")
    lung, images = paths["lung"], paths["images"]
    (images / "no_image.png").unlink()
    for name in STRUCTURES:
        (paths[name] / "no_mask.png").unlink()
    Image.new("L", (32, 32)).save(lung / "other_size.png")
    for path in (images / "cut_off.png", lung / "cut_mask.png"):
        path.write_bytes(path.read_bytes()[:-30])
    (images / "text.png").write_text("no picture at all")
    (images / "nan.png").unlink()
    pixels = np.ones((64, 64), np.float32)
    pixels[0, 0] = np.nan
    Image.fromarray(pixels).save(images / "nan.tif")
    mask = np.zeros((64, 64), np.uint8)
    mask[5] = 77
    Image.fromarray(mask).save(lung / "value.png")
    Image.new("RGB", (64, 64), (9, 8, 7)).save(images / "colour.png")
    shutil.copy(images / "twice.png", images / "twice.jpeg")


@pytest.fixture(scope="module")
def data(noisy: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The bad ones beside six good ones, one of which has no heart mask."""
    root = tmp_path_factory.mktemp("bad") / "data"
    shutil.copytree(noisy / "training", root / "training")
    for name in ("images", *STRUCTURES):
        for number in (6, 7):
            (root / "training" / name / f"training_{number:04d}.png").unlink()
    (root / "training" / "heart" / "training_0001.png").unlink()
    spoil(root)
    return root


def test_bad_cases_are_left_out_and_listed_while_the_others_go_the_whole_way(
    data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    run = tmp_path / "run"
    changes = [
        "threads=1", "crossfit.folds=2", "crossfit.teacher.size=32", "crossfit.teacher.epochs=1",
        "crossfit.teacher.least_steps=0",
    ]  # fmt: skip
    options = [part for change in changes for part in ("--set", change)]
    monkeypatch.setattr(
        "sys.argv",
        ["maskmend", "audit", str(data), "--run", str(run), "--no-student", *options],
    )
    with pytest.raises(SystemExit) as ended:
        cli.main()
    said = capsys.readouterr()
    assert ended.value.code == 0, said.err
    _, _, summary = said.err.partition("Left out, 10:")
    listed = {line.split(":")[0].strip() for line in summary.splitlines() if line.startswith("  ")}
    assert listed == set(BAD)
    stored = {
        entry["case"]: entry["reason"]
        for entry in json.loads((run / "run.json").read_text())["left_out"]
    }
    assert stored.keys() == BAD.keys()
    for case, reason in BAD.items():
        assert reason in stored[case]
        # the message names the case or its file, and ends in what to do
        assert case in stored[case]
        assert stored[case].rstrip().endswith(".")
        assert stored[case] in summary
    good = [f"training_{number:04d}" for number in range(6)]
    opened = Run.open(run)
    assert [case.id for case in opened.cases] == good
    for folder in ("noise_maps/lung", "labels/training/lung", "labels/training/images"):
        assert sorted(path.stem for path in (run / folder).iterdir()) == good
    # a structure that one case lacks is no fault of the case
    hearts = sorted(path.stem for path in (run / "labels" / "training" / "heart").iterdir())
    assert hearts == [case for case in good if case != "training_0001"]
    assert "heart is not labelled in 1 case" in said.err


@pytest.mark.parametrize("content", ["nothing", "text", "only images"])
def test_a_folder_without_a_usable_case_ends_in_an_error_that_shows_the_layouts(
    tmp_path: Path,
    content: str,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    folder = tmp_path / "data"
    folder.mkdir()
    if content == "text":
        (folder / "notes.txt").write_text("todo")
    if content == "only images":
        (folder / "training" / "images").mkdir(parents=True)
        Image.new("L", (64, 64)).save(folder / "training" / "images" / "a.png")
    monkeypatch.setattr(
        "sys.argv", ["maskmend", "audit", str(folder), "--run", str(tmp_path / "run")]
    )
    with pytest.raises(SystemExit) as ended:
        cli.main()
    message = capsys.readouterr().err
    assert ended.value.code == 2
    assert message.startswith(f"error: {folder}: expected")
    assert "{training,validation,test}/" in message
    assert not (tmp_path / "run").exists()
