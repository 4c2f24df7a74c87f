"""All figures of one mask: by hand, emptiness, and ignored pixels."""

from __future__ import annotations

import math
from dataclasses import astuple

import numpy as np
import pytest
from hypothesis import given
from hypothesis.extra import numpy as hnp

from maskmend.arrays.scoring import MaskScores, score_mask

masks = hnp.arrays(bool, (4, 5))
NOTHING = np.zeros((4, 5), dtype=bool)
DIAGONAL = math.hypot(3, 4)


def test_by_hand() -> None:
    truth, prediction = NOTHING.copy(), NOTHING.copy()
    truth[1, 1:3] = True
    prediction[1, 2:4] = True
    # surfaces: the pixels themselves; each mask has one pixel in common and one a step away
    scores = score_mask(truth, prediction, NOTHING, (1.0, 2.0))
    assert scores.dice == 0.5
    assert scores.iou == pytest.approx(1 / 3)
    assert scores.hd95 == pytest.approx(1.9)
    assert scores.assd == 1


@pytest.mark.parametrize(
    ("truth", "prediction", "expected"),
    [
        (NOTHING, NOTHING, MaskScores(1, 1, 0, 0)),
        (~NOTHING, NOTHING, MaskScores(0, 0, DIAGONAL, DIAGONAL)),
        (NOTHING, ~NOTHING, MaskScores(0, 0, DIAGONAL, DIAGONAL)),
        (~NOTHING, ~NOTHING, MaskScores(1, 1, 0, 0)),
    ],
)
def test_emptiness(truth: np.ndarray, prediction: np.ndarray, expected: MaskScores) -> None:
    assert score_mask(truth, prediction, NOTHING, (1.0, 1.0)) == expected


def test_nothing_judged_has_no_score() -> None:
    assert all(map(math.isnan, astuple(score_mask(~NOTHING, NOTHING, ~NOTHING, (1.0, 1.0)))))


def test_a_structure_that_lies_in_ignored_pixels_is_not_missed() -> None:
    truth, ignored = NOTHING.copy(), NOTHING.copy()
    truth[0, 0] = ignored[0, 0] = True
    assert score_mask(truth, NOTHING, ignored, (1.0, 1.0)) == MaskScores(1, 1, 0, 0)


@given(masks, masks, masks, masks)
def test_what_lies_in_ignored_pixels_does_not_matter(
    truth: np.ndarray, prediction: np.ndarray, ignored: np.ndarray, other: np.ndarray
) -> None:
    scores = score_mask(truth, prediction, ignored, (1.0, 1.5))
    changed = score_mask(
        np.where(ignored, other, truth), np.where(ignored, ~other, prediction), ignored, (1.0, 1.5)
    )
    np.testing.assert_equal(astuple(changed), astuple(scores))


@given(masks, masks, masks)
def test_scores_are_symmetric_and_a_thin_volume_scores_as_its_picture(
    truth: np.ndarray, prediction: np.ndarray, ignored: np.ndarray
) -> None:
    scores = astuple(score_mask(truth, prediction, ignored, (1.0, 1.5)))
    np.testing.assert_allclose(astuple(score_mask(prediction, truth, ignored, (1.0, 1.5))), scores)
    thin = score_mask(truth[None], prediction[None], ignored[None], (9.0, 1.0, 1.5))
    np.testing.assert_allclose(astuple(thin), scores)
