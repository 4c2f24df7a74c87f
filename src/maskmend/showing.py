"""The pictures of a run: image, given, clean, noise map, mended, student, side by side."""

from __future__ import annotations

from maskmend import trainings
from maskmend.arrays.agreement import predicted_labels
from maskmend.core import BoolArray, Case, Dataset
from maskmend.datasets import read_grid, read_image, read_labels
from maskmend.report.pictures import Labels, NoiseMap, Panel, Slice, render_panels
from maskmend.store import Run

SHOWN = 12
"""Cases that are drawn, those with the most flagged pixels first."""


def draw_cases(
    run: Run, truth: Dataset | None = None, student: str | None = None, count: int = SHOWN
) -> None:
    """pictures/RANK_CASE.png of the cases with the largest flagged share.

    truth: adds the clean labels.  student: adds what students/STUDENT says of the image (it was
    trained on the case, so that panel shows the student, not its quality).
    """
    trained = trainings.load(run, f"students/{student}", None) if student else None
    clean = {(case.split, case.id): case for case in truth.cases} if truth else {}
    run.clear_pictures()
    by_flagged = sorted(run.cases, key=lambda case: -float(run.read_noise_map(case).mean()))
    for rank, case in enumerate(by_flagged[:count], start=1):
        image, given = read_image(case), run.read_given(case)
        flagged = run.read_noise_map(case)
        panels = [Panel("image"), Panel("given", Labels(given))]
        if truth is not None and (case.split, case.id) in clean:
            panels.append(Panel("clean", Labels(read_labels(truth, clean[case.split, case.id]))))
        panels.append(Panel("noise map", NoiseMap(flagged, given)))
        panels.append(Panel("mended", Labels(run.read_mended(case))))
        if trained is not None:
            probs = trainings.probabilities(trained, image, read_grid(case).steps)
            panels.append(Panel("student", Labels(predicted_labels(probs, trained.scheme))))
        picture = render_panels(image, panels, run.dataset.scheme, at=shown_slice(flagged))
        run.write_picture(_name(rank, case), picture)


def shown_slice(flagged: BoolArray) -> Slice | None:
    """Of a volume (planes, *S), the slice with most flagged voxels; the middle one without any."""
    if flagged.ndim < 4:
        return None
    counts = flagged.sum(axis=(0, 2, 3))
    return Slice(0, int(counts.argmax()) if counts.any() else len(counts) // 2)


def _name(rank: int, case: Case) -> str:
    return f"{rank:02d}_{case.id}"
