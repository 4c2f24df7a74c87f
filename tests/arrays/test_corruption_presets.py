"""The protocols: what each draws, with its own share of masks, radii, steps and thetas."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest

from maskmend.arrays.corruption import (
    PRESETS,
    Corruption,
    Noise,
    corrupt,
    sample_corruption,
    sample_corruptions,
)
from maskmend.arrays.corruption_presets import preset_of
from maskmend.arrays.overlap import count_overlap
from maskmend.errors import SettingsError

CASES = [f"case{index:05d}" for index in range(197)]


def draw(preset: str, structure: str = "lung", count: int = 197) -> tuple[Corruption, ...]:
    """The protocol as it is published, for a structure that it states radii for."""
    published = preset_of(preset).published_beta(structure)
    assert published is not None
    noise = Noise(preset, preset_of(preset).alpha, published)
    cases = [f"case{index:05d}" for index in range(count)]
    return sample_corruptions(cases, structure, noise, np.random.default_rng(0))


def disc(radius: int, side: int = 128) -> np.ndarray:
    rows, columns = np.mgrid[:side, :side] - side // 2
    return rows**2 + columns**2 <= radius**2


def test_the_shares_of_masks_are_those_of_the_sources() -> None:
    shares = {name: preset.alpha for name, preset in PRESETS.items()}
    assert shares == {
        "reference": 0.5, "paper": 0.5, "mixed": 0.5, "volume": 0.5,
        "pymic": 0.95, "markov_j1": 1, "markov_j2": 1, "markov_j3": 1, "systematic": 1 / 3,
    }  # fmt: skip
    assert all(
        sum(preset.probabilities.values()) == pytest.approx(1) for preset in PRESETS.values()
    )


def test_pymic_draws_its_recipe() -> None:
    drawn = draw("pymic", count=8000)
    assert len(drawn) == 7600
    shares = {kind: n / len(drawn) for kind, n in Counter(c.kind for c in drawn).items()}
    assert shares == {
        "dilate_cross": pytest.approx(0.35, abs=0.02),
        "erode_cross": pytest.approx(0.35, abs=0.02),
        "edge_bumps": pytest.approx(0.3, abs=0.02),
    }
    radii = Counter(c.radius for c in drawn if c.kind != "edge_bumps")
    assert sorted(radii) == list(range(6, 13))
    assert max(radii.values()) / min(radii.values()) < 1.2
    bumps = [c for c in drawn if c.kind == "edge_bumps"]
    assert {(c.smallest, c.radius) for c in bumps} == {(6, 12)}
    assert len({c.seed for c in bumps}) > 0.99 * len(bumps)


@pytest.mark.parametrize(("preset", "preference"), [("markov_j1", 0.8), ("markov_j2", 0.2)])
@pytest.mark.parametrize(
    ("structure", "steps", "variance"),
    [("lung", 180, 0.05), ("heart", 180, 0.05), ("clavicle", 100, 0.02)],
)
def test_markov_has_the_published_steps_and_thetas(
    preset: str, preference: float, structure: str, steps: int, variance: float
) -> None:
    drawn = draw(preset, structure)
    assert [c.case for c in drawn] == CASES
    assert {c.kind for c in drawn} == {"markov"}
    assert {(c.steps, c.thetas) for c in drawn} == {(steps, (preference, variance, 0.2))}
    assert len({c.seed for c in drawn}) == len(drawn)


def test_a_structure_that_the_paper_does_not_have_is_treated_as_a_lung() -> None:
    assert PRESETS["markov_j1"].published_beta("liver") is None
    noise = Noise("markov_j1", 1, (40, 60))
    drawn = sample_corruptions(CASES, "liver", noise, np.random.default_rng(0))
    assert {c.thetas for c in drawn} == {(0.8, 0.05, 0.2)}
    assert {c.steps for c in drawn} == set(range(40, 61))


@pytest.mark.parametrize(
    ("structure", "beta"), [("lung", (7, 9)), ("heart", (7, 9)), ("clavicle", (3, 5))]
)
def test_j3_dilates_or_erodes_every_mask(structure: str, beta: tuple[int, int]) -> None:
    drawn = draw("markov_j3", structure)
    assert len(drawn) == len(CASES)
    kinds = Counter(c.kind for c in drawn)
    assert set(kinds) == {"dilate", "erode"}
    assert kinds["dilate"] / len(drawn) == pytest.approx(0.5, abs=0.1)
    assert {c.radius for c in drawn} == set(range(beta[0], beta[1] + 1))


def test_j1_makes_masks_larger_and_j2_smaller() -> None:
    mask = disc(40)
    rng = np.random.default_rng(1)
    pixels = {
        preset: [
            int(corrupt(mask, sample_corruption("a", "heart", noise, rng)).sum())
            for _ in range(5)
        ]
        for preset in ("markov_j1", "markov_j2")
        for noise in [Noise(preset, 1, (60, 60))]
    }  # fmt: skip
    assert max(pixels["markov_j2"]) < mask.sum() < min(pixels["markov_j1"])


class TestSystematic:
    def test_it_is_one_error_in_a_third_of_the_cases(self) -> None:
        drawn = draw("systematic")
        assert len(drawn) == 65
        assert [c.case for c in drawn] == sorted({c.case for c in drawn})
        assert {(c.kind, c.radius, c.annotator) for c in drawn} == {("dilate", 5, "wide")}

    def test_a_width_is_drawn_once(self) -> None:
        noise = Noise("systematic", 0.5, (3, 9))
        widths = [
            {c.radius for c in sample_corruptions(CASES, "x", noise, np.random.default_rng(seed))}
            for seed in range(40)
        ]
        assert all(len(each) == 1 for each in widths)
        assert set.union(*widths) == set(range(3, 10))

    def test_a_smaller_share_is_a_part_of_a_larger_one(self) -> None:
        hit = [
            {c.case for c in sample_corruptions(CASES, "x", noise, np.random.default_rng(2))}
            for noise in (Noise("systematic", alpha, (5, 5)) for alpha in (0, 0.1, 0.6, 1))
        ]
        assert [len(cases) for cases in hit] == [0, 19, 118, 197]
        assert hit[0] < hit[1] < hit[2] < hit[3]

    def test_the_mask_is_5_pixels_wider_all_around(self) -> None:
        (error,) = sample_corruptions(
            ["a"], "x", Noise("systematic", 1, (5, 5)), np.random.default_rng(0)
        )
        wide = corrupt(disc(20), error)
        assert not (wide & ~disc(25)).any()
        assert (wide & ~disc(20)).sum() > 0.9 * (disc(25) & ~disc(20)).sum()
        assert count_overlap(disc(20), wide).dice == pytest.approx(2 * 16 / (16 + 25), abs=0.02)


@pytest.mark.parametrize("preset", PRESETS)
def test_no_mask_is_hit_at_alpha_0(preset: str) -> None:
    noise = Noise(preset, 0, (1, 2))
    assert sample_corruptions(CASES, "lung", noise, np.random.default_rng(0)) == ()


@pytest.mark.parametrize("preset", PRESETS)
def test_the_seed_decides(preset: str) -> None:
    noise = Noise(preset, 0.5, (10, 20))
    first, again, other = (
        sample_corruptions(CASES, "lung", noise, np.random.default_rng(seed)) for seed in (3, 3, 4)
    )
    assert first == again != other


def test_markov_alone_has_the_thetas_of_j1() -> None:
    (error,) = sample_corruptions(
        ["a"], "lung", Noise("markov", 1, (30, 30)), np.random.default_rng(0)
    )
    assert (error.kind, error.steps, error.thetas) == ("markov", 30, (0.8, 0.05, 0.2))


def test_a_name_that_is_neither_preset_nor_kind_is_refused() -> None:
    with pytest.raises(SettingsError, match="expected one of reference, paper"):
        preset_of("rust")
