"""Small tables of figures, as Markdown and as aligned text for a terminal."""

from __future__ import annotations

import math
import statistics
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Spread:
    """Mean and sample standard deviation of `count` values.

    std is None where there are fewer than two values, mean is NaN where there is none.
    """

    mean: float
    std: float | None
    count: int


@dataclass(frozen=True)
class Bold:
    """A figure that is to be seen first."""

    value: float | Spread


Cell = str | int | float | Spread | Bold | None


@dataclass(frozen=True)
class Table:
    """header: names of the columns.  rows: cells, as many as the header has; None is unknown."""

    header: Sequence[str]
    rows: Sequence[Sequence[Cell]]


def spread(values: Iterable[float]) -> Spread:
    """Mean and spread of the values that are numbers; NaN (not measured) takes no part."""
    known = [value for value in values if not math.isnan(value)]
    if not known:
        return Spread(math.nan, None, 0)
    std = statistics.stdev(known) if len(known) > 1 else None
    return Spread(statistics.fmean(known), std, len(known))


def format_cell(cell: Cell, digits: int = 3) -> str:
    """A number with `digits` decimals, a spread as mean±std, what is unknown as "n/a"."""
    if isinstance(cell, Bold):
        return f"**{format_cell(cell.value, digits)}**"
    if isinstance(cell, Spread):
        mean = format_cell(cell.mean, digits)
        return mean if cell.std is None else f"{mean}±{cell.std:.{digits}f}"
    if cell is None or (isinstance(cell, float) and math.isnan(cell)):
        return "n/a"
    return f"{cell:.{digits}f}" if isinstance(cell, float) else str(cell)


def markdown(table: Table, digits: int = 3) -> str:
    """A GitHub table, ending in a line break; columns of figures are set to the right."""
    rule = ["---:" if right else "---" for right in _set_right(table)]
    # a bar inside a cell would start a new column
    lines = [[text.replace("|", "\\|") for text in line] for line in _texts(table, digits)]
    return "".join(f"| {' | '.join(line)} |\n" for line in [lines[0], rule, *lines[1:]])


def plain(table: Table, digits: int = 3) -> str:
    """Aligned columns with a rule under the header, ending in a line break."""
    lines = _texts(table, digits)
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    place: list[Callable[[str, int], str]] = [
        str.rjust if right else str.ljust for right in _set_right(table)
    ]
    rows = [
        "  ".join(put(text, width) for put, text, width in zip(place, line, widths, strict=True))
        for line in lines
    ]
    rows.insert(1, "  ".join("-" * width for width in widths))
    return "".join(f"{row.rstrip()}\n" for row in rows)


def _texts(table: Table, digits: int) -> list[list[str]]:
    rows = [[format_cell(cell, digits) for cell in row] for row in table.rows]
    return [list(table.header), *rows]


def _set_right(table: Table) -> list[bool]:
    """Columns without any text."""
    columns = [[row[index] for row in table.rows] for index in range(len(table.header))]
    return [bool(cells) and not any(isinstance(c, str) for c in cells) for cells in columns]
