"""What can be measured of a structure that differs as a whole: moves, mirrors, rims, corners."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from maskmend.arrays.findings_outline import Corners, measure_corners
from maskmend.arrays.findings_pairs import Boundary, Judged, MaskPair, Ruler

SAMPLES = 1 << 16
"""Pixels of a large box at which a move is tried."""


@dataclass(frozen=True)
class Evidence:
    """One structure, whose given mask is not empty, against its suggested one.

    Lengths are in the unit of the tolerance.
    shift_explains, mirror_explains: share of the differing pixels that would agree if the
    suggested mask were moved, or mirrored left to right; <= 1, not above 0 where it makes nothing
    better.  shift: length of that move.
    wide, narrow: shares of the suggested boundary that the given mask goes beyond, or stays
    behind, by more than the tolerance.
    lost: share of the suggested mask that is not given.  lost_depth: how deep in it that reaches.
    thickness: pixels of the suggested mask over those of its boundary, half of the width of a
    long one.
    given_corners, suggested_corners: of the outlines.
    """

    tolerance: float
    shift_explains: float
    shift: float
    mirror_explains: float
    wide: float
    narrow: float
    lost: float
    lost_depth: float
    thickness: float
    given_corners: Corners
    suggested_corners: Corners


def weigh(judged: Judged, shape: tuple[int, ...], ruler: Ruler) -> Evidence:
    """Measure a structure that is given and suggested.  shape: of the plane."""
    pair, steps = judged.pair, ruler.tolerance_steps
    moved, shift = best_shift(pair, shape)
    mirrored = mirrored_difference(pair, shape, ruler.sideways)
    wide, narrow = displaced(judged.given, judged.suggested, ruler)
    lost = judged.lost_places
    size = int(np.count_nonzero(pair.suggested))
    return Evidence(
        tolerance=ruler.tolerance,
        shift_explains=1 - moved,
        shift=math.hypot(*np.multiply(shift, steps)),
        mirror_explains=1 - mirrored / len(pair.changed),
        wide=wide,
        narrow=narrow,
        lost=lost.shape[1] / size,
        lost_depth=judged.suggested.about_greatest(lost, steps),
        thickness=size / len(judged.suggested.inner) * min(steps),
        given_corners=measure_corners(pair.given),
        suggested_corners=measure_corners(pair.suggested),
    )


def displaced(given: Boundary, suggested: Boundary, ruler: Ruler) -> tuple[float, float]:
    """Shares of the suggested boundary that the given mask goes beyond, or stays behind.

    By more than the tolerance.  Of the outermost pixels of the suggested mask: those that lie a
    pixel deeper than that in the given mask; those that lie so far outside of it.
    """
    places, steps = suggested.inner.T, ruler.tolerance_steps
    inside = given.contains(places)
    deep = np.isinf(given.distance(places[:, inside], steps, ruler.limit + min(steps)))
    far = np.isinf(given.distance(places[:, ~inside], steps, ruler.limit))
    count = max(places.shape[1], 1)
    return np.count_nonzero(deep) / count, np.count_nonzero(far) / count


def best_shift(pair: MaskPair, shape: tuple[int, ...]) -> tuple[float, tuple[int, ...]]:
    """Share of the differing pixels that still differ once the suggested mask is moved best.

    Also that move, in whole pixels.

    From the difference of the centroids downhill.  Of a large box the pixels are sampled on a
    lattice, and the count is scaled up.  shape: of the plane; what leaves it is gone.
    """
    centres = [np.argwhere(mask).mean(axis=0) for mask in (pair.given, pair.suggested)]
    stride = max(math.ceil((pair.given.size / SAMPLES) ** (1 / pair.given.ndim)), 1)
    tried: dict[tuple[int, ...], int] = {}

    def differing(move: tuple[int, ...]) -> int:
        if move not in tried:
            tried[move] = _differing_moved(pair, shape, move, stride)
        return tried[move]

    still = (0,) * pair.given.ndim
    best = min(tuple(np.rint(centres[0] - centres[1]).astype(int).tolist()), still, key=differing)
    while True:
        near = [
            tuple(at + (axis == number) * step for number, at in enumerate(best))
            for axis in range(pair.given.ndim)
            for step in (-1, 1)
        ]
        better = min(near, key=differing)
        if differing(better) >= differing(best):
            return differing(best) / differing(still) if differing(still) else 1.0, best
        best = better


def _differing_moved(
    pair: MaskPair, shape: tuple[int, ...], move: tuple[int, ...], stride: int
) -> int:
    """Pixels of a lattice that differ once the suggested mask is moved."""
    here, there, kept = [], [], []
    for size, step, start, whole in zip(
        pair.given.shape, move, pair.start.tolist(), shape, strict=True
    ):
        first = max(step, 0)
        first += -first % stride
        end = max(min(size + step, size), first)
        here.append(slice(first, end, stride))
        there.append(slice(first - step, end - step, stride))
        # on the same lattice, but as far as the plane goes
        low = max(-start - step, 0)
        low += (-step - low) % stride
        kept.append(slice(low, max(min(size, whole - start - step), low), stride))
    lattice = (slice(None, None, stride),) * pair.given.ndim
    common = np.count_nonzero(pair.given[tuple(here)] & pair.suggested[tuple(there)])
    given = np.count_nonzero(pair.given[lattice])
    suggested = np.count_nonzero(pair.suggested[tuple(kept)])
    return int(given + suggested - 2 * common)


def mirrored_difference(pair: MaskPair, shape: tuple[int, ...], axis: int) -> int:
    """Pixels that differ once the suggested mask is mirrored along an axis of the plane."""
    size, start = pair.given.shape[axis], int(pair.start[axis])
    # where the box begins once the plane is mirrored, as an index in the box
    first = shape[axis] - (start + size) - start
    low, high = max(first, 0), min(first + size, size)
    sizes = np.count_nonzero(pair.given) + np.count_nonzero(pair.suggested)
    if low >= high:
        return int(sizes)
    mirrored = np.moveaxis(np.flip(pair.suggested, axis), axis, 0)[low - first : high - first]
    common = np.count_nonzero(np.moveaxis(pair.given, axis, 0)[low:high] & mirrored)
    return int(sizes - 2 * common)
