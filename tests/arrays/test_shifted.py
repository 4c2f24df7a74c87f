"""Shifts of predicted boundaries: measured by hand, and taken back."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy import ndimage

from maskmend.arrays.shifted import boundary_shift, shifted_labels
from maskmend.core import BoolArray, LabelScheme

ONE = LabelScheme(("disc",), overlapping=True)
CLASSES = LabelScheme(("left", "right"), overlapping=False)
EVERYWHERE = np.ones((40, 40), bool)
PIXELS = (1.0, 1.0)


def square(low: int, high: int) -> BoolArray:
    mask = np.zeros((40, 40), bool)
    mask[low:high, low:high] = True
    return mask


def ball(radius: float, shape: tuple[int, ...], steps: tuple[float, ...]) -> BoolArray:
    places = np.meshgrid(*[np.arange(n) - n // 2 for n in shape], indexing="ij")
    return np.asarray(sum((x * s) ** 2 for x, s in zip(places, steps, strict=True)) <= radius**2)


@pytest.mark.parametrize("wider", [-3, -1, 0, 1, 4])
def test_a_band_that_is_wider_on_both_sides(wider: int) -> None:
    truth, predicted = np.zeros((2, 40, 5), bool)
    truth[15:25], predicted[15 - wider : 25 + wider] = True, True
    assert boundary_shift(predicted, truth, np.ones_like(truth), PIXELS) == pytest.approx(wider)
    found = shifted_labels(
        predicted[None].astype(np.uint8), np.zeros((1, 40, 5), np.uint8), np.array([wider]),
        ONE, PIXELS,
    )  # fmt: skip
    np.testing.assert_array_equal(found[0], truth)


@pytest.mark.parametrize(
    ("shape", "steps"), [((48, 48), (1.0, 1.0)), ((16, 40, 40), (3.0, 1.0, 1.0))]
)
@pytest.mark.parametrize("wider", [-2.0, 3.0])
def test_balls_in_units_of_the_steps(
    wider: float, shape: tuple[int, ...], steps: tuple[float, ...]
) -> None:
    truth, predicted = (ball(radius, shape, steps) for radius in (11.0, 11.0 + wider))
    shift = boundary_shift(predicted, truth, np.ones(shape, bool), steps)
    assert shift == pytest.approx(wider, abs=0.7)
    found = shifted_labels(
        predicted[None].astype(np.uint8), np.zeros((1, *shape), np.uint8), np.array([shift]),
        LabelScheme(("ball",), overlapping=True), steps,
    )[0].astype(bool)  # fmt: skip
    before, after = ((truth ^ mask).sum() for mask in (predicted, found))
    assert after < 0.45 * before


def test_ignored_pixels_have_no_say() -> None:
    truth, predicted = square(10, 20), square(10, 20)
    predicted[20:30, 10:20] = True
    judged = EVERYWHERE.copy()
    judged[19:] = False
    assert boundary_shift(predicted, truth, EVERYWHERE, PIXELS) > 0.5
    assert boundary_shift(predicted, truth, judged, PIXELS) == pytest.approx(0, abs=0.1)


def test_without_a_boundary_nothing_is_known() -> None:
    nothing, truth = np.zeros((40, 40), bool), square(10, 20)
    for predicted, drawn in ((nothing, truth), (truth, nothing), (EVERYWHERE, truth)):
        assert math.isnan(boundary_shift(predicted, drawn, EVERYWHERE, PIXELS))
    assert math.isnan(boundary_shift(truth, truth, nothing, PIXELS))
    labels = np.stack([nothing]).astype(np.uint8)
    np.testing.assert_array_equal(shifted_labels(labels, labels, np.array([2.0]), ONE, PIXELS), 0)


def test_where_the_shift_is_unknown_labels_stay_as_given() -> None:
    predicted, given = (mask[None].astype(np.uint8) for mask in (square(5, 20), square(8, 30)))
    found = shifted_labels(predicted, given, np.array([math.nan]), ONE, PIXELS)
    np.testing.assert_array_equal(found, given)
    # of exclusive ones those of that structure alone
    given[0, 30:, :5] = 2
    predicted[0, 32:, :5] = 2
    found = shifted_labels(predicted, given, np.array([0.0, math.nan]), CLASSES, PIXELS)
    np.testing.assert_array_equal(found[0] == 2, given[0] == 2)
    np.testing.assert_array_equal(found[0] == 1, predicted[0] == 1)


def test_neighbours_take_what_is_given_up() -> None:
    # one on the left, the other on the right; the left one is two pixels too wide all around
    predicted = np.zeros((1, 20, 30), np.uint8)
    predicted[0, 4:16, 4:14], predicted[0, 4:16, 14:24] = 1, 2
    found = shifted_labels(predicted, predicted * 0, np.array([2.0, 0.0]), CLASSES, PIXELS)
    expected = np.zeros((20, 30), np.uint8)
    expected[4:16, 12:24] = 2
    expected[6:14, 6:12] = 1
    # what is given up goes to whatever is nearest, background or neighbour
    assert ((found[0] == 1) == (expected == 1)).all()
    assert (found[0, 6:14, 12:24] == 2).all()
    assert (found[0, 4:16, 4:6] == 0).all()
    # and growing into each other ends where each lies deepest
    both = shifted_labels(predicted, predicted * 0, np.array([-2.0, -2.0]), CLASSES, PIXELS)
    np.testing.assert_array_equal(both[0, 5:15, 2:26] == 1, np.tile(np.arange(2, 26) < 14, (10, 1)))
    wide = ndimage.distance_transform_edt(predicted[0] == 0) <= 2.5
    np.testing.assert_array_equal(both[0] > 0, wide)
