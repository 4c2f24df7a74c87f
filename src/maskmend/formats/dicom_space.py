"""Where the planes of a DICOM file or series lie: positions to slices, slices to a Grid.

DICOM states, in LPS, the centre of the first pixel of each plane (ImagePositionPatient), the
directions along its rows and columns (ImageOrientationPatient) and the distances between rows and
between columns (PixelSpacing, in this order).  PS3.3, C.7.6.2.1.1.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydicom.dataset import Dataset

from maskmend.core import Grid
from maskmend.errors import UnreadableFileError
from maskmend.formats.dicom_files import unreadable

Vector = NDArray[np.float64]

UNEVEN = 0.2
"""A slice may lie off its even place by this part of the slice step: positions are rounded.  One
that is missing puts another off by a third of a step or more."""
UNEVEN_SPARSE = 0.1
"""The same where slices may be missing, so that any small step nearly fits."""
SAME_PLACE_MM = 1e-3
SAME_DIRECTION = 1e-3


@dataclass(frozen=True)
class Plane:
    """One frame in space.  position: (x, y, z) of its first pixel, LPS, mm.  orientation: along a
    row, then along a column, unit vectors.  pixel: distance between rows, between columns, mm.
    step: distance to the next slice that the file states, or None.  thickness: of the slice.
    """

    position: tuple[float, ...]
    orientation: tuple[float, ...]
    pixel: tuple[float, ...]
    step: float | None = None
    thickness: float | None = None

    @property
    def normal(self) -> Vector:
        normal: Vector = np.cross(self.orientation[:3], self.orientation[3:])
        return normal


@dataclass(frozen=True)
class Stack:
    """Evenly spaced slices.  slots: which slice each plane is.  origin: position of slice 0, LPS.
    step: from a slice to the next, LPS, mm; None for a single slice of unknown thickness."""

    slots: tuple[int, ...]
    origin: Vector
    step: Vector | None

    @property
    def slices(self) -> int:
        return max(self.slots) + 1

    def position(self, slot: int) -> Vector:
        return self.origin if self.step is None else self.origin + slot * self.step


def plane_of(dataset: Dataset) -> Plane | None:
    """Of a file with one frame; None where it knows no place in a patient."""
    if not dataset.get("ImagePositionPatient") or not dataset.get("ImageOrientationPatient"):
        return None
    return _checked_plane(
        dataset.ImagePositionPatient, dataset.ImageOrientationPatient, pixel_spacing(dataset),
        dataset,
    )  # fmt: skip


def planes_of(dataset: Dataset) -> list[Plane] | None:
    """Of each frame of a multi-frame file; None where it knows no places in a patient."""
    shared = first_item(dataset, "SharedFunctionalGroupsSequence")
    frames = list(dataset.get("PerFrameFunctionalGroupsSequence", None) or [])
    planes = []
    for frame in frames:
        position = group_item(shared, frame, "PlanePositionSequence")
        orientation = group_item(shared, frame, "PlaneOrientationSequence")
        if "ImagePositionPatient" not in position or "ImageOrientationPatient" not in orientation:
            return None
        measures = group_item(shared, frame, "PixelMeasuresSequence")
        planes.append(
            _checked_plane(
                position.ImagePositionPatient,
                orientation.ImageOrientationPatient,
                pixel_spacing(measures),
                measures,
            )
        )
    return planes or None


def first_item(dataset: Dataset, sequence: str) -> Dataset:
    """The first item of a sequence; an empty data set where there is none."""
    items = dataset.get(sequence, None)
    return items[0] if items else Dataset()


def group_item(shared: Dataset, frame: Dataset, sequence: str) -> Dataset:
    """What a functional group says of a frame: itself, or all frames together."""
    return first_item(frame if frame.get(sequence, None) else shared, sequence)


def _checked_plane(
    position: Sequence[Any],
    orientation: Sequence[Any],
    pixel: tuple[float, ...] | None,
    measures: Dataset,
) -> Plane:
    axes = np.asarray([float(v) for v in orientation])
    place = np.asarray([float(v) for v in position])
    if axes.shape != (6,) or place.shape != (3,) or not np.isfinite([*axes, *place]).all():
        raise ValueError("position or orientation")
    unit = np.abs(np.linalg.norm(axes.reshape(2, 3), axis=1) - 1).max()
    if unit > 0.01 or abs(axes[:3] @ axes[3:]) > 0.01:
        raise ValueError("directions of rows and columns")
    if pixel is None:
        raise AttributeError("a position, but no PixelSpacing")
    return Plane(
        tuple(place.tolist()),
        tuple(axes.tolist()),
        pixel,
        _length(measures, "SpacingBetweenSlices"),
        _length(measures, "SliceThickness"),
    )


def pixel_spacing(dataset: Dataset) -> tuple[float, ...] | None:
    """Distance between rows and between columns in mm: PixelSpacing, which is calibrated, else
    ImagerPixelSpacing, which is at the detector and so larger than in the patient; else None."""
    for keyword in ("PixelSpacing", "ImagerPixelSpacing"):
        values = dataset.get(keyword, None)
        if values:
            spacing = tuple(float(value) for value in values)
            if len(spacing) != 2 or not all(np.isfinite(v) and v > 0 for v in spacing):
                raise ValueError(keyword)
            return spacing
    return None


def _length(dataset: Dataset, keyword: str) -> float | None:
    value = dataset.get(keyword, None)
    if value is None or not np.isfinite(float(value)) or float(value) == 0:
        return None
    return abs(float(value))


def check_parallel(path: Path, planes: Sequence[Plane], names: Sequence[str]) -> None:
    """Raises UnreadableFileError where planes differ in direction or in the size of a pixel."""
    first = planes[0]
    for plane, name in zip(planes, names, strict=True):
        turned = np.abs(np.subtract(plane.orientation, first.orientation)).max() > SAME_DIRECTION
        if turned or not np.allclose(plane.pixel, first.pixel, rtol=1e-3, atol=0):
            kind = "orientation" if turned else "pixel spacing"
            raise unreadable(
                path,
                f"another {kind} in {name} than in {names[0]}",
                expected="parallel slices of one size",
                remedy="Keep the slices of one acquisition in a folder of their own.",
            )


def stack_all(path: Path, planes: Sequence[Plane], names: Sequence[str]) -> Stack:
    """Slices with none missing, in order of their position along the normal.

    names: of the planes, for messages.  Raises UnreadableFileError at two planes in one place, at
    a gap and at slices that are shifted against each other.
    """
    check_parallel(path, planes, names)
    positions = np.asarray([plane.position for plane in planes])
    along = positions @ planes[0].normal
    order = np.argsort(along, kind="stable")
    gaps = np.diff(along[order])
    if len(planes) == 1:
        return Stack((0,), positions[0], _single_step(planes[0]))
    _check_distinct(path, gaps, lambda k: (names[order[k]], positions[order[k]]))
    count = len(planes)
    step = _mean_step(positions[order[0]], positions[order[-1]], count - 1)
    off = along[order] - (along[order[0]] + np.arange(count) * (step @ planes[0].normal))
    if np.abs(off).max() > UNEVEN * np.median(gaps):
        raise _uneven(path, gaps, [(names[k], positions[k]) for k in order])
    slots = np.empty(count, int)
    slots[order] = np.arange(count)
    stack = Stack(tuple(slots.tolist()), positions[order[0]], step)
    _check_in_line(path, stack, positions, names)
    return stack


def stack_sparse(path: Path, planes: Sequence[Plane], names: Sequence[str]) -> Stack:
    """Slices of which whole ones may be missing, and several planes may share one.

    The step is the SpacingBetweenSlices where the positions agree with it, else the smallest
    distance of two planes.  Raises UnreadableFileError where they lie at no whole steps.
    """
    check_parallel(path, planes, names)
    positions = np.asarray([plane.position for plane in planes])
    along = positions @ planes[0].normal
    order = np.argsort(along, kind="stable")
    gaps = np.diff(along[order])
    extent = along[order[-1]] - along[order[0]]
    gaps = gaps[gaps > SAME_PLACE_MM]
    if not len(gaps):
        return Stack((0,) * len(planes), positions[0], _single_step(planes[0]))
    for length in (planes[0].step, float(gaps.min())):
        # no rounding of the stated step may add up over the slices
        count = 0 if length is None else round(extent / length)
        if not count:
            continue
        places = (along - along[order[0]]) / (extent / count)
        slots = np.rint(places).astype(int)
        if np.abs(places - slots).max() <= UNEVEN_SPARSE and len(set(slots)) == len(gaps) + 1:
            step = _mean_step(positions[order[0]], positions[order[-1]], count)
            stack = Stack(tuple(slots.tolist()), positions[order[0]], step)
            _check_in_line(path, stack, positions, names)
            return stack
    raise _uneven(path, np.diff(along[order]), [(names[k], positions[k]) for k in order])


def _mean_step(first: Vector, last: Vector, count: int) -> Vector:
    # positions are decimal numbers: their difference has no digits beyond these
    step: Vector = np.round((last - first) / count, 9)
    return step


def _single_step(plane: Plane) -> Vector | None:
    length = plane.step or plane.thickness
    return None if length is None else plane.normal * length


def _check_distinct(path: Path, gaps: Vector, at: Callable[[int], tuple[str, Vector]]) -> None:
    same = np.flatnonzero(gaps <= SAME_PLACE_MM)
    if len(same):
        (name, position), (other, _) = at(int(same[0])), at(int(same[0]) + 1)
        raise unreadable(
            path,
            f"{name} and {other} both at {_text(position)}",
            expected="one slice at each position",
            remedy="Keep one time point, echo or reconstruction a folder.",
        )


def _uneven(path: Path, gaps: Vector, places: Sequence[tuple[str, Vector]]) -> UnreadableFileError:
    at = int(gaps.argmax())
    (before, first), (after, last) = places[at], places[at + 1]
    return unreadable(
        path,
        f"a gap of {gaps[at]:.4g} mm between {before} at {_text(first)} and {after} at "
        f"{_text(last)}, where the median is {np.median(gaps[gaps > SAME_PLACE_MM]):.4g} mm",
        expected="evenly spaced slices with none missing",
        remedy="Add the missing slices from the source, or take the case out.",
    )


def _check_in_line(path: Path, stack: Stack, positions: Vector, names: Sequence[str]) -> None:
    assert stack.step is not None
    for slot, position, name in zip(stack.slots, positions, names, strict=True):
        off = float(np.linalg.norm(position - stack.position(slot)))
        if off > max(UNEVEN * float(np.linalg.norm(stack.step)), SAME_PLACE_MM):
            raise unreadable(
                path,
                f"{name} at {_text(position)}, {off:.3g} mm off",
                expected="slices whose first pixels lie on one line",
                remedy="Resample the series to a regular grid, or take the case out.",
            )


def _text(position: Vector) -> str:
    return "(" + ", ".join(f"{value:.6g}" for value in position) + ")"


def volume_grid(
    stack: Stack, plane: Plane, rows: int, columns: int, slices: int | None = None
) -> Grid:
    """The grid (slices, rows, columns) of a stack; without affine where its step is unknown.

    slices: where there are more than the stack has planes for.
    """
    shape = (stack.slices if slices is None else slices, rows, columns)
    if stack.step is None:
        return Grid(shape)
    down = np.multiply(plane.orientation[3:], plane.pixel[0])
    across = np.multiply(plane.orientation[:3], plane.pixel[1])
    matrix = np.eye(4)
    matrix[:3] = np.stack([stack.step, down, across, stack.origin], axis=1)
    # LPS to RAS; adding 0 turns -0.0 into 0.0
    matrix[:2] *= -1
    spacing = (float(np.linalg.norm(stack.step)), *plane.pixel)
    return Grid(shape, spacing, tuple(map(tuple, (matrix + 0.0).tolist())))
