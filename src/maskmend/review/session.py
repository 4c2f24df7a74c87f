"""A review under way: the run, its findings, what was decided, and what a page asks for."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from functools import cached_property
from typing import Any

import numpy as np

from maskmend.core import Case, Decision, Finding, Grid, LabelArray
from maskmend.datasets import read_grid, read_image
from maskmend.errors import MissingFileError
from maskmend.findings import NAME, read_findings
from maskmend.review.decisions import Decisions
from maskmend.review.pixels import (
    CasePixels,
    PlaneDigest,
    PlanePixels,
    Repaint,
    Runs,
    case_pixels,
    digest,
    repainted,
    repaints,
)
from maskmend.review.slices import Cache, Image, LabelPlane, prepared
from maskmend.review.state import ReviewState, Standing
from maskmend.store import Run

IMAGE_BYTES = 128 * 2**20
LABEL_BYTES = 96 * 2**20
"""What decoded images, and labels with their findings, may take of the memory."""

ORDERS: dict[str, Callable[[Finding], Any]] = {
    "rank": lambda finding: 0,
    "case": lambda finding: finding.case,
    "size": lambda finding: -finding.size,
    "margin": lambda finding: -finding.margin if finding.margin == finding.margin else math.inf,
    "type": lambda finding: finding.type,
}
"""Name -> key by which findings are sorted; equal ones stay in the order of their rank."""


@dataclass(frozen=True)
class Filter:
    """Which findings are wanted; None asks for nothing.  case: its name; name: a part of it."""

    type: str | None = None
    structure: str | None = None
    state: str | None = None
    case: str | None = None
    name: str | None = None
    min_score: float | None = None

    def takes(self, finding: Finding, standing: Standing) -> bool:
        return (
            (self.type is None or finding.type == self.type)
            and (self.structure is None or finding.structure == self.structure)
            and (self.state is None or standing.state == self.state)
            and (self.case is None or finding.case == self.case)
            and (self.name is None or self.name in finding.case.casefold())
            and (self.min_score is None or finding.score >= self.min_score)
        )


@dataclass(frozen=True, eq=False)
class _Given:
    labels: LabelArray

    @property
    def nbytes(self) -> int:
        return int(self.labels.nbytes)


@dataclass(frozen=True)
class Answer:
    """What a reviewer says, before it is a decision."""

    case: Case
    finding: Finding | None
    verdict: str
    reviewer: str
    comment: str = ""
    runs: Runs = ()


def ranked_findings(run: Run) -> tuple[Finding, ...]:
    """What is to be reviewed, best first.  Raises MissingFileError before `rank`."""
    if not (run.root / NAME).exists():
        raise MissingFileError(
            str(run.root), expected=f"a run that has been ranked, with {NAME}", got="none",
            remedy=f"Run `maskmend rank {run.root}` first.",
        )  # fmt: skip
    return read_findings(run)


class Review:
    """Safe to use from several threads."""

    def __init__(
        self, run: Run, findings: Sequence[Finding], decisions: Decisions,
        reviewer: str | None = None,
    ) -> None:  # fmt: skip
        """findings: best first, all of cases of the run.  reviewer: the name to begin with."""
        self.run = run
        self.reviewer = reviewer
        self.cases = run.cases
        self.case_index = {case.id: index for index, case in enumerate(self.cases)}
        self.state = ReviewState(findings, decisions)
        self._images = Cache(IMAGE_BYTES)
        self._labels = Cache(LABEL_BYTES)
        self._grids: dict[int, Grid] = {}
        self._digested: dict[tuple[int, int], PlaneDigest] = {}

    # -- findings

    @cached_property
    def types(self) -> list[str]:
        return sorted({finding.type for finding in self.state.findings})

    @cached_property
    def _ordered(self) -> dict[str, list[Finding]]:
        return {name: sorted(self.state.findings, key=key) for name, key in ORDERS.items()}

    def select(self, wanted: Filter, order: str = "rank") -> list[Finding]:
        """The findings that a filter takes.  order: of ORDERS."""
        standing = self.state.standing
        return [each for each in self._ordered[order] if wanted.takes(each, standing(each))]

    def item(self, finding: Finding) -> dict[str, Any]:
        """A finding as the page gets it: its facts, where it stands, and who said so."""
        standing = self.state.standing(finding)
        return {
            **_facts(finding),
            "rank": self.state.rank[finding.id],
            "case_index": self.case_index[finding.case],
            "state": standing.state,
            "by": [{"reviewer": each.reviewer, "verdict": each.verdict, "time": each.time}
                   for each in standing.by],
            "comments": len(self.state.comments(finding)),
        }  # fmt: skip

    # -- pixels

    def grid(self, index: int) -> Grid:
        if index not in self._grids:
            self._grids[index] = read_grid(self.cases[index])
        return self._grids[index]

    def image(self, index: int) -> Image:
        case = self.cases[index]
        return self._images.get(index, lambda: prepared(read_image(case), len(case.images) == 1))

    def given(self, index: int) -> LabelArray:
        """(planes, *S)."""
        return self._labels.get(
            ("given", index), lambda: _Given(self.run.read_given(self.cases[index]))
        ).labels

    def pixels(self, index: int) -> CasePixels:
        case = self.cases[index]
        return self._labels.get(
            ("pixels", index),
            lambda: case_pixels(self.run, case, self.given(index),
                                self.state.by_case.get(case.id, [])),
        )  # fmt: skip

    def label_planes(self, index: int, decided: bool) -> list[LabelPlane]:
        """decided: with what was decided so far; else as given."""
        given, pixels = self.given(index), self.pixels(index)
        paint = self._repaints(index) if decided else []
        return [
            LabelPlane(labels, self._decided(index, plane, paint), pixels.planes[plane])
            for plane, labels in enumerate(given)
        ]

    def plane_labels(self, index: int, plane: int, kind: str) -> LabelArray:
        """One plane, (*S): given, suggested (all findings accepted) or decided."""
        given = self.given(index)[plane]
        if kind == "suggested":
            return repainted(given, [Repaint(plane, self.pixels(index).planes[plane])])
        return given if kind == "given" else self._decided(index, plane, self._repaints(index))

    def _repaints(self, index: int) -> list[Repaint]:
        findings = self.state.by_case.get(self.cases[index].id, [])
        standings = [(finding, self.state.standing(finding)) for finding in findings]
        return repaints(self.pixels(index), standings, self.state.decisions.runs_of)

    def _decided(self, index: int, plane: int, paint: Sequence[Repaint]) -> LabelArray:
        given = self.given(index)[plane]
        mine = [each for each in paint if each.plane == plane]
        return repainted(given, mine) if mine else given

    # -- decisions

    def decide(self, answer: Answer) -> Decision:
        """Store what a reviewer says; it is on the disk when this returns."""
        before, after = self._digests(answer)
        decision = Decision(
            number=0, time="", reviewer=answer.reviewer, case=answer.case.id,
            finding=None if answer.finding is None else answer.finding.id,
            verdict=answer.verdict, comment=answer.comment, before=before, after=after,
            runs=answer.runs,
        )  # fmt: skip
        stored = self.state.decisions.add(decision)
        self.state.refresh()
        return stored

    def decide_all(
        self, findings: Sequence[Finding], verdict: str, reviewer: str, comment: str
    ) -> list[Decision]:
        """One decision on each finding, stored together; without digests: nobody saw the pixels."""
        made = [
            Decision(0, "", reviewer, finding.case, finding.id, verdict, comment)
            for finding in findings
        ]
        stored = self.state.decisions.add_all(made, together=True)
        self.state.refresh()
        return stored

    def undo(self, reviewer: str) -> list[Decision]:
        """Those taken back, oldest first."""
        taken = self.state.decisions.undo(reviewer)
        self.state.refresh()
        return taken

    def _plane_digest(self, index: int, plane: int) -> PlaneDigest:
        """Worked out once: the given labels never change."""
        if (index, plane) not in self._digested:
            self._digested[index, plane] = PlaneDigest(self.given(index)[plane])
        return self._digested[index, plane]

    def _digests(self, answer: Answer) -> tuple[str | None, str | None]:
        """Of the labels before and after: of the finding's plane, or of all planes of a case."""
        if answer.verdict == "comment":
            return None, None
        index = self.case_index[answer.case.id]
        given, finding = self.given(index), answer.finding
        if finding is None:
            before = digest(given)
            if answer.verdict != "accept":
                return before, None
            planes = [self.plane_labels(index, n, "suggested") for n in range(len(given))]
            return before, digest(np.stack(planes))
        plane, digested = given[finding.plane], self._plane_digest(index, finding.plane)
        if answer.verdict == "accept":
            paint = Repaint(finding.plane, _own(self.pixels(index), finding))
        elif answer.verdict == "edit":
            paint = Repaint(finding.plane, runs=answer.runs)
        else:
            return digested.given, None
        return digested.given, digested.repainted(plane, paint)


def _own(pixels: CasePixels, finding: Finding) -> PlanePixels:
    return pixels.by_finding[finding.number]


def _facts(finding: Finding) -> dict[str, Any]:
    """JSON has no NaN: a quantity that does not exist is null."""
    facts = asdict(finding)
    return {
        name: None if isinstance(value, float) and not math.isfinite(value) else value
        for name, value in facts.items()
    }
