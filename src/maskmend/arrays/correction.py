"""Mended labels: what a wrong pixel becomes, hard and soft.

Zhang et al., MICCAI 2020, "spatial label smoothing".  Inputs are never changed.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from maskmend.arrays.blocks import Labels, Probabilities, check_labels
from maskmend.core import BoolArray, FloatArray
from maskmend.errors import GridMismatchError, SettingsError


def suggested_classes(
    labels: Labels,
    probs: Probabilities,
    *,
    thresholds: FloatArray | None = None,
    class_axis: int = 0,
    ignore: int | None = None,
    case: str = "labels",
) -> Labels:
    """The class that each pixel should take if its given one is wrong: the most probable other.

    labels: (*S,) integers 0..K-1.  probs: K classes along class_axis and *S, or (*S,), the
    foreground of two classes, whose answer is always the other class.  thresholds: (K,); a class
    with threshold inf has no pixel and is not suggested.  Of equally probable ones the lowest.
    Returns (*S,) of the dtype of labels; an ignored pixel keeps its label, as does one without
    another class to take.  GridMismatchError, MaskValueError.
    """
    two_classes = probs.shape == labels.shape
    if not two_classes:
        probs = np.moveaxis(probs, class_axis, 0)
        if probs.shape[1:] != labels.shape:
            raise GridMismatchError(
                case,
                expected=f"probabilities on the grid of the labels, {labels.shape}",
                got=str(probs.shape[1:]),
                remedy="Give (K, *S), or name the class_axis.",
            )
    num_classes = 2 if two_classes else len(probs)
    if labels.size:
        check_labels(labels, num_classes, ignore, case)
    judged = np.ones(labels.shape, bool) if ignore is None else labels != ignore
    suggested = labels.copy()
    highest = np.full(labels.shape, -1.0)
    for k in range(num_classes):
        if thresholds is not None and np.isinf(thresholds[k]):
            continue
        # of two classes the other one is the most probable, whatever its probability
        values = np.zeros(labels.shape) if two_classes else probs[k]
        better = judged & (labels != k) & (values > highest)
        np.copyto(highest, values, where=better)
        suggested[better] = k
    return suggested


def suggested_where(
    labels: Labels, flagged: BoolArray, probs: Probabilities, *, ignore: int | None = None
) -> Labels:
    """`suggested_classes` of the flagged pixels alone, (flagged pixels,), in C order.

    labels, flagged: (*S,).  probs: (K, *S), or (*S,), the foreground of two classes.  Reads the
    probabilities of those pixels only, so it is quick where they lie on the disk.
    """
    _same_grid(labels, flagged, labels)
    some = labels[flagged]
    if probs.shape == labels.shape:
        # of two classes the answer is the other one, so no probability is read
        return suggested_classes(some, np.zeros(some.shape, np.float32), ignore=ignore)
    if probs.shape[1:] != labels.shape:
        return suggested_classes(labels, probs, ignore=ignore)[flagged]
    places = np.nonzero(flagged)
    theirs = np.empty((len(probs), len(some)), probs.dtype)
    for target, values in zip(theirs, probs, strict=True):
        target[...] = values[places]
    return suggested_classes(some, theirs, ignore=ignore)


def mend_hard(labels: Labels, flagged: BoolArray, suggested: Labels) -> Labels:
    """The labels with the suggested class where flagged; a new array of their dtype.

    labels, flagged, suggested: (*S,).  An ignored pixel is never flagged, so it stays.
    """
    _same_grid(labels, flagged, suggested)
    return np.where(flagged, suggested, labels).astype(labels.dtype, copy=False)


def mend_soft(
    labels: Labels,
    flagged: BoolArray,
    suggested: Labels,
    *,
    num_classes: int,
    eps: float = 0.8,
    ignore: int | None = None,
) -> NDArray[np.float32]:
    """Targets that give a flagged pixel 1 - eps of its given and eps of the suggested class.

    labels, flagged, suggested: (*S,).  eps: 0..1; 0 keeps the given labels, 1 equals
    `mend_hard`.  Returns (num_classes, *S); each pixel sums to 1, all others being one-hot.  An
    ignored pixel has 0 in every class, so that a cross-entropy takes nothing from it.
    SettingsError, GridMismatchError, MaskValueError.
    """
    _same_grid(labels, flagged, suggested)
    if not 0 <= eps <= 1:
        raise SettingsError(
            "eps", expected="0 to 1", got=str(eps), remedy="The paper found 0.8 to be best."
        )
    if labels.size:
        check_labels(labels, num_classes, ignore, "labels")
        check_labels(suggested, num_classes, ignore, "suggested classes")
    moved = np.float32(eps)
    changed = flagged & (suggested != labels)
    judged = np.ones(labels.shape, bool) if ignore is None else labels != ignore
    targets = np.zeros((num_classes, *labels.shape), np.float32)
    for k, target in enumerate(targets):
        target[judged & (labels == k)] = 1
        target[changed & (labels == k)] -= moved
        target[changed & (suggested == k)] += moved
    return targets


def _same_grid(labels: Labels, flagged: BoolArray, suggested: Labels) -> None:
    if not labels.shape == flagged.shape == suggested.shape:
        raise GridMismatchError(
            "labels",
            expected=f"flags and suggested classes on their grid, {labels.shape}",
            got=f"{flagged.shape} and {suggested.shape}",
            remedy="Give the arrays of one and the same case.",
        )
