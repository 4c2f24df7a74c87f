"""Which pixels of a case change, and into what: one function for all that is shown or exported."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from maskmend.arrays.blocks import Probabilities
from maskmend.arrays.correction import suggested_classes
from maskmend.core import IGNORED, BoolArray, Case, FloatArray, IntArray, LabelArray, LabelScheme
from maskmend.store import Run


@dataclass(frozen=True, eq=False)
class Decided:
    """What becomes of one case.

    given, labels: (planes, *S) uint8, before and after.  flagged: (planes, *S), the pixels that
    change.  margins: of each plane (flagged pixels,) float32, in C order: the probability of the
    new class minus that of the given one.
    """

    given: LabelArray
    labels: LabelArray
    flagged: BoolArray
    margins: tuple[FloatArray, ...]


def decided(
    run: Run, case: Case, *, structures: tuple[str, ...] = (), taken: bool = True
) -> Decided:
    """What the run suggests for a case: all that is flagged, in all structures or those named.

    The labels are those of `maskmend correct`.  taken: False for a case without any change.
    Errors as of `Run.read_noise_map` and `Run.read_probabilities`.
    """
    scheme, given = run.dataset.scheme, run.read_given(case)
    flagged = np.zeros_like(given, dtype=bool)
    if taken:
        flagged = np.array(run.read_noise_map(case), dtype=bool)
    labels, margins = given.copy(), []
    probs = run.read_probabilities(case) if flagged.any() else None
    for plane, mask in enumerate(flagged):
        suggested, margin = given[plane][mask], np.zeros(0, np.float32)
        if probs is not None and mask.any():
            classes = _classes_at(probs, mask, plane, scheme)
            suggested = suggested_classes(given[plane][mask], classes, ignore=IGNORED)
            margin = _margins(classes, given[plane][mask], suggested)
        kept = _concerned(given[plane][mask], suggested, plane, scheme, structures)
        mask[mask] = kept
        labels[plane][mask] = suggested[kept]
        margins.append(margin[kept])
    return Decided(given, labels, flagged, tuple(margins))


def _classes_at(
    probs: Probabilities, mask: BoolArray, plane: int, scheme: LabelScheme
) -> FloatArray:
    """Probabilities of the classes of a plane at the pixels of a mask, (num_classes, pixels).

    Only those pixels are read.  float32 keeps the order of what is stored as float16 or integers.
    """
    channels = probs[plane : plane + 1] if scheme.overlapping else probs
    places = np.nonzero(mask)
    values = np.stack([channel[places] for channel in channels]).astype(np.float32)
    if probs.dtype.kind == "u":
        values /= np.iinfo(probs.dtype).max
    return np.concatenate([1 - values, values]) if scheme.overlapping else values


def _margins(classes: FloatArray, given: IntArray, suggested: IntArray) -> FloatArray:
    of_new, of_given = (
        np.take_along_axis(classes, labels[None].astype(np.intp), axis=0)[0]
        for labels in (suggested, given)
    )
    margins: FloatArray = of_new - of_given
    return margins


def _concerned(
    given: IntArray, suggested: IntArray, plane: int, scheme: LabelScheme,
    structures: tuple[str, ...],
) -> BoolArray:  # fmt: skip
    """Which of the pixels belong to one of the structures, before or after; all without any."""
    if not structures:
        return np.ones(given.shape, dtype=bool)
    if scheme.overlapping:
        return np.full(given.shape, scheme.structures[plane] in structures)
    wanted = [scheme.structures.index(name) + 1 for name in structures]
    return np.isin(given, wanted) | np.isin(suggested, wanted)
