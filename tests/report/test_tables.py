from __future__ import annotations

import math

import pytest

from maskmend.report.tables import Bold, Spread, Table, format_cell, markdown, plain, spread

TABLE = Table(
    ("structure", "Dice", "pixels"),
    [("lung", Spread(0.91234, 0.0101, 3), 20), ("heart", Spread(0.8, None, 1), None)],
)


def test_spread_is_the_sample_standard_deviation() -> None:
    three = spread([0.7, 0.8, 0.9])
    assert (three.mean, three.std) == pytest.approx((0.8, 0.1))
    assert three.count == 3


def test_spread_of_one_value_has_no_deviation() -> None:
    assert spread([0.5]) == Spread(0.5, None, 1)


def test_spread_leaves_out_what_was_not_measured() -> None:
    assert spread([math.nan, 0.5, 0.7]) == spread([0.5, 0.7])


def test_spread_of_nothing_is_unknown_and_not_zero() -> None:
    nothing = spread([math.nan])
    assert math.isnan(nothing.mean)
    assert (nothing.std, nothing.count) == (None, 0)
    assert format_cell(nothing) == "n/a"


@pytest.mark.parametrize(
    ("cell", "text"),
    [
        ("lung", "lung"),
        (3, "3"),
        (0.12345, "0.12"),
        (Spread(0.5, 0.046, 2), "0.50±0.05"),
        (None, "n/a"),
        (math.nan, "n/a"),
    ],
)
def test_cells(cell: str | int | float | Spread | None, text: str) -> None:
    assert format_cell(cell, digits=2) == text


def test_markdown() -> None:
    assert markdown(TABLE) == (
        "| structure | Dice | pixels |\n"
        "| --- | ---: | ---: |\n"
        "| lung | 0.912±0.010 | 20 |\n"
        "| heart | 0.800 | n/a |\n"
    )


def test_markdown_keeps_a_bar_inside_its_cell() -> None:
    assert markdown(Table(("a",), [("x|y",)])).splitlines()[2] == "| x\\|y |"


def test_a_bold_figure_keeps_its_column_to_the_right() -> None:
    table = Table(["method", "Dice"], [["ours", Bold(Spread(0.9, 0.01, 3))], ["plain", 0.8]])
    assert markdown(table) == (
        "| method | Dice |\n| --- | ---: |\n| ours | **0.900±0.010** |\n| plain | 0.800 |\n"
    )


def test_plain_aligns_names_left_and_figures_right() -> None:
    assert plain(TABLE) == (
        "structure         Dice  pixels\n"
        "---------  -----------  ------\n"
        "lung       0.912±0.010      20\n"
        "heart            0.800     n/a\n"
    )


def test_a_table_without_rows_keeps_its_header() -> None:
    assert plain(Table(("a", "b"), [])) == "a  b\n-  -\n"
    assert markdown(Table(("a", "b"), [])) == "| a | b |\n| --- | --- |\n"


@pytest.mark.parametrize("form", [markdown, plain])
def test_a_row_of_another_length_is_refused(form) -> None:  # type: ignore[no-untyped-def]
    with pytest.raises((ValueError, IndexError)):
        form(Table(("a", "b"), [("x",)]))
