"""What reviewers decided, applied: which labels a case gets, and what became of each finding."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from maskmend import files
from maskmend.core import Case, Decision, Finding, LabelArray
from maskmend.deciding import Decided
from maskmend.errors import MissingFileError, RunMismatchError
from maskmend.exporting.options import Job
from maskmend.review.decisions import FILE, JUDGING, Decisions, Stored
from maskmend.review.pixels import CasePixels, Repaint, case_pixels, digest, repainted, repaints
from maskmend.review.session import ranked_findings
from maskmend.review.state import ReviewState, Standing
from maskmend.store import Run

OUTCOMES = "outcomes.csv"
TRAIL = "decisions.csv"

OUTCOMES_HEADER = (
    "finding", "case", "number", "structure", "type", "given", "suggested", "pixels", "state",
    "became", "changed_pixels", "why", "decision", "before", "after",
)  # fmt: skip

TRAIL_HEADER = (
    "number", "time", "reviewer", "case", "finding", "verdict", "comment", "undoes", "undone_by",
    "in_bulk", "counts", "painted_pixels", "before", "after",
)  # fmt: skip

OUTDATED = "outdated"
"""State of a finding whose suggestion is another now than when it was accepted."""

FORMULAS = ("=", "+", "-", "@", "\t", "\r")
"""How a text begins that a spreadsheet would compute."""

Digests = tuple[str | None, str | None]
"""SHA-256 of labels before and after."""


@dataclass(frozen=True)
class Reviewed:
    """The decisions of a run at one moment."""

    state: ReviewState


@dataclass(frozen=True, eq=False)
class ReviewedCase:
    """decided: what is written.  outcomes: rows of outcomes.csv.  digests: number of a decision
    that was stored without them, in bulk -> those of its finding's plane.
    """

    decided: Decided
    outcomes: tuple[list[Any], ...] = ()
    digests: Mapping[int, Digests] = field(default_factory=dict)


@contextmanager
def reading_review(run: Run) -> Iterator[Reviewed]:
    """The decisions up to now.  Raises MissingFileError before a review."""
    path = run.root / FILE
    if not path.exists():
        raise MissingFileError(
            str(path), expected="the decisions of a review", got="none",
            remedy=f"Decide with `maskmend review {run.root}`, or export without --decisions.",
        )  # fmt: skip
    findings = ranked_findings(run)
    decisions = Decisions(path)
    try:
        yield Reviewed(ReviewState(findings, decisions))
    finally:
        decisions.close()


def decided_by_review(job: Job, case: Case, reviewed: Reviewed) -> ReviewedCase:
    """The labels of a case as decided; what is open, rejected, unsure or a conflict stays as given.

    Decisions on cases and structures that are not wanted are left out.  Raises RunMismatchError
    for decisions that were made on other labels.
    """
    state, run = reviewed.state, job.run
    findings = state.by_case.get(case.id, [])
    given = np.asarray(run.read_given(case))
    pixels = case_pixels(run, case, given, findings)
    plane_digests = [digest(plane) for plane in given] if findings else []
    entries = []
    for finding in findings:
        standing = state.standing(finding)
        _check_labels(finding, standing, given, plane_digests)
        outdated = _outdated(standing, finding, given, pixels)
        wanted = job.options.takes(case) and _concerns(finding, job.options.structures)
        entries.append(_Entry(finding, standing, outdated, wanted))
    taken = [(each.finding, each.standing) for each in entries if each.taken]
    paint = repaints(pixels, taken, state.decisions.runs_of)
    labels = np.stack([
        repainted(plane, [each for each in paint if each.plane == number])
        for number, plane in enumerate(given)
    ])  # fmt: skip
    after = [digest(plane) for plane in labels] if findings else []
    rows = []
    for each in entries:
        plane = each.finding.plane
        changed = _changed(each, pixels, state, given[plane], labels[plane])
        rows.append([*_facts(each, changed), plane_digests[plane], after[plane]])
    lacking = _lacking_digests(state, findings, given, pixels, plane_digests)
    # a person decided: there are no margins of a model to tell
    return ReviewedCase(Decided(given, labels, labels != given, ()), tuple(rows), lacking)


def write_review(job: Job, reviewed: Reviewed, cases: Iterable[ReviewedCase]) -> dict[str, int]:
    """outcomes.csv, best finding first, and decisions.csv.  Returns state -> findings."""
    done = list(cases)
    rank = reviewed.state.rank
    rows = sorted((row for case in done for row in case.outcomes), key=lambda row: rank[row[0]])
    files.write_csv(job.out / OUTCOMES, OUTCOMES_HEADER, rows)
    digests = {number: pair for case in done for number, pair in case.digests.items()}
    files.write_csv(job.out / TRAIL, TRAIL_HEADER, _trail(reviewed.state, digests))
    return dict(Counter(row[OUTCOMES_HEADER.index("state")] for row in rows))


@dataclass(frozen=True)
class _Entry:
    """A finding on its way into the labels."""

    finding: Finding
    standing: Standing
    outdated: bool
    wanted: bool

    @property
    def taken(self) -> bool:
        return self.wanted and not self.outdated and self.standing.deciding is not None

    @property
    def became(self) -> str:
        if not self.taken:
            return "given"
        return "edited" if self.standing.state == "edit" else "suggested"

    @property
    def why(self) -> str:
        said = "; ".join(f"{each.reviewer}: {each.verdict}" for each in self.standing.by)
        if self.outdated:
            return f"{said}; the suggestion is another one since, look again"
        if not self.wanted and self.standing.deciding is not None:
            return f"{said}; left out by --cases or --structures"
        return said or "not reviewed"


def _check_labels(
    finding: Finding, standing: Standing, given: LabelArray, plane_digests: list[str]
) -> None:
    for each in standing.by:
        mine = plane_digests[finding.plane] if each.finding is not None else digest(given)
        if each.before not in (None, mine):
            raise RunMismatchError(
                finding.case, expected="decisions that were made on the labels of this run",
                got=f"decision {each.number}, made on others",
                remedy=f"Restore the {FILE} of this run.",
            )  # fmt: skip


def _outdated(standing: Standing, finding: Finding, given: LabelArray, pixels: CasePixels) -> bool:
    """Whether accepting makes something else now than what the reviewer accepted."""
    decision = standing.deciding
    if decision is None or decision.verdict != "accept" or decision.after is None:
        return False
    if decision.finding is not None:
        return decision.after != _accepted(finding, given, pixels)
    whole = [repainted(plane, [Repaint(number, pixels.planes[number])])
             for number, plane in enumerate(given)]  # fmt: skip
    return decision.after != digest(np.stack(whole))


def _accepted(finding: Finding, given: LabelArray, pixels: CasePixels) -> str:
    paint = Repaint(finding.plane, pixels.by_finding[finding.number])
    return digest(repainted(given[finding.plane], [paint]))


def _concerns(finding: Finding, structures: tuple[str, ...]) -> bool:
    named = {finding.structure, finding.given, finding.suggested}
    return not structures or bool(named & {*structures})


def _changed(
    entry: _Entry, pixels: CasePixels, state: ReviewState, given: LabelArray, labels: LabelArray
) -> int:
    """Pixels of the finding, or painted in its edit, that are not as given."""
    decision = entry.standing.deciding
    if not entry.taken or decision is None:
        return 0
    old, new = given.reshape(-1), labels.reshape(-1)
    if decision.verdict == "edit":
        return sum(
            int(np.count_nonzero(old[start : start + n] != new[start : start + n]))
            for start, n, _ in state.decisions.runs_of(decision.number)
        )
    where = pixels.by_finding[entry.finding.number].where
    return int(np.count_nonzero(old[where] != new[where]))


def _facts(entry: _Entry, changed: int) -> list[Any]:
    finding, decision = entry.finding, entry.standing.deciding
    return [
        finding.id, finding.case, finding.number, finding.structure, finding.type, finding.given,
        finding.suggested, finding.pixels, OUTDATED if entry.outdated else entry.standing.state,
        entry.became, changed, plain_text(entry.why),
        decision.number if entry.taken and decision is not None else None,
    ]  # fmt: skip


def _lacking_digests(
    state: ReviewState, findings: Iterable[Finding], given: LabelArray, pixels: CasePixels,
    plane_digests: list[str],
) -> dict[int, Digests]:  # fmt: skip
    """Of the bulk decisions that count, which were stored without digests."""
    found: dict[int, Digests] = {}
    for finding in findings:
        for each in state.standing(finding).by:
            if each.before is None:
                after = _accepted(finding, given, pixels) if each.verdict == "accept" else None
                found[each.number] = plane_digests[finding.plane], after
    return found


def _trail(state: ReviewState, digests: Mapping[int, Digests]) -> list[list[Any]]:
    stored = state.all_stored()
    undone_by = {each.decision.undoes: each.decision.number for each in stored
                 if each.decision.undoes is not None}  # fmt: skip
    counting = {decision.number for _, standing in state.standings() for decision in standing.by}
    return [_trail_row(each, state, undone_by, counting, digests) for each in stored]


def _trail_row(
    stored: Stored, state: ReviewState, undone_by: Mapping[int, int], counting: set[int],
    digests: Mapping[int, Digests],
) -> list[Any]:  # fmt: skip
    each: Decision = stored.decision
    painted = None
    if each.verdict == "edit":
        painted = sum(length for _, length, _ in state.decisions.runs_of(each.number))
    before, after = digests.get(each.number, (each.before, each.after))
    return [
        each.number, each.time, plain_text(each.reviewer), each.case, each.finding, each.verdict,
        plain_text(each.comment), each.undoes, undone_by.get(each.number),
        stored.batch is not None, _counts(each, state, undone_by, counting), painted, before, after,
    ]  # fmt: skip


def _counts(
    decision: Decision, state: ReviewState, undone_by: Mapping[int, int], counting: set[int]
) -> str:
    """yes, or why not."""
    if decision.verdict not in JUDGING:
        return "no: a comment" if decision.verdict == "comment" else "no: an undo"
    if decision.number in undone_by:
        return "no: undone"
    if decision.number in counting:
        return "yes"
    gone = decision.finding is not None and state.finding(decision.finding) is None
    return "no: findings.csv has no such finding" if gone else "no: decided again"


def plain_text(text: str) -> str:
    """Text of a person as a cell of a table; a quote keeps a spreadsheet from computing it."""
    return f"'{text}" if text.startswith(FORMULAS) else text
