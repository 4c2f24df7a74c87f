"""How much two masks agree: confusion counts that add, and the scores read from them.

What emptiness means, in one rule for Dice, IoU, precision, recall and F1 alike:

- truth and prediction both empty: 1, there was nothing to find and nothing was claimed;
- one of them empty: 0, so that a missed organ or an invented one never improves an average;
- not one pixel judged (everything ignored, or no case): NaN, there is no score to average.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from maskmend.core import BoolArray, FloatArray
from maskmend.errors import GridMismatchError


@dataclass(frozen=True)
class Overlap:
    """Pixels by truth and prediction; `+` joins cases, `Overlap()` is the neutral value.

    tp, fp, fn, tn: true positive, false positive, false negative, true negative pixels.
    """

    tp: int = 0
    fp: int = 0
    fn: int = 0
    tn: int = 0

    def __add__(self, other: Overlap) -> Overlap:
        return Overlap(
            self.tp + other.tp, self.fp + other.fp, self.fn + other.fn, self.tn + other.tn
        )

    @property
    def dice(self) -> float:
        """2 tp / (2 tp + fp + fn), in [0, 1]."""
        return self._score(2 * self.tp, 2 * self.tp + self.fp + self.fn)

    @property
    def iou(self) -> float:
        """tp / (tp + fp + fn), in [0, 1]; also called Jaccard index."""
        return self._score(self.tp, self.tp + self.fp + self.fn)

    @property
    def precision(self) -> float:
        """tp / (tp + fp), in [0, 1]."""
        return self._score(self.tp, self.tp + self.fp)

    @property
    def recall(self) -> float:
        """tp / (tp + fn), in [0, 1]."""
        return self._score(self.tp, self.tp + self.fn)

    @property
    def f1(self) -> float:
        """Harmonic mean of precision and recall: the Dice of the same pixels."""
        return self.dice

    def _score(self, part: int, whole: int) -> float:
        if self.tp + self.fp + self.fn + self.tn == 0:
            return float("nan")
        if self.tp + self.fp + self.fn == 0:
            return 1.0
        # a whole of 0 here means that just one of the two masks is empty
        return part / whole if whole else 0.0


def count_overlap(
    truth: BoolArray, prediction: BoolArray, ignored: BoolArray | None = None
) -> Overlap:
    """Confusion counts of one mask.

    truth, prediction, ignored: (*S,) bool.  Ignored pixels are not counted.
    Raises GridMismatchError when the shapes differ.
    """
    _check_shapes(truth, prediction, ignored)
    if ignored is not None:
        truth, prediction = truth[~ignored], prediction[~ignored]
    tp = int(np.count_nonzero(truth & prediction))
    fp = int(np.count_nonzero(prediction)) - tp
    fn = int(np.count_nonzero(truth)) - tp
    return Overlap(tp, fp, fn, truth.size - tp - fp - fn)


def average_precision(
    truth: BoolArray, scores: FloatArray, ignored: BoolArray | None = None
) -> float:
    """Area under the precision-recall curve of a ranking (AUPRC), exact, in (0, 1].

    truth: (*S,) bool, the pixels that should rank high.  scores: (*S,) finite, higher is more
    suspicious.  ignored: (*S,) bool, pixels left out.
    The step sum of (R_n - R_n-1) P_n over the distinct scores, as scikit-learn's
    average_precision_score; equal scores are one step, so the order of ties cannot matter.
    NaN when no judged pixel is true: there is nothing to find, hence no curve.
    Raises GridMismatchError when the shapes differ.
    Davis and Goadrich, ICML 2006, on why not trapezoids.
    """
    _check_shapes(truth, scores, ignored)
    judged = np.ones(truth.shape, dtype=bool) if ignored is None else ~ignored
    flat_truth, flat_scores = truth[judged], scores[judged]
    positives = int(np.count_nonzero(flat_truth))
    if positives == 0:
        return float("nan")
    order = np.argsort(-flat_scores, kind="stable")
    ranked_scores = flat_scores[order]
    last_of_tie = np.append(ranked_scores[1:] != ranked_scores[:-1], True)
    found = np.cumsum(flat_truth[order])[last_of_tie]
    claimed = np.flatnonzero(last_of_tie) + 1
    newly_found = np.diff(found, prepend=0)
    return float(np.sum(newly_found * (found / claimed)) / positives)


def _check_shapes(
    truth: BoolArray, other: BoolArray | FloatArray, ignored: BoolArray | None
) -> None:
    for name, array in (("compared array", other), ("ignored mask", ignored)):
        if array is not None and array.shape != truth.shape:
            raise GridMismatchError(
                name,
                expected=f"the shape of the truth, {truth.shape}",
                got=f"{array.shape}",
                remedy="Bring both onto the grid of the image.",
            )
