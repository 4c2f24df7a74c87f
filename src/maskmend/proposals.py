"""Settings that follow from the data: spacing, patch, batch and normalisation of volumes.

What the user has set stays; what is None is filled.  Pictures keep the settings that they have.
Nothing is taken from the machine, so that the same data have the same settings everywhere.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TypeVar

import numpy as np

from maskmend.arrays.patches import fitting_patch
from maskmend.core import Case, Grid
from maskmend.datasets import read_grid, read_image
from maskmend.errors import GridMismatchError
from maskmend.settings import Settings, TrainingSettings

MOST_VOXELS = 2**21
"""Voxels in a step.  One step of the network on so many takes about 1.5 GB."""

LOOKED_AT = 5
"""Images that are read to tell CT from what has no unit."""

AIR = -200.0
"""A CT number that hardly any other image goes below: they start at 0, or are deviations."""

MEANING = {
    "ct": "CT numbers, clipped and on one scale for all images",
    "image": "zero mean and unit variance in each image",
}

Chosen = TypeVar("Chosen", bound=TrainingSettings)


@dataclass(frozen=True)
class Proposal:
    """Settings without a gap, and a sentence for the user on each value that was filled in."""

    settings: Settings
    sentences: tuple[str, ...]


@dataclass(frozen=True)
class Measures:
    """Of volumes: the median size of a voxel, its unit, the median shape at it, and their kind."""

    spacing: tuple[float, ...]
    unit: str
    shape: tuple[int, ...]
    normalisation: str


def propose_settings(cases: Sequence[Case], settings: Settings) -> Proposal:
    """Fill in what is None in the settings of the teachers and of the student.

    cases: those that the run judges.  Reads headers, and up to LOOKED_AT images.
    Raises GridMismatchError for pictures among volumes.
    """
    teacher, student = settings.crossfit.teacher, settings.student
    if not cases or not (is_open(teacher, cases) or is_open(student, cases)):
        return Proposal(settings, ())
    measures = measure(cases)
    teacher_too, said = fill_in(teacher, measures)
    student_too, said_again = fill_in(student, measures)
    crossfit = settings.crossfit.model_copy(update={"teacher": teacher_too})
    filled = settings.model_copy(update={"crossfit": crossfit, "student": student_too})
    return Proposal(filled, tuple(dict.fromkeys((*said, *said_again))))


def complete(settings: Chosen, cases: Sequence[Case]) -> tuple[Chosen, tuple[str, ...]]:
    """As `propose_settings`, of one training."""
    return fill_in(settings, measure(cases)) if is_open(settings, cases) else (settings, ())


def is_open(settings: TrainingSettings, cases: Sequence[Case]) -> bool:
    """Whether volumes need values that these settings leave open."""
    values = (settings.spacing, settings.patch, settings.normalisation, settings.batch_size)
    return None in values and len(read_grid(cases[0]).shape) > 2


def fill_in(settings: Chosen, measures: Measures) -> tuple[Chosen, tuple[str, ...]]:
    """The settings of one training without a gap, and a sentence on each value filled in."""
    spacing = settings.spacing or measures.spacing
    scaled = zip(measures.shape, measures.spacing, spacing, strict=True)
    shape = tuple(max(1, round(n * old / own)) for n, old, own in scaled)
    patch, batch = _patch_and_batch(shape, spacing, settings.patch, settings.batch_size)
    normalisation = settings.normalisation or measures.normalisation
    values = {
        "spacing": (spacing, f"voxels of {_times(spacing)} {measures.unit}, the median"),
        "patch": (patch, f"patches of {_times(patch)} voxels for volumes of {_times(shape)}"),
        "batch_size": (batch, f"{batch} patches in a step"),
        "normalisation": (normalisation, MEANING[normalisation]),
    }
    missing = [name for name in values if getattr(settings, name) is None]
    filled = settings.model_copy(update={name: values[name][0] for name in missing})
    return filled, tuple(f"proposed from the data: {values[name][1]}" for name in missing)


def measure(cases: Sequence[Case]) -> Measures:
    """What the headers say; a few images, evenly spread, tell whether it is CT.

    Raises GridMismatchError for pictures among volumes.
    """
    grids = [_volume_grid(case) for case in cases]
    steps = np.array([grid.steps for grid in grids])
    # a middle one that is there, not a mean of two: the most cases stay as they are
    spacing = tuple(float(value) for value in np.percentile(steps, 50, axis=0, method="lower"))
    shapes = np.array([grid.shape for grid in grids]) * steps / spacing
    shape = tuple(max(1, round(float(n))) for n in np.median(shapes, axis=0))
    units = {grid.unit for grid in grids}
    unit = units.pop() if len(units) == 1 else "mm or voxels"
    return Measures(spacing, unit, shape, "ct" if looks_like_ct(cases) else "image")


def looks_like_ct(cases: Sequence[Case]) -> bool:
    """Whether most of a few images have one channel with numbers as low as air has in CT."""
    chosen = cases[:: -(-len(cases) // LOOKED_AT)]
    low = 0
    for case in chosen:
        image = read_image(case)
        low += len(image) == 1 and bool(image.size) and float(image.min()) < AIR
    return 2 * low > len(chosen)


def _volume_grid(case: Case) -> Grid:
    grid = read_grid(case)
    if len(grid.shape) != 3:
        raise GridMismatchError(
            case.id, expected="a volume, as the first case is", got=f"the shape {grid.shape}",
            remedy="Keep pictures and volumes in data sets of their own.",
        )  # fmt: skip
    return grid


def _patch_and_batch(
    shape: tuple[int, ...],
    spacing: tuple[float, ...],
    patch: tuple[int, ...] | None,
    batch: int | None,
) -> tuple[tuple[int, ...], int]:
    """As many as 4 volumes in a step where they fit whole, else 2 patches as large as may be."""
    if patch is not None:
        return patch, batch or max(1, min(4, MOST_VOXELS // math.prod(patch)))
    whole = math.prod(fitting_patch(shape, spacing, math.prod(shape) * 8))
    count = batch or (4 if 4 * whole <= MOST_VOXELS else 2)
    return fitting_patch(shape, spacing, MOST_VOXELS // count), count


def _times(values: Iterable[float]) -> str:
    return " x ".join(f"{value:.4g}" for value in values)
