"""What the cells of a benchmark have shown: the state of each, all figures in one tidy table."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from maskmend import files
from maskmend.benchmarking.cells import Cell
from maskmend.benchmarking.work import STUDENT, Places
from maskmend.report.tables import Cell as TableCell
from maskmend.report.tables import Table

HEADER = ("method", "protocol", "alpha", "seed", "subject", "structure", "metric", "value")

COST = "cost"
"""Subject of the minutes."""

DONE, FAILED, OPEN = "done", "failed", "to do"

Key = tuple[str, str, str]
"""Subject, structure, metric."""


@dataclass(frozen=True)
class Outcome:
    """A cell and what is known of it.

    scores: what was measured, NaN where there is nothing to measure; empty until it is done.
    curves: structure -> precision at RECALLS.  error: of a failed one.
    """

    cell: Cell
    state: str
    scores: Mapping[Key, float]
    curves: Mapping[str, Sequence[float]]
    error: str = ""

    @cached_property
    def structures(self) -> tuple[str, ...]:
        found = (name for subject, name, _ in self.scores if subject == STUDENT)
        return tuple(dict.fromkeys(found))

    def mean(self, subject: str, metric: str) -> float:
        """Mean over the structures; NaN where one is not known."""
        values = [self.scores.get((subject, name, metric), math.nan) for name in self.structures]
        return sum(values) / len(values) if values else math.nan


def outcome_of(cell: Cell, places: Places) -> Outcome:
    """What the disk says of a cell."""
    key = cell.key
    if places.result(key).exists():
        stored = files.read_json(places.result(key))
        return Outcome(cell, DONE, _scores(stored), _curves(stored))
    if places.failure(key).exists():
        return Outcome(cell, FAILED, {}, {}, files.read_json(places.failure(key))["error"])
    return Outcome(cell, OPEN, {}, {})


def tidy(outcomes: Sequence[Outcome]) -> Table:
    """One row a figure, in the order of the cells."""
    rows: list[list[TableCell]] = []
    for outcome in outcomes:
        cell = outcome.cell
        names: list[TableCell] = [cell.method, cell.protocol, cell.alpha, cell.seed]
        rows += [[*names, *key, value] for key, value in outcome.scores.items()]
    return Table(HEADER, rows)


def states(outcomes: Sequence[Outcome]) -> Table:
    """One row a cell: what is done, and where it lies."""
    rows: list[list[TableCell]] = []
    for outcome in outcomes:
        cell = outcome.cell
        minutes = outcome.scores.get((COST, "", "cpu_minutes"))
        names: list[TableCell] = [cell.method, cell.protocol, f"{cell.alpha:g}", cell.seed]
        rows.append([*names, outcome.state, minutes, f"cells/{cell.key}", outcome.error])
    header = ["method", "protocol", "alpha", "seed", "state", "CPU minutes", "folder", "error"]
    return Table(header, rows)


def _scores(stored: Mapping[str, Any]) -> dict[Key, float]:
    found = {(s, structure, m): _number(value) for s, structure, m, value in stored["scores"]}
    minutes = stored["minutes"]
    return found | {
        (COST, "", "cpu_minutes"): minutes["cpu"], (COST, "", "wall_minutes"): minutes["wall"]
    }  # fmt: skip


def _curves(stored: Mapping[str, Any]) -> dict[str, list[float]]:
    return {name: [_number(value) for value in curve] for name, curve in stored["curves"].items()}


def _number(value: float | None) -> float:
    return math.nan if value is None else value
