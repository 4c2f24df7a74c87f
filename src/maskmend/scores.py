"""How good masks and noise maps are against a data set with clean labels: tables that add up."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, fields

from maskmend.arrays.overlap import Overlap, count_overlap
from maskmend.arrays.scoring import MaskScores, score_mask
from maskmend.core import QUIET, Case, Dataset, LabelArray, LeftOut, Listener
from maskmend.datasets import read_grid, read_labels
from maskmend.errors import GridMismatchError, SettingsError
from maskmend.execute import map_cases
from maskmend.report.tables import Cell, Table, spread
from maskmend.store import Run

SCORES = tuple(field.name for field in fields(MaskScores))


@dataclass(frozen=True)
class MaskRow:
    """One structure of one case.  what: which masks were scored, "given", "mended", ..."""

    what: str
    case: str
    structure: str
    scores: MaskScores


@dataclass(frozen=True)
class Evaluation:
    """masks: every score.  noise_maps: structure -> pixels of all cases together.

    A positive of a noise map is a pixel that is (truth) or is held to be (prediction) wrong.
    """

    masks: tuple[MaskRow, ...]
    noise_maps: dict[str, Overlap]
    left_out: tuple[LeftOut, ...]

    def files(self) -> dict[str, Table]:
        """Name of a file -> every score of each mask; of a run, also what its noise maps are."""
        header = ["what", "case", "structure", *SCORES]
        rows: list[Sequence[Cell]] = [
            [r.what, r.case, r.structure, *asdict(r.scores).values()] for r in self.masks
        ]
        found = {"evaluation.csv": Table(header, rows)}
        return found | ({"noise_maps.csv": self.noise_table()} if self.noise_maps else {})

    def mean(self, what: str, structure: str, score: str = "dice") -> float:
        """Mean over the cases; NaN where there is none."""
        values = [
            getattr(row.scores, score)
            for row in self.masks
            if row.what == what and row.structure == structure
        ]
        return spread(values).mean

    def mask_table(self) -> Table:
        """Mean and spread over the cases, a row for each kind of masks and structure."""
        keys = list(dict.fromkeys((row.what, row.structure) for row in self.masks))
        rows: list[Sequence[Cell]] = []
        for what, structure in keys:
            mine = [r.scores for r in self.masks if (r.what, r.structure) == (what, structure)]
            cells = [spread(getattr(scores, name) for scores in mine) for name in SCORES]
            rows.append([what, structure, len(mine), *cells])
        return Table(["masks", "structure", "cases", "Dice", "IoU", "HD95", "ASSD"], rows)

    def noise_table(self) -> Table:
        """Precision, recall and F1 of the noise map of each structure."""
        rows: list[Sequence[Cell]] = [
            [name, overlap.precision, overlap.recall, overlap.f1]
            for name, overlap in self.noise_maps.items()
        ]
        return Table(["noise map", "precision", "recall", "F1"], rows)


def score_run(run: Run, truth: Dataset, listener: Listener = QUIET) -> Evaluation:
    """The given and the mended labels of a run, and its noise maps, against clean labels.

    Cases are matched by split and id; those that `truth` lacks are left out and listed.
    Raises SettingsError if the structures differ.
    """
    order, scheme = _planes(run.dataset, truth), truth.scheme.structures
    clean = {(case.split, case.id): case for case in truth.cases}
    left_out = [
        LeftOut(case.id, "not in the data set with clean labels")
        for case in run.cases
        if (case.split, case.id) not in clean
    ]
    cases = [case for case in run.cases if (case.split, case.id) in clean]
    rows: list[MaskRow] = []
    found = {name: Overlap() for name in scheme}

    def read(case: Case) -> tuple[LabelArray, LabelArray, LabelArray]:
        labels = read_labels(truth, clean[case.split, case.id])
        given = run.read_given(case)[order]
        _check_shape(case, labels, given)
        return labels, given, run.read_mended(case)[order]

    stage = "evaluate"
    for case, (labels, given, mended) in map_cases(
        read, cases, left_out, stage=stage, listener=listener
    ):
        rows += _mask_rows("given", case, truth, labels, given)
        rows += _mask_rows("mended", case, truth, labels, mended)
        for name in scheme:
            masks = [truth.scheme.structure_mask(each, name) for each in (labels, given, mended)]
            ignored = truth.scheme.ignored_mask(labels, name)
            ignored |= truth.scheme.ignored_mask(given, name)
            found[name] += count_overlap(masks[0] != masks[1], masks[1] != masks[2], ignored)
    return Evaluation(tuple(rows), found, tuple(left_out))


def score_predictions(
    predictions: Dataset, truth: Dataset, what: str = "predicted", listener: Listener = QUIET
) -> Evaluation:
    """A data set of predicted masks against the clean labels of the cases of the same name."""
    order = _planes(predictions, truth)
    clean = {case.id: case for case in truth.cases}
    left_out = [
        *predictions.left_out,
        *(
            LeftOut(case.id, "not in the data set with clean labels")
            for case in predictions.cases
            if case.id not in clean
        ),
    ]
    rows: list[MaskRow] = []

    def read(case: Case) -> tuple[LabelArray, LabelArray]:
        labels = read_labels(truth, clean[case.id])
        predicted = read_labels(predictions, case)[order]
        _check_shape(case, labels, predicted)
        return labels, predicted

    known = [case for case in predictions.cases if case.id in clean]
    for case, (labels, predicted) in map_cases(
        read, known, left_out, stage="evaluate", listener=listener
    ):
        rows += _mask_rows(what, case, truth, labels, predicted)
    return Evaluation(tuple(rows), {}, tuple(left_out))


def score_masks(what: str, case: Case, truth: Dataset, masks: LabelArray) -> list[MaskRow]:
    """Scores of the masks, (planes, *S), that something gives to a case of the clean data set.

    Raises GridMismatchError.
    """
    labels = read_labels(truth, case)
    _check_shape(case, labels, masks)
    return list(_mask_rows(what, case, truth, labels, masks))


def _mask_rows(
    what: str, case: Case, dataset: Dataset, labels: LabelArray, masks: LabelArray
) -> Iterator[MaskRow]:
    steps = read_grid(case).steps
    scheme = dataset.scheme
    for name in scheme.structures:
        ignored = scheme.ignored_mask(labels, name) | scheme.ignored_mask(masks, name)
        truth, mask = scheme.structure_mask(labels, name), scheme.structure_mask(masks, name)
        yield MaskRow(what, case.id, name, score_mask(truth, mask, ignored, steps))


def _check_shape(case: Case, labels: LabelArray, other: LabelArray) -> None:
    if labels.shape != other.shape:
        raise GridMismatchError(
            case.id, expected=f"masks of the clean labels' shape {labels.shape}",
            got=str(other.shape), remedy="Bring both onto the grid of the image.",
        )  # fmt: skip


def _planes(dataset: Dataset, truth: Dataset) -> list[int]:
    """For each plane of the truth, the one of the data set that says the same.

    Folders of predictions are in the order of their names, regions in that of their description.
    Raises SettingsError where the structures differ.
    """
    mine, theirs = dataset.scheme, truth.scheme
    if mine.overlapping == theirs.overlapping and sorted(mine.planes) == sorted(theirs.planes):
        if theirs.overlapping:
            return [mine.planes.index(name) for name in theirs.planes]
        if mine.structures == theirs.structures:
            return [0]
    raise SettingsError(
        str(truth.root), expected=f"the structures {', '.join(mine.structures)}",
        got=", ".join(theirs.structures),
        remedy="Give the clean labels of the same data set.",
    )  # fmt: skip
