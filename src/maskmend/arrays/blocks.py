"""Cases as runs of pixels: checked, laid out class by class, and cut into blocks.

Reads class-major (K, *S) and pixel-major (*S, K) probabilities where they lie; only a block at
a time is ever converted, so memory does not grow with the case.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from maskmend.errors import (
    GridMismatchError,
    MaskmendError,
    MaskValueError,
    NotFiniteError,
    ProbabilityError,
)

SKIPPED = 255
"""What blocks have for an ignored label (so there can be at most 254 classes)."""

MAX_CLASSES = 254

Labels = NDArray[np.integer[Any]]
Probabilities = NDArray[Any]

# what NumPy works on at a time; smaller ones fit into nearer caches, but threads then wait for each
# other's interpreter lock.  More than 2**16 pixels would not add up in 63 bits, at 2**46 units each
_BLOCK_VALUES = 1 << 17
_BLOCK_PIXELS = 1 << 9


@dataclass(frozen=True)
class ProbabilityKind:
    """How probabilities of one dtype are counted.

    scale: stored value of probability 1.  work: dtype of the block, in stored units.  unit: sums
    are exact in 1 / unit of a probability.  row_tolerance: by how much a pixel's probabilities
    may miss a sum of 1, K classes at `per_class` each besides.
    """

    dtype: np.dtype[Any]
    scale: int
    work: np.dtype[Any]
    unit: int
    row_tolerance: float
    per_class: float


_FLOAT32, _FLOAT64 = np.dtype(np.float32), np.dtype(np.float64)

_KINDS = {
    "float16": ProbabilityKind(np.dtype(np.float16), 1, _FLOAT32, 1 << 46, 2e-3, 0.0),
    "float32": ProbabilityKind(_FLOAT32, 1, _FLOAT32, 1 << 46, 1e-4, 0.0),
    "float64": ProbabilityKind(_FLOAT64, 1, _FLOAT64, 1 << 46, 1e-6, 0.0),
    "uint8": ProbabilityKind(np.dtype(np.uint8), 255, _FLOAT32, 255, 1e-4, 0.5 / 255),
    "uint16": ProbabilityKind(np.dtype(np.uint16), 65535, _FLOAT32, 65535, 1e-4, 0.5 / 65535),
}
# what a float may lie outside [0, 1] by rounding, as cleanlab allows
OVERSHOOT = 1e-6


def probability_kind(dtype: np.dtype[Any], case: str = "probabilities") -> ProbabilityKind:
    """How to count probabilities of this dtype; ProbabilityError for one that holds none."""
    kind = _KINDS.get(dtype.name)
    if kind is None:
        raise ProbabilityError(
            case,
            expected=f"probabilities of dtype {', '.join(_KINDS)}",
            got=str(dtype),
            remedy="Store them as float16, or as uint8 with 255 for probability 1.",
        )
    return kind


@dataclass(frozen=True)
class Run:
    """Pixels in C order.  labels: (N,).  probs: (K, N), or (N,) of the foreground of two."""

    labels: Labels
    probs: Probabilities
    num_classes: int

    def __len__(self) -> int:
        return len(self.labels)

    def part(self, start: int, stop: int) -> Run:
        return Run(self.labels[start:stop], self.probs[..., start:stop], self.num_classes)


@dataclass(frozen=True)
class Block:
    """A few thousand pixels, ready to be counted.

    start, stop: where in the run.  labels: (N,) uint8, K or more where a pixel takes no part.
    probs: (K, N) float32 or float64 in stored units.
    """

    start: int
    stop: int
    labels: NDArray[np.uint8]
    probs: NDArray[np.floating[Any]]


def split_runs(
    labels: Labels, probs: Probabilities, *, class_axis: int = 0, case: str = "labels"
) -> Iterator[Run]:
    """The pixels of a case as few runs that share its memory, in C order.

    labels: (*S,) integers.  probs: K classes along class_axis and *S, or (*S,) alone for the
    foreground of two classes (the background has 1 - p, in the dtype of p).
    GridMismatchError for any other shape; MaskValueError for labels that are not integers.
    """
    if labels.dtype == np.bool_:
        labels = labels.view(np.uint8)
    if not np.issubdtype(labels.dtype, np.integer):
        raise MaskValueError(
            case,
            expected="integer labels",
            got=f"dtype {labels.dtype}",
            remedy="Convert the labels to the numbers of their classes.",
        )
    if probs.shape != labels.shape or probs.ndim == 0:
        classes_first = _classes_first(labels, probs, class_axis, case)
        yield from _runs(labels, classes_first)
    elif labels.size:
        flat = (labels, probs) if _is_flat(labels) and _is_flat(probs) else None
        if flat is None:
            for row_labels, row_probs in zip(labels, probs, strict=True):
                yield from split_runs(row_labels, row_probs, case=case)
        else:
            yield Run(labels.reshape(-1), probs.reshape(-1), 2)


def _classes_first(
    labels: Labels, probs: Probabilities, class_axis: int, case: str
) -> Probabilities:
    moved = probs
    if -probs.ndim <= class_axis < probs.ndim:
        moved = np.moveaxis(probs, class_axis, 0)
    if moved.shape[1:] != labels.shape or moved.ndim != labels.ndim + 1:
        raise GridMismatchError(
            case,
            expected=f"probabilities on the grid of the labels, {labels.shape}, and classes"
            f" along axis {class_axis}",
            got=str(probs.shape),
            remedy="Give (K, *S), or (*S, K) with class_axis=-1, or (*S,) for the foreground.",
        )
    if not 2 <= len(moved) <= MAX_CLASSES:
        raise GridMismatchError(
            case,
            expected=f"2 to {MAX_CLASSES} classes along axis {class_axis}",
            got=str(probs.shape),
            remedy="A single probability map goes in without the axis of classes.",
        )
    return moved


def _runs(labels: Labels, probs: Probabilities) -> Iterator[Run]:
    if not labels.size:
        return
    if _is_flat(labels) and _is_flat(probs[0]):
        yield Run(labels.reshape(-1), probs.reshape(len(probs), -1), len(probs))
        return
    for k, row_labels in enumerate(labels):
        yield from _runs(row_labels, probs[:, k])


def _is_flat(array: NDArray[Any]) -> bool:
    """Whether the axes can be joined into one without a copy."""
    axes = [(n, step) for n, step in zip(array.shape, array.strides, strict=True) if n > 1]
    return all(step == inner * n for (_, step), (n, inner) in pairwise(axes))


class BlockReader:
    """Cuts runs into blocks in two buffers of its own; one reader a thread."""

    def __init__(
        self,
        kind: ProbabilityKind,
        num_classes: int,
        ignore: int | None,
        widen: Callable[[Probabilities, Probabilities], None],
    ) -> None:
        """widen: writes (K, N) float16 to (K, N) float32."""
        self.pixels = max(_BLOCK_VALUES // num_classes, _BLOCK_PIXELS)
        self._kind = kind
        self._ignore = ignore
        self._widen = widen
        self._labels = np.empty(self.pixels, np.uint8)
        self._values = np.empty(num_classes * self.pixels, kind.work)
        self._classes = num_classes

    def spans(self, run: Run) -> Iterator[tuple[int, int]]:
        """Where the blocks of a run start and stop, in order."""
        for start in range(0, len(run), self.pixels):
            yield start, min(start + self.pixels, len(run))

    def read(self, run: Run, start: int, stop: int) -> Block:
        """A block of a run; it is only valid until the next one is read."""
        labels = self._given(run.labels[start:stop])
        return Block(start, stop, labels, self._work(run.probs[..., start:stop]))

    def _given(self, labels: Labels) -> NDArray[np.uint8]:
        """Labels as bytes, ignored ones as K or more; shares memory where they are that already."""
        ignore = self._ignore
        if labels.dtype == np.uint8 and (ignore is None or ignore >= self._classes):
            return labels.view(np.uint8)
        given = self._labels[: len(labels)]
        np.copyto(given, labels, casting="unsafe")
        if ignore is not None:
            given[labels == ignore] = SKIPPED
        return given

    def _work(self, probs: Probabilities) -> NDArray[np.floating[Any]]:
        length = probs.shape[-1]
        buffer = self._values[: self._classes * length].reshape(self._classes, length)
        if probs.ndim == 1:
            # 1 - p in the dtype of p: float16 rounds before it is widened
            one = probs.dtype.type(self._kind.scale)
            np.copyto(buffer[0], np.subtract(one, probs, dtype=probs.dtype))
            np.copyto(buffer[1], probs)
            return buffer
        if probs.dtype == np.float16 and probs.dtype.isnative:
            self._widen(probs, buffer)
            return buffer
        if probs.dtype == self._kind.work and probs.strides[1] == probs.itemsize:
            return probs
        np.copyto(buffer, probs)
        return buffer


def check_labels(labels: Labels, num_classes: int, ignore: int | None, case: str) -> None:
    """MaskValueError for a label that is neither a class nor the ignored value."""
    if int(labels.min()) >= 0 and int(labels.max()) < num_classes:
        return
    unknown = (labels < 0) | (labels >= num_classes)
    if ignore is not None:
        unknown &= labels != ignore
    if unknown.any():
        raise MaskValueError(
            case,
            expected=f"labels 0..{num_classes - 1}"
            + (f", or {ignore} for ignored pixels" if ignore is not None else ""),
            got=str(labels[unknown][0]),
            remedy="Map the labels to the classes of the probabilities, or name the value that"
            " marks ignored pixels.",
        )


@dataclass(frozen=True)
class Bounds:
    """What probabilities may be, in stored units: each in [low, high], `whole` in each pixel."""

    low: float
    high: float
    whole: float
    tolerance: float


def bounds_of(kind: ProbabilityKind, num_classes: int) -> Bounds:
    return Bounds(
        low=-OVERSHOOT * kind.scale,
        high=(1 + OVERSHOOT) * kind.scale,
        whole=float(kind.scale),
        tolerance=(kind.row_tolerance + kind.per_class * num_classes) * kind.scale,
    )


def refuse_bad(block: Block, bounds: Bounds, case: str) -> None:
    """NotFiniteError or ProbabilityError where a pixel that takes part holds no probabilities."""
    values = block.probs
    with np.errstate(invalid="ignore", over="ignore"):
        good = np.abs(values.sum(axis=0) - bounds.whole) <= bounds.tolerance
        good &= ((values >= bounds.low) & (values <= bounds.high)).all(axis=0)
    bad = ~good & (block.labels < len(values))
    if bad.any():
        raise bad_pixel(values[:, np.flatnonzero(bad)[0]], bounds, case)


def bad_pixel(pixel: NDArray[np.floating[Any]], bounds: Bounds, case: str) -> MaskmendError:
    """What to say of a pixel, (K,) in stored units, that holds no probabilities."""
    shown = f"{(pixel / bounds.whole).tolist()[:8]} in one pixel"
    if not np.isfinite(pixel).all():
        return NotFiniteError(
            case,
            expected="a probability for each class",
            got=shown,
            remedy="Mark pixels without a prediction as ignored.",
        )
    return ProbabilityError(
        case,
        expected="probabilities in [0, 1] that sum to 1"
        f" (within {bounds.tolerance / bounds.whole:.2g})",
        got=shown,
        remedy="Apply the softmax; for overlapping structures give each foreground map alone.",
    )
