"""The page of the report: what it shows as plain values, and the template that lays them out.

Every text is escaped by the template: a case may be named like a tag.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from markupsafe import Markup

from maskmend.report.tables import Table


@dataclass(frozen=True)
class Shown:
    """A table of texts.  The first column names the rows.  numbers: columns set to the right."""

    header: Sequence[str]
    rows: Sequence[Sequence[str]]
    numbers: Sequence[int] = ()
    caption: str = ""


@dataclass(frozen=True)
class Shade:
    """A cell of a matrix.  depth: 0 (nothing) .. 9 (all)."""

    text: str
    depth: int


@dataclass(frozen=True)
class Matrix:
    """A square table of shares, a row a class."""

    caption: str
    corner: str
    names: Sequence[str]
    rows: Sequence[Sequence[Shade]]


@dataclass(frozen=True)
class Figure:
    """Drawings that share their numbers.  name: of the CSV file.  key: texts of the series."""

    name: str
    caption: str
    drawings: Sequence[Markup]
    numbers: Table
    key: Sequence[str] = ()


@dataclass(frozen=True)
class Step:
    """What to do next: a sentence, and the command for it."""

    text: str
    command: str = ""


@dataclass(frozen=True)
class WorstCase:
    """A case to look at.  drawings: of the whole picture, and nearer.  facts: under the tables."""

    name: str
    drawings: Sequence[Markup]
    tables: Sequence[Shown]
    facts: Sequence[str] = ()


@dataclass(frozen=True)
class Section:
    """A chapter.  id: of its heading.  What is empty is not shown."""

    id: str
    title: str
    sentences: Sequence[str] = ()
    tables: Sequence[Shown] = ()
    figures: Sequence[Figure] = ()
    matrices: Sequence[Matrix] = ()
    cases: Sequence[WorstCase] = ()
    lists: Sequence[str] = ()
    after: Sequence[Shown] = ()


@dataclass(frozen=True)
class Page:
    """The whole report.  folder: where the CSV files lie, relative to the page."""

    title: str
    subtitle: str
    warnings: Sequence[str]
    headline: str
    summary: Sequence[str]
    facts: Sequence[tuple[str, str]]
    steps: Sequence[Step]
    sections: Sequence[Section]
    folder: str
    made_by: str

    def figures(self) -> list[Figure]:
        """All figures, whose numbers are written beside the page."""
        return [figure for section in self.sections for figure in section.figures]


def render(page: Page) -> str:
    """The page as HTML: one file that needs no other, and loads nothing."""
    from jinja2 import Environment, PackageLoader, StrictUndefined

    environment = Environment(
        loader=PackageLoader("maskmend", "report"), autoescape=True, undefined=StrictUndefined,
        trim_blocks=True, lstrip_blocks=True, keep_trailing_newline=True,
    )  # fmt: skip
    return environment.get_template("report.html.jinja").render(page=page)
