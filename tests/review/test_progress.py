"""Figures of a review: by hand, against formulas of others, and what does not count."""

from __future__ import annotations

import math
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from scipy.stats import binomtest

from maskmend.core import Decision
from maskmend.review.decisions import FILE, Decisions
from maskmend.review.progress import (
    agreement_of,
    cohens_kappa,
    pace,
    progress,
    wilson_interval,
)
from maskmend.review.state import ReviewState

from .test_state import FINDINGS, decision


@pytest.mark.parametrize(("hits", "total"), [(0, 1), (1, 1), (0, 30), (30, 30), (7, 9), (450, 500)])
def test_the_interval_is_that_of_scipy(hits: int, total: int) -> None:
    expected = binomtest(hits, total).proportion_ci(method="wilson")
    assert wilson_interval(hits, total) == pytest.approx((expected.low, expected.high), abs=1e-12)


def test_without_any_judgement_nothing_is_known() -> None:
    assert wilson_interval(0, 0) == (0.0, 1.0)


def test_kappa_by_hand() -> None:
    pairs = [("e", "e")] * 20 + [("e", "n")] * 5 + [("n", "e")] * 10 + [("n", "n")] * 15
    # Cohen's own kind of table: 0.7 observed, 0.5 * 0.6 + 0.5 * 0.4 by chance
    assert cohens_kappa(pairs) == pytest.approx((0.7 - 0.5) / 0.5)
    assert math.isnan(cohens_kappa([("e", "e")] * 5))
    assert math.isnan(cohens_kappa([]))
    assert cohens_kappa([("e", "n"), ("n", "e")]) == pytest.approx(-1)


def test_agreement_counts_pairs_of_reviewers() -> None:
    assert agreement_of([{"a": "error"}, {}]) is None
    found = agreement_of(
        [{"a": "error", "b": "error", "c": "reject"}, {"a": "reject", "b": "error"}]
    )
    assert found is not None
    assert (found.pairs, found.share) == (4, 0.25)


def at(seconds: float) -> Decision:
    time = datetime(2026, 1, 1, tzinfo=UTC) + timedelta(seconds=seconds)
    return Decision(1, time.isoformat(timespec="milliseconds"), "a", "c", "f", "accept")


def test_the_pace_leaves_pauses_out() -> None:
    assert pace([]) is None
    assert pace([at(0)]) is None
    assert pace([at(0), at(10), at(20)]) == pytest.approx(6)
    assert pace([at(0), at(10), at(5000), at(5010)]) == pytest.approx(6)


def test_the_figures_of_a_review(tmp_path: Path) -> None:
    store = Decisions(tmp_path / FILE)
    state = ReviewState(FINDINGS, store)
    store.add(decision("accept", "ann", "x"))
    store.add(decision("reject", "ann", finding="f2"))
    store.add(decision("edit", "ann", "y", finding="f3", case="c2"))
    store.add(decision("reject", "bob", finding="f2"))
    store.add(decision("accept", "bob", "x"))
    state.refresh()
    found = progress(state, "ann")
    assert (found["total"], found["decided"]) == (4, 3)
    assert found["by_state"] == {
        "open": 1, "accept": 1, "reject": 1, "unsure": 0, "edit": 1, "conflict": 0,
    }  # fmt: skip
    precision = found["precision"]
    assert (precision["accepted"], precision["judged"]) == (2, 3)
    assert precision["value"] == pytest.approx(2 / 3)
    assert precision["by_type"]["missing"] == {
        "accepted": 0, "judged": 0, "value": None, "low": 0.0, "high": 1.0,
    }  # fmt: skip
    assert found["agreement"] == {"pairs": 2, "share": 1.0, "kappa": 1.0}
    assert found["per_minute"] is not None


def test_what_was_accepted_unseen_proves_nothing(tmp_path: Path) -> None:
    store = Decisions(tmp_path / FILE)
    state = ReviewState(FINDINGS, store)
    store.add(decision("reject", finding="f1"))
    rest = [decision("accept", finding=each.id, case=each.case) for each in FINDINGS[1:]]
    store.add_all(rest, together=True)
    state.refresh()
    found = progress(state)
    assert (found["decided"], found["by_state"]["accept"]) == (4, 3)
    assert (found["precision"]["accepted"], found["precision"]["judged"]) == (0, 1)
    # one who looked, after a bulk
    store.add(decision("accept", "bob", finding="f2"))
    state.refresh()
    assert progress(state)["precision"]["judged"] == 2
    assert progress(state)["agreement"] is None
