"""A CSV of cases as spreadsheets write it: commas, semicolons or tabs, with a byte order mark or
without.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from maskmend.errors import UnreadableFileError
from maskmend.files import read_bytes

IMAGE_COLUMNS = ("image", "image_0")
"""Of which every table of cases has one."""

DELIMITERS = (",", ";", "\t")
"""Spreadsheets of countries with a decimal comma put semicolons between the cells."""

BYTE_ORDER_MARK = "\ufeff"
"""Without it Excel takes UTF-8 for another encoding."""


@dataclass(frozen=True)
class Sheet:
    """A table of text.

    header: as the file has it.  rows: those with any text in them, each as long as the header.
    The rest is how the file is written.
    """

    header: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    delimiter: str = ","
    marked: bool = False
    line_end: str = "\n"

    @property
    def names(self) -> tuple[str, ...]:
        """Of the columns."""
        return _names(self.header)

    def content(self, rows: Iterable[Sequence[str]]) -> bytes:
        """A file of other rows, written as this one is."""
        text = io.StringIO()
        writer = csv.writer(text, delimiter=self.delimiter, lineterminator=self.line_end)
        writer.writerows([self.header, *rows])
        return ((BYTE_ORDER_MARK if self.marked else "") + text.getvalue()).encode()


def read_sheet(file: Path) -> Sheet:
    """The table in a CSV file.

    Raises MissingFileError; UnreadableFileError for another encoding than UTF-8, a quote that is
    not closed, and a row that is not as long as the header.
    """
    text, marked = _text(file)
    delimiter = _delimiter(text)
    try:
        read = _rows(text, delimiter, strict=True)
    except csv.Error as error:
        raise UnreadableFileError(
            str(file), expected="a table with commas, semicolons or tabs between its cells",
            got=str(error), remedy="Correct the file, or save it as CSV again.",
        ) from error  # fmt: skip
    header, rows = (read[0], read[1:]) if read else ((), ())
    for number, row in enumerate(rows, start=1):
        if len(row) != len(header):
            raise UnreadableFileError(
                str(file), expected="as many cells in every row as in the header",
                got=f"another number in row {number}", remedy="Correct the row.",
            )  # fmt: skip
    return Sheet(header, rows, delimiter, marked, "\r\n" if "\r\n" in text else "\n")


def read_names(file: Path) -> tuple[str, ...]:
    """Of the columns of a CSV file, as in `Sheet`; the rows may be anything.

    Raises MissingFileError, UnreadableFileError.
    """
    text, _ = _text(file)
    return _first_names(text, _delimiter(text))


def _text(file: Path) -> tuple[str, bool]:
    """(the text; whether a byte order mark stood before it)."""
    try:
        text = read_bytes(file).decode()
    except UnicodeDecodeError as error:
        raise UnreadableFileError(
            str(file), expected="a table in UTF-8", got=str(error),
            remedy='Save it again, in Excel as "CSV UTF-8".',
        ) from error  # fmt: skip
    return text.removeprefix(BYTE_ORDER_MARK), text.startswith(BYTE_ORDER_MARK)


def _delimiter(text: str) -> str:
    """That with which the first row names an image; a comma where none does."""
    found = (each for each in DELIMITERS if set(IMAGE_COLUMNS) & set(_first_names(text, each)))
    return next(found, DELIMITERS[0])


def _first_names(text: str, delimiter: str) -> tuple[str, ...]:
    first = next((line for line in text.splitlines() if line.strip()), "")
    rows = _rows(first, delimiter, strict=False)
    return _names(rows[0]) if rows else ()


def _names(header: Sequence[str]) -> tuple[str, ...]:
    """In lower case; what stands behind a colon is a name of the user's, and kept."""
    pairs = (name.strip().partition(":") for name in header)
    return tuple(name.strip().lower() + colon + rest.strip() for name, colon, rest in pairs)


def _rows(text: str, delimiter: str, strict: bool) -> tuple[tuple[str, ...], ...]:
    read = csv.reader(
        io.StringIO(text, newline=""), delimiter=delimiter, strict=strict, skipinitialspace=True
    )
    # a spreadsheet keeps the rows whose cells were cleared
    return tuple(tuple(row) for row in read if any(cell.strip() for cell in row))
