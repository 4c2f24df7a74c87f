"""Which masks of a run are believed as wholes, and how good their predictions ought to be."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import numpy as np

from maskmend.arrays.agreement import belief_limits, mask_mismatch, structure_distance
from maskmend.arrays.blended import expected_distance, self_distance
from maskmend.core import BoolArray, Case, FloatArray
from maskmend.execute import Workers, spans
from maskmend.store import Run

DOUBTED_MASKS = "doubted_masks"
"""Noise map: what changes in the masks that are doubted as wholes when they are redrawn."""


@dataclass(frozen=True, eq=False)
class Belief:
    """What is held of the masks of a run.

    distance: (cases, structures), 1 - Dice of the given mask and the prediction; NaN where there is
    none.  believed: (cases, structures).  limits: (structures,), the largest distance that is
    believed.  expected: (cases, structures), 1 - Dice of each prediction to the truth, where it is
    to count; else 0.
    """

    distance: FloatArray
    believed: BoolArray
    limits: FloatArray
    expected: FloatArray


def believe(run: Run, workers: Workers) -> Belief:
    """Compare all masks with their predictions; see `flag.doubt_ratio` and `flag.blend`."""
    settings = run.settings.flag
    mismatch = _of_each_case(_mismatch, run, workers)
    # where neither mask has the structure there is nothing to agree on
    distance = np.where(np.isnan(mismatch[..., 0]), np.nan, structure_distance(mismatch))
    limits = belief_limits(distance, settings.doubt_ratio, zeros_are_empty=False)
    believed = ~(distance > limits)
    expected: FloatArray = np.zeros(believed.shape)
    if settings.method == DOUBTED_MASKS and settings.blend and not believed.all():
        # a structure without a mask has no limit, and nothing to doubt
        ordinary = np.where(np.isinf(limits), 0.0, limits / settings.doubt_ratio)
        unsure = _of_each_case(_unsureness, run, workers)
        expected = expected_distance(unsure, believed, ordinary)
    return Belief(distance, believed, limits, expected)


def _of_each_case(
    what: Callable[[Run, Case], FloatArray], run: Run, workers: Workers
) -> FloatArray:
    found = workers.each(partial(_of_span, what, run), spans(run.cases, workers))
    return np.array([one for some in found for one in some])


def _of_span(what: Callable[[Run, Case], FloatArray], run: Run, span: range) -> list[FloatArray]:
    return [what(run, case) for case in run.cases[span.start : span.stop]]


def _mismatch(run: Run, case: Case) -> FloatArray:
    """How the given masks differ from their predictions, (structures, 2), as `mask_mismatch`."""
    scheme = run.dataset.scheme
    found = mask_mismatch(run.read_given(case), run.read_predicted(case), scheme)
    # what nobody looked for in this case has no mask to be wrong
    found[[name in case.unlabelled for name in scheme.structures]] = np.nan
    return found


def _unsureness(run: Run, case: Case) -> FloatArray:
    """How unsure the predictions are of themselves, (structures,), as `self_distance` has it."""
    given, predicted = run.read_given(case), run.read_predicted(case)
    return self_distance(run.read_probabilities(case), predicted, given, run.dataset.scheme)
