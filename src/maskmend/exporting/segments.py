"""Flagged regions as segments that 3D Slicer shows over the image."""

from __future__ import annotations

from maskmend.core import BoolArray, Grid, LabelScheme
from maskmend.deciding import Decided
from maskmend.exporting.options import Job
from maskmend.formats.seg_nrrd import create_segments

FOLDER = "flagged"


def write_segments(job: Job, case_id: str, decision: Decided, grid: Grid) -> None:
    """OUT/flagged/CASE.seg.nrrd; where nothing changes none, not even of an earlier export."""
    path = job.out / FOLDER / f"{case_id}.seg.nrrd"
    masks = flagged_segments(decision, job.run.dataset.scheme)
    if not masks:
        path.unlink(missing_ok=True)
        return
    create_segments(path, masks, grid)


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
