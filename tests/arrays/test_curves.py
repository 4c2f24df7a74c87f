"""Precision and recall from counts that add up, beside the exact ranking."""

from __future__ import annotations

import numpy as np
import pytest

from maskmend.arrays.curves import STEPS, RankedCounts, count_ranked
from maskmend.arrays.overlap import average_precision
from maskmend.errors import GridMismatchError


def counts(truth: list[int], scores: list[float], ignored: list[int] | None = None) -> RankedCounts:
    hidden = np.zeros(len(truth), bool) if ignored is None else np.array(ignored, bool)
    return count_ranked(np.array(truth, bool), np.array(scores, np.float32), hidden)


def test_curve_by_hand() -> None:
    found = counts([1, 0, 1, 0], [0.75, 0.5, 0.5, 0.25])
    recall, precision = found.curve()
    # 0.75: one, right; 0.5: two more, a right one and a wrong one; 0.25: the last
    assert recall.tolist() == [0.5, 1.0, 1.0]
    assert precision.tolist() == [1.0, 2 / 3, 0.5]
    assert found.average_precision == pytest.approx(0.5 * 1 + 0.5 * 2 / 3)
    assert found.precision_at(np.array([0.1, 0.5, 0.6, 1.0])).tolist() == [1.0, 1.0, 2 / 3, 2 / 3]


def test_ignored_pixels_do_not_count() -> None:
    alone = counts([1, 0], [0.5, 0.25])
    beside = counts([1, 0, 1, 0], [0.5, 0.25, 0.0, 1.0], [0, 0, 1, 1])
    assert (alone.positive == beside.positive).all()
    assert (alone.negative == beside.negative).all()


def test_counts_add_up_and_equal_the_exact_ranking() -> None:
    rng = np.random.default_rng(0)
    truth = rng.random((3, 40, 50)) < 0.2
    steps = np.clip(rng.normal(0.3 + 0.3 * truth, 0.2), 0, 1)
    scores = (np.rint(steps * STEPS) / STEPS).astype(np.float32)
    ignored = rng.random(truth.shape) < 0.1
    total = sum(map(count_ranked, truth, scores, ignored), RankedCounts.none())
    assert total.average_precision == pytest.approx(average_precision(truth, scores, ignored))
    whole = count_ranked(truth, scores, ignored)
    assert (total.positive == whole.positive).all()
    assert (total.negative == whole.negative).all()


def test_without_anything_to_find_there_is_no_curve() -> None:
    nothing = counts([0, 0], [0.5, 0.25])
    assert nothing.curve()[0].size == 0
    assert np.isnan(nothing.average_precision)
    assert np.isnan(nothing.precision_at(np.array([0.5]))).all()


def test_another_shape_is_refused() -> None:
    with pytest.raises(GridMismatchError, match="the shape of the truth"):
        count_ranked(np.zeros((2, 2), bool), np.zeros(4, np.float32), np.zeros((2, 2), bool))
