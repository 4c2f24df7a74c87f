"""Regions by hand, against a flood fill, and as properties."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from maskmend.arrays import regions
from maskmend.arrays.regions import (
    fullest_slice,
    indices_by_number,
    number_regions,
    world_position,
)
from maskmend.core import IntArray
from maskmend.errors import GridMismatchError


def regions_of(kinds: IntArray) -> list[set[tuple[int, ...]]]:
    """The regions of all pixels that are not 0."""
    places = np.array(np.nonzero(kinds))
    numbers = number_regions(places, kinds[kinds > 0])
    return [set(zip(*places[:, some].tolist(), strict=True)) for some in
            indices_by_number(numbers)]  # fmt: skip


def test_regions_by_hand() -> None:
    flagged = np.array([[1, 0, 0, 0], [0, 1, 0, 1], [0, 1, 0, 1]])
    left, right = regions_of(flagged)
    # corners touch
    assert left == {(0, 0), (1, 1), (2, 1)}
    assert right == {(1, 3), (2, 3)}


def test_touching_pixels_of_other_kinds_are_other_regions() -> None:
    assert regions_of(np.array([[1, 2, 3, 3]])) == [{(0, 0)}, {(0, 1)}, {(0, 2), (0, 3)}]
    # the two ends are parted by what lies between
    assert regions_of(np.array([[4, 5, 4]])) == [{(0, 0)}, {(0, 1)}, {(0, 2)}]


def test_nothing_flagged_is_no_region() -> None:
    assert regions_of(np.zeros((2, 3, 4), int)) == []


def test_a_picture_is_a_volume_of_one_slice() -> None:
    rng = np.random.default_rng(1)
    kinds = rng.integers(1, 3, (12, 15)) * (rng.random((12, 15)) < 0.3)
    thin = [{pixel[1:] for pixel in region} for region in regions_of(kinds[None])]
    assert thin == regions_of(kinds)


def test_the_fullest_slice_is_the_first_of_equals() -> None:
    assert fullest_slice(np.array([7, 9, 8, 9, 8])) == 8


def flood(pixels: set[tuple[int, ...]]) -> list[set[tuple[int, ...]]]:
    """Connected sets of pixels, through every neighbour, pixel by pixel."""
    found = []
    while pixels:
        todo, region = [pixels.pop()], set()
        while todo:
            pixel = todo.pop()
            region.add(pixel)
            steps = itertools.product((-1, 0, 1), repeat=len(pixel))
            near = {tuple(map(sum, zip(pixel, step, strict=True))) for step in steps} & pixels
            pixels -= near
            todo += near
        found.append(region)
    return found


@pytest.mark.parametrize("small", [0, 8, 1000])
@pytest.mark.parametrize("shape", [(40,), (14, 17), (6, 7, 8), (3, 4, 3, 4)])
def test_regions_are_those_of_a_flood_fill(
    shape: tuple[int, ...], small: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """However large a region has to be to be looked at by itself."""
    monkeypatch.setattr(regions, "SMALL", small)
    rng = np.random.default_rng(len(shape))
    kinds = rng.integers(1, 7, shape) * (rng.random(shape) < 0.3)
    expected = [
        region
        for kind in range(1, 7)
        for region in flood({tuple(map(int, p)) for p in np.argwhere(kinds == kind)})
    ]
    found = regions_of(kinds)
    assert len(found) > 3
    assert sorted(map(sorted, found)) == sorted(map(sorted, expected))


def test_world_position_is_by_the_affine() -> None:
    # slices 2.5 mm towards the head, rows to the back, columns to the left
    affine = ((0, 0, -0.5, 10), (0, -0.5, 0, 20), (2.5, 0, 0, -30), (0, 0, 0, 1))
    assert world_position((4, 2, 1), tuple(map(tuple, affine))) == (9.5, 19.0, -20.0)


def test_arrays_that_do_not_belong_together_are_refused() -> None:
    with pytest.raises(GridMismatchError, match="each of the 6 pixels"):
        number_regions(np.zeros((2, 6), int), np.zeros(5, int))
