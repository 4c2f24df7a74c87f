"""Which masks and cases of a run to look at first: rankings.csv and cases.csv."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import astuple, dataclass, fields
from functools import partial

import numpy as np

from maskmend import files
from maskmend.arrays.ranking import (
    UNKNOWN,
    JudgedCase,
    MaskCounts,
    MaskScores,
    calibrate,
    count_mask,
    ordinary_gain,
    rank,
    score_mask,
)
from maskmend.core import QUIET, BoolArray, FloatArray, Listener
from maskmend.datasets import read_grid
from maskmend.execute import Workers, spans
from maskmend.store import Run

MASKS, CASES, FINDINGS = "rankings.csv", "cases.csv", "findings.csv"

SCORES = tuple(score.name for score in fields(MaskScores))

MASKS_HEADER = ("case", "structure", "rank", "score", *SCORES)

CASES_HEADER = ("case", "score", "rank", "findings")

CaseCounts = list[MaskCounts | None]
"""Of each structure of a case; None where nobody looked for it."""


@dataclass(frozen=True)
class RankedMask:
    """One mask.  rank: 1 is to be looked at first.

    score: the gain beyond what is ordinary in masks of the structure (`ordinary_gain`), so that
    masks of different structures stand on one scale; NaN of a mask that nobody drew.
    """

    case: str
    structure: str
    rank: int
    score: float
    scores: MaskScores


@dataclass(frozen=True)
class RankedCase:
    """One case.  score: the highest of its masks.  findings: how many; None if not yet known."""

    case: str
    score: float
    rank: int
    findings: int | None


def write_rankings(run: Run, listener: Listener = QUIET, workers: Workers | None = None) -> None:
    """Score every mask of the run, and write both rankings, best to look at first.

    Takes noise maps and masks.csv, which `flag` writes, and findings.csv if that is there.
    workers: by default the cores here.  Raises MissingFileError before `flag`.
    """
    workers = workers or Workers(count=run.settings.threads)
    doubted = run.doubted()
    names = run.dataset.scheme.structures
    believed = np.array([[name not in doubted[case.id] for name in names] for case in run.cases])
    counts: list[CaseCounts] = []
    for some in workers.each(partial(_count_span, run), spans(run.cases, workers)):
        counts += some
        listener.case("rank", len(counts), len(run.cases))
    masks = _ranked_masks(run, counts, believed)
    run.write_table(MASKS, MASKS_HEADER, (
        (mask.case, mask.structure, mask.rank, mask.score, *astuple(mask.scores)) for mask in masks
    ))  # fmt: skip
    cases = _ranked_cases(run, masks)
    run.write_table(CASES, CASES_HEADER, (astuple(case) for case in cases))


def read_masks(run: Run) -> tuple[RankedMask, ...]:
    """rankings.csv, in the order of the ranks.  Raises MissingFileError before `rank`."""
    return tuple(
        RankedMask(
            row["case"], row["structure"], int(row["rank"]), _number(row["score"]),
            MaskScores(*(_number(row[name]) for name in SCORES)),
        )
        for row in files.read_csv(run.root / MASKS)
    )  # fmt: skip


def read_cases(run: Run) -> tuple[RankedCase, ...]:
    """cases.csv, in the order of the ranks.  Raises MissingFileError before `rank`."""
    return tuple(
        RankedCase(
            row["case"], _number(row["score"]), int(row["rank"]),
            int(row["findings"]) if row["findings"] else None,
        )
        for row in files.read_csv(run.root / CASES)
    )  # fmt: skip


def forget_rankings(run: Run) -> None:
    """Remove both tables, once the flags that they rank by are no longer those of the run."""
    for name in (MASKS, CASES):
        (run.root / name).unlink(missing_ok=True)


def _count_span(run: Run, span: range) -> list[CaseCounts]:
    scheme = run.dataset.scheme
    found = []
    for case in run.cases[span.start : span.stop]:
        judged = JudgedCase(
            run.read_given(case), run.read_predicted(case), run.read_noise_map(case),
            run.read_probabilities(case), scheme, read_grid(case).steps,
        )  # fmt: skip
        found.append([
            None if name in case.unlabelled else count_mask(judged, number)
            for number, name in enumerate(scheme.structures)
        ])  # fmt: skip
    return found


def _ranked_masks(
    run: Run, counts: Sequence[CaseCounts], believed: BoolArray
) -> tuple[RankedMask, ...]:
    """In the order of the ranks.  believed: (cases, structures)."""
    names = run.dataset.scheme.structures
    scores: list[list[MaskScores]] = []
    beyond: list[FloatArray] = []
    for number in range(len(names)):
        column = [of[number] for of in counts]
        mine = _score_structure(column, believed[:, number])
        gains = np.array([one.gain for one in mine])
        scores.append(mine)
        # two empty masks tell nothing of boundaries
        drawn = np.array([of is not None and of.given + of.predicted > 0 for of in column])
        beyond.append(gains - ordinary_gain(gains, believed[:, number] & drawn))
    table = np.stack(beyond, axis=1)
    ranks = rank(table.reshape(-1)).reshape(table.shape)
    masks = [
        RankedMask(case.id, name, int(ranks[i, k]), float(table[i, k]), scores[k][i])
        for i, case in enumerate(run.cases)
        for k, name in enumerate(names)
    ]
    return tuple(sorted(masks, key=lambda mask: mask.rank))


def _score_structure(column: Sequence[MaskCounts | None], believed: BoolArray) -> list[MaskScores]:
    """The scores of all masks of one structure.  believed: (cases,)."""
    trusted = (of.histogram for of, yes in zip(column, believed, strict=True) if of and yes)
    calibrated = calibrate(sum(trusted, MaskCounts().histogram))
    return [UNKNOWN if of is None else score_mask(of, calibrated) for of in column]


def _ranked_cases(run: Run, masks: Sequence[RankedMask]) -> tuple[RankedCase, ...]:
    """In the order of the ranks.  masks: in that of theirs."""
    best: dict[str, float] = {}
    for mask in masks:
        best.setdefault(mask.case, mask.score)
    ranks = rank(np.array([best[case.id] for case in run.cases]))
    known = _count_findings(run)
    cases = [
        RankedCase(case.id, best[case.id], int(ranks[i]), None if known is None else known[case.id])
        for i, case in enumerate(run.cases)
    ]
    return tuple(sorted(cases, key=lambda case: case.rank))


def _count_findings(run: Run) -> Mapping[str, int] | None:
    """Findings of each case; None if there is no findings.csv."""
    if not (run.root / FINDINGS).exists():
        return None
    return Counter(row["case"] for row in files.read_csv(run.root / FINDINGS))


def _number(text: str) -> float:
    return float(text) if text else math.nan
