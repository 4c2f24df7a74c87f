"""Flagged regions as segments that 3D Slicer shows over the image."""

from __future__ import annotations

import numpy as np

from maskmend.core import BoolArray, Grid, LabelScheme
from maskmend.exporting.deciding import Decided
from maskmend.exporting.options import Job

FOLDER = "flagged"


def write_segments(job: Job, case_id: str, decision: Decided, grid: Grid) -> None:
    """OUT/flagged/CASE.seg.nrrd; where nothing changes none, not even of an earlier export."""
    from maskmend.formats.seg_nrrd import create_segments

    path = job.out / FOLDER / f"{case_id}.seg.nrrd"
    masks = flagged_segments(decision, job.run.dataset.scheme)
    if not masks:
        path.unlink(missing_ok=True)
        return
    if len(grid.shape) == 2:
        masks = {name: mask[None] for name, mask in masks.items()}
    create_segments(path, masks, as_volume(grid))


def flagged_segments(decision: Decided, scheme: LabelScheme) -> dict[str, BoolArray]:
    """Segment -> pixels (*S,), those that have any, two for each structure.

    "lung: wrong": given as lung, which it is held not to be; "lung: missed": the other way round.
    A pixel that goes from one structure to another is in two segments.
    """
    found: dict[str, BoolArray] = {}
    for number, name in enumerate(scheme.structures):
        flagged = decision.flagged[number if scheme.overlapping else 0]
        before, after = (
            scheme.structure_mask(labels, name) for labels in (decision.given, decision.labels)
        )
        found[f"{name}: wrong"] = flagged & before & ~after
        found[f"{name}: missed"] = flagged & after & ~before
    return {name: mask for name, mask in found.items() if mask.any()}


def as_volume(grid: Grid) -> Grid:
    """The grid of a picture as that of a volume of one slice; a volume's stays as it is.

    Where a file does not say how a picture lies, its columns go to the patient's left and its
    rows to the back, as ITK has it, so that it shows upright.
    """
    if len(grid.shape) == 3:
        return grid
    shape, spacing = (1, *grid.shape), (1.0, *grid.steps)
    affine = np.zeros((4, 4))
    affine[0, 2], affine[1, 1], affine[2, 0], affine[3, 3] = -spacing[2], -spacing[1], 1.0, 1.0
    rows = tuple(tuple(row) for row in affine.tolist())
    return Grid(shape, spacing, rows)
