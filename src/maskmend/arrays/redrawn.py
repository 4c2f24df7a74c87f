"""What doubted masks ought to be: moved, else drawn between themselves and the prediction."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from maskmend.arrays.blended import blended_mask, trust_in_prediction
from maskmend.arrays.moved import moved_mask
from maskmend.core import IGNORED, BoolArray, FloatArray, LabelArray, LabelScheme


@dataclass(frozen=True, eq=False)
class Redrawn:
    """The labels of a case with its doubted masks redrawn.

    labels: (planes, *S).  moved: (structures,), whose boundary was moved.  trust: (structures,) in
    [0, 1], how much the prediction counts in the mask; NaN where it is believed or was moved.
    """

    labels: LabelArray
    moved: BoolArray
    trust: FloatArray


def redrawn_labels(
    given: LabelArray, predicted: LabelArray, limits: FloatArray, expected: FloatArray,
    scheme: LabelScheme, steps: tuple[float, ...], move: bool = True,
) -> Redrawn:  # fmt: skip
    """The prediction, with redrawn masks in place of it; only what is doubted is looked at.

    given, predicted: (planes, *S).  limits: (structures,), the largest 1 - Dice at which a mask is
    believed, as from `belief_limits`; -1 for a structure whose mask is not to be redrawn.
    expected: (structures,), 1 - Dice of the prediction to the truth, as from `expected_distance`; 0
    where the prediction is to take the place of the mask as it is.  steps: size of a pixel along
    each axis.  move: a given mask that is believed once its boundary is moved (1 - Dice to the
    prediction) is moved; any other one is blended with the prediction, which counts as
    `trust_in_prediction` says.  Ignored pixels take no part.  In exclusive labels a pixel that the
    redrawn mask gives up, and that was predicted as it, keeps another given structure or becomes
    background.
    """
    labels, all_moved = predicted.copy(), np.zeros(len(limits), bool)
    trusts = np.full(len(limits), np.nan)
    for number, limit in enumerate(limits):
        plane, value = (number, 1) if scheme.overlapping else (0, number + 1)
        if limit < 0:
            continue
        judged = given[plane] != IGNORED
        drawn, found = given[plane] == value, (predicted[plane] == value) & judged
        if move:
            mask = moved_mask(drawn, found, judged, steps)
            all_moved[number] = _distance(mask & judged, found) <= limit
        if not all_moved[number]:
            trust = trust_in_prediction(_distance(drawn, found), float(expected[number]))
            mask, trusts[number] = blended_mask(drawn, found, trust, steps)
        target = labels[plane]
        lost = (target == value) & ~mask & judged
        target[lost] = np.where(drawn[lost], 0, given[plane][lost])
        target[mask & judged] = value
    return Redrawn(labels, all_moved, trusts)


def _distance(mask: BoolArray, other: BoolArray) -> float:
    """1 - Dice; 0 for two empty masks."""
    total = int(mask.sum()) + int(other.sum())
    return 1 - 2 * int((mask & other).sum()) / total if total else 0.0
