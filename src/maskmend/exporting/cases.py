"""One case after the other, and what is written once for all of them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from maskmend import files
from maskmend.core import Case, Finding, Grid
from maskmend.datasets import read_grid, read_labels
from maskmend.deciding import Decided, decided
from maskmend.exporting.labels import Files, read_changes, wanted_labels, write_case
from maskmend.exporting.options import RECORD, Job
from maskmend.exporting.reviewed import (
    Reviewed,
    ReviewedCase,
    decided_by_review,
    write_review,
)
from maskmend.exporting.segments import write_segments
from maskmend.exporting.tables import CHANGES_HEADER, Reasons
from maskmend.exporting.targets import datalist_item, write_datalist, write_soft
from maskmend.findings import HEADER, findings_of, findings_rows, ranked_findings


@dataclass(frozen=True)
class ExportedCase:
    """What was written of a case.  changes: rows of changes.csv.  item: of the datalist.

    reviewed: what was decided of it, where decisions are taken.
    """

    case: str
    files: Files
    grid: Grid | None = None
    findings: tuple[Finding, ...] = ()
    changes: tuple[list[Any], ...] = ()
    item: dict[str, Any] | None = None
    reviewed: ReviewedCase | None = None


@dataclass(frozen=True)
class Exported:
    """What an export holds.  pixels: that differ from the source, as changes.csv lists them.

    outcomes: where decisions are taken, state -> findings.
    """

    files: Files
    findings: int
    pixels: int
    outcomes: Mapping[str, int] | None = None


def export_case(
    job: Job, case: Case, reasons: Reasons, reviewed: Reviewed | None = None
) -> ExportedCase:
    """Write a case; one that the run has not judged keeps its bytes.  reviewed: to be applied."""
    if (case.split, case.id) not in job.judged:
        return ExportedCase(case.id, write_case(job, case, read_labels(job.target, case)))
    mine = None if reviewed is None else decided_by_review(job, case, reviewed)
    decision = _wanted(job, case) if mine is None else mine.decided
    grid = read_grid(case)
    written = write_case(job, case, wanted_labels(job, decision))
    rows = []
    if written.changed:
        found = read_changes(job, case, decision.given)
        rows = [reasons.row(case, change) for change in found]
    findings = _findings(job, case, grid)
    item = None
    if job.options.kind == "soft":
        write_soft(job, case, decision, grid)
        item = datalist_item(job, case, grid)
    if job.options.segments:
        write_segments(job, case.id, decision, grid)
    return ExportedCase(case.id, written, grid, findings, tuple(rows), item, mine)


def _wanted(job: Job, case: Case) -> Decided:
    """All that is flagged, in the cases and structures that are wanted."""
    options = job.options
    return decided(job.run, case, structures=options.structures, taken=options.takes(case))


def _findings(job: Job, case: Case, grid: Grid) -> tuple[Finding, ...]:
    """Those of `maskmend rank` that concern what is taken; other options, the same findings."""
    if not job.options.takes(case):
        return ()
    run, wanted = job.run, set(job.options.structures)
    found = findings_of(case, decided(run, case), grid, run.dataset.scheme, run.settings.rank)
    return tuple(
        finding
        for finding, _ in found
        if not wanted or wanted & {finding.structure, finding.given, finding.suggested}
    )


def finish(job: Job, cases: Iterable[ExportedCase], reviewed: Reviewed | None = None) -> Exported:
    """findings.csv, changes.csv, decisions.csv, soft_datalist.json and, last, export.json."""
    done = list(cases)
    findings = ranked_findings([finding for case in done for finding in case.findings])
    grids = {case.case: case.grid for case in done if case.grid is not None}
    changes = [row for case in done for row in case.changes]
    files.write_csv(job.out / "findings.csv", HEADER, findings_rows(findings, grids))
    files.write_csv(job.out / "changes.csv", CHANGES_HEADER, changes)
    if job.options.kind == "soft":
        write_datalist(job, [case.item for case in done if case.item is not None])
    written = sum((case.files for case in done), Files())
    outcomes = None
    if reviewed is not None:
        outcomes = write_review(
            job, reviewed, [case.reviewed for case in done if case.reviewed is not None]
        )
    result = Exported(written, len(findings), sum(row[2] for row in changes), outcomes)
    facts = {
        "masks": vars(written),
        "findings": result.findings,
        "changed_pixels": result.pixels,
        "judged_cases": len(job.run.cases),
        **({} if outcomes is None else {"outcomes": outcomes}),
    }
    files.write_json(job.out / RECORD, job.record(finished=True, **facts))
    return result
