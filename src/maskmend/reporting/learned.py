"""How the trainings went: loss and Dice on held-out training cases, epoch by epoch."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from maskmend import files
from maskmend.report.figures import Series, Words, line_chart
from maskmend.report.html import Figure, Section
from maskmend.report.tables import Cell, Table
from maskmend.reporting.names import count, score, shown_number
from maskmend.store import Run

MOST = 10
"""Lines of a chart; of more trainings the first are drawn, all are in the CSV."""

_SIZE = (310.0, 220.0)


@dataclass(frozen=True)
class History:
    """One finished training.  epochs: (epoch, loss, Dice on the held-out training cases)."""

    kind: str
    name: str
    epochs: tuple[tuple[int, float, float], ...]


def read_histories(run: Run) -> list[History]:
    """Teachers by fold, then students by name, of those that are finished."""
    found = []
    for kind, folder in (("teacher", "teachers"), ("student", "students")):
        paths = sorted((run.root / folder).glob("*/metrics.csv"), key=lambda p: _key(p.parent.name))
        for path in paths:
            rows = [
                (int(row["epoch"]), shown_number(row["loss"]), shown_number(row["monitor_dice"]))
                for row in files.read_csv(path)
            ]
            found.append(History(kind, path.parent.name, tuple(rows)))
    return found


def training_section(run: Run) -> Section:
    """Curves of teachers and of students."""
    title = "Training"
    histories = read_histories(run)
    if not histories:
        return Section("training", title, [
            "Nothing was trained in this run: it judges by predictions that existed."
            if run.predictions is not None else "There is no finished training in this run."
        ])  # fmt: skip
    sentences = [
        "Loss is that of the training; Dice is measured on a few training cases that are held out, "
        "against labels of the kind that it learns from, errors included. It shows whether a "
        "training has settled, not how good the model is.",
    ]
    figures = []
    for kind in ("teacher", "student"):
        mine = [history for history in histories if history.kind == kind]
        if mine:
            ends = ", ".join(f"{_label(h)} {score(h.epochs[-1][2])}" for h in mine if h.epochs)
            sentences.append(f"{count(len(mine), kind)}, Dice at the end: {ends}.")
            figures.append(_figure(kind, mine))
    return Section("training", title, sentences, figures=figures)


def _figure(kind: str, histories: Sequence[History]) -> Figure:
    drawings = []
    for column, name in ((1, "Loss"), (2, "Dice on held-out training cases")):
        drawn = [h for h in histories[:MOST] if h.epochs]
        series = [Series(_label(h), [(row[0], row[column]) for row in h.epochs]) for h in drawn]
        values = [y for one in series for _, y in one.points if y == y]
        last = max((row[0] for h in drawn for row in h.epochs), default=1)
        top = 1.0 if column == 2 else max(values, default=1.0) * 1.05 or 1.0
        heard = "; ".join(f"{one.name} ends at {score(one.points[-1][1])}" for one in series)
        words = Words(f"{kind.capitalize()}s: {name}", heard, "epoch")
        # a single epoch is a point, in the middle of something
        x_range = (1, last) if last > 1 else (0, 2)
        drawings.append(line_chart(series, words, x_range, (0, top), heading=name, size=_SIZE))
    rows: list[Sequence[Cell]] = [[h.kind, h.name, *row] for h in histories for row in h.epochs]
    header = ["kind", "training", "epoch", "loss", "monitor_dice"]
    more = f" The first {MOST} of {len(histories)} are drawn." if len(histories) > MOST else ""
    caption = f"{kind.capitalize()}s: loss and Dice by epoch.{more}"
    return Figure(f"training_{kind}s", caption, drawings, Table(header, rows))


def _label(history: History) -> str:
    if history.kind == "teacher":
        number = history.name.removeprefix("fold")
        return f"teacher {int(number) + 1}" if number.isdecimal() else history.name
    return f"student on {history.name}"


def _key(name: str) -> tuple[int, str]:
    """fold10 after fold9."""
    return len(name) if name.startswith("fold") else 0, name
