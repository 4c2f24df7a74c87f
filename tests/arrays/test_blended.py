"""Between a mask and its prediction: how far each is trusted, and what lies between them."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given as examples
from hypothesis import strategies as st
from scipy import ndimage

from maskmend.arrays.blended import (
    blended_mask,
    expected_distance,
    self_distance,
    trust_in_prediction,
)
from maskmend.core import IGNORED, BoolArray, LabelScheme

OVERLAPPING = LabelScheme(("lung", "heart"), True)
EXCLUSIVE = LabelScheme(("front", "back"), False)
ONE = (1.0, 1.0)


def disc(radius: float, centre: tuple[float, float] = (20, 20), size: int = 41) -> BoolArray:
    rows, columns = np.ogrid[:size, :size]
    found: BoolArray = (rows - centre[0]) ** 2 + (columns - centre[1]) ** 2 <= radius**2
    return found


def blend(given: BoolArray, predicted: BoolArray, trust: float) -> BoolArray:
    return blended_mask(given, predicted, trust, ONE)[0]


class TestSelfDistance:
    probs = np.array([[0.9, 0.8, 0.3, 0.0], [0.1, 0.2, 0.1, 0.0]])

    def test_by_hand(self) -> None:
        predicted = (self.probs > 0.5).astype(np.uint8)
        found = self_distance(self.probs, predicted, np.zeros_like(predicted), OVERLAPPING)
        # 1.7 of the 2.0 that are expected in all, and of the 2 pixels drawn
        assert found[0] == pytest.approx(1 - 2 * 1.7 / (2.0 + 2))
        # nothing is drawn, so there is nothing to be sure of
        assert np.isnan(found[1])

    def test_ignored_pixels_do_not_count(self) -> None:
        predicted = (self.probs > 0.5).astype(np.uint8)
        given = np.zeros_like(predicted)
        given[:, 1] = IGNORED
        found = self_distance(self.probs, predicted, given, OVERLAPPING)
        assert found[0] == pytest.approx(1 - 2 * 0.9 / (1.2 + 1))

    def test_exclusive_and_quantised(self) -> None:
        probs = np.array([[0.2, 0.4, 1.0], [0.6, 0.2, 0.0], [0.2, 0.4, 0.0]])
        predicted, given = np.array([[1, 0, 0]], np.uint8), np.zeros((1, 3), np.uint8)
        found = self_distance(probs, predicted, given, EXCLUSIVE)
        assert found[0] == pytest.approx(1 - 2 * 0.6 / (0.8 + 1))
        assert np.isnan(found[1])
        bytes_ = self_distance((probs * 255).astype(np.uint8), predicted, given, EXCLUSIVE)
        assert bytes_[0] == pytest.approx(found[0], abs=0.01)

    def test_certain_probabilities_expect_no_error(self) -> None:
        mask = disc(5)[None].astype(np.uint8)
        scheme = LabelScheme(("lung",), True)
        assert self_distance(mask.astype(float), mask, mask, scheme) == pytest.approx(0)


class TestExpectedDistance:
    def test_by_hand(self) -> None:
        selves = np.array([[0.1], [0.2], [0.4], [np.nan]])
        believed = np.array([[True], [True], [False], [False]])
        found = expected_distance(selves, believed, np.array([0.06]))
        # the median of the believed ones is 0.15; what nothing is known of is ordinary
        np.testing.assert_allclose(found[:, 0], [0.04, 0.08, 0.16, 0.06])

    def test_where_all_are_certain_all_are_ordinary(self) -> None:
        found = expected_distance(np.zeros((3, 1)), np.ones((3, 1), bool), np.array([0.06]))
        assert (found == 0.06).all()

    def test_where_none_is_believed_all_are_ordinary(self) -> None:
        found = expected_distance(np.full((3, 1), 0.2), np.zeros((3, 1), bool), np.array([0.06]))
        assert (found == 0.06).all()


class TestTrust:
    @pytest.mark.parametrize(
        ("distance", "expected", "trust"),
        [(0.3, 0.1, 0.8), (0.2, 0.1, 0.5), (0.1, 0.1, 0), (0.05, 0.1, 0), (0.4, 0, 1), (0, 0, 1)],
    )
    def test_by_hand(self, distance: float, expected: float, trust: float) -> None:
        assert trust_in_prediction(distance, expected) == pytest.approx(trust)

    @examples(st.floats(0, 1), st.floats(0, 1), st.floats(0, 1))
    def test_more_disagreement_is_the_fault_of_the_mask(
        self, first: float, second: float, expected: float
    ) -> None:
        less, more = sorted((first, second))
        assert trust_in_prediction(less, expected) <= trust_in_prediction(more, expected) + 1e-12


class TestBlendedMask:
    given, predicted = disc(10, (20, 23)), disc(8, (20, 18))

    def test_the_ends_are_the_masks_themselves(self) -> None:
        assert (blend(self.given, self.predicted, 1.0) == self.predicted).all()
        assert (blend(self.given, self.predicted, 0.0) == self.given).all()

    def test_half_way_between_two_discs_of_one_centre(self) -> None:
        half = blend(disc(12), disc(8), 0.5)
        assert half.sum() == pytest.approx(disc(10).sum(), rel=0.1)

    @pytest.mark.parametrize("trust", [0.2, 0.5, 0.9])
    def test_as_on_the_whole_grid(self, trust: float) -> None:
        reach = 0.5 * np.sqrt(self.predicted.sum() / np.pi)
        depths = [
            np.clip(
                ndimage.distance_transform_edt(mask) - ndimage.distance_transform_edt(~mask),
                -reach, reach,
            )
            for mask in (self.given, self.predicted)
        ]  # fmt: skip
        wanted = (1 - trust) * depths[0] + trust * depths[1] > 0
        assert (blend(self.given, self.predicted, trust) == wanted).all()

    @examples(st.integers(0, 10_000), st.floats(0, 1))
    def test_it_lies_between_them(self, seed: int, trust: float) -> None:
        rng = np.random.default_rng(seed)
        smooth = ndimage.gaussian_filter(rng.random((2, 24, 24)), (0, 2, 2))
        drawn, found = smooth > np.quantile(smooth, rng.uniform(0.4, 0.95))
        blended = blend(drawn, found, trust)
        assert not (blended & ~(drawn | found)).any()
        if (drawn & found).any():
            assert (blended | ~(drawn & found)).all()

    def test_of_masks_far_from_each_other_the_predicted_one_remains(self) -> None:
        left, right = disc(4, (20, 6)), disc(4, (20, 34))
        assert (blend(left, right, 0.9) & ~right).sum() == 0
        mask, trust = blended_mask(left, right, 0.5, ONE)
        assert (mask == right).all()
        assert trust == 1

    @pytest.mark.parametrize("empty", ["given", "predicted", "full"])
    def test_nothing_between(self, empty: str) -> None:
        nothing = np.zeros_like(self.given)
        pairs = {
            "given": (nothing, self.predicted), "predicted": (self.given, nothing),
            "full": (~nothing, self.predicted),
        }  # fmt: skip
        drawn, found = pairs[empty]
        assert (blend(drawn, found, 0.5) == found).all()

    def test_the_pixels_have_sizes(self) -> None:
        wide = np.zeros((20, 40), bool)
        wide[4:16, 8:32] = True
        narrow = np.zeros((20, 40), bool)
        narrow[8:12, 16:24] = True
        blended, _ = blended_mask(wide, narrow, 0.5, (2.0, 1.0))
        rows, columns = np.flatnonzero(blended.any(axis=1)), np.flatnonzero(blended.any(axis=0))
        # 2 rows are as far as 4 columns
        assert abs(2 * len(rows) - len(columns)) <= 2
