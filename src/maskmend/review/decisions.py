"""What reviewers decided, in SQLite: only ever added to, and on the disk before it is confirmed.

One row a decision, in RUN/review.sqlite.  Triggers refuse to change or remove a row; an undo is a
row of its own.  Several threads, and several processes on one file, may write at once.
"""

from __future__ import annotations

import json
import sqlite3
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path

from maskmend.core import Decision
from maskmend.errors import RunMismatchError, UnreadableFileError

FILE = "review.sqlite"
"""Its name in a run folder."""

JUDGING = ("accept", "reject", "unsure", "edit")
"""Verdicts that say what is to become of a finding."""

VERDICTS = (*JUDGING, "comment", "undo")

FORMAT = 1
"""Of the file, as SQLite's user_version."""

APPLICATION = 0x6D656E64
"""SQLite's application_id: "mend"."""

WAIT = 10.0
"""Seconds that a writer waits for another process to finish its own writing."""

_SCHEMA = """
CREATE TABLE decisions (
    number INTEGER PRIMARY KEY,
    time TEXT NOT NULL,
    reviewer TEXT NOT NULL CHECK (reviewer <> ''),
    case_id TEXT NOT NULL,
    finding TEXT,
    verdict TEXT NOT NULL
        CHECK (verdict IN ('accept', 'reject', 'unsure', 'edit', 'comment', 'undo')),
    comment TEXT NOT NULL,
    undoes INTEGER UNIQUE REFERENCES decisions (number),
    before TEXT,
    after TEXT,
    runs TEXT,
    batch INTEGER,
    CHECK ((verdict = 'undo') = (undoes IS NOT NULL))
) STRICT;
CREATE INDEX by_reviewer ON decisions (reviewer, number);
CREATE TRIGGER no_update BEFORE UPDATE ON decisions
    BEGIN SELECT RAISE(ABORT, 'decisions are never changed'); END;
CREATE TRIGGER no_delete BEFORE DELETE ON decisions
    BEGIN SELECT RAISE(ABORT, 'decisions are never removed'); END;
CREATE TRIGGER no_replace BEFORE INSERT ON decisions
    WHEN EXISTS (SELECT 1 FROM decisions WHERE number = NEW.number)
    BEGIN SELECT RAISE(ABORT, 'decisions are never replaced'); END;
"""

_COLUMNS = (
    "time", "reviewer", "case_id", "finding", "verdict", "comment", "undoes", "before", "after",
    "runs", "batch",
)  # fmt: skip

_LIGHT = "number, time, reviewer, case_id, finding, verdict, comment, undoes, before, after, batch"


@dataclass(frozen=True)
class Stored:
    """A decision as it lies in the file.

    decision: without its runs, which `Decisions.runs_of` reads.  batch: number of the first
    decision of those that were made together, in bulk; None of one that was made by itself.
    """

    decision: Decision
    batch: int | None = None


def utc_now() -> datetime:
    return datetime.now(UTC)


class Decisions:
    """The decisions of one run.  Safe to use from several threads."""

    def __init__(self, path: Path, clock: Callable[[], datetime] = utc_now) -> None:
        """Open the file, or make it.

        Raises UnreadableFileError for a file that is no database or is damaged, RunMismatchError
        for one of another program or format.
        """
        self.path = path
        self._clock = clock
        self._lock = threading.RLock()
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            self._db = sqlite3.connect(
                path, timeout=WAIT, isolation_level=None, check_same_thread=False
            )
            self._prepare()
        except sqlite3.DatabaseError as error:
            raise UnreadableFileError(
                str(path), expected="the SQLite file of a review", got=str(error),
                remedy="Restore it from a copy, or move it away to begin anew.",
            ) from error  # fmt: skip

    def close(self) -> None:
        with self._lock:
            self._db.close()

    def add(self, decision: Decision) -> Decision:
        """Store a decision; when this returns it is on the disk.

        Its number and time are given here.  Raises ValueError for an undo: see `undo`.
        """
        return self.add_all([decision])[0]

    def add_all(self, decisions: Sequence[Decision], together: bool = False) -> list[Decision]:
        """Store decisions, all or none.  together: they are undone together, too."""
        if any(decision.verdict == "undo" for decision in decisions):
            raise ValueError("an undo is made by `undo`")
        with self._writing() as time:
            return self._insert(decisions, time, together)

    def undo(self, reviewer: str) -> list[Decision]:
        """Take back the last decision of a reviewer, or all of the last bulk, not taken back yet.

        Returns those taken back, oldest first; none where there is nothing left to undo.
        """
        alive = (
            "reviewer = ? AND verdict <> 'undo' "
            "AND number NOT IN (SELECT undoes FROM decisions WHERE undoes IS NOT NULL)"
        )
        with self._writing() as time:
            last = self._read(f"WHERE {alive} ORDER BY number DESC LIMIT 1", (reviewer,))
            if last and last[0].batch is not None:
                last = self._read(
                    f"WHERE {alive} AND batch = ? ORDER BY number", (reviewer, last[0].batch)
                )
            taken = [stored.decision for stored in last]
            undos = [
                replace(each, verdict="undo", undoes=each.number, comment="", before=None,
                        after=None)
                for each in taken
            ]  # fmt: skip
            self._insert(undos, time, together=False)
        return taken

    def after(self, number: int) -> list[Stored]:
        """The decisions with a higher number, in order, those of other processes too."""
        with self._lock:
            if self.last() <= number:
                return []
            return self._read("WHERE number > ? ORDER BY number", (number,))

    def last(self) -> int:
        """The highest number; 0 before the first decision."""
        with self._lock:
            (number,) = self._db.execute("SELECT max(number) FROM decisions").fetchone()
        return number or 0

    def runs_of(self, number: int) -> tuple[tuple[int, int, int], ...]:
        """(start, length, class) of an edit; none of any other decision."""
        with self._lock:
            row = self._db.execute(
                "SELECT runs FROM decisions WHERE number = ?", (number,)
            ).fetchone()
        return tuple((s, n, k) for s, n, k in json.loads(row[0])) if row and row[0] else ()

    def _prepare(self) -> None:
        self._db.execute("PRAGMA foreign_keys = ON")
        # a power cut too loses nothing that was confirmed
        self._db.execute("PRAGMA synchronous = FULL")
        self._db.execute("PRAGMA trusted_schema = OFF")
        self._db.execute("PRAGMA journal_mode = WAL").fetchone()
        # two processes may both find the file empty: one makes the table, the other waits
        self._db.execute("BEGIN IMMEDIATE")
        try:
            version, application = (
                self._db.execute(f"PRAGMA {name}").fetchone()[0]
                for name in ("user_version", "application_id")
            )
            tables = self._db.execute("SELECT count(*) FROM sqlite_master").fetchone()[0]
            if not tables and (version, application) == (0, 0):
                for statement in _statements(_SCHEMA):
                    self._db.execute(statement)
                self._db.execute(f"PRAGMA user_version = {FORMAT}")
                self._db.execute(f"PRAGMA application_id = {APPLICATION}")
            elif (version, application) != (FORMAT, APPLICATION):
                raise RunMismatchError(
                    str(self.path), expected=f"decisions of format {FORMAT}",
                    got=f"format {version} of application {application:#x}",
                    remedy="Use the maskmend that wrote it, or move the file away.",
                )  # fmt: skip
            self._db.execute("COMMIT")
        except BaseException:
            self._db.execute("ROLLBACK")
            self._db.close()
            raise

    @contextmanager
    def _writing(self) -> Iterator[str]:
        """A transaction that begins as a writer, and its time."""
        with self._lock:
            self._db.execute("BEGIN IMMEDIATE")
            try:
                yield self._clock().astimezone(UTC).isoformat(timespec="milliseconds")
                self._db.execute("COMMIT")
            except BaseException:
                self._db.execute("ROLLBACK")
                raise

    def _insert(self, decisions: Iterable[Decision], time: str, together: bool) -> list[Decision]:
        marks = ", ".join("?" * len(_COLUMNS))
        statement = f"INSERT INTO decisions ({', '.join(_COLUMNS)}) VALUES ({marks})"
        batch = self.last() + 1 if together else None
        done = []
        for each in decisions:
            runs = json.dumps(each.runs, separators=(",", ":")) if each.runs else None
            row = (
                time, each.reviewer, each.case, each.finding, each.verdict, each.comment,
                each.undoes, each.before, each.after, runs, batch,
            )  # fmt: skip
            number = self._db.execute(statement, row).lastrowid
            assert number is not None
            done.append(replace(each, number=number, time=time))
        return done

    def _read(self, condition: str, values: tuple[object, ...]) -> list[Stored]:
        rows = self._db.execute(f"SELECT {_LIGHT} FROM decisions {condition}", values)
        return [
            Stored(
                Decision(number, time, reviewer, case, finding, verdict, comment, undoes, before,
                         after),
                batch,
            )
            for number, time, reviewer, case, finding, verdict, comment, undoes, before, after,
            batch in rows
        ]  # fmt: skip


def _statements(script: str) -> Iterator[str]:
    """One by one: `executescript` would end the transaction."""
    statement = ""
    for line in script.splitlines():
        statement += line + "\n"
        if sqlite3.complete_statement(statement):
            yield statement
            statement = ""
