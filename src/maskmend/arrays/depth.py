"""How deep pixels lie in a mask, and the part of a grid that this asks for."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from maskmend.core import BoolArray

MOST_PIXELS = 2**24
"""In a larger box the distances alone would take seconds, and half a gigabyte."""


def signed_depth(mask: BoolArray, steps: tuple[float, ...]) -> NDArray[np.float64]:
    """Euclidean distance to the boundary of a mask, (*S,): positive inside, negative outside.

    mask: (*S,), neither empty nor full.  steps: size of a pixel along each axis.
    """
    inside = ndimage.distance_transform_edt(mask, sampling=steps)
    outside = ndimage.distance_transform_edt(~mask, sampling=steps)
    depth: NDArray[np.float64] = np.where(mask, inside, -outside)
    return depth


def ball_radius(pixels: int, shape: tuple[int, ...], steps: tuple[float, ...]) -> float:
    """Of the ball (on a picture the disc) with that many pixels, in the unit of the steps.

    An axis of one pixel is none: a thin volume is as its picture.
    """
    sides = [step for step, size in zip(steps, shape, strict=True) if size > 1]
    axes = len(sides)
    unit = math.pi ** (axes / 2) / math.gamma(axes / 2 + 1)
    return float((pixels * math.prod(sides) / unit) ** (1 / axes))


def around(mask: BoolArray, steps: tuple[float, ...], reach: float) -> tuple[slice, ...]:
    """The part of the grid that holds a mask and what is no further from it than `reach`.

    mask: (*S,), not empty.  A pixel more on each side.
    """
    found = ndimage.find_objects(mask.astype(np.uint8))[0]
    margins = [math.ceil(reach / step) + 1 for step in steps]
    return tuple(
        slice(max(part.start - margin, 0), min(part.stop + margin, size))
        for part, margin, size in zip(found, margins, mask.shape, strict=True)
    )
