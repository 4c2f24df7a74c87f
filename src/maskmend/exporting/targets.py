"""Soft targets as files, and the datalist that MONAI reads."""

from __future__ import annotations

import gzip
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from maskmend import files
from maskmend.arrays.correction import mend_soft
from maskmend.core import IGNORED, Case, Grid
from maskmend.deciding import Decided
from maskmend.errors import MissingFileError
from maskmend.exporting.labels import exported
from maskmend.exporting.options import Job

DATALIST = "soft_datalist.json"
NOT_LABELLED = -1.0
"""Target of an ignored pixel of a structure that may overlap others: 0 is background there."""


def write_soft(job: Job, case: Case, decision: Decided, grid: Grid) -> Path:
    """OUT/soft/CASE.nii.gz, (x, y, z, channels), of a volume; .npy, (channels, *S), of a picture.

    float32.  Exclusive classes sum to 1, and to 0 where ignored; of overlapping structures each is
    0..1, and -1 where ignored.  Returns the path.
    """
    soft = soft_of(job, case, decision)
    if len(grid.shape) == 3:
        path = soft_path(job, case, grid)
        _write_nifti(path, soft, grid)
    else:
        path = soft_path(job, case, grid)
        files.write_array(path, soft)
    return path


def soft_path(job: Job, case: Case, grid: Grid) -> Path:
    return job.out / "soft" / f"{case.id}{'.nii.gz' if len(grid.shape) == 3 else '.npy'}"


def soft_of(job: Job, case: Case, decision: Decided) -> NDArray[np.float32]:
    """Soft labels of the changes that are taken; elsewhere one-hot.  (num_channels, *S).

    Exclusive classes are 0 where the pixel is ignored, which no change is.
    """
    scheme, given = job.run.dataset.scheme, decision.given
    if job.options.decisions:
        return _soft_of_decisions(job, decision)
    soft = job.run.read_soft(case)
    left = job.run.read_noise_map(case) & ~decision.flagged
    if left.any():
        for channel, values in enumerate(soft):
            plane, k = (channel, 1) if scheme.overlapping else (0, channel)
            values[left[plane]] = given[plane][left[plane]] == k
    if scheme.overlapping:
        soft[given == IGNORED] = NOT_LABELLED
    return soft


def _soft_of_decisions(job: Job, decision: Decided) -> NDArray[np.float32]:
    """What people changed is as soft as what is flagged: 1 - eps of the given class stays."""
    scheme, given = job.run.dataset.scheme, decision.given
    soft = np.empty((scheme.num_channels, *given.shape[1:]), np.float32)
    for plane, labels in enumerate(given):
        targets = mend_soft(
            labels, decision.flagged[plane], decision.labels[plane],
            num_classes=scheme.num_classes, eps=job.run.settings.correct.eps, ignore=IGNORED,
        )  # fmt: skip
        if not scheme.overlapping:
            return targets
        soft[plane] = targets[1]
    soft[given == IGNORED] = NOT_LABELLED
    return soft


def datalist_item(job: Job, case: Case, grid: Grid) -> dict[str, Any]:
    """One entry of the datalist; paths are below OUT, or to the source where it has no images."""
    there = exported(job, case)
    shown = case if job.options.images == "none" else there
    images = [_relative(job, path) for path in shown.images]
    planes = [plane for plane in job.target.scheme.planes if plane in case.masks]
    hard = list(dict.fromkeys(_relative(job, there.masks[plane]) for plane in planes))
    return {
        "case": case.id,
        "group": case.group,
        "image": images if len(images) > 1 else images[0],
        "label": _relative(job, soft_path(job, case, grid)),
        "hard_label": hard,
    }


def write_datalist(job: Job, items: list[dict[str, Any]]) -> None:
    """OUT/soft_datalist.json, as `monai.data.load_decathlon_datalist` reads it.

    fold: that which held the case out, where folds are known.  hard_label: the mended masks; left
    out of all entries where a structure is not labelled in every case, since a batch can hold only
    lists of one length.
    """
    uneven = len({len(item["hard_label"]) for item in items}) > 1
    folds = _folds(job)
    for item in items:
        if item["case"] in folds:
            item["fold"] = folds[item["case"]]
        hard = item.pop("hard_label")
        if not uneven:
            item["hard_label"] = hard if len(hard) > 1 else hard[0]
    scheme = job.run.dataset.scheme
    names = scheme.structures if scheme.overlapping else scheme.class_names(0)
    listed = {
        "description": "soft labels by maskmend; the channels of a label are in this order",
        "channels": list(names),
        "overlapping": scheme.overlapping,
        "numTraining": len(items),
        "training": items,
    }
    files.write_json(job.out / DATALIST, listed)


def _folds(job: Job) -> Mapping[str, int]:
    """Case id -> the fold that held it out: of the run, else as the data set states them."""
    try:
        return job.run.read_folds().folds
    except MissingFileError:
        stated = enumerate(job.run.dataset.stated_folds)
        return {case: number for number, fold in stated for case in fold.held_out}


def _relative(job: Job, path: Path) -> str:
    # not resolved: an image may be a link, and stands where the link does
    return Path(os.path.relpath(path.absolute(), job.out.absolute())).as_posix()


def _write_nifti(path: Path, soft: NDArray[np.float32], grid: Grid) -> None:
    """(x, y, z, channels), on the grid of the image."""
    import nibabel

    steps = np.diag([*reversed(grid.steps), 1.0])
    # our columns are (z, y, x), those of NIfTI (x, y, z)
    affine = steps if grid.affine is None else np.array(grid.affine)[:, [2, 1, 0, 3]]
    image = nibabel.Nifti1Image(soft.T, affine)
    image.header.set_xyzt_units("mm")
    with (
        files.atomic_file(path) as handle,
        # no time and no name in the header: the same labels give the same bytes
        gzip.GzipFile("", "wb", compresslevel=1, fileobj=handle, mtime=0) as packed,
    ):
        image.to_stream(packed)
