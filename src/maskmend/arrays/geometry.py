"""Grids: resizing to another spatial shape, and where one grid lies on another.

Pixel i of an axis of n pixels covers [i / n, (i + 1) / n] of the field of view and has its value
at the centre (the align_corners=False convention of torch), so a resized array covers exactly
the same field of view.  Leading axes (channels, planes, classes) are never mixed.
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass, replace
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from maskmend.core import BoolArray, FloatArray, Grid
from maskmend.errors import GridMismatchError

Number = TypeVar("Number", bound=np.number[Any])
Integer = TypeVar("Integer", bound=np.integer[Any])


def resize_image(image: NDArray[Number], shape: tuple[int, ...]) -> NDArray[Number]:
    """Image on another grid: linear where an axis grows, area average where it shrinks.

    image: (C, *S), finite, any integer or float dtype.  shape: the new spatial shape, one entry
    for each axis of S, all positive.
    Returns (C, *shape) of the dtype given, within the range of the values given; integers are
    rounded to the nearest (halves to even).  The mean is kept on an axis that shrinks.
    Raises GridMismatchError when the number of axes differs or an entry is not positive.
    """
    resized = _resample(image, shape)
    if np.issubdtype(image.dtype, np.integer):
        resized = np.rint(resized)
    return resized.astype(image.dtype, copy=False)


def resize_probabilities(probs: FloatArray, shape: tuple[int, ...]) -> FloatArray:
    """Probabilities on another grid, interpolated as `resize_image` does.

    probs: (C, *S), float, in [0, 1].  shape: the new spatial shape.
    Returns (C, *shape) of the dtype given, in [0, 1]; where the channels sum to 1 before, they
    do so after, to rounding.  Raises GridMismatchError as `resize_image` does.
    """
    # a weighted mean may leave [0, 1] by one rounding step, which invariant checks would refuse
    resized: FloatArray = np.clip(_resample(probs, shape), 0, 1).astype(probs.dtype, copy=False)
    return resized


def resize_labels(labels: NDArray[Integer], shape: tuple[int, ...]) -> NDArray[Integer]:
    """Labels on another grid: each new pixel takes the label of the pixel under its centre.

    labels: (planes, *S), integers; IGNORED is a value like any other and never spreads.
    shape: the new spatial shape.  Returns (planes, *shape) of the dtype given, holding no value
    that the input has not.  Raises GridMismatchError as `resize_image` does.
    """
    _check_axes(labels.shape, shape)
    resized = labels
    for axis, (old, new) in enumerate(zip(labels.shape[1:], shape, strict=True), start=1):
        # in integers, floor((o + 1/2) * old / new) is exact: no rounding decides a label
        resized = np.take(resized, (2 * np.arange(new) + 1) * old // (2 * new), axis=axis)
    return resized


def _resample(array: NDArray[Any], shape: tuple[int, ...]) -> NDArray[np.floating[Any]]:
    """Separable weighted means along the spatial axes; float64 for integers, else float32 up."""
    _check_axes(array.shape, shape)
    exact = np.float64 if np.issubdtype(array.dtype, np.integer) else np.float32
    resampled = array.astype(np.result_type(array.dtype, exact))
    for axis, (old, new) in enumerate(zip(array.shape[1:], shape, strict=True), start=1):
        if old != new:
            weights = _axis_weights(old, new).astype(resampled.dtype)
            resampled = np.moveaxis(np.moveaxis(resampled, axis, -1) @ weights.T, -1, axis)
    return np.ascontiguousarray(resampled)


def _axis_weights(old: int, new: int) -> NDArray[np.float64]:
    """Share of each old pixel in each new one, (new, old); rows sum to 1."""
    if new < old:
        # overlap of the two pixels' extents: a box average, so that nothing aliases
        edges = np.arange(new + 1) * (old / new)
        left, right = edges[:-1, None], edges[1:, None]
        pixels = np.arange(old)
        overlap = np.minimum(right, pixels + 1) - np.maximum(left, pixels)
        weights = np.maximum(overlap, 0)
    else:
        # centres beyond the outermost old centres take the value of the border pixel
        centres = np.clip((np.arange(new) + 0.5) * (old / new) - 0.5, 0, old - 1)
        weights = np.maximum(1 - np.abs(centres[:, None] - np.arange(old)), 0)
    shares: NDArray[np.float64] = weights / weights.sum(axis=1, keepdims=True)
    return shares


def _check_axes(array_shape: tuple[int, ...], shape: tuple[int, ...]) -> None:
    if len(shape) != len(array_shape) - 1 or min(shape) < 1:
        raise GridMismatchError(
            "resize",
            expected=f"a positive size for each of the {len(array_shape) - 1} spatial axes of an "
            f"array of shape {array_shape}, channels first",
            got=f"the new shape {shape}",
            remedy="Give one size an axis, and the array with its channel axis in front.",
        )


SAME_PLACE = 0.01
"""Voxels by which two grids may lie apart and still be one.

Headers store positions as float32 or as decimal text, so that two files of one grid differ by
some 1e-6 of a voxel; a hundredth of a voxel changes no label.
"""


@dataclass(frozen=True)
class GridPart:
    """Where an array lies on a larger grid, by whole voxels.

    axes: for each axis of the larger grid, the axis of the array that runs along it.  flipped:
    whether it runs backwards.  start: first index on the larger grid, which may be negative.
    shape: of the array, its axes in the order of the larger grid.
    """

    axes: tuple[int, ...]
    flipped: tuple[bool, ...]
    start: tuple[int, ...]
    shape: tuple[int, ...]


def same_grid(one: Grid, other: Grid) -> bool:
    """Whether two grids have one shape and, where both know it, one place in space.

    Affines are compared at the corners, which may lie SAME_PLACE of the smallest voxel edge
    apart; where only the spacings are known, these may differ by that share.
    """
    if one.shape != other.shape:
        return False
    if one.affine is not None and other.affine is not None:
        first, second = np.array(one.affine), np.array(other.affine)
        corners = _corners(one.shape)
        apart = np.linalg.norm((corners @ (first - second).T)[:, :3], axis=1).max()
        return bool(apart <= SAME_PLACE * np.linalg.norm(first[:3, :3], axis=0).min())
    if one.spacing is not None and other.spacing is not None:
        return bool(np.allclose(one.spacing, other.spacing, rtol=SAME_PLACE, atol=0))
    return True


def part_of_grid(own: Grid, grid: Grid) -> GridPart | None:
    """Where an array on the grid `own` lies on another, or None where no voxels coincide.

    The axes may be permuted and flipped; nothing is interpolated.  Where one of the two does not
    know its place, they are one grid if the shapes are equal, axes of a single voxel in front
    left out.
    """
    if own.affine is None or grid.affine is None:
        return _part_by_shape(own.shape, grid.shape)
    if len(own.shape) != len(grid.shape):
        return None
    # index on the own grid -> index on the other
    matrix = np.linalg.inv(np.array(grid.affine)) @ np.array(own.affine)
    whole = np.rint(matrix)
    steps = np.abs(whole[:3, :3])
    if not (np.array_equal(steps.sum(0), [1, 1, 1]) and np.array_equal(steps.sum(1), [1, 1, 1])):
        return None
    if np.abs(_corners(own.shape) @ (matrix - whole).T).max() > SAME_PLACE:
        return None
    axes = tuple(int(axis) for axis in steps.argmax(axis=1))
    shape = tuple(own.shape[axis] for axis in axes)
    flipped = tuple(bool(whole[row, axis] < 0) for row, axis in enumerate(axes))
    first = whole[:3, 3].astype(int).tolist()
    start = tuple(
        at - size + 1 if backwards else at
        for at, size, backwards in zip(first, shape, flipped, strict=True)
    )
    return GridPart(axes, flipped, start, shape)


def place_mask(mask: BoolArray, part: GridPart, shape: tuple[int, ...]) -> tuple[BoolArray, int]:
    """A mask on the larger grid, (*shape), and how many of its voxels lie outside of it.

    mask: on its own grid, bool.  What it does not cover is False.
    """
    turned = np.transpose(mask.reshape(_own_shape(part)), part.axes)[_steps(part)]
    large, small = _common(part, shape)
    placed = np.zeros(shape, bool)
    placed[large] = turned[small]
    return placed, int(np.count_nonzero(mask)) - int(np.count_nonzero(placed))


def cut_mask(placed: BoolArray, part: GridPart) -> tuple[BoolArray, int]:
    """The inverse of `place_mask`: the mask on its own grid, and the voxels that it cannot hold.

    placed: on the larger grid, bool.  Its own voxels outside of the larger grid are False.
    """
    large, small = _common(part, placed.shape)
    turned = np.zeros(part.shape, bool)
    turned[small] = placed[large]
    own = np.ascontiguousarray(np.transpose(turned[_steps(part)], np.argsort(part.axes)))
    return own, int(np.count_nonzero(placed)) - int(np.count_nonzero(own))


def with_slices(part: GridPart, placed: BoolArray) -> tuple[GridPart, int]:
    """The part with as many more slices, along its own first axis, as a mask reaches beyond it.

    placed: on the larger grid, bool.  Also how many of them come before the first slice.
    """
    row = part.axes.index(0)
    others = tuple(axis for axis in range(placed.ndim) if axis != row)
    filled = np.flatnonzero(placed.any(axis=others))
    if not filled.size:
        return part, 0
    start, size = part.start[row], part.shape[row]
    below = max(0, start - int(filled[0]))
    above = max(0, int(filled[-1]) + 1 - start - size)
    starts, sizes = list(part.start), list(part.shape)
    starts[row], sizes[row] = start - below, size + below + above
    grown = replace(part, start=tuple(starts), shape=tuple(sizes))
    return grown, above if part.flipped[row] else below


def block_mean(image: NDArray[Any], factor: int) -> FloatArray:
    """Mean of whole blocks of factor pixels along each spatial axis, (C, *S / factor) float32.

    image: (C, *S), each of S a multiple of the factor; else GridMismatchError.
    """
    if any(size % factor for size in image.shape[1:]):
        raise GridMismatchError(
            "block_mean",
            expected=f"a multiple of {factor} pixels along each axis",
            got=f"{image.shape[1:]}",
            remedy="Give the image in its full size.",
        )
    blocks: list[int] = [len(image)]
    for size in image.shape[1:]:
        blocks += [size // factor, factor]
    within = tuple(range(2, len(blocks), 2))
    mean: FloatArray = image.reshape(blocks).mean(axis=within, dtype=np.float64).astype(np.float32)
    return mean


def coarser_grid(grid: Grid, factor: int) -> Grid:
    """The grid of `block_mean`: pixels `factor` times as large, in the same field of view."""
    shape = tuple(size // factor for size in grid.shape)
    spacing = None if grid.spacing is None else tuple(factor * step for step in grid.spacing)
    if grid.affine is None:
        return Grid(shape, spacing)
    affine = np.array(grid.affine)
    # the centre of the first block
    affine[:3, 3] += affine[:3, :3].sum(axis=1) * (factor - 1) / 2
    affine[:3, :3] *= factor
    return Grid(shape, spacing, tuple(tuple(row) for row in affine.tolist()))


def _corners(shape: tuple[int, ...]) -> NDArray[np.float64]:
    """Indices of the first and last voxel along each axis, each with a 1 behind, (8, 4)."""
    ends = [(0, size - 1) for size in shape]
    return np.array([(*corner, 1) for corner in itertools.product(*ends)], float)


def _part_by_shape(own: tuple[int, ...], shape: tuple[int, ...]) -> GridPart | None:
    extra = len(own) - len(shape)
    if extra < 0 or own != (1,) * extra + shape:
        return None
    count = len(shape)
    return GridPart(tuple(range(count)), (False,) * count, (0,) * count, shape)


def _own_shape(part: GridPart) -> tuple[int, ...]:
    return tuple(part.shape[at] for at in np.argsort(part.axes))


def _steps(part: GridPart) -> tuple[slice, ...]:
    return tuple(slice(None, None, -1 if backwards else 1) for backwards in part.flipped)


def _common(part: GridPart, shape: tuple[int, ...]) -> tuple[tuple[slice, ...], tuple[slice, ...]]:
    """What both grids have: as slices of the larger one, and of the array turned to its axes."""
    large, small = [], []
    for start, size, whole in zip(part.start, part.shape, shape, strict=True):
        low, high = max(start, 0), max(min(start + size, whole), max(start, 0))
        low = min(low, high)
        large.append(slice(low, high))
        small.append(slice(low - start, high - start))
    return tuple(large), tuple(small)
