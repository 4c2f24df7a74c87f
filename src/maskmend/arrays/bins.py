"""Order-preserving histogram bins of scores, fine enough to say where a cut falls."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from maskmend.arrays.blocks import OVERSHOOT, ProbabilityKind

Counts = NDArray[np.int64]
Doubles = NDArray[np.float64]

HALF_BITS = 42
"""Bits of a float64 mantissa that float16 has not."""

# values of the histogram of one pass that are held at most
_HISTOGRAM_VALUES = 1 << 20
_QUANTISED_VALUES = 1 << 22
_MOST_BINS = 1 << 13
_FEWEST_BINS = 1 << 9
_MANTISSA = 52


@dataclass(frozen=True)
class Bins:
    """Order-preserving histogram bins of a score s, computed on float64 bits.

    bin = middle +- (max(bits(|s| + bias) - floor, 0) >> shift), with the sign of s.
    A bias above every |s| makes the bins equally wide; without it they are as fine as floats.
    half: the score is first rounded to float16.  exact: no bin holds two values of the score.
    """

    bias: float
    floor: int
    shift: int
    middle: int
    half: bool
    exact: bool

    @property
    def count(self) -> int:
        return 2 * self.middle + 1

    def bounds(self, index: Counts) -> tuple[Doubles, Doubles]:
        """Lowest and highest score of each bin."""
        distance = np.abs(index - self.middle)
        near = self._score(self.floor + (distance << self.shift))
        far = self._score(self.floor + ((distance + 1) << self.shift) - 1)
        if self.exact:
            far = near = np.where(distance == 0, 0.0, near)
        low = np.where(index > self.middle, near, -far)
        high = np.where(index < self.middle, -near, far)
        return low, high

    def _score(self, bits: Counts) -> Doubles:
        return np.asarray(bits, dtype=np.int64).view(np.float64) - self.bias


def key_step(kind: ProbabilityKind) -> int:
    """Binary digits that the order key of a score never uses; see `Cuts.step`."""
    return 0 if kind.work == np.float64 else 29


def bins_for(kind: ProbabilityKind, slots: int) -> Bins:
    """Bins as fine as `slots` histograms may have them together; exact where that is enough.

    Floats below 2**-16 (float16: below the smallest) share the bin of zero.
    """
    room = max(min(_MOST_BINS, _HISTOGRAM_VALUES // max(slots, 1)), _FEWEST_BINS)
    if kind.dtype.kind == "u":
        bias = float(kind.scale + 1)
        floor = _bits(bias)
        finest = _MANTISSA - (kind.scale + 1).bit_length() + 1
        top = _bits(bias + kind.scale)
        room = max(room, _QUANTISED_VALUES // max(slots, 1))
    elif kind.dtype == np.float16:
        bias = 0.0
        floor = _bits(2.0**-24) - (1 << HALF_BITS)
        finest = HALF_BITS
        top = _bits(1 + 1e-3)
        room = max(room, _QUANTISED_VALUES // max(slots, 1))
    else:
        bias, floor, finest, top = 0.0, _bits(2.0**-16), 0, _bits(1 + 4 * OVERSHOOT)
    shift = finest
    while 2 * ((top - floor) >> shift) + 3 > room:
        shift += 1
    return Bins(
        bias=bias,
        floor=floor,
        shift=shift,
        middle=((top - floor) >> shift) + 1,
        half=kind.dtype == np.float16,
        exact=shift == finest and finest > 0,
    )


def _bits(value: float) -> int:
    return int(np.float64(value).view(np.int64))
