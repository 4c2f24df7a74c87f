"""Confident learning in class space: thresholds, confident joint, joint, noise rates.

Everything here is of size K or K x K; the pixels are counted by `selection` and `kernels`.
Matrices are indexed [given class, true class].  Northcutt, Jiang, Chuang, JAIR 2021; rounding
and calibration as cleanlab 2.9.0 behaves.

Emptiness: a class without a pixel has threshold inf, is never suggested, takes no row or column
of the joint, and its rates are NaN.  With no pixel at all every rate is NaN.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    # read by people and mypy alone; loading it takes as long as judging a million pixels
    from maskmend.core import FloatArray


Counts = NDArray[np.int64]
Rates = NDArray[np.float64]

SLACK = 1e-6
"""A probability this little below its threshold still counts as confident, and a given class
this little below the most probable one is still believed (cleanlab's comparison tolerance)."""

LOWEST_THRESHOLD = 2e-6
"""No threshold is lower, so that a probability of zero never counts as confident."""


@dataclass(frozen=True)
class ClassSums:
    """Pixels and summed self-confidence of each class; `+` joins cases.

    sizes: pixels given class k.  sums: exact sum of p_k over them, in units of 1 / unit, where
    each p_k was rounded down to a whole number of units.
    """

    sizes: tuple[int, ...]
    sums: tuple[int, ...]
    unit: int

    def __add__(self, other: ClassSums) -> ClassSums:
        if self.unit != other.unit:
            raise ValueError(f"sums in units of 1/{self.unit} and of 1/{other.unit} do not add")
        return ClassSums(
            tuple(a + b for a, b in zip(self.sizes, other.sizes, strict=True)),
            tuple(a + b for a, b in zip(self.sums, other.sums, strict=True)),
            self.unit,
        )


@dataclass(frozen=True, eq=False)
class ConfidentCounts:
    """Pixels that are confidently of some class; `+` joins cases.  The Counts of one case.

    sizes: (K,) pixels given class i.  joint: (K, K) pixels given i and confidently of class j,
    nothing added or scaled.  errors: pixels off the diagonal of the joint whose given class is
    not the most probable one.
    """

    sizes: Counts
    joint: Counts
    errors: int

    def __add__(self, other: ConfidentCounts) -> ConfidentCounts:
        return ConfidentCounts(
            self.sizes + other.sizes, self.joint + other.joint, self.errors + other.errors
        )

    def __eq__(self, other: object) -> bool:
        return (
            isinstance(other, ConfidentCounts)
            and np.array_equal(self.sizes, other.sizes)
            and np.array_equal(self.joint, other.joint)
            and self.errors == other.errors
        )


def class_thresholds(sums: ClassSums) -> Rates:
    """Mean self-confidence of each class, (K,), at least LOWEST_THRESHOLD; inf without a pixel.

    Correctly rounded from exact integers, so that it depends on no order of summation.
    JAIR 2021, eq. 2.
    """
    return np.array(
        [
            max(total / (size * sums.unit), LOWEST_THRESHOLD) if size else math.inf
            for size, total in zip(sums.sizes, sums.sums, strict=True)
        ]
    )


def calibrated_joint(joint: FloatArray | Counts, sizes: Counts) -> Rates:
    """The confident joint scaled to the class sizes, in pixels; sums to all pixels.

    joint: (..., K, K).  sizes: (..., K).  At least one pixel of each class is taken to be
    right, which keeps a row that no pixel reached from vanishing.  JAIR 2021, eq. 3.
    """
    counts = np.array(joint, dtype=np.float64)
    diagonal = np.einsum("...ii->...i", counts)
    np.maximum(diagonal, 1, out=diagonal)
    counts /= counts.sum(axis=-1, keepdims=True)
    counts *= sizes[..., None]
    # summed true class first, as cleanlab does: the last bit decides how a half is rounded
    by_true = counts.swapaxes(-2, -1).reshape(*counts.shape[:-2], -1)
    total = by_true.sum(axis=-1)[..., None, None]
    scale = np.asarray(sizes.sum(axis=-1), dtype=np.float64)[..., None, None]
    share: Rates = np.divide(counts, total, out=np.zeros_like(counts), where=total > 0)
    return share * scale


def rounded_rows(matrix: FloatArray) -> Counts:
    """Whole numbers near a matrix, (K, K), that keep the rounded total of each row.

    What rounding added or lost in a row is given back one at a time, first to the entries that
    rounding moved the furthest the other way; of equals the last gains, the first loses.
    """
    rounded: Rates = np.round(matrix)
    for row, exact in zip(rounded, matrix, strict=True):
        missing = int(np.round(exact.sum()) - row.sum())
        while missing:
            step = 1 if missing > 0 else -1
            order = np.argsort(exact - row, kind="stable")[::-step][: abs(missing)]
            row[order] += step
            missing -= step * len(order)
    return np.asarray(rounded, dtype=np.int64)


def error_counts(counts: ConfidentCounts) -> Counts:
    """Pixels to be found wrong for each given i and true j, (K, K); the diagonal are the right.

    The rounded calibrated joint, with at least one right pixel left in each class: what is
    missing is taken in equal parts from the wrong ones.
    """
    joint = rounded_rows(calibrated_joint(counts.joint, counts.sizes))
    right = np.diagonal(joint)
    kept = np.maximum(right, 1)
    others = np.maximum(np.count_nonzero(joint, axis=1) - 1.0, 1.0)
    fewer: Rates = joint - ((kept - right) / others)[:, None]
    wrong: Counts = np.maximum(fewer, 0).astype(np.int64)
    np.fill_diagonal(wrong, kept)
    return wrong


@dataclass(frozen=True, eq=False)
class Statistics:
    """What confident learning says of the labels as a whole.

    class_sizes: (K,) pixels.  thresholds: (K,).  confident_joint: (K, K) pixels, as counted.
    joint: (K, K), P(given, true), sums to 1.  noise_rate: (K,), P(true != given | given).
    overall_noise_rate: P(true != given).  true_given: (K, K), P(true | given), rows sum to 1.
    given_true: (K, K), P(given | true), columns sum to 1.
    """

    class_sizes: Counts
    thresholds: Rates
    confident_joint: Counts
    joint: Rates
    noise_rate: Rates
    overall_noise_rate: float
    true_given: Rates
    given_true: Rates

    def confused_pairs(self) -> list[tuple[int, int, int]]:
        """(given, true, estimated pixels) of each pair of classes, most pixels first."""
        pixels = rounded_rows(self.joint * self.class_sizes.sum())
        np.fill_diagonal(pixels, 0)
        order = np.argsort(-pixels, axis=None, kind="stable")
        pairs = [(int(k) // len(pixels), int(k) % len(pixels)) for k in order]
        return [(i, j, int(pixels[i, j])) for i, j in pairs if pixels[i, j] > 0]

    def to_json(self) -> dict[str, Any]:
        """Plain lists and numbers; NaN and inf become None, which JSON can say."""
        return {name: _plain(value) for name, value in vars(self).items()}


def statistics(counts: ConfidentCounts, thresholds: FloatArray) -> Statistics:
    """All figures that follow from the confident counts of all cases together."""
    rates = _rates(counts.joint, counts.sizes)
    return Statistics(
        class_sizes=counts.sizes.copy(),
        thresholds=np.array(thresholds, dtype=np.float64),
        confident_joint=counts.joint.copy(),
        joint=rates.joint,
        noise_rate=rates.noise_rate,
        overall_noise_rate=float(rates.overall_noise_rate),
        true_given=rates.true_given,
        given_true=rates.given_true,
    )


@dataclass(frozen=True, eq=False)
class Intervals:
    """Confidence intervals, [low, high] in the last axis, of the figures of `Statistics`.

    level: share of bootstrap replicates inside.  noise_rate: (K, 2).  overall_noise_rate: (2,).
    true_given, given_true: (K, K, 2).
    """

    level: float
    noise_rate: Rates
    overall_noise_rate: Rates
    true_given: Rates
    given_true: Rates

    def to_json(self) -> dict[str, Any]:
        return {name: _plain(value) for name, value in vars(self).items()}


def bootstrap_intervals(
    counts_per_case: Sequence[ConfidentCounts],
    rng: np.random.Generator,
    *,
    replicates: int = 1000,
    level: float = 0.95,
) -> Intervals:
    """How far the figures would move with another draw of cases (percentile bootstrap).

    Cases, not pixels, are the independent units: each replicate draws as many cases as there
    are, with replacement, and adds their counts.  The thresholds stay those of all cases.
    NaN where a class has no pixel in any replicate, and everywhere without a case.
    """
    if not counts_per_case:
        raise ValueError("bootstrap_intervals needs the counts of at least one case")
    sizes = np.stack([c.sizes for c in counts_per_case])
    joints = np.stack([c.joint.reshape(-1) for c in counts_per_case])
    cases, classes = sizes.shape
    drawn = rng.multinomial(cases, np.full(cases, 1 / cases), size=replicates)
    rates = _rates((drawn @ joints).reshape(replicates, classes, classes), drawn @ sizes)
    tails = [(1 - level) / 2, (1 + level) / 2]

    def interval(values: Rates) -> Rates:
        present = ~np.isnan(values).all(axis=0)
        found = np.full((2, *values.shape[1:]), np.nan)
        found[:, present] = np.nanquantile(values[:, present], tails, axis=0)
        return np.moveaxis(found, 0, -1)

    return Intervals(
        level=level,
        noise_rate=interval(rates.noise_rate),
        overall_noise_rate=interval(rates.overall_noise_rate),
        true_given=interval(rates.true_given),
        given_true=interval(rates.given_true),
    )


@dataclass(frozen=True, eq=False)
class _Rates:
    joint: Rates
    noise_rate: Rates
    overall_noise_rate: Rates
    true_given: Rates
    given_true: Rates


def _rates(joint: Counts, sizes: Counts) -> _Rates:
    """Rates of one (K, K) joint, or of each of a stack (..., K, K)."""
    pixels = calibrated_joint(joint, sizes)
    share = _ratio(pixels, pixels.sum(axis=(-2, -1), keepdims=True))
    true_given = _ratio(share, share.sum(axis=-1, keepdims=True))
    given_true = _ratio(share, share.sum(axis=-2, keepdims=True))
    right = np.einsum("...ii->...i", share)
    return _Rates(
        joint=share,
        noise_rate=1 - np.einsum("...ii->...i", true_given),
        overall_noise_rate=1 - np.asarray(right.sum(axis=-1)),
        true_given=true_given,
        given_true=given_true,
    )


def _ratio(part: Rates, whole: Rates) -> Rates:
    return np.divide(part, whole, out=np.full_like(part, np.nan), where=whole > 0)


def _plain(value: Any) -> Any:
    if isinstance(value, np.ndarray):
        return [_plain(item) for item in value.tolist()]
    if isinstance(value, list):
        return [_plain(item) for item in value]
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value
