"""The pixels of a case's findings, what they would become, and the labels as decided.

One set of functions for what the page shows, for the digests of the trail, and for the export.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from maskmend.arrays.correction import suggested_where
from maskmend.core import IGNORED, BoolArray, Case, Finding, LabelArray
from maskmend.errors import RunMismatchError
from maskmend.review.state import Standing
from maskmend.store import Run

Runs = tuple[tuple[int, int, int], ...]
"""(start, length, class) of pixels in C order of a plane."""

LARGEST_NUMBER = 65535
"""Of a finding in a picture of numbers, uint16; a case with more shows the rest as this one."""

FlatArray = NDArray[np.int64]

STEP = 1 << 20
"""Labels between two states of a digest that are kept."""


@dataclass(frozen=True, eq=False)
class PlanePixels:
    """The pixels of all findings of one plane, (pixels,) each, in C order of the plane.

    where: int64 indices.  number: uint16, of the finding.  suggested: uint8, the class that the
    pixel takes when the finding is accepted.
    """

    where: FlatArray
    number: NDArray[np.uint16]
    suggested: LabelArray


@dataclass(frozen=True, eq=False)
class CasePixels:
    """shape: (*S).  planes: of each plane of the labels.  by_finding: number -> its own pixels."""

    shape: tuple[int, ...]
    planes: tuple[PlanePixels, ...]
    by_finding: Mapping[int, PlanePixels]

    @property
    def nbytes(self) -> int:
        parts = (*self.planes, *self.by_finding.values())
        return sum(p.where.nbytes + p.number.nbytes + p.suggested.nbytes for p in parts)


@dataclass(frozen=True, eq=False)
class Repaint:
    """What one decision makes of a plane: a finding's pixels their suggestion, or runs painted."""

    plane: int
    pixels: PlanePixels | None = None
    runs: Runs = ()

    @property
    def extent(self) -> tuple[int, int]:
        """First index that it may change, and the one after the last; equal where it is empty."""
        starts = [start for start, _, _ in self.runs]
        ends = [start + length for start, length, _ in self.runs]
        if self.pixels is not None and len(self.pixels.where):
            starts.append(int(self.pixels.where[0]))
            ends.append(int(self.pixels.where[-1]) + 1)
        return min(starts, default=0), max(ends, default=0)


def case_pixels(run: Run, case: Case, given: LabelArray, findings: Sequence[Finding]) -> CasePixels:
    """The pixels of a case's findings, and the classes that `maskmend correct` gives them.

    given: (planes, *S).  Raises RunMismatchError where the findings do not fit the labels, and
    what reading masks and probabilities raises.
    """
    shape = given.shape[1:]
    masks = run.read_finding_masks(case) if findings else {}
    probs = run.read_probabilities(case) if findings else None
    planes, by_finding = [], {}
    for plane in range(len(given)):
        mine = [finding for finding in findings if finding.plane == plane]
        parts = [(finding.number, _indices(finding, masks, shape)) for finding in mine]
        where = np.concatenate([part for _, part in parts] or [np.zeros(0, np.int64)])
        number = np.concatenate([
            np.full(len(part), min(number, LARGEST_NUMBER), np.uint16) for number, part in parts
        ] or [np.zeros(0, np.uint16)])  # fmt: skip
        order = np.argsort(where, kind="stable")
        where, number = where[order], number[order]
        if (np.diff(where) == 0).any():
            raise _unfitting(case.id, "findings that share pixels")
        flagged = np.zeros(shape, bool)
        flagged.reshape(-1)[where] = True
        suggested: LabelArray = np.zeros(0, np.uint8)
        if probs is not None and len(where):
            classes = probs[plane] if run.dataset.scheme.overlapping else probs
            classes_there = suggested_where(given[plane], flagged, classes, ignore=IGNORED)
            suggested = classes_there.astype(np.uint8, copy=False)
        planes.append(PlanePixels(where, number, suggested))
        for count, part in parts:
            at = np.searchsorted(where, part)
            own = PlanePixels(part, np.full(len(part), min(count, LARGEST_NUMBER), np.uint16),
                              suggested[at])  # fmt: skip
            by_finding[count] = own
    return CasePixels(shape, tuple(planes), by_finding)


def repaints(
    pixels: CasePixels,
    standings: Iterable[tuple[Finding, Standing]],
    runs_of: Callable[[int], Runs],
) -> list[Repaint]:
    """What the decisions that count make of a case, in the order in which they were made.

    standings: of its findings.  A later decision is painted over an earlier one.
    """
    counting = []
    for finding, standing in standings:
        decision = standing.deciding
        if decision is not None:
            counting.append((decision.number, finding.number, finding, decision))
    found = []
    for _, _, finding, decision in sorted(counting, key=lambda entry: entry[:2]):
        if decision.verdict == "edit":
            found.append(Repaint(finding.plane, runs=runs_of(decision.number)))
        else:
            found.append(Repaint(finding.plane, pixels.by_finding[finding.number]))
    return found


def repainted(given: LabelArray, repaints: Iterable[Repaint]) -> LabelArray:
    """The labels of one plane, (*S), with what was decided of it; a copy.

    An ignored pixel stays ignored, whatever is painted over it.
    """
    labels: LabelArray = np.array(given)
    for each in repaints:
        _paint(labels.reshape(-1), each)
    labels[given == IGNORED] = IGNORED
    return labels


def _paint(flat: LabelArray, repaint: Repaint, first: int = 0) -> None:
    """In place.  flat: labels in C order of a plane, from the index `first` on."""
    if repaint.pixels is not None:
        flat[repaint.pixels.where - first] = repaint.pixels.suggested
    for start, length, value in repaint.runs:
        flat[start - first : start - first + length] = value


def digest(labels: LabelArray) -> str:
    """SHA-256 of label values in C order, hexadecimal."""
    return hashlib.sha256(np.ascontiguousarray(labels).data).hexdigest()


class PlaneDigest:
    """The `digest` of a plane as given, and of what one decision makes of it.

    A large volume takes a while to copy and to hash.  Hashing goes from front to back, so its
    state is kept every STEP labels: with some labels changed it goes on from the last state before
    them, and copies only what lies between.
    """

    def __init__(self, given: LabelArray) -> None:
        """given: (*S)."""
        state = hashlib.sha256()
        self._states = []
        flat = given.reshape(-1)
        for start in range(0, len(flat), STEP):
            self._states.append(state.copy())
            state.update(flat[start : start + STEP].data)
        self.given = state.hexdigest()

    def repainted(self, given: LabelArray, repaint: Repaint) -> str:
        """`digest(repainted(given, [repaint]))`, of the labels that this was made of."""
        first, end = repaint.extent
        if first >= end:
            return self.given
        state = self._states[first // STEP].copy()
        first = first // STEP * STEP
        flat = given.reshape(-1)
        part: LabelArray = np.array(flat[first:end])
        _paint(part, repaint, first)
        part[flat[first:end] == IGNORED] = IGNORED
        state.update(part.data)
        state.update(flat[end:].data)
        return state.hexdigest()


def sliced(pixels: PlanePixels, shape: tuple[int, ...], axis: int, k: int) -> tuple[
    BoolArray, FlatArray
]:  # fmt: skip
    """The pixels in one slice of a volume: which of them, and their indices in the picture.

    shape: (slices, rows, columns).  axis: 0..2, k: index along it.  Returns (pixels,) bool, and
    of those that it takes the int64 index in C order of the picture, as `numpy.take` orders it.
    """
    where, (_, rows, columns) = pixels.where, shape
    if axis == 0:
        here = where // (rows * columns) == k
        return here, where[here] - k * rows * columns
    if axis == 1:
        here = (where // columns) % rows == k
        some = where[here]
        return here, some // (rows * columns) * columns + some % columns
    here = where % columns == k
    return here, where[here] // columns


def _indices(finding: Finding, masks: Mapping[int, BoolArray], shape: tuple[int, ...]) -> FlatArray:
    """In C order of the plane; sorted."""
    mask = masks.get(finding.number)
    box = finding.box
    fits = (
        mask is not None
        and mask.shape == tuple(end - first for first, end in box)
        and len(box) == len(shape)
        and all(0 <= first < end <= n for (first, end), n in zip(box, shape, strict=True))
    )
    if mask is None or not fits:
        raise _unfitting(finding.case, f"finding {finding.id} without pixels that fit its box")
    places = np.nonzero(mask)
    moved = tuple(index + first for index, (first, _) in zip(places, box, strict=True))
    where: FlatArray = np.ravel_multi_index(moved, shape).astype(np.int64)
    return where


def _unfitting(case: str, got: str) -> RunMismatchError:
    return RunMismatchError(
        case, expected="findings.csv and findings/ of one ranking, on these labels", got=got,
        remedy="Run `maskmend rank` again, and start the review anew.",
    )  # fmt: skip


def overlapping_runs(runs: Sequence[tuple[int, int, int]]) -> bool:
    """Whether some pixel is in two runs.  runs: sorted by start."""
    ends: Any = [start + length for start, length, _ in runs]
    return any(end > later[0] for end, later in zip(ends, runs[1:], strict=False))


def covered(runs: Iterable[tuple[int, int, int]]) -> int:
    """Pixels in runs that do not overlap."""
    return sum(length for _, length, _ in runs)
