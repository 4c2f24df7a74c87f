"""From stored numbers to probabilities: their range, logits or not, and the dtype."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from maskmend.core import FloatArray, LabelScheme
from maskmend.datasets.probabilities.placing import Place, placed_view
from maskmend.datasets.probabilities.stored import StoredArray
from maskmend.errors import NotFiniteError, ProbabilityError

TOLERANCE = 1e-3
"""How far a probability may lie outside [0, 1] by rounding or interpolation; it is clipped.  What
lies further out is a logit."""

PAIR_TOLERANCE = 0.02
"""How far the two probabilities of a pixel may be from 1 together: in uint8 both are rounded."""

QUANTISED = {"uint8": 255, "uint16": 65535}
"""dtype -> value that stands for probability 1."""

# bits of 1.0; the bits of all floats from 0 to 1 are no larger, those of all others are
_ONE = {
    "float16": (np.uint16, 0x3C00),
    "float32": (np.uint32, 0x3F800000),
    "float64": (np.uint64, 0x3FF0000000000000),
}
_SLAB_VALUES = 1 << 22


@dataclass(frozen=True)
class Extent:
    """Lowest and highest value of some numbers; `+` joins."""

    low: float = np.inf
    high: float = -np.inf

    def __add__(self, other: Extent) -> Extent:
        return Extent(min(self.low, other.low), max(self.high, other.high))

    @property
    def is_exact(self) -> bool:
        """Whether all lie in [0, 1]."""
        return self.low >= 0 and self.high <= 1

    @property
    def is_logits(self) -> bool:
        return self.low < -TOLERANCE or self.high > 1 + TOLERANCE


def extent_of(block: NDArray[Any], case: str) -> Extent:
    """Of quantised values in units of probability 1.

    Where all floats lie in [0, 1], (0, 1) is said of them: that is quick to know, and is enough.
    NotFiniteError; ProbabilityError for a dtype that holds no probabilities.
    """
    name = block.dtype.name
    if not block.size:
        return Extent()
    if name in QUANTISED:
        return Extent(float(block.min()) / QUANTISED[name], float(block.max()) / QUANTISED[name])
    if name not in _ONE:
        raise ProbabilityError(
            case, expected="float16, float32 or float64, or uint8 with 255 for 1 (uint16: 65535)",
            got=str(block.dtype), remedy="Store the probabilities as float16.",
        )  # fmt: skip
    unsigned, one = _ONE[name]
    if block.dtype.isnative and block.view(unsigned).max() <= one:
        return Extent(0.0, 1.0)
    low, high = float(block.min()), float(block.max())
    if not (np.isfinite(low) and np.isfinite(high)):
        raise NotFiniteError(
            case, expected="a finite probability in each channel of each pixel",
            got="NaN or infinity", remedy="Predict the case again.",
        )  # fmt: skip
    return Extent(low, high)


def refuse_label_map(extent: Extent, dtype: np.dtype[Any], channels: int, case: str) -> None:
    """ProbabilityError for integers that are the numbers of classes, not probabilities."""
    one = QUANTISED.get(dtype.name)
    if one is not None and round(extent.high * one) <= max(channels, 2):
        raise ProbabilityError(
            case, expected=f"{dtype} probabilities, {one} for probability 1",
            got=f"values 0 to {round(extent.high * one)}: the numbers of classes, it seems",
            remedy="Give the probabilities (nnU-Net: --npz), not the segmentation.",
        )  # fmt: skip


def converted(block: NDArray[Any], dtype: np.dtype[Any]) -> NDArray[Any]:
    """Probabilities, clipped to [0, 1], as another dtype."""
    if block.dtype.name in QUANTISED:
        if block.dtype == dtype:
            return block
        block = block.astype(np.float32) / np.float32(QUANTISED[block.dtype.name])
    clipped: NDArray[Any] = np.clip(block, 0, 1).astype(dtype, copy=False)
    return clipped


def as_probabilities(logits: FloatArray, scheme: LabelScheme) -> NDArray[np.float32]:
    """Softmax over the classes, or a sigmoid for each structure.  logits: (num_channels, *S)."""
    values = logits.astype(np.float32)
    if scheme.overlapping:
        # of a large negative logit exp overflows to inf, and the probability is 0 as it should be
        with np.errstate(over="ignore"):
            sigmoid: NDArray[np.float32] = np.reciprocal(1 + np.exp(-values), dtype=np.float32)
            return sigmoid
    values -= values.max(axis=0)
    np.exp(values, out=values)
    values /= values.sum(axis=0)
    return values


def bring(
    stored: StoredArray, place: Place, scheme: LabelScheme, case: str, out: NDArray[Any]
) -> Extent:
    """Write stored probabilities into (num_channels, *S), placed, clipped and converted.

    What a cropped array does not cover is background; so is, with exclusive classes, a pixel that
    has 0 in every class (nnU-Net left what it cropped off at 0 for a while).
    Returns what range they were in: if that of logits, `out` is of no use.  NotFiniteError,
    ProbabilityError, UnreadableFileError.
    """
    if place.box is not None:
        out[...] = 0
    view = placed_view(out, place, stored.shape)
    extent = Extent()
    for index, block in stored.blocks():
        extent += extent_of(block, case)
        view[index] = converted(block, out.dtype)
    refuse_label_map(extent, stored.dtype, scheme.num_channels, case)
    if scheme.overlapping or extent.is_logits:
        return extent
    one = QUANTISED.get(out.dtype.name, 1)
    for slab in slabs(out):
        if place.layout.classes == "none":
            np.subtract(one, slab[1], out=slab[0], dtype=out.dtype)
        else:
            # bits of floats: any() takes far longer
            bits = slab.view(f"u{slab.itemsize}")
            slab[0][np.bitwise_or.reduce(bits, axis=0) == 0] = one
    return extent


def bring_logits(
    stored: StoredArray, place: Place, scheme: LabelScheme, case: str,
    scratch: NDArray[np.float32], out: NDArray[Any],
) -> Extent:  # fmt: skip
    """As `bring`, of logits.  scratch: (num_channels, *S) float32, for them."""
    view = placed_view(scratch, place, stored.shape)
    if place.box is not None or place.layout.classes == "none":
        # certain background outside; a lone foreground is a margin over it
        scratch[...] = -np.inf if scheme.overlapping else 0
        if place.box is not None and not scheme.overlapping:
            scratch[1:] = -np.inf
    extent = Extent()
    for index, block in stored.blocks():
        extent += extent_of(block, case)
        view[index] = block
    for slab, target in zip(slabs(scratch), slabs(out), strict=True):
        target[...] = as_probabilities(slab, scheme)
    return extent


def take_foreground(both: NDArray[Any], case: str, out: NDArray[Any]) -> None:
    """Of background and foreground, (2, *S), the foreground, into (1, *S).

    ProbabilityError where the two are not the only classes: they do not sum to 1.
    """
    one = float(QUANTISED.get(both.dtype.name, 1))
    for slab, target in zip(slabs(both), slabs(out), strict=True):
        whole = slab.sum(axis=0, dtype=np.float32)
        wrong = np.abs(whole - one) > PAIR_TOLERANCE * one
        if wrong.any():
            pixel = (slab[:, wrong][:, 0] / one).tolist()
            raise ProbabilityError(
                case, expected=f"background and foreground that sum to 1 (within {PAIR_TOLERANCE})",
                got=f"{pixel} in one pixel",
                remedy="Apply the softmax; or give the foreground's probability alone.",
            )  # fmt: skip
        target[0] = slab[1]


def slabs(array: NDArray[Any]) -> list[NDArray[Any]]:
    """(C, *S) cut along the first spatial axis into views of a few million values."""
    rows = max(_SLAB_VALUES // max(array[:, :1].size, 1), 1)
    return [array[:, start : start + rows] for start in range(0, array.shape[1], rows)]
