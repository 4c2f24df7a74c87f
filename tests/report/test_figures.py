"""Figures: where marks and lines stand, that they are XML, and what is read out of them."""

from __future__ import annotations

import re
from xml.etree import ElementTree

import pytest

from maskmend.report.figures import (
    Bins,
    Interval,
    Series,
    Words,
    bar_chart,
    histogram,
    interval_chart,
    line_chart,
    percent,
    ticks,
)

WORDS = Words("<b>Title</b>", 'says "this" & that', "x", "y")


def numbers(element: ElementTree.Element, *names: str) -> list[float]:
    return [float(element.attrib[name]) for name in names]


@pytest.mark.parametrize(
    ("low", "high", "wanted"),
    [
        (0, 1, [0, 0.2, 0.4, 0.6, 0.8, 1]),
        (0, 0.037, [0, 0.01, 0.02, 0.03]),
        (1, 16, [5, 10, 15]),
        (0.8, 1, [0.8, 0.85, 0.9, 0.95, 1]),
        (3, 3, [3]),
    ],
)
def test_ticks_are_round(low: float, high: float, wanted: list[float]) -> None:
    assert ticks(low, high) == pytest.approx(wanted)


def test_percent_has_the_digits_it_needs() -> None:
    assert [percent(value) for value in (0, 0.05, 0.025, 1)] == ["0 %", "5 %", "2.5 %", "100 %"]


@pytest.mark.parametrize(
    "drawing",
    [
        interval_chart([Interval("a<b", 0.2, (0.1, 0.3), "20 %")], WORDS),
        interval_chart([], WORDS),
        interval_chart([Interval("no class", None, (None, None), "n/a")], WORDS),
        bar_chart([("a & b", 3), ("none", 0)], WORDS),
        bar_chart([], WORDS),
        line_chart([Series("<one>", [(0, 0), (1, 1)])], WORDS, (0, 1), (0, 1)),
        line_chart([Series("a", [(1, 0.5)]), Series("b", [])], WORDS, (0, 2), (0, 1)),
        line_chart([Series("a", [(0, float("nan")), (1, 0.5), (2, 1)])], WORDS, (0, 2), (0, 1)),
        histogram(Bins([0, 0.5, 1], [[1, 2], [0, 3]]), WORDS, 0.5),
        histogram(Bins([0.5, 1], [[0]]), WORDS),
    ],
)
def test_it_is_xml_with_a_name_and_without_markup_of_others(drawing: str) -> None:
    root = ElementTree.fromstring(drawing)
    assert root.attrib["role"] == "img"
    assert root.attrib["aria-label"] == '<b>Title</b>. says "this" & that'
    assert "nan" not in drawing
    assert {element.tag for element in root.iter()} <= {
        "svg", "title", "text", "line", "rect", "circle", "polyline",
    }  # fmt: skip


def test_a_line_runs_from_corner_to_corner() -> None:
    drawing = line_chart([Series("a", [(0, 0), (1, 1)])], WORDS, (0, 1), (0, 1))
    root = ElementTree.fromstring(drawing)
    (line,) = root.iter("polyline")
    (x0, y0), (x1, y1) = (map(float, p.split(",")) for p in line.attrib["points"].split())
    grid = [numbers(one, "x1", "x2", "y1", "y2") for one in root.iter("line")]
    assert (x0, x1) == (min(g[0] for g in grid), max(g[1] for g in grid))
    assert (y0, y1) == (max(g[3] for g in grid), min(g[2] for g in grid))


def test_bars_are_as_long_as_their_counts() -> None:
    root = ElementTree.fromstring(bar_chart([("a", 10), ("b", 5)], WORDS))
    long, short = (numbers(bar, "width")[0] for bar in root.iter("rect"))
    assert long == pytest.approx(2 * short, abs=0.1)


def test_parts_of_a_bin_stand_on_each_other() -> None:
    root = ElementTree.fromstring(histogram(Bins([0, 1], [[1], [3]]), WORDS))
    (y0, h0), (y1, h1) = (numbers(bar, "y", "height") for bar in root.iter("rect"))
    assert y1 + h1 == pytest.approx(y0, abs=0.11)
    assert h1 == pytest.approx(3 * h0, abs=0.2)


def test_a_threshold_stands_where_its_value_is() -> None:
    root = ElementTree.fromstring(histogram(Bins([0, 0.5, 1], [[1, 1]]), WORDS, 0.5))
    (line,) = (one for one in root.iter("line") if one.attrib["class"] == "threshold")
    first, second = root.iter("rect")
    x = numbers(line, "x1")[0]
    assert numbers(first, "x")[0] + numbers(first, "width")[0] < x < numbers(second, "x")[0]


def test_an_open_bin_is_marked() -> None:
    bins = Bins([0.72, 0.86, 1], [[1, 1]])
    assert "≤" not in histogram(bins, WORDS)
    marked = histogram(Bins(bins.edges, bins.parts, open=True), WORDS)
    assert re.findall(r">([^<>]*≤[^<>]*)<", marked) == ["≤ 0.72"]


def test_the_whisker_is_the_interval() -> None:
    rows = [Interval("a", 0.2, (0.1, 0.4), ""), Interval("b", 0.4, (0.4, 0.4), "")]
    root = ElementTree.fromstring(interval_chart(rows, WORDS))
    whiskers = [numbers(one, "x1", "x2") for one in root.iter("line") if "whisker" in
                one.attrib["class"]]  # fmt: skip
    dots = [numbers(dot, "cx")[0] for dot in root.iter("circle")]
    (low, high), (same, also) = whiskers
    assert (dots[0] - low) * 2 == pytest.approx(high - dots[0], abs=0.3)
    assert same == also == dots[1] == high
