"""Masks drawn too wide or too narrow all around: moving the boundary back.

Who draws every outline outside of the organ, or keeps clear of its edge, has still seen where the
organ is and what shape it has.  Moved in or out by one distance, such a mask is often nearer to the
truth than any prediction; so it is moved, not replaced.
"""

from __future__ import annotations

import math

import numpy as np
from scipy import ndimage

from maskmend.core import IGNORED, BoolArray, FloatArray, LabelArray, LabelScheme

REACH = 0.5
"""How far a boundary is moved at most, in radii of a ball as large as the predicted structure."""

MOST_PIXELS = 2**24
"""A structure that fills a larger box is not moved: the distances alone would take seconds, and
half a gigabyte."""


def moved_labels(
    given: LabelArray, predicted: LabelArray, limits: FloatArray, scheme: LabelScheme,
    steps: tuple[float, ...],
) -> tuple[LabelArray, BoolArray]:  # fmt: skip
    """The prediction, with moved masks in place of it where they agree with it.

    Returns the labels, (planes, *S), and which structures have been moved, (structures,).

    given, predicted: (planes, *S).  limits: (structures,), the largest 1 - Dice at which a mask is
    believed, as from `belief_limits`; -1 for a structure whose mask is not to be moved.  steps:
    size of a pixel along each axis.  A given mask that is believed once its boundary is moved (Dice
    to the prediction) takes the place of the predicted one; ignored pixels take no part.  In
    exclusive labels a pixel that the moved mask gives up, and that was predicted as it, keeps
    another given structure or becomes background.
    """
    labels, all_moved = predicted.copy(), np.zeros(len(limits), bool)
    for number, limit in enumerate(limits):
        plane, value = (number, 1) if scheme.overlapping else (0, number + 1)
        if limit < 0:
            continue
        judged = given[plane] != IGNORED
        drawn, found = given[plane] == value, predicted[plane] == value
        moved = moved_mask(drawn, found & judged, judged, steps)
        if _distance(moved & judged, found & judged) > limit:
            continue
        all_moved[number] = True
        target = labels[plane]
        lost = (target == value) & ~moved & judged
        target[lost] = np.where(drawn[lost], 0, given[plane][lost])
        target[moved & judged] = value
    return labels, all_moved


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
    # an axis of one pixel is none: a thin volume moves as its picture does
    sides = tuple(step for step, size in zip(steps, given.shape, strict=True) if size > 1)
    reach = REACH * _radius(int(predicted.sum()), sides)
    box = _box(given | predicted, [math.ceil(reach / step) + 1 for step in steps])
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


def signed_depth(mask: BoolArray, steps: tuple[float, ...]) -> FloatArray:
    """Euclidean distance of each pixel to the nearest one of the other side, (*S,).

    Positive inside the mask, negative outside; no pixel has less than the smallest step.  mask:
    (*S,), neither empty nor everything.  steps: size of a pixel along each axis.
    """
    depth: FloatArray = np.where(
        mask,
        ndimage.distance_transform_edt(mask, sampling=steps),
        -ndimage.distance_transform_edt(~mask, sampling=steps),
    )
    return depth


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


def _radius(pixels: int, steps: tuple[float, ...]) -> float:
    """Of the ball with that content, in the unit of the steps."""
    axes = len(steps)
    unit = math.pi ** (axes / 2) / math.gamma(axes / 2 + 1)
    return float((pixels * math.prod(steps) / unit) ** (1 / axes))


def _box(mask: BoolArray, margins: list[int]) -> tuple[slice, ...]:
    """The part of the grid that holds the mask and a margin around it."""
    found = ndimage.find_objects(mask.astype(np.uint8))[0]
    return tuple(
        slice(max(part.start - margin, 0), min(part.stop + margin, size))
        for part, margin, size in zip(found, margins, mask.shape, strict=True)
    )


def _distance(mask: BoolArray, other: BoolArray) -> float:
    """1 - Dice; 0 for two empty masks."""
    total = int(mask.sum()) + int(other.sum())
    return 1 - 2 * int((mask & other).sum()) / total if total else 0.0
