"""Mistakes by hand, one of each type, and as properties."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy import ndimage

from maskmend.arrays.corruption import Corruption, corrupt
from maskmend.arrays.findings import Mistake, find_mistakes
from maskmend.arrays.findings_pairs import Boundary, Ruler
from maskmend.arrays.findings_rules import TYPES
from maskmend.core import IGNORED, BoolArray, LabelArray, LabelScheme

ONE = LabelScheme(("organ",), overlapping=True)
TWO = LabelScheme(("left kidney", "right kidney"), overlapping=False)
THREE = LabelScheme(("a", "b", "c"), overlapping=False)


def ruler(tolerance: float = 0.0, axes: int = 2) -> Ruler:
    return Ruler((1.0,) * axes, tolerance, (1.0,) * axes, axes - 1)


def drawn(*rows: str) -> LabelArray:
    """One plane from text, (1, H, W): a digit is a class, a dot background, # ignored."""
    values = {".": 0, "#": IGNORED}
    return np.array([[[values.get(c, int(c) if c.isdigit() else 0) for c in row] for row in rows]],
                    np.uint8)  # fmt: skip


def mistakes(
    given: LabelArray, suggested: LabelArray, scheme: LabelScheme = ONE, tolerance: float = 0.0
) -> tuple[Mistake, ...]:
    flagged = (given != suggested) & (given != IGNORED)
    return find_mistakes(given, suggested, flagged, scheme, ruler(tolerance, given.ndim - 1))


def types(found: Sequence[Mistake]) -> list[str]:
    return sorted(each.type for each in found)


def disc(shape: tuple[int, ...], centre: tuple[int, ...], radius: float) -> BoolArray:
    grid = np.ogrid[tuple(slice(0, n) for n in shape)]
    inside: BoolArray = np.hypot(*(g - c for g, c in zip(grid, centre, strict=True))) <= radius
    return inside


def plane(mask: BoolArray) -> LabelArray:
    return mask[None].astype(np.uint8)


# -- one of each type, by hand


def test_an_empty_mask() -> None:
    suggested = drawn(".....", ".111.", ".111.", ".....")
    (found,) = mistakes(np.zeros_like(suggested), suggested)
    assert (found.type, found.whole, found.pixels.tolist()) == ("empty", 6, [6, 7, 8, 11, 12, 13])
    assert math.isnan(found.distance)


def test_a_missing_structure_of_a_label_map_that_has_others() -> None:
    suggested = drawn(".......", ".11.22.", ".11.22.", ".......")
    given = np.where(suggested == 2, np.uint8(0), suggested)
    (found,) = mistakes(given, suggested, TWO)
    assert (found.type, found.structure, found.whole) == ("missing", 1, 4)
    nothing = mistakes(np.zeros_like(suggested), suggested, TWO)
    assert types(nothing) == ["empty", "empty"]


def test_a_missing_part() -> None:
    suggested = drawn(".........", ".1111111.", ".1111111.", ".........")
    given = suggested.copy()
    given[0, :, 4:] = 0
    (found,) = mistakes(given, suggested)
    assert (found.type, len(found.pixels), found.whole) == ("missing", 8, 14)
    # from the last given column to the end of the structure
    assert found.distance == 4


def test_an_extra_blob() -> None:
    suggested = drawn(".........", ".111.....", ".111.....", ".111.....", ".........")
    given = suggested.copy()
    given[0, 1:3, 6:8] = 1
    (found,) = mistakes(given, suggested)
    assert (found.type, len(found.pixels)) == ("extra", 4)
    # a structure that should not be there at all
    (found,) = mistakes(given, np.zeros_like(given))[:1]
    assert found.type == "extra"


def test_a_boundary_locally_too_wide_and_too_narrow() -> None:
    square = np.zeros((13, 13), bool)
    square[3:10, 3:10] = True
    wide = square.copy()
    wide[5:8, 10:12] = True
    (found,) = mistakes(plane(wide), plane(square))
    assert (found.type, len(found.pixels), found.distance) == ("over", 6, 2)
    narrow = square.copy()
    narrow[5:8, 8:10] = False
    (found,) = mistakes(plane(narrow), plane(square))
    assert (found.type, len(found.pixels), found.distance) == ("under", 6, 2)


def test_a_mask_too_wide_and_too_narrow_all_around() -> None:
    small, large = np.zeros((9, 9), bool), np.zeros((9, 9), bool)
    small[3:6, 3:6] = True
    large[2:7, 2:7] = True
    (found,) = mistakes(plane(large), plane(small))
    assert (found.type, len(found.pixels)) == ("over", 16)
    (found,) = mistakes(plane(small), plane(large))
    assert (found.type, len(found.pixels)) == ("under", 16)


def test_a_shifted_mask_is_one_finding() -> None:
    mask = np.zeros((9, 9), bool)
    mask[2:6, 2:5] = True
    (found,) = mistakes(plane(np.roll(mask, (2, 1), (0, 1))), plane(mask))
    # 12 pixels each, 4 of them in common
    assert (found.type, len(found.pixels), found.whole) == ("shifted", 16, 12)


def test_a_mirrored_mask() -> None:
    mask = np.zeros((9, 12), bool)
    mask[1:8, 1:3] = True
    mask[6:8, 1:6] = True
    (found,) = mistakes(plane(mask[:, ::-1]), plane(mask))
    assert found.type == "left-right"


def test_swapped_classes_are_one_finding() -> None:
    suggested = drawn("........", ".111....", ".111.22.", ".....22.", "........")
    given = np.array([0, 2, 1, 3], np.uint8)[suggested]
    (found,) = mistakes(given, suggested, THREE)
    assert (found.type, found.structure, len(found.pixels)) == ("swapped", 0, 10)


def test_swapped_sides_are_left_right_by_name_or_by_shape() -> None:
    suggested = drawn(".........", ".11...22.", ".1.....2.", ".11...22.", ".........")
    given = np.array([0, 2, 1], np.uint8)[suggested]
    assert types(mistakes(given, suggested, TWO)) == ["left-right"]
    # nothing in these names, but mirror images
    assert types(mistakes(given, suggested, THREE)) == ["left-right"]
    # one above the other they are no sides
    given, suggested = (labels.transpose(0, 2, 1).copy() for labels in (given, suggested))
    assert types(mistakes(given, suggested, THREE)) == ["swapped"]


def test_swapped_masks_of_overlapping_structures() -> None:
    scheme = LabelScheme(("lung", "heart"), overlapping=True)
    lung, heart = disc((30, 30), (10, 10), 8), disc((30, 30), (14, 20), 5)
    suggested = np.stack([lung, heart]).astype(np.uint8)
    found = mistakes(suggested[::-1].copy(), suggested, scheme)
    assert [(each.type, each.plane) for each in found] == [("swapped", 0), ("swapped", 1)]


def test_a_rough_outline() -> None:
    mask = disc((64, 64), (32, 32), 20)
    jagged = corrupt(mask, Corruption("", "", "edge_distortion", radius=5, seed=1))
    assert types(mistakes(plane(jagged), plane(mask), tolerance=1)) == ["rough"]
    coarse = corrupt(mask, Corruption("", "", "polygon", radius=14))
    assert types(mistakes(plane(coarse), plane(mask), tolerance=1)) == ["rough"]


def test_a_piece_of_another_class() -> None:
    suggested = drawn("..........", ".111...22.", ".111...22.", "..........")
    given = np.where(suggested == 2, np.uint8(1), suggested)
    assert types(mistakes(given, suggested, THREE)) == ["swapped"]


def test_a_boundary_between_two_structures_is_one_finding() -> None:
    suggested = np.zeros((1, 12, 20), np.uint8)
    suggested[0, 2:10, 2:10] = 1
    suggested[0, 2:10, 10:18] = 2
    given = suggested.copy()
    given[0, 4:8, 10:12] = 1
    (found,) = mistakes(given, suggested, THREE)
    assert (found.type, found.structure, len(found.pixels)) == ("over", 0, 8)


# -- the tolerance


def test_a_boundary_within_the_tolerance_is_no_mistake() -> None:
    mask, wider = disc((40, 40), (20, 20), 10), disc((40, 40), (20, 20), 12)
    assert mistakes(plane(wider), plane(mask), tolerance=2) == ()
    assert mistakes(plane(mask), plane(wider), tolerance=2) == ()
    assert types(mistakes(plane(wider), plane(mask), tolerance=1)) == ["over"]


def test_a_region_beyond_the_tolerance_keeps_its_first_pixels_but_not_the_rim_around() -> None:
    square = np.zeros((60, 60), bool)
    square[10:50, 10:50] = True
    given = square.copy()
    # a rim of one pixel all along the right side, and a bulge of six in its middle
    given[10:50, 50] = True
    given[27:33, 50:56] = True
    (found,) = mistakes(plane(given), plane(square), tolerance=2)
    rows, columns = np.divmod(found.pixels, 60)
    assert (columns.min(), columns.max()) == (50, 55)
    assert set(zip(rows.tolist(), columns.tolist(), strict=True)) >= {
        (row, column) for row in range(27, 33) for column in range(50, 56)
    }
    # of the rim only what lies beside the bulge
    assert 22 < rows.min() <= 27
    assert 32 <= rows.max() < 37


def test_thin_errors_are_kept() -> None:
    square = np.zeros((40, 40), bool)
    square[10:30, 10:30] = True
    spur, crack = square.copy(), square.copy()
    spur[20, 30:38] = True
    crack[20, 22:30] = False
    for thin in (spur, crack):
        for given, suggested in ((thin, square), (square, thin)):
            (found,) = mistakes(plane(given), plane(suggested), tolerance=2)
            assert len(found.pixels) == 8


def test_a_structure_thinner_than_the_tolerance_cannot_vanish() -> None:
    vessel = np.zeros((20, 40), bool)
    vessel[10:12, 5:35] = True
    stump = vessel.copy()
    stump[10] = False
    assert len(mistakes(plane(stump), plane(vessel), tolerance=3)) == 0
    stump[11, 8:] = False
    (found,) = mistakes(plane(stump), plane(vessel), tolerance=3)
    assert len(found.pixels) == 57


def test_the_tolerance_in_mm_knows_thick_slices() -> None:
    mask = np.zeros((9, 24, 24), bool)
    mask[3:6, 6:18, 6:18] = True
    thicker, wider = mask.copy(), mask.copy()
    thicker[2, 6:18, 6:18] = True
    wider[3:6, 6:18, 18] = True
    steps = (5.0, 1.0, 1.0)
    millimetres, pixels = Ruler(steps, 2.0, steps, 2), Ruler(steps, 2.0, (1.0,) * 3, 2)
    for given, found_by_mm in ((thicker, 1), (wider, 0)):
        flagged = plane(given) != plane(mask)
        arrays = (plane(given), plane(mask), flagged, ONE)
        by_mm = find_mistakes(*arrays, millimetres)
        assert len(by_mm) == found_by_mm
        assert find_mistakes(*arrays, pixels) == ()
        assert [each.distance for each in by_mm] == [5.0] * found_by_mm


# -- ignored pixels, nothing at all


def test_ignored_pixels_are_no_boundary() -> None:
    suggested = drawn("#########", "#11111..#", "#11111..#", "#########")
    given = drawn("#########", "#111....#", "#111....#", "#########")
    (found,) = mistakes(given, suggested)
    assert len(found.pixels) == 4
    assert found.distance == 2


def test_a_plane_without_labels_has_no_mistakes() -> None:
    nothing = np.full((1, 5, 5), IGNORED, np.uint8)
    assert mistakes(nothing, nothing) == ()
    empty = np.zeros((1, 5, 5), np.uint8)
    assert mistakes(empty, empty) == ()
    # everything given, nothing beside it: no boundary to measure from
    full = np.ones((1, 5, 5), np.uint8)
    (found,) = mistakes(full, empty)
    assert (found.type, math.isnan(found.distance)) == ("extra", True)


def test_a_structure_that_nobody_labelled_has_no_mistake() -> None:
    given = drawn("#######", "#111###", "#111###", "#######")
    suggested = drawn("2222222", "2112222", "2112222", "2222222")
    # what is not judged stays as it is
    suggested = np.where(given == IGNORED, given, suggested)
    flagged = given != suggested
    (found,) = find_mistakes(given, suggested, flagged, THREE, ruler(), frozenset("b"))
    assert (found.type, found.structure, len(found.pixels)) == ("over", 0, 2)


# -- properties


def noisy(seed: int, shape: tuple[int, ...], classes: int) -> tuple[LabelArray, LabelArray]:
    """Labels of smooth blobs, and others that differ at boundaries and here and there."""
    rng = np.random.default_rng(seed)
    fields = ndimage.gaussian_filter(
        rng.standard_normal((classes, *shape)), (0, *(4,) * len(shape))
    )
    change = ndimage.gaussian_filter(
        rng.standard_normal((classes, *shape)), (0, *(3,) * len(shape))
    )
    given = fields.argmax(axis=0)[None].astype(np.uint8)
    return given, (fields + 0.6 * change).argmax(axis=0)[None].astype(np.uint8)


@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize("tolerance", [0, 1, 2.5])
def test_mistakes_part_the_flagged_pixels_beyond_the_tolerance(seed: int, tolerance: float) -> None:
    shape, classes = ((50, 60), 4) if seed % 2 else ((14, 24, 24), 3)
    scheme = LabelScheme(tuple("abcdef"[: classes - 1]), overlapping=False)
    given, suggested = noisy(seed, shape, classes)
    found = mistakes(given, suggested, scheme, tolerance)
    assert found
    pixels = np.concatenate([each.pixels for each in found])
    assert len(set(pixels.tolist())) == len(pixels)
    assert {each.type for each in found} <= set(TYPES)
    beyond = pixels_beyond(given[0], suggested[0], classes, tolerance)
    flagged = np.flatnonzero(given != suggested)
    assert set(beyond.tolist()) <= set(pixels.tolist()) <= set(flagged.tolist())
    if tolerance == 0:
        assert sorted(pixels.tolist()) == flagged.tolist()


def pixels_beyond(
    given: LabelArray, suggested: LabelArray, classes: int, tolerance: float
) -> NDArray[np.intp]:  # fmt: skip
    """By distance transforms of whole planes: farther from a boundary of a class of theirs."""
    beyond = np.zeros(given.shape, bool)
    for k in range(1, classes):
        one, other = given == k, suggested == k
        distances = [
            np.where(mask, ndimage.distance_transform_edt(mask),
                     ndimage.distance_transform_edt(~mask)) for mask in (one, other)
        ]  # fmt: skip
        everything = (one ^ other).sum() > 0.5 * max(one.sum(), other.sum())
        beyond |= (one ^ other) & ((np.maximum(*distances) > tolerance + 0.5) | everything)
    return np.flatnonzero(beyond)


@pytest.mark.parametrize("kind", ["dilate", "erode", "shift", "polygon", "blob", "missing_part"])
def test_a_picture_is_a_volume_of_one_slice(kind: str) -> None:
    mask = disc((70, 80), (34, 36), 20) | disc((70, 80), (40, 50), 16)
    wrong = corrupt(mask, Corruption("", "", kind, radius=6, seed=4, offset=(5, -6)))
    flat = mistakes(plane(wrong), plane(mask), tolerance=1)
    thin = mistakes(plane(wrong)[:, None], plane(mask)[:, None], tolerance=1)
    assert flat
    assert [(e.type, e.pixels.tolist(), e.distance) for e in flat] == [
        (e.type, e.pixels.tolist(), e.distance) for e in thin
    ]


@pytest.mark.parametrize(
    ("kind", "wanted"),
    [
        ("dilate", "over"), ("erode", "under"), ("shift", "shifted"), ("blob", "extra"),
        ("missing_part", "missing"), ("missing", "empty"), ("edge_distortion", "rough"),
        ("mirrored", "left-right"), ("polygon", "rough"), ("bulge", "over"), ("dent", "under"),
    ],
)  # fmt: skip
def test_types_in_a_volume(kind: str, wanted: str) -> None:
    shape = (30, 64, 80)
    grid = np.ogrid[tuple(slice(0, n) for n in shape)]
    z, y, x = (((g - c) / r) ** 2 for g, c, r in zip(grid, (15, 30, 34), (11, 17, 22), strict=True))
    mask = z + y + x <= 1
    if kind == "mirrored":
        # mirrored, an ellipsoid is a shifted one
        mask[:, 30:, :34] = False
    radius = {"polygon": 14, "edge_distortion": 5}.get(kind, 6)
    corruption = Corruption("", "", kind, radius=radius, seed=2, offset=(2, 5, -6))
    found = mistakes(plane(corrupt(mask, corruption)), plane(mask), tolerance=1)
    assert max(found, key=lambda each: len(each.pixels)).type == wanted


# -- distances


def test_the_greatest_distance_is_exact_however_many_pixels_there_are() -> None:
    rng = np.random.default_rng(0)
    mask = ndimage.gaussian_filter(rng.standard_normal((30, 40, 40)), 5) > 0.01
    boundary = Boundary.of(mask, np.ones_like(mask))
    steps = (2.5, 1.0, 0.7)
    for wanted in (mask, ~mask):
        places = np.array(np.nonzero(wanted))
        exact = ndimage.distance_transform_edt(wanted, sampling=steps)[wanted]
        np.testing.assert_allclose(boundary.distance(places, steps), exact)
        assert boundary.greatest(places, steps) == pytest.approx(exact.max())
