"""Scores of one mask against its out-of-sample probabilities: the higher, the more worth a look.

A mask is what the labels give to one structure of one case, and is judged as a problem of two
classes: p(x) is the probability of the structure, 1 - p(x) that of anything else.  One pass over
the pixels gives counts (`count_mask`), from which all scores follow (`score_mask`).

    gain                how much Dice the more probable label would gain, see `MaskScores`
    agreement           1 - Dice of the given and the most probable mask
    expected_dice       expected Dice of the best mask minus that of the given one
    softmin             1 - cleanlab's score of an image (method softmin, T = 0.1)
    foreground_softmin  the same over the pixels in and around the structure only
    flagged_share       share of the pixels that the noise map flags for the structure
    largest_region      largest connected flagged region, in share of the structure

What emptiness means: given and predicted mask both empty, nothing is wrong: 0 but for softmin,
which looks at every pixel, and expected_dice, which is 0 then by its definition; one of them
empty, gain and agreement are as for any other mask, without overlap.  Not one pixel judged: NaN.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from functools import partial, reduce
from operator import add
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage
from scipy.optimize import isotonic_regression

from maskmend.core import IGNORED, BoolArray, FloatArray, IntArray, LabelArray, LabelScheme

TEMPERATURE = 0.1
"""Of softmin, as cleanlab has it."""

BINS = 256
"""Of a histogram of probabilities; bin b is a probability of b / (BINS - 1), rounded."""

BAND = 0.1
"""Width of the band around the foreground, in share of the radius of a disc or ball as large."""

_BLOCK_PIXELS = 1 << 20

Part = tuple[slice, ...]
"""Which pixels of a case, along each axis."""


@dataclass(frozen=True)
class Softmin:
    """sum of s exp(-s / T) and of exp(-s / T) over self-confidences s; `+` joins pixels."""

    weighted: float = 0.0
    weights: float = 0.0

    def __add__(self, other: Softmin) -> Softmin:
        return Softmin(self.weighted + other.weighted, self.weights + other.weights)

    @property
    def badness(self) -> float:
        """1 - softmin of the self-confidences, in [0, 1]; 0 without a pixel."""
        return 1 - self.weighted / self.weights if self.weights else 0.0


def softmin_sums(confidence: FloatArray) -> Softmin:
    """confidence: (N,), probability of the given label.  Sums in float64.

    sum(s softmax((1 - s) / T)); the constant in the exponent cancels, and exp(-1 / T) neither
    overflows nor vanishes.  cleanlab 2.9.0, `internal.multilabel_scorer.softmin`.
    """
    values = confidence.astype(np.float64, copy=False)
    weights = np.exp(values / -TEMPERATURE)
    return Softmin(float(values @ weights), float(weights.sum()))


@dataclass(frozen=True)
class MaskCounts:
    """What is counted of one mask; `+` joins parts of it.

    judged: pixels that take part.  given, predicted, both: those of the given mask, of the most
    probable one, and of both.  flagged: pixels that the noise map flags for the structure.
    margin: sum over the pixels of one mask only of the probability of the predicted label minus
    that of the given one.  everywhere, around: sums for softmin.  largest: pixels of the largest
    flagged region.  histogram: (2, BINS), pixels not given and given, by probability.
    """

    judged: int = 0
    given: int = 0
    predicted: int = 0
    both: int = 0
    flagged: int = 0
    margin: float = 0.0
    everywhere: Softmin = Softmin()
    around: Softmin = Softmin()
    largest: int = 0
    histogram: IntArray = field(default_factory=lambda: np.zeros((2, BINS), np.int64))

    def __add__(self, other: MaskCounts) -> MaskCounts:
        return MaskCounts(
            self.judged + other.judged, self.given + other.given,
            self.predicted + other.predicted, self.both + other.both,
            self.flagged + other.flagged, self.margin + other.margin,
            self.everywhere + other.everywhere, self.around + other.around,
            max(self.largest, other.largest), self.histogram + other.histogram,
        )  # fmt: skip


@dataclass(frozen=True)
class MaskScores:
    """Of one mask, each the higher the worse; NaN where nothing is known.

    gain: sum of (p_predicted - p_given) over the pixels where the two masks differ, divided by
    the pixels of both masks added up, in [0, 1].  Taking the more probable label at a pixel makes
    it wrong less often by just that margin, and a pixel is worth that much of Dice.  A doubtful
    boundary has margins near 0 and weighs little; agreement counts it in full.
    expected_dice: see `expected_dice_lost`.  The others: see above.
    """

    gain: float
    agreement: float
    expected_dice: float
    softmin: float
    foreground_softmin: float
    flagged_share: float
    largest_region: float


UNKNOWN = MaskScores(*(math.nan,) * 7)
"""Of a structure that nobody labelled in a case, or of which every pixel is ignored."""


@dataclass(frozen=True)
class JudgedCase:
    """One case: what is given, predicted and flagged.

    given, predicted, flagged: (planes, *S).  probs: (num_channels, *S), floats, or uint8 / uint16
    with the largest value for probability 1.  steps: size of a pixel along each axis, in any unit.
    Pixels IGNORED in `given` take no part.
    """

    given: LabelArray
    predicted: LabelArray
    flagged: BoolArray
    probs: NDArray[Any]
    scheme: LabelScheme
    steps: tuple[float, ...]


def count_mask(case: JudgedCase, structure: int, everywhere: bool = True) -> MaskCounts:
    """All that the scores of a mask need.  structure: its index in the scheme.

    everywhere: look at every pixel, as softmin and the expected Dice do; else only in the box
    around the structure, and the sums and the histogram stay empty.  The probabilities are read
    once, a block at a time; beside them there are a few bytes a pixel of that box.  In exclusive
    labels a flagged pixel counts for the structure that it is given to and for the one that is
    predicted there.
    """
    mask = _Mask(case, structure)
    box = mask.box(mask.foreground)
    counts = reduce(add, (mask.count(part) for part in mask.blocks(box)), MaskCounts())
    counts = replace(
        counts, judged=mask.count_judged(), flagged=mask.count_flagged(),
        largest=_largest_flagged(mask),
    )  # fmt: skip
    if not everywhere:
        return counts
    sums, histogram = mask.distribution()
    counts = replace(counts, everywhere=sums, histogram=histogram)
    if box is None:
        return counts
    return replace(counts, around=_around(mask, box, max(counts.given, counts.predicted)))


class _Mask:
    """One structure of a case, as a problem of two classes."""

    def __init__(self, case: JudgedCase, structure: int) -> None:
        overlapping = case.scheme.overlapping
        plane = structure if overlapping else 0
        self.value = 1 if overlapping else structure + 1
        self.given, self.predicted = case.given[plane], case.predicted[plane]
        self.flagged, self.steps = case.flagged[plane], case.steps
        self.probs = case.probs[structure if overlapping else self.value]
        self.classes = None if overlapping else case.probs
        scale = 1.0 if self.probs.dtype.kind == "f" else float(np.iinfo(self.probs.dtype).max)
        self.scale = scale

    def blocks(self, box: tuple[slice, ...] | None = None) -> Iterator[tuple[slice, ...]]:
        """Parts along the first axis, of all pixels or of a box."""
        box = box or tuple(slice(0, n) for n in self.given.shape)
        rows = max(_BLOCK_PIXELS // max(self.given[box][:1].size, 1), 1)
        for start in range(box[0].start, box[0].stop, rows):
            yield (slice(start, min(start + rows, box[0].stop)), *box[1:])

    def count(self, part: Part) -> MaskCounts:
        """What lies in and around the two masks."""
        labels, found = self.given[part], self.predicted[part]
        mine = labels == self.value
        theirs = (found == self.value) & (labels != IGNORED)
        wrong = mine ^ theirs
        return MaskCounts(
            given=int(np.count_nonzero(mine)), predicted=int(np.count_nonzero(theirs)),
            both=int(np.count_nonzero(mine & theirs)), margin=self._margins(part, wrong),
        )  # fmt: skip

    def count_judged(self) -> int:
        return sum(int(np.count_nonzero(self.given[part] != IGNORED)) for part in self.blocks())

    def count_flagged(self) -> int:
        return sum(int(np.count_nonzero(self.flagged_for(part))) for part in self.blocks())

    def distribution(self, threads: int = 1) -> tuple[Softmin, IntArray]:
        """Sums over all judged pixels, and their histogram by probability, (2, BINS)."""
        levels = _levels(self.probs.dtype)
        if levels is None:
            return self._distribution_of_pixels()
        parts = list(self.blocks())
        count = partial(self._count_levels, len(levels))
        if threads == 1:
            return self._weigh(levels, count(parts))
        with ThreadPoolExecutor(threads) as pool:
            counts = pool.map(count, [parts[k::threads] for k in range(threads)])
            return self._weigh(levels, reduce(add, counts))

    def _count_levels(self, levels: int, parts: Sequence[Part]) -> IntArray:
        """Pixels not given and given, by the bits of what is stored, (2, levels)."""
        counts = np.zeros((2, levels), np.int64)
        for part in parts:
            labels, codes = self.given[part], self.probs[part].view(f"u{self.probs.itemsize}")
            for row, pixels in enumerate((labels != IGNORED, labels == self.value)):
                chosen = codes.ravel() if pixels.all() else codes[pixels]
                counts[row] += np.bincount(chosen, minlength=levels)
        counts[0] -= counts[1]
        return counts

    def _weigh(self, levels: NDArray[Any], counts: IntArray) -> tuple[Softmin, IntArray]:
        """What `distribution` gives, of pixels counted by what is stored for them.

        levels: (N,), numbers as stored.  counts: (2, N), pixels not given and given.
        """
        present = counts.any(axis=0)
        levels, counts = levels[present], counts[:, present]
        confidences = [self._rest(levels), levels]
        sums = Softmin()
        for confidence, pixels in zip(confidences, counts, strict=True):
            values = confidence.astype(np.float64) / self.scale
            weights = np.exp(values / -TEMPERATURE) * pixels
            sums += Softmin(float(values @ weights), float(weights.sum()))
        histogram = np.zeros((2, BINS), np.int64)
        for row, pixels in zip(histogram, counts, strict=True):
            np.add.at(row, probability_bins(levels), pixels)
        return sums, histogram

    def _distribution_of_pixels(self) -> tuple[Softmin, IntArray]:
        sums, histogram = Softmin(), np.zeros(2 * BINS, np.int64)
        for part in self.blocks():
            labels = self.given[part]
            taking = labels != IGNORED
            # an ignored pixel may have no probability at all
            bins = probability_bins(self.probs[part][taking]) + BINS * (
                labels[taking] == self.value
            )
            histogram += np.bincount(bins, minlength=2 * BINS)
            sums += softmin_sums(self.confidence(part)[taking])
        return sums, histogram.reshape(2, BINS)

    def foreground(self, part: Part) -> BoolArray:
        """The pixels that are given to the structure, or predicted as it."""
        labels = self.given[part]
        theirs = (self.predicted[part] == self.value) & (labels != IGNORED)
        found: BoolArray = theirs | (labels == self.value)
        return found

    def flagged_for(self, part: Part) -> BoolArray:
        """The pixels that are flagged for the structure."""
        flagged: BoolArray = self.flagged[part]
        if self.classes is None or not flagged.any():
            return flagged
        return flagged & self.foreground(part)

    def box(self, pixels: Callable[[Part], BoolArray]) -> tuple[slice, ...] | None:
        """The box around pixels that are asked for block by block; None without one."""
        shape = self.given.shape
        lines = [np.zeros(n, bool) for n in shape]
        axes = range(len(shape))
        for part in self.blocks():
            block = pixels(part)
            if not block.any():
                continue
            for axis in axes:
                line = block.any(axis=tuple(other for other in axes if other != axis))
                lines[axis][part[axis]] |= line
        if not lines[0].any():
            return None
        ends = [np.flatnonzero(line)[[0, -1]].tolist() for line in lines]
        return tuple(slice(first, last + 1) for first, last in ends)

    def confidence(self, part: Part) -> FloatArray:
        """Probability of what is given, float64; that of the rest is 1 - p in the dtype of p."""
        probs = self.probs[part]
        mine = self.given[part] == self.value
        stored = np.where(mine, probs, self._rest(probs))
        confidence: FloatArray = stored.astype(np.float64) / self.scale
        return confidence

    def _rest(self, probs: NDArray[Any]) -> NDArray[Any]:
        one = probs.dtype.type(self.scale)
        rest: NDArray[Any] = np.subtract(one, probs, dtype=probs.dtype)
        return rest

    def _margins(self, part: Part, wrong: BoolArray) -> float:
        if self.classes is None:
            foreground = self.probs[part][wrong].astype(np.float64) / self.scale
            return float(np.abs(2 * foreground - 1).sum())
        places = np.nonzero(wrong)
        pixels = self.classes[(slice(None), *part)]
        better = pixels[(self.predicted[part][wrong], *places)].astype(np.float64)
        worse = pixels[(self.given[part][wrong], *places)].astype(np.float64)
        return float((better - worse).sum()) / self.scale


def probability_bins(probs: NDArray[Any]) -> NDArray[np.intp]:
    """The bin, 0 .. BINS - 1, of each probability.

    probs: (N,), floats in [0, 1], or uint8 / uint16 with the largest value for probability 1.
    """
    scale = 1.0 if probs.dtype.kind == "f" else float(np.iinfo(probs.dtype).max)
    scaled = probs.astype(np.float64) * ((BINS - 1) / scale)
    np.clip(np.rint(scaled, out=scaled), 0, BINS - 1, out=scaled)
    bins: NDArray[np.intp] = scaled.astype(np.intp)
    return bins


def judged_histogram(case: JudgedCase, structure: int, threads: int = 1) -> IntArray:
    """Judged pixels of a structure by stated probability, (2, BINS): not given to it, and given.

    As in `MaskCounts`, without all else that is counted there.
    """
    return _Mask(case, structure).distribution(threads)[1]


def _levels(dtype: np.dtype[Any]) -> NDArray[Any] | None:
    """Every number that can be stored, by its bits; None for floats of more than 16 bits."""
    if dtype.itemsize > 2 or not dtype.isnative:
        return None
    return np.arange(1 << 8 * dtype.itemsize).astype(f"u{dtype.itemsize}").view(dtype)


def _around(mask: _Mask, box: tuple[slice, ...], pixels: int) -> Softmin:
    """The sums over the pixels in the foreground and in a band around it.

    box: around the foreground.  pixels: of the structure.
    """
    shape, reach = mask.given.shape, _reach(mask, pixels)
    wide = tuple(
        slice(max(part.start - r, 0), min(part.stop + r, n))
        for part, r, n in zip(box, reach, shape, strict=True)
    )
    sums = Softmin()
    # the band of a slab needs what lies up to `reach` before and after it
    rows = max(_BLOCK_PIXELS // max(mask.given[:1].size, 1), 1, reach[0])
    for start in range(wide[0].start, wide[0].stop, rows):
        stop = min(start + rows, wide[0].stop)
        low, high = max(start - reach[0], 0), min(stop + reach[0], shape[0])
        near = mask.foreground((slice(low, high), *wide[1:]))
        band = widened(near, reach)
        band = band[start - low : stop - low]
        here = (slice(start, stop), *wide[1:])
        band &= mask.given[here] != IGNORED
        sums += softmin_sums(mask.confidence(here)[band])
    return sums


def widened(mask: BoolArray, reach: Sequence[int]) -> BoolArray:
    """The pixels with a true one in the box of 2 r + 1 around them, r being the reach of each axis.

    mask: (*S).  As a maximum filter, by doubling: a dozen passes over bytes instead of one over
    floats for each axis.
    """
    for axis, r in enumerate(reach):
        wide = np.moveaxis(
            np.pad(mask, [(r * (a == axis),) * 2 for a in range(mask.ndim)]), axis, 0
        )
        covered = 1
        while covered < 2 * r + 1:
            step = min(covered, 2 * r + 1 - covered)
            wide, covered = wide[:-step] | wide[step:], covered + step
        mask = np.moveaxis(wide, 0, axis)
    return mask


def _reach(mask: _Mask, pixels: int) -> list[int]:
    """Width of the band in pixels along each axis, 1 at least."""
    steps = [step for step, n in zip(mask.steps, mask.given.shape, strict=True) if n > 1]
    axes = max(len(steps), 1)
    ball = {1: 2.0, 2: math.pi}.get(axes, 4 / 3 * math.pi)
    width = BAND * (pixels * math.prod(steps) / ball) ** (1 / axes)
    return [max(round(width / step), 1) for step in mask.steps]


def _largest_flagged(mask: _Mask) -> int:
    """Pixels of the largest connected region that is flagged for the structure."""
    box = mask.box(mask.flagged_for)
    if box is None:
        return 0
    flagged = mask.flagged_for(box)
    regions, count = ndimage.label(flagged, structure=np.ones((3,) * flagged.ndim))
    sizes = np.zeros(count + 1, np.int64)
    for labels, here in zip(regions, flagged, strict=True):
        numbers, pixels = np.unique(labels[here], return_counts=True)
        sizes[numbers] += pixels
    return int(sizes.max())


def calibrate(histogram: IntArray) -> FloatArray:
    """How probable the structure really is in each bin of stated probability, (BINS,), ascending.

    histogram: (2, BINS), pixels of masks that are believed, not given and given.  The share that
    is given, made ascending by isotonic regression; each bin also has one pixel that is as its
    probability says, so that a bin without any follows its neighbours.
    Zadrozny and Elkan, KDD 2002.
    """
    stated = np.arange(BINS) / (BINS - 1)
    pixels = histogram.sum(axis=0) + 1.0
    shares = (histogram[1] + stated) / pixels
    calibrated: FloatArray = isotonic_regression(shares, weights=pixels).x
    return calibrated


def expected_dice_lost(histogram: IntArray, calibrated: FloatArray) -> float:
    """Expected Dice of the best mask minus that of the given one, in [0, 1].

    histogram: (2, BINS) of one mask.  calibrated: (BINS,) as from `calibrate`.  A mask m of |m|
    pixels is expected to have a Dice of 2 sum_m q / (|m| + sum q) with the true one, q being the
    calibrated probabilities (the expected value of the quotient taken as the quotient of the
    expected values, close for more than a few pixels).  The empty mask has 1 - max q, as if the
    pixels of the structure stood or fell together.  The best mask is the best of all thresholds
    and the empty one (Lipton et al., ECML PKDD 2014): where even that expects a low Dice,
    since the boundary is anybody's guess, the given mask loses nothing by missing it.
    """
    pixels = histogram.sum(axis=0)
    if not pixels.any():
        return math.nan
    total = float(pixels @ calibrated)
    empty = 1 - float(calibrated[pixels > 0].max())
    given = int(histogram[1].sum())
    mine = 2 * float(histogram[1] @ calibrated) / (given + total) if given else empty
    chosen = np.cumsum(pixels[::-1])
    hit = np.cumsum((pixels * calibrated)[::-1])
    best = float((2 * hit[chosen > 0] / (chosen[chosen > 0] + total)).max())
    return max(best, empty, mine) - mine


def score_mask(counts: MaskCounts, calibrated: FloatArray) -> MaskScores:
    """The scores that follow from the counts; UNKNOWN where no pixel was judged.

    calibrated: (BINS,), of the structure, as from `calibrate`.  NaN for the scores that look at
    every pixel where that was not done.
    """
    if not counts.judged:
        return UNKNOWN
    both = counts.given + counts.predicted
    everywhere = bool(counts.histogram.any())
    return MaskScores(
        gain=counts.margin / both if both else 0.0,
        agreement=1 - 2 * counts.both / both if both else 0.0,
        expected_dice=expected_dice_lost(counts.histogram, calibrated),
        softmin=counts.everywhere.badness if everywhere else math.nan,
        foreground_softmin=counts.around.badness if everywhere else math.nan,
        flagged_share=counts.flagged / counts.judged,
        largest_region=counts.largest / max(counts.given, counts.predicted, 1),
    )


def ordinary_gain(gains: FloatArray, believed: BoolArray) -> float:
    """The gain that a mask of a structure has in any case: another hand, a blurred boundary.

    gains: (N,), NaN where unknown.  believed: (N,), the masks that tell what is ordinary.  Their
    median; 0 without any.
    """
    known = gains[believed & ~np.isnan(gains)]
    return float(np.median(known)) if len(known) else 0.0


def rank(scores: FloatArray) -> IntArray:
    """1 for the highest score, 2, ...; equal ones in their order, NaN last.  scores: (N,)."""
    order = np.argsort(np.where(np.isnan(scores), np.inf, -scores), kind="stable")
    ranks = np.empty(len(scores), np.int64)
    ranks[order] = np.arange(1, len(scores) + 1)
    return ranks
