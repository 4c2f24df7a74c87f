"""Resizing and placing: hand-worked cases, slow references, and what must never change."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from numpy.typing import NDArray

from maskmend.arrays.geometry import (
    block_mean,
    coarser_grid,
    cut_mask,
    part_of_grid,
    place_mask,
    resize_image,
    resize_labels,
    resize_probabilities,
    same_grid,
    with_slices,
)
from maskmend.core import IGNORED, Grid
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


def grid(shape: tuple[int, ...], matrix: Any = None) -> Grid:
    if matrix is None:
        return Grid(shape)
    spacing = tuple(np.linalg.norm(np.array(matrix)[:3, :3], axis=0).tolist())
    return Grid(shape, spacing, tuple(tuple(row) for row in np.array(matrix, float).tolist()))


OBLIQUE = np.array([[0, -0.8, 0.1, 5], [0.05, 0, -0.9, 7], [2.5, 0, 0, -9], [0, 0, 0, 1]])


class TestSameGrid:
    def test_rounding_is_no_difference(self) -> None:
        assert same_grid(grid((9, 8, 7), OBLIQUE), grid((9, 8, 7), np.round(OBLIQUE, 2) + 1e-5))

    def test_another_shape(self) -> None:
        assert not same_grid(grid((9, 8, 7), OBLIQUE), grid((9, 7, 8), OBLIQUE))

    @pytest.mark.parametrize("at", [(0, 3), (2, 0), (1, 2)])
    def test_a_tenth_of_a_voxel_is_another_place(self, at: tuple[int, int]) -> None:
        moved = OBLIQUE.copy()
        # at the far corner, whichever entry it is
        moved[at] += 0.08 if at[1] == 3 else 0.08 / 7
        assert not same_grid(grid((9, 8, 8), OBLIQUE), grid((9, 8, 8), moved))

    def test_a_flipped_axis_is_another_place(self) -> None:
        assert not same_grid(grid((9, 8, 7), OBLIQUE), grid((9, 8, 7), OBLIQUE * [1, -1, 1, 1]))

    def test_what_is_not_known_is_not_compared(self) -> None:
        assert same_grid(grid((9, 8, 7), OBLIQUE), grid((9, 8, 7)))
        assert not same_grid(Grid((2, 3), (1, 1)), Grid((2, 3), (1, 2)))
        assert same_grid(Grid((2, 3), (1, 1)), Grid((2, 3)))


class TestPartOfGrid:
    """A slow reference: each voxel is placed by its own position in space."""

    @staticmethod
    def own_grid(
        whole: Grid, axes: tuple[int, ...], flipped: tuple[int, ...], start: tuple[int, ...],
        shape: tuple[int, ...],
    ) -> Grid:  # fmt: skip
        """shape, start: on the larger grid; axes: that each own axis runs along."""
        to_whole = np.zeros((4, 4))
        to_whole[3, 3] = 1
        for own, axis in enumerate(axes):
            to_whole[axis, own] = -1 if flipped[axis] else 1
            to_whole[axis, 3] = start[axis] + (shape[axis] - 1 if flipped[axis] else 0)
        return grid(tuple(shape[axis] for axis in axes), np.array(whole.affine) @ to_whole)

    @staticmethod
    def slow(mask: NDArray[np.bool_], own: Grid, whole: Grid) -> NDArray[np.bool_]:
        placed = np.zeros(whole.shape, bool)
        back = np.linalg.inv(np.array(whole.affine)) @ np.array(own.affine)
        for index in np.argwhere(mask):
            at = np.rint(back @ [*index, 1])[:3].astype(int)
            if all(0 <= i < size for i, size in zip(at, whole.shape, strict=True)):
                placed[tuple(at)] = True
        return placed

    @given(
        axes=st.permutations([0, 1, 2]),
        flipped=st.tuples(*[st.integers(0, 1)] * 3),
        start=st.tuples(*[st.integers(-3, 5)] * 3),
        shape=st.tuples(*[st.integers(1, 4)] * 3),
        seed=st.integers(0, 99),
    )
    def test_permuted_flipped_and_cut(
        self, axes: list[int], flipped: Any, start: Any, shape: Any, seed: int
    ) -> None:
        whole = grid((4, 5, 6), OBLIQUE)
        own = self.own_grid(whole, tuple(axes), flipped, start, shape)
        mask = np.random.default_rng(seed).random(own.shape) < 0.5
        part = part_of_grid(own, whole)
        assert part is not None
        placed, outside = place_mask(mask, part, whole.shape)
        expected = self.slow(mask, own, whole)
        assert np.array_equal(placed, expected)
        assert outside == mask.sum() - expected.sum()
        again, beyond = cut_mask(placed, part)
        assert beyond == 0
        if outside == 0:
            assert np.array_equal(again, mask)
        full, beyond = cut_mask(np.ones(whole.shape, bool), part)
        assert full.shape == own.shape
        assert full.sum() + beyond == 4 * 5 * 6
        assert np.array_equal(full, self.slow_cover(own, whole))

    @staticmethod
    def slow_cover(own: Grid, whole: Grid) -> NDArray[np.bool_]:
        """The own voxels that lie on the larger grid."""
        back = np.linalg.inv(np.array(whole.affine)) @ np.array(own.affine)
        covered = np.zeros(own.shape, bool)
        for index in np.ndindex(own.shape):
            at = np.rint(back @ [*index, 1])[:3]
            covered[index] = bool((at >= 0).all() and (at < whole.shape).all())
        return covered

    def test_voxels_that_do_not_coincide(self) -> None:
        whole = grid((4, 5, 6), OBLIQUE)
        half = OBLIQUE.copy()
        half[0, 3] += 0.4
        turned = OBLIQUE @ [[0.8, -0.6, 0, 0], [0.6, 0.8, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1]]
        for other in (half, OBLIQUE * [2, 1, 1, 1], turned):
            assert part_of_grid(grid((2, 2, 2), other), whole) is None

    def test_where_the_place_is_not_known(self) -> None:
        part = part_of_grid(grid((1, 2, 3), OBLIQUE), Grid((2, 3)))
        assert part is not None
        placed, outside = place_mask(np.array([[[0, 1, 0], [0, 0, 1]]], bool), part, (2, 3))
        assert (placed.tolist(), outside) == ([[False, True, False], [False, False, True]], 0)
        assert part_of_grid(grid((2, 2, 3), OBLIQUE), Grid((2, 3))) is None
        assert part_of_grid(Grid((2, 3)), Grid((3, 2))) is None

    @pytest.mark.parametrize("flipped", [0, 1])
    def test_more_slices(self, flipped: int) -> None:
        whole = grid((8, 2, 2), OBLIQUE)
        own = self.own_grid(whole, (0, 1, 2), (flipped, 0, 0), (3, 0, 0), (2, 2, 2))
        part = part_of_grid(own, whole)
        assert part is not None
        wanted = np.zeros((8, 2, 2), bool)
        wanted[2:8, 1] = True
        grown, before = with_slices(part, wanted)
        assert before == (3 if flipped else 1)
        cut, beyond = cut_mask(wanted, grown)
        assert (cut.shape, beyond) == ((6, 2, 2), 0)
        assert with_slices(part, np.zeros((8, 2, 2), bool)) == (part, 0)
        wanted[2] = wanted[5:] = False
        assert with_slices(part, wanted) == (part, 0)


class TestBlocks:
    def test_the_mean_of_whole_blocks(self) -> None:
        image = np.arange(32, dtype=np.uint16).reshape(2, 4, 4)
        mean = block_mean(image, 2)
        assert mean.dtype == np.dtype(np.float32)
        assert mean.tolist() == [[[2.5, 4.5], [10.5, 12.5]], [[18.5, 20.5], [26.5, 28.5]]]

    def test_blocks_that_do_not_fit(self) -> None:
        with pytest.raises(GridMismatchError, match="a multiple of 2"):
            block_mean(np.zeros((1, 4, 3)), 2)

    def test_the_grid_covers_the_same(self) -> None:
        assert coarser_grid(Grid((4, 6), (0.5, 2)), 2) == Grid((2, 3), (1.0, 4.0))
        coarse = coarser_grid(grid((4, 6, 8), OBLIQUE), 2)
        # the corner of the first voxel stays where it was
        corner = np.array(coarse.affine) @ [-0.5, -0.5, -0.5, 1]
        assert corner == pytest.approx(OBLIQUE @ [-0.5, -0.5, -0.5, 1])
        assert coarse.spacing == pytest.approx(2 * np.linalg.norm(OBLIQUE[:3, :3], axis=0))
