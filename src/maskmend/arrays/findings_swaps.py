"""Structures whose mask is that of another one: swapped classes, and left for right."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from maskmend.arrays.findings_pairs import MaskPair
from maskmend.arrays.findings_rules import EXPLAINED, SAME_MASK
from maskmend.core import BoolArray, LabelArray, LabelScheme

SAME_SHAPE = 0.7
"""Dice of one structure with another, mirrored and laid over it, that are mirror images."""

BESIDE = 0.7
"""Part of the way between two structures that runs sideways, if they are left and right."""

SIDES = {"left": "right", "lt": "rt", "l": "r", "sinistra": "dextra", "links": "rechts"}
_WORDS = re.compile(r"[A-Z]?[a-z]+|[A-Z]+(?![a-z])|\d+")


@dataclass(frozen=True)
class Swap:
    """A structure drawn where another one is suggested.  type: "swapped" or "left-right"."""

    partner: int
    type: str


def find_swaps(
    pairs: Mapping[int, MaskPair], suggested: LabelArray, scheme: LabelScheme, sideways: int
) -> dict[int, Swap]:
    """The structures whose given mask is the suggested one of another structure.

    pairs: structure -> how it changes.  suggested: (planes, *S).  sideways: the axis that runs
    from left to right.
    """
    found = {}
    for number, pair in pairs.items():
        partner = _partner(pair, suggested, scheme)
        if partner is not None:
            other = suggested_mask(suggested, scheme, partner)
            sided = opposite(scheme.structures[number], scheme.structures[partner])
            if not sided:
                sided = are_mirror_images(np.argwhere(pair.suggested) + pair.start,
                                          np.argwhere(other), sideways)  # fmt: skip
            found[number] = Swap(partner, "left-right" if sided else "swapped")
    return found


def _partner(pair: MaskPair, suggested: LabelArray, scheme: LabelScheme) -> int | None:
    """The structure whose suggested mask explains the given one best, or None."""
    given = int(np.count_nonzero(pair.given))
    differing = int(np.count_nonzero(pair.given ^ pair.suggested))
    common = _common(pair, suggested, scheme)
    best, partner = 0.0, None
    for other in range(len(scheme.structures)):
        # of a structure of any size Dice is at most 2c / (given + c)
        at_most = 2 * common[other] / max(given + common[other], 1)
        if other == pair.structure or at_most < max(SAME_MASK, best):
            continue
        size = int(np.count_nonzero(suggested_mask(suggested, scheme, other)))
        dice = 2 * common[other] / (given + size)
        explained = 1 - (given + size - 2 * common[other]) / differing
        if dice >= max(SAME_MASK, best) and explained >= EXPLAINED:
            best, partner = dice, other
    return partner


def _common(pair: MaskPair, suggested: LabelArray, scheme: LabelScheme) -> list[int]:
    """Pixels that the given mask has in common with each suggested structure, (structures,)."""
    box = tuple(
        slice(first, first + size)
        for first, size in zip(pair.start.tolist(), pair.given.shape, strict=True)
    )
    if scheme.overlapping:
        return [int(np.count_nonzero(pair.given & (plane[box] == 1))) for plane in suggested]
    counts = np.bincount(suggested[0][box][pair.given], minlength=256)
    return [int(count) for count in counts[1 : len(scheme.structures) + 1]]


def suggested_mask(suggested: LabelArray, scheme: LabelScheme, structure: int) -> BoolArray:
    mask: BoolArray = (
        suggested[structure] == 1 if scheme.overlapping else suggested[0] == structure + 1
    )
    return mask


def opposite(one: str, other: str) -> bool:
    """Whether two names differ by left and right alone."""
    words = [[word.lower() for word in _WORDS.findall(name)] for name in (one, other)]
    if len(words[0]) != len(words[1]):
        return False
    differing = [pair for pair in zip(*words, strict=True) if pair[0] != pair[1]]
    sides = {*SIDES.items(), *((right, left) for left, right in SIDES.items())}
    return bool(differing) and all(pair in sides for pair in differing)


def are_mirror_images(
    one: NDArray[np.intp], other: NDArray[np.intp], sideways: int
) -> bool:  # fmt: skip
    """Whether two structures, (n, axes) and (m, axes) pixels, lie side by side as mirror images."""
    if not len(one) or not len(other):
        return False
    centres = one.mean(axis=0), other.mean(axis=0)
    way = centres[1] - centres[0]
    if abs(way[sideways]) < BESIDE * np.linalg.norm(way) or not way.any():
        return False
    mirrored = other - centres[1]
    mirrored[:, sideways] *= -1
    laid = np.rint(mirrored + centres[0]).astype(np.intp)
    # each place as one number, which is quicker to look up than a row
    low = np.minimum(laid.min(axis=0), one.min(axis=0))
    sizes = (np.maximum(laid.max(axis=0), one.max(axis=0)) - low + 1).tolist()
    numbers = [np.ravel_multi_index(tuple((at - low).T), tuple(sizes)) for at in (laid, one)]
    common = int(np.isin(*numbers).sum())
    return 2 * common / (len(one) + len(other)) >= SAME_SHAPE
