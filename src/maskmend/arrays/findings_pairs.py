"""A structure as given and as suggested, cut out of its plane, and how far its boundaries moved."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from maskmend.core import IGNORED, BoolArray, FloatArray, IntArray, LabelArray

BLOCK = 4
"""Pixels along each side of the blocks in which the greatest of many distances is looked for."""

SAMPLED = 4096
"""Pixels that say about how deep a large region is."""

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

    def of_classes(self, values: Iterable[int]) -> Changes:
        """Those that are given to one of some classes, or else, on background, are to be of it."""
        judged = np.zeros(256, bool)
        judged[list(values)] = True
        kept = judged[np.where(self.old == 0, self.new, self.old)]
        if kept.all():
            return self
        return Changes(self.flat[kept], self.places[:, kept], self.old[kept], self.new[kept])

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
    if not len(changes) or not values:
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
    _trees: dict[tuple[bool, tuple[float, ...]], Any] = field(default_factory=dict)

    @classmethod
    def of(cls, mask: BoolArray, judged: BoolArray) -> Boundary:
        outside = judged & ~mask
        return cls(mask, np.argwhere(faces(mask, outside)), np.argwhere(faces(outside, mask)))

    def contains(self, places: IntArray) -> BoolArray:
        """Which places, (axes, n), are in the mask; they may lie outside of the box, (n,)."""
        sizes = np.array(self.mask.shape)[:, None]
        within = np.all((places >= 0) & (places < sizes), axis=0)
        found: BoolArray = within.copy()
        found[within] = self.mask[tuple(places[:, within])]
        return found

    def distance(
        self, places: IntArray, steps: tuple[float, ...], at_most: float = math.inf
    ) -> FloatArray:
        """Of pixels, (axes, n), how far the boundary is, (n,) > 0; inf without a boundary.

        Outside of the mask: to its nearest pixel.  Inside: to the nearest judged pixel outside.
        Between pixel centres, so that a rim of one pixel is one step away.  What is farther than
        `at_most` is inf, which is quicker.
        """
        inside = self.contains(places)
        found = np.full(places.shape[1], np.inf)
        for here in (~inside, inside):
            side = self.outer if here is inside else self.inner
            if here.any() and len(side):
                tree = self._tree(here is inside, steps)
                found[here] = _query(tree, places[:, here], steps, at_most)
        return found

    def greatest(self, places: IntArray, steps: tuple[float, ...]) -> float:
        """The greatest `distance` of some pixels, (axes, n); 0 of none, inf without a boundary.

        One pixel a block is asked first: only blocks that may hold a greater distance than the
        greatest of these are asked whole.
        """
        if places.shape[1] < 2 * BLOCK ** len(places):
            return float(self.distance(places, steps).max(initial=0))
        inside = self.contains(places)
        sizes = np.ptp(places, axis=1) // BLOCK + 1
        blocks = (places - places.min(axis=1, keepdims=True)) // BLOCK
        number = np.ravel_multi_index((*blocks, inside), (*sizes.tolist(), 2))
        _, first, mine = np.unique(number, return_index=True, return_inverse=True)
        known = self.distance(places[:, first], steps)
        if np.isinf(known).any():
            return math.inf
        # a distance grows by no more than the way from pixel to pixel
        apart = (BLOCK - 1) * math.hypot(*steps)
        left = places[:, (known + apart > known.max())[mine]]
        return float(self.distance(left, steps).max())

    def about_greatest(self, places: IntArray, steps: tuple[float, ...]) -> float:
        """The greatest `distance` of at most SAMPLED of the pixels, evenly drawn; as `greatest`."""
        every = -(-places.shape[1] // SAMPLED) or 1
        return float(self.distance(places[:, ::every], steps).max(initial=0))

    def _tree(self, outer: bool, steps: tuple[float, ...]) -> Any:
        if (outer, steps) not in self._trees:
            self._trees[outer, steps] = _tree(self.outer if outer else self.inner, steps)
        return self._trees[outer, steps]


@dataclass(frozen=True, eq=False)
class Judged:
    """A structure that changes.

    beyond: (changed,)
    which of them lie beyond the tolerance: farther from the given or from the suggested boundary,
    so that one of them would have to be moved by more.  whole: its pixels, given or suggested,
    whichever are more; both: given and suggested added up.  lost_places: (axes, n), where what is
    lost lies in the box.
    """

    pair: MaskPair
    given: Boundary
    suggested: Boundary
    lost_places: NDArray[np.intp]
    beyond: BoolArray
    whole: int
    both: int


def judge(pair: MaskPair, changes: Changes, ruler: Ruler) -> Judged:
    places = pair.local(changes.places[:, pair.changed])
    given, suggested = (Boundary.of(mask, pair.judged) for mask in (pair.given, pair.suggested))
    sizes = [int(np.count_nonzero(mask)) for mask in (pair.given, pair.suggested)]
    whole = max(sizes)
    if len(pair.changed) > ORDINARY_SHARE * whole:
        beyond = np.ones(len(pair.changed), bool)
    else:
        near = (
            boundary.distance(places, ruler.tolerance_steps, ruler.limit)
            for boundary in (given, suggested)
        )
        beyond = np.isinf(np.maximum(*near))
    lost = places[:, pair.suggested[tuple(places)]]
    return Judged(pair, given, suggested, lost, beyond, whole, sum(sizes))


def within(
    points: IntArray, wanted: IntArray, steps: tuple[float, ...], limit: float
) -> BoolArray:  # fmt: skip
    """Which of the wanted places lie so near to one of the points.  Both: (axes, n), indices."""
    near: BoolArray = np.isfinite(_query(_tree(points.T, steps), wanted, steps, limit))
    return near


def _tree(points: IntArray, steps: tuple[float, ...]) -> Any:
    from scipy.spatial import cKDTree

    return cKDTree(points * np.array(steps), balanced_tree=False)


def _query(tree: Any, places: IntArray, steps: tuple[float, ...], at_most: float) -> FloatArray:
    # the bound itself is left out by SciPy
    bound = np.nextafter(at_most, np.inf)
    distances: FloatArray = tree.query(places.T * np.array(steps), distance_upper_bound=bound)[0]
    return distances
