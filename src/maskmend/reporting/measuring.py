"""One pass over the cases of a run: how far each mask lies from its mended one and from the truth."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from maskmend.core import BoolArray, Case, FloatArray, LabelArray
from maskmend.execute import Workers, spans
from maskmend.judging import mended
from maskmend.store import Run


@dataclass(frozen=True, eq=False)
class Measured:
    """Of each mask, (cases, structures); NaN where a structure is not labelled in a case.

    change: 1 - Dice of the given and the mended mask: the error, if every suggestion is right.
    now, after: expected Dice with the truth of the given and of the mended mask.
    """

    change: FloatArray
    now: FloatArray
    after: FloatArray


def measure(run: Run, workers: Workers) -> Measured:
    """Measure all masks; each case is read once.  Errors as of `Run.read_noise_map`."""
    found = workers.each(partial(_measure_span, run), spans(run.cases, workers))
    values = np.array([case for some in found for case in some])
    return Measured(values[..., 0], values[..., 1], values[..., 2])


def expected_dice(
    mask: BoolArray, probs: NDArray[Any], predicted: BoolArray, judged: BoolArray
) -> float:
    """2 sum of p over the mask / (pixels of the mask + sum of p): expected, pixels independent.

    mask, predicted, judged: (*S,), probs: (*S,) of the structure, in [0, 1] or as integers with
    the largest one for 1.  predicted: what the probabilities say at their likeliest.  1 where
    neither mask nor prediction has a pixel: what little probability lies everywhere is no
    structure.  NaN where nothing is judged.
    """
    if not judged.any():
        return float("nan")
    mask = mask & judged
    if not mask.any() and not (predicted & judged).any():
        return 1.0
    unit = float(np.iinfo(probs.dtype).max) if probs.dtype.kind == "u" else 1.0
    inside = float(probs[mask].sum(dtype=np.float64)) / unit
    total = float(probs.sum(dtype=np.float64, where=judged)) / unit
    return 2 * inside / (np.count_nonzero(mask) + total)


def _measure_span(run: Run, span: range) -> list[list[tuple[float, float, float]]]:
    return [_measure_case(run, run.cases[index]) for index in span]


def _measure_case(run: Run, case: Case) -> list[tuple[float, float, float]]:
    scheme = run.dataset.scheme
    given, probs = run.read_given(case), run.read_probabilities(case)
    after, predicted = mended(given, run.read_noise_map(case), probs), run.read_predicted(case)
    rows = []
    for number, name in enumerate(scheme.structures):
        if name in case.unlabelled:
            rows.append((float("nan"),) * 3)
            continue
        masks = [scheme.structure_mask(labels, name) for labels in (given, after, predicted)]
        judged = ~scheme.ignored_mask(given, name)
        channel = probs[number if scheme.overlapping else number + 1]
        dices = [expected_dice(mask, channel, masks[2], judged) for mask in masks[:2]]
        rows.append((_change(masks[0] & judged, masks[1] & judged), *dices))
    return rows


def _change(before: BoolArray, after: BoolArray) -> float:
    """1 - Dice; 0 of two empty masks."""
    total = np.count_nonzero(before) + np.count_nonzero(after)
    return float(np.count_nonzero(before != after) / total) if total else 0.0


def suggested(run: Run, case: Case) -> tuple[LabelArray, LabelArray, BoolArray]:
    """Given and mended labels and the noise map of a case, (planes, *S)."""
    given, flagged = run.read_given(case), run.read_noise_map(case)
    return given, mended(given, flagged, run.read_probabilities(case)), flagged
