"""How many cases have to be looked at: the share of the errors that the first ones hold."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from maskmend import files
from maskmend.core import FloatArray
from maskmend.report.figures import Series, Words, line_chart, percent
from maskmend.report.html import Figure, Section
from maskmend.report.tables import Cell, Table
from maskmend.reporting.found import Found
from maskmend.reporting.measuring import Measured
from maskmend.reporting.names import count, share, shown_number
from maskmend.store import Run

GOAL = 0.95
"""Share of the errors of which the summary says how many cases it takes to see them."""

_DRAWN = 200
"""Points of a line, so that the page stays small."""


@dataclass(frozen=True, eq=False)
class Effort:
    """estimated, true: (cases,) share of the errors in the cases up to each, in the order in which
    they are looked at; None where there is no error, or no truth to know it by.
    """

    estimated: FloatArray | None
    true: FloatArray | None

    def needed(self) -> int | None:
        """Cases to look at for GOAL of the estimated errors."""
        if self.estimated is None:
            return None
        return int(np.argmax(self.estimated >= GOAL - 1e-9)) + 1


def measure_effort(run: Run, measured: Measured, found: Found) -> Effort:
    """The errors of a case are those of its masks, 1 - Dice each, so that all structures count."""
    order = np.array(found.order)
    estimated = np.nansum(measured.change, axis=1)[order]
    true = _true_errors(run)
    return Effort(_cumulated(estimated), None if true is None else _cumulated(true[order]))


def effort_section(run: Run, effort: Effort, found: Found) -> Section:
    """The curve, and what it rests on."""
    title = "How many cases to look at"
    if effort.estimated is None and effort.true is None:
        return Section("effort", title, ["Nothing is flagged, so there is no error to look for."])
    total = len(run.cases)
    order = (
        "in the order of the ranking, cases.csv" if found.ranked
        else "with the largest change first, since there is no ranking yet"
    )  # fmt: skip
    sentences = [
        f"Cases are taken {order}. An error of a mask is 1 - Dice, so that small structures count "
        "as much as large ones.",
        "The estimate comes from this run itself: it takes every suggested change to be right, and "
        "knows nothing of errors that were not found. Read it as the best case.",
    ]
    needed = effort.needed()
    if needed is not None:
        sentences.append(
            f"The first {count(needed, 'case')} of {total:,} ({share(needed / total)}) hold "
            f"{percent(GOAL)} of the estimated errors."
        )
    if effort.true is not None:
        sentences.append(
            "This run was evaluated against clean labels (evaluation.csv): the true curve is drawn "
            "from the Dice of the given masks with them."
        )
    return Section("effort", title, sentences, figures=[_figure(effort, total)])


def _figure(effort: Effort, total: int) -> Figure:
    series = []
    looked = [k / total for k in range(total + 1)]
    columns: list[tuple[str, FloatArray]] = []
    for name, column, values in (
        ("estimated by this run", "estimated", effort.estimated),
        ("true, against clean labels", "true", effort.true),
    ):
        if values is not None:
            columns.append((column, values))
            series.append(Series(name, _thinned(looked, [0.0, *values.tolist()])))
    series.append(Series("in random order", [(0.0, 0.0), (1.0, 1.0)], dashed=True))
    words = Words(
        "Share of the errors found against share of the cases looked at",
        "; ".join(_heard(column, values) for column, values in columns),
        "share of the cases looked at", "share of the errors found",
    )  # fmt: skip
    rows: list[Sequence[Cell]] = [
        [k + 1, looked[k + 1], *(float(values[k]) for _, values in columns)] for k in range(total)
    ]
    header = ["cases", "share_of_cases", *(f"{column}_share_of_errors" for column, _ in columns)]
    caption = "Share of the errors found against the share of the cases looked at."
    drawing = line_chart(series, words, (0, 1), (0, 1), shares=True)
    return Figure("errors_found", caption, [drawing], Table(header, rows))


def _heard(column: str, values: FloatArray) -> str:
    at = {part: values[max(round(part * len(values)), 1) - 1] for part in (0.1, 0.25, 0.5)}
    said = ", ".join(
        f"{percent(round(found, 2))} after {percent(part)} of the cases"
        for part, found in at.items()
    )
    return f"{column}: {said}"


def _thinned(xs: Sequence[float], ys: Sequence[float]) -> list[tuple[float, float]]:
    kept = np.unique(np.linspace(0, len(xs) - 1, min(len(xs), _DRAWN)).round().astype(int))
    return [(xs[k], ys[k]) for k in kept.tolist()]


def _cumulated(errors: FloatArray) -> FloatArray | None:
    total = errors.sum()
    if not total > 0:
        return None
    shares: FloatArray = np.cumsum(errors) / total
    return shares


def _true_errors(run: Run) -> FloatArray | None:
    """(cases,), sum of 1 - Dice of the given masks; 0 of a case that the truth lacks."""
    if not (run.root / "evaluation.csv").exists():
        return None
    places = {case.id: index for index, case in enumerate(run.cases)}
    errors, known = np.zeros(len(places)), False
    for row in files.read_csv(run.root / "evaluation.csv"):
        dice = shown_number(row["dice"])
        if row["what"] == "given" and row["case"] in places and not np.isnan(dice):
            errors[places[row["case"]]] += 1 - dice
            known = True
    return errors if known else None
