"""Which masks to believe: agreement by hand, the limit by hand and by a slow loop."""

from __future__ import annotations

import math
import statistics

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from maskmend.arrays.agreement import (
    believed_masks,
    flag_doubted,
    in_doubt,
    mask_distance,
    mask_mismatch,
    predicted_labels,
    size_bias,
    structure_distance,
)
from maskmend.arrays.overlap import count_overlap
from maskmend.core import IGNORED, LabelScheme

OVERLAPPING = LabelScheme(("lung", "heart"), overlapping=True)
EXCLUSIVE = LabelScheme(("lung", "heart"), overlapping=False)

label_values = st.sampled_from([0, 1, 2, IGNORED])
distances = hnp.arrays(
    np.float64, st.tuples(st.integers(1, 15), st.integers(1, 3)),
    elements=st.floats(0, 1) | st.just(np.nan),
)  # fmt: skip
ratios = st.floats(1.1, 5)


def mask_agreement(given: np.ndarray, predicted: np.ndarray, scheme: LabelScheme) -> np.ndarray:
    """Dice of each plane."""
    return 1 - mask_distance(mask_mismatch(given, predicted, scheme)[None], scheme)[0]


def test_overlapping_labels_are_what_is_more_likely_than_not() -> None:
    probs = np.array([[0.2, 0.5, 0.6], [0.9, 0.51, 0.49]])
    labels = predicted_labels(probs, OVERLAPPING)
    assert labels.tolist() == [[0, 0, 1], [1, 1, 0]]
    assert labels.dtype == np.dtype(np.uint8)


def test_exclusive_labels_are_the_most_likely_the_first_of_equals() -> None:
    probs = np.array([[0.5, 0.4, 0.2], [0.3, 0.4, 0.3], [0.2, 0.2, 0.5]])
    labels = predicted_labels(probs, EXCLUSIVE)
    assert labels.tolist() == [[0, 0, 2]]
    assert labels.dtype == np.dtype(np.uint8)


def test_overlapping_agreement_by_hand() -> None:
    given_labels = np.array([[1, 1, 0, 0], [0, 1, 1, IGNORED]], dtype=np.uint8)
    predicted = np.array([[1, 0, 0, 1], [0, 1, 0, 1]], dtype=np.uint8)
    # lung: one of two and two in common; heart: one of two and one, the last pixel apart
    assert mask_agreement(given_labels, predicted, OVERLAPPING).tolist() == [
        0.5, pytest.approx(2 / 3),
    ]  # fmt: skip


def test_exclusive_agreement_is_the_mean_over_the_structures_that_either_has() -> None:
    given_labels = np.array([[1, 1, 2, 0]], dtype=np.uint8)
    predicted = np.array([[1, 0, 2, 0]], dtype=np.uint8)
    assert mask_agreement(given_labels, predicted, EXCLUSIVE).tolist() == [
        pytest.approx((2 / 3 + 1) / 2)
    ]
    no_heart = np.array([[1, 1, 0, 0]], dtype=np.uint8)
    assert mask_agreement(no_heart, no_heart, EXCLUSIVE).tolist() == [1]
    # an invented heart scores 0, and halves what the lung has
    assert mask_agreement(no_heart, np.array([[1, 1, 2, 0]], np.uint8), EXCLUSIVE).tolist() == [0.5]


@pytest.mark.parametrize("scheme", [OVERLAPPING, EXCLUSIVE])
def test_emptiness(scheme: LabelScheme) -> None:
    planes = len(scheme.planes)
    empty, full = np.zeros((planes, 2, 2), np.uint8), np.ones((planes, 2, 2), np.uint8)
    ignored = np.full((planes, 2, 2), IGNORED, np.uint8)
    assert mask_agreement(empty, empty, scheme).tolist() == [1] * planes
    assert mask_agreement(full, empty, scheme).tolist() == [0] * planes
    assert mask_agreement(empty, full, scheme).tolist() == [0] * planes
    assert np.isnan(mask_agreement(ignored, full, scheme)).all()


@given(
    hnp.arrays(np.uint8, (1, 4, 5), elements=label_values),
    hnp.arrays(np.uint8, (1, 4, 5), elements=st.integers(0, 2)),
)
def test_agreement_does_not_ask_what_classes_or_axes_are_called(
    given_labels: np.ndarray, predicted: np.ndarray
) -> None:
    score = mask_agreement(given_labels, predicted, EXCLUSIVE)[0]
    assert math.isnan(score) or 0 <= score <= 1
    renamed = np.array([0, 2, 1] + [IGNORED] * 253, dtype=np.uint8)
    for other_given, other_predicted in (
        (renamed[given_labels], renamed[predicted]),
        (given_labels[:, None], predicted[:, None]),
        (given_labels.swapaxes(1, 2), predicted.swapaxes(1, 2)),
    ):
        other = mask_agreement(other_given, other_predicted, EXCLUSIVE)[0]
        np.testing.assert_allclose(other, score)


@given(
    hnp.arrays(np.uint8, (2, 4, 5), elements=st.sampled_from([0, 1, IGNORED])),
    hnp.arrays(np.uint8, (2, 4, 5), elements=st.integers(0, 1)),
)
def test_what_is_predicted_at_ignored_pixels_does_not_matter(
    given_labels: np.ndarray, predicted: np.ndarray
) -> None:
    other = np.where(given_labels == IGNORED, 1 - predicted, predicted)
    np.testing.assert_array_equal(
        mask_agreement(given_labels, other, OVERLAPPING),
        mask_agreement(given_labels, predicted, OVERLAPPING),
    )


def disc(radius: float) -> np.ndarray:
    rows, columns = np.mgrid[:64, :64]
    return ((rows - 32) ** 2 + (columns - 32) ** 2 <= radius**2)[None].astype(np.uint8)


def test_mismatch_by_hand() -> None:
    given_labels = np.array([[1, 1, 1, 0, 0, 1], [0, 0, 0, 0, 1, IGNORED]], dtype=np.uint8)
    predicted = np.array([[1, 0, 0, 1, 0, 1], [0, 0, 1, 1, 0, 1]], dtype=np.uint8)
    # lung: two pixels only given, one only predicted, four and three in all; heart: one and two
    assert mask_mismatch(given_labels, predicted, OVERLAPPING).tolist() == [
        [1 / 7, 2 / 7], [-1 / 3, 2 / 3],
    ]  # fmt: skip


@given(
    hnp.arrays(np.uint8, (2, 4, 5), elements=st.sampled_from([0, 1, IGNORED])),
    hnp.arrays(np.uint8, (2, 4, 5), elements=st.integers(0, 1)),
)
def test_size_and_place_add_up_to_what_dice_lacks(
    given_labels: np.ndarray, predicted: np.ndarray
) -> None:
    mismatch = mask_mismatch(given_labels, predicted, OVERLAPPING)
    for plane in range(2):
        ignored = given_labels[plane] == IGNORED
        dice = count_overlap(given_labels[plane] == 1, predicted[plane] == 1, ignored).dice
        size, place = mismatch[plane]
        lacking = place if math.isnan(size) else abs(size) + place
        np.testing.assert_allclose(lacking, 1 - dice, atol=1e-12)


def test_size_bias_is_the_median_of_the_masks_that_have_a_size() -> None:
    sizes = np.array([[0.5, np.nan], [-0.1, np.nan], [0.1, np.nan], [np.nan, np.nan]])
    mismatch = np.stack([sizes, np.zeros_like(sizes)], axis=-1)
    assert size_bias(mismatch).tolist() == [0.1, 0]


def test_a_prediction_too_large_does_not_speak_for_masks_too_large() -> None:
    """Four right masks, three dilated, three eroded; the network has come to dilate a little."""
    scheme = LabelScheme(("heart",), overlapping=True)
    radii = [14.5, 15.0, 15.0, 15.5] + [21.0] * 3 + [9.0] * 3
    mismatch = np.stack([mask_mismatch(disc(radius), disc(18.5), scheme) for radius in radii])
    plain = mask_distance(mismatch, scheme)
    assert not believed_masks(plain, 1.25)[:4].any()
    assert believed_masks(plain, 1.25)[4:7].all()
    corrected = mask_distance(mismatch, scheme, size_bias(mismatch))
    assert believed_masks(corrected, 1.25)[:, 0].tolist() == [True] * 4 + [False] * 6


def test_believed_masks_by_hand() -> None:
    # the nearest three of ten: 0.1, 0.125, 0.15, so 0.125 is ordinary and 0.25 the limit; with
    # the two more that it takes in 0.15 is ordinary and 0.3 the limit, which takes in no more
    column = [0.1, 0.125, 0.15, 0.2, 0.25, 0.3001, 0.4, 0.7, 0.9, 1.0]
    believed = believed_masks(np.array(column)[:, None], ratio=2)
    assert believed[:, 0].tolist() == [True] * 5 + [False] * 5
    # 0.3 is taken in: now 0.175 is ordinary, and 0.35 the limit
    column[5:7] = [0.3, 0.35]
    believed = believed_masks(np.array(column)[:, None], ratio=2)
    assert believed[:, 0].tolist() == [True] * 7 + [False] * 3


@pytest.mark.parametrize("wrong", [0, 30, 60])
def test_belief_reaches_the_gap_wherever_it_lies(wrong: int) -> None:
    right = np.random.default_rng(0).lognormal(np.log(0.05), 0.3, 100 - wrong)
    column = np.concatenate([right, np.linspace(0.3, 0.6, wrong)])
    believed = believed_masks(column[:, None], ratio=1.65)[:, 0]
    assert not believed[100 - wrong :].any()
    assert believed[: 100 - wrong].mean() > 0.9


def test_near_perfect_agreement_doubts_nothing() -> None:
    column = np.array([0, 0, 0, 0.001, 0.01, 0.019, 0.03])
    assert believed_masks(column[:, None], ratio=2)[:, 0].tolist() == [True] * 6 + [False]


def test_empty_masks_do_not_say_what_is_ordinary() -> None:
    # of 0.2, 0.25, 0.7 the nearest is ordinary: 0.2; the limit is 0.3
    column = np.array([0, 0, 0, 0, 0.2, 0.25, 0.7])
    assert believed_masks(column[:, None], ratio=1.5)[:, 0].tolist() == [True] * 6 + [False]


def test_a_mask_without_a_score_is_believed_and_tells_nothing() -> None:
    scores = np.array([[np.nan, 0.1], [np.nan, np.nan], [np.nan, 0.9]])
    assert believed_masks(scores, ratio=2).tolist() == [[True, True], [True, True], [True, False]]
    assert believed_masks(np.empty((0, 2)), ratio=2).shape == (0, 2)


def slow_believed(column: list[float], ratio: float) -> list[bool]:
    """The smallest number of nearest masks that takes in no further one."""
    known = sorted(one for one in column if one > 0)
    if not known:
        return [True] * len(column)
    for count in range(max(1, math.floor(0.3 * len(known))), len(known) + 1):
        limit = ratio * max(statistics.median(known[:count]), 0.01)
        if sum(one <= limit for one in known) <= count:
            break
    return [math.isnan(one) or one <= limit for one in column]


@given(distances, ratios)
def test_believed_masks_against_a_slow_loop(distance: np.ndarray, ratio: float) -> None:
    expected = [slow_believed(column.tolist(), ratio) for column in distance.T]
    assert believed_masks(distance, ratio).T.tolist() == expected


@given(distances, ratios, st.randoms(use_true_random=False))
def test_believing_does_not_ask_for_the_order_of_the_cases(
    distance: np.ndarray, ratio: float, random: object
) -> None:
    order = list(range(len(distance)))
    random.shuffle(order)  # type: ignore[attr-defined]
    believed = believed_masks(distance, ratio)
    np.testing.assert_array_equal(believed_masks(distance[order], ratio), believed[order])


@given(distances, ratios, ratios)
def test_who_doubts_less_believes_more(distance: np.ndarray, one: float, other: float) -> None:
    strict = believed_masks(distance, min(one, other))
    lenient = believed_masks(distance, max(one, other))
    assert (lenient | ~strict).all()


def test_flag_doubted_by_hand() -> None:
    given_labels = np.array([[1, 0, 1], [1, 0, IGNORED]], dtype=np.uint8)
    predicted = np.array([[1, 1, 0], [0, 0, 1]], dtype=np.uint8)
    for believed, expected in (
        ([True, True], [[0, 0, 0], [0, 0, 0]]),
        ([False, True], [[0, 1, 1], [0, 0, 0]]),
        ([False, False], [[0, 1, 1], [1, 0, 0]]),
    ):
        flagged = flag_doubted(given_labels, predicted, np.array(believed), OVERLAPPING)
        assert flagged.dtype == np.dtype(bool)
        assert flagged.astype(int).tolist() == expected


def test_flag_doubted_takes_any_number_of_axes() -> None:
    volume = np.zeros((2, 2, 3, 4), dtype=np.uint8)
    flagged = flag_doubted(volume, volume + 1, np.array([True, False]), OVERLAPPING)
    assert not flagged[0].any()
    assert flagged[1].all()


def test_in_exclusive_labels_a_doubted_structure_leaves_the_others_alone() -> None:
    given_labels = np.array([[0, 1, 1, 2, 2, 2, 0, IGNORED]], dtype=np.uint8)
    predicted = np.array([[1, 1, 0, 0, 1, 2, 2, 1]], dtype=np.uint8)
    for believed, expected in (
        ([True, True], [0, 0, 0, 0, 0, 0, 0, 0]),
        # given as it or predicted as it: also where the other one was given, but not elsewhere
        ([False, True], [1, 0, 1, 0, 1, 0, 0, 0]),
        ([True, False], [0, 0, 0, 1, 1, 0, 1, 0]),
        ([False, False], [1, 0, 1, 1, 1, 0, 1, 0]),
    ):
        flagged = flag_doubted(given_labels, predicted, np.array(believed), EXCLUSIVE)
        assert flagged.astype(int).tolist() == [expected]


def test_in_doubt_by_hand() -> None:
    given_labels = np.array([[0, 1, 2, 0, IGNORED]], dtype=np.uint8)
    predicted = np.array([[1, 2, 2, 0, 1]], dtype=np.uint8)
    doubted = in_doubt(given_labels, predicted, np.array([False, True]), EXCLUSIVE)
    assert doubted.astype(int).tolist() == [[1, 1, 0, 0, 1]]
    planes = np.zeros((2, 1, 3), dtype=np.uint8)
    doubted = in_doubt(planes, planes, np.array([False, True]), OVERLAPPING)
    assert doubted.astype(int).tolist() == [[[1, 1, 1]], [[0, 0, 0]]]


def test_each_structure_of_exclusive_labels_has_its_own_distance() -> None:
    given_labels = np.array([[1, 1, 2, 2, 0, 0]], dtype=np.uint8)
    predicted = np.array([[1, 1, 0, 0, 2, 2]], dtype=np.uint8)
    mismatch = mask_mismatch(given_labels, predicted, EXCLUSIVE)[None]
    assert structure_distance(mismatch).tolist() == [[0, 1]]
    assert mask_distance(mismatch, EXCLUSIVE).tolist() == [[0.5]]
    nothing = np.full((1, 6), IGNORED, dtype=np.uint8)
    assert np.isnan(structure_distance(mask_mismatch(nothing, predicted, EXCLUSIVE)[None])).all()


def test_a_mask_far_off_is_doubted_where_all_others_agree_perfectly() -> None:
    distance = np.array([0.0, 0.0, 0.5, 0.0, np.nan])[:, None]
    believed = believed_masks(distance, 1.65, zeros_are_empty=False)[:, 0]
    assert believed.tolist() == [True, True, False, True, True]
    # where zeros may be empty masks, nothing is known of what is ordinary
    assert believed_masks(distance, 1.65).all()
