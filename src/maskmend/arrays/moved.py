"""Masks drawn too wide or too narrow all around: moving the boundary back.

Who draws every outline outside of the organ, or keeps clear of its edge, has still seen where the
organ is and what shape it has.  Moved in or out by one distance, such a mask is often nearer to the
truth than any prediction.
"""

from __future__ import annotations

import numpy as np

from maskmend.arrays.depth import MOST_PIXELS, around, ball_radius, signed_depth
from maskmend.core import BoolArray, FloatArray

REACH = 0.5
"""How far a boundary is moved at most, in radii of a ball as large as the predicted structure."""


def moved_mask(
    given: BoolArray, predicted: BoolArray, judged: BoolArray, steps: tuple[float, ...]
) -> BoolArray:
    """The given mask with its boundary moved to where it agrees best with the prediction, (*S,).

    given, predicted, judged: (*S,) bool; only judged pixels count.  steps: size of a pixel along
    each axis.  Of all masks {x : d(x) >= t}, d the Euclidean distance to the given boundary
    (positive inside), |t| up to REACH radii, the one with the largest Dice; of equal ones that
    which is moved least.  An empty mask, one without a boundary near enough, and one that fills
    more than MOST_PIXELS with its surroundings stay as they are.
    """
    if not predicted.any() or not given.any() or given.all():
        return given.copy()
    reach = REACH * ball_radius(int(predicted.sum()), given.shape, steps)
    box = around(given | predicted, steps, reach)
    drawn = given[box]
    if drawn.all() or drawn.size > MOST_PIXELS:
        return given.copy()
    depth = signed_depth(drawn, steps)
    moved = np.zeros_like(given)
    counted = judged[box]
    if not (np.abs(depth[counted]) <= reach).any():
        return given.copy()
    threshold = _best_threshold(depth[counted], predicted[box][counted], reach)
    moved[box] = depth >= threshold
    return moved


def _best_threshold(depth: FloatArray, predicted: BoolArray, reach: float) -> float:
    """The t of the largest Dice between {depth >= t} and the prediction; both (n,)."""
    inside, near = depth > reach, np.abs(depth) <= reach
    order = np.argsort(-depth[near], kind="stable")
    depths = depth[near][order]
    hits = (predicted & inside).sum() + np.cumsum(predicted[near][order])
    # the last pixel of each depth: a threshold takes all pixels of a depth, or none
    last = np.flatnonzero(np.append(depths[1:] != depths[:-1], True))
    dice = 2 * hits[last] / (inside.sum() + last + 1 + predicted.sum())
    thresholds = depths[last]
    best = np.flatnonzero(dice >= dice.max() - 1e-12)
    return float(thresholds[best[np.argmin(np.abs(thresholds[best]))]])
