"""The data set itself: masks in the layout they came in, and what really changed in them."""

from __future__ import annotations

import filecmp
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from maskmend import formats
from maskmend.core import IGNORED, Case, Dataset, LabelArray
from maskmend.datasets import copy_images, place_of, read_labels, write_labels
from maskmend.datasets.describing import write_descriptions
from maskmend.deciding import Decided
from maskmend.exporting.ignoring import declare_ignored
from maskmend.exporting.options import Job

NOT_JUDGED = "ignored"
"""What an ignored pixel is called in a table."""


@dataclass(frozen=True)
class Change:
    """Pixels of one mask that went from one class to another.

    structure: the plane, or "labels" where one label map holds overlapping structures; then the
    classes are all structures of the pixel, as "edema+core".  planes: indices of those concerned.
    """

    structure: str
    before: str
    after: str
    pixels: int
    planes: tuple[int, ...]


@dataclass(frozen=True)
class Files:
    """Mask files, written beside those of the source: with the same bytes, or with others."""

    unchanged: int = 0
    changed: int = 0

    def __add__(self, other: Files) -> Files:
        return Files(self.unchanged + other.unchanged, self.changed + other.changed)


def write_frame(job: Job) -> None:
    """Images, and the files that describe the data set, with the ignore value."""
    if job.options.images == "none":
        write_descriptions(job.target, job.out)
    else:
        copy_images(job.target, job.out, job.options.images)
    if job.options.kind == "ignore":
        declare_ignored(job.target, job.out)


def write_case(job: Job, case: Case, labels: LabelArray) -> Files:
    """The masks of a case, (planes, *S); those without a change keep their bytes."""
    write_labels(job.target, case, labels, job.out)
    written = exported(job, case)
    pairs = {path: written.masks[plane] for plane, path in case.masks.items()}
    same = [_same_bytes(source, copy) for source, copy in pairs.items()]
    return Files(unchanged=sum(same), changed=len(same) - sum(same))


def exported(job: Job, case: Case) -> Case:
    """The case as it lies in OUT."""

    def placed(path: Path) -> Path:
        return job.out / place_of(job.target, path)

    return replace(
        case,
        image=placed(case.image),
        more_images=tuple(placed(path) for path in case.more_images),
        masks={plane: placed(path) for plane, path in case.masks.items()},
    )


def wanted_labels(job: Job, decision: Decided) -> LabelArray:
    """What is to be written: the mended labels, or the given ones with flagged pixels ignored.

    Where one label map holds overlapping structures, a pixel is ignored for all of them.
    """
    if job.options.kind != "ignore":
        return decision.labels
    flagged = decision.flagged
    if job.target.regions is not None:
        flagged = np.broadcast_to(flagged.any(axis=0), flagged.shape)
    return np.where(flagged, np.uint8(IGNORED), decision.given)


def read_changes(job: Job, case: Case, given: LabelArray) -> tuple[Change, ...]:
    """What the files in OUT say differently than those of the source, read back from them."""
    return count_changes(job.target, given, read_labels(job.target, exported(job, case)))


def count_changes(dataset: Dataset, before: LabelArray, after: LabelArray) -> tuple[Change, ...]:
    """Pixels of each (class before, class after) that differ; before, after: (planes, *S)."""
    if dataset.regions is not None:
        return _changes_of_regions(dataset, before, after)
    found = []
    for plane, name in enumerate(dataset.scheme.planes):
        differs = before[plane] != after[plane]
        pairs = before[plane][differs].astype(np.int64) * 256 + after[plane][differs]
        for pair, pixels in zip(*np.unique(pairs, return_counts=True), strict=True):
            old, new = (_class_name(dataset, plane, int(k)) for k in divmod(pair, 256))
            found.append(Change(name, old, new, int(pixels), (plane,)))
    return tuple(found)


def _changes_of_regions(
    dataset: Dataset, before: LabelArray, after: LabelArray
) -> tuple[Change, ...]:
    differs = (before != after).any(axis=0)
    columns = np.concatenate([before[:, differs], after[:, differs]])
    kinds, counts = np.unique(columns, axis=1, return_counts=True)
    found = []
    for kind, pixels in zip(kinds.T, counts.tolist(), strict=True):
        old, new = np.split(kind, 2)
        planes = tuple(np.flatnonzero(old != new).tolist())
        names = [_structures(dataset, classes) for classes in (old, new)]
        found.append(Change("labels", names[0], names[1], pixels, planes))
    return tuple(found)


def _class_name(dataset: Dataset, plane: int, k: int) -> str:
    return NOT_JUDGED if k == IGNORED else dataset.scheme.class_names(plane)[k]


def _structures(dataset: Dataset, classes: LabelArray) -> str:
    """The structures of one pixel of a label map, (planes,)."""
    if (classes == IGNORED).all():
        return NOT_JUDGED
    names = zip(dataset.scheme.structures, classes, strict=True)
    return "+".join(name for name, k in names if k == 1) or "background"


def _same_bytes(source: Path, copy: Path) -> bool:
    """Of all files that a mask consists of."""
    pairs = zip(formats.parts(source), formats.parts(copy), strict=True)
    return all(filecmp.cmp(one, other, shallow=False) for one, other in pairs)
