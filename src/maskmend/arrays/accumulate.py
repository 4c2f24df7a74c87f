"""Where each cut falls, found from small values that add.

A ranking (slot) is cut after its n lowest scores.  A histogram of all scores says in which bin
the cut lies; candidates, the scores of the pixels inside that window, say where in it; where
pixels tie at the cut, their number in each case says how many of each case's ties are taken
(cases in order, then pixels in order).  All of it is exact integers, so merging in any order
gives the same bits.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from maskmend.arrays.bins import Bins
from maskmend.arrays.confidence import ClassSums, ConfidentCounts
from maskmend.errors import ProbabilityError

Counts = NDArray[np.int64]
Doubles = NDArray[np.float64]

NEVER = -np.inf
"""Cut of a ranking from which nothing is taken."""

_ALL = np.iinfo(np.int64).max

# rows of candidates that are held at most
_CANDIDATE_ROWS = 1 << 20
_FEWEST_ROWS = 1 << 10
_STRETCH = 64
# found candidates are merged once there are this many of them, and as many as were merged before,
# so that each is sorted a few times and not once for every other 2**16
_MERGED_AT = 1 << 16


@dataclass(frozen=True, eq=False)
class Candidates:
    """Pixels whose score lies in an open window; `+` joins cases.

    Rows (slot, key, case) in ascending order, and how many pixels each stands for.  key: the
    score's place in the order of all floats, or the leading digits of it.  case: 0 throughout
    where the window is too crowded to keep cases apart.
    """

    rows: Counts
    pixels: Counts

    def __add__(self, other: Candidates) -> Candidates:
        return combine(
            np.concatenate([self.rows, other.rows], axis=1),
            np.concatenate([self.pixels, other.pixels]),
        )

    def __eq__(self, other: object) -> bool:
        return (
            isinstance(other, Candidates)
            and np.array_equal(self.rows, other.rows)
            and np.array_equal(self.pixels, other.pixels)
        )


def combine(rows: Counts, pixels: Counts) -> Candidates:
    """Candidates of rows (3, n) in any order, equal ones added up."""
    order = np.lexsort(rows[::-1])
    rows, pixels = rows[:, order], pixels[order]
    first = np.ones(len(pixels), bool)
    first[1:] = (rows[:, 1:] != rows[:, :-1]).any(axis=0)
    starts = np.flatnonzero(first)
    return Candidates(rows[:, starts], np.add.reduceat(pixels, starts) if len(starts) else pixels)


@dataclass(frozen=True, eq=False)
class Tally:
    """What one pass counted; `+` joins cases, in any order.  None: not counted in this pass.

    histogram: (slots, bins) pixels.
    """

    sums: ClassSums | None = None
    histogram: Counts | None = None
    confident: ConfidentCounts | None = None
    candidates: Candidates | None = None

    def __add__(self, other: Tally) -> Tally:
        return Tally(
            sums=_joined(self.sums, other.sums),
            histogram=_joined(self.histogram, other.histogram),
            confident=_joined(self.confident, other.confident),
            candidates=_joined(self.candidates, other.candidates),
        )

    def __eq__(self, other: object) -> bool:
        return (
            isinstance(other, Tally)
            and self.sums == other.sums
            and np.array_equal(_array(self.histogram), _array(other.histogram))
            and self.confident == other.confident
            and self.candidates == other.candidates
        )


@dataclass(frozen=True, eq=False)
class Cuts:
    """How far each slot's cut is known; every array is (slots,).

    step: binary digits by which `order_key` of a score is shortened without loss.  low, high:
    the cut is a score whose key is in low..high.  need: how many pixels in that window are
    taken, of `inside`.  shift: further digits that the next candidates drop.  by_case: they
    keep cases apart.  last_case: ties of earlier cases are all taken, of later ones none, and of
    this one `last_need`; -1 while the window is open.
    """

    step: int
    low: Counts
    high: Counts
    need: Counts
    inside: Counts
    shift: Counts
    by_case: NDArray[np.bool_]
    last_case: Counts
    last_need: Counts

    @property
    def open(self) -> NDArray[np.bool_]:
        """Slots that need candidates."""
        return self.last_case < 0

    @property
    def settled(self) -> bool:
        return not self.open.any()

    @property
    def scores(self) -> Doubles:
        """Highest score that each slot takes."""
        return from_order_key(self.high << self.step)

    def windows(self) -> tuple[Doubles, Doubles]:
        """Lowest and highest score of each open window; low > high for the other slots."""
        low, high = from_order_key(self.low << self.step), from_order_key(self.high << self.step)
        return np.where(self.open, low, np.inf), np.where(self.open, high, -np.inf)

    def left(self, case: int) -> Counts:
        """Pixels that may be taken at just the cut, in one case."""
        at = np.where(self.last_case == case, self.last_need, 0)
        return np.where(self.last_case > case, _ALL, at).astype(np.int64)

    def candidates(
        self, slots: NDArray[np.int32], scores: Doubles, cases: NDArray[np.int64]
    ) -> Candidates:
        """The pixels that were found in the windows: slot, score and case of each."""
        keys = order_key(scores) >> self.step >> self.shift[slots]
        kept = np.where(self.by_case[slots], cases, 0)
        return combine(np.stack([slots.astype(np.int64), keys, kept]), np.ones(len(keys), np.int64))


class Gathered:
    """Candidates that one thread finds in a pass; not a value, but makes one."""

    def __init__(self, cuts: Cuts) -> None:
        self._cuts = cuts
        self._merged = combine(np.zeros((3, 0), np.int64), np.zeros(0, np.int64))
        self._found: list[tuple[NDArray[np.int32], Doubles, Counts]] = []
        self._waiting = 0

    def add(self, slots: NDArray[np.int32], scores: Doubles, case: int) -> None:
        """Pixels of a case: the slot and score of each, (n,)."""
        if not len(slots):
            return
        self._found.append((slots, scores, np.full(len(slots), case)))
        self._waiting += len(slots)
        if self._waiting > max(_MERGED_AT, len(self._merged.pixels)):
            self._merge()

    def candidates(self) -> Candidates:
        """All of them so far."""
        self._merge()
        return self._merged

    def _merge(self) -> None:
        if self._found:
            slots, scores, cases = (np.concatenate(part) for part in zip(*self._found, strict=True))
            self._merged = self._merged + self._cuts.candidates(slots, scores, cases)
            self._found, self._waiting = [], 0


def no_cuts(slots: int) -> Cuts:
    """Cuts that take nothing, and of which nothing is open."""
    zero = np.zeros(slots, np.int64)
    never = np.full(slots, order_key(np.array(NEVER)))
    last = np.full(slots, _ALL)
    return Cuts(0, never, never, zero, zero, zero, np.ones(slots, bool), last, zero)


def first_cuts(histogram: Counts, bins: Bins, targets: Counts, step: int) -> Cuts:
    """Cuts as far as the histogram tells.  targets: (slots,) pixels to take from each."""
    need, place, before = _cut_bins(histogram, targets)
    row = np.arange(len(place))
    low, high = bins.bounds(place)
    some = need > 0
    inside = np.where(some, histogram[row, place], 0)
    return _planned(
        Cuts(
            step=step,
            low=-(-order_key(np.where(some, low, NEVER)) >> step),
            high=order_key(np.where(some, high, NEVER)) >> step,
            need=np.where(some, need - before, 0),
            inside=inside,
            shift=np.zeros_like(need),
            by_case=np.ones(len(need), bool),
            last_case=np.full(len(need), -1, np.int64),
            last_need=np.zeros_like(need),
        )
    )


def _cut_bins(histogram: Counts, targets: Counts) -> tuple[Counts, Counts, Counts]:
    """Pixels to be taken from each slot, the bin that the last of them is in, those before it.

    Adds up stretches of bins first: histograms are long, and looked at once a pass.
    """
    row, starts = np.arange(len(histogram)), np.arange(0, histogram.shape[1], _STRETCH)
    stretches = np.add.reduceat(histogram, starts, axis=1)
    upto = np.cumsum(stretches, axis=1)
    need = np.minimum(targets, upto[:, -1])
    stretch = (upto < need[:, None]).sum(axis=1)
    before = upto[row, stretch] - stretches[row, stretch]
    places = starts[stretch][:, None] + np.arange(_STRETCH)
    there = places < histogram.shape[1]
    counts = np.where(there, histogram[row[:, None], np.where(there, places, 0)], 0)
    upto = before[:, None] + np.cumsum(counts, axis=1)
    inner = (upto < need[:, None]).sum(axis=1)
    return need, places[row, inner], upto[row, inner] - counts[row, inner]


def narrowed(cuts: Cuts, found: Candidates) -> Cuts:
    """Cuts with the windows narrowed by the candidates of all cases.

    ProbabilityError if those are not the pixels that the histogram was made of.
    """
    low, high = cuts.low.copy(), cuts.high.copy()
    need, inside = cuts.need.copy(), cuts.inside.copy()
    last_case, last_need = cuts.last_case.copy(), cuts.last_need.copy()
    starts = np.searchsorted(found.rows[0], np.arange(len(low) + 1))
    for slot in np.flatnonzero(cuts.open):
        part = slice(starts[slot], starts[slot + 1])
        keys, cases, pixels = found.rows[1, part], found.rows[2, part], found.pixels[part]
        if pixels.sum() != inside[slot]:
            raise ProbabilityError(
                "passes over the cases",
                expected=f"the same {inside[slot]} pixels near the cut in each pass",
                got=str(pixels.sum()),
                remedy="Give every pass the same cases, labels and probabilities, each once.",
            )
        key = keys[np.searchsorted(np.cumsum(pixels), need[slot])]
        tied = keys == key
        need[slot] -= pixels[keys < key].sum()
        inside[slot] = pixels[tied].sum()
        low[slot] = max(low[slot], key << cuts.shift[slot])
        high[slot] = min(high[slot], ((key + 1) << cuts.shift[slot]) - 1)
        if cuts.by_case[slot] and need[slot] < inside[slot]:
            upto = np.cumsum(pixels[tied])
            last = np.searchsorted(upto, need[slot])
            last_case[slot] = cases[tied][last]
            last_need[slot] = need[slot] - (upto[last] - pixels[tied][last])
    return _planned(
        replace(
            cuts,
            low=low,
            high=high,
            need=need,
            inside=inside,
            last_case=last_case,
            last_need=last_need,
        )
    )


def _planned(cuts: Cuts) -> Cuts:
    """Closes the windows that are taken whole, and says how closely to look into the others."""
    whole = cuts.open & (cuts.need == cuts.inside)
    last_case = np.where(whole, _ALL, cuts.last_case)
    still = last_case < 0
    room = max(_CANDIDATE_ROWS // max(int(still.sum()), 1), _FEWEST_ROWS)
    shift, by_case = np.zeros_like(cuts.shift), np.ones_like(cuts.by_case)
    for slot in np.flatnonzero(still & (cuts.high > cuts.low) & (cuts.inside > room)):
        # too many pixels to keep one by one: count them by leading digits first
        by_case[slot] = False
        digits = int(cuts.high[slot] - cuts.low[slot]).bit_length()
        shift[slot] = max(digits - room.bit_length() + 2, 0)
    return replace(cuts, last_case=last_case, shift=shift, by_case=by_case)


def order_key(scores: Doubles) -> Counts:
    """Place of each score in the order of all floats; 0 for 0."""
    bits = np.asarray(scores, dtype=np.float64).view(np.int64)
    return np.where(bits < 0, -(bits & np.iinfo(np.int64).max), bits)


def from_order_key(keys: Counts) -> Doubles:
    """The scores back from `order_key`."""
    keys = np.asarray(keys, dtype=np.int64)
    size = np.abs(keys).view(np.float64)
    return np.where(keys < 0, -size, size)


def _joined(one: Any, other: Any) -> Any:
    if one is None or other is None:
        return one if other is None else other
    return one + other


def _array(counts: Counts | None) -> Counts:
    return np.empty(0, np.int64) if counts is None else counts
