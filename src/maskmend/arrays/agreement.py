"""Whole masks beside pixels: how well a given mask agrees with a prediction, and which to believe.

A boundary drawn by another hand moves every Dice a little; an error moves some of them a lot.
The masks that agree best tell how much is ordinary.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from maskmend.arrays.blocks import Probabilities
from maskmend.arrays.overlap import Overlap, count_overlap
from maskmend.core import IGNORED, BoolArray, FloatArray, LabelArray, LabelScheme

ORDINARY_SHARE = 0.3
"""Share of the masks, the best agreeing ones, that tell at least what is ordinary."""

_BLOCK_PIXELS = 1 << 18
_INFINITE_HALF = 0x7C00

LEAST_ORDINARY = 0.01
"""1 - Dice that is ordinary in any case, so that near-perfect agreement doubts nothing."""


def predicted_labels(probs: Probabilities, scheme: LabelScheme) -> LabelArray:
    """The most probable label of each pixel, (planes, *S); of equally probable ones the lowest.

    probs: (num_channels, *S), floats, or uint8 / uint16 with 255 / 65535 for probability 1.
    Overlapping: foreground above 0.5.
    """
    found = np.empty((len(scheme.planes), *probs.shape[1:]), np.uint8)
    if scheme.overlapping:
        half = 0.5 if probs.dtype.kind == "f" else np.iinfo(probs.dtype).max / 2
        np.greater(probs, half, out=found.view(bool))
        return found
    if probs[0].flags.c_contiguous:
        probs, target = probs.reshape(len(probs), -1), found.reshape(-1)
    else:
        target = found[0]
    rows = max(_BLOCK_PIXELS // max(probs[0, :1].size, 1), 1)
    for start in range(0, probs.shape[1], rows):
        part = slice(start, start + rows)
        _winners(probs[:, part], target[part])
    return found


def _winners(probs: Probabilities, found: LabelArray) -> None:
    """Write the class of the highest probability to found, (*S,).  probs: (K, *S)."""
    values = probs
    if probs.dtype == np.float16 and probs.dtype.isnative:
        bits = probs.view(np.uint16)
        # halves from 0 to inf are in the order of their bits, and integers are compared at once
        values = bits if bits.max(initial=0) <= _INFINITE_HALF else probs.astype(np.float32)
    highest = values[0].copy()
    found[...] = 0
    for k in range(1, len(values)):
        better = values[k] > highest
        # a later winner has the larger number, so that no selection is needed
        np.maximum(found, better.view(np.uint8) * np.uint8(k), out=found)
        np.maximum(highest, values[k], out=highest)


def mask_mismatch(given: LabelArray, predicted: LabelArray, scheme: LabelScheme) -> FloatArray:
    """How each structure of a given mask differs from the prediction, (structures, 2).

    1 - Dice falls into two parts.  With g pixels only given, p only predicted, and n the pixels
    of both masks added up:
      size = (g - p) / n, in [-1, 1]: the given mask is larger (+) or smaller (-);
      place = 2 min(g, p) / n, in [0, 1]: as many pixels here as are missing there.
    1 - Dice = |size| + place.  given, predicted: (planes, *S); pixels IGNORED in `given` take no
    part.  Two empty masks: size NaN, place 0.  Nothing takes part: NaN both.
    """
    rows = np.full((len(scheme.structures), 2), np.nan)
    for number, counts in enumerate(_overlaps(given, predicted, scheme)):
        total = 2 * counts.tp + counts.fn + counts.fp
        if total:
            rows[number] = counts.fn - counts.fp, 2 * min(counts.fn, counts.fp)
            rows[number] /= total
        elif counts.tn:
            rows[number, 1] = 0
    return rows


def _overlaps(given: LabelArray, predicted: LabelArray, scheme: LabelScheme) -> list[Overlap]:
    """How each structure of a given mask, taken as the truth, meets the prediction."""
    if scheme.overlapping:
        planes = zip(given, predicted, strict=True)
        return [count_overlap(truth == 1, found == 1, truth == IGNORED) for truth, found in planes]
    pairs = count_pairs(given[0], predicted[0])
    pairs[IGNORED] = 0
    total = int(pairs.sum())
    found = []
    for k in range(1, len(scheme.structures) + 1):
        tp, given_k, predicted_k = int(pairs[k, k]), int(pairs[k].sum()), int(pairs[:, k].sum())
        wrong = given_k + predicted_k - 2 * tp
        found.append(Overlap(tp, predicted_k - tp, given_k - tp, total - wrong - tp))
    return found


def count_pairs(given: LabelArray, predicted: LabelArray) -> NDArray[np.int64]:
    """Pixels of each given and predicted value, (256, 256).  given, predicted: (*S,) uint8."""
    pairs = np.zeros(256 * 256, np.int64)
    if given.flags.c_contiguous and predicted.flags.c_contiguous:
        given, predicted = given.reshape(-1), predicted.reshape(-1)
    rows = max(_BLOCK_PIXELS // max(given[:1].size, 1), 1)
    for start in range(0, len(given), rows):
        part = slice(start, start + rows)
        codes = given[part].astype(np.uint16) << 8
        codes |= predicted[part]
        counted = np.bincount(codes.reshape(-1))
        pairs[: len(counted)] += counted
    return pairs.reshape(256, 256)


def size_bias(mismatch: FloatArray) -> FloatArray:
    """How much larger (+) than predicted the given masks commonly are, (structures,) in [-1, 1].

    mismatch: (N, structures, 2) as from `mask_mismatch`.  The median of `size`; 0 where no mask
    has one.
    """
    known = ~np.isnan(mismatch[..., 0])
    columns = zip(mismatch[..., 0].T, known.T, strict=True)
    return np.array([np.median(sizes[has]) if has.any() else 0.0 for sizes, has in columns])


def structure_distance(mismatch: FloatArray, bias: FloatArray | float = 0.0) -> FloatArray:
    """1 - Dice of each structure, (N, structures); with a bias, |size - bias| stands for |size|.

    mismatch: (N, structures, 2) as from `mask_mismatch`.  0 for a structure that neither mask has;
    NaN where nothing takes part.
    """
    size, place = mismatch[..., 0], mismatch[..., 1]
    distance: FloatArray = np.where(np.isnan(size), place, np.abs(size - bias) + place)
    return distance


def mask_distance(
    mismatch: FloatArray, scheme: LabelScheme, bias: FloatArray | float = 0.0
) -> FloatArray:
    """1 - Dice of each mask, (N, planes); bias as for `structure_distance`.

    mismatch: (N, structures, 2) as from `mask_mismatch`.  A plane of exclusive labels gets the
    mean over the structures that either mask has (0 if neither has any).  NaN where nothing takes
    part.
    """
    distance = structure_distance(mismatch, bias)
    if scheme.overlapping:
        return distance
    size, place = mismatch[..., 0], mismatch[..., 1]
    present = ~np.isnan(size)
    mean = np.where(present, distance, 0).sum(axis=1) / np.maximum(present.sum(axis=1), 1)
    plane: FloatArray = np.where(np.isnan(place).all(axis=1), np.nan, mean)[:, None]
    return plane


def believed_masks(distance: FloatArray, ratio: float, zeros_are_empty: bool = True) -> BoolArray:
    """Which given masks to believe, (N, columns) bool.

    distance: (N, columns) as from `structure_distance` or `mask_distance`, NaN where a mask takes
    no part (it is believed: nothing is known against it).  A mask is believed while its distance
    is at most `ratio` times the ordinary one of its column: the median of the masks that are
    believed, of the nearest 30 % at least, and never below 0.01.  So belief spreads from the
    nearest masks outwards, and ends where the next ones lie far off, be that after a third of the
    masks or after all of them.
    zeros_are_empty: a distance of 0 is that of two empty masks, which tell nothing of boundaries:
    it is believed, and counts for nothing in the median.  Else such masks are NaN.
    """
    believed: BoolArray = ~(distance > belief_limits(distance, ratio, zeros_are_empty))
    return believed


def belief_limits(distance: FloatArray, ratio: float, zeros_are_empty: bool = True) -> FloatArray:
    """The largest distance at which a mask is believed, (columns,); inf where all masks are.

    Arguments as of `believed_masks`.
    """
    # NaN is neither
    counted = distance > 0 if zeros_are_empty else distance >= 0
    columns = [np.sort(column[of]) for column, of in zip(distance.T, counted.T, strict=True)]
    limits = [_limit_of_belief(known, ratio) if len(known) else np.inf for known in columns]
    return np.array(limits, dtype=np.float64)


def _limit_of_belief(known: FloatArray, ratio: float) -> float:
    """The smallest limit that agrees with its own median.  known: (N,), ascending, without NaN."""
    least = reached = max(1, int(ORDINARY_SHARE * len(known)))
    while True:
        count = reached
        limit = ratio * max(float(np.median(known[:count])), LEAST_ORDINARY)
        reached = max(least, int(np.searchsorted(known, limit, side="right")))
        if reached <= count:
            return limit


def flag_doubted(
    given: LabelArray, predicted: LabelArray, believed: BoolArray, scheme: LabelScheme
) -> BoolArray:
    """The noise map that follows: what differs in `in_doubt`, (planes, *S).

    Arguments as there.  Ignored pixels are never flagged.
    """
    if believed.all():
        return np.zeros(given.shape, bool)
    doubted = in_doubt(given, predicted, believed, scheme)
    flagged: BoolArray = doubted & (given != predicted) & (given != IGNORED)
    return flagged


def in_doubt(
    given: LabelArray, predicted: LabelArray, believed: BoolArray, scheme: LabelScheme
) -> BoolArray:
    """Pixels whose label hangs on a structure that is not believed, (planes, *S).

    given, predicted: (planes, *S).  believed: (structures,).  Overlapping: the whole plane of the
    structure; exclusive: what is given to it or predicted as it, so that one wrong structure of a
    case leaves the border between two others alone.
    """
    if scheme.overlapping:
        doubted = ~believed.reshape(-1, *(1,) * (given.ndim - 1))
        return np.broadcast_to(doubted, given.shape)
    of_class = np.zeros(256, bool)
    of_class[1 : len(believed) + 1] = ~believed
    found: BoolArray = of_class[given] | of_class[predicted]
    return found
