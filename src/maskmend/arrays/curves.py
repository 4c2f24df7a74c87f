"""Precision and recall at every threshold of a score, from counts that add up over cases."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from maskmend.core import BoolArray, FloatArray
from maskmend.errors import GridMismatchError

STEPS = 4096
"""Thresholds between 0 and 1; scores nearer to each other than 1 / STEPS are one step."""

Counts = NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class RankedCounts:
    """Pixels by score and truth; `+` joins cases.

    positive, negative: (STEPS + 1,) int64, pixels of each truth whose score, in [0, 1], is nearest
    to 0 / STEPS, 1 / STEPS, ...
    """

    positive: Counts
    negative: Counts

    @classmethod
    def none(cls) -> RankedCounts:
        return cls(np.zeros(STEPS + 1, np.int64), np.zeros(STEPS + 1, np.int64))

    def __add__(self, other: RankedCounts) -> RankedCounts:
        return RankedCounts(self.positive + other.positive, self.negative + other.negative)

    def curve(self) -> tuple[FloatArray, FloatArray]:
        """Recall, ascending, and precision, (thresholds,) float64 each.

        One point for each threshold that claims more pixels than the one before.  Empty where no
        pixel is true: there is nothing to find, hence no curve.
        """
        total = int(self.positive.sum())
        found = np.cumsum(self.positive[::-1])
        claimed = found + np.cumsum(self.negative[::-1])
        new = np.diff(claimed, prepend=0) > 0
        if total == 0:
            return np.empty(0), np.empty(0)
        return found[new] / total, found[new] / claimed[new]

    @property
    def average_precision(self) -> float:
        """As `overlap.average_precision` of the rounded scores; NaN where no pixel is true."""
        recall, precision = self.curve()
        if not recall.size:
            return float("nan")
        return float(np.sum(np.diff(recall, prepend=0) * precision))

    def precision_at(self, recall: FloatArray) -> FloatArray:
        """(N,) precision at the first threshold that reaches each recall, (N,) in (0, 1].

        NaN where no pixel is true.
        """
        reached, precision = self.curve()
        if not reached.size:
            return np.full(len(recall), np.nan)
        # a recall of 1 is reached up to rounding
        first = np.searchsorted(reached, recall - 1e-12)
        found: FloatArray = precision[first]
        return found


def count_ranked(truth: BoolArray, scores: FloatArray, ignored: BoolArray) -> RankedCounts:
    """Counts of one mask.

    truth: (*S,) bool, the pixels that should rank high.  scores: (*S,) in [0, 1], higher is more
    suspicious.  ignored: (*S,) bool, pixels left out.  Raises GridMismatchError.
    """
    if not truth.shape == scores.shape == ignored.shape:
        raise GridMismatchError(
            "scores", expected=f"the shape of the truth, {truth.shape}",
            got=f"{scores.shape}, ignored {ignored.shape}",
            remedy="Bring all onto the grid of the image.",
        )  # fmt: skip
    step = np.rint(np.asarray(scores, np.float32)[~ignored] * STEPS).astype(np.int64)
    judged = truth[~ignored]
    each = (np.bincount(step[of], minlength=STEPS + 1) for of in (judged, ~judged))
    positive, negative = each
    return RankedCounts(positive, negative)
