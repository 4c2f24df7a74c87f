"""All figures of one mask against the truth, in one value."""

from __future__ import annotations

from dataclasses import dataclass

from maskmend.arrays.overlap import count_overlap
from maskmend.arrays.surface import assd, hd95, surface_distances
from maskmend.core import BoolArray


@dataclass(frozen=True)
class MaskScores:
    """Dice and IoU in [0, 1]; HD95 and ASSD in the unit of the spacing.

    Both masks empty: 1 and 0.  One empty: Dice 0, distances the grid's diagonal, so that a missed
    organ never improves an average.  Nothing judged: NaN.
    """

    dice: float
    iou: float
    hd95: float
    assd: float


def score_mask(
    truth: BoolArray, prediction: BoolArray, ignored: BoolArray, spacing: tuple[float, ...]
) -> MaskScores:
    """Scores of one structure in one case.  truth, prediction, ignored: (*S,) bool."""
    if ignored.all():
        return MaskScores(*(float("nan"),) * 4)
    overlap = count_overlap(truth, prediction, ignored)
    distances = surface_distances(truth & ~ignored, prediction & ~ignored, spacing)
    return MaskScores(overlap.dice, overlap.iou, hd95(distances), assd(distances))
