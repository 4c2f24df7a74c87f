"""The search for wrong pixels as a value: what is known, what to count next, what follows.

    search = ErrorSearch(num_classes=2, dtype=np.dtype("float32"), method="both")
    while not search.ready:                                           # one pass
        search = search.advance(sum of search.count(labels, probs, case=n) over all cases n)
    flagged = search.flag(labels, probs, case=n)                      # the last pass

`count` and `flag` are pure, and tallies add in any order, so this is the algorithm of one
process, of many, and of a cluster alike.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, fields, replace
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np

from maskmend.arrays.accumulate import Counts, Cuts, Tally, first_cuts, narrowed, no_cuts
from maskmend.arrays.bins import Bins, bins_for, key_step
from maskmend.arrays.blocks import (
    MAX_CLASSES,
    Labels,
    Probabilities,
    ProbabilityKind,
    probability_kind,
)
from maskmend.arrays.confidence import (
    SLACK,
    ClassSums,
    ConfidentCounts,
    Rates,
    Statistics,
    class_thresholds,
    error_counts,
    statistics,
)
from maskmend.arrays.passes import ENGINES, Counter, Sweep, sweeps
from maskmend.arrays.plan import Cutoffs, PassPlan, Rule, Slots
from maskmend.errors import SettingsError

if TYPE_CHECKING:
    # read by people and mypy alone; loading it takes as long as judging a million pixels
    from maskmend.core import BoolArray

_RULES = {
    "confident_joint": Rule(ranking=0, confident=1, doubted=True),
    "prune_by_class": Rule(ranking=1, confident=0, doubted=True),
    "prune_by_noise_rate": Rule(ranking=2, confident=0, doubted=True),
    "both": Rule(ranking=3, confident=0, doubted=True),
    "intersection": Rule(ranking=3, confident=2, doubted=True),
    "union": Rule(ranking=3, confident=3, doubted=True),
    "argmax": Rule(ranking=0, confident=0, doubted=True),
    "low_self_confidence": Rule(ranking=4, confident=0, doubted=False),
    "low_normalized_margin": Rule(ranking=4, confident=0, doubted=False),
}

METHODS = tuple(_RULES)

# rankings that are counted before the joint says which of them it needs
_EARLY_RANKINGS = 512


@dataclass(frozen=True, eq=False)
class ErrorSearch:
    """How far the search is.  Give num_classes, dtype of the probabilities and method.

    ignore: label of pixels that take no part.  with_statistics: also count what `statistics`
    needs, where the method itself does not.  fixed_thresholds: (K,), instead of the mean
    self-confidence of each class.  engine: "numpy", "native" (the compiled
    kernels) or "auto" (those, or NumPy where there are none), with the same result.

    The rest is what the passes found: sums, histogram, confident, cuts.
    """

    num_classes: int
    dtype: np.dtype[Any]
    method: str = "both"
    ignore: int | None = None
    with_statistics: bool = False
    fixed_thresholds: tuple[float, ...] | None = None
    engine: str = "auto"
    sums: ClassSums | None = None
    histogram: Counts | None = None
    confident: ConfidentCounts | None = None
    cuts: Cuts | None = None

    def __post_init__(self) -> None:
        """SettingsError for an unknown method or engine, ProbabilityError for a dtype."""
        _one_of("method", self.method, METHODS)
        _one_of("engine", self.engine, ENGINES)
        if not 2 <= self.num_classes <= MAX_CLASSES:
            raise SettingsError(
                "num_classes",
                expected=f"2 to {MAX_CLASSES}",
                got=str(self.num_classes),
                remedy="Judge overlapping structures one by one, as two classes each.",
            )
        object.__setattr__(self, "dtype", np.dtype(self.dtype))
        probability_kind(self.dtype)

    @cached_property
    def kind(self) -> ProbabilityKind:
        return probability_kind(self.dtype)

    @property
    def rule(self) -> Rule:
        return _RULES[self.method]

    @property
    def pending(self) -> frozenset[str]:
        """What the next pass counts: sums, histogram, confident, candidates; nothing if ready."""
        rule = self.rule
        if self.sums is None:
            if not (rule.ranking or rule.confident or self.with_statistics):
                return frozenset()
            return frozenset({"sums", "histogram"} if self._early else {"sums"})
        if self.confident is None and (rule.ranking or self.with_statistics):
            return frozenset({"confident"})
        if rule.ranking and self.cuts is None:
            return frozenset({"histogram"})
        if self.cuts is not None and not self.cuts.settled:
            return frozenset({"candidates"})
        return frozenset()

    @property
    def ready(self) -> bool:
        """Whether `flag` can be asked."""
        return not self.pending

    @property
    def thresholds(self) -> Rates:
        """(K,), as in `class_thresholds`; known after the first pass."""
        if self.fixed_thresholds is not None:
            return np.array(self.fixed_thresholds, dtype=np.float64)
        if self.sums is None:
            raise _too_early("the thresholds")
        return class_thresholds(self.sums)

    def statistics(self) -> Statistics:
        """The figures of all cases together; known once the confident joint is."""
        if self.confident is None:
            raise _too_early("the statistics")
        return statistics(self.confident, self.thresholds)

    def count(
        self, labels: Labels, probs: Probabilities, *, class_axis: int = 0, case: int = 0
    ) -> Tally:
        """What the pass under way counts in one case.

        case: its place in the order of cases, the same in every pass; ties go by it.
        """
        counter = self.counter()
        counter.add_case(labels, probs, class_axis, case, f"case {case}")
        return counter.tally()

    def confident_counts(
        self, labels: Labels, probs: Probabilities, *, class_axis: int = 0, case: int = 0
    ) -> ConfidentCounts:
        """The Counts of one case under the thresholds of all, as `bootstrap_intervals` wants."""
        alone = replace(self, method="argmax", with_statistics=True, confident=None, cuts=None)
        counted = alone.count(labels, probs, class_axis=class_axis, case=case).confident
        if counted is None:
            raise _too_early("the counts of a case")
        return counted

    def advance(self, tally: Tally) -> ErrorSearch:
        """The search after a pass whose tallies of all cases sum to `tally`."""
        known = self
        if tally.sums is not None:
            known = replace(known, sums=tally.sums)
        if tally.histogram is not None:
            known = replace(known, histogram=tally.histogram)
        if tally.confident is not None:
            known = replace(known, confident=tally.confident)
        if tally.candidates is not None and known.cuts is not None:
            return replace(known, cuts=narrowed(known.cuts, tally.candidates))
        if known.cuts is None and known.histogram is not None and known.confident is not None:
            slots = known._slots()
            step = key_step(known.kind)
            cuts = first_cuts(known.histogram, known._bins(slots), known._targets(slots), step)
            known = replace(known, cuts=cuts, histogram=None)
        return known

    def flag(
        self, labels: Labels, probs: Probabilities, *, class_axis: int = 0, case: int = 0
    ) -> BoolArray:
        """The errors of one case, (*S,), once the search is ready."""
        flagged = np.zeros(labels.size, dtype=bool)
        # a method that counts nothing has not met the dtype before
        search = self if self.sums is not None else replace(self, dtype=probs.dtype)
        counter = search.counter()
        counter.mark_case(labels, probs, class_axis, case, f"case {case}", flagged)
        return flagged.reshape(labels.shape)

    def counter(self) -> Counter:
        """A counter for the pass under way; SettingsError without the kernels asked for."""
        return Counter(self._plan, self._sweeps())

    def __getstate__(self) -> dict[str, Any]:
        """What was found alone travels; the plan follows from it."""
        return {item.name: getattr(self, item.name) for item in fields(self)}

    @cached_property
    def _sweeps(self) -> Callable[[], Sweep]:
        return sweeps(self._plan, self.engine)

    @cached_property
    def _plan(self) -> PassPlan:
        slots = self._slots()
        bins = self._bins(slots)
        return PassPlan(
            counts=self.pending,
            num_classes=self.num_classes,
            kind=self.kind,
            ignore=self.ignore,
            checked=self.sums is not None,
            rule=self.rule,
            slots=slots,
            bins=bins,
            cutoffs=self._cutoffs(),
            cuts=no_cuts(_slots_in(slots)) if self.cuts is None else self.cuts,
        )

    def _cutoffs(self) -> Cutoffs:
        """Thresholds less the slack, as the least value of the blocks that reaches them."""
        work, scale = self.kind.work, self.kind.scale
        if self.sums is None:
            nothing = np.full(self.num_classes, np.inf, work)
            return Cutoffs(nothing, np.ones(self.num_classes, bool), SLACK * scale)
        exact = (self.thresholds - SLACK) * scale
        least = exact.astype(work)
        least = np.where(least < exact, np.nextafter(least, work.type(np.inf)), least)
        present = np.array(self.sums.sizes) > 0
        return Cutoffs(np.ascontiguousarray(least, dtype=work), present, SLACK * scale)

    @property
    def _early(self) -> bool:
        """Whether the first pass can count every ranking that the method may need."""
        return 0 < _slots_in(self._columns(None)) <= _EARLY_RANKINGS

    def _slots(self) -> Slots:
        """(K, K + 1), which ranking a given class and column of `kernels` take part in."""
        if self._early:
            return self._columns(None)
        if self.confident is None:
            return np.full((self.num_classes, self.num_classes + 1), -1, np.int32)
        return self._columns(error_counts(self.confident))

    def _bins(self, slots: Slots) -> Bins:
        return bins_for(self.kind, _slots_in(slots))

    def _columns(self, wanted: Counts | None) -> Slots:
        """Slots of every pair of classes, or only of those with pixels wanted."""
        classes, ranking = self.num_classes, self.rule.ranking
        slots = np.full((classes, classes + 1), -1, np.int32)
        if self.method == "low_normalized_margin":
            slots[:, classes] = 0
            return slots
        own = np.eye(classes, dtype=bool)
        if ranking == 4:
            slots[:, :classes][own] = 0
            return slots
        used = (own & (ranking in (1, 3))) | (~own & (ranking in (2, 3)))
        if wanted is not None:
            used &= own | (wanted > 0)
        slots[:, :classes][used] = np.arange(np.count_nonzero(used))
        return slots

    def _targets(self, slots: Slots) -> Counts:
        """Pixels to take from each slot."""
        if self.confident is None:
            raise _too_early("the cuts")
        if self.rule.ranking == 4:
            return np.array([self.confident.errors])
        sizes = self.confident.sizes
        wrong = error_counts(self.confident)
        np.fill_diagonal(wrong, np.maximum(sizes - np.diagonal(wrong), 0))
        wrong[sizes <= 1] = 0  # the last pixel of a class is never taken
        used = slots[:, : self.num_classes] >= 0
        return wrong[used]


def least_passes(
    method: str, dtype: np.dtype[Any], num_classes: int, *, with_statistics: bool = False
) -> int:
    """Passes over the data that a method takes at least, the flagging one included.

    One more where ties straddle a cut that bins know exactly, or where windows are crowded.
    """
    search = ErrorSearch(num_classes, dtype, method, with_statistics=with_statistics)
    rule = search.rule
    counting = bool(rule.ranking or rule.confident or with_statistics)
    joint = bool(rule.ranking or with_statistics)
    late = bool(rule.ranking) and not search._early
    inexact = bool(rule.ranking) and not search._bins(search._columns(None)).exact
    return 1 + counting + joint + late + inexact


def _slots_in(slots: Slots) -> int:
    return int(slots.max()) + 1


def _one_of(setting: str, value: str, known: tuple[str, ...]) -> None:
    if value not in known:
        raise SettingsError(
            setting, expected=f"one of {', '.join(known)}", got=repr(value), remedy="Choose one."
        )


def _too_early(what: str) -> SettingsError:
    return SettingsError(
        "search",
        expected=f"the passes that {what} need to have been made",
        got="a search that has not come so far",
        remedy="Finish more passes; with_statistics=True counts them for every method.",
    )
