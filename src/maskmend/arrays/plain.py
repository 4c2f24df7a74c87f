"""A sweep over runs of pixels in plain NumPy, block by block."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from maskmend.arrays import kernels
from maskmend.arrays.accumulate import Counts, Gathered, Tally
from maskmend.arrays.blocks import Block, BlockReader, Run, check_labels, refuse_bad
from maskmend.arrays.confidence import ClassSums, ConfidentCounts
from maskmend.arrays.kernels import Floats, Given
from maskmend.arrays.plan import Memory, PassPlan

if TYPE_CHECKING:
    # read by people and mypy alone; loading it takes as long as judging a million pixels
    from maskmend.core import BoolArray


class PlainSweep:
    """Counts or marks runs as a plan says, in one thread; see `passes.Sweep`."""

    def __init__(self, plan: PassPlan) -> None:
        classes = plan.num_classes
        self._plan = plan
        self._reader = BlockReader(plan.kind, classes, plan.ignore, kernels.widen)
        self._sure = plan.sure
        self._sizes = np.zeros(classes, np.int64)
        self._sums = [0] * classes
        self._joint = np.zeros((classes, classes), np.int64)
        self._errors = 0
        rankings = plan.rankings if "histogram" in plan.counts else 0
        self._histogram = np.zeros((rankings, plan.bins.count), np.int64)
        self._windows = plan.cuts.windows()
        self._gathered = Gathered(plan.cuts)

    def count(self, run: Run, case: int, name: str, memory: Memory) -> None:
        for start, stop in self._reader.spans(run):
            block = self._read(run, start, stop, name)
            self._count_all(block)
            if not self._plan.counts.isdisjoint({"histogram", "candidates"}):
                _, labels, probs = self._ranked(block)
                self._count_ranked(labels, probs, case)

    def mark(self, run: Run, left: Counts, name: str, memory: Memory, flagged: BoolArray) -> None:
        plan = self._plan
        for start, stop in self._reader.spans(run):
            where, labels, probs = self._ranked(self._read(run, start, stop, name))
            found = np.empty(len(labels), bool)
            kernels.mark_errors(
                labels,
                probs,
                plan.slots,
                plan.cuts.scores,
                plan.bins.half,
                left,
                plan.rule,
                plan.cutoffs,
                found,
            )
            flagged[start:stop][where] = found

    def tally(self) -> Tally:
        counts, unit = self._plan.counts, self._plan.kind.unit
        sums = ClassSums(tuple(self._sizes.tolist()), tuple(self._sums), unit)
        confident = ConfidentCounts(self._sizes, self._joint, self._errors)
        return Tally(
            sums=sums if "sums" in counts else None,
            histogram=self._histogram if "histogram" in counts else None,
            confident=confident if "confident" in counts else None,
            candidates=self._gathered.candidates() if "candidates" in counts else None,
        )

    def _read(self, run: Run, start: int, stop: int, name: str) -> Block:
        """A block of a run, checked if no earlier pass has done so."""
        plan, bounds = self._plan, self._plan.bounds
        block = self._reader.read(run, start, stop)
        if not plan.checked:
            check_labels(run.labels[start:stop], plan.num_classes, plan.ignore, name)
            if not kernels.all_good(
                block.probs, bounds.low, bounds.high, bounds.whole, bounds.tolerance
            ):
                refuse_bad(block, bounds, name)
        return block

    def _count_all(self, block: Block) -> None:
        plan, labels, probs = self._plan, block.labels, block.probs
        if "sums" in plan.counts:
            sums = np.zeros_like(self._sizes)
            kernels.sum_given(
                labels, probs, float(plan.kind.unit // plan.kind.scale), self._sizes, sums
            )
            # the sums of a block fit in 63 bits, those of all cases may not
            self._sums = [a + b for a, b in zip(self._sums, sums.tolist(), strict=True)]
        if "confident" in plan.counts:
            self._errors += kernels.count_confident(
                labels, probs, plan.cutoffs, self._sizes, self._joint
            )

    def _ranked(self, block: Block) -> tuple[Counts | slice, Given, Floats]:
        """The pixels of a block that a ranking looks at: where, labels, and probabilities."""
        if self._sure is None:
            return slice(None), block.labels, block.probs
        return kernels.undecided(block.labels, block.probs, self._sure)

    def _count_ranked(self, labels: Given, probs: Floats, case: int) -> None:
        plan = self._plan
        if "histogram" in plan.counts:
            kernels.count_scores(labels, probs, plan.slots, plan.bins, self._histogram)
        if "candidates" in plan.counts:
            slots, scores = kernels.gather_scores(
                labels, probs, plan.slots, *self._windows, plan.bins.half
            )
            self._gathered.add(slots, scores, case)
