"""Scores of masks: worked by hand, against cleanlab, against slow loops, and at the edges."""

from __future__ import annotations

import math
from dataclasses import astuple
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy import ndimage

from maskmend.arrays import ranking
from maskmend.arrays.agreement import mask_mismatch, predicted_labels, structure_distance
from maskmend.arrays.ranking import (
    BINS,
    JudgedCase,
    MaskCounts,
    MaskScores,
    calibrate,
    count_mask,
    expected_dice_lost,
    ordinary_gain,
    rank,
    score_mask,
)
from maskmend.core import IGNORED, LabelArray, LabelScheme

ONE = LabelScheme(("organ",), overlapping=True)
TWO = LabelScheme(("a", "b"), overlapping=False)
STATED = np.arange(BINS) / (BINS - 1)


def judged(
    given: NDArray[Any], probs: NDArray[Any], scheme: LabelScheme = ONE,
    flagged: NDArray[Any] | None = None,
) -> JudgedCase:  # fmt: skip
    """given: (planes, *S).  probs: (channels, *S).  Flagged, unless given: where they differ."""
    labels = np.asarray(given, np.uint8)
    predicted = predicted_labels(probs, scheme)
    if flagged is None:
        flagged = (labels != predicted) & (labels != IGNORED)
    return JudgedCase(labels, predicted, flagged, probs, scheme, (1.0,) * (labels.ndim - 1))


def scored(case: JudgedCase, structure: int = 0) -> MaskScores:
    return score_mask(count_mask(case, structure), STATED)


def random_case(
    rng: np.random.Generator, shape: tuple[int, ...], scheme: LabelScheme = ONE, dtype: Any = float
) -> JudgedCase:
    """A smooth random picture, its more probable labels with some noise, 5 % ignored."""
    channels = scheme.num_channels
    logits = np.stack([ndimage.gaussian_filter(rng.normal(size=shape), 2) for _ in range(channels)])
    logits *= 12 / np.abs(logits).max()
    if scheme.overlapping:
        probs = 1 / (1 + np.exp(-logits))
    else:
        probs = np.exp(logits) / np.exp(logits).sum(axis=0)
    probs = quantised(probs, dtype)
    given = predicted_labels(probs, scheme)
    noise = rng.random(given.shape)
    random = rng.integers(0, scheme.num_classes, given.shape, np.uint8)
    given = np.where(noise < 0.1, random, given)
    given[noise > 0.95] = IGNORED
    return judged(given, probs, scheme)


def quantised(probs: NDArray[Any], dtype: Any) -> NDArray[Any]:
    kind = np.dtype(dtype)
    if kind.kind == "f":
        return probs.astype(kind)
    return np.rint(probs * np.iinfo(kind).max).astype(kind)


def assert_same(first: MaskScores, second: MaskScores) -> None:
    np.testing.assert_allclose(astuple(first), astuple(second), rtol=1e-9, atol=1e-12)


def test_three_by_three_by_hand() -> None:
    given = np.array([[[1, 1, 0], [1, 0, 0], [0, 0, 0]]])
    probs = np.array([[[0.9, 0.9, 0.8], [0.3, 0.1, 0.1], [0.1, 0.1, 0.1]]])
    found = scored(judged(given, probs))
    # 3 given, 3 predicted, 2 both; margins |2 * 0.8 - 1| + |2 * 0.3 - 1| = 0.6 + 0.4
    assert found.agreement == pytest.approx(1 - 4 / 6)
    assert found.gain == pytest.approx(1.0 / 6)
    # the two wrong pixels, (0, 2) and (1, 0), do not touch
    assert found.flagged_share == pytest.approx(2 / 9)
    assert found.largest_region == pytest.approx(1 / 3)
    confidence = np.array([0.9] * 7 + [0.2, 0.3])
    weights = np.exp((1 - confidence) / 0.1)
    assert found.softmin == pytest.approx(1 - (confidence * weights).sum() / weights.sum())
    # the best mask holds the three pixels of 0.8 and 0.9; sum of all p is 3.4
    best, mine = 2 * 2.6 / (3 + 3.4), 2 * 2.1 / (3 + 3.4)
    assert found.expected_dice == pytest.approx(best - mine, abs=0.002)


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
def test_softmin_is_cleanlabs(dtype: Any) -> None:
    cleanlab_rank = pytest.importorskip("cleanlab.segmentation.rank")
    rng = np.random.default_rng(0)
    probs = rng.random((5, 1, 40, 30)).astype(dtype)
    labels = rng.integers(0, 2, (5, 1, 40, 30)).astype(np.uint8)
    both = np.concatenate([np.subtract(1, probs, dtype=dtype), probs], axis=1)
    theirs, _ = cleanlab_rank.get_label_quality_scores(labels[:, 0], both, verbose=False)
    mine = [scored(judged(y, p)).softmin for y, p in zip(labels, probs, strict=True)]
    np.testing.assert_allclose(mine, 1 - theirs, rtol=1e-12)


def test_softmin_of_each_class_is_cleanlabs_against_the_rest() -> None:
    cleanlab_rank = pytest.importorskip("cleanlab.segmentation.rank")
    case = random_case(np.random.default_rng(3), (30, 20), TWO, np.float32)
    case.given[case.given == IGNORED] = 0
    for number in (0, 1):
        p = case.probs[number + 1]
        both = np.stack([np.float32(1) - p, p])[None]
        labels = (case.given == number + 1).astype(int)
        (theirs,), _ = cleanlab_rank.get_label_quality_scores(labels, both, verbose=False)
        assert scored(case, number).softmin == pytest.approx(1 - theirs, rel=1e-12)


def slow_scores(case: JudgedCase, structure: int) -> dict[str, float]:
    """A loop over pixels."""
    overlapping = case.scheme.overlapping
    plane, value = (structure, 1) if overlapping else (0, structure + 1)
    scale = 1 if case.probs.dtype.kind == "f" else np.iinfo(case.probs.dtype).max
    total = both = judged = flagged = 0
    margin = top = bottom = 0.0
    for place in np.ndindex(case.given.shape[1:]):
        y, found = int(case.given[(plane, *place)]), int(case.predicted[(plane, *place)])
        if y == IGNORED:
            continue
        p = case.probs[(slice(None), *place)].astype(float) / scale
        foreground = p[structure] if overlapping else p[value]
        classes = [1 - foreground, foreground] if overlapping else p
        judged += 1
        mine, theirs = y == value, found == value
        total += mine + theirs
        both += mine and theirs
        if mine != theirs:
            margin += classes[found] - classes[y]
        concerned = overlapping or mine or theirs
        flagged += bool(case.flagged[(plane, *place)]) and concerned
        s = foreground if mine else 1 - foreground
        top, bottom = top + s * math.exp((1 - s) / 0.1), bottom + math.exp((1 - s) / 0.1)
    return {
        "gain": margin / total, "agreement": 1 - 2 * both / total, "softmin": 1 - top / bottom,
        "flagged_share": flagged / judged,
    }  # fmt: skip


@pytest.mark.parametrize("dtype", [np.float32, np.float64, np.uint8, np.uint16])
@pytest.mark.parametrize("scheme", [LabelScheme(("a", "b"), True), TWO], ids=["over", "exclusive"])
@pytest.mark.parametrize("shape", [(13, 17), (5, 9, 7)])
def test_as_a_loop_over_pixels(shape: tuple[int, ...], scheme: LabelScheme, dtype: Any) -> None:
    case = random_case(np.random.default_rng(1), shape, scheme, dtype)
    for number in range(2):
        found, slow = scored(case, number), slow_scores(case, number)
        for name, value in slow.items():
            assert getattr(found, name) == pytest.approx(value, rel=1e-5), name


@pytest.mark.parametrize("scheme", [ONE, TWO], ids=["overlapping", "exclusive"])
def test_agreement_is_that_of_flag(scheme: LabelScheme) -> None:
    case = random_case(np.random.default_rng(2), (40, 30), scheme)
    (theirs,) = structure_distance(mask_mismatch(case.given, case.predicted, scheme)[None])
    mine = [scored(case, number).agreement for number in range(len(scheme.structures))]
    np.testing.assert_allclose(mine, theirs)


@pytest.mark.parametrize("scheme", [ONE, TWO], ids=["overlapping", "exclusive"])
def test_a_picture_is_a_thin_volume(scheme: LabelScheme) -> None:
    case = random_case(np.random.default_rng(4), (40, 30), scheme)
    thin = JudgedCase(
        case.given[:, None], case.predicted[:, None], case.flagged[:, None], case.probs[:, None],
        scheme, (1.0, *case.steps),
    )  # fmt: skip
    for number in range(len(scheme.structures)):
        assert_same(scored(case, number), scored(thin, number))


def test_small_blocks_say_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    cases = [random_case(np.random.default_rng(5), shape) for shape in [(60, 50), (20, 16, 12)]]
    whole = [scored(case) for case in cases]
    monkeypatch.setattr(ranking, "_BLOCK_PIXELS", 16)
    for case, scores in zip(cases, whole, strict=True):
        assert_same(scored(case), scores)


def test_the_band_is_as_wide_as_it_says() -> None:
    """Around a square of 40 pixels: a tenth of the radius of a disc as large, 2.26, so 2 pixels."""
    given = np.zeros((1, 80, 80), np.uint8)
    given[:, 20:60, 20:60] = 1
    base = np.where(given == 1, 0.9, 0.1)
    near, far = base.copy(), base.copy()
    near[:, 18, 40], far[:, 17, 40] = 0.45, 0.45
    plain = scored(judged(given, base)).foreground_softmin
    assert scored(judged(given, near)).foreground_softmin > plain
    assert scored(judged(given, far)).foreground_softmin == plain


def test_the_band_is_counted_in_length_not_in_pixels() -> None:
    given = np.zeros((1, 80, 80), np.uint8)
    given[:, 20:60, 20:60] = 1
    probs = np.where(given == 1, 0.9, 0.1)
    probs[:, 17, 40] = 0.45
    case = judged(given, probs)
    # rows of a quarter of the length: the same disc is 1.13 columns or 4.5 rows wide
    fine = JudgedCase(case.given, case.predicted, case.flagged, probs, ONE, (0.25, 1.0))
    assert scored(fine).foreground_softmin > scored(case).foreground_softmin


def test_ignored_pixels_change_nothing() -> None:
    rng = np.random.default_rng(6)
    case = random_case(rng, (30, 20))
    other = case.probs.copy()
    other[case.given == IGNORED] = rng.random(np.count_nonzero(case.given == IGNORED))
    assert_same(scored(judged(case.given, other)), scored(case))


@pytest.mark.parametrize("scheme", [ONE, TWO], ids=["overlapping", "exclusive"])
def test_ignored_pixels_need_no_probability(scheme: LabelScheme) -> None:
    case = random_case(np.random.default_rng(7), (30, 20), scheme)
    known = scored(case)
    case.probs[:, case.given[0] == IGNORED] = np.nan
    with np.errstate(all="raise"):
        assert_same(scored(case), known)


def test_nothing_given_is_changed_and_nothing_needs_to_be_writable() -> None:
    case = random_case(np.random.default_rng(12), (12, 20, 9), TWO, np.float16)
    for array in (case.given, case.predicted, case.flagged, case.probs):
        array.flags.writeable = False
    assert_same(scored(case, 1), scored(case, 1))


def test_everything_ignored_is_unknown() -> None:
    found = scored(judged(np.full((1, 4, 4), IGNORED), np.full((1, 4, 4), 0.7)))
    assert all(math.isnan(value) for value in astuple(found))


def square(size: int = 20) -> LabelArray:
    mask = np.zeros((1, size, size), np.uint8)
    mask[:, 5:15, 5:15] = 1
    return mask


def test_two_empty_masks_are_right() -> None:
    found = scored(judged(np.zeros((1, 20, 20)), np.full((1, 20, 20), 0.02)))
    assert found.softmin == pytest.approx(0.02)
    assert astuple(found)[:3] == (0, 0, 0)
    assert (found.foreground_softmin, found.flagged_share, found.largest_region) == (0, 0, 0)


def test_a_missed_structure_is_as_bad_as_it_gets() -> None:
    probs = np.where(square() == 1, 0.95, 0.02)
    missed = scored(judged(np.zeros((1, 20, 20)), probs))
    good = scored(judged(square(), probs))
    assert missed.agreement == 1
    assert missed.gain == pytest.approx(0.9)
    assert missed.expected_dice > 0.8
    assert missed.largest_region == 1
    assert all(bad > fine for bad, fine in zip(astuple(missed), astuple(good), strict=True))


def test_an_invented_structure_is_as_bad_as_it_gets() -> None:
    invented = scored(judged(square(), np.full((1, 20, 20), 0.02)))
    assert invented.agreement == 1
    assert invented.gain == pytest.approx(0.96)
    assert invented.expected_dice > 0.8
    assert invented.largest_region == 1


def test_a_doubtful_boundary_weighs_less_than_an_error() -> None:
    """Both masks have the same agreement; one differs where the teacher is undecided."""
    soft = np.where(square() == 1, 0.98, 0.02).astype(float)
    soft[:, 5:15, 15] = 0.52
    wrong = square()
    probs = np.where(square() == 1, 0.98, 0.02)
    wrong[:, 5:15, 14] = 0
    soft[:, 5:15, 4] = 0.02
    doubtful, clear = scored(judged(square(), soft)), scored(judged(wrong, probs))
    assert clear.gain > 10 * doubtful.gain
    assert clear.expected_dice > 10 * doubtful.expected_dice


def test_classes_have_no_order() -> None:
    case = random_case(np.random.default_rng(8), (30, 20), TWO)
    names = np.arange(256, dtype=np.uint8)
    names[[1, 2]] = 2, 1
    swapped = judged(names[case.given], case.probs[[0, 2, 1]], TWO)
    for number in (0, 1):
        assert_same(scored(case, number), scored(swapped, 1 - number))


def test_swapped_classes_count_for_both() -> None:
    given = np.repeat(square(), 1, axis=0)
    probs = np.stack([1 - 0.98 * square()[0], 0.01 * square()[0], 0.97 * square()[0]])
    case = judged(given, probs, TWO)
    for number in (0, 1):
        assert scored(case, number).gain == pytest.approx(0.96)
        assert scored(case, number).flagged_share == 100 / 400


def test_counts_of_parts_add() -> None:
    case = random_case(np.random.default_rng(9), (30, 20))
    halves = [
        JudgedCase(case.given[:, part], case.predicted[:, part], case.flagged[:, part],
                   case.probs[:, part], ONE, case.steps)
        for part in (slice(0, 11), slice(11, 30))
    ]  # fmt: skip
    whole, parts = count_mask(case, 0), count_mask(halves[0], 0) + count_mask(halves[1], 0)
    for name in ("judged", "given", "predicted", "both", "flagged"):
        assert getattr(parts, name) == getattr(whole, name)
    assert (parts.histogram == whole.histogram).all()
    assert parts.margin == pytest.approx(whole.margin)
    assert parts.everywhere.badness == pytest.approx(whole.everywhere.badness)
    neutral = whole + MaskCounts()
    assert_same(score_mask(neutral, STATED), score_mask(whole, STATED))


def test_largest_region_of_salt() -> None:
    """Corners connect; the largest of many is found whatever their order."""
    flagged = np.zeros((1, 1, 40, 40), bool)
    flagged[..., ::3, ::3] = True
    flagged[..., 30, 10:17] = True
    probs = np.where(np.random.default_rng(0).random((1, 1, 40, 40)) < 0.5, 0.9, 0.1)
    case = judged(probs > 0.5, probs, flagged=flagged)
    regions, count = ndimage.label(flagged[0], np.ones((3, 3, 3)))
    sizes = np.bincount(regions.ravel())[1:]
    assert count > 100
    assert count_mask(case, 0).largest == sizes.max()


def test_calibration_of_probabilities_that_are_true_changes_nothing() -> None:
    pixels = np.full(BINS, 10_000)
    given = np.rint(STATED * 10_000).astype(int)
    np.testing.assert_allclose(calibrate(np.stack([pixels - given, given])), STATED, atol=1e-4)


def test_calibration_ascends_and_sharpens() -> None:
    """Teachers who say 0.3 and 0.7 where it is 0.05 and 0.95."""
    histogram = np.zeros((2, BINS), int)
    low, high = round(0.3 * (BINS - 1)), round(0.7 * (BINS - 1))
    histogram[:, low], histogram[:, high] = (9500, 500), (500, 9500)
    found = calibrate(histogram)
    assert (np.diff(found) >= -1e-12).all()
    assert found[low] == pytest.approx(0.05, abs=0.01)
    assert found[high] == pytest.approx(0.95, abs=0.01)


def test_calibration_without_pixels_is_as_stated() -> None:
    np.testing.assert_allclose(calibrate(np.zeros((2, BINS), int)), STATED)


@pytest.mark.parametrize("seed", range(5))
def test_no_mask_is_expected_to_be_better_than_the_best(seed: int) -> None:
    """Against all masks of a few pixels, tried one by one."""
    rng = np.random.default_rng(seed)
    bins = rng.integers(0, BINS, 8)
    q, total = STATED[bins], STATED[bins].sum()
    lost = {}
    for code in range(1 << len(bins)):
        mask = (code >> np.arange(len(bins))) & 1 == 1
        histogram = np.zeros((2, BINS), int)
        np.add.at(histogram, (mask.astype(int), bins), 1)
        expected = 2 * q[mask].sum() / (mask.sum() + total) if mask.any() else 1 - q.max()
        lost[expected] = expected_dice_lost(histogram, STATED)
    for expected, found in lost.items():
        assert found == pytest.approx(max(lost) - expected)


def test_expected_dice_is_near_the_mean_over_drawn_truths() -> None:
    rng = np.random.default_rng(11)
    bins = rng.integers(0, BINS, 2000)
    q = STATED[bins]
    masks = {"best": q > 0.4, "random": rng.random(2000) < 0.5}
    means, lost = {}, {}
    for name, mask in masks.items():
        drawn = rng.random((400, 2000)) < q
        means[name] = np.mean(2 * (drawn & mask).sum(axis=1) / (drawn.sum(axis=1) + mask.sum()))
        histogram = np.zeros((2, BINS), int)
        np.add.at(histogram, (mask.astype(int), bins), 1)
        lost[name] = expected_dice_lost(histogram, STATED)
    assert lost["random"] - lost["best"] == pytest.approx(
        means["best"] - means["random"], abs=0.005
    )


def test_ordinary_gain() -> None:
    gains = np.array([0.1, 0.2, 0.3, np.nan, 0.9])
    believed = np.array([True, True, True, True, False])
    assert ordinary_gain(gains, believed) == pytest.approx(0.2)
    assert ordinary_gain(gains, np.zeros(5, bool)) == 0


def test_rank_puts_the_unknown_last() -> None:
    scores = np.array([np.nan, 0.5, -0.1, 0.5, 2.0])
    assert rank(scores).tolist() == [5, 2, 4, 3, 1]
