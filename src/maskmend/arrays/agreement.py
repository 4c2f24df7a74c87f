"""Whole masks beside pixels: how well a given mask agrees with a prediction, and which to believe.

A boundary drawn by another hand moves every Dice a little; an error moves some of them a lot.
The masks that agree best tell how much is ordinary.
"""

from __future__ import annotations

import numpy as np

from maskmend.arrays.overlap import count_overlap
from maskmend.core import IGNORED, BoolArray, FloatArray, LabelArray, LabelScheme

ORDINARY_SHARE = 0.3
"""Share of the masks, the best agreeing ones, that tells what disagreement is ordinary."""

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


def mask_agreement(given: LabelArray, predicted: LabelArray, scheme: LabelScheme) -> FloatArray:
    """Dice between the given and the predicted mask of each plane, (planes,) in [0, 1].

    given, predicted: (planes, *S); pixels IGNORED in `given` take no part.  A plane of exclusive
    labels scores the mean over the structures that either has (1 if neither has any).  NaN where
    nothing takes part.
    """
    scores = np.full(len(scheme.planes), np.nan)
    for plane in range(len(scheme.planes)):
        judged = given[plane] != IGNORED
        if not judged.any():
            continue
        names = scheme.structures[plane : plane + 1] if scheme.overlapping else scheme.structures
        dices = []
        for structure in names:
            a = scheme.structure_mask(given, structure)
            b = scheme.structure_mask(predicted, structure)
            if a[judged].any() or b[judged].any():
                dices.append(count_overlap(a, b, ~judged).dice)
        scores[plane] = np.mean(dices) if dices else 1.0
    return scores


def believed_masks(agreement: FloatArray, ratio: float) -> BoolArray:
    """Which given masks to believe, (N, planes) bool.

    agreement: (N, planes) Dice, NaN where a mask takes no part (it is believed: nothing is known
    against it).  A mask is believed while its 1 - Dice is at most `ratio` times the median of the
    best agreeing 30 % of its plane, which is taken to be at least 0.01.  Perfect agreement is that
    of empty masks: it is believed, and counts for nothing in that median.
    """
    distance = 1 - agreement
    believed = np.ones(distance.shape, dtype=bool)
    for plane, column in enumerate(distance.T):
        # only two empty masks agree perfectly, and they tell nothing of boundaries
        known = np.sort(column[column > 0])
        if len(known) == 0:
            continue
        best = known[: max(1, int(ORDINARY_SHARE * len(known)))]
        limit = ratio * max(float(np.median(best)), LEAST_ORDINARY)
        believed[:, plane] = ~(column > limit)
    return believed


def flag_doubted(given: LabelArray, predicted: LabelArray, believed: BoolArray) -> BoolArray:
    """The noise map that follows: in masks not believed, the pixels that differ; (planes, *S).

    given, predicted: (planes, *S).  believed: (planes,).  Ignored pixels are never flagged.
    """
    doubted = ~believed.reshape(-1, *(1,) * (given.ndim - 1))
    flagged: BoolArray = doubted & (given != predicted) & (given != IGNORED)
    return flagged
