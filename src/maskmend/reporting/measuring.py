"""One pass over the cases: how far each mask is from its mended one, and from the truth."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from maskmend.arrays.agreement import count_pairs
from maskmend.arrays.correction import suggested_where
from maskmend.arrays.ranking import (
    BINS,
    JudgedCase,
    calibrate,
    judged_histogram,
    probability_bins,
)
from maskmend.core import (
    IGNORED,
    QUIET,
    BoolArray,
    Case,
    FloatArray,
    IntArray,
    LabelArray,
    Listener,
)
from maskmend.datasets import read_grid
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
    pieces = spans(run.cases, workers)
    # where there are fewer cases than cores, several work on one
    threads = max(workers.count // max(len(pieces), 1), 1)
    for some in workers.each(partial(_count_span, run, threads), pieces):
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


def _count_span(run: Run, threads: int, span: range) -> list[list[Counted | None]]:
    return [_count_case(run, case, threads) for case in run.cases[span.start : span.stop]]


def _count_case(run: Run, case: Case, threads: int) -> list[Counted | None]:
    """Of each structure; None where nobody looked for it, or all of it is ignored."""
    scheme, given, flagged = run.dataset.scheme, run.read_given(case), run.read_noise_map(case)
    probs, predicted = run.read_probabilities(case), run.read_predicted(case)
    judged = JudgedCase(given, predicted, flagged, probs, scheme, read_grid(case).steps)
    planes = [
        _PlaneChange.of(*each, probs[number] if scheme.overlapping else probs)
        for number, each in enumerate(zip(given, flagged, predicted, strict=True))
    ]
    rows: list[Counted | None] = []
    for number, name in enumerate(scheme.structures):
        plane = planes[number if scheme.overlapping else 0]
        if name in case.unlabelled or not plane.pairs.any():
            rows.append(None)
        else:
            value = 1 if scheme.overlapping else number + 1
            channel = probs[number if scheme.overlapping else value]
            rows.append(
                _count_mask(plane, value, channel, judged_histogram(judged, number, threads))
            )
    return rows


@dataclass(frozen=True, eq=False)
class _PlaneChange:
    """What mending changes in one plane.

    pairs: (256, 256), judged pixels by given and predicted value.  places: of the pixels that
    change, their indices along each axis.  old, new: their values, (pixels,).
    """

    pairs: IntArray
    places: tuple[NDArray[np.intp], ...]
    old: LabelArray
    new: LabelArray

    @classmethod
    def of(
        cls, given: LabelArray, flagged: BoolArray, predicted: LabelArray, classes: NDArray[Any]
    ) -> _PlaneChange:
        """classes: probabilities of the plane's classes, or of its foreground alone."""
        pairs = count_pairs(given, predicted)
        pairs[IGNORED] = 0
        places = np.nonzero(flagged)
        old = given[places]
        if not old.size:
            return cls(pairs, places, old, old)
        new = suggested_where(given, flagged, classes, ignore=IGNORED)
        return cls(pairs, places, old, new.astype(np.uint8, copy=False))


def _count_mask(
    plane: _PlaneChange, value: int, channel: NDArray[Any], histogram: IntArray
) -> Counted:
    """value: of the structure in its plane.  channel: its probabilities, (*S)."""
    lost, won = plane.old == value, plane.new == value
    before = int(plane.pairs[value].sum())
    kept = before - int(np.count_nonzero(lost))
    mine = kept + int(np.count_nonzero(won))
    bins = probability_bins(channel[plane.places])
    gained, gone = (np.bincount(bins[which], minlength=BINS) for which in (won, lost))
    nothing = not plane.pairs[:, value].any()
    return Counted(
        change=1 - 2 * kept / (before + mine) if before + mine else 0.0,
        empty=(nothing and not before, nothing and not mine), everywhere=histogram.sum(axis=0),
        given=histogram[1], mended=histogram[1] - gone + gained,
    )  # fmt: skip


def suggested(run: Run, case: Case) -> tuple[LabelArray, LabelArray, BoolArray]:
    """Given and mended labels and the noise map of a case, (planes, *S)."""
    given, flagged = run.read_given(case), run.read_noise_map(case)
    return given, mended(given, flagged, run.read_probabilities(case)), flagged
