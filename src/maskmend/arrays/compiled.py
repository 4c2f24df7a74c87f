"""The kernels of `kernels`, compiled by numba: the same arguments, the same result, faster.

Imported only by `kernels.load`.  Signatures are spelt out so that each kernel exists once a
dtype and comes from numba's cache in every process but the first.

Written for the vector unit: one class after the other over all pixels of a block, and, as labels
are as good as random to the branch predictor, what depends on them is selected or looked up in
a table of 256, not branched on.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numba import njit
from numpy.typing import NDArray

from maskmend.arrays import kernels
from maskmend.arrays.kernels import (
    HALF_BITS,
    Bins,
    Counts,
    Cutoffs,
    Doubles,
    Floats,
    Given,
    Rule,
    Slots,
)
from maskmend.core import BoolArray

_SELF, _REST = -1, -2
# pixels whose temporary values stay in the fastest cache
_TILE = 2048
# up to here selecting a pixel's own class from all of them is quicker than looking it up
_FEW = 8
# what float32 lacks of the bits of float64
_NARROW = 29


def _kernel(returns: str, *rest: str) -> Callable[[Any], Any]:
    """Compile for labels and probabilities of both dtypes, and the rest of the arguments."""
    signatures = [
        f"{returns}(uint8[::1], {real}[:, ::1], {', '.join(rest)})".format(real=real, bits=bits)
        for real, bits in (("f4", "i4"), ("f8", "i8"))
    ]
    return njit(signatures, nogil=True, cache=True)


@njit(inline="always")
def _own_of(labels, probs, start, own):
    """Self-confidence of each pixel of a tile; that of a skipped pixel means nothing."""
    first = probs[0, start : start + len(labels)]
    if len(probs) <= _FEW:
        for x in range(len(labels)):
            own[x] = first[x]
        for k in range(1, len(probs)):
            row = probs[k, start : start + len(labels)]
            for x in range(len(labels)):
                value, so_far = row[x], own[x]
                own[x] = value if labels[x] == k else so_far
    else:
        for x in range(len(labels)):
            given = labels[x]
            own[x] = probs[given if given < len(probs) else 0, start + x]


@njit(inline="always")
def _own(labels, probs, own):
    """Self-confidence of each pixel of a block."""
    _own_of(labels, probs, 0, own)


@njit(inline="always")
def _rest(labels, probs, rest):
    """Highest probability of another class than the given one."""
    for x in range(len(labels)):
        rest[x] = -1
    for k in range(len(probs)):
        for x in range(len(labels)):
            value, so_far = probs[k, x], rest[x]
            rest[x] = value if (labels[x] != k) & (value > so_far) else so_far


@njit(inline="always")
def _column(kind, labels, probs, own, half, score, bits):
    """Scores of one column; bits is the same memory."""
    if kind == _SELF:
        for x in range(len(labels)):
            score[x] = own[x] + 0
    elif kind == _REST:
        _rest(labels, probs, score)
        for x in range(len(labels)):
            score[x] = own[x] - score[x]
    else:
        for x in range(len(labels)):
            score[x] = own[x] - probs[kind, x]
    if half:
        # float16 values come in float32: 13 bits too many, rounded to even
        for x in range(len(labels)):
            bits[x] = ((bits[x] + 4095 + ((bits[x] >> 13) & 1)) >> 13) << 13


@njit(inline="always")
def _guesses(probs, start, least, present, number, highest, most, guess):
    """Class that each pixel of a tile confidently is, or K; the rest is room to work in."""
    classes = len(probs)
    for x in range(len(guess)):
        number[x], most[x], highest[x], guess[x] = 0, 0, -1, classes
    for k in range(classes):
        if not present[k]:
            continue
        cutoff, row = least[k], probs[k, start : start + len(guess)]
        for x in range(len(guess)):
            value, only, so_far, best = row[x], guess[x], most[x], highest[x]
            confident = value >= cutoff
            number[x] += 1 if confident else 0
            guess[x] = k if confident else only
            better = value > best
            most[x] = k if better else so_far
            highest[x] = value if better else best
    for x in range(len(guess)):
        only, best = guess[x], most[x]
        guess[x] = best if number[x] > 1 else only


@njit(inline="always")
def _doubts(labels, probs, start, own, slack, found):
    """1 where a class is more probable than the given one and the slack, else 0; of a tile."""
    for x in range(len(labels)):
        found[x] = 0
    for k in range(len(probs)):
        row = probs[k, start : start + len(labels)]
        for x in range(len(labels)):
            raised = own[x] + slack
            value = row[x]
            above = (value > raised) & (labels[x] != k)
            equal = (value == raised) & (labels[x] > k)
            found[x] |= 1 if above | equal else 0


@njit(
    [f"b1({real}[:, ::1], {real}, {real}, {real}, {real})" for real in ("f4", "f8")],
    nogil=True,
    cache=True,
)
def _all_good(probs, low, high, whole, tolerance):
    bad = 0
    total = np.zeros(probs.shape[1], probs.dtype)
    for k in range(len(probs)):
        for x in range(len(total)):
            value = probs[k, x]
            total[x] += value
            bad += not ((value >= low) & (value <= high))
    for x in range(len(total)):
        bad += not abs(total[x] - whole) <= tolerance
    return bad == 0


@njit("b1(Array(u2, 1, 'C', readonly=True), f4[::1])", nogil=True, cache=True)
def _widen(halves, values):
    """Bits of halves to float32; False, and nothing of use, if one is negative or not finite."""
    bits = values.view(np.uint32)
    highest = np.uint16(0)
    for x in range(len(halves)):
        highest = max(highest, halves[x])
        bits[x] = (np.uint32(halves[x]) << np.uint32(13)) + np.uint32(112 << 23)
    for x in range(len(halves)):
        # below 2**-14 a half has fewer digits, in units of 2**-24
        small = np.float32(np.int32(halves[x])) * np.float32(2.0**-24)
        normal = values[x]
        values[x] = small if halves[x] < 1024 else normal
    return highest < 0x7C00


@_kernel("void", "i8", "f8", "i8[::1]", "i8[::1]")
def _sum_given(labels, probs, start, scale, sizes, sums):
    own = np.empty(len(labels), probs.dtype)
    _own_of(labels, probs, start, own)
    classes = len(probs)
    if classes <= _FEW:
        for k in range(classes):
            size, total = 0, np.int64(0)
            for x in range(len(labels)):
                units = np.int64(np.float64(own[x]) * scale)
                size += labels[x] == k
                total += units if labels[x] == k else np.int64(0)
            sizes[k] += size
            sums[k] += total
        return
    for x in range(len(labels)):
        given = labels[x]
        if given < classes:
            sizes[given] += 1
            sums[given] += np.int64(np.float64(own[x]) * scale)


@_kernel(
    "void",
    "i4[::1]",
    "i4[:, ::1]",
    "b1",
    "{real}",
    "{bits}",
    "{bits}",
    "i8",
    "i8[:, ::1]",
    "{real}[::1]",
    "{bits}[::1]",
)
def _count_scores(
    labels, probs, kinds, slots, half, bias, floor, shift, middle, counts, score, bits
):
    own = np.empty(len(labels), probs.dtype)
    _own(labels, probs, own)
    place = np.empty(len(labels), np.int32)
    start, step = np.empty(256, np.uint64), np.empty(256, np.int64)
    flat, end = counts.reshape(-1), np.int32(middle)
    for c in range(len(kinds)):
        _column(kinds[c], labels, probs, own, half, score, bits)
        for x in range(len(labels)):
            place[x] = 1 if score[x] < 0 else 0
            score[x] = abs(score[x]) + bias
        for x in range(len(labels)):
            far = np.int32((max(bits[x], floor) - floor) >> shift)
            far = min(far, end)
            place[x] = end + ((far ^ -place[x]) + place[x])
        for given in range(256):
            start[given] = max(slots[c, given], 0) * counts.shape[1]
            step[given] = slots[c, given] >= 0
        for x in range(len(labels)):
            given = labels[x]
            # unsigned, so that no index is looked at for being negative
            flat[start[given] + np.uint64(place[x])] += step[given]


@_kernel("i8", "{real}[::1]", "b1[::1]", "{real}", "i8[:, :, ::1]")
def _count_confident(labels, probs, least, present, slack, joint):
    classes, lanes = len(probs), len(joint) - 1  # 3 or 0
    room, real = np.empty((4, _TILE), np.int32), np.empty((2, _TILE), probs.dtype)
    errors = 0
    for start in range(0, len(labels), _TILE):
        some = labels[start : start + _TILE]
        size = len(some)
        guess, doubted = room[0, :size], room[1, :size]
        own, highest = real[0, :size], real[1, :size]
        _own_of(some, probs, start, own)
        _guesses(probs, start, least, present, room[2, :size], highest, room[3, :size], guess)
        _doubts(some, probs, start, own, slack, doubted)
        for x in range(size):
            doubt = doubted[x]
            wrong = (guess[x] < classes) & (guess[x] != some[x]) & (some[x] < classes)
            errors += doubt if wrong else 0
        for x in range(size):
            given = some[x]
            if given < classes:
                joint[x & lanes, given, guess[x]] += 1
    return errors


@_kernel("i8", "{real}", "i8[::1]")
def _find_undecided(labels, probs, bound, index):
    room = np.empty(_TILE, probs.dtype)
    found = 0
    for start in range(0, len(labels), _TILE):
        some = labels[start : start + _TILE]
        own = room[: len(some)]
        _own_of(some, probs, start, own)
        for x in range(len(some)):
            index[found] = start + x
            found += (own[x] <= bound) & (some[x] < len(probs))
    return found


@_kernel("void", "i8[::1]", "uint8[::1]", "{real}[:, ::1]")
def _take(labels, probs, index, some_labels, some_probs):
    for n in range(len(index)):
        some_labels[n] = labels[index[n]]
    for k in range(len(probs)):
        for n in range(len(index)):
            some_probs[k, n] = probs[k, index[n]]


@_kernel(
    "i8",
    "i4[::1]",
    "i4[:, ::1]",
    "{real}[::1]",
    "{real}[::1]",
    "b1",
    "i4[::1]",
    "{real}[::1]",
    "{real}[::1]",
    "{bits}[::1]",
)
def _gather_scores(
    labels, probs, kinds, slots, low, high, half, out_slots, out_scores, score, bits
):
    own = np.empty(len(labels), probs.dtype)
    _own(labels, probs, own)
    lowest, highest = np.empty(256, probs.dtype), np.empty(256, probs.dtype)
    inside = np.empty(len(labels), np.uint8)
    found = 0
    for c in range(len(kinds)):
        _column(kinds[c], labels, probs, own, half, score, bits)
        for given in range(256):
            # the window of slot -1 is the last one, and empty
            lowest[given] = low[slots[c, given]]
            highest[given] = high[slots[c, given]]
        number = 0
        for x in range(len(labels)):
            given = labels[x]
            here = (score[x] >= lowest[given]) & (score[x] <= highest[given])
            inside[x] = here
            number += here
        if number == 0:
            continue
        for x in range(len(labels)):
            if inside[x]:
                out_slots[found] = slots[c, labels[x]]
                out_scores[found] = score[x]
                found += 1
    return found


@_kernel(
    "void",
    "i4[::1]",
    "i4[:, ::1]",
    "{real}[::1]",
    "b1",
    "i8[::1]",
    "i8",
    "i8",
    "b1",
    "{real}[::1]",
    "b1[::1]",
    "{real}",
    "b1[::1]",
    "{real}[::1]",
    "{bits}[::1]",
)
def _mark_errors(
    labels,
    probs,
    kinds,
    slots,
    cuts,
    half,
    left,
    ranking,
    confident,
    only_doubted,
    least,
    present,
    slack,
    flagged,
    score,
    bits,
):
    classes = len(probs)
    own = np.empty(len(labels), probs.dtype)
    _own(labels, probs, own)
    # bit 0: taken by self-confidence, bit 1: taken by a margin
    taken = np.zeros(len(labels), np.int32)
    cut = np.empty(256, probs.dtype)
    for c in range(len(kinds)):
        for given in range(256):
            cut[given] = cuts[slots[c, given]]
        by = 1 if kinds[c] == _SELF or ranking == 4 else 2
        _column(kinds[c], labels, probs, own, half, score, bits)
        ties = 0
        for x in range(len(labels)):
            here = cut[labels[x]]
            taken[x] |= by if score[x] < here else 0
            ties += score[x] == here
        if ties == 0:
            continue
        for x in range(len(labels)):
            slot = slots[c, labels[x]]
            if score[x] == cuts[slot] and left[slot] > 0:
                left[slot] -= 1
                taken[x] |= by
    wanted = ranking if ranking < 4 else 1
    for x in range(len(labels)):
        flagged[x] = (taken[x] == wanted) & (labels[x] < classes)
    other = np.empty(len(labels), np.int32)
    if confident > 0:
        number, most = np.empty_like(other), np.empty_like(other)
        _guesses(probs, 0, least, present, number, np.empty_like(own), most, other)
        for x in range(len(labels)):
            sure = (other[x] < classes) & (other[x] != labels[x]) & (labels[x] < classes)
            flagged[x] = flagged[x] | sure if confident == 3 else flagged[x] & sure
    if only_doubted:
        _doubts(labels, probs, 0, own, slack, other)
        for x in range(len(labels)):
            flagged[x] &= other[x] == 1


@_kernel(
    "void",
    "i4[::1]",
    "i4[:, ::1]",
    "{real}[::1]",
    "i8",
    "{real}",
    "b1[::1]",
)
def _mark_untied(labels, probs, kinds, slots, highest, ranking, slack, flagged):
    """Errors where rankings alone decide, of doubted pixels alone, and no tie is left over.

    highest: score up to which each slot takes all.  Looks closely at the doubted pixels only.
    """
    classes = len(probs)
    own = np.empty(len(labels), probs.dtype)
    doubted = np.empty(len(labels), np.int32)
    _own(labels, probs, own)
    _doubts(labels, probs, 0, own, slack, doubted)
    here = np.empty(len(labels), np.int32)
    number = 0
    for x in range(len(labels)):
        flagged[x] = False
        here[number] = x
        number += (doubted[x] != 0) & (labels[x] < classes)
    taken = np.zeros(number, np.int32)
    for c in range(len(kinds)):
        kind = kinds[c]
        for n in range(number):
            x = here[n]
            score = own[x]
            if kind == _REST:
                score -= probs[1 - labels[x], x]
            elif kind != _SELF:
                score -= probs[kind, x]
            taken[n] |= (1 if kind == _SELF else 2) if score <= highest[slots[c, labels[x]]] else 0
    for n in range(number):
        flagged[here[n]] = taken[n] == ranking


@dataclass(frozen=True, eq=False)
class Columns:
    """Slots as columns to go through: what is scored (a class, _SELF, _REST), and the slot of
    each given class, (columns, 256), -1 for none."""

    kinds: Slots
    slots: Slots


def prepare(slots: Slots) -> Columns:
    classes = len(slots)
    own = np.diagonal(slots)
    margins = slots[:, :classes].copy()
    np.fill_diagonal(margins, -1)
    columns = [(_SELF, own), (_REST, slots[:, classes])]
    if classes == 2:
        # the rest of two classes is the other one
        columns[1] = (_REST, np.maximum(slots[:, 2], margins.max(axis=1)))
    else:
        columns += [(k, margins[:, k]) for k in range(classes)]
    used = [(kind, column) for kind, column in columns if (column >= 0).any()]
    table = np.full((len(used), 256), -1, np.int32)
    for row, (_, column) in zip(table, used, strict=True):
        row[:classes] = column
    return Columns(np.array([kind for kind, _ in used], np.int32), table)


def widen(halves: NDArray[np.float16], values: Floats) -> None:
    for row, target in zip(halves.view(np.uint16), values, strict=True):
        if not row.flags.c_contiguous or not _widen(row, target):
            kernels.widen(halves, values)
            return


def all_good(probs: Floats, low: float, high: float, whole: float, tolerance: float) -> bool:
    real = probs.dtype.type
    return bool(_all_good(probs, real(low), real(high), real(whole), real(tolerance)))


def sum_given(
    labels: Given, probs: Floats, start: int, scale: float, sizes: Counts, sums: Counts
) -> None:
    _sum_given(labels, probs, start, scale, sizes, sums)


def count_scores(labels: Given, probs: Floats, slots: Columns, bins: Bins, counts: Counts) -> None:
    floor, shift = bins.floor, bins.shift
    if probs.dtype == np.float32:
        floor, shift = _single_bits(bins.floor), bins.shift - _NARROW
    _count_scores(
        labels,
        probs,
        slots.kinds,
        slots.slots,
        bins.half,
        bins.bias,
        floor,
        shift,
        bins.middle,
        counts,
        *_scratch(probs),
    )


def count_confident(
    labels: Given, probs: Floats, cutoffs: Cutoffs, sizes: Counts, joint: Counts
) -> int:
    classes = len(probs)
    # in turn, as adding to one number again and again waits; the last column: confident of none
    found = np.zeros((4 if classes <= _FEW else 1, classes, classes + 1), np.int64)
    errors = _count_confident(labels, probs, cutoffs.least, cutoffs.present, cutoffs.slack, found)
    sizes += found.sum(axis=(0, 2))
    joint += found.sum(axis=0)[:, :classes]
    return int(errors)


def undecided(
    labels: Given, probs: Floats, bound: float
) -> tuple[NDArray[np.int64], Given, Floats]:
    index = np.empty(len(labels) + 1, np.int64)
    found = index[: _find_undecided(labels, probs, probs.dtype.type(bound), index)]
    some_labels = np.empty(len(found), np.uint8)
    some_probs = np.empty((len(probs), len(found)), probs.dtype)
    _take(labels, probs, found, some_labels, some_probs)
    return found, some_labels, some_probs


def gather_scores(
    labels: Given, probs: Floats, slots: Columns, low: Doubles, high: Doubles, half: bool
) -> tuple[Slots, Doubles]:
    room = len(slots.kinds) * len(labels)
    out_slots, out_scores = np.empty(room, np.int32), np.empty(room, probs.dtype)
    found = _gather_scores(
        labels,
        probs,
        slots.kinds,
        slots.slots,
        -_at_most(np.append(-low, -np.inf), probs.dtype),
        _at_most(np.append(high, -np.inf), probs.dtype),
        half,
        out_slots,
        out_scores,
        *_scratch(probs),
    )
    return out_slots[:found].copy(), out_scores[:found].astype(np.float64)


def mark_errors(
    labels: Given,
    probs: Floats,
    slots: Columns,
    cuts: Doubles,
    half: bool,
    left: Counts,
    rule: Rule,
    cutoffs: Cutoffs,
    flagged: BoolArray,
) -> None:
    highest = _at_most(np.append(cuts, -np.inf), probs.dtype)
    whole = left >= len(labels)
    untied = bool((whole | (left == 0)).all())
    if untied and rule.doubted and rule.ranking and not rule.confident and not half:
        below = np.nextafter(highest[:-1], probs.dtype.type(-np.inf))
        np.copyto(highest[:-1], below, where=~whole)
        _mark_untied(
            labels,
            probs,
            slots.kinds,
            slots.slots,
            highest,
            rule.ranking,
            cutoffs.slack,
            flagged,
        )
        return
    _mark_errors(
        labels,
        probs,
        slots.kinds,
        slots.slots,
        highest,
        half,
        left,
        rule.ranking,
        rule.confident,
        rule.doubted,
        cutoffs.least,
        cutoffs.present,
        cutoffs.slack,
        flagged,
        *_scratch(probs),
    )


def _scratch(probs: Floats) -> tuple[Floats, Any]:
    """Room for the scores of a block, and the same memory as integers."""
    score = np.empty(probs.shape[1], probs.dtype)
    return score, score.view(np.int32 if probs.dtype == np.float32 else np.int64)


def _at_most(values: Doubles, dtype: np.dtype[Any]) -> Floats:
    """The highest value of the dtype that is not above each value."""
    found = values.astype(dtype)
    return np.where(found > values, np.nextafter(found, dtype.type(-np.inf)), found)


def _single_bits(double_bits: int) -> int:
    value = np.array([double_bits], dtype=np.int64).view(np.float64)
    return int(value.astype(np.float32).view(np.int32)[0])


for _function in (
    all_good,
    sum_given,
    count_scores,
    count_confident,
    undecided,
    gather_scores,
    mark_errors,
):
    _function.__doc__ = getattr(kernels, _function.__name__).__doc__

assert HALF_BITS - _NARROW == 13
