"""The file of decisions: only added to, by several at once, and whole after a kill."""

from __future__ import annotations

import os
import signal
import sqlite3
import subprocess
import sys
import threading
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path

import pytest

from maskmend.core import Decision
from maskmend.errors import RunMismatchError, UnreadableFileError
from maskmend.review.decisions import FILE, Decisions

ADDING = """
import sys
from pathlib import Path
from maskmend.core import Decision
from maskmend.review.decisions import Decisions

store = Decisions(Path(sys.argv[1]))
for count in range(int(sys.argv[3])):
    made = Decision(0, "", sys.argv[2], "case", f"{count:012x}", "accept", comment=f"{count}")
    print(store.add(made).number, count, flush=True)
"""


def said(verdict: str = "accept", reviewer: str = "ann", finding: str | None = "f1") -> Decision:
    return Decision(0, "", reviewer, "case-1", finding, verdict)


@pytest.fixture
def store(tmp_path: Path) -> Decisions:
    return Decisions(tmp_path / FILE)


def test_a_decision_comes_back_as_it_was(tmp_path: Path) -> None:
    zone = timezone(timedelta(hours=2))
    store = Decisions(tmp_path / FILE, clock=lambda: datetime(2026, 1, 2, 3, 4, 5, 678900, zone))
    made = Decision(
        7, "then", "Änn O'Hara; DROP TABLE decisions", "kás <b>", "abc", "edit", "say\n\"hi\"",
        None, "b" * 64, "c" * 64, ((3, 2, 1), (9, 1, 0)),
    )  # fmt: skip
    stored = store.add(made)
    assert (stored.number, stored.time) == (1, "2026-01-02T01:04:05.678+00:00")
    again = Decisions(tmp_path / FILE)
    (kept,) = again.after(0)
    assert again.runs_of(1) == made.runs
    assert kept.batch is None
    assert kept.decision == Decision(
        1, stored.time, made.reviewer, made.case, "abc", "edit", made.comment, None, "b" * 64,
        "c" * 64,
    )  # fmt: skip
    assert again.after(1) == []


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE decisions SET verdict = 'reject'",
        "UPDATE OR REPLACE decisions SET number = 2",
        "DELETE FROM decisions",
        "REPLACE INTO decisions (number, time, reviewer, case_id, verdict, comment) "
        "VALUES (1, 't', 'r', 'c', 'reject', '')",
        "INSERT INTO decisions (time, reviewer, case_id, verdict, comment) "
        "VALUES ('t', 'r', 'c', 'delete', '')",
        "INSERT INTO decisions (time, reviewer, case_id, verdict, comment) "
        "VALUES ('t', '', 'c', 'accept', '')",
        "INSERT INTO decisions (time, reviewer, case_id, verdict, comment) "
        "VALUES ('t', 'r', 'c', 'undo', '')",
    ],
)
def test_rows_are_never_changed(store: Decisions, statement: str) -> None:
    store.add(said())
    other = sqlite3.connect(store.path)
    with pytest.raises(sqlite3.IntegrityError):
        other.execute(statement)
    assert [kept.decision.verdict for kept in store.after(0)] == ["accept"]


def test_undo_takes_the_last_that_stands(store: Decisions) -> None:
    store.add(said("accept"))
    store.add(said("reject", reviewer="bob"))
    store.add(said("unsure"))
    assert [each.verdict for each in store.undo("ann")] == ["unsure"]
    assert [each.verdict for each in store.undo("ann")] == ["accept"]
    assert store.undo("ann") == []
    assert store.undo("nobody") == []
    rows = [kept.decision for kept in store.after(0)]
    assert [(row.verdict, row.undoes) for row in rows[3:]] == [("undo", 3), ("undo", 1)]
    with pytest.raises(ValueError, match="undo"):
        store.add(said("undo"))


def test_a_bulk_is_all_or_nothing_and_undone_together(store: Decisions) -> None:
    store.add(said("reject", finding="f0"))
    made = store.add_all([said(finding=f"f{n}") for n in range(3)], together=True)
    assert [kept.batch for kept in store.after(0)] == [None, 2, 2, 2]
    broken = [said(finding="f8"), said(verdict="nonsense", finding="f9")]
    with pytest.raises(sqlite3.IntegrityError):
        store.add_all(broken, together=True)
    assert store.last() == 4
    assert [each.number for each in store.undo("ann")] == [each.number for each in made]
    assert [each.finding for each in store.undo("ann")] == ["f0"]


def test_threads_and_two_stores_on_one_file(tmp_path: Path) -> None:
    stores = [Decisions(tmp_path / FILE) for _ in range(2)]
    errors: list[Exception] = []

    def work(which: int) -> None:
        try:
            for count in range(25):
                stores[which % 2].add(said(reviewer=f"r{which}", finding=f"{count}"))
        except sqlite3.Error as error:
            errors.append(error)

    threads = [threading.Thread(target=work, args=(n,)) for n in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert errors == []
    for store in stores:
        rows = [kept.decision for kept in store.after(0)]
        assert [row.number for row in rows] == list(range(1, 151))
        for who in range(6):
            mine = [row.finding for row in rows if row.reviewer == f"r{who}"]
            assert mine == [str(n) for n in range(25)]


def test_two_undos_at_once_take_back_two(tmp_path: Path) -> None:
    stores = [Decisions(tmp_path / FILE) for _ in range(2)]
    for count in range(40):
        stores[0].add(said(finding=f"{count}"))
    taken: list[int] = []

    def work(store: Decisions) -> None:
        for _ in range(20):
            taken.extend(each.number for each in store.undo("ann"))

    threads = [threading.Thread(target=work, args=(store,)) for store in stores]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(taken) == list(range(1, 41))


def test_what_was_confirmed_survives_a_kill(tmp_path: Path) -> None:
    path, kept = tmp_path / FILE, 0
    for turn in range(3):
        command = [sys.executable, "-c", ADDING, str(path), f"r{turn}", "100000"]
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as writer:
            assert writer.stdout is not None
            confirmed = [writer.stdout.readline() for _ in range(40)]
            os.kill(writer.pid, signal.SIGKILL)
            # what it had confirmed before it died, but nobody had read
            confirmed += [line for line in writer.stdout if line.endswith("\n")]
        store = Decisions(path)
        rows = {row.decision.number: row.decision for row in store.after(kept)}
        for line in confirmed:
            number, count = map(int, line.split())
            assert rows[number].comment == str(count)
            assert rows[number].reviewer == f"r{turn}"
        # at most the one that was on its way
        assert len(rows) - len(confirmed) in (0, 1)
        kept = store.last()
        assert sqlite3.connect(path).execute("PRAGMA integrity_check").fetchone() == ("ok",)
        store.close()


def test_another_file_is_refused(tmp_path: Path) -> None:
    text = tmp_path / "text.sqlite"
    text.write_text("not a database, " * 100)
    with pytest.raises(UnreadableFileError, match="SQLite"):
        Decisions(text)
    other = tmp_path / "other.sqlite"
    with sqlite3.connect(other) as database:
        database.execute("CREATE TABLE notes (text TEXT)")
    with pytest.raises(RunMismatchError, match="format 0"):
        Decisions(other)
    later = tmp_path / "later.sqlite"
    Decisions(later).close()
    with sqlite3.connect(later) as database:
        database.execute("PRAGMA user_version = 2")
    with pytest.raises(RunMismatchError, match="format 2"):
        Decisions(later)


def test_the_default_clock_is_utc(store: Decisions) -> None:
    time = datetime.fromisoformat(store.add(said()).time)
    assert abs(datetime.now(UTC) - time) < timedelta(minutes=1)
