"""Which decisions count: worked by hand, and against a slow reading of the whole file."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from maskmend.core import Decision, Finding
from maskmend.errors import RunMismatchError
from maskmend.review.decisions import FILE, JUDGING, Decisions
from maskmend.review.state import ReviewState, Standing, state_of


def finding(identity: str, case: str = "c1", kind: str = "extra") -> Finding:
    return Finding(
        identity, case, int(identity[1:]), 0, "lung", kind, "lung", "background", 3, 3.0, "px", 0.1,
        1.0, 0.5, ((0, 1), (0, 3)), None, (0.0, 1.0), 1.0,
    )  # fmt: skip


FINDINGS = [finding("f1"), finding("f2"), finding("f3", "c2"), finding("f4", "c2", "missing")]


def decision(verdict: str, reviewer: str = "a", after: str | None = None, **more: Any) -> Decision:
    return Decision(0, "", reviewer, more.pop("case", "c1"), verdict=verdict,
                    finding=more.pop("finding", "f1"), after=after, **more)  # fmt: skip


@pytest.mark.parametrize(
    ("by", "state"),
    [
        ([], "open"),
        ([("accept", "x")], "accept"),
        ([("reject", None)], "reject"),
        ([("unsure", None)], "unsure"),
        ([("edit", "x")], "edit"),
        ([("edit", None)], "edit"),
        ([("accept", "x"), ("accept", "x")], "accept"),
        # made in bulk: no digest, but the same thing becomes of it
        ([("accept", "x"), ("accept", None)], "accept"),
        ([("accept", "x"), ("reject", None)], "conflict"),
        ([("accept", "x"), ("unsure", None)], "conflict"),
        ([("reject", None), ("unsure", None)], "reject"),
        ([("unsure", None), ("unsure", None)], "unsure"),
        ([("edit", "x"), ("edit", "x")], "edit"),
        ([("edit", "x"), ("edit", "y")], "conflict"),
        ([("accept", "x"), ("edit", "x")], "edit"),
        ([("edit", "x"), ("accept", "x")], "accept"),
        ([("accept", "x"), ("edit", "y")], "conflict"),
        ([("accept", None), ("edit", "x")], "conflict"),
        ([("edit", "x"), ("reject", None)], "conflict"),
    ],
)
def test_what_becomes_of_a_finding(by: list[tuple[str, str | None]], state: str) -> None:
    decisions = [decision(verdict, f"r{n}", after) for n, (verdict, after) in enumerate(by)]
    assert state_of(decisions) == state


@pytest.fixture
def store(tmp_path: Path) -> Decisions:
    return Decisions(tmp_path / FILE)


def states(state: ReviewState) -> list[str]:
    return [state.standing(each).state for each in FINDINGS]


def test_the_last_of_a_reviewer_counts_and_an_undo_brings_back(store: Decisions) -> None:
    state = ReviewState(FINDINGS, store)
    store.add(decision("accept"))
    store.add(decision("reject"))
    store.add(decision("comment", comment="hm"))
    state.refresh()
    assert states(state) == ["reject", "open", "open", "open"]
    store.undo("a")
    state.refresh()
    # the comment is gone, the verdict is not
    assert (states(state)[0], state.comments(FINDINGS[0])) == ("reject", [])
    store.undo("a")
    state.refresh()
    assert states(state)[0] == "accept"
    store.undo("a")
    state.refresh()
    assert states(state)[0] == "open"


def test_a_whole_case_gives_way_to_what_is_newer(store: Decisions) -> None:
    state = ReviewState(FINDINGS, store)
    store.add(decision("reject", finding="f3", case="c2"))
    store.add(decision("accept", finding=None, case="c2", comment="fine"))
    store.add(decision("unsure", finding="f4", case="c2"))
    state.refresh()
    assert states(state) == ["open", "open", "accept", "unsure"]
    assert [each.comment for each in state.comments(FINDINGS[2])] == ["fine"]
    store.undo("a")
    store.undo("a")
    state.refresh()
    assert states(state) == ["open", "open", "reject", "open"]


def test_two_servers_see_each_other(tmp_path: Path) -> None:
    one, other = (ReviewState(FINDINGS, Decisions(tmp_path / FILE)) for _ in range(2))
    one.decisions.add(decision("accept", "ann"))
    assert [kept.decision.reviewer for kept in other.refresh()] == ["ann"]
    other.decisions.add(decision("reject", "bob"))
    one.refresh()
    assert states(one)[0] == "conflict"
    assert one.standing(FINDINGS[0]).deciding is None


def test_a_finding_that_is_no_longer_there_is_kept_but_counts_for_nothing(
    store: Decisions,
) -> None:
    store.add(decision("accept", finding="gone", case="c9"))
    state = ReviewState(FINDINGS, store)
    assert states(state) == ["open"] * 4
    assert [kept.decision.finding for kept in state.all_stored()] == ["gone"]


def test_two_findings_of_one_id_are_refused(store: Decisions) -> None:
    with pytest.raises(RunMismatchError, match="one id"):
        ReviewState([FINDINGS[0], FINDINGS[0]], store)


def slow_states(store: Decisions) -> list[str]:
    """The rule, read from the start of the file for each finding."""
    rows = [kept.decision for kept in store.after(0)]
    undone = {row.undoes for row in rows if row.undoes}
    found = []
    for each in FINDINGS:
        last: dict[str, Decision] = {}
        for row in rows:
            mine = row.finding == each.id or (row.finding is None and row.case == each.case)
            if mine and row.verdict in JUDGING and row.number not in undone:
                last[row.reviewer] = row
        found.append(state_of(sorted(last.values(), key=lambda row: row.number)))
    return found


@pytest.mark.parametrize("seed", range(8))
def test_row_by_row_is_the_same_as_all_at_once(store: Decisions, seed: int) -> None:
    rng, state = np.random.default_rng(seed), ReviewState(FINDINGS, store)
    for _ in range(60):
        who = str(rng.choice(["a", "b", "c"]))
        about = FINDINGS[rng.integers(4)]
        whole = rng.random() < 0.2
        if rng.random() < 0.25:
            store.undo(who)
        elif rng.random() < 0.2:
            some = [decision("accept", who, finding=each.id, case=each.case) for each in FINDINGS]
            store.add_all(some[: rng.integers(1, 5)], together=True)
        else:
            verdict = str(rng.choice([*JUDGING[:3], "comment"]))
            store.add(decision(verdict, who, case=about.case, comment="x",
                               finding=None if whole else about.id))  # fmt: skip
        if rng.random() < 0.5:
            state.refresh()
            assert states(state) == slow_states(store)
    state.refresh()
    fresh = ReviewState(FINDINGS, store)
    assert states(fresh) == states(state) == slow_states(store)
    assert +fresh.tally == +state.tally
    assert sum(state.tally.values()) == len(FINDINGS)


def test_a_standing_without_decisions_is_open() -> None:
    assert Standing().deciding is None
