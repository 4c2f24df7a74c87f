"""The nouns: small frozen values that every other module speaks in.

Axis order, stated once: spatial axes come last, the slowest on disk first: rows, columns for a
picture; slices, rows, columns for a volume, which is (z, y, x) where x is the axis that a NIfTI,
NRRD or MetaImage header lists first.  Channels, structures and classes come before them.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

BoolArray = NDArray[np.bool_]
IntArray = NDArray[np.integer[Any]]
LabelArray = NDArray[np.uint8]
FloatArray = NDArray[np.floating[Any]]

IGNORED = 255
"""Value in a LabelArray of a pixel that takes no part: not judged, not trained on, not scored."""


@dataclass(frozen=True)
class Grid:
    """Where pixels lie in space.

    shape: spatial shape.  spacing: size of a pixel along each axis in mm, or None where the
    file does not know it (then every distance is in pixels, and is named so).  affine: rows of
    the matrix, (4, 4) for a volume, that takes (index along each axis, 1) to (x, y, z, 1) in mm,
    RAS+ as in NIfTI (x grows to the patient's right, y to the front, z to the head); None where
    the file does not know it.
    """

    shape: tuple[int, ...]
    spacing: tuple[float, ...] | None = None
    affine: tuple[tuple[float, ...], ...] | None = None

    @property
    def unit(self) -> str:
        return "px" if self.spacing is None else "mm"

    @property
    def steps(self) -> tuple[float, ...]:
        """Spacing along each axis in `unit`."""
        return (1.0,) * len(self.shape) if self.spacing is None else self.spacing


@dataclass(frozen=True)
class LabelScheme:
    """What the labels can say.

    A label array has one plane for each question asked of a pixel, shape (planes, *S), uint8:

    - overlapping: one plane a structure, values 0 and 1; probabilities are (structures, *S),
      one sigmoid a structure.
    - exclusive: a single plane, values 0 (background) .. len(structures); probabilities are
      (classes, *S), a softmax.

    IGNORED (255) marks a pixel that takes no part, in both.
    """

    structures: tuple[str, ...]
    overlapping: bool

    @property
    def planes(self) -> tuple[str, ...]:
        return self.structures if self.overlapping else ("labels",)

    @property
    def num_classes(self) -> int:
        """Classes in each plane, background included."""
        return 2 if self.overlapping else len(self.structures) + 1

    @property
    def num_channels(self) -> int:
        """Probability maps that a network gives."""
        return len(self.structures) if self.overlapping else len(self.structures) + 1

    def class_names(self, plane: int) -> tuple[str, ...]:
        if self.overlapping:
            return ("background", self.structures[plane])
        return ("background", *self.structures)

    def class_probabilities(self, probs: FloatArray, plane: int) -> FloatArray:
        """Probabilities of the classes of one plane, (num_classes, *S), of the dtype given.

        probs: (num_channels, *S).
        """
        if not self.overlapping:
            return probs
        foreground = probs[plane]
        return np.stack([np.subtract(1, foreground, dtype=foreground.dtype), foreground])

    def structure_mask(self, labels: LabelArray, structure: str) -> BoolArray:
        """The pixels, (*S,), that the labels, (planes, *S), give to a structure."""
        index = self.structures.index(structure)
        mask: BoolArray = labels[index] == 1 if self.overlapping else labels[0] == index + 1
        return mask

    def ignored_mask(self, labels: LabelArray, structure: str) -> BoolArray:
        """The pixels, (*S,), that take no part for a structure."""
        plane = self.structures.index(structure) if self.overlapping else 0
        mask: BoolArray = labels[plane] == IGNORED
        return mask


@dataclass(frozen=True)
class Case:
    """One image and its masks.

    id: the image's file name without its ending.  group: what must not be split between folds
    (the patient).  split: the folder it came from, such as "training".  image: a file, or the
    folder of a DICOM series.  masks: plane name -> file; a structure without an entry is not
    labelled in this case.  A file with several segments stands under each of them.
    more_images: files of further channels, on the grid of the first.  unlabelled: structures of a
    label map that nobody looked for in this case; its background is then not known either.
    image_factor: the image's files have this many times the pixels of the masks along each axis;
    the image is brought to their grid by the mean of whole blocks.
    """

    id: str
    group: str
    split: str
    image: Path
    masks: Mapping[str, Path] = field(default_factory=dict)
    more_images: tuple[Path, ...] = ()
    unlabelled: frozenset[str] = frozenset()
    image_factor: int = 1

    @property
    def images(self) -> tuple[Path, ...]:
        """The files of all channels, in order."""
        return (self.image, *self.more_images)


@dataclass(frozen=True)
class LeftOut:
    """A case that takes no part, and why (the whole error message)."""

    case: str
    reason: str


@dataclass(frozen=True)
class StatedFold:
    """A fold that the data set states itself.  Ids of the cases of either side."""

    trained_on: frozenset[str]
    held_out: frozenset[str]


@dataclass(frozen=True)
class Regions:
    """Overlapping structures stored in one label map, as nnU-Net v2 does.

    values: structure -> the stored values that belong to it.  order: stored value that is painted
    for each structure, in the order of the structures, a later one over an earlier one.
    """

    values: Mapping[str, tuple[int, ...]]
    order: tuple[int, ...]


@dataclass(frozen=True)
class Description:
    """A file that says what a data set consists of, such as dataset.json.

    file: where it lies.  renamed: path of a file as it is written there -> the path that a copy
    of the data set has to write instead, since the file lies outside of the data set's folder.
    """

    file: Path
    renamed: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Dataset:
    """Cases with one label scheme.

    layout: name of the layout it was read by ("reference", "folders", ...).  values: plane ->
    stored mask value of class 0, 1, ...; a binary plane may list None, which means that each
    file is 0/1 or 0/255 by itself.  ignore_value: stored mask value of ignored pixels, or None.
    understood: sentences for the user on what was recognised.  regions: where one label map stores
    structures that overlap.  stated_folds: the folds that come with the data set.  label_maps: a
    mask file holds all classes, each as a value of its own.  descriptions: the files that say what
    belongs to the data set; a copy has them too.  places: file outside of `root` -> where a copy
    of the data set has it, relative to the copy's root.  inspected: what was found in the files of
    each case, to be handed in when the data set is opened again (`datasets.inspected`).
    """

    root: Path
    layout: str
    scheme: LabelScheme
    cases: tuple[Case, ...]
    values: Mapping[str, tuple[int, ...] | None] = field(default_factory=dict)
    ignore_value: int | None = None
    left_out: tuple[LeftOut, ...] = ()
    understood: tuple[str, ...] = ()
    regions: Regions | None = None
    stated_folds: tuple[StatedFold, ...] = ()
    label_maps: bool = False
    descriptions: tuple[Description, ...] = ()
    places: Mapping[Path, Path] = field(default_factory=dict)
    inspected: Mapping[str, Any] = field(default_factory=dict, repr=False, compare=False)

    def __getstate__(self) -> dict[str, Any]:
        """Without `inspected`, which is large, and of no use to workers."""
        return {**vars(self), "inspected": {}}

    def split(self, name: str) -> tuple[Case, ...]:
        return tuple(case for case in self.cases if case.split == name)


@dataclass(frozen=True)
class FoldPlan:
    """Which fold holds each case out.  folds: case id -> 0..count-1."""

    count: int
    seed: int
    folds: Mapping[str, int]

    def held_out(self, fold: int) -> tuple[str, ...]:
        return tuple(sorted(case for case, f in self.folds.items() if f == fold))

    def trained_on(self, fold: int) -> tuple[str, ...]:
        return tuple(sorted(case for case, f in self.folds.items() if f != fold))


def digest_of(case_ids: Iterable[str]) -> str:
    """SHA-256 of a set of case ids, in hexadecimal; order does not matter."""
    return hashlib.sha256("\n".join(sorted(case_ids)).encode()).hexdigest()


@dataclass(frozen=True)
class Finding:
    """One thing that is wrong with one mask, and where: connected flagged pixels, or a whole mask.

    id: 12 hexadecimal digits that follow from case, plane, type and pixels, so that the same
    finding has the same id after another ranking.  number: 1, 2, ... within its case.  plane: index
    of the plane of the labels.  structure: the one concerned.  type: see `docs/findings.md`.
    given, suggested: names of the classes that most of its pixels have, and should have.
    size: in `unit`, the pixels x the content of one ("px", "mm2", "mm3").  share: of the
    structure's pixels, given or suggested, whichever are more; in (0, 1].  distance: greatest
    distance of its pixels to the boundary of the given structure in mm (or pixels), NaN where
    nothing is given.  margin: mean probability of the suggested minus that of the given class.
    box: first index and the one after the last, along each axis.  best_slice: index along the
    first axis of a volume; None of a picture.  centroid: mean index along each axis.  score: the
    expected gain of looking at it, higher first.
    """

    id: str
    case: str
    number: int
    plane: int
    structure: str
    type: str
    given: str
    suggested: str
    pixels: int
    size: float
    unit: str
    share: float
    distance: float
    margin: float
    box: tuple[tuple[int, int], ...]
    best_slice: int | None
    centroid: tuple[float, ...]
    score: float


@dataclass(frozen=True)
class Decision:
    """What a reviewer said of a finding, or of a whole case; never changed once it is stored.

    number: 1, 2, ... in the order of arrival.  time: UTC, ISO 8601 with milliseconds.  finding:
    its id, or None of a decision on all findings of the case together.  verdict: accept, reject,
    unsure, edit, comment, or undo (of `undoes`, a number).  before: SHA-256 of the plane's given
    labels.  runs: of an edit, (start, length, class) of pixels in C order of the plane's array;
    the given labels with these painted over are what the reviewer wants.  after: SHA-256 of what
    it makes of the plane, None where nothing changes.
    """

    number: int
    time: str
    reviewer: str
    case: str
    finding: str | None
    verdict: str
    comment: str = ""
    undoes: int | None = None
    before: str | None = None
    after: str | None = None
    runs: tuple[tuple[int, int, int], ...] = ()


@dataclass(frozen=True)
class TrainingProgress:
    """One finished epoch.  loss: its mean.  monitor_dice: on held-out training cases."""

    training: str
    epoch: int
    epochs: int
    loss: float
    monitor_dice: float


class Listener:
    """Hears how long work goes on; this one keeps quiet.  The command line shows a bar."""

    def say(self, text: str) -> None:
        """A sentence for the user."""

    def epoch(self, progress: TrainingProgress) -> None:
        """A training has finished an epoch."""

    def case(self, stage: str, done: int, total: int) -> None:
        """A stage has finished a case."""


QUIET = Listener()
