"""The deformations of the PyMIC recipe: by hand, and against slow loops."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from maskmend.arrays.deformation import BUMP_SHARE, bump_edge, dilate_cross, erode_cross

masks = hnp.arrays(bool, hnp.array_shapes(min_dims=1, max_dims=3, min_side=1, max_side=5))


def slow_diamonds(mask: np.ndarray, radius: int, value: bool) -> np.ndarray:
    """Every pixel up to `radius` steps from one that is `value` becomes `value`."""
    changed = mask.copy()
    pixels = np.argwhere(np.ones_like(mask))
    for source in np.argwhere(mask == value):
        changed[tuple(pixels[np.abs(pixels - source).sum(axis=1) <= radius].T)] = value
    return changed


def touching(mask: np.ndarray) -> list[tuple[int, ...]]:
    """Pixels outside of the mask with a face neighbour in it."""
    pixels = np.argwhere(~mask)
    near = [np.abs(pixels - pixel).sum(axis=1) == 1 for pixel in np.argwhere(mask)]
    return [tuple(pixel) for pixel in pixels[np.any(near, axis=0)].tolist()]


def slow_bumps(mask: np.ndarray, radii: tuple[int, int], seed: int) -> np.ndarray:
    """Every pixel within a drawn radius of a drawn pixel of the edge: set, and then unset."""
    rng = np.random.default_rng(seed)
    changed = mask.copy()
    pixels = np.argwhere(np.ones_like(mask))
    for value in (True, False):
        edge = np.array(touching(changed)).reshape(-1, mask.ndim)
        for centre in rng.choice(edge, len(edge) // 10, replace=False, axis=0):
            reach = int(rng.integers(radii[0], radii[1] + 1))
            near = ((pixels - centre) ** 2).sum(axis=1) <= reach**2
            changed[tuple(pixels[near].T)] = value
    return changed


def test_a_dot_becomes_a_diamond_and_a_diamond_a_dot() -> None:
    dot = np.zeros((5, 5), dtype=bool)
    dot[2, 2] = True
    diamond = dilate_cross(dot, 2)
    assert diamond.astype(int).tolist() == [
        [0, 0, 1, 0, 0], [0, 1, 1, 1, 0], [1, 1, 1, 1, 1], [0, 1, 1, 1, 0], [0, 0, 1, 0, 0],
    ]  # fmt: skip
    # the border of the grid does not eat into the tips
    assert erode_cross(diamond, 1).astype(int).tolist() == [
        [0, 0, 0, 0, 0], [0, 0, 1, 0, 0], [0, 1, 1, 1, 0], [0, 0, 1, 0, 0], [0, 0, 0, 0, 0],
    ]  # fmt: skip
    assert not erode_cross(dot, 1).any()


@settings(deadline=None)
@given(masks.filter(np.any), st.integers(0, 4))
def test_crosses_are_diamonds(mask: np.ndarray, radius: int) -> None:
    np.testing.assert_array_equal(dilate_cross(mask, radius), slow_diamonds(mask, radius, True))
    np.testing.assert_array_equal(erode_cross(mask, radius), slow_diamonds(mask, radius, False))


@settings(deadline=None, max_examples=40)
@given(hnp.arrays(bool, (9, 8)).filter(np.any), st.integers(0, 3), st.integers(0, 99))
def test_bumps_are_those_of_the_slow_loop(mask: np.ndarray, radius: int, seed: int) -> None:
    radii = (radius, radius + 2)
    np.testing.assert_array_equal(bump_edge(mask, radii, seed), slow_bumps(mask, radii, seed))


def test_bumps_are_discs_on_the_outer_edge_and_bites_discs_on_theirs() -> None:
    mask = np.zeros((60, 60), dtype=bool)
    mask[20:40, 20:40] = True
    edge = np.array(touching(mask))
    assert len(edge) == 80
    for seed in range(10):
        bumped = bump_edge(mask, (3, 5), seed)
        # a bump and a bite reach as far as two discs, one on the other
        distance = np.sqrt(((np.argwhere(bumped != mask)[:, None] - edge) ** 2).sum(-1)).min(1)
        assert 3 <= distance.max() <= 5 + 5 + 1
        # eight discs of 29 to 81 pixels, about half of each outside, bites taken out of them
        assert 20 <= (bumped & ~mask).sum() <= 8 * 81
        assert (mask & ~bumped).sum() >= 20


@pytest.mark.parametrize(("side", "centres"), [(2, 0), (3, 1), (9, 3)])
def test_a_tenth_of_the_edge_is_hit(side: int, centres: int) -> None:
    mask = np.zeros((30, 30), dtype=bool)
    mask[10 : 10 + side, 10 : 10 + side] = True
    assert int(BUMP_SHARE * len(touching(mask))) == centres
    # discs of radius 0 are single pixels: bumps, and bites beside them that find nothing to take
    bumped = bump_edge(mask, (0, 0), seed=1)
    assert (bumped != mask).sum() == centres
    assert not (mask & ~bumped).any()


def test_a_full_mask_has_no_edge_to_bump() -> None:
    full = np.ones((6, 6), dtype=bool)
    assert bump_edge(full, (1, 2), seed=0).all()
    assert erode_cross(full, 3).all()
