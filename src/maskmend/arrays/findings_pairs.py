"""A structure as given and as suggested, cut out of its plane, and how far its boundaries moved."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from maskmend.core import IGNORED, BoolArray, FloatArray, IntArray, LabelArray

ORDINARY_SHARE = 0.5
"""Of a structure that may differ within the tolerance; where more does, nothing is tolerated.

So a structure thinner than the tolerance cannot vanish, or come out of nothing, unseen.
"""


@dataclass(frozen=True)
class Ruler:
    """How lengths are measured in a case.

    steps: size of a pixel along each axis, for distances that are told.  tolerance: how far a
    boundary may lie beside another without being wrong.  tolerance_steps: size of a pixel in the
    unit of the tolerance; all 1 for a tolerance in pixels.  sideways: the axis that runs most from
    left to right.
    """

    steps: tuple[float, ...]
    tolerance: float
    tolerance_steps: tuple[float, ...]
    sideways: int = -1

    @property
    def limit(self) -> float:
        """Greatest distance of a pixel within the tolerance.

        The boundary runs half a pixel before the first pixel beyond it.
        """
        return self.tolerance + min(self.tolerance_steps) / 2


@dataclass(frozen=True, eq=False)
class Changes:
    """The flagged pixels of one plane whose class is to change, n of them, in C order.

    flat: (n,) their indices in the plane.  places: (axes, n), the same along each axis.  old, new:
    (n,) uint8, their classes.
    """

    flat: NDArray[np.intp]
    places: NDArray[np.intp]
    old: LabelArray
    new: LabelArray

    @classmethod
    def of(cls, given: LabelArray, suggested: LabelArray, flagged: BoolArray) -> Changes:
        """given, suggested, flagged: (*S,), one plane."""
        flat = np.flatnonzero(flagged)
        old, new = given.reshape(-1)[flat], suggested.reshape(-1)[flat]
        change = old != new
        if not change.all():
            flat, old, new = flat[change], old[change], new[change]
        places = np.array(np.unravel_index(flat, given.shape)).reshape(given.ndim, -1)
        return cls(flat, places, old, new)

    def __len__(self) -> int:
        return len(self.flat)

    @property
    def kinds(self) -> IntArray:
        """Of each pixel its two classes as one number."""
        return self.old.astype(np.intp) * 256 + self.new


@dataclass(frozen=True, eq=False)
class MaskPair:
    """One structure, in a box around all of it and a pixel more where there is one.

    structure: its index in the scheme.  given, suggested, judged: (*C,) bool; not judged are the
    ignored pixels.  start: (axes,), where the box begins.  changed: indices into the Changes of
    the plane, those that the structure loses or gets.
    """

    structure: int
    given: BoolArray
    suggested: BoolArray
    judged: BoolArray
    start: NDArray[np.intp]
    changed: NDArray[np.intp]

    def local(self, places: IntArray) -> NDArray[np.intp]:
        """Indices in the plane as indices in the box, (axes, n)."""
        return places - self.start[:, None]


def cut_pairs(
    given: LabelArray, suggested: LabelArray, changes: Changes, values: dict[int, int]
) -> Iterator[MaskPair]:
    """The structures of a plane that change.  values: structure -> its class in the plane."""
    if not len(changes):
        return
    boxes = ndimage.find_objects(given, max_label=max(values.values()))
    for structure, value in values.items():
        changed = np.flatnonzero((changes.old == value) | (changes.new == value))
        if not len(changed):
            continue
        where = changes.places[:, changed]
        low, high = where.min(axis=1), where.max(axis=1) + 1
        box = boxes[value - 1] if value <= len(boxes) else None
        if box is not None:
            low = np.minimum(low, [part.start for part in box])
            high = np.maximum(high, [part.stop for part in box])
        low, high = np.maximum(low - 1, 0), np.minimum(high + 1, given.shape)
        crop = tuple(slice(a, b) for a, b in zip(low.tolist(), high.tolist(), strict=True))
        yield MaskPair(
            structure, given[crop] == value, suggested[crop] == value, given[crop] != IGNORED,
            low, changed,
        )  # fmt: skip


def faces(one: BoolArray, other: BoolArray) -> BoolArray:
    """The pixels of one mask that share a face with a pixel of the other, (*S,)."""
    touching = np.zeros_like(one)
    for axis in range(one.ndim):
        mine, theirs, found = (np.moveaxis(mask, axis, 0) for mask in (one, other, touching))
        found[1:] |= mine[1:] & theirs[:-1]
        found[:-1] |= mine[:-1] & theirs[1:]
    return touching


@dataclass(frozen=True, eq=False)
class Boundary:
    """Both sides of the boundary of a mask within what is judged.

    inner, outer: (n, axes) indices of the mask's pixels that share a face with a judged pixel
    outside of it, and of those pixels.  The edge of the grid and ignored pixels are no boundary.
    """

    mask: BoolArray
    inner: NDArray[np.intp]
    outer: NDArray[np.intp]

    @classmethod
    def of(cls, mask: BoolArray, judged: BoolArray) -> Boundary:
        outside = judged & ~mask
        return cls(
            mask, np.argwhere(faces(mask, outside)), np.argwhere(faces(outside, mask))
        )  # fmt: skip

    def distance(self, places: IntArray, steps: tuple[float, ...]) -> FloatArray:
        """Of pixels, (axes, n), how far the boundary is, (n,) > 0; inf without a boundary.

        Outside of the mask: to its nearest pixel.  Inside: to the nearest judged pixel outside.
        Between pixel centres, so that a rim of one pixel is one step away.
        """
        inside = self.mask[tuple(places)]
        found = np.full(places.shape[1], np.inf)
        for here, side in ((~inside, self.inner), (inside, self.outer)):
            if here.any() and len(side):
                found[here] = nearest(side, places[:, here].T, steps)
        return found


@dataclass(frozen=True, eq=False)
class Judged:
    """A structure that changes.

    lost: (changed,) which of its changed pixels are suggested and not given.  to_given,
    to_suggested: (changed,) their distances to the two boundaries, in the unit of the tolerance.
    whole: its pixels, given or suggested, whichever are more.
    """

    pair: MaskPair
    given: Boundary
    suggested: Boundary
    lost: BoolArray
    to_given: FloatArray
    to_suggested: FloatArray
    whole: int

    def beyond(self, ruler: Ruler) -> BoolArray:
        """Which of its changed pixels lie beyond the tolerance, (changed,).

        Those that are farther from the given or from the suggested boundary: the one would have
        to be moved by more to pass there, or the other is no boundary of that place at all.
        """
        if len(self.pair.changed) > ORDINARY_SHARE * self.whole:
            return np.ones(len(self.pair.changed), bool)
        far: BoolArray = np.maximum(self.to_given, self.to_suggested) > ruler.limit
        return far


def judge(pair: MaskPair, changes: Changes, ruler: Ruler) -> Judged:
    places = pair.local(changes.places[:, pair.changed])
    given, suggested = (Boundary.of(mask, pair.judged) for mask in (pair.given, pair.suggested))
    return Judged(
        pair, given, suggested, pair.suggested[tuple(places)],
        given.distance(places, ruler.tolerance_steps),
        suggested.distance(places, ruler.tolerance_steps),
        int(max(np.count_nonzero(pair.given), np.count_nonzero(pair.suggested))),
    )  # fmt: skip


def nearest(points: IntArray, wanted: IntArray, steps: tuple[float, ...]) -> FloatArray:
    """Of each wanted place the distance to the nearest point.  Both: (n, axes), indices."""
    from scipy.spatial import cKDTree

    tree = cKDTree(points * np.array(steps), balanced_tree=False, compact_nodes=False)
    distances: FloatArray = tree.query(wanted * np.array(steps))[0]
    return distances
