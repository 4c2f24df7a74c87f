"""How a network looks at a volume: how often each axis is halved, and how large a patch may be.

Thick slices are not special: an axis is halved only once the others have become as coarse, and
until then the network's kernels do not reach across it (Isensee et al., Nature Methods 2021).
"""

from __future__ import annotations

import math

Strides = tuple[tuple[int, ...], ...]

LEAST = 4
"""Fewest positions that an axis may have on a network's coarsest grid, if it had more at first."""

MOST_HALVINGS = 5

TOO_COARSE = 2.0
"""Ratio of an axis' step to the finest one from which on it is neither halved nor looked across."""


def halvings(shape: tuple[int, ...], steps: tuple[float, ...]) -> Strides:
    """Which axes are halved one level after the other: strides of 1 or 2 for each axis.

    shape: of a patch.  steps: size of a voxel along each axis.  An axis is halved while it is
    even, keeps LEAST positions, and its step is below TOO_COARSE times the finest of those that
    can still be halved.  At most MOST_HALVINGS levels; none for a patch that is too small.
    """
    size, step = list(shape), list(steps)
    levels: list[tuple[int, ...]] = []
    while len(levels) < MOST_HALVINGS:
        able = [axis for axis, n in enumerate(size) if n % 2 == 0 and n >= 2 * LEAST]
        if not able:
            break
        finest = min(step[axis] for axis in able)
        level = tuple(
            2 if axis in able and step[axis] < TOO_COARSE * finest else 1
            for axis in range(len(size))
        )
        levels.append(level)
        size = [n // by for n, by in zip(size, level, strict=True)]
        step = [old * by for old, by in zip(step, level, strict=True)]
    return tuple(levels)


def kernels(levels: Strides, steps: tuple[float, ...]) -> Strides:
    """Size of the kernels, 3 or 1, for each axis on the grid after each level.

    1 along an axis until its step is below TOO_COARSE times the finest one; 3 from there on.
    """
    step, sizes = list(steps), []
    near = [one < TOO_COARSE * min(steps) for one in steps]
    for level in levels:
        step = [old * by for old, by in zip(step, level, strict=True)]
        near = [was or one < TOO_COARSE * min(step) for was, one in zip(near, step, strict=True)]
        sizes.append(tuple(3 if one else 1 for one in near))
    return tuple(sizes)


def fitting_patch(
    shape: tuple[int, ...], steps: tuple[float, ...], most_voxels: int
) -> tuple[int, ...]:
    """The patch for volumes of this shape: all of it where that is at most `most_voxels`.

    Each axis is rounded up to what its halvings ask for.  Where the volume is too large, the axis
    that reaches furthest in space is shortened first, so that the patch becomes a cube in mm.
    """
    patch = _rounded_up(shape, steps)
    while math.prod(patch) > most_voxels:
        unit = _unit(halvings(patch, steps), len(patch))
        reach = [n * step if n > by else 0 for n, step, by in zip(patch, steps, unit, strict=True)]
        longest = reach.index(max(reach))
        shorter = list(patch)
        shorter[longest] -= unit[longest]
        if max(reach) == 0:
            break
        patch = tuple(shorter)
    return patch


def _rounded_up(shape: tuple[int, ...], steps: tuple[float, ...]) -> tuple[int, ...]:
    """The smallest shape that holds this one and can be halved as often as its size allows."""
    counts = [min(MOST_HALVINGS, max(0, int(math.log2(n / LEAST)))) for n in shape]
    # what the roughest axis is not asked for, the others are not either
    roomy = tuple(
        math.ceil(n / 2**count) * 2**count for n, count in zip(shape, counts, strict=True)
    )
    unit = _unit(halvings(roomy, steps), len(shape))
    return tuple(math.ceil(n / by) * by for n, by in zip(shape, unit, strict=True))


def _unit(levels: Strides, axes: int) -> tuple[int, ...]:
    return tuple(math.prod(level[axis] for level in levels) for axis in range(axes))
