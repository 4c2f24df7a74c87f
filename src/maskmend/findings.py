"""The findings of a run: what is wrong, where, and of which kind; findings.csv, best first."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from maskmend import files
from maskmend.arrays.findings import Mistake, find_mistakes
from maskmend.arrays.findings_pairs import Ruler
from maskmend.arrays.regions import fullest_slice, world_position
from maskmend.core import QUIET, BoolArray, Case, Finding, Grid, LabelScheme, Listener
from maskmend.datasets import read_grid
from maskmend.deciding import Decided, decided
from maskmend.errors import SettingsError, UnreadableFileError
from maskmend.execute import Workers, spans
from maskmend.settings import RankSettings
from maskmend.store import Run

NAME = "findings.csv"

AXES = ("slice", "row", "column")

HEADER = (
    "rank", "id", "case", "number", "structure", "type", "given", "suggested", "pixels", "size",
    "unit", "share", "distance", "margin", "score", "best_slice",
    *(f"{axis}_{end}" for axis in AXES for end in ("first", "last")),
    *(f"centroid_{axis}" for axis in AXES), "x_mm", "y_mm", "z_mm", "plane",
)  # fmt: skip

Found = tuple[Finding, BoolArray]
"""A finding and its pixels within its box."""


def write_findings(
    run: Run, listener: Listener = QUIET, workers: Workers | None = None
) -> tuple[Finding, ...]:
    """findings.csv and findings/CASE.npz of all cases, by `run.settings.rank`; best first.

    Errors as of `decided` and `ruler_of`.
    """
    workers = workers or Workers(count=run.settings.threads)
    found: list[Finding] = []
    grids: dict[str, Grid] = {}
    for some in workers.each(partial(_write_masks, run), spans(run.cases, workers)):
        for case, (grid, findings) in some.items():
            found += findings
            grids[case] = grid
            listener.case("rank", len(grids), len(run.cases))
    ranked = ranked_findings(found)
    run.write_table(NAME, HEADER, findings_rows(ranked, grids))
    return ranked


def _write_masks(run: Run, span: range) -> dict[str, tuple[Grid, list[Finding]]]:
    """Grid and findings of each case."""
    found = {}
    for case in run.cases[span.start : span.stop]:
        grid, settings = read_grid(case), run.settings.rank
        mine = findings_of(case, decided(run, case), grid, run.dataset.scheme, settings)
        run.write_finding_masks(case, {finding.number: mask for finding, mask in mine})
        found[case.id] = grid, [finding for finding, _ in mine]
    return found


def forget_findings(run: Run) -> None:
    """Remove findings.csv, whose flags are no longer those of the run."""
    (run.root / NAME).unlink(missing_ok=True)


def ranked_findings(found: Sequence[Finding]) -> tuple[Finding, ...]:
    """Best to look at first; of equal score by case and number."""
    return tuple(sorted(found, key=lambda each: (-each.score, each.case, each.number)))


def findings_of(
    case: Case, decision: Decided, grid: Grid, scheme: LabelScheme, settings: RankSettings
) -> list[Found]:
    """The findings of one case, highest score first; numbers 1, 2, ... in that order."""
    mistakes = find_mistakes(
        decision.given, decision.labels, decision.flagged, scheme,
        ruler_of(case.id, grid, settings.tolerance), case.unlabelled,
    )  # fmt: skip
    flagged = [np.flatnonzero(plane) for plane in decision.flagged]
    found = []
    for mistake in mistakes:
        if len(mistake.pixels) >= settings.least_pixels:
            order = np.searchsorted(flagged[mistake.plane], mistake.pixels)
            margin = float(decision.margins[mistake.plane][order].mean(dtype=np.float64))
            found.append(_found(case.id, decision, grid, scheme, mistake, margin))
    found.sort(key=lambda pair: (-pair[0].score, pair[0].plane, pair[0].box, pair[0].id))
    return [
        (Finding(**{**vars(finding), "number": number}), mask)
        for number, (finding, mask) in enumerate(found, start=1)
    ]


def _found(
    case: str, decision: Decided, grid: Grid, scheme: LabelScheme, mistake: Mistake, margin: float
) -> Found:
    given = decision.given[mistake.plane]
    places = np.array(np.unravel_index(mistake.pixels, given.shape))
    low, high = places.min(axis=1), places.max(axis=1) + 1
    mask = np.zeros(high - low, bool)
    mask[tuple(places - low[:, None])] = True
    labels = decision.labels[mistake.plane].reshape(-1)[mistake.pixels]
    names = scheme.class_names(mistake.plane)
    old, new = _commonest(given.reshape(-1)[mistake.pixels], labels)
    axes, pixels = given.ndim, len(mistake.pixels)
    finding = Finding(
        id=_identity(case, mistake),
        case=case,
        number=0,
        plane=mistake.plane,
        structure=scheme.structures[mistake.structure],
        type=mistake.type,
        given=names[old],
        suggested=names[new],
        pixels=pixels,
        size=pixels * math.prod(grid.steps),
        unit=grid.unit if grid.spacing is None else f"{grid.unit}{axes}",
        share=min(pixels / mistake.whole, 1.0),
        distance=mistake.distance,
        margin=margin,
        box=tuple(zip(low.tolist(), high.tolist(), strict=True)),
        best_slice=fullest_slice(places[0]) if axes == len(AXES) else None,
        centroid=tuple(places.mean(axis=1).tolist()),
        # the gain in Dice that a correction is expected to bring
        score=2 * pixels / mistake.both * margin,
    )
    return finding, mask


def _commonest(old: NDArray[np.uint8], new: NDArray[np.uint8]) -> tuple[int, int]:
    """The pair of classes that most of the pixels have, the lowest of equals."""
    pairs = np.bincount(old.astype(np.intp) << 8 | new)
    return divmod(int(pairs.argmax()), 256)


def _identity(case: str, mistake: Mistake) -> str:
    digest = hashlib.sha256(f"{case}\n{mistake.plane}\n{mistake.type}\n".encode())
    digest.update(mistake.pixels.astype("<i8").tobytes())
    return digest.hexdigest()[:12]


def ruler_of(case: str, grid: Grid, tolerance: str) -> Ruler:
    """A tolerance such as "2px" or "1.5mm" on a grid.

    SettingsError for mm where the image does not know its spacing.
    """
    value, unit = float(tolerance[:-2]), tolerance[-2:]
    sideways = len(grid.shape) - 1
    if grid.affine is not None:
        sideways = int(np.abs(np.array(grid.affine)[0, : len(grid.shape)]).argmax())
    if unit == "px":
        return Ruler(grid.steps, value, (1.0,) * len(grid.shape), sideways)
    if grid.spacing is None:
        raise SettingsError(
            f"{case}: rank.tolerance", expected="pixels, since the image does not know its spacing",
            got=tolerance, remedy="Give a tolerance such as 2px.",
        )  # fmt: skip
    return Ruler(grid.steps, value, grid.spacing, sideways)


# -- the table


def findings_rows(findings: Sequence[Finding], grids: Mapping[str, Grid]) -> Iterator[list[Any]]:
    """As HEADER says.  grids: of each case.  Indices count from 0, `last` is inside."""
    for rank, found in enumerate(findings, start=1):
        lacking = [None] * (len(AXES) - len(found.box))
        box = [index for first, end in found.box for index in (first, end - 1)]
        affine = grids[found.case].affine
        world = (None,) * 3 if affine is None else world_position(found.centroid, affine)
        yield [
            rank, found.id, found.case, found.number, found.structure, found.type, found.given,
            found.suggested, found.pixels, found.size, found.unit, found.share, found.distance,
            found.margin, found.score, found.best_slice, *lacking, *lacking, *box,
            *lacking, *found.centroid, *world, found.plane,
        ]  # fmt: skip


def read_findings(run: Run) -> tuple[Finding, ...]:
    """The findings in findings.csv, best first.

    Raises MissingFileError before `rank`, UnreadableFileError for a table of another make.
    """
    path = run.root / NAME
    try:
        return tuple(_from_row(row) for row in files.read_csv(path))
    except (KeyError, TypeError, ValueError) as error:
        raise UnreadableFileError(
            str(path), expected=f"a table with the columns {', '.join(HEADER)}", got=repr(error),
            remedy=f"Run `maskmend rank {run.root}` again.",
        ) from error  # fmt: skip


def _from_row(row: Mapping[str, str]) -> Finding:
    axes = [axis for axis in AXES if row[f"{axis}_first"]]
    return Finding(
        id=row["id"],
        case=row["case"],
        number=int(row["number"]),
        plane=int(row["plane"]),
        structure=row["structure"],
        type=row["type"],
        given=row["given"],
        suggested=row["suggested"],
        pixels=int(row["pixels"]),
        size=float(row["size"]),
        unit=row["unit"],
        share=float(row["share"]),
        distance=float(row["distance"] or "nan"),
        margin=float(row["margin"]),
        box=tuple((int(row[f"{axis}_first"]), int(row[f"{axis}_last"]) + 1) for axis in axes),
        best_slice=int(row["best_slice"]) if row["best_slice"] else None,
        centroid=tuple(float(row[f"centroid_{axis}"]) for axis in axes),
        score=float(row["score"]),
    )
