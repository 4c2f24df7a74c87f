"""Figures of the report as inline SVG: sharp in print, and in the colours of the page.

Colours, line widths and fonts are those of the page's style sheet, by class: `s0`, `s1`, ... are
the series of a figure.  Each figure has a title and a description for those who do not see it.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from markupsafe import Markup, escape

WIDTH = 640
ROW = 26
_CHARACTER = 6.6
"""Width of a character of the figures' text, about."""

Point = tuple[float, float]


@dataclass(frozen=True)
class Words:
    """What is read out of a figure, and written at its axes."""

    title: str
    description: str
    x: str = ""
    y: str = ""


@dataclass(frozen=True)
class Interval:
    """A value with the interval, low to high, that it lies in; None where there is none."""

    label: str
    value: float | None
    between: tuple[float | None, float | None]
    text: str


@dataclass(frozen=True)
class Series:
    """One line of a chart.  dashed: for what is only a comparison."""

    name: str
    points: Sequence[Point]
    dashed: bool = False


@dataclass(frozen=True)
class Bins:
    """A histogram.  edges: (bins + 1,) ascending.  parts: of each series, a count a bin.

    open: the lowest bin also holds all that lies below it.
    """

    edges: Sequence[float]
    parts: Sequence[Sequence[int]]
    open: bool = False


@dataclass(frozen=True)
class _Frame:
    """The rectangle that values are drawn in, and the values at its sides."""

    left: float
    top: float
    right: float
    bottom: float
    x_range: tuple[float, float]
    y_range: tuple[float, float]

    def x(self, value: float) -> float:
        low, high = self.x_range
        return self.left + (value - low) / (high - low) * (self.right - self.left)

    def y(self, value: float) -> float:
        low, high = self.y_range
        return self.bottom - (value - low) / (high - low) * (self.bottom - self.top)


def ticks(low: float, high: float, count: int = 5) -> list[float]:
    """Round values from low to high, about `count` of them, 1, 2 or 5 times a power of ten apart.

    Of an empty range the one value.
    """
    if not high > low:
        return [low]
    rough = (high - low) / count
    power = 10.0 ** math.floor(math.log10(rough))
    step = next(m * power for m in (1, 2, 5, 10) if m * power >= rough * (1 - 1e-9))
    first = math.ceil(low / step - 1e-9)
    last = math.floor(high / step + 1e-9)
    return [round(k * step, 12) for k in range(first, last + 1)]


def percent(value: float) -> str:
    """0.05 as "5 %", without digits that say nothing."""
    return f"{round(value * 100, 6):g} %"


def plain(value: float) -> str:
    return f"{value:g}"


def interval_chart(rows: Sequence[Interval], words: Words) -> Markup:
    """A dot with a whisker a row; values are shares, written in per cent."""
    highest = max((r.between[1] or r.value or 0.0 for r in rows), default=0.0)
    marks = ticks(0, max(highest * 1.02, 1e-4))
    longest = max((len(r.label) for r in rows), default=0)
    left = min(max(longest * _CHARACTER + 14, 60), 220)
    texts = max((len(r.text) for r in rows), default=0) * _CHARACTER
    top_value = max(marks[-1], highest * 1.02)
    frame = _Frame(left, 8, WIDTH - texts - 16, 8 + ROW * len(rows), (0, top_value), (0, 1))
    parts = [_x_axis(frame, marks, percent, words.x)]
    for index, row in enumerate(rows):
        y = frame.top + ROW * (index + 0.5)
        parts.append(_text(left - 10, y + 4, _cut(row.label, left), "end"))
        parts.append(_text(WIDTH - texts - 4, y + 4, row.text, "start", "faint"))
        low, high = row.between
        if low is not None and high is not None:
            parts.append(_line((frame.x(low), y), (frame.x(high), y), "whisker"))
        if row.value is not None:
            parts.append(
                f'<circle class="dot" cx="{_n(frame.x(row.value))}" cy="{_n(y)}" r="4.5"/>'
            )
    return _svg(frame.bottom + 42, words, parts)


def bar_chart(rows: Sequence[tuple[str, int]], words: Words) -> Markup:
    """A horizontal bar a row, with its count."""
    longest = max((len(label) for label, _ in rows), default=0)
    left = min(max(longest * _CHARACTER + 14, 60), 220)
    highest = max((count for _, count in rows), default=0) or 1
    frame = _Frame(left, 4, WIDTH - 70, 4 + ROW * len(rows), (0, highest), (0, 1))
    parts = [_line((left, frame.top), (left, frame.bottom), "axis")]
    for index, (label, count) in enumerate(rows):
        y = frame.top + ROW * index
        parts.append(_text(left - 10, y + ROW / 2 + 4, _cut(label, left), "end"))
        parts.append(_bar(left, y + 5, frame.x(count) - left, ROW - 10, "s0"))
        parts.append(_text(frame.x(count) + 8, y + ROW / 2 + 4, f"{count:,}", "start", "faint"))
    return _svg(frame.bottom + 6, words, parts)


def line_chart(
    series: Sequence[Series], words: Words, x_range: tuple[float, float],
    y_range: tuple[float, float], shares: bool = False, heading: str = "",
    size: tuple[float, float] = (WIDTH, 340),
) -> Markup:  # fmt: skip
    """Lines in one frame, with a legend above.  shares: both axes are written in per cent.

    size: width and height.
    """
    width, height = size
    shown = percent if shares else plain
    names = [one.name for one in series]
    top = 22 if heading else 0
    legend, legend_height = _legend(names, [one.dashed for one in series], width, top)
    legend += _text(4, 14, heading, "start", "heading") if heading else ""
    y_marks, x_marks = ticks(*y_range), ticks(*x_range)
    left = 14 + max(len(shown(mark)) for mark in y_marks) * _CHARACTER + (18 if words.y else 0)
    bottom = height - (44 if words.x else 28)
    frame = _Frame(left, legend_height + 10, width - 24, bottom, x_range, y_range)
    parts = [
        legend,
        _x_axis(frame, x_marks, shown, words.x),
        _y_axis(frame, y_marks, shown, words.y),
    ]
    for index, one in enumerate(series):
        points = [(frame.x(x), frame.y(y)) for x, y in one.points if math.isfinite(y)]
        kind = "series dashed" if one.dashed else f"series s{index}"
        if len(points) == 1:
            ((x, y),) = points
            parts.append(f'<circle class="dot s{index}" cx="{_n(x)}" cy="{_n(y)}" r="3.5"/>')
        elif points:
            parts.append(f'<polyline class="{kind}" points="{_points(points)}"/>')
    return _svg(height, words, parts, width)


def histogram(
    bins: Bins,
    words: Words,
    threshold: float | None = None,
    width: float = 310,
    height: float = 200,
) -> Markup:
    """Stacked bars under the figure's title; the parts have the colours of the series.

    threshold: where a line is drawn.
    """
    totals = [sum(counts) for counts in zip(*bins.parts, strict=True)]
    highest = max(totals, default=0) or 1
    y_marks = [mark for mark in ticks(0, highest, 4) if mark == int(mark)]
    left = 16 + max(len(plain(mark)) for mark in y_marks) * _CHARACTER + 16
    frame = _Frame(left, 36, width - 12, height - 40, (bins.edges[0], bins.edges[-1]), (0, highest))
    marks = ticks(bins.edges[0], bins.edges[-1], 4)
    lowest = None
    if bins.open:
        # where the axis begins is not always a round number
        lowest = bins.edges[0]
        marks = [lowest, *(mark for mark in marks if frame.x(mark) - frame.left > 40)]
    parts = [
        _text(frame.left, 14, _cut(words.title, width - frame.left), "start", "heading"),
        _x_axis(
            frame, marks, lambda mark: f"≤ {mark:g}" if mark == lowest else f"{mark:g}", words.x
        ),
        _y_axis(frame, y_marks, plain, words.y),
    ]
    for index in range(len(bins.edges) - 1):
        x0, x1 = frame.x(bins.edges[index]), frame.x(bins.edges[index + 1])
        below = 0
        for part, counts in enumerate(bins.parts):
            if counts[index]:
                top = frame.y(below + counts[index])
                parts.append(_bar(x0 + 0.5, top, x1 - x0 - 1, frame.y(below) - top, f"s{part}"))
            below += counts[index]
    if threshold is not None and frame.x_range[0] <= threshold <= frame.x_range[1]:
        x = frame.x(threshold)
        parts.append(_line((x, frame.top - 6), (x, frame.bottom), "threshold"))
        at_end = x > (frame.left + frame.right) / 2
        beside, anchor = (x - 5, "end") if at_end else (x + 5, "start")
        parts.append(_text(beside, frame.top + 3, f"doubt below {threshold:.3f}", anchor, "faint"))
    return _svg(height, words, parts, width)


def _svg(height: float, words: Words, parts: Sequence[str], width: float = WIDTH) -> Markup:
    return Markup(
        f'<svg class="figure" viewBox="0 0 {_n(width)} {_n(height)}" role="img" '
        f'aria-label="{escape(words.title)}. {escape(words.description)}" '
        f'style="max-width:{_n(width)}px">'
        f"<title>{escape(words.title)}</title>" + "".join(parts) + "</svg>"
    )


def _x_axis(
    frame: _Frame, marks: Sequence[float], shown: Callable[[float], str], label: str
) -> str:
    parts = [_line((frame.left, frame.bottom), (frame.right, frame.bottom), "axis")]
    for mark in marks:
        x = frame.x(mark)
        parts.append(_line((x, frame.top), (x, frame.bottom), "grid"))
        parts.append(_text(x, frame.bottom + 16, shown(mark), "middle", "tick"))
    middle = (frame.left + frame.right) / 2
    parts.append(_text(middle, frame.bottom + 34, label, "middle", "label") if label else "")
    return "".join(parts)


def _y_axis(
    frame: _Frame, marks: Sequence[float], shown: Callable[[float], str], label: str
) -> str:
    parts = []
    for mark in marks:
        y = frame.y(mark)
        parts.append(_line((frame.left, y), (frame.right, y), "grid"))
        parts.append(_text(frame.left - 7, y + 4, shown(mark), "end", "tick"))
    if label:
        y = (frame.top + frame.bottom) / 2
        parts.append(
            f'<text class="label" text-anchor="middle" transform="translate(12 {_n(y)}) '
            f'rotate(-90)">{escape(label)}</text>'
        )
    return "".join(parts)


def _legend(
    names: Sequence[str], dashed: Sequence[bool], width: float, top: float
) -> tuple[str, float]:
    """Its drawing, and where it ends; nothing for a single line."""
    if len(names) < 2:
        return "", top
    parts, x, y = [], 8.0, top + 12.0
    for index, name in enumerate(names):
        needed = 26 + len(name) * _CHARACTER + 18
        if x + needed > width and x > 8:
            x, y = 8.0, y + 18
        kind = "series dashed" if dashed[index] else f"series s{index}"
        parts.append(_line((x, y), (x + 20, y), kind))
        parts.append(_text(x + 26, y + 4, name, "start"))
        x += needed
    return "".join(parts), y + 8


def _line(start: Point, end: Point, kind: str) -> str:
    (x1, y1), (x2, y2) = start, end
    return f'<line class="{kind}" x1="{_n(x1)}" y1="{_n(y1)}" x2="{_n(x2)}" y2="{_n(y2)}"/>'


def _bar(x: float, y: float, width: float, height: float, kind: str) -> str:
    return (
        f'<rect class="bar {kind}" x="{_n(x)}" y="{_n(y)}" width="{_n(max(width, 0.5))}" '
        f'height="{_n(height)}"/>'
    )


def _text(x: float, y: float, text: str, anchor: str, kind: str = "") -> str:
    named = f' class="{kind}"' if kind else ""
    return f'<text{named} x="{_n(x)}" y="{_n(y)}" text-anchor="{anchor}">{escape(text)}</text>'


def _cut(label: str, width: float) -> str:
    most = int((width - 14) / _CHARACTER)
    return label if len(label) <= most else label[: most - 1] + "…"


def _points(points: Sequence[Point]) -> str:
    return " ".join(f"{_n(x)},{_n(y)}" for x, y in points)


def _n(number: float) -> str:
    return f"{number:.1f}".removesuffix(".0")
