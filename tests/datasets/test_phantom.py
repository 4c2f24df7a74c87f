"""Phantoms: same seed same case, anatomy that makes sense, and the layout on disk."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from scipy import ndimage

from maskmend.datasets.phantom import STRUCTURES, draw_phantom, write_phantoms
from maskmend.errors import SettingsError


def phantoms(count: int, size: int = 64):  # type: ignore[no-untyped-def]
    return [draw_phantom(np.random.default_rng([7, index]), size) for index in range(count)]


def test_image_and_masks_have_the_kind_that_is_promised() -> None:
    image, masks = draw_phantom(np.random.default_rng(0), 96)
    assert image.shape == (96, 96)
    assert image.dtype == np.uint8
    assert np.ptp(image) > 100
    assert tuple(masks) == STRUCTURES
    assert all(mask.shape == (96, 96) and mask.dtype == bool for mask in masks.values())


def test_the_generator_decides() -> None:
    first, again = (draw_phantom(np.random.default_rng(3), 64) for _ in range(2))
    np.testing.assert_array_equal(first[0], again[0])
    for structure in STRUCTURES:
        np.testing.assert_array_equal(first[1][structure], again[1][structure])
    assert (draw_phantom(np.random.default_rng(4), 64)[0] != first[0]).any()


def test_the_anatomy_of_many_cases() -> None:
    for image, masks in phantoms(60):
        lung, heart, clavicle = (masks[name] for name in STRUCTURES)
        assert ndimage.label(lung)[1] >= 2
        assert 0.12 < lung.mean() < 0.45
        assert 0.03 < heart.mean() < 0.16
        assert not (lung & heart).any()
        assert image[lung].mean() + 20 < image[heart].mean()
        if clavicle.any():
            assert 0.005 < clavicle.mean() < 0.04
            assert (clavicle & lung).sum() > 0.25 * clavicle.sum()
            assert ndimage.center_of_mass(clavicle)[0] < ndimage.center_of_mass(lung)[0]


def test_cases_differ_in_shape_and_contrast() -> None:
    drawn = phantoms(40)
    areas = np.array([masks["lung"].mean() for _, masks in drawn])
    contrasts = np.array([np.mean(im[m["heart"]]) - np.mean(im[m["lung"]]) for im, m in drawn])
    assert areas.std() / areas.mean() > 0.08
    assert contrasts.std() / contrasts.mean() > 0.08


def test_some_cases_have_no_clavicles() -> None:
    without = sum(not masks["clavicle"].any() for _, masks in phantoms(150, 32))
    assert 5 <= without <= 28


def test_a_brightness_threshold_does_not_solve_it() -> None:
    """The clavicle is neither the brightest nor the darkest thing: a cut on grey finds it badly."""
    image, masks = next((im, m) for im, m in phantoms(20) if m["clavicle"].any())
    truth = masks["clavicle"]
    best = max(
        2 * (truth & part).sum() / (truth.sum() + part.sum())
        for cut in range(1, 255)
        for part in (image > cut, image < cut)
        if part.any()
    )
    assert best < 0.5


def test_the_layout_on_disk(tmp_path: Path) -> None:
    write_phantoms(tmp_path, {"training": 3, "validation": 2}, seed=5, size=48)
    files = sorted(
        str(file.relative_to(tmp_path)) for file in tmp_path.rglob("*") if file.is_file()
    )
    expected = [
        f"{split}/{folder}/{split}_{index:04d}.png"
        for split, count in (("training", 3), ("validation", 2))
        for folder in ("images", *STRUCTURES)
        for index in range(count)
    ]
    assert files == sorted(expected)
    values = {
        value
        for structure in STRUCTURES
        for file in (tmp_path / "training" / structure).iterdir()
        for value in np.unique(np.array(Image.open(file)))
    }
    assert values == {0, 255}
    with Image.open(tmp_path / "training/images/training_0000.png") as picture:
        assert (picture.mode, picture.size) == ("L", (48, 48))


def test_a_case_does_not_depend_on_how_many_there_are(tmp_path: Path) -> None:
    write_phantoms(tmp_path / "few", {"training": 2}, seed=5, size=48)
    write_phantoms(tmp_path / "many", {"validation": 1, "training": 4}, seed=5, size=48)
    write_phantoms(tmp_path / "other", {"training": 2}, seed=6, size=48)
    few = sorted((tmp_path / "few").rglob("*.png"))
    assert len(few) == 8
    for file in few:
        inside = file.relative_to(tmp_path / "few")
        assert (tmp_path / "many" / inside).read_bytes() == file.read_bytes()
    name = "training/images/training_0001.png"
    assert (tmp_path / "few" / name).read_bytes() != (tmp_path / "other" / name).read_bytes()
    first = (tmp_path / "many/training/images/training_0000.png").read_bytes()
    assert (tmp_path / "many/validation/images/validation_0000.png").read_bytes() != first


def test_too_small_is_refused() -> None:
    with pytest.raises(SettingsError, match="32"):
        draw_phantom(np.random.default_rng(0), 16)
