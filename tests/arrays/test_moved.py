"""Masks whose boundary is moved as a whole to where it agrees with the prediction."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given as examples
from hypothesis import strategies as st
from scipy import ndimage

from maskmend.arrays.moved import REACH, moved_mask
from maskmend.core import BoolArray

ONE = (1.0, 1.0)


def disc(radius: float, centre: tuple[float, float] = (20, 20), size: int = 41) -> BoolArray:
    rows, columns = np.ogrid[:size, :size]
    found: BoolArray = (rows - centre[0]) ** 2 + (columns - centre[1]) ** 2 <= radius**2
    return found


def all_of(mask: BoolArray) -> BoolArray:
    return np.ones_like(mask)


def dice(a: BoolArray, b: BoolArray) -> float:
    return float(2 * (a & b).sum() / (a.sum() + b.sum()))


def by_hand(mask: BoolArray, predicted: BoolArray) -> BoolArray:
    """Every threshold of the distance tried, one after the other."""
    depth = np.where(
        mask, ndimage.distance_transform_edt(mask), -ndimage.distance_transform_edt(~mask)
    )
    reach = REACH * math.sqrt(predicted.sum() / math.pi)
    tried = sorted((t for t in np.unique(depth) if abs(t) <= reach), key=lambda t: (abs(t), -t))
    best, found = -1.0, mask
    for threshold in tried:
        value = dice(depth >= threshold, predicted)
        if value > best + 1e-12:
            best, found = value, depth >= threshold
    return found


def test_a_mask_drawn_too_wide_is_moved_in() -> None:
    truth = disc(10)
    wide = ndimage.distance_transform_edt(~truth) <= 4
    moved = moved_mask(wide, truth, all_of(truth), ONE)
    assert dice(wide, truth) < 0.85
    assert dice(moved, truth) > 0.98


def test_a_mask_drawn_too_narrow_is_moved_out() -> None:
    truth = disc(10)
    narrow = ndimage.distance_transform_edt(truth) > 3
    assert dice(moved_mask(narrow, truth, all_of(truth), ONE), truth) > 0.98


def test_it_keeps_the_shape_that_was_drawn() -> None:
    # a notch that the prediction does not know survives the way out and back
    truth = disc(12) & ~disc(3, (20, 33))
    wide = ndimage.distance_transform_edt(~truth) <= 2
    moved = moved_mask(wide, disc(12), all_of(truth), ONE)
    assert dice(moved, truth) > dice(disc(12), truth)


def test_it_is_moved_no_further_than_the_reach() -> None:
    truth = disc(4)
    huge = ndimage.distance_transform_edt(~truth) <= 12
    moved = moved_mask(huge, truth, all_of(truth), ONE)
    # half of a radius of 4 off
    assert moved.sum() > 0.6 * huge.sum()


@pytest.mark.parametrize("empty", ["given", "predicted"])
def test_nothing_to_move(empty: str) -> None:
    nothing, something = np.zeros((9, 9), bool), disc(2, (4, 4), 9)
    pair = (nothing, something) if empty == "given" else (something, nothing)
    assert (moved_mask(pair[0], pair[1], all_of(nothing), ONE) == pair[0]).all()
    assert moved_mask(all_of(nothing), something, all_of(nothing), ONE).all()


def test_the_pixels_have_sizes() -> None:
    # 3 rows are as far as 6 columns
    truth = np.zeros((30, 60), bool)
    truth[10:20, 20:40] = True
    wide = ndimage.distance_transform_edt(~truth, sampling=(2.0, 1.0)) <= 4
    moved = moved_mask(wide, truth, all_of(truth), (2.0, 1.0))
    assert dice(moved, truth) > 0.95
    assert dice(moved_mask(wide, truth, all_of(truth), ONE), truth) < dice(moved, truth)


def test_ignored_pixels_have_no_say() -> None:
    truth, wide = disc(8), disc(12)
    judged = np.ones_like(truth)
    judged[:, :18] = False
    nonsense = truth.copy()
    nonsense[:, :18] = False
    assert (moved_mask(wide, nonsense, judged, ONE)[:, 18:] == truth[:, 18:]).mean() > 0.95


@examples(st.integers(0, 10_000))
def test_as_trying_every_threshold(seed: int) -> None:
    rng = np.random.default_rng(seed)
    smooth = ndimage.gaussian_filter(rng.random((2, 24, 24)), (0, 2, 2))
    drawn, predicted = smooth > np.quantile(smooth, rng.uniform(0.4, 0.95))
    if not (drawn.any() and predicted.any() and not drawn.all()):
        return
    moved = moved_mask(drawn, predicted, all_of(drawn), ONE)
    wanted = by_hand(drawn, predicted)
    assert dice(moved, predicted) == pytest.approx(dice(wanted, predicted))
    assert (moved == wanted).all()


@examples(st.integers(0, 10_000))
def test_a_picture_is_a_thin_volume(seed: int) -> None:
    rng = np.random.default_rng(seed)
    drawn, predicted = disc(rng.uniform(4, 9)), disc(rng.uniform(4, 9), (22, 19))
    flat = moved_mask(drawn, predicted, all_of(drawn), ONE)
    thick = moved_mask(drawn[None], predicted[None], all_of(drawn)[None], (3.0, *ONE))
    assert (thick[0] == flat).all()
