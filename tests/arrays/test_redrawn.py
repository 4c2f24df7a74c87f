"""Doubted masks in the labels of a case: moved, blended with the prediction, or replaced by it."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from scipy import ndimage

from maskmend.arrays.blended import blended_mask, trust_in_prediction
from maskmend.arrays.redrawn import redrawn_labels
from maskmend.core import IGNORED, BoolArray, FloatArray, LabelArray, LabelScheme

OVERLAPPING = LabelScheme(("lung", "heart"), True)
EXCLUSIVE = LabelScheme(("front", "back"), False)
ONE = (1.0, 1.0)
CERTAIN = np.zeros(2)
"""Of predictions that take the place of a mask as they are."""


def disc(radius: float, centre: tuple[float, float] = (20, 20), size: int = 41) -> BoolArray:
    rows, columns = np.ogrid[:size, :size]
    found: BoolArray = (rows - centre[0]) ** 2 + (columns - centre[1]) ** 2 <= radius**2
    return found


def redraw(*arguments: Any) -> tuple[LabelArray, BoolArray, FloatArray]:
    found = redrawn_labels(*arguments)
    return found.labels, found.moved, found.trust


def dice(a: BoolArray, b: BoolArray) -> float:
    return float(2 * (a & b).sum() / (a.sum() + b.sum()))


class TestMoved:
    truth = disc(10)
    wide = disc(14)

    def test_a_moved_mask_takes_the_place_of_the_prediction(self) -> None:
        rough = self.truth & ~disc(2, (11, 20))
        given = np.stack([self.wide, self.wide]).astype(np.uint8)
        predicted = np.stack([rough, rough]).astype(np.uint8)
        limits = np.array([0.1, -1.0])
        labels, moved, trusts = redraw(given, predicted, limits, CERTAIN, OVERLAPPING, ONE)
        assert moved.tolist() == [True, False]
        assert np.isnan(trusts).all()
        assert dice(labels[0] == 1, self.truth) > dice(rough, self.truth)
        # what is believed, or not to be moved, stays predicted
        assert (labels[1] == predicted[1]).all()

    def test_a_mask_that_does_not_come_to_agree_stays_replaced(self) -> None:
        elsewhere = disc(10, (20, 28))
        given = np.stack([elsewhere, elsewhere]).astype(np.uint8)
        predicted = np.stack([self.truth, self.truth]).astype(np.uint8)
        labels, moved, _ = redraw(given, predicted, np.array([0.1, 0.1]), CERTAIN, OVERLAPPING, ONE)
        assert (labels == predicted).all()
        assert not moved.any()

    def test_exclusive_structures_keep_out_of_each_other(self) -> None:
        given, predicted = np.zeros((2, 1, 41, 41), np.uint8)
        given[0][self.wide] = 1
        given[0, :, 36:] = 2
        predicted[0][self.truth] = 1
        predicted[0, :, 36:] = 2
        labels, _, _ = redraw(given, predicted, np.array([0.1, -1.0]), CERTAIN, EXCLUSIVE, ONE)
        assert dice(labels[0] == 1, self.truth) > 0.97
        assert (labels[0, :, 36:] == 2).all()

    def test_ignored_pixels_are_not_given_away(self) -> None:
        given = np.zeros((1, 41, 41), np.uint8)
        given[0][self.wide] = 1
        given[0, :8] = IGNORED
        predicted = np.zeros_like(given)
        predicted[0][self.truth] = 1
        labels, _, _ = redraw(given, predicted, np.array([0.2, -1.0]), CERTAIN, EXCLUSIVE, ONE)
        assert (labels[0, :8] == predicted[0, :8]).all()


class TestBlended:
    given_mask = disc(10, (20, 24))
    found = disc(10, (20, 14))
    # Dice 0.42 of the two: too far apart to be moved
    limits = np.array([0.1, 0.1])

    def labels(self, mask: BoolArray) -> np.ndarray:
        return np.stack([mask, mask]).astype(np.uint8)

    def test_a_doubted_mask_is_drawn_between_itself_and_the_prediction(self) -> None:
        given, predicted = self.labels(self.given_mask), self.labels(self.found)
        expected = np.array([0.2, 0.0])
        labels, moved, trusts = redraw(given, predicted, self.limits, expected, OVERLAPPING, ONE)
        assert not moved.any()
        trust = trust_in_prediction(1 - dice(self.given_mask, self.found), 0.2)
        assert 0.5 < trust < 0.9
        wanted, _ = blended_mask(self.given_mask, self.found, trust, ONE)
        assert (labels[0] == wanted).all()
        assert trusts.tolist() == [trust, 1]
        assert dice(wanted, self.found) < 0.98
        assert dice(wanted, self.given_mask) > dice(self.found, self.given_mask)
        # certain predictions take the place of the mask
        assert (labels[1] == predicted[1]).all()

    def test_a_prediction_that_is_as_bad_as_they_differ_counts_for_nothing(self) -> None:
        given, predicted = self.labels(self.given_mask), self.labels(self.found)
        expected = np.array([0.7, 0.7])
        labels, _, _ = redraw(given, predicted, self.limits, expected, OVERLAPPING, ONE)
        assert (labels == given).all()

    def test_a_mask_that_can_be_moved_is_not_blended(self) -> None:
        wide = ndimage.distance_transform_edt(~self.found) <= 4
        given, predicted = self.labels(wide), self.labels(self.found)
        expected = np.array([0.2, 0.2])
        for move in (True, False):
            labels, moved, _ = redraw(
                given, predicted, self.limits, expected, OVERLAPPING, ONE, move
            )
            assert moved.tolist() == [move, move]
            assert (dice(labels[0] == 1, self.found) > 0.97) == move

    def test_believed_masks_are_not_looked_at(self) -> None:
        given, predicted = self.labels(self.given_mask), self.labels(self.found)
        limits, expected = np.array([-1.0, 0.1]), np.array([0.2, 0.2])
        labels, _, _ = redraw(given, predicted, limits, expected, OVERLAPPING, ONE)
        assert (labels[0] == predicted[0]).all()
        assert (labels[1] != predicted[1]).any()

    def test_exclusive_structures_keep_out_of_each_other(self) -> None:
        given, predicted = np.zeros((2, 1, 41, 41), np.uint8)
        given[0][self.given_mask] = 1
        given[0, :, 36:] = 2
        predicted[0][self.found] = 1
        predicted[0, :, 36:] = 2
        limits, expected = np.array([0.1, -1.0]), np.array([0.2, 0.0])
        labels, _, _ = redraw(given, predicted, limits, expected, EXCLUSIVE, ONE)
        assert (labels[0, :, 36:] == 2).all()
        trust = trust_in_prediction(1 - dice(self.given_mask, self.found), 0.2)
        wanted, _ = blended_mask(self.given_mask, self.found, trust, ONE)
        assert ((labels[0] == 1) == wanted).all()

    @pytest.mark.parametrize("what", ["given", "predicted"])
    def test_a_missing_or_a_surplus_mask_is_as_predicted(self, what: str) -> None:
        nothing = np.zeros_like(self.found)
        pair = (nothing, self.found) if what == "given" else (self.given_mask, nothing)
        labels, moved, _ = redraw(
            self.labels(pair[0]), self.labels(pair[1]), self.limits, np.array([0.3, 0.3]),
            OVERLAPPING, ONE,
        )  # fmt: skip
        assert (labels == self.labels(pair[1])).all()
        assert not moved.any()

    def test_ignored_pixels_take_no_part(self) -> None:
        given, predicted = self.labels(self.given_mask), self.labels(self.found)
        given[:, :15] = IGNORED
        expected = np.array([0.2, 0.2])
        labels, _, _ = redraw(given, predicted, self.limits, expected, OVERLAPPING, ONE)
        assert (labels[:, :15] == predicted[:, :15]).all()
        changed = predicted.copy()
        changed[:, :15] = 1 - changed[:, :15]
        again, _, _ = redraw(given, changed, self.limits, expected, OVERLAPPING, ONE)
        assert (again[:, 15:] == labels[:, 15:]).all()
