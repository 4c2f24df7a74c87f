"""Overlap scores: by hand, emptiness, additivity, and average precision against a slow loop."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from maskmend.arrays.overlap import Overlap, average_precision, count_overlap
from maskmend.errors import GridMismatchError

SCORES = ("dice", "iou", "precision", "recall", "f1")
counts = st.builds(Overlap, *(st.integers(0, 50) for _ in range(4)))


def test_three_by_three_by_hand() -> None:
    truth = np.array([[1, 1, 0], [1, 0, 0], [0, 0, 0]], dtype=bool)
    prediction = np.array([[1, 0, 0], [1, 0, 0], [0, 1, 1]], dtype=bool)
    overlap = count_overlap(truth, prediction)
    assert overlap == Overlap(tp=2, fp=2, fn=1, tn=4)
    assert overlap.dice == pytest.approx(4 / 7)
    assert overlap.f1 == pytest.approx(4 / 7)
    assert overlap.iou == pytest.approx(2 / 5)
    assert overlap.precision == pytest.approx(1 / 2)
    assert overlap.recall == pytest.approx(2 / 3)


def test_ignored_pixels_are_not_counted() -> None:
    truth = np.array([True, True, False, False])
    prediction = np.array([True, False, True, False])
    ignored = np.array([False, True, True, False])
    assert count_overlap(truth, prediction, ignored) == Overlap(tp=1, tn=1)


@pytest.mark.parametrize("score", SCORES)
def test_emptiness(score: str) -> None:
    empty, full = np.zeros(4, dtype=bool), np.ones(4, dtype=bool)
    assert getattr(count_overlap(empty, empty), score) == 1
    assert getattr(count_overlap(full, empty), score) == 0
    assert getattr(count_overlap(empty, full), score) == 0
    assert math.isnan(getattr(count_overlap(full, full, ignored=full), score))
    assert math.isnan(getattr(Overlap(), score))


@given(counts, counts, counts)
def test_counts_add_in_any_order(a: Overlap, b: Overlap, c: Overlap) -> None:
    assert (a + b) + c == c + (b + a)
    assert a + Overlap() == a


@given(hnp.arrays(bool, (3, 4, 5)), hnp.arrays(bool, (3, 4, 5)), hnp.arrays(bool, (3, 4, 5)))
def test_slices_add_up_to_the_volume(
    truth: np.ndarray, prediction: np.ndarray, ignored: np.ndarray
) -> None:
    parts = [count_overlap(t, p, i) for t, p, i in zip(truth, prediction, ignored, strict=True)]
    assert sum(parts, Overlap()) == count_overlap(truth, prediction, ignored)


@given(counts)
def test_scores_lie_between_0_and_1_and_agree(overlap: Overlap) -> None:
    if overlap == Overlap():
        return
    assert all(0 <= getattr(overlap, score) <= 1 for score in SCORES)
    assert overlap.dice == pytest.approx(2 * overlap.iou / (1 + overlap.iou))


def test_average_precision_by_hand() -> None:
    truth = np.array([True, False, True, False])
    # precision 1 at recall 1/2, then 2/3 at recall 1
    assert average_precision(truth, np.array([0.9, 0.8, 0.7, 0.1])) == pytest.approx(5 / 6)
    # all tied: one step, precision 1/2
    assert average_precision(truth, np.zeros(4)) == 0.5


def test_average_precision_of_nothing_to_find() -> None:
    scores = np.array([0.1, 0.9])
    assert math.isnan(average_precision(np.array([False, False]), scores))
    truth = np.array([True, False])
    assert math.isnan(average_precision(truth, scores, ignored=np.array([True, False])))


def slow_average_precision(truth: np.ndarray, scores: np.ndarray) -> float:
    area, recall_before = 0.0, 0.0
    for cut in sorted(set(scores.tolist()), reverse=True):
        claimed = scores >= cut
        found = (claimed & truth).sum()
        area += (found / truth.sum() - recall_before) * found / claimed.sum()
        recall_before = found / truth.sum()
    return area


@given(
    hnp.arrays(bool, 12).filter(lambda truth: truth.any()),
    hnp.arrays(np.float32, 12, elements=st.sampled_from([0, 0.25, 0.5, 0.75, 1])),
    st.permutations(range(12)),
)
def test_average_precision_against_the_slow_loop(
    truth: np.ndarray, scores: np.ndarray, order: list[int]
) -> None:
    area = average_precision(truth, scores)
    assert area == pytest.approx(slow_average_precision(truth, scores))
    assert average_precision(truth[order], scores[order]) == pytest.approx(area)
    with_more = np.append(truth, True), np.append(scores, np.float32(9))
    ignored = np.arange(13) == 12
    assert average_precision(*with_more, ignored) == pytest.approx(area)


def test_other_shapes_are_refused() -> None:
    square, row = np.zeros((2, 2), dtype=bool), np.zeros(4, dtype=bool)
    with pytest.raises(GridMismatchError):
        count_overlap(square, row)
    with pytest.raises(GridMismatchError):
        count_overlap(square, square, row)
    with pytest.raises(GridMismatchError):
        average_precision(square, row.astype(float))
