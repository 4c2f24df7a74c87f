"""Which pixels are wrong: every method of confident learning, exact, in a few passes.

Three ways in, one engine:

- `flag_errors(labels, probs)`: arrays in memory.
- `flag_cases(cases)`: cases that can be read several times, such as those of a run folder.
- `ErrorFinder`: a stream of cases from your own loop (`update`, `merge`, `finish`, `flag`);
  `ErrorSearch` is the same as pure values, for a map and reduce over many machines.

Passes over the data, the last of which flags:

    method                      uint8, float16      float32, float64, uint16
    argmax                      1                   1
    confident_joint             2                   2
    all others                  3, or 4 with ties   4, or 5 and more where crowded

- "ties": more pixels lie at the very cut of a ranking than it takes; one pass counts them by
  case.  float32 and float64 need that pass anyway, to find the cut inside its histogram bin.
- "crowded": over 2**20 pixels, shared by all rankings that are open, lie in those bins; each
  further pass finds 9 to 17 binary digits of the cut, of at most 30 (float32) or 60 (float64).
- uint16 counts as float16 up to 5 classes for `both`, float16 as float32 from 9 classes on.
- From 23 classes on, one pass more for methods with margins: only the rankings that the joint
  asks for are counted.
- Statistics add a pass to argmax (2) and confident_joint (1).
- Two classes, by the foreground's probability alone: the same passes.

Method, rounding, calibration and order follow cleanlab 2.9.0 `filter.find_label_issues`, with
exact sums.  Known differences, all but the last in ties alone: at a cut they go by case, then
pixel; equal remainders round in a fixed order; normalized margins are not rounded again by
(m + 1) / 2; a class without a pixel is never the confident one.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import reduce
from operator import add
from threading import Thread
from typing import TYPE_CHECKING, TypeVar

import numpy as np

from maskmend import native
from maskmend.arrays.accumulate import Tally
from maskmend.arrays.blocks import Labels, Probabilities, Run, split_runs
from maskmend.arrays.confidence import Statistics
from maskmend.arrays.passes import Counter
from maskmend.arrays.plan import Memory
from maskmend.arrays.search import METHODS, ErrorSearch, least_passes
from maskmend.errors import SettingsError

if TYPE_CHECKING:
    # read by people and mypy alone; loading it takes as long as judging a million pixels
    from maskmend.core import BoolArray

__all__ = [
    "METHODS",
    "ErrorFinder",
    "ErrorSearch",
    "flag_cases",
    "flag_errors",
    "least_passes",
    "search_cases",
]

# probabilities that are worth a thread's attention
_PIECE_VALUES = 1 << 19
# enough of them that all threads are done at the same time
_PIECES_PER_WORKER = 8
# more of them wait for the memory, and each has a histogram of its own
_MOST_THREADS = 8

# bytes of undecided pixels that are remembered from one pass to the next
_MEMORY = 28 << 20

CaseArrays = tuple[Labels, Probabilities]
Result = TypeVar("Result")


def flag_errors(
    labels: Labels,
    probs: Probabilities,
    *,
    method: str = "both",
    class_axis: int = 0,
    ignore: int | None = None,
    engine: str = "auto",
    workers: int | None = None,
) -> BoolArray:
    """Which pixels have a wrong label.

    labels: (*S,) integers 0..K-1, K up to 254, in which `ignore` marks pixels that take no part.
    probs: out-of-sample, float16/32/64 in [0, 1] or uint8/uint16 with 255/65535 for 1; their K
    classes lie along class_axis, (K, *S) by default and (*S, K) for -1; or (*S,) alone, the
    foreground of two classes.  method: one of METHODS.  engine: "auto", "numpy" or "native".
    workers: threads, by default one a processor up to 8; any number gives the same result.
    Returns (*S,) bool.  Memory beyond the result does not grow with the number of pixels.

    MaskValueError, GridMismatchError, NotFiniteError, ProbabilityError for bad input;
    SettingsError for an unknown method, and for "native" where nothing was compiled.
    Zhang et al., MICCAI 2020; JAIR 2021.
    """
    runs = list(split_runs(labels, probs, class_axis=class_axis))
    num_classes = 2 if probs.shape == labels.shape else probs.shape[class_axis]
    search = ErrorSearch(num_classes, probs.dtype, method, ignore=ignore, engine=engine)
    flagged = np.zeros(labels.size, dtype=bool)
    threads_wanted = min(native.processors(), _MOST_THREADS) if workers is None else workers
    pieces = list(_pieces(runs, flagged, max(threads_wanted, 1)))
    workers = max(min(threads_wanted, len(pieces)), 1)

    def count(share: Iterator[_Piece]) -> Tally:
        counter = search.counter()
        for piece in share:
            counter.add_run(piece.run, piece.place, "labels", piece.memory)
        return counter.tally()

    def mark(share: Iterator[_Piece]) -> None:
        counter = search.counter()
        for piece in share:
            left = counter.ties_left(piece.place)
            counter.mark_run(piece.run, left, "labels", piece.flagged, piece.memory)

    while not search.ready:
        search = search.advance(reduce(add, _on_threads(count, pieces, workers)))
    _on_threads(mark, pieces, workers)
    return flagged.reshape(labels.shape)


def _on_threads(
    work: Callable[[Iterator[_Piece]], Result], pieces: Sequence[_Piece], count: int
) -> list[Result]:
    """What work returns on each of `count` threads, which share the pieces between them.

    Each takes the next piece when it is done with one.  The first error of any is raised.
    (`concurrent.futures` takes longer to import than a million pixels to judge.)
    """
    shared, results, errors = iter(pieces), [], []

    def run() -> None:
        try:
            results.append(work(shared))
        except BaseException as error:
            errors.append(error)

    threads = [Thread(target=run) for _ in range(count - 1)]
    for thread in threads:
        thread.start()
    run()
    for thread in threads:
        thread.join()
    if errors:
        raise errors[0]
    return results


@dataclass(frozen=True, eq=False)
class _Piece:
    """Part of an array, treated as a case: place in the order, pixels, and their result."""

    place: int
    run: Run
    flagged: BoolArray
    memory: Memory


def _pieces(runs: Sequence[Run], flagged: BoolArray, workers: int) -> Iterator[_Piece]:
    start, place = 0, 0
    for run in runs:
        values = len(flagged) * run.num_classes // (workers * _PIECES_PER_WORKER)
        length = max(values, _PIECE_VALUES) // run.num_classes + 1
        for first in range(0, len(run), length):
            part = run.part(first, first + length)
            memory = Memory(_MEMORY * len(part) // len(flagged))
            yield _Piece(place, part, flagged[start : start + len(part)], memory)
            start, place = start + len(part), place + 1


def search_cases(
    cases: Iterable[CaseArrays],
    *,
    num_classes: int,
    method: str = "both",
    class_axis: int = 0,
    ignore: int | None = None,
    with_statistics: bool = True,
    engine: str = "auto",
) -> ErrorSearch:
    """Make all passes over cases but the last; `flag` of the result then judges each of them.

    cases: (labels, probs) of each, as in `flag_errors`, of any sizes; it is iterated over once
    a pass, so a list or an object with `__iter__` that reads them anew, not a generator.
    """
    if iter(cases) is cases:
        raise SettingsError(
            "cases",
            expected="something that can be read several times",
            got=type(cases).__name__,
            remedy="Give a list, or an object whose __iter__ starts anew.",
        )
    finder = ErrorFinder(
        num_classes,
        method=method,
        class_axis=class_axis,
        ignore=ignore,
        with_statistics=with_statistics,
        engine=engine,
    )
    while not finder.ready:
        for number, (labels, probs) in enumerate(cases):
            finder.update(labels, probs, case=number)
        finder.finish()
    return finder.search


def flag_cases(
    cases: Iterable[CaseArrays],
    *,
    num_classes: int,
    method: str = "both",
    class_axis: int = 0,
    ignore: int | None = None,
    engine: str = "auto",
) -> Iterator[BoolArray]:
    """The errors of each case in turn, judged together; arguments as in `search_cases`."""
    search = search_cases(
        cases,
        num_classes=num_classes,
        method=method,
        class_axis=class_axis,
        ignore=ignore,
        with_statistics=False,
        engine=engine,
    )
    for number, (labels, probs) in enumerate(cases):
        yield search.flag(labels, probs, class_axis=class_axis, case=number)


class ErrorFinder:
    """The search in a loop of your own, over cases that come in a stream.

        finder = ErrorFinder(num_classes=2, method="both")
        while not finder.ready:
            for number, (labels, probs) in enumerate(cases):
                finder.update(labels, probs, case=number)
            finder.finish()
        masks = [finder.flag(labels, probs, case=number) for number, (labels, probs) in ...]

    Each pass must see the same cases, in any order, each once and under the same number.
    Several finders may share a pass: each updates with its cases, one merges the others and
    finishes, and its `search` goes back to all.
    """

    def __init__(
        self,
        num_classes: int,
        *,
        method: str = "both",
        class_axis: int = 0,
        ignore: int | None = None,
        with_statistics: bool = False,
        engine: str = "auto",
    ) -> None:
        """Arguments as in `flag_errors` and `ErrorSearch`."""
        # the dtype is that of the first case
        self._search = ErrorSearch(
            num_classes,
            np.dtype(np.float32),
            method,
            ignore=ignore,
            with_statistics=with_statistics,
            engine=engine,
        )
        self._class_axis = class_axis
        self._counter: Counter | None = None
        self._merged: Tally | None = None

    @property
    def search(self) -> ErrorSearch:
        """What is known after the finished passes."""
        return self._search

    @search.setter
    def search(self, search: ErrorSearch) -> None:
        self._search, self._counter, self._merged = search, None, None

    @property
    def ready(self) -> bool:
        """Whether every pass but the flagging one is done."""
        return self._search.ready

    def update(self, labels: Labels, probs: Probabilities, *, case: int) -> None:
        """Count one case in the pass under way."""
        self._adopt(probs)
        if self._counter is None:
            self._counter = self._search.counter()
        self._counter.add_case(labels, probs, self._class_axis, case, f"case {case}")

    def merge(self, other: ErrorFinder) -> None:
        """Add what another finder counted in the same pass."""
        tally = other._counted()
        if tally is None:
            return
        if self._counted() is None:
            self._search = other._search
        elif self._search.pending != other._search.pending:
            raise SettingsError(
                "merge",
                expected=f"a finder that counts {', '.join(sorted(self._search.pending))}",
                got=", ".join(sorted(other._search.pending)) or "one that is ready",
                remedy="Merge all finders of a pass, finish it, then hand its search to all.",
            )
        self._merged = tally if self._merged is None else self._merged + tally

    def finish(self) -> bool:
        """End the pass; returns whether `flag` can be asked now."""
        tally = self._counted()
        if tally is None:
            raise SettingsError(
                "finish",
                expected="a pass with at least one case",
                got="none",
                remedy="Update with every case before each finish.",
            )
        self.search = self._search.advance(tally)
        return self.ready

    def flag(self, labels: Labels, probs: Probabilities, *, case: int) -> BoolArray:
        """The errors of one case, (*S,)."""
        return self._search.flag(labels, probs, class_axis=self._class_axis, case=case)

    def _counted(self) -> Tally | None:
        """What this pass counted so far, of its own cases and of merged finders."""
        if self._counter is not None:
            tally, self._counter = self._counter.tally(), None
            self._merged = tally if self._merged is None else self._merged + tally
        return self._merged

    def statistics(self) -> Statistics:
        """As `ErrorSearch.statistics`."""
        return self._search.statistics()

    def _adopt(self, probs: Probabilities) -> None:
        """Take the dtype of the first case."""
        if self._search.sums is None and self._counter is None and self._merged is None:
            self._search = replace(self._search, dtype=probs.dtype)
