"""What is counted at each pixel, in plain NumPy.  `maskmend.native` does the same in C.

Every kernel takes one block: labels (N,) uint8, K or more where a pixel takes no part, probs
(K, N) float32 or float64 in stored units.  Scores and slots as in `plan`.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import cache
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from maskmend.arrays.bins import HALF_BITS, Bins
from maskmend.arrays.plan import Cutoffs, Rule, Slots

if TYPE_CHECKING:
    # read by people and mypy alone; loading it takes as long as judging a million pixels
    from maskmend.core import BoolArray

Floats = NDArray[np.floating[Any]]
Given = NDArray[np.uint8]
Counts = NDArray[np.int64]
Doubles = NDArray[np.float64]

# a row this long is counted quicker by bincount than by add.at
_LONG = 1024


def widen(halves: NDArray[np.float16], values: Floats) -> None:
    """Write halves, (K, N), to float32 values, (K, N), which is exact.

    NumPy converts halves one by one in software; to look them up takes a fifth of the time.
    """
    np.take(_halves(), halves.view(np.uint16), out=values, mode="clip")


@cache
def _halves() -> NDArray[np.float32]:
    """float32 value of each float16, by its bits."""
    return np.arange(1 << 16, dtype=np.uint16).view(np.float16).astype(np.float32)


def all_good(probs: Floats, low: float, high: float, whole: float, tolerance: float) -> bool:
    """Whether all values lie in [low, high] and those of each pixel sum to about `whole`."""
    with np.errstate(invalid="ignore", over="ignore"):
        sums = np.abs(probs.sum(axis=0) - whole)
        # NaN compares false
        return bool((sums <= tolerance).all() and probs.min() >= low and probs.max() <= high)


def sum_given(labels: Given, probs: Floats, scale: float, sizes: Counts, sums: Counts) -> None:
    """Add pixels and whole units of self-confidence of each class to sizes and sums, (K,)."""
    for k in range(len(probs)):
        own = probs[k][labels == k].astype(np.float64)
        own *= scale
        sizes[k] += own.size
        sums[k] += own.astype(np.int64).sum()


def count_scores(labels: Given, probs: Floats, slots: Slots, bins: Bins, counts: Counts) -> None:
    """Add a block to the histograms of all rankings, counts (slots, bins)."""
    for given, _, own in _by_class(labels, probs):
        columns = np.flatnonzero(slots[given] >= 0)
        for first in range(0, len(columns), 16):
            some = columns[first : first + 16]
            places = _places(_scores(given, own, some, bins.half), bins)
            if places.shape[1] < _LONG:
                np.add.at(counts, (slots[given, some][:, None], places), 1)
                continue
            for slot, place in zip(slots[given, some], places, strict=True):
                low = int(place.min())
                found = np.bincount(place - low)
                counts[slot, low : low + len(found)] += found


def count_confident(
    labels: Given, probs: Floats, cutoffs: Cutoffs, sizes: Counts, joint: Counts
) -> int:
    """Add pixels to sizes, (K,), and confident ones to joint, (K, K); returns their errors.

    An error is confidently of another class than the given, which is not the most probable.
    """
    errors = 0
    for given, _, own in _by_class(labels, probs):
        guess, confident = _confident(own, cutoffs)
        sizes[given] += own.shape[1]
        joint[given] += np.bincount(guess[confident], minlength=len(probs))
        wrong = confident & (guess != given) & _doubted(given, own, cutoffs.slack)
        errors += int(np.count_nonzero(wrong))
    return errors


def undecided(
    labels: Given, probs: Floats, bound: float
) -> tuple[NDArray[np.int64], Given, Floats]:
    """The pixels of a class whose self-confidence is at most `bound`: index, labels, probs."""
    known = np.flatnonzero(labels < len(probs))
    own = probs[labels[known], known]
    index = known[own <= probs.dtype.type(bound)]
    return index, labels[index], np.take(probs, index, axis=1)


def gather_scores(
    labels: Given, probs: Floats, slots: Slots, low: Doubles, high: Doubles, half: bool
) -> tuple[Slots, Doubles]:
    """Slot and score of each pixel whose score lies in the window [low, high] of its slot."""
    found_slots, found_scores = [np.empty(0, np.int32)], [np.empty(0)]
    for given, _, own in _by_class(labels, probs):
        columns = np.flatnonzero((slots[given] >= 0) & (low <= high)[slots[given]])
        if not len(columns):
            continue
        slot = slots[given, columns][:, None]
        scores = _scores(given, own, columns, half)
        inside = (scores >= low[slot]) & (scores <= high[slot])
        found_slots.append(np.broadcast_to(slot, scores.shape)[inside])
        found_scores.append(scores[inside].astype(np.float64))
    return np.concatenate(found_slots), np.concatenate(found_scores)


def mark_errors(
    labels: Given,
    probs: Floats,
    slots: Slots,
    cuts: Doubles,
    half: bool,
    left: Counts,
    rule: Rule,
    cutoffs: Cutoffs,
    flagged: BoolArray,
) -> None:
    """Write the errors of a block to flagged, (N,).

    cuts: highest score that each slot still flags.  left: how many pixels at just that score
    may still be flagged; it is counted down, so the blocks of a case must come in order.
    """
    if rule.ranking == 4:
        flagged[:] = _shared_ranking(labels, probs, slots, cuts, half, left)
        return
    flagged[:] = False
    for given, pixels, own in _by_class(labels, probs):
        wrong = np.ones(own.shape[1], bool)
        if rule.ranking:
            wrong = _ranked_wrong(given, own, slots, cuts, half, left, rule)
        if rule.confident:
            guess, confident = _confident(own, cutoffs)
            confident &= guess != given
            wrong = wrong | confident if rule.confident == 3 else wrong & confident
        if rule.doubted:
            wrong &= _doubted(given, own, cutoffs.slack)
        flagged[pixels] = wrong


def _by_class(
    labels: Given, probs: Floats
) -> Iterator[tuple[int, NDArray[np.int64] | slice, Floats]]:
    """Each given class that the block has, its pixels, and their probabilities (K, n)."""
    for k in range(len(probs)):
        pixels = np.flatnonzero(labels == k)
        if len(pixels) == len(labels):
            yield k, slice(None), probs
        elif len(pixels):
            yield k, pixels, np.take(probs, pixels, axis=1)


def _scores(given: int, own: Floats, columns: Counts, half: bool) -> Floats:
    """(columns, n), in the dtype of the block."""
    scores: Floats
    classes = len(own)
    if columns[-1] == classes:
        others = np.delete(own, given, axis=0).max(axis=0)
        scores = (own[given] - others)[None]
    else:
        scores = own[given] - own[columns]
        scores[columns == given] = own[given]
    if half:
        bits = scores.astype(np.float64).view(np.int64)
        scores = _to_half(bits).view(np.float64).astype(own.dtype)
    scores += 0.0  # so that -0 is 0
    return scores


def _to_half(bits: Counts) -> Counts:
    """Bits of float64 scores rounded to float16, ties to even; subnormal ones already are."""
    even = (bits >> HALF_BITS) & 1
    return ((bits + (1 << (HALF_BITS - 1)) - 1 + even) >> HALF_BITS) << HALF_BITS


def _places(scores: Floats, bins: Bins) -> Counts:
    """Bin of each score."""
    size = np.abs(scores, dtype=np.float64)
    if bins.bias:
        size += bins.bias
    places = size.view(np.int64)
    places -= bins.floor
    np.maximum(places, 0, out=places)
    places >>= bins.shift
    np.minimum(places, bins.middle, out=places)
    np.negative(places, out=places, where=scores < 0)
    places += bins.middle
    return places


def _confident(own: Floats, cutoffs: Cutoffs) -> tuple[Given, BoolArray]:
    """Class that each pixel confidently is, (n,), and whether it is of any.

    Of several confident classes it is the most probable of all classes present, whether that
    one reached its cutoff or not, as in cleanlab.
    """
    most, only = np.zeros((2, own.shape[1]), np.uint8)
    number = np.zeros(own.shape[1], np.uint8)
    highest = np.full(own.shape[1], -1, own.dtype)
    for k, values in enumerate(own):
        if not cutoffs.present[k]:
            continue
        confident = values >= cutoffs.least[k]
        number += confident
        np.copyto(only, k, where=confident)
        np.copyto(most, k, where=values > highest)
        np.maximum(highest, values, out=highest)
    np.copyto(only, most, where=number > 1)
    return only, number > 0


def _doubted(given: int, own: Floats, slack: float) -> BoolArray:
    """Whether another class is more probable than the given one raised by the slack.

    An equal one counts only where it comes before the given class, as argmax has it.
    """
    raised = own[given] + own.dtype.type(slack)
    found = np.zeros(own.shape[1], bool)
    for k, values in enumerate(own):
        if k < given:
            found |= values >= raised
        elif k > given:
            found |= values > raised
    return found


def _ranked_wrong(
    given: int,
    own: Floats,
    slots: Slots,
    cuts: Doubles,
    half: bool,
    left: Counts,
    rule: Rule,
) -> BoolArray:
    """Pixels of one given class that its rankings take, (n,)."""
    by_class = np.zeros(own.shape[1], bool)
    by_rate = np.zeros(own.shape[1], bool)
    columns = np.flatnonzero(slots[given] >= 0)
    columns = columns[np.isfinite(cuts[slots[given, columns]])]
    for column in columns:
        slot = slots[given, column]
        score = _scores(given, own, np.array([column]), half)[0]
        target = by_class if column == given else by_rate
        target |= _taken(score, cuts[slot], left[slot : slot + 1])
    return (by_class, by_rate, by_class & by_rate)[rule.ranking - 1]


def _shared_ranking(
    labels: Given, probs: Floats, slots: Slots, cuts: Doubles, half: bool, left: Counts
) -> BoolArray:
    """Pixels of a block that the one ranking of all classes takes, (N,).

    Its ties are handed out by pixel, so the classes cannot be done one after the other.
    """
    score = np.full(len(labels), np.inf, probs.dtype)
    for given, pixels, own in _by_class(labels, probs):
        score[pixels] = _scores(given, own, np.flatnonzero(slots[given] >= 0), half)[0]
    return _taken(score, cuts[0], left)


def _taken(score: Floats, cut: np.float64, left: Counts) -> BoolArray:
    """Scores below the cut, and the first `left[0]` at it; those are counted off."""
    taken: BoolArray = score < cut
    ties = np.flatnonzero(score == cut)[: left[0]]
    taken[ties] = True
    left[0] -= len(ties)
    return taken
