"""The original JSRT radiographs with the masks of SCR, whatever the folders are called."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from maskmend.core import LabelScheme
from maskmend.datasets import open_dataset, read_grid, read_image, read_labels

SIDE = 1024


def radiograph(seed: int) -> NDArray[np.integer[Any]]:
    return np.random.default_rng(seed).integers(0, 4096, (2 * SIDE, 2 * SIDE))


def disc(at: int) -> NDArray[np.bool_]:
    rows, columns = np.ogrid[:SIDE, :SIDE]
    inside: NDArray[np.bool_] = (rows - at) ** 2 + (columns - 2 * at) ** 2 < 100**2
    return inside


@pytest.fixture
def root(tmp_path: Path) -> Path:
    root = tmp_path / "JSRT"
    for seed, name in enumerate(("JPCLN001", "JPCNN001")):
        path = root / "All247images" / f"{name}.IMG"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(radiograph(seed).astype(">u2").tobytes())
        for at, structure in ((300, "heart"), (400, "left lung")):
            mask = root / "SCR" / f"fold{seed + 1}" / "masks" / structure / f"{name}.gif"
            mask.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(disc(at).astype(np.uint8) * 255).save(mask)
    return root


def test_it_is_understood(root: Path) -> None:
    dataset = open_dataset(root)
    assert dataset.layout == "jsrt"
    assert dataset.scheme == LabelScheme(("heart", "left lung"), overlapping=True)
    assert [(case.id, case.image_factor) for case in dataset.cases] == [
        ("JPCLN001", 2), ("JPCNN001", 2),
    ]  # fmt: skip
    image = read_image(dataset.cases[0])
    assert (image.shape, image.dtype) == ((1, SIDE, SIDE), np.dtype(np.float32))
    assert image[0, 3, 5] == radiograph(0)[6:8, 10:12].mean()
    grid = read_grid(dataset.cases[0])
    assert (grid.shape, grid.spacing) == ((SIDE, SIDE), (0.35, 0.35))
    labels = read_labels(dataset, dataset.cases[1])
    np.testing.assert_array_equal(labels, np.stack([disc(300), disc(400)]))
    assert any("blocks of 2 pixels" in sentence for sentence in dataset.understood)


def test_there_and_back(root: Path, tmp_path: Path, make: Any) -> None:
    dataset = open_dataset(root)
    wanted = read_labels(dataset, dataset.cases[0]).copy()
    wanted[0, :50, :50] = 1
    make.check_round_trip(dataset, tmp_path / "out", "JPCLN001", wanted)


def test_folders_of_the_other_layout(root: Path, tmp_path: Path) -> None:
    other = tmp_path / "other"
    (other / "masks").mkdir(parents=True)
    (root / "All247images").rename(other / "images")
    (root / "SCR" / "fold1" / "masks" / "heart").rename(other / "masks" / "heart")
    dataset = open_dataset(other)
    assert dataset.layout == "jsrt"
    assert [case.id for case in dataset.cases] == ["JPCLN001"]
    assert "an image without a mask" in dataset.left_out[0].reason


def test_a_mask_that_does_not_divide_the_image(root: Path) -> None:
    (path,) = root.rglob("heart/JPCNN001.gif")
    Image.fromarray(np.zeros((1000, SIDE), np.uint8)).save(path)
    (left_out,) = open_dataset(root).left_out
    assert "expected a mask of heart of the image's shape, (2048, 2048)" in left_out.reason
