"""How long a benchmark still takes: from the pieces of work that are done, else a rough prior."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean

from maskmend.benchmarking.cells import Task, key_of
from maskmend.benchmarking.clock import read_clock
from maskmend.benchmarking.work import Places
from maskmend.core import Dataset
from maskmend.datasets import read_grid
from maskmend.settings import TrainingSettings

MINUTES_PER_PIXEL = 2.2e-8
"""Minutes that a step of the compact network takes for each pixel of its batch, on one idle core.

Only until something was measured.
"""


@dataclass(frozen=True)
class Piece:
    """Work that is done once.  folder: has its clock.  kind: what it has in common with the same
    work on other labels or with another seed.  prior: rough minutes.
    """

    folder: Path
    kind: str
    prior: float


class Estimate:
    """Expected minutes, from what is measured of the same kind of work."""

    def __init__(self, tasks: Iterable[Task], places: Places, training: Dataset) -> None:
        self._pieces = {task.key: pieces_of(task, places, training) for task in tasks}

    def remaining(self, pending: Sequence[str], jobs: int) -> float:
        """Minutes until the tasks with these keys are done, those under way among them."""
        every = {piece.folder: piece for pieces in self._pieces.values() for piece in pieces}
        readings = {folder: read_clock(folder) for folder in every}
        measured: dict[str, list[float]] = {}
        for folder, piece in every.items():
            if readings[folder].done:
                measured.setdefault(piece.kind, []).append(readings[folder].minutes.wall)
        known = [(p.prior, fmean(measured[p.kind])) for p in every.values() if p.kind in measured]
        ratio = sum(wall for _, wall in known) / sum(prior for prior, _ in known) if known else 1.0
        left = 0.0
        for folder in {piece.folder for key in pending for piece in self._pieces[key]}:
            piece, reading = every[folder], readings[folder]
            if not reading.done:
                walls = measured.get(piece.kind)
                whole = fmean(walls) if walls else piece.prior * ratio
                # one that takes longer than thought is not done because of that
                left += max(whole - reading.minutes.wall, 0.1 * whole)
        return left / min(jobs, max(len(pending), 1))


def pieces_of(task: Task, places: Places, training: Dataset) -> tuple[Piece, ...]:
    """The training of a task; or its cross-fit, and the rest of the audit."""
    settings = task.settings.model_copy(update={"seed": 0})
    count = len(training.cases)
    student = _minutes(settings.student, training, count)
    shared = task.shared_settings.model_copy(update={"seed": 0}).model_dump()
    kind = key_of([task.kind, shared])
    if task.kind == "train":
        return (Piece(places.shared(task), kind, student),)
    folds = settings.crossfit.folds
    teacher = _minutes(settings.crossfit.teacher, training, count * (folds - 1) // folds)
    return (
        Piece(places.shared(task), kind, folds * teacher),
        Piece(places.cell(task.key), key_of(settings.model_dump()), student),
    )


def _minutes(settings: TrainingSettings, training: Dataset, count: int) -> float:
    """A rough guess for one training."""
    shape = read_grid(training.cases[0]).shape
    seen = (settings.size, settings.size) if len(shape) == 2 else settings.patch or shape
    steps = max(settings.epochs * math.ceil(count / settings.step_size), settings.least_steps)
    return MINUTES_PER_PIXEL * math.prod(seen) * settings.step_size * steps


def duration(minutes: float) -> str:
    """As a person says it: "40 s", "12 min", "3 h 20 min", "2 d 4 h"."""
    if minutes < 1:
        return f"{max(round(minutes * 60), 1)} s"
    if minutes < 60:
        return f"{round(minutes)} min"
    hours, rest = divmod(round(minutes), 60)
    if hours < 24:
        return f"{hours} h {rest} min"
    days, hours = divmod(round(minutes / 60), 24)
    return f"{days} d {hours} h"
