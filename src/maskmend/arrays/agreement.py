"""Whole masks beside pixels: how well a given mask agrees with a prediction, and which to believe.

A boundary drawn by another hand moves every Dice a little; an error moves some of them a lot.
The masks that agree best tell how much is ordinary.
"""

from __future__ import annotations

import numpy as np

from maskmend.arrays.overlap import count_overlap
from maskmend.core import IGNORED, BoolArray, FloatArray, LabelArray, LabelScheme

ORDINARY_SHARE = 0.3
"""Share of the masks, the best agreeing ones, that tell at least what is ordinary."""

LEAST_ORDINARY = 0.01
"""1 - Dice that is ordinary in any case, so that near-perfect agreement doubts nothing."""


def predicted_labels(probs: FloatArray, scheme: LabelScheme) -> LabelArray:
    """The most probable label of each pixel, (planes, *S).

    probs: (num_channels, *S).  Overlapping: foreground above 0.5.
    """
    if scheme.overlapping:
        return (probs > 0.5).astype(np.uint8)
    winners: LabelArray = probs.argmax(axis=0, keepdims=True).astype(np.uint8)
    return winners


def mask_mismatch(given: LabelArray, predicted: LabelArray, scheme: LabelScheme) -> FloatArray:
    """How each structure of a given mask differs from the prediction, (structures, 2).

    1 - Dice falls into two parts.  With g pixels only given, p only predicted, and n the pixels
    of both masks added up:
      size = (g - p) / n, in [-1, 1]: the given mask is larger (+) or smaller (-);
      place = 2 min(g, p) / n, in [0, 1]: as many pixels here as are missing there.
    1 - Dice = |size| + place.  given, predicted: (planes, *S); pixels IGNORED in `given` take no
    part.  Two empty masks: size NaN, place 0.  Nothing takes part: NaN both.
    """
    rows = np.full((len(scheme.structures), 2), np.nan)
    for number, structure in enumerate(scheme.structures):
        judged = given[number if scheme.overlapping else 0] != IGNORED
        truth, found = (scheme.structure_mask(labels, structure) for labels in (given, predicted))
        counts = count_overlap(truth, found, ~judged)
        total = 2 * counts.tp + counts.fn + counts.fp
        if total:
            rows[number] = counts.fn - counts.fp, 2 * min(counts.fn, counts.fp)
            rows[number] /= total
        elif judged.any():
            rows[number, 1] = 0
    return rows


def size_bias(mismatch: FloatArray) -> FloatArray:
    """How much larger (+) than predicted the given masks commonly are, (structures,) in [-1, 1].

    mismatch: (N, structures, 2) as from `mask_mismatch`.  The median of `size`; 0 where no mask
    has one.
    """
    known = ~np.isnan(mismatch[..., 0])
    columns = zip(mismatch[..., 0].T, known.T, strict=True)
    return np.array([np.median(sizes[has]) if has.any() else 0.0 for sizes, has in columns])


def structure_distance(mismatch: FloatArray, bias: FloatArray | float = 0.0) -> FloatArray:
    """1 - Dice of each structure, (N, structures); with a bias, |size - bias| stands for |size|.

    mismatch: (N, structures, 2) as from `mask_mismatch`.  0 for a structure that neither mask has;
    NaN where nothing takes part.
    """
    size, place = mismatch[..., 0], mismatch[..., 1]
    distance: FloatArray = np.where(np.isnan(size), place, np.abs(size - bias) + place)
    return distance


def mask_distance(
    mismatch: FloatArray, scheme: LabelScheme, bias: FloatArray | float = 0.0
) -> FloatArray:
    """1 - Dice of each mask, (N, planes); bias as for `structure_distance`.

    mismatch: (N, structures, 2) as from `mask_mismatch`.  A plane of exclusive labels gets the
    mean over the structures that either mask has (0 if neither has any).  NaN where nothing takes
    part.
    """
    distance = structure_distance(mismatch, bias)
    if scheme.overlapping:
        return distance
    size, place = mismatch[..., 0], mismatch[..., 1]
    present = ~np.isnan(size)
    mean = np.where(present, distance, 0).sum(axis=1) / np.maximum(present.sum(axis=1), 1)
    plane: FloatArray = np.where(np.isnan(place).all(axis=1), np.nan, mean)[:, None]
    return plane


def believed_masks(distance: FloatArray, ratio: float) -> BoolArray:
    """Which given masks to believe, (N, columns) bool.

    distance: (N, columns) as from `structure_distance` or `mask_distance`, NaN where a mask takes
    no part (it is believed: nothing is known against it).  A mask is believed while its distance
    is at most `ratio` times the ordinary one of its column: the median of the masks that are
    believed, of the nearest 30 % at least, and never below 0.01.  So belief spreads from the
    nearest masks outwards, and ends where the next ones lie far off, be that after a third of the
    masks or after all of them.
    A distance of 0 is that of empty masks: it is believed, and counts for nothing in the median.
    """
    believed = np.ones(distance.shape, dtype=bool)
    for plane, column in enumerate(distance.T):
        # only two empty masks agree perfectly, and they tell nothing of boundaries
        known = np.sort(column[column > 0])
        if len(known):
            believed[:, plane] = ~(column > _limit_of_belief(known, ratio))
    return believed


def _limit_of_belief(known: FloatArray, ratio: float) -> float:
    """The smallest limit that agrees with its own median.  known: (N,), ascending, without NaN."""
    least = reached = max(1, int(ORDINARY_SHARE * len(known)))
    while True:
        count = reached
        limit = ratio * max(float(np.median(known[:count])), LEAST_ORDINARY)
        reached = max(least, int(np.searchsorted(known, limit, side="right")))
        if reached <= count:
            return limit


def flag_doubted(
    given: LabelArray, predicted: LabelArray, believed: BoolArray, scheme: LabelScheme
) -> BoolArray:
    """The noise map that follows: what differs in `in_doubt`, (planes, *S).

    Arguments as there.  Ignored pixels are never flagged.
    """
    doubted = in_doubt(given, predicted, believed, scheme)
    flagged: BoolArray = doubted & (given != predicted) & (given != IGNORED)
    return flagged


def in_doubt(
    given: LabelArray, predicted: LabelArray, believed: BoolArray, scheme: LabelScheme
) -> BoolArray:
    """Pixels whose label hangs on a structure that is not believed, (planes, *S).

    given, predicted: (planes, *S).  believed: (structures,).  Overlapping: the whole plane of the
    structure; exclusive: what is given to it or predicted as it, so that one wrong structure of a
    case leaves the border between two others alone.
    """
    if scheme.overlapping:
        doubted = ~believed.reshape(-1, *(1,) * (given.ndim - 1))
        return np.broadcast_to(doubted, given.shape)
    of_class = np.zeros(256, bool)
    of_class[1 : len(believed) + 1] = ~believed
    found: BoolArray = of_class[given] | of_class[predicted]
    return found
