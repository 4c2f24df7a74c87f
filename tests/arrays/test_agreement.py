"""Which masks to believe: agreement by hand, the limit by hand and by a slow loop."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from maskmend.arrays.agreement import (
    believed_masks,
    flag_doubted,
    mask_agreement,
    predicted_labels,
)
from maskmend.core import IGNORED, LabelScheme

OVERLAPPING = LabelScheme(("lung", "heart"), overlapping=True)
EXCLUSIVE = LabelScheme(("lung", "heart"), overlapping=False)

label_values = st.sampled_from([0, 1, 2, IGNORED])
agreements = hnp.arrays(
    np.float64, st.tuples(st.integers(1, 15), st.integers(1, 3)),
    elements=st.floats(0, 1) | st.just(np.nan),
)  # fmt: skip
ratios = st.floats(1.1, 5)


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


def test_believed_masks_by_hand() -> None:
    # the best three of ten: 0.9, 0.875, 0.85, so 0.125 is ordinary and 0.25 is the limit
    column = [0.9, 0.875, 0.85, 0.8, 0.75, 0.7499, 0.6, 0.3, 0.1, 0.0]
    believed = believed_masks(np.array(column)[:, None], ratio=2)
    assert believed[:, 0].tolist() == [True] * 5 + [False] * 5


def test_near_perfect_agreement_doubts_nothing() -> None:
    column = np.array([1.0, 1.0, 1.0, 0.999, 0.99, 0.981, 0.97])
    assert believed_masks(column[:, None], ratio=2)[:, 0].tolist() == [True] * 6 + [False]


def test_empty_masks_do_not_say_what_is_ordinary() -> None:
    # of 0.8, 0.75, 0.3 the best is ordinary: 0.2; the limit is 0.3
    column = np.array([1.0, 1.0, 1.0, 1.0, 0.8, 0.75, 0.3])
    assert believed_masks(column[:, None], ratio=1.5)[:, 0].tolist() == [True] * 6 + [False]


def test_a_mask_without_a_score_is_believed_and_tells_nothing() -> None:
    scores = np.array([[np.nan, 0.9], [np.nan, np.nan], [np.nan, 0.1]])
    assert believed_masks(scores, ratio=2).tolist() == [[True, True], [True, True], [True, False]]
    assert believed_masks(np.empty((0, 2)), ratio=2).shape == (0, 2)


def slow_believed(column: list[float], ratio: float) -> list[bool]:
    known = sorted(1 - dice for dice in column if not math.isnan(dice) and dice < 1)
    if not known:
        return [True] * len(column)
    best = known[: max(1, math.floor(0.3 * len(known)))]
    half = len(best) // 2
    median = best[half] if len(best) % 2 else (best[half - 1] + best[half]) / 2
    return [math.isnan(dice) or 1 - dice <= ratio * max(median, 0.01) for dice in column]


@given(agreements, ratios)
def test_believed_masks_against_a_slow_loop(agreement: np.ndarray, ratio: float) -> None:
    expected = [slow_believed(column.tolist(), ratio) for column in agreement.T]
    assert believed_masks(agreement, ratio).T.tolist() == expected


@given(agreements, ratios, st.randoms(use_true_random=False))
def test_believing_does_not_ask_for_the_order_of_the_cases(
    agreement: np.ndarray, ratio: float, random: object
) -> None:
    order = list(range(len(agreement)))
    random.shuffle(order)  # type: ignore[attr-defined]
    believed = believed_masks(agreement, ratio)
    np.testing.assert_array_equal(believed_masks(agreement[order], ratio), believed[order])


@given(agreements, ratios, ratios)
def test_who_doubts_less_believes_more(agreement: np.ndarray, one: float, other: float) -> None:
    strict = believed_masks(agreement, min(one, other))
    lenient = believed_masks(agreement, max(one, other))
    assert (lenient | ~strict).all()


def test_flag_doubted_by_hand() -> None:
    given_labels = np.array([[1, 0, 1], [1, 0, IGNORED]], dtype=np.uint8)
    predicted = np.array([[1, 1, 0], [0, 0, 1]], dtype=np.uint8)
    for believed, expected in (
        ([True, True], [[0, 0, 0], [0, 0, 0]]),
        ([False, True], [[0, 1, 1], [0, 0, 0]]),
        ([False, False], [[0, 1, 1], [1, 0, 0]]),
    ):
        flagged = flag_doubted(given_labels, predicted, np.array(believed))
        assert flagged.dtype == np.dtype(bool)
        assert flagged.astype(int).tolist() == expected


def test_flag_doubted_takes_any_number_of_axes() -> None:
    volume = np.zeros((2, 2, 3, 4), dtype=np.uint8)
    flagged = flag_doubted(volume, volume + 1, np.array([True, False]))
    assert not flagged[0].any()
    assert flagged[1].all()
