"""One pass over the cases: how far each mask is from its mended one, and from the truth."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from maskmend.arrays.ranking import BINS, calibrate
from maskmend.core import QUIET, BoolArray, Case, FloatArray, IntArray, LabelArray, Listener
from maskmend.execute import Workers, spans
from maskmend.judging import mended
from maskmend.store import Run


@dataclass(frozen=True, eq=False)
class Measured:
    """Of each mask, (cases, structures); NaN where nothing of it is judged.

    change: 1 - Dice of the given and the mended mask: the error, if every suggestion is right.
    now, after: expected Dice with the truth of the given and of the mended mask.
    """

    change: FloatArray
    now: FloatArray
    after: FloatArray


@dataclass(frozen=True, eq=False)
class Counted:
    """What is counted of one mask.  change: as in `Measured`.

    empty: neither a given or mended mask nor the prediction has a pixel.  everywhere, given,
    mended: (BINS,) judged pixels, those of the given and those of the mended mask, by stated
    probability.
    """

    change: float
    empty: tuple[bool, bool]
    everywhere: IntArray
    given: IntArray
    mended: IntArray


def measure(run: Run, workers: Workers, listener: Listener = QUIET) -> Measured:
    """Measure all masks; each case is read once.  Errors as of `Run.read_noise_map`.

    Probabilities are calibrated on the masks that are believed, structure by structure: how often
    is a pixel of this stated probability really of the structure.
    """
    counted: list[list[Counted | None]] = []
    for some in workers.each(partial(_count_span, run), spans(run.cases, workers)):
        counted += some
        listener.case("report", len(counted), len(run.cases))
    names, doubted = run.dataset.scheme.structures, run.doubted()
    values = np.full((3, len(run.cases), len(names)), np.nan)
    for number, name in enumerate(names):
        believed = [name not in doubted[case.id] for case in run.cases]
        column = [of[number] for of in counted]
        calibrated = _calibrated(column, believed)
        for index, of in enumerate(column):
            if of is not None:
                values[:, index, number] = of.change, *_expected(of, calibrated)
    return Measured(*values)


def expected_dice(mask: IntArray, everywhere: IntArray, calibrated: FloatArray) -> float:
    """2 sum of q over the mask / (pixels of the mask + sum of q), q the calibrated probability.

    mask, everywhere: (BINS,) pixels by stated probability.  The expected value of the quotient
    taken as the quotient of the expected values.  0 of an empty mask.
    """
    total = int(mask.sum()) + float(everywhere @ calibrated)
    return 2 * float(mask @ calibrated) / total if total else 0.0


def _calibrated(column: list[Counted | None], believed: list[bool]) -> FloatArray:
    histogram = np.zeros((2, BINS), np.int64)
    for of, yes in zip(column, believed, strict=True):
        if of is not None and yes:
            histogram += np.stack([of.everywhere - of.given, of.given])
    return calibrate(histogram)


def _expected(of: Counted, calibrated: FloatArray) -> tuple[float, float]:
    """Now and after; 1 of an empty mask where the prediction is empty, too."""
    now, after = (
        1.0 if empty else expected_dice(mask, of.everywhere, calibrated)
        for mask, empty in zip((of.given, of.mended), of.empty, strict=True)
    )
    return now, after


def _count_span(run: Run, span: range) -> list[list[Counted | None]]:
    return [_count_case(run, case) for case in run.cases[span.start : span.stop]]


def _count_case(run: Run, case: Case) -> list[Counted | None]:
    """Of each structure; None where nobody looked for it, or all of it is ignored."""
    scheme = run.dataset.scheme
    given, probs = run.read_given(case), run.read_probabilities(case)
    after, predicted = mended(given, run.read_noise_map(case), probs), run.read_predicted(case)
    rows: list[Counted | None] = []
    for number, name in enumerate(scheme.structures):
        judged = ~scheme.ignored_mask(given, name)
        if name in case.unlabelled or not judged.any():
            rows.append(None)
            continue
        masks = [scheme.structure_mask(labels, name)[judged]
                 for labels in (given, after, predicted)]  # fmt: skip
        # an ignored pixel may have no probability at all
        bins = _bins(probs[number if scheme.overlapping else number + 1][judged])
        histograms = [np.bincount(some, minlength=BINS).astype(np.int32)
                      for some in (bins, bins[masks[0]], bins[masks[1]])]  # fmt: skip
        nothing = not masks[2].any()
        empty = (nothing and not masks[0].any(), nothing and not masks[1].any())
        rows.append(Counted(_change(masks[0], masks[1]), empty, *histograms))
    return rows


def _bins(probs: NDArray[Any]) -> NDArray[np.uint8]:
    """The bin of each stated probability.  probs: (N,), or integers with the largest for 1."""
    scale = (BINS - 1) / (np.iinfo(probs.dtype).max if probs.dtype.kind == "u" else 1)
    scaled = np.multiply(probs, scale, dtype=np.float32)
    return np.clip(np.rint(scaled, out=scaled), 0, BINS - 1, out=scaled).astype(np.uint8)


def _change(before: BoolArray, after: BoolArray) -> float:
    """1 - Dice; 0 of two empty masks."""
    total = np.count_nonzero(before) + np.count_nonzero(after)
    return float(np.count_nonzero(before != after) / total) if total else 0.0


def suggested(run: Run, case: Case) -> tuple[LabelArray, LabelArray, BoolArray]:
    """Given and mended labels and the noise map of a case, (planes, *S)."""
    given, flagged = run.read_given(case), run.read_noise_map(case)
    return given, mended(given, flagged, run.read_probabilities(case)), flagged
