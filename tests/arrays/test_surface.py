"""Surface distances: by hand, emptiness, and brute force over all pairs of surface pixels."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from maskmend.arrays.surface import SurfaceDistances, assd, hd95, surface_dice, surface_distances
from maskmend.errors import GridMismatchError

masks_2d = hnp.arrays(bool, (6, 7))
filled_2d = masks_2d.filter(lambda mask: mask.any())


def test_two_columns_by_hand() -> None:
    truth, prediction = np.zeros((2, 4, 8), dtype=bool)
    truth[:, 1] = prediction[:, 4] = True
    distances = surface_distances(truth, prediction, (1.0, 0.5))
    assert distances.from_truth.tolist() == [1.5] * 4
    assert hd95(distances) == 1.5
    assert assd(distances) == 1.5
    assert surface_dice(distances, 1.5) == 1
    assert surface_dice(distances, 1.4) == 0


def test_a_far_pixel_counts_in_its_own_direction_only() -> None:
    truth = np.zeros(100, dtype=bool)
    truth[0] = True
    prediction = truth.copy()
    prediction[10] = True
    distances = surface_distances(truth, prediction, (1.0,))
    # prediction -> truth: 0 and 10, of which the 95th percentile is 9.5; truth -> prediction: 0
    assert hd95(distances) == pytest.approx(9.5)
    assert assd(distances) == pytest.approx(10 / 3)
    assert surface_dice(distances, 1) == pytest.approx(2 / 3)


def test_only_the_outline_is_surface_and_the_border_of_the_grid_is_outline() -> None:
    full = np.ones((5, 4), dtype=bool)
    # the ring of the 5 x 4 grid: 20 pixels less the 3 x 2 inside
    assert len(surface_distances(full, full, (1.0, 1.0)).from_truth) == 14


def test_emptiness() -> None:
    empty, full = np.zeros((4, 5), dtype=bool), np.ones((4, 5), dtype=bool)
    neither = surface_distances(empty, empty, (2.0, 1.0))
    assert (hd95(neither), assd(neither), surface_dice(neither, 1)) == (0, 0, 1)
    diagonal = math.hypot(3 * 2.0, 4 * 1.0)
    for one in (
        surface_distances(full, empty, (2.0, 1.0)),
        surface_distances(empty, full, (2.0, 1.0)),
    ):
        assert (hd95(one), assd(one)) == (diagonal, diagonal)
        assert surface_dice(one, 1000) == 0


def slow_surface(mask: np.ndarray) -> list[tuple[int, ...]]:
    steps = [step for step in itertools.product((-1, 0, 1), repeat=mask.ndim)]
    faces = [step for step in steps if sum(map(abs, step)) == 1]

    def background(pixel: tuple[int, ...]) -> bool:
        inside = all(0 <= i < n for i, n in zip(pixel, mask.shape, strict=True))
        return not inside or not mask[pixel]

    pixels = [tuple(int(i) for i in pixel) for pixel in np.argwhere(mask)]
    return [p for p in pixels if any(background(tuple(np.add(p, face))) for face in faces)]


def slow_distances(source: np.ndarray, target: np.ndarray, spacing: tuple[float, ...]) -> list:  # type: ignore[type-arg]
    return [
        min(
            math.dist(np.multiply(a, spacing), np.multiply(b, spacing))
            for b in slow_surface(target)
        )
        for a in slow_surface(source)
    ]


def check_against_brute_force(
    truth: np.ndarray, prediction: np.ndarray, spacing: tuple[float, ...]
) -> None:
    distances = surface_distances(truth, prediction, spacing)
    np.testing.assert_allclose(distances.from_truth, slow_distances(truth, prediction, spacing))
    np.testing.assert_allclose(
        distances.from_prediction, slow_distances(prediction, truth, spacing)
    )


@settings(deadline=None)
@given(filled_2d, filled_2d, st.tuples(st.floats(0.3, 3), st.floats(0.3, 3)))
def test_brute_force_2d(truth: np.ndarray, prediction: np.ndarray, spacing) -> None:  # type: ignore[no-untyped-def]
    check_against_brute_force(truth, prediction, spacing)


def test_brute_force_3d() -> None:
    rng = np.random.default_rng(0)
    for _ in range(5):
        truth, prediction = rng.random((2, 3, 4, 5)) < 0.4
        check_against_brute_force(truth, prediction, (2.5, 1.0, 0.7))


def scores(distances: SurfaceDistances) -> tuple[float, float, float]:
    return hd95(distances), assd(distances), surface_dice(distances, 1.0)


@given(masks_2d, masks_2d)
def test_symmetric_bounded_and_thin_3d(truth: np.ndarray, prediction: np.ndarray) -> None:
    distances = surface_distances(truth, prediction, (1.0, 2.0))
    assert scores(distances) == pytest.approx(
        scores(surface_distances(prediction, truth, (1.0, 2.0)))
    )
    assert max(hd95(distances), assd(distances)) <= distances.diagonal
    thin = surface_distances(truth[None], prediction[None], (9.0, 1.0, 2.0))
    assert scores(thin) == scores(distances)


@given(filled_2d)
def test_a_mask_is_at_distance_0_from_itself(mask: np.ndarray) -> None:
    assert scores(surface_distances(mask, mask, (1.0, 1.0))) == (0, 0, 1)


def test_other_grids_are_refused() -> None:
    mask = np.ones((3, 3), dtype=bool)
    with pytest.raises(GridMismatchError):
        surface_distances(mask, mask[:2], (1.0, 1.0))
    with pytest.raises(GridMismatchError):
        surface_distances(mask, mask, (1.0, 1.0, 1.0))
