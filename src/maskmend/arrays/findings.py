"""What is wrong with the masks of a case: flagged pixels put together to mistakes, with types.

The types and their rules are explained in `docs/findings.md`.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from maskmend.arrays.findings_evidence import weigh
from maskmend.arrays.findings_pairs import (
    Changes,
    Judged,
    Ruler,
    cut_pairs,
    faces,
    judge,
    within,
)
from maskmend.arrays.findings_rules import MOST, RegionEvidence, region_type, whole_type
from maskmend.arrays.findings_swaps import Swap, find_swaps
from maskmend.arrays.regions import indices_by_number, number_regions
from maskmend.core import IGNORED, BoolArray, LabelArray, LabelScheme


@dataclass(frozen=True, eq=False)
class Mistake:
    """One thing that is wrong.

    type: one of TYPES.  plane, structure: indices.  pixels: (n,) indices into the plane in C
    order, ascending.  whole: pixels of the structure, given or suggested, whichever are more; both:
    given and suggested added up.  distance: as in `core.Finding`, in the unit of `Ruler.steps`.
    """

    type: str
    plane: int
    structure: int
    pixels: NDArray[np.intp]
    whole: int
    both: int
    distance: float


@dataclass(frozen=True, eq=False)
class Plane:
    """One plane of a case with what changes in it.

    values: structure -> its class in the plane.  judged: the structures that change.
    beyond: (changes,), pixels that lie beyond the tolerance for a structure of theirs.
    """

    index: int
    shape: tuple[int, ...]
    blank: bool
    changes: Changes
    values: dict[int, int]
    judged: dict[int, Judged]
    beyond: BoolArray


def find_mistakes(
    given: LabelArray, suggested: LabelArray, flagged: BoolArray, scheme: LabelScheme,
    ruler: Ruler, unlabelled: frozenset[str] = frozenset(),
) -> tuple[Mistake, ...]:  # fmt: skip
    """All mistakes of a case, plane by plane.

    given, suggested, flagged: (planes, *S).  unlabelled: structures that nobody looked for, of
    which no mistake is told.  A changed pixel beyond the tolerance belongs to
    exactly one of them; one within it belongs to the mistake that it borders on, or to none.
    """
    planes = [
        _judge_plane(
            given[index], suggested[index], flagged[index], index,
            _values(index, scheme, unlabelled), ruler,
        )
        for index in range(len(scheme.planes))
    ]  # fmt: skip
    pairs = {number: each.pair for plane in planes for number, each in plane.judged.items()}
    swaps = find_swaps(pairs, suggested, scheme, ruler.sideways)
    found: list[Mistake] = []
    for plane in planes:
        free = np.ones(len(plane.changes), bool)
        for mistake, members in _whole_masks(plane, swaps, ruler):
            # a change from one structure to another may have been explained by the other one
            mine = members[free[members]]
            if 2 * np.count_nonzero(plane.beyond[mine]) >= np.count_nonzero(plane.beyond[members]):
                found.append(_mistake(mistake, plane, mine, ruler))
                free[mine] = False
        found += _regions(plane, free, ruler)
    return tuple(found)


def _values(index: int, scheme: LabelScheme, unlabelled: frozenset[str]) -> dict[int, int]:
    """Of the structures that are judged in a plane the class that they have in it."""
    structures = [index] if scheme.overlapping else range(len(scheme.structures))
    return {
        number: 1 if scheme.overlapping else number + 1
        for number in structures
        if scheme.structures[number] not in unlabelled
    }


def _judge_plane(
    given: LabelArray, suggested: LabelArray, flagged: BoolArray, index: int,
    values: dict[int, int], ruler: Ruler,
) -> Plane:  # fmt: skip
    changes = Changes.of(given, suggested, flagged).of_classes(values.values())
    judged = {}
    beyond = np.zeros(len(changes), bool)
    for pair in cut_pairs(given, suggested, changes, values):
        judged[pair.structure] = judge(pair, changes, ruler)
        beyond[pair.changed] |= judged[pair.structure].beyond
    blank = bool(len(changes)) and not np.any((given != 0) & (given != IGNORED))
    return Plane(index, given.shape, blank, changes, values, judged, beyond)


# -- masks that are wrong as a whole

Whole = tuple[str, Judged]


def _whole_masks(
    plane: Plane, swaps: dict[int, Swap], ruler: Ruler
) -> Iterator[tuple[Whole, NDArray[np.intp]]]:
    """Type and structure of masks that are wrong as a whole, and their changed pixels.

    Swaps first, then the structures with most changed pixels.
    """
    rest = []
    done: set[int] = set()
    for number, each in plane.judged.items():
        if number in done or not plane.beyond[each.pair.changed].any():
            continue
        swap = swaps.get(number)
        if swap is None:
            rest.append(each)
            continue
        members, shown = each.pair.changed, each
        partner = plane.judged.get(swap.partner)
        if partner is not None and swaps.get(swap.partner, swap).partner == number:
            # both are on one label map, and one finding tells of both
            members = np.union1d(members, partner.pair.changed)
            shown = max(each, partner, key=lambda one: one.whole)
            done.add(swap.partner)
        yield (swap.type, shown), members
    for each in sorted(rest, key=lambda one: -len(one.pair.changed)):
        kind = _whole_type(plane, each, ruler)
        if kind is not None:
            yield (kind, each), each.pair.changed


def _whole_type(plane: Plane, judged: Judged, ruler: Ruler) -> str | None:
    pair = judged.pair
    if not len(judged.given.inner):
        if pair.given.any():
            return None
        drawn_as_other = np.mean(plane.changes.old[pair.changed] != 0) >= MOST
        return "empty" if plane.blank else "swapped" if drawn_as_other else "missing"
    if not len(judged.suggested.inner):
        return None
    return whole_type(weigh(judged, plane.shape, ruler))


def _mistake(whole: Whole, plane: Plane, members: NDArray[np.intp], ruler: Ruler) -> Mistake:
    kind, judged = whole
    places = judged.pair.local(plane.changes.places[:, members])
    distance = judged.given.greatest(places, ruler.steps)
    return Mistake(
        kind, plane.index, judged.pair.structure, plane.changes.flat[members],
        judged.whole, judged.both, distance if math.isfinite(distance) else math.nan,
    )  # fmt: skip


# -- regions


def _regions(plane: Plane, free: BoolArray, ruler: Ruler) -> Iterator[Mistake]:
    """One mistake for each region of pixels beyond the tolerance and those that they border on."""
    changes = plane.changes
    core = plane.beyond & free
    kept = np.flatnonzero(_with_rims(changes, core, free, ruler))
    numbers = number_regions(changes.places[:, kept], changes.kinds[kept])
    structures = {value: structure for structure, value in plane.values.items()}
    for region in indices_by_number(numbers):
        members = kept[region]
        if core[members].any():
            old, new = int(changes.old[members[0]]), int(changes.new[members[0]])
            judged = plane.judged[structures[old or new]]
            other = plane.judged.get(structures.get(new, -1)) if old else None
            most = other is not None and len(members) >= MOST * other.whole
            kind = _region_type(judged, members, changes, most, ruler)
            yield _mistake((kind, judged), plane, members, ruler)


def _with_rims(changes: Changes, core: BoolArray, free: BoolArray, ruler: Ruler) -> BoolArray:
    """The pixels beyond the tolerance, and those of their kind between them and the boundary.

    An error of ten pixels begins at the boundary: its first pixels lie within the tolerance, but
    without them its correction would leave a seam.
    """
    kept = core.copy()
    kinds, limit = changes.kinds, ruler.limit + max(ruler.tolerance_steps)
    for kind in np.unique(kinds[core]).tolist():
        here = np.flatnonzero((kinds == kind) & free & ~core)
        if len(here):
            sure = changes.places[:, (kinds == kind) & core]
            near = within(sure, changes.places[:, here], ruler.tolerance_steps, limit)
            kept[here[near]] = True
    return kept


def _region_type(
    judged: Judged, members: NDArray[np.intp], changes: Changes, exchanged: bool, ruler: Ruler
) -> str:
    """exchanged: whether the pixels are most of another structure."""
    pair, steps = judged.pair, ruler.tolerance_steps
    places = pair.local(changes.places[:, members])
    gained = bool(pair.given[tuple(places[:, 0])])
    mine, other = (judged.given, judged.suggested) if gained else (judged.suggested, judged.given)
    kind = region_type(
        RegionEvidence(
            gained=gained,
            touches=_touches(places, other.mask),
            out=other.about_greatest(places, steps),
            depth=mine.about_greatest(places, steps),
            limit=ruler.limit,
            share=len(members) / judged.whole,
        )
    )
    # most of another structure, drawn as this one, is no thing too many
    return "swapped" if kind == "extra" and exchanged else kind


def _touches(places: NDArray[np.intp], mask: BoolArray) -> bool:
    """Whether pixels, (axes, n), share a face with a mask."""
    low = np.maximum(places.min(axis=1) - 1, 0)
    box = tuple(slice(a, b + 2) for a, b in zip(low, places.max(axis=1), strict=True))
    near = mask[box]
    region = np.zeros_like(near)
    region[tuple(places - low[:, None])] = True
    return bool(faces(region, near).any())
