"""Resizing of images, labels and probabilities to another spatial shape.

Pixel i of an axis of n pixels covers [i / n, (i + 1) / n] of the field of view and has its value
at the centre (the align_corners=False convention of torch), so a resized array covers exactly
the same field of view.  Leading axes (channels, planes, classes) are never mixed.
"""

from __future__ import annotations

from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from maskmend.core import FloatArray
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
