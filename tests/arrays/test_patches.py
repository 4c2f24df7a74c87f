"""How volumes are halved and cut: by hand, and what holds for every shape and spacing."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from maskmend.arrays.patches import LEAST, fitting_patch, halvings, kernels

shapes = st.tuples(*[st.integers(1, 400)] * 3)
spacings = st.tuples(*[st.sampled_from([0.3, 0.5, 0.8, 1.0, 1.5, 3.0, 5.0, 10.0])] * 3)


def test_voxels_that_are_cubes_are_halved_alike() -> None:
    assert halvings((40, 56, 40), (1, 1, 1)) == ((2, 2, 2),) * 3
    assert kernels(halvings((40, 56, 40), (1, 1, 1)), (1, 1, 1)) == ((3, 3, 3),) * 3


def test_thick_slices_wait_until_the_others_are_as_coarse() -> None:
    levels = halvings((16, 128, 128), (5.0, 1.0, 1.0))
    # 1, 2 and 4 mm in the plane: at 4 mm the slices of 5 mm are no longer twice as thick
    assert levels[:3] == ((1, 2, 2), (1, 2, 2), (2, 2, 2))
    # looked across once their step is less than twice the finest
    assert kernels(levels, (5.0, 1.0, 1.0))[:3] == ((1, 3, 3), (3, 3, 3), (3, 3, 3))


def test_few_slices_stay_and_are_looked_across_all_the_way() -> None:
    levels = halvings((5, 64, 64), (1.0, 1.0, 1.0))
    assert levels == ((1, 2, 2),) * 4
    assert kernels(levels, (1.0, 1.0, 1.0)) == ((3, 3, 3),) * 4


def test_an_odd_or_small_patch_is_not_halved() -> None:
    assert halvings((7, 35, 6), (1.0, 1.0, 1.0)) == ()


@pytest.mark.parametrize(
    ("shape", "spacing", "most", "expected"),
    [
        # all of a small volume, rounded up to what is halved
        ((36, 50, 35), (1.0, 1.0, 1.0), 2**19, (40, 56, 40)),
        ((40, 56, 40), (1.0, 1.0, 1.0), 2**19, (40, 56, 40)),
        # of a large one a cube
        ((300, 512, 512), (1.0, 1.0, 1.0), 2**18, (64, 64, 64)),
        # in mm: 128 x 128 x 128 of them
        ((20, 256, 256), (8.0, 1.0, 1.0), 2**18, (16, 128, 128)),
        ((1, 256, 256), (1.0, 1.0, 1.0), 2**18, (1, 256, 256)),
    ],
)
def test_patches_by_hand(
    shape: tuple[int, ...], spacing: tuple[float, ...], most: int, expected: tuple[int, ...]
) -> None:
    assert fitting_patch(shape, spacing, most) == expected


@given(shapes, spacings, st.sampled_from([2**12, 2**16, 2**20]))
def test_a_patch_suits_its_network_its_volume_and_the_memory(
    shape: tuple[int, ...], spacing: tuple[float, ...], most: int
) -> None:
    patch = fitting_patch(shape, spacing, most)
    levels = halvings(patch, spacing)
    unit = [math.prod(level[axis] for level in levels) for axis in range(3)]
    for n, size, by in zip(shape, patch, unit, strict=True):
        assert size % by == 0
        # no axis has more than its rounding up asks for
        assert size < n + 2 * max(by, 32)
        assert by == 1 or size // by >= LEAST
    assert math.prod(patch) <= most or patch == tuple(unit)


@given(shapes, spacings, st.permutations(range(3)))
def test_axes_have_no_names(
    shape: tuple[int, ...], spacing: tuple[float, ...], order: list[int]
) -> None:
    levels = halvings(shape, spacing)
    moved = halvings(tuple(shape[i] for i in order), tuple(spacing[i] for i in order))
    assert moved == tuple(tuple(level[i] for i in order) for level in levels)
    sizes = kernels(levels, spacing)
    assert kernels(moved, tuple(spacing[i] for i in order)) == tuple(
        tuple(size[i] for i in order) for size in sizes
    )
