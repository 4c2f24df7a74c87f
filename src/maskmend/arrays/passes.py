"""One pass over the pixels of some cases: the plan of what to count, and the counting."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from types import ModuleType

import numpy as np
from numpy.typing import NDArray

from maskmend.arrays import kernels
from maskmend.arrays.accumulate import Counts, Cuts, Doubles, Tally, combine
from maskmend.arrays.blocks import (
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


class Counter:
    """Counts or marks the pixels of many cases, in one thread; not a value, but makes them."""

    def __init__(self, plan: PassPlan, engine: ModuleType) -> None:
        classes = plan.num_classes
        self._plan = plan
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

    def _ranked(self, block: Block) -> tuple[NDArray[np.int64] | slice, Given, Floats]:
        """The pixels of a block that a ranking looks at: where, labels, and probabilities."""
        if self._sure is None:
            return slice(None), block.labels, block.probs
        return self._kernels.undecided(block.labels, block.probs, self._sure)  # type: ignore[no-any-return]

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
        for block in self._blocks(run, name):
            self._count(block, case)

    def _blocks(self, run: Run, name: str) -> Iterator[Block]:
        """The blocks of a run, checked if no earlier pass has done so."""
        plan, bounds = self._plan, self._bounds
        for block in self._reader.blocks(run):
            if not plan.checked:
                labels = run.labels[block.start : block.stop]
                check_labels(labels, plan.num_classes, plan.ignore, name)
                if not self._kernels.all_good(
                    block.probs, bounds.low, bounds.high, bounds.whole, bounds.tolerance
                ):
                    refuse_bad(block, bounds, name)
            yield block

    def _count(self, block: Block, case: int) -> None:
        plan, labels, probs = self._plan, block.labels, block.probs
        if "sums" in plan.counts:
            sums = np.zeros_like(self._sizes)
            scale = float(plan.kind.unit // plan.kind.scale)
            self._kernels.sum_given(labels, probs, scale, self._sizes, sums)
            # the sums of a block fit in 63 bits, those of all cases may not
            self._sums = [a + b for a, b in zip(self._sums, sums.tolist(), strict=True)]
        if "histogram" in plan.counts:
            _, some, their = self._ranked(block)
            self._kernels.count_scores(some, their, self._slots, plan.bins, self._histogram)
        if "confident" in plan.counts:
            self._errors += self._kernels.count_confident(
                labels, probs, plan.cutoffs, self._sizes, self._joint
            )
        if "candidates" in plan.counts:
            _, some, their = self._ranked(block)
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
            self.mark_run(run, left, name, flagged[start : start + len(run)])
            start += len(run)

    def ties_left(self, case: int) -> Counts:
        """How many pixels at just the cut each ranking takes from a case."""
        return self._plan.cuts.left(case)

    def mark_run(self, run: Run, left: Counts, name: str, flagged: BoolArray) -> None:
        """Write the errors of part of a case.  left: its ties to be taken; counted down."""
        plan = self._plan
        self._check_kind(run, name)
        cuts = plan.cuts.scores
        for block in self._blocks(run, name):
            where, labels, probs = self._ranked(block)
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
            flagged[block.start : block.stop] = False
            flagged[block.start : block.stop][where] = found

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
