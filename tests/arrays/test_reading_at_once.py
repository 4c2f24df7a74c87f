"""What is read in blocks or looked up gives the same as the plain way."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from maskmend.arrays import kernels
from maskmend.arrays.agreement import count_pairs, mask_mismatch, predicted_labels
from maskmend.arrays.correction import suggested_classes, suggested_where
from maskmend.arrays.overlap import count_overlap
from maskmend.core import IGNORED, LabelScheme

ALL_HALVES = np.arange(1 << 16, dtype=np.uint16).view(np.float16)
EXCLUSIVE = LabelScheme(("a", "b", "c"), overlapping=False)
OVERLAPPING = LabelScheme(("a", "b"), overlapping=True)


@pytest.mark.parametrize("part", ["all", "from 0 to 65504", "subnormal", "negative", "read-only"])
def test_halves_are_widened_exactly(part: str) -> None:
    halves = {
        "all": ALL_HALVES, "from 0 to 65504": ALL_HALVES[:0x7C00], "subnormal": ALL_HALVES[:1024],
        "negative": ALL_HALVES[0x8000:0x8100], "read-only": ALL_HALVES[:0x3C01].copy(),
    }[part]  # fmt: skip
    rows = np.stack([halves, halves[::-1]])
    if part == "read-only":
        rows.flags.writeable = False
    values = np.empty(rows.shape, np.float32)
    kernels.widen(rows, values)
    np.testing.assert_array_equal(values, rows.astype(np.float32))
    # of rows that are not one piece of memory
    values = np.empty((2, (rows.shape[1] + 1) // 2), np.float32)
    kernels.widen(rows[:, ::2], values)
    np.testing.assert_array_equal(values, rows[:, ::2].astype(np.float32))


def likely(dtype: Any, classes: int = 4) -> NDArray[Any]:
    """Probabilities with many ties, more than a block of them."""
    rng = np.random.default_rng(0)
    raw = rng.integers(0, 4, (classes, 5, 100, 90)) / 4
    return (raw * 200).astype(dtype) if np.dtype(dtype).kind == "u" else raw.astype(dtype)


@pytest.mark.parametrize("dtype", [np.float16, ">f2", np.float32, np.float64, np.uint8, np.uint16])
@pytest.mark.parametrize("view", ["whole", "reversed", "transposed"])
def test_the_most_probable_label_is_that_of_argmax(dtype: Any, view: str) -> None:
    probs = likely(dtype)
    if view == "reversed":
        probs = probs[:, ::-1, :, ::-1]
    if view == "transposed":
        probs = probs.transpose(0, 3, 2, 1)
    found = predicted_labels(probs, EXCLUSIVE)
    assert found.dtype == np.uint8
    np.testing.assert_array_equal(found, probs.argmax(axis=0, keepdims=True))


def test_negative_zero_and_less_are_no_winners() -> None:
    probs = np.array([[-0.0, -0.5, 0.0], [0.0, -0.25, -0.0], [-1, -1, -1]], np.float16)
    found = predicted_labels(probs, LabelScheme(("a", "b"), overlapping=False))
    np.testing.assert_array_equal(found[0], [0, 1, 0])


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.uint8, np.uint16])
def test_overlapping_structures_above_a_half(dtype: Any) -> None:
    top = np.iinfo(dtype).max if np.dtype(dtype).kind == "u" else 1
    values = np.array([0, 0.49, 0.51, 1]) * top
    probs = np.stack([values, values[::-1]]).astype(dtype)
    found = predicted_labels(probs, OVERLAPPING)
    np.testing.assert_array_equal(found, [[0, 0, 1, 1], [1, 1, 0, 0]])


def test_exactly_a_half_is_background() -> None:
    probs = np.full((2, 3), 0.5, np.float16)
    assert not predicted_labels(probs, OVERLAPPING).any()


@pytest.mark.parametrize("shape", [(7,), (3, 5), (40, 50, 60), (0, 4)])
def test_pairs_are_counted_one_by_one(shape: tuple[int, ...]) -> None:
    rng = np.random.default_rng(1)
    given, predicted = rng.integers(0, 256, (2, *shape)).astype(np.uint8)
    pairs = count_pairs(given, predicted)
    slow = np.zeros((256, 256), np.int64)
    np.add.at(slow, (given.ravel(), predicted.ravel()), 1)
    np.testing.assert_array_equal(pairs, slow)
    np.testing.assert_array_equal(count_pairs(given.T, predicted.T), slow)


def test_a_mismatch_is_that_of_the_masks_one_by_one() -> None:
    rng = np.random.default_rng(2)
    given = rng.choice(np.array([0, 1, 2, IGNORED], np.uint8), (1, 20, 30))
    predicted = rng.choice(np.array([0, 1, 2], np.uint8), (1, 20, 30))
    found = mask_mismatch(given, predicted, EXCLUSIVE)
    for k, (size, place) in enumerate(found, start=1):
        counts = count_overlap(given[0] == k, predicted[0] == k, given[0] == IGNORED)
        if k == 3:  # nobody has it
            assert np.isnan(size)
            assert place == 0
        else:
            assert abs(size) + place == pytest.approx(1 - counts.dice)


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.uint8])
@pytest.mark.parametrize("two_classes", [False, True])
def test_suggestions_where_flagged_are_those_of_all_pixels(dtype: Any, two_classes: bool) -> None:
    rng = np.random.default_rng(3)
    probs = likely(dtype)[0] if two_classes else likely(dtype)
    shape = probs.shape[-3:]
    labels = rng.integers(0, 2 if two_classes else 4, shape).astype(np.uint8)
    labels[rng.random(shape) < 0.1] = IGNORED
    for share in (0.0, 0.2, 1.0):
        flagged = rng.random(shape) < share
        expected = suggested_classes(labels, probs, ignore=IGNORED)[flagged]
        found = suggested_where(labels, flagged, probs, ignore=IGNORED)
        np.testing.assert_array_equal(found, expected)
