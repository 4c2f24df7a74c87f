"""Regions by hand, against a flood fill, and as properties."""

from __future__ import annotations

import itertools
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from maskmend.arrays import regions
from maskmend.arrays.regions import Region, find_regions, world_position
from maskmend.core import BoolArray, FloatArray, LabelArray
from maskmend.errors import GridMismatchError


def near(value: float) -> Any:
    return pytest.approx(value)


def no_margins(flagged: BoolArray) -> FloatArray:
    return np.ones(int(flagged.sum()))


def test_regions_by_hand() -> None:
    flagged = np.array([[1, 0, 0, 0], [0, 1, 0, 1], [0, 1, 0, 1]], bool)
    given = np.zeros((3, 4), np.uint8)
    given[:, 3] = 1
    margins = np.array([0.2, 0.4, 0.5, 0.6, 0.9])
    right, left = find_regions(given, 1 - given, flagged, margins)
    assert left == Region(
        given=0, suggested=1, size=3, box=((0, 3), (0, 2)), centroid=(1.0, near(2 / 3)),
        best_slice=0, margin=near((0.2 + 0.4 + 0.6) / 3),
    )  # fmt: skip
    assert right == Region(1, 0, 2, ((1, 3), (3, 4)), (1.5, 3.0), 1, near(0.7))
    assert right.score == pytest.approx(1.4)


def test_the_surer_region_comes_first_even_if_it_is_smaller() -> None:
    flagged = np.array([[1, 1, 0, 1]], bool)
    given = np.zeros((1, 4), np.uint8)
    found = find_regions(given, given + 1, flagged, np.array([0.1, 0.1, 0.9]))
    assert [region.size for region in found] == [1, 2]


def test_touching_pixels_of_other_classes_are_other_regions() -> None:
    given = np.array([[1, 1, 2, 2]], np.uint8)
    suggested = np.array([[2, 0, 1, 1]], np.uint8)
    flagged = np.ones((1, 4), bool)
    found = find_regions(given, suggested, flagged, no_margins(flagged))
    pairs = {(region.given, region.suggested): region.size for region in found}
    assert pairs == {(1, 2): 1, (1, 0): 1, (2, 1): 2}


def test_nothing_flagged_is_no_region() -> None:
    empty = np.zeros((2, 3, 4), np.uint8)
    assert find_regions(empty, empty, empty > 0, np.zeros(0)) == ()


def test_a_picture_is_a_volume_of_one_slice() -> None:
    rng = np.random.default_rng(1)
    flagged = rng.random((12, 15)) < 0.2
    given = (rng.random((12, 15)) < 0.5).astype(np.uint8)
    margins = rng.random(int(flagged.sum()))
    flat = find_regions(given, 1 - given, flagged, margins)
    thin = find_regions(given[None], 1 - given[None], flagged[None], margins)
    as_flat = [
        replace(r, box=r.box[1:], centroid=r.centroid[1:], best_slice=f.best_slice)
        for r, f in zip(thin, flat, strict=True)
    ]
    assert as_flat == list(flat)
    assert {region.best_slice for region in thin} == {0}


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
    flagged = rng.random(shape) < 0.25
    given: LabelArray = rng.integers(0, 3, shape).astype(np.uint8)
    suggested: LabelArray = ((given + rng.integers(1, 3, shape)) % 3).astype(np.uint8)
    margin = rng.random(shape)
    expected = []
    for i, j in itertools.permutations(range(3), 2):
        mine = flagged & (given == i) & (suggested == j)
        for region in flood({tuple(map(int, p)) for p in np.argwhere(mine)}):
            points = np.array(sorted(region))
            slices = points[:, 0].tolist()
            expected.append(
                Region(
                    i, j, len(region),
                    tuple((min(axis), max(axis) + 1) for axis in points.T.tolist()),
                    tuple(points.mean(axis=0).tolist()),
                    max(sorted(set(slices)), key=slices.count),
                    float(np.mean([margin[pixel] for pixel in region])),
                )
            )  # fmt: skip
    found = find_regions(given, suggested, flagged, margin[flagged])
    assert len(found) == len(expected) > 3

    def key(region: Region) -> tuple[object, ...]:
        return (region.given, region.suggested, region.box, region.centroid)

    for got, want in zip(sorted(found, key=key), sorted(expected, key=key), strict=True):
        assert (got.given, got.suggested, got.size) == (want.given, want.suggested, want.size)
        assert (got.box, got.best_slice) == (want.box, want.best_slice)
        assert got.centroid == pytest.approx(want.centroid)
        assert got.margin == pytest.approx(want.margin)
    scores = [region.score for region in found]
    assert scores == sorted(scores, reverse=True)


def test_world_position_is_by_the_affine() -> None:
    # slices 2.5 mm towards the head, rows to the back, columns to the left
    affine = ((0, 0, -0.5, 10), (0, -0.5, 0, 20), (2.5, 0, 0, -30), (0, 0, 0, 1))
    assert world_position((4, 2, 1), tuple(map(tuple, affine))) == (9.5, 19.0, -20.0)


def test_arrays_that_do_not_belong_together_are_refused() -> None:
    given = np.zeros((2, 3), np.uint8)
    with pytest.raises(GridMismatchError, match=r"\(2, 3\), \(3, 2\)"):
        find_regions(given, given.T, given > 0, np.zeros(0))
    with pytest.raises(GridMismatchError, match="for 6 flagged"):
        find_regions(given, given, given == 0, np.zeros(5))
