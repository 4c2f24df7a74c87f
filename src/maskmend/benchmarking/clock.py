"""CPU and wall time of a piece of work, over all attempts at it."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from maskmend import files
from maskmend.core import Listener, TrainingProgress

FILE = "clock.json"

SAVED_EVERY = 1.0
"""Seconds between two notes on the disk; so much is forgotten when the process is killed."""


@dataclass(frozen=True)
class Minutes:
    """Time that work took; `+` joins pieces.  cpu: of all threads of the process."""

    cpu: float = 0.0
    wall: float = 0.0

    def __add__(self, other: Minutes) -> Minutes:
        return Minutes(self.cpu + other.cpu, self.wall + other.wall)

    def to_json(self) -> dict[str, float]:
        return {"cpu": self.cpu, "wall": self.wall}


@dataclass(frozen=True)
class Reading:
    """What the clock in a folder says.  done: the work is finished."""

    minutes: Minutes
    done: bool


def read_clock(folder: Path) -> Reading:
    """Nothing, and not done, where the work has not begun."""
    if not (folder / FILE).exists():
        return Reading(Minutes(), False)
    stored = files.read_json(folder / FILE)
    return Reading(Minutes(stored["cpu"], stored["wall"]), stored["done"])


class _Clock(Listener):
    """Notes the time whenever the work says how far it is, and passes on what it says."""

    def __init__(self, folder: Path, listener: Listener) -> None:
        self._folder, self._listener = folder, listener
        self._before = read_clock(folder).minutes
        self._start = _now()
        self._saved = self._start.wall

    def say(self, text: str) -> None:
        self._note()
        self._listener.say(text)

    def epoch(self, progress: TrainingProgress) -> None:
        self._note()
        self._listener.epoch(progress)

    def case(self, stage: str, done: int, total: int) -> None:
        self._note()
        self._listener.case(stage, done, total)

    def _note(self) -> None:
        if _now().wall - self._saved > SAVED_EVERY / 60:
            self.save(done=False)

    def save(self, done: bool) -> None:
        now = _now()
        self._saved = now.wall
        spent = Minutes(now.cpu - self._start.cpu, now.wall - self._start.wall)
        stored: dict[str, Any] = (self._before + spent).to_json() | {"done": done}
        files.write_json(self._folder / FILE, stored)


@contextmanager
def timed(folder: Path, listener: Listener) -> Iterator[Listener]:
    """The listener to hand to the work, whose time is kept in FOLDER/clock.json.

    The work counts as done where the block ends without an error; an attempt that fails, or is
    killed, has its time counted too.
    """
    clock = _Clock(folder, listener)
    clock.save(done=False)
    try:
        yield clock
    except BaseException:
        clock.save(done=False)
        raise
    clock.save(done=True)


def _now() -> Minutes:
    return Minutes(time.process_time() / 60, time.perf_counter() / 60)
