"""Markov noise: single steps by hand, the process against a slow loop, and what it drifts to."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from maskmend.arrays.markov import SMOOTHING, smooth, walk_boundary, wander

masks = hnp.arrays(bool, hnp.array_shapes(min_dims=1, max_dims=3, min_side=1, max_side=7))
seeds = st.integers(0, 2**32 - 1)
shares = st.sampled_from([0.0, 0.05, 0.2, 0.8, 1.0])

DOT = [[0, 0, 0, 0, 0], [0, 0, 0, 0, 0], [0, 0, 1, 0, 0], [0, 0, 0, 0, 0], [0, 0, 0, 0, 0]]
CROSS = [[0, 0, 0, 0, 0], [0, 0, 1, 0, 0], [0, 1, 1, 1, 0], [0, 0, 1, 0, 0], [0, 0, 0, 0, 0]]
DIAMOND = [[0, 0, 1, 0, 0], [0, 1, 1, 1, 0], [1, 1, 1, 1, 1], [0, 1, 1, 1, 0], [0, 0, 1, 0, 0]]


def generator(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


def disc(side: int, radius: float) -> np.ndarray:
    rows, columns = np.mgrid[:side, :side] - side // 2
    return rows**2 + columns**2 <= radius**2


def neighbours(pixel: tuple[int, ...], shape: tuple[int, ...]) -> list[tuple[int, ...]]:
    moved = [
        (*pixel[:axis], pixel[axis] + step, *pixel[axis + 1 :])
        for axis in range(len(shape))
        for step in (-1, 1)
    ]
    return [p for p in moved if all(0 <= i < n for i, n in zip(p, shape, strict=True))]


def slow_walk(
    mask: np.ndarray, steps: int, thetas: tuple[float, float], rng: np.random.Generator
) -> np.ndarray:
    """Definition 1 pixel by pixel, in raster order, on a copy of the state before each step."""
    directions = rng.random(steps)
    state = mask.copy()
    for direction in directions:
        target = direction < thetas[0]
        before = state.copy()
        edge = [
            pixel
            for pixel in np.ndindex(mask.shape)
            if before[pixel] != target
            and any(before[near] == target for near in neighbours(pixel, mask.shape))
        ]
        for pixel, draw in zip(edge, rng.random(len(edge)), strict=True):
            if draw < thetas[1]:
                state[pixel] = target
    return state


def slow_smooth(mask: np.ndarray) -> np.ndarray:
    """The sum over the window of each pixel, its far side mirrored back into the grid."""

    def inside(index: int, length: int) -> int:
        period = 2 * (length - 1)
        index = abs(index) % period if period else 0
        return min(index, period - index)

    smoothed = np.zeros_like(mask)
    for pixel in np.ndindex(mask.shape):
        total = 0
        for offset in np.ndindex((5,) * mask.ndim):
            near = tuple(
                inside(i + o - 2, n) for i, o, n in zip(pixel, offset, mask.shape, strict=True)
            )
            total += int(mask[near]) * int(np.prod([SMOOTHING[o] for o in offset]))
        smoothed[pixel] = 2 * total >= 256**mask.ndim
    return smoothed


def test_certain_steps_by_hand() -> None:
    dot = np.array(DOT, dtype=bool)
    once = walk_boundary(dot, 1, (1, 1), generator())
    assert once.astype(int).tolist() == CROSS
    twice = walk_boundary(dot, 2, (1, 1), generator())
    assert twice.astype(int).tolist() == DIAMOND
    # theta1 = 0 only shrinks; what the border of the grid cuts off is no edge
    back = walk_boundary(twice, 1, (0, 1), generator())
    assert back.astype(int).tolist() == CROSS
    corner = np.array([[1, 1, 0], [1, 1, 0], [0, 0, 0]], dtype=bool)
    shrunk = walk_boundary(corner, 1, (0, 1), generator())
    assert shrunk.astype(int).tolist() == [[1, 0, 0], [0, 0, 0], [0, 0, 0]]
    assert not walk_boundary(corner, 2, (0, 1), generator()).any()
    assert dot.astype(int).tolist() == DOT


def test_nothing_moves_without_steps_or_variance() -> None:
    mask = disc(15, 4)
    np.testing.assert_array_equal(walk_boundary(mask, 0, (0.8, 1), generator()), mask)
    np.testing.assert_array_equal(walk_boundary(mask, 50, (0.8, 0), generator()), mask)


@pytest.mark.parametrize("value", [True, False])
def test_empty_and_full_masks_have_no_boundary(value: bool) -> None:
    mask = np.full((6, 7), value)
    np.testing.assert_array_equal(walk_boundary(mask, 40, (0.5, 1), generator()), mask)
    np.testing.assert_array_equal(wander(mask, 40, (0.5, 1, 0), seed=1), mask)


def test_variance_is_the_share_of_the_edge_that_moves() -> None:
    # a half plane has an edge of one column, of which each pixel may move
    mask = np.zeros((4000, 8), dtype=bool)
    mask[:, :4] = True
    for preference, column in ((1, 4), (0, 3)):
        walked = walk_boundary(mask, 1, (preference, 0.05), generator(3))
        moved = walked != mask
        assert moved[:, column].mean() == pytest.approx(0.05, abs=0.015)
        assert moved.sum() == moved[:, column].sum()


def test_preference_is_the_share_of_steps_that_expand() -> None:
    # with theta2 = 1 the side of a half plane moves by one pixel a step
    mask = np.zeros((2, 4001), dtype=bool)
    mask[:, :2001] = True
    walked = walk_boundary(mask, 1000, (0.8, 1), generator(5))
    assert walked[0].sum() - 2001 == pytest.approx(1000 * (0.8 - 0.2), abs=80)


def test_flips_are_as_frequent_as_theta3_and_smoothing_takes_most_back() -> None:
    mask = disc(101, 30)
    flipped = mask ^ (generator(2).random(mask.shape) < 0.2)
    smoothed = wander(mask, 0, (0.8, 0.05, 0.2), seed=2)
    np.testing.assert_array_equal(smoothed, smooth(flipped))
    assert (flipped != mask).mean() == pytest.approx(0.2, abs=0.02)
    assert 0 < (smoothed != mask).mean() < 0.02


def test_smoothing_by_hand() -> None:
    # a straight edge stays where it is, a pixel goes, and so does a hole of one pixel
    edge = np.zeros((9, 9), dtype=bool)
    edge[:, :4] = True
    np.testing.assert_array_equal(smooth(edge), edge)
    assert not smooth(np.array(DOT, dtype=bool)).any()
    assert smooth(~np.array(DOT, dtype=bool)).all()


@settings(deadline=None, max_examples=60)
@given(mask=masks, steps=st.integers(0, 12), theta1=shares, theta2=shares, seed=seeds)
def test_the_walk_is_that_of_the_slow_loop(
    mask: np.ndarray, steps: int, theta1: float, theta2: float, seed: int
) -> None:
    before = mask.tobytes()
    fast = walk_boundary(mask, steps, (theta1, theta2), generator(seed))
    np.testing.assert_array_equal(fast, slow_walk(mask, steps, (theta1, theta2), generator(seed)))
    assert mask.tobytes() == before


@settings(deadline=None, max_examples=40)
@given(
    hnp.arrays(bool, st.tuples(st.integers(2, 6), st.integers(2, 6)))
    | hnp.arrays(bool, st.tuples(*[st.integers(2, 3)] * 3))
)
def test_smoothing_is_that_of_the_slow_loop(mask: np.ndarray) -> None:
    np.testing.assert_array_equal(smooth(mask), slow_smooth(mask))


@given(mask=hnp.arrays(bool, (8, 9)), theta1=shares, theta2=shares, theta3=shares, seed=seeds)
def test_the_process_in_a_thin_volume_is_that_in_its_picture(
    mask: np.ndarray, theta1: float, theta2: float, theta3: float, seed: int
) -> None:
    thetas = (theta1, theta2, theta3)
    picture = wander(mask, 5, thetas, seed)
    for axis in range(3):
        volume = wander(np.expand_dims(mask, axis), 5, thetas, seed)
        np.testing.assert_array_equal(volume.squeeze(axis), picture)


def test_the_seed_decides() -> None:
    mask = disc(64, 20)
    first, again, other = (wander(mask, 60, (0.8, 0.05, 0.2), seed) for seed in (7, 7, 8))
    assert first.tobytes() == again.tobytes()
    assert first.tobytes() != other.tobytes()
