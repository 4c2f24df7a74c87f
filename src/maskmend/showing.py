"""The pictures of a run: image, given, clean, noise map, mended, student, side by side."""

from __future__ import annotations

import numpy as np

from maskmend import trainings
from maskmend.arrays.agreement import predicted_labels
from maskmend.core import IGNORED, BoolArray, Case, Dataset, Grid, LabelArray
from maskmend.datasets import read_grid, read_image, read_labels
from maskmend.judging import mended
from maskmend.report.pictures import Labels, NoiseMap, Panel, Slice, render_panels
from maskmend.store import Run

SHOWN = 12
"""Cases that are drawn, those with the most flagged pixels first."""


def draw_cases(
    run: Run, truth: Dataset | None = None, student: str | None = None, count: int = SHOWN
) -> None:
    """pictures/RANK_CASE.png of the cases with the largest flagged share.

    Of a volume the slice with the most flagged pixels is shown.  truth: adds the clean labels.
    student: adds what students/STUDENT says of the image (it was trained on the case, so that
    panel shows the student, not its quality).
    """
    trained = trainings.load(run, f"students/{student}", None) if student else None
    clean = {(case.split, case.id): case for case in truth.cases} if truth else {}
    run.clear_pictures()
    shares = _flagged_shares(run)
    by_flagged = sorted(run.cases, key=lambda case: -shares[case.id])
    for rank, case in enumerate(by_flagged[:count], start=1):
        image, given, flagged = read_image(case), run.read_given(case), run.read_noise_map(case)
        at = shown_slice(flagged, given, read_grid(case))
        panels = [Panel("image"), Panel("given", Labels(given))]
        if truth is not None and (case.split, case.id) in clean:
            panels.append(Panel("clean", Labels(read_labels(truth, clean[case.split, case.id]))))
        panels.append(Panel("noise map", NoiseMap(flagged, given)))
        # as `correct` writes them, without reading a volume back
        panels.append(Panel("mended", Labels(mended(given, flagged, run.read_probabilities(case)))))
        if trained is not None:
            probs = trainings.probabilities(trained, image, read_grid(case).steps)
            panels.append(Panel("student", Labels(predicted_labels(probs, trained.scheme))))
        picture = render_panels(image, panels, run.dataset.scheme, at=at)
        run.write_picture(_name(rank, case), picture)


def shown_slice(flagged: BoolArray, given: LabelArray, grid: Grid) -> Slice | None:
    """The slice of a volume with the most flagged pixels; None for a picture.

    flagged, given: (planes, *S).  Slices are cut across the axis with the widest steps, so that
    they have the finest pixels; the first axis where several are as wide.  Where nothing is
    flagged, the slice with the most labelled pixels is shown.
    """
    if flagged.ndim == 3:
        return None
    axis = int(np.argmax(grid.steps))
    # slice by slice: over several axes at once NumPy counts 20 times slower
    counts = [np.count_nonzero(each) for each in np.moveaxis(flagged, axis + 1, 0)]
    if not any(counts):
        slices = np.moveaxis(given, axis + 1, 0)
        counts = [np.count_nonzero((each > 0) & (each != IGNORED)) for each in slices]
    return Slice(axis, int(np.argmax(counts)))


def _flagged_shares(run: Run) -> dict[str, float]:
    """Case id -> sum of the flagged shares of its planes, from masks.csv."""
    shares = dict.fromkeys((case.id for case in run.cases), 0.0)
    for row in run.read_masks_table():
        shares[row["case"]] += float(row["flagged_share"])
    return shares


def _name(rank: int, case: Case) -> str:
    return f"{rank:02d}_{case.id}"
