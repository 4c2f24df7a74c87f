"""Resizing: hand-worked cases, a slow area average, and what must never change."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from maskmend.arrays.geometry import resize_image, resize_labels, resize_probabilities
from maskmend.core import IGNORED
from maskmend.errors import GridMismatchError

shapes = st.tuples(st.integers(1, 9), st.integers(1, 9))


def test_halving_averages_pairs() -> None:
    image = np.array([[[0, 2], [4, 6]], [[10, 10], [20, 20]]], dtype=np.float32)
    np.testing.assert_array_equal(resize_image(image, (1, 2)), [[[2, 4]], [[15, 15]]])


def test_doubling_is_linear_between_centres_and_flat_outside() -> None:
    image = np.array([[0.0, 4.0]])
    np.testing.assert_array_equal(resize_image(image, (4,)), [[0, 1, 3, 4]])


def test_integers_are_rounded_not_cut() -> None:
    image = np.array([[0, 255, 255]], dtype=np.uint8)
    resized = resize_image(image, (1,))
    assert resized.dtype == np.uint8
    assert resized.tolist() == [[170]]
    assert resize_image(np.array([[3, 4, 4]], dtype=np.int16), (1,)).tolist() == [[4]]


def test_labels_take_the_pixel_under_their_centre() -> None:
    labels = np.array([[1, 2, IGNORED]], dtype=np.uint8)
    assert resize_labels(labels, (6,)).tolist() == [[1, 1, 2, 2, IGNORED, IGNORED]]
    assert resize_labels(labels, (2,)).tolist() == [[1, IGNORED]]


def test_probabilities_are_interpolated() -> None:
    probs = np.array([[0.0, 1.0]], dtype=np.float32)
    resized = resize_probabilities(probs, (4,))
    assert resized.dtype == np.float32
    np.testing.assert_array_equal(resized, [[0, 0.25, 0.75, 1]])


@pytest.mark.parametrize("resize", [resize_image, resize_probabilities, resize_labels])
@pytest.mark.parametrize("shape", [(4,), (4, 4, 4), (0, 4)])
def test_a_shape_with_other_axes_is_refused(resize, shape) -> None:  # type: ignore[no-untyped-def]
    with pytest.raises(GridMismatchError, match="2 spatial axes"):
        resize(np.zeros((1, 3, 3), dtype=np.uint8), shape)


def slow_area_average(row: np.ndarray, new: int) -> np.ndarray:
    """Mean of `row` over each of `new` equal parts, sampled on the common refinement."""
    fine = np.repeat(row.astype(float), new)
    return fine.reshape(new, len(row)).mean(axis=1)


@given(hnp.arrays(np.int32, st.integers(1, 12), elements=st.integers(0, 999)), st.integers(1, 12))
def test_shrinking_is_the_area_average(row: np.ndarray, new: int) -> None:
    new = min(new, len(row))
    resized = resize_image(row[None].astype(np.float64), (new,))[0]
    np.testing.assert_allclose(resized, slow_area_average(row, new), atol=1e-9)


@given(hnp.arrays(np.uint8, st.tuples(st.just(2), st.integers(1, 7), st.integers(1, 7))), shapes)
def test_resized_images_stay_in_range_and_leave_the_source(image: np.ndarray, shape) -> None:  # type: ignore[no-untyped-def]
    before = image.copy()
    resized = resize_image(image, shape)
    assert resized.shape == (2, *shape)
    assert resized.dtype == np.uint8
    assert image.min() <= resized.min()
    assert resized.max() <= image.max()
    np.testing.assert_array_equal(image, before)


@given(hnp.arrays(np.uint8, st.tuples(st.just(1), st.integers(1, 7), st.integers(1, 7))), shapes)
def test_2d_is_thin_3d(image: np.ndarray, shape) -> None:  # type: ignore[no-untyped-def]
    thin = (1, *shape)
    for resize in (resize_image, resize_labels):
        np.testing.assert_array_equal(resize(image[:, None], thin)[:, 0], resize(image, shape))


@given(
    hnp.arrays(np.float64, (3, 4, 5), elements=st.floats(0, 1)).filter(lambda a: a.sum(0).all()),
    shapes,
)
def test_probabilities_keep_their_sum(raw: np.ndarray, shape) -> None:  # type: ignore[no-untyped-def]
    probs = (raw / raw.sum(axis=0)).astype(np.float32)
    resized = resize_probabilities(probs, shape)
    np.testing.assert_allclose(resized.sum(axis=0), 1, atol=1e-5)
    assert resized.min() >= 0
    assert resized.max() <= 1


@given(hnp.arrays(np.uint8, (2, 5, 6)), st.integers(1, 4))
def test_labels_come_back_from_a_whole_multiple(labels: np.ndarray, factor: int) -> None:
    grown = resize_labels(labels, (5 * factor, 6 * factor))
    np.testing.assert_array_equal(grown, labels.repeat(factor, 1).repeat(factor, 2))
    np.testing.assert_array_equal(resize_labels(grown, (5, 6)), labels)
