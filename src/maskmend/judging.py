"""Confident learning over the cases of a run: plane by plane, one case in memory at a time."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np

from maskmend.arrays.agreement import flag_doubted, mask_mismatch
from maskmend.arrays.confidence import (
    ConfidentCounts,
    Intervals,
    Statistics,
    bootstrap_intervals,
)
from maskmend.arrays.correction import mend_hard, mend_soft, suggested_classes
from maskmend.arrays.search import METHODS, ErrorSearch
from maskmend.core import IGNORED, BoolArray, Case, FloatArray, LabelArray, LabelScheme
from maskmend.execute import Workers, search_on, spans
from maskmend.store import Run

DOUBTED_MASKS = "doubted_masks"
"""Noise map: the pixels that differ from the prediction, in masks that are doubted as a whole."""

NOISE_MAPS = (DOUBTED_MASKS, *METHODS)


@dataclass(frozen=True)
class PlaneCases:
    """Labels and probabilities of one plane in each case, read anew in each pass."""

    run: Run
    plane: int

    def __len__(self) -> int:
        return len(self.run.cases)

    def __getitem__(self, number: int) -> tuple[LabelArray, FloatArray]:
        return self.read(self.run.cases[number])

    def read(self, case: Case) -> tuple[LabelArray, FloatArray]:
        """Given labels (*S,) of the plane; probabilities (K, *S), or (*S,) of its foreground."""
        probs = self.run.read_probabilities(case)
        scheme = self.run.dataset.scheme
        given = self.run.read_given(case)[self.plane]
        # two classes are judged by the foreground's probability alone
        return given, probs[self.plane] if scheme.overlapping else probs


@dataclass(frozen=True)
class Judgement:
    """What the passes over all cases found, for each plane."""

    scheme: LabelScheme
    searches: tuple[ErrorSearch, ...]
    intervals: tuple[Intervals, ...]

    def flag(self, run: Run, index: int, case: Case) -> BoolArray:
        """The noise map of the case that is `index`-th of the run, (planes, *S)."""
        maps = []
        for plane, search in enumerate(self.searches):
            labels, probs = PlaneCases(run, plane).read(case)
            maps.append(search.flag(labels, probs, case=index))
        return np.stack(maps)

    @property
    def statistics(self) -> dict[str, Statistics]:
        found = (search.statistics() for search in self.searches)
        return dict(zip(self.scheme.planes, found, strict=True))

    def to_json(self) -> dict[str, Any]:
        planes = enumerate(self.statistics.items())
        return {
            name: {
                "classes": list(self.scheme.class_names(plane)),
                **statistics.to_json(),
                "intervals": self.intervals[plane].to_json(),
            }
            for plane, (name, statistics) in planes
        }


def judge_planes(run: Run, method: str, workers: Workers) -> Judgement:
    """All passes of confident learning over the run but the one that flags.

    method: one of NOISE_MAPS; for `doubted_masks` only the statistics are counted.
    """
    scheme = run.dataset.scheme
    searches, intervals = [], []
    for plane in range(len(scheme.planes)):
        cases = PlaneCases(run, plane)
        search = search_on(
            workers, cases, num_classes=scheme.num_classes, ignore=IGNORED,
            method="argmax" if method == DOUBTED_MASKS else method,
        )  # fmt: skip
        counted = workers.each(partial(_confident_counts, search, cases), spans(cases, workers))
        rng = np.random.default_rng(run.settings.seed)
        searches.append(search)
        intervals.append(bootstrap_intervals([one for some in counted for one in some], rng))
    return Judgement(scheme, tuple(searches), tuple(intervals))


def _confident_counts(search: ErrorSearch, cases: PlaneCases, span: range) -> list[ConfidentCounts]:
    return [search.confident_counts(*cases[number]) for number in span]


def mismatches(run: Run, workers: Workers) -> FloatArray:
    """How the given masks differ from their predictions, (cases, structures, 2).

    Values as from `mask_mismatch`.
    """
    found = workers.each(partial(_mismatches, run), spans(run.cases, workers))
    return np.array([one for some in found for one in some])


def _mismatches(run: Run, span: range) -> list[FloatArray]:
    scheme = run.dataset.scheme
    rows = []
    for case in run.cases[span.start : span.stop]:
        found = mask_mismatch(run.read_given(case), run.read_predicted(case), scheme)
        # what nobody looked for in this case has no mask to be wrong
        found[[name in case.unlabelled for name in scheme.structures]] = np.nan
        rows.append(found)
    return rows


def write_noise_maps(
    run: Run, judgement: Judgement, believed: BoolArray, method: str, workers: Workers
) -> Iterator[FloatArray]:
    """Write the noise map of each case; yields which share of its pixels it flags, (structures,).

    believed: (cases, structures), for `doubted_masks`.  In exclusive labels a flagged pixel counts
    for the structure that it is given to and for the one that is predicted there.
    """
    write = partial(_write_noise_maps, run, judgement, believed, method)
    for some in workers.each(write, spans(run.cases, workers)):
        yield from some


def _write_noise_maps(
    run: Run, judgement: Judgement, believed: BoolArray, method: str, span: range
) -> list[FloatArray]:
    shares = []
    scheme = run.dataset.scheme
    for index in span:
        case = run.cases[index]
        given, predicted = run.read_given(case), run.read_predicted(case)
        if method == DOUBTED_MASKS:
            flagged = flag_doubted(given, predicted, believed[index], scheme)
        else:
            flagged = judgement.flag(run, index, case)
        run.write_noise_map(case, flagged)
        shares.append(flagged_shares(flagged, given, predicted, scheme))
    return shares


def flagged_shares(
    flagged: BoolArray, given: LabelArray, predicted: LabelArray, scheme: LabelScheme
) -> FloatArray:
    """Share of the pixels of a case that is flagged for each structure, (structures,) in [0, 1].

    flagged, given, predicted: (planes, *S).
    """
    if scheme.overlapping:
        return np.array([plane.mean() for plane in flagged])
    wrong = flagged[0]
    old, new = given[0][wrong], predicted[0][wrong]
    counts = [np.count_nonzero((old == k) | (new == k)) for k in range(1, scheme.num_classes)]
    return np.array(counts) / wrong.size


def mended(
    given: LabelArray, flagged: BoolArray, probs: FloatArray, eps: float, scheme: LabelScheme
) -> tuple[LabelArray, FloatArray]:
    """Mended labels of one case: hard (planes, *S) uint8 and soft (num_channels, *S) float32.

    given, flagged: (planes, *S).  probs: (num_channels, *S).  Ignored pixels stay as they are in
    the hard labels, and are 0 in every channel of the soft ones.
    """
    hard, soft = [], []
    for plane in range(len(given)):
        classes = scheme.class_probabilities(probs, plane)
        suggested = suggested_classes(given[plane], classes, ignore=IGNORED)
        hard.append(mend_hard(given[plane], flagged[plane], suggested))
        soft.append(
            mend_soft(
                given[plane], flagged[plane], suggested, num_classes=scheme.num_classes, eps=eps,
                ignore=IGNORED,
            )
        )  # fmt: skip
    if scheme.overlapping:
        return np.stack(hard), np.stack([one[1] for one in soft])
    return np.stack(hard), soft[0]
