"""Mended labels: by hand, eps at its ends, ignored pixels, inputs unchanged."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from maskmend.arrays.correction import mend_hard, mend_soft, suggested_classes
from maskmend.errors import GridMismatchError, MaskValueError, SettingsError

LABELS = np.array([[0, 1, 2], [2, 1, 0], [0, 0, 255]], np.uint8)
FLAGGED = np.array([[1, 1, 0], [0, 0, 1], [0, 0, 0]], bool)
PROBS = np.array(
    [
        [[0.2, 0.5, 0.1], [0.3, 0.1, 0.1], [0.8, 0.6, 0.2]],
        [[0.5, 0.2, 0.1], [0.3, 0.8, 0.2], [0.1, 0.2, 0.2]],
        [[0.3, 0.3, 0.8], [0.4, 0.1, 0.7], [0.1, 0.2, 0.6]],
    ],
    np.float32,
)


def test_the_suggestion_is_the_most_probable_other_class() -> None:
    suggested = suggested_classes(LABELS, PROBS, ignore=255)
    assert suggested.tolist() == [[1, 0, 0], [0, 0, 2], [1, 1, 255]]
    assert suggested.dtype == np.uint8


def test_a_class_without_a_pixel_is_not_suggested() -> None:
    suggested = suggested_classes(
        LABELS, PROBS, thresholds=np.array([0.5, np.inf, 0.5]), ignore=255
    )
    assert suggested.tolist() == [[2, 0, 0], [0, 0, 2], [2, 2, 255]]


def test_without_another_class_the_label_stays() -> None:
    thresholds = np.array([0.5, np.inf])
    assert suggested_classes(
        np.array([0, 0]), np.array([0.9, 0.1]), thresholds=thresholds
    ).tolist() == [0, 0]


@pytest.mark.parametrize("dtype", [bool, np.uint8, np.int64])
def test_of_two_classes_the_other_is_suggested_by_the_foreground_alone(dtype: type) -> None:
    labels: NDArray[Any] = np.array([[0, 1], [1, 0]], dtype)
    foreground = np.array([[0.0, 1.0], [0.4, 0.6]])
    suggested = suggested_classes(labels, foreground)
    assert suggested.tolist() == [[1, 0], [0, 1]]
    assert suggested.dtype == dtype
    stacked = np.stack([1 - foreground, foreground], axis=-1)
    assert np.array_equal(suggested_classes(labels, stacked, class_axis=-1), suggested)


def test_hard_by_hand() -> None:
    mended = mend_hard(LABELS, FLAGGED, suggested_classes(LABELS, PROBS, ignore=255))
    assert mended.tolist() == [[1, 0, 2], [2, 1, 2], [0, 0, 255]]
    assert mended.dtype == LABELS.dtype


def test_soft_by_hand() -> None:
    suggested = suggested_classes(LABELS, PROBS, ignore=255)
    targets = mend_soft(LABELS, FLAGGED, suggested, num_classes=3, eps=0.75, ignore=255)
    assert targets.dtype == np.float32
    assert targets[0].tolist() == [[0.25, 0.75, 0], [0, 0, 0.25], [1, 1, 0]]
    assert targets[1].tolist() == [[0.75, 0.25, 0], [0, 1, 0], [0, 0, 0]]
    assert targets[2].tolist() == [[0, 0, 1], [1, 0, 0.75], [0, 0, 0]]


@pytest.mark.parametrize("eps", [0, 0.1, 0.3, 0.8, 1])
def test_every_judged_pixel_sums_to_one_and_an_ignored_one_to_zero(eps: float) -> None:
    suggested = suggested_classes(LABELS, PROBS, ignore=255)
    targets = mend_soft(LABELS, FLAGGED, suggested, num_classes=3, eps=eps, ignore=255)
    np.testing.assert_allclose(targets.sum(axis=0), LABELS != 255, rtol=1e-6)


@pytest.mark.parametrize(("eps", "same_as"), [(1.0, "hard"), (0.0, "given")])
def test_eps_at_its_ends_is_hard_or_nothing(eps: float, same_as: str) -> None:
    suggested = suggested_classes(LABELS, PROBS, ignore=255)
    targets = mend_soft(LABELS, FLAGGED, suggested, num_classes=3, eps=eps, ignore=255)
    labels = mend_hard(LABELS, FLAGGED, suggested) if same_as == "hard" else LABELS
    assert np.array_equal(targets, np.stack([labels == k for k in range(3)]))


def test_both_directions_are_mended_at_once() -> None:
    # the reference code edits its labels in place and undoes 0 -> 1 at eps = 1
    labels = np.array([0, 1, 0, 1], np.uint8)
    flagged = np.array([True, True, False, False])
    targets = mend_soft(labels, flagged, 1 - labels, num_classes=2, eps=1)
    assert targets[1].tolist() == [1, 0, 0, 1]


def test_inputs_are_never_changed() -> None:
    arrays = LABELS.copy(), FLAGGED.copy(), suggested_classes(LABELS, PROBS, ignore=255)
    before = [array.copy() for array in arrays]
    for array in arrays:
        array.setflags(write=False)
    mended = mend_hard(*arrays)
    mended[:] = 0
    mend_soft(*arrays, num_classes=3, ignore=255)
    assert all(np.array_equal(a, b) for a, b in zip(arrays, before, strict=True))


def test_an_empty_array_is_mended_to_an_empty_one() -> None:
    empty = np.zeros((0, 4), np.uint8)
    suggested = suggested_classes(empty, np.zeros((3, 0, 4)))
    assert mend_soft(empty, empty == 1, suggested, num_classes=3).shape == (3, 0, 4)
    assert mend_hard(empty, empty == 1, suggested).shape == (0, 4)


def test_bad_input_is_named() -> None:
    suggested = suggested_classes(LABELS, PROBS, ignore=255)
    with pytest.raises(MaskValueError, match="255"):
        suggested_classes(LABELS, PROBS)
    with pytest.raises(GridMismatchError, match=r"\(3, 3\)"):
        suggested_classes(LABELS, PROBS[:, :2])
    with pytest.raises(GridMismatchError, match="same case"):
        mend_hard(LABELS, FLAGGED[:2], suggested)
    with pytest.raises(SettingsError, match="0 to 1"):
        mend_soft(LABELS, FLAGGED, suggested, num_classes=3, eps=1.2, ignore=255)
    with pytest.raises(MaskValueError, match=r"0\.\.1"):
        mend_soft(LABELS, FLAGGED, suggested, num_classes=2, ignore=255)
