"""One pass over the pixels of some cases: the plan of what to count, and the counting."""

from __future__ import annotations

from dataclasses import dataclass
from types import ModuleType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from maskmend.arrays import kernels
from maskmend.arrays.accumulate import Counts, Cuts, Doubles, Tally, combine
from maskmend.arrays.blocks import (
    SUMMABLE_PIXELS,
    Block,
    BlockReader,
    Labels,
    Probabilities,
    ProbabilityKind,
    Run,
    bounds_of,
    check_labels,
    refuse_bad,
    split_runs,
)
from maskmend.arrays.confidence import ClassSums, ConfidentCounts
from maskmend.arrays.kernels import Bins, Cutoffs, Floats, Given, Rule, Slots
from maskmend.core import BoolArray
from maskmend.errors import GridMismatchError, ProbabilityError, SettingsError

# a pixel whose given class has more is out of reach of every method that asks for doubt
_SURE = 0.76
# found candidates are merged once there are this many of them
_MERGED_AT = 1 << 16


@dataclass(frozen=True, eq=False)
class PassPlan:
    """Everything that counting or marking a case needs to know.

    counts: of "sums", "histogram", "confident", "candidates".  checked: an earlier pass has
    checked the probabilities.  slots and bins as in `kernels`.
    """

    counts: frozenset[str]
    num_classes: int
    kind: ProbabilityKind
    ignore: int | None
    checked: bool
    rule: Rule
    slots: Slots
    bins: Bins
    cutoffs: Cutoffs
    cuts: Cuts

    @property
    def rankings(self) -> int:
        return int(self.slots.max()) + 1


Ranked = tuple[NDArray[np.integer[Any]] | slice, Given, Floats]
"""The pixels of a block that a ranking looks at: where they are, labels, and probabilities."""


class Memory:
    """Undecided pixels that an earlier pass has found, of one thread, up to a number of bytes.

    Only for pixels that stay where they are from pass to pass: those of arrays in memory.
    """

    def __init__(self, most_bytes: int) -> None:
        self._left = most_bytes
        self._blocks: dict[tuple[int, int], Ranked] = {}

    def recall(self, place: int, start: int) -> Ranked | None:
        """Those of the block of a piece that begins at `start`, if they are remembered."""
        return self._blocks.get((place, start))

    def keep(self, place: int, start: int, ranked: Ranked) -> None:
        """Remember them if there is room."""
        where, labels, probs = ranked
        if isinstance(where, slice) or (place, start) in self._blocks:
            return
        small = where.astype(np.int32)
        size = small.nbytes + labels.nbytes + probs.nbytes
        if 0 < size <= self._left:
            self._left -= size
            self._blocks[place, start] = small, labels, probs


class Counter:
    """Counts or marks the pixels of many cases, in one thread; not a value, but makes them."""

    def __init__(self, plan: PassPlan, engine: ModuleType, memory: Memory | None = None) -> None:
        classes = plan.num_classes
        self._plan = plan
        self._memory = memory or Memory(0)
        self._kernels = engine
        compiled = engine is not kernels
        self._reader = BlockReader(
            plan.kind, classes, plan.ignore, contiguous=compiled, widen=engine.widen
        )
        self._bounds = bounds_of(plan.kind, classes)
        self._sure = self._sure_from()
        self._slots = engine.prepare(plan.slots)
        self._sizes = np.zeros(classes, np.int64)
        self._sums = [0] * classes
        self._joint = np.zeros((classes, classes), np.int64)
        self._errors = 0
        rankings = plan.rankings if "histogram" in plan.counts else 0
        self._histogram = np.zeros((rankings, plan.bins.count), np.int64)
        self._windows = plan.cuts.windows()
        self._candidates = combine(np.zeros((3, 0), np.int64), np.zeros(0, np.int64))
        self._found: list[tuple[Slots, Doubles, Counts]] = []

    def _sure_from(self) -> float | None:
        """Self-confidence, in stored units, above which a pixel need not be ranked.

        Methods that flag doubted pixels alone flag none above (1 + t) / 2, where the classes of
        a pixel sum to at most 1 + t; and such a one's margins are at most its self-confidence.
        The margins of a pixel above 0.76 + t are all higher than 0.5 + t.  So the order of what
        can be flagged does not change without it, and where a ranking takes more pixels than are
        counted, it takes every one that can be flagged.
        """
        bound = _SURE * self._plan.kind.scale + self._bounds.tolerance
        return bound if self._plan.rule.doubted and bound < self._bounds.high else None

    def _ranked(self, block: Block, place: int) -> Ranked:
        """The pixels of a block that a ranking looks at; remembered if there is room."""
        if self._sure is None:
            return slice(None), block.labels, block.probs
        ranked: Ranked = self._kernels.undecided(block.labels, block.probs, self._sure)
        self._memory.keep(place, block.start, ranked)
        return ranked

    def add_case(
        self, labels: Labels, probs: Probabilities, class_axis: int, case: int, name: str
    ) -> None:
        """Count a case; several may share a place in the order, which its ties then share."""
        if case < 0:
            raise SettingsError(
                name,
                expected="a place in the order of cases, 0 or more",
                got=str(case),
                remedy="Number the cases from 0.",
            )
        for run in split_runs(labels, probs, class_axis=class_axis, case=name):
            self.add_run(run, case, name)

    def add_run(self, run: Run, case: int, name: str) -> None:
        """Count part of a case."""
        self._check_kind(run, name)
        everything = self._plan.counts & {"sums", "confident"}
        for start, stop in self._reader.spans(run):
            ranked = None if everything else self._memory.recall(case, start)
            if ranked is None:
                block = self._read(run, start, stop, name)
                self._count_all(block)
                ranked = self._ranked(block, case) if self._ranks else None
            if ranked is not None:
                self._count_ranked(ranked, case)

    @property
    def _ranks(self) -> bool:
        return not self._plan.counts.isdisjoint({"histogram", "candidates"})

    def _read(self, run: Run, start: int, stop: int, name: str) -> Block:
        """A block of a run, checked if no earlier pass has done so."""
        plan, bounds = self._plan, self._bounds
        block = self._reader.read(run, start, stop)
        if not plan.checked:
            check_labels(run.labels[start:stop], plan.num_classes, plan.ignore, name)
            if not self._kernels.all_good(
                block.probs, bounds.low, bounds.high, bounds.whole, bounds.tolerance
            ):
                refuse_bad(block, bounds, name)
        return block

    def _count_all(self, block: Block) -> None:
        plan, labels, probs = self._plan, block.labels, block.probs
        if "sums" in plan.counts:
            scale = float(plan.kind.unit // plan.kind.scale)
            for start in range(0, len(labels), SUMMABLE_PIXELS):
                some, sums = labels[start : start + SUMMABLE_PIXELS], np.zeros_like(self._sizes)
                self._kernels.sum_given(some, probs, start, scale, self._sizes, sums)
                # these sums fit in 63 bits, those of all cases may not
                self._sums = [a + b for a, b in zip(self._sums, sums.tolist(), strict=True)]
        if "confident" in plan.counts:
            self._errors += self._kernels.count_confident(
                labels, probs, plan.cutoffs, self._sizes, self._joint
            )

    def _count_ranked(self, ranked: Ranked, case: int) -> None:
        plan, (_, some, their) = self._plan, ranked
        if "histogram" in plan.counts:
            self._kernels.count_scores(some, their, self._slots, plan.bins, self._histogram)
        if "candidates" in plan.counts:
            slots, scores = self._kernels.gather_scores(
                some, their, self._slots, *self._windows, plan.bins.half
            )
            self._found.append((slots, scores, np.full(len(slots), case)))
            if sum(len(found) for found, _, _ in self._found) > _MERGED_AT:
                self._merge_found()

    def _merge_found(self) -> None:
        if self._found:
            slots, scores, cases = (np.concatenate(part) for part in zip(*self._found, strict=True))
            self._candidates = self._candidates + self._plan.cuts.candidates(slots, scores, cases)
            self._found = []

    def tally(self) -> Tally:
        """What was counted so far.  The counter is not to be used after it."""
        self._merge_found()
        counts, unit = self._plan.counts, self._plan.kind.unit
        sums = ClassSums(tuple(self._sizes.tolist()), tuple(self._sums), unit)
        confident = ConfidentCounts(self._sizes, self._joint, self._errors)
        return Tally(
            sums=sums if "sums" in counts else None,
            histogram=self._histogram if "histogram" in counts else None,
            confident=confident if "confident" in counts else None,
            candidates=self._candidates if "candidates" in counts else None,
        )

    def mark_case(
        self,
        labels: Labels,
        probs: Probabilities,
        class_axis: int,
        case: int,
        name: str,
        flagged: BoolArray,
    ) -> None:
        """Write the errors of a case to flagged, (N,), in C order."""
        left, start = self.ties_left(case), 0
        for run in split_runs(labels, probs, class_axis=class_axis, case=name):
            self.mark_run(run, left, case, name, flagged[start : start + len(run)])
            start += len(run)

    def ties_left(self, case: int) -> Counts:
        """How many pixels at just the cut each ranking takes from a case."""
        return self._plan.cuts.left(case)

    def mark_run(self, run: Run, left: Counts, case: int, name: str, flagged: BoolArray) -> None:
        """Write the errors of part of a case.  left: its ties to be taken; counted down."""
        plan = self._plan
        self._check_kind(run, name)
        cuts = plan.cuts.scores
        for start, stop in self._reader.spans(run):
            ranked = self._memory.recall(case, start)
            if ranked is None:
                ranked = self._ranked(self._read(run, start, stop, name), case)
            where, labels, probs = ranked
            found = np.empty(len(labels), bool)
            self._kernels.mark_errors(
                labels,
                probs,
                self._slots,
                cuts,
                plan.bins.half,
                left,
                plan.rule,
                plan.cutoffs,
                found,
            )
            flagged[start:stop] = False
            flagged[start:stop][where] = found

    def _check_kind(self, run: Run, name: str) -> None:
        plan = self._plan
        if run.num_classes != plan.num_classes:
            raise GridMismatchError(
                name,
                expected=f"probabilities of {plan.num_classes} classes",
                got=str(run.num_classes),
                remedy="All cases that are judged together have the same classes.",
            )
        if run.probs.dtype != plan.kind.dtype:
            raise ProbabilityError(
                name,
                expected=f"probabilities of dtype {plan.kind.dtype}, as in the other cases",
                got=str(run.probs.dtype),
                remedy="Convert all cases to one dtype.",
            )
