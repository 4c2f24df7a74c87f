"""Confident learning over the cases of a run: plane by plane, one case in memory at a time."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from functools import partial, reduce
from operator import add
from typing import Any

import numpy as np
from numpy.typing import NDArray

from maskmend.arrays.accumulate import Tally
from maskmend.arrays.agreement import flag_doubted, predicted_labels
from maskmend.arrays.blocks import Run as Pixels
from maskmend.arrays.blocks import split_runs
from maskmend.arrays.confidence import (
    ConfidentCounts,
    Intervals,
    Statistics,
    bootstrap_intervals,
)
from maskmend.arrays.correction import suggested_where
from maskmend.arrays.redrawn import Redrawn, redrawn_labels
from maskmend.arrays.search import METHODS, ErrorSearch
from maskmend.believing import DOUBTED_MASKS, Belief
from maskmend.core import IGNORED, BoolArray, Case, FloatArray, LabelArray, LabelScheme
from maskmend.datasets import read_grid
from maskmend.errors import MaskmendError, NotFiniteError, ProbabilityError
from maskmend.execute import Workers, spans
from maskmend.store import Run

NOISE_MAPS = (DOUBTED_MASKS, *METHODS)

_PART_PIXELS = 1 << 20
"""Of a large case that threads share; a part is counted as a case of its own would be."""


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


@dataclass(frozen=True)
class _Counted:
    """What a pass found in some cases; `+` joins.

    each: place of a case in the run -> its confident counts, in the pass that counts them.
    faults: case id -> why its probabilities are none; it is not in the tally.
    """

    tally: Tally
    each: dict[int, ConfidentCounts]
    faults: dict[str, MaskmendError]

    def __add__(self, other: _Counted) -> _Counted:
        each, faults = {**self.each, **other.each}, {**self.faults, **other.faults}
        return _Counted(self.tally + other.tally, each, faults)


class _FaultyCasesError(Exception):
    """Cases whose probabilities turned out to be none."""

    def __init__(self, faults: Mapping[str, MaskmendError]) -> None:
        super().__init__(", ".join(faults))
        self.faults = faults


def judge_planes(run: Run, method: str, workers: Workers) -> Judgement:
    """All passes of confident learning over the run but the one that flags.

    method: one of NOISE_MAPS; for `doubted_masks` only the statistics are counted.  The first pass
    also keeps the most probable labels of each case, so that nothing else has to read all
    probabilities again.

    A case whose predictions exist already and are no probabilities (they do not sum to 1) is left
    out of the run, and the others are judged without it.  Raises its error where no case is left.
    """
    try:
        return _judge(run, method, workers)
    except _FaultyCasesError as found:
        run.leave_out(found.faults)
    return judge_planes(run, method, workers)


def _judge(run: Run, method: str, workers: Workers) -> Judgement:
    """Raises _FaultyCasesError."""
    scheme = run.dataset.scheme
    searches, intervals = [], []
    dtype = run.read_probabilities(run.cases[0]).dtype
    for plane in range(len(scheme.planes)):
        search = ErrorSearch(
            scheme.num_classes, dtype, "argmax" if method == DOUBTED_MASKS else method,
            ignore=IGNORED, with_statistics=True,
        )  # fmt: skip
        search, each = _search(run, plane, search, workers)
        rng = np.random.default_rng(run.settings.seed)
        searches.append(search)
        intervals.append(bootstrap_intervals([each[place] for place in sorted(each)], rng))
    return Judgement(scheme, tuple(searches), tuple(intervals))


def _search(
    run: Run, plane: int, search: ErrorSearch, workers: Workers
) -> tuple[ErrorSearch, dict[int, ConfidentCounts]]:
    """The search of one plane to its end, and the confident counts of each case.

    Raises _FaultyCasesError, after the first pass over all cases.
    """
    cases, keep = PlaneCases(run, plane), plane == 0
    each: dict[int, ConfidentCounts] = {}
    pieces = spans(cases, workers)
    # where there are fewer cases than cores, several work on one
    threads = max(workers.count // len(pieces), 1)
    while not search.ready:
        # a histogram of an earlier pass has no part in the counting
        known = replace(search, histogram=None)
        counted = workers.add_up(partial(_count_span, known, cases, keep, threads), pieces)
        if counted.faults:
            raise _FaultyCasesError(counted.faults)
        search, each, keep = search.advance(counted.tally), {**each, **counted.each}, False
    return search, each


def _count_span(
    search: ErrorSearch, cases: PlaneCases, keep: bool, threads: int, span: range
) -> _Counted:
    """What the pass under way counts in some cases.  keep: keep their most probable labels."""
    total, each, faults = Tally(), {}, dict[str, MaskmendError]()
    for number in span:
        case = cases.run.cases[number]
        try:
            tally = _count_case(search, *cases.read(case), number, case.id, threads)
        except (ProbabilityError, NotFiniteError) as error:
            # of a teacher of our own it would be a defect, and no fault of the data
            if cases.run.predictions is None:
                raise
            faults[case.id] = error
            continue
        total += tally
        if tally.confident is not None:
            each[number] = tally.confident
        if keep:
            _keep_predicted(cases.run, case, threads)
    return _Counted(total, each, faults)


def _count_case(
    search: ErrorSearch, labels: LabelArray, probs: NDArray[Any], number: int, name: str,
    threads: int,
) -> Tally:  # fmt: skip
    """What the pass under way counts in one case; the parts of a large one add like cases."""
    parts = [
        run.part(start, start + _PART_PIXELS)
        for run in split_runs(labels, probs, case=name)
        for start in range(0, len(run), _PART_PIXELS)
    ]
    threads = max(min(threads, len(parts)), 1)

    def count(share: Sequence[Pixels]) -> Tally:
        counter = search.counter()
        for part in share:
            counter.add_run(part, number, name)
        return counter.tally()

    if threads == 1:
        return count(parts)
    with ThreadPoolExecutor(threads) as pool:
        return reduce(add, pool.map(count, [parts[k::threads] for k in range(threads)]))


def _keep_predicted(run: Run, case: Case, threads: int) -> None:
    """Of volumes: those of pictures are as quickly computed as read."""
    probs = run.read_probabilities(case)
    if probs.ndim < 4:
        return
    scheme = run.dataset.scheme
    predicted = np.empty((len(scheme.planes), *probs.shape[1:]), np.uint8)
    edges = [probs.shape[1] * part // threads for part in range(threads + 1)]

    def fill(start: int, stop: int) -> None:
        predicted[:, start:stop] = predicted_labels(probs[:, start:stop], scheme)

    with ThreadPoolExecutor(threads) as pool:
        list(pool.map(fill, edges[:-1], edges[1:]))
    run.keep_predicted(case, predicted)


@dataclass(frozen=True, eq=False)
class MaskFacts:
    """What became of the masks of a case, (structures,) each.

    flagged_share: of the pixels, in [0, 1]; in exclusive labels a flagged pixel counts for the
    structure that it is given to and for the one that is predicted there.  moved, trust: as of
    `Redrawn`.
    """

    flagged_share: FloatArray
    moved: BoolArray
    trust: FloatArray


def write_noise_maps(
    run: Run, judgement: Judgement, belief: Belief, method: str, workers: Workers
) -> Iterator[MaskFacts]:
    """Write the noise map of each case; yields facts of its masks."""
    write = partial(_write_noise_maps, run, judgement, belief, method)
    for some in workers.each(write, spans(run.cases, workers)):
        yield from some


def _write_noise_maps(
    run: Run, judgement: Judgement, belief: Belief, method: str, span: range
) -> list[MaskFacts]:
    facts = []
    scheme = run.dataset.scheme
    for index in span:
        case = run.cases[index]
        given, predicted = run.read_given(case), run.read_predicted(case)
        believed = belief.believed[index]
        # where single pixels are judged, a mask that is doubted is not redrawn as a whole
        trust = np.where(believed, np.nan, 1.0)
        redrawn = Redrawn(predicted, np.zeros_like(believed), trust)
        if method != DOUBTED_MASKS:
            flagged = judgement.flag(run, index, case)
        else:
            if not believed.all():
                limits = np.where(believed, -1.0, belief.limits)
                redrawn = redrawn_labels(
                    given, predicted, limits, belief.expected[index], scheme,
                    read_grid(case).steps, run.settings.flag.move,
                )  # fmt: skip
            flagged = flag_doubted(given, redrawn.labels, believed, scheme)
        run.write_noise_map(case, flagged)
        shares = flagged_shares(flagged, given, predicted, scheme)
        facts.append(MaskFacts(shares, redrawn.moved, redrawn.trust))
    return facts


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


def mended(given: LabelArray, flagged: BoolArray, probs: NDArray[Any]) -> LabelArray:
    """Mended labels of one case, (planes, *S): a flagged pixel takes the most probable other class.

    given, flagged: (planes, *S).  probs: (channels, *S): the classes of a single plane, or one
    channel a plane.  Only the flagged pixels of it are read.  Ignored pixels stay as they are.
    """
    hard = np.array(given)
    alone = len(given) == len(probs)
    for plane, (labels, wrong) in enumerate(zip(given, flagged, strict=True)):
        if wrong.any():
            theirs = probs[plane] if alone else probs
            hard[plane][wrong] = suggested_where(labels, wrong, theirs, ignore=IGNORED)
    return hard
