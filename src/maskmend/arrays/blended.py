"""Between a doubted mask and its prediction: each counts for as much as it can be trusted.

A mask is doubted when it disagrees with the prediction by more than is ordinary; which of the two
is wrong, the disagreement alone does not say.  Where the network is as sure of itself as usual it
is the mask, and the prediction takes its place nearly as it is.  Where the network is unsure the
image is a hard one, and the prediction may well be the worse of the two; then the boundary comes to
lie between them.
"""

from __future__ import annotations

import numpy as np

from maskmend.arrays.blocks import Probabilities
from maskmend.arrays.depth import MOST_PIXELS, around, ball_radius, signed_depth
from maskmend.core import IGNORED, BoolArray, FloatArray, LabelArray, LabelScheme

REACH = 0.5
"""How deep a pixel may lie in a mask and still count for more the deeper it lies, in radii of a
ball as large as the predicted structure; so pieces far from each other do not outweigh boundaries
that nearly agree."""


def self_distance(
    probs: Probabilities, predicted: LabelArray, given: LabelArray, scheme: LabelScheme
) -> FloatArray:
    """1 - the Dice that a prediction expects to have to the truth, (structures,) in [0, 1].

    probs: (num_channels, *S), floats in [0, 1], or uint8 / uint16 with 255 / 65535 for 1.
    predicted: (planes, *S), its most probable labels.  given: (planes, *S); what is IGNORED there
    does not count.  1 - 2 sum(p y) / (sum(p) + sum(y)), y the predicted mask and p its
    probabilities; NaN for a structure that is not predicted.
    """
    one = 1.0 if probs.dtype.kind == "f" else float(np.iinfo(probs.dtype).max)
    found = np.full(len(scheme.structures), np.nan)
    for number in range(len(found)):
        plane, value = (number, 1) if scheme.overlapping else (0, number + 1)
        judged = given[plane] != IGNORED
        mask = (predicted[plane] == value) & judged
        size = np.count_nonzero(mask)
        if not size:
            continue
        chances = probs[number if scheme.overlapping else value]
        inside = np.sum(chances, where=mask, dtype=np.float64) / one
        everywhere = np.sum(chances, where=judged, dtype=np.float64) / one
        found[number] = 1 - 2 * inside / (everywhere + size)
    return found


def expected_distance(
    self_distances: FloatArray, believed: BoolArray, ordinary: FloatArray
) -> FloatArray:
    """1 - the Dice that each prediction is expected to have to the truth, (N, structures).

    self_distances: (N, structures), as from `self_distance`.  ordinary: (structures,), the usual
    1 - Dice of the predictions to the masks that are believed, which a network does not know of
    itself: it is too sure.  So a prediction that is as sure as the median of those whose mask is
    believed has the ordinary distance, one that is half as sure, twice that.
    """
    known = np.where(believed, self_distances, np.nan)
    usual = np.array([_median(column) for column in known.T])
    # where nothing is known, or all probabilities are 0 and 1, all are as good as each other
    relative = np.ones_like(self_distances)
    np.divide(self_distances, usual, out=relative, where=usual > 0)
    expected: FloatArray = ordinary * np.nan_to_num(relative, nan=1.0)
    return expected


def _median(column: FloatArray) -> float:
    known = column[~np.isnan(column)]
    return float(np.median(known)) if len(known) else 0.0


def trust_in_prediction(distance: float, expected: float) -> float:
    """How much a prediction counts beside the given mask, in [0, 1].

    distance: 1 - Dice of the two.  expected: 1 - Dice of the prediction to the truth.  What the
    prediction's error does not explain is the mask's: e = max(distance - expected, 0).  Of two
    independent estimates the weighted mean errs least with weights of 1 / error^2, so the
    prediction's is e^2 / (e^2 + expected^2).
    """
    left = max(distance - expected, 0.0)
    total = left**2 + expected**2
    return left**2 / total if total else 1.0


def blended_mask(
    given: BoolArray, predicted: BoolArray, trust: float, steps: tuple[float, ...]
) -> tuple[BoolArray, float]:
    """The mask between the given and the predicted one, (*S,) bool, and how much the latter counts.

    given, predicted: (*S,) bool.  trust: in the prediction, in [0, 1]; 1 gives the prediction, 0
    the given mask.  steps: size of a pixel along each axis.  Of both masks the Euclidean distance
    to the boundary (positive inside, at most REACH radii) is taken; the result is where their
    weighted mean is positive.  It is the prediction, which then counts 1, where there is nothing
    between them, because one is empty or full, or because nothing would remain of masks so far from
    each other; and where they fill more than MOST_PIXELS with their surroundings.
    """
    if not given.any() or not predicted.any() or trust == 1:
        return predicted.copy(), 1.0
    reach = REACH * ball_radius(int(predicted.sum()), given.shape, steps)
    box = around(given | predicted, steps, reach)
    drawn, found = given[box], predicted[box]
    if drawn.size > MOST_PIXELS or drawn.all() or found.all():
        return predicted.copy(), 1.0
    depth = (1 - trust) * np.clip(signed_depth(drawn, steps), -reach, reach)
    depth += trust * np.clip(signed_depth(found, steps), -reach, reach)
    if not (depth > 0).any():
        return predicted.copy(), 1.0
    blended = np.zeros_like(given)
    blended[box] = depth > 0
    return blended, trust
