"""Noise for a data set: what is planned for each structure, and which masks it hits."""

from __future__ import annotations

import hashlib
import math
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from maskmend.arrays.corruption import Corruption, corrupt_labels
from maskmend.core import Dataset
from maskmend.datasets import open_dataset, read_labels
from maskmend.datasets.noise import check_record, plan_noise, sample_noise
from maskmend.errors import SettingsError

TRAINING = ("training",)


def disc(radius: int, side: int = 48) -> np.ndarray:
    rows, columns = np.mgrid[:side, :side] - side // 2
    return (rows**2 + columns**2 <= radius**2).astype(np.uint8)


def put(path: Path, values: np.ndarray) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(values).save(path)


def organs(root: Path, cases: int = 10, skip: tuple[str, ...] = ()) -> Dataset:
    """Structures lung (radius 20) and heart (radius 10, not in the cases named), overlapping."""
    for split, count in (("training", cases), ("validation", 2)):
        for number in range(count):
            name = f"{split[0]}{number:02}.png"
            put(root / split / "images" / name, np.arange(48 * 48, dtype=np.uint8).reshape(48, 48))
            put(root / split / "lung" / name, disc(20) * 255)
            if name not in skip:
                put(root / split / "heart" / name, disc(10) * 255)
    return open_dataset(root)


def maps(root: Path, labels: np.ndarray, cases: int = 4) -> Dataset:
    for number in range(cases):
        put(root / "images" / f"c{number}.png", np.arange(labels.size, dtype=np.uint8).reshape(
            labels.shape))  # fmt: skip
        put(root / "masks" / f"c{number}.png", labels)
    return open_dataset(root, ignore_value=9)


def test_radii_are_proposed_from_the_size_of_the_structure(tmp_path: Path) -> None:
    noise = plan_noise(organs(tmp_path), "reference", {"": 0.5}, {}, TRAINING)
    # a quarter to four tenths of 20 and of 10
    assert noise["lung"].beta == (5, 8)
    assert noise["heart"].beta[0] in (2, 3)
    assert noise["heart"].beta[1] == 4
    assert {kind.axes for kind in noise.values()} == {2}
    assert noise["lung"].partners == ("heart",)
    assert noise["heart"].partners == ("lung",)


def test_the_median_mask_counts_and_an_empty_one_does_not(tmp_path: Path) -> None:
    organs(tmp_path, cases=5)
    for number, radius in enumerate((4, 16, 16, 24)):
        put(tmp_path / "training" / "lung" / f"t{number:02}.png", disc(radius) * 255)
    put(tmp_path / "training" / "lung" / "t04.png", disc(20) * 0)
    noise = plan_noise(open_dataset(tmp_path), "reference", {}, {}, TRAINING)
    assert noise["lung"].beta == (4, 6)


def test_only_the_splits_in_question_are_measured(tmp_path: Path) -> None:
    organs(tmp_path)
    for number in range(10):
        put(tmp_path / "training" / "lung" / f"t{number:02}.png", disc(8) * 255)
    dataset = open_dataset(tmp_path)
    assert plan_noise(dataset, "paper", {}, {}, TRAINING)["lung"].beta == (2, 3)
    assert plan_noise(dataset, "paper", {}, {}, ("validation",))["lung"].beta == (5, 8)


def test_ignored_pixels_are_not_measured(tmp_path: Path) -> None:
    labels = disc(20)
    labels[24:] *= 9
    half = math.sqrt(int((labels == 1).sum()) / math.pi)
    dataset = maps(tmp_path, labels)
    (name,) = dataset.scheme.structures
    noise = plan_noise(dataset, "reference", {}, {}, TRAINING)
    assert noise[name].beta == (round(half / 4), round(0.4 * half))


def test_a_structure_without_a_pixel_has_the_smallest_radii(tmp_path: Path) -> None:
    organs(tmp_path)
    for number in range(10):
        put(tmp_path / "training" / "heart" / f"t{number:02}.png", disc(10) * 0)
    noise = plan_noise(open_dataset(tmp_path), "reference", {}, {}, TRAINING)
    assert noise["heart"].beta == (1, 2)


def test_what_is_given_counts(tmp_path: Path) -> None:
    dataset = organs(tmp_path)
    noise = plan_noise(dataset, "paper", {"": 0.2, "heart": 0.7}, {"heart": (1, 9)}, TRAINING)
    assert (noise["lung"].alpha, noise["heart"].alpha) == (0.2, 0.7)
    assert noise["heart"].beta == (1, 9)
    assert noise["lung"].beta == (5, 8)
    assert {kind.preset for kind in noise.values()} == {"paper"}
    assert plan_noise(dataset, "paper", {"heart": 0.7}, {}, TRAINING)["lung"].alpha == 0


def test_one_radius_for_all_others(tmp_path: Path) -> None:
    dataset = organs(tmp_path)
    noise = plan_noise(dataset, "paper", {}, {"": (3, 4), "heart": (1, 9)}, TRAINING)
    assert (noise["lung"].beta, noise["heart"].beta) == ((3, 4), (1, 9))


def test_a_protocol_brings_its_share_and_its_radii(tmp_path: Path) -> None:
    dataset = organs(tmp_path)
    pymic = plan_noise(dataset, "pymic", None, {}, TRAINING)
    assert {(kind.alpha, kind.beta) for kind in pymic.values()} == {(0.95, (6, 12))}
    own = plan_noise(dataset, "pymic", {"": 0.3}, {"lung": (1, 2)}, TRAINING)
    assert {kind.alpha for kind in own.values()} == {0.3}
    assert (own["lung"].beta, own["heart"].beta) == ((1, 2), (6, 12))
    reference = plan_noise(dataset, "reference", None, {}, TRAINING)
    assert {kind.alpha for kind in reference.values()} == {0.5}


def test_steps_of_a_structure_that_the_paper_does_not_have_go_by_its_size(tmp_path: Path) -> None:
    dataset = maps(tmp_path, disc(20))
    (noise,) = plan_noise(dataset, "markov_j1", None, {}, TRAINING).values()
    # 2.3 to 4.2 steps a pixel of radius: 180 steps for JSRT's lungs (80) and hearts (43)
    assert noise.beta == (46, 84)
    assert noise.alpha == 1
    (noise,) = plan_noise(dataset, "markov_j3", None, {}, TRAINING).values()
    assert noise.beta == (2, 4)


def test_an_unknown_preset_is_refused(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="rust"):
        plan_noise(organs(tmp_path), "rust", None, {}, TRAINING)


def test_one_annotator_draws_all_structures_of_the_same_cases(tmp_path: Path) -> None:
    dataset = organs(tmp_path, cases=12, skip=("t00.png", "t01.png", "t02.png", "t03.png"))
    noise = plan_noise(dataset, "systematic", None, {}, TRAINING)
    theirs = set()
    for seed in range(12):
        drawn = sample_noise(dataset, noise, seed, TRAINING)
        assert drawn == sample_noise(dataset, noise, seed, TRAINING)
        # a third of the cases, whether or not there is a heart in them
        assert len(hits(drawn, "lung")) == 4
        unlabelled = {"t00", "t01", "t02", "t03"}
        assert hits(drawn, "heart") == [c for c in hits(drawn, "lung") if c not in unlabelled]
        assert {(c.kind, c.radius, c.annotator) for c in drawn} == {("dilate", 5, "wide")}
        theirs.add(tuple(hits(drawn, "lung")))
    assert len(theirs) > 8
    alone = sample_noise(dataset, {"heart": noise["heart"]}, 3, TRAINING)
    both = sample_noise(dataset, noise, 3, TRAINING)
    assert alone == tuple(c for c in both if c.structure == "heart")


def test_an_unknown_structure_is_refused(tmp_path: Path) -> None:
    dataset = organs(tmp_path)
    for alpha, beta in (({"liver": 0.5}, {}), ({}, {"liver": (1, 2)})):
        with pytest.raises(SettingsError, match="one of the structures heart, lung; got liver"):
            plan_noise(dataset, "reference", alpha, beta, TRAINING)


def test_a_split_without_cases_is_refused(tmp_path: Path) -> None:
    dataset = organs(tmp_path)
    with pytest.raises(SettingsError, match="has training, validation"):
        plan_noise(dataset, "reference", {}, {}, ("test",))
    noise = plan_noise(dataset, "reference", {"": 0.5}, {}, TRAINING)
    with pytest.raises(SettingsError, match="test: expected a split with cases"):
        sample_noise(dataset, noise, 0, ("test",))


def hits(drawn: tuple[Corruption, ...], structure: str) -> list[str]:
    return [corruption.case for corruption in drawn if corruption.structure == structure]


def test_alpha_of_the_labelled_masks_are_hit_each_once(tmp_path: Path) -> None:
    dataset = organs(tmp_path, skip=("t00.png", "t01.png", "t02.png"))
    noise = plan_noise(dataset, "reference", {"": 0.5, "heart": 0.6}, {}, TRAINING)
    drawn = sample_noise(dataset, noise, 3, TRAINING)
    assert len(hits(drawn, "lung")) == len(set(hits(drawn, "lung"))) == 5
    # 0.6 of the seven hearts
    assert len(hits(drawn, "heart")) == len(set(hits(drawn, "heart"))) == 4
    assert {*hits(drawn, "heart")}.isdisjoint({"t00", "t01", "t02"})
    assert all(corruption.case.startswith("t") for corruption in drawn)


def test_the_seed_decides_and_one_structure_not_about_another(tmp_path: Path) -> None:
    dataset = organs(tmp_path)
    noise = plan_noise(dataset, "reference", {"": 0.5}, {}, TRAINING)
    drawn = sample_noise(dataset, noise, 3, TRAINING)
    assert sample_noise(dataset, noise, 3, TRAINING) == drawn
    assert sample_noise(dataset, noise, 4, TRAINING) != drawn
    alone = sample_noise(dataset, {"heart": noise["heart"]}, 3, TRAINING)
    assert alone == tuple(c for c in drawn if c.structure == "heart")
    # nor do both have their errors in the same cases
    assert hits(drawn, "heart") != hits(drawn, "lung")


PUBLISHED = {
    "reference": ("8bf1b4d6938ccbd7", "49d7c33a8f9d377b"),
    "paper": ("f051e30b669b798a", "f7fb4be40ee3879d"),
    "mixed": ("278bf52e8746d9be", "9bd88283b46818cc"),
    "volume": ("fc606ed9ba2502d7", "acca8c6678d17bb9"),
}
"""Preset -> start of the SHA-256 of its record and of the labels with it.

Figures were published with these four; a change of their draws would be one of the figures.
"""


@pytest.mark.parametrize("preset", PUBLISHED)
def test_the_presets_of_published_figures_draw_what_they_drew(tmp_path: Path, preset: str) -> None:
    dataset = organs(tmp_path, cases=20)
    drawn = sample_noise(dataset, plan_noise(dataset, preset, {"": 0.7}, {}, TRAINING), 5, TRAINING)
    record, labels = hashlib.sha256(), hashlib.sha256()
    for c in drawn:
        fields = (c.case, c.structure, c.kind, c.radius, c.seed, c.offset, c.matrix, c.partner)
        record.update(repr(fields).encode())
    for case in dataset.cases:
        mine = [corruption for corruption in drawn if corruption.case == case.id]
        labels.update(corrupt_labels(read_labels(dataset, case), dataset.scheme, mine).tobytes())
    assert (record.hexdigest()[:16], labels.hexdigest()[:16]) == PUBLISHED[preset]


def test_exclusive_labels_are_hit_structure_by_structure(tmp_path: Path) -> None:
    labels = disc(20) + disc(8)
    labels[:2] = 9
    dataset = maps(tmp_path, labels)
    assert dataset.scheme.structures == ("class_1", "class_2")
    noise = plan_noise(dataset, "reference", {"": 0.5}, {}, TRAINING)
    drawn = sample_noise(dataset, noise, 0, TRAINING)
    assert len(hits(drawn, "class_1")) == len(hits(drawn, "class_2")) == 2


@pytest.mark.parametrize(
    ("case", "structure", "partner", "fits"),
    [
        ("t00", "lung", "", True),
        ("t00", "lung", "heart", True),
        ("t99", "lung", "", False),
        ("t00", "liver", "", False),
        ("t00", "lung", "liver", False),
    ],
)
def test_a_record_belongs_to_its_data_set(
    tmp_path: Path, case: str, structure: str, partner: str, fits: bool
) -> None:
    dataset = organs(tmp_path, cases=1)
    record = [Corruption("t00", "heart", "dilate", 2), Corruption(case, structure, "swapped",
              partner=partner)]  # fmt: skip
    refused = None
    try:
        check_record(dataset, record)
    except SettingsError as error:
        refused = error
    assert (refused is None) == fits
    assert refused is None or refused.case == case
