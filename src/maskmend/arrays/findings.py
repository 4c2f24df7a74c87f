"""What is wrong with the masks of a case: flagged pixels put together to mistakes, with types.

The rules are written down in `docs/findings.md`.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from maskmend.arrays.findings_pairs import Boundary, Changes, MaskPair, cut_pairs, faces, nearest
from maskmend.arrays.regions import indices_by_number, number_regions
from maskmend.core import BoolArray, FloatArray, LabelArray, LabelScheme

TYPES = (
    "missing", "extra", "over", "under", "shifted", "swapped", "left-right", "rough", "empty",
)  # fmt: skip

ORDINARY_SHARE = 0.5
"""Of a structure that may differ within the tolerance; where more does, nothing is tolerated.

So a structure thinner than the tolerance cannot vanish, or come out of nothing, unseen.
"""


@dataclass(frozen=True)
class Ruler:
    """How lengths are measured.

    steps: size of a pixel along each axis, for distances that are told.  tolerance: how far a
    boundary may lie beside another without being wrong.  tolerance_steps: size of a pixel in the
    unit of the tolerance; all 1 for a tolerance in pixels.
    """

    steps: tuple[float, ...]
    tolerance: float
    tolerance_steps: tuple[float, ...]


@dataclass(frozen=True, eq=False)
class Mistake:
    """One thing that is wrong.

    type: one of TYPES.  plane, structure: indices.  pixels: (n,) indices into the plane in C
    order, ascending.  members: (n,) the same as indices into the Changes of the plane.  whole:
    pixels of the structure, given or suggested, whichever are more.  distance: as in
    `core.Finding`, in the unit of `Ruler.steps`.
    """

    type: str
    plane: int
    structure: int
    pixels: NDArray[np.intp]
    members: NDArray[np.intp]
    whole: int
    distance: float


@dataclass(frozen=True, eq=False)
class Judged:
    """A structure with what was measured of it.

    reach: (changed,), how far each changed pixel lies beyond both boundaries in the unit of the
    tolerance: the greater of its distances to the given and to the suggested one.
    """

    pair: MaskPair
    boundary: Boundary
    reach: FloatArray
    beyond: BoolArray
    whole: int


def find_mistakes(
    given: LabelArray, suggested: LabelArray, flagged: BoolArray, scheme: LabelScheme, ruler: Ruler
) -> tuple[Mistake, ...]:
    """All mistakes of a case, plane by plane.

    given, suggested, flagged: (planes, *S).  A changed pixel beyond the tolerance belongs to
    exactly one of them; one within it belongs to the mistake that it borders on, or to none.
    """
    found: list[Mistake] = []
    for plane in range(len(scheme.planes)):
        changes = Changes.of(given[plane], suggested[plane], flagged[plane])
        values = {plane: 1} if scheme.overlapping else {
            number: number + 1 for number in range(len(scheme.structures))
        }  # fmt: skip
        pairs = cut_pairs(given[plane], suggested[plane], changes, values)
        judged = {pair.structure: _judge(pair, changes, ruler) for pair in pairs}
        found += _local(plane, changes, judged, values, ruler)
    return tuple(found)


def _judge(pair: MaskPair, changes: Changes, ruler: Ruler) -> Judged:
    places = pair.local(changes.places[:, pair.changed])
    boundary = Boundary.of(pair.given, pair.judged)
    other = Boundary.of(pair.suggested, pair.judged)
    reach = np.maximum(
        boundary.distance(places, ruler.tolerance_steps),
        other.distance(places, ruler.tolerance_steps),
    )
    whole = int(max(pair.given.sum(), pair.suggested.sum()))
    beyond = reach > ruler.tolerance
    if len(pair.changed) > ORDINARY_SHARE * whole:
        beyond = np.ones_like(beyond)
    return Judged(pair, boundary, reach, beyond, whole)


def _local(
    plane: int, changes: Changes, judged: dict[int, Judged], values: dict[int, int], ruler: Ruler
) -> Iterator[Mistake]:
    """One mistake for each region of pixels beyond the tolerance and those that they border on."""
    beyond = np.zeros(len(changes), bool)
    for each in judged.values():
        beyond[each.pair.changed] |= each.beyond
    kept = np.flatnonzero(_with_rims(changes, beyond, ruler))
    numbers = number_regions(changes.places[:, kept], changes.kinds[kept])
    by_value = {value: structure for structure, value in values.items()}
    for region in indices_by_number(numbers):
        members = kept[region]
        if not beyond[members].any():
            continue
        old, new = int(changes.old[members[0]]), int(changes.new[members[0]])
        mine = judged[by_value[old or new]]
        kind = _local_type(mine, changes.places[:, members], old, new)
        yield _mistake(kind, plane, mine, members, changes, ruler)


def _mistake(
    kind: str, plane: int, judged: Judged, members: NDArray[np.intp], changes: Changes, ruler: Ruler
) -> Mistake:
    places = judged.pair.local(changes.places[:, members])
    distance = float(judged.boundary.distance(places, ruler.steps).max())
    return Mistake(
        kind, plane, judged.pair.structure, changes.flat[members], members, judged.whole,
        distance if np.isfinite(distance) else float("nan"),
    )  # fmt: skip


def _with_rims(changes: Changes, beyond: BoolArray, ruler: Ruler) -> BoolArray:
    """The pixels beyond the tolerance, and those of their kind between them and the boundary.

    An error of ten pixels begins at the boundary: its first pixels lie within the tolerance, but
    without them its correction would leave a seam.
    """
    kept = beyond.copy()
    limit = ruler.tolerance + max(ruler.tolerance_steps)
    for kind in np.unique(changes.kinds[beyond]).tolist():
        here = np.flatnonzero((changes.kinds == kind) & ~beyond)
        core = changes.places[:, (changes.kinds == kind) & beyond].T
        if len(here):
            apart = nearest(core, changes.places[:, here].T, ruler.tolerance_steps)
            kept[here[apart <= limit]] = True
    return kept


def _local_type(judged: Judged, places: NDArray[np.intp], old: int, new: int) -> str:
    pair = judged.pair
    where = tuple(pair.local(places))
    if old and new:
        return "over" if _contact(pair.suggested, where) else "swapped"
    if old:
        return "over" if _contact(pair.suggested, where) else "extra"
    if not pair.given.any():
        return "missing"
    return "under" if _contact(pair.given, where) else "missing"


def _contact(mask: BoolArray, where: tuple[NDArray[np.intp], ...]) -> bool:
    region = np.zeros_like(mask)
    region[where] = True
    return bool(faces(region, mask).any())
