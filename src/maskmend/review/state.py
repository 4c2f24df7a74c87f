"""Which decisions count, and what is to become of each finding; kept up to date row by row.

Of each reviewer the last decision counts that is not undone; one on a whole case stands for one on
each of its findings.  Reviewers who disagree on what becomes of a finding make it a conflict.
"""

from __future__ import annotations

import threading
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from maskmend.core import Decision, Finding
from maskmend.errors import RunMismatchError
from maskmend.review.decisions import JUDGING, Decisions, Stored

OPEN, CONFLICT = "open", "conflict"

STATES = (OPEN, *JUDGING, CONFLICT)
"""What a finding can be: open, or what was decided, or a conflict."""


@dataclass(frozen=True)
class Standing:
    """Where a finding stands.

    by: the decision of each reviewer that counts, oldest first.  seen: whether one of them was
    made by itself, and not in bulk, so that somebody has looked.
    """

    state: str = OPEN
    by: tuple[Decision, ...] = ()
    seen: bool = False

    @property
    def deciding(self) -> Decision | None:
        """The decision that says what the finding becomes; None where the given label stays."""
        if self.state not in ("accept", "edit"):
            return None
        return next(each for each in reversed(self.by) if each.verdict == self.state)


def state_of(by: Sequence[Decision]) -> str:
    """What a finding is by the decisions that count, one a reviewer, oldest first.

    accept takes the suggestion, edit what was painted; reject and unsure leave what was given, and
    together they are a reject.  A conflict where that is not one and the same for all; an edit
    that makes what accepting makes agrees with an accept.
    """
    if not by:
        return OPEN
    verdicts = {each.verdict for each in by}
    if verdicts <= {"reject", "unsure"}:
        return "reject" if "reject" in verdicts else "unsure"
    if verdicts == {"accept"}:
        return "accept"
    results = {each.after for each in by}
    if verdicts <= {"accept", "edit"} and len(results) == 1 and None not in results:
        return by[-1].verdict
    return CONFLICT if len(by) > 1 else by[0].verdict


class ReviewState:
    """The findings of a run with what was decided of them.  Safe to use from several threads."""

    def __init__(self, findings: Sequence[Finding], decisions: Decisions) -> None:
        """findings: best first.  Raises RunMismatchError for two findings of one id."""
        self.findings = tuple(findings)
        self.decisions = decisions
        self.rank = {finding.id: place for place, finding in enumerate(self.findings, start=1)}
        if len(self.rank) < len(self.findings):
            raise RunMismatchError(
                "findings.csv", expected="an id of its own for each finding",
                got="two findings of one id", remedy="Run `maskmend rank` again.",
            )  # fmt: skip
        self.by_case: dict[str, list[Finding]] = defaultdict(list)
        for finding in self.findings:
            self.by_case[finding.case].append(finding)
        self.last = 0
        """Number of the last decision that is known here."""
        self.tally: Counter[tuple[str, str, bool]] = Counter()
        """(type, state, seen) -> findings."""
        self._lock = threading.RLock()
        self._stored: dict[int, Stored] = {}
        self._undone: set[int] = set()
        self._on: dict[str, list[int]] = defaultdict(list)
        self._on_case: dict[str, list[int]] = defaultdict(list)
        self._by_reviewer: dict[str, list[int]] = defaultdict(list)
        self._standing: dict[str, Standing] = {}
        self._shared: set[str] = set()
        for finding in self.findings:
            self.tally[finding.type, OPEN, False] += 1
        self.refresh()

    def refresh(self) -> list[Stored]:
        """Take in what was stored since, by any process.  Returns it."""
        with self._lock:
            new = self.decisions.after(self.last)
            touched: dict[str, Finding] = {}
            for stored in new:
                for finding in self._take_in(stored):
                    touched[finding.id] = finding
            for finding in touched.values():
                self._restand(finding)
            return new

    def finding(self, identity: str) -> Finding | None:
        place = self.rank.get(identity)
        return None if place is None else self.findings[place - 1]

    def standing(self, finding: Finding) -> Standing:
        return self._standing.get(finding.id, _OPEN)

    def standings(self) -> list[tuple[Finding, Standing]]:
        """Of all findings that are not open, in no order."""
        with self._lock:
            return [(self.findings[self.rank[key] - 1], value)
                    for key, value in self._standing.items()]  # fmt: skip

    def shared(self) -> list[Standing]:
        """Of the findings that more than one reviewer has judged, in no order."""
        with self._lock:
            return [self._standing[key] for key in self._shared]

    def comments(self, finding: Finding) -> list[Decision]:
        """What was said of a finding or of its whole case, and not taken back; oldest first."""
        with self._lock:
            numbers = sorted([*self._on.get(finding.id, ()), *self._on_case.get(finding.case, ())])
            said = [self._stored[number].decision for number in numbers
                    if number not in self._undone]  # fmt: skip
        return [each for each in said if each.comment]

    def stored(self, number: int) -> Stored | None:
        return self._stored.get(number)

    def all_stored(self) -> list[Stored]:
        """Every decision, oldest first."""
        with self._lock:
            return [self._stored[number] for number in sorted(self._stored)]

    def in_bulk(self, decision: Decision) -> bool:
        """Whether it was made together with others, unseen."""
        stored = self._stored.get(decision.number)
        return stored is not None and stored.batch is not None

    def undone(self, number: int) -> bool:
        return number in self._undone

    def recent(self, reviewer: str | None, count: int) -> list[Decision]:
        """The last decisions that were made one by one and stand, of one reviewer or of all."""
        with self._lock:
            numbers: Iterable[int] = (
                reversed(self._stored) if reviewer is None
                else reversed(self._by_reviewer.get(reviewer, []))
            )  # fmt: skip
            found: list[Decision] = []
            for number in numbers:
                stored = self._stored[number]
                if (stored.batch is None and stored.decision.verdict in JUDGING
                        and number not in self._undone):  # fmt: skip
                    found.append(stored.decision)
                if len(found) == count:
                    break
        return found[::-1]

    def touched_by(self, decision: Decision) -> list[Finding]:
        """The findings that a decision is about; none where the ranking no longer has it."""
        if decision.finding is None:
            return self.by_case.get(decision.case, [])
        finding = self.finding(decision.finding)
        return [] if finding is None else [finding]

    def _take_in(self, stored: Stored) -> list[Finding]:
        decision = stored.decision
        self._stored[decision.number] = stored
        self.last = decision.number
        self._by_reviewer[decision.reviewer].append(decision.number)
        if decision.undoes is not None:
            self._undone.add(decision.undoes)
        elif decision.finding is not None:
            self._on[decision.finding].append(decision.number)
        else:
            self._on_case[decision.case].append(decision.number)
        return self.touched_by(decision)

    def _restand(self, finding: Finding) -> None:
        last: dict[str, Stored] = {}
        for number in sorted([*self._on.get(finding.id, ()), *self._on_case.get(finding.case, ())]):
            stored = self._stored[number]
            if number not in self._undone and stored.decision.verdict in JUDGING:
                last[stored.decision.reviewer] = stored
        counting = sorted(last.values(), key=lambda stored: stored.decision.number)
        by = tuple(stored.decision for stored in counting)
        new = Standing(state_of(by), by, any(stored.batch is None for stored in counting))
        old = self.standing(finding)
        self.tally[finding.type, old.state, old.seen] -= 1
        self.tally[finding.type, new.state, new.seen] += 1
        if len(new.by) > 1:
            self._shared.add(finding.id)
        else:
            self._shared.discard(finding.id)
        if new.by:
            self._standing[finding.id] = new
        else:
            self._standing.pop(finding.id, None)


_OPEN = Standing()
