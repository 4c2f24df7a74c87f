"""One pass over the pixels of some cases: counted or marked, by either engine."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Protocol

from maskmend import native
from maskmend.arrays.accumulate import Counts, Tally
from maskmend.arrays.blocks import Labels, Probabilities, Run, split_runs
from maskmend.arrays.compiled import CompiledPlan
from maskmend.arrays.plain import PlainSweep
from maskmend.arrays.plan import Memory, PassPlan
from maskmend.errors import GridMismatchError, ProbabilityError, SettingsError

if TYPE_CHECKING:
    # read by people and mypy alone; loading it takes as long as judging a million pixels
    from maskmend.core import BoolArray

ENGINES = ("auto", "numpy", "native")


class Sweep(Protocol):
    """What an engine does with runs of pixels as a plan says, in one thread."""

    def count(self, run: Run, case: int, name: str, memory: Memory) -> None:
        """Count a run of a case."""

    def mark(self, run: Run, left: Counts, name: str, memory: Memory, flagged: BoolArray) -> None:
        """Write the errors of a run to flagged, (N,), which is False everywhere.

        left: how many pixels at just the cut each ranking may still take; counted down.
        """

    def tally(self) -> Tally:
        """What was counted so far.  The sweep is not to be used after it."""


class Counter:
    """Counts or marks the pixels of many cases, in one thread; not a value, but makes them."""

    def __init__(self, plan: PassPlan, sweep: Sweep) -> None:
        """sweep: of the plan, from `sweeps`."""
        self._plan = plan
        self._sweep = sweep

    def add_case(
        self, labels: Labels, probs: Probabilities, class_axis: int, case: int, name: str
    ) -> None:
        """Count a case; several may share a place in the order, which its ties then share."""
        for run in split_runs(labels, probs, class_axis=class_axis, case=name):
            self.add_run(run, case, name)

    def add_run(self, run: Run, case: int, name: str, memory: Memory | None = None) -> None:
        """Count part of a case.  memory: that of this very run."""
        if case < 0:
            raise SettingsError(
                name,
                expected="a place in the order of cases, 0 or more",
                got=str(case),
                remedy="Number the cases from 0.",
            )
        self._check_kind(run, name)
        self._sweep.count(run, case, name, memory or Memory(0))

    def tally(self) -> Tally:
        """What was counted so far.  The counter is not to be used after it."""
        return self._sweep.tally()

    def mark_case(
        self,
        labels: Labels,
        probs: Probabilities,
        class_axis: int,
        case: int,
        name: str,
        flagged: BoolArray,
    ) -> None:
        """Write the errors of a case to flagged, (N,), in C order, which is False everywhere."""
        left, start = self.ties_left(case), 0
        for run in split_runs(labels, probs, class_axis=class_axis, case=name):
            self.mark_run(run, left, name, flagged[start : start + len(run)])
            start += len(run)

    def ties_left(self, case: int) -> Counts:
        """How many pixels at just the cut each ranking takes from a case."""
        return self._plan.cuts.left(case)

    def mark_run(
        self,
        run: Run,
        left: Counts,
        name: str,
        flagged: BoolArray,
        memory: Memory | None = None,
    ) -> None:
        """Write the errors of part of a case.  left: its ties to be taken; counted down."""
        self._check_kind(run, name)
        self._sweep.mark(run, left, name, memory or Memory(0), flagged)

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


def sweeps(plan: PassPlan, engine: str) -> Callable[[], Sweep]:
    """What makes sweeps of a plan.

    engine: one of ENGINES; SettingsError for "native" where there are no compiled kernels.
    """
    missing = native.why_missing()
    if engine == "native" and missing:
        raise SettingsError(
            "engine", expected="compiled kernels", got=missing.rstrip("."), remedy=native.REMEDY
        )
    if engine == "auto":
        native.tell_if_missing()
    if engine == "numpy" or missing:
        return partial(PlainSweep, plan)
    return CompiledPlan(plan).sweep
