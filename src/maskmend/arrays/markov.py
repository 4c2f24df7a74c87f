"""Boundaries that wander step by step: the Markov noise of Yao et al., ICLR 2023.

Yao, Zhang, Zheng, Goswami, Prasanna, Chen, "Learning to Segment from Noisy Annotations: A Spatial
Correction Approach", Definition 1, with what their published generator adds to it:

1. T times, the boundary expands with probability theta1 ("preference"), else it shrinks.
2. In such a step each pixel next to the boundary, on the side into which it moves, changes sides
   with probability theta2 ("variance").  So neighbouring errors are alike, and the boundary
   drifts outwards for theta1 > 1/2, inwards below.
3. At the end each pixel of the grid flips with probability theta3 ("random flipping"), and a
   Gaussian filter cut at one half takes most of that back: what remains is a ragged boundary and
   a speck here and there.
"""

from __future__ import annotations

import numpy as np
from scipy import ndimage

from maskmend.core import BoolArray

SMOOTHING = (39, 57, 64, 57, 39)
"""Gaussian of standard deviation 2 pixels at -2..2, in 256ths.

Whole numbers, so that sums are exact and no rounding decides about a pixel.
"""


def wander(mask: BoolArray, steps: int, thetas: tuple[float, float, float], seed: int) -> BoolArray:
    """The mask after the whole process.

    mask: (*S,) bool, not changed.  steps: T.  thetas: theta1, theta2, theta3, each in [0, 1].
    Returns (*S,) bool, the same for the same arguments.
    """
    rng = np.random.default_rng(seed)
    walked = walk_boundary(mask, steps, thetas[:2], rng)
    return smooth(walked ^ (rng.random(mask.shape) < thetas[2]))


def walk_boundary(
    mask: BoolArray, steps: int, thetas: tuple[float, float], rng: np.random.Generator
) -> BoolArray:
    """Steps 1 and 2: the boundary after T steps.

    mask: (*S,) bool, not changed.  thetas: theta1, theta2.  A pixel is next to the boundary if a
    face neighbour in the grid is on the other side; an empty and a full mask have none and stay.
    """
    preference, variance = thetas
    walked = mask.copy()
    for expands in rng.random(steps) < preference:
        # to shrink is to expand the background
        edge = np.flatnonzero(_next_to(walked if expands else ~walked))
        walked.flat[edge[rng.random(len(edge)) < variance]] = expands
    return walked


def smooth(mask: BoolArray) -> BoolArray:
    """Pixels around which, weighted by SMOOTHING along each axis, half or more is mask.

    The grid continues as its mirror image about its outermost pixels.
    """
    weight = mask.astype(np.float64)
    for axis in range(mask.ndim):
        weight = ndimage.correlate1d(weight, SMOOTHING, axis, mode="mirror")
    smoothed: BoolArray = 2 * weight >= sum(SMOOTHING) ** mask.ndim
    return smoothed


def _next_to(mask: BoolArray) -> BoolArray:
    """Pixels outside of the mask with a face neighbour in it."""
    touched = np.zeros_like(mask)
    for axis in range(mask.ndim):
        inside, outside = mask.swapaxes(0, axis), touched.swapaxes(0, axis)
        outside[1:] |= inside[:-1]
        outside[:-1] |= inside[1:]
    return touched & ~mask
